//! The walls of the house, read from the sources: what thinks touches nothing.

use std::fs;
use std::path::{Path, PathBuf};

const PURE: [&str; 7] = ["delivery", "deploy", "supervise", "health", "backup", "notify", "daemon/turn"];
/// Of the guard, what judges bytes and clients; only an address may be named there, never a socket.
const PURE_IN_GUARD: [&str; 6] = [
    "listener/guard/head",
    "listener/guard/body",
    "listener/guard/admission",
    "listener/guard/answer",
    "listener/guard/connection",
    "listener/guard/limits",
];
/// Hands that live beside what they serve.
const HANDS: [&str; 1] = ["backup/hands"];
const FORBIDDEN: [&str; 10] = [
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "Instant::now",
    "SystemTime::now",
    "rusqlite",
    "tiny_http",
    "nix::",
    "libc::",
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        match entry.path() {
            path if path.is_dir() => sources(&path, found),
            path if path.extension().is_some_and(|extension| extension == "rs") => found.push(path),
            _ => {}
        }
    }
}

/// The code of a file without comments and without its test module, which stands last.
fn code(text: &str) -> String {
    let lines = text.lines().take_while(|line| line.trim() != "#[cfg(test)]");
    lines.map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The file's place in the house: `deploy/machine` of `src/deploy/machine.rs`.
fn place(path: &Path, src: &Path) -> String {
    path.strip_prefix(src).unwrap().with_extension("").to_string_lossy().into_owned()
}

fn is_in(place: &str, rooms: &[&str]) -> bool {
    rooms.iter().any(|room| place == *room || place.starts_with(&format!("{room}/")))
}

/// Whether the code names it - and not only something that ends alike, as `unix::` does.
fn names(code: &str, name: &str) -> bool {
    let is_part_of_a_word = |at: usize| code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    code.match_indices(name).any(|(at, _)| !is_part_of_a_word(at))
}

fn is_pure(place: &str) -> bool {
    is_in(place, &PURE) || is_in(place, &PURE_IN_GUARD)
}

#[test]
fn what_thinks_touches_nothing() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let pure: Vec<&PathBuf> = files
        .iter()
        .filter(|path| {
            let place = place(path, &src);
            is_pure(&place) && !is_in(&place, &HANDS) && !place.ends_with("/tests")
        })
        .collect();
    assert!(pure.len() >= 50, "the pure rooms are not where they were: {pure:?}");
    let mut broken = Vec::new();
    for path in pure {
        let code = code(&fs::read_to_string(path).unwrap());
        let code = match is_in(&place(path, &src), &PURE_IN_GUARD) {
            true => {
                code.replace("std::net::IpAddr", "").replace("std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr}", "")
            }
            false => code,
        };
        let found = FORBIDDEN.iter().filter(|name| names(&code, name));
        broken.extend(found.map(|name| format!("{} names {name}", path.display())));
    }
    assert!(broken.is_empty(), "pure rooms touch the world:\n{}", broken.join("\n"));
}

#[test]
fn every_file_says_what_it_is_for() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    // A test table belongs to the file beside it, which says what both are for.
    files.retain(|path| path.file_name().is_some_and(|name| name != "tests.rs"));
    let silent: Vec<&PathBuf> =
        files.iter().filter(|path| !fs::read_to_string(path).unwrap().starts_with("//!")).collect();
    assert!(silent.is_empty(), "no header: {silent:?}");
}
