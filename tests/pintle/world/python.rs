//! Virtual environments with programs from PyPI, made once and kept.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The virtual environment `name` with exactly these packages, made where it is not there yet.
pub fn environment(name: &str, packages: &[&str]) -> PathBuf {
    let dir = super::cache().join(name);
    let whole = dir.join("whole");
    let wanted = packages.join(" ");
    fs::create_dir_all(super::cache()).unwrap_or_else(|error| {
        panic!("make {}: {error}; PINTLE_TEST_CACHE names another place", super::cache().display())
    });
    // Several tests may want it at once: the first makes it, under a lock that ends with its process.
    let lock = File::create(super::cache().join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    if fs::read_to_string(&whole).is_ok_and(|found| found == wanted) {
        return dir;
    }
    let run = |program: &Path, args: &[&str]| {
        let output = Command::new(program).args(args).output().unwrap();
        assert!(output.status.success(), "{program:?} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    run(Path::new("/usr/bin/python3"), &["-m", "venv", "--clear", &dir.display().to_string()]);
    run(&dir.join("bin/pip"), &[&["install", "--quiet", "--disable-pip-version-check"][..], packages].concat());
    fs::write(&whole, wanted).unwrap();
    dir
}
