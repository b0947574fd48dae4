//! The diary on disk, as it is read: rows become the shapes of [`snapshot`](super::snapshot) and `control`.
//!
//! A row that cannot be understood (a name that is none, a status nobody writes) is damage and never skipped: opening
//! reads every deployment once, so that such a row is met before the daemon relies on the rest.

use super::error::{StoreError, Trouble};
use super::snapshot::{
    DELIVERIES_IN_SNAPSHOT, Deployment, GoodRelease, LOGGED_KEPT, Notice, Quarantined, ReleaseInfo, Seen, Snapshot,
};
use crate::base::{AppName, Bytes, DeployId, WallTime};
use crate::control::{BackupReport, DeliveryView, DeploymentReport, DeploymentView, StepReport};
use crate::supervise::agenda::{Outcome, Remembered, Run};
use rusqlite::types::{Type, ValueRef};
use rusqlite::{Connection, ErrorCode, Params, Row, ffi, params};
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// The open diary. One thread writes; it blocks on the disk.
#[derive(Debug)]
pub struct Diary {
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
}

const DEPLOYMENT: &str = "SELECT number, app, kind, requested, commit_id, release, previous, status, phase,
    failed_phase, started_by, forced, retry_of, asked, began, finished, took_ms, message, exit, passed_verify, pass
    FROM deployments";

const DELIVERY: &str = "SELECT id, deliveries.commit_id, deployment, deployments.status, ignored
    FROM deliveries LEFT JOIN deployments ON deployments.number = deployment";

impl Diary {
    /// What a daemon that starts now needs to know.
    pub fn snapshot(&self) -> Result<Snapshot, StoreError> {
        Ok(Snapshot { samples: self.samples_tail()?, ..self.gather(None)? })
    }

    /// The newest `limit` deployments (of one app, or of all), newest first.
    pub fn history(&self, app: Option<&AppName>, limit: u32) -> Result<Vec<DeploymentView>, StoreError> {
        let sql = format!("{DEPLOYMENT} WHERE ?1 IS NULL OR app = ?1 ORDER BY number DESC LIMIT ?2");
        let mut views = Vec::new();
        self.each(&sql, params![app.map(AppName::as_str), limit], |row| {
            views.push(deployment(row)?.view());
            Ok(())
        })?;
        Ok(views)
    }

    /// One deployment with its steps; `None` when there is none of this number. The path of its log is left to the caller.
    pub fn show(&self, number: DeployId) -> Result<Option<DeploymentReport>, StoreError> {
        let Ok(number) = i64::try_from(number.0) else { return Ok(None) };
        let mut found = None;
        self.each(&format!("{DEPLOYMENT} WHERE number = ?1"), [number], |row| {
            found = Some(deployment(row)?);
            Ok(())
        })?;
        let Some(found) = found else { return Ok(None) };
        let mut steps = Vec::new();
        let sql = "SELECT name, phase, status, exit, duration_ms FROM steps WHERE deployment = ?1 ORDER BY seq";
        self.each(sql, [number], |row| {
            steps.push(step(row)?);
            Ok(())
        })?;
        Ok(Some(found.report(steps)))
    }

    /// The app's releases, newest first; also such as are on disk no longer.
    pub fn releases_info(&self, app: &AppName) -> Result<Vec<ReleaseInfo>, StoreError> {
        Ok(self.gather(Some(app))?.apps.remove(app).map(|app| app.releases).unwrap_or_default())
    }

    /// The app's backups that are still there, newest first.
    pub fn backups(&self, app: &AppName) -> Result<Vec<BackupReport>, StoreError> {
        let sql = "SELECT id, app, created, bytes, bytes_new, release, verified, status FROM backups
                   WHERE app = ?1 AND gone IS NULL ORDER BY created DESC, id DESC";
        let mut found = Vec::new();
        self.each(sql, [app.as_str()], |row| {
            found.push(backup(row)?);
            Ok(())
        })?;
        Ok(found)
    }

    /// What was judged under this delivery id before.
    pub fn seen(&self, app: &AppName, id: &str) -> Result<Option<Seen>, StoreError> {
        let mut found = None;
        self.each(&format!("{DELIVERY} WHERE deliveries.app = ?1 AND id = ?2"), [app.as_str(), id], |row| {
            found = Some(seen(row)?);
            Ok(())
        })?;
        Ok(found)
    }

    /// Hands every delivery id that is kept to `take`, with its app.
    pub fn delivery_ids(&self, mut take: impl FnMut(AppName, &str)) -> Result<(), StoreError> {
        self.each("SELECT app, id FROM deliveries WHERE id IS NOT NULL", [], |row| {
            take(parsed(row, "app")?, row.get_ref("id")?.as_str()?);
            Ok(())
        })
    }

    /// The newest `limit` requests to the listener (for one app, or all), newest first.
    pub fn deliveries(&self, app: Option<&AppName>, limit: u32) -> Result<Vec<DeliveryView>, StoreError> {
        let sql = "SELECT at, id, app, started_by, event, wanted, verdict, reason, deployment FROM delivery_log
                   WHERE (?1 IS NULL OR app = ?1) AND seq > (SELECT max(seq) FROM delivery_log) - ?3
                   ORDER BY seq DESC LIMIT ?2";
        let mut found = Vec::new();
        self.each(sql, params![app.map(AppName::as_str), limit, LOGGED_KEPT as i64], |row| {
            found.push(logged(row)?);
            Ok(())
        })?;
        Ok(found)
    }

    /// What people should know, newest first.
    pub fn notices(&self) -> Result<Vec<Notice>, StoreError> {
        let mut found = Vec::new();
        self.each("SELECT at, text FROM notices ORDER BY seq DESC", [], |row| {
            found.push(Notice { at: WallTime(row.get("at")?), text: row.get("text")? });
            Ok(())
        })?;
        Ok(found)
    }

    /// The snapshot, of one app or of all.
    fn gather(&self, only: Option<&AppName>) -> Result<Snapshot, StoreError> {
        const MEANT: &str = "WHERE ?1 IS NULL OR app = ?1";
        let only = [only.map(AppName::as_str)];
        let mut snapshot = Snapshot::default();
        self.each(&format!("{DEPLOYMENT} {MEANT} ORDER BY number DESC"), only, |row| {
            snapshot.add_deployment(deployment(row)?);
            Ok(())
        })?;
        for app in self.apps_with_deliveries(only[0])? {
            let sql = format!("{DELIVERY} WHERE deliveries.app = ?1 AND id IS NOT NULL ORDER BY seq DESC LIMIT ?2");
            self.each(&sql, params![app.as_str(), DELIVERIES_IN_SNAPSHOT as i64], |row| {
                snapshot.add_delivery(app.clone(), seen(row)?);
                Ok(())
            })?;
        }
        self.each(&format!("SELECT app, commit_id, why, deployment, at FROM quarantine {MEANT}"), only, |row| {
            let deployment = row.get::<_, Option<i64>>("deployment")?.map(number);
            let why = Quarantined { why: row.get("why")?, deployment, at: WallTime(row.get("at")?) };
            snapshot.add_quarantine(parsed(row, "app")?, parsed(row, "commit_id")?, why);
            Ok(())
        })?;
        self.each(&format!("SELECT app, nullif(service, '') AS service, down FROM wanted {MEANT}"), only, |row| {
            snapshot.add_wanted(parsed(row, "app")?, perhaps(row, "service")?, row.get("down")?);
            Ok(())
        })?;
        let sql = "SELECT live.app AS app, live.release AS release, live.commit_id AS commit_id, at, status
                   FROM live_history AS live LEFT JOIN deployments ON number = deployment
                   WHERE ?1 IS NULL OR live.app = ?1 ORDER BY seq DESC";
        self.each(sql, only, |row| {
            let (release, commit) = (parsed(row, "release")?, parsed(row, "commit_id")?);
            let live = GoodRelease { release, commit, at: WallTime(row.get("at")?) };
            snapshot.add_live(parsed(row, "app")?, live, perhaps(row, "status")?);
            Ok(())
        })?;
        if only[0].is_none() {
            self.gather_post(&mut snapshot)?;
        }
        let sql = "SELECT app, name, timing, counted_from, began, outcome, message, took_ms FROM schedules";
        self.each(&format!("{sql} {MEANT}"), only, |row| {
            snapshot.add_schedule(parsed(row, "app")?, parsed(row, "name")?, remembered(row)?);
            Ok(())
        })?;
        self.each(&format!("SELECT app, at FROM reboots {MEANT} ORDER BY seq DESC"), only, |row| {
            snapshot.add_reboot(parsed(row, "app")?, WallTime(row.get("at")?));
            Ok(())
        })?;
        Ok(snapshot.close())
    }

    fn apps_with_deliveries(&self, only: Option<&str>) -> Result<Vec<AppName>, StoreError> {
        let mut apps = Vec::new();
        self.each("SELECT DISTINCT app FROM deliveries WHERE ?1 IS NULL OR app = ?1", [only], |row| {
            apps.push(parsed(row, "app")?);
            Ok(())
        })?;
        Ok(apps)
    }

    /// Hands every row of the answer to `take`.
    pub(super) fn each(
        &self,
        sql: &str,
        params: impl Params,
        mut take: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), StoreError> {
        let read = || -> rusqlite::Result<()> {
            let mut statement = self.connection.prepare_cached(sql)?;
            let mut rows = statement.query(params)?;
            while let Some(row) = rows.next()? {
                take(row)?;
            }
            Ok(())
        };
        read().map_err(|error| explain("read", &self.path, &error))
    }
}

fn deployment(row: &Row<'_>) -> rusqlite::Result<Deployment> {
    Ok(Deployment {
        number: number(row.get("number")?),
        app: parsed(row, "app")?,
        kind: parsed(row, "kind")?,
        requested: row.get("requested")?,
        commit: perhaps(row, "commit_id")?,
        release: perhaps(row, "release")?,
        previous: perhaps(row, "previous")?,
        status: parsed(row, "status")?,
        phase: parsed(row, "phase")?,
        failed_phase: perhaps(row, "failed_phase")?,
        trigger: parsed(row, "started_by")?,
        forced: row.get("forced")?,
        pass: parsed(row, "pass")?,
        retry_of: row.get::<_, Option<i64>>("retry_of")?.map(number),
        asked: WallTime(row.get("asked")?),
        began: row.get::<_, Option<i64>>("began")?.map(WallTime),
        finished: row.get::<_, Option<i64>>("finished")?.map(WallTime),
        took: row.get::<_, Option<i64>>("took_ms")?.map(|millis| Duration::from_millis(whole(millis))),
        message: row.get("message")?,
        exit: row.get("exit")?,
        passed_verify: row.get("passed_verify")?,
    })
}

fn remembered(row: &Row<'_>) -> rusqlite::Result<Remembered> {
    let began = row.get::<_, Option<i64>>("began")?.map(WallTime);
    let took = Duration::from_millis(whole(row.get::<_, Option<i64>>("took_ms")?.unwrap_or(0)));
    let ended = match row.get::<_, Option<String>>("outcome")? {
        None => None,
        Some(word) => {
            let outcome = Outcome::read(&word, row.get("message")?);
            let unknown = || {
                let bad = crate::base::BadName(format!("{word:?} is no outcome of a schedule"));
                rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(bad))
            };
            Some((outcome.ok_or_else(unknown)?, took))
        }
    };
    let run = began.map(|began| Run { began, ended });
    Ok(Remembered { when: row.get("timing")?, counted_from: WallTime(row.get("counted_from")?), run })
}

fn step(row: &Row<'_>) -> rusqlite::Result<StepReport> {
    Ok(StepReport {
        name: row.get("name")?,
        phase: parsed(row, "phase")?,
        status: parsed(row, "status")?,
        exit: row.get("exit")?,
        duration_seconds: row.get::<_, i64>("duration_ms")? as f64 / 1000.0,
    })
}

fn seen(row: &Row<'_>) -> rusqlite::Result<Seen> {
    Ok(Seen {
        id: row.get("id")?,
        commit: perhaps(row, "commit_id")?,
        deployment: row.get::<_, Option<i64>>("deployment")?.map(number),
        status: perhaps(row, "status")?,
        ignored: perhaps(row, "ignored")?,
    })
}

fn logged(row: &Row<'_>) -> rusqlite::Result<DeliveryView> {
    Ok(DeliveryView {
        at: WallTime(row.get("at")?),
        id: row.get("id")?,
        app: perhaps(row, "app")?,
        trigger: parsed(row, "started_by")?,
        event: row.get("event")?,
        wanted: row.get("wanted")?,
        verdict: parsed(row, "verdict")?,
        reason: row.get("reason")?,
        deployment: row.get::<_, Option<i64>>("deployment")?.map(number),
        from: None,
        times: 1,
    })
}

fn backup(row: &Row<'_>) -> rusqlite::Result<BackupReport> {
    Ok(BackupReport {
        id: parsed(row, "id")?,
        app: parsed(row, "app")?,
        created: WallTime(row.get("created")?),
        bytes: Bytes(whole(row.get("bytes")?)),
        bytes_new: Bytes(whole(row.get("bytes_new")?)),
        release: perhaps(row, "release")?,
        verified: row.get::<_, Option<i64>>("verified")?.map(WallTime),
        status: row.get("status")?,
    })
}

fn parsed<T>(row: &Row<'_>, column: &str) -> rusqlite::Result<T>
where
    T: FromStr<Err = crate::base::BadName>,
{
    let index = row.as_ref().column_index(column)?;
    let text = row.get_ref(index)?.as_str()?;
    text.parse().map_err(|bad| rusqlite::Error::FromSqlConversionFailure(index, Type::Text, Box::new(bad)))
}

pub(super) fn perhaps<T>(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<T>>
where
    T: FromStr<Err = crate::base::BadName>,
{
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        _ => parsed(row, column).map(Some),
    }
}

fn number(value: i64) -> DeployId {
    DeployId(whole(value))
}

pub(super) fn whole(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// Turns SQLite's error into one for people: what kind of trouble it is, and why in the words of whoever knows best.
pub(super) fn explain(deed: &str, path: &Path, error: &rusqlite::Error) -> StoreError {
    let rusqlite::Error::SqliteFailure(code, _) = error else {
        // What is left are values of the wrong type or spelling, and defects of our SQL, which tests find.
        return StoreError::new(Trouble::Damaged, deed, path, &error.to_string());
    };
    let trouble = match (code.code, code.extended_code) {
        (_, ffi::SQLITE_IOERR_SHORT_READ | ffi::SQLITE_IOERR_CORRUPTFS) => Trouble::Damaged,
        (ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase, _) => Trouble::Damaged,
        (ErrorCode::DiskFull, _) | (_, ffi::SQLITE_IOERR_SHMSIZE) => Trouble::Full,
        (ErrorCode::ReadOnly, _) => Trouble::ReadOnly,
        (ErrorCode::PermissionDenied, _) => Trouble::Denied,
        (ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _) => Trouble::Busy,
        (ErrorCode::CannotOpen, _) => return explain_cannot_open(deed, path, error),
        _ => Trouble::Io,
    };
    StoreError::new(trouble, deed, path, &error.to_string())
}

/// "unable to open database file" hides the reason: ask the system for it.
fn explain_cannot_open(deed: &str, path: &Path, error: &rusqlite::Error) -> StoreError {
    match File::open(path) {
        Ok(_) => StoreError::new(Trouble::ReadOnly, deed, path, "its directory cannot be written"),
        Err(why) if why.kind() == ErrorKind::NotFound => {
            StoreError::new(Trouble::Missing, deed, path, &why.to_string())
        }
        Err(why) if why.kind() == ErrorKind::PermissionDenied => {
            StoreError::new(Trouble::Denied, deed, path, &why.to_string())
        }
        Err(why) => StoreError::new(Trouble::Io, deed, path, &format!("{error} ({why})")),
    }
}
