//! Deployments that wait at a gate: judged anew in every turn, told when something changes for them, let begin.
//!
//! What they wait for is on disk before anybody is answered, so that a new daemon goes on waiting for the same; an
//! approval too. The wall clock may jump at any time: whatever a window's opening was thought to be, it is looked at again
//! within the hour, and not more often than that while nothing happens. Line: `deploy::gate` judges one deployment.

use super::super::action::Action;
use super::super::event::RequestId;
use super::super::world::{AppWorld, Beginning, Pending, World};
use crate::base::{AppName, DeployId, Moment};
use crate::control::{Answer, DeployStatus, Pass};
use crate::deploy::Deployment;
use crate::deploy::gate::{self, Clock, Strained, Waits};
use crate::store::Entry;
use std::time::Duration;

/// The longest span that a rate limit can be about.
const LONGEST_RATE: Duration = Duration::from_secs(86_400);
const USAGE: u8 = 64;

impl World {
    /// Says what a new deployment of a configured app waits for.
    pub(super) fn judge_at_the_gates(&self, now: Moment, deployment: &mut Deployment) {
        let Some(app) = self.apps.get(&deployment.app) else { return };
        deployment.waiting = app.judge(&self.clock(now), &app.begun_ago(now), self.board.strained(), deployment);
    }

    /// Judges every deployment of an app that has not begun, and tells what changed.
    pub(super) fn look_at_gates(&mut self, now: Moment, name: &AppName, actions: &mut Vec<Action>) {
        let clock = self.clock(now);
        let strained = self.board.strained();
        let Some(app) = self.apps.get_mut(name).filter(|_| !self.stopping) else { return };
        let begun = app.begun_ago(now);
        let mut queue = std::mem::take(&mut app.queue);
        app.gates_due = None;
        for deployment in &mut queue {
            let waits = app.judge(&clock, &begun, strained, deployment);
            let due = waits.as_ref().map(|waits| now.mono + waits.look_again);
            app.gates_due = [app.gates_due, due].into_iter().flatten().min();
            let is_known = match (&waits, &deployment.waiting) {
                (Some(waits), Some(told)) => waits.is_told_by(told),
                (waits, told) => waits.is_none() && told.is_none(),
            };
            if !is_known {
                deployment.waiting = waits;
                actions.push(Action::Record { token: None, entries: vec![status_of(deployment)] });
                begins_to_wait(deployment, actions);
            }
        }
        app.queue = queue;
    }

    /// Lets begin what waited, where the time has come.
    pub(super) fn open_gates(&mut self, now: Moment, name: &AppName, actions: &mut Vec<Action>) {
        let Some(app) = self.apps.get_mut(name).filter(|_| !self.stopping) else { return };
        app.gates_due = None;
        if !app.queue.is_empty() {
            self.start_next(now, name, actions);
        }
    }

    /// A person lets a deployment begin that waits for that. What was approved once stays so, however often it is said.
    pub(super) fn approve_asked(&mut self, from: RequestId, number: DeployId, actions: &mut Vec<Action>) {
        let found = self.apps.values().find_map(|app| app.deployment(number));
        let waits_for_it = |one: &&Deployment| one.waiting.as_ref().is_some_and(Waits::for_approval);
        if let Some(app) = found.filter(waits_for_it).map(|one| one.app.clone()) {
            let pending = Pending::Approval { app, number, to: from };
            return self.record(vec![Entry::Approved { number }], pending, actions);
        }
        let answer = match found {
            Some(one) if one.pass == Pass::Approved => {
                let message =
                    format!("deployment {} of {} is approved already; it {}", number.0, one.app, state_of(one));
                Answer::Done { message }
            }
            Some(one) => refusal(number, &format!("it {}", state_of(one))),
            None => refusal(number, "it is neither under way nor waiting"),
        };
        actions.push(Action::Answer { to: from, answer });
    }

    /// The approval is on disk, or could not be written.
    pub(super) fn approved(
        &mut self,
        now: Moment,
        name: &AppName,
        number: DeployId,
        to: RequestId,
        result: Result<(), String>,
        actions: &mut Vec<Action>,
    ) {
        let waiting = self.apps.get_mut(name).into_iter().flat_map(|app| &mut app.queue);
        if let Some(one) = waiting.filter(|_| result.is_ok()).find(|one| one.number == number) {
            one.pass = Pass::Approved;
            // A person saw this commit, not those it was to be weighed against.
            one.rivals.clear();
        }
        self.start_next(now, name, actions);
        let found = self.apps.get(name).and_then(|app| app.deployment(number));
        let state = found.map_or("has ended meanwhile".to_string(), state_of);
        let message = format!("deployment {} of {name} is approved; it {state}", number.0);
        actions.push(Action::Answer { to, answer: super::or_error(result, Answer::Done { message }) });
    }

    fn clock(&self, now: Moment) -> Clock {
        Clock { now, zone: self.zone.clone() }
    }
}

impl AppWorld {
    fn judge(&self, clock: &Clock, begun: &[Duration], board: &[Strained], deployment: &Deployment) -> Option<Waits> {
        gate::judge(deployment, &self.config.trigger, clock, begun, board)
    }

    /// How long ago deploys began that came by themselves.
    fn begun_ago(&self, now: Moment) -> Vec<Duration> {
        self.begun.iter().map(|beginning| beginning.age(now.mono)).collect()
    }

    /// A deployment begins: the rate limit remembers it for as long as any can matter.
    pub(super) fn note_beginning(&mut self, now: Moment, deployment: &Deployment) {
        self.begun.retain(|beginning| beginning.age(now.mono) < LONGEST_RATE);
        if gate::counts(deployment) {
            self.begun.push(Beginning::ago(now.mono, Duration::ZERO));
        }
    }
}

/// What it waits for, in its log and to its followers.
pub(super) fn begins_to_wait(deployment: &Deployment, actions: &mut Vec<Action>) {
    if let Some(waits) = &deployment.waiting {
        let (app, number) = (deployment.app.clone(), deployment.number);
        actions.push(Action::Opened { app, number });
        actions.push(Action::Say { number, line: waits.reason.clone() });
    }
}

fn status_of(deployment: &Deployment) -> Entry {
    let number = deployment.number;
    match &deployment.waiting {
        Some(waits) => Entry::Status { number, status: DeployStatus::Waiting, message: Some(waits.reason.clone()) },
        None => Entry::Status { number, status: DeployStatus::Queued, message: None },
    }
}

/// Goes on after "it".
fn state_of(deployment: &Deployment) -> String {
    match &deployment.waiting {
        _ if !deployment.is_queued() => "is under way".into(),
        Some(waits) => waits.reason.clone(),
        None => "waits for its turn".into(),
    }
}

fn refusal(number: DeployId, state: &str) -> Answer {
    Answer::Error { exit: USAGE, message: format!("deployment {} does not wait for an approval: {state}", number.0) }
}
