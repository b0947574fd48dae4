//! Real children: what they were given, and what is told when they could not be started.

use super::*;
use crate::os::poll;
use crate::os::reap::Ended;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::path::PathBuf;
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

#[test]
fn the_processes_of_another_user_are_bounded() {
    let line = "grep 'Max processes' /proc/self/limits";
    let (said, _) = shell(line, &environment_with(&[]), &[], |what| what.processes = Some(300));
    let limits = said.split_whitespace().skip(2).collect::<Vec<_>>();
    assert_eq!(limits[0], "300", "{said}");
    assert_ne!(limits[1], "300", "a program that knows better may raise it");
}

#[test]
#[ignore = "mounts in a namespace of the child: needs root"]
fn a_private_tmp_is_seen_by_nobody_else_and_open_to_its_user() {
    let dir: &'static Path = PathBuf::from(format!("/tmp/pintle-private-{}", std::process::id())).leak();
    let nobody: &'static User = Box::leak(Box::new(users::lookup("nobody").unwrap()));
    private_tmp::make(dir).unwrap();
    let line = "ls -A /tmp /var/tmp; stat -c '%a %u' /tmp /var/tmp; echo secret > /tmp/mine; echo more > /var/tmp/mine; cat /tmp/mine";
    let (said, ended) = shell(line, &environment_with(&[]), &[], |what| {
        (what.private_tmp, what.user) = (Some(dir), Some(nobody));
    });
    assert_eq!(said, "/tmp:\n\n/var/tmp:\n1777 0\n1777 0\nsecret\n");
    assert!(ended.is_success());
    assert!(!Path::new("/tmp/mine").exists() && !Path::new("/var/tmp/mine").exists());
    assert_eq!(std::fs::read_to_string(dir.join("var-tmp/mine")).unwrap(), "more\n");
    private_tmp::make(dir).unwrap();
    assert_eq!(std::fs::read_dir(dir.join("tmp")).unwrap().count(), 0, "fresh for the next one");
    private_tmp::remove(dir).unwrap();
    private_tmp::remove(dir).unwrap();

    let argv = strings(&["true"]);
    let (env, null) = (environment_with(&[]), File::options().write(true).open("/dev/null").unwrap());
    let mut what = Start::new(&argv, Path::new("/"), &env, null.as_fd());
    what.private_tmp = Some(dir);
    let error = start(&what).unwrap_err().to_string();
    assert!(error.contains("a private /tmp: No such file"), "{error}");
}

#[test]
fn where_it_cannot_be_born_in_its_group_it_moves_itself() {
    // Not a group to the kernel, so nobody is born there; but "0" can be written.
    let dir = std::env::temp_dir().join(format!("pintle-group-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("cgroup.procs"), "").unwrap();
    let argv = strings(&["true"]);
    let (env, null) = (environment_with(&[]), File::options().write(true).open("/dev/null").unwrap());
    let entry = File::open(&dir).unwrap();
    let mut what = Start::new(&argv, Path::new("/"), &env, null.as_fd());
    what.cgroup = Some(entry.as_fd());
    let child = start(&what).unwrap();
    assert!(reap::wait(child.pid).unwrap().is_success());
    assert_eq!(std::fs::read_to_string(dir.join("cgroup.procs")).unwrap(), "0");
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_group_that_is_none_is_named() {
    let argv = strings(&["true"]);
    let (env, null) = (environment_with(&[]), File::options().write(true).open("/dev/null").unwrap());
    let dir = File::open("/").unwrap();
    let mut what = Start::new(&argv, Path::new("/"), &env, null.as_fd());
    what.cgroup = Some(dir.as_fd());
    let error = start(&what).unwrap_err().to_string();
    assert!(error.contains("put it into its control group: No such file"), "{error}");
}

/// The median of 200 starts of a program that ends at once, 5 ms apart; for a look, not for judging a busy machine.
#[test]
#[ignore = "a measurement: cargo test --release how_long_a_start_takes -- --ignored --nocapture"]
fn how_long_a_start_takes() {
    let argv = strings(&["/bin/true"]);
    let (env, null) = (environment_with(&[]), File::options().write(true).open("/dev/null").unwrap());
    let mut took = Vec::new();
    for _ in 0..200 {
        let began = Instant::now();
        let child = start(&Start::new(&argv, Path::new("/"), &env, null.as_fd())).unwrap();
        took.push(began.elapsed());
        reap::wait(child.pid).unwrap();
        poll::until(&mut [], Some(Instant::now() + Duration::from_millis(5))).unwrap();
    }
    took.sort();
    println!("start: median {:?}, 90 % {:?}", took[100], took[180]);
}
