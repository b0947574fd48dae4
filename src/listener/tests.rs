//! The listener as clients meet it: real sockets in front, a played daemon behind.

mod hostile;
mod live;
mod openapi;
mod stage;

use super::courier::CARRIERS;
use super::routes::WAITERS;
use super::server::Socket;
use crate::base::{AppName, DeployId, WallTime};
use crate::config::TriggerEvent;
use crate::control::*;
use crate::delivery::AppTrigger;
use stage::*;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn a_push_is_handed_over_and_its_deployment_named() {
    let (_scratch, address) = stage(accepting(DeployStatus::Success, Phase::Done));
    for path in ["/webhook", "/webhook/", "/webhook/web", "/webhooks/github", "/"] {
        let got = post(address, path, "push", PUSH);
        assert_eq!(got.status, 202, "{path} {got:?}");
        let expected = r#"{"status":"success","message":"Deployment triggered by push","app":"web","deployment":42,"deployments":[{"app":"web","deployment":42}]}"#;
        assert_eq!(got.body, expected);
        assert_eq!(got.json()["deployment"], 42);
    }
    for path in ["/deploy", "/deploy/web", "/deploy?wait=0"] {
        let got = post(address, path, "", &deploy_body());
        assert_eq!((got.status, got.json()["message"].as_str()), (202, Some("Deployment triggered")), "{path}");
    }
}

#[test]
fn what_the_daemon_says_decides_the_answer() {
    let ignored = |reason| {
        vec![Verdict::Ignored {
            app: AppName::new("web").unwrap(),
            why: "so".into(),
            reason,
            deployment: None,
            state: None,
        }]
    };
    let answers = [
        (Answer::Delivered { verdicts: ignored(Ignored::Duplicate) }, 200, 200),
        (Answer::Delivered { verdicts: ignored(Ignored::Live) }, 200, 200),
        (Answer::Delivered { verdicts: ignored(Ignored::Older) }, 200, 422),
        (Answer::Delivered { verdicts: ignored(Ignored::Quarantined) }, 200, 422),
        (Answer::Delivered { verdicts: ignored(Ignored::UnknownApp) }, 404, 404),
        (Answer::Delivered { verdicts: vec![] }, 200, 200),
        (Answer::Error { exit: 1, message: "write /var/lib/pintle/pintle.db: full".into() }, 503, 503),
        (Answer::Pong, 503, 503),
    ];
    for (answer, plain, waiting) in answers {
        let said = answer.clone();
        let (_scratch, address) = stage(move |_, stream| say(stream, &said));
        for (path, expected) in [("/deploy", plain), ("/deploy?wait=1", waiting)] {
            let got = post(address, path, "", &deploy_body());
            assert_eq!(got.status, expected, "{path} {answer:?} {got:?}");
            assert!(!got.body.contains("/var/lib"), "{got:?}");
            assert_eq!(got.head.contains("Retry-After"), expected == 503, "{got:?}");
            if expected == 200 {
                assert_eq!(got.json()["status"], "ignored");
            }
        }
    }
}

#[test]
fn a_waiting_caller_gets_the_end_and_the_log() {
    let cases = [
        (DeployStatus::Success, Phase::Done, 200, "success"),
        (DeployStatus::Failed, Phase::Build, 422, "failed"),
        (DeployStatus::Failed, Phase::Verify, 500, "failed"),
        (DeployStatus::RolledBack, Phase::Rollback, 500, "rolled_back"),
        (DeployStatus::RollbackFailed, Phase::Rollback, 503, "rollback_failed"),
    ];
    for (status, phase, code, word) in cases {
        let (_scratch, address) = stage(accepting(status, phase));
        let got = post(address, "/deploy/web?wait=1", "", &deploy_body());
        let json = got.json();
        assert_eq!((got.status, json["status"].as_str()), (code, Some(word)), "{got:?}");
        assert_eq!(json["deployment"], 42);
        assert_eq!(json["phase"], phase.as_str());
        assert_eq!(json["release"], "000042-4f2a1c9");
        assert_eq!(json["log"], "building\n");
    }
    let (_scratch, address) = stage(|request, stream| match request {
        Request::Deliver(delivery) => {
            say(stream, &Answer::Delivered { verdicts: accept(&delivery, DeployStatus::Waiting) })
        }
        other => panic!("{other:?}"),
    });
    let got = post(address, "/deploy?wait=1", "", &deploy_body());
    assert_eq!(
        (got.status, got.json()["status"].as_str()),
        (202, Some("waiting")),
        "it waits for a person or a window"
    );
    let got = post(address, "/deploy", "", &deploy_body()).json();
    assert_eq!((got["status"].as_str(), got["deployments"][0]["state"].as_str()), (Some("success"), Some("waiting")));
}

#[test]
fn a_caller_hears_at_once_that_a_deployment_waits_which_met_a_gate_at_its_turn() {
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let (_scratch, address) = stage(move |request, stream| match request {
        Request::Deliver(delivery) => {
            say(stream, &Answer::Delivered { verdicts: accept(&delivery, DeployStatus::Queued) })
        }
        Request::Follow { .. } => {
            say(stream, &Answer::Stream);
            say(stream, &Followed::Log { line: "waits for `pintle approve 42`".into() });
            // Its end is not waited for.
            held.pass();
        }
        other => panic!("{other:?}"),
    });
    let got = post(address, "/deploy?wait=1", "", &deploy_body());
    gate.open();
    assert_eq!((got.status, got.json()["status"].as_str()), (202, Some("waiting")), "{got:?}");
    assert_eq!(got.json()["deployment"], 42);

    // What a step says is only its own.
    let (_scratch, address) = stage(move |request, stream| match request {
        Request::Deliver(delivery) => {
            say(stream, &Answer::Delivered { verdicts: accept(&delivery, DeployStatus::Queued) })
        }
        Request::Follow { number } => {
            say(stream, &Answer::Stream);
            say(stream, &Followed::Phase { phase: Phase::Build, number });
            say(stream, &Followed::Log { line: "waits for the compiler".into() });
            say(stream, &end(number, DeployStatus::Success, Phase::Done));
        }
        other => panic!("{other:?}"),
    });
    assert_eq!(post(address, "/deploy?wait=1", "", &deploy_body()).status, 200);
}

#[test]
fn of_several_apps_the_worst_answers() {
    let scratch = Scratch::new();
    play(&scratch, |request, stream| match request {
        Request::Deliver(delivery) => {
            say(stream, &Answer::Delivered { verdicts: accept(&delivery, DeployStatus::Running) })
        }
        Request::Follow { number } => {
            say(stream, &Answer::Stream);
            let (status, phase) = match number.0 {
                42 => (DeployStatus::RolledBack, Phase::Rollback),
                _ => (DeployStatus::Success, Phase::Done),
            };
            say(stream, &end(number, status, phase));
        }
        other => panic!("{other:?}"),
    });
    let address = listen_with(&scratch, vec![app("prod"), app("test")]);
    let got = post(address, "/deploy?wait=1", "", &deploy_body());
    let json = got.json();
    assert_eq!((got.status, json["app"].as_str()), (500, Some("prod")), "{got:?}");
    assert_eq!(json["deployments"][1]["status"], "success");
    let listed = post(address, "/webhook", "push", PUSH).json();
    assert_eq!(listed["deployments"].as_array().unwrap().len(), 2);
}

#[test]
fn waiting_callers_hold_up_nobody_and_are_bounded() {
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let play = accepting(DeployStatus::Success, Phase::Done);
    let (_scratch, address) = stage(move |request, stream| {
        if matches!(request, Request::Follow { .. }) {
            held.pass();
        }
        play(request, stream);
    });
    let caller = || thread::spawn(move || post(address, "/deploy?wait=1", "", &deploy_body()).status);
    let callers: Vec<_> = (0..WAITERS).map(|_| caller()).collect();
    wait_until("every caller waits", || gate.waiting() == WAITERS);
    assert_eq!(get(address, "GET", "/health").status, 200);
    assert_eq!(post(address, "/webhook", "push", PUSH).status, 202);
    let refused = post(address, "/deploy?wait=1", "", &deploy_body());
    assert_eq!(refused.status, 503);
    assert!(refused.head.contains("Retry-After: "), "{refused:?}");
    gate.open();
    for caller in callers {
        assert_eq!(caller.join().unwrap(), 200);
    }
    assert_eq!(post(address, "/deploy?wait=1", "", &deploy_body()).status, 200, "seats are free again");
}

#[test]
fn a_slow_daemon_holds_up_deliveries_but_not_pages() {
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let play = accepting(DeployStatus::Success, Phase::Done);
    let (_scratch, address) = stage(move |request, stream| {
        if matches!(request, Request::Deliver(_)) {
            held.pass();
        }
        play(request, stream);
    });
    let senders: Vec<_> =
        (0..8).map(|_| thread::spawn(move || post(address, "/webhook", "push", PUSH).status)).collect();
    wait_until("every way to the daemon is taken", || gate.waiting() == CARRIERS);
    assert_eq!(get(address, "GET", "/health").status, 200);
    gate.open();
    for sender in senders {
        assert_eq!(sender.join().unwrap(), 202);
    }
}

#[test]
fn a_daemon_that_comes_back_is_asked_again_and_one_that_does_not_is_503() {
    let scratch = Scratch::new();
    let address = listen(&scratch);
    let began = Instant::now();
    let health = get(address, "GET", "/health");
    assert_eq!((health.status, health.json()["status"].as_str()), (503, Some("degraded")));
    assert_eq!(get(address, "GET", "/status").status, 503);
    let sender = thread::spawn(move || post(address, "/webhook", "push", PUSH).status);
    assert_eq!(post(address, "/webhook/web", "push", PUSH).status, 503);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(sender.join().unwrap(), 503);

    let sender = thread::spawn(move || post(address, "/deploy?wait=1", "", &deploy_body()));
    // The first follower is cut off in the middle, as by a daemon that is killed; the second hears it from the start.
    let follows = AtomicUsize::new(0);
    let part = accepting(DeployStatus::Success, Phase::Done);
    play(&scratch, move |request, stream| {
        if matches!(request, Request::Follow { .. }) && follows.fetch_add(1, Ordering::SeqCst) == 0 {
            say(stream, &Answer::Stream);
            say(stream, &Followed::Log { line: "building".into() });
            stream.shutdown(std::net::Shutdown::Both).unwrap();
            return;
        }
        part(request, stream);
    });
    let got = sender.join().unwrap();
    assert_eq!((got.status, got.json()["log"].as_str()), (200, Some("building\n")), "{got:?}");
}

#[test]
fn pages_show_states_and_nothing_else() {
    let (_scratch, address) = stage(|request, stream| match request {
        Request::Ping => say(stream, &Answer::Pong),
        Request::PublicStatus => {
            let public = PublicApp {
                app: AppName::new("web").unwrap(),
                state: AppState::Degraded,
                release: None,
                commit: None,
                deploying: None,
                services: vec![],
                deployments: vec![PublicDeployment {
                    number: DeployId(42),
                    commit: Some(COMMIT.into()),
                    status: DeployStatus::Success,
                    started: WallTime(1_761_336_000_000),
                    finished: None,
                    phase: Some(Phase::Probation),
                    trigger: Some(Trigger::Webhook),
                    message: Some("read /srv/shop: no".into()),
                }],
            };
            say(stream, &Answer::PublicStatus(PublicStatus { apps: vec![public] }));
        }
        other => panic!("{other:?}"),
    });
    for path in ["/health", "/webhook-health"] {
        let got = get(address, "GET", path);
        assert_eq!(got.status, 200);
        let time = got.json()["timestamp"].as_str().unwrap().to_owned();
        assert!(time.parse::<WallTime>().is_ok() && time.len() == 20, "{time}");
        assert_eq!(got.body, format!(r#"{{"status":"healthy","timestamp":"{time}","service":"pintle"}}"#));
        let head = get(address, "HEAD", path);
        assert_eq!((head.status, head.body.as_str()), (200, ""));
        assert!(head.head.contains(&format!("Content-Length: {}", got.body.len())), "{head:?}");
    }
    let status = get(address, "GET", "/status").json();
    assert_eq!((&status["webhook_status"], &status["app_status"]), (&"running".into(), &"running".into()));
    assert_eq!(status["apps"][0]["state"], "degraded");
    assert_eq!(status["apps"][0]["deployments"][0]["started"], "2025-10-24T20:00:00Z");
}

#[test]
fn the_wrong_door_and_the_wrong_method() {
    let (_scratch, address) = stage(accepting(DeployStatus::Success, Phase::Done));
    let cases = [
        ("GET", "/nowhere", 404, ""),
        ("GET", "/webhook/a/b", 404, ""),
        ("POST", "/webhooks/nobody", 404, ""),
        ("POST", "/webhooks/gitlab", 404, ""),
        ("POST", "/webhook/nobody", 404, ""),
        ("POST", "/deploy/..", 404, ""),
        ("GET", "/webhook", 405, "POST"),
        ("DELETE", "/deploy", 405, "POST"),
        ("POST", "/health", 405, "GET, HEAD"),
        ("PUT", "/status", 405, "GET, HEAD"),
        ("POST", "/webhook", 401, ""),
        ("GET", "nowhere", 400, ""),
    ];
    for (method, path, status, allow) in cases {
        let got = get(address, method, path);
        assert_eq!(got.status, status, "{method} {path} {got:?}");
        assert_eq!(got.json()["status"], "error");
        assert_eq!(got.head.contains(&format!("Allow: {allow}\r\n")), !allow.is_empty(), "{got:?}");
    }
    let forged = String::from_utf8(signed("/webhook", "push", PUSH)).unwrap().replace("sha256=", "sha256=00");
    let got = exchange(connect(address), forged.as_bytes());
    assert_eq!((got.status, got.json()["message"].as_str()), (401, Some("bad or missing signature")));
    let text = String::from_utf8(signed("/webhook", "push", PUSH)).unwrap().replace("application/json", "text/plain");
    assert_eq!(exchange(connect(address), text.as_bytes()).status, 415);
    assert_eq!(post(address, "/webhook", "push", b"{").status, 400);
    let ping = post(address, "/webhook", "ping", b"{\"zen\":\"\"}");
    assert_eq!((ping.status, ping.json()["status"].as_str()), (200, Some("ignored")));
}

#[test]
fn bodies_are_measured_before_they_are_read() {
    let (_scratch, address) = stage(accepting(DeployStatus::Success, Phase::Done));
    let announce = |length: &str| {
        let mut stream = connect(address);
        let head = format!("POST /webhook HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        // Not a byte of the body is sent. An interim 100 may come before the answer.
        let mut text = String::new();
        let mut chunk = [0; 4096];
        while !text.ends_with('}') {
            let read = stream.read(&mut chunk).unwrap();
            assert!(read > 0, "{length}: closed after {text:?}");
            text.push_str(std::str::from_utf8(&chunk[..read]).unwrap());
        }
        let answer = text.find("HTTP/1.1 4").unwrap_or_else(|| panic!("{length}: {text:?}"));
        got(&text[answer..]).status
    };
    for too_large in ["1048577", "67108865", "10000000000000", "18000000000000000000"] {
        assert_eq!(announce(&format!("Content-Length: {too_large}")), 413, "{too_large}");
    }
    for unclear in [
        "Content-Length: -1",
        "Content-Length: 99999999999999999999999",
        "Content-Length: +5000",
        "Content-Length: 2000\r\nContent-Length: 3000",
        "Content-Length: 2000\r\nTransfer-Encoding: chunked",
    ] {
        assert_eq!(announce(unclear), 400, "{unclear}");
    }
    let largest = vec![b'x'; MAX_BODY as usize];
    assert_eq!(post(address, "/webhook", "push", &largest).status, 400, "read, verified, and no JSON");
    let chunked = format!(
        "POST /webhook HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nX-GitHub-Event: push\r\n\
         X-Hub-Signature-256: {}\r\n\r\n{:x}\r\n{}\r\n0\r\n\r\n",
        sign(PUSH),
        PUSH.len(),
        std::str::from_utf8(PUSH).unwrap()
    );
    assert_eq!(exchange(connect(address), chunked.as_bytes()).status, 202);
    assert_eq!(get(address, "GET", "/health").status, 200, "and it lives");
}

#[test]
fn it_answers_on_a_unix_socket_too() {
    let scratch = Scratch::new();
    play(&scratch, accepting(DeployStatus::Success, Phase::Done));
    let path = scratch.dir.join("public.sock");
    let socket = UnixListener::bind(&path).unwrap();
    serve(&scratch, Socket::Unix(socket), setup(&scratch, vec![app("web")]));
    let got = exchange(UnixStream::connect(&path).unwrap(), &signed("/webhook", "push", PUSH));
    assert_eq!(got.status, 202, "{got:?}");
}

#[test]
fn published_payloads_of_github_are_understood() {
    let scratch = Scratch::new();
    play(&scratch, accepting(DeployStatus::Success, Phase::Done));
    let on = |name: &str, event| AppTrigger {
        on: vec![event],
        branch: "master".into(),
        workflow_events: vec!["repository_dispatch".into()],
        ..app(name)
    };
    let apps = vec![on("pushed", TriggerEvent::Push), on("built", TriggerEvent::WorkflowRun), app("main")];
    let address = listen_with(&scratch, apps);
    let tests = env!("CARGO_MANIFEST_DIR");
    // Our own first; GitHub's published examples where they lie beside the project.
    let cases = [
        ("tests/payloads/push.json", "push", 202),
        ("tests/payloads/push-tag.json", "push", 200),
        ("tests/payloads/push-deleted.json", "push", 200),
        ("tests/payloads/ping.json", "ping", 200),
        ("../shared/payloads/ping.json", "ping", 200),
        ("../shared/payloads/push.json", "push", 200),
        ("../shared/payloads/push-1.json", "push", 200),
        ("../shared/payloads/push-with-new-branch.json", "push", 202),
        ("../shared/payloads/workflow_run-completed.json", "workflow_run", 202),
        ("../shared/payloads/workflow_run-requested.with-conclusion.json", "workflow_run", 200),
    ];
    let mut seen = 0;
    for (path, event, status) in cases {
        let Ok(body) = std::fs::read(PathBuf::from(tests).join(path)) else { continue };
        seen += 1;
        let got = post(address, "/webhook", event, &body);
        assert_eq!(got.status, status, "{path} {got:?}");
        if event == "workflow_run" && status == 202 {
            assert_eq!(got.json()["message"], "Deployment triggered after successful CI/CD");
            assert_eq!(got.json()["app"], "built");
        }
    }
    assert!(seen >= 4, "the project's own payloads are there");
}
