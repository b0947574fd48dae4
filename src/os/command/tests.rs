//! Real commands: what they see, what they leave behind, and how they are ended.

use super::*;
use crate::os::process::Process;
use std::path::Path;

const LONG: Duration = Duration::from_secs(60);

fn shell(line: &str) -> Spec {
    Spec {
        argv: vec!["/bin/sh".into(), "-c".into(), line.into()],
        cwd: "/".into(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        ..Spec::default()
    }
}

fn run_for(spec: &Spec, timeout: Duration) -> (io::Result<Ending>, String) {
    let mut said = Vec::new();
    let ending = run(spec, timeout, &Cancel::new().unwrap(), &mut |bytes| said.extend_from_slice(bytes));
    (ending, String::from_utf8_lossy(&said).into_owned())
}

fn said(spec: &Spec) -> String {
    let (ending, said) = run_for(spec, LONG);
    assert_eq!(ending.unwrap(), Ending::Exited(0), "{said}");
    said
}

fn is_running(pid: &str) -> bool {
    Process::read(pid.trim().parse().unwrap()).is_some_and(|process| process.runs)
}

#[test]
fn output_of_both_kinds_comes_in_order_and_the_exit_code_with_it() {
    let (ending, said) = run_for(&shell("echo one; echo two >&2; echo three; exit 3"), LONG);
    assert_eq!(ending.unwrap(), Ending::Exited(3));
    assert_eq!(said, "one\ntwo\nthree\n");
    let (ending, _) = run_for(&shell("kill -SEGV $$"), LONG);
    assert_eq!(ending.unwrap(), Ending::Signaled(libc::SIGSEGV));
}

#[test]
fn a_command_starts_clean_its_own_leader_with_nothing_but_its_three_descriptors() {
    let leaked = File::open("/dev/null").unwrap();
    nix::fcntl::fcntl(&leaked, FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).unwrap();
    assert_eq!(said(&shell("ls /proc/self/fd")), "0\n1\n2\n3\n", "3 is the listed directory itself");
    let fields = said(&shell("cut -d' ' -f5,6 /proc/$$/stat; echo $$; umask"));
    let [ids, pid, umask] = fields.lines().collect::<Vec<_>>()[..] else { panic!("{fields}") };
    assert_eq!((ids, umask), (format!("{pid} {pid}").as_str(), "0022"));
    let signals = said(&shell("grep -E 'Sig(Blk|Ign)' /proc/self/status | cut -f2"));
    assert_eq!(signals, "0000000000000000\n0000000000000000\n", "our ignored SIGPIPE is not theirs");
    let env = said(&Spec { argv: vec!["env".into()], ..shell("") });
    assert_eq!(env, "PATH=/usr/bin:/bin\n");
}

#[test]
fn stdin_is_empty_or_exactly_what_was_given() {
    assert_eq!(said(&shell("cat")), "");
    let given = "a".repeat(3 << 20);
    let spec = Spec { stdin: given.clone().into_bytes(), ..shell("cat") };
    assert!(said(&spec) == given);
    assert_eq!(said(&Spec { stdin: given.into_bytes(), ..shell("head -c 3") }), "aaa", "unread input hurts nobody");
}

#[test]
fn eight_mebibytes_arrive_whole() {
    let mut bytes = 0;
    let ending = run(&shell("head -c 8388608 /dev/zero"), LONG, &Cancel::new().unwrap(), &mut |b| bytes += b.len());
    assert_eq!((ending.unwrap(), bytes), (Ending::Exited(0), 8 << 20));
}

#[test]
fn a_command_that_ends_at_once_loses_nothing() {
    for _ in 0..50 {
        assert_eq!(said(&Spec { argv: vec!["echo".into(), "x".into()], ..shell("") }), "x\n");
    }
}

#[test]
fn its_time_up_even_a_command_that_ignores_sigterm_and_floods_is_ended() {
    let begun = Instant::now();
    let (ending, said) = run_for(&shell("echo $$; while sleep 1; do :; done"), Duration::from_millis(200));
    assert_eq!(ending.unwrap(), Ending::TimedOut);
    assert!(!is_running(&said));
    assert!(begun.elapsed() < GRACE, "one that obeys is not waited for");

    let mut seen = 0;
    let stubborn = shell("trap '' TERM; while :; do echo y; done");
    let ending = run(&stubborn, Duration::from_millis(200), &Cancel::new().unwrap(), &mut |b| seen += b.len());
    assert_eq!(ending.unwrap(), Ending::TimedOut);
    assert!(seen > 0 && begun.elapsed() >= GRACE);
}

#[test]
fn a_stopped_command_is_ended_too() {
    let (ending, said) = run_for(&shell("echo $$; kill -STOP $$; echo never"), Duration::from_millis(100));
    assert_eq!(ending.unwrap(), Ending::TimedOut);
    assert!(!is_running(&said.replace("never", "")));
}

#[test]
fn a_cancel_ends_it() {
    let cancel = Cancel::new().unwrap();
    let mut said = Vec::new();
    let ending = run(&shell("echo $$; exec sleep 60"), LONG, &cancel, &mut |bytes| {
        said.extend_from_slice(bytes);
        cancel.cancel();
    });
    assert_eq!(ending.unwrap(), Ending::Cancelled);
    assert!(!is_running(&String::from_utf8(said).unwrap()));
    let ending = run(&shell("exit 0"), LONG, &cancel, &mut |_| {});
    assert_eq!(ending.unwrap(), Ending::Cancelled, "the next one is not even started");
}

#[test]
fn background_processes_neither_outlive_it_nor_hold_it_up() {
    let begun = Instant::now();
    let pid = said(&shell("trap '' TERM; sleep 60 & echo $!"));
    assert!(!is_running(&pid), "one of the group is killed");
    let pid = said(&shell("pid=$(setsid --fork sh -c 'echo $$; exec sleep 60 >&2'); echo $pid"));
    assert!(begun.elapsed() < Duration::from_secs(20), "one in a session of its own holds the pipe, but not us");
    group::signal(pid.trim().parse().unwrap(), libc::SIGKILL).unwrap();
}

#[test]
fn niceness_and_the_oom_score_go_up_together() {
    let plain = said(&shell("nice; cat /proc/self/oom_score_adj"));
    let niced = said(&Spec { nice: 3, ..shell("nice; cat /proc/self/oom_score_adj") });
    let numbers = |text: &str| text.lines().map(|line| line.parse::<i32>().unwrap()).collect::<Vec<_>>();
    let (plain, niced) = (numbers(&plain), numbers(&niced));
    assert_eq!(niced, [(plain[0] + 3).min(19), (plain[1] + 500).min(1000)]);
}

#[test]
fn another_user_is_root_s_to_choose() {
    let nobody = users::lookup("nobody").unwrap();
    let spec = Spec { user: Some(nobody.clone()), ..shell("id -u; id -g; id -G") };
    if users::is_root() {
        let groups = nobody.groups.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!(said(&spec), format!("{}\n{}\n{groups}\n", nobody.uid, nobody.gid));
        let (ending, _) = run_for(&spec, LONG);
        assert_eq!(ending.unwrap(), Ending::Exited(0), "our own threads are still root");
    } else {
        let spec = Spec { user: Some(users::lookup("root").unwrap()), ..spec };
        let error = run_for(&spec, LONG).0.unwrap_err().to_string();
        assert!(error.contains("only root"), "{error}");
    }
    let ourselves = Spec { user: Some(users::current().unwrap()), ..shell("id -u") };
    assert_eq!(said(&ourselves).trim(), users::current().unwrap().uid.to_string());
}

#[test]
fn what_cannot_be_started_says_why_and_what_to_do() {
    let dir = std::env::temp_dir().join(format!("pintle-command-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let file = |name: &str, content: &str, mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(dir.join(name), content).unwrap();
        std::fs::set_permissions(dir.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    file("good", "#!/bin/sh\necho good\n", 0o755);
    file("plain", "#!/bin/sh\n", 0o644);
    file("lost", "#!/no/such/python3\n", 0o755);
    file("bare", "echo\n", 0o755);
    let attempt = |program: &str, cwd: &Path| {
        let spec = Spec { argv: vec![program.into()], cwd: cwd.into(), ..shell("") };
        run_for(&spec, LONG)
    };
    assert_eq!(attempt("./good", &dir).1, "good\n");
    let table = [
        ("./missing", "there is no file"),
        ("no-such-program", "not found in PATH (/usr/bin:/bin)"),
        ("./plain", "chmod +x"),
        ("./lost", "interpreter \"/no/such/python3\""),
        ("./bare", "`#!` first line"),
        ("/", "is a directory"),
        ("", "the command is empty"),
    ];
    for (program, why) in table {
        let error = attempt(program, &dir).0.unwrap_err().to_string();
        assert!(error.contains(why) && error.contains(&dir.display().to_string()), "{program}: {error}");
    }
    let error = attempt("./good", &dir.join("gone")).0.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert!(error.to_string().contains("enter the directory"), "{error}");
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn endings_are_explained() {
    let minutes = Duration::from_secs(300);
    let table = [
        (Ending::Exited(1), "exit 1"),
        (Ending::Exited(126), "not executable (exit 126)"),
        (Ending::Exited(127), "not found (exit 127)"),
        (Ending::Exited(137), "exit 137: killed by SIGKILL, probably out of memory"),
        (Ending::Signaled(9), "killed by SIGKILL, probably out of memory"),
        (Ending::Signaled(11), "killed by SIGSEGV"),
        (Ending::TimedOut, "its time was up after 5m"),
        (Ending::Cancelled, "cancelled"),
    ];
    for (ending, words) in table {
        assert_eq!(explain(ending, minutes), words);
    }
}
