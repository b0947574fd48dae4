//! Messages on their way: what is sent when, what is tried again, what is put together, what is given up.
//!
//! Each channel is a queue of its own: in order, one message at a time, the next one only when it is on disk that the one
//! before was taken. Time is a value, and what must be remembered comes out as [`Entry`]s. Line: nothing here sends.

use super::message::Body;
use super::redact::Redactor;
use super::{cut, wording};
use crate::base::{Moment, WallTime};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// So many messages wait for a channel at most: beyond it the oldest that is not critical is dropped, and counted.
pub const WAITING_MAX: usize = 100;
/// Messages that waited longer than this are put together ...
pub const OLD: Duration = Duration::from_secs(3600);
/// ... when there are at least so many of them.
pub const MANY: usize = 5;
/// A message that its peer answers with an error of its own (5xx) so often is given up: it would hold up all others.
pub const REFUSALS_MAX: u32 = 50;
/// ... and one that is refused so often: whoever refuses once may be a proxy that is being started.
pub const TRIES_MAX: u32 = 5;

/// The longest reason that is told and kept.
const REASON: usize = 300;

const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(15 * 60);
/// Nobody is left alone for longer, whatever it says.
const LONGEST_WISH: Duration = Duration::from_secs(24 * 3600);

/// A message that is to be sent, as it is written down.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    /// Its number; a channel's messages are sent in this order.
    pub seq: u64,
    /// To whom, by the channel's name.
    pub channel: String,
    /// When it was written.
    pub at: WallTime,
    /// What is said: a [`Body`].
    pub body: String,
}

/// What became of a channel's messages.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Counts {
    /// The highest number a message of it had.
    pub last_seq: u64,
    /// How many its peer took.
    pub sent: u64,
    /// How many will never be sent.
    pub dropped: u64,
    /// When its peer last took one.
    pub last_sent: Option<WallTime>,
}

/// What must be remembered.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Fact {
    /// A message is to be sent. One whose number is known changes nothing.
    Put(Outgoing),
    /// Its peer took it.
    Sent { channel: String, seq: u64, at: WallTime },
    /// Messages that will not be sent: refused by their peer, or more than are kept.
    Dropped { channel: String, seqs: Vec<u64> },
    /// One message stands for several from now on, with the number of the last of them.
    Summarised { seqs: Vec<u64>, by: Outgoing },
    /// A channel is configured no longer: what waits for it is forgotten, and what was counted.
    ChannelGone { channel: String },
}

/// What became of a try.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The peer took it.
    Delivered,
    /// Not now.
    Later {
        /// The peer said how long.
        after: Option<Duration>,
        /// For people.
        why: String,
        /// The peer was reached and could not do with it.
        answered: bool,
    },
    /// The peer, or somebody before it, says that we may not, or that there is no such address. That may pass.
    Refused {
        /// For people.
        why: String,
    },
    /// It never will: the peer refuses it, or it cannot even be asked.
    Never {
        /// For people.
        why: String,
    },
}

impl Outcome {
    /// The same with a reason that can be shown: one short line without secrets.
    pub fn cleaned(self, redactor: &Redactor) -> Outcome {
        let clean = |why: String| cut::line(&redactor.clean(&cut::readable(&why)), REASON);
        match self {
            Outcome::Delivered => Outcome::Delivered,
            Outcome::Later { after, why, answered } => Outcome::Later { after, why: clean(why), answered },
            Outcome::Refused { why } => Outcome::Refused { why: clean(why) },
            Outcome::Never { why } => Outcome::Never { why: clean(why) },
        }
    }
}

/// A message to be sent now.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Sending {
    pub channel: String,
    pub seq: u64,
    /// The same for each try of it.
    pub id: String,
    pub body: Body,
}

/// All channels' queues.
#[derive(Debug, Clone, Default)]
pub struct Outbox {
    queues: BTreeMap<String, Queue>,
    made: u64,
}

/// One channel's.
#[derive(Debug, Clone, Default)]
struct Queue {
    items: VecDeque<Item>,
    flight: Flight,
    /// Nothing is sent before, on the monotonic clock.
    not_before: Option<Duration>,
    /// The peer asked for it: the return of the network changes nothing.
    peer_wants_peace: bool,
    failures: u32,
    /// How often the first message's peer could not do with it ...
    refusals: u32,
    /// ... and how often it would not.
    denials: u32,
    counts: Counts,
    trouble: Option<String>,
}

#[derive(Debug, Clone)]
struct Item {
    seq: u64,
    at: WallTime,
    body: Body,
    /// It is on disk, or could not be brought there.
    written: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Flight {
    #[default]
    None,
    /// The hands are at it.
    Sending(u64),
    /// What became of it is being written down.
    Noting,
}

/// A channel's state, for people.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Sight {
    pub waiting: usize,
    pub counts: Counts,
    /// Why the last try was in vain.
    pub trouble: Option<String>,
    /// When it is tried again, on the monotonic clock.
    pub next: Option<Duration>,
}

impl Outbox {
    /// As an earlier daemon left it. Rows that cannot be understood are given up: their entries come back.
    pub fn remembered(rows: Vec<Outgoing>, counts: BTreeMap<String, Counts>) -> (Outbox, Vec<Fact>) {
        let mut outbox = Outbox::default();
        let mut entries = vec![];
        outbox.made =
            counts.values().map(|counts| counts.last_seq).chain(rows.iter().map(|row| row.seq)).max().unwrap_or(0);
        for (channel, counts) in counts {
            outbox.queues.entry(channel).or_default().counts = counts;
        }
        for Outgoing { seq, channel, at, body } in rows {
            let queue = outbox.queues.entry(channel.clone()).or_default();
            match Body::parse(&body) {
                Some(body) => queue.items.push_back(Item { seq, at, body, written: true }),
                None => {
                    queue.counts.dropped += 1;
                    entries.push(Fact::Dropped { channel, seqs: vec![seq] });
                }
            }
        }
        (outbox, entries)
    }

    /// Puts a message in. It is sent once [`Outbox::written`] says that its entry is on disk.
    pub fn put(&mut self, channel: &str, now: Moment, body: Body) -> Vec<Fact> {
        self.made += 1;
        let seq = self.made;
        let outgoing = Outgoing { seq, channel: channel.into(), at: now.wall, body: body.to_text() };
        let queue = self.queues.entry(channel.into()).or_default();
        queue.items.push_back(Item { seq, at: now.wall, body, written: false });
        queue.counts.last_seq = seq;
        let surplus = queue.drop_surplus();
        let dropped = (!surplus.is_empty()).then(|| Fact::Dropped { channel: channel.into(), seqs: surplus });
        [Some(Fact::Put(outgoing)), dropped].into_iter().flatten().collect()
    }

    /// These entries are on disk, or were told to somebody who keeps trying.
    pub fn written(&mut self, entries: &[Fact]) {
        for entry in entries {
            let (Fact::Put(outgoing) | Fact::Summarised { by: outgoing, .. }) = entry else { continue };
            let queue = self.queues.get_mut(&outgoing.channel);
            let item = queue.and_then(|queue| queue.items.iter_mut().find(|item| item.seq == outgoing.seq));
            item.into_iter().for_each(|item| item.written = true);
        }
    }

    /// What waited long is put together: entries that [`Outbox::written`] is to hear of.
    pub fn summarise(&mut self, now: Moment) -> Vec<Fact> {
        let mut entries = vec![];
        for (channel, queue) in &mut self.queues {
            if let Some((seqs, body)) = queue.summarise(now)
                && let Some(seq) = seqs.last().copied()
            {
                // In the place of the last one, and with its number: the order stays.
                let by = Outgoing { seq, channel: channel.clone(), at: now.wall, body: body.to_text() };
                let place = queue.items.iter().position(|item| item.seq > seq).unwrap_or(queue.items.len());
                queue.items.insert(place, Item { seq, at: now.wall, body, written: false });
                entries.push(Fact::Summarised { seqs, by });
            }
        }
        entries
    }

    /// What is to be sent now; each is answered by [`Outbox::answered`].
    pub fn due(&mut self, now: Moment) -> Vec<Sending> {
        let due = self.queues.iter_mut().filter(|(_, queue)| queue.due_at().is_some_and(|at| at <= now.mono));
        let due = due.filter_map(|(channel, queue)| {
            let item = queue.items.front()?;
            queue.flight = Flight::Sending(item.seq);
            let id = format!("{}-{}", item.at.0, item.seq);
            Some(Sending { channel: channel.clone(), seq: item.seq, id, body: item.body.clone() })
        });
        due.collect()
    }

    /// When something is to be sent next; `None`: nothing waits, or an answer is awaited.
    pub fn deadline(&self) -> Option<Duration> {
        self.queues.values().filter_map(Queue::due_at).min()
    }

    /// What became of a try. The entries are to be written, and then [`Outbox::noted`].
    pub fn answered(&mut self, now: Moment, channel: &str, seq: u64, outcome: Outcome) -> Vec<Fact> {
        let Some(queue) = self.queues.get_mut(channel).filter(|queue| queue.flight == Flight::Sending(seq)) else {
            return vec![];
        };
        queue.flight = Flight::None;
        let refused = match outcome {
            Outcome::Delivered => {
                queue.take(seq, Flight::Noting);
                (queue.trouble, queue.failures, queue.peer_wants_peace) = (None, 0, false);
                queue.counts.sent += 1;
                queue.counts.last_sent = Some(now.wall);
                return vec![Fact::Sent { channel: channel.into(), seq, at: now.wall }];
            }
            Outcome::Later { after, why, answered } => {
                queue.refusals += u32::from(answered);
                queue.failed(now, seq, after, why);
                queue.refusals >= REFUSALS_MAX
            }
            Outcome::Refused { why } => {
                queue.denials += 1;
                queue.failed(now, seq, None, why);
                queue.denials >= TRIES_MAX
            }
            Outcome::Never { why } => {
                queue.trouble = Some(why);
                true
            }
        };
        if !refused {
            return vec![];
        }
        queue.take(seq, Flight::Noting);
        queue.counts.dropped += 1;
        vec![Fact::Dropped { channel: channel.into(), seqs: vec![seq] }]
    }

    /// What became of a channel's last message is on disk, or will be.
    pub fn noted(&mut self, channel: &str) {
        if let Some(queue) = self.queues.get_mut(channel).filter(|queue| queue.flight == Flight::Noting) {
            queue.flight = Flight::None;
        }
    }

    /// There is a way out again, or the clock was set: whoever did not ask for peace is tried at once.
    pub fn try_at_once(&mut self) {
        for queue in self.queues.values_mut().filter(|queue| !queue.peer_wants_peace) {
            (queue.not_before, queue.failures) = (None, 0);
        }
    }

    /// Forgets channels that are not meant any more.
    pub fn keep_only(&mut self, is_meant: impl Fn(&str) -> bool) -> Vec<Fact> {
        let gone: Vec<String> = self.queues.keys().filter(|channel| !is_meant(channel)).cloned().collect();
        self.queues.retain(|channel, _| !gone.contains(channel));
        gone.into_iter().map(|channel| Fact::ChannelGone { channel }).collect()
    }

    /// How often a channel has failed in a row.
    pub fn failures(&self, channel: &str) -> u32 {
        self.queues.get(channel).map_or(0, |queue| queue.failures)
    }

    /// A channel as people see it.
    pub fn sight(&self, channel: &str) -> Sight {
        let queue = self.queues.get(channel).cloned().unwrap_or_default();
        let next = queue.not_before.filter(|_| !queue.items.is_empty());
        Sight { waiting: queue.items.len(), counts: queue.counts, trouble: queue.trouble, next }
    }

    /// Whether an answer is awaited.
    pub fn is_sending(&self) -> bool {
        self.queues.values().any(|queue| matches!(queue.flight, Flight::Sending(_)))
    }

    /// Whether nothing waits to be sent.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.queues.values().all(|queue| queue.items.is_empty() && queue.flight == Flight::None)
    }
}

impl Queue {
    /// When its first message may be sent.
    fn due_at(&self) -> Option<Duration> {
        let ready = self.flight == Flight::None && self.items.front().is_some_and(|item| item.written);
        ready.then(|| self.not_before.unwrap_or_default())
    }

    /// A try was in vain; the next one is after a pause.
    fn failed(&mut self, now: Moment, seq: u64, after: Option<Duration>, why: String) {
        self.trouble = Some(why);
        let pause = after.unwrap_or_default().min(LONGEST_WISH).max(pause(self.failures, seq));
        self.failures += 1;
        self.not_before = Some(now.mono + pause);
        self.peer_wants_peace = after.is_some();
    }

    fn take(&mut self, seq: u64, flight: Flight) {
        self.items.retain(|item| item.seq != seq);
        self.flight = flight;
        (self.refusals, self.denials) = (0, 0);
    }

    fn is_in_flight(&self, item: &Item) -> bool {
        self.flight == Flight::Sending(item.seq)
    }

    /// What is too much goes: the oldest first, a critical one only when there is nothing else.
    fn drop_surplus(&mut self) -> Vec<u64> {
        let mut gone = vec![];
        while self.items.len() > WAITING_MAX {
            let free = |item: &Item| item.written && !self.is_in_flight(item);
            let oldest = self.items.iter().position(|item| free(item) && !item.body.is_critical());
            let Some(at) = oldest.or_else(|| self.items.iter().position(free)) else { break };
            gone.extend(self.items.remove(at).map(|item| item.seq));
        }
        self.counts.dropped += gone.len() as u64;
        gone
    }

    /// Old messages for people that become one: their numbers, and what is said instead.
    fn summarise(&mut self, now: Moment) -> Option<(Vec<u64>, Body)> {
        let is_old = |item: &&Item| {
            let Body::Message(message) = &item.body else { return false };
            let is_plain = !item.body.is_critical() && message.event != "summary";
            item.written && is_plain && !self.is_in_flight(item) && now.wall.since(item.at) >= OLD
        };
        let due = self.due_at().is_some_and(|at| at <= now.mono);
        let old: Vec<&Item> = self.items.iter().filter(|_| due).filter(is_old).collect();
        let first = old.first().filter(|_| old.len() >= MANY)?.at;
        let titles = old.iter().filter_map(|item| match &item.body {
            Body::Message(message) => Some(message.title.clone()),
            Body::Status(_) => None,
        });
        let message = wording::summary(&titles.collect::<Vec<_>>(), first, now.wall);
        let seqs: Vec<u64> = old.iter().map(|item| item.seq).collect();
        self.items.retain(|item| !seqs.contains(&item.seq));
        Some((seqs, Body::Message(message)))
    }
}

/// The pause after a failure: doubled each time, spread by a quarter so that hosts do not call together.
fn pause(failures: u32, seed: u64) -> Duration {
    let plain = FIRST_PAUSE.saturating_mul(1 << failures.min(16)).min(LONGEST_PAUSE);
    let quarter = plain.as_millis() as u64 / 4;
    let mixed = (seed ^ u64::from(failures)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    plain - Duration::from_millis(mixed.wrapping_mul(0xbf58_476d_1ce4_e5b9) % (quarter + 1))
}

#[cfg(test)]
#[path = "outbox/tests.rs"]
mod tests;
