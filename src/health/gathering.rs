//! Samples put together: looks become a minute, minutes an hour, hours a day - and what people asked to see.
//!
//! Line: arithmetic only. When a minute is over and what is written down when, `record` decides.

use super::record::Row;
use crate::base::WallTime;
use crate::control::{BoardHistory, BoardSample, Figure, Figures, Gauge, Shape};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a stretch of time a kept sample stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Resolution {
    Minute,
    Hour,
    Day,
}

impl Resolution {
    /// From the finest on.
    pub const ALL: [Resolution; 3] = [Resolution::Minute, Resolution::Hour, Resolution::Day];

    /// The length of its stretch.
    pub fn span(self) -> Duration {
        match self {
            Resolution::Minute => Duration::from_secs(60),
            Resolution::Hour => Duration::from_secs(3600),
            Resolution::Day => Duration::from_secs(86_400),
        }
    }

    /// How many are kept, the oldest of them being overwritten by the newest: minutes of a day, hours of a month, days of
    /// a year. No age is asked for, so that a clock that jumps throws nothing away.
    pub fn kept(self) -> u64 {
        match self {
            Resolution::Minute => 24 * 60,
            Resolution::Hour => 31 * 24,
            Resolution::Day => 366,
        }
    }

    /// The finest one that reaches so far back.
    pub fn reaching(back: Duration) -> Resolution {
        let reaches = |one: &Resolution| one.span().checked_mul(one.kept() as u32).is_some_and(|reach| back <= reach);
        Resolution::ALL.into_iter().find(reaches).unwrap_or(Resolution::Day)
    }

    /// The beginning (UTC) of the minute, hour or day that a time lies in.
    pub fn begin_of(self, at: WallTime) -> WallTime {
        begin_of(at, self.span())
    }
}

fn begin_of(at: WallTime, span: Duration) -> WallTime {
    let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX).max(1);
    WallTime(at.0.saturating_sub(at.0.rem_euclid(millis)))
}

/// Samples of one stretch of time, so far.
#[derive(Debug, Clone)]
pub struct Gathering {
    at: WallTime,
    clock_sure: bool,
    seconds: Duration,
    samples: u32,
    parts: BTreeMap<Gauge, Part>,
}

/// What one gauge said so far.
#[derive(Debug, Clone, Copy)]
struct Part {
    /// In looks.
    weight: f64,
    sum: f64,
    min: f64,
    max: f64,
}

impl Gathering {
    /// Nothing yet of the stretch that begins at `at`.
    pub fn new(at: WallTime, clock_sure: bool) -> Gathering {
        Gathering { at, clock_sure, seconds: Duration::ZERO, samples: 0, parts: BTreeMap::new() }
    }

    /// The stretch: its beginning, and whether that is known to be true.
    pub fn stretch(&self) -> (WallTime, bool) {
        (self.at, self.clock_sure)
    }

    /// The clock turned out to be right now, and this to have begun then.
    pub fn restamp(&mut self, at: WallTime) {
        (self.at, self.clock_sure) = (at, true);
    }

    /// One look more; it tells of the time since the look before.
    pub fn look(&mut self, since_last: Duration, values: &BTreeMap<Gauge, f64>) {
        self.samples = self.samples.saturating_add(1);
        self.seconds += since_last;
        for (gauge, value) in values {
            self.add(*gauge, Part { weight: 1.0, sum: *value, min: *value, max: *value });
        }
    }

    /// A finer stretch that lies in this one.
    pub fn take(&mut self, finer: &BoardSample) {
        self.samples = self.samples.saturating_add(finer.samples);
        self.seconds += Duration::from_secs(finer.seconds);
        let weight = f64::from(finer.samples.max(1));
        for (gauge, figure) in &finer.gauges.0 {
            let (sum, min, max) = match figure {
                Figure::Level { min, mean, max } => (mean * weight, *min, *max),
                Figure::Share(share) => (share * weight, *share, *share),
                Figure::Sum(sum) => (*sum as f64, 0.0, 0.0),
            };
            self.add(*gauge, Part { weight, sum, min, max });
        }
    }

    fn add(&mut self, gauge: Gauge, more: Part) {
        let part = self.parts.entry(gauge).or_insert(Part { weight: 0.0, sum: 0.0, ..more });
        part.weight += more.weight;
        part.sum += more.sum;
        part.min = part.min.min(more.min);
        part.max = part.max.max(more.max);
    }

    /// As it is kept and shown.
    pub fn sample(&self) -> BoardSample {
        let figures = self.parts.iter().map(|(gauge, part)| {
            let mean = gauge.rounded(part.sum / part.weight.max(1.0));
            let figure = match gauge.shape() {
                Shape::Level => Figure::Level { min: gauge.rounded(part.min), mean, max: gauge.rounded(part.max) },
                Shape::Share => Figure::Share(mean),
                Shape::Sum => Figure::Sum(part.sum.max(0.0) as u64),
            };
            (*gauge, figure)
        });
        BoardSample {
            at: self.at,
            seconds: self.seconds.as_millis().saturating_add(500).saturating_div(1000) as u64,
            samples: self.samples,
            clock_sure: self.clock_sure,
            gauges: Figures(figures.collect()),
        }
    }
}

/// Puts samples together, oldest first, into stretches of `span`. What was seen by a clock that was not sure is never
/// put together with the rest.
pub fn coarsen(samples: &[BoardSample], span: Duration) -> Vec<BoardSample> {
    let mut done: Vec<Gathering> = vec![];
    for sample in samples {
        let stretch = (begin_of(sample.at, span), sample.clock_sure);
        if done.last().is_none_or(|last| last.stretch() != stretch) {
            done.push(Gathering::new(stretch.0, stretch.1));
        }
        if let Some(last) = done.last_mut() {
            last.take(sample);
        }
    }
    done.iter().map(Gathering::sample).collect()
}

/// What is kept, of every resolution in the order written, and what is not written down yet.
#[derive(Debug, Clone, PartialEq, Default)]
#[allow(missing_docs)]
pub struct Kept {
    pub minutes: Vec<Row>,
    pub hours: Vec<Row>,
    pub days: Vec<Row>,
    pub unwritten: Vec<BoardSample>,
}

impl Kept {
    /// What people are shown who look back so far.
    pub fn history(mut self, now: WallTime, back: Duration, lost: u64) -> BoardHistory {
        let resolution = Resolution::reaching(back);
        // What was on its way to the disk may be told by both.
        let written = |sample: &BoardSample| self.minutes.iter().rev().any(|row| row.sample == *sample);
        self.unwritten = self.unwritten.iter().filter(|sample| !written(sample)).cloned().collect();
        let back = i64::try_from(back.as_millis()).unwrap_or(i64::MAX);
        let mut samples = self.seen_in(resolution, WallTime(now.0.saturating_sub(back)));
        samples.reverse();
        BoardHistory { resolution_seconds: resolution.span().as_secs(), samples, lost }
    }

    /// Everything from `since` on in one resolution, oldest first; what is not put together yet on disk is here.
    pub fn seen_in(&self, resolution: Resolution, since: WallTime) -> Vec<BoardSample> {
        let after = |rows: &[Row], through: u64| -> Vec<BoardSample> {
            rows.iter().filter(|row| row.through > through).map(|row| row.sample.clone()).collect()
        };
        let through = |rows: &[Row]| rows.iter().map(|row| row.through).max().unwrap_or(0);
        let (mut whole, mut rest) = match resolution {
            Resolution::Minute => (after(&self.minutes, 0), vec![]),
            Resolution::Hour => (after(&self.hours, 0), after(&self.minutes, through(&self.hours))),
            Resolution::Day => {
                let in_hours = after(&self.hours, through(&self.days));
                let in_minutes = after(&self.minutes, through(&self.hours).max(through(&self.days)));
                (after(&self.days, 0), [in_hours, in_minutes].concat())
            }
        };
        rest.extend(self.unwritten.iter().cloned());
        whole.extend(coarsen(&rest, resolution.span()));
        whole.retain(|sample| sample.at.plus(resolution.span()) > since);
        whole
    }
}
