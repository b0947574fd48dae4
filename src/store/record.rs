//! Facts become rows: one batch, one transaction, one fsync.

use super::diary::Diary;
use super::entry::{Entry, Needs, NewDeployment};
use super::error::StoreError;
use super::post;
use super::snapshot::{DELIVERIES_BEYOND, DELIVERIES_KEPT, LOGGED_BEYOND, LOGGED_KEPT, NOTICES_KEPT, REBOOTS_KEPT};
use crate::base::{AppName, CommitId, DeployId, ScheduleName};
use crate::control::{BackupReport, DeliveryView, Ignored, Pass, Phase, StepReport};
use crate::supervise::agenda::Remembered;
use rusqlite::{Connection, OptionalExtension, Params, TransactionBehavior, params};
use std::time::Duration;

impl Diary {
    /// Remembers all of `entries`, or none of them when one cannot be written or contradicts what is known. When this
    /// returns `Ok` they survive a power cut.
    ///
    /// # Errors
    /// [`Trouble::Full`](super::Trouble::Full) and the other troubles of the disk, which may pass; and
    /// [`Trouble::Contradiction`](super::Trouble::Contradiction), which will not.
    pub fn record<'a>(&mut self, entries: impl IntoIterator<Item = &'a Entry>) -> Result<(), StoreError> {
        let mut entries = entries.into_iter().peekable();
        if entries.peek().is_none() {
            return Ok(());
        }
        let failed = |path: &_, error| super::diary::explain("write", path, &error);
        let path = self.path.clone();
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|error| failed(&path, error))?;
        for entry in entries {
            entry.check()?;
            fits(&transaction, entry).map_err(|error| failed(&path, error))??;
            let rows = write(&transaction, entry).map_err(|error| failed(&path, error))?;
            changed(entry, rows)?;
        }
        transaction.commit().map_err(|error| failed(&path, error))
    }
}

/// Compares the entry with what is written about its deployment. The first and the last word about one are told for
/// every push: they look by themselves, while they are written ([`changed`]).
fn fits(db: &Connection, entry: &Entry) -> rusqlite::Result<Result<(), StoreError>> {
    let open = |number: DeployId| {
        let sql = "SELECT finished IS NULL FROM deployments WHERE number = ?1";
        db.prepare_cached(sql)?.query_row([integer(number.0)], |row| row.get::<_, bool>(0)).optional()
    };
    Ok(match entry.needs() {
        _ if looks_by_itself(entry) => Ok(()),
        Needs::Unused(number) if open(number)?.is_some() => Err(StoreError::used(number)),
        Needs::Open(number) if open(number)? != Some(true) => Err(StoreError::not_open(number)),
        Needs::Known(number) if open(number)?.is_none() => Err(StoreError::unknown(number)),
        _ => Ok(()),
    })
}

fn looks_by_itself(entry: &Entry) -> bool {
    matches!(entry, Entry::Queued(_) | Entry::Finished { .. })
}

/// What an entry that looks by itself came to: one that did not fit has changed no row.
fn changed(entry: &Entry, rows: usize) -> Result<(), StoreError> {
    match entry.needs() {
        _ if rows > 0 || !looks_by_itself(entry) => Ok(()),
        Needs::Unused(number) => Err(StoreError::used(number)),
        Needs::Open(number) => Err(StoreError::not_open(number)),
        _ => Ok(()),
    }
}

/// Writes the entry's rows; how many that were is told for [`changed`].
fn write(db: &Connection, entry: &Entry) -> rusqlite::Result<usize> {
    match entry {
        Entry::Queued(new) => insert_deployment(db, new),
        Entry::Status { number, status, message } => {
            let sql = "UPDATE deployments SET status = ?2, message = ?3 WHERE number = ?1";
            run(db, sql, params![integer(number.0), status.as_str(), message])
        }
        Entry::Approved { number } => {
            let sql = "UPDATE deployments SET pass = ?2 WHERE number = ?1";
            run(db, sql, params![integer(number.0), Pass::Approved.as_str()])
        }
        Entry::Phase { number, phase, at } => {
            let sql =
                "UPDATE deployments SET status = 'running', phase = ?2, began = coalesce(began, ?3), message = NULL
                       WHERE number = ?1";
            run(db, sql, params![integer(number.0), phase.as_str(), at.0])
        }
        Entry::Release { number, commit, release, previous } => {
            let sql = "UPDATE deployments SET commit_id = ?2, release = ?3, previous = ?4 WHERE number = ?1";
            let previous = previous.as_ref().map(|name| name.as_str());
            run(db, sql, params![integer(number.0), commit.as_str(), release.as_str(), previous])
        }
        Entry::Step { number, step, at } => insert_step(db, *number, step, at.0),
        Entry::PassedVerify { number } => {
            run(db, "UPDATE deployments SET passed_verify = 1 WHERE number = ?1", [integer(number.0)])
        }
        Entry::Finished { number, status, phase, failed_phase, message, exit, took, at } => {
            let sql = "UPDATE deployments SET status = ?2, phase = ?3, failed_phase = ?4, message = ?5, exit = ?6,
                       took_ms = ?7, finished = ?8 WHERE number = ?1 AND finished IS NULL";
            let failed_phase = failed_phase.map(Phase::as_str);
            let took = took.map(millis);
            let number = integer(number.0);
            run(db, sql, params![number, status.as_str(), phase.as_str(), failed_phase, message, exit, took, at.0])
        }
        Entry::WentLive { app, release, commit, deployment, at } => {
            let sql = "INSERT INTO live_history (app, release, commit_id, deployment, at) VALUES (?1, ?2, ?3, ?4, ?5)";
            let deployment = integer(deployment.0);
            run(db, sql, params![app.as_str(), release.as_str(), commit.as_str(), deployment, at.0])
        }
        Entry::Delivery { id, app, commit, deployment, ignored, reason, at } => {
            // A known id keeps its first verdict until it stands for a deployment (again).
            let verb = if deployment.is_some() { "REPLACE" } else { "IGNORE" };
            let sql = format!(
                "INSERT OR {verb} INTO deliveries (app, id, commit_id, deployment, ignored, reason, at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"
            );
            let deployment = deployment.map(|number| integer(number.0));
            let ignored = ignored.map(Ignored::as_str);
            let commit = commit.as_ref().map(CommitId::as_str);
            run(db, &sql, params![app.as_str(), id, commit, deployment, ignored, reason, at.0])?;
            forget_old_deliveries(db)
        }
        Entry::Logged(view) => insert_logged(db, view),
        Entry::Quarantine { app, commit, why, deployment, at } => {
            let sql = "INSERT OR REPLACE INTO quarantine (app, commit_id, why, deployment, at)
                       VALUES (?1, ?2, ?3, ?4, ?5)";
            let deployment = deployment.map(|number| integer(number.0));
            run(db, sql, params![app.as_str(), commit.as_str(), why, deployment, at.0])
        }
        Entry::Forgiven { app, commit } => {
            let sql = "DELETE FROM quarantine WHERE app = ?1 AND commit_id = ?2";
            run(db, sql, params![app.as_str(), commit.as_str()])
        }
        Entry::Wanted { app, service, down } => {
            if service.is_none() {
                run(db, "DELETE FROM wanted WHERE app = ?1", [app.as_str()])?;
            }
            let service = service.as_ref().map_or("", |name| name.as_str());
            let sql = "INSERT OR REPLACE INTO wanted (app, service, down) VALUES (?1, ?2, ?3)";
            run(db, sql, params![app.as_str(), service, down])
        }
        Entry::Backup { report, commit, deployment } => insert_backup(db, report, commit.as_ref(), *deployment),
        Entry::BackupVerified { app, id, at } => {
            let sql = "UPDATE backups SET verified = ?3 WHERE app = ?1 AND id = ?2";
            run(db, sql, params![app.as_str(), id.as_str(), at.0])
        }
        Entry::BackupGone { app, id, at } => {
            let sql = "UPDATE backups SET gone = ?3 WHERE app = ?1 AND id = ?2";
            run(db, sql, params![app.as_str(), id.as_str(), at.0])
        }
        Entry::Scheduled { app, name, row } => write_schedule(db, app, name, row),
        Entry::Rebooted { app, at } => {
            run(db, "INSERT INTO reboots (app, at) VALUES (?1, ?2)", params![app.as_str(), at.0])?;
            let sql = "DELETE FROM reboots WHERE app = ?1 AND seq NOT IN
                       (SELECT seq FROM reboots WHERE app = ?1 ORDER BY seq DESC LIMIT ?2)";
            run(db, sql, params![app.as_str(), REBOOTS_KEPT as i64])
        }
        Entry::Sampled(rows) => super::samples::write(db, rows),
        Entry::Notice { text, at } => {
            run(db, "INSERT INTO notices (text, at) VALUES (?1, ?2)", params![text, at.0])?;
            let sql = "DELETE FROM notices WHERE seq <= (SELECT max(seq) FROM notices) - ?1";
            run(db, sql, [NOTICES_KEPT as i64])
        }
        Entry::Post(fact) => post::write(db, fact),
        Entry::Incident(fact) => post::write_incident(db, fact),
    }
}

/// Statements are few and told often: each is understood once.
pub(super) fn run(db: &Connection, sql: &str, params: impl Params) -> rusqlite::Result<usize> {
    db.prepare_cached(sql)?.execute(params)
}

fn insert_deployment(db: &Connection, new: &NewDeployment) -> rusqlite::Result<usize> {
    let sql = "INSERT INTO deployments (number, app, kind, requested, commit_id, release, status, phase, started_by,
               forced, retry_of, asked, message, pass)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14) ON CONFLICT (number) DO NOTHING";
    run(
        db,
        sql,
        params![
            integer(new.number.0),
            new.app.as_str(),
            new.kind.as_str(),
            new.requested,
            new.commit.as_ref().map(|commit| commit.as_str()),
            new.release.as_ref().map(|release| release.as_str()),
            new.status.as_str(),
            Phase::Preflight.as_str(),
            new.trigger.as_str(),
            new.forced,
            new.retry_of.map(|number| integer(number.0)),
            new.asked.0,
            new.message,
            new.pass.as_str(),
        ],
    )
}

fn write_schedule(db: &Connection, app: &AppName, name: &ScheduleName, row: &Remembered) -> rusqlite::Result<usize> {
    let sql = "INSERT OR REPLACE INTO schedules (app, name, timing, counted_from, began, outcome, message, took_ms)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let began = row.run.as_ref().map(|run| run.began.0);
    let ended = row.run.as_ref().and_then(|run| run.ended.as_ref());
    let (word, message) = (ended.map(|(outcome, _)| outcome.word()), ended.and_then(|(outcome, _)| outcome.message()));
    let took = ended.map(|(_, took)| millis(*took));
    let (when, from) = (&row.when, row.counted_from.0);
    run(db, sql, params![app.as_str(), name.as_str(), when, from, began, word, message, took])
}

fn insert_step(db: &Connection, number: DeployId, step: &StepReport, ended: i64) -> rusqlite::Result<usize> {
    let sql = "INSERT INTO steps (deployment, seq, name, phase, status, exit, ended, duration_ms)
               VALUES (?1, (SELECT coalesce(max(seq), 0) + 1 FROM steps WHERE deployment = ?1), ?2, ?3, ?4, ?5, ?6, ?7)";
    let duration = (step.duration_seconds * 1000.0).round() as i64;
    let (phase, status) = (step.phase.as_str(), step.status.as_str());
    run(db, sql, params![integer(number.0), step.name, phase, status, step.exit, ended, duration])
}

fn insert_backup(
    db: &Connection,
    report: &BackupReport,
    commit: Option<&CommitId>,
    deployment: Option<DeployId>,
) -> rusqlite::Result<usize> {
    let sql =
        "INSERT INTO backups (app, id, created, bytes, bytes_new, release, commit_id, deployment, verified, status)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
               ON CONFLICT (app, id) DO UPDATE SET created = excluded.created, bytes = excluded.bytes,
               bytes_new = excluded.bytes_new, release = excluded.release, commit_id = excluded.commit_id,
               deployment = excluded.deployment, verified = coalesce(excluded.verified, verified),
               status = excluded.status, gone = NULL";
    run(
        db,
        sql,
        params![
            report.app.as_str(),
            report.id.as_str(),
            report.created.0,
            integer(report.bytes.0),
            integer(report.bytes_new.0),
            report.release.as_ref().map(|release| release.as_str()),
            commit.map(|commit| commit.as_str()),
            deployment.map(|number| integer(number.0)),
            report.verified.map(|at| at.0),
            report.status,
        ],
    )
}

fn insert_logged(db: &Connection, view: &DeliveryView) -> rusqlite::Result<usize> {
    let sql = "INSERT INTO delivery_log (at, id, app, started_by, event, wanted, verdict, reason, deployment)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
    run(
        db,
        sql,
        params![
            view.at.0,
            view.id,
            view.app.as_ref().map(AppName::as_str),
            view.trigger.as_str(),
            view.event,
            view.wanted,
            view.verdict.as_str(),
            view.reason,
            view.deployment.map(|number| integer(number.0)),
        ],
    )?;
    // Each removal touches a page that is written anew: not at every push. Who reads counts the rows.
    let newest = db.last_insert_rowid();
    match newest % LOGGED_BEYOND as i64 {
        0 => run(db, "DELETE FROM delivery_log WHERE seq <= ?1", [newest - LOGGED_KEPT as i64]),
        _ => Ok(1),
    }
}

/// Counting ten thousand rows for each delivery would be most of its cost: it is done now and then, for all apps, and
/// so often that the one delivery it is done for hardly waits for it.
fn forget_old_deliveries(db: &Connection) -> rusqlite::Result<usize> {
    if db.last_insert_rowid() % DELIVERIES_BEYOND as i64 != 0 {
        return Ok(0);
    }
    let sql = "WITH RECURSIVE apps (app) AS (
                   SELECT min(app) FROM deliveries UNION ALL
                   SELECT (SELECT min(app) FROM deliveries WHERE app > apps.app) FROM apps WHERE app IS NOT NULL)
               DELETE FROM deliveries WHERE seq IN (SELECT old.seq FROM apps, deliveries AS old
                   WHERE old.app = apps.app AND old.seq <= (SELECT seq FROM deliveries
                       WHERE app = apps.app ORDER BY seq DESC LIMIT 1 OFFSET ?1))";
    run(db, sql, [DELIVERIES_KEPT as i64])
}

/// Numbers and sizes fit into SQLite's signed integers by far; one that does not is cut to the largest.
pub(super) fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
