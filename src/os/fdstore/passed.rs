//! Descriptors that this process was started with: by systemd's convention, or by the image it has replaced.
//!
//! The variables stay in the environment, which no thread may change, but count once: each names the process it is
//! meant for, and children get an environment that was put together for them.

use crate::os::reexec;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// The first one, by systemd's convention.
const FIRST: RawFd = 3;

static TAKEN: AtomicBool = AtomicBool::new(false);

/// What was passed, by name; nothing the second time.
pub(super) fn take() -> Vec<(String, OwnedFd)> {
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Vec::new();
    }
    let variable = |name: &str| std::env::var(name).ok();
    let own = std::process::id().to_string();
    let passed = match reexec::passed() {
        Some(passed) => passed,
        None if variable("LISTEN_PID") == Some(own) => listed(variable("LISTEN_FDS"), variable("LISTEN_FDNAMES")),
        None => Vec::new(),
    };
    passed.into_iter().filter_map(|(name, fd)| Some((name, adopt(fd)?))).collect()
}

fn listed(count: Option<String>, names: Option<String>) -> Vec<(String, RawFd)> {
    let count = count.and_then(|count| count.parse::<u16>().ok()).unwrap_or_default();
    let names = names.unwrap_or_default();
    let names = names.split(':').map(Some).chain(std::iter::repeat(None));
    let name = |name: Option<&str>| name.filter(|name| !name.is_empty()).unwrap_or("unknown").to_owned();
    names.map(name).zip((FIRST..).take(count.into())).collect()
}

/// `None` for a number that is not open.
fn adopt(fd: RawFd) -> Option<OwnedFd> {
    // SAFETY: only looked at; a number that is not open is an error of the call.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).ok()?;
    // SAFETY: it is open, was passed to this process to own, and is taken once.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_belong_to_numbers_in_their_order() {
        let listed = |count: &str, names: Option<&str>| listed(Some(count.into()), names.map(String::from));
        let own = |list: &[(&str, RawFd)]| list.iter().map(|(name, fd)| (name.to_string(), *fd)).collect::<Vec<_>>();
        assert_eq!(listed("2", Some("web:output-7")), own(&[("web", 3), ("output-7", 4)]));
        assert_eq!(listed("2", None), own(&[("unknown", 3), ("unknown", 4)]));
        assert_eq!(listed("3", Some("a::c:d")), own(&[("a", 3), ("unknown", 4), ("c", 5)]));
        assert_eq!(listed("-1", Some("a")), []);
        assert_eq!(adopt(RawFd::MAX).map(drop), None);
    }
}
