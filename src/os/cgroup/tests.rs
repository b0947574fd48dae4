//! Real groups, on whatever mount of cgroup v2 this host has; made and removed by root.

use super::*;
use crate::base::Bytes;
use crate::os::poll;
use crate::os::spawn::{Child, Start, start};
use crate::os::{process, reap};
use std::ffi::CString;
use std::io::Read;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

const NEEDS_ROOT: &str = "makes control groups: needs root";

/// A delegated group of the test's own, removed with it.
struct Ground {
    mount: PathBuf,
    own: String,
}

impl Ground {
    fn new(name: &str) -> Ground {
        let mounts = ["/sys/fs/cgroup/unified", MOUNT].map(PathBuf::from);
        let mount = mounts.into_iter().find(|mount| delegation::is_unified(mount)).expect("cgroup v2 is mounted");
        let own = format!("/pintle-test-{name}-{}", std::process::id());
        let ground = Ground { mount, own };
        fs::create_dir(ground.path()).expect(NEEDS_ROOT);
        ground
    }
    fn path(&self) -> PathBuf {
        self.mount.join(&self.own[1..])
    }
    fn delegated(self) -> Ground {
        let path = CString::new(self.path().as_os_str().as_encoded_bytes()).unwrap();
        let mark = c"trusted.delegate";
        // SAFETY: two strings ended by NUL, and one byte.
        let set = unsafe { libc::setxattr(path.as_ptr(), mark.as_ptr(), b"1".as_ptr().cast(), 1, 0) };
        assert_eq!(set, 0, "{}", io::Error::last_os_error());
        self
    }
    fn groups(&self) -> Cgroups {
        Cgroups::under(&self.mount, &self.own, "0123456789abcdef").unwrap()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let group = Group::at(self.path());
        let _ = group.kill();
        group.remove().unwrap();
    }
}

/// Runs `line` in a shell as a member of `group`; gives the child and its first line.
fn shell(group: &Group, line: &str) -> (Child, String) {
    let argv = ["/bin/sh", "-c", line].map(String::from);
    let env = [("PATH".into(), "/usr/bin:/bin".into())];
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    let entry = group.entry().unwrap();
    let mut what = Start::new(&argv, Path::new("/"), &env, write.as_fd());
    what.cgroup = Some(entry.as_fd());
    let child = start(&what).unwrap();
    drop(write);
    let mut said = Vec::new();
    let mut read = fs::File::from(read);
    let mut byte = [0];
    while read.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
        said.push(byte[0]);
    }
    (child, String::from_utf8(said).unwrap())
}

fn wait_until(what: &str, mut met: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !met() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        poll::until(&mut [], Some(Instant::now() + Duration::from_millis(5))).unwrap();
    }
}

#[test]
fn what_is_not_delegated_is_left_alone_and_said() {
    let why = Cgroups::under(Path::new("/tmp"), "/", "0123456789abcdef").unwrap_err();
    assert!(why.contains("/tmp is not the unified"), "{why}");
    let told = unenforced_memory(Err(&why)).unwrap();
    assert!(told.starts_with("memory_max is NOT enforced: "), "{told}");
    assert!(kernel_lacks_memory().contains("cgroup_enable=memory"));
    assert!((512..=4096).contains(&tasks_max()));
}

#[test]
#[ignore = "makes control groups: needs root"]
fn a_group_is_made_only_where_it_was_delegated() {
    let ground = Ground::new("plain");
    let why = Cgroups::under(&ground.mount, &ground.own, "0123456789abcdef").unwrap_err();
    assert!(why.contains("not delegated") && why.contains("Delegate=yes"), "{why}");
    let ground = ground.delegated();
    let groups = ground.groups();
    assert!(!groups.enforces_memory(), "a daemon restarted into this very group would be refused");
    assert!(unenforced_memory(Ok(&groups)).is_some());

    // As DelegateSubgroup= does it: the mark on the group above, the process in one below.
    fs::create_dir(ground.path().join("daemon")).unwrap();
    let below = Cgroups::under(&ground.mount, &format!("{}/daemon", ground.own), "0123456789abcdef").unwrap();
    assert_eq!(below.base, ground.path());
    assert_eq!(below.enforces_memory(), delegation::offers(&ground.path(), "memory"));
}

#[test]
#[ignore = "makes control groups: needs root"]
fn nothing_leaves_a_group_and_one_word_ends_all_of_it() {
    let ground = Ground::new("kill").delegated();
    let groups = ground.groups();
    let group = groups.create("shop-web-7", &Limits::default()).unwrap();
    assert_eq!(groups.names().unwrap(), ["shop-web-7"]);
    assert!(group.is_empty());
    let hide =
        "setsid --fork env -i sh -c 'trap \"\" TERM; exec /bin/sleep 600' >/dev/null 2>&1; echo $$; exec sleep 601";
    let (child, said) = shell(&group, hide);
    assert_eq!(said, child.pid.to_string());
    assert_eq!(groups.of(child.pid).unwrap().path(), group.path());
    assert!(groups.of(std::process::id()).is_none());
    // Two: the leader, and the one that left its session and its environment.
    wait_until("both to be counted", || {
        fs::read_to_string(group.path().join("cgroup.procs")).unwrap().lines().count() == 2
    });
    assert!(groups.create("shop-web-7", &Limits::default()).is_err(), "never shared");
    assert!(group.usage().memory.unwrap() > Bytes(100 << 10));

    group.kill().unwrap();
    assert_eq!(reap::wait(child.pid).unwrap().to_string(), "killed by SIGKILL");
    group.remove().unwrap();
    assert!(groups.open("shop-web-7").is_err());
    assert_eq!(groups.names().unwrap(), Vec::<String>::new());
    group.kill().unwrap();
    group.remove().unwrap();
    assert!(groups.create("a.b", &Limits::default()).is_err() && groups.create("..", &Limits::default()).is_err());
}

#[test]
#[ignore = "makes control groups: needs root"]
fn groups_within_a_group_go_with_it_and_another_daemons_stay() {
    let ground = Ground::new("nested").delegated();
    let groups = ground.groups();
    let other = Cgroups::under(&ground.mount, &ground.own, "another-tag").unwrap();
    other.create("shop-web-7", &Limits::default()).unwrap();
    let group = groups.create("shop-web-7", &Limits::default()).unwrap();
    let line = format!(
        "d={}; mkdir -p $d/a/b && echo $$ > $d/a/b/cgroup.procs; echo in; exec sleep 600",
        group.path().display()
    );
    let (child, said) = shell(&group, &line);
    assert_eq!(said, "in");
    assert_eq!(groups.of(child.pid).unwrap().path(), group.path());
    assert!(!group.is_empty());
    group.kill().unwrap();
    group.remove().unwrap();
    reap::wait(child.pid).unwrap();
    assert_eq!((groups.names().unwrap().len(), other.names().unwrap().len()), (0, 1));
}

#[test]
#[ignore = "makes control groups: needs root"]
fn a_kernel_without_the_switch_freezes_and_kills_even_those_who_fork_all_the_time() {
    let ground = Ground::new("freeze").delegated();
    let group = ground.groups().create("shop-web-7", &Limits::default()).unwrap();
    // Each generation lives only to start the next: never more than a few at once, none with the same number.
    let rabbit = "import os, sys\nos.write(1, b'go\\n')\nfor _ in range(10**5):\n    if os.fork(): os._exit(0)";
    let (child, said) = shell(&group, &format!("exec python3 -c \"{rabbit}\""));
    assert_eq!(said, "go");
    reap::wait(child.pid).unwrap();
    group.kill_one_by_one().unwrap();
    group.remove().unwrap();
}

#[test]
#[ignore = "makes control groups: needs root"]
fn cpu_time_is_counted() {
    let ground = Ground::new("cpu").delegated();
    let group = ground.groups().create("shop-web-7", &Limits::default()).unwrap();
    let (child, _) = shell(&group, "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done; exec sleep 600");
    let cpu = group.usage().cpu;
    assert!(cpu > Duration::from_millis(10) && cpu < Duration::from_secs(60), "{cpu:?}");
    process::signal(child.pidfd.as_fd(), libc::SIGKILL).unwrap();
    reap::wait(child.pid).unwrap();
    assert!(group.usage().cpu >= cpu, "counted after its end too");
    assert_eq!(group.oom_kills(), group.read("memory.events").map(|_| 0));
}

/// The median of starts half a second apart, as crashes are, into a group of its own and into ours.
#[test]
#[ignore = "a measurement: cargo test --release how_long_a_start_into_a_group -- --ignored --nocapture"]
fn how_long_a_start_into_a_group_takes() {
    let ground = Ground::new("latency").delegated();
    let groups = ground.groups();
    let argv = ["/bin/true".to_owned()];
    let null = fs::File::options().write(true).open("/dev/null").unwrap();
    for grouped in [false, true] {
        let mut took = Vec::new();
        for number in 0..20 {
            let began = Instant::now();
            let group = grouped.then(|| groups.create(&format!("latency-{number}"), &Limits::default()).unwrap());
            let entry = group.as_ref().map(|group| group.entry().unwrap());
            let mut what = Start::new(&argv, Path::new("/"), &[], null.as_fd());
            what.cgroup = entry.as_ref().map(|entry| entry.as_fd());
            let child = start(&what).unwrap();
            took.push(began.elapsed());
            reap::wait(child.pid).unwrap();
            group.inspect(|group| group.remove().unwrap());
            poll::until(&mut [], Some(Instant::now() + Duration::from_millis(500))).unwrap();
        }
        took.sort();
        println!("in a group: {grouped}: median {:?}, slowest {:?}", took[10], took[19]);
    }
}
