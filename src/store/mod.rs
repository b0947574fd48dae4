//! The diary: what was asked for, what was begun, how it ended - kept so that a power cut cannot make it untrue.
//!
//! The daemon tells facts ([`Entry`], always about something it has decided) and the [`Diary`] keeps them in
//! `STATE/pintle.db`; at its next start the daemon reads them back as one [`Snapshot`]. [`Memory`] takes the same
//! facts and gives the same answers without a disk, for the pure rooms' simulation.
//!
//! ```text
//! entry     what can be told                     no database
//! snapshot  what is known, derived from rows     no database
//! memory    the diary without a disk             no database
//! error     what goes wrong, for people          no database
//! schema    tables, as a list that only grows
//! open      open, check, set aside, begin anew
//! record    facts -> rows, one transaction
//! samples   how the board was: rows that are overwritten in turn
//! minutes   the finest of them, an hour in a row
//! post      the rows of messages and incidents
//! diary     rows -> what is known
//! ```
//! Line: it remembers and never decides. What is live is told by the `current` symlink alone.

mod diary;
pub mod entry;
pub mod error;
pub mod memory;
mod minutes;
mod open;
mod post;
mod record;
mod samples;
mod schema;
pub mod snapshot;
#[cfg(test)]
mod tests;

pub use diary::Diary;
pub use entry::{Entry, Kind, NewDeployment};
pub use error::{StoreError, Trouble};
pub use memory::Memory;
pub use open::Opened;
pub use snapshot::{AppSnapshot, Deployment, GoodRelease, Notice, Quarantined, ReleaseInfo, Seen, Snapshot};
