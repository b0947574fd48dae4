//! Which commits are deployed, in which order, and which are not.

use crate::deploy::ended;
use crate::world::site::SECRET;
use crate::world::{App, Gate, Request, World, is_root, processes, wait_until};
use pintle::control::{DeployStatus, Phase};
use std::fs;

/// How many deliveries the diary has.
fn deliveries(world: &World) -> u32 {
    let diary = rusqlite::Connection::open(world.state().join("pintle.db")).unwrap();
    diary.query_row("SELECT count(*) FROM deliveries", [], |row| row.get(0)).unwrap()
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
    let network = world.root.join("network");
    world.add(App::new("shop").step("build", "install", &format!("test -e {}", network.display())));
    let world = world.up();
    let shop = world.shop();
    let request = shop.push_request("main", &shop.version("v1", &[]));
    ended(&shop.end_of(shop.send(&request).accepted()), DeployStatus::Failed, 2);
    fs::write(network, "").unwrap();
    ended(&shop.end_of(shop.send(&request).accepted()), DeployStatus::Success, 0);
    shop.serves("v1");
}

#[test]
fn a_missing_env_file_blames_no_commit() {
    let world = World::with([App::new("shop").set("service.web", "env_file", "[\"data/env\"]")]).up();
    let shop = world.shop();
    let commit = shop.version("v1", &[]);
    let report = shop.end_of(shop.push(&commit).accepted());
    ended(&report, DeployStatus::Failed, 3);
    assert!(report.deployment.message.as_deref().is_some_and(|why| why.contains("env_file data/env")), "{report:?}");
    fs::create_dir_all(shop.shared("data")).unwrap();
    fs::write(shop.shared("data/env"), "GREETING=hello\n").unwrap();
    ended(&shop.end_of(shop.push(&commit).accepted()), DeployStatus::Success, 0);
}

#[test]
fn nothing_is_deployed_backwards() {
    let world = World::of_a_shop();
    let shop = world.shop();
    let first = shop.version("v1", &[]);
    shop.end_of(shop.push(&first).accepted());
    shop.goes_live("v2");
    shop.push(&first).ignored();
    let asked = serde_json::json!({ "commit": first });
    let waited = shop.send(&Request::post("/deploy/shop?wait=1").json(&asked).signed(SECRET)).is(422).json();
    assert_eq!(waited["status"], "refused", "{waited}");
    shop.serves("v2");
}

#[test]
fn a_script_that_is_run_again_waits_for_the_deploy_under_way() {
    let (world, gate) = World::of_a_gated_shop();
    let shop = world.shop();
    let commit = shop.version("v1", &[]);
    let asked = serde_json::json!({ "commit": commit });
    let number = shop.push(&commit).accepted();
    let again = Request::post("/deploy/shop?wait=1").json(&asked).signed(SECRET);
    let answered = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| shop.send(&again));
        world.wait("the second delivery", || (deliveries(&world) == 2).then_some(()));
        gate.open();
        waiting.join().unwrap()
    });
    let answered = answered.is(200).json();
    assert_eq!((&answered["status"], &answered["deployment"]), (&"success".into(), &number.into()), "{answered}");
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
    let (world, gate) = World::of_a_gated_shop();
    let shop = world.shop();
    let numbers: Vec<u64> =
        ["v1", "v2", "v3", "v4"].iter().map(|version| shop.push(&shop.version(version, &[])).accepted()).collect();
    gate.open();
    let ends: Vec<DeployStatus> = numbers.iter().map(|number| shop.end_of(*number).deployment.status).collect();
    use DeployStatus::{Success, Superseded};
    assert_eq!(ends[1..], [Superseded, Superseded, Success], "{ends:?}");
    assert!(matches!(ends[0], Success | Superseded), "{ends:?}");
    shop.serves("v4");
}

#[test]
fn of_two_that_wait_the_newer_commit_wins_even_when_it_was_delivered_first() {
    let (world, gate) = World::of_a_gated_shop();
    let shop = world.shop();
    let first = shop.push(&shop.version("v1", &[])).accepted();
    shop.reaches(first, Phase::Build);
    let (older, newer) = (shop.version("v2", &[]), shop.version("v3", &[]));
    let early = shop.push(&newer).accepted();
    let late = shop.push(&older).accepted();
    gate.open();
    ended(&shop.end_of(early), DeployStatus::Superseded, 6);
    let report = shop.end_of(late);
    ended(&report, DeployStatus::Success, 0);
    assert_eq!(report.deployment.commit.as_deref(), Some(newer.as_str()), "a slow delivery never wins backwards");
    shop.serves("v3");
}

#[test]
fn asking_again_for_what_is_under_way_starts_nothing_new() {
    let (world, gate) = World::of_a_gated_shop();
    let shop = world.shop();
    let commit = shop.version("v1", &[]);
    let number = shop.push(&commit).accepted();
    shop.reaches(number, Phase::Build);
    world.pintle(&["deploy", "shop", "--commit", &commit, "--detach"]).exits(0);
    gate.open();
    ended(&shop.end_of(number), DeployStatus::Success, 0);
    assert_eq!(world.history().len(), 1);
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
    let gate = Gate::closed(&world.root);
    world.add(App::new("slow").step("build", "gate", &gate.wait()));
    world.add(App::new("quick"));
    let world = world.up();
    let (slow, quick) = (world.site("slow"), world.site("quick"));
    let number = slow.push(&slow.version("v1", &[])).accepted();
    slow.reaches(number, Phase::Build);
    quick.goes_live("v1");
    assert!(!world.show(number).deployment.status.is_final());
    gate.open();
    ended(&slow.end_of(number), DeployStatus::Success, 0);
    slow.serves("v1");
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

#[test]
fn a_repository_of_another_user_can_be_deployed() {
    let world = World::of_a_shop();
    let shop = world.shop();
    let commit = shop.version("v1", &[]);
    if is_root() {
        let owner = std::process::Command::new("chown").args(["-R", "nobody"]).arg(&shop.repo.path).status().unwrap();
        assert!(owner.success());
    }
    ended(&shop.end_of(shop.push(&commit).accepted()), DeployStatus::Success, 0);
    shop.serves("v1");
}
