//! Processes of the host as `/proc` shows them, and descriptors that name one for ever.
//!
//! A pid alone names a process only until its number is used again; pid and start time together, or a pidfd, do so for
//! ever. Line: whose processes they are is judged elsewhere.

use crate::os::reap::{self, Ended};
use nix::errno::Errno;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// What `/proc/PID/stat` tells of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// Its process group.
    pub group: u32,
    /// Its session.
    pub session: u32,
    /// When it was started, in clock ticks since boot.
    pub start_time: u64,
    /// Not a zombie, not dead.
    pub runs: bool,
    /// What it and its children that ended and were reaped have computed, in clock ticks.
    pub cpu_ticks: u64,
    /// Its resident set, in pages.
    pub resident_pages: u64,
}

impl Process {
    /// The process `pid` as it is now; `None` when there is none.
    pub fn read(pid: u32) -> Option<Process> {
        let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
        // The program's name, in parentheses, may itself hold blanks, parentheses and bytes that are no UTF-8.
        let stat = String::from_utf8_lossy(&stat);
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_ascii_whitespace();
        let runs = !matches!(fields.next()?, "Z" | "X");
        let mut number = |after: usize| fields.nth(after)?.parse::<u64>().ok();
        Some(Process {
            pid,
            runs,
            parent: number(0)? as u32,
            group: number(0)? as u32,
            session: number(0)? as u32,
            // Four in a row: in user mode, in the kernel, and both again of the reaped children.
            cpu_ticks: number(7)? + number(0)? + number(0)? + number(0)?,
            start_time: number(4)?,
            resident_pages: number(1)?,
        })
    }

    /// A descriptor for exactly this process; `None` when it is gone, whoever has its number now.
    pub fn hold(&self) -> Option<OwnedFd> {
        let pidfd = pidfd_open(self.pid).ok()?;
        let now = Process::read(self.pid)?;
        (now.start_time == self.start_time).then_some(pidfd)
    }

    /// A variable it was started with. One whose environment we may not read has none.
    pub fn variable(&self, name: &[u8]) -> Option<Vec<u8>> {
        let environ = std::fs::read(format!("/proc/{}/environ", self.pid)).ok()?;
        let mut variables = environ.split(|byte| *byte == 0);
        variables.find_map(|variable| variable.strip_prefix(name)?.strip_prefix(b"=").map(<[u8]>::to_vec))
    }

    /// The program's name, as the kernel shortens it.
    pub fn name(&self) -> String {
        let name = std::fs::read(format!("/proc/{}/comm", self.pid)).unwrap_or_default();
        String::from_utf8_lossy(&name).trim_end().to_owned()
    }
}

/// All processes of the host, each as it is when the iterator reaches it.
pub fn processes() -> impl Iterator<Item = Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(Process::read)
}

/// When the process `pid` was started, in clock ticks since boot. None of that number is `NotFound`.
pub fn start_time(pid: u32) -> io::Result<u64> {
    Process::read(pid).map(|process| process.start_time).ok_or(io::ErrorKind::NotFound.into())
}

/// A descriptor for a process that is running (or a zombie): readable once it has ended.
pub fn pidfd_open(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed; a non-negative answer is a new descriptor that nobody else owns.
    unsafe {
        match libc::syscall(libc::SYS_pidfd_open, pid, 0) {
            fd if fd >= 0 => Ok(OwnedFd::from_raw_fd(fd as i32)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Sends `signal` to the process behind `pidfd`. One that has been reaped is `NotFound`.
pub fn signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: no memory is passed: without a siginfo the kernel fills one in as kill does.
    match unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, none, 0) } {
        0 => Ok(()),
        _ => Err(gone_is_not_found(Errno::last())),
    }
}

/// How the process `pid`, held by `pidfd`, ended that is not our child: seen in the zombie, or told by the kernel once its
/// parent has reaped it (since Linux 6.15). `None` when it has not ended, and where nobody tells. To be asked when `pidfd`
/// is readable, by whoever has held it since before the end.
pub fn exit_of(pid: u32, pidfd: BorrowedFd<'_>) -> Option<Ended> {
    let told = || exit_info(pidfd).ok().flatten();
    told().or_else(|| exit_of_zombie(pid, pidfd)).or_else(told)
}

/// A parent may take its time, or be an init that looks only now and then: nobody need wait for it.
fn exit_of_zombie(pid: u32, pidfd: BorrowedFd<'_>) -> Option<Ended> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?;
    let code = fields.nth(48)?.parse().ok()?;
    // Who may not trace it is shown a 0. Of those who may, a zombie has no program to show.
    let may_trace = std::fs::read_link(format!("/proc/{pid}/exe"))
        .is_err_and(|error| error.kind() != io::ErrorKind::PermissionDenied);
    // Not reaped even now: all that was of this process.
    (state == "Z" && may_trace && signal(pidfd, 0).is_ok()).then(|| reap::decode(code))?
}

fn exit_info(pidfd: BorrowedFd<'_>) -> io::Result<Option<Ended>> {
    // SAFETY: the structure is numbers only.
    let mut info: libc::pidfd_info = unsafe { std::mem::zeroed() };
    info.mask = libc::PIDFD_INFO_EXIT.into();
    // SAFETY: the request's number holds the structure's size, of which the kernel writes no more; it outlives the call.
    match unsafe { libc::ioctl(pidfd.as_raw_fd(), libc::PIDFD_GET_INFO, &raw mut info) } {
        0 if info.mask & u64::from(libc::PIDFD_INFO_EXIT) != 0 => Ok(reap::decode(info.exit_code)),
        0 => Ok(None),
        _ => Err(io::Error::last_os_error()),
    }
}

/// `NotFound` for "no such process", which std does not classify.
pub(crate) fn gone_is_not_found(errno: Errno) -> io::Error {
    match errno {
        Errno::ESRCH => io::ErrorKind::NotFound.into(),
        errno => errno.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::poll;
    use std::os::fd::AsFd;
    use std::time::{Duration, Instant};

    #[test]
    fn we_find_ourselves_and_hold_only_who_we_meant() {
        let me = Process::read(std::process::id()).unwrap();
        assert_eq!(me.parent, std::os::unix::process::parent_id());
        assert!(me.runs && me.start_time > 0 && !me.name().is_empty());
        assert!(processes().any(|process| process.pid == me.pid));
        assert!(me.hold().is_some());
        let other = Process { start_time: me.start_time + 1, ..me };
        assert!(other.hold().is_none(), "the same number, another process");
        assert!(Process::read(u32::MAX).is_none());
    }

    #[test]
    fn how_a_process_ended_that_is_not_our_child_is_known_before_and_after_its_parent_reaps_it() {
        use std::io::{BufRead, BufReader, Write};
        use std::process::{Command, Stdio};
        for (end, ended) in [
            (libc::SIGTERM, Ended::Exited(7)),
            (libc::SIGKILL, Ended::Signaled { signal: libc::SIGKILL, core_dumped: false }),
        ] {
            // The shell reaps its child when it has read a line.
            let child = "sh -c 'trap \"exit 7\" TERM; echo $$; while :; do sleep 0.01; done' &";
            let mut parent = Command::new("sh");
            parent.args(["-c", &format!("{child} read go; wait; echo reaped; read end")]);
            let mut parent = parent.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let mut said = BufReader::new(parent.stdout.take().unwrap()).lines();
            let pid = said.next().unwrap().unwrap().parse().unwrap();
            let pidfd = Process::read(pid).unwrap().hold().unwrap();
            assert_eq!(exit_of(pid, pidfd.as_fd()), None, "it runs");
            signal(pidfd.as_fd(), end).unwrap();
            let soon = Instant::now() + Duration::from_secs(20);
            assert!(poll::until(&mut [poll::readable(pidfd.as_fd())], Some(soon)).unwrap());
            assert_eq!(exit_of(pid, pidfd.as_fd()), Some(ended));
            parent.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
            assert_eq!(said.next().unwrap().unwrap(), "reaped");
            // Only this kernel can say whether it knows.
            let told = exit_of(pid, pidfd.as_fd());
            assert!(told == Some(ended) || told.is_none() && exit_info(pidfd.as_fd()).is_err(), "{told:?}");
            drop(parent.stdin.take());
            parent.wait().unwrap();
        }
    }
}
