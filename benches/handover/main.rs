//! Who notices a deploy, a restart, a killed or replaced daemon: real gunicorn under `wrk`, beside supervisord and systemd.
//!
//! `cargo bench --bench handover [-- --quick]`. Needs wrk, nginx and python3-venv; gunicorn and supervisord come from
//! PyPI into a cache (`PINTLE_TEST_CACHE`). A row is a course of upheavals with eight connections of `wrk` and four
//! visitors on the application throughout: requests of the crowd, its failures by kind, answers that came after more
//! than two seconds, requests and failures of the visitors, latencies, and how long the longest upheaval took.

#[allow(dead_code, unused_imports)]
#[path = "../../tests/pintle/world/mod.rs"]
mod world;

#[allow(dead_code)]
#[path = "../../tests/pintle/systemd/debian.rs"]
mod debian;
#[allow(dead_code)]
#[path = "../../tests/pintle/systemd/machine.rs"]
mod machine;
mod supervisord;
mod systemd;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use supervisord::Supervisord;
use systemd::{Socket, Systemd};
use world::World;
use world::gunicorn::{self, Worker};
use world::nginx::{self, Nginx};
use world::upheaval::{self, Line, Notice, Upheaval, head};

/// What is done to each.
const MANY: [(Upheaval, u32); 4] =
    [(Upheaval::Deploy, 10), (Upheaval::Restart, 10), (Upheaval::Kill, 5), (Upheaval::Reexec, 1)];
const FEW: [(Upheaval, u32); 4] =
    [(Upheaval::Deploy, 3), (Upheaval::Restart, 3), (Upheaval::Kill, 2), (Upheaval::Reexec, 1)];

const WORKERS: [(&str, Worker, bool); 2] = [("sync", Worker::Sync, false), ("gthread", Worker::Threads, true)];

fn main() {
    let bench = Bench::asked_for();
    println!("\n{}", head());
    for (name, worker, keep_alive) in WORKERS {
        bench.pintle(&format!("socket, {name}"), keep_alive, || by_socket(worker));
    }
    // A reload of nginx closes kept connections under a request (before 1.27.4): a connection per request.
    for (name, worker, _) in WORKERS {
        bench.pintle(&format!("port, nginx, {name}"), false, || by_port(worker));
    }
    for (name, worker, keep_alive) in WORKERS {
        bench.peer(&format!("supervisord, {name}"), keep_alive, || Supervisord::up(worker));
    }
    for (name, worker, keep_alive) in WORKERS {
        bench.peer(&format!("systemd, {name}"), keep_alive, || Systemd::up(worker, Socket::Its));
        bench.peer(&format!("systemd, socket unit, {name}"), keep_alive, || Systemd::up(worker, Socket::Held));
    }
}

/// What was asked for on the command line.
struct Bench {
    upheavals: [(Upheaval, u32); 4],
    /// Words that choose rows: `-- gthread deploy`.
    words: Vec<String>,
}

impl Bench {
    fn asked_for() -> Bench {
        let (options, words): (Vec<String>, Vec<String>) =
            std::env::args().skip(1).partition(|it| it.starts_with("--"));
        let quick = options.iter().any(|option| option == "--quick");
        let words = words.iter().map(|word| word.to_lowercase()).collect();
        Bench { upheavals: if quick { FEW } else { MANY }, words }
    }

    /// The rows of one set-up that were asked for.
    fn rows(&self, name: &str, upheavals: &[(Upheaval, u32)]) -> Vec<(String, Upheaval, u32)> {
        let all = upheavals.iter().map(|(what, times)| (format!("{name}: {times} x {what:?}"), *what, *times));
        all.filter(|(label, ..)| self.words.iter().all(|word| label.to_lowercase().contains(word))).collect()
    }

    fn pintle(&self, name: &str, keep_alive: bool, stand: impl FnOnce() -> (World, SocketAddr, Option<Nginx>)) {
        let rows = self.rows(name, &self.upheavals);
        if rows.is_empty() {
            return;
        }
        let (mut world, address, _nginx) = stand();
        gunicorn::goes_live(&world);
        upheaval::answers(address);
        for (label, what, times) in rows {
            row(&label, &upheaval::course(&mut world, address, keep_alive, what, times));
        }
    }

    /// Deploys and restarts: nothing else of a course is known to the others.
    fn peer<P: Peer>(&self, name: &str, keep_alive: bool, stand: impl FnOnce() -> P) {
        let rows = self.rows(name, &self.upheavals[..2]);
        if rows.is_empty() {
            return;
        }
        if P::NEEDS_ROOT && !world::is_root() {
            return println!("{name}: left out, it takes root");
        }
        let peer = stand();
        for (label, what, times) in rows {
            row(&label, &peer.there(|| restarts(&peer, keep_alive, what, times)));
        }
    }
}

fn by_socket(worker: Worker) -> (World, SocketAddr, Option<Nginx>) {
    let world = World::with([gunicorn::shop(worker)]).up();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, world.shop().port));
    (world, address, None)
}

fn by_port(worker: Worker) -> (World, SocketAddr, Option<Nginx>) {
    let (world, nginx) = nginx::shop_behind(worker);
    let address = nginx.address();
    (world, address, Some(nginx))
}

/// An application that somebody else restarts in place.
trait Peer: Sync {
    const NEEDS_ROOT: bool = false;

    fn address(&self) -> SocketAddr;
    /// New files, and what it takes that they are served.
    fn deploy(&self, version: &str);
    fn restart(&self);
    /// Does something where its network is.
    fn there(&self, deed: impl FnOnce() -> Notice + Send) -> Notice {
        deed()
    }
}

impl Peer for Supervisord {
    fn address(&self) -> SocketAddr {
        self.address
    }
    fn deploy(&self, version: &str) {
        self.write_site(version);
        self.restart();
    }
    fn restart(&self) {
        self.restart();
    }
}

impl Peer for Systemd {
    const NEEDS_ROOT: bool = true;

    fn address(&self) -> SocketAddr {
        self.address
    }
    fn deploy(&self, version: &str) {
        self.write_site(version);
        self.restart();
    }
    fn restart(&self) {
        self.restart();
    }
    fn there(&self, deed: impl FnOnce() -> Notice + Send) -> Notice {
        self.machine.inside(deed)
    }
}

/// The course of a peer: the same load, what it has for a deploy and a restart.
fn restarts(peer: &impl Peer, keep_alive: bool, what: Upheaval, times: u32) -> Notice {
    let mut longest = Duration::ZERO;
    let (crowd, seen) = upheaval::under_load(peer.address(), keep_alive, &std::env::temp_dir(), |visitors| {
        for round in 0..times {
            let began = Instant::now();
            match what {
                Upheaval::Deploy => peer.deploy(&format!("v{round}")),
                _ => peer.restart(),
            }
            longest = longest.max(began.elapsed());
            visitors.have_had(upheaval::BETWEEN);
        }
    });
    Notice { crowd, seen, longest, ..Notice::default() }
}

fn row(name: &str, notice: &Notice) {
    println!("{}", Line(name, notice));
    print!("{}", upheaval::kinds(&notice.seen.failures));
    if notice.replaced > 0 {
        println!("    (other processes after {})", notice.replaced);
    }
}
