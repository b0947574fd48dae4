//! The loop: one poll(2) over everything, and what becomes ready carried to the connection it belongs to.
//!
//! It sleeps until something is ready or the next deadline, for ever when there is none. Line: what is refused, kept or
//! ended is decided in `connection` and `admission`; here it is done.

use super::Entrance;
use super::admission::{self, Buckets, Holding, Peer, Standby};
use super::backend::{Back, Backends, Errand, Sent};
use super::connection::{Connection, House};
use super::limits::{self, ACCEPT_PAUSE, BACK_TAKEN, Limits};
use super::tickets::{Budget, Number, Tickets, Whole};
use super::wire::Wire;
use crate::base::Moment;
use crate::listener::ask::Reply;
use crate::listener::server::Socket;
use crate::os::signals::{Signal, Signals};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::resource::{Resource, getrlimit};
use rustls::ServerConfig;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

mod passing;

/// Connections accepted in one turn: those that are in are served in between.
const ACCEPTED_PER_TURN: usize = 64;

/// When descriptors are used up, so many who wait make way: answering the others takes some too.
const MADE_ROOM_FOR: usize = 8;

/// Read at once, from clients and from tiny_http; one buffer for all.
const READ: usize = 32 << 10;

/// Pieces read from one connection in one turn: one fast sender is not everybody's wait.
const READS_PER_TURN: usize = 4;

/// What the guard stands between.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Doors {
    /// Where the public comes in; non-blocking.
    pub public: Socket,
    /// Where tiny_http accepts.
    pub private: PathBuf,
    /// Where SIGTERM is heard; `None`: it guards for ever.
    pub signals: Option<Signals>,
    /// What TLS is done with; `None`: the public speaks plain HTTP.
    pub tls: Option<Arc<ServerConfig>>,
}

/// Guards until SIGTERM and until what was under way then has ended; an error when nobody answers requests any more.
pub fn guard(
    doors: Doors,
    limits: Limits,
    entrance: Arc<dyn Entrance + Send + Sync>,
    tickets: Arc<Tickets>,
) -> io::Result<()> {
    let descriptors = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
    let (most, backs) = limits::fitting(limits.connections, descriptors);
    if most < limits.connections as usize {
        log::warn!(
            "{most} connections at most instead of {}: the limit of open files is {descriptors}",
            limits.connections
        );
    }
    let guard = Guard {
        buckets: Buckets::new(limits.rate),
        budget: Budget::of(limits.memory_budget),
        backends: Backends::at(doors.private, backs),
        public: Some(doors.public),
        signals: doors.signals,
        tls: doors.tls,
        limits,
        entrance,
        tickets,
        most,
        guests: Vec::new(),
        present: 0,
        queue: VecDeque::new(),
        no_accept_before: None,
        buffer: vec![0; READ],
    };
    guard.run()
}

struct Guard {
    limits: Limits,
    entrance: Arc<dyn Entrance + Send + Sync>,
    tickets: Arc<Tickets>,
    /// `None` once the house is being closed.
    public: Option<Socket>,
    signals: Option<Signals>,
    tls: Option<Arc<ServerConfig>>,
    buckets: Buckets,
    budget: Budget,
    backends: Backends,
    /// Connections at a time.
    most: usize,
    guests: Vec<Option<Guest>>,
    present: usize,
    /// Guests whose request waits for a connection to tiny_http.
    queue: VecDeque<usize>,
    no_accept_before: Option<Duration>,
    buffer: Vec<u8>,
}

/// One public connection.
struct Guest {
    wire: Wire,
    connection: Connection,
    /// Its request, until it is answered.
    errand: Option<Errand>,
    /// What the request went out on.
    back: Option<Back>,
    /// Whether it was told that nothing more is written.
    is_half_closed: bool,
}

/// Whose descriptor became ready.
#[derive(Debug, Clone, Copy)]
enum Whose {
    Public,
    Signals,
    Bell,
    Wire(usize),
    Back(usize),
}

impl Guard {
    fn run(mut self) -> io::Result<()> {
        loop {
            let ready = self.wait()?;
            let now = Moment::now();
            for (whose, events) in ready {
                match whose {
                    Whose::Public => self.accept(now),
                    Whose::Signals => self.hear(now),
                    Whose::Bell => self.answer_bell()?,
                    Whose::Wire(slot) => self.wire_ready(slot, events, now),
                    Whose::Back(slot) => self.back_ready(slot, events, now),
                }
            }
            self.expire(now);
            self.send_queued(now);
            if self.public.is_none() && self.present == 0 {
                return Ok(());
            }
        }
    }

    fn wait(&self) -> io::Result<Vec<(Whose, PollFlags)>> {
        let mut whose = Vec::with_capacity(self.present * 2 + 3);
        let mut fds = Vec::with_capacity(self.present * 2 + 3);
        let mut watch = |who, fd, flags| {
            whose.push(who);
            fds.push(PollFd::new(fd, flags));
        };
        watch(Whose::Bell, self.tickets.as_fd(), PollFlags::POLLIN);
        if let Some(signals) = &self.signals {
            watch(Whose::Signals, signals.as_fd(), PollFlags::POLLIN);
        }
        let mut is_pending = false;
        for (slot, guest) in self.present_guests() {
            let room = guest.connection.room() > 0;
            watch(Whose::Wire(slot), guest.wire.as_fd(), guest.interest());
            is_pending |= guest.connection.reads() && guest.wire.has_unread();
            if let Some(back) = &guest.back {
                let reads = if room { PollFlags::POLLIN } else { PollFlags::empty() };
                let writes = if back.is_unsent() { PollFlags::POLLOUT } else { PollFlags::empty() };
                // A descriptor watched for nothing would still tell of its end, again and again.
                if !(reads | writes).is_empty() {
                    watch(Whose::Back(slot), back.as_fd(), reads | writes);
                }
            }
        }
        if let Some(public) = &self.public
            && self.no_accept_before.is_none()
            && (self.present < self.most || self.makes_way(Moment::now()).is_some())
        {
            watch(Whose::Public, public.as_fd(), PollFlags::POLLIN);
        }
        let timeout = if is_pending { PollTimeout::ZERO } else { self.timeout() };
        match nix::poll::poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let found = whose.into_iter().zip(fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty())));
        let unread = |whose: &Whose| matches!(whose, Whose::Wire(slot) if self.has_unread(*slot));
        Ok(found.filter(|(whose, events)| !events.is_empty() || unread(whose)).collect())
    }

    fn has_unread(&self, slot: usize) -> bool {
        let guest = self.guests.get(slot).and_then(Option::as_ref);
        guest.is_some_and(|guest| guest.connection.reads() && guest.wire.has_unread())
    }

    fn timeout(&self) -> PollTimeout {
        let guests = self.present_guests().filter_map(|(_, guest)| guest.connection.deadline(&self.limits));
        let Some(next) = guests.chain(self.backends.deadline()).chain(self.no_accept_before).min() else {
            return PollTimeout::NONE;
        };
        let left = next.saturating_sub(Moment::now().mono);
        // Rounded up: when the wait is over the deadline has passed.
        i32::try_from(left.as_nanos().div_ceil(1_000_000))
            .ok()
            .and_then(|millis| PollTimeout::try_from(millis).ok())
            .unwrap_or(PollTimeout::MAX)
    }

    fn present_guests(&self) -> impl Iterator<Item = (usize, &Guest)> {
        self.guests.iter().enumerate().filter_map(|(slot, guest)| Some((slot, guest.as_ref()?)))
    }

    // --- coming in

    fn accept(&mut self, now: Moment) {
        for _ in 0..ACCEPTED_PER_TURN {
            if self.present >= self.most && self.makes_way(now).is_none() {
                return;
            }
            let Some(public) = &self.public else { return };
            match public.accept().and_then(|(wire, peer)| Ok((self.secured(wire)?, peer))) {
                Ok((wire, peer)) => self.welcome(wire, peer, now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Of one client that is gone already.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    log::warn!("a connection could not be accepted: {error}; trying again in {ACCEPT_PAUSE:?}");
                    self.no_accept_before = Some(now.mono + ACCEPT_PAUSE);
                    for _ in 0..MADE_ROOM_FOR {
                        if let Some(slot) = self.makes_way(now) {
                            self.leave(slot);
                        }
                    }
                    return;
                }
            }
        }
    }

    fn secured(&self, wire: Wire) -> io::Result<Wire> {
        match &self.tls {
            Some(config) => wire.secured(config),
            None => Ok(wire),
        }
    }

    fn welcome(&mut self, wire: Wire, peer: Peer, now: Moment) {
        if self.present >= self.most
            && let Some(slot) = self.makes_way(now)
        {
            self.leave(slot);
        }
        let client = peer.client();
        if !peer.is_trusted(&self.limits)
            && self.standbys().filter(|one| one.client == client).count() >= self.limits.per_address()
            && let Some(slot) = admission::makes_way_for_its_own(self.standbys(), client)
        {
            self.leave(slot);
        }
        let connection = Connection::new(peer, now.mono);
        let guest = Guest { wire, connection, errand: None, back: None, is_half_closed: false };
        self.present += 1;
        let slot = match self.guests.iter().position(Option::is_none) {
            Some(free) => free,
            None => {
                self.guests.push(None);
                self.guests.len() - 1
            }
        };
        if let Some(place) = self.guests.get_mut(slot) {
            *place = Some(guest);
        }
        // Most clients have sent their request by now.
        self.wire_ready(slot, PollFlags::POLLIN, now);
    }

    fn standbys(&self) -> impl Iterator<Item = Standby> {
        self.present_guests().map(|(slot, guest)| {
            let (standing, since) = guest.connection.standing();
            Standby { slot, standing, since, client: guest.connection.peer().client() }
        })
    }

    fn makes_way(&self, now: Moment) -> Option<usize> {
        admission::makes_way(self.standbys(), now.mono)
    }

    fn hear(&mut self, now: Moment) {
        let stops = self.signals.as_mut().is_some_and(|signals| signals.take().contains(&Signal::Stop));
        if !stops || self.public.is_none() {
            return;
        }
        log::info!("closing: {} connections are left", self.present);
        self.public = None;
        for slot in 0..self.guests.len() {
            if let Some(guest) = self.guests.get_mut(slot).and_then(Option::as_mut) {
                guest.connection.drain(now.mono);
            }
            self.leave_if_closed(slot);
        }
    }

    // --- between client and connection

    fn wire_ready(&mut self, slot: usize, events: PollFlags, now: Moment) {
        let Some(mut guest) = self.guests.get_mut(slot).and_then(Option::take) else { return };
        let stays = !events.intersects(PollFlags::POLLERR | PollFlags::POLLNVAL)
            && guest.wire.progress().is_ok()
            && (!events.contains(PollFlags::POLLHUP) || guest.connection.reads())
            && self.read_wire(slot, &mut guest, now).is_ok()
            && self.write_wire(slot, &mut guest, now).is_ok();
        self.put(slot, guest, stays);
    }

    fn put(&mut self, slot: usize, guest: Guest, stays: bool) {
        if let Some(place) = self.guests.get_mut(slot) {
            *place = Some(guest);
        }
        if stays { self.leave_if_closed(slot) } else { self.leave(slot) }
    }

    fn read_wire(&mut self, slot: usize, guest: &mut Guest, now: Moment) -> io::Result<()> {
        for _ in 0..READS_PER_TURN {
            if !guest.connection.reads() || guest.wire.handshaking() {
                return Ok(());
            }
            let mut buffer = std::mem::take(&mut self.buffer);
            let read = guest.wire.read(&mut buffer);
            let got = read.as_ref().ok().and_then(|read| buffer.get(..*read)).unwrap_or_default();
            let whole = match got.is_empty() {
                true => None,
                false => guest.connection.receive(got, &mut self.house(now)),
            };
            self.buffer = buffer;
            match read {
                Ok(0) => guest.connection.receive_end(&self.house(now)),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            self.take_up(slot, guest, whole, now);
            self.keep_the_budget(slot, guest, now);
        }
        Ok(())
    }

    fn write_wire(&mut self, slot: usize, guest: &mut Guest, now: Moment) -> io::Result<()> {
        while !guest.connection.unwritten().is_empty() {
            match guest.wire.write(guest.connection.unwritten()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    let whole = guest.connection.wrote(written, &mut self.house(now));
                    self.take_up(slot, guest, whole, now);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if guest.connection.is_lingering() && !guest.is_half_closed {
            guest.is_half_closed = true;
            guest.wire.close();
        }
        Ok(())
    }

    fn house(&mut self, now: Moment) -> House<'_> {
        House { limits: &self.limits, entrance: &*self.entrance, buckets: &mut self.buckets, budget: &self.budget, now }
    }

    /// When all bodies together hold too much, one after the other gives way.
    fn keep_the_budget(&mut self, slot: usize, guest: &mut Guest, now: Moment) {
        let full = || Reply::later("too much is being received at the moment: try again");
        while self.budget.is_exceeded() {
            let holding = |slot, guest: &Guest| {
                let (bytes, is_stalled) = guest.connection.holding(now.mono)?;
                Some(Holding { slot, bytes, is_stalled })
            };
            let others = self.present_guests().filter_map(|(slot, guest)| holding(slot, guest));
            match admission::gives_memory_back(others.chain(holding(slot, guest))) {
                Some(own) if own == slot => guest.connection.refuse(&full(), now),
                Some(other) => {
                    let Some(mut guest) = self.guests.get_mut(other).and_then(Option::take) else { return };
                    guest.connection.refuse(&full(), now);
                    let stays = self.write_wire(other, &mut guest, now).is_ok();
                    self.put(other, guest, stays);
                }
                None => return,
            }
        }
    }

    // --- going

    fn expire(&mut self, now: Moment) {
        self.no_accept_before.take_if(|at| *at <= now.mono);
        if let Some(ticket) = self.backends.untaken(now.mono) {
            self.try_anew(ticket, now);
        }
        self.backends.tidy(now.mono);
        for slot in 0..self.guests.len() {
            let limits = &self.limits;
            let is_due = |guest: &mut Guest| guest.connection.deadline(limits).is_some_and(|at| at <= now.mono);
            let Some(mut guest) = self.guests.get_mut(slot).and_then(|place| place.take_if(is_due)) else { continue };
            guest.connection.expire(now);
            let stays = self.write_wire(slot, &mut guest, now).is_ok();
            self.put(slot, guest, stays);
        }
    }

    fn leave_if_closed(&mut self, slot: usize) {
        let guest = self.guests.get(slot).and_then(Option::as_ref);
        if guest.is_some_and(|guest| guest.connection.is_closed()) {
            self.leave(slot);
        }
    }

    /// A connection ends, whatever was under way on it: a writer behind tiny_http meets a broken pipe.
    fn leave(&mut self, slot: usize) {
        let Some(mut guest) = self.guests.get_mut(slot).and_then(Option::take) else { return };
        self.present -= 1;
        if guest.back.take().is_some() {
            self.backends.gone();
        }
        self.give_back(&mut guest);
        if !guest.is_half_closed {
            guest.wire.close();
        }
        if self.present == 0 {
            self.guests = Vec::new();
        }
    }
}

impl Guest {
    fn interest(&self) -> PollFlags {
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::POLLIN, self.connection.reads());
        wanted.set(PollFlags::POLLOUT, !self.connection.unwritten().is_empty());
        self.wire.interest(wanted)
    }
}

impl Socket {
    /// The next connection that waits.
    fn accept(&self) -> io::Result<(Wire, Peer)> {
        match self {
            Socket::Tcp(socket) => {
                let (stream, address) = socket.accept()?;
                Ok((Wire::over_tcp(stream)?, Peer::Tcp(address)))
            }
            Socket::Unix(socket) => {
                let (stream, _) = socket.accept()?;
                Ok((Wire::over_unix(stream)?, Peer::Unix))
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(socket) => socket.as_fd(),
            Socket::Unix(socket) => socket.as_fd(),
        }
    }
}

#[cfg(test)]
mod tests;
