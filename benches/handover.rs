//! Who notices a deploy, a restart, a killed or replaced daemon: real gunicorn under `wrk`, beside supervisord and systemd.
//!
//! `cargo bench --bench handover [-- --quick]`. Needs wrk, nginx and python3-venv; gunicorn and supervisord come from
//! PyPI into a cache (`PINTLE_TEST_CACHE`). A row is a course of upheavals with eight connections of `wrk` and four
//! visitors on the application throughout: requests of the crowd, its failures by kind, answers that came after more
//! than two seconds, requests and failures of the visitors, latencies, and how long the longest upheaval took.

#[allow(dead_code, unused_imports)]
#[path = "../tests/pintle/world/mod.rs"]
mod world;

use std::net::{Ipv4Addr, SocketAddr};
use world::World;
use world::gunicorn::{self, Worker};
use world::upheaval::{self, HEAD, Line, Notice, Upheaval};

/// What is done to each.
const MANY: [(Upheaval, u32); 4] =
    [(Upheaval::Deploy, 10), (Upheaval::Restart, 10), (Upheaval::Kill, 5), (Upheaval::Reexec, 1)];
const FEW: [(Upheaval, u32); 4] =
    [(Upheaval::Deploy, 3), (Upheaval::Restart, 3), (Upheaval::Kill, 2), (Upheaval::Reexec, 1)];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    // Words choose rows: `-- gthread deploy`.
    let words: Vec<String> =
        arguments.iter().filter(|word| !word.starts_with("--")).map(|word| word.to_lowercase()).collect();
    let upheavals = if quick { FEW } else { MANY };
    println!("\n{HEAD}");
    for (name, worker, keep_alive) in
        [("socket, sync", Worker::Sync, false), ("socket, gthread", Worker::Threads, true)]
    {
        let mut standing: Option<(World, SocketAddr)> = None;
        for (what, times) in upheavals {
            let label = format!("{name}: {times} x {what:?}");
            if words.iter().all(|word| label.to_lowercase().contains(word)) {
                let (world, address) = standing.get_or_insert_with(|| by_socket(worker));
                row(&label, &upheaval::course(world, *address, keep_alive, what, times));
            }
        }
    }
}

fn row(name: &str, notice: &Notice) {
    println!("{}", Line(name, notice));
    print!("{}", upheaval::kinds(&notice.seen.failures));
    if notice.replaced > 0 {
        println!("    (other processes after {})", notice.replaced);
    }
}

fn by_socket(worker: Worker) -> (World, SocketAddr) {
    let world = World::with([gunicorn::shop(worker)]).up();
    gunicorn::furnish(world.shop());
    let report = world.shop().deploy("v1", &[]);
    assert_eq!(report.exit, Some(0), "{report:#?}\n{}", world.shop().log_of(&report));
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, world.shop().port));
    upheaval::answers(address);
    (world, address)
}
