use super::*;
use crate::os::fdstore::FdStore;
use crate::os::reap;
use crate::os::signals::{Signal, Signals};
use crate::os::spawn::{Start, start};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::raise;
use std::os::fd::AsFd;
use std::process::Command;

/// Open files the first image may have; below the hard limit of any host.
const GIVEN: u64 = 200;
const SECOND: &str = "os::reexec::tests::second_image";

fn argv(test: &str) -> Vec<OsString> {
    let own = std::env::current_exe().unwrap();
    [own.as_os_str(), "--exact".as_ref(), test.as_ref(), "--ignored".as_ref(), "--nocapture".as_ref()]
        .map(OsString::from)
        .to_vec()
}

#[test]
fn the_variable_counts_for_one_process() {
    let fds = |text| parse(text, 7);
    assert_eq!(fds("7"), Some(vec![]));
    assert_eq!(
        fds("7:5=lock:12=socket-[%3A%3A1]=x"),
        Some(vec![("lock".into(), 5), ("socket-[%3A%3A1]=x".into(), 12)])
    );
    assert_eq!(fds("8:5=lock"), None);
    assert_eq!(fds(""), None);
    assert!(!is_continued());
}

#[test]
fn after_a_failure_everything_is_as_it_was() {
    let (read, _write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    let before = SigSet::thread_get_mask().unwrap();
    let error = into(Path::new("/no/such/program"), &argv(SECOND), &[("x".into(), read.as_fd())]);
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert!(error.to_string().starts_with("become /no/such/program: "), "{error}");
    assert_eq!(fcntl(&read, FcntlArg::F_GETFD).unwrap(), libc::FD_CLOEXEC);
    assert_eq!(SigSet::thread_get_mask().unwrap(), before);
}

#[test]
fn the_new_image_has_descriptors_children_signals_the_pid_and_gives_what_was_given() {
    let first = argv("os::reexec::tests::first_image");
    let mut command = Command::new(&first[0]);
    command.args(&first[1..]).env("NOTIFY_SOCKET", "/dev/null").env("LISTEN_FDS", "1").env("LISTEN_PID", "1");
    let run = command.output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success() && said.contains("second_image ... ") && said.contains("1 passed"), "{said}");
}

#[test]
#[ignore = "the test above runs it in a process of its own"]
fn first_image() {
    assert!(!is_continued());
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, GIVEN, hard).unwrap();
    limits::raise_open_files().unwrap();
    let signals = Signals::listen().unwrap();
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let line = ["/bin/sh", "-c", "read word; test \"$word\" = go; exit 3"].map(String::from);
    let child = start(&Start {
        stdin: Some(theirs.as_fd()),
        ..Start::new(&line, Path::new("/"), &[], std::io::stderr().as_fd())
    });
    let child = child.unwrap();
    drop(theirs);
    raise(nix::sys::signal::SIGHUP).unwrap();
    let name = format!("child-{}-{}", child.pid, std::process::id());
    let error = into(
        &std::env::current_exe().unwrap(),
        &argv(SECOND),
        &[(name, ours.as_fd()), ("signals".into(), signals.as_fd())],
    );
    panic!("{error}");
}

#[test]
#[ignore = "first_image becomes it"]
fn second_image() {
    assert!(is_continued());
    let dir = std::env::temp_dir().join("pintle-no-such-directory");
    assert!(std::env::var("LISTEN_FDS").is_err() && std::env::var("NOTIFY_SOCKET").is_ok());
    let (_store, back) = FdStore::open(&dir, ("NONE".into(), "1".into()));
    let [(child, stdin), (signals, earlier)]: [_; 2] = back.try_into().unwrap();
    assert_eq!(signals, "signals");
    for fd in [&stdin, &earlier] {
        assert_eq!(fcntl(fd, FcntlArg::F_GETFD).unwrap(), libc::FD_CLOEXEC);
    }
    let numbers: Vec<u32> = child.split('-').skip(1).map(|number| number.parse().unwrap()).collect();
    assert_eq!(numbers[1], std::process::id());
    assert!(getrlimit(Resource::RLIMIT_NOFILE).unwrap().0 > GIVEN);
    limits::raise_open_files().unwrap();
    assert_eq!(limits::given_open_files(), Some(GIVEN));

    // It would end us, did it not wait.
    raise(nix::sys::signal::SIGTERM).unwrap();
    let mut signals = Signals::listen().unwrap();
    assert_eq!(signals.take(), [Signal::Stop]);
    signals.hear_again(earlier).unwrap();
    assert_eq!(signals.take(), [Signal::Reload]);

    reap::register_existing(numbers[0]);
    assert_eq!(reap::try_wait(numbers[0]).unwrap(), None);
    std::io::Write::write_all(&mut std::os::unix::net::UnixStream::from(stdin), b"go\n").unwrap();
    assert_eq!(reap::wait(numbers[0]).unwrap(), reap::Ended::Exited(3));
}
