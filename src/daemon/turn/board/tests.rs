//! Days of samples in virtual time: what is told and when, how often is looked; and what keeps deployments waiting.

use super::*;
use crate::base::Bytes;
use crate::config::Thresholds;
use crate::daemon::event::Event;
use crate::health::board::{Memory, Reading};

const MINUTE: u64 = 60;
const HOUR: u64 = 3600;
const NOON: WallTime = WallTime(1_761_336_000_000);

fn at(seconds: u64) -> Moment {
    let mono = Duration::from_secs(seconds);
    Moment { mono, wall: NOON.plus(mono) }
}

/// The daemon over a span of seconds on a board that is as `readings` has it at each of them: every line of the journal
/// with its second, and how often the board was looked at.
fn live_through(seconds: u64, readings: impl Fn(u64) -> Readings) -> (Vec<(u64, String)>, u64) {
    let mut world = World::default();
    world.watch_the_board(at(0), HostHealth::default());
    let (mut told, mut looks) = (vec![], 0);
    while let Some(due) = world.deadline().map(|due| due.as_secs()).filter(|due| *due < seconds) {
        let mut actions = world.turn(at(due), Event::Tick);
        while let Some(action) = actions.pop() {
            match action {
                Action::Sense => {
                    looks += 1;
                    let result = Ok(Box::new(readings(due)));
                    actions.extend(world.turn(at(due), Event::Sensed { result }));
                }
                Action::Note { text, .. } => told.push((due, text)),
                // Incidents, and what is kept of it, are written down.
                Action::Record { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
    (told, looks)
}

fn degrees(degrees: f64) -> Readings {
    Readings { temperature: Reading::Value(degrees), ..Readings::default() }
}

#[test]
fn a_day_of_spikes_and_slow_rises_is_told_as_documented() {
    // 50 °C with a spike of one sample each ten minutes; a slow rise from 10:00 to 14:00 up to 90 °C, and down again.
    let heat = |second: u64| {
        let hour = second as f64 / HOUR as f64;
        let slow = 50.0 + 40.0 * (1.0 - (hour - 14.0).abs() / 4.0).max(0.0);
        degrees(if (second / MINUTE).is_multiple_of(10) && hour < 9.0 { 95.0 } else { slow })
    };
    let (told, looks) = live_through(24 * HOUR, heat);
    assert_eq!(looks, 24 * 60, "each minute and no oftener");
    // 75 °C is reached at 12:30, 82 °C at 13:12: told with the second sample beyond. Below 72 °C at 15:49: all-clear with
    // the third sample, a minute each. From critical it eases on the way down, which nobody is woken for.
    let minutes: Vec<(u64, &str)> = told.iter().map(|(at, text)| (at / MINUTE, text.as_str())).collect();
    assert_eq!(minutes.len(), 4, "{minutes:?}");
    let expected = [(12 * 60 + 31, "75.2"), (13 * 60 + 13, "82.2"), (15 * 60 + 9, "78."), (15 * 60 + 51, "71.")];
    for ((minute, text), (expected, degrees)) in minutes.iter().zip(expected) {
        assert!(minute.abs_diff(expected) <= 1 && text.contains(degrees), "{minute} {text} {expected} {degrees}");
    }
}

#[test]
fn a_month_on_the_edge_is_told_once() {
    let edge = |second: u64| degrees(75.0 + ((second / MINUTE * 7919) % 29) as f64 / 10.0 - 1.4);
    let (told, _) = live_through(30 * 24 * HOUR, edge);
    assert!(told.len() <= 1, "{told:?}");
}

#[test]
fn a_look_that_does_not_come_back_is_waited_for_no_longer_and_not_repeated() {
    let mut world = World::default();
    world.watch_the_board(at(100), HostHealth::default());
    assert!(matches!(world.turn(at(100), Event::Tick)[..], [Action::Sense]));
    assert_eq!(world.deadline(), Some(Duration::from_secs(110)));
    let sensors = Subject::host(SENSORS);
    world.turn(at(110), Event::Tick);
    assert!(world.mail.incidents.is_open(&sensors), "people hear that nothing is watched");
    assert_eq!(world.deadline(), None, "a second thread would hang beside the first");
    world.turn(at(500), Event::Sensed { result: Ok(Box::default()) });
    assert!(!world.mail.incidents.is_open(&sensors));
    assert_eq!(world.deadline(), Some(Duration::from_secs(560)));
}

/// A daemon that was told by the one before it that `about` is wrong, after each of its looks: is it still?
fn is_open_after_each(about: &str, looks: impl IntoIterator<Item = Readings>) -> Vec<bool> {
    let what = Finding { about: about.into(), level: Level::Warning, what: "it is bad".into(), advice: String::new() };
    let mut world = World::default();
    world.watch_the_board(at(0), HostHealth::default());
    world.tell(at(0), trouble(what), &mut vec![]);
    let mut each = vec![];
    for (minute, readings) in looks.into_iter().enumerate() {
        let now = at(minute as u64 * MINUTE);
        world.turn(now, Event::Tick);
        world.turn(now, Event::Sensed { result: Ok(Box::new(readings)) });
        each.push(world.mail.incidents.is_open(&Subject::host(about)));
    }
    each
}

#[test]
fn what_an_earlier_daemon_told_ends_when_it_is_known_to_be_over_and_no_sooner() {
    let clock = |minute: u64, synchronised: bool| Readings {
        uptime: Reading::Value(Duration::from_secs(minute * MINUTE)),
        clock_synchronised: Reading::Value(synchronised),
        ..Readings::default()
    };
    // After a reboot without network it is not known for ten minutes, then it is found again.
    assert!(is_open_after_each("clock", (0..30).map(|minute| clock(minute, false))).into_iter().all(|open| open));
    let set = is_open_after_each("clock", (0..30).map(|minute| clock(minute, minute >= 8)));
    assert_eq!(set.iter().position(|open| !open), Some(8), "{set:?}");
    let cool = is_open_after_each("temperature", (0..10).map(|_| degrees(50.0)));
    assert_eq!(cool.iter().position(|open| !open), Some(SETTLED as usize - 1), "{cool:?}");
    // A sensor that fails for a while at the beginning hides nothing for ever.
    let broken = || Readings { temperature: Reading::Unreadable("broken".into()), ..Readings::default() };
    let late = is_open_after_each("temperature", (0..12).map(|n| if n < 9 { broken() } else { degrees(50.0) }));
    assert_eq!(late.iter().position(|open| !open), Some(9), "{late:?}");
}

#[test]
fn what_eased_and_is_as_grave_again_is_told_again() {
    let waves = |second: u64| degrees(if (second / HOUR).is_multiple_of(2) { 85.0 } else { 77.0 });
    let (told, _) = live_through(4 * HOUR, waves);
    let grave = told.iter().filter(|(_, text)| text.contains("85.0")).count();
    assert_eq!((grave, told.len()), (2, 4), "{told:?}");
}

#[test]
fn a_board_is_strained_until_it_is_well_below_its_limit() {
    let health = HostHealth::default();
    let strains = |readings: &Readings, before: &[Strained]| {
        let all = strained(readings, &health, NOON, before).into_iter();
        all.map(|strained| strained.strain).collect::<Vec<_>>()
    };
    assert_eq!(strains(&degrees(81.9), &[]), []);
    assert_eq!(strains(&degrees(82.0), &[]), [Strain::Heat]);
    let hot = strained(&degrees(84.0), &health, NOON, &[]);
    assert!(hot[0].awaited.contains("84.0 °C") && hot[0].awaited.contains("below 79 °C"), "{hot:?}");
    assert_eq!(strains(&degrees(79.5), &hot), [Strain::Heat]);
    assert_eq!(strains(&degrees(78.9), &hot), []);

    let memory = |total: u64, available: u64| Readings {
        memory: Reading::Value(Memory { total: Bytes(total << 20), available: Bytes(available << 20) }),
        ..Readings::default()
    };
    assert_eq!(strains(&memory(426, 20), &[]), [Strain::Memory]);
    assert_eq!(strains(&memory(65_536, 3000), &[]), [], "a few per cent of much is enough");

    let mut weak = Readings::default();
    weak.power.now.under_voltage = Reading::Value(true);
    assert_eq!(strains(&weak, &[]), [Strain::UnderVoltage]);
    weak.power.now.under_voltage = Reading::Unreadable("gone".into());
    assert_eq!(strains(&weak, &[]), [], "what is not known holds up nobody");

    let lost = Readings { clock_synchronised: Reading::Value(false), ..Readings::default() };
    assert_eq!(strained(&lost, &health, WallTime(5000), &[])[0].strain, Strain::Clock);
    assert_eq!(strains(&lost, &[]), [], "a clock that was set once will do");
}

#[test]
fn a_full_or_read_only_disk_is_an_objection() {
    let limits = Thresholds::default().disk_percent;
    let disk = |read_only: bool, total: u64, free: u64| Disk {
        mount: "/".into(),
        device: "/dev/mmcblk0p2".into(),
        must_be_writable: true,
        read_only: Reading::Value(read_only),
        space: Reading::Value(Room { total: total << 20, free: free << 20 }),
        inodes: Reading::Unsupported,
    };
    assert_eq!(objection(&disk(false, 29_000, 12_000), limits), None);
    assert!(objection(&disk(false, 8000, 200), limits).unwrap().contains("200MiB free at /"));
    assert_eq!(objection(&disk(false, 1 << 20, 20_000), limits), None, "a little of much is enough");
    assert!(objection(&disk(true, 29_000, 12_000), limits).unwrap().contains("mounted read-only"));
    let crowded = Disk { inodes: Reading::Value(Room { total: 100_000, free: 12 }), ..disk(false, 29_000, 12_000) };
    assert!(objection(&crowded, limits).unwrap().contains("only 12 more files"));
}
