//! The pipe through which an instance's output goes: a FIFO with a name, which a daemon that comes later finds again.
//!
//! The instance has it open for reading and writing: it is its own reader, so that it never meets a closed pipe, and what
//! it says while no daemon runs waits in the pipe. We keep the read end only, which ends when the instance's last copy is
//! closed. Line: who reads, and where it is written down, is the scribe's matter.

use crate::base::InstanceId;
use crate::os::files::because;
use crate::os::users::User;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, fchown, mkfifo};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What an instance may say while nobody reads, in bytes.
pub(super) const PIPE_SIZE: i32 = 1 << 20;

/// Both ends of a new one.
#[derive(Debug)]
pub struct Output {
    /// For the scribe; the only one to be kept. Does not block.
    pub read: OwnedFd,
    /// For the instance's stdout and stderr. Our copy is to be closed as soon as it has its own.
    pub write: OwnedFd,
}

impl Output {
    /// Makes the FIFO `DIR/N.out` of an instance, in the place of one that is there; large, where the kernel allows. It
    /// belongs to `owner`, who can open it by `/dev/stdout` then.
    pub fn make(dir: &Path, instance: InstanceId, owner: Option<&User>) -> io::Result<Output> {
        let path = path(dir, instance);
        let make = || mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR);
        let made = match make() {
            Err(Errno::EEXIST) => {
                remove(dir, instance)?;
                make()
            }
            made => made,
        };
        made.map_err(|errno| because("make the pipe", &path, &errno.into()))?;
        let read = reopen(dir, instance)?;
        let write = OpenOptions::new().read(true).write(true).open(&path);
        let write = OwnedFd::from(write.map_err(|error| because("open", &path, &error))?);
        if let Some(user) = owner.filter(|user| user.uid != nix::unistd::geteuid().as_raw()) {
            let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
            fchown(&write, Some(uid), Some(gid))
                .map_err(|errno| because("change the owner of", &path, &errno.into()))?;
        }
        let _ = fcntl(&read, FcntlArg::F_SETPIPE_SZ(PIPE_SIZE));
        Ok(Output { read, write })
    }
}

/// The read end of an instance's FIFO, by its name. Where the instance has ended, what it said last is lost with it:
/// only a kept end holds that.
pub fn reopen(dir: &Path, instance: InstanceId) -> io::Result<OwnedFd> {
    let path = path(dir, instance);
    let read = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path);
    let read = read.map_err(|error| because("open", &path, &error))?;
    match read.metadata().is_ok_and(|meta| meta.file_type().is_fifo()) {
        true => Ok(read.into()),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} is no pipe", path.display()))),
    }
}

/// Takes the name away; whoever has it open keeps what it has. None of that name is no error.
pub fn remove(dir: &Path, instance: InstanceId) -> io::Result<()> {
    let path = path(dir, instance);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(because("remove", &path, &error)),
        _ => Ok(()),
    }
}

fn path(dir: &Path, instance: InstanceId) -> PathBuf {
    dir.join(format!("{}.out", instance.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::{read, write};
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn what_was_said_waits_for_the_next_reader_and_ends_with_the_writer() {
        let dir = std::env::temp_dir().join(format!("pintle-output-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let seven = InstanceId(7);
        let nobody = User { name: "nobody".into(), uid: 65534, gid: 65534, groups: vec![], home: "/".into() };
        let owner = crate::os::users::is_root().then_some(&nobody);
        let made = Output::make(&dir, seven, owner).unwrap();
        let meta = fs::metadata(dir.join("7.out")).unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, 0o600);
        assert_eq!(meta.uid(), owner.map_or(nix::unistd::geteuid().as_raw(), |user| user.uid));
        let mut buffer = [0; 64];
        assert_eq!(read(&made.read, &mut buffer), Err(Errno::EAGAIN));

        drop(made.read);
        assert_eq!(write(&made.write, b"nobody reads"), Ok(12), "and no SIGPIPE");
        let again = reopen(&dir, seven).unwrap();
        assert_eq!(read(&again, &mut buffer), Ok(12));
        assert!(fcntl(&again, FcntlArg::F_GETPIPE_SZ).unwrap() >= 1 << 16);
        write(&made.write, b"last words").unwrap();
        drop(made.write);
        assert_eq!(read(&again, &mut buffer), Ok(10));
        assert_eq!(read(&again, &mut buffer), Ok(0), "no writer is left");

        let other = Output::make(&dir, seven, None).unwrap();
        write(&other.write, b"x").unwrap();
        assert_eq!(read(&again, &mut buffer), Ok(0), "the name stands for a new one");
        remove(&dir, seven).unwrap();
        remove(&dir, seven).unwrap();
        assert!(reopen(&dir, seven).unwrap_err().to_string().contains("7.out"));
        fs::write(dir.join("7.out"), "").unwrap();
        assert!(reopen(&dir, seven).unwrap_err().to_string().contains("is no pipe"));
        fs::remove_dir_all(&dir).unwrap();
    }
}
