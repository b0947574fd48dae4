//! The bytes of one public connection: what the guard reads and writes, whatever carries it.
//!
//! Nothing here waits: what cannot be done now is [`io::ErrorKind::WouldBlock`], and [`Wire::interest`] says for what to
//! poll. Line: what the bytes mean, and how long anything may take, is not known here.

use nix::poll::PollFlags;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// A public connection's non-blocking stream.
#[derive(Debug)]
pub(super) enum Wire {
    /// TCP, as it is.
    Tcp(TcpStream),
    /// A Unix socket, as it is.
    Unix(UnixStream),
}

impl Wire {
    /// A connection just accepted; from now on it blocks nobody.
    pub(super) fn over_tcp(stream: TcpStream) -> io::Result<Wire> {
        stream.set_nonblocking(true)?;
        // An answer is written in few large pieces; the last of them waits for nobody's acknowledgement.
        stream.set_nodelay(true)?;
        Ok(Wire::Tcp(stream))
    }

    /// The same on a Unix socket.
    pub(super) fn over_unix(stream: UnixStream) -> io::Result<Wire> {
        stream.set_nonblocking(true)?;
        Ok(Wire::Unix(stream))
    }

    /// Reads what is there; 0 is the end of what the client sends.
    pub(super) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Tcp(stream) => stream.read(into),
            Wire::Unix(stream) => stream.read(into),
        }
    }

    /// Writes what can be taken now and says how much that was.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Tcp(stream) => stream.write(bytes),
            Wire::Unix(stream) => stream.write(bytes),
        }
    }

    /// Carries on what the wire does for itself: a handshake, bytes taken by [`write`](Wire::write) and not sent yet.
    /// Called whenever the socket is ready, before anything is read or written.
    pub(super) fn progress(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// What to poll for, when the connection wants `wanted`: a handshake may have to write before it can read.
    pub(super) fn interest(&self, wanted: PollFlags) -> PollFlags {
        wanted
    }

    /// Whether bytes were received already that [`read`](Wire::read) has not given out: the socket will not tell of them.
    pub(super) fn has_unread(&self) -> bool {
        false
    }

    /// Whether nothing can be read yet because the two sides still agree on how.
    pub(super) fn handshaking(&self) -> bool {
        false
    }

    /// Says that nothing more will be written. Reading goes on, so that a client which still sends reads the answer
    /// before it meets a reset.
    pub(super) fn close(&mut self) {
        let _ = match self {
            Wire::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Wire::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Wire::Tcp(stream) => stream.as_fd(),
            Wire::Unix(stream) => stream.as_fd(),
        }
    }
}
