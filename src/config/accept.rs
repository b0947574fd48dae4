//! The last accepted configuration, kept beside the state: a broken file at start is then reported, and the
//! applications run on.
//!
//! Secrets in files of their own are not copied: [`super::Config::load_from`] looks for them where they always were.

use super::files::Files;
use crate::os::files::{because, make_dir, remove_tree, replace, sync_parent};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use std::fs;
use std::io;
use std::path::Path;

/// The directory's name within the state directory.
pub const ACCEPTED: &str = "config";
const COMING: &str = ".config.new";

/// Keeps `files` in `STATE/config`, all of them or none: they are written beside it and swapped in.
/// Nothing is written when they are there already.
pub fn accept(files: &Files, state_dir: &Path) -> io::Result<()> {
    let (accepted, coming) = (state_dir.join(ACCEPTED), state_dir.join(COMING));
    if is_accepted(files, state_dir) {
        return Ok(());
    }
    remove_tree(&coming)?;
    make_dir(&coming.join(super::files::APPS), 0o700)?;
    for (path, text) in files.entries() {
        replace(&coming.join(path), text.as_bytes(), 0o600)?;
    }
    sync_parent(&coming.join(super::files::APPS)).map_err(|error| because("sync", &coming, &error))?;
    swap(&coming, &accepted).map_err(|error| because("put in place", &accepted, &error))?;
    sync_parent(&accepted).map_err(|error| because("sync", state_dir, &error))?;
    remove_tree(&coming)
}

/// Whether `STATE/config` holds exactly these files.
pub fn is_accepted(files: &Files, state_dir: &Path) -> bool {
    let accepted = state_dir.join(ACCEPTED);
    let (kept, problems, _) = Files::read(&accepted);
    problems.is_empty() && kept == *files
}

/// Puts `coming` in the place of `accepted`, which is then called `coming`.
fn swap(coming: &Path, accepted: &Path) -> io::Result<()> {
    match renameat2(AT_FDCWD, coming, AT_FDCWD, accepted, RenameFlags::RENAME_EXCHANGE) {
        Ok(()) => Ok(()),
        // Nothing accepted yet.
        Err(Errno::ENOENT) => fs::rename(coming, accepted),
        // A file system that cannot exchange: for an instant there is none, and the next start accepts again.
        Err(Errno::EINVAL | Errno::ENOSYS) => {
            remove_tree(accepted)?;
            fs::rename(coming, accepted)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::scratch::Scratch;

    #[test]
    fn the_accepted_copy_follows_the_files_and_holds_nothing_else() {
        let scratch = Scratch::new("accept");
        scratch.write("etc/pintle.toml", "");
        scratch.write("etc/pintle.env", "A=secretword\n");
        scratch.write("etc/apps/a.toml", "[source]\ngit = '/srv/a'\nbranch = 'main'\n");
        scratch.write("etc/apps/b.toml", "[source]\ngit = '/srv/b'\nbranch = '${A}'\n");
        let state = scratch.path("state");
        fs::create_dir(&state).unwrap();

        let first = scratch.load().unwrap().files;
        assert!(!is_accepted(&first, &state));
        accept(&first, &state).unwrap();
        assert!(is_accepted(&first, &state));
        assert!(!format!("{first:?}").contains("secretword"));

        scratch.remove("etc/apps/b.toml");
        scratch.write("etc/apps/c.toml", "[source]\ngit = 'c.git'\nbranch = 'main'\n");
        let second = scratch.load().unwrap().files;
        assert!(!is_accepted(&second, &state));
        accept(&second, &state).unwrap();
        accept(&second, &state).unwrap();
        assert!(is_accepted(&second, &state));
        assert_eq!(fs::read_dir(&state).unwrap().count(), 1, "no half-made copy stays behind");

        scratch.write("etc/pintle.toml", "broken [");
        assert!(scratch.load().is_err());
        let loaded = scratch.load_from(&state.join(ACCEPTED)).unwrap();
        assert_eq!(loaded.config.apps.keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["a", "c"]);
        let git = &loaded.config.apps[&"c".parse().unwrap()].source.git;
        assert_eq!(Path::new(git), scratch.path("etc/c.git"), "relative to the directory the files came from");
        let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(state.join("config/pintle.env")).unwrap());
        assert_eq!(mode & 0o777, 0o600);
    }
}
