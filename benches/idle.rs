//! What the daemon and the listener cost while nothing happens: memory and wake-ups.
//!
//! `cargo bench --bench idle [-- --quick]`. One app is live and healthy; after a deploy has passed, both processes
//! are watched for a minute (`--quick`: 15 s). RSS and PSS from smaps_rollup, wake-ups from the voluntary context
//! switches of every thread. Figures are kept in docs/performance.md.

#[allow(dead_code)]
mod measure;
#[allow(dead_code, unused_imports)]
#[path = "../tests/pintle/world/mod.rs"]
mod world;

use measure::{memory, threads, wakeups, woken_since};
use std::collections::BTreeMap;
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
    println!("at most: 6144 KiB RSS each, 6144 KiB PSS and 6 wake-ups a minute together");
}
