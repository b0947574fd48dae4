//! A directory held open: names in it are reached by descriptor, and no symbolic link is ever followed on the way.
//!
//! The trees it is used on belong to an application's user, who may swap a directory for a link at any moment. What
//! goes through here cannot be led out of the tree by that.

use crate::os::users::User;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, readlinkat, renameat};
use nix::sys::stat::{Mode, SFlag, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, symlinkat, unlinkat};
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

/// An open directory, and the path it was opened by for error texts.
pub(super) struct Folder {
    fd: OwnedFd,
    path: PathBuf,
}

/// What stands at a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    Link,
    Directory,
    Other,
}

const DIRECTORY: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_CLOEXEC).union(OFlag::O_RDONLY);

impl Folder {
    /// Opens `path`, which is ours: links in it are the operator's and are followed.
    pub(super) fn open(path: &Path) -> io::Result<Folder> {
        let fd = openat(AT_FDCWD, path, DIRECTORY, Mode::empty()).map_err(|errno| failed("open", path, errno))?;
        Ok(Folder { fd, path: path.to_path_buf() })
    }

    /// The directory `name` in this one.
    pub(super) fn enter(&self, name: &OsStr) -> io::Result<Folder> {
        let path = self.path.join(name);
        match openat(&self.fd, name, DIRECTORY | OFlag::O_NOFOLLOW, Mode::empty()) {
            Ok(fd) => Ok(Folder { fd, path }),
            // Which of the two a kernel says for a link differs; what to say about it does not.
            Err(Errno::ELOOP | Errno::ENOTDIR) => Err(io::Error::new(
                io::ErrorKind::NotADirectory,
                format!("open {}: it is not a directory (a symbolic link is not followed here)", path.display()),
            )),
            Err(errno) => Err(failed("open", &path, errno)),
        }
    }

    /// The directory at the relative `path`, every step of it a real directory.
    pub(super) fn descend(&self, path: &Path) -> io::Result<Folder> {
        let mut folder = self.enter(OsStr::new("."))?;
        for name in names(path)? {
            folder = folder.enter(name)?;
        }
        Ok(folder)
    }

    /// The same, making what is missing, owned by `owner`.
    pub(super) fn descend_making(&self, path: &Path, owner: Option<&User>) -> io::Result<Folder> {
        let mut folder = self.enter(OsStr::new("."))?;
        for name in names(path)? {
            if folder.look(name)? == Found::Nothing {
                folder.make(name, owner)?;
            }
            folder = folder.enter(name)?;
        }
        Ok(folder)
    }

    pub(super) fn look(&self, name: &OsStr) -> io::Result<Found> {
        let found = match fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(found) => found,
            Err(Errno::ENOENT) => return Ok(Found::Nothing),
            Err(errno) => return Err(failed("look at", &self.path.join(name), errno)),
        };
        Ok(match SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFDIR => Found::Directory,
            SFlag::S_IFLNK => Found::Link,
            _ => Found::Other,
        })
    }

    /// Makes the directory `name`, owned by `owner`.
    pub(super) fn make(&self, name: &OsStr, owner: Option<&User>) -> io::Result<()> {
        mkdirat(&self.fd, name, Mode::from_bits_truncate(0o755))
            .map_err(|errno| failed("create directory", &self.path.join(name), errno))?;
        self.give(name, owner)
    }

    /// Points the link `name` at `target` by rename, replacing a link, a file or nothing. A link that leads there
    /// already is left alone: a full disk cannot take a new one.
    pub(super) fn point(&self, name: &OsStr, target: &Path, owner: Option<&User>) -> io::Result<()> {
        if readlinkat(&self.fd, name).is_ok_and(|found| found == target.as_os_str()) {
            return Ok(());
        }
        let mut temp = std::ffi::OsString::from(".pintle-link.");
        temp.push(name);
        let swap = || -> Result<(), Errno> {
            match unlinkat(&self.fd, temp.as_os_str(), UnlinkatFlags::NoRemoveDir) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(errno) => return Err(errno),
            }
            symlinkat(target, &self.fd, temp.as_os_str())?;
            renameat(&self.fd, temp.as_os_str(), &self.fd, name)
        };
        swap().map_err(|errno| failed("link", &self.path.join(name), errno))?;
        self.give(name, owner)
    }

    /// Moves `name` to `new_name` in `other`. The bare error code, because EXDEV has its own answer.
    pub(super) fn move_to(&self, name: &OsStr, other: &Folder, new_name: &OsStr) -> Result<(), Errno> {
        renameat(&self.fd, name, &other.fd, new_name)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the names in it durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        nix::unistd::fsync(&self.fd).map_err(|errno| failed("sync", &self.path, errno))
    }

    /// Gives `name` - itself, were it a link - to `owner`, if there is one.
    pub(super) fn give(&self, name: &OsStr, owner: Option<&User>) -> io::Result<()> {
        let Some(owner) = owner else { return Ok(()) };
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        fchownat(&self.fd, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
            .map_err(|errno| failed("give to the application's user", &self.path.join(name), errno))
    }
}

/// The names a relative path consists of; one that leads upwards or begins at the root is refused.
pub(super) fn names(path: &Path) -> io::Result<Vec<&OsStr>> {
    path.components()
        .filter(|part| *part != Component::CurDir)
        .map(|part| match part {
            Component::Normal(name) => Ok(name),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{}: a path within a release must be relative and hold no `..`", path.display()),
            )),
        })
        .collect()
}

pub(super) fn failed(deed: &str, path: &Path, errno: Errno) -> io::Error {
    crate::os::files::because(deed, path, &io::Error::from(errno))
}
