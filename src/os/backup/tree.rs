//! Directories held open, and the walk below them.
//!
//! The trees that are backed up belong to the application, and the daemon may be root: a directory must not turn into a
//! link between the look and the step. So every directory is opened without following links and everything in it is
//! reached through that descriptor, as `/proc/self/fd/N/NAME`.

use crate::backup::path::escape;
use crate::os::cancel::Cancel;
use crate::os::files::because;
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Each level holds a descriptor; the usual limit is 1024, and no path deeper than this is in any sane tree.
const DEEPEST: usize = 200;

/// An open directory and the name people know it by.
pub(super) struct Dir {
    file: File,
    shown: PathBuf,
}

impl Dir {
    /// Opens a directory that is ours, links in its path followed.
    pub(super) fn open(path: &Path) -> io::Result<Dir> {
        let file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(path);
        Ok(Dir { file: file.map_err(|error| because("open directory", path, &error))?, shown: path.to_path_buf() })
    }
    /// Opens the directory `name` in this one; fails when it is a link.
    pub(super) fn enter(&self, name: &OsStr) -> io::Result<Dir> {
        let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(self.at(name));
        let shown = self.shown.join(name);
        Ok(Dir { file: file.map_err(|error| because("open directory", &shown, &error))?, shown })
    }
    /// Opens the directory at `path` below this one. A link on the way is followed only when it is ours or root's: then
    /// whoever owns the data did not lay it.
    pub(super) fn descend(&self, path: &Path) -> io::Result<Dir> {
        let mut here = Dir { file: self.file.try_clone()?, shown: self.shown.clone() };
        for name in path.iter() {
            let link = fs::symlink_metadata(here.at(name)).is_ok_and(|meta| meta.is_symlink() && is_trusted(&meta));
            here = match link {
                true => {
                    let real = fs::canonicalize(here.at(name));
                    Dir::open(&real.map_err(|error| because("follow", &here.shown.join(name), &error))?)?
                }
                false => here.enter(name)?,
            };
        }
        Ok(here)
    }
    /// The path by which the kernel finds `name` in this very directory.
    pub(super) fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.file.as_raw_fd())).join(name)
    }
    /// The path of `name` in this directory as people know it.
    pub(super) fn shown(&self, name: impl AsRef<Path>) -> PathBuf {
        self.shown.join(name)
    }
    /// Where this directory is now, free of links.
    pub(super) fn real(&self) -> io::Result<PathBuf> {
        fs::read_link(format!("/proc/self/fd/{}", self.file.as_raw_fd()))
    }
    pub(super) fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }
    /// Makes entries created, renamed or removed here durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all().map_err(|error| because("sync directory", &self.shown, &error))
    }
}

/// Whether a link was laid by us or by root.
pub(super) fn is_trusted(link: &Metadata) -> bool {
    link.uid() == 0 || link.uid() == nix::unistd::geteuid().as_raw()
}

/// Something the walk met.
pub(super) struct Met<'a> {
    /// The directory it is in.
    pub(super) dir: &'a Dir,
    /// Its name there.
    pub(super) name: &'a OsStr,
    /// Its path relative to the working directory.
    pub(super) path: &'a Path,
    /// What it is; never that of a link's target.
    pub(super) meta: &'a Metadata,
}

impl Met<'_> {
    /// `deed PATH: error`, with the path as people know it.
    pub(super) fn because(&self, deed: &str, error: &io::Error) -> io::Error {
        because(deed, Path::new(&escape(&self.dir.shown(self.name))), error)
    }
}

/// What the visitor says about a directory it met.
#[derive(PartialEq, Eq)]
pub(super) enum Then {
    Enter,
    PassBy,
}

/// Visits `name` in `dir` and everything below it: a directory before what it holds, its files before its directories.
/// What vanishes between the look and the step is passed over. Fails on the first error of `visit`, on a directory that
/// cannot be read and on a cancel.
pub(super) fn walk(
    dir: &Dir,
    name: &OsStr,
    path: &Path,
    cancel: &Cancel,
    visit: &mut dyn FnMut(&Met) -> io::Result<Then>,
) -> io::Result<()> {
    let walk = &mut Walk { cancel, visit };
    walk.step(dir, name, path, 0)
}

struct Walk<'a> {
    cancel: &'a Cancel,
    visit: &'a mut dyn FnMut(&Met) -> io::Result<Then>,
}

impl Walk<'_> {
    fn step(&mut self, dir: &Dir, name: &OsStr, path: &Path, depth: usize) -> io::Result<()> {
        if self.cancel.is_cancelled() {
            return Err(super::cancelled());
        }
        let meta = match fs::symlink_metadata(dir.at(name)) {
            Ok(meta) => meta,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(because("look at", &dir.shown(name), &error)),
        };
        let then = (self.visit)(&Met { dir, name, path, meta: &meta })?;
        if !meta.is_dir() || then == Then::PassBy {
            return Ok(());
        }
        if depth == DEEPEST {
            let deep = format!("{} holds more than {DEEPEST} levels of directories", dir.shown(name).display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, deep));
        }
        match dir.enter(name) {
            Ok(inner) => self.below(&inner, path, depth),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn below(&mut self, dir: &Dir, path: &Path, depth: usize) -> io::Result<()> {
        let mut later = Vec::new();
        let unread = |error: io::Error| because("read directory", &dir.shown, &error);
        for entry in fs::read_dir(dir.at("")).map_err(unread)? {
            let entry = entry.map_err(unread)?;
            match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                true => later.push(entry.file_name()),
                false => self.step(dir, &entry.file_name(), &path.join(entry.file_name()), depth + 1)?,
            }
        }
        later.iter().try_for_each(|name| self.step(dir, name, &path.join(name), depth + 1))
    }
}
