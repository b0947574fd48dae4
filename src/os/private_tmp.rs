//! A /tmp and /var/tmp of an instance's own: a directory that `spawn` lays over them, gone with the instance.
//!
//! What one service leaves there no other can read, replace or trip over. Line: who gets one is decided by the
//! configuration; the mounts are made by the child itself.

use crate::os::files::{because, make_dir};
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What lies over what, as the child takes it.
pub(crate) struct Mounts {
    /// Over /tmp.
    pub(crate) tmp: CString,
    /// Over /var/tmp.
    pub(crate) var_tmp: CString,
}

/// Makes the two directories, empty, in `dir`, which itself is closed to everybody else: it is reached only through the
/// mounts. What was in `dir` is removed.
pub fn make(dir: &Path) -> io::Result<()> {
    remove(dir)?;
    make_dir(dir, 0o700)?;
    for inner in [dir.join("tmp"), dir.join("var-tmp")] {
        make_dir(&inner, 0o700)?;
        // As /tmp everywhere; set apart from making it, which our mask would narrow.
        fs::set_permissions(&inner, fs::Permissions::from_mode(0o1777))
            .map_err(|error| because("open to everybody", &inner, &error))?;
    }
    Ok(())
}

/// Removes `dir` with everything the instance left. One that is not there is no error.
pub fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(because("remove", dir, &error)),
        _ => Ok(()),
    }
}

pub(crate) fn mounts(dir: &Path) -> io::Result<Mounts> {
    let path = |name: &str| CString::new(dir.join(name).as_os_str().as_encoded_bytes());
    Ok(Mounts { tmp: path("tmp")?, var_tmp: path("var-tmp")? })
}
