//! The daemon over hours and days: what reaches the diary, and that nothing waits for it.

use super::*;
use crate::base::WallTime;
use crate::config::HostHealth;
use crate::control::{Figure, Gauge};
use crate::daemon::event::Event;
use crate::health::board::{Reading, Readings};
use crate::store::{Entry, Memory};
use std::time::Duration;

const HOUR: u64 = 3600;
/// 2025-10-24T00:00:00Z.
const MIDNIGHT: WallTime = WallTime(1_761_264_000_000);

struct Life {
    world: World,
    diary: Memory,
    full: bool,
    /// When something was written, in seconds.
    writes: Vec<u64>,
    notes: Vec<String>,
    second: u64,
}

impl Life {
    fn new() -> Life {
        let mut world = World::default();
        world.watch_the_board(at(0), HostHealth::default());
        Life { world, diary: Memory::new(), full: false, writes: vec![], notes: vec![], second: 0 }
    }

    /// Goes on until then, on a board that is as `degrees` has it.
    fn until(&mut self, end: u64, degrees: impl Fn(u64) -> f64) {
        while let Some(due) = self.world.deadline().map(|due| due.as_secs()).filter(|due| *due < end) {
            self.second = due;
            let actions = self.world.turn(at(due), Event::Tick);
            self.carry_out(actions, &degrees);
        }
        self.second = end;
    }

    fn carry_out(&mut self, mut actions: Vec<Action>, degrees: &impl Fn(u64) -> f64) {
        while let Some(action) = actions.pop() {
            let event = match action {
                Action::Sense => {
                    let temperature = Reading::Value(degrees(self.second));
                    let readings =
                        Readings { temperature, clock_synchronised: Reading::Value(true), ..Readings::default() };
                    Event::Sensed { result: Ok(Box::new(readings)) }
                }
                Action::Record { token: Some(token), .. } if self.full => {
                    Event::Recorded { token, result: Err("the disk is full".into()) }
                }
                Action::Record { token: Some(token), entries } => {
                    self.writes.push(self.second);
                    self.diary.record(&entries).unwrap();
                    Event::Recorded { token, result: Ok(()) }
                }
                Action::Record { token: None, entries } => {
                    // An incident; of samples, what cannot be written would pile up.
                    assert!(!entries.iter().any(|entry| matches!(entry, Entry::Sampled(_))), "{entries:?}");
                    continue;
                }
                Action::Note { text, .. } => {
                    self.notes.push(text);
                    continue;
                }
                _ => continue,
            };
            actions.extend(self.world.turn(at(self.second), event));
        }
    }
}

fn at(seconds: u64) -> Moment {
    let mono = Duration::from_secs(seconds);
    Moment { mono, wall: MIDNIGHT.plus(mono) }
}

#[test]
fn a_quiet_day_wakes_nobody_and_is_written_by_the_hour() {
    let mut life = Life::new();
    life.until(24 * HOUR + 1, |_| 50.0);
    let hours: Vec<u64> = (1..=24).map(|hour| hour * HOUR).collect();
    assert_eq!(life.writes, hours);
    let kept = life.diary.samples();
    assert_eq!((kept.minutes.len(), kept.hours.len(), kept.days.len()), (1440, 24, 1));
    let gauges = &kept.days[0].sample.gauges.0;
    assert_eq!(gauges[&Gauge::TemperatureCelsius], Figure::Level { min: 50.0, mean: 50.0, max: 50.0 });
    assert!(!gauges.contains_key(&Gauge::Load), "unsupported is not 0");
    assert_eq!(life.notes, [""; 0]);
}

#[test]
fn what_led_to_a_finding_is_written_when_people_hear_of_it() {
    let mut life = Life::new();
    life.until(HOUR, |second| if second > 40 * 60 { 80.0 } else { 50.0 });
    let told = life.writes[0];
    assert!((40 * 60..=43 * 60).contains(&told), "{told}");
    assert!(life.diary.samples().minutes.len() >= 40);
}

#[test]
fn a_full_disk_costs_the_samples_and_nothing_else() {
    let mut life = Life::new();
    life.full = true;
    life.until(5 * HOUR + 60, |_| 50.0);
    assert!(life.world.pending.is_empty(), "nothing waits for it");
    assert_eq!(life.world.unwritten_samples().lost, 5 * 60);
    assert!(life.notes.last().is_some_and(|note| note.contains("300 minutes are lost: the disk is full")));
    life.full = false;
    life.until(25 * HOUR, |_| 50.0);
    let kept = life.diary.samples();
    assert_eq!((kept.minutes.len(), kept.hours.len(), kept.days.len()), (19 * 60, 24, 1), "the hours were owed");
}

#[test]
fn a_daemon_that_ends_writes_what_it_has_and_asks_for_no_more() {
    let mut life = Life::new();
    life.until(600, |_| 50.0);
    assert_eq!(life.world.unwritten_samples().samples.len(), 10);
    let actions = life.world.turn(at(600), Event::Stop);
    life.carry_out(actions, &|_| 50.0);
    assert_eq!(life.diary.samples().minutes.len(), 10);
    let again = life.world.turn(at(601), Event::Stop);
    assert!(!again.iter().any(|action| matches!(action, Action::Record { .. })), "once");
}
