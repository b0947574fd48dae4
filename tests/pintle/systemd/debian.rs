//! A Debian to boot: made by debootstrap once, kept in a cache, never written to.
//!
//! Whoever boots it lays something of its own over it. `PINTLE_TEST_CACHE` says where it is kept.

use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const SUITE: &str = "trixie";
/// systemd and what the tests use; the kernel is for the virtual machine.
const PACKAGES: [&str; 14] = [
    "systemd",
    "systemd-sysv",
    "dbus",
    "udev",
    "kmod",
    "curl",
    "ca-certificates",
    "git",
    "nginx-light",
    "sqlite3",
    "python3",
    "procps",
    "linux-image-cloud-amd64",
    "initramfs-tools",
];
/// What nobody reads in a machine that lives for seconds.
const UNREAD: [&str; 6] =
    ["usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "var/cache/apt", "var/lib/apt/lists"];

/// The root directory, made if this is the first time.
pub fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let packages = PACKAGES.join(",");
        let recipe = Sha256::digest(format!("{SUITE} {packages} without {UNREAD:?}"));
        let mark: String = recipe.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let root = cache().join(format!("{SUITE}-{mark}"));
        if !root.is_dir() {
            make(&root, &packages);
        }
        root
    })
}

/// Its kernel.
pub fn kernel() -> PathBuf {
    let boot = fs::read_dir(root().join("boot")).unwrap().flatten().map(|entry| entry.path());
    boot.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-")))
        .max()
        .expect("linux-image-cloud-amd64 is in the root")
}

/// Where what is expensive to make is kept.
pub fn cache() -> PathBuf {
    std::env::var_os("PINTLE_TEST_CACHE").map_or_else(|| PathBuf::from("/var/cache/pintle-tests"), PathBuf::from)
}

/// Made beside its place and renamed: what has the name is whole.
fn make(root: &Path, packages: &str) {
    fs::create_dir_all(cache()).unwrap();
    let partial = root.with_extension(format!("partial-{}", std::process::id()));
    eprintln!("making {} with debootstrap: about a minute, once", root.display());
    let output = Command::new("debootstrap")
        .args(["--variant=minbase", &format!("--include={packages}"), SUITE])
        .arg(&partial)
        .output()
        .expect("debootstrap is installed");
    let said = String::from_utf8_lossy(&output.stdout);
    let last: Vec<&str> = said.lines().rev().take(10).collect();
    assert!(output.status.success(), "debootstrap into {}: {last:?}", partial.display());
    for dir in UNREAD {
        fs::remove_dir_all(partial.join(dir)).unwrap();
    }
    if let Err(error) = fs::rename(&partial, root) {
        // Somebody else made it meanwhile.
        assert!(root.is_dir(), "rename {} to {}: {error}", partial.display(), root.display());
        fs::remove_dir_all(&partial).unwrap();
    }
}
