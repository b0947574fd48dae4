//! `pintle deliveries`: whoever pushed and saw nothing happen finds out why.

use crate::world::site::SECRET;
use crate::world::{Reply, Request, World, payload, wait_until};
use serde_json::{Value, json};

/// The newest first, as `--json` has them; `None` while there are fewer than `count`.
fn listed(world: &World, count: usize) -> Option<Vec<Value>> {
    let report = world.pintle(&["deliveries", "--json", "-n", "1000"]).exits(0).json();
    let deliveries = report["deliveries"].as_array().expect("a list").clone();
    (deliveries.len() >= count).then_some(deliveries)
}

fn send(world: &World, event: &str, id: &str, body: &Value, secret: &str) -> Reply {
    let request = Request::post("/webhook").header("X-GitHub-Event", event).header("X-GitHub-Delivery", id);
    world.shop().send(&request.json(body).signed(secret))
}

#[test]
fn what_came_is_listed_with_its_verdict_and_reason() {
    let world = World::of_a_shop();
    let commit = world.shop().version("v1", &[]);
    let push = payload::push("owner/shop", "main", &commit);
    let number = send(&world, "push", "one", &push, SECRET).accepted();
    world.shop().end_of(number);
    send(&world, "push", "one", &push, SECRET).ignored();
    send(&world, "push", "two", &payload::push("owner/shop", "other", &commit), SECRET).ignored();
    send(&world, "ping", "three", &json!({ "zen": "Speak like a human." }), SECRET).ignored();
    for _ in 0..3 {
        send(&world, "push", "four", &push, "another secret").is(401);
    }
    // Those that need nothing are told after their answer.
    let all = wait_until("every delivery is listed", || {
        listed(&world, 5).filter(|all| all.iter().any(|one| one["verdict"] == "refused" && one["times"] == 3))
    });
    let find = |what: &dyn Fn(&&Value) -> bool| all.iter().find(what).unwrap_or_else(|| panic!("{all:#?}")).clone();

    let accepted = find(&|one| one["verdict"] == "accepted");
    assert_eq!(
        (&accepted["id"], &accepted["app"], &accepted["event"], &accepted["wanted"], &accepted["deployment"]),
        (&json!("one"), &json!("shop"), &json!("push"), &json!(commit), &json!(number))
    );
    let again = find(&|one| one["verdict"] == "ignored" && one["id"] == "one");
    assert!(again["reason"].as_str().is_some_and(|why| why.contains("duplicate")), "{again}");
    let other = find(&|one| one["id"] == "two");
    assert!(other["reason"].as_str().is_some_and(|why| why.contains("other") && why.contains("main")), "{other}");
    assert_eq!(find(&|one| one["id"] == "three")["event"], "ping");
    let refused = find(&|one| one["verdict"] == "refused");
    assert_eq!((&refused["from"], &refused["id"]), (&json!("127.0.0.1"), &Value::Null), "{refused}");

    let text = world.pintle(&["deliveries"]).exits(0).stdout;
    assert!(text.contains("accepted") && text.contains("bad or missing signature (from 127.0.0.1) 3 times"), "{text}");
    let whole = format!("{all:?}{text}");
    assert!(!whole.contains(SECRET) && !whole.contains("head_commit") && !whole.contains("sha256="), "{whole}");
}

#[test]
fn the_list_survives_the_daemon_and_is_read_without_it() {
    let mut world = World::of_a_shop();
    let commit = world.shop().version("v1", &[]);
    let number = send(&world, "push", "one", &payload::push("owner/shop", "main", &commit), SECRET).accepted();
    world.shop().end_of(number);
    world.kill_daemon();
    let outcome = world.pintle(&["deliveries", "shop"]).exits(0);
    assert!(outcome.stdout.contains("accepted") && outcome.stdout.contains(&commit[..7]), "{outcome:?}");
    assert!(outcome.stderr.contains("not reachable"), "{outcome:?}");
    world.start_daemon();
    assert_eq!(listed(&world, 1).expect("one is listed").len(), 1);
}
