//! Starts one program, fast and clean: own session, chosen user, exactly the descriptors it is meant to have.
//!
//! Everything that can be prepared is prepared here, before the child exists; `child` then makes system calls only.
//! The child borrows our memory until it has executed the program (`CLONE_VM | CLONE_VFORK`, as `posix_spawn` does):
//! no page table is copied, which keeps the time from a crash to the restart near that of `execve` itself and cannot
//! fail for lack of memory. Line: what is run, and as whom, is decided by the caller.

mod child;
mod launch;

use crate::os::process::{pidfd_open, start_time};
use crate::os::users::{self, User};
use crate::os::{group, limits, private_tmp, program, reap};
use child::{Failed, Identity, Plan, Step};
use nix::fcntl::{FcntlArg, OFlag};
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;

/// What to start, and how. The environment is complete: nothing of our own is added but `LISTEN_*`, which only
/// `sockets` decides about.
#[derive(Debug, Clone)]
pub struct Start<'a> {
    /// Program and arguments. A program without '/' is looked up in the PATH of `env`; a relative one in `cwd`.
    pub argv: &'a [String],
    /// What is executed where it is not what `argv` says: a program may be called by another name.
    pub program: Option<&'a str>,
    /// The working directory.
    pub cwd: &'a Path,
    /// The whole environment.
    pub env: &'a [(String, String)],
    /// Run as this user; `None`: as ourselves.
    pub user: Option<&'a User>,
    /// Passed from descriptor 3 on, in this order, and announced in `LISTEN_FDS` and `LISTEN_PID`.
    pub sockets: Vec<BorrowedFd<'a>>,
    /// Their names for `LISTEN_FDNAMES`; a missing one is `unknown`.
    pub fd_names: Vec<String>,
    /// Its standard input; `None`: /dev/null.
    pub stdin: Option<BorrowedFd<'a>>,
    /// Its standard output and error. The caller's own copy is to be closed when the other end shall see an end of file.
    pub output: BorrowedFd<'a>,
    /// Its file mode creation mask.
    pub umask: u32,
    /// Added niceness.
    pub nice: i32,
    /// Its `oom_score_adj` (-1000 to 1000); `None` leaves ours.
    pub oom_score_adj: Option<i32>,
    /// It and its children never gain privileges (`PR_SET_NO_NEW_PRIVS`).
    pub no_new_privs: bool,
    /// It and its children have no capability and get none, whatever they execute: its bounding set is emptied, for which
    /// we must be root; for anybody else nothing changes.
    pub no_capabilities: bool,
    /// Soft limit of open files, raised towards the hard one as far as that allows; `None`: what we were given.
    pub open_files: Option<u64>,
    /// Soft limit of core dumps in bytes.
    pub core: Option<u64>,
    /// Soft limit of the processes its user may have: where there is no control group, the end of a fork bomb. The
    /// kernel does not hold root to it.
    pub processes: Option<u64>,
    /// The directory of the control group it is to be in, from its first instruction on (`cgroup::Group::entry`).
    pub cgroup: Option<BorrowedFd<'a>>,
    /// It sees this directory's `tmp` and `var-tmp` as /tmp and /var/tmp (`private_tmp::make`). Only root can do so.
    pub private_tmp: Option<&'a Path>,
}

impl<'a> Start<'a> {
    /// A start with the defaults: as ourselves, no sockets, umask 022, no limits changed.
    pub fn new(argv: &'a [String], cwd: &'a Path, env: &'a [(String, String)], output: BorrowedFd<'a>) -> Start<'a> {
        Start {
            argv,
            program: None,
            cwd,
            env,
            user: None,
            sockets: Vec::new(),
            fd_names: Vec::new(),
            stdin: None,
            output,
            umask: 0o022,
            nice: 0,
            oom_score_adj: None,
            no_new_privs: false,
            no_capabilities: false,
            open_files: None,
            core: None,
            processes: None,
            cgroup: None,
            private_tmp: None,
        }
    }
}

/// A child that has executed its program. Whoever holds it must reap it (`reap::wait`) once its pidfd is readable.
#[derive(Debug)]
pub struct Child {
    /// Its pid, and the id of its session and process group.
    pub pid: u32,
    /// Readable once it has ended.
    pub pidfd: OwnedFd,
    /// When it was started, in clock ticks since boot: with the pid it names the process for ever.
    pub start_time: u64,
}

/// Starts a program. An error says which program, in which directory, why, and what to do; nothing is left behind then.
pub fn start(what: &Start<'_>) -> io::Result<Child> {
    let program = what.program.or(what.argv.first().map(String::as_str)).unwrap_or_default();
    prepare_and_launch(what, program)
        .map_err(|error| io::Error::new(error.kind(), format!("start {program} in {}: {error}", what.cwd.display())))
}

fn prepare_and_launch(what: &Start<'_>, program: &str) -> io::Result<Child> {
    let path = what.env.iter().rfind(|(key, _)| key == "PATH").map(|(_, value)| value.as_str());
    let programs = program::candidates(program, path)?;
    let argv = what.argv.iter().map(|arg| CString::new(arg.as_str())).collect::<Result<Vec<_>, _>>()?;
    let env = environment(what)?;
    let cwd = CString::new(what.cwd.as_os_str().as_encoded_bytes())?;
    let private_tmp = what.private_tmp.map(private_tmp::mounts).transpose()?;
    let oom_score_adj = what.oom_score_adj.or_else(limits::given_oom_score).map(|score| score.to_string());
    let mut listen_pid = child::LISTEN_PID;
    let listen_pid = if what.sockets.is_empty() { std::ptr::null_mut() } else { listen_pid.as_mut_ptr() };
    let (mut reports, report) = report_pipe(child::first_free(what.sockets.len()))?;

    let mut plan = Plan {
        programs: pointers(&programs, std::ptr::null()),
        argv: pointers(&argv, std::ptr::null()),
        env: pointers(&env, listen_pid),
        listen_pid,
        cwd: &cwd,
        identity: what.user.filter(|user| !is_ourselves(user)).map(Identity::of),
        stdin: what.stdin.map(|fd| fd.as_raw_fd()),
        output: what.output.as_raw_fd(),
        sockets: what.sockets.iter().map(AsRawFd::as_raw_fd).collect(),
        umask: what.umask,
        nice: what.nice,
        oom_score_adj: oom_score_adj.as_deref().map(str::as_bytes),
        no_new_privs: what.no_new_privs,
        no_capabilities: what.no_capabilities,
        open_files: what.open_files.or_else(limits::given_open_files),
        core: what.core,
        processes: what.processes,
        cgroup: what.cgroup.map(|fd| fd.as_raw_fd()),
        private_tmp: private_tmp.as_ref(),
        report: report.as_raw_fd(),
    };
    let pid = launch::launch(&mut plan)?;
    drop(report);

    if let Some(failed) = Failed::read(&mut reports) {
        let _ = reap::wait(pid);
        return Err(explain(&failed, what, program, path));
    }
    identify(pid).inspect_err(|_| {
        let _ = group::signal(pid, libc::SIGKILL);
        let _ = reap::wait(pid);
    })
}

fn identify(pid: u32) -> io::Result<Child> {
    Ok(Child { pid, pidfd: pidfd_open(pid)?, start_time: start_time(pid)? })
}

/// The child's environment without the digits of `LISTEN_PID`, which only the child knows. Errors name the variable,
/// never its value.
fn environment(what: &Start<'_>) -> io::Result<Vec<CString>> {
    let own = what.env.iter().filter(|(key, _)| !key.starts_with("LISTEN_"));
    let mut env = own.map(|(key, value)| variable(key, value)).collect::<io::Result<Vec<_>>>()?;
    if !what.sockets.is_empty() {
        let name = |index| what.fd_names.get(index).map_or("unknown", String::as_str);
        let names = (0..what.sockets.len()).map(name).collect::<Vec<_>>().join(":");
        env.push(variable("LISTEN_FDS", &what.sockets.len().to_string())?);
        env.push(variable("LISTEN_FDNAMES", &names)?);
    }
    Ok(env)
}

fn variable(key: &str, value: &str) -> io::Result<CString> {
    if key.is_empty() || key.contains('=') {
        let why = format!("{key:?} cannot be the name of an environment variable");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    CString::new(format!("{key}={value}")).map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("environment variable {key:?} holds a NUL byte"))
    })
}

/// A list as execve takes it. `last` may be null, which ends the list one early.
fn pointers(strings: &[CString], last: *const u8) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([last.cast(), std::ptr::null()]).collect()
}

/// A pipe over which the child says what failed; its end above the descriptors the child will fill. Closed by execve.
fn report_pipe(floor: i32) -> io::Result<(File, OwnedFd)> {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    let write = nix::fcntl::fcntl(&write, FcntlArg::F_DUPFD_CLOEXEC(floor))?;
    // SAFETY: F_DUPFD_CLOEXEC has just made this descriptor; nobody else owns it.
    Ok((File::from(read), unsafe { OwnedFd::from_raw_fd(write) }))
}

/// Only root may set groups, and needs to even for itself: it may carry more than its own.
fn is_ourselves(user: &User) -> bool {
    !users::is_root() && user.uid == nix::unistd::geteuid().as_raw()
}

fn explain(failed: &Failed, what: &Start<'_>, program: &str, path: Option<&str>) -> io::Error {
    let kernel = io::Error::from_raw_os_error(failed.errno);
    let user = what.user.map_or("", |user| user.name.as_str());
    let why = match failed.step {
        Step::Exec => program::why_not(program, path, what.cwd, failed.errno),
        Step::Directory => format!("enter the directory: {kernel}"),
        Step::User if !users::is_root() => format!("become user {user}: only root may run a program as another user"),
        Step::User => format!("become user {user}: {kernel}"),
        Step::Descriptors => format!("pass its descriptors: {kernel}"),
        Step::Session => format!("give it a session of its own: {kernel}"),
        Step::Limits => format!("set its limits: {kernel}"),
        Step::Group => format!("put it into its control group: {kernel}"),
        Step::PrivateTmp if !users::is_root() => {
            "give it a private /tmp: only root may; run Pintle as root, or leave private_tmp out".into()
        }
        Step::PrivateTmp => format!("give it a private /tmp: {kernel}"),
    };
    io::Error::new(kernel.kind(), why)
}

#[cfg(test)]
mod tests;
