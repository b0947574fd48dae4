//! Judgement over many samples: what is raised, when, and that nothing flaps.

use super::*;
use crate::base::Bytes;
use crate::health::board::{Cpu, Disk, Memory, Reading, Room, Strain};

fn hot(degrees: f64) -> Readings {
    Readings { temperature: Reading::Value(degrees), ..Readings::default() }
}

/// One letter for each change: R(aised), E(ased), C(leared), and its level.
fn changes(judge: &mut Judge, samples: impl IntoIterator<Item = Readings>) -> Vec<String> {
    let each = samples.into_iter().map(|readings| {
        let changes = judge.look(&readings, &Thresholds::default());
        let words = changes.iter().map(|change| match change {
            Change::Raised(finding) => format!("{} raised {:?}", finding.about, finding.level),
            Change::Eased(finding) => format!("{} eased {:?}", finding.about, finding.level),
            Change::Cleared { about, .. } => format!("{about} cleared"),
        });
        words.collect::<Vec<_>>().join(", ")
    });
    each.collect()
}

#[test]
fn a_gauge_moves_after_its_samples_and_goes_back_by_its_margin_only() {
    let table: &[(&[f64], &[&str])] = &[
        (&[74.9, 75.0, 75.0], &["", "", "temperature raised Warning"]),
        // A spike of one sample is nobody's business, however high it is.
        (&[60.0, 90.0, 60.0, 90.0, 60.0], &["", "", "", "", ""]),
        // The least grave of the samples counts.
        (&[90.0, 76.0, 90.0, 90.0], &["", "temperature raised Warning", "", "temperature raised Critical"]),
        // Within the margin it stays; below it for three samples it goes.
        (
            &[76.0, 76.0, 74.0, 73.0, 74.0, 73.0, 71.9, 71.0, 73.0, 71.0, 71.0, 71.0],
            &["", "temperature raised Warning", "", "", "", "", "", "", "", "", "", "temperature cleared"],
        ),
        // From critical to nothing through what was in between.
        (
            &[85.0, 85.0, 78.0, 60.0, 60.0, 60.0, 60.0, 60.0],
            &["", "temperature raised Critical", "", "", "temperature eased Warning", "", "", "temperature cleared"],
        ),
    ];
    for (degrees, expected) in table {
        let mut judge = Judge::default();
        assert_eq!(changes(&mut judge, degrees.iter().map(|degrees| hot(*degrees))), *expected, "{degrees:?}");
    }
}

#[test]
fn a_limit_crossed_again_and_again_is_told_once() {
    let mut judge = Judge::default();
    let samples = (0..1000).map(|i| hot(if i % 7 < 4 { 75.5 } else { 74.5 }));
    let said: Vec<String> = changes(&mut judge, samples).into_iter().filter(|said| !said.is_empty()).collect();
    assert_eq!(said, ["temperature raised Warning"]);
}

#[test]
fn what_cannot_be_read_stays_as_it_was_and_is_a_finding_of_its_own() {
    let unreadable = || Readings { temperature: Reading::Unreadable("broken".into()), ..Readings::default() };
    let mut judge = Judge::default();
    changes(&mut judge, [hot(76.0), hot(76.0)]);
    assert_eq!(
        changes(&mut judge, [unreadable(), unreadable(), unreadable(), hot(76.0)]),
        ["", "", "sensor:temperature raised Warning", "sensor:temperature cleared"]
    );
    assert_eq!(judge.level("temperature"), Level::Warning);
}

fn strained(now: Option<bool>, since_boot: Option<bool>) -> Readings {
    let strain = |is: Option<bool>| Strain {
        under_voltage: is.map_or(Reading::Unsupported, Reading::Value),
        ..Strain::default()
    };
    let mut readings = Readings::default();
    readings.power.now = strain(now);
    readings.power.since_boot = strain(since_boot);
    readings
}

#[test]
fn under_voltage_is_told_at_once_and_remembered_until_the_next_boot() {
    let mut judge = Judge::default();
    let calm = || strained(Some(false), Some(true));
    assert_eq!(changes(&mut judge, [strained(Some(true), Some(true))]), ["under-voltage raised Critical"]);
    let advice = &judge.findings()[0];
    assert!(advice.what.contains("power supply or cable is too weak; deploys wait"), "{advice:?}");
    let said = changes(&mut judge, [calm(), calm(), calm(), calm(), calm(), calm()]);
    assert_eq!(said, ["", "", "", "", "under-voltage eased Warning", ""]);
    let booted = || strained(Some(false), Some(false));
    let said = changes(&mut judge, [booted(), booted(), booted(), booted(), booted()]);
    assert_eq!(said.last().unwrap(), "under-voltage cleared");
    // A board without the sensor is neither well nor unwell.
    assert_eq!(at_once(&strained(None, None), &Thresholds::default()), []);
}

#[test]
fn what_is_unknown_or_about_to_rise_may_stand() {
    let clock = |uptime: u64, synchronised: bool| Readings {
        uptime: Reading::Value(std::time::Duration::from_secs(uptime)),
        clock_synchronised: Reading::Value(synchronised),
        ..Readings::default()
    };
    let table =
        [(clock(10, false), true), (clock(10, true), false), (clock(599, false), true), (clock(600, false), true)];
    for (readings, expected) in table {
        let mut judge = Judge::default();
        judge.look(&readings, &Thresholds::default());
        assert_eq!((judge.may_stand("clock"), judge.findings().len()), (expected, 0), "{readings:?}");
        assert!(!judge.may_stand("temperature"));
    }
}

#[test]
fn one_look_finds_what_is_beyond_a_limit_the_gravest_first() {
    let disk = Disk {
        mount: "/var/lib/pintle".into(),
        device: "/dev/mmcblk0p2".into(),
        must_be_writable: true,
        read_only: Reading::Value(true),
        space: Reading::Value(Room { total: 100 << 30, free: 10 << 30 }),
        inodes: Reading::Unsupported,
    };
    let readings = Readings {
        disks: vec![disk],
        memory: Reading::Value(Memory { total: Bytes(1000), available: Bytes(400) }),
        cpu: Reading::Value(Cpu { busy_percent: 99.0, ..Cpu::default() }),
        ..Readings::default()
    };
    let findings = at_once(&readings, &Thresholds::default());
    let found: Vec<(&str, Level)> = findings.iter().map(|it| (it.about.as_str(), it.level)).collect();
    assert_eq!(
        found,
        [
            ("cpu", Level::Critical),
            ("read-only:/var/lib/pintle", Level::Critical),
            ("disk:/var/lib/pintle", Level::Warning)
        ]
    );
    assert!(findings.iter().all(|it| !it.what.is_empty() && !it.advice.is_empty()), "{findings:?}");
}

mod wear {
    use super::*;
    use crate::health::board::{Device, Medium};
    use std::time::Duration;

    fn card(hours: u64, written: u64) -> Readings {
        let device = Device {
            name: "mmcblk0".into(),
            medium: Medium::Sd,
            written: Reading::Value(Bytes(written << 30)),
            life_used_tenths: Reading::Unsupported,
            spare: Reading::Unsupported,
        };
        Readings {
            uptime: Reading::Value(Duration::from_secs(hours * 3600)),
            devices: Reading::Value(vec![device]),
            ..Readings::default()
        }
    }

    #[test]
    fn a_card_is_judged_by_its_last_day() {
        let mut judge = Judge::default();
        // Weeks of 1 GiB a day, then 2 GiB an hour.
        let said = changes(&mut judge, (0..400).map(|hour| card(hour, hour / 24)));
        assert!(said.iter().all(String::is_empty), "{said:?}");
        let said = changes(&mut judge, (0..20).map(|hour| card(400 + hour, 17 + 2 * hour)));
        let at = said.iter().position(|said| said == "writes:mmcblk0 raised Warning");
        assert!(at.is_some_and(|hour| (10..14).contains(&hour)), "{said:?}");
    }

    #[test]
    fn of_a_board_that_just_booted_nothing_is_guessed() {
        assert_eq!(at_once(&card(1, 500), &Thresholds::default()), []);
        assert_eq!(at_once(&card(24, 500), &Thresholds::default())[0].about, "writes:mmcblk0");
    }
}
