//! Memory: how our own process gives back what it needed once.

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

/// Gives back what was needed for work that is done: free heap, and the pages of our own program that are read again
/// from the page cache when they are needed next. Worth a few milliseconds after the start and after a deploy, when a
/// long idle time follows.
pub fn rest() {
    #[cfg(target_env = "gnu")]
    // SAFETY: passes an integer only.
    unsafe {
        libc::malloc_trim(0);
    }
    // SAFETY: the callback only reads the structure it is given and drops clean, file-backed pages.
    unsafe {
        libc::dl_iterate_phdr(Some(drop_program_pages), std::ptr::null_mut());
    }
}

/// Drops the read-only pages of one loaded object. Segments that may be written hold relocations and are left alone.
unsafe extern "C" fn drop_program_pages(
    object: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    _data: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: dl_iterate_phdr passes a valid structure whose headers live as long as the object is loaded.
    let (base, headers) = unsafe {
        let object = &*object;
        (object.dlpi_addr as usize, std::slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into()))
    };
    let page = 4096_usize.max(sysconf(SysconfVar::PAGE_SIZE).ok().flatten().map_or(0, |size| size as usize));
    for header in headers.iter().filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0) {
        let from = (base + header.p_vaddr as usize).next_multiple_of(page);
        let to = (base + header.p_vaddr as usize + header.p_memsz as usize) / page * page;
        if from < to {
            // SAFETY: the range is a read-only mapping of a file: what is dropped is read from it again.
            unsafe { libc::madvise(from as *mut libc::c_void, to - from, libc::MADV_DONTNEED) };
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_memory_is_given_back() {
        tune();
        let resident = || crate::os::usage::memory_of(&[std::process::id()]).unwrap().0;
        let large = vec![1_u8; 64 << 20];
        let with = resident();
        assert!(with > 64 << 20);
        drop(large);
        assert!(resident() + (48 << 20) < with);
    }
}
