//! The swap of a restore, and how it survives a power cut.
//!
//! `APP_DIR/.restore.json` is written before the first byte and says how far a restore is:
//! ```text
//! staging    copies are made as .NAME.restore.partial        cut off here: they are removed, nothing had changed
//! swapping   NAME -> .NAME.before-restore, copy -> NAME      cut off here: the rest is swapped; all copies are proved
//! undoing    a rename failed: everything back                cut off here: the rest is put back
//! tidying    all swapped: .NAME.before-restore is removed    cut off here: the rest is removed
//! ```
//! Every rename is decided by what is there, so each of the four can be begun again at any point.

use super::tree::{Dir, Then, walk};
use crate::backup::path::{Inside, escape, unescape};
use crate::os::cancel::Cancel;
use crate::os::files::{self, because};
use serde::{Deserialize, Serialize};
use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A restore under way.
pub(super) struct Swap {
    path: PathBuf,
    journal: Journal,
}

#[derive(Serialize, Deserialize)]
struct Journal {
    stage: Stage,
    places: Vec<Place>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Stage {
    Staging,
    Swapping,
    Undoing,
    Tidying,
}

/// Something that is swapped: a directory, a file, or a file that only goes away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The path in the backup.
    path: Inside,
    /// Its directory, free of links; escaped.
    dir: String,
    /// Its name there; escaped.
    name: String,
    /// Nothing comes in its stead.
    goes: bool,
}

/// A place looked at through its directory, which stays open meanwhile.
struct Spot {
    dir: Dir,
    target: PathBuf,
    staged: PathBuf,
    before: PathBuf,
}

/// Brings a restore that was cut off to its end, forwards or backwards; see the table above.
pub(super) fn recover(app_dir: &Path) -> io::Result<Vec<String>> {
    let path = journal_path(app_dir);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(because("read", &path, &error)),
    };
    let journal: Journal = serde_json::from_slice(&text).map_err(|error| {
        let advice = "look for .NAME.before-restore beside the data, put right what is to be, then remove this file";
        because("understand", &path, &io::Error::new(io::ErrorKind::InvalidData, format!("{error}; {advice}")))
    })?;
    let mut swap = Swap { path, journal };
    let said = match swap.journal.stage {
        Stage::Staging => {
            swap.discard().map(|()| "a restore was cut off before it changed anything: its copies are removed")
        }
        Stage::Swapping => {
            swap.forwards().and_then(|()| swap.tidy()).map(|()| "a restore was cut off: it is finished now")
        }
        Stage::Undoing => {
            swap.backwards().map(|()| "a failed restore was cut off while it was undone: it is undone now")
        }
        Stage::Tidying => swap.tidy().map(|()| "a finished restore is tidied up"),
    };
    Ok(vec![said?.to_string()])
}

fn journal_path(app_dir: &Path) -> PathBuf {
    app_dir.join(".restore.json")
}

impl Swap {
    /// Writes down that copies will be made beside `places`.
    pub(super) fn begin(app_dir: &Path, places: Vec<Place>) -> io::Result<Swap> {
        let swap = Swap { path: journal_path(app_dir), journal: Journal { stage: Stage::Staging, places } };
        swap.save()?;
        Ok(swap)
    }
    pub(super) fn places(&self) -> &[Place] {
        &self.journal.places
    }
    /// Has the journal and index files of the database restored at `path` go away in the swap: they belong to its old
    /// content. `kept` are paths that are restored themselves.
    pub(super) fn clear_siblings(&mut self, path: &Path, kept: &[Inside]) {
        let Some(owner) = self.journal.places.iter().find(|place| place.path.as_path() == path).cloned() else {
            return;
        };
        for suffix in super::sqlite::SIBLINGS {
            let mut beside = path.as_os_str().to_os_string();
            beside.push(suffix);
            if let Ok(path) = Inside::new(&beside)
                && !kept.contains(&path)
            {
                let name = format!("{}{suffix}", owner.name);
                self.journal.places.push(Place { path, name, goes: true, ..owner.clone() });
            }
        }
    }
    /// Gives up before anything was swapped; `error` is why, completed by what could not be cleared away.
    pub(super) fn withdraw(self, error: io::Error) -> io::Error {
        match self.discard() {
            Ok(()) => error,
            Err(left) => io::Error::new(error.kind(), format!("{error}; and its scratch stays for now: {left}")),
        }
    }
    /// Swaps everything that was staged; after a failure everything is as it was.
    pub(super) fn commit(mut self) -> io::Result<()> {
        if let Err(error) = self.leave_out_unstaged().and_then(|()| self.enter(Stage::Swapping)) {
            return Err(self.withdraw(error));
        }
        if let Err(error) = self.forwards() {
            return Err(self.undo(error));
        }
        self.tidy().map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("the restore is done, but the old files stay until the next start: {error}"),
            )
        })
    }

    /// What was not in the backup is no part of the swap. From here on "not staged any more" means "swapped in".
    fn leave_out_unstaged(&mut self) -> io::Result<()> {
        let mut staged = Vec::new();
        for place in &self.journal.places {
            if place.goes || exists(&place.open()?.staged) {
                staged.push(place.clone());
            }
        }
        self.journal.places = staged;
        Ok(())
    }

    fn undo(mut self, error: io::Error) -> io::Error {
        let undone = self.enter(Stage::Undoing).and_then(|()| self.backwards());
        let how = match undone {
            Ok(()) => "nothing was changed".to_string(),
            Err(stuck) => format!("putting everything back failed too ({stuck}) and is tried again at the next start"),
        };
        io::Error::new(error.kind(), format!("{error}; {how}"))
    }

    fn forwards(&self) -> io::Result<()> {
        for place in &self.journal.places {
            let Spot { dir, target, staged, before } = place.open()?;
            if (exists(&staged) || place.goes) && exists(&target) {
                if exists(&before) {
                    return Err(place.in_the_way(&dir));
                }
                fs::rename(&target, &before).map_err(|error| place.because("set aside", &dir, &error))?;
            }
            if exists(&staged) {
                fs::rename(&staged, &target).map_err(|error| place.because("swap in", &dir, &error))?;
            }
            dir.sync()?;
        }
        Ok(())
    }

    /// Puts everything back; a place where that cannot be does not keep the others from it.
    fn backwards(&mut self) -> io::Result<()> {
        let places = self.journal.places.iter().rev();
        let stuck: Vec<io::Error> = places.filter_map(|place| place.put_back().err()).collect();
        if let Some(first) = stuck.into_iter().next() {
            return Err(first);
        }
        // Only copies are left: from now on a missing copy must not be read as one that was swapped in.
        self.enter(Stage::Staging)?;
        self.discard()
    }

    fn tidy(&mut self) -> io::Result<()> {
        self.enter(Stage::Tidying)?;
        for place in &self.journal.places {
            let spot = place.open()?;
            remove(&spot.before).map_err(|error| place.because("remove what was before at", &spot.dir, &error))?;
        }
        self.close()
    }

    /// Removes the copies and the journal.
    fn discard(&self) -> io::Result<()> {
        for place in &self.journal.places {
            let spot = place.open()?;
            remove(&spot.staged).map_err(|error| place.because("remove the copy of", &spot.dir, &error))?;
        }
        self.close()
    }

    fn enter(&mut self, stage: Stage) -> io::Result<()> {
        self.journal.stage = stage;
        self.save()
    }
    fn save(&self) -> io::Result<()> {
        files::replace(&self.path, &serde_json::to_vec_pretty(&self.journal)?, 0o600)
    }
    fn close(&self) -> io::Result<()> {
        let closed = fs::remove_file(&self.path).and_then(|()| files::sync_parent(&self.path));
        closed.map_err(|error| because("remove", &self.path, &error))
    }
}

impl Place {
    /// `path` of the backup is `name` in `parent`. Fails when the names it needs beside that one are taken.
    pub(super) fn new(path: &Inside, parent: &Dir, name: &OsStr) -> io::Result<Place> {
        let dir = escape(&parent.real()?);
        let place = Place { path: path.clone(), dir, name: escape(Path::new(name)), goes: false };
        let spot = place.open()?;
        match exists(&spot.before) || exists(&spot.staged) {
            true => Err(place.in_the_way(&spot.dir)),
            false => Ok(place),
        }
    }
    /// Its directory, which must still be where it was: the owner of the data may move directories about.
    pub(super) fn parent(&self) -> io::Result<Dir> {
        let path = unescape(&self.dir).map_err(|bad| io::Error::new(io::ErrorKind::InvalidData, bad))?;
        let dir = Dir::open(&path)?;
        if dir.real()? != path {
            return Err(io::Error::other(format!("{} was moved or replaced by a link", self.dir)));
        }
        Ok(dir)
    }
    /// The name of the copy.
    pub(super) fn staged(&self) -> OsString {
        self.beside(".restore.partial")
    }

    fn put_back(&self) -> io::Result<()> {
        let Spot { dir, target, staged, before } = self.open()?;
        if exists(&target) && !exists(&staged) && !self.goes {
            fs::rename(&target, &staged).map_err(|error| self.because("take back", &dir, &error))?;
        }
        if exists(&before) {
            if exists(&target) {
                return Err(self.in_the_way(&dir));
            }
            fs::rename(&before, &target).map_err(|error| self.because("put back", &dir, &error))?;
        }
        dir.sync()
    }

    fn open(&self) -> io::Result<Spot> {
        let dir = self.parent()?;
        let [target, staged, before] =
            [self.name().into(), self.staged(), self.beside(".before-restore")].map(|name| dir.at(name));
        Ok(Spot { dir, target, staged, before })
    }
    fn name(&self) -> PathBuf {
        unescape(&self.name).unwrap_or_default()
    }
    fn beside(&self, suffix: &str) -> OsString {
        let mut name = OsString::from(".");
        name.push(self.name());
        name.push(suffix);
        name
    }
    fn because(&self, deed: &str, dir: &Dir, error: &io::Error) -> io::Error {
        because(deed, &dir.shown(self.name()), error)
    }
    fn in_the_way(&self, dir: &Dir) -> io::Error {
        let text = format!(
            "restore {}: {} or {} is in the way, left by something else; look at it and move it away",
            dir.shown(self.name()).display(),
            self.staged().display(),
            self.beside(".before-restore").display()
        );
        io::Error::new(io::ErrorKind::AlreadyExists, text)
    }
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Removes a file or a tree; one that is not there is not an error.
fn remove(path: &Path) -> io::Result<()> {
    let is_dir = match fs::symlink_metadata(path) {
        Ok(meta) => meta.is_dir(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !is_dir {
        return fs::remove_file(path);
    }
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            unlock(path)?;
            fs::remove_dir_all(path)
        }
        removed => removed,
    }
}

/// Opens directories that the application had closed to its own user, so that they can be removed without root.
fn unlock(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    walk(&Dir::open(parent)?, name, Path::new(name), &Cancel::new()?, &mut |met| {
        if met.meta.is_dir() {
            fs::set_permissions(met.dir.at(met.name), Permissions::from_mode(0o700))?;
        }
        Ok(Then::Enter)
    })
}
