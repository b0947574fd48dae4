//! Telegram: a bot's `sendMessage`, in HTML.
//!
//! <https://core.telegram.org/bots/api#sendmessage>: at most 4,096 characters after entities are taken apart; in HTML `&`,
//! `<` and `>` are escaped, and tags must be closed, so texts are cut before they are marked up.

use super::cut;
use super::message::Message;
use super::request::{Envelope, Request};
use serde_json::{Value, json};
use std::time::Duration;

/// What a message may have, with room for what stands between its parts.
const TEXT: usize = 4_096 - 96;
const TITLE: usize = 300;
const FACTS: usize = 1_200;

/// The request that tells `message` to `chat`; `bot`: server and token.
pub fn request(bot: &str, chat: &str, message: &Message, envelope: &Envelope) -> Request {
    let facts: Vec<String> = message.facts.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let title = cut::units(&message.title, TITLE);
    let facts = cut::units(&facts.join("\n"), FACTS);
    let host = cut::units(&envelope.host, 64);
    let used = |texts: &[&str]| texts.iter().map(|text| text.encode_utf16().count()).sum::<usize>();
    let text = cut::units(message.text.as_deref().unwrap_or_default(), TEXT - used(&[&title, &facts, &host]) - 16);
    let room = TEXT - used(&[&title, &facts, &host, &text]);
    let output = message.output.join("\n");
    let output = if room > 100 { cut::units(&output, room) } else { String::new() };
    let mut parts = vec![format!("{} <b>{}</b>", message.tone.sign(), escape(&title))];
    parts.extend(Some(escape(&text)).filter(|text| !text.is_empty()));
    parts.extend(Some(escape(&facts)).filter(|facts| !facts.is_empty()));
    parts.extend(Some(format!("<pre>{}</pre>", escape(&output))).filter(|_| !output.is_empty()));
    parts.push(format!("<i>{}</i>", escape(&host)));
    let document = json!({
        "chat_id": chat,
        "text": parts.join("\n"),
        "parse_mode": "HTML",
        "link_preview_options": {"is_disabled": true},
    });
    Request::json(format!("{bot}/sendMessage"), &document)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// `{"ok":false,"error_code":429,"description":"...","parameters":{"retry_after":5}}`
pub fn retry_after(body: &[u8]) -> Option<Duration> {
    let document: Value = serde_json::from_slice(body).ok()?;
    document.pointer("/parameters/retry_after")?.as_u64().map(Duration::from_secs)
}
