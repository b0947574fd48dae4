//! The command line and a running daemon: every verb, and the JSON a script may rely on.

use crate::world::{App, Outcome, World, processes, wait_until};
use serde_json::Value;
use std::fs;

#[track_caller]
fn has_keys(value: &Value, keys: &[&str]) {
    for key in keys {
        assert!(value.get(key).is_some(), "{key} is missing in {value}");
    }
}

#[test]
fn json_has_the_promised_shapes() {
    let app = App::new("shop").step("build", "compile", "echo compiling");
    let world = World::with([app]).up();
    let shop = world.shop();
    shop.goes_live("v1");
    shop.goes_live("v2");

    let status = world.pintle(&["--json", "status"]).exits(0).json();
    has_keys(&status, &["daemon", "listener", "host", "apps"]);
    has_keys(&status["daemon"], &["pid", "version", "uptime_seconds"]);
    assert_eq!(status["daemon"]["pid"], world.daemon_pid());
    has_keys(&status["listener"], &["pid", "address", "state"]);
    assert_eq!(status["listener"]["state"], "up");
    let app = &status["apps"][0];
    has_keys(app, &["app", "state", "release", "commit", "deploying", "services"]);
    assert_eq!((app["app"].as_str(), app["state"].as_str()), (Some("shop"), Some("running")));
    assert_eq!(app["commit"], shop.repo.head());
    has_keys(&app["services"][0], &["service", "state", "instances"]);
    let instance = &app["services"][0]["instances"][0];
    has_keys(instance, &["pid", "state", "uptime_seconds", "restarts", "memory_bytes"]);
    assert_eq!(instance["pid"], shop.pid());

    let keys = [
        "number",
        "app",
        "commit",
        "release",
        "status",
        "phase",
        "trigger",
        "started",
        "finished",
        "duration_seconds",
        "message",
    ];
    let history = world.pintle(&["--json", "history", "shop"]).exits(0).json();
    let rows = history["deployments"].as_array().unwrap();
    rows.iter().for_each(|row| has_keys(row, &keys));
    let numbers: Vec<u64> = rows.iter().map(|row| row["number"].as_u64().unwrap()).collect();
    assert!(numbers.len() == 2 && numbers[0] > numbers[1], "newest first: {numbers:?}");
    assert_eq!((rows[0]["status"].as_str(), rows[0]["trigger"].as_str()), (Some("success"), Some("webhook")));
    assert!(rows[0]["started"].as_str().unwrap().ends_with('Z'), "{history}");

    let show = world.pintle(&["--json", "show", &numbers[0].to_string()]).exits(0).json();
    has_keys(&show, &keys);
    has_keys(&show, &["steps", "previous"]);
    let compile = show["steps"].as_array().unwrap().iter().find(|step| step["name"] == "compile").unwrap();
    has_keys(compile, &["name", "phase", "status", "exit", "duration_seconds"]);
    assert_eq!((compile["phase"].as_str(), compile["exit"].as_i64()), (Some("build"), Some(0)));
    assert_eq!(show["previous"], rows[1]["release"]);

    let releases = world.pintle(&["--json", "releases", "shop"]).exits(0).json();
    assert_eq!(releases["releases"].as_array().unwrap().len(), 2, "{releases}");
    world.pintle(&["--json", "report", &numbers[0].to_string()]).exits(0).json();

    let backups = world.pintle(&["--json", "backup", "list", "shop"]).exits(0).json();
    let backup = &backups["backups"][0];
    has_keys(backup, &["id", "app", "created", "bytes", "bytes_new", "release", "verified", "status"]);
}

#[test]
fn history_can_be_read_while_the_daemon_is_down() {
    let mut world = World::of_a_shop();
    let number = world.shop().goes_live("v1").deployment.number.0;
    world.stop_daemon();
    let history = world.pintle(&["--json", "history"]).exits(0).json();
    assert_eq!(history["deployments"][0]["number"], number, "{history}");
    assert_eq!(history["deployments"][0]["status"], "success", "{history}");
    world.pintle(&["show", &number.to_string()]).exits(0);
    world.pintle(&["releases", "shop"]).exits(0);
    world.pintle(&["backup", "list", "shop"]).exits(0);
    world.pintle(&["logs", "--deploy", &number.to_string()]).exits(0);
}

#[test]
fn people_get_short_tables_without_colour_in_a_pipe() {
    let world = World::of_a_shop();
    let report = world.shop().goes_live("v1");
    let number = report.deployment.number.0.to_string();
    let commands: [&[&str]; 7] = [
        &["status"],
        &["status", "shop"],
        &["history"],
        &["show", &number],
        &["releases"],
        &["report", &number],
        &["backup", "list"],
    ];
    for args in commands {
        let outcome = world.pintle(args).exits(0);
        assert!(!outcome.stdout.trim().is_empty() && !outcome.stdout.contains('\x1b'), "{args:?}: {outcome:?}");
        assert!(outcome.stdout.lines().all(|line| line.trim_end() == line), "{args:?} pads its lines: {outcome:?}");
    }
    world.pintle(&["show", "4711"]).exits(64);
    world.pintle(&["status", "nobody"]).exits(64);
}

#[test]
fn a_followed_deploy_streams_json_lines_to_its_end() {
    let app = App::new("shop").step("build", "compile", "echo compiling; ! grep v2 version");
    let world = World::with([app]).up();
    world.shop().version("v1", &[]);
    let lines = |outcome: &Outcome| -> Vec<Value> {
        outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let outcome = world.pintle(&["--json", "deploy", "shop"]).exits(0);
    let events = lines(&outcome);
    let named = |name: &str| events.iter().filter(|event| event["event"] == name).count();
    assert!(named("phase") > 3 && named("step") >= 1 && named("end") == 1, "{events:#?}");
    assert!(events.iter().any(|e| e["event"] == "log" && e["line"].as_str().is_some_and(|l| l.contains("compiling"))));
    let end = events.last().unwrap();
    assert_eq!(
        (end["event"].as_str(), end["status"].as_str(), end["exit"].as_i64()),
        (Some("end"), Some("success"), Some(0))
    );
    world.shop().version("v2", &[]);
    let outcome = world.pintle(&["--json", "deploy", "shop"]).exits(2);
    let end = lines(&outcome).pop().unwrap();
    assert_eq!((end["status"].as_str(), end["exit"].as_i64()), (Some("failed"), Some(2)));
}

#[test]
fn a_detached_deploy_returns_at_once() {
    let (world, gate) = World::of_a_gated_shop();
    world.shop().version("v1", &[]);
    let outcome = world.pintle(&["deploy", "shop", "--detach"]).exits(0);
    assert!(outcome.stdout.contains('1'), "the number is told: {outcome:?}");
    let number = world.history()[0].number.0;
    assert!(!world.show(number).deployment.status.is_final());
    gate.open();
    world.end_of(number);
    world.shop().serves("v1");
}

#[test]
fn a_dry_run_tells_the_plan_and_does_nothing() {
    let world = World::with([App::new("shop").step("build", "compile", "make it so")]).up();
    world.shop().version("v1", &[]);
    let outcome = world.pintle(&["deploy", "shop", "--dry-run"]).exits(0);
    for word in ["fetch", "make it so", "backup", "rehearse", "switch", "probation"] {
        assert!(outcome.stdout.contains(word), "{word} is missing in the plan:\n{}", outcome.stdout);
    }
    assert!(world.history().is_empty() && world.shop().releases().is_empty());
}

#[test]
fn commands_run_in_the_live_release() {
    let world = World::with([App::new("shop").set("service.web", "env", "{ GREETING = \"hello\" }")]).up();
    world.shop().goes_live("v1");
    let outcome = world.pintle(&["exec", "shop", "--", "sh", "-c", "cat version; echo $PINTLE_APP; exit 7"]).exits(7);
    assert!(outcome.stdout.contains("v1") && outcome.stdout.contains("shop"), "{outcome:?}");
}

#[test]
fn backups_are_made_listed_restored_and_pruned() {
    let world = World::with([App::new("shop").set("backup", "keep", "2")]).up();
    let shop = world.shop();
    shop.goes_live("v1");
    fs::write(shop.shared("data/note"), "precious").unwrap();
    world.pintle(&["backup", "create", "shop"]).exits(0);
    let list =
        || world.pintle(&["--json", "backup", "list", "shop"]).exits(0).json()["backups"].as_array().unwrap().clone();
    let id = list()[0]["id"].as_str().unwrap().to_owned();
    fs::write(shop.shared("data/note"), "spoiled").unwrap();
    fs::write(shop.shared("data/extra"), "new").unwrap();
    world.pintle(&["backup", "restore", "shop", &id, "--yes"]).exits(0);
    assert_eq!(fs::read_to_string(shop.shared("data/note")).unwrap(), "precious");
    world.wait("the app", || shop.get("/").ok().filter(|reply| reply.body == "v1"));
    // What was overwritten can be had back.
    let saved = list()[0]["id"].as_str().unwrap().to_owned();
    assert_ne!(saved, id);
    world.pintle(&["backup", "restore", "shop", &saved, "--yes"]).exits(0);
    assert_eq!(fs::read_to_string(shop.shared("data/note")).unwrap(), "spoiled");
    let refused = world.pintle(&["backup", "restore", "shop", &id]);
    assert_ne!(refused.code, Some(0), "without a terminal and without --yes nothing is restored: {refused:?}");
    for _ in 0..3 {
        world.pintle(&["backup", "create", "shop"]).exits(0);
    }
    world.pintle(&["backup", "prune", "shop"]).exits(0);
    assert_eq!(list().len(), 2);
}

#[test]
fn a_deploy_may_be_a_backup_only() {
    let world = World::of_a_shop();
    let shop = world.shop();
    shop.goes_live("v1");
    let before = fs::read_dir(shop.dir().join("backups")).unwrap().count();
    shop.version("v2", &[]);
    world.pintle(&["deploy", "shop", "--backup-only"]).exits(0);
    assert!(fs::read_dir(shop.dir().join("backups")).unwrap().count() > before);
    shop.serves("v1");
}

#[test]
fn logs_are_shown_and_followed() {
    let world = World::of_a_shop();
    let shop = world.shop();
    shop.goes_live("v1");
    wait_until("the log", || world.pintle(&["logs", "shop"]).stdout.contains("v1 web").then_some(()));
    let mut command = world.command(&["logs", "shop", "web", "-f", "-n", "1"]);
    let mut follower = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let stdout = follower.stdout.take().unwrap();
    let (send, lines) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        use std::io::BufRead;
        for line in std::io::BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = send.send(line);
        }
    });
    lines.recv_timeout(crate::world::PATIENCE).expect("the last line");
    world.pintle(&["restart", "shop"]).exits(0);
    let fresh = (0..50).any(|_| lines.recv_timeout(crate::world::PATIENCE).is_ok_and(|line| line.contains("starting")));
    follower.kill().unwrap();
    follower.wait().unwrap();
    reader.join().unwrap();
    assert!(fresh, "what the restarted app said was not shown");
}

#[test]
fn a_follower_outlives_the_daemon_it_asked() {
    let (mut world, gate) = World::of_a_gated_shop();
    world.shop().version("v1", &[]);
    let follower = world.command(&["deploy", "shop"]).spawn().unwrap();
    let pid = follower.id() as i32;
    world.wait("the deploy", || world.history().first().map(|d| d.number));
    world.kill_daemon();
    assert!(processes::is_alive(pid), "it waits for the daemon");
    gate.open();
    world.start_daemon();
    let mut follower = follower;
    let status = wait_until("the follower's end", || follower.try_wait().unwrap());
    assert!(matches!(status.code(), Some(0 | 3 | 69)), "{status}");
    world.wait("the retry", || world.history().iter().all(|d| d.status.is_final()).then_some(()));
    world.shop().serves("v1");
}
