//! What a service says of itself over its notify socket: the `NAME=value` lines of `sd_notify(3)`.
//!
//! Line: only what a supervisor acts on is read; an unknown line is no error, because the protocol grows.

use std::time::Duration;

/// One line that means something to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// `READY=1`: it serves, or has reloaded.
    Ready,
    /// `RELOADING=1`: it reads its configuration again; `READY=1` follows.
    Reloading,
    /// `STOPPING=1`: it is about to end.
    Stopping,
    /// `STATUS=`: one line for people.
    Status(String),
    /// `WATCHDOG=1`: it lives.
    Alive,
    /// `WATCHDOG=trigger`: it knows that it is broken.
    Broken,
    /// `WATCHDOG_USEC=`: from now on it says so at least this often.
    AliveEvery(Duration),
    /// `EXTEND_TIMEOUT_USEC=`: what it is about (starting, stopping) needs so much longer from now.
    Extend(Duration),
}

/// A status longer than this is cut: it is shown on one line.
const STATUS_MAX: usize = 200;

/// The notices of one datagram, in order.
pub fn parse(message: &[u8]) -> Vec<Notice> {
    String::from_utf8_lossy(message).lines().filter_map(read_line).collect()
}

fn read_line(line: &str) -> Option<Notice> {
    match line.split_once('=')? {
        ("READY", "1") => Some(Notice::Ready),
        ("RELOADING", "1") => Some(Notice::Reloading),
        ("STOPPING", "1") => Some(Notice::Stopping),
        ("WATCHDOG", "1") => Some(Notice::Alive),
        ("WATCHDOG", "trigger") => Some(Notice::Broken),
        ("WATCHDOG_USEC", text) => microseconds(text).filter(|span| !span.is_zero()).map(Notice::AliveEvery),
        ("EXTEND_TIMEOUT_USEC", text) => microseconds(text).map(Notice::Extend),
        ("STATUS", text) => {
            let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
            Some(Notice::Status(printable.take(STATUS_MAX).collect()))
        }
        _ => None,
    }
}

fn microseconds(text: &str) -> Option<Duration> {
    text.parse().ok().map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_that_mean_something_are_read_and_others_passed_over() {
        let millis = Duration::from_millis;
        let table: [(&[u8], &[Notice]); 9] = [
            (b"READY=1", &[Notice::Ready]),
            (b"READY=1\nSTATUS=up\n", &[Notice::Ready, Notice::Status("up".into())]),
            (b"RELOADING=1\nMONOTONIC_USEC=5\n", &[Notice::Reloading]),
            (b"STOPPING=1", &[Notice::Stopping]),
            (b"WATCHDOG=1\nWATCHDOG=trigger", &[Notice::Alive, Notice::Broken]),
            (b"WATCHDOG_USEC=250000", &[Notice::AliveEvery(millis(250))]),
            (b"EXTEND_TIMEOUT_USEC=1500000", &[Notice::Extend(millis(1500))]),
            (b"READY=0\nWATCHDOG_USEC=0\nEXTEND_TIMEOUT_USEC=-1\nMAINPID=7\nnonsense", &[]),
            (b"STATUS=a\x1b[31mb\xff", &[Notice::Status("a [31mb\u{fffd}".into())]),
        ];
        for (message, notices) in table {
            assert_eq!(parse(message), notices, "{}", String::from_utf8_lossy(message));
        }
        let long = [b"STATUS=".as_slice(), &[b'x'; 5000]].concat();
        assert_eq!(parse(&long), [Notice::Status("x".repeat(STATUS_MAX))]);
    }
}
