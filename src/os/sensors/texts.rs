//! Small files below a root directory: a text, "there is none", or why it could not be read.

use crate::health::board::Reading;
use crate::os::files::because;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::PathBuf;

/// Nothing that is looked for stands behind this; whatever a file is, no more of it is taken into memory.
const MOST: u64 = 256 << 10;

/// Where the files are.
#[derive(Debug)]
pub(super) struct Texts {
    root: PathBuf,
}

impl Texts {
    pub(super) fn below(root: PathBuf) -> Texts {
        Texts { root }
    }

    /// A path below the root.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// The text of a file. One that is not there - or whose kernel says that it has nothing behind it - is unsupported.
    pub(super) fn read(&self, path: &str) -> Reading<String> {
        let path = self.path(path);
        let mut bytes = vec![];
        let read = File::open(&path).and_then(|file| file.take(MOST).read_to_end(&mut bytes));
        match read {
            Ok(_) => Reading::Value(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if is_absent(&error) => Reading::Unsupported,
            Err(error) => Reading::Unreadable(because("read", &path, &error).to_string()),
        }
    }

    /// The names in a directory, in order; none where there is no such directory.
    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort_unstable();
        names
    }

    pub(super) fn is_there(&self, path: &str) -> bool {
        self.path(path).exists()
    }
}

/// `psi=0` leaves the files of /proc/pressure there, and a driver without a device its attributes.
fn is_absent(error: &io::Error) -> bool {
    let nothing_behind = [libc::EOPNOTSUPP, libc::ENODEV, libc::ENXIO, libc::ENOTDIR];
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error().is_some_and(|code| nothing_behind.contains(&code))
}
