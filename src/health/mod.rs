//! Whether the board and an app are well: when to look, and what the looks mean together.
//!
//! [`watch`] judges the probes of the running release. [`board`] is what the sensors of the board say, [`judge`] says what
//! it means. Line: pure; `os::probe` looks, `daemon` carries the results here.

pub mod board;
pub mod judge;
pub mod watch;

pub use board::{Reading, Readings};
pub use judge::{Finding, Judge, Level};
pub use watch::{Verdict, Watch};
