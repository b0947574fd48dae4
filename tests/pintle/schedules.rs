//! Scheduled commands: in the live release with its user and environment, one at a time, their output in a log, failures
//! told, a missed run made up; and what becomes of one that runs when its daemon ends.

use crate::world::{App, Site, World, processes, wait_until};
use pintle::control::ScheduleView;
use std::fs;
use std::path::{Path, PathBuf};

/// An app with one schedule more: `more` are further keys of it.
trait Scheduled {
    fn schedule(self, name: &str, run: &str, more: &str) -> App;
}

impl Scheduled for App {
    fn schedule(self, name: &str, run: &str, more: &str) -> App {
        self.list("schedule", &format!("name = {name:?}\nrun = {run:?}\n{more}"))
    }
}

#[track_caller]
fn schedule(site: &Site, name: &str) -> ScheduleView {
    let schedules = site.view().map(|view| view.schedules).unwrap_or_default();
    schedules.into_iter().find(|view| view.schedule.as_str() == name).unwrap_or_else(|| panic!("no schedule {name}"))
}

/// How its last run ended, once it did.
fn ended(site: &Site, name: &str) -> Option<String> {
    let last = schedule(site, name).last?;
    (last.status != "running").then_some(last.status)
}

fn lines(path: &Path) -> usize {
    fs::read_to_string(path).unwrap_or_default().lines().count()
}

fn pids_in(path: &Path) -> Option<Vec<i32>> {
    let text = fs::read_to_string(path).ok().filter(|text| text.ends_with('\n'))?;
    let pids: Vec<i32> = text.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    (!pids.is_empty()).then_some(pids)
}

/// Leaves its own number and that of a child in a file, and stays.
fn endless(pids: &Path) -> String {
    format!("sleep 600 & echo $$ $! > {}; wait", pids.display())
}

fn all_gone(pids: &[i32]) -> Option<()> {
    pids.iter().all(|pid| !processes::is_alive(*pid)).then_some(())
}

#[test]
fn it_runs_in_the_live_release_and_its_output_is_kept() {
    let app = App::new("shop").set("service.web", "env", "{ GREETING = \"hello\" }");
    let run = "echo \"$GREETING $EXTRA from $PINTLE_RELEASE in $(cat version)\"; echo seen >> data/ran";
    let app = app.schedule("digest", run, "every = \"1s\"\nenv = { EXTRA = \"again\" }");
    let world = World::with([app]).up();
    let shop = world.shop();
    let release = shop.goes_live("v1").deployment.release.unwrap();
    let ran = shop.shared("data/ran");
    world.wait("three runs", || (lines(&ran) >= 3).then_some(()));
    let said = world.pintle(&["logs", "shop", "--schedule", "digest"]).exits(0).stdout;
    assert!(said.contains(&format!("hello again from {release} in v1\n")), "{said}");
    assert!(said.contains("digest: exit 0 after "), "{said}");
    let view =
        world.wait("a run that ended", || Some(schedule(shop, "digest")).filter(|_| ended(shop, "digest").is_some()));
    assert_eq!((view.when.as_str(), ended(shop, "digest").as_deref()), ("every 1s", Some("success")));
    assert!(view.next.is_some());
    let status = world.pintle(&["--json", "status", "shop"]).exits(0).json();
    let shown = &status["apps"][0]["schedules"][0];
    assert_eq!((shown["schedule"].as_str(), shown["when"].as_str()), (Some("digest"), Some("every 1s")));
    assert!(world.pintle(&["status"]).exits(0).stdout.contains("NEXT RUN"));
}

#[test]
fn a_failure_is_shown_and_told_once_and_its_end_too() {
    let mut world = World::with([]);
    let fine: PathBuf = world.root.join("fine");
    let run = format!("test -e {} && echo well || {{ echo broken; exit 7; }}", fine.display());
    world.add(App::new("shop").schedule("digest", &run, "every = \"1s\""));
    let world = world.up();
    let shop = world.shop();
    shop.goes_live("v1");
    let told = |text: &str| world.daemon_said().matches(text).count();
    world.wait("a second failure", || (told("schedule digest failed again: exit 7") > 0).then_some(()));
    assert_eq!(told("schedule digest failed: exit 7"), 1);
    assert_eq!(schedule(shop, "digest").last.unwrap().message.as_deref().unwrap_or("exit 7"), "exit 7");
    fs::write(&fine, "").unwrap();
    world.wait("the all-clear", || (told("schedule digest went well again") == 1).then_some(()));
    assert_eq!(ended(shop, "digest").unwrap_or("success".into()), "success");
}

#[test]
fn one_that_takes_too_long_is_ended_and_one_that_still_runs_is_not_joined() {
    let mut world = World::with([]);
    let (pids, twice) = (world.root.join("pids"), world.root.join("twice"));
    let slow = format!("echo x >> {}; exec sleep 600", twice.display());
    let app = App::new("shop").schedule("endless", &endless(&pids), "every = \"1h\"\ntimeout = \"400ms\"");
    world.add(app.schedule("slow", &slow, "every = \"1s\""));
    let world = world.up();
    let shop = world.shop();
    shop.goes_live("v1");
    let said = world.pintle(&["schedule", "run", "shop", "endless"]).exits(0).stdout;
    assert!(said.contains("endless was started"), "{said}");
    let of_endless = world.wait("the endless one", || pids_in(&pids));
    world.wait("its end", || ended(shop, "endless"));
    assert_eq!(ended(shop, "endless").as_deref(), Some("failed"));
    assert!(schedule(shop, "endless").last.unwrap().message.unwrap().contains("its time was up"));
    all_gone(&of_endless).expect("nothing of its group is left");
    world.wait("a time that is left out", || (schedule(shop, "slow").left_out > 1).then_some(()));
    assert_eq!(lines(&twice), 1, "one at a time");
    let again = world.pintle(&["schedule", "run", "shop", "slow"]).exits(64);
    assert!(again.stderr.contains("runs already"), "{again:?}");
    assert!(world.pintle(&["schedule", "run", "nightly"]).exits(64).stderr.contains("endless, slow"));
}

#[test]
fn a_stopped_app_runs_nothing_and_a_removed_one_neither() {
    let mut world = World::with([]);
    let pids = world.root.join("pids");
    world.add(App::new("shop").schedule("endless", &endless(&pids), "every = \"1s\""));
    let world = world.up();
    let shop = world.shop();
    shop.goes_live("v1");
    let first = world.wait("a run", || pids_in(&pids));
    world.pintle(&["stop", "shop"]).exits(0);
    world.wait("its end with the app", || all_gone(&first));
    world.wait("its result", || ended(shop, "endless"));
    assert_eq!(ended(shop, "endless").as_deref(), Some("cancelled"));
    let refused = world.pintle(&["schedule", "run", "endless"]).exits(3);
    assert!(refused.stderr.contains("pintle start shop"), "{refused:?}");
    fs::remove_file(&pids).unwrap();
    world.pintle(&["start", "shop"]).exits(0);
    let second = world.wait("another run", || pids_in(&pids));
    fs::rename(world.config().join("apps/shop.toml"), world.root.join("shop.toml")).unwrap();
    world.pintle(&["reload"]).exits(0);
    world.wait("its end with the configuration", || all_gone(&second));
}

#[test]
fn a_daemon_that_ends_takes_it_along_and_one_that_is_killed_leaves_it_to_its_successor() {
    let mut world = World::with([]);
    let pids = world.root.join("pids");
    world.add(App::new("shop").schedule("endless", &endless(&pids), "every = \"1h\""));
    let mut world = world.up();
    let shop = world.shop().clone();
    shop.goes_live("v1");
    world.pintle(&["schedule", "run", "endless"]).exits(0);
    let first = world.wait("a run", || pids_in(&pids));
    assert!(world.stop_daemon().success());
    all_gone(&first).expect("the whole group ends with the daemon");
    world.start_daemon();
    assert_eq!(ended(&shop, "endless").as_deref(), Some("cancelled"), "remembered");
    fs::remove_file(&pids).unwrap();
    world.pintle(&["schedule", "run", "endless"]).exits(0);
    let second = world.wait("another run", || pids_in(&pids));
    world.kill_daemon();
    assert!(all_gone(&second).is_none(), "nobody ends it at once");
    world.start_daemon();
    all_gone(&second).expect("the next daemon ends what nobody would hear of");
    let last = schedule(&shop, "endless").last.unwrap();
    assert_eq!(last.status, "failed");
    assert!(last.message.unwrap().contains("cut off"));
}

#[test]
fn what_was_missed_while_the_daemon_was_down_is_made_up_once() {
    let mut world = World::with([]);
    let ran = world.root.join("ran");
    let run = format!("echo x >> {}", ran.display());
    world.add(App::new("shop").schedule("digest", &run, "every = \"3s\"").schedule("daily", "true", "at = \"03:30\""));
    let mut world = world.up();
    let shop = world.shop().clone();
    shop.goes_live("v1");
    world.wait("a run", || (lines(&ran) == 1).then_some(()));
    world.wait("its end", || ended(&shop, "digest"));
    let due = schedule(&shop, "digest").next.unwrap();
    assert!(world.stop_daemon().success());
    let is_over = || pintle::base::Moment::now().wall > due.plus(std::time::Duration::from_millis(100));
    wait_until("its time to pass without a daemon", || is_over().then_some(()));
    assert_eq!(lines(&ran), 1);
    world.start_daemon();
    world.wait("the run that was missed", || (lines(&ran) == 2).then_some(()));
    let next = schedule(&shop, "digest").next.unwrap();
    let began = schedule(&shop, "digest").last.unwrap().started;
    assert!(
        next.since(began) > std::time::Duration::from_secs(2),
        "made up once: the next is due {next}, after {began}"
    );
    assert_eq!(schedule(&shop, "daily").last, None, "its time did not come meanwhile");
}
