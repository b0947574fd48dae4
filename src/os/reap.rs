//! How our own children ended, each asked for by its pid.
//!
//! `waitpid(-1)` is never used: it would steal the exit status of a command another thread waits for. Orphans that
//! were reparented to us are collected one by one, and only those nobody else waits for: what we started ourselves is
//! registered from the moment it exists until it is reaped. Line: what an ending means is decided elsewhere.

use crate::os::process::{Process, processes};
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Our own children.
static STARTED: Mutex<Started> = Mutex::new(Started { pids: BTreeSet::new(), starting: 0 });

struct Started {
    /// Started and not yet reaped.
    pids: BTreeSet<u32>,
    /// Being started: they exist perhaps, but their numbers are not yet known.
    starting: usize,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By itself, with this exit code.
    Exited(i32),
    /// By a signal.
    Signaled {
        /// Its number.
        signal: i32,
        /// Whether the kernel wrote (or piped) a core dump.
        core_dumped: bool,
    },
}

impl Ended {
    /// Exit code 0.
    pub fn is_success(self) -> bool {
        self == Ended::Exited(0)
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Exited(code) => write!(f, "exit {code}"),
            Ended::Signaled { signal, core_dumped } => {
                let core = if *core_dumped { ", core dumped" } else { "" };
                write!(f, "killed by {}{core}", signal_name(*signal))
            }
        }
    }
}

/// `SIGTERM` for 15; `signal 34` for one without a name.
pub fn signal_name(signal: i32) -> String {
    nix::sys::signal::Signal::try_from(signal).map_or_else(|_| format!("signal {signal}"), |s| s.as_str().to_owned())
}

/// Waits for our child `pid` to end and forgets it. Blocks: ask when its pidfd is readable.
pub fn wait(pid: u32) -> io::Result<Ended> {
    // Without reaping: between the end of a blocking wait and the lock the number could already be another child's.
    let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: `info` outlives the call, which writes one structure to it.
    while unsafe { libc::waitid(libc::P_PID, pid, info.as_mut_ptr(), libc::WEXITED | libc::WNOWAIT) } != 0 {
        match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => {}
            error => return Err(error),
        }
    }
    let ended = try_wait(pid)?;
    ended.ok_or_else(|| io::Error::other(format!("the kernel did not say how pid {pid} ended")))
}

/// How our child `pid` ended, which is then forgotten; `None` while it runs. A pid that is not (or no longer) our child
/// is an error.
pub fn try_wait(pid: u32) -> io::Result<Option<Ended>> {
    let mut started = started();
    let ended = waitpid(pid)?;
    if ended.is_some() {
        started.pids.remove(&pid);
    }
    Ok(ended)
}

/// Makes a child by `start` and registers it, so that nobody takes it for an orphan.
pub(crate) fn register(start: impl FnOnce() -> io::Result<u32>) -> io::Result<u32> {
    // Not locked meanwhile: a start may hang on a sick disk.
    started().starting += 1;
    let pid = start();
    let mut started = started();
    started.starting -= 1;
    started.pids.extend(pid.as_ref().ok());
    pid
}

/// Registers a child that an earlier image of this process has started (see [`reexec`](crate::os::reexec)): it is waited
/// for by its pid like any other.
pub fn register_existing(pid: u32) {
    started().pids.insert(pid);
}

/// Gives a child that does not die to [`reap_orphans`].
pub(crate) fn abandon(pid: u32) {
    started().pids.remove(&pid);
}

/// From now on our descendants' orphans become our children instead of init's, and [`reap_orphans`] is to be called
/// now and then: their zombies would stay.
pub fn become_subreaper() -> io::Result<()> {
    // SAFETY: passes integers only.
    match unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Reaps the zombies that became our children as orphans; returns how many. What was started by `spawn` or `command`
/// is left to its waiter, and so is every pid that `known` answers for (a child of `std::process::Command`). While
/// something is being started none is reaped: the next call will find them.
pub fn reap_orphans(known: &dyn Fn(u32) -> bool) -> usize {
    let me = std::process::id();
    let zombies = processes().filter(|process| process.parent == me && !process.runs).collect::<Vec<_>>();
    let started = started();
    if started.starting > 0 {
        return 0;
    }
    let orphans = zombies.iter().filter(|Process { pid, .. }| !started.pids.contains(pid) && !known(*pid));
    orphans.filter(|process| waitpid(process.pid).is_ok_and(|ended| ended.is_some())).count()
}

fn started() -> MutexGuard<'static, Started> {
    // Numbers are whole whatever their last holder was doing.
    STARTED.lock().unwrap_or_else(PoisonError::into_inner)
}

// Not nix: its decoding fails, with the status lost, for a death by a real-time signal.
fn waitpid(pid: u32) -> io::Result<Option<Ended>> {
    let target = libc::pid_t::try_from(pid).ok().filter(|pid| *pid > 0);
    let target = target.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("no pid: {pid}")))?;
    let mut status = 0;
    loop {
        // SAFETY: `status` outlives the call, which writes one integer to it.
        match unsafe { libc::waitpid(target, &raw mut status, libc::WNOHANG) } {
            0 => return Ok(None),
            -1 => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => continue,
                error => return Err(error),
            },
            _ => return Ok(decode(status)),
        }
    }
}

/// A wait status in words; `None` for one that is no ending.
pub(crate) fn decode(status: i32) -> Option<Ended> {
    if libc::WIFEXITED(status) {
        return Some(Ended::Exited(libc::WEXITSTATUS(status)));
    }
    libc::WIFSIGNALED(status)
        .then(|| Ended::Signaled { signal: libc::WTERMSIG(status), core_dumped: libc::WCOREDUMP(status) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_read_as_people_say_them() {
        let table = [
            (0, "exit 0"),
            (3 << 8, "exit 3"),
            (libc::SIGSEGV | 0x80, "killed by SIGSEGV, core dumped"),
            (libc::SIGKILL, "killed by SIGKILL"),
            (34, "killed by signal 34"),
        ];
        for (status, words) in table {
            assert_eq!(decode(status).unwrap().to_string(), words);
        }
    }

    #[test]
    fn orphans_are_reaped_and_children_are_left_to_their_waiters() {
        // In a process of its own, where all children are this test's.
        let own = std::env::current_exe().unwrap();
        let name = "os::reap::tests::in_a_process_of_its_own";
        let run = std::process::Command::new(own).args(["--exact", name, "--ignored", "--nocapture"]).output().unwrap();
        let said = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success() && said.contains("1 passed"), "{said}");
    }

    #[test]
    #[ignore = "the test above runs it in a process of its own"]
    fn in_a_process_of_its_own() {
        use crate::os::command::{self, Ending, Spec};
        become_subreaper().unwrap();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let argv = ["/bin/sh", "-c", "setsid --fork sh -c 'exit 5'; exit 4"].map(String::from).to_vec();
        let spec =
            Spec { argv, cwd: "/".into(), env: vec![("PATH".into(), "/usr/bin:/bin".into())], ..Spec::default() };
        let timeout = std::time::Duration::from_secs(20);
        let cancel = crate::os::cancel::Cancel::new().unwrap();
        assert_eq!(command::run(&spec, timeout, &cancel, &mut |_| {}).unwrap(), Ending::Exited(4));
        let deadline = std::time::Instant::now() + timeout;
        let known = child.id();
        while reap_orphans(&|pid| pid == known) == 0 {
            assert!(std::time::Instant::now() < deadline, "the orphan became ours and a zombie");
        }
        assert_eq!(reap_orphans(&|pid| pid == known), 0);
        assert!(child.wait().unwrap().success(), "the known one still has its ending");
    }

    #[test]
    fn only_our_own_children_are_waited_for() {
        assert!(wait(1).is_err());
        assert!(try_wait(std::process::id()).is_err());
        assert!(wait(0).is_err(), "0 would mean any child of the group");
        assert!(wait(u32::MAX).is_err(), "-1 would mean any child");
    }
}
