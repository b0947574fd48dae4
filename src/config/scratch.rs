//! A directory for one test, with a configuration under `etc/`.

use super::{Config, Environment, Loaded, Problem};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Removed with everything in it when dropped.
pub(super) struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Scratch {
    pub(super) fn new(test: &str) -> Scratch {
        let dir = std::env::temp_dir().join(format!("pintle-config-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("etc/apps")).unwrap();
        Scratch(dir)
    }

    pub(super) fn path(&self, inner: &str) -> PathBuf {
        self.0.join(inner)
    }

    /// Writes a file of mode 0600.
    pub(super) fn write(&self, inner: &str, text: impl AsRef<[u8]>) {
        let path = self.path(inner);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub(super) fn remove(&self, inner: &str) {
        fs::remove_file(self.path(inner)).unwrap();
    }

    pub(super) fn load(&self) -> Result<Loaded, Vec<Problem>> {
        self.load_from(&self.path("etc"))
    }

    pub(super) fn load_from(&self, files_dir: &Path) -> Result<Loaded, Vec<Problem>> {
        Config::load_from(files_dir, &self.path("etc"), &environment())
    }

    /// Loads an otherwise good configuration with this `apps/app.toml`.
    pub(super) fn load_app(&self, text: &str) -> Result<Loaded, Vec<Problem>> {
        self.write("etc/pintle.toml", "");
        self.write("etc/apps/app.toml", text);
        self.load()
    }
}

/// Not root; `pi` and `nobody` exist; `FROM_PROCESS` is all that is set.
pub(super) fn environment() -> Environment {
    Environment {
        is_root: false,
        variable: Box::new(|name| (name == "FROM_PROCESS").then(|| "process".to_owned())),
        user_exists: Box::new(|name| name == "pi" || name == "nobody"),
        credentials_dir: None,
    }
}

/// The smallest application, with `more` after it.
pub(super) fn app_with(more: &str) -> String {
    format!("[source]\ngit = \"https://github.com/owner/name.git\"\nbranch = \"main\"\n{more}")
}

/// `KEY: WRONG` of each problem, sorted.
pub(super) fn brief(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(|problem| format!("{}: {}", problem.key, problem.wrong)).collect()
}
