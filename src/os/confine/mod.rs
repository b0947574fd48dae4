//! Walls around our own process: what a listener that was broken into could ask of the kernel, and is refused.
//!
//! For a process that has everything it needs - descriptors, secrets, libraries - and from then on only computes, talks
//! over its descriptors and connects to Unix sockets. Four layers, each of which holds where another is missing:
//! `capabilities` (none are left), `limits` (no core, no file, no locked memory), `landlock` (no path of the file system
//! can be opened or changed, no TCP port bound or called, no process outside signalled) and `calls` (an allow-list of
//! system calls, as a program that `filter` puts together and the kernel runs before each). What has been confined stays
//! so, with all its later threads and children. Line: our own process only; who it runs as is the business of `spawn`.

mod calls;
mod capabilities;
mod filter;
mod landlock;
mod limits;

use std::fmt;
use std::io;
use std::os::fd::RawFd;

/// What the process goes on using.
#[derive(Debug, Clone, Copy)]
pub struct Needs<'a> {
    /// Descriptors it may have open at a time, as far as it was given so many.
    pub open_files: u32,
    /// Sockets that it shares with other processes and only accepts from: shut down, connected or set by one, they would be
    /// so for all.
    pub listening: &'a [RawFd],
}

/// What holds now, and what the kernel did not give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confinement {
    user: String,
    holds: Vec<String>,
    missing: Vec<String>,
}

/// `user nobody, no capabilities, limits, Landlock v7, seccomp`.
impl fmt::Display for Confinement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user {}", self.user)?;
        self.holds.iter().try_for_each(|layer| write!(f, ", {layer}"))?;
        self.missing.iter().try_for_each(|missing| write!(f, "; without {missing}"))
    }
}

/// The version of this kernel's Landlock; the error says why there is none.
pub fn landlock_version() -> io::Result<u32> {
    landlock::version()
}

/// Confines this process for ever. To be called when everything is open and before the first thread is started: Landlock
/// holds for the thread that asks for it and for those it starts. A layer that the kernel does not have is told, and
/// never a reason to stop.
pub fn now(needs: &Needs<'_>) -> Confinement {
    let mut confinement = Confinement { user: user(), holds: Vec::new(), missing: Vec::new() };
    // SAFETY: a number.
    unsafe { libc::umask(0o077) };
    // Where the daemon has done this it changes nothing; without it the kernel refuses the last two layers.
    confinement.layer("no_new_privs", never_gain_privileges().map(|()| None));
    confinement
        .layer("an empty set of capabilities", capabilities::drop_all().map(|()| Some("no capabilities".into())));
    confinement.layer("limits", limits::tighten(needs.open_files).map(|()| Some("limits".into())));
    confinement.layer("Landlock", landlock::restrict().map(|version| Some(format!("Landlock v{version}"))));
    confinement.layer("seccomp", calls::allow_only(needs.listening).map(|()| Some("seccomp".into())));
    confinement
}

impl Confinement {
    fn layer(&mut self, name: &str, outcome: io::Result<Option<String>>) {
        match outcome {
            Ok(words) => self.holds.extend(words),
            Err(error) => self.missing.push(format!("{name}: {error}")),
        }
    }
}

fn never_gain_privileges() -> io::Result<()> {
    // SAFETY: passes integers only.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }.into()).map(drop)
}

/// Who we are, for people. From the file and not from libc, which would load a library for each kind of user database.
fn user() -> String {
    let uid = nix::unistd::geteuid().to_string();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    };
    passwd.lines().find_map(named).unwrap_or(uid)
}

/// The answer of a system call.
fn check(answer: libc::c_long) -> io::Result<libc::c_long> {
    match answer {
        -1 => Err(io::Error::last_os_error()),
        answer => Ok(answer),
    }
}

#[cfg(test)]
mod tests;
