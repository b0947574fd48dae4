//! A service that hangs is found out and started anew; one that speaks in time, however much, is left alone.

use crate::world::takeover::end_at_once;
use crate::world::{App, Site, World};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pintle::control::{AppState, DeployStatus, RunState};
use std::fs;
use std::time::{Duration, Instant};

/// What a service is allowed to be silent for.
const LIMIT: Duration = Duration::from_secs(1);
/// What a busy machine may add to any time.
const SLACK: Duration = Duration::from_secs(3);

fn watched(app: App) -> App {
    app.set("service.web", "watchdog", "\"1s\"")
}

/// Waits until `service` has been started again; how its last process ended.
fn is_back(world: &World, shop: &Site, old: i32) -> String {
    let back = |pid: &i32| *pid != old;
    world.wait("a new process", || shop.pid_of("web").filter(back));
    let instances = shop.instances("web");
    assert_eq!((instances.len(), instances[0].restarts), (1, 1), "{instances:?}");
    world.wait("it to be up", || (shop.instances("web")[0].state == RunState::Up).then_some(()));
    instances[0].last_exit.clone().unwrap()
}

#[test]
fn who_falls_silent_is_aborted_and_started_again() {
    let world = World::with([watched(App::new("shop"))]).up();
    let shop = world.shop().clone();
    let silence = world.root.join("silence");
    let conf = format!("silent_if = {}", silence.display());
    assert_eq!(shop.deploy("v1", &[&conf]).deployment.status, DeployStatus::Success);
    assert_eq!(shop.get("/env/WATCHDOG_USEC").unwrap().body, "1000000");
    let (old, visitors) = (shop.pid(), shop.visited());
    fs::write(&silence, "").unwrap();
    let began = Instant::now();
    world.wait("its end", || shop.pid_of("web").filter(|pid| *pid != old));
    assert!(began.elapsed() < LIMIT + SLACK, "{:?}", began.elapsed());
    fs::remove_file(&silence).unwrap();
    let words = is_back(&world, &shop, old);
    assert!(words.starts_with("its watchdog heard nothing of it for 1s; killed by SIGABRT"), "{words}");
    let page = world.pintle(&["status"]).exits(0).stdout;
    assert!(page.contains(&words), "{page}");
    let said = world.daemon_said();
    assert!(said.contains("web is aborted: its watchdog heard nothing of it for 1s"), "{said}");
    shop.serves("v1");
    // Those whose request it had taken when it was killed are the only ones who may notice.
    let seen = visitors.leave();
    assert!(seen.failures.len() <= 2, "{:#?}", seen.failures);
}

#[test]
fn who_says_that_it_is_broken_is_started_again_at_once() {
    let world = World::with([watched(App::new("shop"))]).up();
    let shop = world.shop().clone();
    let broken = world.root.join("broken");
    let conf = format!("broken_if = {}", broken.display());
    assert_eq!(shop.deploy("v1", &[&conf]).deployment.status, DeployStatus::Success);
    let old = shop.pid();
    fs::write(&broken, "").unwrap();
    world.wait("its end", || shop.pid_of("web").filter(|pid| *pid != old));
    fs::remove_file(&broken).unwrap();
    // The journal, not `status`: an app that goes on being broken is made anew, and that one has no past.
    let words = "web ended by itself: it said that it is broken (WATCHDOG=trigger); killed by SIGABRT";
    assert!(world.daemon_said().contains(words), "{}", world.daemon_said());
}

#[test]
fn who_is_stopped_is_a_hang_too_also_after_a_takeover() {
    let mut world = World::with([watched(App::new("shop"))]).up();
    let shop = world.shop().clone();
    shop.goes_live("v1");
    world.replace_daemon();
    let old = shop.pid();
    kill(Pid::from_raw(old), Signal::SIGSTOP).unwrap();
    let words = is_back(&world, &shop, old);
    assert!(words.starts_with("its watchdog heard nothing of it for 1s; "), "{words}");
    shop.serves("v1");
}

#[test]
fn who_speaks_in_time_is_left_alone() {
    let mut world = World::with([watched(App::new("shop"))]).up();
    let shop = world.shop().clone();
    shop.goes_live("v1");
    let web = shop.pid();
    world.replace_daemon();
    world.wait("four limits to pass", || shop.instances("web")[0].uptime_seconds.filter(|seconds| *seconds >= 4));
    assert_eq!((shop.pid_of("web"), shop.view().unwrap().state), (Some(web), AppState::Running));
    assert!(!world.daemon_said().contains("aborted"), "{}", world.daemon_said());
}

#[test]
fn who_never_stops_talking_slows_nobody() {
    let world = World::with([App::new("shop"), App::new("stall")]).up();
    let (shop, stall) = (world.shop().clone(), world.site("stall").clone());
    assert_eq!(shop.deploy("v1", &["flood = yes"]).deployment.status, DeployStatus::Success);
    world.wait("the flood", || (shop.instances("web")[0].says.as_deref() == Some("talking")).then_some(()));
    stall.goes_live("v1");
    let old = stall.pid();
    let began = Instant::now();
    end_at_once(old);
    world.wait("the other app", || stall.get("/").ok());
    assert!(began.elapsed() < SLACK, "{:?}", began.elapsed());
    let daemon = world.daemon_pid();
    let (spent, began) = (crate::world::processes::cpu_time(daemon), Instant::now());
    for _ in 0..50 {
        world.status();
        stall.serves("v1");
    }
    world.wait("a while", || (began.elapsed() > LIMIT).then_some(()));
    let spent = (crate::world::processes::cpu_time(daemon) - spent).as_secs_f64() / began.elapsed().as_secs_f64();
    assert!(spent < 0.5, "the daemon spends {:.0} % of a core on listening to it", spent * 100.0);
    shop.serves("v1");
}
