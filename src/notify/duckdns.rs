//! DuckDNS: a name that follows our address.
//!
//! <https://www.duckdns.org/spec.jsp>: `/update?domains=NAME&token=TOKEN&ip=` with an empty `ip` means the address that
//! asks; it answers `OK` or `KO`.

use super::request::{Reply, Request, address};
use crate::base::{Moment, WallTime};
use crate::config::DuckDns;
use std::time::Duration;

/// After a failure it is tried again sooner than `every`.
const AGAIN: Duration = Duration::from_secs(60);

/// When the address is told, and what became of it last.
#[derive(Debug, Clone, Default)]
pub struct Teller {
    next: Option<Duration>,
    is_under_way: bool,
    /// When it was last told, and how that went.
    pub last: Option<(WallTime, Result<(), String>)>,
    failures: u32,
}

impl Teller {
    /// One that tells at once.
    pub fn new(now: Moment) -> Teller {
        Teller { next: Some(now.mono), ..Teller::default() }
    }

    /// When it tells next; `None`: it is at it.
    pub fn deadline(&self) -> Option<Duration> {
        self.next.filter(|_| !self.is_under_way)
    }

    /// Begins, if it is due.
    pub fn begin(&mut self, now: Moment) -> bool {
        let due = self.deadline().is_some_and(|at| at <= now.mono);
        if due {
            // Whatever comes from here on is a change meanwhile.
            self.next = None;
            self.is_under_way = true;
        }
        due
    }

    /// The address may be another one now.
    pub fn hurry(&mut self, now: Moment) {
        self.next = Some(now.mono);
    }

    /// It was told, or could not be. Failures in a row, this one included.
    pub fn ended(&mut self, now: Moment, every: Duration, result: Result<(), String>) -> u32 {
        self.is_under_way = false;
        self.failures = if result.is_ok() { 0 } else { self.failures.saturating_add(1) };
        let pause = match self.failures {
            0 => every,
            failures => AGAIN.saturating_mul(1 << failures.min(10).saturating_sub(1)).min(every.max(AGAIN)),
        };
        // A change of the address while it was told is told too.
        if self.next.is_none() {
            self.next = Some(now.mono + pause);
        }
        self.last = Some((now.wall, result));
        self.failures
    }
}

/// The request that tells it.
pub fn request(dns: &DuckDns) -> Request {
    let (server, name, token) = (&dns.server, &dns.subdomain, encode(&address(&dns.token)));
    let url = format!("{server}/update?domains={name}&token={token}&ip=");
    Request { method: "GET", url, headers: vec![], body: vec![] }
}

/// What is not a plain character is encoded (RFC 3986).
fn encode(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~');
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// What its answer means.
pub fn outcome(reply: &Reply) -> Result<(), String> {
    let said = String::from_utf8_lossy(&reply.body);
    match (reply.status, said.trim().lines().next()) {
        (200, Some("OK")) => Ok(()),
        (200, Some("KO")) => Err("it answers KO: the subdomain is not the token's, or one of the two is wrong".into()),
        (200, _) => Err("it does not answer OK".into()),
        (status, _) => Err(format!("HTTP {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment { mono: Duration::from_secs(seconds), wall: WallTime(0) }
    }

    #[test]
    fn a_change_of_the_address_while_it_is_told_is_told_too() {
        let every = Duration::from_secs(300);
        for (hurries, result, next) in [
            (false, Ok(()), 320),
            (true, Ok(()), 15),
            (false, Err("no route".to_string()), 80),
            (true, Err("no route".to_string()), 15),
        ] {
            let mut teller = Teller::new(at(10));
            assert!(teller.begin(at(10)) && !teller.begin(at(10)));
            if hurries {
                teller.hurry(at(15));
            }
            assert_eq!(teller.deadline(), None, "one at a time");
            teller.ended(at(20), every, result.clone());
            assert_eq!(teller.deadline(), Some(Duration::from_secs(next)), "{hurries} {result:?}");
        }
    }
}
