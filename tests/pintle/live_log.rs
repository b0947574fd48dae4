//! The live log of a deployment over HTTP, as curl and browsers hear it.

use crate::world::site::SECRET;
use crate::world::{App, Gate, Request, World, wait_until, write_secret};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// curl, with what it wrote so far.
struct Curl {
    child: Child,
    output: PathBuf,
}

impl Curl {
    fn start(world: &World, name: &str, args: &[&str]) -> Curl {
        let output = world.root.join(name);
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--no-buffer", "--fail-with-body"]).args(args);
        curl.stdin(Stdio::null()).stdout(File::create(&output).unwrap());
        Curl { child: curl.spawn().unwrap(), output }
    }
    fn said(&self) -> String {
        fs::read_to_string(&self.output).unwrap()
    }
    #[track_caller]
    fn wait_for(&self, text: &str) {
        wait_until(&format!("{text:?} in what curl hears"), || self.said().contains(text).then_some(()));
    }
    /// Waits until it ends well; all it heard.
    #[track_caller]
    fn end(mut self) -> String {
        let status = wait_until("the end of curl", || self.child.try_wait().unwrap());
        assert!(status.success(), "curl: {status}; it heard:\n{}", self.said());
        self.said()
    }
    /// Waits until it ends badly; all it heard.
    #[track_caller]
    fn breaks(mut self) -> String {
        let status = wait_until("the end of curl", || self.child.try_wait().unwrap());
        assert!(!status.success(), "curl heard an end:\n{}", self.said());
        self.said()
    }
}

impl Drop for Curl {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A shop whose build says `begun`, waits at a gate, and says `done`.
fn gated() -> (World, Gate) {
    let mut world = World::with([]);
    let gate = Gate::closed(&world.root);
    world.add(App::new("shop").step("build", "compile", &format!("echo begun; {}; echo done", gate.wait())));
    (world.up(), gate)
}

fn push(world: &World, version: &str) -> u64 {
    let commit = world.shop().version(version, &[]);
    world.shop().send(&world.shop().push_request("main", &commit)).accepted()
}

fn path_of(number: u64) -> String {
    format!("/api/deployments/{number}/log")
}

fn url(world: &World, number: u64) -> String {
    format!("http://127.0.0.1:{}{}", world.hook, path_of(number))
}

const EVENTS: [&str; 2] = ["--header", "Accept: text/event-stream"];

/// The documents behind `data:`, with their ids.
fn events(heard: &str) -> Vec<(Option<String>, Value)> {
    let event = |event: &str| {
        let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        Some((field("id: "), serde_json::from_str(&field("data: ")?).unwrap()))
    };
    heard.split_inclusive("\n\n").filter(|event| event.ends_with("\n\n")).filter_map(event).collect()
}

fn last_place(events: &[(Option<String>, Value)]) -> u64 {
    events.iter().rev().find_map(|(id, _)| id.as_ref()?.parse().ok()).unwrap()
}

#[test]
#[ignore = "needs curl"]
fn curl_hears_a_deploy_as_it_happens() {
    let (world, gate) = gated();
    let number = push(&world, "v1");
    let text = Curl::start(&world, "text", &[&url(&world, number)]);
    let live = Curl::start(&world, "events", &[&EVENTS[..], &[&url(&world, number)]].concat());
    text.wait_for("\nbegun\n");
    live.wait_for("\"line\":\"begun\"}\n\n");
    let half = events(&live.said());
    assert!(!text.said().contains("\ndone\n"));
    gate.open();
    let (text, live) = (text.end(), live.end());
    let release = world.end_of(number).deployment.release.unwrap();
    let last = format!("== end status=success exit=0 deployment={number} phase=done release={release}");
    assert_eq!(text.lines().last(), Some(last.as_str()), "{text}");
    assert!(text.contains("\nbegun\ndone\n") && text.contains("-- compile: success after "), "{text}");
    let live = events(&live);
    assert_eq!(live.last().unwrap().1["status"], "success");
    let lines: Vec<&Value> = live.iter().map(|(_, event)| &event["line"]).filter(|line| !line.is_null()).collect();
    assert!(lines.contains(&&json!("begun")) && lines.contains(&&json!("done")), "{lines:?}");

    // Who lost its connection half way hears the rest and nothing twice.
    let get = |id: &str| {
        let request = Request::get(&path_of(number)).header("Accept", "text/event-stream");
        request.header("Last-Event-ID", id).send(world.hook).unwrap()
    };
    let rest = events(&get(&last_place(&half).to_string()).is(200).body);
    let places = |events: &[(Option<String>, Value)]| -> Vec<u64> {
        events.iter().filter_map(|(id, _)| id.as_ref()?.parse().ok()).collect()
    };
    let all = [places(&half), places(&rest)].concat();
    let expected: Vec<u64> = (1..=all.len() as u64).collect();
    assert_eq!(all, expected);
    assert_eq!(rest.last().unwrap().1["event"], "end");
    assert_eq!(get("end").is(204).body, "");
}

#[test]
#[ignore = "needs curl"]
fn a_signed_caller_hears_its_deploy() {
    let (world, gate) = gated();
    let body = json!({ "commit": world.shop().version("v1", &[]) }).to_string();
    let signature = format!("X-Hub-Signature-256: {}", crate::world::http::sign(SECRET, body.as_bytes()));
    let to = format!("http://127.0.0.1:{}/deploy/shop?follow=1", world.hook);
    let json = "Content-Type: application/json";
    let curl = Curl::start(&world, "ci", &["--header", &signature, "--header", json, "--data-binary", &body, &to]);
    curl.wait_for("\nbegun\n");
    gate.open();
    let heard = curl.end();
    assert!(heard.starts_with("-- {\"status\":\"success\""), "{heard}");
    assert!(heard.lines().last().unwrap().starts_with("== end status=success exit=0 "), "{heard}");
    world.shop().serves("v1");
}

#[test]
#[ignore = "needs curl"]
fn a_killed_daemon_breaks_the_log_and_the_next_one_goes_on_with_it() {
    let (mut world, gate) = gated();
    let number = push(&world, "v1");
    let live = Curl::start(&world, "events", &[&EVENTS[..], &[&url(&world, number)]].concat());
    live.wait_for("\"line\":\"begun\"}\n\n");
    world.kill_daemon();
    let heard = events(&live.breaks());
    gate.open();
    world.start_daemon();
    let place = last_place(&heard);
    let id = format!("Last-Event-ID: {place}");
    let rest = Curl::start(&world, "rest", &[&EVENTS[..], &["--header", &id, &url(&world, number)]].concat()).end();
    let rest = events(&rest);
    assert!(rest.iter().all(|(id, _)| id.as_ref().is_none_or(|id| id == "end" || id.parse::<u64>().unwrap() > place)));
    let end = &rest.last().unwrap().1;
    assert_eq!((end["event"].as_str(), end["number"].as_u64()), (Some("end"), Some(number)));
    assert_eq!(end["status"], world.show(number).deployment.status.as_str());
    wait_until("the retried deploy", || world.history().iter().all(|d| d.status.is_final()).then_some(()));
}

#[test]
#[ignore = "needs curl"]
fn who_reads_slowly_or_leaves_slows_nobody() {
    let mut world = World::with([]);
    let gate = Gate::closed(&world.root);
    let flood = "yes 'a line that is long enough to fill what lies between a writer and a reader' | head -n 150000";
    let until = format!("until [ -e {} ]; do echo still; sleep 0.02; done", world.root.join("gate").display());
    world.add(App::new("shop").step("build", "talk", &format!("{flood}; echo flooded; {until}")));
    let world = world.up();
    let number = push(&world, "v1");
    let request = format!("GET {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path_of(number));
    let listen = || {
        let mut stream = TcpStream::connect(("127.0.0.1", world.hook)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream
    };
    let slow = listen();
    for _ in 0..40 {
        let mut leaving = listen();
        leaving.read_exact(&mut [0; 12]).unwrap();
    }
    // More have left than may listen at a time: their places are free again.
    let quick = Curl::start(&world, "quick", &["--retry", "20", "--retry-delay", "1", &url(&world, number)]);
    quick.wait_for("\nflooded\n");
    gate.open();
    let heard = quick.end();
    assert_eq!(heard.lines().filter(|line| line.starts_with("a line that is long")).count(), 150_000);
    assert!(heard.lines().last().unwrap().starts_with("== end status=success"));
    assert_eq!(world.end_of(number).deployment.status.as_str(), "success");
    drop(slow);
}

#[test]
fn the_token_or_being_local_opens_the_log() {
    let (world, gate) = gated();
    gate.open();
    let number = push(&world, "v1");
    world.end_of(number);
    let status = |world: &World, path: &str, headers: &[(&str, &str)]| {
        let request = headers.iter().fold(Request::get(path), |request, (name, value)| request.header(name, value));
        request.send(world.hook).unwrap()
    };
    let bearer = ("Authorization", "Bearer let-me-in");
    for path in [&path_of(number)[..], "/api/status"] {
        status(&world, path, &[]).is(200);
        let refused = status(&world, path, &[("X-Forwarded-For", "192.0.2.7")]).is(401);
        assert!(refused.header("www-authenticate").is_some_and(|how| how.starts_with("Bearer ")), "{refused:?}");
    }
    let detailed = status(&world, "/api/status", &[]).json();
    assert_eq!(detailed["apps"][0]["services"][0], json!({ "service": "web", "state": "up" }), "{detailed}");
    assert_eq!(detailed["apps"][0]["deployments"][0]["trigger"], "webhook", "{detailed}");
    let public = status(&world, "/status", &[("X-Forwarded-For", "192.0.2.7")]).json();
    assert!(public["apps"][0].get("services").is_none(), "{public}");

    let mut world = world.host("token = { file = \"secrets/dashboard\" }");
    write_secret(&world.config().join("secrets/dashboard"), "let-me-in\n");
    world.stop_daemon();
    world.start_daemon();
    for path in [&path_of(number)[..], "/api/status"] {
        status(&world, path, &[bearer]).is(200);
        status(&world, path, &[bearer, ("X-Forwarded-For", "192.0.2.7")]).is(200);
        status(&world, path, &[]).is(401);
        status(&world, path, &[("Authorization", "Bearer let-me-out")]).is(401);
        status(&world, &format!("{path}?token=let-me-in"), &[]).is(401);
    }
    assert!(!world.daemon_said().contains("let-me-in"));

    let mut world = world.host("dashboard = false");
    world.stop_daemon();
    world.start_daemon();
    for path in [&path_of(number)[..], "/api/status"] {
        status(&world, path, &[bearer]).is(404);
    }
    status(&world, "/status", &[]).is(200);
}

#[test]
#[ignore = "needs curl"]
fn a_unix_socket_is_for_local_callers() {
    let mut world = World::with([App::new("shop")]);
    let socket = world.root.join("hook.sock");
    let file = world.config().join("pintle.toml");
    let text = fs::read_to_string(&file).unwrap();
    let tcp = format!("\"127.0.0.1:{}\"", world.hook);
    fs::write(&file, text.replace(&tcp, &format!("\"unix:{}\"", socket.display()))).unwrap();
    world.launch_daemon();
    world.wait_for_daemon();
    let curl = |args: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--unix-socket"]);
        let output = curl.arg(&socket).args(args).arg("http://localhost/api/status").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    wait_until("an answer on the Unix socket", || (curl(&[]) == "200").then_some(()));
    assert_eq!(curl(&["--header", "X-Real-IP: 192.0.2.7"]), "401");
}
