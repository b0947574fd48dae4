//! An application's own probes and what is done when they fail: only what a probe is about is restarted, pages are looked
//! at closely, a command's last words are shown.

use crate::world::{App, Site, World};
use pintle::control::{AppState, ProbeView};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// A server whose pages are slow, moved, or headed otherwise; it goes with the test's process.
fn server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || serve(stream.unwrap()));
        }
    });
    port
}

fn serve(mut stream: TcpStream) {
    let (mut head, mut byte) = (vec![], [0]);
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let (status, more, body) = match head.split(' ').nth(1) {
        Some("/slow") => {
            // As slow as the test says: nobody waits for it but the probe.
            std::thread::sleep(Duration::from_millis(300));
            ("200 OK", "", "ok")
        }
        Some("/moved") => ("302 Found", "Location: /page\r\n", ""),
        Some("/sick") => ("503 Busy", "", "queue is full\nsince 12 minutes\n"),
        _ => ("200 OK", "Content-Type: text/html\r\n", "ok"),
    };
    let length = body.len();
    let answer = format!("HTTP/1.1 {status}\r\n{more}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    let _ = stream.write_all(answer.as_bytes());
}

fn probe(site: &Site, name: &str) -> Option<ProbeView> {
    let found = site.view()?.probes.into_iter().find(|probe| probe.name == name)?;
    found.healthy.is_some().then_some(found)
}

#[test]
fn only_the_service_that_a_probe_is_about_is_restarted() {
    let port = crate::world::ports::take();
    let app = App::new("shop")
        .worker("api", &[("listen", &format!("[\"127.0.0.1:{port}\"]"))])
        .worker("quiet", &[])
        .list("probe", "name = \"api\"\nservice = \"api\"\npath = \"/health\"\nevery = \"100ms\"\nfailures = 2");
    let world = World::with([app]).up();
    let shop = world.shop();
    let report = shop.deploy("v1", &["api.sick_if = data/sick"]);
    assert_eq!(report.deployment.status, pintle::control::DeployStatus::Success, "{report:#?}");
    let (web, api, quiet) = (shop.pid_of("web"), shop.pid_of("api"), shop.pid_of("quiet"));
    assert!(web.is_some() && api.is_some() && quiet.is_some());
    fs::write(shop.shared("data/sick"), "").unwrap();
    world.wait("a fresh process of api", || shop.pid_of("api").filter(|now| Some(*now) != api));
    fs::remove_file(shop.shared("data/sick")).unwrap();
    world.wait("running again", || (shop.view()?.state == AppState::Running).then_some(()));
    assert_eq!((shop.pid_of("web"), shop.pid_of("quiet")), (web, quiet), "the others are left alone");
    world.wait("the all-clear", || world.daemon_said().contains("shop is healthy again after a repair").then_some(()));
    assert!(world.daemon_said().contains("shop is unhealthy: api: HTTP 500"), "{}", world.daemon_said());
    let history = world.pintle(&["history"]).exits(0).stderr;
    assert!(history.contains("restarting api because it is unhealthy"), "{history}");
}

#[test]
fn pages_are_looked_at_closely_and_the_last_failure_is_shown() {
    let port = server();
    let page = |name: &str, path: &str, more: &str| {
        let seldom_enough = "every = \"100ms\"\nfailures = 1000";
        format!("name = \"{name}\"\nhttp = \"http://127.0.0.1:{port}{path}\"\n{seldom_enough}\n{more}")
    };
    let list = |app: App, name: &str, path: &str, more: &str| app.list("probe", &page(name, path, more));
    let plain = App::new("shop");
    let app = list(plain.clone(), "patient", "/slow", "timeout = \"5s\"");
    let app = list(app, "hurried", "/slow", "timeout = \"5s\"\nlatency = \"100ms\"");
    let app = list(app, "moved", "/moved", "expect = [301, 302]");
    let app = list(app, "follows", "/moved", "redirects = 1");
    let app = list(app, "stays", "/moved", "");
    let app = list(app, "html", "/page", "header = { Content-Type = \"text/html\" }");
    let app = list(app, "json", "/page", "header = { Content-Type = \"application/json\" }");
    let app = list(app, "sick", "/sick", "");
    let app =
        app.list("probe", "name = \"said\"\nrun = \"echo one; echo two; exit 3\"\nevery = \"100ms\"\nfailures = 1000");
    let app = app.list("probe", "name = \"alive\"\nservice = \"web\"\nevery = \"100ms\"");
    // What fails by design would end the deploy: the probes come when it is live.
    let mut world = World::with([plain]).up();
    world.shop().goes_live("v1");
    world.add(app);
    world.pintle(&["reload"]).exits(0);
    let shop = world.shop();
    for name in ["patient", "moved", "follows", "html", "alive"] {
        world.wait(name, || probe(shop, name).filter(|probe| probe.healthy == Some(true)));
    }
    let failing = [
        ("hurried", "the answer took "),
        ("stays", "HTTP 302 instead of 200"),
        ("json", "its header content-type is \"text/html\", which does not contain \"application/json\""),
        ("sick", "HTTP 503 instead of 200: queue is full"),
        ("said", "exit 3: two"),
    ];
    for (name, said) in failing {
        let seen = world.wait(name, || probe(shop, name).filter(|probe| probe.healthy == Some(false)));
        assert!(seen.message.as_ref().unwrap().starts_with(said), "{seen:?}");
    }
    assert_eq!(probe(shop, "said").unwrap().output.as_deref(), Some("one\ntwo"));
    let status = world.pintle(&["status", "shop"]).exits(0).stdout;
    assert!(status.contains("    | since 12 minutes"), "{status}");
}

#[test]
fn a_service_that_is_not_up_fails_its_probe_and_one_that_keeps_ending_is_told() {
    let app = App::new("shop")
        .worker("jobs", &[("run", "\"sleep 0.3; test -e data/fine || exit 4; exec sleep 600\"")])
        .list("probe", "name = \"jobs\"\nservice = \"jobs\"\nevery = \"100ms\"\nfailures = 1000");
    let world = World::with([app]).up();
    let shop = world.shop();
    let commit = shop.repo.commit(&[("app.conf", "version = v1\n"), ("version", "v1"), ("data/fine", "")]);
    let number = shop.push(&commit).accepted();
    assert_eq!(shop.end_of(number).deployment.status, pintle::control::DeployStatus::Success);
    world.wait("its probe to pass", || probe(shop, "jobs").filter(|probe| probe.healthy == Some(true)));
    fs::remove_file(shop.shared("data/fine")).unwrap();
    let pid = shop.pid_of("jobs").unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
    let seen = world.wait("its probe to fail", || probe(shop, "jobs").filter(|probe| probe.healthy == Some(false)));
    assert!(seen.message.unwrap().starts_with("0 of 1 instances are up"));
    world.wait("that it keeps ending to be told", || {
        world.daemon_said().contains("jobs ended 5 times in a row").then_some(())
    });
}
