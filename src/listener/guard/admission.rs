//! Who may come in: which address a request counts for, how many it may send, and who makes way when it is full.
//!
//! Pure: moments are times since boot that come in as values. Line: what is done to whoever is chosen, the loop does.

use super::limits::{ADDRESSES, JUST_COME, Limits, Rate};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    /// A Unix socket: somebody on this machine.
    Unix,
    /// TCP.
    Tcp(SocketAddr),
}

impl Peer {
    /// Whose word about the sender is believed: a proxy's on this machine, and those in `trust_forwarded`.
    pub(super) fn is_trusted(self, limits: &Limits) -> bool {
        match self {
            Peer::Unix => true,
            Peer::Tcp(address) => trusts(limits, address.ip()),
        }
    }

    fn ip(self) -> IpAddr {
        match self {
            Peer::Unix => Ipv4Addr::LOCALHOST.into(),
            Peer::Tcp(address) => address.ip(),
        }
    }

    /// What this connection counts for.
    pub(super) fn client(self) -> Client {
        Client::of(self.ip())
    }
}

fn trusts(limits: &Limits, ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    ip.is_loopback() || limits.trusted.iter().any(|trusted| trusted.to_canonical() == ip)
}

/// Whom a request counts for: an IPv4 address, or the /64 that one IPv6 subscriber has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Client(IpAddr);

impl Client {
    pub(super) fn of(ip: IpAddr) -> Client {
        Client(match ip.to_canonical() {
            IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !(u128::MAX >> 64)).into(),
            v4 => v4,
        })
    }
}

/// Headers by which a proxy says that it passes on what somebody else sent.
const FORWARDING: [&str; 6] =
    ["Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Via"];

/// Whether the request says that it was passed on.
pub(super) fn is_forwarded(headers: &[(String, String)]) -> bool {
    headers.iter().any(|(name, _)| FORWARDING.iter().any(|known| name.eq_ignore_ascii_case(known)))
}

/// The address a request counts for: the peer's, or what a trusted peer says about its own client - the last address in
/// X-Forwarded-For that is not a trusted proxy itself, because everything before it was written by that client.
pub(super) fn client(peer: Peer, headers: &[(String, String)], limits: &Limits) -> IpAddr {
    if !peer.is_trusted(limits) {
        return peer.ip();
    }
    let named = |name: &'static str| {
        let values = headers.iter().filter(move |(header, _)| header.eq_ignore_ascii_case(name));
        values.flat_map(|(_, value)| value.split(',')).map(|word| address(word.trim()))
    };
    let mut through: Vec<Option<IpAddr>> = named("X-Forwarded-For").collect();
    if through.is_empty() {
        through = named("X-Real-IP").collect();
    }
    let mut nearest = peer.ip();
    for ip in through.into_iter().rev() {
        // What stands before something unreadable was not written by whom we trust.
        let Some(ip) = ip else { return nearest };
        nearest = ip;
        if !trusts(limits, ip) {
            break;
        }
    }
    nearest
}

/// An address as proxies write it: bare, in brackets, with a port.
fn address(word: &str) -> Option<IpAddr> {
    let bare = word.parse().ok();
    let with_port = || word.parse::<SocketAddr>().ok().map(|address| address.ip());
    let in_brackets = || word.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    bare.or_else(with_port).or_else(in_brackets)
}

/// Counts deliveries per client: a bucket of tokens each that fills with time.
#[derive(Debug)]
pub(super) struct Buckets {
    rate: Rate,
    buckets: HashMap<Client, Bucket>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// In tokens.
    level: f64,
    /// When that was so.
    at: Duration,
}

impl Buckets {
    pub(super) fn new(rate: Rate) -> Buckets {
        Buckets { rate, buckets: HashMap::new() }
    }

    fn per_second(&self) -> f64 {
        f64::from(self.rate.count) / self.rate.per.as_secs_f64().max(0.001)
    }

    fn level(&self, bucket: Bucket, now: Duration) -> f64 {
        let gained = now.saturating_sub(bucket.at).as_secs_f64() * self.per_second();
        (bucket.level + gained).min(f64::from(self.rate.count))
    }

    /// Takes one token; `Err` is how long it takes until there is one.
    pub(super) fn take(&mut self, client: Client, now: Duration) -> Result<(), Duration> {
        self.look(client, now)?;
        self.fine(client, 1, now);
        Ok(())
    }

    /// Whether there is a token; `Err` is how long it takes until there is one.
    pub(super) fn look(&self, client: Client, now: Duration) -> Result<(), Duration> {
        let full = Bucket { level: f64::from(self.rate.count), at: now };
        let level = self.level(self.buckets.get(&client).copied().unwrap_or(full), now);
        match level < 1.0 {
            true => Err(Duration::from_secs_f64((1.0 - level) / self.per_second().max(1e-9))),
            false => Ok(()),
        }
    }

    /// Takes `tokens` more, down to a whole bucket of debt: whoever guesses on waits longer.
    pub(super) fn fine(&mut self, client: Client, tokens: u32, now: Duration) {
        let full = Bucket { level: f64::from(self.rate.count), at: now };
        let level = self.level(self.buckets.get(&client).copied().unwrap_or(full), now);
        self.set(client, (level - f64::from(tokens)).max(-f64::from(self.rate.count)), now);
    }

    fn set(&mut self, client: Client, level: f64, now: Duration) {
        if self.buckets.len() >= ADDRESSES && !self.buckets.contains_key(&client) {
            self.forget(now);
        }
        self.buckets.insert(client, Bucket { level, at: now });
    }

    /// Makes room: those that are full again are as good as unknown; else the fuller half goes.
    fn forget(&mut self, now: Duration) {
        let most = f64::from(self.rate.count);
        let levels: HashMap<Client, f64> =
            self.buckets.iter().map(|(client, bucket)| (*client, self.level(*bucket, now))).collect();
        let level = |client: &Client| levels.get(client).copied().unwrap_or(most);
        self.buckets.retain(|client, _| level(client) < most);
        if self.buckets.len() >= ADDRESSES {
            let mut sorted: Vec<f64> = levels.values().copied().collect();
            sorted.sort_by(f64::total_cmp);
            let middle = sorted.get(sorted.len() / 2).copied().unwrap_or(most);
            self.buckets.retain(|client, _| level(client) < middle);
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.buckets.len()
    }
}

/// How much a connection is worth to be kept, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// Answered; only what it still sends is thrown away.
    Leaving,
    /// Without a complete head.
    Incomplete,
    /// Its body is on the way.
    Sending,
    /// Its answer is written, and it does not read.
    Reading,
    /// Its request is being answered: never chosen.
    Served,
}

/// What is known of a connection when one must go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standby {
    pub(super) slot: usize,
    pub(super) standing: Standing,
    /// Since when it is in this standing.
    pub(super) since: Duration,
    pub(super) client: Client,
}

/// Who makes way for a newcomer: the oldest of those worth least. Who has only just come waits for its own first bytes:
/// where slow bodies or slow readers hold every place, it would otherwise go in their stead.
pub(super) fn makes_way(all: impl Iterator<Item = Standby>, now: Duration) -> Option<usize> {
    let has_just_come = |one: &Standby| one.since + JUST_COME > now;
    let chosen = all.filter(|one| one.standing != Standing::Served);
    chosen.min_by_key(|one| (has_just_come(one), one.standing, one.since)).map(|one| one.slot)
}

/// Who makes way when `client` has more connections than one address may: its own oldest that is incomplete.
pub(super) fn makes_way_for_its_own(all: impl Iterator<Item = Standby>, client: Client) -> Option<usize> {
    let own = all.filter(|one| one.client == client && one.standing <= Standing::Incomplete);
    own.min_by_key(|one| (one.standing, one.since)).map(|one| one.slot)
}

/// A body that holds memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Holding {
    pub(super) slot: usize,
    pub(super) bytes: u64,
    pub(super) is_stalled: bool,
}

/// Who gives memory back when the budget is used up: of those that stalled the largest, else the largest. It may be the
/// one that asks, so that a small delivery gets through whatever the large ones do.
pub(super) fn gives_memory_back(all: impl Iterator<Item = Holding>) -> Option<usize> {
    all.max_by_key(|one| (one.is_stalled && one.bytes > 0, one.bytes)).map(|one| one.slot)
}

#[cfg(test)]
mod tests;
