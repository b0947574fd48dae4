//! Deliveries beside adnanh/webhook, in one run: how many a second, how soon answered, and in how much memory.
//!
//! `cargo bench --bench webhook [-- --quick] [--only 202]`, with Debian's `webhook` and `wrk`. Both are sent the same signed 10 KB push
//! over 16 connections, in turn, round by round: one that is ignored (another branch), one with a wrong signature, and
//! one that is accepted. Accepting means more to Pintle: each push is of another commit, becomes a deployment and is on
//! disk before it is answered; webhook starts /bin/true. A deploy is under way in the meantime, so that what is
//! measured is taking deliveries in, not deploying. Everything has real-time priority where that is allowed, so that
//! what else the machine does is not measured. Ends non-zero when a goal is missed; `--quick` is lenient. Figures are
//! kept in docs/performance.md.

#[path = "../measure/mod.rs"]
#[allow(dead_code)]
mod measure;
#[allow(dead_code, unused_imports)]
#[path = "../../tests/pintle/world/mod.rs"]
mod world;

mod crowd;

use crowd::{Crowd, Figures, Pushes};
use measure::{Goals, memory};
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;
use world::site::SECRET;
use world::{App, World, ports, wait_until};

/// Another branch, a wrong signature, a commit that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Answered 200.
    Ignored,
    /// Answered 401.
    Wrong,
    /// Answered 202.
    Accepted,
}

const KINDS: [(Kind, &str, &str); 3] = [
    (Kind::Ignored, "signed, ignored", "200"),
    (Kind::Wrong, "wrong signature", "401"),
    (Kind::Accepted, "accepted, on disk", "202"),
];

fn main() -> ExitCode {
    let given = |wanted: &str| std::env::args().any(|arg| arg == wanted);
    let meant = |(_, _, answer): &&(Kind, &str, &str)| !given("--only") || given(answer);
    let kinds: Vec<(Kind, &str, &str)> = KINDS.iter().filter(meant).copied().collect();
    match measured(given("--quick"), &kinds) {
        Ok(goals) => goals.end(),
        Err(error) => {
            eprintln!("webhook: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measured(quick: bool, kinds: &[(Kind, &str, &str)]) -> io::Result<Goals> {
    let (rounds, span) = if quick { (1, Duration::from_secs(2)) } else { (5, Duration::from_secs(4)) };
    if !measure::is_undisturbed() {
        println!("no right to real-time priority: what else this machine does is measured too");
    }
    let (world, gate) = our_side()?;
    let listener = world.status().listener.pid.ok_or_else(|| io::Error::other("there is no listener"))?;
    let pushes = Pushes::made(&world.root, SECRET, rounds)?;
    let mut table: Vec<(Figures, Figures)> = vec![];
    let mut goals = Goals::default();
    println!(
        "{:<22} {:<8} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "10 KB push, 16 at once", "server", "req/s", "p50 ms", "p99 ms", "RSS MB", "PSS MB"
    );
    for &(kind, name, answer) in kinds {
        let theirs = Peer::start(&world.root, kind)?;
        let mut both = (Figures::default(), Figures::default());
        for round in 0..rounds {
            both.0.add(Crowd::on(world.hook, "/webhook", kind, &pushes, round, span)?);
            both.1.add(Crowd::on(theirs.port, "/hooks/deploy", kind, &pushes, round, span)?);
        }
        let (listener, daemon) = (of(listener), of(world.daemon_pid() as u32));
        let our_memory = [listener[0] + daemon[0], listener[1] + daemon[1]];
        let their_memory = of(theirs.child.id());
        let (ours, others) = (both.0.middle(), both.1.middle());
        for (server, figures, memory) in [("pintle", &ours, our_memory), ("webhook", &others, their_memory)] {
            let [p50, p99] = [figures.p50, figures.p99].map(measure::millis);
            let [rss, pss] = memory.map(|kib| kib as f64 / 1024.0);
            println!("{name:<22} {server:<8} {:>8.0} {p50:>8.2} {p99:>8.2} {rss:>8.1} {pss:>8.1}", figures.rate);
        }
        println!("{:<22} round by round: pintle {}; webhook {}", "", both.0.rates(), both.1.rates());
        goals.expect(
            ours.unexpected(answer) == 0,
            &format!("{name}: every answer of Pintle's is {answer} ({} others)", ours.unexpected(answer)),
        );
        let ratio = ours.rate / others.rate;
        // A short run only shows that nothing is grossly wrong; what is known to be missed is written down as missed.
        let least = match (quick, kind) {
            (false, _) => 2.0,
            (true, Kind::Accepted) => 0.4,
            (true, _) => 1.0,
        };
        goals.expect(ratio >= least, &format!("{name}: {ratio:.1} times the requests per second (goal 2)"));
        let below = ours.p99 < others.p99 || quick;
        goals.expect(
            below,
            &format!("{name}: p99 below ({:.2} of it)", ours.p99.as_secs_f64() / others.p99.as_secs_f64()),
        );
        // The two share their program's pages: what each has for itself and its part of those, as the kernel counts it.
        let less = our_memory[1] < their_memory[1] || quick;
        goals.expect(less, &format!("{name}: daemon and listener together need less memory (PSS)"));
        table.push(both);
    }
    let accepted = table.last().map_or(0, |(ours, _)| ours.answered("202"));
    let written = deployments(&world)?;
    goals.expect(written >= accepted, &format!("every accepted push is in the diary: {written} of {accepted}"));
    gate.open();
    Ok(goals)
}

/// RSS and PSS of a process, in KiB.
fn of(pid: u32) -> [u64; 2] {
    ["Rss:", "Pss:"].map(|what| memory(pid, what))
}

/// A world in which a release is live and the next deploy waits in its build.
fn our_side() -> io::Result<(World, world::Gate)> {
    let mut world = World::with([]);
    let config = world.root.join("config/pintle.toml");
    let unlimited = fs::read_to_string(&config)?.replace("1000/min", "4000000000/min");
    fs::write(&config, unlimited)?;
    let gate = world::Gate::closed(&world.root);
    let first = world.root.join("first");
    let held = format!("if [ -e {} ]; then {}; fi; touch {0}", first.display(), gate.wait());
    world.add(
        App::new("shop").step_with("build", "gate", &held, "timeout = \"10m\"").set("deploy", "timeout", "\"10m\""),
    );
    let world = world.up();
    world.shop().goes_live("v1");
    let second = world.shop().version("v2", &[]);
    let number = world.shop().push(&second).accepted();
    world.shop().reaches(number, pintle::control::Phase::Build);
    Ok((world, gate))
}

fn deployments(world: &World) -> io::Result<u64> {
    let diary = rusqlite::Connection::open(world.state().join("pintle.db")).map_err(io::Error::other)?;
    diary
        .query_row("SELECT count(*) FROM deployments", [], |row| row.get::<_, i64>(0))
        .map(i64::unsigned_abs)
        .map_err(io::Error::other)
}

/// adnanh/webhook with one hook that checks the same signature.
struct Peer {
    child: Child,
    port: u16,
}

impl Peer {
    fn start(dir: &Path, kind: Kind) -> io::Result<Peer> {
        let branch = if kind == Kind::Ignored { "refs/heads/another" } else { "refs/heads/main" };
        let signed = format!(
            r#"{{"match": {{"type": "payload-hmac-sha256", "secret": "{SECRET}", "parameter": {{"source": "header", "name": "X-Hub-Signature-256"}}}}}}"#
        );
        let meant = format!(
            r#"{{"match": {{"type": "value", "value": "{branch}", "parameter": {{"source": "payload", "name": "ref"}}}}}}"#
        );
        let hook = format!(
            r#"[{{"id": "deploy", "execute-command": "/bin/true", "trigger-rule": {{"and": [{signed}, {meant}]}}}}]"#
        );
        let (port, file) = (ports::take(), dir.join(format!("hooks-{kind:?}.json")));
        fs::write(&file, hook)?;
        let mut command = Command::new("webhook");
        command.arg("-hooks").arg(&file).args(["-ip", "127.0.0.1", "-port", &port.to_string()]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.map_err(|error| io::Error::other(format!("start webhook (package webhook): {error}")))?;
        let peer = Peer { child, port };
        wait_until("webhook listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        Ok(peer)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
