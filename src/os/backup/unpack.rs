//! Copies a backup's content out again, every byte checked against the manifest on the way.
//!
//! Never a hard link: whoever gets the copy will write to it. Files belong to us and are closed to others until their
//! content is whole; directories until everything in them is.

use super::copy;
use super::shelf::Shelf;
use super::tree::Dir;
use crate::backup::manifest::{Checksum, Entry, Kind};
use crate::base::{BackupId, Bytes};
use crate::os::cancel::Cancel;
use crate::os::files::because;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

/// A part of the backup and where it goes.
pub(super) struct Unit {
    /// This path of the manifest and everything below it; empty: everything.
    pub(super) path: PathBuf,
    /// The directory it goes into.
    pub(super) parent: Dir,
    /// Its name there, which must be free.
    pub(super) name: OsString,
    /// The unit itself, once it is there and is a directory.
    pub(super) inside: Option<Dir>,
    /// What the unit itself was, once it was met.
    pub(super) met: Option<Kind>,
}

/// What was copied out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Unpacked {
    pub(super) files: u64,
    pub(super) bytes: Bytes,
}

/// Copies `units` (none within another) out of backup `id`. Fails with `InvalidData` on the first copy that is not what
/// the manifest says, and remembers that; what was copied so far stays for the caller to remove.
pub(super) fn unpack(shelf: &Shelf, id: &BackupId, units: &mut [Unit], cancel: &Cancel) -> io::Result<Unpacked> {
    let mut unpack = Unpack { shelf, id, cancel, owners: nix::unistd::geteuid().is_root(), dirs: Vec::new() };
    let mut done = Unpacked::default();
    shelf.read(id, &mut |entry| {
        if cancel.is_cancelled() {
            return Err(super::cancelled());
        }
        let Some(index) = units.iter().position(|unit| entry.path.as_path().starts_with(&unit.path)) else {
            return Ok(());
        };
        unpack.entry(entry, index, &mut units[index], &mut done)
    })?;
    // Deepest first: a directory is closed and handed over when nothing is to be done in it any more.
    let Unpack { dirs, owners, .. } = unpack;
    for (entry, unit) in dirs.iter().rev() {
        let place = units[*unit].place(entry)?;
        finish_dir(&place, entry, owners)
            .map_err(|error| because("restore the owner and mode of", entry.path.as_path(), &error))?;
    }
    Ok(done)
}

impl Unit {
    /// Where an entry of this unit goes.
    fn place(&self, entry: &Entry) -> io::Result<PathBuf> {
        let rest = entry.path.as_path().strip_prefix(&self.path).unwrap_or(entry.path.as_path());
        match &self.inside {
            Some(inside) => Ok(inside.at(rest)),
            None if rest.as_os_str().is_empty() => Ok(self.parent.at(&self.name)),
            None => {
                let early = format!("the manifest is damaged: {} comes before its directory", entry.path);
                Err(io::Error::new(io::ErrorKind::InvalidData, early))
            }
        }
    }
}

struct Unpack<'a> {
    shelf: &'a Shelf,
    id: &'a BackupId,
    cancel: &'a Cancel,
    /// Whether we may give files away.
    owners: bool,
    /// Directories to be finished, with the index of their unit.
    dirs: Vec<(Entry, usize)>,
}

impl Unpack<'_> {
    fn entry(&mut self, entry: Entry, index: usize, unit: &mut Unit, done: &mut Unpacked) -> io::Result<()> {
        let place = unit.place(&entry)?;
        let is_unit = entry.path.as_path() == unit.path;
        let failed = |deed: &str, error: &io::Error| because(deed, entry.path.as_path(), error);
        match &entry.kind {
            Kind::Dir => {
                make_dir(&place, !is_unit).map_err(|error| failed("create directory", &error))?;
                if is_unit {
                    unit.inside = Some(unit.parent.enter(&unit.name)?);
                }
            }
            Kind::Symlink { target } => {
                self.link(target, &place, &entry).map_err(|error| failed("create the link", &error))?;
            }
            Kind::File { .. } | Kind::Database { .. } => {
                let (size, expected) = entry.kind.content().unwrap_or((0, Checksum([0; 32])));
                self.file(&place, &entry, size, expected)?;
                done.files += 1;
                done.bytes.0 += size;
            }
        }
        if is_unit {
            unit.met = Some(entry.kind.clone());
        }
        if entry.kind == Kind::Dir {
            self.dirs.push((entry, index));
        }
        Ok(())
    }

    fn file(&self, place: &Path, entry: &Entry, size: u64, expected: Checksum) -> io::Result<()> {
        let failed = |deed: &str, error: &io::Error| because(deed, entry.path.as_path(), error);
        let kept = self.shelf.files(self.id).join(&entry.path);
        let mut from = match File::open(&kept) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(self.damaged(entry, "it is missing")),
            Err(error) => return Err(because("open", &kept, &error)),
        };
        let mut to = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(place);
        let to = to.as_mut().map_err(|error| failed("create", error))?;
        let (copied, sha256) = copy::copy(&mut from, to, self.cancel).map_err(|error| failed("restore", &error))?;
        if copied != size {
            return Err(self.damaged(entry, &format!("it holds {copied} bytes instead of {size}")));
        }
        if sha256 != expected {
            return Err(self.damaged(entry, &format!("its SHA-256 is {sha256} instead of {expected}")));
        }
        self.settle(to, entry).map_err(|error| failed("restore the owner and mode of", &error))
    }

    fn settle(&self, file: &File, entry: &Entry) -> io::Result<()> {
        if self.owners {
            std::os::unix::fs::fchown(file, Some(entry.uid), Some(entry.gid))?;
        }
        // After the owner: giving a file away takes its set-id bits.
        file.set_permissions(Permissions::from_mode(entry.mode))?;
        nix::sys::stat::futimens(file, &TimeSpec::UTIME_OMIT, &time(entry)).map_err(io::Error::from)
    }

    fn link(&self, target: &Path, place: &Path, entry: &Entry) -> io::Result<()> {
        std::os::unix::fs::symlink(target, place)?;
        if self.owners {
            lchown(place, Some(entry.uid), Some(entry.gid))?;
        }
        set_time(place, entry)
    }

    /// The error for a copy that is not what it was; from now on the backup is known as damaged.
    fn damaged(&self, entry: &Entry, what: &str) -> io::Error {
        let why = format!("{} in backup {} is damaged: {what}", entry.path, self.id);
        let marked = self.shelf.mark_damaged(self.id, &why);
        let marked = marked.err().map(|error| format!(" ({error})")).unwrap_or_default();
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{why}{marked}; nothing was put in place, try an older backup"),
        )
    }
}

/// Creates a directory that only we may enter for now; with `again` one of ours may be there already.
fn make_dir(place: &Path, again: bool) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(place) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && again => {
            if fs::symlink_metadata(place)?.is_dir() { Ok(()) } else { Err(error) }
        }
        made => made,
    }
}

fn finish_dir(place: &Path, entry: &Entry, owners: bool) -> io::Result<()> {
    if owners {
        lchown(place, Some(entry.uid), Some(entry.gid))?;
    }
    fs::set_permissions(place, Permissions::from_mode(entry.mode))?;
    set_time(place, entry)
}

fn set_time(place: &Path, entry: &Entry) -> io::Result<()> {
    let [keep, time] = [TimeSpec::UTIME_OMIT, time(entry)];
    utimensat(nix::fcntl::AT_FDCWD, place, &keep, &time, UtimensatFlags::NoFollowSymlink).map_err(io::Error::from)
}

fn time(entry: &Entry) -> TimeSpec {
    let (seconds, rest) = (entry.mtime_ns.div_euclid(1_000_000_000), entry.mtime_ns.rem_euclid(1_000_000_000));
    TimeSpec::new(seconds as _, rest as _)
}
