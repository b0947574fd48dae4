//! The daemon becomes a new program in place: the same process, its children still its own, and nobody notices.

use crate::world::takeover::end_by;
use crate::world::{App, Gate, World, finish, processes};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pintle::control::{DeployStatus, RunState};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

const OURS: &str = env!("CARGO_BIN_EXE_pintle");
const TICKER: &str = "\"i=0; while :; do echo tick $i; echo $i > data/tick; i=$((i+1)); sleep 0.01; done\"";
const LEAVER: &str = "\"trap 'exit 3' TERM; while :; do sleep 0.01; done\"";

/// A daemon that runs from a file of its own.
fn world_of<const N: usize>(apps: [App; N]) -> World {
    World::with(apps).with_its_own_program().up()
}

fn open_files(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// The daemon runs the file that lies there now.
fn runs_what_is_installed(world: &World) -> bool {
    let running = fs::metadata(format!("/proc/{}/exe", world.daemon_pid()));
    running.is_ok_and(|running| running.ino() == fs::metadata(world.program()).unwrap().ino())
}

fn signal_daemon(world: &World, signal: Signal) {
    kill(Pid::from_raw(world.daemon_pid()), signal).unwrap();
}

/// A new program is installed and takes over.
#[track_caller]
fn reexec(world: &mut World) {
    world.install(Path::new(OURS));
    let said = world.pintle(&["reexec"]).exits(0).stdout;
    assert!(said.contains("has taken over"), "{said}");
    assert!(world.daemon_lives() && runs_what_is_installed(world));
}

fn no_zombies_below(daemon: i32) -> Option<()> {
    processes::children(daemon).into_iter().all(processes::is_alive).then_some(())
}

#[test]
fn ten_in_a_row_are_not_noticed_and_leak_nothing() {
    let mut world = world_of([App::new("shop").set("service.ticker", "run", TICKER)]);
    let shop = world.shop().clone();
    shop.goes_live("v1");
    let (daemon, web, ticker) = (world.daemon_pid(), shop.pid(), shop.pid_of("ticker").unwrap());
    reexec(&mut world);
    let visitors = shop.visited();
    let before = open_files(daemon);
    for _ in 0..10 {
        reexec(&mut world);
        visitors.have_had(3);
        assert_eq!(world.daemon_pid(), daemon);
        assert_eq!((shop.pid_of("web"), shop.pid_of("ticker")), (Some(web), Some(ticker)));
    }
    visitors.leave().all_answered();
    let children = processes::children(daemon);
    assert!(children.contains(&web) && children.contains(&ticker), "{children:?}");
    world.wait("as few open files as before", || (open_files(daemon) <= before).then_some(()));
    world.wait("no zombies", || no_zombies_below(daemon));
    let instance = shop.instances("web").pop().unwrap();
    assert_eq!((instance.state, instance.restarts, instance.last_exit), (RunState::Up, 0, None));
    let tick = || fs::read_to_string(shop.shared("data/tick")).ok()?.trim().parse::<u32>().ok();
    let last = world.wait("a tick", tick);
    world.wait("the last line", || shop.log("ticker").contains(&format!("tick {last}\n")).then_some(()));
    for (number, line) in shop.log("ticker").lines().enumerate() {
        assert_eq!(line, format!("tick {number}"), "each line once, in order");
    }
    shop.goes_live("v2");
}

#[test]
fn the_new_program_hears_how_its_children_end() {
    let app = App::new("shop").set("service.leaver", "run", LEAVER);
    let mut world = world_of([app.set("service.sleeper", "run", "\"exec sleep 600\"")]);
    let shop = world.shop().clone();
    shop.goes_live("v1");
    reexec(&mut world);
    let ends = [("leaver", Signal::SIGTERM, "exit 3"), ("sleeper", Signal::SIGSEGV, "killed by SIGSEGV")];
    for (service, signal, words) in ends {
        let old = shop.pid_of(service).unwrap();
        end_by(old, signal);
        world.wait("it to be back", || shop.pid_of(service).filter(|pid| *pid != old));
        let instance = shop.instances(service).pop().unwrap();
        assert!(instance.last_exit.as_ref().is_some_and(|said| said.starts_with(words)), "{instance:?}");
        assert_eq!(instance.restarts, 1);
    }
    // Who ends while one program makes room for the other is not lost either.
    for _ in 0..5 {
        let old = shop.pid_of("sleeper").unwrap();
        let dying = thread::spawn(move || end_by(old, Signal::SIGKILL));
        reexec(&mut world);
        dying.join().unwrap();
        world.wait("it to be back", || shop.pid_of("sleeper").filter(|pid| *pid != old));
    }
    world.wait("no zombies", || no_zombies_below(world.daemon_pid()));
    shop.serves("v1");
}

#[test]
fn a_program_that_cannot_run_is_refused() {
    let mut world = world_of([App::new("shop")]);
    let shop = world.shop().clone();
    shop.goes_live("v1");
    let (daemon, web) = (world.daemon_pid(), shop.pid());
    let broken = world.root.join("broken");
    let cases: [(&str, u32, &str); 4] = [
        ("#!/bin/sh\necho no such library >&2\nexit 1\n", 0o755, "no such library"),
        ("#!/bin/sh\nexit 0\n", 0o755, "it is no pintle"),
        ("#!/bin/sh\nexit 0\n", 0o644, "is not executable"),
        ("\x7fELF and nothing else", 0o755, "bin/pintle"),
    ];
    // By a command line that is whole.
    let ask = |world: &World| {
        let mut command = Command::new(OURS);
        command.arg("--config").arg(world.config()).arg("reexec");
        finish(command, "pintle reexec")
    };
    for (text, mode, why) in cases {
        fs::write(&broken, text).unwrap();
        fs::set_permissions(&broken, fs::Permissions::from_mode(mode)).unwrap();
        world.install(&broken);
        let refused = ask(&world).exits(3);
        assert!(refused.stderr.contains("the daemon stays as it is") && refused.stderr.contains(why), "{refused:?}");
        assert!(world.daemon_lives());
    }
    fs::remove_file(world.program()).unwrap();
    let refused = ask(&world).exits(3);
    assert!(refused.stderr.contains("bin/pintle"), "{refused:?}");
    signal_daemon(&world, Signal::SIGUSR2);
    shop.goes_live("v2");
    assert_eq!(world.daemon_pid(), daemon);
    world.install(Path::new(OURS));
    let now = shop.pid();
    assert_ne!(now, web);
    reexec(&mut world);
    assert_eq!(shop.pid_of("web"), Some(now));
}

#[test]
fn a_deploy_is_not_cut_off_and_who_waits_comes_after() {
    let mut world = World::with([]).with_its_own_program();
    let gate = Gate::closed(&world.root);
    world.add(App::new("shop").step("build", "gate", &gate.wait()));
    world.add(App::new("stall"));
    let mut world = world.up();
    let (shop, stall) = (world.shop().clone(), world.site("stall").clone());
    let first = shop.push(&shop.version("v1", &[])).accepted();
    shop.reaches(first, pintle::control::Phase::Build);
    world.install(Path::new(OURS));
    let said = world.pintle(&["reexec"]).exits(0).stdout;
    assert!(said.contains(&format!("when deployment {first} is over")), "{said}");
    assert!(!runs_what_is_installed(&world));
    // It begins under the new program; whoever follows it is connected again.
    stall.version("v1", &[]);
    let command = world.command(&["deploy", "stall"]);
    let following = thread::spawn(move || finish(command, "pintle deploy stall"));
    world.wait("the second one to wait", || (world.history().len() == 2).then_some(()));
    gate.open();
    assert_eq!(shop.end_of(first).deployment.status, DeployStatus::Success);
    following.join().unwrap().exits(0);
    assert!(world.daemon_lives() && runs_what_is_installed(&world));
    shop.serves("v1");
    stall.serves("v1");
    assert_eq!(world.history().len(), 2, "{:#?}", world.history());
}

#[test]
fn sigusr2_asks_for_it_too() {
    let world = world_of([App::new("shop")]);
    let shop = world.shop().clone();
    shop.goes_live("v1");
    let web = shop.pid();
    world.install(Path::new(OURS));
    signal_daemon(&world, Signal::SIGUSR2);
    world.wait("the new program", || runs_what_is_installed(&world).then_some(()));
    world.wait("its answer", || shop.pid_of("web").filter(|pid| *pid == web));
    shop.serves("v1");
}

#[test]
fn told_to_end_meanwhile_it_ends_with_all_it_has() {
    for millis in [0, 15, 40, 70, 100, 150] {
        let mut world = world_of([App::new("shop")]);
        world.shop().goes_live("v1");
        signal_daemon(&world, Signal::SIGUSR2);
        // Not a wait for something: the instant is what is tested.
        thread::sleep(Duration::from_millis(millis));
        assert_eq!(world.stop_daemon().code(), Some(0), "{millis} ms: {}", world.daemon_said());
        world.wait("nothing to be left", || processes::of(&world.places()).is_empty().then_some(()));
    }
}

#[test]
fn services_that_bind_their_ports_keep_them() {
    let nginx = "{ file = \"shop.conf\", upstream = \"shop\", test = \"true\", reload = \"true\" }";
    let app = App::bare("shop").worker("web", &[("handover", "\"port\""), ("nginx", nginx)]);
    let app = app.set("health", "service", "\"web\"").set("health", "path", "\"/health\"");
    let mut world = world_of([app.set("health", "every", "\"100ms\"")]);
    let shop = world.shop().clone();
    let upstream = shop.dir().join("nginx/shop.conf");
    let routed = || fs::read_to_string(&upstream).unwrap_or_default();
    for version in ["v1", "v2", "v3"] {
        assert_eq!(shop.deploy(version, &[]).deployment.status, DeployStatus::Success);
        let text = world.wait("the only instance", || Some(routed()).filter(|_| shop.instances("web").len() == 1));
        let web = shop.pid_of("web").unwrap();
        if version == "v2" {
            world.replace_daemon();
        } else {
            reexec(&mut world);
        }
        assert_eq!((shop.pid_of("web"), routed()), (Some(web), text.clone()), "{version}");
        let port: u16 = text.split("127.0.0.1:").nth(1).unwrap().split([';', ' ']).next().unwrap().parse().unwrap();
        let reply = crate::world::Request::get("/").send(port).unwrap();
        assert_eq!(reply.body, version);
    }
}
