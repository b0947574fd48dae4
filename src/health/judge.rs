//! What readings mean: findings that say what is wrong and what to do, and that do not come and go with every sample.
//!
//! ```text
//!            n samples in a row beyond the limit            n samples in a row within limit - margin
//!     Ok ───────────────────────────────────────▶ Warning ──────────────────────────────────────────▶ Ok
//!      └──────────────▶ Critical (the least grave level of those n samples counts, both ways) ◀──────┘
//! ```
//! How many samples and which margin, `opinions` says of each gauge. [`at_once`] is for whoever looks once and remembers
//! nothing: a value beyond a limit is a finding. Line: pure; who is told is decided in `daemon::turn`.

mod opinions;
mod wear;

pub use crate::config::{Limits, Thresholds};

use super::board::Readings;
use opinions::{Opinion, Unknown};
use serde::Serialize;
use std::collections::BTreeMap;
use wear::Wear;

/// How grave something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Level {
    #[default]
    Ok,
    Warning,
    Critical,
}

/// Something about the board that people should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The same thing always has the same name: `temperature`, `disk:/`, `sensor:load`.
    pub about: String,
    /// Never `Ok`.
    pub level: Level,
    /// One sentence: what is so.
    pub what: String,
    /// What it means and what to do.
    pub advice: String,
}

/// The findings of one look without memory, the gravest first.
pub fn at_once(readings: &Readings, thresholds: &Thresholds) -> Vec<Finding> {
    let daily = |device: &str| wear::since_boot(readings, device);
    let said = opinions::of(readings, thresholds, &|_| Level::Ok, &daily);
    in_order(said.opinions.into_iter().filter_map(Opinion::finding))
}

/// What became different with a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// There is something new, or it got graver.
    Raised(Finding),
    /// It is less grave than it was.
    Eased(Finding),
    /// It is well again.
    Cleared {
        /// What the finding was about.
        about: String,
        /// One sentence: how it is now.
        what: String,
    },
}

/// Remembers what stands, look by look.
#[derive(Debug, Clone, Default)]
pub struct Judge {
    gauges: BTreeMap<String, Gauge>,
    wear: Wear,
    /// What the last look could say nothing of.
    unknown: Vec<Unknown>,
}

/// One thing that may be found.
#[derive(Debug, Clone, Default)]
struct Gauge {
    level: Level,
    /// What is shown while it stands.
    finding: Option<Finding>,
    /// Samples in a row that lean one way.
    streak: Option<Streak>,
}

#[derive(Debug, Clone, Copy)]
struct Streak {
    rises: bool,
    samples: u32,
    /// Where it would go: the level nearest to where it is that any of the samples had.
    to: Level,
}

impl Judge {
    /// Takes one look and says what is different now.
    pub fn look(&mut self, readings: &Readings, thresholds: &Thresholds) -> Vec<Change> {
        self.wear.note(readings);
        let standing = |about: &str| self.gauges.get(about).map_or(Level::Ok, |gauge| gauge.level);
        let said = opinions::of(readings, thresholds, &standing, &|device| self.wear.daily(readings, device));
        let mut changes = vec![];
        let mut gone = std::mem::take(&mut self.gauges);
        for opinion in said.opinions {
            let about = opinion.about.clone();
            let mut gauge = gone.remove(&about).unwrap_or_default();
            changes.extend(gauge.take(opinion));
            self.keep(about, gauge);
        }
        // Nothing is known of these now: they stay as they are.
        self.unknown = said.unknown;
        let is_unknown = |about: &str| self.unknown.iter().any(|unknown| unknown.covers(about));
        let (unknown, gone): (BTreeMap<_, _>, BTreeMap<_, _>) =
            gone.into_iter().partition(|(about, _)| is_unknown(about));
        self.gauges.extend(unknown);
        // These are not there any more.
        for (about, mut gauge) in gone {
            changes.extend(gauge.take(Opinion::gone(&about)));
            self.keep(about, gauge);
        }
        changes
    }

    /// What stands, the gravest first.
    pub fn findings(&self) -> Vec<Finding> {
        in_order(self.gauges.values().filter_map(|gauge| gauge.finding.clone()))
    }

    /// How grave what stands about this is.
    pub fn level(&self, about: &str) -> Level {
        self.gauges.get(about).map_or(Level::Ok, |gauge| gauge.level)
    }

    /// It stands, is about to, or nothing is known of it: whoever was told of it hears of no end yet.
    pub fn may_stand(&self, about: &str) -> bool {
        self.gauges.contains_key(about) || self.unknown.iter().any(|unknown| unknown.covers(about))
    }

    fn keep(&mut self, about: String, gauge: Gauge) {
        if gauge.level != Level::Ok || gauge.streak.is_some() {
            self.gauges.insert(about, gauge);
        }
    }
}

impl Gauge {
    fn take(&mut self, opinion: Opinion) -> Option<Change> {
        if opinion.level == self.level {
            self.streak = None;
            self.finding = opinion.finding();
            return None;
        }
        let rises = opinion.level > self.level;
        let nearest = |a: Level, b: Level| if rises { a.min(b) } else { a.max(b) };
        let streak = match self.streak.filter(|streak| streak.rises == rises) {
            Some(streak) => {
                Streak { rises, samples: streak.samples.saturating_add(1), to: nearest(streak.to, opinion.level) }
            }
            None => Streak { rises, samples: 1, to: opinion.level },
        };
        let enough = if rises { opinion.patience.rise } else { opinion.patience.fall };
        if streak.samples < enough {
            self.streak = Some(streak);
            return None;
        }
        self.streak = None;
        self.level = streak.to;
        let opinion = Opinion { level: streak.to, ..opinion };
        let cleared = || Change::Cleared { about: opinion.about.clone(), what: opinion.what.clone() };
        self.finding = opinion.clone().finding();
        Some(match self.finding.clone() {
            None => cleared(),
            Some(finding) if rises => Change::Raised(finding),
            Some(finding) => Change::Eased(finding),
        })
    }
}

fn in_order(findings: impl Iterator<Item = Finding>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = findings.collect();
    findings.sort_by(|a, b| b.level.cmp(&a.level).then_with(|| a.about.cmp(&b.about)));
    findings
}

#[cfg(test)]
mod tests;
