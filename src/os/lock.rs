//! One daemon per state directory, by a kernel lock: it ends with its holder, however that ends.
//!
//! The file's text (the holder's pid) only serves the error message; the lock is what counts.

use crate::os::files::because;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Held as long as it lives.
#[derive(Debug)]
pub struct StateLock {
    _file: Flock<File>,
}

impl StateLock {
    /// Takes the lock on `state_dir`. Held by another process, it is `ResourceBusy` and says by which.
    pub fn take(state_dir: &Path) -> io::Result<StateLock> {
        let path = state_dir.join(".lock");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .open(&path)
            .map_err(|error| because("open", &path, &error))?;
        let mut holder = String::new();
        let _ = (&file).take(32).read_to_string(&mut holder);
        let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((_, Errno::EWOULDBLOCK)) => {
                let who = holder
                    .trim()
                    .parse::<u32>()
                    .map_or("another pintle".into(), |pid| format!("another pintle (pid {pid})"));
                let what = format!("{who} already works on {}; stop it first", state_dir.display());
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, what));
            }
            Err((_, errno)) => return Err(because("lock", &path, &errno.into())),
        };
        // Best effort, as on a full disk: the lock is held all the same.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{}", std::process::id()));
        Ok(StateLock { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_learns_who_is_first_and_takes_over_when_he_has_gone() {
        let dir = std::env::temp_dir().join(format!("pintle-lock-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let first = StateLock::take(&dir).unwrap();
        let error = StateLock::take(&dir).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy);
        let words = format!("another pintle (pid {}) already works on {}", std::process::id(), dir.display());
        assert!(error.to_string().starts_with(&words), "{error}");
        drop(first);
        drop(StateLock::take(&dir).unwrap());
        std::fs::write(dir.join(".lock"), "123456789").unwrap();
        drop(StateLock::take(&dir).unwrap());
        assert_eq!(std::fs::read_to_string(dir.join(".lock")).unwrap(), std::process::id().to_string());
        std::fs::remove_dir_all(&dir).unwrap();
        let error = StateLock::take(&dir).unwrap_err().to_string();
        assert!(error.contains(".lock"), "{error}");
    }
}
