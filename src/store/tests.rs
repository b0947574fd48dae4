//! The diary on real files, and against its model.

mod agreement;
mod cost;
mod files;
mod samples;
mod story;

use super::*;
use crate::base::{AppName, CommitId, DeployId, Moment, ReleaseName, WallTime};
use crate::control::{DeployStatus, Pass, Phase, Trigger};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A directory of its own for one test, gone with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("pintle-store-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Scratch(dir)
    }
    fn path(&self) -> &Path {
        &self.0
    }
    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}
impl Drop for Scratch {
    fn drop(&mut self) {
        use std::os::unix::fs::PermissionsExt;
        let _ = std::fs::set_permissions(&self.0, std::fs::Permissions::from_mode(0o755));
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// 2025-10-24T20:00:00Z and `seconds` later.
fn at(seconds: i64) -> WallTime {
    WallTime(1_761_336_000_000 + seconds * 1000)
}

fn now() -> Moment {
    Moment { mono: Duration::from_secs(60), wall: at(0) }
}

fn open(scratch: &Scratch) -> Diary {
    let opened = Diary::open(scratch.path(), now()).unwrap();
    assert_eq!(opened.notice, None);
    opened.diary
}

fn app(name: &str) -> AppName {
    AppName::new(name).unwrap()
}

fn commit(digit: u64) -> CommitId {
    CommitId::new(format!("{:040x}", 0x4f2a_1c90_0000_0000 + digit)).unwrap()
}

fn release(number: u64) -> ReleaseName {
    ReleaseName::of(DeployId(number), &commit(number))
}

fn queued(number: u64, app: &AppName) -> NewDeployment {
    NewDeployment {
        number: DeployId(number),
        app: app.clone(),
        kind: Kind::Deploy,
        requested: None,
        commit: Some(commit(number)),
        release: None,
        status: DeployStatus::Queued,
        trigger: Trigger::Webhook,
        forced: false,
        pass: Pass::None,
        retry_of: None,
        message: None,
        asked: at(number as i64),
    }
}

fn finished(number: u64, status: DeployStatus) -> Entry {
    Entry::Finished {
        number: DeployId(number),
        status,
        phase: Phase::Done,
        failed_phase: None,
        message: None,
        exit: 0,
        took: Some(Duration::from_millis(1500)),
        at: at(number as i64 + 10),
    }
}
