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
use measure::{Goals, median, memory, millis, percentile, wakeups, woken_since};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;
use supervisors::{Peer, SUPERVISORS, WEBHOOK};

/// After such a run every supervisor starts an app again at once, as far as it ever does (Pintle: `backoff::LONG_RUN`).
const LONG_RUN: Duration = pintle::supervise::backoff::LONG_RUN.saturating_add(Duration::from_millis(500));
/// As many as a small host runs, killed in turn; scale is measured apart.
const SERVICES: usize = 6;
/// What starting left to do is done then: Pintle gives memory back two seconds after a deploy.
const SETTLED: Duration = Duration::from_secs(5);
/// KiB of the daemon's own memory, however many there are.
const MEMORY_PER_SERVICE: f64 = 16.0;

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
    /// Every peer must be there.
    all_peers: bool,
    rounds: usize,
    rest: Duration,
    sizes: &'static [usize],
    /// Times the fastest peer.
    restart: f64,
    /// Wake-ups per minute beyond the goal.
    wakeups: f64,
    /// Times the figure of fewer services.
    flat: f64,
    /// Times the memory of webhook.
    memory: f64,
}

impl Extent {
    fn of(quick: bool) -> Extent {
        match quick {
            false => Extent {
                all_peers: true,
                rounds: 40,
                rest: Duration::from_secs(60),
                sizes: &[1, 10, 100, 500],
                restart: 1.25,
                wakeups: 1.5,
                flat: 2.0,
                memory: 1.0,
            },
            true => Extent {
                all_peers: false,
                rounds: 10,
                rest: Duration::from_secs(15),
                sizes: &[10, 100],
                restart: 2.0,
                wakeups: 8.0,
                flat: 3.0,
                memory: 1.5,
            },
        }
    }
}

fn measured(extent: &Extent) -> io::Result<Goals> {
    let scratch = Scratch::new()?;
    if !measure::is_undisturbed() {
        println!("no right to real-time priority: what else this machine does is measured too");
    }
    // Whoever leaves its supervisor is ours to reap; a zombie is not gone for Monit.
    pintle::os::reap::become_subreaper()?;
    let births = Births::in_dir(&scratch.0)?;
    let (here, missing): (Vec<Peer>, Vec<Peer>) = SUPERVISORS.into_iter().chain([WEBHOOK]).partition(Peer::is_here);
    let mut goals = Goals::default();
    if !missing.is_empty() {
        let packages: Vec<&str> = missing.iter().map(|peer| peer.package).collect();
        let said = format!("not every peer is installed; the rest: apt-get install {}", packages.join(" "));
        println!("{said}");
        goals.expect(!extent.all_peers, &said);
    }
    restarts(extent, &here, &scratch.0.join("restarts"), &births, &mut goals)?;
    at_rest(extent, &here, &scratch.0.join("rest"), &births, &mut goals)?;
    scale(extent, &births, &mut goals)?;
    Ok(goals)
}

/// From SIGKILL for the app to the first instruction of its successor.
fn restarts(extent: &Extent, here: &[Peer], dir: &Path, births: &Births, goals: &mut Goals) -> io::Result<()> {
    let rounds = extent.rounds;
    let mut fleets = vec![(Fleet::under_pintle(births, SERVICES)?, rounds, vec![])];
    for peer in here.iter().filter(|peer| peer.rounds > 0) {
        fleets.push((Fleet::under(peer, dir, births, SERVICES)?, rounds.min(peer.rounds), vec![]));
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
    if let Some(ours) = ratio(median(&fleets[0].2)) {
        let most = extent.restart;
        let what = format!("as soon as the fastest peer: {ours:.2} times its median (at most {most} with noise)");
        goals.expect(ours <= most, &what);
    }
    Ok(())
}

/// One app each, and nothing happens.
fn at_rest(extent: &Extent, here: &[Peer], dir: &Path, births: &Births, goals: &mut Goals) -> io::Result<()> {
    let mut fleets = vec![Fleet::under_pintle(births, 1)?];
    for peer in here {
        fleets.push(Fleet::under(peer, dir, births, 1.min(peer.rounds))?);
    }
    sleep(SETTLED);
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
        let held = pss as f64 <= *theirs as f64 * extent.memory;
        goals.expect(held, &format!("less memory than webhook alone: PSS {pss} ({theirs}) KiB"));
    }
    Ok(())
}

/// The same with few and with many services, each under a daemon of its own.
fn scale(extent: &Extent, births: &Births, goals: &mut Goals) -> io::Result<()> {
    let fleets = extent.sizes.iter().map(|size| Ok((*size, Fleet::under_pintle(births, *size)?, vec![])));
    let mut fleets = fleets.collect::<io::Result<Vec<_>>>()?;
    sleep(SETTLED);
    let daemons: Vec<u32> = fleets.iter().map(|(_, fleet, _)| fleet.overhead()[0]).collect();
    let before: Vec<_> = daemons.iter().map(|pid| wakeups(*pid)).collect();
    sleep(LONG_RUN);
    let woken = |(pid, before): (&u32, &_)| woken_since(before, *pid) as f64 * 60.0 / LONG_RUN.as_secs_f64();
    let woken: Vec<f64> = daemons.iter().zip(&before).map(woken).collect();
    // Pages shared by the daemons would be counted less the more of them there are.
    let own: Vec<u64> = daemons.iter().map(|pid| memory(*pid, "Anonymous:")).collect();
    let rss: Vec<u64> = daemons.iter().map(|pid| memory(*pid, "Rss:")).collect();
    for _ in 0..extent.rounds {
        for (_, fleet, spans) in fleets.iter_mut().filter(|(_, fleet, _)| fleet.age() >= LONG_RUN) {
            spans.push(fleet.restart(births)?);
        }
        // A tenth of a long run: ten services are enough for one in each round.
        sleep(LONG_RUN / 10);
    }

    println!("\nservices under one Pintle");
    println!(
        "{:<10} {:>9} {:>9} {:>13} {:>17} {:>8} {:>12} {:>8}",
        "services", "RSS KiB", "own KiB", "each service", "wake-ups/minute", "rounds", "restart ms", "p95 ms"
    );
    for (at, (size, _, spans)) in fleets.iter().enumerate() {
        let each = per_service((fleets[0].0, own[0]), (*size, own[at]));
        let (rounds, middle, most) = (spans.len(), millis(median(spans)), millis(percentile(spans, 95)));
        print!("{size:<10} {:>9} {:>9} {each:>13.1} {:>17.1} ", rss[at], own[at], woken[at]);
        println!("{rounds:>8} {middle:>12.2} {most:>8.2}");
    }
    let (Some(few), many) = (fleets.iter().position(|(size, ..)| *size >= 10), fleets.len() - 1) else { return Ok(()) };
    let each = per_service((fleets[few].0, own[few]), (fleets[many].0, own[many]));
    let what = format!("memory per service: {each:.1} KiB of the daemon's own (at most {MEMORY_PER_SERVICE})");
    goals.expect(each <= MEMORY_PER_SERVICE, &what);
    let [soon, late] = [few, many].map(|at| median(&fleets[at].2).as_secs_f64());
    let (few, many, most, ratio) = (fleets[few].0, fleets[many].0, extent.flat, late / soon);
    let what = format!("a restart among {many} services: {ratio:.2} times that among {few} (at most {most})");
    goals.expect(ratio <= most, &what);
    Ok(())
}

/// KiB by which a daemon grows with each service, between two numbers of them.
fn per_service((few, with_few): (usize, u64), (many, with_many): (usize, u64)) -> f64 {
    with_many.saturating_sub(with_few) as f64 / (many - few).max(1) as f64
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

/// A directory that goes when the benchmark ends: in memory where there is such a place, as /run is, where supervisors
/// keep what they note at each start.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> io::Result<Scratch> {
        let name = format!("pintle-peers-{}", std::process::id());
        let dir = Path::new("/dev/shm").join(&name);
        if fs::create_dir(&dir).is_ok() {
            return Ok(Scratch(dir));
        }
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir)?;
        Ok(Scratch(dir.canonicalize()?))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
