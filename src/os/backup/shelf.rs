//! The directory that holds an application's backups: what is on it, what is marked, what is taken off.

use crate::backup::keep::{Held, Rule, superfluous};
use crate::backup::manifest::{self, Contents, Entry, Summary};
use crate::backup::name;
use crate::base::{BackupId, WallTime};
use crate::os::files::{self, because};
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Whether a backup can be restored, as far as is known without reading all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Whole when it was made, and nothing is known against it.
    Complete,
    /// Its manifest is missing or cannot be read.
    Incomplete,
    /// A copy was found to differ from its checksum.
    Damaged,
}

impl State {
    /// As `backup list` shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Complete => "complete",
            State::Incomplete => "incomplete",
            State::Damaged => "damaged",
        }
    }
}

/// A backup on the shelf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shelved {
    /// Its name.
    pub id: BackupId,
    /// What its manifest says; `None` exactly when the state is [`State::Incomplete`].
    pub summary: Option<Summary>,
    /// Whether it can be restored.
    pub state: State,
}

impl Shelved {
    /// When it was made: from the manifest, else from its name.
    pub fn created(&self) -> WallTime {
        let said = self.summary.as_ref().map(|summary| summary.created);
        said.or_else(|| name::time_of(&self.id)).unwrap_or_default()
    }
}

/// All backups of an application, newest first; none when there is no such directory yet.
pub fn list(app_dir: &Path) -> io::Result<Vec<Shelved>> {
    let shelf = Shelf::of(app_dir);
    let mut backups: Vec<Shelved> = shelf.ids()?.into_iter().map(|id| shelf.look(id)).collect();
    backups.sort_by(|a, b| name::order(&b.id).cmp(&name::order(&a.id)));
    Ok(backups)
}

/// What the manifest of backup `id` says about it as a whole.
pub fn summary(app_dir: &Path, id: &BackupId) -> io::Result<Summary> {
    let path = Shelf::of(app_dir).manifest(id);
    let file = File::open(&path).map_err(|error| because("open", &path, &error))?;
    manifest::read_summary(BufReader::new(file)).map_err(|error| because("read", &path, &error))
}

/// Deletes what [`superfluous`] lets go and tells what went; `never` is spared, and so is the newest complete one. A
/// backup of which deletion was begun is never seen by [`list`] again.
pub fn prune(
    app_dir: &Path,
    keep: u32,
    keep_for: Option<Duration>,
    now: WallTime,
    clock_trusted: bool,
    never: &[BackupId],
) -> io::Result<Vec<BackupId>> {
    let held = |backup: &Shelved| Held {
        id: backup.id.clone(),
        created: backup.created(),
        complete: backup.state == State::Complete,
    };
    let all: Vec<Held> = list(app_dir)?.iter().map(held).collect();
    let gone = superfluous(&all, &Rule { keep, keep_for, now, clock_trusted }, never);
    let shelf = Shelf::of(app_dir);
    gone.iter().try_for_each(|id| files::remove_tree(&shelf.backup(id)))?;
    Ok(gone)
}

/// Removes half-made and half-deleted backups.
pub(super) fn clean(app_dir: &Path) -> io::Result<Vec<String>> {
    let shelf = Shelf::of(app_dir);
    let mut said = Vec::new();
    for name in shelf.names()? {
        let half = [(".partial", "an unfinished backup"), (".gone", "the rest of a deleted backup")];
        let what = half.iter().find(|(suffix, _)| name.starts_with('.') && name.ends_with(suffix));
        if let Some((_, what)) = what {
            let path = shelf.dir.join(&name);
            fs::remove_dir_all(&path).map_err(|error| because("remove", &path, &error))?;
            said.push(format!("removed {what}: {name}"));
        }
    }
    Ok(said)
}

/// The paths of one application's backups.
pub(super) struct Shelf {
    pub(super) dir: PathBuf,
}

impl Shelf {
    pub(super) fn of(app_dir: &Path) -> Shelf {
        Shelf { dir: app_dir.join("backups") }
    }
    pub(super) fn backup(&self, id: &BackupId) -> PathBuf {
        self.dir.join(id)
    }
    pub(super) fn partial(&self, id: &BackupId) -> PathBuf {
        self.dir.join(format!(".{id}.partial"))
    }
    pub(super) fn files(&self, id: &BackupId) -> PathBuf {
        self.backup(id).join("files")
    }
    fn manifest(&self, id: &BackupId) -> PathBuf {
        self.backup(id).join("manifest.json")
    }
    fn damage_mark(&self, id: &BackupId) -> PathBuf {
        self.backup(id).join("damaged")
    }
    /// The newest backup by deployment and time, whatever its state.
    pub(super) fn newest(&self) -> io::Result<Option<Shelved>> {
        let newest = self.ids()?.into_iter().max_by(|a, b| name::order(a).cmp(&name::order(b)));
        Ok(newest.map(|id| self.look(id)))
    }
    /// Reads a manifest to its end. A backup that does not exist gets an error that says which do.
    pub(super) fn read(&self, id: &BackupId, each: &mut dyn FnMut(Entry) -> io::Result<()>) -> io::Result<Contents> {
        let path = self.manifest(id);
        let file = File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => io::Error::new(error.kind(), self.no_such(id)),
            _ => because("open", &path, &error),
        })?;
        let mut failed = false;
        let read = manifest::read(BufReader::with_capacity(64 * 1024, file), &mut |entry| {
            each(entry).inspect_err(|_| failed = true)
        });
        read.map_err(|error| if failed { error } else { because("read", &path, &error) })
    }
    /// Remembers that a copy in backup `id` is not what it was: it does not count as complete any more, and nothing is
    /// linked from it.
    pub(super) fn mark_damaged(&self, id: &BackupId, why: &str) -> io::Result<()> {
        files::replace(&self.damage_mark(id), format!("{why}\n").as_bytes(), 0o600)
    }
    /// Takes back [`mark_damaged`](Shelf::mark_damaged): everything was read and is right.
    pub(super) fn mark_sound(&self, id: &BackupId) -> io::Result<()> {
        let mark = self.damage_mark(id);
        match fs::remove_file(&mark) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(because("remove", &mark, &error)),
            _ => Ok(()),
        }
    }

    fn look(&self, id: BackupId) -> Shelved {
        let summary = File::open(self.manifest(&id)).and_then(|file| manifest::read_summary(BufReader::new(file))).ok();
        let state = match summary {
            None => State::Incomplete,
            Some(_) if self.damage_mark(&id).exists() => State::Damaged,
            Some(_) => State::Complete,
        };
        Shelved { id, summary, state }
    }
    fn no_such(&self, id: &BackupId) -> String {
        let mut ids = self.ids().unwrap_or_default();
        ids.sort_by(|a, b| name::order(b).cmp(&name::order(a)));
        let known: Vec<&str> = ids.iter().take(5).map(BackupId::as_str).collect();
        match known.is_empty() {
            true => format!("there is no backup {id} in {}: there is none at all", self.dir.display()),
            false => {
                format!("there is no whole backup {id} in {}; the newest are {}", self.dir.display(), known.join(", "))
            }
        }
    }
    fn ids(&self) -> io::Result<Vec<BackupId>> {
        Ok(self.names()?.into_iter().filter_map(|name| BackupId::new(name).ok()).collect())
    }
    fn names(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(because("read directory", &self.dir, &error)),
        };
        let name = |entry: fs::DirEntry| entry.file_name().into_string().ok();
        let names: io::Result<Vec<Option<String>>> = entries.map(|entry| entry.map(name)).collect();
        Ok(names.map_err(|error| because("read directory", &self.dir, &error))?.into_iter().flatten().collect())
    }
}
