//! Release directories: `STATE/apps/APP/releases/NAME`, and `current`, the link that says which one is live.
//!
//! A directory with a release's name is a whole release: it is made under another name (`.NAME.partial`) and removed
//! under another (`.NAME.gone`). `stage` makes them, `shared` links the data that outlives them into them, `folder`
//! keeps both from being led astray. Line: which release goes live, and which may go, is decided elsewhere.

mod folder;
mod shared;
mod stage;
fn read_definition(path: &Path) -> io::Result<Option<serde_json::Value>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(because("read", path, &error)),
    };
    let parsed = serde_json::from_slice(&text);
    parsed.map(Some).map_err(|error| because("read", path, &io::Error::new(ErrorKind::InvalidData, error)))
}

#[cfg(test)]
mod tests;

pub use shared::Data;

use crate::base::{DeployId, ReleaseName};
use crate::config::Source;
use crate::os::files::{self, because};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// The releases of one application.
#[derive(Debug, Clone)]
pub struct Releases {
    app_dir: PathBuf,
}

impl Releases {
    /// The releases in `app_dir` (`STATE/apps/APP`). Touches nothing.
    pub fn new(app_dir: &Path) -> Releases {
        Releases { app_dir: std::path::absolute(app_dir).unwrap_or_else(|_| app_dir.to_path_buf()) }
    }

    /// Where `release` is, or would be.
    pub fn path(&self, release: &ReleaseName) -> PathBuf {
        self.root().join(release)
    }
    /// Where the steps and services of `release` run: its `[source] subdirectory`.
    pub fn working_dir(&self, release: &ReleaseName, source: &Source) -> PathBuf {
        self.path(release).join(&source.subdirectory)
    }
    /// Where the data lives that outlives releases.
    pub fn shared_root(&self) -> PathBuf {
        self.app_dir.join("shared")
    }
    fn root(&self) -> PathBuf {
        self.app_dir.join("releases")
    }
    fn link(&self) -> PathBuf {
        self.app_dir.join("current")
    }

    /// The live release: what `current` points at, whether or not that is still there.
    pub fn current(&self) -> io::Result<Option<ReleaseName>> {
        let link = self.link();
        let target = match fs::read_link(&link) {
            Ok(target) => target,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(because("read the link", &link, &error)),
        };
        let name = target.strip_prefix("releases").ok().and_then(Path::to_str).map(ReleaseName::new);
        match name {
            Some(Ok(release)) => Ok(Some(release)),
            _ => Err(io::Error::new(
                ErrorKind::InvalidData,
                format!(
                    "{} points at {}, which is not a release: point it at releases/NAME",
                    link.display(),
                    target.display()
                ),
            )),
        }
    }

    /// Makes `release` live: everything in it is on the disk before `current` names it.
    pub fn point(&self, release: &ReleaseName) -> io::Result<()> {
        if !self.holds(release) {
            let error = io::Error::new(ErrorKind::NotFound, "there is no such release");
            return Err(because("make live", &self.path(release), &error));
        }
        files::sync_filesystem(&self.path(release))?;
        files::swap_symlink(&self.link(), &Path::new("releases").join(release))
    }

    /// Makes no release live.
    pub fn unpoint(&self) -> io::Result<()> {
        let link = self.link();
        match fs::remove_file(&link) {
            Ok(()) => files::sync_parent(&link),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(because("remove", &link, &error)),
        }
    }

    /// Whether `release` is on the disk, whole.
    pub fn holds(&self, release: &ReleaseName) -> bool {
        self.path(release).symlink_metadata().is_ok_and(|found| found.is_dir())
    }

    /// Writes the definition `release` is deployed with beside it, for its rollback.
    pub fn freeze(&self, release: &ReleaseName, definition: &serde_json::Value) -> io::Result<()> {
        files::make_dir(&self.root(), 0o755)?;
        files::replace(&self.definition(release), definition.to_string().as_bytes(), 0o600)
    }

    /// The definition `release` was deployed with; `None` when none was written.
    pub fn frozen(&self, release: &ReleaseName) -> io::Result<Option<serde_json::Value>> {
        read_definition(&self.definition(release))
    }

    /// Writes a definition that the live release follows instead, until it is taken back.
    pub fn apply(&self, release: &ReleaseName, definition: &serde_json::Value) -> io::Result<()> {
        files::replace(&self.applied_definition(release), definition.to_string().as_bytes(), 0o600)
    }

    /// The definition that [`Releases::apply`] wrote, if it stands.
    pub fn applied(&self, release: &ReleaseName) -> io::Result<Option<serde_json::Value>> {
        read_definition(&self.applied_definition(release))
    }

    /// The release is meant as it was deployed. One that never was otherwise is no error.
    pub fn take_back(&self, release: &ReleaseName) -> io::Result<()> {
        let path = self.applied_definition(release);
        match fs::remove_file(&path) {
            Ok(()) => files::sync_parent(&path),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(because("remove", &path, &error)),
        }
    }

    fn applied_definition(&self, release: &ReleaseName) -> PathBuf {
        self.root().join(format!("{release}.applied.json"))
    }

    fn definition(&self, release: &ReleaseName) -> PathBuf {
        self.root().join(format!("{release}.json"))
    }

    /// Whole releases on the disk, oldest first.
    pub fn list(&self) -> io::Result<Vec<ReleaseName>> {
        let mut releases: Vec<ReleaseName> =
            self.names()?.into_iter().filter_map(|name| ReleaseName::new(name).ok()).collect();
        releases.retain(|release| self.holds(release));
        releases.sort_by_key(|release| (release.number(), release.clone()));
        Ok(releases)
    }

    /// The highest deployment number any name here bears, scratch and definitions included: numbers above it are new.
    pub fn highest(&self) -> io::Result<DeployId> {
        let number = |name: String| {
            let name = name.trim_start_matches('.');
            let digits = name.split('-').next().unwrap_or_default();
            digits.parse().unwrap_or_default()
        };
        Ok(DeployId(self.names()?.into_iter().map(number).max().unwrap_or_default()))
    }

    /// Removes the oldest releases until `keep` are left, and returns the removed. `never` and the live one stay, and
    /// count. A release that cannot be removed does not keep the others; the first such error is returned at the end.
    pub fn prune(&self, keep: u32, never: &[ReleaseName]) -> io::Result<Vec<ReleaseName>> {
        let live = self.current()?;
        let (held, others): (Vec<_>, Vec<_>) =
            self.list()?.into_iter().partition(|release| never.contains(release) || live.as_ref() == Some(release));
        let room = usize::try_from(keep).unwrap_or(usize::MAX).saturating_sub(held.len());
        let (mut removed, mut failed) = (Vec::new(), None);
        for release in others.iter().rev().skip(room).rev() {
            match self.remove(release) {
                Ok(()) => removed.push(release.clone()),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(removed), Err)
    }

    /// Removes `release` and its definition. The live one is refused; one that is not there is not an error.
    pub fn remove(&self, release: &ReleaseName) -> io::Result<()> {
        self.remove_directory(release)?;
        remove_file(&self.applied_definition(release))?;
        remove_file(&self.definition(release))
    }
    fn remove_directory(&self, release: &ReleaseName) -> io::Result<()> {
        if self.current()?.as_ref() == Some(release) {
            let error = io::Error::new(ErrorKind::ResourceBusy, "it is live");
            return Err(because("remove", &self.path(release), &error));
        }
        remove_tree(&self.path(release))
    }

    /// Removes what an interrupted deploy left: partial and half-removed releases, definitions without a release, and
    /// a mirror that was being made. Only while nothing is staged.
    pub fn clean_scratch(&self) -> io::Result<()> {
        for name in self.names()? {
            let path = self.root().join(&name);
            let stem = name.strip_suffix(".applied.json").or_else(|| name.strip_suffix(".json"));
            let orphan = stem.and_then(|stem| ReleaseName::new(stem).ok());
            if name.starts_with('.') {
                match path.symlink_metadata().is_ok_and(|found| found.is_dir()) {
                    true => {
                        loosen(&path);
                        fs::remove_dir_all(&path).map_err(|error| because("remove", &path, &error))?;
                    }
                    false => remove_file(&path)?,
                }
            } else if orphan.is_some_and(|release| !self.holds(&release)) {
                remove_file(&path)?;
            }
        }
        for name in [".repo.git.partial", ".repo.git.gone", "..repo.git.partial.gone"] {
            remove_tree(&self.app_dir.join(name))?;
        }
        remove_file(&self.app_dir.join(".current.new"))
    }

    /// What is in the directory; nothing when it is not there yet.
    fn names(&self) -> io::Result<Vec<String>> {
        let root = self.root();
        let entries = match fs::read_dir(&root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(because("list", &root, &error)),
        };
        let name =
            |entry: io::Result<fs::DirEntry>| entry.map(|entry| entry.file_name().into_string().ok()).transpose();
        entries.filter_map(name).collect::<io::Result<_>>().map_err(|error| because("list", &root, &error))
    }
}

/// `files::remove_tree` for what builds leave: directories without write permission (Go's module cache) go too.
fn remove_tree(path: &Path) -> io::Result<()> {
    match files::remove_tree(path) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            loosen(&path.with_file_name(format!(".{name}.gone")));
            files::remove_tree(path)
        }
        done => done,
    }
}

/// Gives the owner write permission on every directory of a tree. Root needs none: nothing is done then, and so
/// nobody can have root change a mode elsewhere.
fn loosen(dir: &Path) {
    use std::os::unix::fs::PermissionsExt;
    if nix::unistd::geteuid().is_root() {
        return;
    }
    let _ = fs::set_permissions(dir, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            loosen(&entry.path());
        }
    }
}

fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(because("remove", path, &error)),
        _ => Ok(()),
    }
}
