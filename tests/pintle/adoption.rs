//! The daemon is killed, and the next one goes on where it was: no application notices, no visitor either.

use crate::world::takeover::{end_at_once, end_by};
use crate::world::{App, World, is_root, processes, wait_until};
use nix::sys::signal::Signal;
use pintle::control::{AppState, DeployStatus, InstanceView, RunState};
use std::fs;
use std::net::TcpStream;
use std::time::Instant;

/// A service that writes a numbered line every few milliseconds, and would die of the first one that nobody can read.
const TICKER: &str = "\"i=0; while :; do echo tick $i; echo $i > data/tick; i=$((i+1)); sleep 0.01; done\"";
/// A service that sleeps until it is killed.
const SLEEPER: &str = "\"exec sleep 600\"";

fn with_service(app: App, name: &str, run: &str) -> App {
    app.set(&format!("service.{name}"), "run", run)
}

/// How often the ticker has ticked.
fn ticks(world: &World) -> u32 {
    let number = || fs::read_to_string(world.shop().shared("data/tick")).ok()?.trim().parse().ok();
    world.wait("a tick", number)
}

fn only(instances: &[InstanceView]) -> &InstanceView {
    assert_eq!(instances.len(), 1, "{instances:?}");
    &instances[0]
}

#[test]
fn five_killed_daemons_are_not_noticed() {
    let mut world = World::with([with_service(App::new("shop"), "ticker", TICKER)]).up();
    let shop = world.shop().clone();
    shop.goes_live("v1");
    let (web, ticker, began) = (shop.pid(), shop.pid_of("ticker").unwrap(), Instant::now());
    let visitors = shop.visited();
    for _ in 0..5 {
        world.kill_daemon();
        let before = ticks(&world);
        visitors.have_had(5);
        world.wait("lines that nobody reads", || (ticks(&world) > before + 2).then_some(()));
        world.start_daemon();
        assert_eq!((shop.pid_of("web"), shop.pid_of("ticker")), (Some(web), Some(ticker)));
        visitors.have_had(5);
    }
    visitors.leave().all_answered();
    assert_eq!(shop.view().unwrap().state, AppState::Running);
    let instances = shop.instances("web");
    let instance = only(&instances);
    assert_eq!((instance.state, instance.restarts, instance.last_exit.as_ref()), (RunState::Up, 0, None));
    assert!(instance.uptime_seconds.unwrap() >= began.elapsed().as_secs(), "{instance:?}");
    let last = ticks(&world);
    world.wait("the last line", || shop.log("ticker").contains(&format!("tick {last}\n")).then_some(()));
    let said = world.pintle(&["logs", "shop", "ticker", "-n", "1000000"]).exits(0).stdout;
    for (number, line) in said.lines().enumerate() {
        assert_eq!(line, format!("tick {number}"), "each line once, in order");
    }
}

#[test]
fn what_dies_while_no_daemon_runs_keeps_its_visitors_and_its_last_words() {
    let words = "\"trap 'echo last words; exit 3' TERM; while :; do sleep 0.01; done\"";
    let mut world = World::with([with_service(App::new("shop"), "talker", words)]).up();
    let shop = world.shop().clone();
    shop.goes_live("v1");
    let (web, talker) = (shop.pid(), shop.pid_of("talker").unwrap());
    world.kill_daemon();
    end_at_once(web);
    end_by(talker, Signal::SIGTERM);
    let visitor = {
        TcpStream::connect(("127.0.0.1", shop.port)).expect("the socket is still there");
        let shop = shop.clone();
        std::thread::spawn(move || shop.get("/"))
    };
    world.start_daemon();
    let reply = visitor.join().unwrap().expect("an answer to who came while nobody was there");
    assert_eq!(reply.body, "v1");
    assert_ne!(shop.pid(), web);
    world.wait("the talker", || shop.pid_of("talker").filter(|pid| *pid != talker));
    world.wait("the last words", || shop.log("talker").contains("last words\n").then_some(()));
}

#[test]
fn without_keeper_the_socket_is_taken_from_the_app() {
    let mut world = World::with([with_service(App::new("shop"), "ticker", TICKER)]).up();
    let shop = world.shop().clone();
    shop.goes_live("v1");
    let web = shop.pid();
    let visitors = shop.visited();
    world.kill_daemon();
    world.kill_keeper();
    visitors.have_had(3);
    world.start_daemon();
    assert_eq!(shop.pid_of("web"), Some(web));
    let before = ticks(&world);
    world.wait("its log", || shop.log("ticker").contains(&format!("tick {}\n", before + 1)).then_some(()));
    visitors.leave().all_answered();
    // Now the daemon has the socket: who comes while the app is started anew waits.
    end_at_once(web);
    shop.serves("v1");
}

#[test]
fn without_app_and_keeper_all_begins_anew() {
    let mut world = World::of_a_shop();
    let shop = world.shop().clone();
    shop.goes_live("v1");
    let web = shop.pid();
    world.kill_daemon();
    world.kill_keeper();
    end_at_once(web);
    world.start_daemon();
    world.wait("the app", || shop.get("/").ok().filter(|reply| reply.body == "v1"));
    assert_ne!(shop.pid(), web);
    shop.goes_live("v2");
}

#[test]
fn a_killed_keeper_is_followed_by_one_that_has_it_all() {
    let mut world = World::of_a_shop();
    let shop = world.shop().clone();
    shop.goes_live("v1");
    let web = shop.pid();
    world.kill_keeper();
    world.wait("another keeper", || world.keeper());
    // It has been given everything when the daemon answers again.
    world.status();
    world.kill_daemon();
    end_at_once(web);
    TcpStream::connect(("127.0.0.1", shop.port)).expect("the new keeper has the socket");
    world.start_daemon();
    shop.serves("v1");
}

#[test]
fn how_an_adopted_process_ends_is_told_and_it_is_back_at_once() {
    let app = with_service(with_service(App::new("shop"), "sleeper", SLEEPER), "leaver", "\"sleep 600; exit 0\"");
    let mut world = World::with([app]).up();
    let shop = world.shop().clone();
    shop.goes_live("v1");
    let pids = ["web", "sleeper", "leaver"].map(|service| (service, shop.pid_of(service).unwrap()));
    world.replace_daemon();
    let kernel_tells = kernel_is_at_least(6, 15);
    let ends = [(Signal::SIGKILL, "SIGKILL"), (Signal::SIGSEGV, "SIGSEGV"), (Signal::SIGHUP, "SIGHUP")];
    for ((service, old), (signal, name)) in pids.into_iter().zip(ends) {
        assert_eq!(shop.pid_of(service), Some(old), "{service}");
        end_by(old, signal);
        world.wait(&format!("{service} again"), || shop.pid_of(service).filter(|pid| *pid != old));
        let instances = shop.instances(service);
        let said = only(&instances).last_exit.clone().unwrap_or_default();
        let told = if kernel_tells { format!("killed by {name}") } else { "how is not known".into() };
        assert!(said.contains(&told), "{service}: {said:?} should tell {told:?}");
        assert_eq!(only(&instances).restarts, 1, "{service}");
    }
}

fn kernel_is_at_least(major: u32, minor: u32) -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).filter_map(|part| part.parse().ok());
    (numbers.next(), numbers.next()) >= (Some(major), Some(minor))
}

#[test]
fn an_adopted_app_is_restarted_stopped_and_started() {
    let mut world = World::of_a_shop();
    let shop = world.shop().clone();
    shop.goes_live("v1");
    let visitors = shop.visited();
    for _ in 0..2 {
        world.replace_daemon();
        let adopted = shop.pid();
        world.pintle(&["restart", "shop"]).exits(0);
        assert!(!processes::is_alive(adopted) && shop.pid() != adopted);
    }
    visitors.leave().all_answered();
    world.replace_daemon();
    let adopted = shop.pid();
    world.pintle(&["stop", "shop"]).exits(0);
    assert!(!processes::is_alive(adopted));
    // A person stopped it: no daemon that comes starts it.
    world.replace_daemon();
    assert_eq!((shop.pid_of("web"), shop.view().unwrap().state), (None, AppState::Stopped));
    world.pintle(&["start", "shop"]).exits(0);
    shop.serves("v1");
}

#[test]
fn a_deploy_over_an_adopted_app_is_not_noticed_either() {
    let mut world = World::of_a_shop();
    let shop = world.shop().clone();
    shop.goes_live("v1");
    let visitors = shop.visited();
    for version in ["v2", "v3"] {
        world.replace_daemon();
        let adopted = shop.pid();
        shop.goes_live(version);
        wait_until("the adopted one to end", || (!processes::is_alive(adopted)).then_some(()));
    }
    visitors.leave().all_answered();
}

#[test]
fn of_three_instances_only_the_dead_one_is_started_anew() {
    let mut world = World::with([App::new("shop").set("service.web", "instances", "3")]).up();
    let shop = world.shop().clone();
    shop.goes_live("v1");
    let pids = || shop.instances("web").iter().filter_map(|instance| Some(instance.pid? as i32)).collect::<Vec<_>>();
    let before = pids();
    world.kill_daemon();
    end_at_once(before[1]);
    let visitors = shop.visited();
    visitors.have_had(5);
    world.start_daemon();
    let after = world.wait("three instances", || Some(pids()).filter(|pids| pids.len() == 3));
    assert!(after.contains(&before[0]) && after.contains(&before[2]), "{before:?}, then {after:?}");
    assert!(!after.contains(&before[1]));
    visitors.leave().all_answered();
}

#[test]
fn what_is_configured_no_longer_when_the_next_daemon_comes() {
    let app = with_service(App::new("shop"), "sleeper", SLEEPER);
    let mut world = World::with([app, App::new("stall")]).up();
    let (shop, stall) = (world.shop().clone(), world.site("stall").clone());
    shop.goes_live("v1");
    stall.goes_live("v1");
    let (web, sleeper, other) = (shop.pid(), shop.pid_of("sleeper").unwrap(), stall.pid());
    world.kill_daemon();
    fs::remove_file(world.config().join("apps/stall.toml")).unwrap();
    let config = world.config().join("apps/shop.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace(&format!("[service.sleeper]\nrun = {SLEEPER}\n"), "")).unwrap();
    world.start_daemon();
    assert!(!processes::is_alive(other), "an app that is configured no longer is ended");
    assert!(TcpStream::connect(("127.0.0.1", stall.port)).is_err(), "and nobody waits in its socket");
    // A release runs as it was deployed, until the next deploy.
    assert_eq!((shop.pid_of("web"), shop.pid_of("sleeper")), (Some(web), Some(sleeper)));
    shop.goes_live("v2");
    wait_until("the service to end", || (!processes::is_alive(sleeper)).then_some(()));
}

#[test]
fn a_daemon_too_many_harms_nobody() {
    let mut world = World::of_a_shop();
    let shop = world.shop().clone();
    shop.goes_live("v1");
    let (web, keeper) = (shop.pid(), world.keeper());
    let visitors = shop.visited();
    for _ in 0..3 {
        let refused = world.run_refused();
        assert!(!matches!(refused.code, Some(0) | None), "{refused:?}");
    }
    assert_eq!((shop.pid_of("web"), world.keeper()), (Some(web), keeper));
    visitors.leave().all_answered();
    // The keeper still has everything, and the daemon still has its ear.
    world.kill_daemon();
    end_at_once(web);
    TcpStream::connect(("127.0.0.1", shop.port)).expect("the keeper has the socket");
    world.start_daemon();
    shop.goes_live("v2");
}

#[test]
fn sigterm_after_a_takeover_leaves_nothing() {
    let mut world = World::with([with_service(App::new("shop"), "sleeper", SLEEPER)]).up();
    world.shop().goes_live("v1");
    world.replace_daemon();
    assert!(world.keeper().is_some());
    assert_eq!(world.stop_daemon().code(), Some(0));
    let left = processes::describe(&world.places());
    assert!(left.is_empty(), "{left}");
    assert!(!world.root.join("run/keeper.sock").exists());
    for dir in ["run/instances", "run/notify"] {
        let left: Vec<_> = fs::read_dir(world.root.join(dir)).unwrap().flatten().map(|entry| entry.path()).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[test]
fn without_privileges_it_works_as_well() {
    let mut world = World::with([]).with_its_own_program();
    let run = format!("[{:?}, \"demo-app\"]", world.program());
    let app = App::new("shop").set("service.web", "run", &run);
    world.add(if is_root() { app.set("app", "allow_root", "false") } else { app });
    let mut world = world.without_privileges().up();
    let shop = world.shop().clone();
    assert_eq!(shop.deploy("v1", &[]).deployment.status, DeployStatus::Success);
    let web = shop.pid();
    let visitors = shop.visited();
    for _ in 0..2 {
        world.kill_daemon();
        visitors.have_had(3);
        world.start_daemon();
        assert_eq!(shop.pid_of("web"), Some(web));
    }
    world.kill_daemon();
    world.kill_keeper();
    world.start_daemon();
    assert_eq!(shop.pid_of("web"), Some(web));
    shop.goes_live("v2");
    visitors.leave().all_answered();
}
