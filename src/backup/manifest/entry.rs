//! One entry of a manifest: a file, a database, a directory or a link, and its JSON form.

use crate::backup::path::{Inside, escape, unescape};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// Something a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Raw", into = "Raw")]
pub struct Entry {
    /// Relative to the working directory, and to `files/` of the backup.
    pub path: Inside,
    /// Permission bits, set-id and sticky included.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last modification, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// What it is.
    pub kind: Kind,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    Dir,
    Symlink {
        target: PathBuf,
    },
    File {
        stamp: Stamp,
        sha256: Checksum,
    },
    /// A database's consistent copy: its size is the copy's, and it has no stamp, since its own file is not what was read.
    Database {
        size: u64,
        sha256: Checksum,
    },
}

/// What tells an unchanged file from a changed one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Stamp {
    pub size: u64,
    pub inode: u64,
    pub mtime_ns: i64,
    pub ctime_ns: i64,
}

impl Kind {
    /// Size and checksum of what has bytes.
    pub fn content(&self) -> Option<(u64, Checksum)> {
        match self {
            Kind::File { stamp, sha256 } => Some((stamp.size, *sha256)),
            Kind::Database { size, sha256 } => Some((*size, *sha256)),
            Kind::Dir | Kind::Symlink { .. } => None,
        }
    }
}

/// A SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Checksum(pub [u8; 32]);

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl From<Checksum> for String {
    fn from(sum: Checksum) -> String {
        sum.to_string()
    }
}
impl TryFrom<String> for Checksum {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let mut sum = [0; 32];
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(format!("{text:?} is not a SHA-256: 64 hex digits"));
        }
        for (byte, digits) in sum.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(digits).unwrap_or_default();
            *byte = u8::from_str_radix(pair, 16).map_err(|error| error.to_string())?;
        }
        Ok(Checksum(sum))
    }
}

/// An entry as it stands in the file: what does not apply is left out.
#[derive(Serialize, Deserialize)]
struct Raw {
    path: Inside,
    #[serde(rename = "type")]
    kind: RawKind,
    mode: String,
    uid: u32,
    gid: u32,
    mtime_ns: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sha256: Option<Checksum>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    inode: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ctime_ns: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawKind {
    File,
    Database,
    Dir,
    Symlink,
}

impl From<Entry> for Raw {
    fn from(entry: Entry) -> Raw {
        let Entry { path, mode, uid, gid, mtime_ns, kind } = entry;
        let mode = format!("{mode:04o}");
        let bare = |kind| Raw {
            path,
            kind,
            mode,
            uid,
            gid,
            mtime_ns,
            size: None,
            sha256: None,
            inode: None,
            ctime_ns: None,
            target: None,
        };
        match kind {
            Kind::Dir => bare(RawKind::Dir),
            Kind::Symlink { target } => Raw { target: Some(escape(&target)), ..bare(RawKind::Symlink) },
            Kind::Database { size, sha256 } => {
                Raw { size: Some(size), sha256: Some(sha256), ..bare(RawKind::Database) }
            }
            Kind::File { stamp, sha256 } => Raw {
                size: Some(stamp.size),
                sha256: Some(sha256),
                inode: Some(stamp.inode),
                ctime_ns: Some(stamp.ctime_ns),
                mtime_ns: stamp.mtime_ns,
                ..bare(RawKind::File)
            },
        }
    }
}

impl TryFrom<Raw> for Entry {
    type Error = String;
    fn try_from(raw: Raw) -> Result<Entry, String> {
        let lacks = |key: &str| format!("the entry of {} lacks {key}", raw.path);
        let size = raw.size.ok_or_else(|| lacks("size"));
        let sha256 = raw.sha256.ok_or_else(|| lacks("sha256"));
        let kind = match raw.kind {
            RawKind::Dir => Kind::Dir,
            RawKind::Symlink => {
                let target = raw.target.as_deref().ok_or_else(|| lacks("target"))?;
                Kind::Symlink { target: unescape(target).map_err(|bad| bad.0)? }
            }
            RawKind::Database => Kind::Database { size: size?, sha256: sha256? },
            RawKind::File => {
                let inode = raw.inode.ok_or_else(|| lacks("inode"))?;
                let ctime_ns = raw.ctime_ns.ok_or_else(|| lacks("ctime_ns"))?;
                let stamp = Stamp { size: size?, inode, mtime_ns: raw.mtime_ns, ctime_ns };
                Kind::File { stamp, sha256: sha256? }
            }
        };
        let mode = u32::from_str_radix(&raw.mode, 8).ok().filter(|mode| *mode <= 0o7777);
        let mode = mode.ok_or_else(|| format!("the mode of {} is not octal permission bits", raw.path))?;
        Ok(Entry { path: raw.path, mode, uid: raw.uid, gid: raw.gid, mtime_ns: raw.mtime_ns, kind })
    }
}
