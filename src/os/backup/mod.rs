//! The hands of backups: make, list, prove, put back, delete.
//!
//! ```text
//! APP_DIR/backups/ID/manifest.json      what it holds, every file with its SHA-256
//! APP_DIR/backups/ID/files/PATH         the copies: private (0700, 0600), true modes and owners are in the manifest
//! APP_DIR/backups/ID/damaged            a copy was found to differ from its checksum, and why
//! APP_DIR/backups/.ID.partial/          being made; a power cut leaves this, never half a backup under its name
//! APP_DIR/backups/.ID.gone/             being deleted
//! APP_DIR/.restore.json                 a restore's journal (see `restore`)
//! ```
//! Unchanged files are hard links to the copy in the backup before: nothing ever writes to a copy. One backup or restore
//! per application at a time is the caller's promise; [`clean_scratch`] runs before the application starts.

mod copy;
mod create;
mod restore;
mod shelf;
mod sqlite;
mod swap;
mod tree;
mod unpack;
mod verify;

pub use create::{DEFAULT_RESERVE, Made, Plan, create};
pub use restore::{Restored, What, materialise, restore};
pub use shelf::{Shelved, State, list, prune, summary};
pub use verify::{Report, verify};

use std::io;
use std::path::Path;

/// Clears away what a crash or a power cut left: half-made and half-deleted backups go, a restore that had begun to
/// swap is finished, one that had not leaves no trace. Says what it did, one line each.
pub fn clean_scratch(app_dir: &Path) -> io::Result<Vec<String>> {
    let mut said = shelf::clean(app_dir)?;
    said.extend(swap::recover(app_dir)?);
    Ok(said)
}

fn cancelled() -> io::Error {
    io::Error::new(io::ErrorKind::Interrupted, "cancelled")
}

#[cfg(test)]
mod tests;
