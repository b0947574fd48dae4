//! Staging: from a commit in the mirror to a whole release directory that belongs to the application's user.

use super::folder::{Folder, names};
use super::{Data, Releases, remove_tree};
use crate::base::{CommitId, ReleaseName};
use crate::config::Source;
use crate::os::files::{self, because};
use crate::os::git::{Limits, Mirror};
use crate::os::users::User;
use std::fs;
use std::io;
use std::os::unix::fs::lchown;
use std::path::{Path, PathBuf};

impl Releases {
    /// Makes `release` of `commit` and returns its directory: checked out, with submodules and LFS files where
    /// configured, owned by `user` (when we are root), its shared paths linked to the real data - which is seeded from
    /// it where there is none yet. A release of that name that is already there is replaced, unless it is live.
    ///
    /// Fails as git does (`TimedOut`, `Interrupted`, ...), and when `[source] subdirectory` does not exist in the
    /// commit; nothing but scratch is left then.
    pub fn stage(
        &self,
        mirror: &Mirror,
        release: &ReleaseName,
        commit: &CommitId,
        source: &Source,
        limits: &mut Limits,
        user: Option<&User>,
    ) -> io::Result<PathBuf> {
        let user = user.filter(|_| nix::unistd::geteuid().is_root());
        let path = self.path(release);
        let partial = path.with_file_name(format!(".{release}.partial"));
        files::make_dir(&self.root(), 0o755)?;
        remove_tree(&partial)?;
        self.remove_directory(release)?;

        mirror.check_out(commit, &partial, source.lfs, limits)?;
        let local = mirror.is_local();
        if source.submodules && !local {
            mirror.check_out_submodules(&partial, user, limits)?;
        }
        give(&partial, user)?;
        if source.submodules && local {
            mirror.check_out_submodules(&partial, user, limits)?;
        }
        check_subdirectory(&partial, source, commit)?;
        self.link_data(&partial, source, Data::Real, user)?;

        fs::rename(&partial, &path).map_err(|error| because("move into place", &partial, &error))?;
        Ok(path)
    }
}

fn check_subdirectory(partial: &Path, source: &Source, commit: &CommitId) -> io::Result<()> {
    names(&source.subdirectory)?;
    Folder::open(partial)?.descend(&source.subdirectory).map(drop).map_err(|error| {
        let why = format!(
            "[source] subdirectory {} is not a directory in commit {}: {error}",
            source.subdirectory.display(),
            commit.short()
        );
        io::Error::new(error.kind(), why)
    })
}

/// Gives a whole tree to `user`. Links are given themselves, never what they point at; a directory is
/// given after what is in it, so that its new owner cannot swap anything we have yet to reach.
fn give(tree: &Path, user: Option<&User>) -> io::Result<()> {
    let Some(user) = user else { return Ok(()) };
    for entry in fs::read_dir(tree).map_err(|error| because("list", tree, &error))? {
        let entry = entry.map_err(|error| because("list", tree, &error))?;
        if entry.file_type().map_err(|error| because("look at", &entry.path(), &error))?.is_dir() {
            give(&entry.path(), Some(user))?;
        } else {
            give_one(&entry.path(), user)?;
        }
    }
    give_one(tree, user)
}

fn give_one(path: &Path, user: &User) -> io::Result<()> {
    lchown(path, Some(user.uid), Some(user.gid))
        .map_err(|error| because("give to the application's user", path, &error))
}
