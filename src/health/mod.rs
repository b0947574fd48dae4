//! Whether the board and an app are well: when to look, and what the looks mean together.
//!
//! [`watch`] judges the probes of the running release; [`ladder`] says what is done when they stay bad. [`board`] is what
//! the sensors of the board say, [`parse`] makes it of the kernel's texts, [`judge`] says what it means; [`record`] decides
//! what is kept of it and when it is written down, [`gathering`] puts samples together. Line: pure; `os::probe` and
//! `os::sensors` look, `daemon` carries the results here.

pub mod board;
pub mod gathering;
pub mod judge;
pub mod ladder;
pub mod parse;
pub mod record;
pub mod watch;

pub use board::{Reading, Readings};
pub use gathering::Resolution;
pub use judge::{Finding, Judge, Level};
pub use ladder::Ladder;
pub use record::Recorder;
pub use watch::{Failure, Verdict, Watch};
