//! A working tree of one commit: a repository of its own that borrows its objects from the mirror.
//!
//! It is a plain repository - `git describe`, `git log` and submodules work in a build - whose `origin` is the real
//! source. What `git clone --shared` would copy in three more processes is written by hand, because it is little: where
//! the objects are, which tags there are.

use super::complaint::{Cause, cause};
use super::{Call, Failure, Limits, Mirror, access, text};
use crate::base::CommitId;
use crate::os::files::{self, because};
use crate::os::users::User;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// What `git lfs install --local` writes. With it git itself fails when a file cannot be had.
const LFS_FILTER: &str = "[filter \"lfs\"]\n\tclean = git-lfs clean -- %f\n\tsmudge = git-lfs smudge -- %f\n\t\
                          process = git-lfs filter-process\n\trequired = true\n";

impl Mirror {
    /// Checks `commit` out into `dir`, which must not exist and must lie two levels below the mirror's parent (as
    /// `releases/NAME` does: the borrowed objects are named by a relative path, so that all of it can be moved). A
    /// mirror that turns out to be damaged is made anew, once. With `lfs` the files of Git LFS are fetched as well,
    /// otherwise their pointers stand for them.
    pub(in crate::os) fn check_out(
        &self,
        commit: &CommitId,
        dir: &Path,
        lfs: bool,
        limits: &mut Limits,
    ) -> io::Result<()> {
        if lfs {
            self.check_lfs()?;
        }
        let deed = || format!("check out {commit} into {}", dir.display());
        match self.try_check_out(commit, dir, lfs, limits) {
            Err(Failure::Failed(code, said)) if cause(&said) == Cause::Damaged => {
                self.repair(code, &said, limits)?;
                files::remove_tree(dir)?;
                self.try_check_out(commit, dir, lfs, limits).map_err(|failure| failure.because(&deed()))
            }
            done => done.map_err(|failure| failure.because(&deed())),
        }
    }

    fn try_check_out(&self, commit: &CommitId, dir: &Path, lfs: bool, limits: &mut Limits) -> Result<(), Failure> {
        let hash = if commit.as_str().len() == 64 { "sha256" } else { "sha1" };
        let path = text(dir).map_err(Failure::NotStarted)?;
        let init = Call::new(dir.parent().unwrap_or(dir)).args(&["init", "--quiet", "--template="]);
        init.arg(format!("--object-format={hash}")).args(&["--", path]).run(limits)?;
        let tags = self.ask(&["for-each-ref", "--format=%(objectname) %(refname)", "refs/tags"])?;
        self.furnish(&dir.join(".git"), &tags, lfs).map_err(Failure::NotStarted)?;
        // The switch syncs the whole file system once; each file by itself would cost minutes on an SD card.
        let mut call = Call::within(dir).config("core.fsync=none");
        if lfs && !self.is_local() {
            // The files are kept beside the mirror's objects, and so fetched once. (A local source would be asked with
            // the same setting, and look for its files in ours.)
            let storage = text(&self.path).map_err(Failure::NotStarted)?;
            call = call.config(&format!("lfs.storage={storage}/lfs"));
        }
        if lfs {
            call = self.remote.open(call).env("GIT_LFS_SKIP_SMUDGE", "0");
        }
        call.args(&["checkout", "--quiet", "--force", "--detach", commit.as_str(), "--"]).run(limits)
    }

    /// Writes what makes an empty repository one of ours.
    fn furnish(&self, git_dir: &Path, tags: &str, lfs: bool) -> io::Result<()> {
        let write = |path: &Path, content: &str| {
            fs::create_dir_all(path.parent().unwrap_or(path))
                .and_then(|()| OpenOptions::new().append(true).create(true).open(path))
                .and_then(|mut file| file.write_all(content.as_bytes()))
                .map_err(|error| because("write", path, &error))
        };
        let is_ref = |line: &&str| line.split_once(" refs/tags/").is_some_and(|(id, _)| CommitId::new(id).is_ok());
        let tags: String = tags.lines().filter(is_ref).flat_map(|line| [line, "\n"]).collect();
        let url = self.remote.url().replace('\\', "\\\\").replace('"', "\\\"");
        write(&git_dir.join("objects/info/alternates"), "../../../../repo.git/objects\n")?;
        write(&git_dir.join("packed-refs"), &tags)?;
        let filter = if lfs { LFS_FILTER } else { "" };
        write(&git_dir.join("config"), &format!("[remote \"origin\"]\n\turl = \"{url}\"\n{filter}"))
    }

    /// Whether the source is a repository on this host.
    pub(in crate::os) fn is_local(&self) -> bool {
        self.remote.is_local()
    }

    /// Fetches and checks out the submodules of the working tree `dir`. Those of a remote source are fetched by
    /// ourselves, with the source's key or token, and may not name this host's files. Those of a local source may, and
    /// are fetched as `user`, who may not read more than the application may.
    pub(in crate::os) fn check_out_submodules(
        &self,
        dir: &Path,
        user: Option<&User>,
        limits: &mut Limits,
    ) -> io::Result<()> {
        let call = self.remote.open(Call::within(dir).config("core.fsync=none"));
        let call = match self.is_local() {
            true => call.config("protocol.file.allow=always").user(user),
            false => call.env("GIT_ALLOW_PROTOCOL", access::REMOTE_PROTOCOLS),
        };
        call.args(&["submodule", "update", "--init", "--recursive", "--checkout", "--force"])
            .run(limits)
            .map_err(|failure| failure.because(&format!("fetch the submodules of {}", dir.display())))
    }

    /// Fails where the files of Git LFS could not be fetched because there is no git-lfs.
    fn check_lfs(&self) -> io::Result<()> {
        match Call::new(Path::new("/")).args(&["lfs", "version"]).ask() {
            Err(Failure::Failed(..)) => {
                let why = "[source] lfs is set, but git-lfs is not installed: apt install git-lfs";
                Err(io::Error::new(io::ErrorKind::NotFound, why))
            }
            answer => answer.map(drop).map_err(|failure| failure.because("ask for git-lfs")),
        }
    }
}
