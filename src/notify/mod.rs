//! What people are told, and when.
//!
//! [`happening`] has what can happen that somebody may want to hear of. [`wording`] makes a [`Message`] of it and says on
//! which occasions it is told; [`incidents`] sees to it that a trouble is told once, and its end too; [`redact`] keeps
//! secrets out. Messages wait in the [`outbox`], which says what is sent when. Each kind of channel has a file for how its
//! requests look and what its answers mean ([`slack`], [`discord`], [`telegram`], [`ntfy`], [`webhook`]); [`forge`] does so
//! for commit statuses, [`duckdns`] for a name that follows our address. Line: pure; nothing here sends, and no message
//! holds an address or a token: those are put in when it is sent.

pub mod cut;
pub mod discord;
pub mod duckdns;
pub mod forge;
pub mod happening;
pub mod incidents;
pub mod message;
pub mod ntfy;
pub mod outbox;
pub mod redact;
pub mod request;
pub mod slack;
pub mod telegram;
pub mod webhook;
pub mod wording;

pub use happening::{Deed, Ended, Gravity, Happening, Subject};
pub use incidents::Incidents;
pub use message::{Body, CommitState, Message, StatusOf, Tone};
pub use outbox::{Outbox, Outcome};
pub use request::{Envelope, Request, Target};
