//! Landlock: no path can be opened, executed, made or removed, no TCP port bound or called, no process or abstract socket
//! outside reached. What is open stays open.
//!
//! Everything is refused and nothing excepted, which is two system calls; a library would be larger than this file.
//! Line: what the kernel's version knows is asked for, all of it.

use super::check;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// The kernel's `struct landlock_ruleset_attr`, as of version 6. Older kernels take it while what they do not know is 0.
#[repr(C)]
struct Ruleset {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

const CREATE_RULESET_VERSION: u32 = 1;

/// Refuses all that this kernel can; returns the version of its Landlock.
pub(super) fn restrict() -> io::Result<u32> {
    let version = version()?;
    let ruleset = everything(version);
    // SAFETY: the structure is the kernel's, lives through the call, and its size is passed; the answer is a new
    // descriptor that nobody else owns.
    let rules = unsafe {
        let answer = libc::syscall(libc::SYS_landlock_create_ruleset, &raw const ruleset, size_of::<Ruleset>(), 0);
        OwnedFd::from_raw_fd(check(answer)? as i32)
    };
    // SAFETY: passes integers only.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0) })?;
    Ok(version)
}

/// The version of this kernel's Landlock; the error says why there is none.
pub(super) fn version() -> io::Result<u32> {
    let nothing = std::ptr::null::<Ruleset>();
    // SAFETY: with this flag the kernel reads no memory.
    let answer = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0, CREATE_RULESET_VERSION) };
    match check(answer) {
        Ok(version) => Ok(version as u32),
        Err(error) => Err(io::Error::other(match error.raw_os_error() {
            Some(libc::ENOSYS) => "this kernel has none (it came with Linux 5.13)".to_owned(),
            Some(libc::EOPNOTSUPP) => "it is switched off (`lsm=landlock,...` on the kernel's command line)".to_owned(),
            _ => error.to_string(),
        })),
    }
}

/// All that a version can refuse.
fn everything(version: u32) -> Ruleset {
    // 13 rights of files at first; then to link and rename across directories, to truncate, and ioctl of devices.
    let files = match version {
        ..=1 => 13,
        2 => 14,
        3..=4 => 15,
        _ => 16,
    };
    // TCP: to bind and to connect. Scopes: abstract Unix sockets and signals.
    let ports = if version >= 4 { 2 } else { 0 };
    let scopes = if version >= 6 { 2 } else { 0 };
    let bits = |count: u32| (1 << count) - 1;
    Ruleset { handled_access_fs: bits(files), handled_access_net: bits(ports), scoped: bits(scopes) }
}
