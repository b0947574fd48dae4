//! Connections to tiny_http over the private socket: kept, opened one at a time, never more than fit.
//!
//! tiny_http gives each connection a thread. Two that are opened at once can be left to one thread, the second behind
//! the first one's answer; so the next is opened when the last one was taken, and one that nobody took in time is tried
//! anew.

use super::limits::{BACK_IDLE, BACKS_KEPT};
use super::tickets::{HEADER, Number};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// One connection, with the request that is on it.
#[derive(Debug)]
pub(super) struct Back {
    stream: UnixStream,
    unsent: Vec<u8>,
}

impl Back {
    /// Sends a request's line and ticket; what does not fit is sent by [`Back::flush`].
    fn send(&mut self, errand: &Errand) -> io::Result<()> {
        self.unsent = errand.head();
        self.flush()
    }

    /// Sends what is left.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(sent) => drop(self.unsent.drain(..sent)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether something is left to be sent.
    pub(super) fn is_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Reads what was answered; 0 is the end.
    pub(super) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.stream.read(into)
    }
}

impl AsFd for Back {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// What is sent: the line of a request whose head and body wait under a ticket.
#[derive(Debug, Clone)]
pub(super) struct Errand {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) ticket: Number,
}

impl Errand {
    fn head(&self) -> Vec<u8> {
        let Errand { method, path, ticket } = self;
        format!("{method} {path} HTTP/1.1\r\nHost: pintle\r\n{HEADER}: {ticket}\r\n\r\n").into_bytes()
    }
}

/// All connections that wait for a request, and how many there are in all.
#[derive(Debug)]
pub(super) struct Backends {
    path: PathBuf,
    most: usize,
    open: usize,
    idle: Vec<Back>,
    /// When the last one came back.
    used: Duration,
    /// The ticket on the one that is being opened, and when nobody will have taken it.
    opening: Option<(Number, Duration)>,
}

/// What became of an errand.
#[derive(Debug)]
pub(super) enum Sent {
    /// It is on its way.
    On(Back),
    /// Not yet: none is free, and none may be opened now.
    Later,
}

impl Backends {
    pub(super) fn at(path: PathBuf, most: usize) -> Backends {
        Backends { path, most, open: 0, idle: Vec::new(), used: Duration::ZERO, opening: None }
    }

    /// Sends an errand; `until` is when a connection opened for it will have been taken. `announce` is told before one
    /// is opened.
    pub(super) fn send(&mut self, errand: &Errand, until: Duration, announce: impl FnOnce()) -> io::Result<Sent> {
        while let Some(mut back) = self.idle.pop() {
            match back.send(errand) {
                Ok(()) => return Ok(Sent::On(back)),
                Err(_) => self.gone(),
            }
        }
        if self.opening.is_some() || self.open >= self.most {
            return Ok(Sent::Later);
        }
        announce();
        let stream = match UnixStream::connect(&self.path) {
            Ok(stream) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Sent::Later),
            Err(error) => return Err(error),
        };
        stream.set_nonblocking(true)?;
        let mut back = Back { stream, unsent: Vec::new() };
        back.send(errand)?;
        self.open += 1;
        self.opening = Some((errand.ticket, until));
        Ok(Sent::On(back))
    }

    /// A connection whose answer was read to its end.
    pub(super) fn put_back(&mut self, back: Back, now: Duration) {
        self.used = now;
        self.idle.push(back);
    }

    /// A connection that was given up.
    pub(super) fn gone(&mut self) {
        self.open = self.open.saturating_sub(1);
    }

    /// The ticket on the connection that is being opened.
    pub(super) fn opening(&self) -> Option<Number> {
        self.opening.map(|(ticket, _)| ticket)
    }

    /// It was taken, or given up: the next may be opened.
    pub(super) fn opened(&mut self) {
        self.opening = None;
    }

    /// The ticket on a connection that nobody took in time.
    pub(super) fn untaken(&self, now: Duration) -> Option<Number> {
        self.opening.filter(|(_, until)| *until <= now).map(|(ticket, _)| ticket)
    }

    /// When one was not taken, or too many are kept.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let taken = self.opening.map(|(_, until)| until);
        let kept = (self.idle.len() > BACKS_KEPT).then_some(self.used + BACK_IDLE);
        taken.into_iter().chain(kept).min()
    }

    /// Gives up those that nobody needed for a while.
    pub(super) fn tidy(&mut self, now: Duration) {
        if self.idle.len() > BACKS_KEPT && self.used + BACK_IDLE <= now {
            self.open -= self.idle.len() - BACKS_KEPT;
            self.idle.truncate(BACKS_KEPT);
        }
    }
}
