//! The daemon may be killed at any instant: a complete release runs, the history is true, the deploy is tried again.

use crate::world::chance::Chance;
use crate::world::{World, processes, wait, whole};
use pintle::base::ReleaseName;
use pintle::control::{DeployStatus, DeploymentView, Trigger};
use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

#[test]
fn ten_crashes_during_deploys() {
    crashes(10);
}

#[test]
#[ignore = "takes minutes; .ci/run runs it"]
fn two_hundred_crashes_during_deploys() {
    crashes(200);
}

/// Deploys, kills the daemon after a random time, starts it again, and looks - `count` times.
fn crashes(count: u32) {
    let mut chance = Chance::announced();
    let mut world = World::with([whole::shop()]).up();
    let shop = world.shop().clone();
    // The first deploy clones; the second one takes as long as those that follow.
    let mut typical = Duration::ZERO;
    for version in ["v00", "v0"] {
        let report = shop.end_of(shop.push(&whole::commit(&shop, version, &[])).accepted());
        assert_eq!(report.deployment.status, DeployStatus::Success, "{report:#?}");
        typical = Duration::from_secs_f64(report.deployment.duration_seconds.unwrap_or(1.0));
    }
    let mut phases: BTreeMap<String, u32> = BTreeMap::new();
    for number in 1..=count {
        let old = whole::serving(&shop).unwrap();
        let new = format!("v{number}");
        // Every fifth one is sick in production only, so that rollbacks are interrupted too.
        let conf: &[&str] = if number % 5 == 0 { &["die_after = 60ms"] } else { &[] };
        let commit = whole::commit(&shop, &new, conf);
        let deployment = shop.push(&commit).accepted();
        // Not a wait for something: the instant of the crash is what is tested.
        thread::sleep(chance.span(typical));
        let phase = world.show(deployment).deployment.phase;
        *phases.entry(phase.to_string()).or_default() += 1;
        world.kill_daemon();
        world.start_daemon();
        let what = format!("crash {number} of {count}, about {phase}");
        settled(&world, &what);
        let history = world.history();
        let serving = wait::wait_until(&format!("a whole release ({what})"), || whole::serving(&shop).ok());
        assert!([old.as_str(), new.as_str()].contains(&serving.as_str()), "{what}: {old} or {new}, but {serving}");
        history_is_true(&history, shop.live_release().as_deref(), &what);
        assert!(history.iter().any(|d| d.number.0 == deployment), "{what}: the accepted deployment is lost");
        let retries = history.iter().filter(|d| d.commit.as_deref() == Some(&commit) && d.trigger == Trigger::Retry);
        assert!(retries.count() <= 1, "{what}: retried more than once: {history:#?}");
        if conf.is_empty() {
            assert_eq!(serving, new, "{what}: nothing was wrong with it, the retry should have brought it live");
        }
        nobody_strays(&world, &what);
    }
    eprintln!("killed during: {phases:?}");
}

/// Waits until every deployment is over.
fn settled(world: &World, what: &str) {
    world.wait(&format!("all deployments to end ({what})"), || {
        world.history().iter().all(|deployment| deployment.status.is_final()).then_some(())
    });
}

/// The newest success is what `current` names.
pub fn history_is_true(history: &[DeploymentView], live: Option<&str>, what: &str) {
    let newest = history.iter().find(|deployment| deployment.status == DeployStatus::Success);
    let newest = newest.and_then(|deployment| deployment.release.as_ref()).map(ReleaseName::as_str);
    assert_eq!(newest, live, "{what}: the newest success is not what runs: {history:#?}");
}

/// What a killed daemon left behind has been taken over or ended by the next one.
fn nobody_strays(world: &World, what: &str) {
    let daemon = world.daemon_pid();
    world.wait(&format!("no stray process ({what})"), || {
        let status = world.status();
        let services = status.apps.iter().flat_map(|app| &app.services);
        let instances = services.flat_map(|service| &service.instances).filter_map(|instance| instance.pid);
        let leaders: Vec<i32> = instances.map(|pid| pid as i32).chain([daemon]).collect();
        let known: Vec<i32> =
            leaders.iter().flat_map(|pid| processes::descendants(*pid)).chain(leaders.clone()).collect();
        let strangers = processes::of(&world.places()).into_iter().filter(|pid| !known.contains(pid));
        // The keeper of sockets belongs to no daemon.
        let names: Vec<String> = strangers.map(processes::command).collect();
        names.iter().all(|name| name == "pintle keep ").then_some(()).filter(|()| names.len() <= 1)
    });
}

#[test]
fn an_interrupted_deploy_is_told_and_tried_once_more() {
    let mut world = World::with([]);
    let marks = world.root.join("marks");
    // The first try hangs until it is killed with the daemon; the second one passes.
    let build = format!("echo try >> {0}; [ $(wc -l < {0}) -ge 2 ] || sleep 600", marks.display());
    world.add(crate::world::App::new("shop").step("build", "hang-once", &build));
    let mut world = world.up();
    let shop = world.shop().clone();
    let number = shop.push(&shop.version("v1", &[])).accepted();
    world.wait("the build", || marks.exists().then_some(()));
    world.kill_daemon();
    world.start_daemon();
    settled(&world, "interrupted in its build");
    let history = world.history();
    assert_eq!(history.len(), 2, "{history:#?}");
    assert_eq!((history[1].number.0, history[1].status), (number, DeployStatus::Failed));
    assert_eq!((history[0].trigger, history[0].status), (Trigger::Retry, DeployStatus::Success));
    shop.serves("v1");
    nobody_strays(&world, "the interrupted step");
}

#[test]
fn what_waited_in_the_queue_is_not_lost() {
    let (mut world, gate) = World::of_a_gated_shop();
    let shop = world.shop().clone();
    shop.push(&shop.version("v1", &[])).accepted();
    let waiting = shop.push(&shop.version("v2", &[])).accepted();
    world.kill_daemon();
    gate.open();
    world.start_daemon();
    settled(&world, "killed with one waiting");
    assert_eq!(world.show(waiting).deployment.status, DeployStatus::Success);
    shop.serves("v2");
}
