//! Who notices a deploy, a restart, a killed or replaced daemon: real gunicorn under `wrk`, beside supervisord and systemd.
//!
//! `cargo bench --bench handover [-- --quick]`. Needs wrk, nginx and python3-venv; gunicorn and supervisord come from
//! PyPI into a cache (`PINTLE_TEST_CACHE`). A row is a course of upheavals with eight connections of `wrk` and four
//! visitors on the application throughout: requests of the crowd, its failures by kind, answers that came after more
//! than two seconds, requests and failures of the visitors, latencies, and how long the longest upheaval took.

#[allow(dead_code, unused_imports)]
#[path = "../tests/pintle/world/mod.rs"]
mod world;

#[path = "handover/supervisord.rs"]
mod supervisord;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;
use supervisord::Supervisord;
use world::World;
use world::gunicorn::{self, Worker};
use world::nginx::{self, Nginx};
use world::upheaval::{self, HEAD, Line, Notice, Upheaval};

/// What is done to each.
const MANY: [(Upheaval, u32); 4] =
    [(Upheaval::Deploy, 10), (Upheaval::Restart, 10), (Upheaval::Kill, 5), (Upheaval::Reexec, 1)];
const FEW: [(Upheaval, u32); 4] =
    [(Upheaval::Deploy, 3), (Upheaval::Restart, 3), (Upheaval::Kill, 2), (Upheaval::Reexec, 1)];

const WORKERS: [(&str, Worker, bool); 2] = [("sync", Worker::Sync, false), ("gthread", Worker::Threads, true)];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let upheavals = if arguments.iter().any(|argument| argument == "--quick") { FEW } else { MANY };
    // Words choose rows: `-- gthread deploy`.
    let words: Vec<String> =
        arguments.iter().filter(|word| !word.starts_with("--")).map(|word| word.to_lowercase()).collect();
    let chosen = |label: &str| words.iter().all(|word| label.to_lowercase().contains(word));
    println!("\n{HEAD}");
    for (name, worker, keep_alive) in WORKERS {
        let rows = rows(&format!("socket, {name}"), &upheavals, &chosen);
        pintle(rows, keep_alive, || {
            let world = World::with([gunicorn::shop(worker)]).up();
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, world.shop().port));
            (world, address, None)
        });
    }
    // A reload of nginx closes kept connections under a request (before 1.27.4): a connection per request.
    for (name, worker, _) in WORKERS {
        let rows = rows(&format!("port, nginx, {name}"), &upheavals, &chosen);
        pintle(rows, false, || {
            let (world, nginx) = nginx::shop_behind(worker);
            let address = nginx.address();
            (world, address, Some(nginx))
        });
    }
    for (name, worker, keep_alive) in WORKERS {
        peer(rows(&format!("supervisord, {name}"), &upheavals[..2], &chosen), keep_alive, worker);
    }
}

/// The rows of one set-up that were chosen.
fn rows(name: &str, upheavals: &[(Upheaval, u32)], chosen: &dyn Fn(&str) -> bool) -> Vec<(String, Upheaval, u32)> {
    let all = upheavals.iter().map(|(what, times)| (format!("{name}: {times} x {what:?}"), *what, *times));
    all.filter(|(label, ..)| chosen(label)).collect()
}

fn pintle(
    rows: Vec<(String, Upheaval, u32)>,
    keep_alive: bool,
    stand: impl FnOnce() -> (World, SocketAddr, Option<Nginx>),
) {
    if rows.is_empty() {
        return;
    }
    let (mut world, address, _nginx) = stand();
    gunicorn::furnish(world.shop());
    let report = world.shop().deploy("v1", &[]);
    assert_eq!(report.exit, Some(0), "{report:#?}\n{}", world.shop().log_of(&report));
    upheaval::answers(address);
    for (label, what, times) in rows {
        row(&label, &upheaval::course(&mut world, address, keep_alive, what, times));
    }
}

fn peer(rows: Vec<(String, Upheaval, u32)>, keep_alive: bool, worker: Worker) {
    if rows.is_empty() {
        return;
    }
    let supervisord = Supervisord::up(worker);
    for (label, what, times) in rows {
        let mut notice = Notice::default();
        let (crowd, seen) = upheaval::under_load(supervisord.address, keep_alive, &supervisord.dir, |visitors| {
            for round in 0..times {
                let began = Instant::now();
                match what {
                    Upheaval::Deploy => supervisord.deploy(&format!("v{round}")),
                    _ => supervisord.restart(),
                }
                notice.longest = notice.longest.max(began.elapsed());
                visitors.have_had(upheaval::BETWEEN);
            }
        });
        row(&label, &Notice { crowd, seen, ..notice });
    }
}

fn row(name: &str, notice: &Notice) {
    println!("{}", Line(name, notice));
    print!("{}", upheaval::kinds(&notice.seen.failures));
    if notice.replaced > 0 {
        println!("    (other processes after {})", notice.replaced);
    }
}
