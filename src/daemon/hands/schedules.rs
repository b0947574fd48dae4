//! Runs scheduled commands, each on a thread of its own, and ends those that may not go on.

use super::Hands;
use crate::base::{CommitId, ReleaseName};
use crate::config::{App, Schedule};
use crate::daemon::event::Event;
use crate::daemon::work;
use crate::os::cancel::Cancel;
use crate::supervise::agenda::Outcome;
use std::sync::Arc;

impl Hands {
    /// Runs one in the live release.
    pub(super) fn run_schedule(
        &mut self,
        app: Arc<App>,
        release: ReleaseName,
        commit: Option<CommitId>,
        schedule: Schedule,
        run: u64,
    ) -> Option<Event> {
        let name = app.name.clone();
        let failed = |why: String| Event::Scheduled { app: name.clone(), run, outcome: Outcome::Failed(why) };
        let cancel = match Cancel::new() {
            Ok(cancel) => cancel,
            Err(error) => return Some(failed(format!("no descriptors left: {error}"))),
        };
        // Those whose thread is gone need no end any more.
        self.schedules.retain(|_, cancel| cancel.is_shared());
        self.schedules.insert(run, cancel.clone());
        let bench = self.bench.clone();
        let fallback = failed("no thread could be started for it".into());
        self.on_a_thread("schedule", fallback, move || {
            let outcome = work::run_schedule(&bench, &app, &release, commit.as_ref(), &schedule, run, &cancel);
            bench.post.send(Event::Scheduled { app: app.name.clone(), run, outcome });
        })
    }

    /// Ends a run soon; it still answers.
    pub(super) fn end_schedule(&mut self, run: u64) {
        self.schedules.get(&run).into_iter().for_each(Cancel::cancel);
    }
}
