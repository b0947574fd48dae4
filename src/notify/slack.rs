//! Slack: an incoming webhook. The title stands above a coloured block with the rest.
//!
//! <https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks>: `text` is what a notification shows; text
//! of a section has 3,000 characters at most, a section 10 fields of 2,000. `&`, `<` and `>` are escaped, which also
//! keeps `<!channel>` from calling everybody.

use super::cut;
use super::message::Message;
use super::request::{Envelope, Request};
use serde_json::{Value, json};

const SECTION: usize = 3_000;
const FIELD: usize = 2_000;
const FIELDS: usize = 10;

/// The request that tells `message`.
pub fn request(url: &str, message: &Message, envelope: &Envelope) -> Request {
    let mut blocks: Vec<Value> = vec![];
    if let Some(text) = &message.text {
        blocks.push(section(&cut::chars(&escape(text), SECTION)));
    }
    if !message.facts.is_empty() {
        let fields = message.facts.iter().take(FIELDS).map(|(name, value)| {
            let text = cut::chars(&format!("*{}*\n{}", escape(name), escape(value)), FIELD);
            json!({"type": "mrkdwn", "text": text})
        });
        blocks.push(json!({"type": "section", "fields": fields.collect::<Vec<_>>()}));
    }
    if !message.output.is_empty() {
        let output = escape(&message.output.join("\n")).replace("```", "'''");
        blocks.push(section(&format!("```\n{}\n```", cut::chars(&output, SECTION - 8))));
    }
    let foot = format!("{} · {}", escape(&envelope.host), message.at);
    blocks.push(json!({"type": "context", "elements": [{"type": "mrkdwn", "text": foot}]}));
    let title = format!("{} {}", message.tone.sign(), escape(&message.title));
    let colour = format!("#{:06x}", message.tone.colour());
    let document = json!({"text": title, "attachments": [{"color": colour, "fallback": title, "blocks": blocks}]});
    Request::json(url, &document)
}

fn section(text: &str) -> Value {
    json!({"type": "section", "text": {"type": "mrkdwn", "text": text}})
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
