//! One real delivery of each forge against the running binary: it ends in a live release, or nothing happens.

use crate::world::site::SECRET;
use crate::world::{App, Reply, Request, World};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use pintle::base::Moment;
use pintle::control::DeployStatus;
use std::fs;

/// The commit that stands in the project's payloads.
const EXAMPLE: &str = "4f2a1c9000000000000000000000000000000042";

/// A payload of the project about `commit`.
fn about(name: &str, commit: &str) -> String {
    let path = format!("{}/tests/payloads/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert!(text.contains(EXAMPLE) || name.contains("release") || name.contains("create"), "{name}");
    text.replace(EXAMPLE, commit)
}

fn hex(secret: &str, text: &str) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An app `shop` of a forge, deployed from `repository` by its event `on`.
fn shop_of(forge: &str, repository: &str, on: &str) -> App {
    App::new("shop")
        .set("trigger", "forge", &format!("{forge:?}"))
        .set("trigger", "repository", &format!("{repository:?}"))
        .set("trigger", "on", &format!("[{on:?}]"))
}

/// A delivery as `forge` sends it, signed.
fn delivery(forge: &str, event: &str, id: &str, body: &str) -> Request {
    let request = Request::post("/webhook/shop").header("Content-Type", "application/json").body(body);
    let (kind, ids, proof, value) = match forge {
        "gitlab" => ("X-Gitlab-Event", "X-Gitlab-Event-UUID", "X-Gitlab-Token", SECRET.to_owned()),
        "gitea" => ("X-Gitea-Event", "X-Gitea-Delivery", "X-Gitea-Signature", hex(SECRET, body)),
        "forgejo" => ("X-Forgejo-Event", "X-Forgejo-Delivery", "X-Forgejo-Signature", hex(SECRET, body)),
        "gogs" => ("X-Gogs-Event", "X-Gogs-Delivery", "X-Gogs-Signature", hex(SECRET, body)),
        "bitbucket" => ("X-Event-Key", "X-Request-UUID", "X-Hub-Signature", format!("sha256={}", hex(SECRET, body))),
        "generic" => ("X-Unused", "X-Delivery", "X-Signature", format!("sha256={}", hex(SECRET, body))),
        _ => ("X-GitHub-Event", "X-GitHub-Delivery", "X-Hub-Signature-256", format!("sha256={}", hex(SECRET, body))),
    };
    request.header(kind, event).header(ids, id).header(proof, &value)
}

fn send(world: &World, request: &Request) -> Reply {
    world.shop().send(request)
}

#[test]
fn each_forges_webhook_ends_in_a_live_release() {
    let nutricount = "owner/nutricount";
    let generic = "{ header = \"X-Signature\", value = \"sha256={hex}\", id = \"X-Delivery\", commit = \"/data/source/commits/0\", \
                   ref = \"/data/source/branch\", repository = \"/data/project\", event = \"/type\", event_is = \"build.finished\" }";
    let cases = [
        ("github", nutricount, "workflow_run", "workflow_run", "workflow_run.json"),
        ("gitlab", "owner/apps/nutricount", "push", "Push Hook", "gitlab/push.json"),
        ("gitlab", "owner/apps/nutricount", "pipeline", "Pipeline Hook", "gitlab/pipeline.json"),
        ("gitea", nutricount, "push", "push", "gitea/push.json"),
        ("gitea", nutricount, "workflow_run", "workflow_run", "gitea/workflow_run.json"),
        ("forgejo", nutricount, "workflow_run", "action_run_success", "forgejo/action_run_success.json"),
        ("gogs", nutricount, "push", "push", "gitea/push.json"),
        ("bitbucket", nutricount, "push", "repo:push", "bitbucket/push.json"),
        ("bitbucket", nutricount, "push", "repo:refs_changed", "bitbucket/refs_changed.json"),
        ("generic", nutricount, "push", "", "generic/built.json"),
    ];
    let mut world = World::with([shop_of("github", nutricount, "push")]).up();
    for (number, (forge, repository, on, event, payload)) in cases.into_iter().enumerate() {
        let mut app = shop_of(forge, repository, on).reached_at(world.shop().port);
        let port = world.shop().port;
        app = app.set("service.web", "listen", &format!("[\"127.0.0.1:{port}\"]")).set(
            "health",
            "http",
            &format!("\"http://127.0.0.1:{port}/health\""),
        );
        if forge == "generic" {
            app = app.set("trigger", "generic", generic);
        }
        world.add(app);
        world.stop_daemon();
        world.start_daemon();
        let version = format!("v{number}");
        let body = about(payload, &world.shop().version(&version, &[]));
        let forged = delivery(forge, event, "forged", &body.replace("owner", "0wner"));
        let tampered = forged.body(body.as_str());
        if forge != "gitlab" {
            send(&world, &tampered).is(401);
        }
        let reply = send(&world, &delivery(forge, event, &version, &body));
        assert_eq!(reply.status, 202, "{forge} {event}: {reply:?}");
        let report = world.end_of(reply.accepted());
        assert_eq!(report.deployment.status, DeployStatus::Success, "{forge} {event}: {report:#?}");
        world.shop().serves(&version);
        send(&world, &delivery(forge, event, &version, &body)).ignored();
    }
}

#[test]
fn gitlabs_signing_token_is_held_to_this_machines_clock() {
    let key = [7; 32];
    let app = shop_of("gitlab", "owner/apps/nutricount", "push").set("trigger", "secret", "{ env = \"SIGNING\" }");
    let world = World::with([app]);
    fs::write(world.config().join("pintle.env"), format!("SIGNING=whsec_{}\n", BASE64.encode(key))).unwrap();
    let world = world.up();
    let body = about("gitlab/push.json", &world.shop().version("v1", &[]));
    let now = Moment::now().wall.0 / 1000;
    let signed_at = |seconds: i64| {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&key).unwrap();
        mac.update(format!("a-delivery.{seconds}.{body}").as_bytes());
        let signature = format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()));
        let request = Request::post("/webhook/shop").header("Content-Type", "application/json").body(body.as_str());
        let request = request.header("X-Gitlab-Event", "Push Hook").header("webhook-id", "a-delivery");
        send(&world, &request.header("webhook-timestamp", &seconds.to_string()).header("webhook-signature", &signature))
    };
    let late = signed_at(now - 600).is(401).json();
    assert!(late["message"].as_str().is_some_and(|why| why.contains("this machine's clock")), "{late}");
    signed_at(now + 600).is(401);
    world.end_of(signed_at(now).accepted());
    world.shop().serves("v1");
    signed_at(now).ignored();
}

#[test]
fn a_release_deploys_its_tag_where_the_branch_has_it() {
    let world = World::with([shop_of("github", "owner/nutricount", "release")]).up();
    let shop = world.shop();
    let release = |id: &str, tag: &str| {
        let body = about("release.json", "").replace("v1.4.0", tag);
        send(&world, &delivery("github", "release", id, &body))
    };
    shop.version("v1", &[]);
    shop.repo.git(&["tag", "-a", "-m", "the first", "v1.0.0"]);
    shop.version("v2", &[]);
    let report = world.end_of(release("one", "v1.0.0").accepted());
    assert_eq!(report.deployment.status, DeployStatus::Success, "{report:#?}");
    shop.serves("v1");

    // A tag that moved is what it is now.
    shop.repo.git(&["tag", "-f", "v1.0.0"]);
    world.end_of(release("two", "v1.0.0").accepted());
    shop.serves("v2");

    shop.repo.git(&["checkout", "-q", "-b", "elsewhere"]);
    shop.version("v3", &[]);
    shop.repo.git(&["tag", "v3.0.0"]);
    let report = world.end_of(release("three", "v3.0.0").accepted());
    assert_eq!(report.deployment.status, DeployStatus::Refused, "{report:#?}");
    assert!(
        report.deployment.message.as_deref().is_some_and(|why| why.contains("is not on branch main")),
        "{report:#?}"
    );
    let report = world.end_of(release("four", "v4.0.0").accepted());
    assert_eq!(report.deployment.status, DeployStatus::Failed, "{report:#?}");
    assert!(report.deployment.message.as_deref().is_some_and(|why| why.contains("no such tag")), "{report:#?}");
    shop.serves("v2");

    shop.repo.git(&["checkout", "-q", "main"]);
    shop.version("v5", &[]);
    shop.repo.git(&["tag", "v5.0.0"]);
    world.pintle(&["deploy", "shop", "--commit", "refs/tags/v5.0.0"]).exits(0);
    shop.serves("v5");
    let refused = world.pintle(&["deploy", "shop", "--commit", "refs/tags/--x y"]).exits(64);
    assert!(refused.stderr.contains("tag"), "{}", refused.stderr);
    world.pintle(&["deploy", "shop", "--commit", "refs/tags/v3.0.0"]).exits(6);
    shop.serves("v5");
}

#[test]
fn a_script_may_ask_for_a_tag() {
    let world = World::of_a_shop();
    world.shop().version("v1", &[]);
    world.shop().repo.git(&["tag", "first"]);
    world.shop().version("v2", &[]);
    let body = serde_json::json!({ "tag": "first" });
    send(&world, &Request::post("/deploy/shop?wait=1").json(&body).signed(SECRET)).is(200);
    world.shop().serves("v1");
}

#[test]
fn a_quarantined_commit_does_not_come_back_by_its_tag() {
    let world = World::with([shop_of("github", "owner/nutricount", "release")]).up();
    let shop = world.shop();
    let release = |id: &str, tag: &str| {
        let body = about("release.json", "").replace("v1.4.0", tag);
        world.end_of(send(&world, &delivery("github", "release", id, &body)).accepted())
    };
    shop.version("v1", &[]);
    shop.repo.git(&["tag", "good"]);
    release("one", "good");
    shop.version("v2", &["health = fail", "rehearsal_health = ok"]);
    shop.repo.git(&["tag", "bad"]);
    assert_eq!(release("two", "bad").deployment.status, DeployStatus::RolledBack);
    let again = release("three", "bad").deployment;
    assert_eq!(again.status, DeployStatus::Refused, "{again:#?}");
    assert!(again.message.as_deref().is_some_and(|why| why.contains("is quarantined")), "{again:#?}");
    shop.serves("v1");
}
