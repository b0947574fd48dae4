//! Programs that do not want to end.

use super::*;
use crate::os::reap;
use crate::os::spawn::{Child, Start, start};
use crate::os::users::{self, User};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// How many processes a bomb gets: enough to be quicker than we are, few enough to be no danger.
const BOUND: u64 = 200;

/// Every process forks as fast as it can; each child has a session of its own, and its place is taken at once when it
/// ends. It ends by itself in case nobody ends it.
const BOMB: &str = "\
import os, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
end = time.time() + 60
first = True
while time.time() < end:
    try:
        if os.fork() == 0:
            os.setsid()
    except OSError:
        if first: os.write(1, b'full\\n')
        first = False
        time.sleep(0.002)
";

/// One process at a time, each ending as soon as it has forked the next: none lives long enough to be signalled.
const RABBIT: &str = "\
import os
if os.fork(): os._exit(0)
os.write(1, b'full\\n')
for _ in range(200000):
    if os.fork(): os._exit(0)
";

/// Runs a script of python as a user of whom few processes run, and waits until it says that it is full.
fn run(script: &str, marker: &str) -> Child {
    let argv = ["python3", "-c", script].map(String::from);
    let env = [("PATH".into(), "/usr/bin:/bin".into()), (MARKER.into(), marker.into())];
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    let nobody = users::is_root().then(|| users::lookup("nobody").unwrap());
    let mut what = Start::new(&argv, Path::new("/"), &env, write.as_fd());
    what.user = nobody.as_ref();
    what.processes = Some(BOUND + processes_of(nobody.as_ref()));
    let child = start(&what).unwrap();
    drop(write);
    let mut said = [0; 5];
    File::from(read).read_exact(&mut said).unwrap();
    child
}

/// The kernel counts threads; ours have few.
fn processes_of(user: Option<&User>) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let uid = user.map_or(nix::unistd::geteuid().as_raw(), |user| user.uid);
    let tasks = |pid: u32| std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, |tasks| tasks.count() as u64);
    let owned = |pid: u32| std::fs::metadata(format!("/proc/{pid}")).is_ok_and(|meta| meta.uid() == uid);
    processes().filter(|process| owned(process.pid)).map(|process| tasks(process.pid)).sum()
}

fn left(trail: &Trail) -> usize {
    processes().filter(|process| process.runs && marker(process).is_some_and(|m| m == trail.marker.as_bytes())).count()
}

#[test]
fn a_bomb_that_forks_faster_than_it_is_killed_ends() {
    let name = format!("bomb-{}", std::process::id());
    let child = run(BOMB, &name);
    let trail = Trail { marker: name, since: child.start_time };
    let began = Instant::now();
    let killed = sweep(std::slice::from_ref(&trail), &BTreeSet::new());
    assert!(killed > 50, "{killed} were killed; it should have been a crowd");
    assert_eq!(left(&trail), 0);
    assert!(began.elapsed() < LAST_WAIT * 3, "{:?}", began.elapsed());
    reap::wait(child.pid).unwrap();
}

#[test]
fn a_chain_of_short_lives_ends() {
    let name = format!("rabbit-{}", std::process::id());
    let child = run(RABBIT, &name);
    let trail = Trail { marker: name, since: child.start_time };
    reap::wait(child.pid).unwrap();
    // No look at /proc is quick enough for it; but it never leaves its group, and that the kernel ends as a whole.
    signal(child.pid, libc::SIGKILL).unwrap();
    assert!(wait_gone(child.pid, Duration::from_secs(20)), "its group is empty");
    assert_eq!((sweep(std::slice::from_ref(&trail), &BTreeSet::new()), left(&trail)), (0, 0));
}
