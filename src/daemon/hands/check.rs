//! A socket that one starting instance has for itself, behind those it shares: where it answers there, it is ready.
//!
//! With shared sockets nobody knows who answered. The socket goes when the instance is ready, or over.

use crate::base::InstanceId;
use crate::config::Address;
use crate::os::sockets;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// It, and where it is.
#[derive(Debug)]
pub(in super::super) struct Check {
    socket: OwnedFd,
    address: Address,
}

impl Check {
    /// One like `public`; that of a service on a Unix socket is in `dir`.
    pub(super) fn make(public: &Address, dir: &Path, instance: InstanceId) -> io::Result<Check> {
        let path = dir.join(format!("{}.check", instance.0));
        let (socket, address) = sockets::private_at(public, &path)?;
        Ok(Check { socket, address })
    }

    /// One that an earlier daemon made; `None` where it is no such socket.
    pub(super) fn from_kept(socket: OwnedFd) -> Option<Check> {
        let address = sockets::address_of(&socket)?;
        Some(Check { socket, address })
    }

    /// Where to ask.
    pub(super) fn address(&self) -> &Address {
        &self.address
    }
}

impl AsFd for Check {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Check {
    fn drop(&mut self) {
        sockets::unlink(&self.address);
    }
}
