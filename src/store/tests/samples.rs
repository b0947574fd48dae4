//! How the board was, on a real file: what a day of it costs, how large it gets, what a full disk does to it.

use super::*;
use crate::control::Gauge;
use crate::health::Resolution;
use crate::health::record::{Recorder, Row, Tail};
use std::collections::BTreeMap;
use std::time::Duration;

const MINUTE: u64 = 60;
const DAY: u64 = 86_400;
/// What may be written in a day.
const BUDGET: u64 = 1_000_000;

/// What this thread had the kernel write: by its calls, and to the disk (0 where the file system is in memory).
fn written() -> [u64; 2] {
    let text = std::fs::read_to_string("/proc/thread-self/io").unwrap();
    ["wchar", "write_bytes"].map(|name| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap().parse().unwrap()
    })
}

/// Every gauge of a board that is never the same.
fn look(second: u64) -> BTreeMap<Gauge, f64> {
    let value = |(nth, gauge): (usize, &Gauge)| match gauge.shape() {
        crate::control::Shape::Sum => (*gauge, (second * (1 << 20)) as f64),
        crate::control::Shape::Share => (*gauge, f64::from((second / MINUTE).is_multiple_of(7))),
        crate::control::Shape::Level => (*gauge, (second * 7919 * (nth as u64 + 1) % 9973) as f64 / 10.0),
    };
    Gauge::ALL.iter().enumerate().map(value).collect()
}

/// Looks at the board every `every` seconds for so long and writes down what is due, with a finding that changes as often
/// as `changes` says; gives the number of transactions.
fn live(diary: &mut Diary, from: u64, seconds: u64, every: u64, changes: bool) -> usize {
    let tail = diary.snapshot().unwrap().samples;
    let mut recorder = Recorder::resume(Duration::from_secs(from), tail);
    let mut transactions = 0;
    for second in (from..from + seconds).step_by(every as usize) {
        let now = Moment { mono: Duration::from_secs(second), wall: at(second as i64) };
        recorder.look(now, true, &look(second));
        if changes {
            recorder.something_changed();
        }
        let rows = recorder.due(now.mono);
        if !rows.is_empty() {
            diary.record(&[Entry::Sampled(rows)]).unwrap();
            transactions += 1;
        }
    }
    transactions
}

#[test]
fn a_day_of_samples_writes_less_than_a_megabyte_even_when_everything_flaps() {
    let scratch = Scratch::new();
    let mut diary = open(&scratch);
    // A board that has been up for a while: the table has its size, and the log too.
    live(&mut diary, 0, 3 * DAY, MINUTE, false);
    for (name, changes, most) in [("quiet", false, 25), ("flapping", true, 41)] {
        let before = written();
        let transactions = live(&mut diary, 3 * DAY, DAY, MINUTE, changes);
        let after = written();
        let bytes = [0, 1].map(|which| after[which] - before[which]);
        println!("{name}: {transactions} transactions, {bytes:?} bytes");
        assert!(transactions <= most, "{name}: {transactions}");
        assert!(bytes[0] > 50_000, "{name}: it was measured: {bytes:?}");
        assert!(bytes[0] < BUDGET && bytes[1] < BUDGET, "{name}: {bytes:?}");
    }
}

#[test]
fn years_of_samples_take_less_than_half_a_megabyte() {
    let scratch = Scratch::new();
    let mut diary = open(&scratch);
    diary.connection.pragma_update(None, "synchronous", "OFF").unwrap();
    let size = |diary: &Diary| {
        diary.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        std::fs::metadata(scratch.file("pintle.db")).unwrap().len()
    };
    let empty = size(&diary);
    // Half an hour apart: days and hours fill up, and minutes too.
    live(&mut diary, 0, 400 * DAY, 1800, false);
    let full = size(&diary) - empty;
    live(&mut diary, 400 * DAY, 400 * DAY, 1800, false);
    let later = size(&diary) - empty;
    println!("{full} bytes after 400 days, {later} after 800");
    assert!(full < 500_000, "{full}");
    assert!(later < full + full / 10, "{full} and then {later}");
    let kept = diary.samples().unwrap();
    let counts = [&kept.minutes, &kept.hours, &kept.days].map(|rows| rows.len() as u64);
    assert_eq!(counts, Resolution::ALL.map(Resolution::kept));
}

#[test]
fn a_daemon_that_starts_finds_the_hour_and_the_day_that_go_on() {
    let scratch = Scratch::new();
    let mut diary = open(&scratch);
    live(&mut diary, 0, DAY + 2 * 3600 + 60, MINUTE, false);
    let tail = diary.snapshot().unwrap().samples;
    // The evening's four hours were one day (UTC).
    assert_eq!((tail.minutes.len(), tail.hours.len(), tail.days.len()), (10 * 60, 16, 1));
    assert_eq!(tail.highest, [26 * 60, 16, 1]);
    drop(diary);
    assert_eq!(open(&scratch).snapshot().unwrap().samples, tail);
}

#[test]
fn a_row_that_is_told_again_takes_its_own_place() {
    let scratch = Scratch::new();
    let mut diary = open(&scratch);
    let mut recorder = Recorder::resume(Duration::ZERO, Tail::default());
    recorder.look(now(), true, &look(0));
    let [row] = &recorder.rest(Duration::from_secs(60))[..] else { panic!("one minute") };
    let hour = |number, seconds| {
        let sample = crate::control::BoardSample { seconds, ..row.sample.clone() };
        Row { resolution: Resolution::Hour, number, through: number, sample }
    };
    diary.record(&[Entry::Sampled(vec![hour(1, 60), hour(2, 60), hour(1, 120)])]).unwrap();
    let seconds: Vec<u64> = diary.samples().unwrap().hours.iter().map(|row| row.sample.seconds).collect();
    assert_eq!(seconds, [120, 60]);
}

#[test]
fn a_value_that_is_none_is_not_taken_for_damage_of_the_history() {
    let scratch = Scratch::new();
    let mut diary = open(&scratch);
    live(&mut diary, 0, 3 * 3600, MINUTE, false);
    diary
        .connection
        .execute_batch(
            "UPDATE samples SET samples = -7, seconds = -1, under_voltage = -50000;
             UPDATE minutes SET packed = x'ff00ff', count = -3, highest = -9",
        )
        .unwrap();
    drop(diary);
    let mut diary = open(&scratch);
    assert_eq!(diary.samples().unwrap().minutes, []);
    assert!(live(&mut diary, 3 * 3600, 2 * 3600, MINUTE, false) > 0, "and it goes on");
}
