//! How long each part of a connection's life may last, and what happens then.
//!
//! Line: which connection makes way for another is decided in `admission`, by what is told here.

use super::{
    After, BODY_BYTES_PER_SECOND, Connection, DRAIN, DRAIN_SILENT, IDLE, LINGER, Limits, Moment, Reply, STALLED,
    Standing, State, WRITE,
};
use std::time::Duration;

impl Connection {
    /// When something must have happened; `None`: nobody hurries.
    pub(in super::super) fn deadline(&self, limits: &Limits) -> Option<Duration> {
        let stuck = (!self.out.is_empty()).then_some(self.progress + WRITE);
        let due = match &self.state {
            State::Head if self.is_kept && self.is_silent() => Some(self.since + IDLE),
            State::Head => Some(self.since + limits.head),
            State::Body(receiving) => {
                let earned = receiving.body.len() as f64 / BODY_BYTES_PER_SECOND as f64;
                Some(self.since + limits.body + Duration::from_secs_f64(earned))
            }
            State::Served(_) | State::Flushing(_) => stuck,
            State::Lingering => Some(self.since + LINGER),
            State::Closed => None,
        };
        let silent = self.is_silent();
        let drained = self.draining.map(|began| began + if silent { DRAIN_SILENT } else { DRAIN });
        due.into_iter().chain(drained).min()
    }

    /// The deadline has passed.
    pub(in super::super) fn expire(&mut self, now: Moment) {
        match &self.state {
            State::Head if self.inbox.is_empty() => self.state = State::Closed,
            State::Head => self.refuse(&Reply::error(408, "the head of the request took too long"), now),
            State::Body(_) => self.refuse(&Reply::error(408, "the body of the request took too long"), now),
            State::Served(_) | State::Flushing(_) | State::Lingering => self.state = State::Closed,
            State::Closed => {}
        }
        if self.draining.is_some_and(|began| began + DRAIN <= now.mono) {
            self.state = State::Closed;
        }
    }

    /// The house is being closed: what is under way ends, and nothing follows it.
    pub(in super::super) fn drain(&mut self, now: Duration) {
        self.draining = Some(now);
        match &mut self.state {
            State::Head if self.inbox.is_empty() && self.is_kept => self.state = State::Closed,
            State::Flushing(after) if *after == After::Next => *after = After::Close,
            _ => {}
        }
    }

    /// How much it is worth, and since when.
    pub(in super::super) fn standing(&self) -> (Standing, Duration) {
        match &self.state {
            State::Lingering | State::Closed => (Standing::Leaving, self.since),
            State::Head => (Standing::Incomplete, self.since),
            State::Body(_) => (Standing::Sending, self.since),
            State::Flushing(_) => (Standing::Reading, self.progress),
            State::Served(_) => (Standing::Served, self.since),
        }
    }

    /// The memory of a body that is not whole yet, and whether it stalled.
    pub(in super::super) fn holding(&self, now: Duration) -> Option<(u64, bool)> {
        match &self.state {
            State::Body(receiving) => Some((receiving.portion.bytes(), receiving.last + STALLED <= now)),
            _ => None,
        }
    }
}
