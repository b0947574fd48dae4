//! Reads `[health]` of `pintle.toml`: how often the board is looked at, and from when on people hear of it.

use super::read::Section;
use crate::base::Bytes;
use std::time::Duration;
use toml::Value;

/// `[health]` of the host.
#[derive(Debug, Clone, PartialEq)]
pub struct HostHealth {
    /// How often the daemon looks.
    pub every: Duration,
    /// From when on people hear of it.
    pub thresholds: Thresholds,
}

/// What is too much.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// All cores together.
    pub cpu_percent: Limits,
    /// RAM that is not available.
    pub memory_percent: Limits,
    /// Space of a file system, and its inodes.
    pub disk_percent: Limits,
    /// Of the processor.
    pub temperature_celsius: Limits,
    /// What a card or an eMMC may be written in a day before it is said to wear out early.
    pub card_writes_per_day: Bytes,
}

/// Two limits; a value that reaches one is beyond it.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs)]
pub struct Limits {
    pub warning: f64,
    pub critical: f64,
}

impl Default for HostHealth {
    fn default() -> HostHealth {
        HostHealth { every: Duration::from_secs(60), thresholds: Thresholds::default() }
    }
}

impl Default for Thresholds {
    fn default() -> Thresholds {
        Thresholds {
            cpu_percent: Limits { warning: 90.0, critical: 98.0 },
            memory_percent: Limits { warning: 85.0, critical: 95.0 },
            disk_percent: Limits { warning: 85.0, critical: 95.0 },
            temperature_celsius: Limits { warning: 75.0, critical: 82.0 },
            card_writes_per_day: Bytes(20 << 30),
        }
    }
}

/// Reads the table. What was wrong is on the sheet, and a default stands in its place.
pub(super) fn read(health: &Section<'_>) -> HostHealth {
    let default = HostHealth::default();
    let meant = default.thresholds;
    HostHealth {
        every: health.positive_duration("every").unwrap_or(default.every),
        thresholds: Thresholds {
            cpu_percent: limits(health, "cpu_percent", 100.0).unwrap_or(meant.cpu_percent),
            memory_percent: limits(health, "memory_percent", 100.0).unwrap_or(meant.memory_percent),
            disk_percent: limits(health, "disk_percent", 100.0).unwrap_or(meant.disk_percent),
            temperature_celsius: limits(health, "temperature_celsius", 150.0).unwrap_or(meant.temperature_celsius),
            card_writes_per_day: health.size("card_writes_per_day").unwrap_or(meant.card_writes_per_day),
        },
    }
}

fn limits(health: &Section<'_>, key: &'static str, most: f64) -> Option<Limits> {
    let number = |value: &Value| value.as_float().or_else(|| value.as_integer().map(|n| n as f64));
    let pair: Option<Vec<f64>> = health.value(key)?.as_array().and_then(|items| items.iter().map(number).collect());
    match pair.as_deref() {
        Some(&[warning, critical]) if 0.0 <= warning && warning < critical && critical <= most => {
            Some(Limits { warning, critical })
        }
        _ => {
            health.problem(key, "is not a pair of thresholds", "write [warn, critical], the smaller first: [85, 95]");
            None
        }
    }
}
