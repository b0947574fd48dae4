//! The guard: one thread that owns every public connection and admits whole, strictly parsed, bounded requests only.
//!
//! tiny_http behind it has no deadlines and trusts its clients; one of them could end or block it. So it has one client:
//! this room. [`event_loop`] joins the parts: `wire` carries bytes (`tls` by itself, in secret), `head` and `body` read them, `admission` says who
//! may come, `connection` is the life of one client, `backend` the way to tiny_http and `answer` the way back, `tickets`
//! the table where a request waits for the routes, `limits` every bound with its reason, `reading` a connection for tests
//! alone. `event_loop`, `backend`,
//! `wire` and the bell of `tickets` touch the world; the others are pure.

mod admission;
mod answer;
mod backend;
mod body;
mod connection;
mod event_loop;
mod head;
mod limits;
mod reading;
pub(super) mod tickets;
mod tls;
mod wire;

use super::ask::Reply;
pub use event_loop::{Doors, guard};
pub use limits::{Limits, Rate};
pub use reading::{Reading, read};
pub use tickets::Tickets;
pub use tls::Material;

/// What the guard has to know of the routes to answer at head time, before a byte of a body is read.
pub trait Entrance {
    /// What may follow such a head, or the answer to it: 404, 405, 415.
    fn admit(&self, method: &str, path: &str, content_type: Option<&str>) -> Result<Admission, Reply>;
}

/// What may follow a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission {
    /// The largest body, in bytes.
    pub max_body: u64,
    /// How it counts towards the rate limit of its sender.
    pub counts: Counts,
}

/// How a request counts towards the rate limit of its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    /// A delivery: each counts, and more when it is answered with 401.
    Always,
    /// A page that knows a token: it counts when it is answered with 401, and whoever guessed too often waits.
    WhenRefused,
    /// A page for everybody.
    Never,
}
