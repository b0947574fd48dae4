//! The socket on which a service tells how it is (`sd_notify(3)`): one per instance, named in its `NOTIFY_SOCKET`.
//!
//! What counts is who sends: the service's user and root, by the kernel's word; messages of others are dropped. A path too
//! long for a socket becomes an abstract name, which anybody may write to. Line: what a message says is read elsewhere.

use crate::base::InstanceId;
use crate::os::files::{because, make_dir};
use crate::os::message::{self, Received};
use crate::os::users::User;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, getsockname, setsockopt, socket, sockopt};
use sha2::{Digest, Sha256};
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// Longer messages are dropped, as systemd does.
const MESSAGE_MAX: usize = 4096;
/// Bytes of a path that a socket can have.
const PATH_MAX: usize = 107;

/// The receiving end.
#[derive(Debug)]
pub struct NotifySocket {
    socket: OwnedFd,
    name: String,
    /// Who may speak, beside root.
    uid: u32,
}

impl NotifySocket {
    /// Binds `DIR/N.sock` in the place of one that is there, for a service that runs as `owner` (`None`: as ourselves). The
    /// directory is made: everybody may pass through it and nobody list it.
    pub fn bind(dir: &Path, instance: InstanceId, owner: Option<&User>) -> io::Result<NotifySocket> {
        let path = dir.join(format!("{}.sock", instance.0));
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Unix, SockType::Datagram, flags, None)?;
        // Before it has a name: a message that came earlier would have no sender.
        setsockopt(&socket, sockopt::PassCred, &true)?;
        let name = if path.as_os_str().len() > PATH_MAX {
            let name = abstract_name(&path);
            let address = UnixAddr::new_abstract(name.as_bytes())?;
            bind(socket.as_raw_fd(), &address)
                .map_err(|errno| because("listen on @", Path::new(&name), &errno.into()))?;
            format!("@{name}")
        } else {
            bind_path(&socket, &path, owner).map_err(|error| because("listen on", &path, &error))?;
            utf8(&path)?
        };
        Ok(NotifySocket { socket, name, uid: uid_of(owner) })
    }

    /// One that an earlier daemon bound for a service that runs as `owner`. Where its path is gone, no service can reach
    /// it any more: `NotFound`, and it is to be bound anew.
    pub fn from_kept(socket: OwnedFd, owner: Option<&User>) -> io::Result<NotifySocket> {
        let address: UnixAddr = getsockname(socket.as_raw_fd())?;
        let name = match (address.path(), address.as_abstract()) {
            (Some(path), _) => {
                path.symlink_metadata().map_err(|error| because("find the kept socket", path, &error))?;
                utf8(path)?
            }
            (None, Some(name)) => format!("@{}", String::from_utf8_lossy(name)),
            (None, None) => return Err(io::Error::new(io::ErrorKind::InvalidInput, "the kept socket has no name")),
        };
        fcntl(&socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        setsockopt(&socket, sockopt::PassCred, &true)?;
        Ok(NotifySocket { socket, name, uid: uid_of(owner) })
    }

    /// Its place as `NOTIFY_SOCKET` has it: a path, or `@` and an abstract name.
    pub fn path(&self) -> &str {
        &self.name
    }

    /// At most `most` messages that are waiting, in order. Descriptors that came with them are closed, which is what
    /// `sd_notify_barrier(3)` waits for.
    pub fn receive(&self, most: usize) -> Vec<Vec<u8>> {
        let mut buffer = [0; MESSAGE_MAX + 1];
        let mut messages = Vec::new();
        let counts = |received: &Received| {
            received.length <= MESSAGE_MAX && received.uid.is_some_and(|uid| uid == 0 || uid == self.uid)
        };
        for _ in 0..most {
            match message::receive(self.socket.as_fd(), &mut buffer) {
                Ok(received) if counts(&received) => {
                    messages.push(buffer.get(..received.length).unwrap_or_default().to_vec());
                }
                Ok(received) => log::debug!("{}: dropped a message of user {:?}", self.name, received.uid),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    log::warn!("receive notices on {}: {error}", self.name);
                    break;
                }
            }
        }
        messages
    }

    /// Takes the name away: the service has ended.
    pub fn remove(self) {
        if !self.name.starts_with('@')
            && let Err(error) = fs::remove_file(&self.name)
            && error.kind() != io::ErrorKind::NotFound
        {
            log::warn!("remove {}: {error}", self.name);
        }
    }
}

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn bind_path(socket: &OwnedFd, path: &Path, owner: Option<&User>) -> io::Result<()> {
    let address = UnixAddr::new(path)?;
    match bind(socket.as_raw_fd(), &address) {
        Err(Errno::EADDRINUSE) => {
            fs::remove_file(path)?;
            bind(socket.as_raw_fd(), &address)?;
        }
        // Only the first ever: a crashed app should not wait for a look at what nearly always is there.
        Err(Errno::ENOENT) => {
            make_passable(path.parent().unwrap_or(path))?;
            bind(socket.as_raw_fd(), &address)?;
        }
        bound => bound?,
    }
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    match owner.filter(|user| user.uid != nix::unistd::geteuid().as_raw()) {
        Some(user) => chown(path, Some(user.uid), Some(user.gid)),
        None => Ok(()),
    }
}

/// Whatever the umask says.
fn make_passable(dir: &Path) -> io::Result<()> {
    make_dir(dir, 0o711)?;
    fs::set_permissions(dir, Permissions::from_mode(0o711))
}

/// Different for every directory and instance, and the same whenever it is asked for.
fn abstract_name(path: &Path) -> String {
    let hash = Sha256::digest(path.as_os_str().as_encoded_bytes());
    let digits: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("pintle/notify/{digits}")
}

fn uid_of(owner: Option<&User>) -> u32 {
    owner.map_or_else(|| nix::unistd::geteuid().as_raw(), |user| user.uid)
}

fn utf8(path: &Path) -> io::Result<String> {
    let text = PathBuf::from(path).into_os_string().into_string();
    text.map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("{} is no UTF-8", path.display())))
}

#[cfg(test)]
mod tests;
