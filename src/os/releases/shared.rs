//! Shared paths: data that outlives releases, linked into each of them.
//!
//! In the release stands a symbolic link, relative where it can be, so that the state directory may be moved. What the
//! repository brings at such a path seeds the data when there is none yet, and is otherwise set aside for the link.
//!
//! A path that exists nowhere is made as a directory - except where its name reads as a file's (`db.sqlite3`, `.env`;
//! a '/' at its end makes it a directory): there the link is made and dangles, and the application that opens it for
//! writing creates the file where it belongs, outside the release.

use super::Releases;
use super::folder::{Folder, Found, failed, names};
use crate::base::ReleaseName;
use crate::config::Source;
use crate::os::cancel::Cancel;
use crate::os::command::{self, Ending, Spec};
use crate::os::files;
use crate::os::users::User;
use nix::errno::Errno;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long seeding onto another file system may take.
const COPY: Duration = Duration::from_secs(3600);

/// Which data a release's shared paths lead to.
#[derive(Debug, Clone, Copy)]
pub enum Data<'a> {
    /// The application's own. A path it has not yet is seeded from the release.
    Real,
    /// What is in this directory, for a rehearsal.
    Scratch(&'a Path),
}

impl Releases {
    /// Links the shared paths of `release` to `data`, each by one rename. What is missing in `data` is made, owned by
    /// `user`. Fails when a step of a path is not a real directory: a link in the repository is not followed.
    pub fn link_shared(
        &self,
        release: &ReleaseName,
        source: &Source,
        data: Data,
        user: Option<&User>,
    ) -> io::Result<()> {
        self.link_data(&self.path(release), source, data, user)
    }

    /// The same for a release directory that has not got its name yet.
    pub(super) fn link_data(&self, dir: &Path, source: &Source, data: Data, user: Option<&User>) -> io::Result<()> {
        if source.shared.is_empty() {
            return Ok(());
        }
        let user = user.filter(|_| nix::unistd::geteuid().is_root());
        let root = match data {
            Data::Real => self.shared_root(),
            Data::Scratch(root) => root.to_path_buf(),
        };
        if root.symlink_metadata().is_err() {
            files::make_dir(&root, 0o755)?;
            let parent = Folder::open(root.parent().unwrap_or(&root))?;
            parent.give(root.file_name().unwrap_or_default(), user)?;
        }
        let aside = Aside::new(dir)?;
        let work = Work {
            base: dir.join(&source.subdirectory),
            folder: Folder::open(dir)?.descend(&source.subdirectory)?,
            data: Folder::open(&root)?,
            aside: &aside,
            app_dir: &self.app_dir,
            user,
        };
        for path in &source.shared {
            work.link(path, matches!(data, Data::Real)).map_err(|error| {
                io::Error::new(error.kind(), format!("link shared path {}: {error}", path.display()))
            })?;
        }
        aside.remove()
    }
}

/// Linking, with both sides open.
struct Work<'a> {
    /// The release's working directory.
    folder: Folder,
    base: PathBuf,
    data: Folder,
    aside: &'a Aside,
    app_dir: &'a Path,
    user: Option<&'a User>,
}

impl Work<'_> {
    fn link(&self, path: &Path, seed: bool) -> io::Result<()> {
        let steps = names(path)?;
        let Some((name, parents)) = steps.split_last() else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the whole release cannot be shared"));
        };
        let parents: PathBuf = parents.iter().collect();
        let here = self.folder.descend_making(&parents, self.user)?;
        let there = self.data.descend_making(&parents, self.user)?;

        let brought = match here.look(name)? {
            Found::Directory => true,
            Found::Other => seed,
            Found::Link | Found::Nothing => false,
        };
        let brought = if brought { Some(self.aside.take(&here, name)?) } else { None };
        if there.look(name)? == Found::Nothing {
            match brought {
                Some(brought) if seed => self.aside.seed(&brought, &there, name, self.user)?,
                _ if reads_as_file(path) => {}
                _ => there.make(name, self.user)?,
            }
            there.sync()?;
        }
        let target = self.data.path().join(&parents).join(name);
        let from = self.base.join(&parents);
        here.point(name, &relative(&from, &target, self.app_dir), self.user)
    }
}

/// Where content goes that a link replaces: a directory of ours beside the release, on the same file system. Made when
/// it is needed: a full disk has no room for it, and must not keep a rollback from its links that stand already.
struct Aside {
    path: PathBuf,
    folder: std::cell::OnceCell<Folder>,
    taken: std::cell::Cell<u32>,
}

impl Aside {
    fn new(release: &Path) -> io::Result<Aside> {
        let name = release.file_name().unwrap_or_default().to_string_lossy();
        let path = release.with_file_name(format!(".{}.aside", name.trim_start_matches('.')));
        super::remove_tree(&path)?;
        Ok(Aside { folder: std::cell::OnceCell::new(), path, taken: std::cell::Cell::new(0) })
    }
    fn folder(&self) -> io::Result<&Folder> {
        if let Some(folder) = self.folder.get() {
            return Ok(folder);
        }
        files::make_dir(&self.path, 0o755)?;
        let folder = Folder::open(&self.path)?;
        Ok(self.folder.get_or_init(|| folder))
    }
    /// Moves `name` out of `from` and returns the name it has here.
    fn take(&self, from: &Folder, name: &OsStr) -> io::Result<OsString> {
        self.taken.set(self.taken.get() + 1);
        let taken = OsString::from(self.taken.get().to_string());
        from.move_to(name, self.folder()?, &taken)
            .map_err(|errno| failed("set aside", &from.path().join(name), errno))?;
        Ok(taken)
    }
    /// Makes what was taken the data `name` in `to`: on the disk first, then there, whole.
    fn seed(&self, taken: &OsStr, to: &Folder, name: &OsStr, user: Option<&User>) -> io::Result<()> {
        files::sync_filesystem(&self.path)?;
        match self.folder()?.move_to(taken, to, name) {
            Err(Errno::EXDEV) => self.copy(taken, to, name, user),
            moved => moved.map_err(|errno| failed("seed", &to.path().join(name), errno)),
        }
    }
    /// The data is on another file system: copied beside its place, synced, renamed.
    fn copy(&self, taken: &OsStr, to: &Folder, name: &OsStr, user: Option<&User>) -> io::Result<()> {
        let mut temp = OsString::from(".seed.");
        temp.push(name);
        copy_tree(&self.path.join(taken), &to.path().join(&temp), user)?;
        files::sync_filesystem(to.path())?;
        to.move_to(&temp, to, name).map_err(|errno| failed("seed", &to.path().join(name), errno))
    }
    fn remove(self) -> io::Result<()> {
        super::remove_tree(&self.path)
    }
}

/// Copies a tree, with modes, times and links, in place of whatever an interrupted copy left. The one thing here that
/// goes by path in a directory of the application's user, and therefore done as that user.
fn copy_tree(from: &Path, to: &Path, user: Option<&User>) -> io::Result<()> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let script = r#"rm -rf -- "$2" && exec cp -a -T -- "$1" "$2""#;
    let spec = Spec {
        argv: vec!["/bin/sh".into(), "-c".into(), script.into(), "seed".into(), text(from), text(to)],
        cwd: PathBuf::from("/"),
        env: vec![("PATH".into(), "/usr/bin:/bin".into()), ("LC_ALL".into(), "C".into())],
        user: user.cloned(),
        ..Spec::default()
    };
    let mut said = Vec::new();
    match command::run(&spec, COPY, &Cancel::new()?, &mut |bytes| said.extend_from_slice(bytes))? {
        Ending::Exited(0) => Ok(()),
        _ => Err(io::Error::other(format!("copy {}: {}", from.display(), String::from_utf8_lossy(&said).trim()))),
    }
}

/// Whether a path that exists nowhere is meant as a file.
fn reads_as_file(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_bytes();
    let ends_in_slash = path.as_os_str().as_bytes().ends_with(b"/");
    !ends_in_slash && (name.starts_with(b".env") || name.iter().skip(1).any(|byte| *byte == b'.'))
}

/// The way from the directory `from` to `target`, both within `home`; elsewhere the absolute path.
fn relative(from: &Path, target: &Path, home: &Path) -> PathBuf {
    let (Ok(from), Ok(inside)) = (from.strip_prefix(home), target.strip_prefix(home)) else {
        return std::path::absolute(target).unwrap_or_else(|_| target.to_path_buf());
    };
    let up = from.components().filter(|part| matches!(part, std::path::Component::Normal(_)));
    up.map(|_| Path::new("..")).chain([inside]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_and_of_directories() {
        for file in ["db.sqlite3", "conf/app.ini", ".env", ".env.local", "a/.env"] {
            assert!(reads_as_file(Path::new(file)), "{file}");
        }
        for dir in ["data", "var/log", ".cache", "v1.2/", "media.d/"] {
            assert!(!reads_as_file(Path::new(dir)), "{dir}");
        }
    }

    #[test]
    fn links_are_relative_within_the_application() {
        let way = |from: &str, to: &str| relative(Path::new(from), Path::new(to), Path::new("/s/app"));
        assert_eq!(way("/s/app/releases/1", "/s/app/shared/data"), Path::new("../../shared/data"));
        assert_eq!(way("/s/app/releases/1/./sub/var", "/s/app/shared/var/x"), Path::new("../../../../shared/var/x"));
        assert_eq!(way("/s/app/releases/1", "/run/x/data"), Path::new("/run/x/data"));
    }
}
