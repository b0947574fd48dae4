//! What the previous backup already holds, so that an unchanged file is linked and not copied.
//!
//! A file counts as unchanged when path, size, inode, mtime and ctime are what they were: nobody but the kernel sets a
//! ctime. The index keeps a hash of those five instead of the path: 48 bytes per file, however long its name. Line:
//! answers from what the manifest said; whether the old copy is still good is the hands' question.

use crate::backup::manifest::{Checksum, Entry, Kind, Stamp};
use crate::backup::path::Inside;
use crate::base::WallTime;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

type Fingerprint = [u8; 16];

/// The files of one earlier backup.
#[derive(Debug, Default)]
pub struct Unchanged {
    files: Vec<(Fingerprint, Checksum)>,
    databases: HashMap<Inside, (u64, Checksum)>,
}

/// A file written within this time before the backup began may have been written again within the same tick of the
/// kernel's clock, unseen (file systems keep 10 ms to 2 s): it is copied once more.
const TICK_NS: i64 = 2_000_000_000;

impl Unchanged {
    /// Takes in one entry of the backup that was begun at `begun`.
    pub fn add(&mut self, entry: &Entry, begun: WallTime) {
        match &entry.kind {
            Kind::File { stamp, sha256 } => {
                let settled = stamp.ctime_ns < begun.0.saturating_mul(1_000_000).saturating_sub(TICK_NS);
                if settled {
                    self.files.push((fingerprint(entry.path.as_path(), stamp), *sha256));
                }
            }
            Kind::Database { size, sha256 } => drop(self.databases.insert(entry.path.clone(), (*size, *sha256))),
            Kind::Dir | Kind::Symlink { .. } => {}
        }
    }
    /// To be called once after the last [`add`](Unchanged::add), before any question.
    pub fn seal(&mut self) {
        self.files.sort_unstable_by_key(|(fingerprint, _)| *fingerprint);
        self.files.shrink_to_fit();
    }
    /// The checksum of the file at `path`, when it is the one that backup holds.
    pub fn file(&self, path: &Path, stamp: &Stamp) -> Option<Checksum> {
        let wanted = fingerprint(path, stamp);
        let found = self.files.binary_search_by_key(&wanted, |(fingerprint, _)| *fingerprint).ok()?;
        Some(self.files[found].1)
    }
    /// Size and checksum of that backup's copy of the database at `path`.
    pub fn database(&self, path: &Inside) -> Option<(u64, Checksum)> {
        self.databases.get(path).copied()
    }
}

/// 128 bits of a cryptographic hash: an accidental clash will not be seen in this universe.
fn fingerprint(path: &Path, stamp: &Stamp) -> Fingerprint {
    let mut hash = Sha256::new();
    for number in [stamp.size, stamp.inode, stamp.mtime_ns as u64, stamp.ctime_ns as u64] {
        hash.update(number.to_le_bytes());
    }
    hash.update(path.as_os_str().as_bytes());
    let mut short = Fingerprint::default();
    short.copy_from_slice(&hash.finalize()[..16]);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGUN: WallTime = WallTime(1_761_336_000_000);
    const STAMP: Stamp = Stamp { size: 5, inode: 77, mtime_ns: 1_000, ctime_ns: 2_000 };

    fn entry(path: &str, stamp: Stamp) -> Entry {
        let kind = Kind::File { stamp, sha256: Checksum([7; 32]) };
        Entry { path: Inside::new(path).unwrap(), mode: 0o644, uid: 0, gid: 0, mtime_ns: stamp.mtime_ns, kind }
    }

    #[test]
    fn any_difference_makes_a_file_changed() {
        let mut index = Unchanged::default();
        index.add(&entry("data/a", STAMP), BEGUN);
        index.add(&entry("data/0", STAMP), BEGUN);
        index.seal();
        assert_eq!(index.file(Path::new("data/a"), &STAMP), Some(Checksum([7; 32])));
        assert_eq!(index.file(Path::new("data/b"), &STAMP), None);
        for changed in [
            Stamp { size: 6, ..STAMP },
            Stamp { inode: 78, ..STAMP },
            Stamp { mtime_ns: 1_001, ..STAMP },
            Stamp { ctime_ns: 2_001, ..STAMP },
        ] {
            assert_eq!(index.file(Path::new("data/a"), &changed), None, "{changed:?}");
        }
    }

    #[test]
    fn a_file_written_as_the_backup_began_is_not_trusted() {
        let mut index = Unchanged::default();
        let late = Stamp { ctime_ns: BEGUN.0 * 1_000_000 - 1, ..STAMP };
        index.add(&entry("data/a", late), BEGUN);
        index.seal();
        assert_eq!(index.file(Path::new("data/a"), &late), None);
    }
}
