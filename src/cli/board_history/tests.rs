//! What people and scripts are shown of how the board was.

use super::super::testing::Scratch;
use super::*;
use crate::base::{Moment, WallTime};
use crate::control::Figures;
use crate::health::Resolution;
use crate::health::record::Row;
use crate::store::{Diary, Entry};
use std::collections::BTreeMap;

/// 2025-10-24T20:00:00Z.
const EVENING: i64 = 1_761_336_000_000;

fn sample(at: i64, cpu: f64, under_voltage: f64) -> BoardSample {
    let gauges = BTreeMap::from([
        (Gauge::CpuPercent, Figure::Level { min: 0.5, mean: cpu, max: 97.0 }),
        (Gauge::UnderVoltage, Figure::Share(under_voltage)),
        (Gauge::DeviceWrittenBytes, Figure::Sum(3 << 20)),
    ]);
    BoardSample { at: WallTime(at), seconds: 60, samples: 2, clock_sure: true, gauges: Figures(gauges) }
}

fn report() -> BoardHistory {
    let unsure = BoardSample { clock_sure: false, ..sample(EVENING, 12.0, 0.0) };
    let samples = vec![unsure, sample(EVENING, 42.0, 0.01), sample(EVENING - 3_600_000, 0.5, 0.0)];
    BoardHistory { resolution_seconds: 60, samples, lost: 0 }
}

#[test]
fn a_line_for_each_hour_and_a_summary_of_each_gauge() {
    let text = text(&report(), A_DAY, false, &Style::plain());
    let expected = "\
FROM                   CPU %  POWER             WRITTEN
2025-10-24 20:00:00 ?  12/97  ok                   3MiB
2025-10-24 20:00:00    42/97  under-voltage 1%     3MiB
2025-10-24 19:00:00     0/97  ok                   3MiB

GAUGE                 LEAST         MEAN  GREATEST
cpu_percent             0.5         18.2      97.0
under_voltage                       0.3%
device_written_bytes         9MiB in all
not seen on this board in that time: load, memory_percent, swap_percent, disk_percent, temperature_celsius, \
cpu_megahertz, cpu_pressure_percent, memory_pressure_percent, io_pressure_percent, own_memory_bytes, throttled, \
own_written_bytes

? the clock was not known to be right
";
    assert_eq!(text, expected);
}

#[test]
fn on_a_terminal_gauges_are_drawn() {
    assert_eq!(sparkline(&[Some(0.0), None, Some(7.0), Some(3.0)]), "\u{2581} \u{2588}\u{2584}");
    assert_eq!(sparkline(&[Some(5.0), Some(5.0)]), "\u{2581}\u{2581}");
    assert_eq!(sparkline(&[None]), " ");
    assert!(text(&report(), A_DAY, true, &Style::plain()).contains("OLDEST TO NEWEST"));
}

#[test]
fn however_far_people_look_back_it_fits_on_a_screen() {
    for (back, resolution, every) in [
        (3600, Resolution::Minute, 60),
        (86_400, Resolution::Minute, 60),
        (31 * 86_400, Resolution::Hour, 3600),
        (366 * 86_400, Resolution::Day, 86_400),
        (3660 * 86_400, Resolution::Day, 86_400),
    ] {
        let count = (back / every).min(resolution.kept() as i64);
        let samples = (0..count).map(|nth| sample(EVENING - nth * every * 1000, 3.0, 0.0)).collect();
        let report = BoardHistory { resolution_seconds: resolution.span().as_secs(), samples, lost: 0 };
        let text = text(&report, Duration::from_secs(back as u64), false, &Style::plain());
        let lines = text.split("\n\n").next().unwrap().lines().count();
        assert!((13..=34).contains(&lines), "{back}: {lines}");
    }
}

#[test]
fn scripts_find_every_gauge_named_and_null_where_nothing_was_read() {
    let shown = serde_json::to_value(report()).unwrap();
    let newest = &shown["samples"][0];
    assert_eq!(newest["at"], "2025-10-24T20:00:00Z");
    assert_eq!((&newest["clock_sure"], &newest["samples"]), (&false.into(), &2.into()));
    assert_eq!(newest["gauges"]["cpu_percent"], serde_json::json!({"min": 0.5, "mean": 12.0, "max": 97.0}));
    assert_eq!(newest["gauges"]["device_written_bytes"], 3 << 20);
    assert_eq!(newest["gauges"]["temperature_celsius"], serde_json::Value::Null);
    assert_eq!(newest["gauges"].as_object().unwrap().len(), Gauge::ALL.len());
    assert_eq!(serde_json::from_value::<BoardHistory>(shown).unwrap(), report(), "and it is read back as it was");
}

#[test]
fn it_is_asked_of_the_daemon_and_read_from_the_diary_while_there_is_none() {
    let scratch = Scratch::configured("health", &["shop"]);
    let empty = scratch.pintle(&["history", "--health"]);
    assert_eq!(empty.exit, 69, "{empty:?}");

    let mut diary = Diary::open(&scratch.path.join("state"), Moment::now()).unwrap().diary;
    let none = scratch.pintle(&["history", "--health"]);
    assert_eq!((none.exit, none.out.contains("nothing is known of that time")), (0, true), "{none:?}");
    let sample = sample(Resolution::Minute.begin_of(Moment::now().wall).0, 42.0, 0.0);
    let row = Row { resolution: Resolution::Minute, number: 1, through: 1, sample: sample.clone() };
    diary.record(&[Entry::Sampled(vec![row])]).unwrap();
    let read = scratch.pintle(&["history", "--health", "--since", "2h", "--json"]);
    assert!(read.err.contains("read from"), "{read:?}");
    assert_eq!(read.json()["samples"][0]["gauges"]["cpu_percent"]["mean"], 42.0);

    let asked = BoardHistory { resolution_seconds: 3600, samples: vec![sample], lost: 7 };
    let daemon = scratch.daemon(vec![vec![Answer::BoardHistory(asked).into()]]);
    let told = scratch.pintle(&["history", "--health", "--since", "30d"]);
    assert!(told.err.contains("7 samples could not be written down"), "{told:?}");
    assert!(told.out.contains("42/97"), "{told:?}");
    assert_eq!(daemon.asked(), [Request::BoardHistory { since_seconds: 30 * 86_400 }]);
}

#[test]
fn spans_that_are_none_are_refused() {
    let scratch = Scratch::configured("health", &["shop"]);
    for wrong in [
        &["--health", "--since", "soon"][..],
        &["--since", "1h"],
        &["--health", "--since", "0d"],
        &["shop", "--health"],
    ] {
        let ran = scratch.pintle(&[&["history"], wrong].concat());
        assert_eq!(ran.exit, 64, "{wrong:?}: {ran:?}");
    }
}
