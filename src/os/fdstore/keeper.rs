//! `pintle keep`: a process that holds descriptors and does nothing else, so that there is nothing it could die of.
//!
//! It is started by the daemon with a listening socket as descriptor 3, belongs to no terminal, and ends when it is told
//! to (SIGTERM, or the daemon's orderly end). Daemon and keeper may be of different versions: what follows may be added
//! to, never changed.
//!
//! Each request is one packet, a letter and a name; each answer ends with a packet that begins with `+` (done) or `-` (not,
//! and why).
//!
//! | request | meaning |
//! |---|---|
//! | `P`NAME, one descriptor | keep it, instead of what has this name |
//! | `D`NAME | close it |
//! | `T` | give copies of all: packets `F`NAME NUL NAME ... with as many descriptors, then `+` |
//! | `E` | close all, and end |

use crate::os::message;
use crate::os::poll::{self, readable};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockaddrLike, SockaddrStorage, accept4, getsockname, getsockopt, setsockopt, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// What each side waits for the other one, seconds.
const PATIENCE: i64 = 2;
/// Descriptors in one message: below the kernel's 253, and few enough for a small buffer of names.
pub(super) const MOST_FDS: usize = 64;
/// Bytes of one message: as many of the longest names, each with its separator, and the letter.
pub(super) const MOST_BYTES: usize = MOST_FDS * (super::NAME_MAX + 1) + 1;

/// How a keeper is started.
#[derive(Debug, Clone)]
pub(super) struct Command {
    /// What is executed.
    pub(super) program: String,
    /// Its arguments, the program's name first.
    pub(super) argv: Vec<String>,
}

impl Command {
    /// The program that runs now, even when its file has been replaced.
    pub(super) fn own() -> Command {
        Command { program: "/proc/self/exe".into(), argv: vec!["pintle".into(), "keep".into()] }
    }
}

/// The whole life of a keeper; returns the process's exit code.
pub fn run() -> u8 {
    let Some(listener) = inherited() else {
        eprintln!("pintle keep: it is started by `pintle run`, which passes it a socket; start `pintle run`");
        return 64;
    };
    // SAFETY: ignoring runs no code of ours.
    let ignored = [Signal::SIGHUP, Signal::SIGPIPE].map(|number| unsafe { signal(number, SigHandler::SigIgn) });
    match ignored.into_iter().collect::<Result<Vec<_>, _>>().map_err(io::Error::from).and_then(|_| serve(&listener)) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

/// The listening socket passed as descriptor 3.
fn inherited() -> Option<OwnedFd> {
    const PASSED: RawFd = 3;
    let address: SockaddrStorage = getsockname(PASSED).ok()?;
    // SAFETY: it is open, as getsockname has just shown, and nobody else in this process knows of it.
    let fd = unsafe { OwnedFd::from_raw_fd(PASSED) };
    let listens = getsockopt(&fd, sockopt::AcceptConn).unwrap_or(false);
    (listens && address.family() == Some(AddressFamily::Unix)).then_some(fd)
}

/// Serves one daemon at a time, the latest: an earlier one is dead, or has been replaced by this one.
fn serve(listener: &OwnedFd) -> io::Result<()> {
    let mut kept = Vec::new();
    let mut daemon: Option<OwnedFd> = None;
    loop {
        let listening = readable(listener.as_fd());
        let (comes, asks) = match &daemon {
            None => (poll::until(&mut [listening], None)?, false),
            Some(daemon) => {
                let mut fds = [listening, readable(daemon.as_fd())];
                poll::until(&mut fds, None)?;
                (poll::is_ready(&fds[0]), poll::is_ready(&fds[1]))
            }
        };
        if asks && let Some(socket) = &daemon {
            match answer(socket.as_fd(), &mut kept) {
                Ok(Next::Wait) => {}
                Ok(Next::End) => return Ok(()),
                Err(_) => daemon = None,
            }
        }
        if comes {
            daemon = accept(listener).or(daemon);
        }
    }
}

/// `None` for a stranger, and where it is not possible now.
fn accept(listener: &OwnedFd) -> Option<OwnedFd> {
    match accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC) {
        Ok(fd) => {
            // SAFETY: accept4 has just made it; nobody else owns it.
            let socket = unsafe { OwnedFd::from_raw_fd(fd) };
            (is_one_of_us(socket.as_fd()) && be_patient(socket.as_fd()).is_ok()).then_some(socket)
        }
        Err(_) => {
            // Too many open files pass; whoever comes waits, and we do not turn in circles.
            std::thread::sleep(Duration::from_millis(100));
            None
        }
    }
}

enum Next {
    Wait,
    End,
}

type Kept = Vec<(Box<str>, OwnedFd)>;

/// Answers one request. An error means that this daemon is gone, or does not speak our language.
fn answer(daemon: BorrowedFd<'_>, kept: &mut Kept) -> io::Result<Next> {
    let mut buffer = [0; super::NAME_MAX + 2];
    let received = message::receive(daemon, &mut buffer)?;
    let request = std::str::from_utf8(buffer.get(..received.length).unwrap_or_default());
    let (verb, name) =
        request.ok().and_then(|request| request.split_at_checked(1)).ok_or(io::ErrorKind::InvalidData)?;
    let place = kept.iter().position(|(known, _)| **known == *name);
    match (verb, received.fds.into_iter().next()) {
        ("P", Some(fd)) if received.whole && !name.is_empty() => match place.and_then(|place| kept.get_mut(place)) {
            Some((_, before)) => *before = fd,
            None => kept.push((name.into(), fd)),
        },
        ("P", _) => return message::send(daemon, b"-it has too many open files", &[]).map(|()| Next::Wait),
        ("D", _) => drop(place.map(|place| kept.swap_remove(place))),
        ("T", _) => give(daemon, kept)?,
        ("E", _) => return message::send(daemon, b"+", &[]).map(|()| Next::End),
        _ => return message::send(daemon, b"-it does not know this request", &[]).map(|()| Next::Wait),
    }
    message::send(daemon, b"+", &[]).map(|()| Next::Wait)
}

fn give(daemon: BorrowedFd<'_>, kept: &Kept) -> io::Result<()> {
    kept.chunks(MOST_FDS).try_for_each(|some| {
        let names: Vec<&str> = some.iter().map(|(name, _)| &**name).collect();
        let fds: Vec<BorrowedFd<'_>> = some.iter().map(|(_, fd)| fd.as_fd()).collect();
        message::send(daemon, format!("F{}", names.join("\0")).as_bytes(), &fds)
    })
}

/// Whether the other end of a connection is our own user's or root's.
pub(super) fn is_one_of_us(socket: BorrowedFd<'_>) -> bool {
    let own = nix::unistd::geteuid().as_raw();
    getsockopt(&socket, sockopt::PeerCredentials).is_ok_and(|peer| [0, own].contains(&peer.uid()))
}

/// Whoever does not answer for a while is given up, so that nobody hangs because the other one does.
pub(super) fn be_patient(socket: BorrowedFd<'_>) -> io::Result<()> {
    let patience = TimeVal::seconds(PATIENCE);
    setsockopt(&socket, sockopt::ReceiveTimeout, &patience)?;
    Ok(setsockopt(&socket, sockopt::SendTimeout, &patience)?)
}
