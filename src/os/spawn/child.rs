//! What the child does between `clone` and `execve`.
//!
//! It runs in its parent's memory, beside the parent's other threads: system calls only, no allocation, no lock, no
//! panic. The user is changed by bare system calls because libc's `setuid` would change all threads of the parent.

use crate::os::private_tmp::Mounts;
use crate::os::users::User;
use std::convert::Infallible;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::fs::File;
use std::io::Read;

/// Room for the variable and the digits of any pid.
pub(super) type ListenPid = [u8; 24];

/// `LISTEN_PID=`, to be completed by the child and ended by the zeros behind it.
pub(super) const LISTEN_PID: ListenPid = *b"LISTEN_PID=\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// Everything the child needs, prepared: pointer lists end with a null pointer and point into strings the parent holds.
pub(super) struct Plan<'a> {
    pub(super) programs: Vec<*const c_char>,
    pub(super) argv: Vec<*const c_char>,
    pub(super) env: Vec<*const c_char>,
    pub(super) listen_pid: *mut u8,
    pub(super) cwd: &'a CStr,
    pub(super) identity: Option<Identity<'a>>,
    pub(super) stdin: Option<c_int>,
    pub(super) output: c_int,
    /// Replaced by their temporary places above all that is filled.
    pub(super) sockets: Vec<c_int>,
    pub(super) umask: u32,
    pub(super) nice: i32,
    pub(super) oom_score_adj: Option<&'a [u8]>,
    pub(super) no_new_privs: bool,
    pub(super) no_capabilities: bool,
    pub(super) open_files: Option<u64>,
    pub(super) core: Option<u64>,
    pub(super) processes: Option<u64>,
    /// The directory of the group it is not in yet.
    pub(super) cgroup: Option<c_int>,
    pub(super) private_tmp: Option<&'a Mounts>,
    pub(super) report: c_int,
}

/// Whom to become.
pub(super) struct Identity<'a> {
    uid: u32,
    gid: u32,
    groups: &'a [u32],
}

impl<'a> Identity<'a> {
    pub(super) fn of(user: &'a User) -> Identity<'a> {
        Identity { uid: user.uid, gid: user.gid, groups: &user.groups }
    }
}

/// What the child was about when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Step {
    Group,
    Session,
    Limits,
    Descriptors,
    PrivateTmp,
    User,
    Directory,
    Exec,
}

const STEPS: [Step; 8] = [
    Step::Group,
    Step::Session,
    Step::Limits,
    Step::Descriptors,
    Step::PrivateTmp,
    Step::User,
    Step::Directory,
    Step::Exec,
];

/// A failed step and the kernel's reason.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) step: Step,
    pub(super) errno: c_int,
}

impl Failed {
    /// Reads the child's report; `None` when it ended by execve.
    pub(super) fn read(reports: &mut File) -> Option<Failed> {
        let mut report = [0; 5];
        reports.read_exact(&mut report).ok()?;
        let [step, errno @ ..] = report;
        let step = STEPS.into_iter().find(|known| *known as u8 == step)?;
        Some(Failed { step, errno: c_int::from_ne_bytes(errno) })
    }

    fn write(&self, report: c_int) {
        let [a, b, c, d] = self.errno.to_ne_bytes();
        let bytes = [self.step as u8, a, b, c, d];
        // SAFETY: `bytes` is valid for its length; a report that nobody reads is lost, which is all that can be done.
        unsafe { libc::write(report, bytes.as_ptr().cast(), bytes.len()) };
    }
}

/// The child's own stack: it shares all other memory.
pub(super) struct Stack(Vec<u128>);

impl Stack {
    pub(super) fn new() -> Stack {
        Stack(vec![0; (64 << 10) / size_of::<u128>()])
    }
    /// Its upper end, as it grows down; aligned like a `u128`, which is what calling conventions ask of a stack.
    pub(super) fn top(&mut self) -> *mut c_void {
        self.0.as_mut_ptr_range().end.cast()
    }
    /// Its lower end, and its size in bytes.
    pub(super) fn extent(&mut self) -> (*mut c_void, usize) {
        (self.0.as_mut_ptr().cast(), size_of_val(self.0.as_slice()))
    }
}

/// The first descriptor above those a program with `sockets` passed sockets has.
pub(super) fn first_free(sockets: usize) -> c_int {
    c_int::try_from(sockets).unwrap_or(c_int::MAX - 3).saturating_add(3)
}

/// The child's whole life in our program.
pub(super) extern "C" fn main(plan: *mut c_void) -> c_int {
    // SAFETY: the parent passes its plan and is suspended until we are done with it.
    let plan = unsafe { &mut *plan.cast::<Plan<'_>>() };
    let Err(failed) = execute(plan);
    failed.write(plan.report);
    // SAFETY: ends this process only, without running any of the parent's exit handlers.
    unsafe { libc::_exit(127) }
}

fn execute(plan: &mut Plan<'_>) -> Result<Infallible, Failed> {
    reset_signal_handlers();
    if let Some(group) = plan.cgroup {
        join(group)?;
    }
    // SAFETY: takes no argument.
    check(Step::Session, unsafe { libc::setsid() }.into())?;
    set_limits(plan)?;
    place_descriptors(plan)?;
    if let Some(mounts) = plan.private_tmp {
        hide_tmp(mounts)?;
    }
    if plan.no_capabilities {
        empty_bounding_set();
    }
    if let Some(identity) = &plan.identity {
        become_user(identity)?;
    }
    if plan.no_new_privs {
        // SAFETY: passes integers only.
        check(Step::User, unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }.into())?;
    }
    // SAFETY: a string ended by NUL.
    check(Step::Directory, unsafe { libc::chdir(plan.cwd.as_ptr()) }.into())?;
    write_listen_pid(plan.listen_pid);
    unblock_signals();
    Err(Failed { step: Step::Exec, errno: exec_first(plan) })
}

fn check(step: Step, result: libc::c_long) -> Result<c_int, Failed> {
    match result {
        -1 => Err(Failed { step, errno: errno() }),
        result => Ok(result as c_int),
    }
}

fn errno() -> c_int {
    nix::errno::Errno::last_raw()
}

/// Ignored signals would stay ignored in the program (SIGPIPE is, in ours), and a handler would run in our memory.
/// The bare system call, because libc keeps its own two signals to itself, and somebody above us may ignore them.
fn reset_signal_handlers() {
    // All zeros is SIG_DFL, no flags, an empty mask: in the kernel's structure on every architecture.
    let default = [0_u64; 8];
    for signal in 1..=64 {
        // SAFETY: the kernel reads its structure, which is shorter than the array; the last argument is its set's size.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), std::ptr::null::<u64>(), 8) };
    }
}

fn unblock_signals() {
    // SAFETY: the set is initialised by sigemptyset before it is read.
    unsafe {
        let mut none = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
    }
}

/// Moves ourselves into the group whose directory it is: "0" is whoever writes.
fn join(group: c_int) -> Result<(), Failed> {
    let flags = libc::O_WRONLY | libc::O_CLOEXEC;
    // SAFETY: a literal ended by NUL, a byte, and a descriptor that is ours.
    unsafe {
        let file = check(Step::Group, libc::openat(group, c"cgroup.procs".as_ptr(), flags).into())?;
        check(Step::Group, libc::write(file, c"0".as_ptr().cast(), 1) as libc::c_long)?;
        libc::close(file);
    }
    Ok(())
}

/// A view of the file system of its own, where directories of its own lie over /tmp and /var/tmp. What is mounted on the
/// host later is still seen; what is mounted in here is not seen there.
fn hide_tmp(mounts: &Mounts) -> Result<(), Failed> {
    let fail = |result: c_int| check(Step::PrivateTmp, result.into());
    let (none, nothing) = (std::ptr::null(), std::ptr::null());
    // SAFETY (this function): flags, and strings ended by NUL that the parent holds.
    fail(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    fail(unsafe { libc::mount(none, c"/".as_ptr(), none, libc::MS_REC | libc::MS_SLAVE, nothing) })?;
    // /tmp last: their own directories may be below it.
    for (from, over) in [(&mounts.var_tmp, c"/var/tmp"), (&mounts.tmp, c"/tmp")] {
        fail(unsafe { libc::mount(from.as_ptr(), over.as_ptr(), none, libc::MS_BIND, nothing) })?;
    }
    Ok(())
}

fn set_limits(plan: &Plan<'_>) -> Result<(), Failed> {
    // SAFETY (this function): integers, and pointers to structures that live through their calls.
    unsafe { libc::umask(plan.umask as libc::mode_t) };
    let limits =
        [(libc::RLIMIT_NOFILE, plan.open_files), (libc::RLIMIT_CORE, plan.core), (libc::RLIMIT_NPROC, plan.processes)];
    for (resource, wanted) in limits {
        let Some(wanted) = wanted else { continue };
        let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
        check(Step::Limits, unsafe { libc::getrlimit64(resource, &raw mut limit) }.into())?;
        limit.rlim_cur = wanted.min(limit.rlim_max);
        check(Step::Limits, unsafe { libc::setrlimit64(resource, &raw const limit) }.into())?;
    }
    if plan.nice != 0 {
        let now = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        check(Step::Limits, unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, now.saturating_add(plan.nice)) }.into())?;
    }
    if let Some(score) = plan.oom_score_adj {
        set_oom_score(score);
    }
    Ok(())
}

/// A hint to the kernel: where it may not be given (a read-only /proc, a score below our own), the program runs all the same.
fn set_oom_score(score: &[u8]) {
    // SAFETY: a string ended by NUL, a buffer with its length, and a descriptor that is ours.
    unsafe {
        let file = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if file != -1 {
            libc::write(file, score.as_ptr().cast(), score.len());
            libc::close(file);
        }
    }
}

/// 0, 1 and 2, then the sockets from 3 on; nothing else survives execve.
fn place_descriptors(plan: &mut Plan<'_>) -> Result<(), Failed> {
    let floor = first_free(plan.sockets.len());
    let fail = |result: c_int| check(Step::Descriptors, result.into());
    // SAFETY (this function): descriptors and flags are integers; the path is a literal ended by NUL.
    let stdin = match plan.stdin {
        Some(fd) => fd,
        None => fail(unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) })?,
    };
    // Away first, so that filling a place never closes what is still to be placed.
    let stdin = fail(unsafe { libc::fcntl(stdin, libc::F_DUPFD_CLOEXEC, floor) })?;
    let output = fail(unsafe { libc::fcntl(plan.output, libc::F_DUPFD_CLOEXEC, floor) })?;
    for socket in &mut plan.sockets {
        *socket = fail(unsafe { libc::fcntl(*socket, libc::F_DUPFD_CLOEXEC, floor) })?;
    }
    let places = [stdin, output, output].into_iter().chain(plan.sockets.iter().copied());
    for (fd, place) in places.zip(0..) {
        fail(unsafe { libc::dup2(fd, place) })?;
    }
    // What a library or our own parent opened without CLOEXEC. Kernels before 5.11 do not know the flag: then ours,
    // which all have it, are closed and those are not.
    unsafe { libc::syscall(libc::SYS_close_range, floor, c_int::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    Ok(())
}

#[cfg(not(any(target_arch = "arm", target_arch = "x86")))]
use libc::{SYS_setgid as SETGID, SYS_setgroups as SETGROUPS, SYS_setuid as SETUID};
#[cfg(any(target_arch = "arm", target_arch = "x86"))]
use libc::{SYS_setgid32 as SETGID, SYS_setgroups32 as SETGROUPS, SYS_setuid32 as SETUID};

/// Groups first, the user last: in any other order the right to do the rest is gone.
fn become_user(identity: &Identity<'_>) -> Result<(), Failed> {
    // SAFETY: integers, and a list of group ids with its length.
    unsafe {
        let groups = identity.groups;
        check(Step::User, libc::syscall(SETGROUPS, groups.len(), groups.as_ptr()))?;
        check(Step::User, libc::syscall(SETGID, identity.gid))?;
        check(Step::User, libc::syscall(SETUID, identity.uid))?;
    }
    Ok(())
}

/// Needs a capability itself, so it comes before the user; refused to others, who have nothing to lose. What is left of
/// the numbers is unknown to the kernel.
fn empty_bounding_set() {
    for capability in 0..64 {
        // SAFETY: passes integers only.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
}

/// Writes our pid behind `LISTEN_PID=`.
fn write_listen_pid(variable: *mut u8) {
    if variable.is_null() {
        return;
    }
    // SAFETY: takes no argument.
    let mut rest = unsafe { libc::getpid() }.unsigned_abs();
    let mut digits = [0; 10];
    let mut count = 0;
    for digit in &mut digits {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        count += 1;
        if rest == 0 {
            break;
        }
    }
    let name = LISTEN_PID.iter().take_while(|byte| **byte != 0).count();
    for (digit, place) in digits.iter().take(count).rev().zip(name..) {
        // SAFETY: the parent's buffer is a `ListenPid`: eleven bytes of name, then room for more than ten digits.
        unsafe { variable.add(place).write(*digit) };
    }
}

/// Executes the first of the candidates that can be; returns why none could.
fn exec_first(plan: &Plan<'_>) -> c_int {
    let mut worst = libc::ENOENT;
    for program in plan.programs.iter().take_while(|program| !program.is_null()) {
        let errno = exec(*program, plan);
        match errno {
            libc::ENOENT | libc::ENOTDIR => {}
            libc::EACCES => worst = errno,
            _ => return errno,
        }
    }
    worst
}

/// "Text file busy" passes: for a moment a sibling between its fork and its execve may hold the descriptor with which
/// the program has just been written.
fn exec(program: *const c_char, plan: &Plan<'_>) -> c_int {
    let millisecond = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };
    for _ in 0..100 {
        // SAFETY: a string ended by NUL and two lists of such strings ended by null pointers, all held by the parent.
        unsafe { libc::execve(program, plan.argv.as_ptr(), plan.env.as_ptr()) };
        match errno() {
            libc::ETXTBSY => unsafe { libc::nanosleep(&raw const millisecond, std::ptr::null_mut()) },
            errno => return errno,
        };
    }
    libc::ETXTBSY
}
