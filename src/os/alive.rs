//! A mark that the daemon lives, for its successor: where it still lies, the one before did not come to its end.
//!
//! It names the boot and the process, by number and start time. A mark of another boot means that the host went down,
//! which is no crash of ours; one of this very process that it became a new program (`reexec`). It lies among what may be
//! lost at a reboot and costs no write to a disk.

use super::files::because;
use super::process::Process;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Its name in the runtime directory.
const NAME: &str = "alive";

/// Our mark. Dropped, it is gone: the daemon ended in order, or with an explanation.
#[derive(Debug)]
pub struct Mark {
    path: PathBuf,
    /// What lay there was left by a daemon that crashed or was killed since the host was started.
    pub predecessor_crashed: bool,
}

impl Mark {
    /// Leaves the mark in `runtime_dir`, and looks what lay there before.
    pub fn leave(runtime_dir: &Path) -> io::Result<Mark> {
        let path = runtime_dir.join(NAME);
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let pid = std::process::id();
        let started = Process::read(pid).map_or(0, |process| process.start_time);
        let ours = format!("{}\n{pid} {started}\n", boot.trim());
        let before = fs::read_to_string(&path).unwrap_or_default();
        let same_boot = !boot.trim().is_empty() && before.lines().next() == Some(boot.trim());
        fs::write(&path, &ours).map_err(|error| because("write", &path, &error))?;
        Ok(Mark { path, predecessor_crashed: same_boot && before != ours })
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_that_was_left_in_this_boot_tells_of_a_crash() {
        let dir = std::env::temp_dir().join(format!("pintle-alive-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let first = Mark::leave(&dir).unwrap();
        assert!(!first.predecessor_crashed, "nothing lay there");
        let text = fs::read_to_string(dir.join(NAME)).unwrap();
        // The same process, become a new program.
        std::mem::forget(first);
        let again = Mark::leave(&dir).unwrap();
        assert!(!again.predecessor_crashed);
        drop(again);
        assert!(!dir.join(NAME).exists(), "one that ends in order leaves nothing");
        let (boot, _) = text.split_once('\n').unwrap();
        fs::write(dir.join(NAME), format!("{boot}\n1 7\n")).unwrap();
        assert!(Mark::leave(&dir).unwrap().predecessor_crashed);
        fs::write(dir.join(NAME), "another-boot\n1 7\n").unwrap();
        assert!(!Mark::leave(&dir).unwrap().predecessor_crashed, "the host was started anew");
        fs::remove_dir_all(&dir).unwrap();
    }
}
