//! How much is written to a card or an eMMC in a day: over the last day where it was watched, else since the boot.

use crate::base::Bytes;
use crate::health::board::Readings;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

const A_DAY: Duration = Duration::from_secs(86_400);
const AN_HOUR: Duration = Duration::from_secs(3600);
/// What less than this says of a day is a guess.
const LONG_ENOUGH: Duration = Duration::from_secs(6 * 3600);

/// One point in each hour of the last day.
#[derive(Debug, Clone, Default)]
pub(super) struct Wear {
    points: VecDeque<Point>,
}

#[derive(Debug, Clone)]
struct Point {
    uptime: Duration,
    written: BTreeMap<String, Bytes>,
}

impl Wear {
    pub(super) fn note(&mut self, readings: &Readings) {
        let Some(uptime) = readings.uptime.value().copied() else { return };
        if self.points.back().is_some_and(|last| uptime < last.uptime) {
            self.points.clear();
        }
        if self.points.back().is_some_and(|last| uptime < last.uptime + AN_HOUR) {
            return;
        }
        let devices = readings.devices.value().into_iter().flatten();
        let written = devices.filter_map(|device| Some((device.name.clone(), *device.written.value()?)));
        self.points.push_back(Point { uptime, written: written.collect() });
        while self.points.get(1).is_some_and(|second| second.uptime + A_DAY <= uptime) {
            self.points.pop_front();
        }
    }

    /// In a day, by the oldest point that is long enough ago.
    pub(super) fn daily(&self, readings: &Readings, device: &str) -> Option<Bytes> {
        let uptime = *readings.uptime.value()?;
        let then = self.points.front().filter(|point| point.uptime + LONG_ENOUGH <= uptime);
        let before = then.and_then(|point| Some((point.uptime, *point.written.get(device)?)));
        match before {
            Some((at, before)) => rate(written(readings, device)?.0.checked_sub(before.0)?, uptime.checked_sub(at)?),
            None => since_boot(readings, device),
        }
    }
}

/// In a day, by what was written since the boot.
pub(super) fn since_boot(readings: &Readings, device: &str) -> Option<Bytes> {
    let uptime = *readings.uptime.value()?;
    (uptime >= LONG_ENOUGH).then(|| rate(written(readings, device)?.0, uptime)).flatten()
}

fn written(readings: &Readings, name: &str) -> Option<Bytes> {
    let mut devices = readings.devices.value()?.iter();
    devices.find(|device| device.name == name)?.written.value().copied()
}

fn rate(bytes: u64, span: Duration) -> Option<Bytes> {
    let seconds = u128::from(span.as_secs().max(1));
    u64::try_from(u128::from(bytes) * u128::from(A_DAY.as_secs()) / seconds).ok().map(Bytes)
}
