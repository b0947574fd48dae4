//! How our own children ended, each asked for by its pid.
//!
//! `waitpid(-1)` is never used: it would steal the exit status of a command another thread waits for. Orphans that
//! were reparented to us are collected one by one, and only those nobody else waits for. Line: what an ending means is
//! decided elsewhere.

use std::fmt;
use std::io;

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
    match waitpid(pid, 0)? {
        Some(ended) => Ok(ended),
        None => Err(io::Error::other(format!("the kernel did not say how pid {pid} ended"))),
    }
}

/// How our child `pid` ended, which is then forgotten; `None` while it runs. A pid that is not (or no longer) our child
/// is an error.
pub fn try_wait(pid: u32) -> io::Result<Option<Ended>> {
    waitpid(pid, libc::WNOHANG)
}

// Not nix: its decoding fails, with the status lost, for a death by a real-time signal.
fn waitpid(pid: u32, flags: i32) -> io::Result<Option<Ended>> {
    let target = libc::pid_t::try_from(pid).ok().filter(|pid| *pid > 0);
    let target = target.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("no pid: {pid}")))?;
    let mut status = 0;
    loop {
        // SAFETY: `status` outlives the call, which writes one integer to it.
        match unsafe { libc::waitpid(target, &raw mut status, flags) } {
            0 => return Ok(None),
            -1 => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => continue,
                error => return Err(error),
            },
            _ => return Ok(decode(status)),
        }
    }
}

fn decode(status: i32) -> Option<Ended> {
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
    fn only_our_own_children_are_waited_for() {
        assert!(wait(1).is_err());
        assert!(try_wait(std::process::id()).is_err());
        assert!(wait(0).is_err(), "0 would mean any child of the group");
        assert!(wait(u32::MAX).is_err(), "-1 would mean any child");
    }
}
