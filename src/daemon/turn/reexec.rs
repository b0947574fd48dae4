//! Becoming a new program without ending: when the new one says that it can, and no deployment is under way.
//!
//! Deployments that wait are on disk and begin under the new program; one that runs is not cut off, nor is a scheduled
//! command.

use super::super::action::Action;
use super::super::event::RequestId;
use super::super::world::{AppWorld, Reexec, World};
use crate::base::{AppName, Moment};
use crate::control::Answer;
use std::time::Duration;

/// Between the answer and the takeover.
const TIME_TO_HEAR: Duration = Duration::from_millis(50);

impl World {
    /// Somebody asks for it: the new program is asked first.
    pub(super) fn ask_successor(&mut self, from: Option<RequestId>, actions: &mut Vec<Action>) {
        match &mut self.reexec {
            _ if self.stopping => {
                let answer = Answer::Error { exit: 69, message: "the daemon is ending".into() };
                actions.extend(from.map(|to| Action::Answer { to, answer }));
            }
            Reexec::No => {
                self.reexec = Reexec::Checking(from.into_iter().collect());
                actions.push(Action::CheckSuccessor);
            }
            Reexec::Checking(waiting) => waiting.extend(from),
            Reexec::Due { version, .. } => {
                let version = version.clone();
                let answer = self.takes_over(&version);
                actions.extend(from.map(|to| Action::Answer { to, answer }));
            }
            // The end of the connection tells, or that it could not be.
            Reexec::UnderWay(waiting) => waiting.extend(from),
        }
    }

    /// The new program looked at itself, the configuration and the diary - or could not be executed in the end.
    pub(super) fn successor_checked(&mut self, now: Moment, result: Result<String, String>, actions: &mut Vec<Action>) {
        let waiting = match std::mem::take(&mut self.reexec) {
            Reexec::Checking(waiting) => waiting,
            Reexec::UnderWay(waiting) if result.is_err() => waiting,
            other => return self.reexec = other,
        };
        let answer = match result {
            Ok(version) => {
                self.reexec = Reexec::Due { version: version.clone(), not_before: now.mono + TIME_TO_HEAR };
                self.takes_over(&version)
            }
            Err(why) => {
                let message = format!("the daemon stays as it is: the new program cannot take over: {why}");
                actions.push(Action::Note { level: log::Level::Error, text: message.clone() });
                Answer::Error { exit: 3, message }
            }
        };
        actions.extend(waiting.into_iter().map(|to| Action::Answer { to, answer: answer.clone() }));
        // What waited for the new program need wait no longer.
        for name in self.apps.keys().cloned().collect::<Vec<AppName>>() {
            self.start_next(now, &name, actions);
        }
    }

    fn takes_over(&self, version: &str) -> Answer {
        let active = self.apps.values().find_map(|app| app.active.as_ref());
        Answer::TakesOver { version: version.into(), after: active.map(|deployment| deployment.number) }
    }

    /// No deployment may begin: the new program is to take over.
    pub(super) fn waits_for_reexec(&self) -> bool {
        matches!(self.reexec, Reexec::Due { .. } | Reexec::UnderWay(_))
    }

    /// Hands over to the new program once nothing would be cut off.
    pub(super) fn reexec_when_quiet(&mut self, now: Moment, actions: &mut Vec<Action>) {
        if self.reexec_deadline().is_some_and(|at| now.mono >= at) {
            self.reexec = Reexec::UnderWay(vec![]);
            self.write_all_samples(now, actions);
            actions.push(Action::Reexec);
        }
    }

    /// When the new program takes over, unless something is under way.
    pub(super) fn reexec_deadline(&self) -> Option<Duration> {
        // A message under way would be sent twice.
        let busy = self.apps.values().any(|app| app.is_busy()) || self.mail.outbox.is_sending();
        match self.reexec {
            Reexec::Due { not_before, .. } if !busy && !self.stopping && self.pending.is_empty() => Some(not_before),
            _ => None,
        }
    }
}

impl AppWorld {
    /// Something of it would be cut off: a deployment, somebody who waits for an answer, a scheduled command.
    fn is_busy(&self) -> bool {
        self.active.is_some() || !self.waiters.is_empty() || self.agenda.is_running()
    }
}
