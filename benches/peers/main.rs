//! Pintle beside its peers, in one run: how soon a killed app is back, what supervising it costs at rest, and whether
//! both stay so with hundreds of services.
//!
//! `cargo bench --bench peers [-- --quick]`, with Debian's runit, s6, supervisor, monit and webhook. Every supervisor runs
//! the same small static program, without a shell between; they are killed round by round, each in turn, so that a busy
//! machine is busy for all. Ends non-zero when a goal is missed by more than the noise of such machines; `--quick` is
//! lenient. Figures are kept in docs/performance.md.

#[path = "../measure/mod.rs"]
mod measure;
#[allow(dead_code, unused_imports)]
#[path = "../../tests/pintle/world/mod.rs"]
mod world;

mod births;
mod fleet;
mod supervisors;

use births::Births;
use fleet::{Fleet, WATCHDOG};
use measure::{median, memory, millis, percentile, wakeups, woken_since};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;
use supervisors::{Peer, SUPERVISORS, WEBHOOK};

/// After such a run every supervisor starts an app again at once, as far as it ever does (Pintle: `backoff::LONG_RUN`).
const LONG_RUN: Duration = pintle::supervise::backoff::LONG_RUN.saturating_add(Duration::from_millis(500));

fn main() -> ExitCode {
    let quick = std::env::args().any(|arg| arg == "--quick");
    match measured(&Extent::of(quick)) {
        Ok(goals) => goals.end(),
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

/// How much is measured, and how far beyond a goal is more than noise.
struct Extent {
    rounds: usize,
    rest: Duration,
    sizes: &'static [usize],
    /// Times the fastest peer.
    restart: f64,
    /// Wake-ups per minute beyond the goal.
    wakeups: f64,
    /// Times the figure of fewer services.
    flat: f64,
}

impl Extent {
    fn of(quick: bool) -> Extent {
        match quick {
            false => Extent {
                rounds: 40,
                rest: Duration::from_secs(60),
                sizes: &[1, 10, 100, 500],
                restart: 1.25,
                wakeups: 1.5,
                flat: 1.5,
            },
            true => Extent {
                rounds: 10,
                rest: Duration::from_secs(15),
                sizes: &[10, 100],
                restart: 2.0,
                wakeups: 8.0,
                flat: 2.5,
            },
        }
    }
}

fn measured(extent: &Extent) -> io::Result<Goals> {
    let scratch = Scratch::new()?;
    pintle::os::reap::become_subreaper()?;
    let births = Births::in_dir(&scratch.0)?;
    let (here, missing): (Vec<Peer>, Vec<Peer>) = SUPERVISORS.into_iter().chain([WEBHOOK]).partition(Peer::is_here);
    if !missing.is_empty() {
        let packages: Vec<&str> = missing.iter().map(|peer| peer.package).collect();
        println!("not installed and left out; to compare with them: apt-get install {}", packages.join(" "));
    }
    let mut goals = Goals::default();
    restarts(extent, &here, &scratch.0.join("restarts"), &births, &mut goals)?;
    at_rest(extent, &here, &scratch.0.join("rest"), &births, &mut goals)?;
    scale(extent, &births, &mut goals)?;
    Ok(goals)
}

/// From SIGKILL for the app to the first instruction of its successor.
fn restarts(extent: &Extent, here: &[Peer], dir: &Path, births: &Births, goals: &mut Goals) -> io::Result<()> {
    let rounds = extent.rounds;
    let mut fleets = vec![(Fleet::under_pintle(births, rounds)?, rounds, vec![])];
    for peer in here.iter().filter(|peer| peer.rounds > 0) {
        let rounds = rounds.min(peer.rounds);
        fleets.push((Fleet::under(peer, dir, births, rounds)?, rounds, vec![]));
    }
    for round in 0..rounds {
        // Another one first each time.
        let first = round % fleets.len();
        fleets.rotate_left(first);
        for (fleet, _, spans) in fleets.iter_mut().filter(|(_, rounds, _)| round < *rounds) {
            sleep(LONG_RUN.saturating_sub(fleet.age()));
            spans.push(fleet.restart(births)?);
        }
        fleets.rotate_right(first);
    }

    println!("\nSIGKILL of an app to the first instruction of its successor");
    println!("{:<14} {:>7} {:>12} {:>10} {:>16}", "supervisor", "rounds", "median ms", "p95 ms", "x fastest peer");
    let fastest = fleets[1..].iter().map(|(.., spans)| median(spans)).min();
    let ratio = |span: Duration| fastest.map(|fastest| span.as_secs_f64() / fastest.as_secs_f64());
    for (fleet, _, spans) in &fleets {
        let (middle, most) = (millis(median(spans)), millis(percentile(spans, 95)));
        let ratio = ratio(median(spans)).map_or("-".into(), |ratio| format!("{ratio:.2}"));
        println!("{:<14} {:>7} {middle:>12.2} {most:>10.2} {ratio:>16}", fleet.name, spans.len());
    }
    let ours = ratio(median(&fleets[0].2)).unwrap_or(0.0);
    goals.expect(
        ours <= extent.restart,
        &format!("as soon as the fastest peer: {ours:.2} times its median (at most {} with noise)", extent.restart),
    );
    Ok(())
}

/// One app each, and nothing happens.
fn at_rest(extent: &Extent, here: &[Peer], dir: &Path, births: &Births, goals: &mut Goals) -> io::Result<()> {
    let mut fleets = vec![Fleet::under_pintle(births, 1)?];
    for peer in here {
        fleets.push(Fleet::under(peer, dir, births, 1.min(peer.rounds))?);
    }
    // What starting left to do is done: Pintle gives memory back two seconds after a deploy.
    sleep(Duration::from_secs(5));
    let processes: Vec<Vec<u32>> = fleets.iter().map(Fleet::overhead).collect();
    let before: Vec<_> = processes.iter().flatten().map(|pid| (*pid, wakeups(*pid))).collect();
    sleep(extent.rest);
    let woken = |pid: u32| {
        let before = before.iter().find(|(known, _)| *known == pid);
        let count = before.map_or(0, |(_, before)| woken_since(before, pid));
        count as f64 * 60.0 / extent.rest.as_secs_f64()
    };

    println!("\none app each, {} s of rest; Pintle with the watchdog of its unit", extent.rest.as_secs());
    println!("{:<14} {:<24} {:>8} {:>8} {:>17}", "supervisor", "processes", "RSS KiB", "PSS KiB", "wake-ups/minute");
    let mut sums = vec![];
    for (fleet, processes) in fleets.iter().zip(&processes) {
        let sum = |what: &str| processes.iter().map(|pid| memory(*pid, what)).sum::<u64>();
        let (rss, pss) = (sum("Rss:"), sum("Pss:"));
        let wakeups: f64 = processes.iter().map(|pid| woken(*pid)).sum();
        let names: Vec<String> = processes.iter().map(|pid| name_of(*pid)).collect();
        println!("{:<14} {:<24} {rss:>8} {pss:>8} {wakeups:>17.1}", fleet.name, names.join(", "));
        sums.push((fleet.name, pss, wakeups));
    }
    let of = |name: &str| sums.iter().find(|(known, ..)| *known == name);
    let (_, pss, wakeups) = sums[0];
    if let Some((_, _, theirs)) = of("s6") {
        // A sign of life in each half of the watchdog's time.
        let most = theirs + 60.0 / (WATCHDOG / 2).as_secs_f64();
        goals.expect(
            wakeups <= most + extent.wakeups,
            &format!("woken no more often than s6 and the watchdog need: {wakeups:.1} ({most:.1}) a minute"),
        );
    }
    if let Some((_, theirs, _)) = of("webhook") {
        goals.expect(pss < *theirs, &format!("less memory than webhook alone: PSS {pss} ({theirs}) KiB"));
    }
    Ok(())
}

/// The same with more and more services under one daemon.
fn scale(extent: &Extent, births: &Births, goals: &mut Goals) -> io::Result<()> {
    println!("\nservices under one Pintle");
    println!(
        "{:<10} {:>8} {:>8} {:>20} {:>11} {:>8} {:>17}",
        "services", "RSS KiB", "PSS KiB", "own KiB per service", "restart ms", "p95 ms", "wake-ups/minute"
    );
    let mut rows = vec![];
    for size in extent.sizes {
        let mut fleet = Fleet::under_pintle(births, *size)?;
        sleep(Duration::from_secs(5));
        let daemon = fleet.overhead()[0];
        let before = wakeups(daemon);
        let rest = LONG_RUN.saturating_sub(fleet.age());
        sleep(rest);
        let woken = woken_since(&before, daemon) as f64 * 60.0 / rest.as_secs_f64();
        let [rss, pss, own] = ["Rss:", "Pss:", "Anonymous:"].map(|what| memory(daemon, what));
        let rounds = if *size == 1 { 3 } else { extent.rounds };
        let mut spans = vec![];
        for _ in 0..rounds {
            sleep(LONG_RUN.saturating_sub(fleet.age()));
            spans.push(fleet.restart(births)?);
        }
        rows.push((*size, own, median(&spans)));
        let (_, least, _) = rows[0];
        let per_service = own.saturating_sub(least) as f64 / (*size - extent.sizes[0]).max(1) as f64;
        let (middle, most) = (millis(median(&spans)), millis(percentile(&spans, 95)));
        println!("{size:<10} {rss:>8} {pss:>8} {per_service:>20.1} {middle:>11.2} {most:>8.2} {woken:>17.1}");
    }
    let (Some((few, _, soon)), Some((many, _, late))) = (rows.iter().find(|row| row.0 >= 10), rows.last()) else {
        return Ok(());
    };
    let ratio = late.as_secs_f64() / soon.as_secs_f64();
    goals.expect(
        ratio <= extent.flat,
        &format!("a restart among {many} services: {ratio:.2} times that among {few} (at most {})", extent.flat),
    );
    Ok(())
}

fn name_of(pid: u32) -> String {
    let arguments = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = arguments.split('\0');
    let program = words.next().unwrap_or_default().rsplit('/').next().unwrap_or_default().to_owned();
    match words.next() {
        Some(verb) if program == "pintle" && !verb.starts_with('-') => verb.to_owned(),
        _ => program,
    }
}

/// What was promised, and whether it was so.
#[derive(Default)]
struct Goals(Vec<(bool, String)>);

impl Goals {
    fn expect(&mut self, held: bool, what: &str) {
        self.0.push((held, what.to_owned()));
    }

    fn end(&self) -> ExitCode {
        println!();
        for (held, what) in &self.0 {
            println!("{:<7} {what}", if *held { "held" } else { "MISSED" });
        }
        if self.0.iter().all(|(held, _)| *held) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// A directory that goes when the benchmark ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> io::Result<Scratch> {
        let dir = std::env::temp_dir().join(format!("pintle-peers-{}", std::process::id()));
        fs::create_dir_all(&dir)?;
        Ok(Scratch(dir.canonicalize()?))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
