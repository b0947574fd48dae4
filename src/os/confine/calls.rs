//! The system calls of a process that computes, talks over the descriptors it has, and connects to Unix sockets - and no
//! others (seccomp).
//!
//! Found with strace under load, and completed by what glibc and musl use for memory, threads, time and the end of a
//! process. What is not here, beside much else: to open, make, rename or look up a path; to execute; to start a process
//! or signal, trace or hold another; to bind or listen; to send or receive a descriptor (`sendmsg`, `recvmsg`), which
//! keeps the listening sockets where their numbers are known; executable memory; io_uring, bpf, keys, namespaces.

use super::check;
use super::filter::{Rule, When, program};
use libc::c_long;
use std::io;
use std::os::fd::RawFd;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: Option<u32> = Some(0xC000_003E);
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: Option<u32> = Some(0xC000_00B7);
#[cfg(all(target_arch = "arm", target_endian = "little"))]
const ARCHITECTURE: Option<u32> = Some(0x4000_0028);
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", all(target_arch = "arm", target_endian = "little"))))]
const ARCHITECTURE: Option<u32> = None;

/// Allowed whatever the arguments are. The most frequent first: each call walks through the list.
const PLAIN: &[c_long] = &[
    libc::SYS_futex,
    libc::SYS_recvfrom,
    libc::SYS_ppoll,
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_readv,
    libc::SYS_close,
    libc::SYS_accept4,
    libc::SYS_accept,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_fstat,
    libc::SYS_socketpair,
    libc::SYS_pipe2,
    libc::SYS_eventfd2,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_pselect6,
    // Memory.
    libc::SYS_madvise,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_brk,
    // Threads, and what they are told apart by.
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_set_tid_address,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Signals to ourselves.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_sigaltstack,
    // Time and chance.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_uname,
];

/// Older names of the same, where an architecture has them.
#[cfg(target_arch = "x86_64")]
const OF_THIS_ARCHITECTURE: &[c_long] = &[libc::SYS_poll, libc::SYS_epoll_wait, libc::SYS_select, libc::SYS_time];
/// With 64 bits of time (their numbers are those of every 32-bit architecture), and two calls of the architecture's own:
/// a thread's pointer and the cache behind code.
#[cfg(target_arch = "arm")]
const OF_THIS_ARCHITECTURE: &[c_long] = &[
    libc::SYS_poll,
    libc::SYS_recv,
    libc::SYS_send,
    libc::SYS_epoll_wait,
    libc::SYS__newselect,
    libc::SYS_fstat64,
    libc::SYS_sigreturn,
    libc::SYS_getuid32,
    libc::SYS_geteuid32,
    libc::SYS_getgid32,
    libc::SYS_getegid32,
    403, // clock_gettime64
    406, // clock_getres_time64
    407, // clock_nanosleep_time64
    413, // pselect6_time64
    414, // ppoll_time64
    422, // futex_time64
    0xf0002,
    0xf0005,
];
#[cfg(not(any(target_arch = "x86_64", target_arch = "arm")))]
const OF_THIS_ARCHITECTURE: &[c_long] = &[];

#[cfg(not(target_arch = "arm"))]
pub(super) use libc::{SYS_fcntl as FCNTL, SYS_mmap as MMAP};
#[cfg(target_arch = "arm")]
pub(super) use libc::{SYS_fcntl64 as FCNTL, SYS_mmap2 as MMAP};

/// Its arguments lie in memory, where a filter cannot look: libc is told that there is none and uses `clone`.
const MISSING: &[c_long] = &[libc::SYS_clone3];

const THREAD: u32 = (libc::CLONE_VM | libc::CLONE_SIGHAND | libc::CLONE_THREAD) as u32;

/// `F_SETOWN` is not among them: it has the kernel send signals to whom one likes.
const FCNTL_COMMANDS: &[u32] = &[
    libc::F_GETFD as u32,
    libc::F_SETFD as u32,
    libc::F_GETFL as u32,
    libc::F_SETFL as u32,
    libc::F_DUPFD_CLOEXEC as u32,
];

const SOCKET_LEVELS: &[u32] = &[libc::SOL_SOCKET as u32, libc::IPPROTO_TCP as u32];

/// Deadlines, sizes and an end, of TCP and Unix sockets; not, for one, a filter of packets.
const SOCKET_OPTIONS: &[u32] = &[
    libc::SO_RCVTIMEO as u32,
    libc::SO_SNDTIMEO as u32,
    libc::SO_RCVBUF as u32,
    libc::SO_SNDBUF as u32,
    libc::SO_LINGER as u32,
    libc::SO_KEEPALIVE as u32,
    libc::TCP_NODELAY as u32,
    libc::TCP_CORK as u32,
    libc::TCP_KEEPIDLE as u32,
    libc::TCP_KEEPINTVL as u32,
    libc::TCP_KEEPCNT as u32,
    libc::TCP_QUICKACK as u32,
    libc::TCP_USER_TIMEOUT as u32,
    libc::TCP_NOTSENT_LOWAT as u32,
];

/// From now on all other calls fail with EPERM, in every thread. `listening` are sockets others hold too.
pub(super) fn allow_only(listening: &[RawFd]) -> io::Result<()> {
    let architecture = ARCHITECTURE.ok_or_else(|| io::Error::other("its calls are not known for this architecture"))?;
    let listening = listening.iter().map(|fd| *fd as u32).collect::<Vec<_>>();
    let mut instructions = program(architecture, MISSING, &rules(&listening, std::process::id()));
    let filter = libc::sock_fprog {
        len: u16::try_from(instructions.len()).map_err(io::Error::other)?,
        filter: instructions.as_mut_ptr(),
    };
    let mut flags = libc::SECCOMP_FILTER_FLAG_TSYNC;
    if log::log_enabled!(log::Level::Debug) {
        // Where the kernel's own settings agree, it says what it refused.
        flags |= libc::SECCOMP_FILTER_FLAG_LOG;
    }
    // SAFETY: the program and its instructions live through the call, which copies them.
    let answer = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const filter) };
    match check(answer)? {
        0 => Ok(()),
        thread => Err(io::Error::other(format!("thread {thread} has another filter"))),
    }
}

/// What is allowed to the process `own`.
pub(super) fn rules(listening: &[u32], own: u32) -> Vec<Rule<'_>> {
    let plain = PLAIN.iter().chain(OF_THIS_ARCHITECTURE).map(|call| Rule { call: *call, when: Vec::new() });
    let mut rules: Vec<Rule<'_>> = plain.collect();
    let mut allow = |call, when| rules.push(Rule { call, when });

    // To who is connected, and to nobody else (`MSG_FASTOPEN` connects).
    allow(libc::SYS_sendto, vec![When::IsNull(4)]);
    allow(libc::SYS_socket, vec![When::Is(0, libc::AF_UNIX as u32), When::Bits(1, 0xf, libc::SOCK_STREAM as u32)]);
    allow(libc::SYS_connect, vec![When::IsNoneOf(0, listening)]);
    allow(libc::SYS_shutdown, vec![When::IsNoneOf(0, listening)]);
    allow(
        libc::SYS_setsockopt,
        vec![When::IsNoneOf(0, listening), When::IsOneOf(1, SOCKET_LEVELS), When::IsOneOf(2, SOCKET_OPTIONS)],
    );
    allow(FCNTL, vec![When::IsNoneOf(0, listening), When::IsOneOf(1, FCNTL_COMMANDS)]);
    allow(libc::SYS_ioctl, vec![When::IsOneOf(1, &[libc::FIONBIO as u32, libc::FIONREAD as u32])]);

    allow(MMAP, vec![When::Bits(2, libc::PROT_EXEC as u32, 0)]);
    allow(libc::SYS_mprotect, vec![When::Bits(2, libc::PROT_EXEC as u32, 0)]);

    allow(libc::SYS_clone, vec![When::Bits(0, THREAD, THREAD)]);
    allow(libc::SYS_prctl, vec![When::Is(0, libc::PR_SET_NAME as u32)]);
    allow(libc::SYS_prlimit64, vec![When::Is(0, 0), When::IsNull(2)]);
    // How `abort` ends.
    allow(libc::SYS_tgkill, vec![When::Is(0, own)]);
    rules
}
