//! One daemon per state directory, by a kernel lock: it ends with its holder, however that ends.
//!
//! The file's text (the holder's pid) only serves the error message; the lock is what counts.

use crate::os::files::because;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// What a killed holder was about to start is executed within this.
const LAST_CHILD: Duration = Duration::from_secs(1);

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
        let holder = holder.trim().parse::<u32>().ok();
        let mut file = match lock(file, holder) {
            Ok(file) => file,
            Err(Errno::EWOULDBLOCK) => {
                let who = holder.map_or("another pintle".into(), |pid| format!("another pintle (pid {pid})"));
                let what = format!("{who} already works on {}; stop it first", state_dir.display());
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, what));
            }
            Err(errno) => return Err(because("lock", &path, &errno.into())),
        };
        // Best effort, as on a full disk: the lock is held all the same.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| write!(file, "{}", std::process::id()));
        Ok(StateLock { _file: file })
    }
}

/// Who holds the lock on `state_dir`, by the kernel's list; `None`: nobody, or somebody whom it does not show. The lock
/// itself is not touched.
pub fn holder(state_dir: &Path) -> Option<u32> {
    let inode = std::fs::metadata(state_dir.join(".lock")).ok()?.ino();
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        // `7: FLOCK  ADVISORY  WRITE 1234 08:02:4711 0 EOF`
        let mut words = line.split_whitespace().skip(1);
        let (kind, pid, place) = (words.next()?, words.nth(2)?, words.next()?);
        let ours = kind == "FLOCK" && place.rsplit(':').next()?.parse() == Ok(inode);
        pid.parse().ok().filter(|pid| ours && *pid > 0)
    })
}

/// A holder that was killed while it started a program leaves the lock to that child until the program is executed:
/// so one whose pid is gone is waited for, one that lives is not.
fn lock(mut file: File, holder: Option<u32>) -> Result<Flock<File>, Errno> {
    let until = Instant::now() + LAST_CHILD;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Err((back, Errno::EWOULDBLOCK)) if !holder.is_some_and(is_there) && Instant::now() < until => {
                file = back;
                std::thread::sleep(LAST_CHILD / 100);
            }
            outcome => return outcome.map_err(|(_, errno)| errno),
        }
    }
}

fn is_there(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
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
        assert_eq!(holder(&dir), Some(std::process::id()));
        drop(first);
        drop(StateLock::take(&dir).unwrap());
        std::fs::write(dir.join(".lock"), "123456789").unwrap();
        drop(StateLock::take(&dir).unwrap());
        // Held by somebody whom the file does not name: the child of a holder that is gone.
        let orphan = StateLock::take(&dir).unwrap();
        std::fs::write(dir.join(".lock"), "4194305").unwrap();
        let letting_go = std::thread::spawn(move || drop(orphan));
        drop(StateLock::take(&dir).unwrap());
        letting_go.join().unwrap();
        assert_eq!(std::fs::read_to_string(dir.join(".lock")).unwrap(), std::process::id().to_string());
        std::fs::remove_dir_all(&dir).unwrap();
        let error = StateLock::take(&dir).unwrap_err().to_string();
        assert!(error.contains(".lock"), "{error}");
    }
}
