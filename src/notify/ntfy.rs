//! ntfy: the message is the body, all else stands in headers.
//!
//! <https://docs.ntfy.sh/publish/>: a message of more than 4,096 bytes becomes an attachment; headers that are not ASCII
//! are encoded as RFC 2047 has it; priorities go from 1 to 5; tags that are names of emojis are shown as such.

use super::cut;
use super::message::{Message, Tone};
use super::request::{Envelope, Request, address};
use crate::config::Secret;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const MESSAGE: usize = 4_096;
const TITLE: usize = 250;

/// The request that tells `message` to a topic.
pub fn request(server: &str, topic: &str, token: Option<&Secret>, message: &Message, envelope: &Envelope) -> Request {
    let facts = message.facts.iter().map(|(name, value)| format!("{name}: {value}"));
    let text = message.text.iter().cloned().chain(facts).chain(message.output.iter().cloned());
    let body: Vec<String> = text.chain([format!("({})", envelope.host)]).collect();
    let (priority, tag) = match message.tone {
        Tone::Good => ("default", "white_check_mark"),
        Tone::Neutral => ("default", "information_source"),
        Tone::Warning => ("high", "warning"),
        Tone::Bad => ("high", "x"),
        Tone::Critical => ("urgent", "rotating_light"),
    };
    let mut headers = vec![
        ("Content-Type", "text/plain; charset=utf-8".to_owned()),
        ("Title", header(&cut::line(&message.title, TITLE))),
        ("Priority", priority.to_owned()),
        ("Tags", tag.to_owned()),
    ];
    headers.extend(token.map(|token| ("Authorization", format!("Bearer {}", address(token)))));
    let body = cut::bytes(&body.join("\n"), MESSAGE).into_bytes();
    Request { method: "POST", url: format!("{server}/{topic}"), headers, body }
}

/// As it may stand in a header: ASCII as it is, everything else as encoded words (RFC 2047) of 75 characters at most.
pub(super) fn header(text: &str) -> String {
    // What begins like an encoded word would be taken for one.
    if text.bytes().all(|b| matches!(b, b' '..=b'~')) && !text.contains("=?") {
        return text.to_owned();
    }
    const ROOM: usize = 45;
    let mut words: Vec<String> = vec![String::new()];
    for c in text.chars() {
        if words.last().is_some_and(|word| word.len() + c.len_utf8() > ROOM) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.push(c);
        }
    }
    let words = words.iter().map(|word| format!("=?UTF-8?B?{}?=", STANDARD.encode(word)));
    words.collect::<Vec<_>>().join(" ")
}
