//! Discord: a webhook that shows one embed.
//!
//! <https://discord.com/developers/docs/resources/webhook#execute-webhook>, embed limits in
//! <https://discord.com/developers/docs/resources/message#embed-object-embed-limits>: title 256, description 4,096, 25
//! fields of 256 and 1,024, footer 2,048, all together 6,000. Nobody is called by `@everyone` in a text
//! (`allowed_mentions`).

use super::cut;
use super::message::Message;
use super::request::{Envelope, Request};
use serde_json::{Value, json};
use std::time::Duration;

const TITLE: usize = 256;
// Below what each may have, so that all together never have more than 6,000.
const DESCRIPTION: usize = 2_400;
const FIELD_NAME: usize = 64;
const FIELD_VALUE: usize = 256;
const FIELDS: usize = 10;
const FOOTER: usize = 64;

/// The request that tells `message`.
pub fn request(url: &str, message: &Message, envelope: &Envelope) -> Request {
    let mut description = message.text.as_deref().map(escape).unwrap_or_default();
    if !message.output.is_empty() {
        // No escape is known within a block of code.
        let output = message.output.join("\n").replace("```", "'''");
        let room = DESCRIPTION.saturating_sub(description.encode_utf16().count() + 10);
        if room > 200 {
            let gap = if description.is_empty() { "" } else { "\n" };
            description += &format!("{gap}```\n{}\n```", cut::units(&output, room));
        }
    }
    let fields = message.facts.iter().take(FIELDS).map(|(name, value)| {
        json!({
            "name": cut::units(&escape(name), FIELD_NAME),
            "value": cut::units(&escape(value), FIELD_VALUE),
            "inline": value.chars().count() <= 20,
        })
    });
    let mut embed = json!({
        "title": cut::units(&format!("{} {}", message.tone.sign(), escape(&message.title)), TITLE),
        "color": message.tone.colour(),
        "timestamp": message.at.rfc3339(),
        "footer": {"text": cut::units(&envelope.host, FOOTER)},
        "fields": fields.collect::<Vec<Value>>(),
    });
    if !description.is_empty() {
        embed["description"] = cut::units(&description, DESCRIPTION).into();
    }
    let document = json!({"username": "Pintle", "embeds": [embed], "allowed_mentions": {"parse": []}});
    Request::json(url, &document)
}

/// Markdown taken as text.
fn escape(text: &str) -> String {
    let special = |c: char| matches!(c, '\\' | '*' | '_' | '~' | '`' | '|' | '>' | '[' | ']' | '#');
    text.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

/// `{"message": "You are being rate limited.", "retry_after": 64.57, "global": false}`
pub fn retry_after(body: &[u8]) -> Option<Duration> {
    let document: Value = serde_json::from_slice(body).ok()?;
    Duration::try_from_secs_f64(document.get("retry_after")?.as_f64()?).ok()
}
