//! The processes that belong to one started program, and their end - all of them, wherever they hid.
//!
//! A program is started as leader of its own session and group; its children stay there unless they leave on purpose
//! (`setsid`). Those are found by a variable that the program was started with and its children inherited. Line: when
//! something is ended, and how long it may take, is decided by the caller.

use crate::os::poll::{self, readable};
use crate::os::process::{self, Process, gone_is_not_found, processes};
use nix::errno::Errno;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

/// How long processes that were killed are waited for: all but those that hang in the kernel go at once.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// Sends `signal` to every process of the group whose leader is (or was) `leader`. A group without processes is
/// `NotFound`.
pub fn signal(leader: u32, signal: i32) -> io::Result<()> {
    let group = libc::pid_t::try_from(leader).ok().filter(|pid| *pid > 1);
    let group =
        group.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("no process group: {leader}")))?;
    // SAFETY: passes integers only.
    match unsafe { libc::killpg(group, signal) } {
        0 => Ok(()),
        _ => Err(gone_is_not_found(Errno::last())),
    }
}

/// Waits until no process of the group `leader` runs any more (zombies do not count), at most `within`; `false` when
/// some still do. To be asked after SIGKILL, whose effect is not immediate.
pub fn wait_gone(leader: u32, within: Duration) -> bool {
    let deadline = Instant::now() + within;
    // Nearly always nothing is left, which costs one system call and no look at /proc.
    while signal(leader, 0).is_ok() {
        let members = running(&|process| process.group == leader);
        if members.is_empty() {
            return true;
        }
        if !wait_for(&members, deadline) {
            return false;
        }
    }
    true
}

/// The variable a program is started with so that its children can be found wherever they went.
pub const MARKER: &str = "PINTLE_INSTANCE";

/// Kills every process of the session `session` and every one that was started with [`MARKER`] set to `marker` (or, when
/// that ends in '.', to anything that begins so), and their children, until none is left but ones that cannot be
/// killed. Returns how many were killed. A session whose leader was reaped may only be named while a process is in it.
pub fn sweep(session: Option<u32>, marker: &str) -> usize {
    end_all(&|process| session == Some(process.session) || is_marked(process, marker), Duration::ZERO).len()
}

/// The same for processes with any of `markers`, wherever they are, in one look. Returns how many were killed.
pub fn sweep_marked(markers: &[String]) -> usize {
    let is_one = |value: &[u8]| markers.iter().any(|marker| marker.as_bytes() == value);
    let belongs = |process: &Process| process.has_variable(|name, value| name == MARKER.as_bytes() && is_one(value));
    end_all(&belongs, Duration::ZERO).len()
}

/// Whether `process` inherited [`MARKER`] with the value `marker`; ending in '.', with any value that begins so.
pub(crate) fn is_marked(process: &Process, marker: &str) -> bool {
    process.has_variable(|name, value| {
        name == MARKER.as_bytes()
            && (value == marker.as_bytes() || marker.ends_with('.') && value.starts_with(marker.as_bytes()))
    })
}

/// Ends every process that `belongs`: SIGTERM and `grace`, where it is not zero, then SIGKILL until none is left.
/// Returns all that were signalled.
pub(crate) fn end_all(belongs: &dyn Fn(&Process) -> bool, grace: Duration) -> Vec<Process> {
    let mut ended = Vec::new();
    if !grace.is_zero() {
        let asked = running(belongs);
        for (process, pidfd) in &asked {
            let _ = process::signal(pidfd.as_fd(), libc::SIGTERM);
            let _ = process::signal(pidfd.as_fd(), libc::SIGCONT);
            ended.push(*process);
        }
        wait_for(&asked, Instant::now() + grace);
    }
    let deadline = Instant::now() + LAST_WAIT;
    loop {
        // Looked for again each time: one that forked before it died left children.
        let killed = running(belongs);
        for (process, pidfd) in &killed {
            let _ = process::signal(pidfd.as_fd(), libc::SIGKILL);
            if !ended.iter().any(|known: &Process| (known.pid, known.start_time) == (process.pid, process.start_time)) {
                ended.push(*process);
            }
        }
        if killed.is_empty() || !wait_for(&killed, deadline) {
            return ended;
        }
    }
}

fn running(belongs: &dyn Fn(&Process) -> bool) -> Vec<(Process, OwnedFd)> {
    let others = processes().filter(|process| process.runs && process.pid != std::process::id());
    let found = others.filter(|process| belongs(process));
    found.filter_map(|process| Some((process, process.hold()?))).collect()
}

/// Waits until all have ended; `false` when some have not by `deadline`.
fn wait_for(held: &[(Process, OwnedFd)], deadline: Instant) -> bool {
    held.iter().all(|(_, pidfd)| poll::until(&mut [readable(pidfd.as_fd())], Some(deadline)).unwrap_or(false))
}
