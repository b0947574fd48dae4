//! `manifest.json`: everything a backup holds, with what is needed to prove it and to put it back.
//!
//! One JSON document: a summary, then `files` (one per line), then `databases`. It is written and read as a stream, so a
//! tree of a million files costs no memory; the summary's totals are known last and stand first, therefore room is kept
//! for them. Line: text to entries and back; the bytes come from and go to whoever holds the file.

use crate::backup::path::Inside;
use crate::backup::roots::Root;
use crate::base::{AppName, Bytes, CommitId, DeployId, ReleaseName, WallTime};
use serde::{Deserialize, Serialize};
use std::io::{self, Seek, SeekFrom, Write};

mod entry;
mod read;

pub use entry::{Checksum, Entry, Kind, Stamp};
pub use read::{read, read_summary};

/// What is known about a backup as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// What made it: `pintle`.
    pub engine: String,
    /// The version of what made it.
    pub version: String,
    /// Whose data.
    pub app: AppName,
    /// When it was begun.
    pub created: WallTime,
    /// The deployment it was made for.
    pub number: DeployId,
    /// The release that was live.
    pub release: Option<ReleaseName>,
    /// The commit of that release.
    pub commit: Option<CommitId>,
    /// Always `complete`: a backup gets its name when it is.
    pub status: String,
    /// The trees it holds; a configured path that did not exist is not among them.
    pub roots: Vec<Root>,
    /// What all files hold together.
    pub bytes: Bytes,
    /// What of it was not linked from the backup before.
    pub bytes_new: Bytes,
    /// Entries of `files`, directories and links included.
    pub entry_count: u64,
    /// Files and databases among them.
    pub file_count: u64,
    /// Databases among them.
    pub database_count: u64,
}

/// How a database was copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// Its file; for its size and checksum see `files`.
    pub path: Inside,
    /// `sqlite`.
    pub engine: String,
    /// In words: how the copy was made consistent.
    pub how: String,
    /// What the check of the copy said: `ok`, or why it could not be checked.
    pub check: String,
}

/// A manifest read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// The backup as a whole.
    pub summary: Summary,
    /// Its databases.
    pub databases: Vec<Database>,
}

/// Writes a manifest entry by entry.
pub struct Writer<W> {
    out: W,
    room: usize,
    entries: u64,
}

impl<W: Write + Seek> Writer<W> {
    /// Begins a manifest whose totals are not known yet; `summary` is given again, counted, to [`Writer::finish`].
    pub fn begin(mut out: W, summary: &Summary) -> io::Result<Writer<W>> {
        let most = u64::MAX;
        let widest = Summary {
            bytes: Bytes(most),
            bytes_new: Bytes(most),
            entry_count: most,
            file_count: most,
            database_count: most,
            ..summary.clone()
        };
        let room = head(&widest)?.len();
        out.write_all(&vec![b' '; room])?;
        out.write_all(b",\n\"files\":[")?;
        Ok(Writer { out, room, entries: 0 })
    }
    /// Appends one entry.
    pub fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        self.out.write_all(if self.entries == 0 { b"\n" } else { b",\n" })?;
        self.entries += 1;
        Ok(serde_json::to_writer(&mut self.out, entry)?)
    }
    /// Ends the manifest with the final `summary` (its `entry_count` is set here) and gives the output back, flushed.
    pub fn finish(mut self, summary: &Summary, databases: &[Database]) -> io::Result<W> {
        self.out.write_all(b"\n],\n\"databases\":")?;
        serde_json::to_writer(&mut self.out, databases)?;
        self.out.write_all(b"}\n")?;
        let head = head(&Summary { entry_count: self.entries, ..summary.clone() })?;
        debug_assert!(head.len() <= self.room, "only the totals may differ from what the manifest was begun with");
        self.out.seek(SeekFrom::Start(0))?;
        self.out.write_all(&head)?;
        self.out.flush()?;
        Ok(self.out)
    }
}

/// The summary as the open beginning of the document: without its closing brace.
fn head(summary: &Summary) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(summary)?;
    text.pop();
    Ok(text)
}

#[cfg(test)]
mod tests;
