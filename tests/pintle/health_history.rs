//! How the board was: `history --health` of a real daemon, across its stop, its change and its death.

use crate::world::{App, World};
use pintle::control::BoardHistory;

/// A daemon that looks at its board twenty times a second.
fn watched() -> World {
    World::with([App::new("shop")]).host("[health]\nevery = \"50ms\"").up()
}

fn told(world: &World) -> BoardHistory {
    let told = world.pintle(&["--json", "history", "--health", "--since", "2h"]).exits(0);
    serde_json::from_value(told.json()).unwrap_or_else(|error| panic!("{error}: {}", told.stdout))
}

fn looks(history: &BoardHistory) -> u32 {
    history.samples.iter().map(|sample| sample.samples).sum()
}

/// Waits until the board was looked at so often more.
fn looked_at(world: &World, more: u32) -> u32 {
    let before = looks(&told(world));
    world.wait("looks at the board", || Some(looks(&told(world))).filter(|looks| *looks >= before + more))
}

#[test]
fn what_was_seen_is_told_at_once_and_outlives_the_daemon() {
    let mut world = watched();
    let seen = looked_at(&world, 5);
    let history = told(&world);
    assert_eq!((history.resolution_seconds, history.lost), (60, 0));
    let newest = serde_json::to_value(&history.samples[0].gauges).unwrap();
    assert!(newest["memory_percent"]["mean"].as_f64().is_some_and(|percent| percent > 0.0), "{newest}");
    assert!(newest["own_memory_bytes"]["max"].as_f64().is_some_and(|bytes| bytes > 1e6), "{newest}");
    assert!(
        newest.as_object().unwrap().contains_key("temperature_celsius"),
        "named, although it may be null: {newest}"
    );

    world.stop_daemon();
    let offline = told(&world);
    assert!(looks(&offline) >= seen, "nothing is lost by a stop: {} of {seen}", looks(&offline));
    let people = world.pintle(&["history", "--health"]).exits(0);
    assert!(people.stderr.contains("the daemon is not reachable"), "{people:?}");
    assert!(people.stdout.contains("MEM %") && people.stdout.contains("memory_percent"), "{people:?}");

    world.start_daemon();
    assert!(looked_at(&world, 3) >= looks(&offline) + 3, "the next daemon goes on");
    let before = looks(&told(&world));
    world.pintle(&["reexec"]).exits(0);
    world.wait("the new program", || Some(looks(&told(&world))).filter(|looks| *looks > before));
    world.shop().goes_live("v1");
}

#[test]
fn a_killed_daemon_costs_the_minutes_that_were_not_written_and_no_more() {
    let mut world = watched();
    looked_at(&world, 3);
    world.stop_daemon();
    let written = looks(&told(&world));
    world.start_daemon();
    looked_at(&world, 3);
    world.kill_daemon();
    assert_eq!(looks(&told(&world)), written);
    world.start_daemon();
    looked_at(&world, 1);
}
