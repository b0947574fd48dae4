//! Whether the board and an app are well: when to look, and what the looks mean together.
//!
//! [`watch`] judges the probes of the running release. [`board`] is what the sensors of the board say, [`parse`] makes it
//! of the kernel's texts, [`judge`] says what it means. Line: pure; `os::probe` and `os::sensors` look, `daemon` carries
//! the results here.

pub mod board;
pub mod judge;
pub mod parse;
pub mod watch;

pub use board::{Reading, Readings};
pub use judge::{Finding, Judge, Level};
pub use watch::{Verdict, Watch};
