//! Limits that a process can only lower: what would be of use to an intruder and is of none to us.
//!
//! There is none of address space: glibc reserves 64 MB of it for each of its arenas, so that a listener that uses 8 MB
//! has 600 MB of it, and one on a larger machine several times that. Line: this process.

use super::check;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{SFlag, fstat};
use std::io;

/// Threads and processes of our user. The kernel counts all of the user's, an application's too where there is only one
/// user, so it ends a bomb and nothing less.
const PROCESSES: u32 = 4096;

/// Lowers hard and soft limits, and makes us unreadable: no debugger, no `/proc/PID/mem`, `environ` or `fd` for another
/// process of our user. `/proc/PID/stat`, which tells what we use, stays open to all.
pub(super) fn tighten(open_files: u32) -> io::Result<()> {
    let mut limits = vec![
        (Resource::RLIMIT_NOFILE, open_files),
        (Resource::RLIMIT_NPROC, PROCESSES),
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_MEMLOCK, 0),
        (Resource::RLIMIT_MSGQUEUE, 0),
        (Resource::RLIMIT_NICE, 0),
        (Resource::RLIMIT_RTPRIO, 0),
    ];
    // Where the daemon's messages go to a file, ours do.
    if !says_into_a_file() {
        limits.push((Resource::RLIMIT_FSIZE, 0));
    }
    for (resource, most) in limits {
        let (_, hard) = getrlimit(resource)?;
        let limit = hard.min(most.into());
        setrlimit(resource, limit, limit)?;
    }
    // SAFETY: passes integers only.
    check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) }.into()).map(drop)
}

fn says_into_a_file() -> bool {
    let is_file =
        |stat: nix::sys::stat::FileStat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG;
    fstat(io::stdout()).is_ok_and(is_file) || fstat(io::stderr()).is_ok_and(is_file)
}
