//! Nobody notices: the real gunicorn under load while versions change, instances and the daemon come and go.
//!
//! Each test is one way of handing over. What must hold: no request fails, neither of the crowd (`wrk`) nor of the
//! visitors, and no process of the application ends because the daemon did. The figures are `benches/handover.rs`'s.

use crate::world::gunicorn::{self, Worker};
use crate::world::nginx;
use crate::world::upheaval::{self, Line, Notice, Upheaval, head};
use crate::world::{App, World};
use pintle::control::Phase;
use std::net::{Ipv4Addr, SocketAddr};

const COURSES: [(Upheaval, u32); 4] =
    [(Upheaval::Deploy, 10), (Upheaval::Restart, 10), (Upheaval::Kill, 5), (Upheaval::Reexec, 1)];

#[test]
#[ignore = "needs python3-venv and wrk"]
fn socket_handover_of_sync_workers_fails_no_request() {
    by_socket(gunicorn::shop(Worker::Sync), false);
}

#[test]
#[ignore = "needs python3-venv and wrk"]
fn socket_handover_of_kept_connections_fails_no_request() {
    by_socket(gunicorn::shop(Worker::Threads), true);
}

#[test]
#[ignore = "needs python3-venv and wrk"]
fn socket_handover_of_two_instances_that_tell_nothing_fails_no_request() {
    let shop = gunicorn::shop(Worker::Sync).set("service.web", "instances", "2");
    by_socket(shop.set("service.web", "ready", "\"exec\""), false);
}

#[test]
#[ignore = "needs python3-venv and wrk"]
fn a_daemon_killed_in_the_middle_of_deploys_fails_no_request() {
    let (mut world, address) = socket_world(gunicorn::shop(Worker::Threads));
    for phase in [Phase::Rehearse, Phase::Switch, Phase::Verify, Phase::Probation] {
        let notice = upheaval::course(&mut world, address, true, Upheaval::KillIn(phase), 2);
        println!("{}\n{}\n{}", head(), Line(&format!("2 x {phase}"), &notice), upheaval::kinds(&notice.seen.failures));
        assert_eq!(notice.failed(), 0, "killed in {phase}: {:?}\n{}", notice.crowd, world.daemon_said());
    }
}

// nginx itself closes kept connections under a request when it is reloaded (before 1.27.4): a connection per request.
#[test]
#[ignore = "needs python3-venv, wrk and nginx"]
fn port_handover_through_nginx_fails_no_request() {
    let (mut world, nginx) = nginx::shop_behind(Worker::Sync);
    gunicorn::goes_live(&world);
    upheaval::answers(nginx.address());
    let noticed = courses(&mut world, nginx.address(), false);
    assert!(noticed.is_empty(), "{noticed:#?}\n{}\nnginx said:\n{}", world.daemon_said(), nginx.said());
}

fn socket_world(app: App) -> (World, SocketAddr) {
    let world = World::with([app]).up();
    gunicorn::goes_live(&world);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, world.shop().port));
    upheaval::answers(address);
    (world, address)
}

fn by_socket(app: App, keep_alive: bool) {
    let (mut world, address) = socket_world(app);
    let noticed = courses(&mut world, address, keep_alive);
    assert!(noticed.is_empty(), "{noticed:#?}\n{}", world.daemon_said());
}

/// All courses; what was noticed. Every figure is printed.
#[track_caller]
fn courses(world: &mut World, address: SocketAddr, keep_alive: bool) -> Vec<String> {
    println!("\n{}", head());
    let mut noticed = Vec::new();
    for (what, times) in COURSES {
        let notice = upheaval::course(world, address, keep_alive, what, times);
        println!("{}\n{}", Line(&format!("{times} x {what:?}"), &notice), upheaval::kinds(&notice.seen.failures));
        noticed.extend(complaints(what, times, &notice));
    }
    noticed
}

fn complaints(what: Upheaval, times: u32, notice: &Notice) -> Vec<String> {
    let replaced = if matches!(what, Upheaval::Deploy | Upheaval::Restart) { times } else { 0 };
    let mut all = Vec::new();
    if notice.failed() > 0 {
        all.push(format!("{what:?}: {} requests failed: {:?}", notice.failed(), notice.crowd));
    }
    if notice.replaced != replaced {
        all.push(format!("{what:?}: other processes served after {} of {times}", notice.replaced));
    }
    all
}
