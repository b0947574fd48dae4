//! Asks an app's source where its branch is, on a thread of its own: the other end may take as long as it likes.

use super::Hands;
use crate::config::App;
use crate::daemon::event::Event;
use crate::daemon::work;
use crate::os::cancel::Cancel;
use std::sync::Arc;

impl Hands {
    /// Looks once.
    pub(super) fn look_at_branch(&mut self, app: Arc<App>, look: u64) -> Option<Event> {
        let name = app.name.clone();
        let nothing = |why: String| Event::BranchSeen { app: name.clone(), look, result: Err(why) };
        let cancel = match self.looks.clone().map_or_else(Cancel::new, Ok) {
            Ok(cancel) => cancel,
            Err(error) => return Some(nothing(format!("no descriptors left: {error}"))),
        };
        self.looks = Some(cancel.clone());
        let bench = self.bench.clone();
        let fallback = nothing("no thread could be started to look at its repository".into());
        self.on_a_thread("poll", fallback, move || {
            let result = work::tip(&bench, &app, &cancel).map_err(|error| error.to_string());
            bench.post.send(Event::BranchSeen { app: app.name.clone(), look, result });
        })
    }
}
