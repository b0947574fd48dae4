//! Deliveries at the listener's door: judged with what mirrors and diary know of them, and written down together where
//! several came together.

use super::{Awaited, Desk, PATIENCE};
use crate::base::AppName;
use crate::control::{Answer, Delivery, Request, Want};
use crate::daemon::event::{Event, Known};
use crate::daemon::seen::SeenDelivery;
use crate::daemon::work;
use std::collections::BTreeMap;
use std::time::Instant;

impl Desk {
    /// The answers to deliveries that came together, in order.
    pub(super) fn deliver(&self, deliveries: Vec<Delivery>) -> Vec<Answer> {
        let put = deliveries.into_iter().map(|delivery| {
            let known = self.known_of(&delivery);
            self.put(Request::Deliver(delivery), known)
        });
        let (awaited, events): (Vec<Awaited>, Vec<Event>) = put.unzip();
        self.bench.post.send_together(events);
        // They are written together, and the last is answered last: whoever has heard that one need not wait again.
        let until = Instant::now() + PATIENCE;
        let left = || until.saturating_duration_since(Instant::now());
        let mut answers: Vec<Answer> = awaited.iter().rev().map(|awaited| self.heard(awaited, left())).collect();
        answers.reverse();
        answers
    }

    fn known_of(&self, delivery: &Delivery) -> Known {
        let older = delivery.wants.iter().filter(|want| {
            let app = self.app(&want.app).zip(want.wanted.commit());
            app.is_some_and(|(app, commit)| work::is_older(&self.bench, &app, commit))
        });
        let older = older.map(|want| want.app.clone()).collect();
        Known { older, seen: self.seen_before(delivery) }
    }

    /// What became of this delivery's id, as far as the diary remembers.
    fn seen_before(&self, delivery: &Delivery) -> BTreeMap<AppName, SeenDelivery> {
        let Some(id) = &delivery.id else { return BTreeMap::new() };
        let seen = |want: &Want| Some((want.app.clone(), self.remembered.seen(&want.app, id)?));
        delivery.wants.iter().filter_map(seen).collect()
    }
}
