//! What the daemon and the listener cost while nothing happens: memory and wake-ups.
//!
//! `cargo bench --bench idle [-- --quick]`. One app is live and healthy; after a deploy has passed, both processes
//! are watched for a minute (`--quick`: 15 s). RSS and PSS from smaps_rollup, wake-ups from the voluntary context
//! switches of every thread.
//!
//! What a look at the board's sensors costs is too little to be seen in a minute of ticks of 10 ms: a second daemon looks
//! fifty times a second, a third one never, and the difference is divided by the looks. Figures are kept in
//! docs/performance.md.

#[allow(dead_code)]
mod measure;
#[allow(dead_code, unused_imports)]
#[path = "../tests/pintle/world/mod.rs"]
mod world;

use measure::{memory, threads, wakeups, woken_since};
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;
use world::{App, World};

fn main() {
    let quick = std::env::args().any(|arg| arg == "--quick");
    let window = Duration::from_secs(if quick { 15 } else { 60 });
    // The defaults of a real configuration: a look at the app every 30 s.
    let world = World::with([App::new("shop").set("health", "every", "\"30s\"")]).up();
    world.shop().goes_live("v1");
    let status = world.status();
    let processes = [("daemon", status.daemon.pid), ("listener", status.listener.pid.expect("the listener runs"))];
    // What the deploy left to do (pruning, checkpoints) is done when nothing was woken for two seconds.
    world.wait("rest", || {
        let before = wakeups(processes[0].1);
        std::thread::sleep(Duration::from_secs(2));
        (wakeups(processes[0].1) == before).then_some(())
    });
    let before: Vec<BTreeMap<String, u64>> = processes.iter().map(|(_, pid)| wakeups(*pid)).collect();
    std::thread::sleep(window);
    println!("\nidle for {} s, one healthy app", window.as_secs());
    println!("{:<12} {:>10} {:>10} {:>8} {:>16}", "process", "RSS KiB", "PSS KiB", "threads", "wake-ups/minute");
    let (mut all_pss, mut all_wakeups) = (0, 0.0);
    for ((name, pid), before) in processes.iter().zip(before) {
        let per_minute = woken_since(&before, *pid) as f64 * 60.0 / window.as_secs_f64();
        let (rss, pss) = (memory(*pid, "Rss:"), memory(*pid, "Pss:"));
        println!("{name:<12} {rss:>10} {pss:>10} {:>8} {per_minute:>16.1}", threads(*pid).len());
        all_pss += pss;
        all_wakeups += per_minute;
    }
    println!("{:<12} {:>10} {all_pss:>10} {:>8} {all_wakeups:>16.1}", "together", "", "");
    drop(world);
    the_price_of_a_look(window / 2);
    println!("at most: 6144 KiB RSS each, 6144 KiB PSS and 6 wake-ups a minute together");
    println!("at most: 0.05 % of one core for a look each minute");
}

/// As often as a busy daemon is made to look.
const EAGER: Duration = Duration::from_millis(20);
/// As often as it is by default.
const EVERY: Duration = Duration::from_secs(60);

/// CPU time and wake-ups of one look, and what that makes of a core when it is done each minute.
fn the_price_of_a_look(window: Duration) {
    let costs = |every: &str| {
        let app = App::new("shop").set("health", "every", "\"24h\"");
        let world = World::with([app]).host(&format!("[health]\nevery = \"{every}\"")).up();
        let pid = world.status().daemon.pid;
        let (before, woken) = (cpu_time(pid), wakeups(pid));
        std::thread::sleep(window);
        (cpu_time(pid) - before, woken_since(&woken, pid))
    };
    let (busy, woken) = costs(&format!("{}ms", EAGER.as_millis()));
    let (idle, woken_idle) = costs("24h");
    let looks = window.as_secs_f64() / EAGER.as_secs_f64();
    let each = busy.saturating_sub(idle).as_secs_f64() / looks;
    let wakes = woken.saturating_sub(woken_idle) as f64 / looks;
    let share = each / EVERY.as_secs_f64() * 100.0;
    println!("\na look at the board: {:.0} µs of CPU, {wakes:.1} wake-ups of the loop", each * 1e6);
    println!("each {} s: {share:.4} % of one core", EVERY.as_secs());
}

/// What a process computed since its start, threads that ended included; in steps of a tick.
fn cpu_time(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').collect::<Vec<_>>()).unwrap_or_default();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
    Duration::from_secs_f64((ticks(11) + ticks(12)) as f64 / per_second as f64)
}
