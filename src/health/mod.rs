//! Whether an app is well: when to look, and what the looks mean together.
//!
//! [`watch`] judges the probes of the running release. Line: pure; `os::probe` looks, `daemon` carries the results here.

pub mod watch;

pub use watch::{Verdict, Watch};
