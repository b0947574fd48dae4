//! Those who are told what happened: they take messages, are away, answer and are not heard - and what must never be
//! untrue of what they hear: in order, nothing lost, nothing twice that was known to have arrived.

use super::Simulation;
use crate::base::DeployId;
use crate::config::{Channel, Occasion, Secret, Way};
use crate::control::DeployStatus;
use crate::daemon::event::Event;
use crate::notify::incidents;
use crate::notify::outbox::{Fact, Sending};
use crate::notify::{Body, Gravity, Outcome};
use crate::store::{self, Entry};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Hears of everything.
const ALL: &str = "all";
/// Hears of what is grave.
const GRAVE: &str = "grave";

/// The peers, and what was written down for them.
#[derive(Debug, Default)]
pub(super) struct Peers {
    /// The numbers that each channel's peer took, in its order.
    taken: BTreeMap<String, Vec<u64>>,
    /// What was put into the outbox, by number, while no word of its end is on disk.
    open: BTreeMap<u64, (String, Body)>,
    /// Numbers that are known to have arrived, or to be given up.
    closed: BTreeSet<u64>,
    /// Messages about deployments that were put, by channel.
    told: BTreeMap<(String, DeployId), u32>,
    /// What people were told to be wrong.
    incidents: BTreeMap<String, Gravity>,
    /// The daemon did not end: its successor is to say so.
    pub(super) crashed: bool,
}

pub(super) fn channels() -> BTreeMap<String, Channel> {
    let channel = |name: &str, on: &[Occasion]| {
        let way = Some(Way::Slack { url: Secret(b"https://hooks.example/T/s3cr3t".to_vec()) });
        let on = on.iter().copied().collect();
        (name.to_owned(), Channel { name: name.into(), kind: "slack", on, way, ca: None })
    };
    use Occasion::{Critical, Failure, Health, Recovery, Rollback, Success};
    let all = [Success, Failure, Rollback, Critical, Health, Recovery];
    [channel(ALL, &all), channel(GRAVE, &[Rollback, Critical])].into()
}

impl Simulation {
    /// A peer is asked to take a message.
    pub(super) fn peer_is_told(&mut self, sending: Sending) {
        let Sending { channel, seq, .. } = sending;
        let written = self.peers.open.contains_key(&seq) || self.journal.full || self.journal.has_backlog();
        self.promise(written || !self.journal.is_idle(), || format!("message {seq} is on disk before it is sent"));
        let known = self.peers.closed.contains(&seq);
        self.promise(!known, || format!("message {seq} is not sent again once it is on disk that it arrived"));
        let last = self.peers.taken.get(&channel).and_then(|taken| taken.last().copied());
        self.promise(last.is_none_or(|last| last <= seq), || {
            format!("{channel} hears of things in order, but of {seq} after {last:?}")
        });
        let luck = if self.calm { 100 } else { self.random.below(100) };
        let outcome = match luck {
            0..15 => Outcome::Later { after: None, why: "no route to host".into(), answered: false },
            15..20 => Outcome::Later { after: Some(Duration::from_secs(90)), why: "HTTP 429".into(), answered: false },
            20..25 => Outcome::Later { after: None, why: "HTTP 500".into(), answered: true },
            25..27 => Outcome::Never { why: "HTTP 400".into() },
            _ => Outcome::Delivered,
        };
        if outcome == Outcome::Delivered {
            self.peers.taken.entry(channel.clone()).or_default().push(seq);
        }
        let wait = self.random.skewed(Duration::from_secs(30));
        self.hear_in(wait, Event::Sent { channel, seq, outcome });
    }

    /// A crash: what a peer took and nobody wrote down comes once more. On a disk that takes what it is given that is one
    /// message of each channel at most.
    pub(super) fn forget_what_nobody_knows_to_have_arrived(&mut self) {
        let writes = !self.journal.full && !self.journal.has_backlog() && self.journal.is_idle();
        let closed = &self.peers.closed;
        let mut worst = 0;
        for taken in self.peers.taken.values_mut() {
            let before = taken.len();
            taken.retain(|seq| closed.contains(seq));
            worst = worst.max(before - taken.len());
        }
        self.promise(!writes || worst <= 1, || format!("one message at most comes twice, not {worst}"));
    }

    /// What is on disk now.
    pub(super) fn learn_the_post(&mut self, written: &[Entry]) {
        for entry in written {
            match entry {
                Entry::Post(fact) => self.learn_of_a_message(fact),
                Entry::Incident(fact) => self.learn_of_an_incident(fact),
                _ => {}
            }
        }
    }

    fn learn_of_a_message(&mut self, fact: &Fact) {
        match fact {
            Fact::Put(outgoing) => {
                let body = Body::parse(&outgoing.body);
                self.promise(!outgoing.body.contains("s3cr3t"), || "no address is in a message".into());
                let Some(body) = body else {
                    return self.promises_broken(|| format!("what is put can be read: {}", outgoing.body));
                };
                if let Body::Message(message) = &body
                    && let Some((_, number)) = message.facts.iter().find(|(name, _)| name == "deployment")
                {
                    let number = DeployId(number.parse().unwrap_or_default());
                    *self.peers.told.entry((outgoing.channel.clone(), number)).or_default() += 1;
                }
                self.peers.open.insert(outgoing.seq, (outgoing.channel.clone(), body));
            }
            Fact::Sent { channel, seq, .. } => {
                let arrived = self.peers.taken.get(channel).is_some_and(|taken| taken.contains(seq));
                self.promise(arrived, || format!("{seq} is said to have arrived at {channel}, which is not true"));
                self.close_message(*seq);
            }
            Fact::Dropped { seqs, .. } => seqs.iter().for_each(|seq| self.close_message(*seq)),
            Fact::Summarised { seqs, by } => {
                seqs.iter().for_each(|seq| self.close_message(*seq));
                // It has the number of one that it stands for.
                self.peers.closed.remove(&by.seq);
                let body = Body::parse(&by.body);
                self.peers.open.extend(body.map(|body| (by.seq, (by.channel.clone(), body))));
            }
            Fact::ChannelGone { .. } => {}
        }
    }

    fn close_message(&mut self, seq: u64) {
        self.peers.open.remove(&seq);
        self.peers.closed.insert(seq);
    }

    /// The same trouble is not told twice, whoever is the daemon by then.
    fn learn_of_an_incident(&mut self, fact: &incidents::Fact) {
        match fact {
            incidents::Fact::Opened(open) => {
                let before = self.peers.incidents.insert(open.subject.clone(), open.gravity);
                // What eases and gets as grave again meanwhile are values of the board; only of those it is said.
                let may_ease = open.app.is_none() && open.gravity == Gravity::Critical;
                let is_news = |before: Gravity| before < open.gravity || may_ease && before == open.gravity;
                self.promise(before.is_none_or(is_news), || {
                    format!("{} is told once, and again only when it is graver, or as grave again", open.subject)
                });
            }
            incidents::Fact::Closed { subject } => {
                let known = self.peers.incidents.remove(subject).is_some();
                self.promise(known, || format!("{subject} is told to be well, and nobody heard that it was not"));
            }
        }
    }

    /// Everything that was to be told was taken, or is known to have been given up; and every deployment that people
    /// should hear of was told once.
    pub(super) fn check_everybody_was_told(&mut self) {
        let left: Vec<u64> = self.peers.open.keys().copied().collect();
        self.promise(left.is_empty(), || format!("messages {left:?} lie in the outbox although all is quiet"));
        let mut wrong = vec![];
        for (number, row) in &self.promises.rows {
            use DeployStatus::{Failed, RollbackFailed, RolledBack, Success};
            let began = row.phase.is_some();
            let all = match row.status {
                Failed | RolledBack | RollbackFailed => true,
                Success => began,
                _ => false,
            };
            let grave = matches!(row.status, RolledBack | RollbackFailed)
                || row.status == Success && began && row.kind == store::Kind::Rollback;
            for (channel, wanted) in [(ALL, all), (GRAVE, grave)] {
                let told = self.peers.told.get(&(channel.to_owned(), *number)).copied().unwrap_or(0);
                if told != u32::from(wanted) {
                    wrong.push(format!("{number} ({}), told {told} times to {channel}", row.status));
                }
            }
        }
        self.promise(wrong.is_empty(), || format!("every end is told once to whoever wants to hear it: {wrong:?}"));
    }
}
