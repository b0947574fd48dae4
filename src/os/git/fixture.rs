//! What tests of git and releases stand on: scratch directories, and repositories that somebody works in.

use super::{Limits, Mirror};
use crate::base::CommitId;
use crate::config::{Access, Source};
use crate::os::cancel::Cancel;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub const AMPLE: Duration = Duration::from_secs(60);

/// A directory of its own for each test, gone with it.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Scratch {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("pintle-git-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}
impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A repository that somebody works in.
pub struct Origin(pub PathBuf);

impl Origin {
    pub fn new(path: PathBuf) -> Origin {
        fs::create_dir_all(&path).unwrap();
        git(&path, &["init", "-q", "-b", "main"]);
        Origin(path)
    }
    /// Writes the files and commits everything.
    pub fn commit(&self, files: &[(&str, &str)]) -> CommitId {
        for (name, content) in files {
            let path = self.0.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        git(&self.0, &["add", "-A"]);
        git(&self.0, &["commit", "-q", "--allow-empty", "-m", "Change things\n\nAt length."]);
        self.head()
    }
    pub fn head(&self) -> CommitId {
        CommitId::new(git(&self.0, &["rev-parse", "HEAD"]).trim()).unwrap()
    }
    pub fn url(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

/// Git as its users call it, to prepare what is tested.
pub fn git(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "protocol.file.allow=always"])
        .args(args)
        .current_dir(dir)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub fn source(url: &str) -> Source {
    Source {
        git: url.to_owned(),
        branch: "main".into(),
        keep_releases: 3,
        shared: Vec::new(),
        subdirectory: PathBuf::new(),
        submodules: false,
        lfs: false,
        access: Access::default(),
    }
}

/// Does something within ample limits; returns what was printed too.
pub fn within<T>(timeout: Duration, work: impl FnOnce(&mut Limits) -> T) -> (T, String) {
    let mut said = Vec::new();
    let cancel = Cancel::new().unwrap();
    let mut sink = |bytes: &[u8]| said.extend_from_slice(bytes);
    let done = work(&mut Limits::new(timeout, &cancel, &mut sink));
    (done, String::from_utf8_lossy(&said).into_owned())
}

pub fn fetch(mirror: &Mirror) -> io::Result<CommitId> {
    within(AMPLE, |limits| mirror.fetch(limits)).0
}

/// What a fetch that fails says.
pub fn complaint(mirror: &Mirror) -> String {
    fetch(mirror).expect_err("this fetch fails").to_string()
}
