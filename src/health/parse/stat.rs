//! `/proc/stat`: what the processors did since the boot, and the difference of two looks.

use super::{Unfit, whole};
use crate::health::board::Cpu;

/// More cores than any board has; a text that claims more is not believed.
const MOST_CORES: usize = 4096;

/// Ticks since the boot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Times {
    all: Line,
    cores: Vec<Line>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Line {
    /// Computing, for whomever.
    busy: u64,
    idle: u64,
    iowait: u64,
    steal: u64,
}

/// The `cpu` lines.
pub fn times(text: &str) -> Result<Times, Unfit> {
    let mut all = None;
    let mut cores = vec![];
    for line in text.lines().take_while(|line| line.starts_with("cpu")) {
        let (name, ticks) = line.split_once(' ').ok_or_else(|| Unfit::new("processor times", line))?;
        let ticks = read(ticks).ok_or_else(|| Unfit::new("processor times", line))?;
        match name {
            "cpu" => all = Some(ticks),
            _ if cores.len() < MOST_CORES => cores.push(ticks),
            _ => return Err(Unfit::new("a believable number of processors", line)),
        }
    }
    Ok(Times { all: all.ok_or_else(|| Unfit::new("processor times", text))?, cores })
}

/// `user nice system idle iowait irq softirq steal guest guest_nice`; the guests are in `user` and `nice` already.
fn read(ticks: &str) -> Option<Line> {
    let ticks: Option<Vec<u64>> = ticks.split_ascii_whitespace().map(whole).collect();
    let ticks = ticks.filter(|ticks| ticks.len() >= 4)?;
    let at = |index: usize| ticks.get(index).copied().unwrap_or(0);
    let busy = [at(0), at(1), at(2), at(5), at(6)].into_iter().try_fold(0u64, u64::checked_add)?;
    Some(Line { busy, idle: at(3), iowait: at(4), steal: at(7) })
}

/// What was done between two looks; `None` when no time passed, or not forwards.
pub fn between(before: &Times, after: &Times) -> Option<Cpu> {
    let all = share(before.all, after.all)?;
    // A core that was switched on or off meanwhile makes the lines incomparable.
    let same = before.cores.len() == after.cores.len();
    let cores = before.cores.iter().zip(&after.cores).filter(|_| same);
    let cores = cores.map(|(before, after)| share(*before, *after).map_or(0.0, |share| share.busy));
    Some(Cpu {
        busy_percent: all.busy,
        core_busy_percent: cores.collect(),
        iowait_percent: all.iowait,
        steal_percent: all.steal,
    })
}

struct Share {
    busy: f64,
    iowait: f64,
    steal: f64,
}

fn share(before: Line, after: Line) -> Option<Share> {
    // Waiting for the disk may be counted backwards by a tick: the kernel says so.
    let less = |before: u64, after: u64| after.saturating_sub(before);
    let busy = after.busy.checked_sub(before.busy)?;
    let idle = less(before.idle, after.idle);
    let (iowait, steal) = (less(before.iowait, after.iowait), less(before.steal, after.steal));
    let all = [busy, idle, iowait, steal].into_iter().try_fold(0u64, u64::checked_add)?;
    let percent = |part: u64| part as f64 * 100.0 / all as f64;
    (all > 0).then(|| Share { busy: percent(busy), iowait: percent(iowait), steal: percent(steal) })
}
