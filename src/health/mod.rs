//! Whether an app is well: when to look, and what the looks mean together.
//!
//! [`watch`] judges the probes of the running release. [`record`] decides what is kept of how the board was, and when it
//! is written down; [`gathering`] puts samples together. Line: pure; `os::probe` looks, `daemon` carries the results here.

pub mod gathering;
pub mod record;
pub mod watch;

pub use gathering::Resolution;
pub use record::Recorder;
pub use watch::{Verdict, Watch};
