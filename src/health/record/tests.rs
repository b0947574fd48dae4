//! A day, a month and years of looks in virtual time: what is kept, when it is written, what clocks do to it.

use super::*;
use crate::control::Figure;
use crate::health::gathering::Kept;
use Resolution::{Day, Hour, Minute as OneMinute};

const MINUTE: u64 = 60;
const HOUR: u64 = 3600;
const DAY: u64 = 86_400;

/// 2025-10-24T00:00:00Z.
const MIDNIGHT: i64 = 1_761_264_000;

/// A board, its clocks, and a disk that keeps rows as the store does.
struct Board {
    recorder: Recorder,
    mono: u64,
    /// In seconds, what the wall clock is ahead of `mono`.
    offset: i64,
    disciplined: bool,
    every: u64,
    disk: BTreeMap<(Resolution, u64), Row>,
    /// When something was written (by the monotonic clock), and how many rows.
    writes: Vec<(u64, usize)>,
    full: bool,
}

impl Board {
    /// Up for a minute, at midnight, its clock being right.
    fn new() -> Board {
        Board {
            recorder: Recorder::resume(at(60), Tail::default()),
            mono: 60,
            offset: MIDNIGHT - 60,
            disciplined: true,
            every: 60,
            disk: BTreeMap::new(),
            writes: vec![],
            full: false,
        }
    }

    fn look(&mut self) {
        let wall = WallTime((self.mono as i64 + self.offset) * 1000);
        let now = Moment { mono: at(self.mono), wall };
        let written = self.mono as f64 * 1000.0;
        let values = BTreeMap::from([
            (Gauge::CpuPercent, (self.mono / MINUTE % 60) as f64),
            (Gauge::DeviceWrittenBytes, written),
            (Gauge::UnderVoltage, f64::from((self.mono / MINUTE).is_multiple_of(10))),
        ]);
        self.recorder.look(now, self.disciplined, &values);
        let rows = self.recorder.due(at(self.mono));
        self.write(rows);
        self.mono += self.every;
    }

    fn write(&mut self, rows: Vec<Row>) {
        match rows.is_empty() {
            true => {}
            false if self.full => self.recorder.could_not_be_written(rows),
            false => {
                self.writes.push((self.mono, rows.len()));
                for row in rows {
                    self.disk.insert((row.resolution, row.number % row.resolution.kept()), row);
                }
            }
        }
    }

    fn run(&mut self, seconds: u64) {
        let until = self.mono + seconds;
        while self.mono < until {
            self.look();
        }
    }

    fn rows(&self, resolution: Resolution) -> Vec<Row> {
        let mut rows: Vec<Row> = self.disk.values().filter(|row| row.resolution == resolution).cloned().collect();
        rows.sort_by_key(|row| row.number);
        rows
    }

    fn count(&self, resolution: Resolution) -> usize {
        self.rows(resolution).len()
    }

    /// Hours on disk, and those that wait for their dozen.
    fn hours(&self) -> Vec<Row> {
        let mut rows = self.rows(Hour);
        rows.extend(self.recorder.owed.iter().filter(|row| row.resolution == Hour).cloned());
        rows.sort_by_key(|row| row.number);
        rows
    }

    /// As the store gives it to the next daemon.
    fn tail(&self) -> Tail {
        let (mut minutes, hours, days) = (self.rows(OneMinute), self.rows(Hour), self.rows(Day));
        let highest = [&minutes, &hours, &days].map(|rows| rows.last().map_or(0, |row| row.number));
        let in_hours = hours.iter().map(|row| row.through).max().unwrap_or(0);
        minutes.retain(|row| row.number > in_hours);
        Tail { minutes, hours, days, highest }
    }

    /// The plug is pulled, and put in again after a while; the clock goes on where it was, and nobody vouches for it.
    fn power_cut(&mut self) {
        let wall = self.mono as i64 + self.offset;
        (self.mono, self.offset, self.disciplined) = (20, wall - 20, false);
        self.recorder = Recorder::resume(at(20), self.tail());
    }
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn level(row: &Row) -> (f64, f64, f64) {
    match row.sample.gauges.0[&Gauge::CpuPercent] {
        Figure::Level { min, mean, max } => (min, mean, max),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_day_is_kept_by_minutes_and_hours_in_a_transaction_an_hour() {
    let mut board = Board::new();
    board.run(DAY);
    board.look();
    assert_eq!(board.writes.len(), 24, "{:?}", board.writes);
    assert!(board.writes.windows(2).all(|pair| pair[1].0 - pair[0].0 == HOUR), "{:?}", board.writes);
    assert_eq!((board.count(OneMinute), board.count(Hour), board.count(Day)), (1440, 24, 1));
    let hours = board.rows(Hour);
    for (index, row) in hours.iter().enumerate() {
        assert_eq!(row.sample.at, WallTime((MIDNIGHT + index as i64 * 3600) * 1000));
        assert_eq!((row.sample.samples, row.through), (60, (index as u64 + 1) * 60));
        assert_eq!(level(row), (0.0, 29.5, 59.0), "hour {index}");
    }
    let day = &board.rows(Day)[0].sample;
    assert_eq!((day.at, day.samples, day.clock_sure), (WallTime(MIDNIGHT * 1000), 1440, true));
    // The first look had nothing to compare its counter with.
    assert_eq!(day.gauges.0[&Gauge::DeviceWrittenBytes], Figure::Sum((DAY - 60) * 1000));
    assert_eq!(day.seconds, DAY - 60);
    assert_eq!(day.gauges.0[&Gauge::UnderVoltage], Figure::Share(0.1));
    assert!(!day.gauges.0.contains_key(&Gauge::TemperatureCelsius), "what was never read is not 0");
}

#[test]
fn months_and_years_are_kept_by_hours_and_days_and_nothing_grows_beyond() {
    let mut board = Board::new();
    board.every = 300;
    board.run(32 * DAY);
    board.look();
    assert_eq!((board.count(Hour), board.count(Day)), (31 * 24, 32));
    assert_eq!(board.rows(Hour)[0].sample.at, WallTime((MIDNIGHT + DAY as i64) * 1000), "the oldest day went");
    board.run(368 * DAY);
    assert_eq!((board.count(OneMinute), board.count(Hour), board.count(Day)), (1440, 744, 366));
    let writes = board.writes.len() as u64;
    assert!(writes <= 400 * 24, "{writes}");
    let days = board.rows(Day);
    assert!(days.windows(2).all(|pair| pair[1].sample.at.0 - pair[0].sample.at.0 == DAY as i64 * 1000));
}

#[test]
fn many_looks_in_a_minute_are_one_row_with_its_bounds() {
    let mut board = Board::new();
    board.every = 1;
    board.recorder.counters.clear();
    board.run(2 * HOUR);
    let minutes = board.rows(OneMinute);
    assert_eq!(minutes.len(), 60, "the second hour is not over");
    assert!(minutes[1..].iter().all(|row| row.sample.samples == 60 && row.sample.seconds == 60));
    assert_eq!(board.writes.len(), 1);
}

#[test]
fn a_change_is_written_sooner_but_never_often() {
    let mut board = Board::new();
    board.run(10 * MINUTE);
    board.recorder.something_changed();
    board.look();
    assert_eq!(board.writes, [(60 + 10 * MINUTE, 10)]);
    board.recorder.something_changed();
    board.run(4 * MINUTE);
    assert_eq!(board.writes.len(), 1, "not within five minutes of the last");
    board.run(2 * MINUTE);
    assert_eq!(board.writes.len(), 2);

    // A gauge that flaps at every look, for a month: the hours, one in three hours and three at once.
    let mut board = Board::new();
    for _ in 0..30 * 24 * 60 {
        board.recorder.something_changed();
        board.look();
    }
    assert!(board.writes.windows(2).all(|pair| pair[1].0 - pair[0].0 >= LEAST_APART.as_secs()));
    let most_in_a_day = |start: u64| board.writes.iter().filter(|(at, _)| (start..start + DAY).contains(at)).count();
    let most = (60..29 * DAY).step_by(HOUR as usize).map(most_in_a_day).max().unwrap();
    assert!((28..=24 + 8 + 3).contains(&most), "{most} transactions in a day");
}

#[test]
fn a_stopped_daemon_loses_nothing_and_the_next_one_goes_on_within_the_hour() {
    let mut board = Board::new();
    board.run(90 * MINUTE);
    let rest = board.recorder.rest(at(board.mono));
    board.write(rest);
    assert_eq!((board.count(OneMinute), board.hours().len()), (90, 1));
    assert!(board.recorder.rest(at(board.mono)).is_empty(), "once");
    board.recorder = Recorder::resume(at(board.mono), board.tail());
    board.run(31 * MINUTE);
    let hours = board.hours();
    assert_eq!((hours.len(), hours[1].sample.samples), (2, 60), "both halves are one hour");
    assert_eq!(board.rows(OneMinute).len(), 120);
    board.run(DAY);
    assert_eq!(board.rows(Day)[0].sample.samples, 1440, "and one day");
}

#[test]
fn a_power_cut_costs_the_hour_at_most() {
    let mut board = Board::new();
    board.run(2 * HOUR + 40 * MINUTE);
    board.power_cut();
    board.run(5 * MINUTE);
    board.disciplined = true;
    board.run(3 * HOUR);
    let minutes = board.rows(OneMinute);
    assert!(minutes.iter().all(|row| row.sample.clock_sure), "the clock was set right before they were written");
    assert!(minutes.windows(2).all(|pair| pair[1].sample.at > pair[0].sample.at), "in order");
    let lost = minutes.windows(2).map(|pair| pair[1].sample.at.since(pair[0].sample.at)).max().unwrap();
    assert_eq!(lost, at(41 * MINUTE), "the forty minutes since the last hour");
    assert!(board.hours().windows(2).all(|pair| pair[1].sample.at > pair[0].sample.at));
}

#[test]
fn minutes_of_an_unset_clock_are_stamped_anew_once_the_time_is_known() {
    let mut board = Board::new();
    (board.disciplined, board.offset) = (false, 0);
    board.run(3 * MINUTE);
    let before = board.recorder.unwritten();
    assert!(before.iter().all(|sample| !sample.clock_sure && sample.at < WallTime(86_400_000)), "{before:?}");
    (board.disciplined, board.offset) = (true, MIDNIGHT);
    board.look();
    let after = board.recorder.unwritten();
    assert_eq!(after.len(), 4);
    assert!(after.iter().all(|sample| sample.clock_sure));
    let minutes: Vec<i64> = after.iter().map(|sample| (sample.at.0 / 1000 - MIDNIGHT) / 60).collect();
    assert_eq!(minutes, [1, 2, 3, 4]);
}

#[test]
fn a_clock_that_nobody_vouches_for_is_marked_and_not_mixed_with_the_rest() {
    let mut board = Board::new();
    board.disciplined = false;
    board.run(2 * HOUR + 30 * MINUTE);
    assert!(board.hours().iter().all(|row| !row.sample.clock_sure));
    assert_eq!(board.hours().len(), 2, "they are kept all the same");
    board.disciplined = true;
    board.run(2 * HOUR);
    let hours = board.hours();
    let half = hours.iter().find(|row| row.sample.clock_sure).unwrap();
    assert_eq!(half.sample.at, WallTime((MIDNIGHT + 2 * HOUR as i64) * 1000));
    assert_eq!(half.sample.samples, 60, "what waited was stamped anew");
    // Once known the time stays known while nobody sets the clock ...
    board.disciplined = false;
    board.run(HOUR);
    assert!(board.recorder.unwritten().iter().all(|sample| sample.clock_sure));
    // ... and no longer.
    board.offset += HOUR as i64;
    board.run(MINUTE);
    assert!(!board.recorder.unwritten().last().unwrap().clock_sure);
}

#[test]
fn clocks_that_jump_throw_nothing_away() {
    let mut board = Board::new();
    board.run(40 * DAY);
    let days: Vec<Row> = board.rows(Day);
    let hours = board.hours();
    for offset in [-(365 * DAY as i64), 10 * 365 * DAY as i64, -(3650 * DAY as i64)] {
        board.offset += offset;
        board.run(HOUR + 10 * MINUTE);
    }
    let still: Vec<Row> = board.rows(Day);
    assert!(days.iter().all(|row| still.contains(row)), "every day from before is still there");
    let kept = hours.iter().filter(|row| board.hours().contains(row)).count();
    assert!(kept >= 744 - 10, "{kept} hours from before are still there");
}

#[test]
fn a_clock_set_back_and_forth_neither_wears_the_card_nor_uses_up_the_year() {
    let mut board = Board::new();
    board.run(20 * DAY);
    let (days, writes) = (board.count(Day), board.writes.len());
    for turn in 0..7 * 24 * 60 {
        board.offset += if turn % 2 == 0 { 400 * DAY as i64 } else { -400 * DAY as i64 };
        board.look();
    }
    let more = board.writes.len() - writes;
    assert!(more <= 7 * 48, "{more} transactions in a week");
    assert!(board.count(Day) <= days + 2 * 8, "{} days", board.count(Day));
}

#[test]
fn what_cannot_be_written_is_given_up_by_the_minute_and_owed_by_the_hour() {
    let mut board = Board::new();
    board.run(DAY);
    board.full = true;
    board.run(DAY);
    assert_eq!(board.recorder.lost(), 1440);
    assert!(board.recorder.waiting.len() <= 61, "nothing piles up");
    board.full = false;
    board.run(DAY);
    let hours = board.hours();
    assert_eq!(hours.len(), 71, "the hours of the full disk came later");
    assert!(hours.windows(2).all(|pair| pair[1].sample.at.0 - pair[0].sample.at.0 == HOUR as i64 * 1000));
    board.full = true;
    board.run(60 * DAY);
    assert_eq!(board.recorder.owed.len(), OWED);
    assert!(board.recorder.lost() > 60 * 1440);
}

#[test]
fn a_counter_that_began_anew_says_nothing_for_once() {
    let mut recorder = Recorder::resume(at(0), Tail::default());
    for (second, total) in [(0, 5000.0), (60, 7000.0), (120, 100.0), (180, 350.0)] {
        let now = Moment { mono: at(second), wall: WallTime((MIDNIGHT + second as i64) * 1000) };
        recorder.look(now, true, &BTreeMap::from([(Gauge::OwnWrittenBytes, total)]));
    }
    let figure = |sample: &BoardSample| sample.gauges.0.get(&Gauge::OwnWrittenBytes).copied();
    let seen: Vec<_> = recorder.unwritten().iter().map(figure).collect();
    assert_eq!(seen, [None, Some(Figure::Sum(2000)), None, Some(Figure::Sum(250))]);
}

#[test]
fn people_see_what_is_not_put_together_on_disk_yet() {
    let mut board = Board::new();
    board.run(2 * DAY + 5 * HOUR + 30 * MINUTE);
    let kept = Kept {
        minutes: board.rows(OneMinute),
        hours: board.rows(Hour),
        days: board.rows(Day),
        unwritten: board.recorder.unwritten(),
    };
    let now = WallTime((board.mono as i64 + board.offset) * 1000);
    let since = |back: u64| WallTime(now.0 - back as i64 * 1000);
    let minutes = kept.seen_in(OneMinute, since(HOUR));
    assert_eq!(minutes.len(), 60);
    let hours = kept.seen_in(Hour, since(30 * DAY));
    assert_eq!(hours.len(), 2 * 24 + 6);
    assert_eq!(hours.last().unwrap().samples, 30, "the hour that goes on");
    let days = kept.seen_in(Day, since(365 * DAY));
    let samples: Vec<u32> = days.iter().map(|day| day.samples).collect();
    assert_eq!(samples, [1440, 1440, 5 * 60 + 30]);
}

#[test]
fn how_far_people_look_back_decides_how_finely() {
    for (back, resolution) in [(HOUR, OneMinute), (DAY, OneMinute), (DAY + 1, Hour), (31 * DAY, Hour), (32 * DAY, Day)]
    {
        assert_eq!(Resolution::reaching(at(back)), resolution, "{back}");
    }
    assert_eq!(Resolution::reaching(at(10_000 * DAY)), Day);
}
