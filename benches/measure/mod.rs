//! What the benchmarks share: figures of processes as the kernel keeps them, and of many rounds.

use std::collections::BTreeMap;
use std::fs;
use std::process::ExitCode;
use std::time::Duration;

/// Voluntary context switches of each thread of a process.
pub fn wakeups(pid: u32) -> BTreeMap<String, u64> {
    let of_thread = |path: String| {
        let status = fs::read_to_string(format!("{path}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        Some((path, line.trim().parse().ok()?))
    };
    threads(pid).into_iter().filter_map(of_thread).collect()
}

/// How often a process was woken since `before`. A thread that is new is counted from its beginning; one that has gone
/// meanwhile is not.
pub fn woken_since(before: &BTreeMap<String, u64>, pid: u32) -> u64 {
    let of_thread = |(thread, count): (&String, &u64)| count - before.get(thread).unwrap_or(&0);
    wakeups(pid).iter().map(of_thread).sum()
}

/// The threads of a process, as paths.
pub fn threads(pid: u32) -> Vec<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    entries.map(|entry| entry.path().to_string_lossy().into_owned()).collect()
}

/// KiB of a process by the kernel's own sum: `Rss:`, `Pss:`, `Anonymous:`.
pub fn memory(pid: u32, what: &str) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix(what));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// The middle of all.
pub fn median(spans: &[Duration]) -> Duration {
    percentile(spans, 50)
}

/// What `percent` of all do not exceed.
pub fn percentile(spans: &[Duration], percent: usize) -> Duration {
    let mut spans = spans.to_vec();
    spans.sort();
    spans.get((spans.len() * percent / 100).min(spans.len().saturating_sub(1))).copied().unwrap_or_default()
}

/// In milliseconds, as the tables show it.
pub fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

/// Real-time priority for us and all that we start: otherwise, on a busy machine, what is measured is how long others may
/// compute before whoever became runnable.
pub fn is_undisturbed() -> bool {
    let priority = libc::sched_param { sched_priority: 1 };
    // SAFETY: the structure outlives the call, which reads it.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_RR, &raw const priority) == 0 }
}

/// What was promised, and whether it was so.
#[derive(Default)]
pub struct Goals(Vec<(bool, String)>);

impl Goals {
    /// Notes a promise.
    pub fn expect(&mut self, held: bool, what: &str) {
        self.0.push((held, what.to_owned()));
    }

    /// Prints all; failure when one was not kept.
    pub fn end(&self) -> ExitCode {
        println!();
        for (held, what) in &self.0 {
            println!("{:<7} {what}", if *held { "held" } else { "MISSED" });
        }
        if self.0.iter().all(|(held, _)| *held) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
