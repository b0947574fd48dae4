//! A listener that was broken into: a debugger has the running process make the system calls an intruder would, and the
//! kernel refuses them.
//!
//! Only root may attach to it - it is not even readable for its own user - so these are ignored by default.

#![cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]

use crate::world::puppet::Puppet;
use crate::world::{World, is_root, processes, wait_until};
use pintle::base::{AppName, DeployId};
use pintle::control::{Answer, Delivery, DeployAsked, DeployStatus, Request as Ask, Trigger, Want, Wanted};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

const EVERYBODY: i32 = -1;
const HERE: u64 = libc::AT_FDCWD as u64;
/// The first socket the daemon passes.
const PUBLIC: u64 = 3;
const ZEROS: [u64; 6] = [0; 6];

fn listener(world: &World) -> i32 {
    assert!(is_root(), "only root may attach to the listener: run this as root");
    wait_until("the listener", || world.status().listener.pid.map(|pid| pid as i32))
}

fn threads(pid: i32) -> Vec<i32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    tasks.map(|task| task.file_name().to_str().unwrap().parse().unwrap()).collect()
}

impl Puppet {
    fn path(&mut self, path: impl AsRef<Path>) -> u64 {
        self.put(path.as_ref().as_os_str().as_bytes())
    }

    /// The kernel must say that it is not permitted, or that there is no such call.
    #[track_caller]
    fn is_refused(&mut self, what: &str, number: libc::c_long, arguments: [u64; 6]) {
        let answer = self.call(number, arguments);
        let refusals = [libc::EPERM, libc::EACCES, libc::ENOSYS].map(|errno| -i64::from(errno));
        assert!(refusals.contains(&answer), "{what}: {answer}");
    }

    #[track_caller]
    fn unix_socket(&mut self) -> u64 {
        let socket = self.call(libc::SYS_socket, [libc::AF_UNIX as u64, libc::SOCK_STREAM as u64, 0, 0, 0, 0]);
        u64::try_from(socket).unwrap_or_else(|_| panic!("a Unix socket: {socket}"))
    }

    /// `struct sockaddr_un` of a name, and its size; an abstract one begins with NUL.
    fn unix_address(&mut self, name: &[u8]) -> [u64; 2] {
        let bytes = [&(libc::AF_UNIX as u16).to_ne_bytes(), name].concat();
        [self.put(&bytes), bytes.len() as u64 + u64::from(name[0] != 0)]
    }

    fn connect(&mut self, name: &[u8]) -> (u64, i64) {
        let socket = self.unix_socket();
        let [address, size] = self.unix_address(name);
        (socket, self.call(libc::SYS_connect, [socket, address, size, 0, 0, 0]))
    }

    /// Asks on a connection to the daemon.
    #[track_caller]
    fn ask(&mut self, connection: u64, request: &Ask) -> Answer {
        let line = serde_json::to_string(request).unwrap() + "\n";
        let text = self.put(line.as_bytes());
        let sent = self.call(libc::SYS_write, [connection, text, line.len() as u64, 0, 0, 0]);
        assert_eq!(sent, line.len() as i64);
        let buffer = self.put(&[0; 4096]);
        let mut answer = Vec::new();
        while !answer.ends_with(b"\n") {
            let read = self.call(libc::SYS_read, [connection, buffer, 4096, 0, 0, 0]);
            assert!(read > 0, "{read}");
            answer.extend(self.get(buffer, read as usize));
        }
        serde_json::from_slice(&answer).unwrap()
    }
}

#[test]
#[ignore = "needs root; .ci/run runs it"]
fn the_kernel_refuses_what_an_intruder_would_try() {
    let world = World::of_a_shop();
    let shop = world.shop();
    shop.goes_live("v1");
    let (daemon, app, pid) = (world.daemon_pid(), shop.pid(), listener(&world));
    let other = *threads(pid).iter().find(|thread| **thread != pid).expect("the listener has threads");
    // Whatever thread it is: each is confined.
    for thread in [pid, other] {
        let visitor = visitor(&world);
        let mut intruder = Puppet::attach(pid, thread);
        files(&mut intruder, &world, daemon);
        processes_of_others(&mut intruder, daemon, app);
        network(&mut intruder, &world, &visitor);
        kernel(&mut intruder);
    }
    assert!(world.control().exists());
    assert_eq!((shop.pid(), listener(&world)), (app, pid), "the app is what it was, and so is the listener");
    shop.push(&shop.version("v2", &[])).accepted();
    wait_until("v2", || (shop.get("/").ok()?.body == "v2").then_some(()));
}

fn files(intruder: &mut Puppet, world: &World, daemon: i32) {
    let secrets = [
        world.state().join("pintle.db"),
        world.config().join("pintle.toml"),
        world.config().join("secrets/shop"),
        world.shop().dir().join("current/version"),
        format!("/proc/{daemon}/mem").into(),
        format!("/proc/{daemon}/environ").into(),
        // What anybody may read, and itself.
        "/etc/passwd".into(),
        "/proc/self/mem".into(),
        "/".into(),
    ];
    for secret in secrets {
        assert!(secret.exists() || secret.starts_with("/proc"), "{}", secret.display());
        let path = intruder.path(&secret);
        let how = intruder.put(&[0; 24]);
        intruder.is_refused(&format!("open {}", secret.display()), libc::SYS_openat, [HERE, path, 0, 0, 0, 0]);
        intruder.is_refused("openat2", libc::SYS_openat2, [HERE, path, how, 24, 0, 0]);
        intruder.is_refused("statx", libc::SYS_statx, [HERE, path, 0, 0x7ff, how, 0]);
    }
    let (new, control) = (intruder.path("/tmp/pintle-intruder"), intruder.path(world.control()));
    let write = (libc::O_WRONLY | libc::O_CREAT) as u64;
    intruder.is_refused("make a file", libc::SYS_openat, [HERE, new, write, 0o777, 0, 0]);
    intruder.is_refused("make a directory", libc::SYS_mkdirat, [HERE, new, 0o777, 0, 0, 0]);
    intruder.is_refused("make a link", libc::SYS_symlinkat, [control, HERE, new, 0, 0, 0]);
    intruder.is_refused("remove control.sock", libc::SYS_unlinkat, [HERE, control, 0, 0, 0, 0]);
    intruder.is_refused("rename control.sock", libc::SYS_renameat2, [HERE, control, HERE, new, 0, 0]);
    intruder.is_refused("open control.sock up", libc::SYS_fchmodat, [HERE, control, 0o777, 0, 0, 0]);
    intruder.is_refused("take control.sock", libc::SYS_fchownat, [HERE, control, 65534, 65534, 0, 0]);
    intruder.is_refused("chroot", libc::SYS_chroot, [new, 0, 0, 0, 0, 0]);
    intruder.is_refused("mount", libc::SYS_mount, [new, new, new, 0, 0, 0]);
}

fn processes_of_others(intruder: &mut Puppet, daemon: i32, app: i32) {
    let term = libc::SIGTERM as u64;
    for victim in [daemon, app] {
        let pid = victim as u64;
        intruder.is_refused("kill", libc::SYS_kill, [pid, term, 0, 0, 0, 0]);
        intruder.is_refused("tkill", libc::SYS_tkill, [pid, term, 0, 0, 0, 0]);
        intruder.is_refused("tgkill", libc::SYS_tgkill, [pid, pid, term, 0, 0, 0]);
        intruder.is_refused("rt_sigqueueinfo", libc::SYS_rt_sigqueueinfo, [pid, term, 0, 0, 0, 0]);
        intruder.is_refused("pidfd_open", libc::SYS_pidfd_open, [pid, 0, 0, 0, 0, 0]);
        intruder.is_refused("ptrace", libc::SYS_ptrace, [libc::PTRACE_ATTACH.into(), pid, 0, 0, 0, 0]);
        intruder.is_refused("process_vm_readv", libc::SYS_process_vm_readv, [pid, 0, 0, 0, 0, 0]);
        intruder.is_refused("prlimit64", libc::SYS_prlimit64, [pid, 0, 0, 0, 0, 0]);
        assert!(processes::is_alive(victim));
    }
    // Signal 0 hurts nobody.
    intruder.is_refused("kill everybody", libc::SYS_kill, [EVERYBODY as u64, 0, 0, 0, 0, 0]);

    let shell = intruder.path("/bin/sh");
    let arguments = intruder.put(&[shell.to_ne_bytes(), [0; 8]].concat());
    intruder.is_refused("execve", libc::SYS_execve, [shell, arguments, 0, 0, 0, 0]);
    intruder.is_refused("execveat", libc::SYS_execveat, [HERE, shell, arguments, 0, 0, 0]);
    let fork = libc::SIGCHLD as u64;
    intruder.is_refused("fork", libc::SYS_clone, [fork, 0, 0, 0, 0, 0]);
    let space = (libc::CLONE_NEWUSER | libc::SIGCHLD) as u64;
    intruder.is_refused("fork into a namespace", libc::SYS_clone, [space, 0, 0, 0, 0, 0]);
    // The fifth word is the signal at its end.
    let how = intruder.put(&[0, 0, 0, 0, fork, 0, 0, 0].map(u64::to_ne_bytes).concat());
    intruder.is_refused("fork by clone3", libc::SYS_clone3, [how, 64, 0, 0, 0, 0]);
    #[cfg(target_arch = "x86_64")]
    for call in [libc::SYS_fork, libc::SYS_vfork] {
        intruder.is_refused("fork", call, ZEROS);
    }
}

fn network(intruder: &mut Puppet, world: &World, visitor: &TcpStream) {
    let stream = libc::SOCK_STREAM as u64;
    for family in [libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK, libc::AF_PACKET, libc::AF_VSOCK] {
        intruder.is_refused("a socket", libc::SYS_socket, [family as u64, stream, 0, 0, 0, 0]);
    }
    // The public socket is the daemon's too: it can be accepted from, and nothing else.
    let outside = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = outside.local_addr().unwrap().port().to_be_bytes();
    let address = [&(libc::AF_INET as u16).to_ne_bytes()[..], &port, &[127, 0, 0, 1], &[0; 8]].concat();
    let address = intruder.put(&address);
    intruder.is_refused("connect", libc::SYS_connect, [PUBLIC, address, 16, 0, 0, 0]);
    let unspecified = intruder.put(&[0; 16]);
    intruder.is_refused("dissolve the port", libc::SYS_connect, [PUBLIC, unspecified, 16, 0, 0, 0]);
    intruder.is_refused("close the port", libc::SYS_shutdown, [PUBLIC, libc::SHUT_RDWR as u64, 0, 0, 0, 0]);
    intruder.is_refused("bind", libc::SYS_bind, [PUBLIC, address, 16, 0, 0, 0]);
    intruder.is_refused("listen", libc::SYS_listen, [PUBLIC, 1, 0, 0, 0, 0]);
    intruder.is_refused("copy the port", libc::SYS_fcntl, [PUBLIC, libc::F_DUPFD_CLOEXEC as u64, 9, 0, 0, 0]);
    intruder.is_refused("dup", libc::SYS_dup, [PUBLIC, 0, 0, 0, 0, 0]);
    intruder.is_refused("send the port", libc::SYS_sendmsg, [PUBLIC, address, 0, 0, 0, 0]);

    turn_a_visitor_round(intruder, world, visitor, address);

    let socket = intruder.unix_socket();
    let [address, size] = intruder.unix_address(b"/tmp/pintle-intruder.sock");
    intruder.is_refused("bind a Unix socket", libc::SYS_bind, [socket, address, size, 0, 0, 0]);
    assert_eq!(intruder.call(libc::SYS_close, [socket, 0, 0, 0, 0, 0]), 0);

    let (socket, answer) = intruder.connect(world.control().as_os_str().as_bytes());
    assert_eq!(answer, -i64::from(libc::EACCES), "control.sock is not for the listener's user");
    assert_eq!(intruder.call(libc::SYS_close, [socket, 0, 0, 0, 0, 0]), 0);

    let name = format!("pintle-test-{}", std::process::id());
    let _abstract = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let (socket, answer) = intruder.connect(format!("\0{name}").as_bytes());
    let version = landlock(world);
    let expected = if version >= 6 { -i64::from(libc::EPERM) } else { 0 };
    assert_eq!(answer, expected, "an abstract socket, with Landlock v{version}");
    assert_eq!(intruder.call(libc::SYS_close, [socket, 0, 0, 0, 0, 0]), 0);
}

/// Somebody who has been answered once and stays connected.
fn visitor(world: &World) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", world.hook)).unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
    stream
}

/// A connection that came from outside can be dissolved, but not be made to another place - by Landlock, as a filter
/// cannot see whether it is the address of a Unix socket.
fn turn_a_visitor_round(intruder: &mut Puppet, world: &World, visitor: &TcpStream, elsewhere: u64) {
    let port = visitor.local_addr().unwrap().port().to_be_bytes();
    let peer = intruder.put(&[0; 128]);
    let is_it = |intruder: &mut Puppet, fd| {
        let size = intruder.put(&128_u32.to_ne_bytes());
        intruder.call(libc::SYS_getpeername, [fd, peer, size, 0, 0, 0]) == 0 && intruder.get(peer + 2, 2) == port
    };
    let connection = (PUBLIC + 1..200).find(|fd| is_it(intruder, *fd)).expect("the visitor's connection");
    let flags = (libc::MSG_FASTOPEN | libc::MSG_NOSIGNAL) as u64;
    intruder.is_refused("send elsewhere", libc::SYS_sendto, [connection, peer, 1, flags, elsewhere, 16]);
    if landlock(world) >= 4 {
        // A copy, because the listener closes its own as soon as the visitor is gone.
        let copy = intruder.call(libc::SYS_fcntl, [connection, libc::F_DUPFD_CLOEXEC as u64, 0, 0, 0, 0]) as u64;
        let nowhere = intruder.put(&[0; 16]);
        assert_eq!(intruder.call(libc::SYS_connect, [copy, nowhere, 16, 0, 0, 0]), 0);
        intruder.is_refused("connect elsewhere", libc::SYS_connect, [copy, elsewhere, 16, 0, 0, 0]);
        assert_eq!(intruder.call(libc::SYS_close, [copy, 0, 0, 0, 0, 0]), 0);
    }
}

/// What the listener itself has told of the kernel's Landlock; 0: there is none.
fn landlock(world: &World) -> u32 {
    let said = world.daemon_said();
    let line = said.lines().find(|line| line.contains("listener confined: ")).expect("it tells how it is confined");
    let version = line.split_once("Landlock v").and_then(|(_, rest)| rest.split([',', ';', ' ']).next());
    version.map_or(0, |version| version.parse().unwrap())
}

fn kernel(intruder: &mut Puppet) {
    let name = intruder.path("x");
    let code = (libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC) as u64;
    let own = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
    let cases = [
        ("memory for code", libc::SYS_mmap, [0, 4096, code, own, u64::MAX, 0]),
        ("code of memory", libc::SYS_mprotect, [name & !4095, 4096, code, 0, 0, 0]),
        ("memfd_create", libc::SYS_memfd_create, [name, 0, 0, 0, 0, 0]),
        ("io_uring_setup", libc::SYS_io_uring_setup, [1, name, 0, 0, 0, 0]),
        ("bpf", libc::SYS_bpf, ZEROS),
        ("perf_event_open", libc::SYS_perf_event_open, ZEROS),
        ("unshare", libc::SYS_unshare, [libc::CLONE_NEWUSER as u64, 0, 0, 0, 0, 0]),
        ("setns", libc::SYS_setns, ZEROS),
        ("keyctl", libc::SYS_keyctl, ZEROS),
        ("userfaultfd", libc::SYS_userfaultfd, ZEROS),
        ("setuid", libc::SYS_setuid, ZEROS),
        ("capset", libc::SYS_capset, ZEROS),
        ("seccomp", libc::SYS_seccomp, ZEROS),
        ("prctl", libc::SYS_prctl, [libc::PR_SET_DUMPABLE as u64, 1, 0, 0, 0, 0]),
        ("init_module", libc::SYS_init_module, ZEROS),
        ("reboot", libc::SYS_reboot, ZEROS),
    ];
    for (what, number, arguments) in cases {
        intruder.is_refused(what, number, arguments);
    }
}

#[test]
#[ignore = "needs root; .ci/run runs it"]
fn the_daemon_refuses_what_the_listener_may_not_ask() {
    let world = World::of_a_shop();
    let shop = world.shop();
    shop.goes_live("v1");
    let by_a_person = {
        shop.version("v2", &[]);
        world.pintle(&["deploy", "shop"]).exits(0);
        shop.serves("v2");
        world.history()[0].number
    };
    shop.repo.git(&["checkout", "--quiet", "-b", "attack"]);
    let elsewhere = shop.version("evil", &[]);
    let (app, pid) = (shop.pid(), listener(&world));
    let name = AppName::new("shop").unwrap();

    let number = {
        let mut intruder = Puppet::attach(pid, pid);
        let (connection, answer) = intruder.connect(world.root.join("run/listener.sock").as_os_str().as_bytes());
        assert_eq!(answer, 0, "its own door is open");
        assert_eq!(intruder.ask(connection, &Ask::Ping), Answer::Pong);
        let (commit, force, backup_only) = (None, true, false);
        let deploy = DeployAsked { app: name.clone(), commit, force, backup_only, trigger: Trigger::Cli };
        let refused = [
            Ask::Deploy(deploy),
            Ask::Status { app: None },
            Ask::Stop { app: name.clone(), service: None },
            Ask::Restart { app: name.clone(), service: None },
            Ask::Rollback { app: name.clone(), to: None, with_data: true },
            Ask::Logs {
                app: Some(name.clone()),
                service: None,
                schedule: None,
                deployment: None,
                lines: 10,
                follow: false,
            },
            Ask::Follow { number: DeployId(by_a_person.0) },
            Ask::Reexec,
        ];
        for request in refused {
            let answer = intruder.ask(connection, &request);
            assert!(matches!(answer, Answer::Error { exit: 77, .. }), "{request:?}: {answer:?}");
        }
        let wants = vec![Want { app: name, wanted: Wanted::Commit(elsewhere.parse().unwrap()) }];
        let delivery = Delivery { wants, ..Delivery::new(Some("intruder".into()), Trigger::Webhook, "push") };
        let answer = intruder.ask(connection, &Ask::Deliver(delivery));
        assert!(matches!(answer, Answer::Delivered { .. }), "{answer:?}");
        assert_eq!(intruder.call(libc::SYS_close, [connection, 0, 0, 0, 0, 0]), 0);
        by_a_person.0 + 1
    };
    let report = world.end_of(number);
    assert_ne!(report.deployment.status, DeployStatus::Success, "{report:#?}");
    assert!(format!("{report:?}").contains("on branch main"), "{report:#?}");
    shop.serves("v2");
    assert_eq!((shop.pid(), listener(&world)), (app, pid));
}

#[test]
#[ignore = "needs root; .ci/run runs it"]
fn every_thread_of_the_listener_is_confined() {
    let world = World::of_a_shop();
    let pid = listener(&world);
    // The threads that answer are there by now.
    world.shop().goes_live("v1");
    for thread in threads(pid) {
        let status = fs::read_to_string(format!("/proc/{pid}/task/{thread}/status")).unwrap();
        for line in ["Seccomp:\t2", "NoNewPrivs:\t1", "Umask:\t0077", "Uid:\t65534\t65534\t65534\t65534"] {
            assert!(status.contains(line), "{line}: {status}");
        }
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert!(status.contains(&format!("{set}:\t0000000000000000")), "{set}: {status}");
        }
    }
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    for limit in ["Max core file size", "Max locked memory", "Max msgqueue size"] {
        let line = limits.lines().find_map(|line| line.strip_prefix(limit)).unwrap();
        assert!(line.split_whitespace().take(2).eq(["0", "0"]), "{limit}: {line}");
    }
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(format!("/proc/{pid}/environ")).unwrap());
    assert_eq!(owner, 0, "not readable for other processes of its user");
}
