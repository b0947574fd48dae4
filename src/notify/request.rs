//! From what lies in the outbox to a request, and from its answer to what became of it.
//!
//! Here secrets are put in, and here they end: a [`Request`] shows none of them, and no answer that is told does.

use super::cut;
use super::message::{Body, Message};
use super::outbox::Outcome;
use super::redact::Redactor;
use super::{discord, forge, ntfy, slack, telegram, webhook};
use crate::base::WallTime;
use crate::config::{Channel, CommitStatus, Secret, Way};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Where something goes.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// To people.
    Channel(Arc<Channel>),
    /// To a commit's forge.
    Forge(Arc<CommitStatus>),
}

/// What a message is sent with.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope {
    /// The same for every try of the same message, and for no other.
    pub id: String,
    /// This host's name.
    pub host: String,
    /// When it is sent.
    pub at: WallTime,
}

/// An HTTP request. Its address and its headers are not shown: they hold secrets.
#[derive(Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Request {
    pub method: &'static str,
    pub url: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("method", &self.method).field("bytes", &self.body.len()).finish_non_exhaustive()
    }
}

impl Request {
    /// A POST of a JSON document.
    pub fn json(url: impl Into<String>, document: &serde_json::Value) -> Request {
        let headers = vec![("Content-Type", "application/json".to_owned())];
        Request { method: "POST", url: url.into(), headers, body: document.to_string().into_bytes() }
    }
}

/// What a peer answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// `Retry-After`.
    pub retry_after: Option<String>,
    /// `X-RateLimit-Remaining`: how many requests it would still take.
    pub quota_left: Option<String>,
    /// `X-RateLimit-Reset`: when it takes more, in seconds since 1970.
    pub quota_reset: Option<String>,
    /// The beginning of its body.
    pub body: Vec<u8>,
}

impl Reply {
    fn says_too_often(&self) -> bool {
        self.retry_after.is_some() || self.has_no_quota_left()
    }

    fn has_no_quota_left(&self) -> bool {
        self.quota_left.as_deref().is_some_and(|left| left.trim() == "0")
    }

    fn until_it_takes_more(&self, now: WallTime) -> Option<Duration> {
        let reset = self.quota_reset.as_deref().filter(|_| self.has_no_quota_left())?;
        let at = reset.trim().parse::<i64>().ok()?.checked_mul(1000)?;
        Some(WallTime(at).since(now))
    }
}

impl Target {
    /// The request that tells `body`; `None`: it goes another way (a command), or the two do not fit each other.
    pub fn request(&self, body: &Body, envelope: &Envelope) -> Option<Request> {
        match (self, body) {
            (Target::Channel(channel), Body::Message(message)) => to_people(channel.way.as_ref()?, message, envelope),
            (Target::Forge(status), Body::Status(of)) => Some(forge::request(status, of)),
            _ => None,
        }
    }

    /// Certificates that the peer's one must lead to.
    pub fn ca(&self) -> Option<&Path> {
        match self {
            Target::Channel(channel) => channel.ca.as_deref(),
            Target::Forge(status) => status.ca.as_deref(),
        }
    }

    /// What an answer means.
    pub fn outcome(&self, reply: &Reply, now: WallTime) -> Outcome {
        let why = || {
            // First what is secret, of which a cut would leave the beginning.
            let said = self.redactor().clean(&cut::readable(&String::from_utf8_lossy(&reply.body)));
            let said = cut::line(&said, 200);
            let said = if said.is_empty() { said } else { format!(": {said}") };
            format!("HTTP {}{said}", reply.status)
        };
        match reply.status {
            200..=299 => Outcome::Delivered,
            // GitHub says so when it was asked too often.
            403 if reply.says_too_often() => {
                Outcome::Later { after: self.told_to_wait(reply, now), why: why(), answered: false }
            }
            408 | 429 => Outcome::Later { after: self.told_to_wait(reply, now), why: why(), answered: false },
            300..=399 => {
                Outcome::Never { why: format!("HTTP {}: it lies elsewhere now; correct the address", reply.status) }
            }
            // A proxy before it may say so while its peer is being started.
            401 | 403 | 404 => Outcome::Refused { why: why() },
            400..=499 => Outcome::Never { why: why() },
            _ => Outcome::Later { after: self.told_to_wait(reply, now), why: why(), answered: true },
        }
    }

    /// How long the peer wants to be left alone: by its header, or as its API says it.
    fn told_to_wait(&self, reply: &Reply, now: WallTime) -> Option<Duration> {
        let by_body = match self {
            Target::Channel(channel) => match channel.way {
                Some(Way::Telegram { .. }) => telegram::retry_after(&reply.body),
                Some(Way::Discord { .. }) => discord::retry_after(&reply.body),
                _ => None,
            },
            Target::Forge(_) => None,
        };
        let by_header = reply.retry_after.as_deref().and_then(|text| retry_after(text, now));
        by_body.max(by_header).or_else(|| reply.until_it_takes_more(now))
    }

    /// Knows the secrets that lead there.
    pub fn redactor(&self) -> Redactor {
        let secrets: Vec<&Secret> = match self {
            Target::Channel(channel) => secrets_of(channel),
            Target::Forge(status) => vec![&status.token],
        };
        Redactor::new(secrets)
    }
}

fn to_people(way: &Way, message: &Message, envelope: &Envelope) -> Option<Request> {
    match way {
        Way::Slack { url } => Some(slack::request(&address(url), message, envelope)),
        Way::Discord { url } => Some(discord::request(&address(url), message, envelope)),
        Way::Telegram { server, token, chat } => {
            Some(telegram::request(&format!("{server}/bot{}", address(token)), chat, message, envelope))
        }
        Way::Ntfy { server, topic, token } => Some(ntfy::request(server, topic, token.as_ref(), message, envelope)),
        Way::Webhook { url, secret } => Some(webhook::request(&address(url), secret.as_ref(), message, envelope)),
        Way::Command { .. } => None,
    }
}

/// The configuration has seen that it is text.
pub(super) fn address(secret: &Secret) -> String {
    String::from_utf8_lossy(secret.expose()).trim().to_owned()
}

/// Every secret that a channel is reached by.
pub fn secrets_of(channel: &Channel) -> Vec<&Secret> {
    match &channel.way {
        Some(Way::Slack { url } | Way::Discord { url }) => vec![url],
        Some(Way::Telegram { token, .. }) => vec![token],
        Some(Way::Ntfy { token, .. }) => token.iter().collect(),
        Some(Way::Webhook { url, secret }) => [Some(url), secret.as_ref()].into_iter().flatten().collect(),
        Some(Way::Command { .. }) | None => vec![],
    }
}

/// `Retry-After`: seconds, or a date (RFC 9110).
fn retry_after(text: &str, now: WallTime) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text.trim()).ok()?;
    Some(WallTime(at.as_millisecond()).since(now))
}

#[cfg(test)]
#[path = "request/tests.rs"]
mod tests;
