//! The processes that belong to one started program, and their end - all of them, wherever they hid.
//!
//! A program is started as leader of its own session and group; its children stay there unless they leave on purpose
//! (`setsid`). Those are found by a variable that the program was started with and its children inherited. A control
//! group (`cgroup`) needs none of this; it is for hosts that give us none. Line: when something is ended, and how long it
//! may take, is decided by the caller.

use crate::os::poll::{self, readable};
use crate::os::process::{self, Process, gone_is_not_found, processes};
use nix::errno::Errno;
use std::collections::{BTreeSet, HashSet};
use std::io;
use std::os::fd::AsFd;
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
        let members = processes().filter(|process| process.runs && process.group == leader).collect::<Vec<_>>();
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

/// What a program that has ended may have left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trail {
    /// What [`MARKER`] was set to when it was started.
    pub marker: String,
    /// When it was started, in clock ticks since boot: what it started is not older. 0 when that is not known.
    pub since: u64,
}

/// Kills every process that follows one of these trails, and its children, until none is left but ones that cannot be
/// killed. Returns how many. The processes of `sessions` - those of programs that run - are not looked at: nobody gets
/// into the session of another program, and among hundreds of services this is what keeps a sweep cheap.
pub fn sweep(trails: &[Trail], sessions: &BTreeSet<u32>) -> usize {
    let Some(since) = trails.iter().map(|trail| trail.since).min() else { return 0 };
    let may_follow = |process: &Process| process.start_time >= since && !sessions.contains(&process.session);
    let follows = |value: &[u8]| trails.iter().any(|trail| value == trail.marker.as_bytes());
    end_all(&|process| may_follow(process) && marker(process).is_some_and(|value| follows(&value)), Duration::ZERO)
        .len()
}

/// What [`MARKER`] was set to when `process` was started.
pub(crate) fn marker(process: &Process) -> Option<Vec<u8>> {
    process.variable(MARKER.as_bytes()).filter(|value| !value.is_empty())
}

/// Ends every process that `belongs`: SIGTERM and `grace`, where it is not zero, then SIGKILL until none is left.
/// Returns all that were signalled.
///
/// Before they are killed they are stopped, and looked for until no more are found: one that is killed makes room for
/// another, and some fork faster than that, but one that is stopped forks no more and keeps its place.
pub(crate) fn end_all(belongs: &dyn Fn(&Process) -> bool, grace: Duration) -> Vec<Process> {
    let mut hunt = Hunt { belongs, spared: HashSet::new(), ended: Vec::new() };
    if !grace.is_zero() {
        let (asked, _) = hunt.look(&[libc::SIGTERM, libc::SIGCONT]);
        wait_for(&asked, Instant::now() + grace);
        hunt.ended.extend(asked);
    }
    let deadline = Instant::now() + LAST_WAIT;
    loop {
        let stopped = hunt.stop(deadline);
        for process in &stopped {
            send(process, &[libc::SIGKILL]);
        }
        let all_gone = wait_for(&stopped, deadline);
        let none_found = stopped.is_empty();
        hunt.remember(stopped);
        if none_found || !all_gone {
            return hunt.ended;
        }
    }
}

struct Hunt<'a> {
    belongs: &'a dyn Fn(&Process) -> bool,
    /// Those that do not belong, by pid and start time: nobody's environment is read twice.
    spared: HashSet<(u32, u64)>,
    ended: Vec<Process>,
}

impl Hunt<'_> {
    /// Stops all that belong, until a look finds no more of them (or the deadline has passed); returns them.
    fn stop(&mut self, deadline: Instant) -> Vec<Process> {
        let mut stopped: Vec<Process> = Vec::new();
        let mut known = HashSet::new();
        loop {
            let (mut found, others) = self.look(&[libc::SIGSTOP]);
            found.retain(|process| known.insert((process.pid, process.start_time)));
            // The kernel stops a whole group at once, with those that were forked since we looked.
            let groups = found.iter().map(|process| process.group).collect::<BTreeSet<_>>();
            for group in groups.difference(&others) {
                let _ = signal(*group, libc::SIGSTOP);
            }
            let none_new = found.is_empty();
            stopped.extend(found);
            if none_new || Instant::now() >= deadline {
                return stopped;
            }
        }
    }

    /// One look at all processes: those that belong, each sent `signals` as soon as it was found, and the groups of all
    /// others.
    fn look(&mut self, signals: &[i32]) -> (Vec<Process>, BTreeSet<u32>) {
        let (mut found, mut others) = (Vec::new(), BTreeSet::new());
        for process in processes().filter(|process| process.runs) {
            let name = (process.pid, process.start_time);
            let spared = process.pid == std::process::id() || self.spared.contains(&name);
            if !spared && (self.belongs)(&process) {
                // One that has gone meanwhile counts too: it may have forked before.
                send(&process, signals);
                found.push(process);
            } else {
                self.spared.insert(name);
                others.insert(process.group);
            }
        }
        (found, others)
    }

    fn remember(&mut self, processes: Vec<Process>) {
        let known = self.ended.iter().map(|process| (process.pid, process.start_time)).collect::<HashSet<_>>();
        self.ended.extend(processes.into_iter().filter(|process| !known.contains(&(process.pid, process.start_time))));
    }
}

/// One descriptor at a time: there may be thousands.
fn send(process: &Process, signals: &[i32]) {
    let Some(pidfd) = process.hold() else { return };
    for signal in signals {
        let _ = process::signal(pidfd.as_fd(), *signal);
    }
}

/// Waits until all have ended; `false` when some have not by `deadline`.
fn wait_for(processes: &[Process], deadline: Instant) -> bool {
    processes.iter().all(|process| match process.hold() {
        Some(pidfd) => poll::until(&mut [readable(pidfd.as_fd())], Some(deadline)).unwrap_or(false),
        None => true,
    })
}

#[cfg(test)]
mod tests;
