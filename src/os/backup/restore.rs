//! Puts a backup back: into live directories by a swap, or into a scratch directory for a rehearsal.
//!
//! A restore first copies everything beside its place (`.NAME.restore.partial`), proving every checksum, and only then
//! swaps by rename. Cancelled, out of space or damaged: nothing has changed. See `swap` for a power cut in the middle.

use super::shelf::{Shelf, summary};
use super::swap::{Place, Swap};
use super::tree::{Dir, is_trusted};
use super::unpack::{Unit, Unpacked, unpack};
use crate::backup::manifest::{Kind, Summary};
use crate::backup::path::{Inside, escape};
use crate::backup::roots;
use crate::base::{BackupId, Bytes};
use crate::os::cancel::Cancel;
use crate::os::files::{self, because};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Which part of a backup is put back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Every path it holds.
    All,
    /// The paths that live in `shared/`.
    Shared,
    /// These paths, relative to the working directory: any file or directory in the backup.
    Paths(Vec<PathBuf>),
}

/// What was put back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The paths that were swapped in.
    pub paths: Vec<PathBuf>,
    /// Files in them, databases included.
    pub files: u64,
    /// What they hold.
    pub bytes: Bytes,
}

/// Puts `what` of backup `id` in place of the same paths below `destination` (`STATE/apps/APP/shared` for live data).
/// All of it or nothing; nobody may be using the paths meanwhile. Owners, modes and times come back too (owners as root
/// only). A path that the backup does not hold is left alone; `-wal` and its like beside a restored database go.
pub fn restore(
    app_dir: &Path,
    id: &BackupId,
    destination: &Path,
    what: &What,
    cancel: &Cancel,
    log: &mut dyn FnMut(&str),
) -> io::Result<Restored> {
    super::swap::recover(app_dir)?.iter().for_each(|line| log(line));
    let holds = summary(app_dir, id)?;
    let paths = choose(&holds, what)?;
    files::make_dir(destination, 0o755)?;
    let places = paths.iter().map(|path| find(destination, path)).collect::<io::Result<Vec<Place>>>()?;

    let mut swap = Swap::begin(app_dir, places)?;
    let (units, unpacked) = match stage(app_dir, id, &paths, &swap, cancel) {
        Ok(staged) => staged,
        Err(error) => return Err(swap.withdraw(error)),
    };
    if let (What::Paths(_), Some(unit)) = (what, units.iter().find(|unit| unit.met.is_none())) {
        return Err(swap.withdraw(holds_no(id, &unit.path, &holds)));
    }
    for unit in units.iter().filter(|unit| matches!(unit.met, Some(Kind::Database { .. }))) {
        swap.clear_siblings(&unit.path, &paths);
    }
    swap.commit()?;
    let paths: Vec<PathBuf> = units.into_iter().filter(|unit| unit.met.is_some()).map(|unit| unit.path).collect();
    paths.iter().for_each(|path| log(&format!("{} is as it was in backup {id}", escape(path))));
    Ok(Restored { paths, files: unpacked.files, bytes: unpacked.bytes })
}

/// Fills `scratch_root` with copies of everything backup `id` holds, at the paths the working directory has them, every
/// checksum proved. The paths must not be there yet; after a failure the caller removes the scratch directory.
pub fn materialise(app_dir: &Path, id: &BackupId, scratch_root: &Path, cancel: &Cancel) -> io::Result<Restored> {
    let holds = summary(app_dir, id)?;
    files::make_dir(scratch_root, 0o755)?;
    let scratch = Dir::open(scratch_root)?;
    for root in &holds.roots {
        let above = root.path.as_path().parent().unwrap_or(Path::new(""));
        files::make_dir(&scratch.at(above), 0o755)?;
    }
    let everything = Unit {
        path: PathBuf::new(),
        parent: Dir::open(scratch_root)?,
        name: Default::default(),
        inside: Some(scratch),
        met: None,
    };
    let Unpacked { files, bytes } = unpack(&Shelf::of(app_dir), id, &mut [everything], cancel)?;
    Ok(Restored { paths: holds.roots.iter().map(|root| root.path.as_path().to_path_buf()).collect(), files, bytes })
}

/// The paths to be swapped, none within another.
fn choose(holds: &Summary, what: &What) -> io::Result<Vec<Inside>> {
    let shared = |root: &&roots::Root| root.place == roots::Place::Shared;
    let mut paths: Vec<Inside> = match what {
        What::All => holds.roots.iter().map(|root| root.path.clone()).collect(),
        What::Shared => holds.roots.iter().filter(shared).map(|root| root.path.clone()).collect(),
        What::Paths(paths) => {
            let paths: Result<_, _> = paths.iter().map(Inside::new).collect();
            paths.map_err(|bad| io::Error::new(io::ErrorKind::InvalidInput, bad))?
        }
    };
    paths.sort();
    paths.dedup();
    let all = paths.clone();
    paths.retain(|path| !all.iter().any(|other| other != path && path.as_path().starts_with(other)));
    Ok(paths)
}

fn holds_no(id: &BackupId, path: &Path, holds: &Summary) -> io::Error {
    let roots: Vec<String> = holds.roots.iter().map(|root| root.path.to_string()).collect();
    let text = format!("backup {id} holds no {}; it holds {}; nothing was changed", escape(path), roots.join(", "));
    io::Error::new(io::ErrorKind::NotFound, text)
}

/// Finds where `path` below `destination` really is, making the directories above it.
fn find(destination: &Path, path: &Inside) -> io::Result<Place> {
    let above = path.as_path().parent().unwrap_or(Path::new(""));
    let parent = make_way(&Dir::open(destination)?, above)?;
    let name = path.as_path().file_name().unwrap_or_default();
    let shown = parent.shown(name);
    let meta = match fs::symlink_metadata(parent.at(name)) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Place::new(path, &parent, name),
        Err(error) => return Err(because("look at", &shown, &error)),
    };
    if meta.is_symlink() && is_trusted(&meta) {
        let real = fs::canonicalize(parent.at(name));
        let real = real.map_err(|error| because("is its disk mounted? cannot follow", &shown, &error))?;
        let (Some(dir), Some(name)) = (real.parent(), real.file_name()) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} is a link to /", shown.display())));
        };
        return unmounted(&real).and_then(|()| Place::new(path, &Dir::open(dir)?, name));
    }
    if meta.is_dir() && meta.dev() != parent.metadata()?.dev() {
        return Err(mounted(&shown));
    }
    Place::new(path, &parent, name)
}

fn unmounted(real: &Path) -> io::Result<()> {
    let look = |path: &Path| fs::metadata(path).map_err(|error| because("look at", path, &error));
    match look(real)?.dev() == look(real.parent().unwrap_or(real))?.dev() {
        true => Ok(()),
        false => Err(mounted(real)),
    }
}

fn mounted(path: &Path) -> io::Error {
    let text = format!(
        "{} is a mount point and cannot be swapped by rename: restore the paths in it one by one, or into another directory",
        path.display()
    );
    io::Error::new(io::ErrorKind::CrossesDevices, text)
}

fn make_way(from: &Dir, path: &Path) -> io::Result<Dir> {
    let mut here = from.descend(Path::new(""))?;
    for name in path.iter() {
        let made = DirBuilder::new().mode(0o755).create(here.at(name));
        match made {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(because("create directory", &here.shown(name), &error));
            }
            _ => here = here.descend(Path::new(name))?,
        }
    }
    Ok(here)
}

/// Copies everything beside its place and makes it durable there.
fn stage(
    app_dir: &Path,
    id: &BackupId,
    paths: &[Inside],
    swap: &Swap,
    cancel: &Cancel,
) -> io::Result<(Vec<Unit>, Unpacked)> {
    let unit = |(path, place): (&Inside, &Place)| {
        let (parent, name) = (place.parent()?, place.staged());
        Ok(Unit { path: path.as_path().to_path_buf(), parent, name, inside: None, met: None })
    };
    let mut units = paths.iter().zip(swap.places()).map(unit).collect::<io::Result<Vec<Unit>>>()?;
    let unpacked = unpack(&Shelf::of(app_dir), id, &mut units, cancel)?;
    units.iter().try_for_each(|unit| files::sync_filesystem(&unit.parent.at("")))?;
    Ok((units, unpacked))
}
