//! What is said, before it is put into the form of a channel.

use crate::base::{AppName, CommitId, WallTime};
use serde::{Deserialize, Serialize};

/// How it sounds: its colour, its sign, how urgent it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tone {
    /// As it should be.
    Good,
    /// Worth knowing.
    Neutral,
    /// Look at it when there is time.
    Warning,
    /// Something failed.
    Bad,
    /// Somebody is needed now.
    Critical,
}

impl Tone {
    /// The sign before the title, for channels without colours.
    pub fn sign(self) -> &'static str {
        match self {
            Tone::Good => "✅",
            Tone::Neutral => "ℹ️",
            Tone::Warning => "⚠️",
            Tone::Bad => "❌",
            Tone::Critical => "🚨",
        }
    }

    /// Its colour, as 0xRRGGBB.
    pub fn colour(self) -> u32 {
        match self {
            Tone::Good => 0x2e_b8_86,
            Tone::Neutral => 0x43_9f_e0,
            Tone::Warning => 0xda_a0_38,
            Tone::Bad => 0xd0_40_35,
            Tone::Critical => 0xa3_00_00,
        }
    }
}

/// One message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// What happened, for programs: `deploy.success`, `trouble`, `recovered`, `test` ...
    pub event: String,
    /// How it sounds.
    pub tone: Tone,
    /// One line: what happened.
    pub title: String,
    /// The app, where it is one's.
    pub app: Option<AppName>,
    /// Why, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Names and values, in order: `commit`, `branch` ...
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<(String, String)>,
    /// The last lines that a program printed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<String>,
    /// When it happened.
    pub at: WallTime,
}

/// How a commit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommitState {
    /// It is being deployed.
    Pending,
    /// It was.
    Success,
    /// It could not be.
    Failure,
    /// It was not tried to the end: superseded, cancelled; or the rollback failed.
    Error,
}

/// What a forge is told of a commit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct StatusOf {
    pub commit: CommitId,
    pub state: CommitState,
    /// One short line.
    pub description: String,
}

/// What lies in the outbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Body {
    /// For people.
    Message(Message),
    /// For a forge.
    Status(StatusOf),
}

impl Body {
    /// It is kept when others are summarised or dropped.
    pub fn is_critical(&self) -> bool {
        matches!(self, Body::Message(message) if message.tone == Tone::Critical)
    }

    /// As it is written down.
    pub fn to_text(&self) -> String {
        // Its shape cannot fail to be JSON.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// As it was written down, perhaps by another version.
    pub fn parse(text: &str) -> Option<Body> {
        serde_json::from_str(text).ok()
    }
}
