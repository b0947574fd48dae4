use super::*;
use crate::base::{Bytes, InstanceId};
use crate::os::logfile::LogTarget;
use crate::os::output::Output;
use crate::os::process::{self, Process, processes};
use crate::os::scribe::Scribe;
use crate::os::spawn::{Start, start};
use crate::os::{group, poll, users};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::stat::fstat;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

const MARKER: &str = "PINTLE_KEEPER";

/// A directory that ends with its keepers.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let dir = std::env::temp_dir().join(format!("pintle-fdstore-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        Scratch(dir)
    }

    fn open(&self) -> (FdStore, Vec<(String, OwnedFd)>) {
        open(&self.0)
    }

    fn keepers(&self) -> Vec<Process> {
        let value = self.0.as_os_str().as_encoded_bytes();
        let is_marked = |process: &Process| process.variable(MARKER.as_bytes()).as_deref() == Some(value);
        processes().filter(|process| process.runs && is_marked(process)).collect()
    }

    fn keeper(&self) -> Process {
        let [keeper] = self.keepers()[..] else { panic!("one keeper, not {:?}", self.keepers()) };
        keeper
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for keeper in self.keepers() {
            end(&keeper);
        }
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn open(dir: &Path) -> (FdStore, Vec<(String, OwnedFd)>) {
    let marker = (MARKER.to_owned(), dir.to_str().unwrap().to_owned());
    FdStore::open_with(dir, marker, as_this_executable("keeper_process"))
}

/// This test program, which runs the named test of this file only.
fn as_this_executable(test: &str) -> keeper::Command {
    let program = std::env::current_exe().unwrap().to_str().unwrap().to_owned();
    let name = format!("os::fdstore::tests::{test}");
    let argv = [&program, "--exact", &name, "--ignored", "--nocapture"].map(String::from).to_vec();
    keeper::Command { program, argv }
}

fn end(process: &Process) {
    let Some(pidfd) = process.hold() else { return };
    process::signal(pidfd.as_fd(), libc::SIGKILL).unwrap();
    assert!(poll::until(&mut [poll::readable(pidfd.as_fd())], Some(soon())).unwrap());
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = soon();
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

fn inode(fd: &OwnedFd) -> u64 {
    fstat(fd).unwrap().st_ino
}

fn pipe() -> (OwnedFd, OwnedFd) {
    nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap()
}

#[test]
#[ignore = "the tests below run it in a process of its own"]
fn keeper_process() {
    assert_eq!(keeper::run(), 0);
}

#[test]
fn names_hold_any_address_and_give_it_back() {
    for text in ["127.0.0.1:8000", "[::1]:80", "/run/app/a b%20.sock", "7", "", "/run/größe"] {
        let name = name_of("socket", text);
        assert!(check(&name).is_ok() && name.starts_with("socket-"), "{name}");
        assert_eq!(text_of("socket", &name).as_deref(), Some(text));
        assert_eq!(text_of("output", &name), None);
    }
    assert_eq!(name_of("socket", "[::1]:80"), "socket-[%3A%3A1]%3A80");
    assert_eq!(text_of("socket", "socket-%"), None);
    assert_eq!(text_of("socket", "socket-%+1"), None);
    assert_eq!(text_of("socket", "socket-%ÿ1"), None);
    for bad in ["", "a:b", "a b", "ä", &"x".repeat(256)] {
        assert!(check(bad).is_err(), "{bad}");
    }
}

/// What a client gets that comes while no daemon lives, and what an instance says then.
#[test]
fn a_killed_daemons_socket_and_output_go_on_in_its_successor() {
    let dir = Scratch::new("killed");
    let writer = "echo before; read go < go; seq 4000 && echo written > written; echo after; echo $? > status";
    let (mut daemon, address) = daemon(&dir, writer);
    let log = dir.0.join("web.log");
    wait_until("the first line", || fs::read_to_string(&log).is_ok_and(|text| text == "before\n"));
    let keeper = dir.keeper();
    assert_ne!(keeper.session, Process::read(daemon.id()).unwrap().session);
    daemon.kill().unwrap();
    daemon.wait().unwrap();

    let mut early = TcpStream::connect(&address).unwrap();
    early.write_all(b"hello").unwrap();
    fs::write(dir.0.join("go"), "now\n").unwrap();
    wait_until("the writer writes on without a reader", || dir.0.join("written").exists());

    let (store, mut back) = dir.open();
    back.sort_by(|one, other| one.0.cmp(&other.0));
    let names: Vec<&str> = back.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["output-1", &name_of("socket", &address)]);
    let (_, socket) = back.pop().unwrap();
    let (_, output) = back.pop().unwrap();
    assert_eq!(fcntl(&socket, FcntlArg::F_GETFD).unwrap(), libc::FD_CLOEXEC);
    let (mut served, _) = TcpListener::from(socket).accept().unwrap();
    let mut said = [0; 5];
    served.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"hello");

    let scribe = Scribe::start().unwrap();
    scribe.follow(InstanceId(1), LogTarget { path: log.clone(), max: Bytes(1 << 30), keep: 1 }, output).unwrap();
    let numbers: String = (1..=4000).map(|number| format!("{number}\n")).collect();
    wait_until("every line", || fs::read_to_string(&log).unwrap() == format!("before\n{numbers}after\n"));
    wait_until("its ending", || fs::read_to_string(dir.0.join("status")).is_ok_and(|text| text == "0\n"));

    let same = dir.keeper();
    assert_eq!((same.pid, same.start_time), (keeper.pid, keeper.start_time));
    store.close();
    wait_until("the keeper ends", || dir.keepers().is_empty());
    assert!(!dir.0.join("keeper.sock").exists());
    assert!(dir.open().1.is_empty());
}

/// Whoever is killed in a burst has not taken what it has not written.
#[test]
fn no_line_is_lost_when_the_daemon_is_killed_while_it_writes() {
    let dir = Scratch::new("burst");
    let (mut daemon, _) = daemon(&dir, "seq 400000; echo $? > status");
    let log = dir.0.join("web.log");
    wait_until("the burst", || fs::metadata(&log).is_ok_and(|meta| meta.len() > 200_000));
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    let (store, mut back) = dir.open();
    back.retain(|(name, _)| name == "output-1");
    let scribe = Scribe::start().unwrap();
    let target = LogTarget { path: log.clone(), max: Bytes(1 << 30), keep: 1 };
    scribe.follow(InstanceId(1), target, back.remove(0).1).unwrap();
    wait_until("its ending", || fs::read_to_string(dir.0.join("status")).is_ok_and(|text| text == "0\n"));
    scribe.flush();
    let text = fs::read_to_string(&log).unwrap();
    let lines: std::collections::HashSet<&str> = text.lines().collect();
    let missing = (1..=400_000).filter(|number| !lines.contains(number.to_string().as_str())).count();
    assert_eq!(missing, 0);
    store.close();
}

/// A daemon in a process of its own, and the address it serves.
fn daemon(dir: &Scratch, writer: &str) -> (std::process::Child, String) {
    let command = as_this_executable("daemon_process");
    let mut daemon = std::process::Command::new(command.program);
    daemon.args(&command.argv[1..]).env("TEST_DIR", &dir.0).env("TEST_WRITER", writer);
    let mut daemon = daemon.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(daemon.stdout.take().unwrap()).lines();
    let address = lines.map(Result::unwrap).find_map(|line| Some(line.strip_prefix("serves ")?.to_owned())).unwrap();
    (daemon, address)
}

#[test]
#[ignore = "the tests above run it in a process of its own, and kill it"]
fn daemon_process() {
    let dir = PathBuf::from(std::env::var_os("TEST_DIR").unwrap());
    let (store, _) = open(&dir);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    store.keep(&name_of("socket", &address.to_string()), listener.as_fd()).unwrap();
    let output = Output::make(&dir, InstanceId(1), None).unwrap();
    store.keep("output-1", output.read.as_fd()).unwrap();
    nix::unistd::mkfifo(&dir.join("go"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let argv = ["/bin/sh".to_owned(), "-c".to_owned(), std::env::var("TEST_WRITER").unwrap()];
    let env = [("PATH".into(), "/usr/bin:/bin".into())];
    start(&Start::new(&argv, &dir, &env, output.write.as_fd())).unwrap();
    drop(output.write);
    let scribe = Scribe::start().unwrap();
    let target = LogTarget { path: dir.join("web.log"), max: Bytes(1 << 30), keep: 1 };
    scribe.follow(InstanceId(1), target, output.read).unwrap();
    println!("\nserves {address}");
    let _ = std::io::stdin().read(&mut [0]);
}

#[test]
fn a_keeper_that_was_killed_is_followed_by_one_that_has_everything() {
    let dir = Scratch::new("followed");
    let (store, back) = dir.open();
    assert!(back.is_empty() && dir.keepers().is_empty(), "nothing is started before something is kept");
    store.forget("nothing");
    store.tend().unwrap();
    let (a, b) = pipe();
    let (c, _d) = pipe();
    store.keep("a", a.as_fd()).unwrap();
    store.keep("b", b.as_fd()).unwrap();
    store.keep("gone", c.as_fd()).unwrap();
    store.keep("b", c.as_fd()).unwrap();
    store.forget("gone");
    let mode = fs::metadata(dir.0.join("keeper.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let kept = || {
        let (_, mut back) = dir.open();
        back.sort_by(|one, other| one.0.cmp(&other.0));
        back.into_iter().map(|(name, fd)| (name, inode(&fd))).collect::<Vec<_>>()
    };
    let both = [("a".to_owned(), inode(&a)), ("b".to_owned(), inode(&c))];
    assert_eq!(kept(), both);

    let first = dir.keeper();
    end(&first);
    store.tend().unwrap();
    let second = dir.keeper();
    assert_ne!(first.pid, second.pid);
    assert_eq!(kept(), both);
    end(&second);
    store.keep("c", c.as_fd()).unwrap();
    assert_eq!(kept().len(), 3);
    // Whoever came meanwhile has taken the keeper's ear: the store finds the way back.
    store.forget("c");
    assert_eq!(kept(), both);
    store.tend().unwrap();

    let third = dir.keeper();
    end(&third);
    store.forget("a");
    assert!(dir.keepers().is_empty(), "nobody is started to forget");
    store.keep("b", b.as_fd()).unwrap();
    assert_eq!(kept(), [("b".to_owned(), inode(&b))]);
    let other = store.clone();
    store.close();
    assert!(other.keep("a", a.as_fd()).unwrap_err().to_string().contains("closed"));
    wait_until("the keeper ends", || dir.keepers().is_empty());
}

#[test]
fn hundreds_come_back_each_by_its_name() {
    let dir = Scratch::new("hundreds");
    let (store, _) = dir.open();
    let pipes: Vec<_> = (0..100).map(|_| pipe()).collect();
    let fds: Vec<&OwnedFd> = pipes.iter().flat_map(|(read, write)| [read, write]).collect();
    let named = |number: usize| name_of("output", &format!("{number}/{}", "long:".repeat(12)));
    for (number, fd) in fds.iter().enumerate() {
        store.keep(&named(number), fd.as_fd()).unwrap();
    }
    let (_, back) = dir.open();
    assert_eq!(back.len(), fds.len());
    for (number, fd) in fds.iter().enumerate() {
        let (_, found) = back.iter().find(|(name, _)| *name == named(number)).unwrap();
        assert_eq!(inode(found), inode(fd));
    }
}

#[test]
fn a_stranger_gets_nothing_and_sigterm_ends_it() {
    let dir = Scratch::new("stranger");
    let (store, _) = dir.open();
    let (a, _b) = pipe();
    store.keep("a", a.as_fd()).unwrap();
    let socket = dir.0.join("keeper.sock");
    if users::is_root() {
        // Even one whom the file system lets pass. The user of a thread is its own for the kernel.
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
        let path = dir.0.clone();
        let stranger = std::thread::spawn(move || {
            // SAFETY: passes integers only, and changes this thread alone, which ends here.
            assert_eq!(unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) }, 0);
            open(&path).1.len()
        });
        assert_eq!(stranger.join().unwrap(), 0);
    }
    let keeper = dir.keeper();
    let pidfd = keeper.hold().unwrap();
    group::signal(keeper.group, libc::SIGHUP).unwrap();
    store.keep("still-there", a.as_fd()).unwrap();
    assert_eq!(dir.keeper(), keeper);
    process::signal(pidfd.as_fd(), libc::SIGTERM).unwrap();
    assert!(poll::until(&mut [poll::readable(pidfd.as_fd())], Some(soon())).unwrap());
}

#[test]
fn systemd_is_given_names_and_gives_them_back() {
    let dir = Scratch::new("systemd");
    let manager = std::os::unix::net::UnixDatagram::bind(dir.0.join("notify")).unwrap();
    let (web, _other) = pipe();
    let command = as_this_executable("service_of_systemd");
    let env = [
        ("NOTIFY_SOCKET".into(), dir.0.join("notify").to_str().unwrap().to_owned()),
        ("FDSTORE".into(), "64".into()),
        ("TEST_DIR".into(), dir.0.to_str().unwrap().to_owned()),
    ];
    let (mut said, output) = {
        let (read, write) = pipe();
        (fs::File::from(read), write)
    };
    let service = Start {
        sockets: vec![web.as_fd()],
        fd_names: vec!["web".into()],
        ..Start::new(&command.argv, Path::new("/"), &env, output.as_fd())
    };
    let service = start(&service).unwrap();
    drop(output);
    let mut words = String::new();
    said.read_to_string(&mut words).unwrap();
    assert!(crate::os::reap::wait(service.pid).unwrap().is_success(), "{words}");
    manager.set_nonblocking(true).unwrap();
    let mut told = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(received) = crate::os::message::receive(manager.as_fd(), &mut buffer) {
        let text = String::from_utf8_lossy(&buffer[..received.length]).trim_end().replace('\n', " ");
        told.push(format!("{text} +{}", received.fds.len()));
    }
    assert_eq!(
        told,
        [
            "FDSTORE=1 FDNAME=web FDPOLL=0 +1",
            "FDSTOREREMOVE=1 FDNAME=web +0",
            "FDSTORE=1 FDNAME=web FDPOLL=0 +1",
            "FDSTORE=1 FDNAME=output-1 FDPOLL=0 +1",
            "FDSTOREREMOVE=1 FDNAME=output-1 +0",
            // And nothing at the end: whether it is a restart or a stop is known to systemd only.
        ]
    );
    assert!(dir.keepers().is_empty());
}

#[test]
#[ignore = "the test above runs it in a process of its own"]
fn service_of_systemd() {
    let dir = PathBuf::from(std::env::var_os("TEST_DIR").unwrap());
    assert!(crate::os::systemd::is_listening());
    let (store, back) = open(&dir);
    let [(name, web)] = &back[..] else { panic!("{back:?}") };
    assert_eq!(name, "web");
    assert_eq!(fcntl(web, FcntlArg::F_GETFD).unwrap(), libc::FD_CLOEXEC);
    assert!(open(&dir).1.is_empty(), "once");
    let (other, _write) = pipe();
    store.keep("web", web.as_fd()).unwrap();
    store.keep("web", other.as_fd()).unwrap();
    store.keep("output-1", other.as_fd()).unwrap();
    store.forget("output-1");
    store.forget("output-2");
    store.close();
}
