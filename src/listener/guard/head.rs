//! From the first bytes of a request to its typed head, or to the status and reason why it has none.
//!
//! Strict: where two programs could read the same bytes differently nobody reads on. `httparse` reads the lines; what
//! they say together is judged here. Pure. Line: whether anybody answers this request is the routes' to say.

use super::limits::{HEAD_BYTES, HEADERS};
use std::ops::Range;

/// Where a head ends, found without looking at a byte twice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Scan {
    looked_at: usize,
}

impl Scan {
    /// The length of the head at the beginning of `bytes`, its empty line included; `None` while more must come.
    /// `bytes` is what was given the last time, or that and more.
    pub(super) fn end(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refused> {
        for at in self.looked_at..bytes.len() {
            let before = |distance: usize| at.checked_sub(distance).and_then(|at| bytes.get(at)).copied();
            let byte = bytes.get(at).copied().unwrap_or_default();
            if (before(1) == Some(b'\r')) != (byte == b'\n') {
                return Err(malformed("a line does not end with CR LF"));
            }
            if byte == b'\n' && before(2) == Some(b'\n') {
                self.looked_at = 0;
                return if at < HEAD_BYTES { Ok(Some(at + 1)) } else { Err(too_long()) };
            }
            if !matches!(byte, b'\n' | b'\r' | b'\t' | b' '..=b'~' | 0x80..) {
                return Err(malformed("a control character in the head"));
            }
        }
        self.looked_at = bytes.len();
        if bytes.len() >= HEAD_BYTES { Err(too_long()) } else { Ok(None) }
    }
}

/// A head that may be acted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    /// One of [`METHODS`].
    pub(super) method: &'static str,
    /// In origin form, beginning with '/'; printable ASCII, not decoded.
    pub(super) target: String,
    /// All of them, without those that are between this client and us only.
    pub(super) headers: Vec<(String, String)>,
    /// How the body is delimited.
    pub(super) framing: Framing,
    /// Whether the client waits for "100 Continue" before it sends the body.
    pub(super) expects_continue: bool,
    /// Whether the connection may be used again.
    pub(super) keep_alive: bool,
    /// Whether the client speaks HTTP/1.0: it is told so when the connection stays, and never gets chunks.
    pub(super) is_1_0: bool,
}

/// How a body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes; 0 is no body.
    Length(u64),
    /// Chunks.
    Chunked,
}

/// Why there is no head: a status and a sentence for the sender. The connection is closed after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) why: &'static str,
}

/// What may be asked; any other method is not implemented.
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"];

/// Headers between a client and the next server only.
const HOP_BY_HOP: [&str; 8] =
    ["Connection", "Keep-Alive", "Proxy-Connection", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "Expect"];

impl Head {
    /// Reads a whole head: the `bytes` up to the end that [`Scan`] found.
    pub(super) fn read(bytes: &[u8]) -> Result<Head, Refused> {
        let mut fields = [httparse::EMPTY_HEADER; HEADERS];
        let mut lines = httparse::Request::new(&mut fields);
        match lines.parse(bytes) {
            Ok(httparse::Status::Complete(length)) if length == bytes.len() => {}
            Ok(_) => return Err(malformed("the head does not end where its empty line is")),
            Err(error) => return Err(unreadable(error, bytes)),
        }
        let is_1_0 = lines.version == Some(0);
        let fields = Fields::of(lines.headers)?;
        let method = lines.method.unwrap_or_default();
        let method = METHODS.into_iter().find(|known| *known == method);
        let method = method.ok_or(Refused { status: 501, why: "this method is not implemented" })?;
        let host = fields.host(is_1_0)?;
        let target = origin_form(lines.path.unwrap_or_default(), host)?;
        let framing = fields.framing(is_1_0)?;
        let expects_continue = fields.expects_continue(is_1_0)?;
        let keep_alive = fields.keep_alive(is_1_0);
        Ok(Head { method, target, headers: fields.passed_on(), framing, expects_continue, keep_alive, is_1_0 })
    }

    /// The first header of this name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The target up to the '?'.
    pub(super) fn path(&self) -> &str {
        self.target.split_once('?').map_or(self.target.as_str(), |(path, _)| path)
    }
}

/// The header lines, as text.
struct Fields<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Fields<'a> {
    fn of(lines: &[httparse::Header<'a>]) -> Result<Fields<'a>, Refused> {
        let text = |line: &httparse::Header<'a>| Some((line.name, std::str::from_utf8(line.value).ok()?));
        let fields: Option<Vec<_>> = lines.iter().map(text).collect();
        fields.map(Fields).ok_or(malformed("a header's value is not text"))
    }

    fn all(&self, name: &'static str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    /// The only value of `name`; `Err` when there are several.
    fn only(&self, name: &'static str, several: &'static str) -> Result<Option<&'a str>, Refused> {
        let mut values = self.all(name);
        let first = values.next();
        if values.next().is_some() { Err(malformed(several)) } else { Ok(first) }
    }

    fn tokens(&self, name: &'static str) -> impl Iterator<Item = &'a str> {
        self.all(name).flat_map(|value| value.split(',')).map(|token| token.trim_matches([' ', '\t']))
    }

    fn host(&self, is_1_0: bool) -> Result<Option<&'a str>, Refused> {
        let of_a_host = |byte: u8| byte.is_ascii_graphic() && !b"/?#@\\\"<>^`{|},".contains(&byte);
        match self.only("Host", "several Host headers")? {
            None if is_1_0 => Ok(None),
            None => Err(malformed("no Host header")),
            Some(host) if !host.is_empty() && host.bytes().all(of_a_host) => Ok(Some(host)),
            Some(_) => Err(malformed("the Host header is no host")),
        }
    }

    fn framing(&self, is_1_0: bool) -> Result<Framing, Refused> {
        let unclear = malformed("the length of the body is not clear");
        let length = self.only("Content-Length", unclear.why)?;
        let coding = self.only("Transfer-Encoding", unclear.why)?;
        match (length, coding) {
            (None, None) => Ok(Framing::Length(0)),
            // HTTP/1.0 knows no chunks: whoever passes them on under that version reads them in its own way.
            (None, Some(coding)) if coding.eq_ignore_ascii_case("chunked") && !is_1_0 => Ok(Framing::Chunked),
            (Some(digits), None) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().map(Framing::Length).map_err(|_| unclear)
            }
            _ => Err(unclear),
        }
    }

    fn expects_continue(&self, is_1_0: bool) -> Result<bool, Refused> {
        match self.only("Expect", "several Expect headers")? {
            None => Ok(false),
            Some(what) if what.eq_ignore_ascii_case("100-continue") => Ok(!is_1_0),
            Some(_) => Err(Refused { status: 417, why: "only 100-continue may be expected" }),
        }
    }

    fn keep_alive(&self, is_1_0: bool) -> bool {
        let says = |word: &str| self.tokens("Connection").any(|token| token.eq_ignore_ascii_case(word));
        !says("close") && (!is_1_0 || says("keep-alive"))
    }

    /// A header that `Connection` names is passed on all the same: a client could otherwise take from us what a proxy
    /// in front says about it.
    fn passed_on(self) -> Vec<(String, String)> {
        let stays = |(name, _): &(&str, &str)| !HOP_BY_HOP.iter().any(|hop| name.eq_ignore_ascii_case(hop));
        self.0.into_iter().filter(stays).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

/// The target as a path. The absolute form names its host a second time, which must be the same.
fn origin_form(target: &str, host: Option<&str>) -> Result<String, Refused> {
    if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(malformed("the request target is not a path"));
    }
    if target.starts_with('/') {
        return Ok(target.to_owned());
    }
    let scheme = ["http://", "https://"]
        .into_iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    let rest = scheme.and_then(|scheme| target.get(scheme.len()..));
    let rest = rest.ok_or(malformed("the request target is not a path"))?;
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    match host {
        Some(host) if host.eq_ignore_ascii_case(authority) => {
            Ok(if path.starts_with('/') { path.to_owned() } else { format!("/{path}") })
        }
        _ => Err(malformed("the request target and the Host header name different hosts")),
    }
}

fn unreadable(error: httparse::Error, bytes: &[u8]) -> Refused {
    match error {
        httparse::Error::Version if names_a_version(bytes) => {
            Refused { status: 505, why: "only HTTP/1.0 and HTTP/1.1 are spoken here" }
        }
        httparse::Error::TooManyHeaders => Refused { status: 431, why: "too many headers" },
        httparse::Error::HeaderName => malformed("a header's name cannot be read"),
        httparse::Error::HeaderValue => malformed("a header's value cannot be read"),
        _ => malformed("the request line cannot be read"),
    }
}

/// Whether the request line is one, but for the version.
fn names_a_version(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let parts: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    match parts.as_slice() {
        [_, _, [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]] => major.is_ascii_digit() && minor.is_ascii_digit(),
        _ => false,
    }
}

fn too_long() -> Refused {
    Refused { status: 431, why: "the head is too long" }
}

fn malformed(why: &'static str) -> Refused {
    Refused { status: 400, why }
}

/// The empty lines before a request, which old clients send after a body.
pub(super) fn blank(bytes: &[u8]) -> Range<usize> {
    let mut end = 0;
    while bytes.get(end..end + 2) == Some(b"\r\n") {
        end += 2;
    }
    0..end
}

#[cfg(test)]
mod tests;
