//! Whole releases: ones whose completeness shows, so that half of one can never pass for it.

use super::{App, Site};
use std::fs;
use std::path::Path;
use std::process::Command;

const PARTS: usize = 24;

/// A shop whose build seals its release: a checksum over all files of the commit, made last.
pub fn shop() -> App {
    App::new("shop")
        .set("source", "keep_releases", "3")
        .set("backup", "keep", "3")
        .set("deploy", "startup", "\"3s\"")
        .set("deploy", "probation", "\"150ms\"")
        .set("health", "every", "\"50ms\"")
        .step("build", "seal", "cat version parts/* | sha256sum > seal")
        .step("migrate", "schema", "cat version >> data/migrations")
}

/// Commits version `version` with parts of its own.
pub fn commit(site: &Site, version: &str, conf: &[&str]) -> String {
    let parts: Vec<(String, String)> =
        (0..PARTS).map(|n| (format!("parts/{n:02}"), format!("{version} {n}\n").repeat(40))).collect();
    let files: Vec<(&str, &str)> = parts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    site.repo.commit(&files);
    site.version(version, conf)
}

/// Checks the release in `dir`: every part there, the seal right. Returns its version.
pub fn checked(dir: &Path) -> Result<String, String> {
    let version = fs::read_to_string(dir.join("version")).map_err(|error| format!("no version in {dir:?}: {error}"))?;
    let output = Command::new("sh").args(["-c", "cat version parts/* | sha256sum"]).current_dir(dir).output();
    let sum = String::from_utf8_lossy(&output.map_err(|error| error.to_string())?.stdout).into_owned();
    let seal = fs::read_to_string(dir.join("seal")).map_err(|error| format!("{version} was never sealed: {error}"))?;
    if seal == sum { Ok(version) } else { Err(format!("{version} is not whole: sealed {seal:?}, found {sum:?}")) }
}

/// What serves must be one whole release, the one `current` names; returns its version.
pub fn serving(site: &Site) -> Result<String, String> {
    let reply = site.get("/").map_err(|error| format!("nobody serves: {error}"))?;
    let before = fs::read_link(site.dir().join("current")).map_err(|error| format!("no current: {error}"))?;
    let version = checked(&site.dir().join("current"))?;
    let after = fs::read_link(site.dir().join("current")).map_err(|error| format!("no current: {error}"))?;
    match (before == after, reply.body == version) {
        (true, true) => Ok(version),
        (true, false) => Err(format!("current is {version}, but {} serves", reply.body)),
        (false, _) => Err("current changed meanwhile".into()),
    }
}
