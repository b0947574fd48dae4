//! The rights of root, one by one: none are left, and none can come back.
//!
//! A daemon that is root has its child lose the bounding set before it becomes another user (`spawn::Start`); here goes
//! the rest, which a daemon without root may have from its service manager. Line: capabilities; users are not changed.

use super::check;
use std::io;

/// `_LINUX_CAPABILITY_VERSION_3`: sets of 64, in two halves.
const VERSION_3: u32 = 0x2008_0522;

/// More than any kernel has.
const ALL: std::ops::Range<libc::c_int> = 0..64;

/// The kernel's `struct __user_cap_header_struct`.
#[repr(C)]
struct Header {
    version: u32,
    pid: libc::c_int,
}

/// The kernel's `struct __user_cap_data_struct`.
#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const NONE: [Half; 2] = [Half { effective: 0, permitted: 0, inheritable: 0 }; 2];

/// Empties the bounding, ambient, inheritable, permitted and effective set. The bounding set can be emptied only by who
/// has `CAP_SETPCAP`; where it stays, `no_new_privs` keeps anything from being gained by it.
pub(super) fn drop_all() -> io::Result<()> {
    for capability in ALL {
        // SAFETY (this function): integers, and structures of the kernel's own layout that live through their calls.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
    // Kernels without it (before 4.3) have no ambient set to empty.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) };
    let mut header = Header { version: VERSION_3, pid: 0 };
    check(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, NONE.as_ptr()) })?;
    let mut left = [Half { effective: u32::MAX, ..Half::default() }; 2];
    check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, left.as_mut_ptr()) })?;
    match left == NONE {
        true => Ok(()),
        false => Err(io::Error::other("the kernel left some")),
    }
}
