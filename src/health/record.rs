//! The record of how the board was: what is kept of each look, and when it is written down.
//!
//! Looks are put together to minutes, which wait in memory and are written down when their hour is over. The hours that
//! they make are written by the dozen, and at midnight (UTC) with the day: until then the minutes on disk tell them. So a
//! quiet board costs a transaction an hour, each of which has a card write some six pages whatever is in it. When
//! something changes for the worse or the better, what waits is written sooner, as often as the [`Allowance`] has it.
//!
//! Stretches of time follow the wall clock, their order the number of each row. A clock that was not sure is marked; when
//! it turns out what time it is while such minutes still wait, they are stamped anew. Line: pure; what is to be written
//! goes out as rows.

use super::board::{Device, Memory, Pressure, Reading, Readings, Room, Strain, Swap};
use super::gathering::{Gathering, Resolution};
use crate::base::{Moment, WallTime};
use crate::control::{BoardSample, Gauge, Shape};
use std::collections::BTreeMap;
use std::time::Duration;

/// Whatever happens, there is so much time between two writes.
pub const LEAST_APART: Duration = Duration::from_secs(300);
/// A minute waits no longer, although its hour may not be over by a clock that was set.
pub const HOLD: Duration = Duration::from_secs(3600);
/// Hours that end sooner after each other than so were ended by whoever sets the clock, and wait.
const SHORTEST_HOUR: Duration = Duration::from_secs(1800);
/// Hours and days that could not be written, and are tried again: two days of a full disk.
const OWED: usize = 50;
/// Whole hours that are written together; a day has an even number of such.
const DOZEN: usize = 12;
/// Rows of each resolution that may go on when the clock comes back to their stretch.
const RECENT: usize = 4;
/// A clock that differs from what it should show by more than this was set.
const JUMP: Duration = Duration::from_secs(2);

/// One kept sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// How much time it stands for.
    pub resolution: Resolution,
    /// Counted up within its resolution; told again when its row goes on.
    pub number: u64,
    /// The last minute in it, by its number.
    pub through: u64,
    /// What is kept.
    pub sample: BoardSample,
}

/// The end of what is on disk: what a daemon that starts goes on with.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tail {
    /// Minutes that are in no hour yet, in order.
    pub minutes: Vec<Row>,
    /// The last hours, in order: those that are in no day yet, and some before them.
    pub hours: Vec<Row>,
    /// The last days, in order.
    pub days: Vec<Row>,
    /// The highest number of each resolution; 0: none.
    pub highest: [u64; 3],
}

/// How often something may be written beside the hours: once in three hours, and up to three times at once.
#[derive(Debug)]
pub struct Allowance {
    left: f64,
    at: Duration,
}

impl Allowance {
    const AT_ONCE: f64 = 3.0;
    const ONE_IN: Duration = Duration::from_secs(3 * 3600);

    fn full(now: Duration) -> Allowance {
        Allowance { left: Allowance::AT_ONCE, at: now }
    }

    fn take(&mut self, now: Duration) -> bool {
        let earned = now.saturating_sub(self.at).as_secs_f64() / Allowance::ONE_IN.as_secs_f64();
        (self.left, self.at) = ((self.left + earned).min(Allowance::AT_ONCE), now);
        let may = self.left >= 1.0;
        self.left -= if may { 1.0 } else { 0.0 };
        may
    }
}

/// What is sampled of one look; counters as they stand. What the board does not have or would not tell is left out.
pub fn sampled(readings: &Readings) -> BTreeMap<Gauge, f64> {
    let pressure = |reading: &Reading<Pressure>| reading.value().map(|pressure| pressure.some_avg60);
    let held_back = |strain: &Strain| {
        let ways = [&strain.throttled, &strain.frequency_capped, &strain.soft_temperature_limit];
        ways.into_iter().filter_map(Reading::value).copied().reduce(|one, other| one || other)
    };
    let fullest = readings.disks.iter().filter(|disk| disk.must_be_writable);
    let fullest = fullest.filter_map(|disk| disk.space.value()).map(Room::used_percent).reduce(f64::max);
    let swap_used = |swap: &Swap| Room { total: swap.total.0, free: swap.free.0 }.used_percent();
    let written = |devices: &Vec<Device>| {
        devices.iter().filter_map(|device| device.written.value()).map(|bytes| bytes.0 as f64).reduce(|a, b| a + b)
    };
    let own = &readings.own;
    let found = [
        (Gauge::CpuPercent, readings.cpu.value().map(|cpu| cpu.busy_percent)),
        (Gauge::Load, readings.load.value().map(|load| load.one_minute)),
        (Gauge::MemoryPercent, readings.memory.value().map(Memory::used_percent)),
        (Gauge::SwapPercent, readings.swap.value().map(swap_used)),
        (Gauge::DiskPercent, fullest),
        (Gauge::TemperatureCelsius, readings.temperature.value().copied()),
        (Gauge::CpuMegahertz, readings.frequency.value().map(|frequency| frequency.current_khz as f64 / 1000.0)),
        (Gauge::CpuPressurePercent, pressure(&readings.pressure.cpu)),
        (Gauge::MemoryPressurePercent, pressure(&readings.pressure.memory)),
        (Gauge::IoPressurePercent, pressure(&readings.pressure.io)),
        (Gauge::OwnMemoryBytes, own.memory.value().map(|bytes| bytes.0 as f64)),
        (Gauge::UnderVoltage, readings.power.now.under_voltage.value().map(|is_so| f64::from(*is_so))),
        (Gauge::Throttled, held_back(&readings.power.now).map(f64::from)),
        (Gauge::DeviceWrittenBytes, readings.devices.value().and_then(written)),
        (Gauge::OwnWrittenBytes, own.written.value().map(|bytes| bytes.0 as f64)),
    ];
    found.into_iter().filter_map(|(gauge, value)| Some((gauge, value.filter(|value| value.is_finite())?))).collect()
}

/// A minute that waits, or the one that goes on.
#[derive(Debug)]
struct Minute {
    began: Duration,
    gathering: Gathering,
}

/// An hour or a day that goes on.
#[derive(Debug)]
struct Stretch {
    number: u64,
    through: u64,
    gathering: Gathering,
}

/// Hours, or days, as they come together.
#[derive(Debug)]
struct Rollup {
    resolution: Resolution,
    current: Option<Stretch>,
    recent: Vec<Row>,
    next: u64,
}

/// Remembers looks until they are written down.
#[derive(Debug)]
pub struct Recorder {
    minute: Option<Minute>,
    waiting: Vec<Minute>,
    rollups: [Rollup; 2],
    /// Whole hours and days that are to be written with the next minutes.
    owed: Vec<Row>,
    next_minute: u64,
    clock_sure: bool,
    last: Option<Moment>,
    counters: BTreeMap<Gauge, f64>,
    changed: bool,
    allowance: Allowance,
    written_at: Duration,
    hour_written_at: Duration,
    lost: u64,
}

impl Recorder {
    /// Goes on where the rows on disk end.
    pub fn resume(now: Duration, tail: Tail) -> Recorder {
        let [minutes, hours, days] = tail.highest;
        let mut recorder = Recorder {
            minute: None,
            waiting: vec![],
            rollups: [
                Rollup::new(Resolution::Hour, hours + 1, &tail.hours),
                Rollup::new(Resolution::Day, days + 1, &tail.days),
            ],
            owed: vec![],
            next_minute: minutes + 1,
            clock_sure: false,
            last: None,
            counters: BTreeMap::new(),
            changed: false,
            allowance: Allowance::full(now),
            written_at: now,
            hour_written_at: now,
            lost: 0,
        };
        let in_hours = tail.hours.iter().map(|row| row.through).max().unwrap_or(0);
        let in_days = tail.days.iter().map(|row| row.through).max().unwrap_or(0);
        let Recorder { rollups: [hour, day], owed, .. } = &mut recorder;
        tail.hours.iter().filter(|row| row.through > in_days).for_each(|row| day.take(row.through, &row.sample, owed));
        for row in tail.minutes.iter().filter(|row| row.through > in_hours) {
            hour.take(row.through, &row.sample, owed);
            day.take(row.through, &row.sample, owed);
        }
        recorder
    }

    /// The board was looked at. Counters are given as they stand; `disciplined`: something holds the clock to the true
    /// time.
    pub fn look(&mut self, now: Moment, disciplined: bool, values: &BTreeMap<Gauge, f64>) {
        let since_last = self.last.map(|last| now.mono.saturating_sub(last.mono)).unwrap_or_default();
        self.heed_the_clock(now, since_last, disciplined);
        let values = self.with_increases(values);
        let stretch = (Resolution::Minute.begin_of(now.wall), self.clock_sure);
        if self.minute.as_ref().is_some_and(|minute| minute.gathering.stretch() != stretch) {
            self.waiting.extend(self.minute.take());
        }
        let fresh = || Minute { began: now.mono, gathering: Gathering::new(stretch.0, stretch.1) };
        self.minute.get_or_insert_with(fresh).gathering.look(since_last, &values);
        self.last = Some(now);
    }

    /// Something of the board got worse or better: what led to it is worth a write.
    pub fn something_changed(&mut self) {
        self.changed = true;
    }

    /// What is to be written down now; mostly nothing.
    pub fn due(&mut self, now: Duration) -> Vec<Row> {
        let Some(oldest) = self.waiting.first() else { return vec![] };
        if now.saturating_sub(self.written_at) < LEAST_APART {
            return vec![];
        }
        let hour_is_over = self.minute.as_ref().is_some_and(|minute| hour_of(minute) != hour_of(oldest))
            && now.saturating_sub(self.hour_written_at) >= SHORTEST_HOUR;
        let waits_long = now.saturating_sub(oldest.began) >= HOLD;
        if hour_is_over || waits_long {
            self.hour_written_at = now;
        } else if !(self.changed && self.allowance.take(now)) {
            return vec![];
        }
        self.write(now)
    }

    /// Everything, because the daemon ends.
    pub fn rest(&mut self, now: Duration) -> Vec<Row> {
        self.waiting.extend(self.minute.take());
        if self.waiting.is_empty() { vec![] } else { self.write(now) }
    }

    /// These could not be written: the minutes are given up, hours and days are tried again as long as there are few.
    pub fn could_not_be_written(&mut self, rows: Vec<Row>) {
        let (minutes, mut coarse): (Vec<Row>, Vec<Row>) =
            rows.into_iter().partition(|row| row.resolution == Resolution::Minute);
        coarse.append(&mut self.owed);
        coarse.sort_by_key(|row| row.through);
        let too_many = coarse.len().saturating_sub(OWED);
        self.owed = coarse.split_off(too_many);
        self.lost = self.lost.saturating_add((minutes.len() + too_many) as u64);
    }

    /// Samples that were given up since the daemon began.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// What was seen and is not written down yet, by minutes, oldest first.
    pub fn unwritten(&self) -> Vec<BoardSample> {
        self.waiting.iter().chain(&self.minute).map(|minute| minute.gathering.sample()).collect()
    }

    /// Whether the time is known: while something disciplines the clock, and from then on until somebody sets it. Once
    /// it is known, what waits is stamped with the time that it was then.
    fn heed_the_clock(&mut self, now: Moment, since_last: Duration, disciplined: bool) {
        let expected = self.last.map_or(now.wall, |last| last.wall.plus(since_last));
        let jumped = now.wall.since(expected) > JUMP || expected.since(now.wall) > JUMP;
        let was_sure = self.clock_sure;
        self.clock_sure = disciplined || (was_sure && !jumped);
        if was_sure || !self.clock_sure {
            return;
        }
        for minute in self.waiting.iter_mut().chain(&mut self.minute).filter(|minute| !minute.gathering.stretch().1) {
            let ago = i64::try_from(now.mono.saturating_sub(minute.began).as_millis()).unwrap_or(i64::MAX);
            minute.gathering.restamp(Resolution::Minute.begin_of(WallTime(now.wall.0.saturating_sub(ago))));
        }
    }

    /// Counters become what they grew by since the last look; one that is new, or began anew, says nothing yet.
    fn with_increases(&mut self, values: &BTreeMap<Gauge, f64>) -> BTreeMap<Gauge, f64> {
        let mut seen = BTreeMap::new();
        for (gauge, value) in values {
            if gauge.shape() != Shape::Sum {
                seen.insert(*gauge, *value);
            } else if let Some(before) = self.counters.insert(*gauge, *value).filter(|before| before <= value) {
                seen.insert(*gauge, value - before);
            }
        }
        seen
    }

    fn write(&mut self, now: Duration) -> Vec<Row> {
        (self.written_at, self.changed) = (now, false);
        let mut rows = vec![];
        for minute in std::mem::take(&mut self.waiting) {
            let (number, sample) = (self.next_minute, minute.gathering.sample());
            self.next_minute += 1;
            for rollup in &mut self.rollups {
                rollup.take(number, &sample, &mut self.owed);
            }
            rows.push(Row { resolution: Resolution::Minute, number, through: number, sample });
        }
        if let Some(minute) = &self.minute {
            for rollup in &mut self.rollups {
                rollup.end_before(minute.gathering.stretch(), &mut self.owed);
            }
        }
        if self.owed.len() >= DOZEN || self.owed.iter().any(|row| row.resolution == Resolution::Day) {
            rows.append(&mut self.owed);
        }
        rows
    }
}

fn hour_of(minute: &Minute) -> (WallTime, bool) {
    let (at, clock_sure) = minute.gathering.stretch();
    (Resolution::Hour.begin_of(at), clock_sure)
}

impl Rollup {
    fn new(resolution: Resolution, next: u64, last: &[Row]) -> Rollup {
        let recent = last[last.len().saturating_sub(RECENT)..].to_vec();
        Rollup { resolution, current: None, recent, next }
    }

    /// Takes in a finer sample; a stretch that it ends goes to `done`.
    fn take(&mut self, through: u64, sample: &BoardSample, done: &mut Vec<Row>) {
        self.end_before((sample.at, sample.clock_sure), done);
        let stretch = (self.resolution.begin_of(sample.at), sample.clock_sure);
        let current = match self.current.take() {
            Some(current) => current,
            None => self.begin(stretch),
        };
        let current = self.current.insert(current);
        current.gathering.take(sample);
        current.through = through;
    }

    /// Ends the stretch that goes on, unless what comes at that time belongs to it.
    fn end_before(&mut self, (at, clock_sure): (WallTime, bool), done: &mut Vec<Row>) {
        let next = (self.resolution.begin_of(at), clock_sure);
        let Some(over) = self.current.take_if(|current| current.gathering.stretch() != next) else { return };
        let Stretch { number, through, gathering } = over;
        let row = Row { resolution: self.resolution, number, through, sample: gathering.sample() };
        self.recent.push(row.clone());
        self.recent.drain(..self.recent.len().saturating_sub(RECENT));
        // What was to be written and goes on is written as it is now.
        done.retain(|other| (other.resolution, other.number) != (row.resolution, row.number));
        done.push(row);
    }

    /// A stretch of its own; or one that was over, where the clock came back to it: clocks that go back and forth do not
    /// use up the rows.
    fn begin(&mut self, stretch: (WallTime, bool)) -> Stretch {
        let (at, clock_sure) = stretch;
        let mut gathering = Gathering::new(at, clock_sure);
        let place = self.recent.iter().position(|row| (row.sample.at, row.sample.clock_sure) == stretch);
        if let Some(row) = place.map(|place| self.recent.remove(place)) {
            gathering.take(&row.sample);
            return Stretch { number: row.number, through: row.through, gathering };
        }
        let number = self.next;
        self.next += 1;
        Stretch { number, through: 0, gathering }
    }
}

#[cfg(test)]
mod tests;
