//! What is promised of deployments that wait for an approval, a window or the rate limit - judged here anew, from what is
//! configured and on disk - and the people and the clock that let them begin in the end.

use super::Simulation;
use super::invariants::Row;
use crate::base::{AppName, DeployId};
use crate::config::{TimeOfDay, Window};
use crate::control::{DeployStatus, Pass, Request, Trigger};
use crate::daemon::world::AppWorld;
use crate::deploy::gate::Gate;
use crate::deploy::{Deployment, Kind};
use crate::store;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::time::Duration;

/// What the gates let begin, as it was seen from outside.
#[derive(Debug, Default)]
pub(super) struct Passages {
    /// When deployments that came by themselves began, by app.
    begun: BTreeMap<AppName, Vec<(Duration, DeployId)>>,
    /// The wall clock was set since: how long ago something was can no longer be told by whoever starts anew.
    clock_was_set: bool,
}

impl Passages {
    pub(super) fn clock_was_set(&mut self) {
        self.clock_was_set = true;
    }

    /// A daemon counts by what the diary tells: what was not written is forgotten.
    pub(super) fn remembered_anew(&mut self, rows: &BTreeMap<DeployId, Row>) {
        if std::mem::take(&mut self.clock_was_set) {
            self.begun.clear();
        }
        let is_written = |number: &DeployId| rows.get(number).is_some_and(|row| row.phase.is_some());
        self.begun.values_mut().for_each(|begun| begun.retain(|(_, number)| is_written(number)));
    }
}

/// Where the simulated board stands: forward and back with Central Europe.
pub(super) fn zone() -> TimeZone {
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a zone")
}

impl Simulation {
    /// Nothing gated begins outside its gate.
    pub(super) fn check_passage(&mut self, number: DeployId) {
        let Some(row) = self.promises.rows.get(&number).filter(|row| row.kind == store::Kind::Deploy) else { return };
        let (name, forced) = (row.app.clone(), row.forced);
        self.check_the_board_at(number, forced);
        let Some(row) = self.promises.rows.get(&number) else { return };
        let Some(rules) = self.config.apps.get(&name).map(|app| app.trigger.clone()) else { return };
        let free = !may_be_gated(row);
        let first = row.trigger != Trigger::Retry;
        let approved = !first || row.pass == Pass::Approved;
        let repeats = row.retry_of.map(|of| self.promises.rows.get(&of).is_some_and(|of| of.phase.is_some()));
        let open = rules.window.is_none_or(|window| self.is_open(window));
        let begun = self.promises.passages.begun.entry(name.clone()).or_default();
        let recent = |per: Duration| begun.iter().filter(|(at, _)| self.now.mono < *at + per).count();
        let room = rules.rate_limit.is_none_or(|rate| recent(rate.per) < rate.count as usize);
        if first && !free {
            begun.push((self.now.mono, number));
        }
        self.promise(first || repeats == Some(true), || format!("{number} repeats {repeats:?}, which never began"));
        self.promise(free || approved || !rules.approval, || {
            format!("{name}: {number} begins, and nobody approved it")
        });
        self.promise(free || open, || format!("{name}: {number} begins outside of {:?}", rules.window));
        self.promise(free || !first || room, || format!("{name}: {number} begins beyond {:?}", rules.rate_limit));
    }

    /// By the clock on the wall; in the hours in which daylight saving moves it both answers are right.
    fn is_open(&self, window: Window) -> bool {
        let at = |wall: i64| Timestamp::from_millisecond(wall).expect("a time").to_zoned(zone());
        let (now, hours) = (at(self.now.wall.0), 4 * 3_600_000);
        let moves = at(self.now.wall.0 - hours).offset() != at(self.now.wall.0 + hours).offset();
        let minutes = |time: TimeOfDay| u32::from(time.hour) * 60 + u32::from(time.minute);
        let (from, to) = (minutes(window.from), minutes(window.to));
        let shows = now.hour() as u32 * 60 + now.minute() as u32;
        let is_within = if from < to { from <= shows && shows < to } else { shows >= from || shows < to };
        is_within || moves
    }

    /// Of commits that wait for the same the newest wins, and nothing that waits holds up what may begin.
    pub(super) fn check_the_queues(&mut self) {
        let Some(world) = &self.world else { return };
        let is_being_approved =
            |number: DeployId| self.promises.requests.values().any(|one| *one == Request::Approve { number });
        let crowded = world.apps.values().filter(|app| is_crowded(app, &is_being_approved));
        let crowded: Vec<AppName> = crowded.map(|app| app.config.name.clone()).collect();
        let idle = |app: &&AppWorld| app.active.is_none() && app.queue.iter().any(|one| one.waiting.is_none());
        let nothing_begins = world.stopping || world.waits_for_a_new_program() || world.board.is_being_looked_at();
        let held_up: Vec<AppName> =
            world.apps.values().filter(idle).filter(|_| !nothing_begins).map(|app| app.config.name.clone()).collect();
        self.promise(crowded.is_empty(), || format!("{crowded:?}: of several commits that wait the newest wins"));
        self.promise(held_up.is_empty(), || format!("{held_up:?}: what may begin does"));
    }

    /// What a person approved is deployed, unless a newer commit may be too.
    pub(super) fn check_superseded(&mut self, number: DeployId, message: Option<&str>) {
        let Some(row) = self.promises.rows.get(&number).filter(|row| row.pass == Pass::Approved) else { return };
        let newer = message.and_then(|message| message.rsplit(' ').next()?.parse().ok()).map(DeployId);
        let newer = newer.and_then(|newer| self.promises.rows.get(&newer));
        let rules = self.config.apps.get(&row.app).map(|app| &app.trigger);
        let needs_a_word = |row: &Row| may_be_gated(row) && row.trigger != Trigger::Retry && row.pass == Pass::None;
        let in_vain = rules.is_some_and(|rules| rules.approval) && newer.is_some_and(needs_a_word);
        self.promise(!in_vain, || format!("{number} was approved, and made way for one that was not: {message:?}"));
    }

    /// What is said to be approved is so on disk.
    pub(super) fn check_approval(&mut self, number: DeployId) {
        let pass = self.promises.rows.get(&number).map(|row| row.pass);
        self.promise(pass == Some(Pass::Approved), || {
            format!("{number} is called approved, and on disk it is {pass:?}")
        });
    }

    /// Whoever waits at a gate does so on disk too, and for a reason; then people approve and the clock is set.
    pub(super) fn let_begin_what_waits(&mut self) {
        self.flush_the_journal();
        let Some(world) = &self.world else { return };
        let waiting = world.apps.values().flat_map(|app| &app.queue).cloned().collect::<Vec<Deployment>>();
        for deployment in waiting {
            let number = deployment.number;
            let Some(told) = deployment.waiting else { continue };
            let row = self.journal.diary.show(number).map(|report| report.deployment);
            let written = row.as_ref().map(|row| (row.status, row.message.clone()));
            let expected = Some((DeployStatus::Waiting, Some(told.reason.clone())));
            self.promise(written == expected, || format!("{number} {} and on disk it is {written:?}", told.reason));
            if told.for_approval() && !self.promises.requests.values().any(|one| *one == Request::Approve { number }) {
                self.ask(Request::Approve { number });
            }
            for gate in told.gates {
                if let Gate::Window(window) = gate
                    && !self.is_open(window)
                {
                    self.set_the_clock_to(window);
                }
            }
        }
    }

    /// NTP, at last: it is a moment before the window opens, and nobody tells the daemon.
    fn set_the_clock_to(&mut self, window: Window) {
        let now = Timestamp::from_millisecond(self.now.wall.0).expect("a time").to_zoned(zone());
        let at = |date: jiff::civil::Date| date.at(window.from.hour as i8, window.from.minute as i8, 0, 0);
        let dates = [now.date(), now.date().tomorrow().expect("a date"), now.date().tomorrow().expect("a date")];
        let opens = dates.map(|date| at(date).to_zoned(zone()).expect("a time").timestamp().as_millisecond());
        if let Some(opens) = opens.into_iter().find(|opens| *opens > self.now.wall.0) {
            self.set_the_clock(opens + 30_000 - self.now.wall.0);
        }
    }
}

fn may_be_gated(row: &Row) -> bool {
    let by_a_person = row.trigger == Trigger::Cli || row.forced || row.pass == Pass::Person;
    !by_a_person
}

fn is_crowded(app: &AppWorld, is_being_approved: &dyn Fn(DeployId) -> bool) -> bool {
    let deploys: Vec<&Deployment> = app.queue.iter().filter(|one| one.plan().kind == Kind::Deploy).collect();
    let gates = |one: &Deployment| one.waiting.iter().flat_map(|waits| waits.gates.clone()).collect::<Vec<Gate>>();
    deploys.iter().filter(|older| !is_being_approved(older.number)).any(|older| {
        let holds_up_no_more = |newer: &&&Deployment| gates(newer).iter().all(|gate| gates(older).contains(gate));
        deploys.iter().filter(|newer| newer.rank() > older.rank()).any(|newer| holds_up_no_more(&newer))
    })
}
