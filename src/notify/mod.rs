//! What people are told, and when.
//!
//! [`happening`] has what can happen that somebody may want to hear of. Line: pure; nothing here sends.

pub mod happening;

pub use happening::{Gravity, Happening, Subject};
