//! What a deployment waits for before it begins: its window, a person's approval, the rate limit of its app.

use crate::deploy::ended;
use crate::world::site::SECRET;
use crate::world::{App, Request, Site, World};
use pintle::control::{DeployStatus, DeploymentReport};
use std::time::{SystemTime, UNIX_EPOCH};

/// A time zone in which the clock on the wall shows this time of day now, as `TZ` has it.
fn zone_in_which_it_is(hour: u64, minute: u64, second: u64) -> String {
    let utc = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() % 86_400;
    let ahead = (hour * 3600 + minute * 60 + second + 86_400 - utc) % 86_400;
    format!("TST-{}:{:02}:{:02}", ahead / 3600, ahead / 60 % 60, ahead % 60)
}

/// The usual application with keys of `[trigger]`, at noon.
fn at_noon(keys: &[(&str, &str)]) -> World {
    let app = keys.iter().fold(App::new("shop"), |app, (key, value)| app.set("trigger", key, value));
    World::with([app]).environment("TZ", &zone_in_which_it_is(12, 0, 0)).up()
}

/// Waits until the diary says that deployment `number` waits, and for what.
#[track_caller]
fn waits(world: &World, number: u64, reason: &str) -> DeploymentReport {
    let is_so = |report: &DeploymentReport| {
        let message = report.deployment.message.as_deref().unwrap_or_default();
        report.deployment.status == DeployStatus::Waiting && message.contains(reason)
    };
    world.wait(&format!("deployment {number} to wait for {reason}"), || {
        let report = world.show(number);
        assert!(!report.deployment.status.is_final(), "{report:#?}");
        Some(report).filter(is_so)
    })
}

/// A signed `POST /deploy/shop?wait=1` of `commit`.
fn ask_and_wait(shop: &Site, commit: &str) -> crate::world::Reply {
    let body = serde_json::json!({ "commit": commit });
    shop.send(&Request::post("/deploy/shop?wait=1").json(&body).signed(SECRET))
}

#[test]
fn a_push_waits_for_its_window_and_begins_when_it_opens() {
    let app = App::new("shop").set("trigger", "window", "\"02:00-03:00\"");
    let world = World::with([app]).environment("TZ", &zone_in_which_it_is(1, 59, 35)).up();
    let shop = world.shop();
    let reply = shop.push(&shop.version("v1", &[]));
    assert_eq!(reply.json()["deployments"][0]["state"], "waiting", "{reply:?}");
    let number = reply.accepted();
    waits(&world, number, "waits for its window 02:00-03:00 (opens ");
    let status = world.pintle(&["status", "--json"]).exits(0).json();
    let waiting = &status["apps"][0]["waiting"][0];
    assert_eq!(waiting["number"], number);
    assert!(waiting["reason"].as_str().unwrap().contains("02:00-03:00"), "{status}");
    assert!(waiting["until"].as_str().unwrap().ends_with(":00Z") || waiting["until"].is_string(), "{status}");
    let page = world.pintle(&["status"]).exits(0).stdout;
    assert!(page.contains("waits for its window 02:00-03:00") && page.contains("at the earliest in "), "{page}");
    assert!(world.pintle(&["history"]).exits(0).stdout.contains("waits for its window"));
    let followed = world.pintle(&["logs", "--deploy", &number.to_string()]).exits(0).stdout;
    assert!(followed.contains("waits for its window 02:00-03:00"), "{followed}");
    assert!(shop.live_release().is_none(), "nothing begins before the window opens");
    ended(&world.end_of(number), DeployStatus::Success, 0);
    shop.serves("v1");
}

#[test]
fn a_person_waits_for_nothing_and_what_waited_is_superseded() {
    let world = at_noon(&[("window", "\"02:00-05:00\""), ("approval", "true"), ("rate_limit", "\"1/hour\"")]);
    let shop = world.shop();
    let number = shop.push(&shop.version("v1", &[])).accepted();
    waits(&world, number, &format!("waits for `pintle approve {number}` and its window 02:00-05:00"));
    world.pintle(&["deploy", "shop"]).exits(0);
    shop.serves("v1");
    ended(&world.end_of(number), DeployStatus::Superseded, 6);
}

#[test]
fn an_approval_lets_it_begin_and_may_be_said_twice() {
    let mut world = at_noon(&[("approval", "true")]);
    let shop = world.shop().clone();
    let commit = shop.version("v1", &[]);
    let reply = ask_and_wait(&shop, &commit);
    assert_eq!((reply.status, reply.json()["status"].as_str()), (202, Some("waiting")), "{reply:?}");
    let number = reply.json()["deployment"].as_u64().unwrap();
    let word = number.to_string();
    waits(&world, number, &format!("waits for `pintle approve {number}`"));
    let again = ask_and_wait(&shop, &commit);
    assert_eq!((again.status, again.json()["deployment"].as_u64()), (202, Some(number)), "it is the same: {again:?}");

    world.kill_daemon();
    world.start_daemon();
    waits(&world, number, &format!("waits for `pintle approve {number}`"));
    world.pintle(&["approve", "4711"]).exits(64);
    let said = world.pintle(&["approve", &word, "--json"]).exits(0).json();
    assert!(said["message"].as_str().unwrap().contains("is approved"), "{said}");
    ended(&world.end_of(number), DeployStatus::Success, 0);
    shop.serves("v1");
    let said = world.pintle(&["approve", &word]).exits(0).stdout;
    assert!(said.contains("was approved"), "{said}");
    assert!(world.show(number).approved);
}

#[test]
fn what_is_approved_stays_so_over_a_crash_and_no_later_push_takes_it_away() {
    let mut world = at_noon(&[("window", "\"02:00-05:00\""), ("approval", "true")]);
    let shop = world.shop().clone();
    let number = shop.push(&shop.version("v1", &[])).accepted();
    let said = world.pintle(&["approve", &number.to_string()]).exits(0).stdout;
    assert!(said.contains("is approved; it waits for its window 02:00-05:00"), "{said}");
    world.kill_daemon();
    world.start_daemon();
    let later = shop.push(&shop.version("v2", &[])).accepted();
    waits(&world, later, &format!("waits for `pintle approve {later}` and its window"));
    let twice = world.pintle(&["approve", &number.to_string()]).exits(0).stdout;
    assert!(twice.contains("is approved already; it waits for its window"), "{twice}");
    world.kill_daemon();

    let mut world = world.environment("TZ", &zone_in_which_it_is(3, 0, 0));
    world.start_daemon();
    ended(&world.end_of(number), DeployStatus::Success, 0);
    shop.serves("v1");
    waits(&world, later, &format!("waits for `pintle approve {later}`"));
    world.pintle(&["cancel", &later.to_string()]).exits(0);
    ended(&world.end_of(later), DeployStatus::Cancelled, 6);
}

#[test]
fn a_rate_limit_defers_the_newest_push_and_is_remembered_by_the_next_daemon() {
    let mut world = at_noon(&[("rate_limit", "\"1/hour\"")]);
    let shop = world.shop().clone();
    shop.goes_live("v1");
    let second = shop.push(&shop.version("v2", &[])).accepted();
    waits(&world, second, "waits for its rate limit of 1 in 1h (until ");
    let refused = world.pintle(&["approve", &second.to_string()]).exits(64);
    assert!(
        refused.stderr.contains("does not wait for an approval: it waits for its rate limit"),
        "{}",
        refused.stderr
    );
    let third = shop.push(&shop.version("v3", &[])).accepted();
    ended(&world.end_of(second), DeployStatus::Superseded, 6);
    waits(&world, third, "rate limit");
    assert_eq!(world.stop_daemon().code(), Some(0));
    world.start_daemon();
    waits(&world, third, "rate limit");
    shop.serves("v1");
    world.kill_daemon();
    world.start_daemon();
    waits(&world, third, "rate limit");
    world.pintle(&["deploy", "shop", "--force"]).exits(0);
    shop.serves("v3");
    ended(&world.end_of(third), DeployStatus::Superseded, 6);
}
