//! Makes the child: a process that shares our memory and runs on a stack of its own, until it has executed its program.
//!
//! Into a control group it is born (`clone3` with `CLONE_INTO_CGROUP`, Linux 5.7): moving a process that runs already
//! makes the kernel wait for all its processors, which costs several milliseconds - more than the whole start. Where that
//! call is missing (an older kernel, a filter of system calls, another architecture) the child moves itself.

use super::child::{self, Plan, Stack};
use crate::os::reap;
use nix::sys::signal::{SigSet, SigmaskHow};
use std::ffi::{c_int, c_void};
use std::io;

/// As `posix_spawn` does it: no page table is copied, and we are suspended until the child has executed or given up.
const FLAGS: c_int = libc::CLONE_VM | libc::CLONE_VFORK;

/// libc's constant overflows its type.
const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// Makes the child and returns once it has executed its program or given up.
pub(super) fn launch(plan: &mut Plan<'_>) -> io::Result<u32> {
    let mut stack = Stack::new();
    // No handler of ours may run in the child, where it would change our memory: the child unblocks the signals when
    // it has reset their handlers.
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let pid = reap::register(|| {
        if let Some(pid) = born_in_its_group(plan, &mut stack) {
            return Ok(pid);
        }
        // SAFETY: the stack and the plan outlive the child's use of them, because CLONE_VFORK suspends this thread until
        // it has called execve or _exit; `child::main` makes system calls only and does not unwind.
        let pid = unsafe { libc::clone(child::main, stack.top(), FLAGS | libc::SIGCHLD, (&raw mut *plan).cast()) };
        u32::try_from(pid).map_err(|_| io::Error::last_os_error())
    });
    let _ = before.thread_set_mask();
    pid
}

/// `None` when it has no group, or cannot be born there: whatever the reason, the other way gives the better error.
fn born_in_its_group(plan: &mut Plan<'_>, stack: &mut Stack) -> Option<u32> {
    let cgroup = plan.cgroup.take()?;
    let (bottom, size) = stack.extent();
    let args = CloneArgs {
        flags: FLAGS as u64 | CLONE_INTO_CGROUP,
        exit_signal: libc::SIGCHLD as u64,
        stack: bottom as u64,
        stack_size: size as u64,
        cgroup: cgroup as u64,
        ..CloneArgs::default()
    };
    // SAFETY: as in `launch`; the structure is the kernel's, and its size is passed.
    let pid = unsafe { clone3(&args, child::main, (&raw mut *plan).cast()) };
    if pid <= 0 {
        plan.cgroup = Some(cgroup);
    }
    u32::try_from(pid).ok().filter(|pid| *pid > 0)
}

/// The kernel's `struct clone_args`, as long as its second version.
#[repr(C, align(8))]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

type Main = extern "C" fn(*mut c_void) -> c_int;

/// Returns in the parent only: the child's pid, or a negative error number. The child calls `main(plan)`, which does not
/// return, on its new stack. libc has no function for it.
///
/// # Safety
/// `args` must name a stack that nobody else uses and ask for `CLONE_VFORK`; `plan` must be what `main` expects.
#[cfg(target_arch = "x86_64")]
unsafe fn clone3(args: &CloneArgs, main: Main, plan: *mut c_void) -> isize {
    let mut result = libc::SYS_clone3 as isize;
    // SAFETY: the parent goes on behind the label with every register the kernel changes declared; the child leaves
    // this function for ever.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") result,
            in("rdi") args,
            in("rsi") size_of::<CloneArgs>(),
            in("r12") plan,
            in("r13") main,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

/// As above.
///
/// # Safety
/// As above.
#[cfg(target_arch = "aarch64")]
unsafe fn clone3(args: &CloneArgs, main: Main, plan: *mut c_void) -> isize {
    let mut result = std::ptr::from_ref(args) as isize;
    // SAFETY: as above.
    unsafe {
        std::arch::asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x30, xzr",
            "mov x0, x9",
            "blr x10",
            "brk #1",
            "2:",
            inlateout("x0") result,
            in("x1") size_of::<CloneArgs>(),
            in("x8") libc::SYS_clone3,
            in("x9") plan,
            in("x10") main,
        );
    }
    result
}

/// As above.
///
/// # Safety
/// As above.
#[cfg(target_arch = "arm")]
unsafe fn clone3(args: &CloneArgs, main: Main, plan: *mut c_void) -> isize {
    let mut result = std::ptr::from_ref(args) as isize;
    // SAFETY: as above.
    unsafe {
        std::arch::asm!(
            "svc #0",
            "cmp r0, #0",
            "bne 2f",
            "mov r0, r4",
            "blx r5",
            "udf #0",
            "2:",
            inlateout("r0") result,
            in("r1") size_of::<CloneArgs>(),
            in("r4") plan,
            in("r5") main,
            in("r7") libc::SYS_clone3,
        );
    }
    result
}

/// Elsewhere the child moves itself.
///
/// # Safety
/// None is needed.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "arm")))]
unsafe fn clone3(_args: &CloneArgs, _main: Main, _plan: *mut c_void) -> isize {
    -(libc::ENOSYS as isize)
}
