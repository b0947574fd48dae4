//! The bytes of one public connection: what the guard reads and writes, whatever carries it.
//!
//! Nothing here waits: what cannot be done now is [`io::ErrorKind::WouldBlock`], and [`Wire::interest`] says for what to
//! poll. Line: what the bytes mean, and how long anything may take, is not known here; TLS itself is in `tls`.

use super::tls::Session;
use nix::poll::PollFlags;
use rustls::ServerConfig;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// A public connection's non-blocking stream.
#[derive(Debug)]
pub(super) struct Wire {
    socket: Socket,
    /// `None`: the bytes go as they are.
    tls: Option<Box<Session>>,
}

impl Wire {
    /// A connection just accepted; from now on it blocks nobody.
    pub(super) fn over_tcp(stream: TcpStream) -> io::Result<Wire> {
        stream.set_nonblocking(true)?;
        // An answer is written in few large pieces; the last of them waits for nobody's acknowledgement.
        stream.set_nodelay(true)?;
        Ok(Wire { socket: Socket::Tcp(stream), tls: None })
    }

    /// The same on a Unix socket.
    pub(super) fn over_unix(stream: UnixStream) -> io::Result<Wire> {
        stream.set_nonblocking(true)?;
        Ok(Wire { socket: Socket::Unix(stream), tls: None })
    }

    /// The same, with TLS from the first byte on.
    pub(super) fn secured(mut self, config: &Arc<ServerConfig>) -> io::Result<Wire> {
        let session = Session::new(config).map_err(io::Error::other)?;
        self.tls = Some(Box::new(session));
        Ok(self)
    }

    /// Reads what is there; 0 is the end of what the client sends.
    pub(super) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            Some(tls) => tls.read(&mut self.socket, into),
            None => self.socket.read(into),
        }
    }

    /// Writes what can be taken now and says how much that was. What was not taken is to be offered again as it was.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            Some(tls) => tls.write(&mut self.socket, bytes),
            None => self.socket.write(bytes),
        }
    }

    /// Carries on what the wire does for itself: a handshake, bytes taken by [`write`](Wire::write) and not sent yet.
    /// Called whenever the socket is ready, before anything is read or written. `WouldBlock` is no end.
    pub(super) fn progress(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        let done = match tls.progress(&mut self.socket) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            done => done,
        };
        if tls.has_taken_leave() {
            self.socket.say_no_more();
        }
        done
    }

    /// What to poll for, when the connection wants `wanted`: a handshake may have to write before it can read.
    pub(super) fn interest(&self, wanted: PollFlags) -> PollFlags {
        match &self.tls {
            Some(tls) if tls.wants_write() => wanted | PollFlags::POLLOUT,
            // There is nobody yet who could take what is to be written.
            Some(tls) if tls.handshaking() => PollFlags::POLLIN,
            _ => wanted,
        }
    }

    /// Whether bytes were received already that [`read`](Wire::read) has not given out: the socket will not tell of them.
    pub(super) fn has_unread(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.has_unread())
    }

    /// Whether nothing can be read yet because the two sides still agree on how.
    pub(super) fn handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.handshaking())
    }

    /// Says that nothing more will be written. Reading goes on, so that a client which still sends reads the answer
    /// before it meets a reset.
    pub(super) fn close(&mut self) {
        match &mut self.tls {
            None => self.socket.say_no_more(),
            Some(tls) => {
                tls.close(&mut self.socket);
                if tls.has_taken_leave() {
                    self.socket.say_no_more();
                }
            }
        }
    }
}

impl Drop for Wire {
    /// A client that hears no farewell must take what it read for a fragment.
    fn drop(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.close(&mut self.socket);
        }
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Tcp(stream) => stream.as_fd(),
            Socket::Unix(stream) => stream.as_fd(),
        }
    }
}

/// What the bytes go through at last.
#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    fn say_no_more(&self) {
        let _ = match self {
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Socket::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }
}

impl Read for Socket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.read(into),
            Socket::Unix(stream) => stream.read(into),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.write(bytes),
            Socket::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
