//! Whether the state directory keeps what is put there, and is nobody else's.

use super::super::findings::Finding;
use super::installation::Installation;
use crate::os::lock;
use nix::sys::statfs::{self, statfs};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const ABOUT: &str = "state";

/// What is to be said of it.
pub fn look(here: &Installation) -> Vec<Finding> {
    let dir = here.paths.state_dir.as_path();
    let shown = dir.display();
    let found = match fs::metadata(dir) {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && here.daemon.status().is_none() => {
            return vec![Finding::ok(
                ABOUT,
                format!("{shown} does not exist yet: the daemon makes it at its first start"),
            )];
        }
        Err(error) => {
            let advice = "correct state_dir in pintle.toml, or let the daemon make it";
            return vec![Finding::critical(ABOUT, format!("{shown} cannot be looked at: {error}"), advice)];
        }
    };
    let mut findings = vec![kept(dir)];
    findings.extend(owned(here, dir, found.uid()));
    findings.extend(closed(dir, found.mode()));
    findings.extend(held(here, dir));
    findings
}

/// Whether it is there after the next boot.
fn kept(dir: &Path) -> Finding {
    let shown = dir.display();
    let kind = statfs(dir).map(|found| found.filesystem_type());
    let lost = match kind {
        Ok(statfs::OVERLAYFS_SUPER_MAGIC) => Some("an overlay over a read-only root"),
        Ok(statfs::TMPFS_MAGIC) => Some("a file system in memory"),
        _ => None,
    };
    match lost {
        Some(lost) => {
            let what = format!("{shown} lies in {lost}: releases, data and history are lost at the next boot");
            let advice =
                "mount a writable partition there, or switch the overlay off (`sudo raspi-config`, Performance)";
            Finding::critical(ABOUT, what, advice)
        }
        None => Finding::ok(ABOUT, format!("{shown} outlives a boot")),
    }
}

/// Whether it belongs to whoever runs the daemon.
fn owned(here: &Installation, dir: &Path, owner: u32) -> Option<Finding> {
    let daemon = here.daemon.status().and_then(|status| {
        let process = fs::metadata(format!("/proc/{}", status.daemon.pid)).ok()?;
        Some(process.uid())
    })?;
    (owner != daemon).then(|| {
        let what = format!("{} belongs to user {owner}, the daemon runs as user {daemon}", dir.display());
        Finding::critical(ABOUT, what, format!("chown {daemon} {}", dir.display()))
    })
}

/// Whether only its owner can put something there.
fn closed(dir: &Path, mode: u32) -> Option<Finding> {
    (mode & 0o022 != 0).then(|| {
        let what = format!("others can write to {} (mode {:04o})", dir.display(), mode & 0o7777);
        Finding::critical(ABOUT, what, format!("chmod go-w {}", dir.display()))
    })
}

/// Whether the daemon that answers is the one that works on it.
fn held(here: &Installation, dir: &Path) -> Option<Finding> {
    let holder = lock::holder(dir)?;
    let answers = here.daemon.status().map(|status| status.daemon.pid);
    (answers != Some(holder) && answers.is_some()).then(|| {
        let what = format!("another pintle (pid {holder}) works on {}", dir.display());
        Finding::critical(ABOUT, what, "stop one of the two: `ps -C pintle -f` shows both")
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::findings::Level;
    use super::*;

    #[test]
    fn what_is_lost_at_a_boot_is_told() {
        let finding = kept(Path::new("/dev/shm"));
        assert_eq!(finding.level, Level::Critical, "{finding:?}");
        assert!(finding.what.contains("in memory") && finding.advice.is_some());
        assert!(kept(Path::new("/proc")).is_ok());
    }

    #[test]
    fn only_the_owner_may_write() {
        assert_eq!(closed(Path::new("/s"), 0o40755), None);
        assert!(closed(Path::new("/s"), 0o40775).unwrap().what.contains("(mode 0775)"));
    }
}
