//! What a deploy is: its phases in order, what may go wrong in each, and what is put right then.
//!
//! [`plan`] turns a request into ordered phases, [`machine`] walks them one event at a time (in the words of
//! [`language`]), [`gate`] says what it waits for before it begins, [`outcome`] says what an end means to a caller, [`recover`] reads an interrupted deploy's last words
//! and decides how it goes on.
//! Line: pure. The machine asks for work and is told how it ended; it never does any.

pub mod gate;
pub mod language;
pub mod machine;
pub mod outcome;
pub mod plan;
pub mod recover;

pub use language::{End, Fact, Input, Output, Work, Worked};
pub use machine::Deployment;
pub use plan::{Kind, Plan};
pub use recover::{Interrupted, Recovery};
