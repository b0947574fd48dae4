//! Between a connection and tiny_http: a whole request is sent on its way, and its answer relayed.
//!
//! Line: how an answer is framed is `answer`'s matter, how connections to tiny_http are kept `backend`'s.

use super::{BACK_TAKEN, Errand, Guard, Guest, Moment, Number, READ, Sent, Whole};
use nix::poll::PollFlags;
use std::io;

impl Guard {
    /// A request became whole: it is laid on the table and sent on its way.
    pub(super) fn take_up(&mut self, slot: usize, guest: &mut Guest, whole: Option<Whole>, now: Moment) {
        let Some(whole) = whole else { return };
        let (method, path) = (whole.ask.method.clone(), whole.ask.path.clone());
        match self.tickets.issue(whole) {
            Ok(ticket) => {
                guest.errand = Some(Errand { method, path, ticket });
                if self.queue.is_empty() {
                    self.send(slot, guest, now);
                } else {
                    self.queue.push_back(slot);
                }
            }
            Err(error) => {
                log::error!("a request could not be numbered: {error}");
                guest.connection.relay_broke(now);
            }
        }
    }

    /// Sends a guest's errand; it is queued when none can be sent now.
    fn send(&mut self, slot: usize, guest: &mut Guest, now: Moment) {
        let Some(errand) = &guest.errand else { return };
        let tickets = &self.tickets;
        match self.backends.send(errand, now.mono + BACK_TAKEN, || tickets.announce(errand.ticket)) {
            Ok(Sent::On(back)) => guest.back = Some(back),
            Ok(Sent::Later) => self.queue.push_back(slot),
            Err(error) => {
                log::error!("a request could not be passed on: {error}");
                self.give_back(guest);
                guest.connection.relay_broke(now);
            }
        }
    }

    pub(super) fn send_queued(&mut self, now: Moment) {
        for _ in 0..self.queue.len() {
            let Some(slot) = self.queue.pop_front() else { return };
            let waits = |guest: &Guest| guest.errand.is_some() && guest.back.is_none();
            // A guest that left may have been followed by one who waits for nothing.
            let Some(mut guest) = self.guests.get_mut(slot).and_then(|place| place.take_if(|guest| waits(guest)))
            else {
                continue;
            };
            let before = self.queue.len();
            self.send(slot, &mut guest, now);
            let stays = self.write_wire(slot, &mut guest, now).is_ok();
            self.put(slot, guest, stays);
            if self.queue.len() > before {
                // None is free: who was first stays first.
                self.queue.rotate_right(1);
                return;
            }
        }
    }

    pub(super) fn back_ready(&mut self, slot: usize, events: PollFlags, now: Moment) {
        let Some(mut guest) = self.guests.get_mut(slot).and_then(Option::take) else { return };
        self.read_back(&mut guest, events, now);
        let stays = self.write_wire(slot, &mut guest, now).is_ok();
        self.put(slot, guest, stays);
    }

    fn read_back(&mut self, guest: &mut Guest, events: PollFlags, now: Moment) {
        let Some(mut back) = guest.back.take() else { return };
        if events.contains(PollFlags::POLLOUT) && back.flush().is_err() {
            return self.broken(guest, now);
        }
        let most = guest.connection.room().min(READ);
        if most == 0 {
            guest.back = Some(back);
            return;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let read = back.read(buffer.get_mut(..most).unwrap_or_default());
        let outcome = match read {
            Ok(0) => Err(()),
            Ok(read) => {
                let got = buffer.get(..read).unwrap_or_default();
                guest.connection.relay(got, &mut self.house(now)).map_err(drop)
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(false),
            Err(_) => Err(()),
        };
        self.buffer = buffer;
        match outcome {
            Ok(false) => guest.back = Some(back),
            Ok(true) => {
                self.answered(guest);
                self.backends.put_back(back, now.mono);
            }
            Err(()) => self.broken(guest, now),
        }
    }

    fn answered(&mut self, guest: &mut Guest) {
        if let Some(errand) = guest.errand.take()
            && self.backends.opening() == Some(errand.ticket)
        {
            self.backends.opened();
        }
    }

    fn broken(&mut self, guest: &mut Guest, now: Moment) {
        self.backends.gone();
        self.give_back(guest);
        guest.connection.relay_broke(now);
    }

    /// Takes an errand off the table that nobody is to run any more.
    pub(super) fn give_back(&mut self, guest: &mut Guest) {
        if let Some(errand) = &guest.errand {
            drop(self.tickets.take(errand.ticket));
        }
        self.answered(guest);
    }

    pub(super) fn answer_bell(&mut self) -> io::Result<()> {
        self.tickets.hush();
        if self.backends.opening().is_some_and(|ticket| !self.tickets.holds(ticket)) {
            self.backends.opened();
        }
        self.tickets.failure().map_or(Ok(()), Err)
    }

    /// A connection that tiny_http left waiting is given up, and its errand sent on another. It goes under a new number:
    /// whoever comes to the first connection after all (on a busy machine it was only late) finds nothing there, and
    /// nobody reads what it says.
    pub(super) fn try_anew(&mut self, ticket: Number, now: Moment) {
        self.backends.opened();
        let Some(whole) = self.tickets.take(ticket) else { return };
        let of_ticket = |guest: &Guest| guest.errand.as_ref().is_some_and(|errand| errand.ticket == ticket);
        let Some(slot) = self.present_guests().find(|(_, guest)| of_ticket(guest)).map(|(slot, _)| slot) else {
            return;
        };
        let Some(mut guest) = self.guests.get_mut(slot).and_then(Option::take) else { return };
        guest.errand = None;
        if guest.back.take().is_some() {
            self.backends.gone();
        }
        self.take_up(slot, &mut guest, Some(whole), now);
        self.put(slot, guest, true);
    }
}
