//! What the sensors of a board say at one moment: every gauge, with whether it is there at all and could be read.
//!
//! [`Readings`] is one look at everything. Line: nouns only, with the names and units that `--json` shows;
//! `parse` makes them of texts, `judge` says what they mean, `os::sensors` fetches the texts.

use crate::base::Bytes;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use std::time::Duration;

/// What one sensor says.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Reading<T> {
    /// It was read.
    Value(T),
    /// This board has none. Never to be taken for "well".
    #[default]
    Unsupported,
    /// It is there and could not be read; why.
    Unreadable(String),
}

impl<T> Reading<T> {
    /// What it says, where it says something.
    pub fn value(&self) -> Option<&T> {
        match self {
            Reading::Value(value) => Some(value),
            Reading::Unsupported | Reading::Unreadable(_) => None,
        }
    }

    /// Why it could not be read.
    pub fn unreadable(&self) -> Option<&str> {
        match self {
            Reading::Unreadable(why) => Some(why),
            Reading::Value(_) | Reading::Unsupported => None,
        }
    }

    /// The value as another one.
    pub fn map<U>(self, convert: impl FnOnce(T) -> U) -> Reading<U> {
        match self {
            Reading::Value(value) => Reading::Value(convert(value)),
            Reading::Unsupported => Reading::Unsupported,
            Reading::Unreadable(why) => Reading::Unreadable(why),
        }
    }
}

/// In JSON the value itself, `"unsupported"`, or `{"unreadable": "why"}`.
impl<T: Serialize> Serialize for Reading<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Reading::Value(value) => value.serialize(serializer),
            Reading::Unsupported => serializer.serialize_str("unsupported"),
            Reading::Unreadable(why) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("unreadable", why)?;
                map.end()
            }
        }
    }
}

/// One look at every sensor.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Readings {
    /// What the board calls itself: `Raspberry Pi 4 Model B Rev 1.4`.
    pub model: Reading<String>,
    /// New at every boot.
    pub boot_id: Reading<String>,
    /// Since the boot.
    #[serde(rename = "uptime_seconds", serialize_with = "seconds")]
    pub uptime: Reading<Duration>,
    /// Between the look before and this one; unsupported at the first look.
    pub cpu: Reading<Cpu>,
    /// Processes that run or wait, on average.
    pub load: Reading<Load>,
    /// Time lost because something was short (PSI).
    pub pressure: Pressures,
    /// RAM.
    pub memory: Reading<Memory>,
    /// Unsupported where there is none.
    pub swap: Reading<Swap>,
    /// The file systems that matter to us.
    pub disks: Vec<Disk>,
    /// Errors that ext4 file systems remember, by device.
    pub ext4: Reading<Vec<Ext4>>,
    /// The disks and cards themselves.
    pub devices: Reading<Vec<Device>>,
    /// Of the processor, in degrees Celsius.
    #[serde(rename = "temperature_celsius")]
    pub temperature: Reading<f64>,
    /// Of the first core.
    pub frequency: Reading<Frequency>,
    /// What the firmware says of the power supply and of what it holds back.
    pub power: Power,
    /// Whether something holds the wall clock to the true time.
    pub clock_synchronised: Reading<bool>,
    /// Physical network interfaces.
    pub links: Reading<Vec<Link>>,
    /// What this process itself costs.
    pub own: Own,
}

/// What the processors did, each in percent of the time between two looks.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Cpu {
    /// All cores together; waiting for the disk is not work.
    pub busy_percent: f64,
    /// Each core.
    pub core_busy_percent: Vec<f64>,
    /// Idle only because the disk is slow.
    pub iowait_percent: f64,
    /// Taken by other machines on the same host.
    pub steal_percent: f64,
}

/// The three load averages.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[allow(missing_docs)]
pub struct Load {
    pub one_minute: f64,
    pub five_minutes: f64,
    pub fifteen_minutes: f64,
}

/// Pressure on each of the three resources.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[allow(missing_docs)]
pub struct Pressures {
    pub cpu: Reading<Pressure>,
    pub memory: Reading<Pressure>,
    pub io: Reading<Pressure>,
}

/// How much of the time somebody (`some`) or everybody (`full`) waited, in percent over the last 10, 60, 300 seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[allow(missing_docs)]
pub struct Pressure {
    pub some_avg10: f64,
    pub some_avg60: f64,
    pub some_avg300: f64,
    pub full_avg10: f64,
    pub full_avg60: f64,
    pub full_avg300: f64,
}

/// RAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Memory {
    /// All of it.
    #[serde(rename = "total_bytes")]
    pub total: Bytes,
    /// What programs can still have without swapping.
    #[serde(rename = "available_bytes")]
    pub available: Bytes,
}

impl Memory {
    /// What is not available, in percent of all.
    pub fn used_percent(&self) -> f64 {
        percent(self.total.0.saturating_sub(self.available.0), self.total.0)
    }
}

/// Swap space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct Swap {
    #[serde(rename = "total_bytes")]
    pub total: Bytes,
    #[serde(rename = "free_bytes")]
    pub free: Bytes,
}

/// A file system that matters to us.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Disk {
    /// Where it is mounted.
    pub mount: String,
    /// What is mounted there: `/dev/mmcblk0p2`.
    pub device: String,
    /// State or an app's data lies on it: where nothing can be written, nothing can be deployed.
    pub must_be_writable: bool,
    /// It cannot be written to: mounted so, or made so by the kernel after an error.
    pub read_only: Reading<bool>,
    /// In bytes.
    #[serde(rename = "space_bytes")]
    pub space: Reading<Room>,
    /// In inodes; unsupported on file systems that do not count them.
    pub inodes: Reading<Room>,
}

/// How much there is and how much of it is free for ordinary users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct Room {
    pub total: u64,
    pub free: u64,
}

impl Room {
    /// What is taken, in percent of all.
    pub fn used_percent(&self) -> f64 {
        percent(self.total.saturating_sub(self.free), self.total)
    }
}

/// The errors an ext4 file system remembers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Ext4 {
    pub device: String,
    pub errors: u64,
}

/// What a disk is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Medium {
    /// A card that can be taken out; it wears, and does not say how far.
    Sd,
    /// Soldered; it wears, and says how far.
    Emmc,
    /// Anything else.
    Other,
}

/// A disk or a card.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Device {
    /// As the kernel calls it: `mmcblk0`.
    pub name: String,
    /// What it is made of.
    pub medium: Medium,
    /// Since the boot.
    #[serde(rename = "written_bytes")]
    pub written: Reading<Bytes>,
    /// How far it is worn: tenths of its life that are used up, the worse of both kinds of memory in it; 11 is beyond.
    /// Only eMMC says so.
    pub life_used_tenths: Reading<u8>,
    /// How many spare blocks are left. Only eMMC says so.
    pub spare: Reading<Spare>,
}

/// What is left of an eMMC's spare blocks (`pre_eol_info`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Spare {
    /// Enough.
    Normal,
    /// Four fifths are used up.
    Warning,
    /// Nearly all are.
    Urgent,
}

/// How fast the processor runs, and could.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[allow(missing_docs)]
pub struct Frequency {
    pub current_khz: u64,
    pub max_khz: u64,
}

/// What the firmware of a Raspberry Pi says: at this moment, and since the boot.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[allow(missing_docs)]
pub struct Power {
    pub now: Strain,
    pub since_boot: Strain,
}

/// Each of the four things the firmware watches.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Strain {
    /// Less than 4.63 V arrive.
    pub under_voltage: Reading<bool>,
    /// The processor may not run as fast as it could.
    pub frequency_capped: Reading<bool>,
    /// It is slowed down.
    pub throttled: Reading<bool>,
    /// The soft temperature limit is reached.
    pub soft_temperature_limit: Reading<bool>,
}

/// A physical network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    /// `eth0`, `wlan0`.
    pub name: String,
    /// A cable or an access point is at the other end.
    pub up: bool,
}

/// What this process itself costs.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Own {
    /// The resident set.
    #[serde(rename = "memory_bytes")]
    pub memory: Reading<Bytes>,
    /// What it made the disks write since it began.
    #[serde(rename = "written_bytes")]
    pub written: Reading<Bytes>,
}

fn percent(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { part as f64 * 100.0 / all as f64 }
}

fn seconds<S: Serializer>(uptime: &Reading<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    uptime.clone().map(|uptime| uptime.as_secs()).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_said_to_be_unsupported_and_never_nothing() {
        let readings = Readings {
            temperature: Reading::Value(48.3),
            load: Reading::Unreadable("permission denied".into()),
            uptime: Reading::Value(Duration::from_millis(61_500)),
            ..Readings::default()
        };
        let shown = serde_json::to_value(&readings).unwrap();
        assert_eq!(shown["temperature_celsius"], 48.3);
        assert_eq!(shown["power"]["now"]["under_voltage"], "unsupported");
        assert_eq!(shown["load"]["unreadable"], "permission denied");
        assert_eq!(shown["uptime_seconds"], 61);
    }

    #[test]
    fn a_share_of_nothing_is_nothing() {
        assert_eq!(Room { total: 0, free: 0 }.used_percent(), 0.0);
        assert_eq!(Room { total: 200, free: 50 }.used_percent(), 75.0);
        assert_eq!(Memory { total: Bytes(100), available: Bytes(120) }.used_percent(), 0.0);
    }
}
