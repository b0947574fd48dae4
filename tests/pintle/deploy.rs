//! A push becomes a running release - or the last good one stays.

use crate::world::{App, World, wait_until};
use pintle::control::{DeployStatus, DeploymentReport, Phase, StepStatus};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// How it must have ended: status, and what `pintle deploy` exits with.
#[track_caller]
pub fn ended(report: &DeploymentReport, status: DeployStatus, exit: u8) {
    assert_eq!((report.deployment.status, report.exit), (status, Some(exit)), "{report:#?}");
}

#[track_caller]
pub fn message(report: &DeploymentReport) -> &str {
    report.deployment.message.as_deref().unwrap_or_else(|| panic!("no message: {report:#?}"))
}

#[test]
fn a_push_goes_live_and_the_next_one_replaces_it() {
    let world = World::of_a_shop();
    let shop = world.shop();
    let first = shop.goes_live("v1");
    assert_eq!(first.previous, None);
    let second = shop.goes_live("v2");
    assert_eq!(second.previous, first.deployment.release);
    assert_eq!(shop.live_release().as_deref(), second.deployment.release.as_ref().map(|r| r.as_str()));
    let commit = second.deployment.commit.clone().unwrap();
    assert_eq!(commit, shop.repo.head());
    assert_eq!(shop.live_release().unwrap(), format!("{}-{}", second.deployment.number, &commit[..7]));
    let journal = fs::read_to_string(shop.shared("data/journal")).unwrap();
    assert!(!journal.contains("rehearsal"), "the rehearsal wrote to production's data: {journal}");
    assert_eq!(journal.lines().filter(|line| line.starts_with("start")).count(), 2, "{journal}");
    assert_eq!(fs::read_to_string(shop.shared("data/README")).unwrap(), "kept", "seeded from the first release");
    let phases: Vec<Phase> = Phase::ALL.to_vec();
    assert!(second.steps.windows(2).all(|two| phases.contains(&two[0].phase) && two[0].phase <= two[1].phase));
}

#[test]
fn no_request_fails_across_deploys() {
    let world = World::of_a_shop();
    let shop = world.shop();
    shop.goes_live("v0");
    let done = AtomicBool::new(false);
    let (answered, failed) = thread::scope(|scope| {
        let visitor = scope.spawn(|| {
            let (mut answered, mut failed) = (0_u32, Vec::new());
            while !done.load(Ordering::SeqCst) {
                match shop.get("/") {
                    Ok(reply) if reply.status == 200 => answered += 1,
                    other => failed.push(format!("{other:?}")),
                }
            }
            (answered, failed)
        });
        for version in ["v1", "v2", "v3"] {
            shop.goes_live(version);
        }
        done.store(true, Ordering::SeqCst);
        visitor.join().unwrap()
    });
    assert!(failed.is_empty(), "{} of {} failed: {failed:?}", failed.len(), answered);
    assert!(answered > 20);
}

#[test]
fn a_failing_build_leaves_what_runs() {
    let world = World::with([App::new("shop").step("build", "compile", "echo compiling; ! grep v2 version")]).up();
    let shop = world.shop();
    shop.goes_live("v1");
    let pid = shop.pid();
    let report = shop.deploy("v2", &[]);
    ended(&report, DeployStatus::Failed, 2);
    assert_eq!(report.deployment.phase, Phase::Build);
    assert!(message(&report).contains("compile"), "{report:#?}");
    let step = report.steps.iter().find(|step| step.name == "compile").unwrap();
    assert_eq!((step.status, step.exit), (StepStatus::Failed, Some(1)));
    assert!(shop.log_of(&report).contains("compiling"), "{}", shop.log_of(&report));
    shop.serves("v1");
    assert_eq!(shop.pid(), pid);
    shop.goes_live("v3");
}

#[test]
fn a_failing_test_leaves_what_runs() {
    let world = World::with([App::new("shop").step("test", "unit", "! grep v2 version")]).up();
    let shop = world.shop();
    shop.goes_live("v1");
    let report = shop.deploy("v2", &[]);
    ended(&report, DeployStatus::Failed, 1);
    assert_eq!(report.deployment.phase, Phase::Test);
    shop.serves("v1");
}

#[test]
fn what_fails_its_rehearsal_never_touches_production() {
    let world = World::with([App::new("shop").set("deploy", "startup", "\"1s\"")]).up();
    let shop = world.shop();
    shop.goes_live("v1");
    let (pid, release) = (shop.pid(), shop.live_release());
    let report = shop.deploy("v2", &["health = fail"]);
    ended(&report, DeployStatus::Failed, 3);
    assert_eq!(report.deployment.phase, Phase::Rehearse);
    shop.serves("v1");
    assert_eq!((shop.pid(), shop.live_release()), (pid, release));
    let journal = fs::read_to_string(shop.shared("data/journal")).unwrap();
    assert!(!journal.contains("v2"), "{journal}");
    let why = shop.push(&shop.repo.head()).ignored();
    assert!(why.to_lowercase().contains("quarantin"), "{why}");
}

#[test]
fn what_cannot_start_fails_its_rehearsal_at_once() {
    let world = World::with([App::new("shop").set("deploy", "startup", "\"20s\"")]).up();
    let shop = world.shop();
    shop.goes_live("v1");
    let report = shop.deploy("v2", &["rehearsal_die_after = 0ms", "die_after = 0ms"]);
    ended(&report, DeployStatus::Failed, 3);
    assert!(report.deployment.duration_seconds.unwrap() < 15.0, "it waited for a process that had ended: {report:#?}");
    shop.serves("v1");
}

#[test]
fn death_in_probation_rolls_back() {
    let world = World::with([App::new("shop").set("deploy", "probation", "\"1500ms\"")]).up();
    let shop = world.shop();
    let first = shop.goes_live("v1");
    let report = shop.deploy("v2", &["die_after = 700ms"]);
    ended(&report, DeployStatus::RolledBack, 4);
    shop.serves("v1");
    assert_eq!(shop.live_release().as_deref(), first.deployment.release.as_ref().map(|r| r.as_str()));
}

#[test]
fn a_release_that_is_sick_only_in_production_is_rolled_back() {
    let world = World::with([App::new("shop").set("deploy", "startup", "\"1s\"")]).up();
    let shop = world.shop();
    shop.goes_live("v1");
    let report = shop.deploy("v2", &["health = fail", "rehearsal_health = ok"]);
    ended(&report, DeployStatus::RolledBack, 4);
    shop.serves("v1");
    shop.goes_live("v3");
}

#[test]
fn a_failing_smoke_step_in_production_rolls_back() {
    let smoke = "test -n \"$PINTLE_URL\" && { [ \"$PINTLE_REHEARSAL\" = 1 ] || ! grep v2 version; }";
    let world = World::with([App::new("shop").step("smoke", "look", smoke)]).up();
    let shop = world.shop();
    shop.goes_live("v1");
    ended(&shop.deploy("v2", &[]), DeployStatus::RolledBack, 4);
    shop.serves("v1");
}

#[test]
fn a_first_release_that_fails_has_nothing_to_go_back_to() {
    let world = World::with([App::new("shop").set("deploy", "startup", "\"1s\"")]).up();
    let shop = world.shop();
    let report = shop.deploy("v1", &["health = fail", "rehearsal_health = ok"]);
    assert_eq!(report.exit, Some(3), "{report:#?}");
    assert!(report.deployment.status != DeployStatus::Success && report.deployment.status != DeployStatus::RolledBack);
    shop.goes_live("v2");
}

#[test]
fn a_rollback_that_is_not_healthy_either_says_so() {
    let spoil = "if grep -q v2 version; then touch data/sick; fi";
    let app = App::new("shop").step("migrate", "spoil", spoil).set("deploy", "startup", "\"1s\"");
    let world = World::with([app.set("deploy", "probation", "\"1s\"")]).up();
    let shop = world.shop();
    ended(&shop.deploy("v1", &["sick_if = data/sick"]), DeployStatus::Success, 0);
    let report = shop.deploy("v2", &["die_after = 500ms"]);
    ended(&report, DeployStatus::RollbackFailed, 5);
    assert_eq!(shop.live("version").as_deref(), Some("v1"), "the old release is what is left running");
}

#[test]
fn a_failing_migration_names_the_backup_and_how_to_restore_it() {
    let migrate = "[ -n \"$PINTLE_REHEARSAL\" ] || ! grep v2 version";
    let world = World::with([App::new("shop").step("migrate", "schema", migrate)]).up();
    let shop = world.shop();
    shop.goes_live("v1");
    let pid = shop.pid();
    let report = shop.deploy("v2", &[]);
    ended(&report, DeployStatus::Failed, 3);
    assert_eq!(report.deployment.phase, Phase::Migrate);
    assert!(message(&report).contains("backup restore"), "{report:#?}");
    shop.serves("v1");
    assert_eq!(shop.pid(), pid);
}

#[test]
fn migrations_are_tried_on_a_copy_and_then_run_once() {
    let migrate = "echo \"$(cat version) $PINTLE_REHEARSAL\" >> data/migrations; cp data/migrations data/seen";
    let world = World::with([App::new("shop").step("migrate", "schema", migrate)]).up();
    let shop = world.shop();
    shop.goes_live("v1");
    shop.goes_live("v2");
    let migrations = fs::read_to_string(shop.shared("data/migrations")).unwrap();
    assert_eq!(migrations.lines().map(str::trim).collect::<Vec<_>>(), ["v1", "v2"]);
}

#[test]
fn old_code_never_meets_the_new_schema_when_migrate_is_stopped() {
    let migrate = "[ -n \"$PINTLE_REHEARSAL\" ] || tail -n 1 data/journal > data/last-before-migration || true";
    let app = App::new("shop").set("deploy", "migrate", "\"stopped\"").step("migrate", "schema", migrate);
    let world = World::with([app]).up();
    let shop = world.shop();
    shop.goes_live("v1");
    shop.goes_live("v2");
    let last = fs::read_to_string(shop.shared("data/last-before-migration")).unwrap();
    assert!(last.starts_with("end v1"), "v1 still ran when v2 migrated: {last}");
}

#[test]
fn old_releases_go_and_the_live_and_previous_ones_stay() {
    let world = World::with([App::new("shop").set("source", "keep_releases", "2")]).up();
    let shop = world.shop();
    for version in ["v1", "v2", "v3", "v4"] {
        shop.goes_live(version);
    }
    wait_until("the old releases to go", || (shop.releases().len() == 2).then_some(()));
    world.pintle(&["rollback", "shop"]).exits(0);
    shop.serves("v3");
}

#[test]
fn a_rollback_by_hand_is_verified() {
    let mut world = World::with([]);
    let seen = world.root.join("commit");
    world.add(App::new("shop").step("smoke", "look", &format!("echo $PINTLE_COMMIT > {}", seen.display())));
    let world = world.up();
    let shop = world.shop();
    shop.goes_live("v1");
    let first = shop.repo.head();
    shop.goes_live("v2");
    let outcome = world.pintle(&["rollback", "shop"]).exits(0);
    shop.serves("v1");
    assert_eq!(fs::read_to_string(&seen).unwrap().trim(), first, "smoke steps see the whole commit");
    assert_eq!(shop.live("version").as_deref(), Some("v1"), "{outcome:?}");
    let to = world.history().iter().find(|d| d.commit.as_deref() == Some(&shop.repo.head())).unwrap().release.clone();
    world.pintle(&["rollback", "shop", "--to", to.unwrap().as_str()]).exits(0);
    shop.serves("v2");
}

#[test]
fn a_rollback_runs_old_code_with_its_old_definition() {
    let mut world = World::with([App::new("shop").set("service.web", "env", "{ GREETING = \"old\" }")]).up();
    world.shop().goes_live("v1");
    let port = world.shop().port;
    let address = format!("[\"127.0.0.1:{port}\"]");
    let health = format!("\"http://127.0.0.1:{port}/health\"");
    let mut changed = App::new("shop").set("service.web", "listen", &address).set("health", "http", &health);
    changed.port = Some(port);
    world.add(changed.set("service.web", "env", "{ GREETING = \"new\" }"));
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(world.daemon_pid()), nix::sys::signal::Signal::SIGHUP).unwrap();
    let shop = world.shop();
    shop.goes_live("v2");
    let greeting = || shop.get("/env/GREETING").unwrap().body;
    world.wait("the new definition", || (greeting() == "new").then_some(()));
    world.pintle(&["rollback", "shop"]).exits(0);
    assert_eq!(greeting(), "old");
}
