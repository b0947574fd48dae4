//! Backups of real trees and real databases. Each test has a directory of its own, removed at its end.

use super::*;
use crate::base::{AppName, BackupId, Bytes, DeployId, Moment, WallTime};
use crate::os::cancel::Cancel;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

mod crash;
mod database;
mod restoring;
mod reuse;
mod roundtrip;
mod space;

/// An application's directory below a scratch one.
struct Bench {
    scratch: PathBuf,
    app_dir: PathBuf,
    cancel: Cancel,
    said: Vec<String>,
    number: u64,
}

impl Bench {
    fn new() -> Bench {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let scratch = std::env::temp_dir().join(format!("pintle-backup-{}-{count}", std::process::id()));
        let app_dir = scratch.join("shop");
        fs::create_dir_all(app_dir.join("shared/data")).unwrap();
        Bench { scratch, app_dir, cancel: Cancel::new().unwrap(), said: Vec::new(), number: 0 }
    }
    fn shared(&self, path: &str) -> PathBuf {
        self.app_dir.join("shared").join(path)
    }
    fn write(&self, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.shared(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }
    /// A plan for `data`, stamped an hour ahead: files written a moment ago count as settled then.
    fn plan(&mut self) -> Plan {
        self.number += 1;
        Plan {
            app: AppName::new("shop").unwrap(),
            app_dir: self.app_dir.clone(),
            number: DeployId(self.number),
            created: Moment::now().wall.plus(Duration::from_secs(3600)),
            release: None,
            commit: None,
            paths: vec!["data".into()],
            sqlite: vec![],
            shared: vec!["data".into()],
            subdirectory: PathBuf::new(),
            reserve: Bytes(0),
        }
    }
    fn create(&mut self) -> Made {
        let plan = self.plan();
        self.try_create(&plan).unwrap()
    }
    fn try_create(&mut self, plan: &Plan) -> std::io::Result<Made> {
        create(plan, &self.cancel, &mut |line| self.said.push(line.into()))
    }
    fn restore(&mut self, id: &BackupId, what: &What) -> std::io::Result<Restored> {
        let destination = self.app_dir.join("shared");
        restore(&self.app_dir, id, &destination, what, &self.cancel, &mut |line| self.said.push(line.into()))
    }
    fn copy_of(&self, id: &BackupId, path: &str) -> PathBuf {
        self.app_dir.join("backups").join(id).join("files").join(path)
    }
    /// Changes a byte of a copy and nothing else about it.
    fn rot(&self, id: &BackupId, path: &str) {
        let copy = self.copy_of(id, path);
        let mut bytes = fs::read(&copy).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&copy, bytes).unwrap();
    }
    fn names(&self, dir: impl AsRef<Path>) -> Vec<String> {
        let entries = fs::read_dir(self.app_dir.join(dir)).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().to_string_lossy().into()).collect();
        names.sort();
        names
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = std::process::Command::new("chmod").args(["-R", "u+rwx"]).arg(&self.scratch).output();
        let _ = fs::remove_dir_all(&self.scratch);
    }
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Everything about a tree that a restore must bring back, sorted by path.
fn portrait(top: &Path) -> Vec<(OsString, String)> {
    let mut seen = Vec::new();
    let mut open = vec![top.to_path_buf()];
    while let Some(path) = open.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let content = match meta.file_type() {
            kind if kind.is_symlink() => format!("-> {:?}", fs::read_link(&path).unwrap()),
            kind if kind.is_file() => format!("{:?}", fs::read(&path).unwrap()),
            _ => {
                open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
                String::new()
            }
        };
        let name = path.strip_prefix(top).unwrap().as_os_str().to_os_string();
        let about = format!("{:o} {}:{} {}.{}", meta.mode(), meta.uid(), meta.gid(), meta.mtime(), meta.mtime_nsec());
        seen.push((name, format!("{about} {content}")));
    }
    seen.sort();
    seen
}

fn set_mode(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn the_shelf_is_listed_pruned_and_never_emptied() {
    let mut bench = Bench::new();
    assert_eq!(list(&bench.app_dir).unwrap(), []);
    bench.write("data/a", "a");
    let ids: Vec<BackupId> = (0..4).map(|_| bench.create().id).collect();
    fs::create_dir_all(bench.app_dir.join("backups/20200101_000000-000009")).unwrap();
    fs::write(bench.app_dir.join("backups/notes.txt"), "mine").unwrap();

    let states: Vec<(u64, State)> =
        list(&bench.app_dir).unwrap().iter().map(|b| (b.summary.as_ref().map_or(0, |s| s.number.0), b.state)).collect();
    let complete = State::Complete;
    assert_eq!(states, [(0, State::Incomplete), (4, complete), (3, complete), (2, complete), (1, complete)]);
    assert_eq!(list(&bench.app_dir).unwrap()[0].created().rfc3339(), "2020-01-01T00:00:00Z");

    let gone = prune(&bench.app_dir, 2, None, WallTime(0), false, &ids[..1]).unwrap();
    assert_eq!(gone, ids[1..2]);
    let gone = prune(&bench.app_dir, 1, None, WallTime(0), false, &[]).unwrap();
    assert_eq!(gone, [ids[0].clone(), ids[2].clone()]);
    assert_eq!(prune(&bench.app_dir, 0, Some(Duration::ZERO), WallTime(i64::MAX), true, &[]).unwrap(), []);
    assert!(verify(&bench.app_dir, &ids[3], &bench.cancel).unwrap().is_good(), "links of deleted backups live on");
    assert_eq!(bench.names("backups").len(), 3, "{:?}", bench.names("backups"));
}

#[test]
fn backups_of_the_same_second_get_names_of_their_own() {
    let mut bench = Bench::new();
    let plan = Plan { created: WallTime(1_761_336_000_000), ..bench.plan() };
    let ids: Vec<String> = (0..3).map(|_| bench.try_create(&plan).unwrap().id.to_string()).collect();
    assert_eq!(ids, ["20251024_200000-000001", "20251024_200000-000001-2", "20251024_200000-000001-3"]);
    let listed: Vec<String> = list(&bench.app_dir).unwrap().iter().map(|b| b.id.to_string()).collect();
    assert_eq!(listed, ids.iter().rev().cloned().collect::<Vec<_>>(), "newest first");
}
