//! Tells the daemon what came and needed nothing, for `pintle deliveries`: after the answer, at leisure, never at the
//! sender's cost.
//!
//! One thread sends what lies in a short queue; what does not fit is not worth more memory. Requests that were refused
//! are counted where they are alike, so that a stranger who knocks a million times is one line. Line: nothing here is
//! needed for a deploy, and nothing waits for it.

use super::daemon::Daemon;
use crate::control::{Delivery, Refused, Request, Trigger};
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// Notes that wait at most; a genuine sender brings a few a minute.
const QUEUE: usize = 256;

/// Between two batches: a flood costs the daemon's disk one write a second.
const PAUSE: Duration = Duration::from_secs(1);

/// How long the daemon may take; later nobody cares.
const PATIENCE: Duration = Duration::from_secs(8);

/// Where notes are left.
#[derive(Debug)]
pub(super) struct Notes {
    queue: SyncSender<Delivery>,
}

impl Notes {
    /// Starts the thread that tells `daemon`.
    pub(super) fn start(daemon: Daemon) -> io::Result<Notes> {
        let (queue, waiting) = sync_channel(QUEUE);
        let thread = thread::Builder::new().name("notes".into()).stack_size(128 << 10);
        thread.spawn(move || tell(&daemon, &waiting))?;
        Ok(Notes { queue })
    }

    /// A genuine delivery that wants nothing; `delivery.ignored` says why.
    pub(super) fn ignored(&self, delivery: Delivery) {
        // A full queue is a flood: the next one tells as much.
        let _ = self.queue.try_send(delivery);
    }

    /// A request that was answered with a refusal. Of the request itself nothing is kept.
    pub(super) fn refused(&self, trigger: Trigger, why: &str, from: String) {
        let refused = Refused { why: why.to_owned(), from, times: 1 };
        let _ = self.queue.try_send(Delivery { refused: Some(refused), ..Delivery::new(None, trigger, "") });
    }
}

fn tell(daemon: &Daemon, waiting: &Receiver<Delivery>) {
    while let Ok(first) = waiting.recv() {
        let batch = together(std::iter::once(first).chain(waiting.try_iter()));
        for note in batch {
            if let Err(error) = daemon.ask(&Request::Deliver(note), PATIENCE) {
                log::debug!("a note for `pintle deliveries` is lost: {error}");
            }
        }
        thread::sleep(PAUSE);
    }
}

/// Refused requests that are alike become one.
fn together(notes: impl Iterator<Item = Delivery>) -> Vec<Delivery> {
    let mut batch: Vec<Delivery> = vec![];
    for note in notes {
        let alike = |other: &&mut Delivery| match (&other.refused, &note.refused) {
            (Some(one), Some(two)) => one.why == two.why && one.from == two.from && other.trigger == note.trigger,
            _ => false,
        };
        match batch.iter_mut().find(alike).and_then(|other| other.refused.as_mut()) {
            Some(counted) => counted.times = counted.times.saturating_add(1),
            None => batch.push(note),
        }
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(why: &str, from: &str) -> Delivery {
        let refused = Some(Refused { why: why.into(), from: from.into(), times: 1 });
        Delivery { refused, ..Delivery::new(None, Trigger::Webhook, "") }
    }

    fn ignored(why: &str) -> Delivery {
        Delivery { ignored: Some(why.into()), refused: None, ..refused("", "") }
    }

    #[test]
    fn a_stranger_who_knocks_often_is_one_line_and_the_genuine_are_all_kept() {
        let notes = [
            refused("bad signature", "203.0.113.7"),
            ignored("ping"),
            refused("bad signature", "203.0.113.7"),
            refused("bad signature", "203.0.113.8"),
            ignored("ping"),
            refused("no such app", "203.0.113.7"),
        ];
        let batch = together(notes.into_iter());
        let times: Vec<_> = batch.iter().map(|note| note.refused.as_ref().map_or(0, |refused| refused.times)).collect();
        assert_eq!(times, [2, 0, 1, 0, 1]);
    }

    #[test]
    fn a_full_queue_is_no_reason_to_wait() {
        let (queue, _waiting) = sync_channel(1);
        let notes = Notes { queue };
        for _ in 0..10 {
            notes.ignored(ignored("ping"));
            notes.refused(Trigger::Deploy, "no", "::".into());
        }
    }
}
