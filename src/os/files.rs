//! Durable files: what a power cut may interrupt and must not tear.
//!
//! A file is replaced by temp, fsync, rename, fsync of the folder; a symlink by rename; a tree is removed in two steps
//! so that a half-removed one can never be mistaken for a whole one.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Puts the path and the deed into an I/O error: `write /a/b: No space left on device (os error 28)`.
pub fn because(deed: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{deed} {}: {error}", path.display()))
}

/// Replaces `path` by `content` so that after a power cut the old or the new content is there, never a mixture.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let temp = beside(path, ".new");
    let write = || -> io::Result<()> {
        let _ = fs::remove_file(&temp);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temp)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temp, path)?;
        sync_parent(path)
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&temp);
        because("write", path, &error)
    })
}

/// Points the symlink `link` at `target` by rename: whoever follows it meets the old target or the new one.
pub fn swap_symlink(link: &Path, target: &Path) -> io::Result<()> {
    let temp = beside(link, ".new");
    let swap = || -> io::Result<()> {
        let _ = fs::remove_file(&temp);
        std::os::unix::fs::symlink(target, &temp)?;
        fs::rename(&temp, link)?;
        sync_parent(link)
    };
    swap().map_err(|error| because("point", link, &error))
}

/// Makes a directory entry (created, renamed, removed) durable.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}

/// Makes everything written so far on the file system that holds `path` durable.
pub fn sync_filesystem(path: &Path) -> io::Result<()> {
    let file = File::open(path).map_err(|error| because("open", path, &error))?;
    // SAFETY: syncfs takes a descriptor we own and touches no memory of ours.
    match unsafe { libc::syncfs(std::os::fd::AsRawFd::as_raw_fd(&file)) } {
        0 => Ok(()),
        _ => Err(because("sync the file system of", path, &io::Error::last_os_error())),
    }
}

/// Removes a tree: renamed out of sight first (`.NAME.gone`), so that its name never stands for half of it. A tree
/// that is not there is not an error.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default();
    let mut gone = OsString::from(".");
    gone.push(name);
    gone.push(".gone");
    let gone = path.with_file_name(gone);
    if gone.symlink_metadata().is_ok() {
        fs::remove_dir_all(&gone).map_err(|error| because("remove", &gone, &error))?;
    }
    match fs::rename(path, &gone) {
        Ok(()) => fs::remove_dir_all(&gone).map_err(|error| because("remove", &gone, &error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(because("remove", path, &error)),
    }
}

/// Creates a directory and its parents with `mode`; one that exists is left as it is.
pub fn make_dir(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .map_err(|error| because("create directory", path, &error))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(suffix);
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_replacement_leaves_the_old_content_and_no_temp() {
        let dir = std::env::temp_dir().join(format!("pintle-files-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("a");
        replace(&path, b"old", 0o600).unwrap();
        replace(&path, b"new", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        fs::create_dir(dir.join("d")).unwrap();
        let error = replace(&dir.join("d"), b"x", 0o600).unwrap_err().to_string();
        assert!(error.contains("/d:"), "{error}");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 2, "no temp file stays behind");
        swap_symlink(&dir.join("l"), Path::new("a")).unwrap();
        swap_symlink(&dir.join("l"), Path::new("d")).unwrap();
        assert_eq!(fs::read_link(dir.join("l")).unwrap(), Path::new("d"));
        remove_tree(&dir).unwrap();
        remove_tree(&dir).unwrap();
        assert!(!dir.exists());
    }
}
