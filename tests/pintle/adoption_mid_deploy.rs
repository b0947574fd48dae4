//! The daemon is killed in the middle of a deploy: the visitors do not notice, what was under way is finished or undone,
//! and nothing of it is left running.

use crate::world::{App, Site, World, processes};
use pintle::control::{DeployStatus, Trigger};
use std::fs;
use std::path::{Path, PathBuf};

/// Where a deploy can be held.
struct Stop {
    /// While it is there, whoever comes waits.
    bar: PathBuf,
    /// Who waits.
    waiting: PathBuf,
}

impl Stop {
    fn at(root: &Path, name: &str) -> Stop {
        Stop { bar: root.join(format!("bar-{name}")), waiting: root.join(format!("waiting-{name}")) }
    }

    /// The shell's words that wait while it is closed.
    fn words(&self) -> String {
        let (bar, waiting) = (self.bar.display(), self.waiting.display());
        format!("if [ -e {bar} ]; then echo $$ > {waiting}; while [ -e {bar} ]; do sleep 0.02; done; fi")
    }

    fn close(&self) {
        fs::write(&self.bar, "").unwrap();
    }
    fn open(&self) {
        fs::remove_file(&self.bar).unwrap();
    }

    /// Waits until somebody waits there; who.
    fn reached(&self, world: &World) -> i32 {
        world.wait(&format!("somebody at {}", self.bar.display()), || {
            fs::read_to_string(&self.waiting).ok()?.trim().parse().ok()
        })
    }
}

/// All deployments are over; the last one's status.
fn last_end(world: &World) -> DeployStatus {
    world.wait("all deployments to end", || world.history().iter().all(|d| d.status.is_final()).then_some(()));
    world.history()[0].status
}

/// Pushes a version, has it held, kills the daemon there, and lets everybody go on under the next one.
fn killed_at(world: &mut World, shop: &Site, stop: &Stop, version: &str) {
    let (before, web) = (world.history().len(), shop.pid());
    let visitors = shop.visited();
    stop.close();
    let number = shop.push(&shop.version(version, &[])).accepted();
    let held = stop.reached(world);
    world.kill_daemon();
    visitors.have_had(3);
    // The next one tries the deploy again: it is not to be held.
    stop.open();
    fs::remove_file(&stop.waiting).unwrap();
    world.start_daemon();
    assert!(!processes::is_alive(held), "{version}: who was at work for the killed daemon is ended");
    assert_eq!(last_end(world), DeployStatus::Success, "{version}: {:#?}", world.history());
    visitors.have_had(3);
    visitors.leave().all_answered();
    shop.serves(version);
    assert_ne!(shop.pid(), web, "{version}");
    let history = world.history();
    assert_eq!(history.len(), before + 2, "{version}: {history:#?}");
    assert_eq!(history[0].trigger, Trigger::Retry, "{version}: {history:#?}");
    let interrupted = world.show(number).deployment;
    let status = interrupted.status;
    assert!(matches!(status, DeployStatus::Failed | DeployStatus::RolledBack), "{version}: {interrupted:#?}");
    assert!(!processes::is_alive(web), "{version}");
    let serving =
        processes::of(&world.places()).into_iter().filter(|pid| processes::command(*pid).contains("demo-app"));
    assert_eq!(serving.collect::<Vec<_>>(), [shop.pid()], "{version}: one instance is left");
}

/// A shop whose deploy can be held in its steps.
fn shop_with_stops<const N: usize>(phases: [&str; N]) -> (World, [Stop; N]) {
    let mut world = World::with([]);
    let stops = phases.map(|phase| Stop::at(&world.root, phase));
    let app = phases.iter().zip(&stops).fold(App::new("shop"), |app, (phase, stop)| match *phase {
        // Smoke tests run in the rehearsal and in production.
        "rehearse" => app.step("smoke", phase, &format!("if [ -n \"$PINTLE_REHEARSAL\" ]; then {}; fi", stop.words())),
        "verify" => app.step("smoke", phase, &format!("if [ -z \"$PINTLE_REHEARSAL\" ]; then {}; fi", stop.words())),
        "migrate" => app.step("migrate", phase, &format!("if [ -z \"$PINTLE_REHEARSAL\" ]; then {}; fi", stop.words())),
        phase => app.step(phase, phase, &stop.words()),
    });
    world.add(app);
    (world, stops)
}

#[test]
fn killed_before_anything_was_touched() {
    let (mut world, [build, rehearse]) = shop_with_stops(["build", "rehearse"]);
    let fetch = Stop::at(&world.root, "fetch");
    // A git that waits before it fetches.
    let bin = world.root.join("bin");
    fs::create_dir(&bin).unwrap();
    let path = std::env::var("PATH").unwrap();
    let waits = format!("case \" $* \" in *' fetch '*) {};; esac", fetch.words());
    let git = format!("#!/bin/sh\n{waits}\nPATH={path} exec git \"$@\"\n");
    fs::write(bin.join("git"), git).unwrap();
    fs::set_permissions(bin.join("git"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    world = world.environment("PATH", &format!("{}:{path}", bin.display())).up();
    let shop = world.shop().clone();
    shop.goes_live("v1");
    for (stop, version) in [(fetch, "v2"), (build, "v3"), (rehearse, "v4")] {
        killed_at(&mut world, &shop, &stop, version);
    }
}

#[test]
fn killed_while_it_migrates_and_while_it_is_verified() {
    let (world, [migrate, verify]) = shop_with_stops(["migrate", "verify"]);
    let mut world = world.up();
    let shop = world.shop().clone();
    shop.goes_live("v1");
    for (stop, version) in [(migrate, "v2"), (verify, "v3")] {
        killed_at(&mut world, &shop, &stop, version);
    }
}

/// A shop whose new releases are not ready before a file is there.
fn shop_that_waits(ready: &str) -> (World, PathBuf) {
    let world = World::with([App::new("shop").set("service.web", "ready", ready)]).up();
    let go = world.root.join("go");
    fs::write(&go, "").unwrap();
    (world, go)
}

fn killed_while_both_run(ready: &str) {
    let (mut world, go) = shop_that_waits(ready);
    let shop = world.shop().clone();
    let waits = format!("ready_if = {}", go.display());
    assert_eq!(shop.deploy("v1", &[&waits]).deployment.status, DeployStatus::Success);
    let web = shop.pid();
    let visitors = shop.visited();
    fs::remove_file(&go).unwrap();
    let number = shop.push(&shop.version("v2", &[&waits])).accepted();
    world.wait("old and new", || (shop.instances("web").len() == 2).then_some(()));
    let new =
        world.wait("the new one", || shop.instances("web").iter().find_map(|i| i.pid.filter(|pid| *pid as i32 != web)));
    visitors.have_had(3);
    world.kill_daemon();
    visitors.have_had(3);
    world.start_daemon();
    assert!(processes::is_alive(web), "the old one serves on");
    visitors.have_had(3);
    // It goes back, and tries again; now the new one may be ready.
    fs::write(&go, "").unwrap();
    world.wait("its end", || (!processes::is_alive(new as i32)).then_some(()));
    assert_eq!(last_end(&world), DeployStatus::Success, "{:#?}", world.history());
    assert_eq!(world.show(number).deployment.status, DeployStatus::RolledBack);
    visitors.have_had(3);
    visitors.leave().all_answered();
    shop.serves("v2");
    assert!(!processes::is_alive(web));
}

#[test]
fn killed_while_old_and_new_run_and_the_new_one_says_nothing() {
    killed_while_both_run("\"notify\"");
}

#[test]
fn killed_while_old_and_new_run_and_the_new_one_does_not_answer() {
    killed_while_both_run("\"probe\"");
}

#[test]
fn killed_in_probation() {
    let mut world = World::with([App::new("shop").set("deploy", "probation", "\"1s\"")]).up();
    let shop = world.shop().clone();
    shop.goes_live("v1");
    let visitors = shop.visited();
    let number = shop.push(&shop.version("v2", &[])).accepted();
    shop.reaches(number, pintle::control::Phase::Probation);
    let web = shop.pid();
    world.replace_daemon();
    assert_eq!(shop.end_of(number).deployment.status, DeployStatus::Success, "it had passed, and stays");
    assert_eq!((shop.pid_of("web"), world.history().len()), (Some(web), 2));
    visitors.leave().all_answered();
    shop.serves("v2");
}
