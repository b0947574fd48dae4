//! A request and its answer in our own words, so that whatever speaks HTTP in front can be replaced.

use serde::Serialize;
use std::io;
use std::net::SocketAddr;

/// After a 503, in seconds: a daemon that is restarted is back by then.
pub(super) const RETRY_AFTER: &str = "10";

/// A whole request.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// `GET`, `POST` ... as sent.
    pub method: String,
    /// The path, beginning with '/', not decoded.
    pub path: String,
    /// What stands behind the '?'; empty when nothing does.
    pub query: String,
    /// Its headers, as sent.
    pub headers: Vec<(String, String)>,
    /// All of it.
    pub body: Vec<u8>,
    /// Who is connected; `None` on a Unix socket.
    pub peer: Option<SocketAddr>,
    /// Whether it says that somebody passed it on for somebody else.
    pub is_forwarded: bool,
}

impl Ask {
    /// Splits a request target into path and query; `None` when it is not one of this server's.
    pub fn split_target(target: &str) -> Option<(String, String)> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        path.starts_with('/').then(|| (path.to_owned(), query.to_owned()))
    }

    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers_named(name).next()
    }

    /// Every header of this name, in the order they came.
    pub fn headers_named<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let all = self.headers.iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name));
        all.map(|(_, value)| value.as_str())
    }

    /// Whether somebody on this machine asks for himself: by a Unix socket or from loopback, and not passed on by a
    /// proxy.
    pub fn is_local(&self) -> bool {
        !self.is_forwarded && self.peer.is_none_or(|peer| peer.ip().to_canonical().is_loopback())
    }

    /// Whether the query says `name=1` (or `true`).
    pub fn says(&self, name: &str) -> bool {
        let value =
            |pair: &str| pair.split_once('=').is_some_and(|(key, value)| key == name && matches!(value, "1" | "true"));
        self.query.split('&').any(value)
    }
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Headers beside those that every answer has.
    pub headers: Vec<(&'static str, String)>,
    /// JSON.
    pub body: Vec<u8>,
}

impl Reply {
    /// An answer that is `document`.
    pub fn json<T: Serialize>(status: u16, document: &T) -> Reply {
        let body = serde_json::to_vec(document).unwrap_or_default();
        Reply { status, headers: vec![("Content-Type", "application/json".to_owned())], body }
    }

    /// No body at all.
    pub fn nothing(status: u16) -> Reply {
        Reply { status, headers: vec![], body: vec![] }
    }

    /// `{"status":"error","message":..}`.
    pub fn error(status: u16, message: impl Into<String>) -> Reply {
        Reply::json(status, &Said { status: "error", message: message.into() })
    }

    /// `{"status":"ignored","message":..}`.
    pub fn ignored(message: impl Into<String>) -> Reply {
        Reply::json(200, &Said { status: "ignored", message: message.into() })
    }

    /// 503, and when to come again.
    pub fn later(message: impl Into<String>) -> Reply {
        Reply::error(503, message).with("Retry-After", RETRY_AFTER)
    }

    /// With one more header.
    pub fn with(mut self, name: &'static str, value: &str) -> Reply {
        self.headers.push((name, value.to_owned()));
        self
    }
}

/// An answer of which no one knows yet how long it becomes.
pub struct Stream {
    /// The HTTP status.
    pub status: u16,
    /// What the pieces are: `text/plain; charset=utf-8`, `text/event-stream`.
    pub content_type: &'static str,
    /// Writes it, on a thread of its own; its end is the answer's end, its error cuts the answer off.
    pub write: Writing,
}

/// The work of writing a [`Stream`].
pub type Writing = Box<dyn FnOnce(&mut dyn Pieces) -> io::Result<()> + Send>;

/// Where a streamed answer is written to.
pub trait Pieces {
    /// Sends a piece at once; nothing is sent for an empty one. Waits while the client does not read, and fails
    /// (`BrokenPipe`) when it is gone: who has nothing to say for long finds out by saying something.
    fn piece(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// What a request is answered with.
pub enum Answered {
    /// In one piece.
    Whole(Reply),
    /// Piece by piece.
    Live(Stream),
}

impl From<Reply> for Answered {
    fn from(reply: Reply) -> Answered {
        Answered::Whole(reply)
    }
}

#[derive(Serialize)]
struct Said {
    status: &'static str,
    message: String,
}
