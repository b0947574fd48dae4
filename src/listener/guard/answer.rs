//! An answer on its way to the client: what the routes said through tiny_http, or what the guard says by itself.
//!
//! An answer is framed anew for the client it goes to: with its length, in chunks, or for HTTP/1.0 by the end of the
//! connection. Pure. Line: when the bytes are written, and how many are held, is the connection's matter.

use super::body::Decoder;
use super::head::Framing;
use crate::base::WallTime;
use crate::listener::ask::Reply;
use std::io::Write;

/// What decides how an answer is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    /// The request was HEAD: no body, whatever the length says.
    pub(super) to_head: bool,
    /// The client speaks HTTP/1.0.
    pub(super) is_1_0: bool,
    /// The connection may stay open.
    pub(super) keep_alive: bool,
}

/// Headers of an answer. tiny_http and the routes write about ten.
const HEADERS: usize = 48;

/// A head longer than this is nobody's answer.
const HEAD_BYTES: usize = 32 << 10;

/// Headers that are between tiny_http and us only, or are written anew.
const HOP_BY_HOP: [&str; 6] =
    ["Connection", "Keep-Alive", "Transfer-Encoding", "Content-Length", "Upgrade", "Proxy-Connection"];

/// One answer being passed on.
#[derive(Debug)]
pub(super) struct Relay {
    facts: Facts,
    at: At,
}

#[derive(Debug)]
enum At {
    /// So much of the head is there.
    Head(Vec<u8>),
    /// The body: how it comes, and whether it goes on in chunks.
    Body {
        decoder: Decoder,
        in_chunks: bool,
    },
    Done,
}

/// What tiny_http wrote is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Garbled;

impl Relay {
    pub(super) fn new(facts: Facts) -> Relay {
        Relay { facts, at: At::Head(Vec::new()) }
    }

    /// Whether the client was told anything of this answer.
    pub(super) fn has_begun(&self) -> bool {
        !matches!(self.at, At::Head(_))
    }

    /// Whether it is over.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.at, At::Done)
    }

    /// Whether the connection may stay open after it.
    pub(super) fn keeps_alive(&self) -> bool {
        self.facts.keep_alive
    }

    /// Passes `bytes` on to `out`. Gives the status when this was the end of the head.
    pub(super) fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Option<u16>, Garbled> {
        let mut status = None;
        let mut rest = bytes;
        let behind_the_head;
        if let At::Head(head) = &mut self.at {
            head.extend_from_slice(bytes);
            let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4) else {
                return if head.len() > HEAD_BYTES { Err(Garbled) } else { Ok(None) };
            };
            let all = std::mem::take(head);
            status = Some(self.begin(all.get(..end).unwrap_or_default(), out)?);
            behind_the_head = all.get(end..).unwrap_or_default().to_vec();
            rest = &behind_the_head;
        }
        self.body(rest, out)?;
        Ok(status)
    }

    fn begin(&mut self, head: &[u8], out: &mut Vec<u8>) -> Result<u16, Garbled> {
        let mut fields = [httparse::EMPTY_HEADER; HEADERS];
        let mut lines = httparse::Response::new(&mut fields);
        match lines.parse(head) {
            Ok(httparse::Status::Complete(length)) if length == head.len() => {}
            _ => return Err(Garbled),
        }
        let status = lines.code.filter(|code| *code >= 200).ok_or(Garbled)?;
        let framing = framing(lines.headers)?;
        let has_body = !self.facts.to_head && status != 204 && status != 304;
        let in_chunks = framing == Framing::Chunked && !self.facts.is_1_0;
        // Only the end of the connection tells HTTP/1.0 where such a body ends.
        self.facts.keep_alive &= framing != Framing::Chunked || in_chunks || !has_body;
        status_line(out, status, lines.reason.unwrap_or_default());
        for line in lines.headers.iter() {
            if !HOP_BY_HOP.iter().any(|hop| line.name.eq_ignore_ascii_case(hop)) {
                field(out, line.name, line.value);
            }
        }
        match framing {
            Framing::Length(length) if status != 204 => field(out, "Content-Length", length.to_string().as_bytes()),
            Framing::Chunked if in_chunks => field(out, "Transfer-Encoding", b"chunked"),
            _ => {}
        }
        end_of_head(out, self.facts);
        self.at = match has_body {
            true => At::Body { decoder: Decoder::of(framing), in_chunks },
            false => At::Done,
        };
        Ok(status)
    }

    fn body(&mut self, mut rest: &[u8], out: &mut Vec<u8>) -> Result<(), Garbled> {
        while let At::Body { decoder, in_chunks } = &mut self.at {
            if decoder.is_done() {
                if *in_chunks {
                    out.extend_from_slice(b"0\r\n\r\n");
                }
                self.at = At::Done;
                break;
            }
            if rest.is_empty() {
                return Ok(());
            }
            let step = decoder.step(rest).map_err(|_| Garbled)?;
            if !step.body.is_empty() && *in_chunks {
                // Writing to memory cannot fail.
                let _ = write!(out, "{:x}\r\n", step.body.len());
                out.extend_from_slice(step.body);
                out.extend_from_slice(b"\r\n");
            } else {
                out.extend_from_slice(step.body);
            }
            rest = rest.get(step.used..).unwrap_or_default();
        }
        // Nothing was asked that this could belong to.
        if rest.is_empty() { Ok(()) } else { Err(Garbled) }
    }
}

fn framing(lines: &[httparse::Header<'_>]) -> Result<Framing, Garbled> {
    let value = |name: &str| lines.iter().find(|line| line.name.eq_ignore_ascii_case(name)).map(|line| line.value);
    match (value("Transfer-Encoding"), value("Content-Length")) {
        (Some(_), _) => Ok(Framing::Chunked),
        (None, Some(digits)) => {
            std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).map(Framing::Length).ok_or(Garbled)
        }
        (None, None) => Ok(Framing::Length(0)),
    }
}

/// Writes an answer of the guard's own.
pub(super) fn write(reply: &Reply, facts: Facts, now: WallTime, out: &mut Vec<u8>) {
    status_line(out, reply.status, reason(reply.status));
    field(out, "Server", b"pintle");
    if let Some(date) = date(now) {
        field(out, "Date", date.as_bytes());
    }
    for (name, value) in &reply.headers {
        field(out, name, value.as_bytes());
    }
    field(out, "Cache-Control", b"no-store");
    field(out, "X-Content-Type-Options", b"nosniff");
    field(out, "Content-Length", reply.body.len().to_string().as_bytes());
    end_of_head(out, facts);
    if !facts.to_head {
        out.extend_from_slice(&reply.body);
    }
}

/// What tells a client to send the body it announced.
pub(super) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

fn status_line(out: &mut Vec<u8>, status: u16, reason: &str) {
    let _ = write!(out, "HTTP/1.1 {status} {reason}\r\n");
}

fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn end_of_head(out: &mut Vec<u8>, facts: Facts) {
    match (facts.keep_alive, facts.is_1_0) {
        (false, _) => field(out, "Connection", b"close"),
        (true, true) => field(out, "Connection", b"keep-alive"),
        (true, false) => {}
    }
    out.extend_from_slice(b"\r\n");
}

/// The words for the statuses the guard gives itself.
fn reason(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

/// `Sat, 21 Nov 2026 13:23:06 GMT`; nothing for a moment no calendar has.
fn date(now: WallTime) -> Option<String> {
    let moment = jiff::Timestamp::from_millisecond(now.0).ok()?;
    Some(moment.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
}
