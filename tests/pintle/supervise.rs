//! Services are kept running, stopped in good order, and leave nothing behind.

use crate::world::{App, World, processes, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pintle::control::{AppState, DeployStatus, RunState};
use std::fs;
use std::time::{Duration, Instant};

fn signal(pid: i32, signal: Signal) {
    kill(Pid::from_raw(pid), signal).unwrap();
}

/// Lines of the sample app's journal that begin with `deed`.
fn journal(world: &World, deed: &str) -> Vec<String> {
    let text = fs::read_to_string(world.shop().shared("data/journal")).unwrap_or_default();
    let live = text.lines().filter(|line| line.starts_with(deed) && !line.ends_with("rehearsal"));
    live.map(str::to_owned).collect()
}

#[test]
fn a_killed_app_is_back_and_no_visitor_is_refused() {
    let world = World::of_a_shop();
    let shop = world.shop();
    shop.goes_live("v1");
    for _ in 0..3 {
        let old = shop.pid();
        signal(old, Signal::SIGKILL);
        wait_until("the old process to be gone", || (!processes::is_alive(old)).then_some(()));
        // The socket is the daemon's: a visitor waits for the new process, nobody is refused.
        assert_ne!(shop.pid(), old);
        shop.serves("v1");
    }
    let instance = &shop.instances("web")[0];
    assert!(instance.restarts >= 3, "{instance:?}");
    assert!(
        instance.last_exit.as_deref().is_some_and(|exit| exit.contains("KILL") || exit.contains('9')),
        "{instance:?}"
    );
}

#[test]
fn a_crash_loop_is_slowed_down_and_ends_with_its_cause() {
    let world = World::of_a_shop();
    let shop = world.shop();
    assert_eq!(shop.deploy("v1", &["die_if = data/poison"]).deployment.status, DeployStatus::Success);
    let began = Instant::now();
    fs::write(shop.shared("data/poison"), "").unwrap();
    signal(shop.pid_of("web").unwrap(), Signal::SIGKILL);
    wait_until("five starts", || (journal(&world, "start").len() >= 6).then_some(()));
    let spent = began.elapsed();
    assert!(spent > Duration::from_millis(100 + 200 + 400), "five restarts within {spent:?} is a storm");
    wait_until("the backoff to be told", || {
        shop.instances("web").iter().any(|i| i.state == RunState::Backoff).then_some(())
    });
    assert_ne!(shop.view().unwrap().state, AppState::Running);
    fs::remove_file(shop.shared("data/poison")).unwrap();
    wait_until("the app to be back", || shop.get("/").ok().filter(|reply| reply.body == "v1"));
}

#[test]
fn a_stop_lasts_over_a_restart_of_the_daemon() {
    let mut world = World::of_a_shop();
    world.shop().goes_live("v1");
    let pid = world.shop().pid();
    world.pintle(&["stop", "shop"]).exits(0);
    wait_until("the app to end", || (!processes::is_alive(pid)).then_some(()));
    assert_eq!(world.shop().view().unwrap().state, AppState::Stopped);
    world.stop_daemon();
    world.start_daemon();
    let view = world.shop().view().unwrap();
    assert_eq!(view.state, AppState::Stopped, "{view:?}");
    assert_eq!(world.shop().pid_of("web"), None);
    world.pintle(&["start", "shop"]).exits(0);
    world.wait("the app", || world.shop().get("/").ok().filter(|reply| reply.body == "v1"));
}

#[test]
fn apps_run_again_after_a_restart_of_the_daemon() {
    let mut world = World::of_a_shop();
    world.shop().goes_live("v1");
    let pid = world.shop().pid();
    assert_eq!(world.stop_daemon().code(), Some(0));
    assert!(!processes::is_alive(pid), "SIGTERM ends the apps too");
    world.start_daemon();
    world.wait("the app", || world.shop().get("/").ok().filter(|reply| reply.body == "v1"));
    assert_eq!(world.history().len(), 1, "a start is no deployment");
}

#[test]
fn what_a_killed_daemon_left_running_is_taken_over() {
    let mut world = World::of_a_shop();
    world.shop().goes_live("v1");
    let old = world.shop().pid();
    world.kill_daemon();
    assert!(processes::is_alive(old), "the app does not die with the daemon");
    world.start_daemon();
    world.wait("the app", || world.shop().get("/").ok().filter(|reply| reply.body == "v1"));
    let now = world.wait("an instance", || world.shop().pid_of("web"));
    assert_eq!(now, old, "the app never noticed");
    let serving: Vec<i32> = processes::of(&world.places())
        .into_iter()
        .filter(|pid| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|c| c.windows(8).any(|w| w == b"demo-app")))
        .collect();
    assert_eq!(serving, [now], "exactly one instance serves");
}

#[test]
fn services_start_in_order_and_stop_in_reverse() {
    let app = App::new("shop").set("service.web", "after", "[\"worker\"]").worker("base", &[]);
    let mut world = World::with([app.worker("worker", &[("after", "[\"base\"]")])]).up();
    let shop = world.shop();
    shop.goes_live("v1");
    world.wait("three starts", || (journal(&world, "start").len() == 3).then_some(()));
    // Up means executed here; what each does first is its own affair, so it is the kernel that is asked.
    let started = |service: &str| processes::started(shop.pid_of(service).unwrap());
    assert!(started("base") <= started("worker") && started("worker") <= started("web"));
    world.stop_daemon();
    let ends = journal(&world, "end");
    let names: Vec<&str> = ends.iter().filter_map(|line| line.split_whitespace().nth(2)).collect();
    assert_eq!(names, ["web", "worker", "base"]);
}

#[test]
fn one_service_can_be_stopped_started_and_restarted() {
    let world = World::with([App::new("shop").worker("worker", &[])]).up();
    let shop = world.shop();
    shop.goes_live("v1");
    let (web, worker) = (shop.pid(), world.wait("the worker", || shop.pid_of("worker")));
    world.pintle(&["restart", "shop", "worker"]).exits(0);
    let restarted = world.wait("a new worker", || shop.pid_of("worker").filter(|pid| *pid != worker));
    assert_eq!(shop.pid(), web, "the other service is left alone");
    world.pintle(&["stop", "shop", "worker"]).exits(0);
    world.wait("the worker's end", || (!processes::is_alive(restarted)).then_some(()));
    shop.serves("v1");
    world.pintle(&["start", "shop", "worker"]).exits(0);
    world.wait("the worker's return", || shop.pid_of("worker"));
}

#[test]
fn the_whole_group_of_a_service_ends_with_it() {
    let world = World::of_a_shop();
    let shop = world.shop();
    assert_eq!(shop.deploy("v1", &["child = yes"]).deployment.status, DeployStatus::Success);
    let child = world.wait("the child", || processes::children(shop.pid()).first().copied());
    world.pintle(&["stop", "shop"]).exits(0);
    wait_until("the child to end", || (!processes::is_alive(child)).then_some(()));
    world.pintle(&["start", "shop"]).exits(0);
    let child = world.wait("the child", || processes::children(shop.pid_of("web")?).first().copied());
    signal(shop.pid(), Signal::SIGKILL);
    wait_until("the orphan to end", || (!processes::is_alive(child)).then_some(()));
}

#[test]
fn who_ignores_sigterm_is_killed_when_its_time_is_up() {
    let world = World::with([App::new("shop").set("service.web", "stop_timeout", "\"300ms\"")]).up();
    let shop = world.shop();
    assert_eq!(shop.deploy("v1", &["ignore_term = yes"]).deployment.status, DeployStatus::Success);
    let (pid, began) = (shop.pid(), Instant::now());
    world.pintle(&["stop", "shop"]).exits(0);
    wait_until("the app to end", || (!processes::is_alive(pid)).then_some(()));
    assert!(began.elapsed() >= Duration::from_millis(300), "it was not given its time");
}

#[test]
fn logs_are_kept_and_rotated() {
    let app = App::new("shop").set("service.web", "log_max", "\"64KiB\"").set("service.web", "log_keep", "2");
    let world = World::with([app]).up();
    let shop = world.shop();
    assert_eq!(shop.deploy("v1", &["chatty = 4000"]).deployment.status, DeployStatus::Success);
    let logs = shop.dir().join("logs");
    let sizes = || -> Vec<(String, u64)> {
        let entries = fs::read_dir(&logs).into_iter().flatten().flatten();
        let web = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("web"));
        web.filter_map(|e| Some((e.file_name().to_string_lossy().into_owned(), e.metadata().ok()?.len()))).collect()
    };
    world.wait("rotation", || (sizes().len() == 3).then_some(()));
    assert!(sizes().iter().all(|(_, size)| *size <= (64 << 10) + 4096), "{:?}", sizes());
    let tail = world.pintle(&["logs", "shop", "web", "-n", "2"]).exits(0);
    assert!(tail.stdout.contains("v1 web") && tail.stdout.lines().count() <= 2, "{tail:?}");
}

#[test]
fn a_service_that_cannot_be_executed_is_named() {
    let app = App::bare("shop").set("service.web", "run", "[\"/no/such/program\"]");
    let world = World::with([app.set("deploy", "startup", "\"1s\"")]).up();
    let report = world.shop().deploy("v1", &[]);
    assert_eq!(report.exit, Some(3), "{report:#?}");
    let said = format!("{:?} {}", report.deployment.message, world.shop().log_of(&report));
    assert!(said.contains("/no/such/program"), "{said}");
}

#[test]
fn restart_policies_are_kept() {
    let once = "\"exec sh -c 'exit 0'\"";
    let app = App::new("shop").set("service.once", "run", once).set("service.once", "restart", "\"on-failure\"");
    let app = app.set("service.never", "run", "\"sleep 600\"").set("service.never", "restart", "\"never\"");
    let world = World::with([app]).up();
    let shop = world.shop();
    shop.goes_live("v1");
    let state = |service: &str| shop.instances(service).first().map(|instance| (instance.state, instance.restarts));
    world.wait("once to rest", || (state("once") == Some((RunState::Held, 0))).then_some(()));
    signal(world.wait("never", || shop.pid_of("never")), Signal::SIGKILL);
    world.wait("never to rest", || (state("never") == Some((RunState::Held, 0))).then_some(()));
    shop.serves("v1");
}

#[test]
fn a_service_that_tells_when_it_is_ready_is_up() {
    for ready in ["\"notify\"", "\"probe\""] {
        let world = World::with([App::new("shop").set("service.web", "ready", ready)]).up();
        let shop = world.shop();
        shop.goes_live("v1");
        world.wait("up", || shop.instances("web").iter().all(|i| i.state == RunState::Up).then_some(()));
    }
}

#[test]
fn several_instances_share_the_socket() {
    let world = World::with([App::new("shop").set("service.web", "instances", "2")]).up();
    let shop = world.shop();
    shop.goes_live("v1");
    let pids = || shop.instances("web").iter().filter_map(|instance| instance.pid).collect::<Vec<_>>();
    assert_eq!(pids().len(), 2);
    let killed = pids()[0] as i32;
    signal(killed, Signal::SIGKILL);
    shop.serves("v1");
    world.wait("the second instance", || (pids().len() == 2 && !pids().contains(&(killed as u32))).then_some(()));
}

#[test]
fn a_listener_that_is_killed_is_back() {
    let world = World::of_a_shop();
    let old = world.status().listener.pid.unwrap();
    signal(old as i32, Signal::SIGKILL);
    world.wait("a new listener", || world.status().listener.pid.filter(|pid| *pid != old));
    world.shop().goes_live("v1");
}
