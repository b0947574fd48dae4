//! Process groups, which is what a started program and its children are ended as.

use crate::os::poll::{self, readable};
use crate::os::spawn::pidfd_open;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// Sends `signal` to every process of the group whose leader is (or was) `leader`. A group without processes is
/// `NotFound`.
pub fn signal(leader: u32, signal: i32) -> io::Result<()> {
    let group = libc::pid_t::try_from(leader).ok().filter(|pid| *pid > 1);
    let group =
        group.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("no process group: {leader}")))?;
    // SAFETY: passes integers only.
    match unsafe { libc::killpg(group, signal) } {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ESRCH) => Err(io::ErrorKind::NotFound.into()),
            error => Err(error),
        },
    }
}

/// Waits until no process of the group `leader` runs any more (zombies do not count), at most `within`; `false` when
/// some still do. To be asked after SIGKILL, whose effect is not immediate.
pub fn wait_gone(leader: u32, within: Duration) -> bool {
    let deadline = Instant::now() + within;
    loop {
        // Nearly always nothing is left, which costs one system call and no look at /proc.
        if signal(leader, 0).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return true;
        }
        let Some(member) = processes().find(|process| process.group == leader && process.runs) else { return true };
        let Ok(pidfd) = pidfd_open(member.pid) else { continue };
        if !poll::until(&mut [readable(pidfd.as_fd())], Some(deadline)).unwrap_or(false) {
            return false;
        }
    }
}

/// What `/proc/PID/stat` tells of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    pub(crate) group: u32,
    pub(crate) session: u32,
    pub(crate) start_time: u64,
    /// Not a zombie, not dead.
    pub(crate) runs: bool,
}

impl Process {
    /// The process `pid` as it is now; `None` when there is none.
    pub(crate) fn read(pid: u32) -> Option<Process> {
        let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
        // The program's name, in parentheses, may itself hold blanks, parentheses and bytes that are no UTF-8.
        let stat = String::from_utf8_lossy(&stat);
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_ascii_whitespace();
        Some(Process {
            pid,
            runs: !matches!(fields.next()?, "Z" | "X"),
            parent: fields.next()?.parse().ok()?,
            group: fields.next()?.parse().ok()?,
            session: fields.next()?.parse().ok()?,
            start_time: fields.nth(15)?.parse().ok()?,
        })
    }
}

/// All processes of the host that can be read, as they are when the iterator reaches them.
pub(crate) fn processes() -> impl Iterator<Item = Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(Process::read)
}
