//! Whether an app is well: when to look, and what the looks mean together.
//!
//! [`watch`] judges the probes of the running release; [`ladder`] says what is done when they stay bad. Line: pure; `os::probe` looks, `daemon` carries the results here.

pub mod ladder;
pub mod watch;

pub use ladder::Ladder;
pub use watch::{Failure, Verdict, Watch};
