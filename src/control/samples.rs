//! How the board was: what is sampled, in which units, and the JSON shape of `history --health`.
//!
//! A [`BoardSample`] stands for a stretch of time, from a minute to a month. What was not read in it is `null`: a gauge
//! that this board does not have is never 0. Line: nouns and units; `health::record` makes samples and puts them
//! together, `store` keeps them.

use super::states::spelled;
use crate::base::WallTime;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Something that is sampled. Its name says the unit. New ones are added at the end: their place is kept on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gauge {
    /// All cores together.
    CpuPercent,
    /// Processes that run or wait, the average of a minute.
    Load,
    /// RAM that programs cannot have any more.
    MemoryPercent,
    /// Swap in use.
    SwapPercent,
    /// The fullest file system that state or an app's data lie on.
    DiskPercent,
    /// Of the processor.
    TemperatureCelsius,
    /// Of the first core.
    CpuMegahertz,
    /// Time in which something waited for the processor (PSI).
    CpuPressurePercent,
    /// ... for memory.
    MemoryPressurePercent,
    /// ... for the disk.
    IoPressurePercent,
    /// The daemon's own resident set.
    OwnMemoryBytes,
    /// Samples in which too little voltage arrived.
    UnderVoltage,
    /// Samples in which the processor was held back, for whatever reason.
    Throttled,
    /// Written to the disks and cards themselves, by everybody.
    DeviceWrittenBytes,
    /// Of that, what the daemon made them write.
    OwnWrittenBytes,
}
spelled!(Gauge {
    CpuPercent = "cpu_percent", Load = "load", MemoryPercent = "memory_percent", SwapPercent = "swap_percent",
    DiskPercent = "disk_percent", TemperatureCelsius = "temperature_celsius", CpuMegahertz = "cpu_megahertz",
    CpuPressurePercent = "cpu_pressure_percent", MemoryPressurePercent = "memory_pressure_percent",
    IoPressurePercent = "io_pressure_percent", OwnMemoryBytes = "own_memory_bytes", UnderVoltage = "under_voltage",
    Throttled = "throttled", DeviceWrittenBytes = "device_written_bytes", OwnWrittenBytes = "own_written_bytes",
});

/// How the samples of a gauge are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// By their least, mean and greatest.
    Level,
    /// By the share of those in which it was so.
    Share,
    /// It is a counter: by how far it went on.
    Sum,
}

impl Gauge {
    /// How its samples are put together.
    pub fn shape(self) -> Shape {
        match self {
            Gauge::UnderVoltage | Gauge::Throttled => Shape::Share,
            Gauge::DeviceWrittenBytes | Gauge::OwnWrittenBytes => Shape::Sum,
            _ => Shape::Level,
        }
    }

    /// Kept are whole numbers of so many to the unit.
    pub fn per_unit(self) -> f64 {
        match self {
            Gauge::Load => 100.0,
            Gauge::CpuMegahertz | Gauge::OwnMemoryBytes | Gauge::DeviceWrittenBytes | Gauge::OwnWrittenBytes => 1.0,
            Gauge::UnderVoltage | Gauge::Throttled => 1000.0,
            _ => 10.0,
        }
    }

    /// As precise as it is kept.
    pub fn rounded(self, value: f64) -> f64 {
        (value * self.per_unit()).round() / self.per_unit()
    }
}

/// A gauge over a stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[allow(missing_docs)]
pub enum Figure {
    Level { min: f64, mean: f64, max: f64 },
    Sum(u64),
    Share(f64),
}

impl Figure {
    /// One number for it: the mean, the sum or the share.
    pub fn number(self) -> f64 {
        match self {
            Figure::Level { mean, .. } => mean,
            Figure::Sum(sum) => sum as f64,
            Figure::Share(share) => share,
        }
    }
}

/// What was read, by gauge; in JSON every gauge is named.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(from = "BTreeMap<Gauge, Option<Figure>>", into = "BTreeMap<Gauge, Option<Figure>>")]
pub struct Figures(pub BTreeMap<Gauge, Figure>);

impl From<BTreeMap<Gauge, Option<Figure>>> for Figures {
    fn from(named: BTreeMap<Gauge, Option<Figure>>) -> Figures {
        Figures(named.into_iter().filter_map(|(gauge, figure)| Some((gauge, figure?))).collect())
    }
}
impl From<Figures> for BTreeMap<Gauge, Option<Figure>> {
    fn from(figures: Figures) -> BTreeMap<Gauge, Option<Figure>> {
        Gauge::ALL.iter().map(|gauge| (*gauge, figures.0.get(gauge).copied())).collect()
    }
}

/// How the board was in one stretch of time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BoardSample {
    /// The minute, hour or day (UTC) that it is of.
    pub at: WallTime,
    /// How much of that time was watched.
    pub seconds: u64,
    /// How often it was looked.
    pub samples: u32,
    /// The clock was known to be right. Where it was not, `at` is what it showed, and may be far off.
    pub clock_sure: bool,
    /// What was seen.
    pub gauges: Figures,
}

/// `history --health`: newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BoardHistory {
    /// 60, 3600 or 86400.
    pub resolution_seconds: u64,
    /// By the order in which they were taken.
    pub samples: Vec<BoardSample>,
    /// Samples that could not be written down since the daemon began: the disk was full, or could not be written to.
    pub lost: u64,
}
