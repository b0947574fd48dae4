//! systemd's descriptor store, spoken to as `sd_pid_notify_with_fds(3)` does.
//!
//! Not the sd-notify crate: its part for descriptors brings another dependency, and it cannot address an abstract
//! socket. The unit needs `FileDescriptorStoreMax=`; what is above it systemd closes without telling us.

use crate::os::message;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::sys::stat::fstat;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// Which file a descriptor is of: device and inode.
type File = (u64, u64);

/// Whether whoever reads our notices is systemd. Other supervisors (podman, another Pintle) read notices too, and would
/// take descriptors only to close them.
pub(super) fn is_there() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    set("NOTIFY_SOCKET") && (set("FDSTORE") || sd_notify::booted().unwrap_or(false))
}

/// What it was given, and has given back.
#[derive(Debug)]
pub(super) struct Systemd {
    kept: BTreeMap<String, File>,
}

impl Systemd {
    pub(super) fn knowing(back: &[(String, OwnedFd)]) -> Systemd {
        let kept = back.iter().filter_map(|(name, fd)| Some((name.clone(), file(fd.as_fd()).ok()?)));
        Systemd { kept: kept.collect() }
    }

    /// systemd keeps several descriptors of one name, and the same one once: another file's is removed first.
    pub(super) fn keep(&mut self, name: &str, fd: BorrowedFd<'_>) -> io::Result<()> {
        let file = file(fd)?;
        if self.kept.get(name).is_some_and(|before| *before != file) {
            remove(name)?;
        }
        // Not polled: it would close the read end of a FIFO, and the last words in it, as soon as the writer has ended.
        tell(&format!("FDSTORE=1\nFDNAME={name}\nFDPOLL=0\n"), &[fd])?;
        self.kept.insert(name.to_owned(), file);
        Ok(())
    }

    pub(super) fn forget(&mut self, name: &str) -> io::Result<()> {
        match self.kept.remove(name) {
            Some(_) => remove(name),
            None => Ok(()),
        }
    }
}

fn remove(name: &str) -> io::Result<()> {
    tell(&format!("FDSTOREREMOVE=1\nFDNAME={name}\n"), &[])
}

fn tell(text: &str, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let path = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
    let told = || {
        let socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        connect(socket.as_raw_fd(), &address(&path)?)?;
        message::send(socket.as_fd(), text.as_bytes(), fds)
    };
    told().map_err(|error: io::Error| {
        io::Error::new(error.kind(), format!("tell systemd at {}: {error}", path.display()))
    })
}

fn address(path: &OsStr) -> io::Result<UnixAddr> {
    Ok(match path.as_bytes().strip_prefix(b"@") {
        Some(name) => UnixAddr::new_abstract(name)?,
        None => UnixAddr::new(path)?,
    })
}

fn file(fd: BorrowedFd<'_>) -> io::Result<File> {
    let stat = fstat(fd)?;
    #[allow(clippy::unnecessary_cast, reason = "their types differ between architectures")]
    Ok((stat.st_dev as u64, stat.st_ino as u64))
}
