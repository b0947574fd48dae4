//! What a deploy is: its phases in order, what may go wrong in each, and what is put right then.
//!
//! [`plan`] turns a request into ordered phases, [`machine`] walks them one event at a time (in the words of
//! [`language`]), [`gate`] says what it waits for before it begins, [`outcome`] what an end means to a caller,
//! [`recover`] reads an interrupted deploy's last words and decides how it goes on. [`lookout`] says when a branch is
//! looked at, [`tried`] what a look does not begin again.
//! Line: pure. The machine asks for work and is told how it ended; it never does any.

pub mod gate;
pub mod language;
pub mod lookout;
pub mod machine;
pub mod outcome;
pub mod plan;
pub mod recover;
pub mod tried;

pub use language::{End, Fact, Input, Output, Work, Worked};
pub use lookout::Lookout;
pub use machine::Deployment;
pub use plan::{Kind, Plan};
pub use recover::{Interrupted, Recovery};
pub use tried::Tried;
