//! Fills a backup that has no name yet: every entry copied, linked or noted, and written into the manifest.

use super::{Plan, Previous, Source, belongs_elsewhere, stamp};
use crate::backup::manifest::{Contents, Database, Entry, Kind, Stamp, Summary, Writer};
use crate::backup::path::Inside;
use crate::base::Bytes;
use crate::os::backup::tree::{Dir, Met, Then, walk};
use crate::os::backup::{copy, sqlite};
use crate::os::cancel::Cancel;
use crate::os::files::{self, because};
use std::collections::HashSet;
use std::fs::{self, File, FileTimes, Metadata, OpenOptions};
use std::io::{self, BufWriter, Seek};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Copies `sources` into `partial` and completes its manifest. What was made stays there on failure.
pub(super) fn fill(
    plan: &Plan,
    partial: &Path,
    sources: &[Source],
    previous: &Previous,
    cancel: &Cancel,
    log: &mut dyn FnMut(&str),
) -> io::Result<Contents> {
    let into = partial.join("files");
    files::make_dir(&into, 0o700)?;
    let manifest_path = partial.join("manifest.json");
    let unwritten = |error: io::Error| because("write", &manifest_path, &error);
    let out = new_file(&manifest_path)?;

    let summary = begin(plan, sources);
    let manifest = Writer::begin(BufWriter::new(out), &summary).map_err(unwritten)?;
    let named = plan.sqlite.iter().filter_map(|path| Inside::new(path).ok()).collect();
    let mut fill = Fill { into, previous, cancel, log, named, manifest, summary, databases: Vec::new() };
    let tops: HashSet<&Inside> = sources.iter().map(|source| &source.root.path).collect();
    for source in sources {
        let top = source.root.path.as_path();
        files::make_dir(fill.into.join(top).parent().unwrap_or(&fill.into), 0o700)?;
        walk(&source.dir, &source.name, top, cancel, &mut |met| match belongs_elsewhere(met, top, &tops) {
            true => Ok(Then::PassBy),
            false => fill.take(met).map(|()| Then::Enter),
        })?;
    }
    let Fill { manifest, summary, databases, .. } = fill;
    manifest.finish(&summary, &databases).map_err(unwritten)?;
    Ok(Contents { summary, databases })
}

fn begin(plan: &Plan, sources: &[Source]) -> Summary {
    Summary {
        engine: "pintle".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        app: plan.app.clone(),
        created: plan.created,
        number: plan.number,
        release: plan.release.clone(),
        commit: plan.commit.clone(),
        status: "complete".into(),
        roots: sources.iter().map(|source| source.root.clone()).collect(),
        bytes: Bytes(0),
        bytes_new: Bytes(0),
        entry_count: 0,
        file_count: 0,
        database_count: 0,
    }
}

struct Fill<'a> {
    into: PathBuf,
    previous: &'a Previous,
    cancel: &'a Cancel,
    log: &'a mut dyn FnMut(&str),
    /// Databases by configuration, whatever they begin with.
    named: HashSet<Inside>,
    manifest: Writer<BufWriter<File>>,
    summary: Summary,
    databases: Vec<Database>,
}

impl Fill<'_> {
    /// Takes one thing the walk met into the backup.
    fn take(&mut self, met: &Met) -> io::Result<()> {
        let path = Inside::new(met.path).map_err(|bad| io::Error::new(io::ErrorKind::InvalidInput, bad))?;
        let kind = met.meta.file_type();
        let taken = if kind.is_dir() {
            fs::create_dir(self.place(&path))
                .map_err(|error| because("create directory", &self.place(&path), &error))?;
            Some(Kind::Dir)
        } else if kind.is_symlink() {
            self.take_link(met, &path)?
        } else if kind.is_file() {
            self.take_file(met, &path)?
        } else {
            let what = if kind.is_socket() {
                "a socket"
            } else if kind.is_fifo() {
                "a pipe"
            } else {
                "a device"
            };
            (self.log)(&format!("{path} is {what}: not in the backup"));
            None
        };
        match taken {
            Some(kind) => self.note(path, met.meta, kind),
            None => Ok(()),
        }
    }

    fn take_link(&mut self, met: &Met, path: &Inside) -> io::Result<Option<Kind>> {
        let target = match fs::read_link(met.dir.at(met.name)) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(met.because("read the link", &error)),
        };
        let place = self.place(path);
        std::os::unix::fs::symlink(&target, &place).map_err(|error| because("create the link", &place, &error))?;
        Ok(Some(Kind::Symlink { target }))
    }

    fn take_file(&mut self, met: &Met, path: &Inside) -> io::Result<Option<Kind>> {
        let named = self.named.contains(path);
        let seen = stamp(met.meta);
        let known = self.previous.index.file(met.path, &seen).filter(|_| !named);
        if let Some(sha256) = known
            && self.link(path, seen.size)
        {
            return Ok(Some(Kind::File { stamp: seen, sha256 }));
        }
        if sqlite::owner_of(met.name).is_some_and(|owner| is_database(met.dir, owner)) {
            // Part of a database whose copy needs neither journal nor index.
            return Ok(None);
        }
        let Some(mut file) = open_regular(met)? else {
            (self.log)(&format!("{path} went away before it was copied"));
            return Ok(None);
        };
        if sqlite::is_database(&file) {
            // Closed before SQLite opens it: closing a descriptor drops every lock of this process on that file.
            drop(file);
            return self.take_database(met, path).map(Some);
        }
        if named && met.meta.len() > 0 {
            let not =
                io::Error::new(io::ErrorKind::InvalidData, "[backup] sqlite names it, but it is no SQLite database");
            return Err(met.because("copy", &not));
        }
        self.copy_file(met, path, &mut file).map(Some)
    }

    /// Copies a file that may be written to meanwhile: once more when it was, then as it is.
    fn copy_file(&mut self, met: &Met, path: &Inside, file: &mut File) -> io::Result<Kind> {
        let place = self.place(path);
        let mut copied = new_file(&place)?;
        let mut tries = 0;
        loop {
            tries += 1;
            let before = stamp(&file.metadata().map_err(|error| met.because("look at", &error))?);
            let (size, sha256) =
                copy::copy(file, &mut copied, self.cancel).map_err(|error| met.because("copy", &error))?;
            let after = stamp(&file.metadata().map_err(|error| met.because("look at", &error))?);
            if before != after && tries < 2 {
                file.rewind()?;
                copied.rewind()?;
                copied.set_len(0).map_err(|error| because("empty", &place, &error))?;
                continue;
            }
            if before != after {
                (self.log)(&format!(
                    "warning: {path} was written to while it was copied: the copy may mix old and new"
                ));
            }
            settle(&copied, met.meta).map_err(|error| because("set the times of", &place, &error))?;
            self.summary.bytes_new.0 += size;
            // The stamp is that of before the copy: a later look finds the file changed if it was.
            return Ok(Kind::File { stamp: Stamp { size, ..before }, sha256 });
        }
    }

    fn take_database(&mut self, met: &Met, path: &Inside) -> io::Result<Kind> {
        let place = self.place(path);
        let source = met.dir.real().map_err(|error| met.because("find the directory of", &error))?.join(met.name);
        let copied = sqlite::copy(&source, &place, self.cancel)?;
        let mut file = File::open(&place).map_err(|error| because("open", &place, &error))?;
        let (size, sha256) = copy::hash(&mut file, self.cancel).map_err(|error| because("read", &place, &error))?;
        if self.previous.index.database(path) != Some((size, sha256)) || !self.relink(path, size)? {
            settle(&file, met.meta).map_err(|error| because("set the times of", &place, &error))?;
            self.summary.bytes_new.0 += size;
        }
        if copied.check != "ok" {
            (self.log)(&format!("warning: {path}: {}", copied.check));
        }
        let (engine, how) = ("sqlite".to_string(), copied.how.to_string());
        self.databases.push(Database { path: path.clone(), engine, how, check: copied.check });
        self.summary.database_count += 1;
        Ok(Kind::Database { size, sha256 })
    }

    /// Hard-links the copy of the backup before; `false` when that copy is not there in that size or cannot be linked.
    fn link(&self, path: &Inside, size: u64) -> bool {
        let Some(files) = &self.previous.files else { return false };
        let old = files.join(path);
        fs::symlink_metadata(&old).is_ok_and(|meta| meta.is_file() && meta.len() == size)
            && fs::hard_link(&old, self.place(path)).is_ok()
    }

    /// Replaces the copy just made by a link to an equal one; `false` when that cannot be and the copy stays.
    fn relink(&self, path: &Inside, size: u64) -> io::Result<bool> {
        let place = self.place(path);
        let aside = self.into.with_file_name("aside");
        fs::rename(&place, &aside).map_err(|error| because("rename", &place, &error))?;
        let linked = self.link(path, size);
        let tidied = if linked { fs::remove_file(&aside) } else { fs::rename(&aside, &place) };
        tidied.map_err(|error| because("tidy", &aside, &error))?;
        Ok(linked)
    }

    fn note(&mut self, path: Inside, meta: &Metadata, kind: Kind) -> io::Result<()> {
        if let Some((size, _)) = kind.content() {
            self.summary.bytes.0 += size;
            self.summary.file_count += 1;
        }
        self.summary.entry_count += 1;
        let (mode, mtime_ns) = (meta.mode() & 0o7777, stamp(meta).mtime_ns);
        let entry = Entry { path, mode, uid: meta.uid(), gid: meta.gid(), mtime_ns, kind };
        self.manifest.entry(&entry).map_err(|error| because("write the manifest in", &self.into, &error))
    }

    fn place(&self, path: &Inside) -> PathBuf {
        self.into.join(path)
    }
}

/// Opens what is still a regular file; `None` when it went away or turned into something else. Never waits for a pipe.
fn open_regular(met: &Met) -> io::Result<Option<File>> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    match OpenOptions::new().read(true).custom_flags(flags).open(met.dir.at(met.name)) {
        Ok(file) => Ok(file.metadata()?.is_file().then_some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => Ok(None),
        Err(error) => Err(met.because("open", &error)),
    }
}

fn is_database(dir: &Dir, name: &std::ffi::OsStr) -> bool {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(dir.at(name));
    file.is_ok_and(|file| sqlite::is_database(&file))
}

fn new_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path);
    file.map_err(|error| because("create", path, &error))
}

/// Gives a copy the time of its original, for people who look through a backup.
fn settle(copy: &File, original: &Metadata) -> io::Result<()> {
    copy.set_times(FileTimes::new().set_modified(original.modified()?))
}
