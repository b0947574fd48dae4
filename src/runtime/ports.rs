//! Listening sockets the daemon holds, and the ports of services that bind for themselves.
//!
//! A held socket outlives every instance and every release: while nobody accepts, connections wait in its backlog. A
//! port belongs to a [`Slot`] - a place that one instance after the other fills - so that what was told where the
//! service answers stays true over a crash. Line: hands; which address is needed, and when a slot is over, is decided
//! elsewhere.

use crate::base::{AppName, ServiceName};
use crate::config::Address;
use crate::os::fdstore::{FdStore, name_of};
use crate::os::sockets;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The name under which a listening socket is kept for the next daemon.
pub const SOCKET: &str = "socket";

/// Where ports are chosen: below the range from which the kernel lends ports to clients (32768 to 60999), so that no
/// outgoing connection ever sits on one.
const RANGE: RangeInclusive<u16> = 20_000..=32_767;

/// A place for one instance of a service: it is filled again after a crash, and given up with its round.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub struct Slot {
    pub app: AppName,
    pub service: ServiceName,
    /// Counts the times all instances were replaced; the newest is the highest.
    pub round: u64,
    /// Which of the service's `instances`.
    pub index: u32,
}

/// All sockets and ports of all apps. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Ports(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    /// Where copies of the sockets outlive us.
    kept: Option<FdStore>,
    sockets: BTreeMap<Address, Arc<OwnedFd>>,
    ports: BTreeMap<Slot, u16>,
}

impl Ports {
    /// None yet; a copy of every socket is left to `store`, for the daemon that comes after us.
    pub fn kept_by(store: FdStore) -> Ports {
        Ports(Arc::new(Mutex::new(Held { kept: Some(store), ..Held::default() })))
    }

    /// Whether there is a socket for `address` already.
    pub fn holds(&self, address: &Address) -> bool {
        self.held().sockets.contains_key(address)
    }

    /// The socket for `address`, bound at the first call.
    pub fn socket(&self, address: &Address) -> io::Result<Arc<OwnedFd>> {
        let mut held = self.held();
        if let Some(socket) = held.sockets.get(address) {
            return Ok(socket.clone());
        }
        let socket = Arc::new(sockets::bind(address)?);
        held.keep(address, &socket);
        held.sockets.insert(address.clone(), socket.clone());
        Ok(socket)
    }

    /// Holds a socket that a predecessor bound. One that does not listen on `address` is refused (`InvalidInput`), and
    /// where a socket is held already that one stays (`AlreadyExists`): either way the new one is closed.
    pub fn adopt_socket(&self, address: Address, socket: OwnedFd) -> io::Result<()> {
        if !sockets::listens_on(&socket, &address) {
            let why = format!("what was kept for {address} does not listen there; it is bound anew");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let mut held = self.held();
        if held.sockets.contains_key(&address) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{address} was kept twice")));
        }
        held.keep(&address, &socket);
        held.sockets.insert(address, Arc::new(socket));
        Ok(())
    }

    /// Closes the sockets whose address is not among `addresses` and says which they were; the file of a Unix socket
    /// goes too. Connections that nobody accepted yet are reset.
    pub fn keep_only(&self, addresses: &BTreeSet<Address>) -> Vec<Address> {
        let mut held = self.held();
        let gone: Vec<Address> = held.sockets.keys().filter(|held| !addresses.contains(held)).cloned().collect();
        for address in &gone {
            // The file goes first: as long as somebody answers on it, nobody puts another in its place.
            sockets::unlink(address);
            held.kept.iter().for_each(|store| store.forget(&name_of(SOCKET, &address.to_string())));
            held.sockets.remove(address);
        }
        gone
    }

    /// Every socket that is held, for whoever passes them on.
    pub fn sockets(&self) -> Vec<(Address, Arc<OwnedFd>)> {
        self.held().sockets.iter().map(|(address, socket)| (address.clone(), socket.clone())).collect()
    }

    /// The slot's port: the one it had, as long as that can still be bound, else a new one that no other slot has.
    pub fn choose(&self, slot: &Slot) -> io::Result<u16> {
        let mut held = self.held();
        if let Some(port) = held.ports.get(slot).copied().filter(|port| is_free(*port, Lingering::Allowed)) {
            return Ok(port);
        }
        let port = held.free()?;
        held.ports.insert(slot.clone(), port);
        Ok(port)
    }

    /// A port that no slot has, for something short-lived.
    pub fn free(&self) -> io::Result<u16> {
        self.held().free()
    }

    /// The slot has this port: its instance runs there already, or clients were told so.
    pub fn adopt(&self, slot: Slot, port: u16) {
        self.held().ports.insert(slot, port);
    }

    /// The slot is over; its port may be chosen for another. Gives the port it had.
    pub fn release(&self, slot: &Slot) -> Option<u16> {
        self.held().ports.remove(slot)
    }

    /// The ports of a round, in the order of its instances.
    pub fn ports_of(&self, app: &AppName, service: &ServiceName, round: u64) -> Vec<u16> {
        let held = self.held();
        let of_round = held.ports.iter().filter(|(slot, _)| slot.is_of(app, service) && slot.round == round);
        of_round.map(|(_, port)| *port).collect()
    }

    /// Where to look for the service: the first port of its newest round.
    pub fn port(&self, app: &AppName, service: &ServiceName) -> Option<u16> {
        let held = self.held();
        let of_service = held.ports.iter().filter(|(slot, _)| slot.is_of(app, service));
        of_service.max_by_key(|(slot, _)| (slot.round, std::cmp::Reverse(slot.index))).map(|(_, port)| *port)
    }

    /// Where the instances of the service's newest round answer.
    pub fn newest_ports(&self, app: &AppName, service: &ServiceName) -> Vec<u16> {
        let newest = self.held().ports.keys().filter(|slot| slot.is_of(app, service)).map(|slot| slot.round).max();
        newest.map_or(vec![], |round| self.ports_of(app, service, round))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    fn is_of(&self, app: &AppName, service: &ServiceName) -> bool {
        self.app == *app && self.service == *service
    }
}

impl Held {
    fn keep(&self, address: &Address, socket: &OwnedFd) {
        let name = name_of(SOCKET, &address.to_string());
        if let Some(Err(error)) = self.kept.as_ref().map(|store| store.keep(&name, socket.as_fd())) {
            log::warn!("{error}");
        }
    }

    /// Begins anywhere in the range: two daemons of one host seldom try the same port at once.
    fn free(&self) -> io::Result<u16> {
        let count = RANGE.end() - RANGE.start() + 1;
        let offset = RandomState::new().build_hasher().finish() % u64::from(count);
        let start = RANGE.start() + offset as u16;
        let mut candidates = (start..=*RANGE.end()).chain(*RANGE.start()..start);
        let taken: BTreeSet<u16> = self.ports.values().copied().collect();
        let free = candidates.find(|port| !taken.contains(port) && is_free(*port, Lingering::Refused));
        free.ok_or_else(|| {
            let why = format!("no port from {} to {} can be bound", RANGE.start(), RANGE.end());
            io::Error::new(io::ErrorKind::AddrInUse, why)
        })
    }
}

/// Whether the last minute's connections of a former owner (TIME_WAIT) keep a port from being free.
#[derive(Clone, Copy, PartialEq)]
enum Lingering {
    /// As a server binds that is started again (SO_REUSEADDR).
    Allowed,
    /// As one binds that does not know better: a new port suits it too.
    Refused,
}

/// Whether a service could bind the port: everywhere, which nobody can who would collide with somebody anywhere.
fn is_free(port: u16, lingering: Lingering) -> bool {
    let bound = || -> nix::Result<()> {
        let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&socket, sockopt::ReuseAddr, &(lingering == Lingering::Allowed))?;
        let everywhere = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
        bind(std::os::fd::AsRawFd::as_raw_fd(&socket), &SockaddrIn::from(everywhere))
    };
    bound().is_ok()
}

#[cfg(test)]
mod tests;
