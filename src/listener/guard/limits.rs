//! Every limit and deadline of the guard, each with its reason. Those a user may set come from `[listen]`; the others
//! are fixed here.

use crate::config::Listen;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;

/// What the daemon tells the guard: `[listen]`, as far as it is about limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Public connections at a time. Each costs a descriptor and, while its head is incomplete, up to 16 KiB: 256 of
    /// the slowest clients together cost 4 MiB.
    pub connections: u32,
    /// From the first moment of a connection (of a later request: from its first byte) to the end of the head. A head
    /// is one packet: five seconds outlast two retransmissions on the worst line.
    pub head: Duration,
    /// For a body's first bytes; every byte received adds to it, see [`BODY_BYTES_PER_SECOND`].
    pub body: Duration,
    /// The largest body in bytes. GitHub sends up to 25 MB.
    pub max_body: u64,
    /// What all bodies may hold together, counted in bytes received and not in bytes announced, which cost nothing.
    pub memory_budget: u64,
    /// Deliveries per client address; a whole span's worth may come at once.
    pub rate: Rate,
    /// Peers whose forwarding headers are believed, beside loopback and Unix sockets.
    pub trusted: Vec<IpAddr>,
}

/// So many per span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// How many; also how many may come at once.
    pub count: u32,
    /// In which span.
    pub per: Duration,
}

impl Limits {
    /// The limits that `[listen]` asks for.
    pub fn of(listen: &Listen) -> Limits {
        Limits {
            connections: listen.connections,
            head: listen.header_timeout,
            body: listen.body_timeout,
            max_body: listen.max_body.0,
            memory_budget: listen.memory_budget.0,
            rate: Rate { count: listen.rate_limit.count, per: listen.rate_limit.per },
            trusted: listen.trust_forwarded.clone(),
        }
    }

    /// Connections of one address that is nobody's proxy: an eighth of all, so that one address cannot push all others
    /// out, and enough for a browser or a forge behind one NAT.
    pub(super) fn per_address(&self) -> usize {
        (self.connections as usize / 8).max(8)
    }
}

/// A request's head in bytes. Forges send less than 2 KiB; nginx allows its clients 32 KiB, Apache 8 KiB a line.
pub(super) const HEAD_BYTES: usize = 16 << 10;

/// Bytes of empty lines before a request, which old clients send after a body: two of them.
pub(super) const BLANKS: usize = 4;

/// Headers of a request. Forges send about 20, a proxy adds a few.
pub(super) const HEADERS: usize = 64;

/// Every 64 KiB received add a second to a body's deadline: 0.5 Mbit/s, the slowest uplink a forge of one's own may
/// have. Counted by what came, not by what was announced, a client that stops sending is gone soon.
pub(super) const BODY_BYTES_PER_SECOND: u64 = 64 << 10;

/// A body that got no byte for so long is stalled: the first to go when the memory budget is used up.
pub(super) const STALLED: Duration = Duration::from_secs(1);

/// A kept-alive connection without a request. Longer than the pause between two requests of a page, shorter than
/// nginx's idea of a kept upstream (60 s), which opens another one then.
pub(super) const IDLE: Duration = Duration::from_secs(10);

/// A connection of this age is not asked to make way while there is an older one: its request is on the way, after two
/// round trips where it comes over TLS.
pub(super) const JUST_COME: Duration = Duration::from_millis(500);

/// Without a byte of the answer taken. A reader that is slow but reads is served for as long as it likes.
pub(super) const WRITE: Duration = Duration::from_secs(10);

/// After an answer to a request that was not read to its end, what still arrives is thrown away for so long: closing
/// at once would reset the connection, and the client would never see why.
pub(super) const LINGER: Duration = Duration::from_secs(2);

/// Bytes of an answer held for a client that reads slowly; at this the answer is not read on behind.
pub(super) const OUTPUT: usize = 64 << 10;

/// No connection can be accepted (descriptors or memory are used up): the guard looks again after this.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections to tiny_http at a time, each with a thread of its own there: what the routes have seats for (see
/// `routes`) and room for pages beside them.
pub(super) const BACKS: usize = 96;

/// Of these, kept open for the next request although nothing was asked for so long.
pub(super) const BACKS_KEPT: usize = 4;

/// When the connections beyond [`BACKS_KEPT`] are given up after the last request.
pub(super) const BACK_IDLE: Duration = Duration::from_secs(10);

/// A connection to tiny_http that nobody took up by then is tried anew: its pool can leave one waiting behind a long
/// answer.
pub(super) const BACK_TAKEN: Duration = Duration::from_millis(100);

/// Addresses whose requests are counted at a time: 4,096 of them hold half a megabyte.
pub(super) const ADDRESSES: usize = 4096;

/// What a failed signature costs, in deliveries.
pub(super) const FAILED_SIGNATURE: u32 = 4;

/// At SIGTERM, how long requests under way may take to end: within the five seconds the daemon waits.
pub(super) const DRAIN: Duration = Duration::from_secs(4);

/// At SIGTERM, how long a connection that has said nothing yet may take to begin.
pub(super) const DRAIN_SILENT: Duration = Duration::from_millis(300);

/// Descriptors that are not connections: standard ones, sockets, pipes, the daemon's answers.
const DESCRIPTORS_ELSEWHERE: u64 = 24;

/// Descriptors of one request behind the guard: our end, tiny_http's two, two towards the daemon.
const DESCRIPTORS_PER_BACK: u64 = 5;

/// How many public connections and connections to tiny_http fit into `descriptors`: tiny_http ends at the first one it
/// cannot accept, so it is never asked for one too many.
pub(super) fn fitting(connections: u32, descriptors: u64) -> (usize, usize) {
    let free = descriptors.saturating_sub(DESCRIPTORS_ELSEWHERE);
    let backs = (free / 2 / DESCRIPTORS_PER_BACK).clamp(1, BACKS as u64);
    let public = free.saturating_sub(backs * DESCRIPTORS_PER_BACK).clamp(1, u64::from(connections.max(1)));
    (public as usize, backs as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_fit_into_the_descriptors() {
        for (wanted, descriptors, expected) in
            [(256, 1024, (256, 96)), (4096, 1024, (520, 96)), (256, 64, (20, 4)), (256, 10, (1, 1)), (0, 1024, (1, 96))]
        {
            assert_eq!(fitting(wanted, descriptors), expected, "{wanted} of {descriptors}");
        }
    }
}
