//! The daemon becomes a new program in place: the same process, its children still its own, descriptors passed by name.
//!
//! Descriptors keep their numbers, which an environment variable names: systemd's convention would have them moved to 3
//! and on, over descriptors that other threads still write to. Line: whether the new program is fit is found out before.

use crate::os::limits;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::unistd::execve;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// `PID:NUMBER=NAME:NUMBER=NAME...`, for the process of this pid only.
const VARIABLE: &str = "PINTLE_REEXEC";

/// Executes `program` in place of this one, with `argv` (the program's name first), our environment and `fds`, which it
/// takes back from [`FdStore::open`](crate::os::fdstore::FdStore::open) by their names (no ':' in them). Returns only
/// why it could not; everything is then as it was.
///
/// Signals that come meanwhile wait until the new image listens ([`Signals::listen`](crate::os::signals::Signals)).
pub fn into(program: &Path, argv: &[OsString], fds: &[(String, BorrowedFd<'_>)]) -> io::Error {
    let error = match prepare(program, argv, fds) {
        Ok(image) => execute(&image, fds),
        Err(error) => error,
    };
    io::Error::new(error.kind(), format!("become {}: {error}", program.display()))
}

/// Whether this process was another image before, and its children may be running.
pub fn is_continued() -> bool {
    passed().is_some()
}

/// The descriptors the last image passed on, by name; `None` when there was none.
pub(super) fn passed() -> Option<Vec<(String, RawFd)>> {
    parse(&std::env::var(VARIABLE).ok()?, std::process::id())
}

struct Image {
    program: CString,
    argv: Vec<CString>,
    env: Vec<CString>,
}

fn prepare(program: &Path, argv: &[OsString], fds: &[(String, BorrowedFd<'_>)]) -> io::Result<Image> {
    let (given, limits) = limits::for_successor();
    let ours = |name: &OsStr| name.as_bytes().starts_with(b"LISTEN_") || name == VARIABLE || name == given;
    let mut env = Vec::new();
    for (name, value) in std::env::vars_os().filter(|(name, _)| !ours(name)) {
        env.push(CString::new([name.into_vec(), value.into_vec()].join(&b'='))?);
    }
    env.push(CString::new(format!("{VARIABLE}={}", compose(fds)))?);
    env.push(CString::new(format!("{given}={limits}"))?);
    let argv = argv.iter().map(|arg| CString::new(arg.as_bytes())).collect::<Result<_, _>>()?;
    Ok(Image { program: CString::new(program.as_os_str().as_bytes())?, argv, env })
}

fn execute(image: &Image, fds: &[(String, BorrowedFd<'_>)]) -> io::Error {
    let before = match SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK) {
        Ok(before) => before,
        Err(errno) => return errno.into(),
    };
    let stay_open = |flag| fds.iter().try_for_each(|(_, fd)| fcntl(fd, FcntlArg::F_SETFD(flag)).map(drop));
    let errno = match stay_open(FdFlag::empty()).and_then(|()| execve(&image.program, &image.argv, &image.env)) {
        Err(errno) => errno,
        Ok(never) => match never {},
    };
    let _ = stay_open(FdFlag::FD_CLOEXEC);
    let _ = before.thread_set_mask();
    errno.into()
}

fn compose(fds: &[(String, BorrowedFd<'_>)]) -> String {
    let fds = fds.iter().map(|(name, fd)| format!(":{}={name}", fd.as_raw_fd()));
    std::iter::once(std::process::id().to_string()).chain(fds).collect()
}

fn parse(text: &str, own: u32) -> Option<Vec<(String, RawFd)>> {
    let mut parts = text.split(':');
    parts.next().filter(|pid| pid.parse() == Ok(own))?;
    let fds =
        parts.filter_map(|part| part.split_once('=').and_then(|(fd, name)| Some((name.to_owned(), fd.parse().ok()?))));
    Some(fds.collect())
}

#[cfg(test)]
mod tests;
