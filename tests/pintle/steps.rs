//! The steps of a deploy: their policies, deadlines, environment, user and output.

use crate::deploy::{ended, message};
use crate::world::{App, World, is_root, processes};
use pintle::control::{DeployStatus, StepStatus};
use std::fs;

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
    let socket = shop.get("/env/NOTIFY_SOCKET").unwrap().body;
    assert!(socket.starts_with(world.root.to_str().unwrap()), "a socket of its own, not the daemon's: {socket}");
    for absent in ["A_SECRET_OF_THE_DAEMON", "PORT", "WATCHDOG_USEC", "PINTLE_REHEARSAL"] {
        assert_eq!(shop.get(&format!("/env/{absent}")).unwrap().status, 404, "{absent} should not be set");
    }
}

#[test]
fn every_step_of_a_deploy_knows_the_commit_before() {
    let say = |phase: &str| format!("echo \"{phase} came after <$PINTLE_PREVIOUS_COMMIT>\"");
    let app =
        ["build", "smoke", "after"].iter().fold(App::new("shop"), |app, phase| app.step(phase, phase, &say(phase)));
    let world = World::with([app]).up();
    let shop = world.shop();
    let first = shop.goes_live("v1");
    let before = shop.repo.head();
    let second = shop.goes_live("v2");
    for (report, commit) in [(first, ""), (second, before.as_str())] {
        let log = shop.log_of(&report);
        for phase in ["build", "smoke", "after"] {
            let told = log.lines().filter(|line| line.starts_with(&format!("{phase} came after")));
            let told: Vec<&str> = told.collect();
            assert!(!told.is_empty() && told.iter().all(|line| line.ends_with(&format!("<{commit}>"))), "{log}");
        }
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
fn a_follower_sees_each_phase_once_and_all_of_a_flood() {
    let world = World::with([App::new("shop").step("build", "flood", "seq 1 200000; echo == migrate; echo == build")]);
    let world = world.up();
    let commit = world.shop().version("v1", &[]);
    let outcome = world.pintle(&["deploy", "shop", "--commit", &commit]).exits(0);
    assert!(!outcome.stderr.contains("went away"), "{}", outcome.stderr);
    for phase in ["== preflight", "== fetch", "== build", "== switch"] {
        let told = outcome.stdout.lines().filter(|line| *line == phase).count();
        assert_eq!(told, 1, "{phase}");
    }
    let numbers = outcome.stdout.lines().filter(|line| line.trim().parse::<u32>().is_ok()).count();
    assert_eq!(numbers, 200_000);
    assert!(!outcome.stdout.contains("   == preflight"), "a phase is no output");
}
