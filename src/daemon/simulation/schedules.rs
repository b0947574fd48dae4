//! Scheduled commands in the simulated world - they take their time, fail, are ended - and what must never be untrue of
//! them: never two of one schedule at once, never while the app is stopped or deployed, what was missed made up once.

use super::Simulation;
use super::host::Due;
use crate::base::{AppName, ReleaseName, ScheduleName};
use crate::config::{Schedule, When};
use crate::control::Request;
use crate::daemon::event::Event;
use crate::supervise::agenda::Outcome;
use std::collections::BTreeMap;
use std::time::Duration;

/// One that runs.
#[derive(Debug)]
struct Running {
    app: AppName,
    name: ScheduleName,
    end: (Duration, u64),
    is_asked_to_end: bool,
}

/// How often each began since it was last written as it is.
type Begun = BTreeMap<(AppName, ScheduleName), (When, u64)>;
/// The same, however it is written.
pub(super) type Counted = BTreeMap<(AppName, ScheduleName), u64>;

/// All that run, and what was begun.
#[derive(Debug, Default)]
pub(super) struct Commands {
    running: BTreeMap<u64, Running>,
    /// By the clock, in this daemon's life.
    begun: Begun,
    /// Ever: what repairs an app may reboot the host, and so begin a new life.
    counted: Counted,
    /// By hand, and to be left out of the count.
    by_hand: Option<(AppName, ScheduleName)>,
    life_began: Duration,
    /// How often the wall clock jumped in this life.
    jumps: u64,
}

impl Commands {
    /// No daemon is there to hear of them: the next one ends what is left.
    pub(super) fn are_gone(&mut self) {
        self.running.clear();
    }
    /// What was begun so far, by whomever, in whichever life.
    pub(super) fn so_far(&self) -> Counted {
        self.counted.clone()
    }
    pub(super) fn new_life(&mut self, now: Duration) {
        self.begun.clear();
        (self.by_hand, self.life_began, self.jumps) = (None, now, 0);
    }
    pub(super) fn the_clock_jumped(&mut self) {
        self.jumps += 1;
    }
}

impl Simulation {
    pub(super) fn begin_a_command(&mut self, app: &AppName, release: &ReleaseName, schedule: &Schedule, run: u64) {
        let name = schedule.name.clone();
        let twin = self.commands.running.values().any(|one| one.app == *app && one.name == name);
        self.promise(!twin, || format!("{app}: {name} runs twice at once"));
        let stopped = self.promises.stopped.get(app) == Some(&true);
        self.promise(!stopped, || format!("{app}: {name} runs, and a person was told that the app is stopped"));
        let current = self.disks[app].current.clone();
        self.promise(current.as_ref() == Some(release), || {
            format!("{app}: {name} runs in {release}, not in what is live")
        });
        let deploys = self.works.values().any(|busy| busy.job.app.name == *app);
        self.promise(!deploys, || format!("{app}: {name} runs beside a deployment at work"));
        self.count(app, schedule);
        let takes = self.random.skewed(Duration::from_secs(1200));
        let end = self.schedule(self.now.mono + takes, Due::CommandEnds { run });
        self.commands.running.insert(run, Running { app: app.clone(), name, end, is_asked_to_end: false });
    }

    /// As often as its interval goes into this daemon's life, and once for what was missed before. A schedule that the
    /// live release did not have for a while is counted by the clock on the wall when it is back, which may have jumped.
    fn count(&mut self, app: &AppName, schedule: &Schedule) {
        let key = (app.clone(), schedule.name.clone());
        *self.commands.counted.entry(key.clone()).or_default() += 1;
        if self.commands.by_hand.take_if(|by_hand| *by_hand == key).is_some() {
            return;
        }
        let known = self.commands.begun.entry(key).or_insert((schedule.when, 0));
        if known.0 != schedule.when {
            *known = (schedule.when, 0);
        }
        known.1 += 1;
        let count = known.1;
        let When::Every(interval) = schedule.when else { return };
        let life = self.now.mono - self.commands.life_began;
        let most = life.as_secs() / interval.as_secs() + 1 + self.commands.jumps;
        let name = &schedule.name;
        self.promise(count <= most, || format!("{app}: {name} ran {count} times in {life:?}, {:?}", schedule.when));
    }

    pub(super) fn command_ends(&mut self, run: u64) {
        let Some(one) = self.commands.running.remove(&run) else { return };
        let outcome = match one.is_asked_to_end {
            true => Outcome::Ended("cancelled".into()),
            false if self.random.percent(20) => Outcome::Failed("exit 1".into()),
            false => Outcome::Well,
        };
        self.turn(Event::Scheduled { app: one.app, run, outcome });
    }

    pub(super) fn end_a_command(&mut self, run: u64) {
        let soon = self.now.mono + self.random.span(Duration::from_secs(5));
        let Some(one) = self.commands.running.get_mut(&run) else { return };
        one.is_asked_to_end = true;
        let before = one.end;
        self.schedule.remove(&before);
        let end = self.schedule(soon.min(before.0), Due::CommandEnds { run });
        self.commands.running.get_mut(&run).into_iter().for_each(|one| one.end = end);
    }

    pub(super) fn check_no_command_runs(&mut self, when: &str) {
        let left = format!("{:?}", self.commands.running);
        self.promise(self.commands.running.is_empty(), || format!("{when}, and commands still run: {left}"));
    }

    pub(super) fn ask_for_a_command_or_the_status(&mut self, app: AppName) {
        let schedules = self.config.apps.get(&app).map(|app| app.schedules.clone()).unwrap_or_default();
        match schedules.first().filter(|_| self.random.percent(70)) {
            Some(schedule) => {
                let schedule = schedule.name.clone();
                self.commands.by_hand = Some((app.clone(), schedule.clone()));
                // It may be run only when the diary has it.
                self.ask(Request::RunSchedule { app, schedule });
            }
            None => self.ask(Request::Status { app: None }),
        }
    }

    /// In an hour in which all is well, everything that runs in an interval ran.
    pub(super) fn check_commands_ran_since(&mut self, before: &Counted) {
        let Some(world) = &self.world else { return };
        let may_run = world.apps.values().filter(|app| {
            app.live.is_some() && app.active.is_none() && app.services.target().is_some() && !app.services.is_held()
        });
        let meant = may_run.flat_map(|app| {
            let schedules = app.live_definition().map(|it| it.schedules.clone()).unwrap_or_default();
            schedules.into_iter().map(|schedule| (app.config.name.clone(), schedule))
        });
        let idle = meant.filter(|(app, schedule)| {
            let key = (app.clone(), schedule.name.clone());
            matches!(schedule.when, When::Every(_)) && self.commands.counted.get(&key) == before.get(&key)
        });
        let idle: Vec<String> = idle.map(|(app, schedule)| format!("{app} {}", schedule.name)).collect();
        self.promise(idle.is_empty(), || format!("{idle:?} did not run within an hour of peace"));
    }
}
