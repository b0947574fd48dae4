//! What the guard makes of a client's bytes, without a socket, a route or a clock.
//!
//! It is the connection of the running listener, asked about one stream of bytes. The tests and fuzz targets that hold
//! it beside other programs ask here. Line: nothing of the listener itself does.

use super::admission::{Buckets, Peer};
use super::connection::{Connection, House};
use super::limits::{Limits, Rate};
use super::tickets::{Budget, Whole};
use super::{Admission, Counts, Entrance};
use crate::base::{Moment, WallTime};
use crate::listener::ask::{Ask, Reply};
use std::time::Duration;

/// What was read of one connection.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The whole requests, in their order.
    pub asks: Vec<Ask>,
    /// The status by which the guard itself ended the connection.
    pub refused: Option<u16>,
    /// Whether nothing of what the client sends further would be read.
    pub is_over: bool,
}

/// Reads what one client sends, piece by piece. Every path takes a body of `max_body` bytes, and every request is
/// answered with 204 before the next one is read.
pub fn read<'a>(max_body: u64, pieces: impl IntoIterator<Item = &'a [u8]>) -> Reading {
    const LONG: Duration = Duration::from_secs(3600);
    let limits = Limits {
        connections: 1,
        head: LONG,
        body: LONG,
        max_body,
        memory_budget: u64::MAX,
        rate: Rate { count: u32::MAX, per: LONG },
        trusted: Vec::new(),
    };
    let mut buckets = Buckets::new(limits.rate);
    let mut house = House {
        limits: &limits,
        entrance: &Anywhere(max_body),
        buckets: &mut buckets,
        budget: &Budget::of(limits.memory_budget),
        now: Moment { mono: Duration::ZERO, wall: WallTime(0) },
    };
    let mut connection = Connection::new(Peer::Unix, Duration::ZERO);
    let mut reading = Reading { asks: Vec::new(), refused: None, is_over: false };
    for piece in pieces {
        if connection.reads() {
            let whole = connection.receive(piece, &mut house);
            reading.answer(&mut connection, whole, &mut house);
        }
    }
    reading.is_over = connection.is_closed() || connection.is_lingering();
    reading
}

impl Reading {
    /// Answers what is whole, and what became whole by that.
    fn answer(&mut self, connection: &mut Connection, mut whole: Option<Whole>, house: &mut House<'_>) {
        loop {
            let is_of_a_route = whole.is_some();
            if let Some(whole) = whole {
                self.asks.push(whole.ask);
                // A back that garbles its answers is somebody else's test.
                let _ = connection.relay(b"HTTP/1.1 204 No Content\r\n\r\n", house);
            }
            let said = connection.unwritten();
            if said.is_empty() {
                return;
            }
            if !is_of_a_route {
                self.refused = status(said).filter(|status| *status != 100).or(self.refused);
            }
            whole = connection.wrote(said.len(), house);
        }
    }
}

/// The status of the answer at the beginning of `said`.
fn status(said: &[u8]) -> Option<u16> {
    let digits = said.get(b"HTTP/1.1 ".len()..)?.get(..3)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Lets everybody in.
struct Anywhere(u64);

impl Entrance for Anywhere {
    fn admit(&self, _: &str, _: &str, _: Option<&str>) -> Result<Admission, Reply> {
        Ok(Admission { max_body: self.0, counts: Counts::Never })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by the fuzz target: with the empty line cut in two the byte behind it was not looked at.
    #[test]
    fn an_empty_line_in_two_pieces_hides_nothing() {
        let bytes = b"\r\n\nGET /a HTTP/1.1\r\nHost: x\r\n\r\n";
        assert_eq!(read(1, [&bytes[..]]).refused, Some(400));
        assert_eq!(read(1, bytes.chunks(1)), read(1, [&bytes[..]]));
    }

    #[test]
    fn a_chunk_that_is_too_large_is_refused_before_it_comes() {
        let head = "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        let refused = |chunks: &str| read(10, [format!("{head}{chunks}").as_bytes()]).refused;
        assert_eq!(refused("a\r\n"), None);
        assert_eq!(refused("b\r\n"), Some(413));
        assert_eq!(refused("8\r\n01234567\r\n3\r\n"), Some(413));
    }

    #[test]
    fn empty_lines_before_a_request_are_few() {
        let request = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
        let few = format!("{request}\r\n\r\n{request}\r\n{request}");
        assert_eq!(read(1, [few.as_bytes()]).asks.len(), 3);
        // One at a time they would keep a connection for ever.
        let many = format!("{request}{}{request}", "\r\n".repeat(3));
        for size in [1, 2, 200] {
            let reading = read(1, many.as_bytes().chunks(size));
            assert_eq!((reading.asks.len(), reading.refused), (1, Some(400)), "in pieces of {size}");
        }
    }

    #[test]
    fn requests_are_read_until_one_is_refused() {
        let bytes = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nPOST /b?c HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}\
                      GET /d HTTP/2.0\r\nHost: x\r\n\r\nGET /e HTTP/1.1\r\nHost: x\r\n\r\n";
        let whole = read(10, [&bytes[..]]);
        let seen: Vec<(&str, &str, &[u8])> =
            whole.asks.iter().map(|ask| (ask.path.as_str(), ask.query.as_str(), ask.body.as_slice())).collect();
        assert_eq!(seen, [("/a", "", &b""[..]), ("/b", "c", b"{}")]);
        assert_eq!(whole.refused, Some(505));
        assert_eq!(whole, read(10, bytes.chunks(1)));
        assert_eq!(read(1, [&bytes[..]]).refused, Some(413));
    }
}
