//! Runs one command to its end: with a deadline, a cancel flag, its own process group, its output as it comes.

use crate::os::cancel::Cancel;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

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
    pub user: Option<crate::os::users::User>,
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
    let _ = (spec, timeout, cancel, output);
    unimplemented!()
}
