//! `pintle check`: one command tells whether all is well, and works when the daemon does not.

use crate::world::takeover::end_at_once;
use crate::world::{App, World, processes};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// What a daemon that does not answer is given, and what a busy machine may add.
const DEADLINE: Duration = Duration::from_secs(5);
const SLACK: Duration = Duration::from_secs(5);

/// The board of whoever runs these tests is not what they are about.
fn check(world: &World, more: &[&str]) -> (i32, Value) {
    let outcome = world.pintle(&[&["--json", "check"], more].concat());
    let (code, document) = (outcome.code.unwrap_or(-1), outcome.json());
    assert_eq!(document["exit"], code, "{document:#}");
    let level = ["ok", "warning", "critical"][usize::try_from(code).unwrap()];
    assert_eq!(document["level"], level, "{document:#}");
    (code, document)
}

/// Level and sentence of the finding about `about`.
fn finding(document: &Value, about: &str) -> Option<(String, String)> {
    let found = document["findings"].as_array().unwrap().iter().find(|one| one["about"] == about)?;
    assert!(found["advice"].as_str().is_some_and(|advice| !advice.is_empty()), "{found}");
    let text = |key: &str| found[key].as_str().unwrap().to_owned();
    Some((text("level"), text("what")))
}

#[track_caller]
fn is_found(document: &Value, about: &str, level: &str, words: &str) {
    let found = finding(document, about);
    let fits = found.as_ref().is_some_and(|(found, what)| found == level && what.contains(words));
    assert!(fits, "{about}: {found:?} instead of {level}: {words:?}\n{document:#}");
}

/// What is found beside the board.
fn about_us(document: &Value) -> Vec<&Value> {
    let all = document["findings"].as_array().unwrap().iter();
    all.filter(|one| !one["about"].as_str().unwrap().starts_with("host/")).collect()
}

fn pause(pid: i32) -> Paused {
    kill(Pid::from_raw(pid), Signal::SIGSTOP).unwrap();
    Paused(pid)
}

/// A stopped process, which goes on when the test is over.
struct Paused(i32);

impl Drop for Paused {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.0), Signal::SIGCONT);
    }
}

fn dicom() -> App {
    let app = App::new("shop");
    let port = app.port.unwrap();
    app.set("service.web", "ready", "\"probe\"")
        .list("probe", &format!("name = \"dicom\"\ntcp = \"127.0.0.1:{port}\"\nevery = \"100ms\""))
}

#[test]
fn all_is_well_and_nothing_of_it_is_written_down() {
    let world = World::with([dicom(), App::bare("idle")]).up();
    let release = world.shop().goes_live("v1").deployment.release.unwrap();
    let deliveries = || world.pintle(&["deliveries", "--json"]).exits(0).json();
    let before = deliveries();
    let (_, document) = check(&world, &[]);
    assert_eq!(about_us(&document), [&Value::Null; 0], "{document:#}");
    let daemon = &document["daemon"];
    assert_eq!((&daemon["state"], &daemon["pid"]), (&json!("up"), &json!(world.daemon_pid())));
    assert!(daemon["version"].is_string() && daemon["uptime_seconds"].is_u64() && document["host"].is_object());
    let apps = document["apps"].as_array().unwrap();
    let shop = apps.iter().find(|app| app["app"] == "shop").unwrap();
    assert_eq!((&shop["state"], &shop["release"]), (&json!("running"), &json!(release)));
    assert_eq!(shop["services"], json!([{"service": "web", "state": "up"}]));
    let probes = shop["probes"].as_array().unwrap();
    let healthy = |name: &str| probes.iter().any(|probe| probe["name"] == name && probe["healthy"] == true);
    assert!(probes.len() == 2 && healthy("health") && healthy("dicom"), "{shop:#}");
    // The ping to ourselves is no delivery. Those that need nothing are told a second after their answer: a genuine one
    // that comes later is listed, and it alone.
    for _ in 0..3 {
        check(&world, &[]);
    }
    let genuine = crate::world::Request::post("/webhook/shop").header("X-GitHub-Event", "ping");
    world.shop().send(&genuine.json(&json!({})).signed(crate::world::site::SECRET)).ignored();
    let after = world.wait("the genuine ping to be listed", || Some(deliveries()).filter(|after| *after != before));
    let count = |listed: &Value| listed["deliveries"].as_array().unwrap().len();
    assert_eq!(count(&after), count(&before) + 1, "{after:#}");
    assert!(world.daemon_said().matches("ignored: ping").count() <= 1, "{}", world.daemon_said());
}

#[test]
fn people_get_a_table_and_a_timer_hears_only_of_trouble() {
    let world = World::of_a_shop();
    world.shop().goes_live("v1");
    let outcome = world.pintle(&["check"]);
    for line in ["daemon ", "listener ", "app/shop ", "app/shop/web ", "app/shop/probe/health "] {
        assert!(outcome.stdout.lines().any(|text| text.starts_with("ok") && text.contains(line)), "{outcome:?}");
    }
    assert!(outcome.stdout.contains("answers a signed ping of shop"), "{outcome:?}");
    assert!(outcome.stdout.lines().all(|line| line.trim_end() == line && !line.contains('\x1b')), "{outcome:?}");
    let quiet = world.pintle(&["-q", "check"]);
    assert!(!quiet.stdout.contains("ok ") && !quiet.stdout.contains("app/shop"), "{quiet:?}");
}

#[test]
fn an_app_that_is_unwell_or_down_is_told() {
    let world = World::with([App::new("shop").set("health", "failures", "1000")]).up();
    let shop = world.shop();
    let (sick, dead) = (world.root.join("sick"), world.root.join("dead"));
    let conf = [format!("sick_if = {}", sick.display()), format!("die_if = {}", dead.display())];
    shop.deploy("v1", &[&conf[0], &conf[1]]);
    assert_eq!(about_us(&check(&world, &[]).1).len(), 0);
    fs::write(&sick, "").unwrap();
    let (code, document) = check(&world, &[]);
    is_found(&document, "app/shop/probe/health", "critical", "HTTP 5");
    assert_eq!(code, 2);
    fs::remove_file(&sick).unwrap();
    // It ends as soon as it is started.
    fs::write(&dead, "").unwrap();
    end_at_once(shop.pid());
    let document = world.wait("the app to be given up for a while", || {
        Some(check(&world, &[]).1)
            .filter(|document| finding(document, "app/shop/web").is_some_and(|(_, what)| what.contains("backoff")))
    });
    is_found(&document, "app/shop", "critical", "nothing of it runs");
    is_found(&document, "app/shop/web", "critical", "last exit");
    // Stopped by a person it is as it should be.
    world.pintle(&["stop", "shop"]).exits(0);
    let (_, document) = check(&world, &[]);
    assert_eq!((about_us(&document).len(), &document["apps"][0]["state"]), (0, &json!("stopped")), "{document:#}");
}

#[test]
fn a_probe_of_a_service_that_was_stopped_on_purpose_finds_nothing_wrong() {
    let world = World::with([dicom().worker("worker", &[])]).up();
    world.shop().goes_live("v1");
    world.pintle(&["stop", "shop", "web"]).exits(0);
    world.wait("the service to be down", || {
        let document = check(&world, &["--quick"]).1;
        let services = document["apps"][0]["services"].as_array().unwrap().clone();
        services.iter().any(|one| one["service"] == "web" && one["state"] == "down").then_some(())
    });
    for more in [&[][..], &["--quick"]] {
        let (_, document) = check(&world, more);
        assert_eq!(about_us(&document), [&Value::Null; 0], "{document:#}");
    }
    let table = world.pintle(&["check"]).stdout;
    assert_eq!(table.matches("its service was stopped by a person").count(), 2, "{table}");
}

#[test]
fn a_listener_that_hears_nothing_is_told() {
    let world = World::of_a_shop();
    let listener = i32::try_from(world.status().listener.pid.unwrap()).unwrap();
    let paused = pause(listener);
    let (code, document) = check(&world, &["--quick"]);
    assert_eq!((code, about_us(&document).len()), (code, 0), "a quick one sends no ping: {document:#}");
    let (code, document) = check(&world, &[]);
    is_found(&document, "listener", "critical", "no answer in 5s");
    assert_eq!(code, 2);
    drop(paused);
    // A secret that was changed and not told to it.
    let secret = world.config().join("secrets/shop");
    crate::world::write_secret(&secret, "another-secret-of-more-than-thirty-two-bytes");
    is_found(&check(&world, &[]).1, "listener", "critical", "another secret");
    world.pintle(&["reload"]).exits(0);
    world.wait("the listener to know it", || finding(&check(&world, &[]).1, "listener").is_none().then_some(()));
}

#[test]
fn a_listener_with_tls_is_asked_by_its_own_certificate() {
    let world = World::with([App::bare("shop")]).host("tls = \"self-signed\"");
    let mut world = world;
    world.launch_daemon();
    world.wait_for_daemon();
    let text = world.wait("the listener", || {
        let outcome = world.pintle(&["check"]);
        outcome.stdout.contains("answers a signed ping of shop").then_some(outcome.stdout)
    });
    assert!(!text.contains("critical"), "{text}");
}

#[test]
fn the_board_is_judged_by_one_look() {
    let world = World::with([]);
    let boards = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/boards");
    for (board, about, words) in [
        ("pi3-hot", "host/temperature", "84.5 °C"),
        ("pi4-weak-supply", "host/under-voltage", "under-voltage now"),
        ("pi4-read-only", "host/read-only:/", "mounted read-only"),
    ] {
        let root = boards.join(board);
        let (code, document) = check(&world, &["--quick", "--root", root.to_str().unwrap()]);
        is_found(&document, about, "critical", words);
        assert_eq!(code, 2, "{document:#}");
        let host = &document["host"];
        let model = host["model"].as_str().unwrap();
        assert!(model.starts_with("Raspberry Pi") && host["hostname"].is_string(), "{host:#}");
    }
    // Its own limits count: 84.5 °C is not much for this one.
    let world = world.host("[health]\ntemperature_celsius = [90, 99]");
    let root = boards.join("pi3-hot");
    let (_, document) = check(&world, &["--quick", "--root", root.to_str().unwrap()]);
    assert_eq!(finding(&document, "host/temperature"), None, "{document:#}");
}

#[test]
fn without_a_daemon_the_apps_are_asked_all_the_same() {
    let mut world = World::of_a_shop();
    world.shop().goes_live("v1");
    world.kill_daemon();
    let (code, document) = check(&world, &[]);
    assert_eq!((code, &document["daemon"]["state"]), (2, &json!("down")), "{document:#}");
    is_found(&document, "daemon", "critical", "does not run");
    let shop = &document["apps"][0];
    assert_eq!((&shop["app"], &shop["state"]), (&json!("shop"), &Value::Null), "{document:#}");
    assert_eq!(shop["probes"], json!([{"name": "health", "healthy": true, "message": null}]));
    // It is not systemd's here: nothing is started behind anybody's back.
    let (_, document) = check(&world, &["--repair"]);
    is_found(&document, "repair", "warning", "left alone");
    processes::end_all(&world.places());
    let (_, document) = check(&world, &[]);
    is_found(&document, "app/shop/probe/health", "critical", "connection refused");
}

#[test]
fn a_daemon_that_hangs_is_found_out_in_time() {
    let world = World::of_a_shop();
    world.shop().goes_live("v1");
    let paused = pause(world.daemon_pid());
    let began = Instant::now();
    let (code, document) = check(&world, &[]);
    let spent = began.elapsed();
    assert!(spent >= DEADLINE && spent < DEADLINE + SLACK, "{spent:?}");
    assert_eq!((code, &document["daemon"]["state"]), (2, &json!("silent")), "{document:#}");
    assert_eq!(document["daemon"]["pid"], world.daemon_pid());
    is_found(&document, "daemon", "critical", "no answer in 5s");
    assert_eq!(document["apps"][0]["probes"][0]["healthy"], true, "{document:#}");
    // So many that no more can connect.
    let mut crowd = vec![];
    while crowd.len() < 10_000 {
        match pintle::os::sockets::connect(&world.control(), Duration::from_millis(20)) {
            Ok(stream) => crowd.push(stream),
            Err(_) => break,
        }
    }
    let began = Instant::now();
    let (_, document) = check(&world, &["--quick"]);
    assert!(began.elapsed() < DEADLINE + SLACK, "{:?}", began.elapsed());
    is_found(&document, "daemon", "critical", "no answer in 5s");
    // It is not pintle.service: left alone.
    is_found(&check(&world, &["--quick", "--repair"]).1, "repair", "warning", "left alone");
    drop(crowd);
    drop(paused);
    world.wait("it to answer again", || (check(&world, &["--quick"]).1["daemon"]["state"] == "up").then_some(()));
    assert_eq!(world.status().daemon.pid, u32::try_from(world.daemon_pid()).unwrap());
}

#[test]
fn who_may_not_look_is_told_what_was_left_out() {
    let world = World::with([App::new("shop")]).with_its_own_program().up();
    world.shop().goes_live("v1");
    let mut command = world.command(&["--json", "check"]);
    if crate::world::is_root() {
        command.uid(65534).gid(65534);
    } else {
        // Nobody else can be had: what is the daemon's own is closed to ourselves.
        for file in [world.control(), world.config().join("secrets/shop")] {
            fs::set_permissions(file, fs::Permissions::from_mode(0o000)).unwrap();
        }
    }
    let outcome = crate::world::finish(command, "check as nobody");
    let document = outcome.json();
    assert!(matches!(outcome.code, Some(1 | 2)), "{outcome:?}");
    assert_eq!(document["daemon"]["state"], "unknown", "{document:#}");
    is_found(&document, "daemon", "warning", "may not be asked");
    is_found(&document, "configuration", "warning", "left out");
    assert!(about_us(&document).iter().all(|one| one["level"] == "warning"), "{document:#}");
}

#[test]
fn a_broken_configuration_is_a_warning_while_the_last_good_one_runs() {
    let world = World::of_a_shop();
    world.shop().goes_live("v1");
    fs::write(world.config().join("apps/shop.toml"), "nonsense [").unwrap();
    let (_, document) = check(&world, &[]);
    is_found(&document, "configuration", "warning", "shop.toml");
    assert_eq!(about_us(&document).len(), 1, "{document:#}");
}

#[test]
fn a_look_without_questions_over_the_network_is_quick() {
    let world = World::of_a_shop();
    world.shop().goes_live("v1");
    let time = || {
        let began = Instant::now();
        world.pintle(&["check", "--quick"]);
        began.elapsed()
    };
    let mut times: Vec<Duration> = (0..15).map(|_| time()).collect();
    times.sort();
    eprintln!("check --quick: shortest {:?}, median {:?}, longest {:?}", times[0], times[7], times[14]);
    // Unoptimised, on a machine that may be busy with anything: the shortest is the one that nobody held up.
    assert!(times[0] < Duration::from_millis(250), "{times:?}");
}
