//! What goes wrong with the diary, told so that a person knows what to do.
//!
//! The daemon looks at [`StoreError::trouble`] to decide (a full disk is waited out, a contradiction is a defect), people read
//! the text. Line: no database; how its errors become these is written in `diary`.

use crate::base::DeployId;
use std::fmt;
use std::path::Path;

/// The kind of trouble, as far as a caller can act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// The disk (or its quota) is full; nothing was changed; worth trying again.
    Full,
    /// The directory or file cannot be written.
    ReadOnly,
    /// The directory or file may not be read by this user.
    Denied,
    /// Another process holds the database for longer than we wait.
    Busy,
    /// There is no diary (only when it is opened for reading).
    Missing,
    /// The database was written by a newer (or, for reading, is from an older) Pintle.
    Version,
    /// The file is not a sound database. [`super::Diary::open`] sets such a one aside.
    Damaged,
    /// The entry contradicts what is written already; nothing was changed.
    Contradiction,
    /// The disk failed in another way.
    Io,
}

/// An error of the diary: a kind, and a text that says what was tried, where, why it failed and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreError {
    /// What a caller can act on.
    pub trouble: Trouble,
    text: String,
}

impl StoreError {
    /// `deed PATH: why`, with the advice that goes with the trouble.
    pub(super) fn new(trouble: Trouble, deed: &str, path: &Path, why: &str) -> StoreError {
        let advice = match trouble {
            Trouble::Full => "; free some space on its file system (df -h; old logs and backups are under apps/)",
            Trouble::ReadOnly => {
                "; pintle must be able to write there: check owner and mode of the directory, and whether its file \
                 system is mounted read-only (findmnt -T)"
            }
            Trouble::Denied => "; ask as root or as the user the daemon runs as",
            Trouble::Busy => "; another program holds it open for writing (fuser -v shows which)",
            Trouble::Missing => "; is state_dir right? The daemon makes it at its first start (pintle run)",
            Trouble::Version => "; nothing was touched",
            Trouble::Damaged => "; the daemon sets it aside at its next start and begins a new one",
            Trouble::Io => "; the disk may be failing (dmesg)",
            Trouble::Contradiction => "",
        };
        StoreError { trouble, text: format!("{deed} {}: {why}{advice}", path.display()) }
    }

    /// A fact about deployment `number` that cannot be true together with what is known.
    pub(super) fn contradiction(number: DeployId, why: &str) -> StoreError {
        let text = format!("deployment {number} cannot be written down like this: {why}; this is a defect in pintle");
        StoreError { trouble: Trouble::Contradiction, text }
    }

    pub(super) fn used(number: DeployId) -> StoreError {
        StoreError::contradiction(number, "its number was used before")
    }

    pub(super) fn not_open(number: DeployId) -> StoreError {
        StoreError::contradiction(number, "it was never queued, or it is over already")
    }

    pub(super) fn unknown(number: DeployId) -> StoreError {
        StoreError::contradiction(number, "it was never queued")
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
impl std::error::Error for StoreError {}
