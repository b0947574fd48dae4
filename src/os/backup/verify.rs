//! Reads a whole backup and compares it with its manifest.

use super::copy;
use super::shelf::Shelf;
use super::tree::{Dir, Then, walk};
use crate::backup::manifest::{Entry, Kind};
use crate::backup::path::escape;
use crate::base::{BackupId, Bytes};
use crate::os::cancel::Cancel;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What a verification found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Files read, databases included.
    pub files: u64,
    /// What they hold.
    pub bytes: Bytes,
    /// In the manifest, but not there.
    pub missing: Vec<PathBuf>,
    /// There, but not as the manifest says, or not readable.
    pub changed: Vec<PathBuf>,
    /// There, but not in the manifest.
    pub extra: Vec<PathBuf>,
}

impl Report {
    /// Whether the backup can be restored whole; what is extra does no harm.
    pub fn is_good(&self) -> bool {
        self.missing.is_empty() && self.changed.is_empty()
    }
}

/// Checks everything backup `id` holds, and remembers the outcome: a bad backup counts as damaged from now on, a good
/// one no longer does. Fails when there is no such backup, its manifest cannot be read, or on a cancel.
pub fn verify(app_dir: &Path, id: &BackupId, cancel: &Cancel) -> io::Result<Report> {
    let shelf = Shelf::of(app_dir);
    let files = shelf.files(id);
    let mut report = Report::default();
    // A keyed 64-bit hash per path is enough to name what is extra, and small.
    let hasher = RandomState::new();
    let with_ancestors = |path: &Path| path.ancestors().map(|path| hasher.hash_one(path)).collect::<Vec<u64>>();
    let mut known: HashSet<u64> = with_ancestors(Path::new("")).into_iter().collect();
    let contents = shelf.read(id, &mut |entry| {
        known.insert(hasher.hash_one(entry.path.as_path()));
        check(&files, &entry, &mut report, cancel)
    })?;
    contents.summary.roots.iter().for_each(|root| known.extend(with_ancestors(root.path.as_path())));
    let backup = Dir::open(&shelf.backup(id))?;
    walk(&backup, OsStr::new("files"), Path::new(""), cancel, &mut |met| {
        if !known.contains(&hasher.hash_one(met.path)) {
            report.extra.push(met.path.to_path_buf());
        }
        Ok(Then::Enter)
    })?;
    remember(&shelf, id, &report)?;
    Ok(report)
}

fn check(files: &Path, entry: &Entry, report: &mut Report, cancel: &Cancel) -> io::Result<()> {
    if cancel.is_cancelled() {
        return Err(super::cancelled());
    }
    let place = files.join(&entry.path);
    let path = entry.path.as_path().to_path_buf();
    let found = match &entry.kind {
        Kind::Dir => fs::symlink_metadata(&place).map(|meta| meta.is_dir()),
        Kind::Symlink { target } => fs::read_link(&place).map(|found| found == *target),
        Kind::File { .. } | Kind::Database { .. } => hash(&place, cancel).map(|found| {
            report.files += 1;
            report.bytes.0 += found.0;
            Some(found) == entry.kind.content()
        }),
    };
    match found {
        Ok(true) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => report.missing.push(path),
        Err(_) if cancel.is_cancelled() => return Err(super::cancelled()),
        Ok(false) | Err(_) => report.changed.push(path),
    }
    Ok(())
}

fn hash(place: &Path, cancel: &Cancel) -> io::Result<(u64, crate::backup::manifest::Checksum)> {
    let mut file: File = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(place)?;
    copy::hash(&mut file, cancel)
}

fn remember(shelf: &Shelf, id: &BackupId, report: &Report) -> io::Result<()> {
    match report.missing.first().or(report.changed.first()) {
        Some(path) => shelf.mark_damaged(id, &format!("{} is missing or changed", escape(path))),
        None => shelf.mark_sound(id),
    }
}
