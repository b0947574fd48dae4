//! A configuration directory of this process, in memory where the host has such a place.

use pintle::config::Environment;
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

/// The directory; the same one for the life of the process.
pub fn dir() -> &'static PathBuf {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let memory = PathBuf::from("/dev/shm");
        let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let dir = base.join(format!("pintle-fuzz-{}", std::process::id()));
        fs::create_dir_all(dir.join("apps")).unwrap();
        dir
    })
}

/// Takes every application's file away.
pub fn clear() {
    fs::remove_dir_all(dir().join("apps")).unwrap();
    fs::create_dir_all(dir().join("apps")).unwrap();
}

/// Writes `pintle.toml`, `pintle.env` and applications' files, in place of those that were there.
pub fn write(host: &str, env: &str, apps: &[(&str, &str)]) {
    fs::write(dir().join("pintle.toml"), host).unwrap();
    fs::write(dir().join("pintle.env"), env).unwrap();
    for (name, text) in apps {
        fs::write(dir().join(format!("apps/{name}.toml")), text).unwrap();
    }
}

/// A host on which every user exists and `$SECRET` is the only variable: nothing depends on the machine.
pub fn environment() -> Environment {
    Environment {
        is_root: false,
        variable: Box::new(|name| (name == "SECRET").then(|| super::SECRET.to_owned())),
        user_exists: Box::new(|_| true),
        credentials_dir: None,
    }
}
