use super::*;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::Duration;

/// The variable that names a directory of the test's own, which is removed by who is not confined.
const PLACE: &str = "PINTLE_CONFINE_TEST";

fn place(file: &str) -> std::path::PathBuf {
    std::path::PathBuf::from(std::env::var_os(PLACE).unwrap()).join(file)
}

/// Runs one of the tests below in a process of its own: confinement is for ever.
#[track_caller]
fn in_a_process_of_its_own(test: &str) {
    let own = std::env::current_exe().unwrap();
    let name = format!("os::confine::tests::{test}");
    let dir = std::env::temp_dir().join(format!("pintle-{test}-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let mut run = Command::new(own);
    let run = run.args(["--exact", &name, "--ignored", "--nocapture"]).env(PLACE, &dir).output().unwrap();
    fs::remove_dir_all(&dir).unwrap();
    let said = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success() && said.contains("1 passed"), "{said}");
}

fn errno(answer: libc::c_long) -> i32 {
    check(answer).err().and_then(|error| error.raw_os_error()).unwrap_or(0)
}

fn status(field: &str) -> String {
    let text = fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {field}")).trim().to_owned()
}

#[test]
fn no_capability_is_left() {
    in_a_process_of_its_own("without_capabilities");
}

#[test]
#[ignore = "the test above runs it in a process of its own"]
fn without_capabilities() {
    let root = nix::unistd::geteuid().is_root();
    capabilities::drop_all().unwrap();
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(u64::from_str_radix(&status(set), 16), Ok(0), "{set}");
    }
    if root {
        assert_eq!(u64::from_str_radix(&status("CapBnd"), 16), Ok(0));
        // SAFETY: a literal ended by NUL.
        assert_eq!(errno(unsafe { libc::chroot(c"/".as_ptr()) }.into()), libc::EPERM);
    }
}

#[test]
fn limits_are_lowered_for_good() {
    in_a_process_of_its_own("within_limits");
}

#[test]
#[ignore = "the test above runs it in a process of its own"]
fn within_limits() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let mut file = File::create(place("file")).unwrap();
    // SAFETY: ignoring runs no code. What would end us is to be seen as an error.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    capabilities::drop_all().unwrap();
    limits::tighten(64).unwrap();

    assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (64, 64));
    for none in [Resource::RLIMIT_CORE, Resource::RLIMIT_MEMLOCK, Resource::RLIMIT_FSIZE] {
        assert_eq!(getrlimit(none).unwrap(), (0, 0), "{none:?}");
    }
    assert!(setrlimit(Resource::RLIMIT_NOFILE, 64, 65).is_err(), "they cannot be raised again");
    assert_eq!(file.write(b"x").unwrap_err().raw_os_error(), Some(libc::EFBIG));
    let many: Vec<_> = (0..100).map_while(|_| UnixStream::pair().ok()).collect();
    assert!(many.len() < 32, "{}", many.len());
    // SAFETY: passes integers only.
    assert_eq!(unsafe { libc::prctl(libc::PR_GET_DUMPABLE) }, 0);
}

#[test]
fn landlock_refuses_files_programs_ports_and_signals() {
    in_a_process_of_its_own("inside_landlock");
}

#[test]
#[ignore = "the test above runs it in a process of its own"]
fn inside_landlock() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap();
    let path = place("socket");
    let unix = UnixListener::bind(&path).unwrap();
    let refused = |error: std::io::Error| matches!(error.kind(), std::io::ErrorKind::PermissionDenied);
    never_gain_privileges().unwrap();
    let version = match landlock::restrict() {
        Ok(version) => version,
        Err(error) => {
            let error = error.to_string();
            return assert!(error.contains("5.13") || error.contains("switched off"), "{error}");
        }
    };
    assert!(refused(File::open("/etc/passwd").unwrap_err()));
    assert!(refused(File::open("/proc/self/status").unwrap_err()));
    assert!(refused(File::create(path.with_extension("new")).unwrap_err()));
    assert!(refused(fs::create_dir(path.with_extension("new")).unwrap_err()));
    assert!(refused(fs::remove_file(&path).unwrap_err()));
    assert!(refused(fs::read_dir("/").unwrap_err()));
    assert!(refused(Command::new("/bin/true").spawn().unwrap_err()));
    UnixStream::connect(&path).expect("not a matter of Landlock: it has to work");
    unix.accept().unwrap();
    if version >= 4 {
        assert!(refused(TcpStream::connect(address).unwrap_err()));
        assert!(refused(TcpListener::bind("127.0.0.1:0").unwrap_err()));
    }
    if version >= 6 {
        // SAFETY: passes integers only; nothing is sent with signal 0.
        assert_eq!(errno(unsafe { libc::kill(libc::getppid(), 0) }.into()), libc::EPERM);
    }
}

#[test]
fn seccomp_allows_what_is_listed_and_nothing_else() {
    in_a_process_of_its_own("inside_the_filter");
}

#[test]
#[ignore = "the test above runs it in a process of its own"]
fn inside_the_filter() {
    let path = place("socket");
    let unix = UnixListener::bind(&path).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let public = port.as_raw_fd();
    let dir = File::open("/").unwrap();
    let (go, gone) = channel::<()>();
    let earlier = std::thread::spawn(move || {
        gone.recv().unwrap();
        File::open("/").unwrap_err().raw_os_error()
    });
    never_gain_privileges().unwrap();
    calls::allow_only(&[public]).unwrap();

    go.send(()).unwrap();
    assert_eq!(earlier.join().unwrap(), Some(libc::EPERM), "a thread that was there before is held too");
    let (own, fd) = (std::process::id() as libc::c_long, public.into());
    // What is refused does not look at its arguments; those of 0 would do no harm either.
    let refused: &[(&str, libc::c_long, [libc::c_long; 4])] = &[
        ("execve", libc::SYS_execve, [0; 4]),
        ("execveat", libc::SYS_execveat, [0; 4]),
        ("openat", libc::SYS_openat, [dir.as_raw_fd().into(), c"etc".as_ptr() as libc::c_long, 0, 0]),
        ("openat2", libc::SYS_openat2, [0; 4]),
        ("unlinkat", libc::SYS_unlinkat, [0; 4]),
        ("renameat2", libc::SYS_renameat2, [0; 4]),
        ("mkdirat", libc::SYS_mkdirat, [0; 4]),
        ("statx", libc::SYS_statx, [0; 4]),
        ("readlinkat", libc::SYS_readlinkat, [0; 4]),
        ("chdir", libc::SYS_chdir, [c"/".as_ptr() as libc::c_long, 0, 0, 0]),
        ("chroot", libc::SYS_chroot, [0; 4]),
        ("mount", libc::SYS_mount, [0; 4]),
        ("unshare", libc::SYS_unshare, [0; 4]),
        ("setns", libc::SYS_setns, [-1, 0, 0, 0]),
        ("kill", libc::SYS_kill, [own, 0, 0, 0]),
        ("tkill", libc::SYS_tkill, [own, 0, 0, 0]),
        ("tgkill to another", libc::SYS_tgkill, [1, 1, 0, 0]),
        ("rt_sigqueueinfo", libc::SYS_rt_sigqueueinfo, [own, 0, 0, 0]),
        ("pidfd_open", libc::SYS_pidfd_open, [own, 0, 0, 0]),
        ("pidfd_getfd", libc::SYS_pidfd_getfd, [-1, 0, 0, 0]),
        ("pidfd_send_signal", libc::SYS_pidfd_send_signal, [-1, 0, 0, 0]),
        ("ptrace", libc::SYS_ptrace, [libc::PTRACE_TRACEME as libc::c_long, 0, 0, 0]),
        ("process_vm_readv", libc::SYS_process_vm_readv, [own, 0, 0, 0]),
        ("process_vm_writev", libc::SYS_process_vm_writev, [own, 0, 0, 0]),
        ("a process", libc::SYS_clone, [libc::SIGCHLD.into(), 0, 0, 0]),
        ("socket(AF_INET)", libc::SYS_socket, [libc::AF_INET.into(), libc::SOCK_STREAM.into(), 0, 0]),
        ("socket(AF_NETLINK)", libc::SYS_socket, [libc::AF_NETLINK.into(), libc::SOCK_RAW.into(), 0, 0]),
        ("socket(AF_UNIX, DGRAM)", libc::SYS_socket, [libc::AF_UNIX.into(), libc::SOCK_DGRAM.into(), 0, 0]),
        ("bind", libc::SYS_bind, [fd, 0, 0, 0]),
        ("listen", libc::SYS_listen, [fd, 1, 0, 0]),
        ("sendmsg", libc::SYS_sendmsg, [fd, 0, 0, 0]),
        ("recvmsg", libc::SYS_recvmsg, [fd, 0, 0, 0]),
        ("connect of a shared socket", libc::SYS_connect, [fd, 0, 0, 0]),
        ("shutdown of a shared socket", libc::SYS_shutdown, [fd, 0, 0, 0]),
        ("dup of a shared socket", calls::FCNTL, [fd, libc::F_DUPFD_CLOEXEC.into(), 100, 0]),
        ("dup", libc::SYS_dup, [fd, 0, 0, 0]),
        ("dup3", libc::SYS_dup3, [fd, 100, 0, 0]),
        ("F_SETOWN", calls::FCNTL, [dir.as_raw_fd().into(), libc::F_SETOWN.into(), 1, 0]),
        ("TIOCSTI", libc::SYS_ioctl, [0, libc::TIOCSTI as libc::c_long, 0, 0]),
        ("mmap of code", calls::MMAP, [0, 4096, (libc::PROT_READ | libc::PROT_EXEC).into(), 0]),
        ("mprotect to code", libc::SYS_mprotect, [0, 4096, (libc::PROT_READ | libc::PROT_EXEC).into(), 0]),
        ("memfd_create", libc::SYS_memfd_create, [c"x".as_ptr() as libc::c_long, 0, 0, 0]),
        ("io_uring_setup", libc::SYS_io_uring_setup, [1, 0, 0, 0]),
        ("bpf", libc::SYS_bpf, [0; 4]),
        ("perf_event_open", libc::SYS_perf_event_open, [0; 4]),
        ("keyctl", libc::SYS_keyctl, [0; 4]),
        ("userfaultfd", libc::SYS_userfaultfd, [0; 4]),
        ("prctl(PR_SET_DUMPABLE)", libc::SYS_prctl, [libc::PR_SET_DUMPABLE.into(), 1, 0, 0]),
        ("prlimit of another", libc::SYS_prlimit64, [1, 0, 0, 0]),
        ("setuid", libc::SYS_setuid, [0; 4]),
        ("init_module", libc::SYS_init_module, [0; 4]),
        ("reboot", libc::SYS_reboot, [0; 4]),
    ];
    for (name, call, [a, b, c, d]) in refused {
        // SAFETY: refused before the kernel looks at an argument, which is what is tested.
        assert_eq!(errno(unsafe { libc::syscall(*call, *a, *b, *c, *d) }), libc::EPERM, "{name}");
    }
    // SAFETY: as above.
    unsafe {
        assert_eq!(errno(libc::syscall(libc::SYS_clone3, 0, 0)), libc::ENOSYS);
        #[cfg(target_arch = "x86_64")]
        for call in [libc::SYS_open, libc::SYS_creat, libc::SYS_fork, libc::SYS_vfork, 0x4000_0000 + libc::SYS_getpid] {
            assert_eq!(errno(libc::syscall(call, c"/tmp/x".as_ptr(), 0, 0)), libc::EPERM, "{call}");
        }
    }

    // All that a server does goes on.
    let mut client = UnixStream::connect(&path).unwrap();
    let mut served = unix.accept().unwrap().0;
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let answering = std::thread::Builder::new().name("answer".into()).stack_size(256 << 10);
    let answering = answering.spawn(move || {
        let mut bytes = vec![0; 4 << 20];
        served.read_exact(&mut bytes).unwrap();
        served.shutdown(std::net::Shutdown::Write).unwrap();
        bytes.len()
    });
    client.write_all(&vec![1; 4 << 20]).unwrap();
    assert_eq!((answering.unwrap().join().unwrap(), client.read(&mut [0; 1]).unwrap()), (4 << 20, 0));
    client.try_clone().unwrap().set_nonblocking(true).unwrap();
    UnixStream::pair().unwrap();
    assert!(std::panic::catch_unwind(|| panic!("with a trace of the stack, as far as it goes")).is_err());
    std::thread::sleep(Duration::from_millis(1));
    assert!(nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).is_ok());
    // SAFETY: passes integers only; nothing is sent with signal 0.
    assert_eq!(errno(unsafe { libc::syscall(libc::SYS_tgkill, own, libc::gettid(), 0) }), 0);
}

#[test]
fn what_holds_and_what_does_not_is_told() {
    in_a_process_of_its_own("inside_all_of_it");
    let told = Confinement {
        user: "nobody".into(),
        holds: vec!["no capabilities".into(), "seccomp".into()],
        missing: vec!["Landlock: it is switched off".into()],
    };
    assert_eq!(told.to_string(), "user nobody, no capabilities, seccomp; without Landlock: it is switched off");
}

#[test]
#[ignore = "the test above runs it in a process of its own"]
fn inside_all_of_it() {
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let mut status = File::open("/proc/self/task").and_then(|_| File::open("/proc/thread-self/status")).unwrap();
    let confinement = now(&Needs { open_files: 64, listening: &[] });
    let told = confinement.to_string();
    let user = told.strip_prefix("user ").unwrap().split([',', ';']).next().unwrap();
    let uid = nix::unistd::geteuid();
    assert!(user == uid.to_string() || passwd.contains(&format!("{user}:x:{uid}:")), "{told}");
    assert!(told.contains(", no capabilities, limits") && told.contains("seccomp"), "{told}");
    assert!(confinement.missing.iter().all(|missing| missing.starts_with("Landlock: ")), "{told}");
    let mut text = String::new();
    status.read_to_string(&mut text).unwrap();
    for line in ["Seccomp:\t2", "NoNewPrivs:\t1", "CapEff:\t0000000000000000"] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert_eq!(File::open("/etc/passwd").unwrap_err().raw_os_error(), Some(libc::EPERM));
}

/// The kernel's part, as far as our programs go.
mod simulated {
    use super::super::filter::{Rule, When, program};

    const ARCHITECTURE: u32 = 7;
    const REFUSED: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    const ALLOWED: u32 = libc::SECCOMP_RET_ALLOW;
    const MISSING: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

    fn run(program: &[libc::sock_filter], number: u32, architecture: u32, arguments: [u64; 6]) -> u32 {
        let word = |offset: u32| match offset {
            0 => number,
            4 => architecture,
            _ => {
                let argument = arguments[(offset as usize - 16) / 8];
                if offset.is_multiple_of(8) { argument as u32 } else { (argument >> 32) as u32 }
            }
        };
        let (mut at, mut a) = (0, 0);
        loop {
            let step = program[at];
            at += 1;
            match u32::from(step.code) {
                0x20 => a = word(step.k),
                0x54 => a &= step.k,
                0x15 => at += usize::from(if a == step.k { step.jt } else { step.jf }),
                0x06 => return step.k,
                code => panic!("no such instruction: {code:#x}"),
            }
        }
    }

    #[test]
    fn rules_are_what_they_say() {
        let rule = |call, when| Rule { call, when };
        let program = program(
            ARCHITECTURE,
            &[9],
            &[
                rule(1, vec![]),
                rule(2, vec![When::Is(0, 5)]),
                rule(3, vec![When::IsOneOf(1, &[5, 6, 7]), When::IsNull(2)]),
                rule(4, vec![When::IsNoneOf(0, &[3, 4]), When::Bits(1, 0xf, 1)]),
                rule(5, vec![When::IsNoneOf(0, &[]), When::IsOneOf(0, &[1])]),
                rule(6, vec![]),
            ],
        );
        let high = 1 << 32;
        let table: &[(u32, [u64; 3], u32)] = &[
            (0, [0, 0, 0], REFUSED),
            (1, [9, 9, 9], ALLOWED),
            (2, [5, 0, 0], ALLOWED),
            (2, [5 + high, 0, 0], ALLOWED),
            (2, [6, 0, 0], REFUSED),
            (3, [0, 5, 0], ALLOWED),
            (3, [0, 6, 0], ALLOWED),
            (3, [0, 7, 0], ALLOWED),
            (3, [0, 8, 0], REFUSED),
            (3, [0, 7, 1], REFUSED),
            (3, [0, 7, high], REFUSED),
            (4, [2, 1, 0], ALLOWED),
            (4, [2, 0x11, 0], ALLOWED),
            (4, [2, 3, 0], REFUSED),
            (4, [3, 1, 0], REFUSED),
            (4, [4, 1, 0], REFUSED),
            (5, [1, 0, 0], ALLOWED),
            (5, [2, 0, 0], REFUSED),
            (6, [0, 0, 0], ALLOWED),
            (7, [0, 0, 0], REFUSED),
            (9, [0, 0, 0], MISSING),
            (0x4000_0001, [0, 0, 0], REFUSED),
        ];
        for (number, [a, b, c], expected) in table {
            let answer = run(&program, *number, ARCHITECTURE, [*a, *b, *c, 0, 0, 0]);
            assert_eq!(answer, *expected, "{number} {a:#x} {b:#x} {c:#x}");
        }
        assert_eq!(run(&program, 1, ARCHITECTURE + 1, [0; 6]), REFUSED, "another architecture's numbers mean others");
    }

    #[test]
    fn each_call_has_one_rule_and_jumps_reach() {
        let rules = super::super::calls::rules(&[3, 4], 1);
        let mut calls: Vec<_> = rules.iter().map(|rule| rule.call).collect();
        calls.sort();
        let all = calls.len();
        calls.dedup();
        assert_eq!(calls.len(), all, "only the first of two rules would be asked");
        // Every call is answered: no jump leaves the program.
        let program = program(ARCHITECTURE, &[], &rules);
        assert!(program.len() < 4096, "more than the kernel takes");
        for number in 0..600 {
            for argument in [0, 1, 2, 3, 4, 1 << 16, u64::MAX] {
                run(&program, number, ARCHITECTURE, [argument; 6]);
            }
        }
    }
}
