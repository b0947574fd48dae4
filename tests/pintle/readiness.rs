//! A new instance is relied on when it has shown that it is ready: by its word, or by answering on what only it has.

use crate::world::{App, Request, World, processes};
use pintle::control::{DeployStatus, InstanceView, RunState};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn shop(ready: &str) -> App {
    App::new("shop").set("service.web", "ready", &format!("{ready:?}"))
}

/// The one that is not `old`.
fn other_than(old: i32, instances: &[InstanceView]) -> Option<InstanceView> {
    instances.iter().find(|instance| instance.pid.is_some_and(|pid| pid as i32 != old)).cloned()
}

#[test]
fn clients_move_when_it_says_ready() {
    let world = World::with([shop("notify")]).up();
    let shop = world.shop().clone();
    let go = world.root.join("go");
    let waits = format!("ready_if = {}", go.display());
    fs::write(&go, "").unwrap();
    assert_eq!(shop.deploy("v1", &[&waits]).deployment.status, DeployStatus::Success);
    fs::remove_file(&go).unwrap();
    let old = shop.pid();
    let visitors = shop.visited();
    let number = shop.push(&shop.version("v2", &[&waits, "status = 3 requests in hand"])).accepted();
    let new = world.wait("the new one", || other_than(old, &shop.instances("web")));
    assert_eq!(new.state, RunState::Starting);
    for _ in 0..5 {
        shop.serves("v1");
        assert_eq!(shop.pid(), old);
    }
    fs::write(&go, "").unwrap();
    assert_eq!(shop.end_of(number).deployment.status, DeployStatus::Success);
    shop.serves("v2");
    visitors.leave().all_answered();
    let only = shop.instances("web").pop().unwrap();
    assert_eq!((only.pid, only.says.as_deref()), (new.pid, Some("3 requests in hand")));
    let page = world.pintle(&["status"]).exits(0).stdout;
    assert!(page.contains(&format!("web (pid {}) says: 3 requests in hand\n", new.pid.unwrap())), "{page}");
}

#[test]
fn who_does_not_even_say_ready_in_the_rehearsal_gets_no_further() {
    let world = World::with([shop("notify").set("deploy", "startup", "\"1s\"")]).up();
    let shop = world.shop().clone();
    shop.goes_live("v1");
    let old = shop.pid();
    let report = shop.deploy("v2", &["rehearsal_ready = never"]);
    assert_eq!((report.deployment.status, report.exit), (DeployStatus::Failed, Some(3)), "{report:#?}");
    let message = report.deployment.message.unwrap();
    assert!(message.contains("in the rehearsal") && message.contains("web did not say READY=1"), "{message}");
    shop.serves("v1");
    assert_eq!(shop.pid(), old);
}

#[test]
fn who_never_says_ready_is_undone_and_the_old_one_serves_on() {
    let world = World::with([shop("notify").set("deploy", "startup", "\"1s\"")]).up();
    let shop = world.shop().clone();
    // Asked for, so much time is given.
    let slow = shop.deploy("v1", &["ready_after = 1500ms", "extend = 20s"]);
    assert_eq!(slow.deployment.status, DeployStatus::Success, "{slow:#?}");
    let old = shop.pid();
    let visitors = shop.visited();
    let report = shop.deploy("v2", &["ready = never"]);
    assert_eq!((report.deployment.status, report.exit), (DeployStatus::RolledBack, Some(4)), "{report:#?}");
    let why = report.deployment.message.unwrap();
    assert!(why.contains("it did not say READY=1 within 1s"), "{why}");
    visitors.leave().all_answered();
    let instances = shop.instances("web");
    assert_eq!(instances.iter().map(|i| i.pid).collect::<Vec<_>>(), [Some(old as u32)], "{instances:?}");
    shop.serves("v1");
}

#[test]
fn who_has_to_answer_is_asked_on_a_socket_of_its_own() {
    let world = World::with([shop("probe").set("deploy", "startup", "\"2s\"")]).up();
    let shop = world.shop().clone();
    shop.goes_live("v1");
    let text = shop.get("/sockets").unwrap().body;
    let sockets: Vec<Vec<&str>> = text.lines().map(|line| line.split(' ').collect()).collect();
    assert_eq!(sockets[0], ["3", "web", &format!("127.0.0.1:{}", shop.port)], "{text}");
    assert_eq!(&sockets[1][..2], ["4", "web-check"], "{text}");
    assert_eq!(sockets.len(), 2, "{text}");

    let visitors = shop.visited();
    let deaf = shop.deploy("v2", &["sockets = 1"]);
    assert_eq!(deaf.deployment.status, DeployStatus::Success, "{deaf:#?}");
    shop.serves("v2");
    let said = world.daemon_said();
    assert!(said.contains("does not answer on the second socket"), "{said}");
    let old = shop.pid();
    let sick = shop.deploy("v3", &["health = fail", "rehearsal_health = ok"]);
    assert_eq!(
        sick.deployment.status,
        DeployStatus::RolledBack,
        "the old one's answers are not the new one's: {sick:#?}"
    );
    visitors.leave().all_answered();
    assert_eq!(shop.pid(), old);
}

#[test]
fn who_binds_its_port_is_ready_when_it_answers_there() {
    let app = App::bare("shop")
        .worker("web", &[("ready", "\"probe\"")])
        .set("health", "service", "\"web\"")
        .set("health", "path", "\"/health\"")
        .set("health", "every", "\"100ms\"");
    let world = World::with([app]).up();
    let shop = world.shop().clone();
    let number = shop.push(&shop.version("v1", &["start_delay = 700ms", "rehearsal_start_delay = 0ms"])).accepted();
    let starting = world.wait("a process", || shop.instances("web").pop().filter(|instance| instance.pid.is_some()));
    assert_eq!(starting.state, RunState::Starting);
    let report = shop.end_of(number);
    assert_eq!(report.deployment.status, DeployStatus::Success, "{report:#?}");
    let up = shop.instances("web").pop().unwrap();
    assert_eq!((up.state, up.pid, up.restarts), (RunState::Up, starting.pid, 0));
}

#[test]
fn every_kind_of_socket_is_handed_over_by_number_and_name() {
    let mut world = World::with([]);
    let (app, path) = (App::new("shop"), world.root.join("web.sock"));
    let (v4, v6) = (app.port.unwrap(), crate::world::ports::take());
    let listen = format!("[\"127.0.0.1:{v4}\", \"[::1]:{v6}\", \"unix:{}\"]", path.display());
    let look = "\"ls -l /proc/self/fd > data/fds; exec sleep 600\"";
    world.add(app.set("service.web", "listen", &listen).set("service.look", "run", look));
    let mut world = world.up();
    let shop = world.shop().clone();
    shop.goes_live("v1");
    let expected = format!("3 web 127.0.0.1:{v4}\n4 web-1 [::1]:{v6}\n5 web-2 {}\n", path.display());
    assert_eq!(shop.get("/sockets").unwrap().body, expected);
    let env = |name: &str| shop.get(&format!("/env/{name}")).unwrap().body;
    assert_eq!((env("LISTEN_FDS").as_str(), env("LISTEN_FDNAMES").as_str()), ("3", "web:web-1:web-2"));
    assert_eq!(env("LISTEN_PID"), shop.pid().to_string());
    assert!(env("NOTIFY_SOCKET").starts_with(world.root.to_str().unwrap()));
    assert_eq!(Request::get("/env/WATCHDOG_USEC").send(shop.port).unwrap().status, 404);
    for _ in 0..2 {
        assert!(answer(TcpStream::connect(("127.0.0.1", v4)).unwrap()).ends_with("v1"));
        assert!(answer(TcpStream::connect(("::1", v6)).unwrap()).ends_with("v1"));
        assert!(answer(UnixStream::connect(&path).unwrap()).ends_with("v1"));
        // The next daemon has the same ones.
        let web = shop.pid();
        world.replace_daemon();
        assert!(processes::is_alive(web));
    }
    let open = fs::read_to_string(shop.shared("data/fds")).unwrap();
    let links = open.lines().filter_map(|line| line.split_once(" -> ")).map(|(_, file)| file);
    let links: Vec<&str> = links.filter(|file| !file.starts_with("/proc/")).collect();
    let (null, file) = (links[0], &links[1..]);
    assert_eq!(null, "/dev/null", "{open}");
    let own = |link: &&str| link.ends_with(".out") || link.ends_with("data/fds");
    assert!(file.iter().all(own), "nothing of the daemon's is open in a service: {open}");
}

fn answer(mut stream: impl Read + Write) -> String {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn three_instances_are_replaced_one_after_the_other() {
    let world = World::with([shop("notify").set("service.web", "instances", "3")]).up();
    let shop = world.shop().clone();
    shop.goes_live("v1");
    let visitors = shop.visited();
    let over = Arc::new(AtomicBool::new(false));
    let watching = {
        let (shop, over) = (shop.clone(), over.clone());
        std::thread::spawn(move || {
            let (mut fewest, mut most) = (3, 3);
            while !over.load(Ordering::Relaxed) {
                let instances = shop.instances("web");
                fewest = fewest.min(instances.iter().filter(|instance| instance.state == RunState::Up).count());
                most = most.max(instances.iter().filter(|instance| instance.pid.is_some()).count());
                std::thread::sleep(Duration::from_millis(1));
            }
            (fewest, most)
        })
    };
    let slow: &[&str] = &["ready_after = 100ms"];
    assert_eq!(shop.deploy("v2", slow).deployment.status, DeployStatus::Success);
    let before: Vec<_> = shop.instances("web").iter().filter_map(|instance| instance.pid).collect();
    world.pintle(&["restart", "shop"]).exits(0);
    over.store(true, Ordering::Relaxed);
    assert_eq!(watching.join().unwrap(), (3, 4), "the fewest that were up, the most processes");
    visitors.leave().all_answered();
    let after: Vec<_> = shop.instances("web").iter().filter_map(|instance| instance.pid).collect();
    assert!(after.len() == 3 && after.iter().all(|pid| !before.contains(pid)), "{before:?}, then {after:?}");
}

#[test]
fn a_service_on_a_unix_socket_shows_itself_on_one_of_its_own() {
    let mut world = World::with([]);
    let path = world.root.join("web.sock");
    let app = shop("probe").without("health").set("health", "service", "\"web\"").set("health", "path", "\"/health\"");
    let app = app.set("service.web", "listen", &format!("[\"unix:{}\"]", path.display()));
    // Others start with it, and tell how they are on sockets in the same place.
    let app = (0..4).fold(app, |app, number| app.worker(&format!("w{number}"), &[]));
    world.add(app);
    let mut world = world.up();
    let shop = world.shop().clone();
    for version in ["v1", "v2"] {
        let report = shop.deploy(version, &[]);
        assert_eq!(report.deployment.status, DeployStatus::Success, "{report:#?}\n{}", world.daemon_said());
        assert!(answer(UnixStream::connect(&path).unwrap()).ends_with(version));
    }
    let checks = || {
        let entries = fs::read_dir(world.root.join("run/notify")).unwrap().flatten();
        entries.filter(|entry| entry.path().extension().is_some_and(|end| end == "check")).count()
    };
    assert_eq!(checks(), 0, "who is ready needs it no more");
    world.replace_daemon();
    assert!(answer(UnixStream::connect(&path).unwrap()).ends_with("v2"));
}
