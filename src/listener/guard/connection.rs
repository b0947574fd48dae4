//! One public connection: from its first byte through request after request to its end.
//!
//! ```text
//!          ┌───────────────────────── kept alive ──────────────────────────┐
//!          ▼                                                               │
//!  Head ──▶ Body ──▶ Served (the routes answer) ──▶ Flushing (they did) ────┤
//!    └────────┴─ refused: Flushing ────────────────────────┬──▶ Lingering ──▶ Closed
//! ```
//!
//! A machine: bytes and moments in; out come bytes to be written, what to poll for, the next deadline, and each request
//! when it is whole. One request is answered after the other; what a client sends meanwhile is not read. Line: nothing
//! here reads a socket or a clock, and what a request means the routes know.

use super::admission::{self, Buckets, Client, Peer, Standing};
use super::answer::{self, Facts, Garbled, Relay};
use super::body::Decoder;
use super::head::{self, Framing, Head, Refused, Scan};
use super::limits::{
    BLANKS, BODY_BYTES_PER_SECOND, DRAIN, DRAIN_SILENT, FAILED_SIGNATURE, IDLE, LINGER, Limits, OUTPUT, STALLED, WRITE,
};
use super::tickets::{Budget, Portion, Whole};
use super::{Admission, Counts, Entrance};
use crate::base::Moment;
use crate::listener::ask::{Ask, Reply};
use std::time::Duration;

mod patience;

/// What a connection needs to know of the house.
pub(super) struct House<'a> {
    pub(super) limits: &'a Limits,
    pub(super) entrance: &'a dyn Entrance,
    pub(super) buckets: &'a mut Buckets,
    pub(super) budget: &'a Budget,
    pub(super) now: Moment,
}

/// See above.
#[derive(Debug)]
pub(super) struct Connection {
    peer: Peer,
    state: State,
    /// When it came into this state; of a head, when its first byte came.
    since: Duration,
    /// Received and not yet read.
    inbox: Vec<u8>,
    scan: Scan,
    /// Empty lines that came where a head is to begin.
    blanks: usize,
    /// Whether a request was answered before.
    is_kept: bool,
    /// The client sends nothing more.
    input_ended: bool,
    /// To be written, from `written` on.
    out: Vec<u8>,
    written: usize,
    /// When the client last took a byte.
    progress: Duration,
    /// Since when the house is being closed.
    draining: Option<Duration>,
}

#[derive(Debug)]
enum State {
    Head,
    Body(Box<Receiving>),
    Served(Serving),
    /// Everything is in `out`.
    Flushing(After),
    Lingering,
    Closed,
}

/// What follows when everything is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Next,
    Linger,
    Close,
}

#[derive(Debug)]
struct Receiving {
    head: Head,
    client: Client,
    counts: Counts,
    most: u64,
    decoder: Decoder,
    body: Vec<u8>,
    portion: Portion,
    last: Duration,
}

#[derive(Debug)]
struct Serving {
    facts: Facts,
    relay: Relay,
    client: Client,
    counts: Counts,
}

impl Connection {
    pub(super) fn new(peer: Peer, now: Duration) -> Connection {
        Connection {
            peer,
            state: State::Head,
            since: now,
            inbox: Vec::new(),
            scan: Scan::default(),
            blanks: 0,
            is_kept: false,
            input_ended: false,
            out: Vec::new(),
            written: 0,
            progress: now,
            draining: None,
        }
    }

    /// What the client sent. Gives its request when that is whole.
    pub(super) fn receive(&mut self, bytes: &[u8], house: &mut House<'_>) -> Option<Whole> {
        if matches!(self.state, State::Lingering) {
            return None;
        }
        if self.is_silent() && self.is_kept {
            self.since = house.now.mono;
        }
        self.inbox.extend_from_slice(bytes);
        self.proceed(house)
    }

    /// The client sends nothing more; it may still read.
    pub(super) fn receive_end(&mut self, house: &House<'_>) {
        self.input_ended = true;
        match self.state {
            State::Head if self.inbox.is_empty() => self.state = State::Closed,
            State::Head | State::Body(_) => self.refuse(&Reply::error(400, "the request ended early"), house.now),
            State::Lingering => self.state = State::Closed,
            State::Served(_) | State::Flushing(_) | State::Closed => {}
        }
    }

    fn proceed(&mut self, house: &mut House<'_>) -> Option<Whole> {
        if matches!(self.state, State::Head) {
            let blank = head::blank(&self.inbox);
            if !blank.is_empty() {
                self.blanks += blank.len();
                self.inbox.drain(blank);
                // It may have looked at the first half of an empty line.
                self.scan = Scan::default();
            }
            if self.blanks > BLANKS {
                let why = "empty lines where a request should be";
                self.turn_away(Refused { status: 400, why }, house.now);
                return None;
            }
            match self.scan.end(&self.inbox) {
                Ok(None) => return None,
                Ok(Some(end)) => self.begin(end, house),
                Err(refused) => self.turn_away(refused, house.now),
            }
        }
        self.read_body(house)
    }

    /// The head is there: everything that can be said without the body is said now.
    fn begin(&mut self, end: usize, house: &mut House<'_>) {
        let read = Head::read(self.inbox.get(..end).unwrap_or_default());
        self.inbox.drain(..end);
        self.blanks = 0;
        let head = match read {
            Ok(head) => head,
            Err(refused) => return self.turn_away(refused, house.now),
        };
        match self.admit(&head, house) {
            Ok((admission, client)) => self.await_body(head, admission, client, house),
            // Whoever is refused before the body has to be left: the body may come all the same.
            Err(reply) => {
                let keep_alive = head.keep_alive && head.framing == Framing::Length(0);
                self.reply(&reply, self.facts(&head, keep_alive), house.now);
            }
        }
    }

    fn admit(&mut self, head: &Head, house: &mut House<'_>) -> Result<(Admission, Client), Reply> {
        let admission = house.entrance.admit(head.method, head.path(), head.header("Content-Type"))?;
        if matches!(head.framing, Framing::Length(length) if length > admission.max_body) {
            return Err(too_large(admission.max_body));
        }
        let client = Client::of(admission::client(self.peer, &head.headers, house.limits));
        let room = match admission.counts {
            Counts::Always => house.buckets.take(client, house.now.mono),
            // A page is for everybody; only who shows a token may be guessing.
            Counts::WhenRefused if head.header("Authorization").is_some() => house.buckets.look(client, house.now.mono),
            Counts::WhenRefused | Counts::Never => Ok(()),
        };
        if let Err(wait) = room {
            let seconds = wait.as_secs_f64().ceil().max(1.0);
            let reply = Reply::error(429, "too many requests from this address: try again later");
            return Err(reply.with("Retry-After", &seconds.to_string()));
        }
        Ok((admission, client))
    }

    fn await_body(&mut self, head: Head, admission: Admission, client: Client, house: &House<'_>) {
        let decoder = Decoder::of(head.framing);
        if head.expects_continue && !decoder.is_done() && self.inbox.is_empty() {
            self.out.extend_from_slice(answer::CONTINUE);
        }
        let (counts, most, now) = (admission.counts, admission.max_body, house.now.mono);
        let (body, portion) = (Vec::new(), house.budget.portion());
        self.enter(
            State::Body(Box::new(Receiving { head, client, counts, most, decoder, body, portion, last: now })),
            now,
        );
    }

    fn read_body(&mut self, house: &House<'_>) -> Option<Whole> {
        let State::Body(receiving) = &mut self.state else { return None };
        let mut used = 0;
        let mut outcome = Ok(());
        while !receiving.decoder.is_done() && used < self.inbox.len() && outcome.is_ok() {
            let rest = self.inbox.get(used..).unwrap_or_default();
            match receiving.decoder.step(rest) {
                Ok(step) => {
                    used += step.used;
                    outcome = receiving.keep(step.body, house.now.mono);
                    // A chunk that is too large is refused by its announcement, as a length is.
                    if receiving.decoder.at_least() > receiving.most {
                        outcome = Err(too_large(receiving.most));
                    }
                }
                Err(_) => outcome = Err(Reply::error(400, "the body's chunks cannot be read")),
            }
        }
        let is_done = receiving.decoder.is_done();
        self.inbox.drain(..used.min(self.inbox.len()));
        if self.inbox.is_empty() {
            self.inbox = Vec::new();
        }
        match outcome {
            Err(reply) => {
                self.refuse(&reply, house.now);
                None
            }
            Ok(()) if is_done => self.whole(house.now),
            Ok(()) => None,
        }
    }

    fn whole(&mut self, now: Moment) -> Option<Whole> {
        let State::Body(receiving) = std::mem::replace(&mut self.state, State::Closed) else { return None };
        let Receiving { head, client, counts, body, portion, .. } = *receiving;
        let facts = self.facts(&head, head.keep_alive);
        self.enter(State::Served(Serving { facts, relay: Relay::new(facts), client, counts }), now.mono);
        let Some((path, query)) = Ask::split_target(&head.target) else {
            // A head's target begins with '/'.
            self.refuse(&Reply::error(400, "the request target is not a path"), now);
            return None;
        };
        let peer = match self.peer {
            Peer::Unix => None,
            Peer::Tcp(address) => Some(address),
        };
        let is_forwarded = admission::is_forwarded(&head.headers);
        let method = head.method.to_owned();
        let ask = Ask { method, path, query, headers: head.headers, body, peer, is_forwarded };
        Some(Whole { ask, portion })
    }

    /// What tiny_http answers. Says whether the answer is over, and its connection there free for another.
    pub(super) fn relay(&mut self, bytes: &[u8], house: &mut House<'_>) -> Result<bool, Garbled> {
        let State::Served(serving) = &mut self.state else { return Err(Garbled) };
        if self.out.is_empty() {
            self.progress = house.now.mono;
        }
        if serving.relay.feed(bytes, &mut self.out)? == Some(401) {
            let fine = match serving.counts {
                // One was taken when it came.
                Counts::Always => FAILED_SIGNATURE - 1,
                Counts::WhenRefused => FAILED_SIGNATURE,
                Counts::Never => 0,
            };
            house.buckets.fine(serving.client, fine, house.now.mono);
        }
        let (is_done, keeps_alive) = (serving.relay.is_done(), serving.relay.keeps_alive());
        if is_done {
            self.flush_then(self.after(keeps_alive), house.now.mono);
        }
        Ok(is_done)
    }

    /// The answer broke off: what was not begun can still be said, what was begun only ended.
    pub(super) fn relay_broke(&mut self, now: Moment) {
        match &self.state {
            State::Served(serving) if !serving.relay.has_begun() => {
                let facts = Facts { keep_alive: false, ..serving.facts };
                self.reply(&Reply::later("the request could not be answered: try again"), facts, now);
            }
            State::Served(_) => self.flush_then(After::Close, now.mono),
            _ => {}
        }
    }

    /// Refuses what is being read; the connection ends with it.
    pub(super) fn refuse(&mut self, reply: &Reply, now: Moment) {
        let (to_head, is_1_0) = match &self.state {
            State::Body(receiving) => (receiving.head.method == "HEAD", receiving.head.is_1_0),
            _ => (false, false),
        };
        self.reply(reply, Facts { to_head, is_1_0, keep_alive: false }, now);
    }

    fn turn_away(&mut self, refused: Refused, now: Moment) {
        self.refuse(&Reply::error(refused.status, refused.why), now);
    }

    fn reply(&mut self, reply: &Reply, facts: Facts, now: Moment) {
        log::debug!("{:?} is answered {} by the guard", self.peer, reply.status);
        if self.out.is_empty() {
            self.progress = now.mono;
        }
        answer::write(reply, facts, now.wall, &mut self.out);
        let after = if facts.keep_alive { self.after(true) } else { After::Linger };
        self.flush_then(after, now.mono);
    }

    fn facts(&self, head: &Head, keep_alive: bool) -> Facts {
        let keep_alive = keep_alive && self.draining.is_none() && !self.input_ended;
        Facts { to_head: head.method == "HEAD", is_1_0: head.is_1_0, keep_alive }
    }

    fn after(&self, keeps_alive: bool) -> After {
        match (keeps_alive, self.inbox.is_empty()) {
            (true, _) => After::Next,
            (false, true) => After::Close,
            (false, false) => After::Linger,
        }
    }

    fn flush_then(&mut self, after: After, now: Duration) {
        self.enter(State::Flushing(after), now);
        if self.out.is_empty() {
            self.flushed(now);
        }
    }

    fn enter(&mut self, state: State, now: Duration) {
        (self.state, self.since) = (state, now);
    }

    /// What is to be written now.
    pub(super) fn unwritten(&self) -> &[u8] {
        self.out.get(self.written..).unwrap_or_default()
    }

    /// The client took so many bytes. When that was all, the next request may be here already.
    pub(super) fn wrote(&mut self, bytes: usize, house: &mut House<'_>) -> Option<Whole> {
        self.written += bytes;
        self.progress = house.now.mono;
        if self.written < self.out.len() {
            // A client that never takes the last byte must not make us keep the first.
            if self.written >= OUTPUT {
                self.out.drain(..self.written);
                self.written = 0;
            }
            return None;
        }
        (self.out, self.written) = (Vec::new(), 0);
        match self.state {
            State::Flushing(_) => {
                self.flushed(house.now.mono);
                self.proceed(house)
            }
            _ => None,
        }
    }

    fn flushed(&mut self, now: Duration) {
        let State::Flushing(after) = self.state else { return };
        match after {
            After::Next if self.input_ended && self.inbox.is_empty() => self.state = State::Closed,
            After::Next => {
                self.is_kept = true;
                if self.inbox.is_empty() {
                    self.inbox = Vec::new();
                }
                self.enter(State::Head, now);
            }
            After::Linger if !self.input_ended => self.enter(State::Lingering, now),
            After::Linger | After::Close => self.state = State::Closed,
        }
    }

    /// Bytes of an answer that may be read on.
    pub(super) fn room(&self) -> usize {
        match self.state {
            State::Served(_) => OUTPUT.saturating_sub(self.unwritten().len()),
            _ => 0,
        }
    }

    /// Whether what the client sends is to be read now.
    pub(super) fn reads(&self) -> bool {
        !self.input_ended && matches!(self.state, State::Head | State::Body(_) | State::Lingering)
    }

    /// Whether only what still arrives is waited for: the client may be told that nothing more is written.
    pub(super) fn is_lingering(&self) -> bool {
        matches!(self.state, State::Lingering)
    }

    /// Whether it is over.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Whether nothing of a request has come yet: not an empty line either, which would buy time for nothing.
    fn is_silent(&self) -> bool {
        matches!(self.state, State::Head) && self.inbox.is_empty() && self.blanks == 0
    }

    /// Whom this connection counts for.
    pub(super) fn peer(&self) -> Peer {
        self.peer
    }
}

impl Receiving {
    fn keep(&mut self, bytes: &[u8], now: Duration) -> Result<(), Reply> {
        if bytes.is_empty() {
            return Ok(());
        }
        if (self.body.len() + bytes.len()) as u64 > self.most {
            return Err(too_large(self.most));
        }
        if self.body.capacity() - self.body.len() < bytes.len() {
            // Half as much again, but never beyond what was announced: capacity that nobody fills is nobody's.
            let announced = match &self.decoder {
                Decoder::Length(left) => usize::try_from(*left).unwrap_or(usize::MAX).saturating_add(bytes.len()),
                Decoder::Chunks(_) => usize::MAX,
            };
            let more = (self.body.len() / 2).max(bytes.len()).min(announced.max(bytes.len()));
            self.body.reserve_exact(more);
        }
        self.body.extend_from_slice(bytes);
        self.portion.grow(bytes.len() as u64);
        self.last = now;
        Ok(())
    }
}

fn too_large(most: u64) -> Reply {
    Reply::error(413, format!("the body is larger than {most} bytes"))
}

#[cfg(test)]
mod tests;
