//! Opening: look whether the database is sound, bring it forward, or set it aside and begin a new one.
//!
//! `pintle.db` appears whole or not at all: it is made under another name, holds its tables and notices, and is then
//! renamed. So a file that is empty or half was damaged, and no state found after a power cut is taken for a first
//! start. What was set aside is never deleted and never overwritten.

use super::diary::{Diary, explain};
use super::error::{StoreError, Trouble};
use super::schema;
use super::snapshot::Snapshot;
use crate::base::{Moment, WallTime};
use crate::os::files::sync_parent;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The database's name in the state directory.
const NAME: &str = "pintle.db";
/// What SQLite keeps beside a database, and the database itself.
const PARTS: [&str; 3] = ["", "-wal", "-shm"];
/// How long to wait for another process that writes.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);
/// No Pintle will ever count its schema so far: a number above is damage, not a newer program.
const ABSURD_VERSION: i64 = 10_000;

/// A diary that is ready, and what people should know about how it came to be.
#[derive(Debug)]
pub struct Opened {
    /// The diary.
    pub diary: Diary,
    /// What it knows; it was read to see that every row can be.
    pub snapshot: Snapshot,
    /// Set when a damaged one was set aside; `history` shows it from now on ([`Diary::notices`]).
    pub notice: Option<String>,
}

impl Diary {
    /// Opens `state_dir/pintle.db` for the one process that writes it, and makes it when there is none. A damaged one
    /// is renamed to `pintle.db.damaged-YYYYMMDD_HHMMSS`, and a new one is begun.
    ///
    /// # Errors
    /// When it cannot be read or written, or was written by a newer Pintle; nothing is changed then.
    pub fn open(state_dir: &Path, now: Moment) -> Result<Opened, StoreError> {
        let path = state_dir.join(NAME);
        let why = match open_existing(&path) {
            Ok((diary, snapshot)) => return Ok(Opened { diary, snapshot, notice: None }),
            Err(error) if error.trouble == Trouble::Damaged => error.to_string(),
            Err(error) if error.trouble == Trouble::Missing && any_part(&path) => error.to_string(),
            Err(error) if error.trouble == Trouble::Missing => String::new(),
            Err(error) => return Err(error),
        };
        let notice = if why.is_empty() {
            // A power cut may have come between setting one aside and beginning this one.
            newest_damaged(&path).map(|aside| format!("history begins anew: the earlier one was set aside as {aside}"))
        } else {
            let aside = set_aside(&path, now.wall).map_err(|error| cannot("set aside", &path, &error))?;
            Some(format!("history begins anew: {why}. What was there is now {aside}"))
        };
        begin(&path, notice.as_deref(), now.wall)?;
        let (diary, snapshot) = open_existing(&path)?;
        Ok(Opened { diary, snapshot, notice })
    }

    /// Whether [`Diary::open`] would find a sound diary that it can bring forward, or none. Changes nothing: another
    /// process may be writing it.
    ///
    /// # Errors
    /// When it cannot be read, is damaged, or was written by a newer Pintle.
    pub fn check(state_dir: &Path) -> Result<(), StoreError> {
        let path = state_dir.join(NAME);
        if !any_part(&path) {
            return Ok(());
        }
        let connection =
            connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(|error| explain("open", &path, &error))?;
        check_identity(&connection, &path)?;
        check_pages(&connection, &path)
    }

    /// Opens the diary to look something up while no daemon runs. Changes nothing.
    ///
    /// # Errors
    /// When there is none, it may not be read, it is damaged, or its schema is not ours.
    pub fn open_read_only(state_dir: &Path) -> Result<Diary, StoreError> {
        let path = state_dir.join(NAME);
        let failed = |error| explain("open", &path, &error);
        let connection = match connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY) {
            // Without the right to create -shm, SQLite reads a cleanly closed database only as one that cannot change.
            Err(error) if cannot_create(&error) && !part(&path, "-wal").exists() => connect_immutable(&path),
            other => other,
        };
        let connection = connection.map_err(failed)?;
        match schema::version(&connection).map_err(failed)? {
            schema::VERSION => Ok(Diary { connection, path }),
            version if version < schema::VERSION => {
                Err(wrong_version(&path, version, "start the daemon once to bring it forward"))
            }
            version => Err(wrong_version(&path, version, "this pintle is older than the one that wrote it")),
        }
    }
}

/// Opens a database that is there, sound, and of a version we know.
fn open_existing(path: &Path) -> Result<(Diary, Snapshot), StoreError> {
    let failed = |error| explain("open", path, &error);
    match fs::metadata(path) {
        Ok(meta) if !meta.is_file() => return Err(StoreError::new(Trouble::Io, "open", path, "it is not a file")),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(StoreError::new(Trouble::Missing, "open", path, &error.to_string()));
        }
        Err(error) => return Err(cannot("open", path, &error)),
    }
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
    check_identity(&connection, path)?;
    check_pages(&connection, path)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false).map_err(failed)?;
    if connection.is_readonly("main").map_err(failed)? {
        return Err(StoreError::new(Trouble::ReadOnly, "open", path, "the file cannot be written"));
    }
    schema::migrate(&mut connection).map_err(failed)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(failed)?;
    let diary = Diary { connection, path: path.to_owned() };
    let snapshot = diary.snapshot()?;
    diary.connection.execute_batch("PRAGMA shrink_memory").map_err(failed)?;
    Ok((diary, snapshot))
}

/// A connection that costs little memory and syncs every commit. Until `SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE` is lifted it
/// leaves the database as it is, also when it is closed: it may not be ours to change.
fn connect(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.busy_timeout(PATIENCE)?;
    connection.pragma_update(None, "cache_size", -256)?;
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    schema::version(&connection)?; // reads the first page, and with it the log
    Ok(connection)
}

fn cannot_create(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
}

fn connect_immutable(path: &Path) -> rusqlite::Result<Connection> {
    let mut uri = String::from("file:");
    for byte in std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()) {
        match byte {
            b'/' | b'-' | b'.' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => uri.push(char::from(*byte)),
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    connect(Path::new(&(uri + "?immutable=1")), OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI)
}

/// A database that [`begin`] published is marked as ours and has a version; one without is no diary, or none any more.
fn check_identity(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let failed = |error| explain("open", path, &error);
    let version = schema::version(connection).map_err(failed)?;
    if !schema::is_ours(connection).map_err(failed)? || !(1..ABSURD_VERSION).contains(&version) {
        return Err(StoreError::new(Trouble::Damaged, "open", path, "it is not, or no longer, a database of pintle"));
    }
    if version > schema::VERSION {
        let advice = "install that pintle again, or move the file away to begin a new history";
        return Err(wrong_version(path, version, &format!("a newer pintle wrote it; {advice}")));
    }
    Ok(())
}

fn wrong_version(path: &Path, version: i64, why: &str) -> StoreError {
    let known = schema::VERSION;
    let why = format!("its schema has version {version}, this pintle knows version {known}: {why}");
    StoreError::new(Trouble::Version, "open", path, &why)
}

fn check_pages(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let failed = |error| explain("open", path, &error);
    let first_finding = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    let page: u64 = connection.query_row("PRAGMA page_size", [], |row| row.get::<_, u32>(0)).map_err(failed)?.into();
    let length = |suffix| fs::metadata(part(path, suffix)).map_or(0, |meta| meta.len());
    match first_finding.map_err(failed)?.as_str() {
        // SQLite reads zeros behind the end; that is sound only where the log still holds the page.
        "ok" if length("") % page != 0 && length("-wal") == 0 => {
            Err(StoreError::new(Trouble::Damaged, "open", path, "its last page is cut off"))
        }
        "ok" => Ok(()),
        finding => Err(StoreError::new(Trouble::Damaged, "open", path, finding)),
    }
}

/// Makes an empty diary that knows why it is empty.
fn begin(path: &Path, notice: Option<&str>, at: WallTime) -> Result<(), StoreError> {
    let temp = path.with_file_name("pintle.db.new");
    let failed = |error| explain("create", &temp, &error);
    let make_file = || -> io::Result<()> {
        for suffix in ["", "-wal", "-shm", "-journal"] {
            match fs::remove_file(part(&temp, suffix)) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temp).map(drop)
    };
    make_file().map_err(|error| cannot("create", &temp, &error))?;
    let mut connection = connect(&temp, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
    schema::migrate(&mut connection).map_err(failed)?;
    let mut diary = Diary { connection, path: temp.clone() };
    if let Some(text) = notice {
        diary.record(&[super::Entry::Notice { text: text.to_owned(), at }])?;
    }
    diary.connection.close().map_err(|(_, error)| failed(error))?;
    let publish = || fs::rename(&temp, path).and_then(|()| sync_parent(path));
    publish().map_err(|error| cannot("create", path, &error))
}

fn newest_damaged(path: &Path) -> Option<String> {
    let names = fs::read_dir(path.parent()?).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names
        .filter(|name| name.starts_with("pintle.db.damaged-"))
        .map(|name| name.trim_end_matches("-wal").trim_end_matches("-shm").to_owned())
        .max()
}

/// Renames the database and what belongs to it; the database first: a log without its database is set aside at the
/// next start, a database without its log would pass for whole.
fn set_aside(path: &Path, at: WallTime) -> io::Result<String> {
    let stamp = format!("{NAME}.damaged-{}", at.compact().trim_end_matches('Z'));
    let free = |name: &String| PARTS.iter().all(|suffix| fs::symlink_metadata(part_of(path, name, suffix)).is_err());
    let names = std::iter::once(stamp.clone()).chain((2..).map(|n| format!("{stamp}-{n}")));
    let name = names.take(100_000).find(free).unwrap_or(stamp);
    for suffix in PARTS {
        match fs::rename(part(path, suffix), part_of(path, &name, suffix)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    sync_parent(path)?;
    Ok(name)
}

/// Whether anything of a database is there.
fn any_part(path: &Path) -> bool {
    PARTS.iter().any(|suffix| fs::symlink_metadata(part(path, suffix)).is_ok())
}

/// The path of the database's part with this suffix.
fn part(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(suffix);
    PathBuf::from(name)
}

fn part_of(path: &Path, name: &str, suffix: &str) -> PathBuf {
    path.with_file_name(format!("{name}{suffix}"))
}

/// An I/O error as one of the diary.
fn cannot(deed: &str, path: &Path, error: &io::Error) -> StoreError {
    let trouble = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Trouble::Full,
        ErrorKind::ReadOnlyFilesystem => Trouble::ReadOnly,
        ErrorKind::PermissionDenied if deed == "open" => Trouble::Denied,
        ErrorKind::PermissionDenied => Trouble::ReadOnly,
        ErrorKind::NotFound => Trouble::Missing,
        _ => Trouble::Io,
    };
    StoreError::new(trouble, deed, path, &error.to_string())
}
