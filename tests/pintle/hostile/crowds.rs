//! Many clients at once, or one after the other without end.

use super::Target;
use super::raw::Line;
use super::vital::Vital;
use crate::world::{App, Request, World};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::{Duration, Instant};

/// 253 of them end a bare tiny_http.
#[test]
fn a_thousand_requests_that_are_reset_end_nothing() {
    let target = Target::up();
    for number in 0..1000 {
        let paths = ["/health", "/", "/nothing", "/webhook"];
        let request = format!("GET {} HTTP/1.1\r\nHost: pintle\r\n\r\n", paths[number % paths.len()]);
        Line::saying(target.port(), request).resets();
    }
    target.is_unharmed();
}

#[test]
fn pushes_that_are_reset_while_they_are_worked_on_end_nothing() {
    let target = Target::up();
    let body = "{}";
    let signature = crate::world::http::sign(crate::world::site::SECRET, body.as_bytes());
    for _ in 0..200 {
        let request = format!(
            "POST /webhook/shop HTTP/1.1\r\nHost: pintle\r\nContent-Type: application/json\r\nX-GitHub-Event: ping\r\n\
             X-Hub-Signature-256: {signature}\r\nContent-Length: 2\r\n\r\n{body}"
        );
        Line::saying(target.port(), request).resets();
    }
    target.is_unharmed();
}

#[test]
fn idle_connections_above_the_limit_make_room_for_the_newcomer() {
    let target = Target::with("connections = 64");
    let lines: Vec<Line> = (0..600).map(|_| Line::to(target.port())).collect();
    for _ in 0..5 {
        target.is_served();
    }
    let held = Vital::of_listener(&target.world).descriptors;
    assert!(held <= target.before.listener.descriptors + 64 + 12, "{held} descriptors");
    drop(lines);
    target.is_unharmed();
}

/// The oldest without a request goes, never one that is being answered.
#[test]
fn a_request_under_way_is_not_what_makes_room() {
    let (world, gate) = World::of_a_gated_shop();
    let commit = world.shop().version("v1", &[]);
    let body = serde_json::json!({ "commit": commit });
    let waiting = Request::post("/deploy/shop?wait=1").json(&body).signed(crate::world::site::SECRET);
    let hook = world.hook;
    let waiter = std::thread::spawn(move || waiting.send(hook));
    world.wait("the deploy to begin", || (!world.history().is_empty()).then_some(()));
    let lines: Vec<Line> = (0..400).map(|_| Line::to(hook)).collect();
    Request::get("/health").send(hook).unwrap().is(200);
    gate.open();
    let reply = waiter.join().unwrap().expect("who waits for a deploy is kept").is(200);
    assert_eq!(reply.json()["status"], "success");
    drop(lines);
}

/// About 505 of them at 1,024 descriptors end a bare tiny_http.
#[test]
fn idle_connections_do_not_use_up_few_descriptors() {
    let world = World::with([App::new("shop")]).host("connections = 4096").up();
    let listener = |world: &World| world.status().listener.pid.map(|pid| pid as i32);
    // The next listener starts with as many as the daemon has then.
    few_descriptors(world.daemon_pid(), 160);
    let first = listener(&world).expect("a listener runs");
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    world.wait("another listener", || listener(&world).filter(|pid| *pid != first));
    world.wait("its answer", || Request::get("/health").send(world.hook).ok().filter(|reply| reply.status == 200));
    few_descriptors(world.daemon_pid(), 1024);
    let target = Target::of(world);
    let lines: Vec<Line> = (0..600).map(|_| Line::to(target.port())).collect();
    for _ in 0..5 {
        target.is_served();
    }
    drop(lines);
    target.is_unharmed();
}

/// Sets the soft limit of another process's descriptors.
fn few_descriptors(pid: i32, count: u64) {
    let limit = nix::libc::rlimit { rlim_cur: count, rlim_max: 1024 };
    // SAFETY: the pointers are to a limit that lives through the call, and to nowhere.
    let done = unsafe { nix::libc::prlimit(pid, nix::libc::RLIMIT_NOFILE, &limit, std::ptr::null_mut()) };
    assert_eq!(done, 0, "prlimit: {}", std::io::Error::last_os_error());
}

#[test]
fn a_hundred_connections_per_second_from_one_address_are_served() {
    let target = Target::up();
    let began = Instant::now();
    let mut slowest = Duration::ZERO;
    for number in 1..=300_u32 {
        let asked = Instant::now();
        Request::get("/health").send(target.port()).unwrap().is(200);
        slowest = slowest.max(asked.elapsed());
        if number % 100 == 0 {
            target.is_served();
        }
        std::thread::sleep((began + number * Duration::from_millis(10)).saturating_duration_since(Instant::now()));
    }
    assert!(slowest < super::IN_TIME, "the slowest took {slowest:?}");
    target.is_unharmed();
}

/// 12 idle connections and 8 good ones stall the good ones of a bare tiny_http.
#[test]
fn a_burst_of_idle_and_good_connections_stalls_no_good_one() {
    let target = Target::up();
    for _ in 0..5 {
        let _idle: Vec<Line> = (0..12).map(|_| Line::to(target.port())).collect();
        std::thread::scope(|scope| {
            let good: Vec<_> = (0..8).map(|_| scope.spawn(|| target.is_served())).collect();
            good.into_iter().for_each(|good| drop(good.join().unwrap()));
        });
    }
    target.is_unharmed();
}
