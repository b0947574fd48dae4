//! A push becomes a running release - or the last good one stays.

use crate::world::{App, Request, World, is_root, processes, wait_until};
use pintle::control::{DeployStatus, DeploymentReport, Phase, StepStatus};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// How it must have ended: status, and what `pintle deploy` exits with.
#[track_caller]
fn ended(report: &DeploymentReport, status: DeployStatus, exit: u8) {
    assert_eq!((report.deployment.status, report.exit), (status, Some(exit)), "{report:#?}");
}

#[track_caller]
fn message(report: &DeploymentReport) -> &str {
    report.deployment.message.as_deref().unwrap_or_else(|| panic!("no message: {report:#?}"))
}

/// A step that waits until the file `gate` is there.
fn waits_for(world: &World, gate: &str) -> String {
    format!("while [ ! -e {}/{gate} ]; do sleep 0.02; done", world.root.display())
}

fn open(world: &World, gate: &str) {
    fs::write(world.root.join(gate), "").unwrap();
}

/// A shop whose build waits for a gate, running.
fn gated_shop() -> World {
    let mut world = World::with([]);
    let gate = waits_for(&world, "gate");
    world.add(App::new("shop").step("build", "gate", &gate));
    world.up()
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
    let migrate = "[ -n \"$PINTLE_REHEARSAL\" ] || tail -n 1 data/journal > data/last-before-migration";
    let app = App::new("shop").set("deploy", "migrate", "\"stopped\"").step("migrate", "schema", migrate);
    let world = World::with([app]).up();
    let shop = world.shop();
    shop.goes_live("v1");
    shop.goes_live("v2");
    let last = fs::read_to_string(shop.shared("data/last-before-migration")).unwrap();
    assert!(last.starts_with("end v1"), "v1 still ran when v2 migrated: {last}");
}

#[test]
fn the_live_commit_is_deployed_again_only_by_force() {
    let world = World::of_a_shop();
    let shop = world.shop();
    shop.goes_live("v1");
    world.pintle(&["deploy", "shop"]).exits(0);
    assert_eq!(world.history().len(), 1);
    world.pintle(&["deploy", "shop", "--force"]).exits(0);
    assert_eq!(world.history().len(), 2);
    shop.serves("v1");
}

#[test]
fn a_delivery_counts_once_and_a_live_commit_is_not_deployed_again() {
    let world = World::of_a_shop();
    let shop = world.shop();
    let commit = shop.version("v1", &[]);
    let request = shop.push_request("main", &commit);
    let number = shop.send(&request).accepted();
    shop.end_of(number);
    let why = shop.send(&request).ignored();
    assert!(why.to_lowercase().contains("duplicate"), "{why}");
    shop.push(&commit).ignored();
    assert_eq!(world.history().len(), 1);
}

#[test]
fn a_failed_deploy_may_be_redelivered() {
    let mut world = World::with([]);
    let build = format!("test -e {}/network", world.root.display());
    world.add(App::new("shop").step("build", "install", &build));
    let world = world.up();
    let shop = world.shop();
    let request = shop.push_request("main", &shop.version("v1", &[]));
    ended(&shop.end_of(shop.send(&request).accepted()), DeployStatus::Failed, 2);
    open(&world, "network");
    ended(&shop.end_of(shop.send(&request).accepted()), DeployStatus::Success, 0);
    shop.serves("v1");
}

#[test]
fn nothing_is_deployed_backwards() {
    let world = World::of_a_shop();
    let shop = world.shop();
    let first = shop.version("v1", &[]);
    shop.end_of(shop.push(&first).accepted());
    shop.goes_live("v2");
    shop.push(&first).ignored();
    shop.serves("v2");
}

#[test]
fn an_older_commit_that_was_never_fetched_alone_is_refused_too() {
    let world = World::of_a_shop();
    let shop = world.shop();
    let older = shop.version("v1", &[]);
    shop.goes_live("v2");
    let reply = shop.push(&older);
    if reply.status == 202 {
        ended(&shop.end_of(reply.accepted()), DeployStatus::Refused, 6);
    } else {
        reply.ignored();
    }
    shop.serves("v2");
}

#[test]
fn a_diverged_tip_may_be_deployed() {
    let world = World::of_a_shop();
    let shop = world.shop();
    shop.goes_live("v1");
    shop.goes_live("v2");
    shop.repo.git(&["reset", "--quiet", "--hard", "HEAD~1"]);
    shop.goes_live("v3");
}

#[test]
fn a_commit_that_is_not_on_the_branch_is_not_deployed() {
    let world = World::of_a_shop();
    let shop = world.shop();
    shop.goes_live("v1");
    shop.repo.git(&["checkout", "--quiet", "-b", "attack"]);
    let elsewhere = shop.version("evil", &[]);
    let reply = shop.push(&elsewhere);
    let report = shop.end_of(reply.accepted());
    assert_ne!(report.deployment.status, DeployStatus::Success, "{report:#?}");
    shop.serves("v1");
    let unknown = shop.end_of(shop.push(&"d".repeat(40)).accepted());
    ended(&unknown, DeployStatus::Failed, 3);
    shop.serves("v1");
}

#[test]
fn the_newest_waiting_commit_wins() {
    let world = gated_shop();
    let shop = world.shop();
    let numbers: Vec<u64> =
        ["v1", "v2", "v3", "v4"].iter().map(|version| shop.push(&shop.version(version, &[])).accepted()).collect();
    open(&world, "gate");
    let ends: Vec<DeployStatus> = numbers.iter().map(|number| shop.end_of(*number).deployment.status).collect();
    use DeployStatus::{Success, Superseded};
    assert_eq!(ends[1..], [Superseded, Superseded, Success], "{ends:?}");
    assert!(matches!(ends[0], Success | Superseded), "{ends:?}");
    shop.serves("v4");
}

#[test]
fn a_cancelled_deploy_leaves_nothing_running() {
    let mut world = World::with([]);
    let pids = world.root.join("pids");
    world.add(App::new("shop").step(
        "build",
        "endless",
        &format!("grep v1 version && exit 0; sleep 600 & echo $$ $! > {}; wait", pids.display()),
    ));
    let world = world.up();
    let shop = world.shop();
    shop.goes_live("v1");
    let number = shop.push(&shop.version("v2", &[])).accepted();
    let text = wait_until("the build to begin", || fs::read_to_string(&pids).ok().filter(|t| t.ends_with('\n')));
    world.pintle(&["cancel", &number.to_string()]).exits(0);
    ended(&shop.end_of(number), DeployStatus::Cancelled, 6);
    for pid in text.split_whitespace() {
        assert!(!processes::is_alive(pid.parse().unwrap()), "process {pid} of the step is left");
    }
    shop.serves("v1");
}

#[test]
fn a_quarantined_commit_can_be_forgiven() {
    let world = World::with([App::new("shop").set("deploy", "startup", "\"1s\"")]).up();
    let shop = world.shop();
    shop.goes_live("v1");
    fs::write(shop.shared("data/sick"), "").unwrap();
    let commit = shop.version("v2", &["sick_if = data/sick"]);
    ended(&shop.end_of(shop.push(&commit).accepted()), DeployStatus::Failed, 3);
    shop.push(&commit).ignored();
    world.pintle(&["deploy", "shop"]).exits(6);
    fs::remove_file(shop.shared("data/sick")).unwrap();
    world.pintle(&["forgive", "shop", &commit]).exits(0);
    ended(&shop.end_of(shop.push(&commit).accepted()), DeployStatus::Success, 0);
    shop.serves("v2");
}

#[test]
fn apps_do_not_wait_for_each_other() {
    let mut world = World::with([]);
    let gate = waits_for(&world, "gate");
    world.add(App::new("slow").step("build", "gate", &gate));
    world.add(App::new("quick"));
    let world = world.up();
    let (slow, quick) = (world.site("slow"), world.site("quick"));
    let number = slow.push(&slow.version("v1", &[])).accepted();
    slow.reaches(number, Phase::Build);
    quick.goes_live("v1");
    assert!(!world.show(number).deployment.status.is_final());
    open(&world, "gate");
    ended(&slow.end_of(number), DeployStatus::Success, 0);
    slow.serves("v1");
}

#[test]
fn a_step_may_fail_and_only_warn() {
    let app = App::new("shop").step_with("test", "lint", "exit 9", "on_failure = \"warn\"");
    let world = World::with([app]).up();
    let report = world.shop().goes_live("v1");
    let step = report.steps.iter().find(|step| step.name == "lint").unwrap();
    assert_eq!((step.status, step.exit), (StepStatus::Warning, Some(9)));
}

#[test]
fn a_step_that_takes_too_long_is_ended_with_its_whole_group() {
    let mut world = World::with([]);
    let pids = world.root.join("pids");
    let command = format!("sleep 600 & echo $$ $! > {}; wait", pids.display());
    world.add(App::new("shop").step_with("build", "endless", &command, "timeout = \"400ms\""));
    let world = world.up();
    let shop = world.shop();
    let report = shop.deploy("v1", &[]);
    ended(&report, DeployStatus::Failed, 2);
    assert_eq!(report.steps.iter().find(|step| step.name == "endless").unwrap().status, StepStatus::TimedOut);
    for pid in fs::read_to_string(pids).unwrap().split_whitespace() {
        assert!(!processes::is_alive(pid.parse().unwrap()), "process {pid} of the step is left");
    }
}

#[test]
fn a_deploy_that_takes_too_long_is_ended() {
    let app = App::new("shop").set("deploy", "timeout", "\"1s\"").step("build", "endless", "sleep 600");
    let world = World::with([app]).up();
    let report = world.shop().deploy("v1", &[]);
    assert_eq!(report.deployment.status, DeployStatus::Failed, "{report:#?}");
    assert!(report.deployment.duration_seconds.unwrap() < 10.0, "{report:#?}");
}

#[test]
fn a_killed_step_is_explained() {
    let world = World::with([App::new("shop").step("build", "greedy", "kill -KILL $$")]).up();
    let shop = world.shop();
    let report = shop.deploy("v1", &[]);
    ended(&report, DeployStatus::Failed, 2);
    assert_eq!(report.steps.iter().find(|step| step.name == "greedy").unwrap().exit, Some(137));
    assert!(message(&report).contains("memory"), "{report:#?}");
}

#[test]
fn steps_and_services_see_what_they_should_and_nothing_else() {
    let mut world = World::with([]);
    let file = world.root.join("environment");
    let app = App::new("shop").step_with(
        "build",
        "look",
        &format!("env > {}", file.display()),
        "env = { COVERAGE_THRESHOLD = \"80\" }",
    );
    world.add(app.set("service.web", "env", "{ GREETING = \"hello\" }"));
    let world = world.environment("A_SECRET_OF_THE_DAEMON", "hidden").up();
    let shop = world.shop();
    let report = shop.goes_live("v1");
    let text = fs::read_to_string(file).unwrap();
    let release = report.deployment.release.unwrap();
    for line in [
        "PINTLE_APP=shop",
        "PINTLE_PHASE=build",
        "COVERAGE_THRESHOLD=80",
        &format!("PINTLE_RELEASE={release}"),
        &format!("PINTLE_COMMIT={}", shop.repo.head()),
        "PINTLE_CACHE=/",
    ] {
        assert!(text.lines().any(|known| known.starts_with(line)), "{line} is missing in:\n{text}");
    }
    assert!(!text.contains("A_SECRET_OF_THE_DAEMON"), "{text}");
    for (name, value) in [("GREETING", "hello"), ("PINTLE_SERVICE", "web"), ("PINTLE_RELEASE", release.as_str())] {
        assert_eq!(shop.get(&format!("/env/{name}")).unwrap().body, value, "{name}");
    }
    for absent in ["A_SECRET_OF_THE_DAEMON", "PORT", "NOTIFY_SOCKET", "PINTLE_REHEARSAL"] {
        assert_eq!(shop.get(&format!("/env/{absent}")).unwrap().status, 404, "{absent} should not be set");
    }
}

#[test]
fn steps_run_as_the_app_user() {
    let whom = if is_root() { "nobody".to_owned() } else { std::env::var("USER").unwrap_or_default() };
    let mut world = World::with([]);
    let file = world.root.join("who");
    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let mut app = App::bare("shop").set("service.sleeper", "run", "\"exec sleep 600\"");
    if is_root() {
        app = app.without("app").set("app", "user", "\"nobody\"");
    }
    world.add(app.step("build", "who", &format!("id -u > {}; touch made-by-the-build", file.display())));
    let world = world.up();
    let shop = world.shop();
    ended(&shop.deploy("v1", &[]), DeployStatus::Success, 0);
    let expected = std::process::Command::new("id").args(["-u", &whom]).output().unwrap();
    let expected =
        if is_root() { String::from_utf8(expected.stdout).unwrap() } else { format!("{}\n", nix::unistd::getuid()) };
    assert_eq!(fs::read_to_string(file).unwrap(), expected);
    let pid = shop.pid_of("sleeper").expect("the service runs");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
    assert!(uid.split_whitespace().all(|id| id == expected.trim()), "{uid}");
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
    let world = World::of_a_shop();
    let shop = world.shop();
    shop.goes_live("v1");
    shop.goes_live("v2");
    let outcome = world.pintle(&["rollback", "shop"]).exits(0);
    shop.serves("v1");
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

#[test]
fn a_subdirectory_is_where_everything_runs() {
    let mut world = World::with([]);
    world.add(App::new("shop").set("source", "subdirectory", "\"server\"").step("build", "here", "test -f app.conf"));
    let world = world.up();
    let shop = world.shop();
    let files = [("server/app.conf", "version = v1"), ("server/data/README", "kept"), ("README", "above")];
    let number = shop.push(&shop.repo.commit(&files)).accepted();
    ended(&shop.end_of(number), DeployStatus::Success, 0);
    shop.serves("v1");
    assert_eq!(fs::read_to_string(shop.shared("data/README")).unwrap(), "kept");
}

#[test]
fn the_log_of_a_deployment_holds_all_output() {
    let world = World::with([App::new("shop").step("build", "talk", "echo out; echo err >&2")]).up();
    let report = world.shop().goes_live("v1");
    let log = world.shop().log_of(&report);
    assert!(log.contains("out") && log.contains("err"), "{log}");
    let printed = world.pintle(&["logs", "--deploy", &report.deployment.number.0.to_string()]).exits(0);
    assert!(printed.stdout.contains("err"), "{printed:?}");
}

#[test]
fn manual_deploys_take_commits_full_or_short() {
    let world = World::of_a_shop();
    let shop = world.shop();
    let first = shop.version("v1", &[]);
    let outcome = world.pintle(&["deploy", "shop", "--commit", &first[..10]]).exits(0);
    shop.serves("v1");
    assert!(!outcome.stdout.is_empty(), "the live log is shown");
    shop.version("v2", &[]);
    world.pintle(&["deploy", "shop"]).exits(0);
    shop.serves("v2");
    let asked = Request::post("/deploy/shop").json(&serde_json::json!({ "commit": shop.version("v3", &[]) }));
    ended(&shop.end_of(shop.send(&asked.signed(crate::world::site::SECRET)).accepted()), DeployStatus::Success, 0);
    shop.serves("v3");
}
