//! The schedules of one app: when each command is due, what becomes of a run, what is remembered of it.
//!
//! It lives beside the services because a run is a process of the app as theirs are, in the live release and ended with
//! it; only what starts it is another: the clock. `every` counts on the monotonic clock, so that no clock that is set
//! makes it run twice or not at all; `at` goes by the clock on the wall, once that is to be believed. What both are
//! counted from is remembered as a time of day: a run that was missed while nothing ran is made up, once for all that
//! were missed.
//!
//! Line: pure; whether the app may run anything at all is said by the caller ([`Leave`]), the process is the hands'.

use super::calendar;
use crate::base::{Moment, ScheduleName, WallTime};
use crate::config::{Schedule, When};
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::time::Duration;

/// A clock that is not held to the true time is believed this long after boot: nobody may ever hold it.
pub const PATIENCE_WITH_CLOCK: Duration = Duration::from_secs(600);
/// The wall clock may be slowed or hastened unheard: it is looked at again by then.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);
/// A clock that is set back by less repeats no time of day; by more, it was wrong before.
const SMALL_STEP_BACK: Duration = Duration::from_secs(3 * 3600);
/// Runs that follow each other more closely are not each written down: the disk is an SD card.
const ROW_EVERY: Duration = Duration::from_secs(900);

/// Both clocks, the zone in which people mean a time of day, and whether the one on the wall is to be believed.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Clock {
    pub now: Moment,
    pub zone: TimeZone,
    pub is_believed: bool,
}

/// Whether runs may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// They may.
    Now,
    /// Something else is under way; what is due waits for its end, or for a moment.
    Later(Option<Duration>),
    /// Something is under way that must be alone with the data: what is due waits for its end, and what runs is ended.
    Alone,
    /// The app is not meant to run: what is due passes by, and what runs is ended.
    No,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// With exit 0.
    Well,
    /// Otherwise, and how.
    Failed(String),
    /// We ended it, and why.
    Ended(String),
}

impl Outcome {
    /// As it is written down and shown.
    pub fn word(&self) -> &'static str {
        match self {
            Outcome::Well => "success",
            Outcome::Failed(_) => "failed",
            Outcome::Ended(_) => "cancelled",
        }
    }
    /// What there is to say beside the word.
    pub fn message(&self) -> Option<&str> {
        match self {
            Outcome::Well => None,
            Outcome::Failed(why) | Outcome::Ended(why) => Some(why),
        }
    }
    /// The outcome that is written down so; `None`: nobody writes that.
    pub fn read(word: &str, message: Option<String>) -> Option<Outcome> {
        let why = message.unwrap_or_default();
        match word {
            "success" => Some(Outcome::Well),
            "failed" => Some(Outcome::Failed(why)),
            "cancelled" => Some(Outcome::Ended(why)),
            _ => None,
        }
    }
}

/// The last run of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// When it began.
    pub began: WallTime,
    /// How it ended, and how long it took; `None`: it did not end yet.
    pub ended: Option<(Outcome, Duration)>,
}

/// What is written down of a schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// When it ran by then, as it is written: what was counted for another time means nothing for this one.
    pub when: String,
    /// What the next run is counted from.
    pub counted_from: WallTime,
    /// The last run.
    pub run: Option<Run>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Order {
    /// Start its command once this is written down; [`Agenda::ended`] says how it went.
    Begin { schedule: Schedule, run: u64, row: Option<Remembered> },
    /// End a run.
    End { run: u64 },
    /// Write it down.
    Remember { name: ScheduleName, row: Remembered },
    /// Its time came and its command still ran, for so long by now.
    LeftOut { name: ScheduleName, running_for: Duration },
    /// It failed; `first`: it had not before.
    Failed { name: ScheduleName, why: String, first: bool },
    /// It went well again.
    Recovered { name: ScheduleName },
    /// It had failed, and is not there any more.
    Gone { name: ScheduleName },
}

#[derive(Debug, Clone)]
struct UnderWay {
    run: u64,
    since: Moment,
    is_asked_to_end: Option<String>,
    /// What it was counted from before, should it be put off.
    before: Before,
}

/// What a schedule was counted from, and its last run.
#[derive(Debug, Clone)]
struct Before {
    from: Option<WallTime>,
    from_mono: Option<Duration>,
    due: Duration,
    last: Option<Run>,
}

#[derive(Debug, Clone)]
struct Planned {
    schedule: Schedule,
    /// What the next run is counted from; `None`: no clock has been believed since.
    from: Option<WallTime>,
    /// The same on the monotonic clock; `None`: it was before this daemon, and no clock has been believed yet.
    from_mono: Option<Duration>,
    /// When it is due, for one that runs in an interval.
    due: Duration,
    under_way: Option<UnderWay>,
    last: Option<Run>,
    /// The last run that says something failed.
    is_failing: bool,
    written_at: Option<Duration>,
    left_out: u64,
}

/// The schedules of one app.
#[derive(Debug, Clone, Default)]
pub struct Agenda {
    planned: Vec<Planned>,
    /// Of schedules that are gone; a run of one goes on to its end.
    dropped: Vec<Planned>,
    /// What was read at the start, of schedules that are not there (yet).
    known: BTreeMap<ScheduleName, Remembered>,
    wake: Option<Duration>,
    held_up_until: Option<Duration>,
}

impl Agenda {
    /// An agenda that will know its schedules by what an earlier daemon wrote down.
    pub fn remembering(known: BTreeMap<ScheduleName, Remembered>) -> Agenda {
        Agenda { known, ..Agenda::default() }
    }

    /// These are the schedules from now on. One that was there goes on as it was, unless its time is another one.
    pub fn follow(&mut self, clock: &Clock, schedules: &[Schedule]) -> Vec<Order> {
        let mut orders = vec![];
        let mut before = std::mem::take(&mut self.planned);
        before.append(&mut self.dropped);
        for schedule in schedules {
            let place = before.iter().position(|planned| planned.schedule.name == schedule.name);
            let planned = match place.map(|at| before.swap_remove(at)) {
                Some(planned) => planned.meant_as(clock, schedule),
                None => {
                    let (planned, order) = Planned::new(clock, schedule, self.known.remove(&schedule.name));
                    orders.extend(order);
                    planned
                }
            };
            self.planned.push(planned);
        }
        for planned in before {
            match planned.under_way.is_some() {
                true => self.dropped.push(planned),
                false => drop(self.known.insert(planned.schedule.name.clone(), planned.row(clock))),
            }
        }
        // Also what an earlier daemon told of, and what went while no daemon ran.
        let went_well = |run: &Run| matches!(&run.ended, Some((Outcome::Well, _)));
        let gone = self.known.iter().filter(|(_, row)| row.run.as_ref().is_some_and(|run| !went_well(run)));
        orders.extend(gone.map(|(name, _)| Order::Gone { name: name.clone() }));
        orders
    }

    /// What is due by now, with the leave there is.
    pub fn look(&mut self, clock: &Clock, leave: Leave, runs_made: &mut u64) -> Vec<Order> {
        let mut orders = vec![];
        (self.wake, self.held_up_until) = (None, None);
        for planned in &mut self.dropped {
            orders.extend(planned.end_without_leave(leave));
        }
        for planned in &mut self.planned {
            orders.extend(planned.compare_clocks(clock));
            orders.extend(planned.end_without_leave(leave));
            if planned.is_due(clock) {
                match (leave, &planned.under_way) {
                    (Leave::No, _) => planned.pass_by(clock),
                    (_, Some(under_way)) => {
                        let running_for = clock.now.mono.saturating_sub(under_way.since.mono);
                        orders.push(Order::LeftOut { name: planned.schedule.name.clone(), running_for });
                        planned.left_out += 1;
                        planned.pass_by(clock);
                    }
                    (Leave::Later(until), None) => {
                        self.held_up_until = [self.held_up_until, until].into_iter().flatten().min();
                        continue;
                    }
                    (Leave::Alone, None) => continue,
                    (Leave::Now, None) => {
                        let before = planned.counted();
                        planned.pass_by(clock);
                        orders.push(planned.begin(clock, before, runs_made));
                    }
                }
            }
            let wake = planned.next_look(clock);
            self.wake = [self.wake, Some(wake)].into_iter().flatten().min();
        }
        orders
    }

    /// When [`Agenda::look`] has something even if nothing happens.
    pub fn deadline(&self) -> Option<Duration> {
        [self.wake, self.held_up_until].into_iter().flatten().min()
    }

    /// A person wants it to run now. Its next time stays what it is.
    pub fn begin_by_hand(
        &mut self,
        clock: &Clock,
        name: &ScheduleName,
        runs_made: &mut u64,
    ) -> Result<Vec<Order>, String> {
        let names: Vec<String> = self.planned.iter().map(|planned| planned.schedule.name.to_string()).collect();
        let Some(planned) = self.planned.iter_mut().find(|planned| planned.schedule.name == *name) else {
            return Err(match names.is_empty() {
                true => "the live release has no schedules".into(),
                false => format!("there is no schedule {name}; there is: {}", names.join(", ")),
            });
        };
        if planned.under_way.is_some() {
            return Err(format!("{name} runs already"));
        }
        Ok(vec![planned.begin(clock, planned.counted(), runs_made)])
    }

    /// A run that was to begin must wait all the same: as if it had not been its time yet.
    pub fn put_off(&mut self, clock: &Clock, run: u64) -> Option<Order> {
        let is_it = |planned: &&mut Planned| planned.under_way.as_ref().is_some_and(|under_way| under_way.run == run);
        if let Some(at) = self.dropped.iter_mut().position(|planned| is_it(&planned)) {
            let mut gone = self.dropped.swap_remove(at);
            gone.undo_beginning();
            self.known.insert(gone.schedule.name.clone(), gone.row(clock));
            return Some(gone.remember(clock));
        }
        let planned = self.planned.iter_mut().find(is_it)?;
        planned.undo_beginning();
        Some(planned.remember(clock))
    }

    /// A run ended.
    pub fn ended(&mut self, clock: &Clock, run: u64, outcome: Outcome) -> Vec<Order> {
        let is_it = |planned: &Planned| planned.under_way.as_ref().is_some_and(|under_way| under_way.run == run);
        if let Some(at) = self.dropped.iter().position(is_it) {
            let mut gone = self.dropped.swap_remove(at);
            let mut orders = gone.ended(clock, outcome);
            orders.extend(gone.is_failing.then(|| Order::Gone { name: gone.schedule.name.clone() }));
            self.known.insert(gone.schedule.name.clone(), gone.row(clock));
            return orders;
        }
        self.planned.iter_mut().find(|planned| is_it(planned)).map_or(vec![], |planned| planned.ended(clock, outcome))
    }

    /// A command of it runs.
    pub fn is_running(&self) -> bool {
        self.planned.iter().chain(&self.dropped).any(|planned| planned.under_way.is_some())
    }

    /// As people see it, in the file's order.
    pub fn lines<'a>(&'a self, clock: &'a Clock) -> impl Iterator<Item = Line<'a>> {
        self.planned.iter().map(|planned| Line {
            schedule: &planned.schedule,
            last: planned.last.as_ref(),
            running_for: planned.under_way.as_ref().map(|one| clock.now.mono.saturating_sub(one.since.mono)),
            next: planned.next(clock),
            left_out: planned.left_out,
        })
    }
}

/// A schedule as people see it.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Line<'a> {
    pub schedule: &'a Schedule,
    pub last: Option<&'a Run>,
    pub running_for: Option<Duration>,
    /// `None`: the clock is not to be believed yet.
    pub next: Option<WallTime>,
    /// How often its time came while its command still ran, since the daemon began.
    pub left_out: u64,
}

impl Planned {
    /// One that is seen for the first time by this daemon, or at all.
    fn new(clock: &Clock, schedule: &Schedule, known: Option<Remembered>) -> (Planned, Option<Order>) {
        let now = clock.now.mono;
        let interval = interval(schedule).unwrap_or_default();
        let counted = known.as_ref().filter(|known| known.when == schedule.when.to_string());
        let from = counted.map(|known| known.counted_from);
        let mut planned = Planned {
            schedule: schedule.clone(),
            from,
            from_mono: from.is_none().then_some(now),
            due: now + interval,
            under_way: None,
            last: known.and_then(|known| known.run),
            is_failing: false,
            written_at: None,
            left_out: 0,
        };
        let was_cut_off = planned.last.as_mut().filter(|run| run.ended.is_none());
        if let Some(run) = was_cut_off {
            let why = "it was cut off by the end of the daemon (a crash or a power cut)".to_string();
            run.ended = Some((Outcome::Failed(why.clone()), Duration::ZERO));
            planned.is_failing = true;
            let order = Order::Failed { name: schedule.name.clone(), why, first: true };
            return (planned, Some(order));
        }
        let failed = |run: &Run| matches!(&run.ended, Some((Outcome::Failed(_), _)));
        planned.is_failing = planned.last.as_ref().is_some_and(failed);
        (planned, None)
    }

    /// The same schedule as it is written now.
    fn meant_as(mut self, clock: &Clock, schedule: &Schedule) -> Planned {
        if self.schedule.when != schedule.when {
            (self.from, self.from_mono) = (None, Some(clock.now.mono));
            self.due = clock.now.mono + interval(schedule).unwrap_or_default();
        }
        Planned { schedule: schedule.clone(), ..self }
    }

    fn count_from_now(&mut self, clock: &Clock) {
        self.from = clock.is_believed.then_some(clock.now.wall);
        self.from_mono = Some(clock.now.mono);
    }

    /// What it is counted from is known by one clock only, or the one on the wall was wrong.
    fn compare_clocks(&mut self, clock: &Clock) -> Option<Order> {
        if !clock.is_believed {
            return None;
        }
        let now = clock.now;
        match (self.from, self.from_mono) {
            (None, Some(mono)) => {
                self.from = Some(now.wall.minus(now.mono.saturating_sub(mono)));
                return Some(self.remember(clock));
            }
            (Some(wall), None) => {
                let age = now.wall.since(wall);
                self.from_mono = Some(now.mono.saturating_sub(age));
                if let Some(interval) = interval(&self.schedule) {
                    self.due = now.mono + interval.saturating_sub(age);
                }
            }
            _ => {}
        }
        // Set back by far: what it was counted from is a time that is yet to come.
        let ahead = self.from.map_or(Duration::ZERO, |from| from.since(now.wall));
        if ahead > SMALL_STEP_BACK {
            self.from = Some(now.wall);
        }
        None
    }

    fn is_due(&self, clock: &Clock) -> bool {
        match &self.schedule.when {
            When::Every(_) => clock.now.mono >= self.due,
            When::At(_) => clock.is_believed && self.next(clock).is_some_and(|at| at <= clock.now.wall),
        }
    }

    fn next(&self, clock: &Clock) -> Option<WallTime> {
        match &self.schedule.when {
            When::Every(_) => Some(clock.now.wall.plus(self.due.saturating_sub(clock.now.mono))),
            When::At(at) => self.from.filter(|_| clock.is_believed).map(|from| calendar::next(at, from, &clock.zone)),
        }
    }

    fn next_look(&self, clock: &Clock) -> Duration {
        let now = clock.now.mono;
        match &self.schedule.when {
            When::Every(_) if self.from_mono.is_some() => self.due,
            // Whether it was missed is seen when the clock is believed.
            When::Every(_) => self.due.min(PATIENCE_WITH_CLOCK.max(now)),
            When::At(_) if !clock.is_believed => PATIENCE_WITH_CLOCK.max(now),
            When::At(_) => {
                let left = self.next(clock).map_or(LOOK_AGAIN, |next| next.since(clock.now.wall));
                now + left.min(LOOK_AGAIN)
            }
        }
    }

    /// Its time is over, whatever was done with it.
    fn pass_by(&mut self, clock: &Clock) {
        let now = clock.now.mono;
        if let Some(interval) = interval(&self.schedule) {
            let regular = self.due + interval;
            // The rhythm is kept; after a long time nothing is made up twice.
            self.due = if regular > now { regular } else { now + interval };
        }
        self.count_from_now(clock);
    }

    fn counted(&self) -> Before {
        Before { from: self.from, from_mono: self.from_mono, due: self.due, last: self.last.clone() }
    }

    fn begin(&mut self, clock: &Clock, before: Before, runs_made: &mut u64) -> Order {
        *runs_made += 1;
        let run = *runs_made;
        self.under_way = Some(UnderWay { run, since: clock.now, is_asked_to_end: None, before });
        self.last = Some(Run { began: clock.now.wall, ended: None });
        // Intent first: what is cut off is not begun again.
        let row = self.is_worth_a_row(clock).then(|| {
            self.written_at = Some(clock.now.mono);
            self.row(clock)
        });
        Order::Begin { schedule: self.schedule.clone(), run, row }
    }

    fn undo_beginning(&mut self) {
        let Some(UnderWay { before: Before { from, from_mono, due, last }, .. }) = self.under_way.take() else {
            return;
        };
        (self.from, self.from_mono, self.due, self.last) = (from, from_mono, due, last);
    }

    fn end_without_leave(&mut self, leave: Leave) -> Option<Order> {
        let why = match leave {
            Leave::No => "ended because the app, or the daemon, was stopped",
            Leave::Alone => "ended because a deployment stopped the app",
            Leave::Now | Leave::Later(_) => return None,
        };
        let under_way = self.under_way.as_mut().filter(|one| one.is_asked_to_end.is_none())?;
        under_way.is_asked_to_end = Some(why.into());
        Some(Order::End { run: under_way.run })
    }

    fn ended(&mut self, clock: &Clock, outcome: Outcome) -> Vec<Order> {
        let Some(under_way) = self.under_way.take() else { return vec![] };
        let outcome = match under_way.is_asked_to_end {
            Some(why) => Outcome::Ended(why),
            None => outcome,
        };
        let took = clock.now.mono.saturating_sub(under_way.since.mono);
        self.last = Some(Run { began: under_way.since.wall, ended: Some((outcome.clone(), took)) });
        let name = self.schedule.name.clone();
        let was_failing = self.is_failing;
        let word = match outcome {
            Outcome::Well if was_failing => Some(Order::Recovered { name }),
            Outcome::Failed(why) => Some(Order::Failed { name, why, first: !was_failing }),
            Outcome::Well | Outcome::Ended(_) => None,
        };
        self.is_failing = match &word {
            Some(Order::Failed { .. }) => true,
            Some(_) => false,
            None => was_failing,
        };
        let is_news = self.is_failing != was_failing;
        let is_written = self.written_at.is_some_and(|at| at == under_way.since.mono);
        let row = (is_news || is_written || self.is_worth_a_row(clock)).then(|| self.remember(clock));
        row.into_iter().chain(word).collect()
    }

    fn is_worth_a_row(&self, clock: &Clock) -> bool {
        let is_rare = interval(&self.schedule).is_none_or(|interval| interval >= ROW_EVERY);
        is_rare || self.written_at.is_none_or(|at| clock.now.mono >= at + ROW_EVERY)
    }

    fn remember(&mut self, clock: &Clock) -> Order {
        self.written_at = Some(clock.now.mono);
        Order::Remember { name: self.schedule.name.clone(), row: self.row(clock) }
    }

    fn row(&self, clock: &Clock) -> Remembered {
        let (when, counted_from) = (self.schedule.when.to_string(), self.from.unwrap_or(clock.now.wall));
        Remembered { when, counted_from, run: self.last.clone() }
    }
}

fn interval(schedule: &Schedule) -> Option<Duration> {
    match schedule.when {
        When::Every(interval) => Some(interval),
        When::At(_) => None,
    }
}

#[cfg(test)]
#[path = "agenda/tests.rs"]
mod tests;
