//! Real children: what they were given, and what is told when they could not be started.

use super::*;
use crate::os::poll;
use crate::os::reap::Ended;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| text.to_string()).collect()
}

fn environment_with(more: &[(&str, &str)]) -> Vec<(String, String)> {
    let path = [("PATH", "/usr/bin:/bin")];
    path.iter().chain(more).map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

/// Starts `line` in a shell, changed by `change`; gives what it wrote and how it ended.
fn shell(
    line: &str,
    env: &[(String, String)],
    sockets: &[BorrowedFd<'_>],
    change: impl FnOnce(&mut Start<'_>),
) -> (String, Ended) {
    let argv = strings(&["/bin/sh", "-c", line]);
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
    let mut what = Start::new(&argv, Path::new("/"), env, write.as_fd());
    what.sockets = sockets.to_vec();
    change(&mut what);
    let child = start(&what).unwrap();
    drop(write);
    let mut said = String::new();
    File::from(read).read_to_string(&mut said).unwrap();
    poll::until(&mut [poll::readable(child.pidfd.as_fd())], Some(Instant::now() + Duration::from_secs(20))).unwrap();
    (said, reap::wait(child.pid).unwrap())
}

#[test]
fn sockets_are_passed_from_descriptor_3_on_and_announced_to_the_child_by_its_own_pid() {
    let (one, two) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let env = environment_with(&[("LISTEN_PID", "1"), ("LISTEN_FDS", "9")]);
    let line = "echo $LISTEN_PID $$ $LISTEN_FDS $LISTEN_FDNAMES; readlink /proc/$$/fd/3 /proc/$$/fd/4; ls /proc/$$/fd";
    let (said, ended) = shell(line, &env, &[two.as_fd(), one.as_fd()], |what| what.fd_names = strings(&["web"]));
    assert!(ended.is_success());
    let lines = said.lines().collect::<Vec<_>>();
    let (pid, rest) = lines[0].split_once(' ').unwrap();
    assert_eq!(rest, format!("{pid} 2 web:unknown"));
    let name = |socket: &TcpListener| std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
    assert_eq!([Path::new(lines[1]), Path::new(lines[2])], [name(&two), name(&one)]);
    assert_eq!(lines[3..], ["0", "1", "2", "3", "4"]);
}

#[test]
fn without_sockets_nothing_is_announced() {
    let (said, _) = shell("env", &environment_with(&[("LISTEN_PID", "1"), ("LISTEN_FDS", "1")]), &[], |_| {});
    assert!(!said.contains("LISTEN_"), "{said}");
}

#[test]
fn a_passed_socket_answers() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let serve = "import socket; s = socket.socket(fileno=3); c, _ = s.accept(); c.sendall(b'hello')";
    let argv = strings(&["python3", "-c", serve]);
    let env = environment_with(&[]);
    let null = File::options().write(true).open("/dev/null").unwrap();
    let mut what = Start::new(&argv, Path::new("/"), &env, null.as_fd());
    what.sockets = vec![socket.as_fd()];
    let child = start(&what).unwrap();
    let mut said = String::new();
    TcpStream::connect(socket.local_addr().unwrap()).unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "hello");
    assert!(reap::wait(child.pid).unwrap().is_success());
}

#[test]
fn limits_mask_and_privileges_are_as_asked() {
    let line = "ulimit -Sn; ulimit -Sc; umask; grep NoNewPrivs /proc/self/status | cut -f2";
    let (said, _) = shell(line, &environment_with(&[]), &[], |what| {
        (what.open_files, what.core, what.umask, what.no_new_privs) = (Some(64), Some(0), 0o027, true);
    });
    assert_eq!(said, "64\n0\n0027\n1\n");
    let (said, _) =
        shell("ulimit -Sn; ulimit -Hn", &environment_with(&[]), &[], |what| what.open_files = Some(u64::MAX));
    let (soft, hard) = said.trim().split_once('\n').unwrap();
    assert_eq!(soft, hard, "never above the hard limit");
}

#[test]
fn a_child_is_known_by_pid_and_start_time_and_its_end_is_seen() {
    let argv = strings(&["sleep", "60"]);
    let env = environment_with(&[]);
    let null = File::options().write(true).open("/dev/null").unwrap();
    let child = start(&Start::new(&argv, Path::new("/"), &env, null.as_fd())).unwrap();
    assert_eq!(start_time(child.pid).unwrap(), child.start_time);
    assert!(child.start_time > 0);
    let mut fds = [poll::readable(child.pidfd.as_fd())];
    assert!(!poll::until(&mut fds, Some(Instant::now())).unwrap());
    assert_eq!(reap::try_wait(child.pid).unwrap(), None);
    group::signal(child.pid, libc::SIGKILL).unwrap();
    assert!(poll::until(&mut fds, Some(Instant::now() + Duration::from_secs(20))).unwrap());
    assert_eq!(reap::wait(child.pid).unwrap().to_string(), "killed by SIGKILL");
    assert!(group::signal(child.pid, 0).is_err());
}

#[test]
fn many_threads_start_at_once_and_each_gets_its_own_child() {
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                for round in 0..20 {
                    let text = format!("{thread}.{round}");
                    let (said, ended) = shell(&format!("echo {text}; exit 7"), &environment_with(&[]), &[], |_| {});
                    assert_eq!((said, ended), (format!("{text}\n"), Ended::Exited(7)));
                }
            });
        }
    });
}

#[test]
fn a_bad_environment_names_the_variable_and_keeps_its_value() {
    let argv = strings(&["true"]);
    let null = File::options().write(true).open("/dev/null").unwrap();
    for (key, value) in [("TOKEN", "s3cret\0"), ("A=B", "s3cret"), ("", "s3cret")] {
        let env = environment_with(&[(key, value)]);
        let error = start(&Start::new(&argv, Path::new("/"), &env, null.as_fd())).unwrap_err().to_string();
        assert!(error.contains(key) && !error.contains("s3cret"), "{error}");
    }
}
