//! Hears when files change: inotify, so that nothing is looked at while nothing happens.
//!
//! What is watched are the directories along the way, by name: a file that is replaced by rename, or by swapping a
//! symlink anywhere on its path (as certbot does), is another file than before. Line: that something changed is told,
//! never what.

use crate::os::files::because;
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Component, Path, PathBuf};

/// As many symlinks are followed as the kernel follows.
const LINKS: usize = 40;

/// What becomes of a name in a directory, and of the directory itself.
const CHANGES: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_CLOSE_WRITE)
    .union(AddWatchFlags::IN_ATTRIB)
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR);

/// The files that somebody wants to hear of.
#[derive(Debug)]
pub struct FileWatch {
    inotify: Inotify,
    /// Of each watched directory the names that matter.
    names: HashMap<WatchDescriptor, HashSet<OsString>>,
}

impl FileWatch {
    /// Watches nothing yet. Fails only when the process or its user is out of descriptors.
    pub fn new() -> io::Result<FileWatch> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        Ok(FileWatch { inotify, names: HashMap::new() })
    }

    /// From now on `files` and no others. One that is not there is heard of when it comes. What cannot be watched is an
    /// error; the rest is watched all the same.
    pub fn follow(&mut self, files: &[PathBuf]) -> io::Result<()> {
        let before = std::mem::take(&mut self.names);
        let mut failed = None;
        for (dir, name) in files.iter().flat_map(|file| names_on_the_way(file)) {
            match self.inotify.add_watch(&dir, CHANGES) {
                Ok(watch) => drop(self.names.entry(watch).or_default().insert(name)),
                Err(errno) => failed = Some(because("watch", &dir, &errno.into())),
            }
        }
        for watch in before.into_keys().filter(|watch| !self.names.contains_key(watch)) {
            // It may be gone with its directory.
            let _ = self.inotify.rm_watch(watch);
        }
        failed.map_or(Ok(()), Err)
    }

    /// Whether anything that matters happened since it was last asked.
    pub fn changed(&self) -> bool {
        let mut changed = false;
        loop {
            match self.inotify.read_events() {
                Ok(events) => {
                    changed |= events.iter().any(|event| match (self.names.get(&event.wd), &event.name) {
                        // Too much happened to tell what.
                        _ if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) => true,
                        (None, _) => false,
                        (Some(names), Some(name)) => names.contains(name),
                        (Some(_), None) => true,
                    });
                }
                Err(Errno::EINTR) => {}
                Err(_) => return changed,
            }
        }
    }
}

impl AsFd for FileWatch {
    /// Readable when something happened.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

/// Each directory that leads to `file`, with the name in it that is the next step: where that is a symlink, its own way
/// too. Ends where a step is missing.
fn names_on_the_way(file: &Path) -> Vec<(PathBuf, OsString)> {
    let mut steps: Vec<OsString> = reversed(file);
    let (mut here, mut found, mut links) = (PathBuf::from("/"), vec![], 0);
    while let Some(step) = steps.pop() {
        if step == ".." {
            here.pop();
            continue;
        }
        let next = here.join(&step);
        found.push((here.clone(), step));
        match fs::symlink_metadata(&next) {
            Err(_) => break,
            Ok(metadata) if metadata.is_symlink() && links < LINKS => {
                links += 1;
                let Ok(target) = fs::read_link(&next) else { break };
                if target.is_absolute() {
                    here = PathBuf::from("/");
                }
                steps.extend(reversed(&target));
            }
            Ok(_) => here = next,
        }
    }
    found
}

/// The steps of a path, the last one first.
fn reversed(path: &Path) -> Vec<OsString> {
    let steps = path.components().filter(|step| matches!(step, Component::Normal(_) | Component::ParentDir));
    steps.rev().map(|step| step.as_os_str().to_owned()).collect()
}

#[cfg(test)]
#[path = "file_watch/tests.rs"]
mod tests;
