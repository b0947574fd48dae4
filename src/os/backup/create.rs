//! Makes a backup: locate the roots, ask for room, fill, make durable, give it its name.

use super::shelf::{Shelf, State};
use super::tree::{Dir, Met, Then, is_trusted, walk};
use crate::backup::manifest::{Contents, Stamp, Summary};
use crate::backup::name;
use crate::backup::path::{Inside, escape};
use crate::backup::roots::{Place, Root, roots};
use crate::backup::unchanged::Unchanged;
use crate::base::{AppName, BackupId, Bytes, CommitId, DeployId, ReleaseName, WallTime};
use crate::os::cancel::Cancel;
use crate::os::files::{self, because};
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

mod fill;

/// What a backup leaves free on the disk unless told otherwise: an application that cannot write is worse than a
/// deploy that waits.
pub const DEFAULT_RESERVE: Bytes = Bytes(64 << 20);

/// What is to be backed up, and as what.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Whose data.
    pub app: AppName,
    /// `STATE/apps/APP`.
    pub app_dir: PathBuf,
    /// The deployment it is made for; by hand or by the clock: the number of the live release (0 without one). Backups
    /// are ordered by it.
    pub number: DeployId,
    /// Now.
    pub created: WallTime,
    /// The release that is live.
    pub release: Option<ReleaseName>,
    /// Its commit.
    pub commit: Option<CommitId>,
    /// `[backup] paths`.
    pub paths: Vec<PathBuf>,
    /// `[backup] sqlite`.
    pub sqlite: Vec<PathBuf>,
    /// `[source] shared`.
    pub shared: Vec<PathBuf>,
    /// `[source] subdirectory`.
    pub subdirectory: PathBuf,
    /// What stays free on the file system; see [`DEFAULT_RESERVE`].
    pub reserve: Bytes,
}

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Its name.
    pub id: BackupId,
    /// What all files hold together.
    pub bytes: Bytes,
    /// What of it was not linked from the backup before.
    pub bytes_new: Bytes,
    /// Files, databases included.
    pub files: u64,
    /// SQLite databases.
    pub databases: u64,
}

/// Makes a backup. What cannot be part of it and is no failure (a path that does not exist, a socket, a file that kept
/// changing) is said to `log`. Fails on a file that cannot be read, a damaged or locked database, too little space and
/// a cancel, each with the path; then nothing is left behind.
pub fn create(plan: &Plan, cancel: &Cancel, log: &mut dyn FnMut(&str)) -> io::Result<Made> {
    let shelf = Shelf::of(&plan.app_dir);
    files::make_dir(&shelf.dir, 0o700)?;
    let sources = locate(plan, cancel, log)?;
    let previous = Previous::load(&shelf, log)?;
    ask_for_room(plan, &shelf, &sources, &previous, cancel)?;

    let id = name::free(plan.created, plan.number, |id| shelf.backup(id).exists() || shelf.partial(id).exists());
    let partial = shelf.partial(&id);
    let made = fill::fill(plan, &partial, &sources, &previous, cancel, log)
        .and_then(|contents| publish(&partial, &shelf.backup(&id)).map(|()| made(id, &contents)));
    made.inspect_err(|_| drop(files::remove_tree(&partial)))
}

fn made(id: BackupId, contents: &Contents) -> Made {
    let Summary { bytes, bytes_new, file_count, database_count, .. } = contents.summary;
    Made { id, bytes, bytes_new, files: file_count, databases: database_count }
}

/// Everything on disk first, the name last: whatever has a name is whole.
fn publish(partial: &Path, backup: &Path) -> io::Result<()> {
    files::sync_filesystem(partial)?;
    fs::rename(partial, backup).map_err(|error| because("rename", partial, &error))?;
    files::sync_parent(backup).map_err(|error| because("sync the directory of", backup, &error))
}

/// A root that is there: its directory, held open, and its name in it.
struct Source {
    root: Root,
    dir: Dir,
    name: OsString,
}

/// Finds the roots; one that does not exist is said and left out.
fn locate(plan: &Plan, cancel: &Cancel, log: &mut dyn FnMut(&str)) -> io::Result<Vec<Source>> {
    let roots = roots(&plan.paths, &plan.sqlite, &plan.shared);
    let roots = roots.map_err(|bad| io::Error::new(io::ErrorKind::InvalidInput, format!("[backup]: {bad}")))?;
    let mut sources = Vec::new();
    for root in roots {
        if cancel.is_cancelled() {
            return Err(super::cancelled());
        }
        let base = match root.place {
            Place::Shared => plan.app_dir.join("shared"),
            Place::Release => plan.app_dir.join("current").join(&plan.subdirectory),
        };
        match open_root(&base, root.path.as_path(), log) {
            Ok((dir, name)) => sources.push(Source { root, dir, name }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                log(&format!("warning: {} does not exist yet ({error}): not in this backup", root.path));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(sources)
}

/// Opens the directory of a root. A root that is a link of ours (data on another disk) is followed; below it none is.
fn open_root(base: &Path, path: &Path, log: &mut dyn FnMut(&str)) -> io::Result<(Dir, OsString)> {
    let dir = Dir::open(base)?.descend(path.parent().unwrap_or(Path::new("")))?;
    let name = path.file_name().unwrap_or_default();
    let meta = fs::symlink_metadata(dir.at(name)).map_err(|error| because("look at", &dir.shown(name), &error))?;
    if !meta.is_symlink() {
        return Ok((dir, name.to_os_string()));
    }
    if !is_trusted(&meta) {
        log(&format!("warning: {} is a link of another user: it is kept as a link, not followed", escape(path)));
        return Ok((dir, name.to_os_string()));
    }
    let real = fs::canonicalize(dir.at(name)).map_err(|error| because("follow", &dir.shown(name), &error))?;
    match (real.parent(), real.file_name()) {
        (Some(parent), Some(name)) => Ok((Dir::open(parent)?, name.to_os_string())),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} is a link to /", dir.shown(name).display()))),
    }
}

/// The backup before this one, to link from.
struct Previous {
    /// Its `files/`; `None`: everything is copied.
    files: Option<PathBuf>,
    index: Unchanged,
}

impl Previous {
    /// Only the newest backup is linked from, and only when nothing is known against it: a rotten copy ends with the
    /// first backup after its discovery.
    fn load(shelf: &Shelf, log: &mut dyn FnMut(&str)) -> io::Result<Previous> {
        let nothing = Previous { files: None, index: Unchanged::default() };
        let (id, begun) = match shelf.newest()? {
            Some(newest) if newest.state == State::Complete => (newest.id.clone(), newest.created()),
            Some(newest) => {
                log(&format!("backup {} is {}: everything is copied afresh", newest.id, newest.state.as_str()));
                return Ok(nothing);
            }
            None => return Ok(nothing),
        };
        let mut index = Unchanged::default();
        let read = shelf.read(&id, &mut |entry| {
            index.add(&entry, begun);
            Ok(())
        });
        if let Err(error) = read {
            log(&format!("warning: {error}: everything is copied afresh"));
            return Ok(nothing);
        }
        index.seal();
        Ok(Previous { files: Some(shelf.files(&id)), index })
    }
}

/// Estimates what will be written and refuses when the disk would be left with less than the reserve.
fn ask_for_room(
    plan: &Plan,
    shelf: &Shelf,
    sources: &[Source],
    previous: &Previous,
    cancel: &Cancel,
) -> io::Result<()> {
    let mut needed: u64 = 0;
    let mut entries: u64 = 0;
    let nested: HashSet<&Inside> = sources.iter().map(|source| &source.root.path).collect();
    for source in sources {
        let top = source.root.path.as_path();
        walk(&source.dir, &source.name, top, cancel, &mut |met| {
            if belongs_elsewhere(met, top, &nested) {
                return Ok(Then::PassBy);
            }
            entries += 1;
            if met.meta.is_file() && previous.index.file(met.path, &stamp(met.meta)).is_none() {
                needed += met.meta.size().min(met.meta.blocks() * 512);
            }
            Ok(Then::Enter)
        })?;
    }
    let disk = nix::sys::statvfs::statvfs(&shelf.dir)
        .map_err(|error| because("ask for the free space of", &shelf.dir, &error.into()))?;
    let free = disk.blocks_available() as u64 * disk.fragment_size() as u64;
    let full = |text: String| Err(io::Error::new(io::ErrorKind::StorageFull, text));
    if needed.saturating_add(plan.reserve.0) > free {
        return full(format!(
            "too little space for a backup in {}: it needs about {}, {} are free and {} must stay free; remove files or lower [backup] keep",
            shelf.dir.display(),
            Bytes(needed),
            Bytes(free),
            plan.reserve
        ));
    }
    // File systems that make inodes as needed report none at all.
    if disk.files() > 0 && entries > disk.files_available() as u64 {
        let left = disk.files_available();
        return full(format!("too few inodes for a backup in {}: {entries} needed, {left} free", shelf.dir.display()));
    }
    Ok(())
}

/// Whether the walk of `top` met another root, which has a walk of its own.
fn belongs_elsewhere(met: &Met, top: &Path, roots: &HashSet<&Inside>) -> bool {
    met.path != top && Inside::new(met.path).is_ok_and(|path| roots.contains(&path))
}

/// What tells this file from a changed one.
fn stamp(meta: &fs::Metadata) -> Stamp {
    let ns = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
    Stamp {
        size: meta.size(),
        inode: meta.ino(),
        mtime_ns: ns(meta.mtime(), meta.mtime_nsec()),
        ctime_ns: ns(meta.ctime(), meta.ctime_nsec()),
    }
}
