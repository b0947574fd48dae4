//! Schedules in virtual time: a month with a change of daylight saving, clocks that jump, daemons that were away.

use super::*;
use crate::config::{At, Command, TimeOfDay};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// An agenda and the clocks it sees.
struct Desk {
    agenda: Agenda,
    clock: Clock,
    runs_made: u64,
    schedules: Vec<Schedule>,
    /// What was written down last.
    diary: BTreeMap<ScheduleName, Remembered>,
    rows: usize,
    /// Runs that began and did not end, with their names.
    running: BTreeMap<u64, ScheduleName>,
    begun: Vec<(ScheduleName, WallTime)>,
    told: Vec<Order>,
    leave: Leave,
}

impl Desk {
    fn new(wall: &str, schedules: &[Schedule]) -> Desk {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let now = Moment { mono: Duration::from_secs(50_000), wall: wall.parse().unwrap() };
        let mut desk = Desk {
            agenda: Agenda::default(),
            clock: Clock { now, zone, is_believed: true },
            runs_made: 0,
            schedules: schedules.to_vec(),
            diary: BTreeMap::new(),
            rows: 0,
            running: BTreeMap::new(),
            begun: vec![],
            told: vec![],
            leave: Leave::Now,
        };
        desk.follow();
        desk
    }

    fn follow(&mut self) {
        let orders = self.agenda.follow(&self.clock, &self.schedules);
        self.carry(orders);
        self.look();
    }

    fn look(&mut self) {
        let orders = self.agenda.look(&self.clock, self.leave, &mut self.runs_made);
        self.carry(orders);
    }

    fn carry(&mut self, orders: Vec<Order>) {
        for order in orders {
            match order {
                Order::Begin { schedule, run, row } => {
                    self.rows += usize::from(row.is_some());
                    self.diary.extend(row.map(|row| (schedule.name.clone(), row)));
                    assert!(!self.running.values().any(|name| *name == schedule.name), "two runs of {}", schedule.name);
                    self.running.insert(run, schedule.name.clone());
                    self.begun.push((schedule.name, self.clock.now.wall));
                }
                Order::Remember { name, row } => {
                    self.rows += 1;
                    self.diary.insert(name, row);
                }
                other => self.told.push(other),
            }
        }
    }

    fn end_all(&mut self, outcome: &Outcome) {
        for run in std::mem::take(&mut self.running).into_keys() {
            let orders = self.agenda.ended(&self.clock, run, outcome.clone());
            self.carry(orders);
        }
    }

    /// Both clocks go on; what begins meanwhile ends well at once.
    fn pass(&mut self, span: Duration) {
        self.pass_and(span, |desk| desk.end_all(&Outcome::Well));
    }

    fn pass_and(&mut self, span: Duration, mut then: impl FnMut(&mut Desk)) {
        let until = self.clock.now.mono + span;
        loop {
            let next = self.agenda.deadline().filter(|at| *at < until).unwrap_or(until);
            self.step(next.saturating_sub(self.clock.now.mono).max(Duration::from_millis(1)));
            self.look();
            then(self);
            if self.clock.now.mono >= until {
                return;
            }
        }
    }

    fn step(&mut self, span: Duration) {
        self.clock.now.mono += span;
        self.clock.now.wall = self.clock.now.wall.plus(span);
    }

    /// The daemon is away for so long; `mono`: what the monotonic clock shows then.
    fn away(&mut self, span: Duration, mono: Duration, is_believed: bool) {
        self.running.clear();
        self.clock.now = Moment { mono, wall: self.clock.now.wall.plus(span) };
        self.clock.is_believed = is_believed;
        self.agenda = Agenda::remembering(self.diary.clone());
        self.follow();
    }

    fn begun_since(&mut self) -> Vec<String> {
        std::mem::take(&mut self.begun).into_iter().map(|(name, at)| format!("{name} {at}")).collect()
    }
}

fn schedule(name: &str, when: When) -> Schedule {
    let (run, timeout) = (Command::Shell("true".into()), HOUR);
    Schedule { name: ScheduleName::new(name).unwrap(), when, run, timeout, env: BTreeMap::new() }
}

fn every(span: Duration) -> Schedule {
    schedule("tidy", When::Every(span))
}

fn at(hour: u8, minute: u8) -> Schedule {
    schedule("digest", When::At(At { day: None, time: TimeOfDay { hour, minute } }))
}

#[test]
fn a_month_with_a_change_of_daylight_saving_has_each_night_once() {
    let mut desk = Desk::new("2026-10-10T12:00:00Z", &[at(2, 30), every(6 * HOUR)]);
    desk.pass(31 * DAY);
    let nights = desk.begun.iter().filter(|(name, _)| name.as_str() == "digest").count();
    let rounds = desk.begun.iter().filter(|(name, _)| name.as_str() == "tidy").count();
    assert_eq!((nights, rounds), (31, 31 * 4));
    let times: Vec<String> =
        desk.begun.iter().filter(|(name, _)| name.as_str() == "digest").map(|(_, at)| at.to_string()).collect();
    assert!(
        times.contains(&"2026-10-24T00:30:00Z".into()) && times.contains(&"2026-10-26T01:30:00Z".into()),
        "{times:?}"
    );
    assert_eq!(desk.told, [], "nothing is left out, and nothing failed");
}

#[test]
fn the_first_run_is_not_at_once_and_survives_restarts_before_it() {
    let mut desk = Desk::new("2026-11-02T12:00:00Z", &[every(DAY)]);
    for _ in 0..5 {
        desk.pass(4 * HOUR);
        let mono = desk.clock.now.mono + MINUTE;
        desk.away(MINUTE, mono, true);
    }
    assert_eq!(desk.begun_since(), [] as [&str; 0]);
    desk.pass(4 * HOUR);
    assert_eq!(desk.begun_since(), ["tidy 2026-11-03T12:00:00Z"]);
}

#[test]
fn what_was_missed_while_nothing_ran_is_made_up_once() {
    let mut desk = Desk::new("2026-11-02T12:00:00Z", &[at(3, 30), every(DAY)]);
    desk.pass(DAY + HOUR);
    assert_eq!(desk.begun_since().len(), 2);
    // Three nights and days without power; the clock is right at once.
    desk.away(3 * DAY, 30 * MINUTE, true);
    assert_eq!(desk.begun_since(), ["digest 2026-11-06T13:00:00Z", "tidy 2026-11-06T13:00:00Z"]);
    desk.end_all(&Outcome::Well);
    // Once is enough, also for the daemon after that.
    desk.away(MINUTE, 32 * MINUTE, true);
    assert_eq!(desk.begun_since(), [] as [&str; 0]);
    desk.pass(DAY);
    assert_eq!(desk.begun_since(), ["digest 2026-11-07T02:30:00Z", "tidy 2026-11-07T13:00:00Z"]);
}

#[test]
fn without_a_clock_at_boot_an_interval_goes_on_and_a_time_of_day_waits() {
    let mut desk = Desk::new("2026-11-02T12:00:00Z", &[at(3, 30), every(5 * MINUTE)]);
    desk.pass(HOUR);
    desk.begun_since();
    // The board boots two days later and believes that it is 1970.
    desk.clock.now.wall = WallTime(0);
    desk.away(Duration::ZERO, Duration::from_secs(20), false);
    desk.pass(5 * MINUTE);
    assert_eq!(desk.begun_since(), ["tidy 1970-01-01T00:05:00Z"], "by the monotonic clock");
    // The network is there: the clock is set.
    desk.clock.now.wall = "2026-11-04T12:00:00Z".parse().unwrap();
    desk.clock.is_believed = true;
    desk.look();
    desk.end_all(&Outcome::Well);
    assert_eq!(desk.begun_since(), ["digest 2026-11-04T12:00:00Z"], "made up now that it is known");
    desk.pass(5 * MINUTE);
    assert_eq!(desk.begun_since(), ["tidy 2026-11-04T12:05:00Z"], "and the rhythm is not disturbed");
    let counted: Vec<WallTime> = desk.diary.values().map(|row| row.counted_from).collect();
    assert!(counted.iter().all(|from| *from > "2026-11-04T00:00:00Z".parse().unwrap()), "{counted:?}");
}

#[test]
fn a_clock_that_nobody_ever_holds_is_believed_after_a_while() {
    let mut desk = Desk::new("2026-11-02T12:00:00Z", &[at(3, 30)]);
    desk.away(DAY, Duration::from_secs(20), false);
    assert_eq!(desk.agenda.deadline(), Some(PATIENCE_WITH_CLOCK));
    desk.step(PATIENCE_WITH_CLOCK);
    desk.clock.is_believed = true;
    desk.look();
    assert_eq!(desk.begun_since().len(), 1);
}

#[test]
fn a_clock_that_is_set_neither_repeats_nor_loses_a_time_of_day() {
    let mut desk = Desk::new("2026-11-02T02:00:00Z", &[at(3, 30), every(HOUR)]);
    desk.pass(45 * MINUTE);
    assert_eq!(desk.begun_since(), ["digest 2026-11-02T02:30:00Z"]);
    // Half an hour back: 03:30 shows again.
    desk.clock.now.wall = desk.clock.now.wall.minus(30 * MINUTE);
    desk.pass(HOUR);
    assert_eq!(desk.begun_since(), ["tidy 2026-11-02T02:30:00Z"], "the interval never looks at that clock");
    // Years back, because it had been wrong: no night is waited for until then.
    desk.clock.now.wall = "2020-11-02T12:00:00Z".parse().unwrap();
    desk.pass(DAY);
    assert_eq!(desk.begun_since().iter().filter(|run| run.starts_with("digest")).count(), 1);
    // A year forward: one night stands for all.
    desk.clock.now.wall = "2026-12-24T12:00:00Z".parse().unwrap();
    desk.look();
    desk.end_all(&Outcome::Well);
    desk.look();
    assert_eq!(desk.begun_since(), ["digest 2026-12-24T12:00:00Z"]);
}

#[test]
fn a_run_that_is_still_going_is_not_joined_by_another() {
    let mut desk = Desk::new("2026-11-02T12:00:00Z", &[every(10 * MINUTE)]);
    desk.pass_and(35 * MINUTE, |_| {});
    assert_eq!(desk.begun_since().len(), 1);
    let left_out = desk.told.iter().filter(|told| matches!(told, Order::LeftOut { .. })).count();
    assert_eq!(left_out, 2, "{:?}", desk.told);
    desk.end_all(&Outcome::Well);
    desk.pass(10 * MINUTE);
    assert_eq!(desk.begun_since(), ["tidy 2026-11-02T12:40:00Z"], "in its rhythm");
}

#[test]
fn a_deployment_delays_and_a_stop_lets_pass_by() {
    let mut desk = Desk::new("2026-11-02T12:00:00Z", &[every(10 * MINUTE)]);
    desk.leave = Leave::Later(None);
    desk.pass(25 * MINUTE);
    assert_eq!((desk.begun_since().len(), desk.agenda.deadline()), (0, None));
    desk.leave = Leave::Now;
    desk.look();
    assert_eq!(desk.begun_since().len(), 1);
    desk.leave = Leave::No;
    desk.look();
    assert!(matches!(desk.told[..], [Order::End { .. }]), "{:?}", desk.told);
    desk.look();
    assert_eq!(desk.told.len(), 1, "asked once");
    desk.end_all(&Outcome::Failed("killed by SIGTERM".into()));
    let last = desk.agenda.lines(&desk.clock).next().unwrap().last.unwrap().ended.clone().unwrap().0;
    assert_eq!(last.word(), "cancelled");
    desk.pass(DAY);
    desk.leave = Leave::Now;
    desk.look();
    assert_eq!(desk.begun_since(), [] as [&str; 0], "what passed by is not made up");
    desk.pass(10 * MINUTE);
    assert_eq!(desk.begun_since().len(), 1);
}

#[test]
fn a_run_that_is_put_off_at_the_last_moment_comes_when_it_may() {
    let mut desk = Desk::new("2026-11-02T12:00:00Z", &[every(10 * MINUTE), at(13, 10)]);
    desk.pass_and(10 * MINUTE + MINUTE, |_| {});
    assert_eq!(desk.begun_since().len(), 2);
    for run in std::mem::take(&mut desk.running).into_keys() {
        let order = desk.agenda.put_off(&desk.clock, run);
        desk.carry(order.into_iter().collect());
    }
    desk.leave = Leave::Later(None);
    desk.look();
    assert_eq!((desk.begun_since().len(), desk.agenda.is_running()), (0, false));
    assert!(desk.diary.values().all(|row| row.run.is_none()), "nobody is to think that it was cut off");
    desk.leave = Leave::Now;
    desk.look();
    assert_eq!(desk.begun_since().len(), 2);
}

#[test]
fn failures_are_told_once_and_their_end_too_over_restarts() {
    let mut desk = Desk::new("2026-11-02T12:00:00Z", &[every(HOUR)]);
    let fail = |desk: &mut Desk| desk.end_all(&Outcome::Failed("exit 1".into()));
    desk.pass_and(2 * HOUR + MINUTE, fail);
    let firsts = |desk: &Desk| {
        desk.told.iter().map(|told| matches!(told, Order::Failed { first: true, .. })).collect::<Vec<_>>()
    };
    assert_eq!(firsts(&desk), [true, false]);
    desk.told.clear();
    let mono = desk.clock.now.mono + MINUTE;
    desk.away(MINUTE, mono, true);
    desk.pass(HOUR);
    assert!(matches!(desk.told[..], [Order::Recovered { .. }]), "{:?}", desk.told);
}

#[test]
fn what_a_crash_cut_off_is_told_and_not_begun_again() {
    let mut desk = Desk::new("2026-11-02T12:00:00Z", &[every(DAY)]);
    desk.pass_and(DAY, |_| {});
    assert_eq!(desk.running.len(), 1);
    let mono = desk.clock.now.mono + MINUTE;
    desk.away(MINUTE, mono, true);
    assert!(
        matches!(&desk.told[..], [Order::Failed { first: true, why, .. }] if why.contains("cut off")),
        "{:?}",
        desk.told
    );
    assert_eq!(desk.running.len(), 0);
    desk.pass(DAY - 2 * MINUTE);
    assert_eq!(desk.begun_since().len(), 1, "the run that was cut off");
}

#[test]
fn frequent_runs_do_not_wear_out_the_disk() {
    let mut desk = Desk::new("2026-11-02T12:00:00Z", &[every(MINUTE)]);
    desk.pass(DAY);
    assert_eq!(desk.begun.len(), 1440);
    assert!(desk.rows <= 2 * 96 + 1, "{} rows in a day", desk.rows);
}

#[test]
fn another_time_is_counted_from_when_it_was_written() {
    let mut desk = Desk::new("2026-11-02T12:00:00Z", &[at(3, 30)]);
    desk.pass(DAY);
    desk.begun_since();
    desk.schedules = vec![at(11, 0)];
    desk.follow();
    assert_eq!(desk.begun_since(), [] as [&str; 0], "11:00 was there already today, but not as its time");
    // The same while no daemon was there.
    desk.schedules = vec![at(10, 0)];
    let mono = desk.clock.now.mono + MINUTE;
    desk.away(MINUTE, mono, true);
    assert_eq!(desk.begun_since(), [] as [&str; 0]);
    desk.pass(DAY);
    assert_eq!(desk.begun_since(), ["digest 2026-11-04T09:00:00Z"]);
}

#[test]
fn a_run_by_hand_changes_no_time_and_one_that_is_gone_ends_in_peace() {
    let mut desk = Desk::new("2026-11-02T12:00:00Z", &[every(HOUR)]);
    desk.step(30 * MINUTE);
    let name = ScheduleName::new("tidy").unwrap();
    let orders = desk.agenda.begin_by_hand(&desk.clock, &name, &mut desk.runs_made).unwrap();
    desk.carry(orders);
    let again = desk.agenda.begin_by_hand(&desk.clock, &name, &mut desk.runs_made);
    assert!(again.unwrap_err().contains("runs already"));
    desk.end_all(&Outcome::Well);
    desk.begun_since();
    desk.pass_and(30 * MINUTE, |_| {});
    assert_eq!(desk.begun_since(), ["tidy 2026-11-02T13:00:00Z"]);
    desk.schedules.clear();
    desk.follow();
    assert!(desk.agenda.is_running());
    desk.end_all(&Outcome::Well);
    assert!(!desk.agenda.is_running());
    let unknown = desk.agenda.begin_by_hand(&desk.clock, &name, &mut desk.runs_made);
    assert!(unknown.unwrap_err().contains("no schedules"));
}

#[test]
fn one_that_is_gone_before_it_begins_is_put_off_and_leaves_nothing_under_way() {
    let mut desk = Desk::new("2026-11-02T12:00:00Z", &[every(HOUR)]);
    desk.pass_and(HOUR + MINUTE, |_| {});
    let run = *desk.running.keys().next().unwrap();
    desk.schedules.clear();
    desk.follow();
    assert!(desk.agenda.is_running());
    let order = desk.agenda.put_off(&desk.clock, run);
    desk.running.clear();
    desk.carry(order.into_iter().collect());
    assert!(!desk.agenda.is_running());
    assert!(desk.diary.values().all(|row| row.run.is_none()), "nobody is to think that it was cut off");
    desk.schedules = vec![every(HOUR)];
    desk.begun_since();
    desk.follow();
    assert_eq!(desk.begun_since().len(), 1, "it is still due");
}

#[test]
fn a_failing_one_that_goes_is_said_to_be_gone() {
    let gone = |desk: &mut Desk| {
        let told = std::mem::take(&mut desk.told).into_iter();
        told.filter(|told| matches!(told, Order::Gone { name } if name.as_str() == "tidy")).count()
    };
    for (outcome, expected) in [(Outcome::Failed("exit 1".into()), 1), (Outcome::Well, 0)] {
        let mut desk = Desk::new("2026-11-02T12:00:00Z", &[every(HOUR)]);
        desk.pass_and(HOUR + MINUTE, |desk| desk.end_all(&outcome));
        desk.schedules.clear();
        desk.follow();
        assert_eq!(gone(&mut desk), expected, "{outcome:?}, while the daemon runs");
        desk.away(DAY, MINUTE, true);
        assert_eq!(gone(&mut desk), expected, "{outcome:?}, while none ran");

        let mut desk = Desk::new("2026-11-02T12:00:00Z", &[every(HOUR)]);
        desk.pass_and(HOUR + MINUTE, |_| {});
        desk.schedules.clear();
        desk.follow();
        gone(&mut desk);
        desk.end_all(&outcome);
        assert_eq!(gone(&mut desk), expected, "{outcome:?}, during its run");
    }
}

#[test]
fn who_must_be_alone_ends_what_runs_and_lets_nothing_pass_by() {
    let mut desk = Desk::new("2026-11-02T12:00:00Z", &[every(HOUR)]);
    desk.pass_and(HOUR + MINUTE, |_| {});
    let run = *desk.running.keys().next().unwrap();
    desk.leave = Leave::Alone;
    desk.look();
    desk.look();
    assert_eq!(std::mem::take(&mut desk.told), [Order::End { run }], "once");
    desk.end_all(&Outcome::Failed("a signal".into()));
    assert_eq!(desk.told, [], "that we ended it is no failure");
    desk.begun_since();
    desk.step(HOUR);
    desk.look();
    assert_eq!(desk.begun_since().len(), 0);
    desk.leave = Leave::Now;
    desk.look();
    assert_eq!(desk.begun_since().len(), 1);
}
