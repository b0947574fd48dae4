//! Memory: what a process uses, and how our own gives back what it needed once.

use nix::unistd::{SysconfVar, sysconf};

/// Lets the allocator return large and free memory to the system at once: after a 25 MB delivery the daemon is small
/// again. To be called first in `main`. Only glibc needs it.
pub fn tune() {
    #[cfg(target_env = "gnu")]
    // SAFETY: passes integers only; unknown parameters are refused without harm.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 128 << 10);
    }
}

/// The resident memory of the process `pid` in bytes; `None` when it is gone.
pub fn resident(pid: u32) -> Option<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    let page = u64::try_from(sysconf(SysconfVar::PAGE_SIZE).ok()??).ok()?;
    Some(pages * page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_memory_is_counted_and_given_back() {
        tune();
        let me = std::process::id();
        let large = vec![1_u8; 64 << 20];
        let with = resident(me).unwrap();
        assert!(with > 64 << 20);
        drop(large);
        assert!(resident(me).unwrap() + (48 << 20) < with);
        assert_eq!(resident(u32::MAX), None);
    }
}
