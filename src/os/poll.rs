//! `poll(2)` until a deadline: what every hand that waits for several descriptors uses.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

/// `fd` watched for something to read (end of file and errors count).
pub fn readable(fd: BorrowedFd<'_>) -> PollFd<'_> {
    PollFd::new(fd, PollFlags::POLLIN)
}

/// Whether the last [`until`] found anything on `fd`.
pub fn is_ready(fd: &PollFd<'_>) -> bool {
    fd.any().unwrap_or(true)
}

/// Sleeps until one of `fds` is ready (`true`) or `deadline` has passed (`false`). Signals do not shorten it.
pub fn until(fds: &mut [PollFd<'_>], deadline: Option<Instant>) -> io::Result<bool> {
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let wait = left.map_or(PollTimeout::NONE, in_millis);
        match nix::poll::poll(fds, wait) {
            Ok(0) if left.is_some_and(|left| left.is_zero()) => return Ok(false),
            Ok(0) | Err(Errno::EINTR) => continue,
            Ok(_) => return Ok(true),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Rounded up, so that the deadline has passed when the wait is over; a wait too long for the kernel is waited in parts.
fn in_millis(left: Duration) -> PollTimeout {
    let millis = left.as_nanos().div_ceil(1_000_000);
    PollTimeout::from(u16::try_from(millis).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn it_wakes_for_data_and_otherwise_at_the_deadline() {
        let (read, write) = nix::unistd::pipe().unwrap();
        let start = Instant::now();
        let soon = start + Duration::from_millis(20);
        assert!(!until(&mut [readable(read.as_fd())], Some(soon)).unwrap());
        assert!(Instant::now() >= soon);
        nix::unistd::write(&write, b"x").unwrap();
        let mut fds = [readable(read.as_fd())];
        assert!(until(&mut fds, None).unwrap());
        assert!(is_ready(&fds[0]));
    }
}
