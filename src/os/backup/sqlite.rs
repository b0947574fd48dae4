//! A consistent copy of a SQLite database that is being written to.
//!
//! The copy is made page by page through SQLite's online backup API. A database in WAL mode is read from one snapshot:
//! its writers never wait. One with a rollback journal is left to its writers between steps; only when they keep writing
//! is it held still, for the length of one copy. The source is opened for reading; only what a crash left to be rolled
//! back makes it be opened for writing. Line: copies and checks; which files are databases is asked by [`is_database`].

use crate::os::cancel::Cancel;
use crate::os::files::because;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a locked database is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// One wait within [`PATIENCE`]; a cancel is seen after it.
const SLICE: Duration = Duration::from_millis(100);
/// Pages copied between two looks at the cancel flag: 4 MiB of the usual 4 KiB pages.
const STEP: i32 = 1024;

/// A copy that was made and looked at.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Copied {
    /// How it was kept consistent, in words.
    pub(super) how: &'static str,
    /// `ok`, or why the copy could not be checked.
    pub(super) check: String,
}

/// Whether an open file begins as SQLite databases do.
pub(super) fn is_database(file: &File) -> bool {
    let mut head = [0; 16];
    file.read_exact_at(&mut head, 0).is_ok() && &head == b"SQLite format 3\0"
}

/// The database that a file with this name would belong to as journal or index.
pub(super) fn owner_of(name: &std::ffi::OsStr) -> Option<&std::ffi::OsStr> {
    let stem = |suffix: &&str| name.as_bytes().strip_suffix(suffix.as_bytes());
    SIBLINGS.iter().find_map(stem).filter(|stem| !stem.is_empty()).map(std::ffi::OsStr::from_bytes)
}

/// What SQLite keeps beside a database, by the end of its name.
pub(super) const SIBLINGS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Copies the database `source` to the new file `copy` and checks the copy. Fails when the database stays locked for
/// half a minute, cannot be read, or its copy is damaged: then so is the database.
pub(super) fn copy(source: &Path, copy: &Path, cancel: &Cancel) -> io::Result<Copied> {
    let how = copy_pages(source, copy, cancel)?;
    let check = check(copy).map_err(|found| {
        let advice = "repair it (sqlite3 FILE .recover) or take it out of [backup]; older backups are kept";
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the database {} is damaged: {found}; {advice}", source.display()),
        )
    })?;
    Ok(Copied { how, check })
}

fn copy_pages(source: &Path, copy: &Path, cancel: &Cancel) -> io::Result<&'static str> {
    let mut job = Job { source, copy, cancel, writable: false, pinned: false };
    loop {
        match job.run() {
            Ok(Ended::Whole) if job.pinned => return Ok("online backup of one snapshot"),
            Ok(Ended::Whole) => return Ok("online backup between writes"),
            Ok(Ended::Overtaken) => job.pinned = true,
            Err(Failed::Sqlite(error)) if !job.writable && needs_recovery(&error) => job.writable = true,
            Err(Failed::Sqlite(error)) => return Err(because("copy the database", source, &explained(&error))),
            Err(Failed::Io(error)) => return Err(error),
        }
    }
}

/// One attempt to copy.
struct Job<'a> {
    source: &'a Path,
    copy: &'a Path,
    cancel: &'a Cancel,
    /// Open the source for writing, so that SQLite can roll back what a crash left.
    writable: bool,
    /// Read the whole source in one transaction.
    pinned: bool,
}

enum Ended {
    Whole,
    /// Somebody wrote meanwhile and SQLite began again.
    Overtaken,
}

enum Failed {
    Sqlite(rusqlite::Error),
    Io(io::Error),
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Failed {
        Failed::Sqlite(error)
    }
}
impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Failed {
        Failed::Io(error)
    }
}

impl Job<'_> {
    fn run(&mut self) -> Result<Ended, Failed> {
        let mode = if self.writable { OpenFlags::SQLITE_OPEN_READ_WRITE } else { OpenFlags::SQLITE_OPEN_READ_ONLY };
        let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let from = Connection::open_with_flags(self.source, mode | flags)?;
        from.busy_timeout(SLICE)?;
        let journal: String = self.patiently(|| from.query_row("PRAGMA journal_mode", [], |row| row.get(0)))?;
        self.pinned |= journal == "wal";
        if self.pinned {
            self.patiently(|| {
                from.execute_batch(if from.is_autocommit() { "BEGIN" } else { "" })?;
                from.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))
            })?;
        }
        let mut to = self.fresh()?;
        let ended = self.pages(&from, &mut to)?;
        to.close().map_err(|(_, error)| error)?;
        Ok(ended)
    }

    /// An empty database to copy into. It needs no journal: a copy that was interrupted is thrown away.
    fn fresh(&self) -> Result<Connection, Failed> {
        for suffix in SIBLINGS.into_iter().chain([""]) {
            match fs::remove_file(with_suffix(self.copy, suffix)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(because("remove", self.copy, &error).into());
                }
                _ => {}
            }
        }
        let private = OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.copy);
        private.map_err(|error| because("create", self.copy, &error))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let to = Connection::open_with_flags(self.copy, flags)?;
        to.execute_batch("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -512")?;
        Ok(to)
    }

    fn pages(&self, from: &Connection, to: &mut Connection) -> Result<Ended, Failed> {
        let backup = Backup::new(from, to)?;
        let mut left = i32::MAX;
        let mut waiting_since = Instant::now();
        loop {
            if self.cancel.is_cancelled() {
                return Err(super::cancelled().into());
            }
            match backup.step(STEP)? {
                StepResult::Done => return Ok(Ended::Whole),
                StepResult::Busy | StepResult::Locked if waiting_since.elapsed() > PATIENCE => {
                    return Err(self.locked().into());
                }
                StepResult::Busy | StepResult::Locked => std::thread::sleep(SLICE),
                _ if !self.pinned && backup.progress().remaining > left => return Ok(Ended::Overtaken),
                _ => (left, waiting_since) = (backup.progress().remaining, Instant::now()),
            }
        }
    }

    /// Repeats `ask` while the database is locked, for as long as we are patient.
    fn patiently<T>(&self, ask: impl Fn() -> rusqlite::Result<T>) -> Result<T, Failed> {
        let begun = Instant::now();
        loop {
            match ask() {
                Err(error) if is_locked(&error) => {
                    if self.cancel.is_cancelled() {
                        return Err(super::cancelled().into());
                    }
                    if begun.elapsed() > PATIENCE {
                        return Err(self.locked().into());
                    }
                }
                other => return Ok(other?),
            }
        }
    }

    fn locked(&self) -> io::Error {
        let waited = format!(
            "copy the database {}: locked for {} s by a long transaction or an exclusive lock; end it and try again",
            self.source.display(),
            PATIENCE.as_secs()
        );
        io::Error::new(io::ErrorKind::ResourceBusy, waited)
    }
}

fn is_locked(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Whether SQLite refused because reading would first need a write: a hot journal, or a WAL without its index.
fn needs_recovery(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen))
}

fn explained(error: &rusqlite::Error) -> io::Error {
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => io::ErrorKind::StorageFull,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => io::ErrorKind::InvalidData,
        Some(ErrorCode::PermissionDenied) => io::ErrorKind::PermissionDenied,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error.to_string())
}

/// Checks every page of a finished copy. A schema that needs what only the application has (a collation, a module)
/// cannot be checked here, which is said and is no failure; damage is.
fn check(copy: &Path) -> Result<String, String> {
    // `immutable`: nobody writes to a copy, so neither a journal nor a lock is needed beside it.
    let uri = format!("file:{}?immutable=1", uri_path(copy));
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let asked = Connection::open_with_flags(uri, flags).and_then(|copy| {
        copy.pragma_update(None, "cache_size", -512)?;
        copy.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))
    });
    match asked {
        Ok(answer) if answer == "ok" => Ok(answer),
        Ok(damage) => Err(damage),
        Err(error) => match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::SystemIoFailure) => {
                Err(error.to_string())
            }
            _ => Ok(format!("not checked: {error}")),
        },
    }
}

fn uri_path(path: &Path) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
    let letter = |byte: &u8| if plain(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") };
    path.as_os_str().as_bytes().iter().map(letter).collect()
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(suffix);
    PathBuf::from(name)
}
