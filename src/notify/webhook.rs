//! A webhook of one's own: JSON, signed as GitHub signs.
//!
//! `X-Pintle-Signature-256: sha256=HEX` is the HMAC-SHA256 of the body as sent. The body holds `id` (the same for every
//! try of one message: whoever saw it may leave it) and `timestamp` (of this try), so both are signed too.

use super::message::{Body, Message};
use super::request::{Envelope, Request};
use crate::base::WallTime;
use crate::config::Secret;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value, json};
use sha2::Sha256;

/// The request that tells `message`.
pub fn request(url: &str, secret: Option<&Secret>, message: &Message, envelope: &Envelope) -> Request {
    let mut request = Request::json(url, &document(message, envelope));
    request.headers.extend([
        ("X-Pintle-Event", message.event.clone()),
        ("X-Pintle-Delivery", envelope.id.clone()),
        ("X-Pintle-Timestamp", seconds(envelope.at).to_string()),
    ]);
    if let Some(signature) = secret.and_then(|secret| sign(secret, &request.body)) {
        request.headers.push(("X-Pintle-Signature-256", signature));
    }
    request
}

/// The message as programs read it; commands get it too.
pub fn document(message: &Message, envelope: &Envelope) -> Value {
    let facts: Map<String, Value> =
        message.facts.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
    json!({
        "id": envelope.id,
        "timestamp": seconds(envelope.at),
        "host": envelope.host,
        "event": message.event,
        "severity": message.tone,
        "title": message.title,
        "text": message.text,
        "app": message.app,
        "facts": facts,
        "output": message.output,
        "at": message.at,
    })
}

/// What a command finds in its environment beside the document on its stdin.
pub fn variables(body: &Body, envelope: &Envelope) -> Vec<(String, String)> {
    let Body::Message(message) = body else { return vec![] };
    let severity = serde_json::to_value(message.tone).ok().and_then(|word| word.as_str().map(str::to_owned));
    let pairs = [
        ("PINTLE_EVENT", message.event.clone()),
        ("PINTLE_SEVERITY", severity.unwrap_or_default()),
        ("PINTLE_TITLE", message.title.clone()),
        ("PINTLE_TEXT", message.text.clone().unwrap_or_default()),
        ("PINTLE_APP", message.app.as_ref().map(ToString::to_string).unwrap_or_default()),
        ("PINTLE_HOST", envelope.host.clone()),
        ("PINTLE_MESSAGE_ID", envelope.id.clone()),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.replace('\0', ""))).collect()
}

fn seconds(at: WallTime) -> i64 {
    at.0.div_euclid(1000)
}

pub(super) fn sign(secret: &Secret, body: &[u8]) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose()).ok()?;
    mac.update(body);
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    Some(format!("sha256={hex}"))
}
