//! Runs one command to its end: with a deadline, a cancel flag, its own process group, its output as it comes.
//!
//! One poll over the leader's pidfd, the output pipe and the cancel flag; nothing wakes up while nothing happens. Line:
//! what an ending means for a deploy is decided elsewhere.

use crate::base::Span;
use crate::os::cancel::Cancel;
use crate::os::poll::{self, is_ready, readable};
use crate::os::reap::{self, Ended, signal_name};
use crate::os::spawn::{self, Start};
use crate::os::{group, limits, users};
use nix::fcntl::{FcntlArg, OFlag};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What a command has left between SIGTERM and SIGKILL.
pub const GRACE: Duration = Duration::from_secs(5);

/// What to run. The environment is complete: nothing of the daemon's own is added.
#[derive(Debug, Clone, Default)]
pub struct Spec {
    /// Program and arguments. A program without '/' is looked up in the PATH of `env`; one with a '/' that is relative, in `cwd`.
    pub argv: Vec<String>,
    /// The working directory.
    pub cwd: PathBuf,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// Run as this user (uid, gid, supplementary groups); `None`: as ourselves.
    pub user: Option<users::User>,
    /// Added niceness; 0 leaves it. Above 0 `oom_score_adj` goes up too.
    pub nice: i32,
    /// Given on stdin, then end of file; empty: /dev/null.
    pub stdin: Vec<u8>,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With this exit code.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
    /// Ended by us: its time was up.
    TimedOut,
    /// Ended by us: cancelled.
    Cancelled,
}

/// Runs `spec` until it ends, `timeout` passes or `cancel` is raised; then no process of its group is left. Output
/// (stdout and stderr, in order) goes to `output` as it comes. Fails only when the command could not be started: the
/// error says which program, in which directory, and why.
pub fn run(spec: &Spec, timeout: Duration, cancel: &Cancel, output: &mut dyn FnMut(&[u8])) -> io::Result<Ending> {
    if cancel.is_cancelled() {
        return Ok(Ending::Cancelled);
    }
    let deadline = Instant::now().checked_add(timeout);
    let (running, mut pipe) = Running::begin(spec)?;
    let mut phase = Phase::Running;
    loop {
        let exited = wait(&running, &pipe, cancel, phase, deadline)?;
        pipe.pass_on(output);
        if exited {
            break;
        }
        let now = Instant::now();
        let overdue = deadline.is_some_and(|deadline| now >= deadline);
        phase = match phase {
            Phase::Running if cancel.is_cancelled() => running.ask_to_end(Ending::Cancelled, now),
            Phase::Running if overdue => running.ask_to_end(Ending::TimedOut, now),
            Phase::Asked(why, until) if now >= until => running.kill(why, now),
            Phase::Killed(why, until) if now >= until => {
                running.abandon();
                return Ok(why);
            }
            unchanged => unchanged,
        };
    }
    let ended = running.end()?;
    pipe.drain(output);
    Ok(match (phase, ended) {
        (Phase::Asked(why, _) | Phase::Killed(why, _), _) => why,
        (Phase::Running, Ended::Exited(code)) => Ending::Exited(code),
        (Phase::Running, Ended::Signaled { signal, .. }) => Ending::Signaled(signal),
    })
}

/// An ending in words, with the cause people look for first: "exit 1", "not found (exit 127)", "its time was up after 5m".
pub fn explain(ending: Ending, timeout: Duration) -> String {
    match ending {
        Ending::Exited(126) => "not executable (exit 126)".into(),
        Ending::Exited(127) => "not found (exit 127)".into(),
        Ending::Exited(137) => "exit 137: killed by SIGKILL, probably out of memory".into(),
        Ending::Exited(code) => format!("exit {code}"),
        Ending::Signaled(libc::SIGKILL) => "killed by SIGKILL, probably out of memory".into(),
        Ending::Signaled(signal) => format!("killed by {}", signal_name(signal)),
        Ending::TimedOut => format!("its time was up after {}", Span(timeout)),
        Ending::Cancelled => "cancelled".into(),
    }
}

/// How far the end of a command has come.
#[derive(Debug, Clone, Copy)]
enum Phase {
    Running,
    /// SIGTERM was sent; SIGKILL follows at the instant.
    Asked(Ending, Instant),
    /// SIGKILL was sent; a leader that hangs in the kernel is given up at the instant.
    Killed(Ending, Instant),
}

/// Sleeps until something is to be done: output, the end of the leader (`true`), a cancel or the phase's deadline.
fn wait(running: &Running, pipe: &Pipe, cancel: &Cancel, phase: Phase, deadline: Option<Instant>) -> io::Result<bool> {
    let mut fds = vec![readable(running.child.pidfd.as_fd())];
    fds.extend(pipe.open.then(|| readable(pipe.file.as_fd())));
    let deadline = match phase {
        Phase::Running => {
            fds.push(readable(cancel.as_fd()));
            deadline
        }
        Phase::Asked(_, until) | Phase::Killed(_, until) => Some(until),
    };
    poll::until(&mut fds, deadline)?;
    Ok(fds.first().is_some_and(is_ready))
}

/// A started command; dropped before its end (an error on the way) it is killed.
struct Running {
    child: spawn::Child,
    reaped: bool,
}

impl Running {
    fn begin(spec: &Spec) -> io::Result<(Running, Pipe)> {
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        nix::fcntl::fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let stdin = if spec.stdin.is_empty() { None } else { Some(in_memory(&spec.stdin)?) };
        let mut start = Start::new(&spec.argv, &spec.cwd, &spec.env, write.as_fd());
        start.user = spec.user.as_ref();
        start.stdin = stdin.as_ref().map(AsFd::as_fd);
        start.nice = spec.nice;
        start.oom_score_adj = (spec.nice > 0).then(killed_sooner);
        let child = spawn::start(&start)?;
        Ok((Running { child, reaped: false }, Pipe { file: File::from(read), open: true, buffer: vec![0; 64 << 10] }))
    }

    /// A group whose processes have all ended needs no signal: errors are of no interest in the four below.
    fn ask_to_end(&self, why: Ending, now: Instant) -> Phase {
        let _ = group::signal(self.child.pid, libc::SIGTERM);
        let _ = group::signal(self.child.pid, libc::SIGCONT);
        Phase::Asked(why, now + GRACE)
    }
    fn kill(&self, why: Ending, now: Instant) -> Phase {
        let _ = group::signal(self.child.pid, libc::SIGKILL);
        Phase::Killed(why, now + GRACE)
    }
    /// The leader has ended. Its group is killed before it is reaped: until then nobody else can get its number.
    fn end(mut self) -> io::Result<Ended> {
        let _ = group::signal(self.child.pid, libc::SIGKILL);
        self.reaped = true;
        let ended = reap::wait(self.child.pid)?;
        group::wait_gone(self.child.pid, GRACE);
        Ok(ended)
    }
    /// Leaves a process that does not die to whoever collects orphans.
    fn abandon(mut self) {
        self.reaped = true;
        reap::abandon(self.child.pid);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.reaped {
            let _ = group::signal(self.child.pid, libc::SIGKILL);
            let _ = reap::wait(self.child.pid);
        }
    }
}

/// The reading end of a command's output.
struct Pipe {
    file: File,
    open: bool,
    buffer: Vec<u8>,
}

impl Pipe {
    /// Passes on what one read gives; `false` when there is nothing for now.
    fn pass_on(&mut self, output: &mut dyn FnMut(&[u8])) -> bool {
        match self.file.read(&mut self.buffer) {
            Ok(0) => self.open = false,
            Ok(read) => {
                output(self.buffer.get(..read).unwrap_or_default());
                return true;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return true,
            Err(_) => self.open = false,
        }
        false
    }
    /// What is there when the leader has ended, and no more: a process outside the group may hold the pipe for ever.
    fn drain(&mut self, output: &mut dyn FnMut(&[u8])) {
        const PIPE_SIZES: usize = 16;
        for _ in 0..PIPE_SIZES {
            if !self.open || !self.pass_on(output) {
                return;
            }
        }
    }
}

/// The bytes as a file that only descriptors name: no writer has to be woken while the command reads, and a secret
/// meets no disk.
fn in_memory(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create(c"stdin", MFdFlags::MFD_CLOEXEC).map_err(io::Error::from)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

/// Our own score, raised: when memory ends, the build goes before the application.
fn killed_sooner() -> i32 {
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").ok();
    let own: i32 = own.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    (limits::given_oom_score().unwrap_or(own) + 500).min(1000)
}

#[cfg(test)]
mod tests;
