//! Live logs: who gets one, how it reads, how it goes on.

use super::stage::*;
use crate::control::*;
use crate::delivery::signature::Key;
use crate::listener::Setup;
use crate::listener::routes::LISTENERS;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

const LOG: &str = "/api/deployments/42/log";

/// Tells a story of five lines, a step and an end.
fn tell(stream: &mut UnixStream) {
    let number = crate::base::DeployId(42);
    let log = |line: &str| Followed::Log { line: line.into() };
    let step = StepReport {
        name: "compile".into(),
        phase: Phase::Build,
        status: StepStatus::Success,
        exit: Some(0),
        duration_seconds: 1.25,
    };
    say(stream, &Answer::Stream);
    for line in [
        Followed::Phase { phase: Phase::Fetch, number },
        log("fetching"),
        Followed::Phase { phase: Phase::Build, number },
        log("compiling"),
        Followed::Step(step),
        log("ü done"),
        end(number, DeployStatus::Success, Phase::Done),
    ] {
        say(stream, &line);
    }
}

const TEXT: &str = "== fetch\nfetching\n== build\ncompiling\n-- compile: success after 1.2s\nü done\n\
                    == end status=success exit=0 deployment=42 phase=done release=000042-4f2a1c9\n";

fn teller() -> impl Fn(Request, &mut UnixStream) {
    |request, stream| match request {
        Request::Follow { number } if number.0 == 42 => tell(stream),
        Request::Follow { .. } => say(stream, &Answer::Error { exit: 77, message: "not of the listener".into() }),
        Request::PublicStatus => say(stream, &Answer::PublicStatus(PublicStatus { apps: vec![] })),
        other => panic!("{other:?}"),
    }
}

fn ask(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Got {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    exchange(connect(address), request.as_bytes())
}

#[test]
fn a_log_is_text_and_its_last_line_says_how_it_ended() {
    let (_scratch, address) = stage(teller());
    let got = ask(address, "GET", LOG, &[]);
    assert_eq!((got.status, got.body.as_str()), (200, TEXT));
    assert!(got.head.contains("Content-Type: text/plain; charset=utf-8"), "{got:?}");
    assert!(got.head.contains("Transfer-Encoding: chunked"), "{got:?}");
    let head = ask(address, "HEAD", LOG, &[]);
    assert_eq!((head.status, head.body.as_str()), (200, ""), "{head:?}");
    let old = exchange(connect(address), format!("GET {LOG} HTTP/1.0\r\nHost: x\r\n\r\n").as_bytes());
    assert_eq!((old.status, old.body.as_str()), (200, TEXT), "no chunks for a client that knows none");
    assert!(!old.head.contains("chunked"), "{old:?}");
}

#[test]
fn events_carry_ids_and_a_client_goes_on_where_it_was() {
    let (_scratch, address) = stage(teller());
    let accept = ("Accept", "text/event-stream");
    let whole = ask(address, "GET", LOG, &[accept]);
    assert_eq!(whole.status, 200);
    assert!(whole.head.contains("Content-Type: text/event-stream"), "{whole:?}");
    let ids = |got: &Got| -> Vec<String> {
        got.body.lines().filter_map(|line| line.strip_prefix("id: ")).map(str::to_owned).collect()
    };
    assert_eq!(ids(&whole), ["1", "2", "3", "4", "5", "end"]);
    let end = r#"data: {"event":"end","number":42,"status":"success","exit":0,"phase":"done","release":"000042-4f2a1c9","message":null}"#;
    assert!(whole.body.ends_with(&format!("event: end\nid: end\n{end}\n\n")), "{whole:?}");
    assert!(whole.body.contains("event: log\nid: 2\ndata: {\"event\":\"log\",\"line\":\"fetching\"}\n\n"), "{whole:?}");

    let rest = ask(address, "GET", LOG, &[accept, ("Last-Event-ID", "4")]);
    assert_eq!(ids(&rest), ["5", "end"], "{rest:?}");
    let rest = ask(address, "GET", LOG, &[("Last-Event-ID", "4")]);
    assert!(rest.body.starts_with("-- compile: success after 1.2s\nü done\n== end"), "{rest:?}");
    let over = ask(address, "GET", LOG, &[accept, ("Last-Event-ID", "end")]);
    assert_eq!((over.status, over.body.as_str()), (204, ""), "a browser need not come again");
}

#[test]
fn a_daemon_that_comes_back_goes_on_with_the_story() {
    let scratch = Scratch::new();
    let follows = AtomicUsize::new(0);
    play(&scratch, move |_, stream| {
        if follows.fetch_add(1, Ordering::SeqCst) > 0 {
            return tell(stream);
        }
        say(stream, &Answer::Stream);
        say(stream, &Followed::Phase { phase: Phase::Fetch, number: crate::base::DeployId(42) });
        say(stream, &Followed::Log { line: "fetching".into() });
        stream.shutdown(std::net::Shutdown::Both).unwrap();
    });
    assert_eq!(ask(listen(&scratch), "GET", LOG, &[]).body, TEXT);
}

#[test]
fn a_daemon_that_stays_away_is_said() {
    let scratch = Scratch::new();
    play(&scratch, |_, stream| {
        say(stream, &Answer::Stream);
        say(stream, &Followed::Log { line: "fetching".into() });
        stream.shutdown(std::net::Shutdown::Both).unwrap();
    });
    let address = listen(&scratch);
    let text = ask(address, "GET", LOG, &[]).body;
    assert!(text.ends_with("\n== end status=unknown exit=69 deployment=42\n"), "{text}");
    let events = ask(address, "GET", LOG, &[("Accept", "text/event-stream")]).body;
    assert!(events.contains("fetching") && !events.contains("event: end"), "{events}");
    let (_scratch, nobody) = stage(|_, stream| say(stream, &Answer::Error { exit: 3, message: "/var: no".into() }));
    let got = ask(nobody, "GET", LOG, &[]);
    assert!(got.status == 503 && !got.body.contains("/var"), "{got:?}");
}

#[test]
fn only_deployments_from_outside_have_a_log_here() {
    let (_scratch, address) = stage(teller());
    for path in ["/api/deployments/43/log", "/api/deployments/x/log", "/api/deployments/+42/log", "/api/deployments/42"]
    {
        assert_eq!(ask(address, "GET", path, &[]).status, 404, "{path}");
    }
    let got = ask(address, "POST", LOG, &[("Content-Length", "0")]);
    assert!(got.status == 405 && got.head.contains("Allow: GET, HEAD"), "{got:?}");
}

#[test]
fn the_token_opens_what_is_not_for_everybody() {
    let scratch = Scratch::new();
    play(&scratch, teller());
    let with = |dashboard: bool, token: Option<&str>| {
        let token = token.map(|token| Key(token.as_bytes().to_vec()));
        listen_as(&scratch, Setup { dashboard, token, ..setup(&scratch, vec![app("web")]) })
    };
    let (closed, near, off) = (with(true, Some("let-me-in")), with(true, None), with(false, None));
    let bearer = |token: &'static str| ("Authorization", token);
    for path in [LOG, "/api/status"] {
        assert_eq!(ask(closed, "GET", path, &[bearer("Bearer let-me-in")]).status, 200, "{path}");
        for wrong in [&[][..], &[bearer("Bearer let-me-out")], &[bearer("Basic bGV0LW1lLWlu")]] {
            let got = ask(closed, "GET", path, wrong);
            assert!(got.status == 401 && got.head.contains("WWW-Authenticate: Bearer"), "{path} {got:?}");
        }
        assert_eq!(ask(near, "GET", path, &[]).status, 200, "{path}");
        assert_eq!(ask(near, "GET", path, &[("X-Forwarded-For", "192.0.2.1")]).status, 401, "{path}");
        assert_eq!(ask(off, "GET", path, &[]).status, 404, "{path}");
    }
    assert_eq!(ask(closed, "GET", "/status", &[]).status, 200);
    assert_eq!(ask(closed, "GET", "/status", &[bearer("Bearer let-me-out")]).status, 401);
    assert_eq!(ask(off, "GET", "/health", &[]).status, 503, "which this daemon does not know how to answer");
}

#[test]
fn who_guesses_tokens_waits() {
    let scratch = Scratch::new();
    play(&scratch, teller());
    let rate = crate::listener::guard::Rate { count: 8, per: Duration::from_secs(600) };
    let limits = crate::listener::guard::Limits { rate, ..limits() };
    let token = Some(Key(b"let-me-in".to_vec()));
    let address = listen_as(&scratch, Setup { limits, token, ..setup(&scratch, vec![app("web")]) });
    let guess = |path: &str| ask(address, "GET", path, &[("Authorization", "Bearer let-me-out")]);
    assert_eq!([guess(LOG).status, guess("/status").status], [401, 401]);
    let late = guess("/api/status");
    assert!(late.status == 429 && late.head.contains("Retry-After: "), "each counted fourfold: {late:?}");
    assert_eq!(ask(address, "GET", LOG, &[("Authorization", "Bearer let-me-in")]).status, 429);
    assert_eq!(ask(address, "GET", "/health", &[]).status, 503, "asked of a daemon that does not know how to answer");
}

#[test]
fn a_signed_caller_hears_its_deploy_as_it_happens() {
    let (_scratch, address) = stage(|request, stream| match request {
        Request::Deliver(delivery) => {
            say(stream, &Answer::Delivered { verdicts: accept(&delivery, DeployStatus::Queued) })
        }
        Request::Follow { .. } => tell(stream),
        other => panic!("{other:?}"),
    });
    let accepted = r#"{"status":"success","message":"Deployment triggered","app":"web","deployment":42,"deployments":[{"app":"web","deployment":42}]}"#;
    for path in ["/deploy?follow=1", "/deploy/web?wait=1&follow=1"] {
        let got = post(address, path, "", &deploy_body());
        assert_eq!((got.status, got.body), (202, format!("-- {accepted}\n{TEXT}")), "{path}");
    }
    let signed = String::from_utf8(signed("/deploy?wait=1", "", &deploy_body())).unwrap();
    let events = signed.replace("Host: x", "Host: x\r\nAccept: text/event-stream");
    let got = exchange(connect(address), events.as_bytes());
    assert_eq!(got.status, 202);
    assert!(got.body.starts_with(&format!("event: accepted\ndata: {accepted}\n\nevent: phase\nid: 1\n")), "{got:?}");
    assert!(got.body.contains("event: end\n"), "{got:?}");
    let unsigned = events.replace("sha256=", "sha256=00");
    assert_eq!(exchange(connect(address), unsigned.as_bytes()).status, 401);
}

#[test]
fn of_several_deployments_the_worst_is_the_last_line() {
    let scratch = Scratch::new();
    play(&scratch, |request, stream| match request {
        Request::Deliver(delivery) => {
            say(stream, &Answer::Delivered { verdicts: accept(&delivery, DeployStatus::Running) })
        }
        Request::Follow { number } => {
            say(stream, &Answer::Stream);
            let (status, exit) =
                if number.0 == 42 { (DeployStatus::RolledBack, 4) } else { (DeployStatus::Success, 0) };
            let phase = Phase::Done;
            say(stream, &Followed::End { number, status, exit, phase, release: None, message: None });
        }
        other => panic!("{other:?}"),
    });
    let address = listen_with(&scratch, vec![app("prod"), app("test")]);
    let got = post(address, "/deploy?follow=1", "", &deploy_body());
    let lines: Vec<&str> = got.body.lines().skip(1).collect();
    let expected = [
        "== end status=rolled_back exit=4 deployment=42 phase=done",
        "== end status=success exit=0 deployment=43 phase=done",
        "== end status=rolled_back exit=4 deployments=2",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn listeners_are_bounded_and_hold_up_nobody() {
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let (_scratch, address) = stage(move |request, stream| match request {
        Request::Follow { .. } => {
            say(stream, &Answer::Stream);
            say(stream, &Followed::Log { line: "begun".into() });
            held.pass();
            say(stream, &end(crate::base::DeployId(42), DeployStatus::Success, Phase::Done));
        }
        Request::Ping => say(stream, &Answer::Pong),
        Request::Deliver(delivery) => {
            say(stream, &Answer::Delivered { verdicts: accept(&delivery, DeployStatus::Queued) })
        }
        other => panic!("{other:?}"),
    });
    let listeners: Vec<_> =
        (0..LISTENERS).map(|_| thread::spawn(move || ask(address, "GET", LOG, &[]).status)).collect();
    wait_until("everybody listens", || gate.waiting() == LISTENERS);
    let refused = ask(address, "GET", LOG, &[]);
    assert!(refused.status == 503 && refused.head.contains("Retry-After: "), "{refused:?}");
    assert_eq!(get(address, "GET", "/health").status, 200);
    assert_eq!(post(address, "/webhook", "push", PUSH).status, 202);
    gate.open();
    for listener in listeners {
        assert_eq!(listener.join().unwrap(), 200);
    }
    wait_until("seats are free again", || ask(address, "GET", LOG, &[]).status == 200);
}

#[test]
fn what_is_said_is_sent_at_once() {
    let gate = Arc::new(Gate::default());
    let held = Arc::clone(&gate);
    let (_scratch, address) = stage(move |_, stream| {
        say(stream, &Answer::Stream);
        say(stream, &Followed::Log { line: "begun".into() });
        held.pass();
        say(stream, &end(crate::base::DeployId(42), DeployStatus::Success, Phase::Done));
    });
    let mut client = connect(address);
    client.write_all(format!("GET {LOG} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    let mut heard = Vec::new();
    while !heard.ends_with(b"6\r\nbegun\n\r\n") {
        let mut piece = [0; 512];
        let read = client.read(&mut piece).unwrap();
        assert!(read > 0, "{:?}", String::from_utf8_lossy(&heard));
        heard.extend_from_slice(&piece[..read]);
    }
    gate.open();
    client.read_to_end(&mut heard).unwrap();
    assert!(heard.ends_with(b"\r\n0\r\n\r\n"), "{:?}", String::from_utf8_lossy(&heard));
}

#[test]
fn a_flood_of_looks_is_one_question_a_second() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let (_scratch, address) = stage(move |request, stream| {
        count.fetch_add(1, Ordering::SeqCst);
        match request {
            Request::Ping => say(stream, &Answer::Pong),
            _ => say(stream, &Answer::PublicStatus(PublicStatus { apps: vec![] })),
        }
    });
    let began = std::time::Instant::now();
    let looker = || {
        thread::spawn(move || {
            for path in ["/health", "/status", "/webhook-health", "/api/status"].into_iter().cycle().take(100) {
                assert_eq!(get(address, "GET", path).status, 200);
            }
        })
    };
    let lookers: Vec<_> = (0..4).map(|_| looker()).collect();
    lookers.into_iter().for_each(|looker| looker.join().unwrap());
    let bound = 2 * (1 + usize::try_from(began.elapsed().as_secs()).unwrap());
    let asked = asked.load(Ordering::SeqCst);
    assert!((2..=bound).contains(&asked), "{asked} questions, at most {bound} expected");
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}
