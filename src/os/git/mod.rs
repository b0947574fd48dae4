//! Git, by its own program: one call, its limits, and what it says when it fails.
//!
//! Every call runs with a clean environment, never asks anyone anything, runs no hook and meets outside strings only
//! after they were checked. `access` is how git proves who it is, `mirror` the bare copy of the configured branch,
//! `checkout` a working tree from it, `presence` whether an object is
//! there at all, `complaint` what git's error texts mean for people. Line: nothing here knows
//! releases or deploys.

mod access;
mod checkout;
mod complaint;
#[cfg(test)]
pub(in crate::os) mod fixture;
mod mirror;
mod presence;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod token_tests;

pub use mirror::{Mirror, Relation, Subject};

use crate::base::{Moment, Span};
use crate::os::cancel::Cancel;
use crate::os::command::{self, Ending, Spec};
use crate::os::files::because;
use crate::os::users::User;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

/// How long a question to the local mirror may take. Only a dying disk needs more.
const QUESTION: Duration = Duration::from_secs(60);

/// The end of a failed call's output is what its error is read from; the rest went to the log.
const REMEMBERED: usize = 16 << 10;

/// What sets our calls apart from everybody else's.
static MARK: OnceLock<(String, String)> = OnceLock::new();

/// From now on every call carries this variable: a daemon that is killed leaves its calls behind, and the next one finds
/// them by it. Said once.
pub fn mark(variable: (String, String)) {
    let _ = MARK.set(variable);
}

/// What bounds a piece of work that takes several commands: one deadline for all, a cancel flag, where output goes.
pub struct Limits<'a> {
    until: Duration,
    cancel: &'a Cancel,
    output: &'a mut dyn FnMut(&[u8]),
}

impl<'a> Limits<'a> {
    /// The deadline is `timeout` from now. `output` receives what the commands print, as they print it.
    pub fn new(timeout: Duration, cancel: &'a Cancel, output: &'a mut dyn FnMut(&[u8])) -> Limits<'a> {
        Limits { until: Moment::now().mono.saturating_add(timeout), cancel, output }
    }
    /// Time that is left; zero when the deadline has passed.
    pub fn left(&self) -> Duration {
        self.until.saturating_sub(Moment::now().mono)
    }
    /// Tells whoever follows the work, on a line of its own.
    pub(in crate::os) fn say(&mut self, line: &str) {
        (self.output)(format!("{line}\n").as_bytes());
    }
}

/// One call of git, made ready.
#[derive(Debug, Clone)]
struct Call {
    spec: Spec,
}

/// Why a call did not do what it was asked.
#[derive(Debug)]
enum Failure {
    /// It could not be started; most often there is no git.
    NotStarted(io::Error),
    /// Its time was up.
    TimedOut(Duration),
    /// It was cancelled.
    Cancelled,
    /// It ended with this code (128 and more: by a signal) after saying this.
    Failed(i32, String),
}

impl Call {
    /// A call that works on the repository `git_dir`, whoever owns it, and never on one around it.
    fn on(git_dir: &Path) -> io::Result<Call> {
        Ok(Call::new(git_dir.parent().unwrap_or(git_dir)).arg(format!("--git-dir={}", text(git_dir)?)))
    }
    /// A call in the working tree `dir`.
    fn within(dir: &Path) -> Call {
        Call::new(dir)
    }
    fn new(cwd: &Path) -> Call {
        let call = Call {
            spec: Spec {
                argv: vec!["git".into()],
                cwd: cwd.to_path_buf(),
                env: environment(std::env::vars()).into_iter().chain(MARK.get().cloned()).collect(),
                ..Spec::default()
            },
        };
        SETTINGS.iter().fold(call, |call, setting| call.config(setting))
    }
    fn arg(mut self, arg: impl Into<String>) -> Call {
        self.spec.argv.push(arg.into());
        self
    }
    fn args(mut self, args: &[&str]) -> Call {
        self.spec.argv.extend(args.iter().map(|arg| (*arg).to_owned()));
        self
    }
    /// A setting for this call (and what it calls). Never a secret: it is seen in the list of processes.
    fn config(self, setting: &str) -> Call {
        self.arg("-c").arg(setting)
    }
    fn env(mut self, name: &str, value: impl Into<String>) -> Call {
        self.spec.env.retain(|(present, _)| present != name);
        self.spec.env.push((name.to_owned(), value.into()));
        self
    }
    /// Runs as `user`, at home there, instead of as ourselves.
    fn user(mut self, user: Option<&User>) -> Call {
        self.spec.user = user.cloned();
        match user {
            Some(user) => self.env("HOME", user.home.to_string_lossy()).env("USER", user.name.clone()),
            None => self,
        }
    }

    /// Runs the call; its output goes to the limits' sink.
    fn run(&self, limits: &mut Limits) -> Result<(), Failure> {
        let mut said = Vec::new();
        let timeout = limits.left();
        if timeout.is_zero() {
            return Err(Failure::TimedOut(timeout));
        }
        let ending = command::run(&self.spec, timeout, limits.cancel, &mut |bytes| {
            (limits.output)(bytes);
            said.extend_from_slice(bytes);
            if said.len() > 2 * REMEMBERED {
                said.drain(..said.len() - REMEMBERED);
            }
        });
        judge(ending, timeout, &said).map(drop)
    }
    /// Runs the call within the limits and returns what it said, at most [`REMEMBERED`] bytes of it and what came with
    /// them.
    fn answer(&self, limits: &mut Limits) -> Result<String, Failure> {
        let timeout = limits.left();
        let mut said = Vec::new();
        let ending = command::run(&self.spec, timeout, limits.cancel, &mut |bytes| {
            if said.len() < REMEMBERED {
                said.extend_from_slice(bytes);
            }
        });
        judge(ending, timeout, &said)
    }
    /// Runs the call as a question and returns its answer. Warnings of git may stand between the lines.
    fn ask(&self) -> Result<String, Failure> {
        let cancel = Cancel::new().map_err(Failure::NotStarted)?;
        let mut said = Vec::new();
        let ending = command::run(&self.spec, QUESTION, &cancel, &mut |bytes| said.extend_from_slice(bytes));
        judge(ending, QUESTION, &said)
    }
}

fn judge(ending: io::Result<Ending>, timeout: Duration, said: &[u8]) -> Result<String, Failure> {
    let said = String::from_utf8_lossy(said).into_owned();
    match ending.map_err(Failure::NotStarted)? {
        Ending::Exited(0) => Ok(said),
        Ending::Exited(code) => Err(Failure::Failed(code, said)),
        Ending::Signaled(signal) => Err(Failure::Failed(128 + signal, said)),
        Ending::TimedOut => Err(Failure::TimedOut(timeout)),
        Ending::Cancelled => Err(Failure::Cancelled),
    }
}

impl Failure {
    /// The failure of `deed` as an error for people. Its kind is `TimedOut` at the deadline, `Interrupted` when
    /// cancelled, `NotFound` for a missing git.
    fn because(self, deed: &str) -> io::Error {
        match self {
            Failure::NotStarted(error) if error.kind() == io::ErrorKind::NotFound => io::Error::new(
                io::ErrorKind::NotFound,
                format!("{deed}: git is not installed: apt install git ({error})"),
            ),
            Failure::NotStarted(error) => io::Error::new(error.kind(), format!("{deed}: {error}")),
            Failure::TimedOut(timeout) => io::Error::new(
                io::ErrorKind::TimedOut,
                format!("{deed}: ended after {}, no time was left", Span(timeout)),
            ),
            Failure::Cancelled => io::Error::new(io::ErrorKind::Interrupted, format!("{deed}: cancelled")),
            Failure::Failed(code, said) => io::Error::other(format!("{deed}: {}", complaint::gist(code, &said))),
        }
    }
}

/// Settings of every call: no code from a repository or a template runs, nothing is cleaned up behind our back, a
/// power cut tears no object.
const SETTINGS: &[&str] = &[
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.fsync=all",
    "gc.auto=0",
    "maintenance.auto=false",
    "protocol.ext.allow=never",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "fetch.prune=false",
    "fetch.pruneTags=false",
    "log.showSignature=false",
    "advice.detachedHead=false",
];

/// What of our own environment git may see: how to reach the world, not what we are.
const PASSED_ON: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "TZ",
    "TMPDIR",
    "SSH_AUTH_SOCK",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
];

/// The environment of a call: in English, without a terminal, without a question, only protocols that run no program.
fn environment(ours: impl Iterator<Item = (String, String)>) -> Vec<(String, String)> {
    let mut env: Vec<(String, String)> = ours.filter(|(name, _)| PASSED_ON.contains(&name.as_str())).collect();
    let has = |env: &[(String, String)], name: &str| env.iter().any(|(present, _)| present == name);
    if !has(&env, "PATH") {
        env.push(("PATH".into(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()));
    }
    if !has(&env, "HOME") {
        let home = nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten().map(|user| user.dir);
        env.push(("HOME".into(), home.unwrap_or_else(|| PathBuf::from("/")).to_string_lossy().into_owned()));
    }
    for (name, value) in [
        ("LC_ALL", "C"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_ASKPASS", ""),
        ("SSH_ASKPASS_REQUIRE", "never"),
        ("GIT_ALLOW_PROTOCOL", access::REMOTE_PROTOCOLS),
        ("GIT_DEFAULT_REF_FORMAT", "files"),
        ("GIT_LFS_SKIP_SMUDGE", "1"),
        ("GIT_PAGER", "cat"),
    ] {
        env.push((name.into(), value.into()));
    }
    env
}

/// A path as an argument of git; ours are UTF-8 or refused.
fn text(path: &Path) -> io::Result<&str> {
    path.to_str()
        .ok_or_else(|| because("use", path, &io::Error::new(io::ErrorKind::InvalidInput, "the path is not UTF-8")))
}

/// `text` without what could move a terminal's cursor.
fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
