//! When an app's branch is looked at: every so often, once at the start, and when the network is back.
//!
//! A look that failed is owed: it is repeated ever more slowly, whatever the rhythm, until one succeeds. Line: pure; when
//! comes in as a value, the next look's time goes out. What a look saw is judged in `daemon::turn`, the look is git's.

use crate::base::WallTime;
use crate::config::{Trigger, TriggerEvent};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// After the start of the daemon, or when the network is back, a look waits at least this long ...
const SETTLE: Duration = Duration::from_secs(2);
/// ... and up to this much longer, so that ten apps do not look at once.
const SPREAD: Duration = Duration::from_secs(8);
/// The first look comes after the app runs; an app that does not come up is looked at then all the same.
const APPS_FIRST: Duration = Duration::from_secs(60);
/// However often the network comes and goes, it is a reason to look so often at most.
const CALM: Duration = Duration::from_secs(60);
/// The first repetition of a failed look where there is no interval to begin with.
const FIRST_REPETITION: Duration = Duration::from_secs(60);
/// Repetitions of failed looks come no further apart than this, unless the interval is longer.
const LONGEST: Duration = Duration::from_secs(3600);

/// How often a branch is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Rhythm {
    /// Not at all.
    #[default]
    Never,
    /// At the start and when the network is back: that is when a webhook may have been missed.
    WhenBack,
    /// Then, and in this interval.
    Every(Duration),
}

impl Rhythm {
    /// What `[trigger]` asks for. Without `poll` only pushes are looked for, and only where webhooks are accepted: where
    /// they are not, none was missed and a person deploys; and a look at a branch cannot know that its CI passed or which
    /// tag was meant.
    pub fn of(trigger: &Trigger) -> Rhythm {
        let by_push = trigger.on.iter().all(|event| *event == TriggerEvent::Push);
        match trigger.poll {
            Some(Duration::ZERO) => Rhythm::Never,
            Some(interval) => Rhythm::Every(interval),
            None if by_push && !trigger.secrets.is_empty() => Rhythm::WhenBack,
            None => Rhythm::Never,
        }
    }
}

/// What was heard from the last look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// When.
    pub at: WallTime,
    /// What it came to, in a sentence; `Err`: why nothing was seen.
    pub result: Result<String, String>,
}

/// What the end of a look means for whoever reads the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// It was of a source that is configured no longer, or not the one waited for.
    Outdated,
    /// The source answered; `again`: after it had not.
    Answered {
        /// An outage ended.
        again: bool,
    },
    /// The source did not answer; `first`: it did until now.
    Silent {
        /// An outage began.
        first: bool,
    },
}

/// The schedule of one app's looks.
#[derive(Debug, Default)]
pub struct Lookout {
    rhythm: Rhythm,
    seed: u64,
    /// Looks begun so far: the number of the last one.
    looks: u64,
    next: Option<Duration>,
    /// Until then the next look waits for the app to run.
    apps_first: Option<Duration>,
    under_way: bool,
    /// The look under way is of a source that is configured no longer.
    outdated: bool,
    /// The network came back while a look was under way.
    came_back: bool,
    failures: u32,
    is_silent: bool,
    /// The look that the last return of the network was a reason for.
    return_at: Option<Duration>,
    /// What the last look saw.
    pub seen: Option<Seen>,
}

impl Lookout {
    /// The daemon starts, or the app is configured anew. `seed` sets apps and hosts apart.
    pub fn start(now: Duration, rhythm: Rhythm, seed: impl Hash) -> Lookout {
        let mut it = Lookout { rhythm, seed: hash(seed), ..Lookout::default() };
        if rhythm != Rhythm::Never {
            it.next = Some(now + SETTLE + it.share(SPREAD));
            it.apps_first = Some(now + APPS_FIRST);
        }
        it
    }

    /// The configuration was read again; `elsewhere`: the source is another one now.
    pub fn follow(&mut self, now: Duration, rhythm: Rhythm, elsewhere: bool) {
        let before = std::mem::replace(&mut self.rhythm, rhythm);
        if elsewhere {
            self.outdated = self.under_way;
            (self.failures, self.is_silent, self.seen) = (0, false, None);
        }
        self.next = match rhythm {
            _ if rhythm == before && !elsewhere => return,
            Rhythm::Never => None,
            Rhythm::WhenBack if !elsewhere => None,
            Rhythm::WhenBack | Rhythm::Every(_) => Some(now + SETTLE + self.share(SPREAD)),
        };
    }

    /// There is a way out again. Too often is once.
    pub fn network_is_back(&mut self, now: Duration) {
        if self.rhythm == Rhythm::Never {
            return;
        }
        self.came_back = self.under_way;
        self.failures = 0;
        let earliest = self.return_at.map_or(Duration::ZERO, |last| last + CALM);
        let at = (now + SETTLE + self.share(SPREAD)).max(earliest);
        if !self.under_way && self.next.is_none_or(|next| at < next) {
            self.next = Some(at);
            self.return_at = Some(at);
        }
    }

    /// When the next look is due; `runs`: the app is up, or is not meant to be.
    pub fn deadline(&self, runs: bool) -> Option<Duration> {
        let next = self.next.filter(|_| !self.under_way)?;
        Some(self.apps_first.filter(|_| !runs).map_or(next, |latest| next.max(latest)))
    }

    /// A look that is due begins: its number.
    pub fn begin(&mut self, now: Duration, runs: bool) -> Option<u64> {
        self.deadline(runs).filter(|at| now >= *at)?;
        (self.next, self.apps_first) = (None, None);
        (self.under_way, self.outdated, self.came_back) = (true, false, false);
        self.looks += 1;
        Some(self.looks)
    }

    /// Look `number` ended.
    pub fn ended(&mut self, now: Duration, number: u64, answered: bool) -> Heard {
        if number != self.looks || !std::mem::take(&mut self.under_way) {
            return Heard::Outdated;
        }
        if std::mem::take(&mut self.outdated) {
            return Heard::Outdated;
        }
        let was_silent = std::mem::replace(&mut self.is_silent, !answered);
        let interval = match self.rhythm {
            Rhythm::Every(interval) => Some(interval),
            _ => None,
        };
        if answered {
            self.failures = 0;
            self.next = interval.map(|interval| now + self.about(interval));
            return Heard::Answered { again: was_silent };
        }
        let wait = match std::mem::take(&mut self.came_back) {
            true => SETTLE + self.share(SPREAD),
            false => {
                self.failures = self.failures.saturating_add(1);
                let first = interval.unwrap_or(FIRST_REPETITION);
                let doubled = first.saturating_mul(1 << (self.failures - 1).min(16));
                self.about(doubled.min(first.max(LONGEST)))
            }
        };
        self.next = (self.rhythm != Rhythm::Never).then_some(now + wait);
        Heard::Silent { first: !was_silent }
    }

    /// What was seen could not be made use of: seen again soon.
    pub fn look_again(&mut self, now: Duration, wait: Duration) {
        let at = now + wait + self.share(SPREAD);
        if self.rhythm != Rhythm::Never && self.next.is_none_or(|next| at < next) {
            self.next = Some(at);
        }
    }

    /// Whether it looks at all.
    pub fn looks_at_all(&self) -> bool {
        self.rhythm != Rhythm::Never
    }

    /// Whether it looks in an interval.
    pub fn polls(&self) -> bool {
        matches!(self.rhythm, Rhythm::Every(_))
    }

    /// `span`, a tenth more or less.
    fn about(&self, span: Duration) -> Duration {
        span - span / 10 + self.share(span / 5)
    }

    /// Some part of `span`, another one for each look.
    fn share(&self, span: Duration) -> Duration {
        let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        Duration::from_millis(hash((self.seed, self.looks)) % millis)
    }
}

fn hash(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
#[path = "lookout/tests.rs"]
mod tests;
