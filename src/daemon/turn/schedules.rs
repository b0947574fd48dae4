//! The scheduled commands of each app: whether they may run now, and what becomes of them.
//!
//! They are the live release's own, as its services are. A deployment under way comes first, a start of the daemon lets
//! the app come up before anything that was missed is made up, and an app that a person stopped runs nothing. A daemon
//! that ends takes them with it; what a killed one left running is ended by its successor as any stranger is, because
//! nobody would hear how it ends, and told as cut off.

use super::super::action::Action;
use super::super::event::RequestId;
use super::super::world::{AppWorld, Pending, World};
use crate::base::{AppName, Moment, ScheduleName, Span};
use crate::config::Schedule;
use crate::control::{Answer, ScheduleRunView, ScheduleView};
use crate::notify::{Gravity, Happening, Subject};
use crate::store::Entry;
use crate::supervise::agenda::{Clock, Leave, Line, Order, Outcome, PATIENCE_WITH_CLOCK, Run};
use std::sync::Arc;

impl World {
    /// Begins what is due, and ends what may not run any more.
    pub(super) fn run_what_is_scheduled(&mut self, now: Moment, name: &AppName, actions: &mut Vec<Action>) {
        let clock = self.schedules_clock(now);
        let Some(app) = self.apps.get(name) else { return };
        let leave = self.leave_for_schedules(now, app);
        let Some(app) = self.apps.get_mut(name) else { return };
        let mut orders = vec![];
        let meant = app.live_definition().cloned();
        let is_followed = match (&meant, &app.planned_by) {
            (Some(meant), Some(by)) => Arc::ptr_eq(meant, by),
            (meant, by) => meant.is_none() && by.is_none(),
        };
        if !is_followed {
            let schedules = meant.as_ref().map(|meant| meant.schedules.as_slice()).unwrap_or_default();
            orders = app.agenda.follow(&clock, schedules);
            app.planned_by = meant;
        }
        orders.extend(app.agenda.look(&clock, leave, &mut self.scheduled_runs));
        self.carry_schedules(now, name, orders, actions);
    }

    /// A scheduled command ended.
    pub(super) fn schedule_ended(
        &mut self,
        now: Moment,
        name: &AppName,
        run: u64,
        outcome: Outcome,
        actions: &mut Vec<Action>,
    ) {
        let clock = self.schedules_clock(now);
        let Some(app) = self.any_app(name) else { return };
        app.scheduled_in.remove(&run);
        let orders = app.agenda.ended(&clock, run, outcome);
        self.carry_schedules(now, name, orders, actions);
        self.tell_if_settled(now, name, actions);
    }

    /// A person wants one to run now.
    pub(super) fn schedule_asked(
        &mut self,
        now: Moment,
        from: RequestId,
        name: &AppName,
        schedule: &ScheduleName,
        actions: &mut Vec<Action>,
    ) {
        let clock = self.schedules_clock(now);
        let begun = match self.apps.get(name) {
            None => Err((64, super::apps::no_such_app(name))),
            Some(app) => self.may_begin_by_hand(now, app).map_err(|why| (3, why)),
        };
        let begun = begun.and_then(|()| {
            let app = self.apps.get_mut(name).ok_or((64, super::apps::no_such_app(name)))?;
            app.agenda.begin_by_hand(&clock, schedule, &mut self.scheduled_runs).map_err(|why| (64, why))
        });
        let answer = match begun {
            Ok(orders) => {
                self.carry_schedules(now, name, orders, actions);
                let message =
                    format!("{schedule} was started; `pintle logs {name} --schedule {schedule} -f` follows it");
                Answer::Done { message }
            }
            Err((exit, why)) => Answer::Error { exit, message: format!("{name}: {schedule} was not started: {why}") },
        };
        actions.push(Action::Answer { to: from, answer });
    }

    fn may_begin_by_hand(&self, now: Moment, app: &AppWorld) -> Result<(), String> {
        let name = &app.config.name;
        match self.leave_for_schedules(now, app) {
            Leave::Now | Leave::Later(Some(_)) => Ok(()),
            Leave::Later(None) | Leave::Alone => {
                Err("a deployment is under way, or the daemon is about to be replaced".into())
            }
            Leave::No if app.live.is_none() => Err(format!("nothing is live yet: `pintle deploy {name}`")),
            Leave::No => Err(format!("{name} is stopped: `pintle start {name}`")),
        }
    }

    /// Whether its commands may run now.
    fn leave_for_schedules(&self, now: Moment, app: &AppWorld) -> Leave {
        let is_meant = app.live.is_some() && app.services.target().is_some();
        let is_down = app.live.is_some() && !app.services.is_undecided() && app.services.target().is_none();
        if app.active.is_some() && is_down && !self.stopping && !app.removed {
            return Leave::Alone;
        }
        if app.active.is_some() && !self.stopping && !app.removed || app.services.is_undecided() {
            return Leave::Later(None);
        }
        if self.stopping || app.removed || !is_meant || app.services.is_held() {
            return Leave::No;
        }
        if self.waits_for_reexec() {
            return Leave::Later(None);
        }
        match app.eager_until.filter(|until| now.mono < *until && !app.runs_as_it_should()) {
            Some(until) => Leave::Later(Some(until)),
            None => Leave::Now,
        }
    }

    fn carry_schedules(&mut self, now: Moment, name: &AppName, orders: Vec<Order>, actions: &mut Vec<Action>) {
        for order in orders {
            match order {
                Order::Begin { schedule, run, row: None } => self.begin_schedule(now, name, schedule, run, actions),
                Order::Begin { schedule, run, row: Some(row) } => {
                    let entries = vec![Entry::Scheduled { app: name.clone(), name: schedule.name.clone(), row }];
                    let pending = Pending::Schedule { app: name.clone(), schedule: Box::new(schedule), run };
                    self.record(entries, pending, actions);
                }
                Order::End { run } => match self.take_unwritten(name, run) {
                    true => {
                        let outcome = Outcome::Ended("it had not begun yet".into());
                        self.schedule_ended(now, name, run, outcome, actions);
                    }
                    false => actions.push(Action::EndSchedule { run }),
                },
                Order::Remember { name: schedule, row } => {
                    let entries = vec![Entry::Scheduled { app: name.clone(), name: schedule, row }];
                    actions.push(Action::Record { token: None, entries });
                }
                Order::LeftOut { name: schedule, running_for } => {
                    let text = format!(
                        "{name}: schedule {schedule} is left out this time: its command still runs, for {} by now",
                        Span(running_for)
                    );
                    actions.push(Action::Note { level: log::Level::Warn, text });
                }
                Order::Failed { name: schedule, why, first } => {
                    if !first {
                        let text = format!("{name}: schedule {schedule} failed again: {why}");
                        actions.push(Action::Note { level: log::Level::Warn, text });
                    }
                    let trouble = Happening::Trouble {
                        about: about(name, &schedule),
                        app: Some(name.clone()),
                        gravity: Gravity::Warning,
                        what: format!("{name}: schedule {schedule} failed: {why}"),
                        advice: Some(format!("`pintle logs {name} --schedule {schedule}` shows what it printed")),
                    };
                    self.tell(now, trouble, actions);
                }
                Order::Gone { name: schedule } => {
                    let what = format!("{name}: schedule {schedule}, which failed, is not there any more");
                    let over = Happening::Recovered { about: about(name, &schedule), app: Some(name.clone()), what };
                    self.tell(now, over, actions);
                }
                Order::Recovered { name: schedule } => {
                    let what = format!("{name}: schedule {schedule} went well again");
                    let recovered =
                        Happening::Recovered { about: about(name, &schedule), app: Some(name.clone()), what };
                    self.tell(now, recovered, actions);
                }
            }
        }
    }

    /// A run that waits for its row to be written - on a disk that hangs, for ever - need not any more.
    fn take_unwritten(&mut self, name: &AppName, run: u64) -> bool {
        let is_it = |pending: &Pending| matches!(pending, Pending::Schedule { app, run: waiting, .. } if app == name && *waiting == run);
        let token = self.pending.iter().find(|(_, pending)| is_it(pending)).map(|(token, _)| *token);
        token.is_some_and(|token| self.pending.remove(&token).is_some())
    }

    /// It is known that it begins. Meanwhile the app may have been stopped, or a deployment have begun.
    pub(super) fn begin_schedule(
        &mut self,
        now: Moment,
        name: &AppName,
        schedule: Schedule,
        run: u64,
        actions: &mut Vec<Action>,
    ) {
        let leave = self.apps.get(name).map_or(Leave::No, |app| self.leave_for_schedules(now, app));
        match leave {
            Leave::Now | Leave::Later(Some(_)) => {}
            Leave::Later(None) | Leave::Alone => {
                let text = format!(
                    "{name}: schedule {} does not begin: a deployment is under way, or the daemon is about to be \
                     replaced; what was due begins afterwards, what was asked for by hand is to be asked for again",
                    schedule.name
                );
                actions.push(Action::Note { level: log::Level::Info, text });
                let clock = self.schedules_clock(now);
                let put_off = self.any_app(name).and_then(|app| app.agenda.put_off(&clock, run));
                return self.carry_schedules(now, name, put_off.into_iter().collect(), actions);
            }
            Leave::No => {
                return self.schedule_ended(now, name, run, Outcome::Ended("the app was stopped".into()), actions);
            }
        }
        let live = self.apps.get_mut(name).and_then(|app| app.live.clone().map(|live| (app, live)));
        let Some((app, live)) = live else {
            let why = "its release is not live any more".into();
            return self.schedule_ended(now, name, run, Outcome::Failed(why), actions);
        };
        let definition = app.definition_of(&live.release);
        app.scheduled_in.insert(run, live.release.clone());
        actions.push(Action::RunSchedule {
            app: definition,
            release: live.release,
            commit: live.commit,
            schedule: Box::new(schedule),
            run,
        });
    }

    fn schedules_clock(&self, now: Moment) -> Clock {
        let is_believed = self.clock_is_held || now.mono >= PATIENCE_WITH_CLOCK;
        Clock { now, zone: self.zone.clone(), is_believed }
    }

    /// For `status`.
    pub(in super::super) fn schedule_views(&self, now: Moment, app: &AppWorld) -> Vec<ScheduleView> {
        app.agenda.lines(&self.schedules_clock(now)).map(|line| view(&line)).collect()
    }
}

fn about(app: &AppName, schedule: &ScheduleName) -> Subject {
    Subject::app(app, &format!("schedule/{schedule}"))
}

fn view(line: &Line<'_>) -> ScheduleView {
    ScheduleView {
        schedule: line.schedule.name.clone(),
        when: line.schedule.when.to_string(),
        running_seconds: line.running_for.map(|span| span.as_secs_f64()),
        last: line.last.map(run_view),
        next: line.next,
        left_out: line.left_out,
    }
}

fn run_view(run: &Run) -> ScheduleRunView {
    let ended = run.ended.as_ref();
    ScheduleRunView {
        started: run.began,
        status: ended.map_or("running", |(outcome, _)| outcome.word()).into(),
        duration_seconds: ended.map(|(_, took)| took.as_secs_f64()),
        message: ended.and_then(|(outcome, _)| outcome.message()).map(str::to_owned),
    }
}

#[cfg(test)]
mod tests;
