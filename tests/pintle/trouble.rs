//! What bad days bring: a clear error, and nothing lost.

use crate::world::{App, World, is_root, processes, wait};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pintle::control::{DeployStatus, ListenerState, Phase};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn a_second_daemon_is_refused_with_the_pid_of_the_first() {
    let mut world = World::of_a_shop();
    let outcome = world.run_refused();
    assert!(!matches!(outcome.code, Some(0) | None), "{outcome:?}");
    assert!(outcome.stderr.contains(&world.daemon_pid().to_string()), "{outcome:?}");
    world.shop().goes_live("v1");
}

#[test]
fn a_damaged_database_is_set_aside_and_service_goes_on() {
    let mut world = World::of_a_shop();
    let first = world.shop().goes_live("v1").deployment;
    let second = world.shop().goes_live("v2").deployment;
    world.stop_daemon();
    for name in ["pintle.db", "pintle.db-wal"] {
        let path = world.state().join(name);
        if path.exists() {
            fs::write(&path, "this was a database once ".repeat(400)).unwrap();
        }
    }
    world.start_daemon();
    world.wait("the app", || world.shop().get("/").ok().filter(|reply| reply.body == "v2"));
    let aside = fs::read_dir(world.state()).unwrap().flatten().map(|e| e.file_name().to_string_lossy().into_owned());
    let aside: Vec<String> = aside.filter(|name| name.starts_with("pintle.db") && name.contains("20")).collect();
    assert!(!aside.is_empty(), "the damaged file is kept, with its date");
    let history = world.pintle(&["--json", "history"]).exits(0).json();
    assert!(history["notices"].as_array().is_some_and(|notices| !notices.is_empty()), "{history}");
    let third = world.shop().goes_live("v3").deployment;
    assert!(third.number > second.number && second.number > first.number, "a number is never used twice: {third:?}");
    world.pintle(&["rollback", "shop"]).exits(0);
    world.shop().serves("v2");
}

#[test]
fn a_taken_listener_port_does_not_stop_the_apps() {
    let mut world = World::of_a_shop();
    world.shop().goes_live("v1");
    world.stop_daemon();
    let squatter = TcpListener::bind(("127.0.0.1", world.hook)).unwrap();
    world.launch_daemon();
    world.wait_for_daemon();
    world.wait("the app", || world.shop().get("/").ok().filter(|reply| reply.body == "v1"));
    let status = world.status();
    assert_ne!(status.listener.state, ListenerState::Up, "{status:?}");
    let port = world.hook.to_string();
    let told = status.notices.iter().any(|notice| notice.contains(&port)) || world.daemon_said().contains(&port);
    assert!(told, "nobody said that {port} is taken: {status:?}\n{}", world.daemon_said());
    drop(squatter);
    world.wait("the listener", || (world.status().listener.state == ListenerState::Up).then_some(()));
}

#[test]
fn a_taken_app_port_is_told() {
    let world = World::of_a_shop();
    let shop = world.shop();
    let port = shop.port;
    let squatter = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let report = shop.deploy("v1", &[]);
    assert_eq!(report.exit, Some(3), "{report:#?}");
    let said = format!("{:?}{}{}", report.deployment.message, shop.log_of(&report), world.daemon_said());
    assert!(said.contains(&port.to_string()), "{said}");
    drop(squatter);
    shop.goes_live("v2");
}

/// A directory with every program of PATH but git.
fn path_without_git(root: &Path) -> PathBuf {
    let bin = root.join("bin");
    fs::create_dir(&bin).unwrap();
    for name in ["sh", "sleep", "cat", "env", "true", "test", "id"] {
        let dirs = std::env::var("PATH").unwrap();
        let found = dirs.split(':').map(|dir| Path::new(dir).join(name)).find(|path| path.exists());
        symlink(found.unwrap(), bin.join(name)).unwrap();
    }
    bin
}

#[test]
fn a_missing_git_is_named() {
    let world = World::with([App::new("shop")]);
    let path = path_without_git(&world.root);
    let world = world.environment("PATH", path.to_str().unwrap()).up();
    let report = world.shop().deploy("v1", &[]);
    assert_eq!((report.deployment.status, report.exit), (DeployStatus::Failed, Some(3)), "{report:#?}");
    let message = report.deployment.message.unwrap();
    assert!(message.contains("git"), "{message}");
}

#[test]
fn an_unreachable_remote_is_named() {
    let mut world = World::with([]);
    let nowhere = world.root.join("no-such-repository");
    world.add(App::new("shop").set("source", "git", &format!("{:?}", nowhere.to_str().unwrap())));
    let world = world.up();
    let report = world.shop().deploy("v1", &[]);
    assert_eq!((report.deployment.status, report.exit), (DeployStatus::Failed, Some(3)), "{report:#?}");
    assert!(report.deployment.phase <= Phase::Fetch, "{report:#?}");
    assert!(report.deployment.message.unwrap().contains("no-such-repository"));
}

#[test]
fn a_hung_fetch_is_ended_at_its_deadline() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("\"http://{}/owner/shop.git\"", silent.local_addr().unwrap());
    let world = World::with([App::new("shop").set("source", "git", &url).set("deploy", "timeout", "\"1s\"")]).up();
    let report = world.shop().deploy("v1", &[]);
    assert_eq!((report.deployment.status, report.exit), (DeployStatus::Failed, Some(3)), "{report:#?}");
    assert!(report.deployment.duration_seconds.unwrap() < 8.0, "{report:#?}");
}

#[test]
fn a_person_hears_of_a_hung_remote_from_the_deployment() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("\"http://{}/owner/shop.git\"", silent.local_addr().unwrap());
    let world = World::with([App::new("shop").set("source", "git", &url).set("deploy", "timeout", "\"1s\"")]).up();
    let outcome = world.pintle(&["deploy", "shop"]).exits(3);
    assert!(outcome.stderr.contains("failed in fetch"), "{outcome:?}");
}

#[test]
fn a_branch_that_does_not_exist_is_named() {
    let world = World::with([App::new("shop").set("source", "branch", "\"no-such-branch\"")]).up();
    world.shop().version("v1", &[]);
    let outcome = world.pintle(&["deploy", "shop"]).exits(3);
    assert!(format!("{}{}", outcome.stdout, outcome.stderr).contains("no-such-branch"), "{outcome:?}");
}

#[test]
fn broken_files_at_start_are_told_and_the_last_good_ones_used() {
    let mut world = World::of_a_shop();
    world.shop().goes_live("v1");
    world.stop_daemon();
    assert!(!world.daemon_said().contains("listener ended"), "an orderly end is no trouble: {}", world.daemon_said());
    let good = fs::read_to_string(world.config().join("apps/shop.toml")).unwrap();
    fs::write(world.config().join("apps/shop.toml"), "[source]\ngit = 7\n[nonsense]\n").unwrap();
    world.start_daemon();
    world.wait("the app", || world.shop().get("/").ok().filter(|reply| reply.body == "v1"));
    assert!(world.daemon_said().contains("shop.toml"), "{}", world.daemon_said());
    let status = world.status();
    assert!(status.notices.iter().any(|notice| notice.contains("check-config")), "{status:?}");
    world.shop().goes_live("v2");
    fs::write(world.config().join("apps/shop.toml"), good).unwrap();
    world.pintle(&["reload"]).exits(0);
    world.wait("the notice to go", || world.status().notices.is_empty().then_some(()));
}

#[test]
fn broken_files_at_the_first_start_end_with_78() {
    let mut world = World::with([App::new("shop")]);
    fs::write(world.config().join("apps/shop.toml"), "[source]\ngit = 7\n").unwrap();
    let outcome = world.run_refused().exits(78);
    assert!(outcome.stderr.contains("shop.toml"), "{outcome:?}");
}

#[test]
fn a_reload_of_broken_files_changes_nothing() {
    let world = World::of_a_shop();
    world.shop().goes_live("v1");
    let path = world.config().join("apps/shop.toml");
    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, "[source]\ngit = 7\n").unwrap();
    kill(Pid::from_raw(world.daemon_pid()), Signal::SIGHUP).unwrap();
    world.wait("the complaint", || world.daemon_said().contains("shop.toml").then_some(()));
    world.shop().goes_live("v2");
    fs::write(path, good).unwrap();
}

#[test]
fn a_state_directory_that_cannot_be_written_is_named() {
    let mut world = World::with([App::new("shop")]);
    let dir = world.root.join("locked");
    fs::create_dir(&dir).unwrap();
    let config = world.config().join("pintle.toml");
    // Root may write anywhere but below a file; others also not into a directory without the permission.
    let state = if is_root() { world.root.join("config/pintle.toml/state") } else { dir.join("state") };
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o555)).unwrap();
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace(world.state().to_str().unwrap(), state.to_str().unwrap())).unwrap();
    let outcome = world.run_refused();
    assert!(!matches!(outcome.code, Some(0) | None), "{outcome:?}");
    let parent = state.parent().unwrap().to_str().unwrap();
    assert!(outcome.stderr.contains(parent) && !outcome.stderr.contains("panicked"), "{outcome:?}");
}

/// A small ext4 of its own; unmounted when dropped. Must be declared before the world that uses it.
struct Small(PathBuf);

impl Small {
    fn mount(megabytes: u64) -> Small {
        let small = Small(std::env::temp_dir().join(format!("pt-fs-{}-{megabytes}", std::process::id())));
        fs::create_dir_all(small.dir()).unwrap();
        fs::File::create(small.image()).unwrap().set_len(megabytes << 20).unwrap();
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(small.image()));
        small.mount_again();
        small
    }
    fn dir(&self) -> PathBuf {
        self.0.join("fs")
    }
    fn image(&self) -> PathBuf {
        self.0.join("image")
    }
    fn mount_again(&self) {
        run(Command::new("mount").args(["-o", "loop,errors=remount-ro"]).arg(self.image()).arg(self.dir()));
    }
    fn unmount(&self) -> bool {
        let gone = || Command::new("umount").arg(self.dir()).output().unwrap().status.success().then_some(());
        wait::wait_quietly(std::time::Duration::from_secs(5), gone).is_some()
    }
    /// What an SD card does on a bad day: an error is found, and the kernel allows no more writing.
    fn fail(&self) {
        let device = run(Command::new("findmnt").args(["-n", "-o", "SOURCE"]).arg(self.dir()));
        let name = device.trim().trim_start_matches("/dev/");
        fs::write(format!("/sys/fs/ext4/{name}/trigger_fs_error"), "1").unwrap();
        wait::wait_until("the file system to be read-only", || {
            fs::write(self.dir().join("x"), "").is_err().then_some(())
        });
    }
    fn repair(&self) {
        assert!(self.unmount(), "{} is busy", self.dir().display());
        // 1: errors were corrected.
        let status = Command::new("fsck.ext4").args(["-p", "-f"]).arg(self.image()).output().unwrap().status;
        assert!(matches!(status.code(), Some(0 | 1)), "{status}");
        self.mount_again();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        match self.unmount() {
            true => drop(fs::remove_dir_all(&self.0)),
            false => eprintln!("still mounted: {}", self.dir().display()),
        }
    }
}

#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {} (needs root)", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
#[ignore = "mounts a small file system: needs root; .ci/run runs it"]
fn a_full_disk_loses_nothing() {
    let small = Small::mount(128);
    let world = World::with_state_in(&small.dir().join("state"), [App::new("shop")]).up();
    let shop = world.shop();
    shop.goes_live("v1");
    let ballast = small.dir().join("ballast");
    let mut file = fs::File::create(&ballast).unwrap();
    while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
    drop(file);
    let reply = shop.push(&shop.version("v2", &[]));
    match reply.status {
        202 => assert_eq!(shop.end_of(reply.accepted()).deployment.status, DeployStatus::Failed),
        status => assert_eq!(status, 503, "{reply:?}"),
    }
    shop.serves("v1");
    kill(Pid::from_raw(shop.pid()), Signal::SIGKILL).unwrap();
    world.wait("the app, on a full disk", || shop.get("/").ok().filter(|reply| reply.body == "v1"));
    fs::remove_file(ballast).unwrap();
    shop.goes_live("v3");
}

#[test]
#[ignore = "mounts a small file system: needs root; .ci/run runs it"]
fn a_release_that_fills_the_disk_is_rolled_back() {
    let small = Small::mount(130);
    let ballast = small.dir().join("ballast");
    let fill = format!(
        "if grep -q v2 version && [ -z \"$PINTLE_REHEARSAL\" ]; then cat /dev/zero > {0}; cat /dev/zero > {0}.more; exit 1; fi",
        ballast.display()
    );
    let app = App::new("shop").step("smoke", "fill", &fill);
    let world = World::with_state_in(&small.dir().join("state"), [app]).up();
    let shop = world.shop();
    shop.goes_live("v1");
    shop.version("v2", &[]);
    world.pintle(&["deploy", "shop"]).exits(4);
    shop.serves("v1");
    fs::remove_file(ballast).unwrap();
    shop.goes_live("v3");
}

#[test]
#[ignore = "mounts a small file system: needs root; .ci/run runs it"]
fn a_disk_that_turns_read_only_loses_nothing() {
    let small = Small::mount(129);
    let mut world = World::with_state_in(&small.dir().join("state"), [App::new("shop")]).up();
    let shop = world.shop().clone();
    shop.goes_live("v1");
    small.fail();
    let reply = shop.push(&shop.version("v2", &[]));
    assert!(matches!(reply.status, 202 | 503), "{reply:?}");
    shop.serves("v1");
    kill(Pid::from_raw(shop.pid()), Signal::SIGKILL).unwrap();
    // The sample app writes a line into its data when it starts: on a read-only disk it cannot live, the daemon can.
    world.wait("the daemon", || world.shop().view());
    world.kill_daemon();
    let refused = world.run_refused();
    assert!(!matches!(refused.code, Some(0) | None) && refused.stderr.contains("Read-only"), "{refused:?}");
    processes::end_all(&world.places());
    small.repair();
    world.start_daemon();
    world.wait("the app", || shop.get("/").ok().filter(|reply| reply.body == "v1"));
    world.wait("all to end", || world.history().iter().all(|d| d.status.is_final()).then_some(()));
    shop.goes_live("v3");
}
