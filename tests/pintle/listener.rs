//! What the listener answers: contracts of the forge, of scripts with `curl -f`, and of nginx.

use crate::world::site::SECRET;
use crate::world::{App, Reply, Request, World, payload, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

/// A signed GitHub event.
fn event(path: &str, event: &str, body: &Value) -> Request {
    Request::post(path).header("X-GitHub-Event", event).json(body).signed(SECRET)
}

fn send(world: &World, request: &Request) -> Reply {
    world.shop().send(request)
}

#[test]
fn health_is_answered_for_people_and_nginx() {
    let world = World::of_a_shop();
    for path in ["/health", "/webhook-health"] {
        let reply = send(&world, &Request::get(path)).is(200);
        assert!(reply.header("content-type").is_some_and(|kind| kind.starts_with("application/json")), "{reply:?}");
        let json = reply.json();
        assert_eq!((json["status"].as_str(), json["service"].as_str()), (Some("healthy"), Some("pintle")));
        let time = json["timestamp"].as_str().unwrap();
        assert!(time.len() == 20 && time.ends_with('Z'), "{time}");
    }
}

#[test]
fn status_tells_states_and_nothing_secret() {
    let world = World::of_a_shop();
    let shop = world.shop();
    shop.goes_live("v1");
    let reply = send(&world, &Request::get("/status")).is(200);
    let json = reply.json();
    assert_eq!((json["webhook_status"].as_str(), json["app_status"].as_str()), (Some("running"), Some("running")));
    assert!(json["timestamp"].is_string() && json["apps"][0]["app"] == "shop", "{json}");
    assert!(!reply.body.contains(SECRET) && !reply.body.contains(world.root.to_str().unwrap()), "{}", reply.body);
    world.pintle(&["stop", "shop"]).exits(0);
    wait_until("stopped", || (send(&world, &Request::get("/status")).json()["app_status"] == "stopped").then_some(()));
}

#[test]
fn what_is_not_a_deploy_is_ignored_with_a_reason() {
    let world = World::of_a_shop();
    let commit = world.shop().version("v1", &[]);
    let tag = {
        let mut body = payload::push("owner/shop", "main", &commit);
        body["ref"] = json!("refs/tags/main");
        body
    };
    let cases = [
        (
            "ping",
            json!({ "zen": "Keep it logically awesome.", "hook_id": 1, "repository": { "full_name": "owner/shop" } }),
        ),
        ("push", payload::push("owner/shop", "other", &commit)),
        ("push", payload::push("owner/shop", "main2", &commit)),
        ("push", payload::deleted("owner/shop", "main")),
        ("push", tag),
        ("push", payload::push("somebody/else", "main", &commit)),
        ("issues", json!({ "action": "opened", "repository": { "full_name": "owner/shop" } })),
        ("workflow_run", payload::workflow_run("owner/shop", "CI", &commit)),
    ];
    for (name, body) in cases {
        for path in ["/webhook", "/webhook/shop", "/webhooks/github", "/"] {
            let reply = send(&world, &event(path, name, &body));
            assert_eq!(reply.status, 200, "{name} at {path}: {reply:?}");
            assert!(!reply.ignored().is_empty());
        }
    }
    assert!(world.history().is_empty());
}

#[test]
fn every_path_of_a_webhook_deploys() {
    let world = World::of_a_shop();
    for path in ["/webhook", "/webhook/shop", "/webhooks/github", "/"] {
        let commit = world.shop().version(&path.replace('/', "-"), &[]);
        let reply = send(&world, &event(path, "push", &payload::push("owner/shop", "main", &commit))).is(202);
        let json = reply.json();
        assert_eq!(json["status"], "success", "{json}");
        assert_eq!(json["message"], "Deployment triggered by push", "{json}");
        assert_eq!(json["app"], "shop", "{json}");
        world.end_of(json["deployment"].as_u64().unwrap());
    }
}

#[test]
fn an_unproven_request_gets_401_and_no_detail() {
    let world = World::of_a_shop();
    let body = payload::push("owner/shop", "main", &world.shop().version("v1", &[]));
    let bare = || Request::post("/webhook").header("X-GitHub-Event", "push").json(&body);
    let good = crate::world::http::sign(SECRET, body.to_string().as_bytes());
    let requests = [
        bare(),
        bare().signed("another secret"),
        bare().signed(""),
        bare().header("X-Hub-Signature-256", ""),
        bare().header("X-Hub-Signature-256", "sha256="),
        bare().header("X-Hub-Signature-256", &good["sha256=".len()..]),
        bare().header("X-Hub-Signature-256", &format!("{good}00")),
        bare().header("X-Hub-Signature-256", &good[..good.len() - 2]),
        bare().header("X-Hub-Signature", &good),
        bare().header("X-Hub-Signature-256", &good.replace("sha256", "sha1")),
        Request::post("/deploy").json(&json!({ "commit": "a".repeat(40) })),
    ];
    for request in requests {
        let reply = send(&world, &request);
        let text = reply.clone().is(401).body.to_lowercase();
        assert!(!text.contains("shop") && !text.contains("sha") && !text.contains("expected"), "{text}");
    }
    assert!(world.history().is_empty());
}

#[test]
fn malformed_requests_get_the_status_that_says_why() {
    let world = World::with([App::new("shop")]).host("max_body = \"64KiB\"").up();
    let signed = |kind: &str, body: &str| {
        let request = Request::post("/webhook/shop").header("X-GitHub-Event", "push").header("Content-Type", kind);
        request.body(body).signed(SECRET)
    };
    send(&world, &signed("application/json", "{ not json")).is(400);
    send(&world, &signed("application/json", "[]")).is(400);
    send(&world, &signed("text/plain", "{}")).is(415);
    send(&world, &event("/webhook/nobody", "push", &json!({}))).is(404);
    send(&world, &Request::get("/nothing/here")).is(404);
    send(&world, &Request::get("/webhook")).is(405);
    send(&world, &Request::post("/health").body("")).is(405);
    let large = format!("{{\"x\":\"{}\"}}", "y".repeat(80 << 10));
    send(&world, &signed("application/json", &large)).is(413);
    send(&world, &Request::get("/health")).is(200);
    assert!(world.history().is_empty());
}

#[test]
fn a_form_body_is_signed_as_it_was_sent() {
    let world = World::of_a_shop();
    let body = payload::push("owner/shop", "main", &world.shop().version("v1", &[])).to_string();
    let encoded: String = body
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
            b' ' => "+".into(),
            _ => format!("%{byte:02X}"),
        })
        .collect();
    let request = Request::post("/webhook").header("X-GitHub-Event", "push");
    let request = request.header("Content-Type", "application/x-www-form-urlencoded");
    let reply = send(&world, &request.body(format!("payload={encoded}")).signed(SECRET));
    world.end_of(reply.accepted());
    world.shop().serves("v1");
}

#[test]
fn only_a_successful_run_of_the_named_workflow_deploys() {
    let app =
        App::new("shop").set("trigger", "on", "[\"workflow_run\"]").set("trigger", "workflow", "\"CI/CD Pipeline\"");
    let world = World::with([app]).up();
    let commit = world.shop().version("v1", &[]);
    let run = || payload::workflow_run("owner/shop", "CI/CD Pipeline", &commit);
    let changed = |path: &[&str], value: Value| {
        let mut body = run();
        let last = path.iter().fold(&mut body, |value, key| &mut value[*key]);
        *last = value;
        body
    };
    let mut renamed = changed(&["workflow_run", "name"], json!("Nightly"));
    renamed["workflow"]["name"] = json!("Nightly");
    let mut refused = vec![
        changed(&["action"], json!("requested")),
        changed(&["action"], json!("in_progress")),
        renamed,
        changed(&["workflow_run", "head_branch"], json!("other")),
        changed(&["workflow_run", "event"], json!("pull_request")),
        changed(&["workflow_run", "event"], json!("schedule")),
        changed(&["workflow_run", "head_repository", "full_name"], json!("mallory/shop")),
        changed(&["workflow_run", "head_repository"], Value::Null),
        changed(&["repository", "full_name"], json!("owner/other")),
    ];
    for conclusion in ["failure", "neutral", "cancelled", "timed_out", "action_required", "stale", "skipped"] {
        refused.push(changed(&["workflow_run", "conclusion"], json!(conclusion)));
    }
    refused.push(changed(&["workflow_run", "conclusion"], Value::Null));
    for body in &refused {
        send(&world, &event("/webhook", "workflow_run", body)).ignored();
    }
    send(&world, &event("/webhook", "push", &payload::push("owner/shop", "main", &commit))).ignored();
    assert!(world.history().is_empty());
    let reply = send(&world, &event("/webhook", "workflow_run", &run())).is(202);
    assert_eq!(reply.json()["message"], "Deployment triggered after successful CI/CD");
    world.end_of(reply.accepted());
    world.shop().serves("v1");
}

/// Examples that a forge publishes, where they are beside this project.
fn published(name: &str) -> Option<Vec<u8>> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/payloads");
    fs::read(dir.join(name)).ok()
}

#[test]
fn published_payloads_are_understood() {
    let app = |name: &str, repository: &str, on: &str| {
        let app = App::new(name).set("trigger", "repository", &format!("{repository:?}")).set("trigger", "on", on);
        app.set("source", "branch", "\"master\"")
    };
    let workflows = "[\"repository_dispatch\", \"push\"]";
    let world = World::with([
        app("pushed", "Codertocat/Hello-World", "[\"push\"]"),
        app("ran", "octo-org/octo-repo", "[\"workflow_run\"]").set("trigger", "workflow_events", workflows),
    ])
    .up();
    let cases = [
        ("ping.json", "ping", 200),
        ("push.json", "push", 200),
        ("push-1.json", "push", 200),
        ("push-with-new-branch.json", "push", 202),
        ("workflow_run-requested.with-conclusion.json", "workflow_run", 200),
        ("workflow_run-completed.json", "workflow_run", 202),
    ];
    let hand_made = payload::push("Codertocat/Hello-World", "master", &"6".repeat(40)).to_string().into_bytes();
    let mut all: Vec<(&str, &str, u16, Vec<u8>)> = vec![("by-hand", "push", 202, hand_made)];
    all.extend(cases.iter().filter_map(|(name, event, status)| Some((*name, *event, *status, published(name)?))));
    for (name, event, status, body) in all {
        let request = Request::post("/webhook").header("X-GitHub-Event", event).header("X-GitHub-Delivery", name);
        let request = request.header("Content-Type", "application/json").body(body).signed(SECRET);
        let reply = request.send(world.hook).unwrap();
        assert_eq!(reply.status, status, "{name}: {reply:?}");
        if status == 202 {
            world.end_of(reply.accepted());
        }
    }
}

#[test]
fn one_push_deploys_every_app_of_the_repository() {
    let mut world = World::with([]);
    world.add(App::new("prod").set("trigger", "repository", "\"owner/shop\""));
    let git = world.site("prod").repo.path.display().to_string();
    let test = App::new("test").set("trigger", "repository", "\"owner/shop\"");
    world.add(test.set("source", "git", &format!("{git:?}")));
    let world = world.up();
    let commit = world.site("prod").version("v1", &[]);
    let reply = event("/webhook", "push", &payload::push("owner/shop", "main", &commit)).send(world.hook).unwrap();
    let json = reply.is(202).json();
    let numbers: Vec<u64> = json["deployments"].as_array().unwrap().iter().filter_map(deployment_number).collect();
    assert_eq!(numbers.len(), 2, "{json}");
    numbers.iter().for_each(|number| drop(world.end_of(*number)));
    world.site("prod").serves("v1");
    world.site("test").serves("v1");
}

/// An entry of `deployments`: a number, or an object that has one.
fn deployment_number(entry: &Value) -> Option<u64> {
    entry.as_u64().or_else(|| entry["deployment"].as_u64()).or_else(|| entry["number"].as_u64())
}

#[test]
fn a_script_that_waits_gets_the_outcome() {
    let app = App::new("shop").set("deploy", "startup", "\"1s\"").step(
        "build",
        "compile",
        "echo compiling; ! grep v2 version",
    );
    let world = World::with([app]).up();
    let shop = world.shop();
    let wait = |commit: &str| send(&world, &event("/deploy/shop?wait=1", "", &json!({ "commit": commit })));
    let v1 = wait(&shop.version("v1", &[])).is(200).json();
    assert_eq!(v1["status"], "success", "{v1}");
    for key in ["deployment", "phase", "release", "log"] {
        assert!(!v1[key].is_null(), "{key} is missing in {v1}");
    }
    shop.serves("v1");
    let v2 = wait(&shop.version("v2", &[])).is(422).json();
    assert_eq!((v2["status"].as_str(), v2["phase"].as_str()), (Some("failed"), Some("build")), "{v2}");
    assert!(v2["log"].to_string().contains("compiling"), "{v2}");
    let v3 = wait(&shop.version("v3", &["health = fail", "rehearsal_health = ok"])).is(500).json();
    assert_eq!(v3["status"], "rolled_back", "{v3}");
    shop.serves("v1");
}

#[test]
fn a_manual_deploy_takes_both_shapes() {
    let world = World::of_a_shop();
    let shop = world.shop();
    let first = json!({ "ref": "refs/heads/main", "head_commit": { "id": shop.version("v1", &[]) } });
    world.end_of(send(&world, &event("/deploy", "", &first)).accepted());
    shop.serves("v1");
    let second = json!({ "commit": shop.version("v2", &[]) });
    world.end_of(send(&world, &event("/deploy/shop", "", &second)).accepted());
    shop.serves("v2");
    for bad in ["--upload-pack=x", "HEAD", "", "../../etc", "$(id)"] {
        let reply = send(&world, &event("/deploy/shop", "", &json!({ "commit": bad })));
        assert!(matches!(reply.status, 200 | 400 | 422), "{bad}: {reply:?}");
    }
    assert_eq!(world.history().len(), 2);
}

#[test]
fn waiting_scripts_do_not_hold_up_webhooks() {
    let (world, gate) = World::of_a_gated_shop();
    let commit = world.shop().version("v1", &[]);
    let body = json!({ "commit": commit });
    std::thread::scope(|scope| {
        let waiters: Vec<_> =
            (0..12).map(|_| scope.spawn(|| event("/deploy/shop?wait=1", "", &body).send(world.hook))).collect();
        wait_until("the deploy to begin", || (!world.history().is_empty()).then_some(()));
        let began = std::time::Instant::now();
        for _ in 0..5 {
            send(&world, &Request::get("/health")).is(200);
            send(&world, &event("/webhook", "ping", &json!({}))).is(200);
        }
        assert!(began.elapsed().as_secs() < 5, "ten requests took {:?} while others wait", began.elapsed());
        gate.open();
        let statuses: Vec<u16> = waiters.into_iter().map(|w| w.join().unwrap().unwrap().status).collect();
        assert!(statuses.contains(&200), "{statuses:?}");
    });
}

#[test]
fn any_of_several_secrets_may_sign() {
    let list = "[{ file = \"secrets/shop\" }, { env = \"NEXT_SECRET\" }]";
    let world = World::with([App::new("shop").set("trigger", "secret", list)]);
    let next = "the-next-secret-of-at-least-thirty-two-bytes";
    fs::write(world.config().join("pintle.env"), format!("NEXT_SECRET={next}\n")).unwrap();
    let world = world.up();
    for (version, secret) in [("v1", SECRET), ("v2", next)] {
        let body = payload::push("owner/shop", "main", &world.shop().version(version, &[]));
        let request = Request::post("/webhook").header("X-GitHub-Event", "push").json(&body).signed(secret);
        world.end_of(send(&world, &request).accepted());
        world.shop().serves(version);
    }
}

#[test]
fn without_a_daemon_the_listener_says_degraded_and_takes_nothing() {
    let world = World::of_a_shop();
    let daemon = Pid::from_raw(world.daemon_pid());
    let push = world.shop().push_request("main", &world.shop().version("v1", &[]));
    kill(daemon, Signal::SIGSTOP).unwrap();
    // What was seen a moment ago is told again for a second.
    let looked = || Some(send(&world, &Request::get("/health"))).filter(|reply| reply.status != 200);
    let health = crate::world::wait::wait_quietly(std::time::Duration::from_secs(10), looked);
    let delivery = send(&world, &push);
    kill(daemon, Signal::SIGCONT).unwrap();
    assert_eq!(health.expect("a health that is not well").is(503).json()["status"], "degraded");
    delivery.is(503);
    wait_until("health", || (send(&world, &Request::get("/health")).status == 200).then_some(()));
}

/// The listener's process.
fn listener(world: &World) -> i32 {
    world.wait("a listener", || {
        let pid = world.pintle(&["--json", "status"]).exits(0).json()["listener"]["pid"].as_i64();
        pid.and_then(|pid| i32::try_from(pid).ok())
    })
}

#[test]
fn an_ended_listener_finishes_what_it_began_and_nobody_is_refused() {
    let world = World::of_a_shop();
    let address = ("127.0.0.1", world.hook);
    let connect = || {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    };
    let end = |mut stream: TcpStream| {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    let mut begun = connect();
    begun.write_all(b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n{}").unwrap();
    let mut kept = connect();
    kept.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut start = [0; 12];
    kept.read_exact(&mut start).unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");

    let before = listener(&world);
    kill(Pid::from_raw(before), Signal::SIGTERM).unwrap();
    // It ends what is idle; the kept connection's end shows that it heard.
    assert!(end(kept).ends_with("\"service\":\"pintle\"}"));
    let mut newcomer = connect();
    newcomer.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    begun.write_all(b"{}").unwrap();
    let answer = end(begun);
    assert!(answer.starts_with("HTTP/1.1 401 ") && answer.contains("Connection: close"), "{answer}");
    let answer = end(newcomer);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_ne!(listener(&world), before);
}
