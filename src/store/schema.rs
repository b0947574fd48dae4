//! The tables, as a list of changes that only grows.
//!
//! The database's `user_version` counts the changes it has. A change that was ever released is never edited: a new one
//! is added below it. Times are milliseconds since 1970 UTC, durations milliseconds, flags 0 or 1.

use rusqlite::{Connection, TransactionBehavior};

/// Every change, oldest first.
const MIGRATIONS: &[&str] = &[
    // 1: deployments, what they did, what started them, what they left behind
    "PRAGMA application_id = 1349086836;
    CREATE TABLE deployments (
        number        INTEGER PRIMARY KEY,
        app           TEXT NOT NULL,
        kind          TEXT NOT NULL,
        requested     TEXT,
        commit_id     TEXT,
        release       TEXT,
        previous      TEXT,
        status        TEXT NOT NULL,
        phase         TEXT NOT NULL,
        failed_phase  TEXT,
        started_by    TEXT NOT NULL,
        forced        INTEGER NOT NULL CHECK (forced IN (0, 1)),
        retry_of      INTEGER,
        asked         INTEGER NOT NULL,
        began         INTEGER,
        finished      INTEGER,
        took_ms       INTEGER,
        message       TEXT,
        exit          INTEGER,
        passed_verify INTEGER NOT NULL DEFAULT 0 CHECK (passed_verify IN (0, 1))
    ) STRICT;
    CREATE TABLE steps (
        deployment    INTEGER NOT NULL REFERENCES deployments (number),
        seq           INTEGER NOT NULL,
        name          TEXT NOT NULL,
        phase         TEXT NOT NULL,
        status        TEXT NOT NULL,
        exit          INTEGER,
        ended         INTEGER NOT NULL,
        duration_ms   INTEGER NOT NULL,
        PRIMARY KEY (deployment, seq)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE deliveries (
        seq           INTEGER PRIMARY KEY,
        app           TEXT NOT NULL,
        id            TEXT,
        commit_id     TEXT NOT NULL,
        deployment    INTEGER,
        ignored       TEXT,
        reason        TEXT,
        at            INTEGER NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX deliveries_once ON deliveries (app, id);
    CREATE INDEX deliveries_in_order ON deliveries (app, seq);
    CREATE TABLE quarantine (
        app           TEXT NOT NULL,
        commit_id     TEXT NOT NULL,
        why           TEXT NOT NULL,
        deployment    INTEGER,
        at            INTEGER NOT NULL,
        PRIMARY KEY (app, commit_id)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE wanted (
        app           TEXT NOT NULL,
        service       TEXT NOT NULL, -- '' is the app as a whole
        down          INTEGER NOT NULL CHECK (down IN (0, 1)),
        PRIMARY KEY (app, service)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE backups (
        app           TEXT NOT NULL,
        id            TEXT NOT NULL,
        created       INTEGER NOT NULL,
        bytes         INTEGER NOT NULL,
        bytes_new     INTEGER NOT NULL,
        release       TEXT,
        commit_id     TEXT,
        deployment    INTEGER,
        verified      INTEGER,
        status        TEXT NOT NULL,
        gone          INTEGER,
        PRIMARY KEY (app, id)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE live_history (
        seq           INTEGER PRIMARY KEY,
        app           TEXT NOT NULL,
        release       TEXT NOT NULL,
        commit_id     TEXT NOT NULL,
        deployment    INTEGER NOT NULL,
        at            INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE notices (
        seq           INTEGER PRIMARY KEY,
        text          TEXT NOT NULL,
        at            INTEGER NOT NULL
    ) STRICT;",
    // 2: a delivery may name a tag, whose commit is not known when it comes
    "CREATE TABLE deliveries_of_commits_or_tags (
        seq           INTEGER PRIMARY KEY,
        app           TEXT NOT NULL,
        id            TEXT,
        commit_id     TEXT,
        deployment    INTEGER,
        ignored       TEXT,
        reason        TEXT,
        at            INTEGER NOT NULL
    ) STRICT;
    INSERT INTO deliveries_of_commits_or_tags SELECT seq, app, id, commit_id, deployment, ignored, reason, at FROM deliveries;
    DROP TABLE deliveries;
    ALTER TABLE deliveries_of_commits_or_tags RENAME TO deliveries;
    CREATE UNIQUE INDEX deliveries_once ON deliveries (app, id);
    CREATE INDEX deliveries_in_order ON deliveries (app, seq);",
    // 3: what came to the listener, for people; unlike `deliveries` no decision reads it
    "CREATE TABLE delivery_log (
        seq           INTEGER PRIMARY KEY,
        at            INTEGER NOT NULL,
        id            TEXT,
        app           TEXT,
        started_by    TEXT NOT NULL,
        event         TEXT NOT NULL,
        wanted        TEXT,
        verdict       TEXT NOT NULL,
        reason        TEXT,
        deployment    INTEGER
    ) STRICT;",
    // 4: a deployment that waited may have been approved
    "ALTER TABLE deployments ADD COLUMN pass TEXT NOT NULL DEFAULT 'none';",
    // scheduled commands: one row each, replaced; and reboots of the host that an app was the reason for
    "CREATE TABLE schedules (
        app           TEXT NOT NULL,
        name          TEXT NOT NULL,
        timing        TEXT NOT NULL,
        counted_from  INTEGER NOT NULL,
        began         INTEGER,
        outcome       TEXT,
        message       TEXT,
        took_ms       INTEGER,
        PRIMARY KEY (app, name)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE reboots (
        seq           INTEGER PRIMARY KEY,
        app           TEXT NOT NULL,
        at            INTEGER NOT NULL
    ) STRICT;",
    // how the board was; a row is overwritten when its slot comes round again, so the tables do not grow for ever and
    // old rows are never looked for. Gauges are whole numbers of `Gauge::per_unit` to the unit, NULL where not read.
    // Minutes are packed, up to an hour of them in a row (`minutes.rs`).
    "CREATE TABLE samples (
        resolution INTEGER NOT NULL, -- seconds
        slot       INTEGER NOT NULL,
        number     INTEGER NOT NULL,
        through    INTEGER NOT NULL,
        at         INTEGER NOT NULL,
        seconds    INTEGER NOT NULL,
        samples    INTEGER NOT NULL,
        clock_sure INTEGER NOT NULL CHECK (clock_sure IN (0, 1)),
        cpu_percent INTEGER, cpu_percent_min INTEGER, cpu_percent_max INTEGER,
        load INTEGER, load_min INTEGER, load_max INTEGER,
        memory_percent INTEGER, memory_percent_min INTEGER, memory_percent_max INTEGER,
        swap_percent INTEGER, swap_percent_min INTEGER, swap_percent_max INTEGER,
        disk_percent INTEGER, disk_percent_min INTEGER, disk_percent_max INTEGER,
        temperature_celsius INTEGER, temperature_celsius_min INTEGER, temperature_celsius_max INTEGER,
        cpu_megahertz INTEGER, cpu_megahertz_min INTEGER, cpu_megahertz_max INTEGER,
        cpu_pressure_percent INTEGER, cpu_pressure_percent_min INTEGER, cpu_pressure_percent_max INTEGER,
        memory_pressure_percent INTEGER, memory_pressure_percent_min INTEGER, memory_pressure_percent_max INTEGER,
        io_pressure_percent INTEGER, io_pressure_percent_min INTEGER, io_pressure_percent_max INTEGER,
        own_memory_bytes INTEGER, own_memory_bytes_min INTEGER, own_memory_bytes_max INTEGER,
        under_voltage INTEGER,
        throttled INTEGER,
        device_written_bytes INTEGER,
        own_written_bytes INTEGER,
        PRIMARY KEY (resolution, slot)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE minutes (
        slot       INTEGER PRIMARY KEY,
        batch      INTEGER NOT NULL,
        highest    INTEGER NOT NULL,
        count      INTEGER NOT NULL,
        packed     BLOB NOT NULL
    ) STRICT;",
    // messages on their way to people, what became of earlier ones, and what is wrong for now
    "CREATE TABLE outbox (
        seq           INTEGER PRIMARY KEY,
        channel       TEXT NOT NULL,
        at            INTEGER NOT NULL,
        body          TEXT NOT NULL
    ) STRICT;
    CREATE TABLE outbox_channels (
        channel       TEXT PRIMARY KEY,
        last_seq      INTEGER NOT NULL,
        sent          INTEGER NOT NULL DEFAULT 0,
        dropped       INTEGER NOT NULL DEFAULT 0,
        last_sent     INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE incidents (
        subject       TEXT PRIMARY KEY,
        app           TEXT,
        critical      INTEGER NOT NULL CHECK (critical IN (0, 1)),
        what          TEXT NOT NULL,
        since         INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;",
];

/// The version this program writes and reads.
pub(super) const VERSION: i64 = MIGRATIONS.len() as i64;

/// The version the database is at; 0 for an empty one.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Whether the database carries our mark ("Pint" in its header).
pub(super) fn is_ours(connection: &Connection) -> rusqlite::Result<bool> {
    let mark: i32 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    Ok(mark == i32::from_be_bytes(*b"Pint"))
}

/// Brings the database to [`VERSION`], one change and its number at a time. Takes the write lock even when there is
/// nothing to change, so that a database that cannot be written is noticed now and not at the first deploy.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    migrate_with(connection, MIGRATIONS)
}

fn migrate_with(connection: &mut Connection, migrations: &[&str]) -> rusqlite::Result<()> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate)?.commit()?;
    let done = usize::try_from(version(connection)?).unwrap_or(0);
    for (index, change) in migrations.iter().enumerate().skip(done) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(change)?;
        transaction.pragma_update(None, "user_version", index as i64 + 1)?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_brought_forward_from_any_version_and_a_failed_change_leaves_it_where_it_was() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection).unwrap();
        assert_eq!(version(&connection).unwrap(), VERSION);
        migrate(&mut connection).unwrap();

        let mut longer = MIGRATIONS.to_vec();
        longer.push("CREATE TABLE next (a INTEGER) STRICT; INSERT INTO next VALUES (7);");
        longer.push("CREATE TABLE third (a INTEGER) STRICT; INSERT INTO nowhere VALUES (1);");
        migrate_with(&mut connection, &longer).unwrap_err();
        assert_eq!(version(&connection).unwrap(), VERSION + 1);
        let third = "SELECT count(*) FROM sqlite_schema WHERE name = 'third'";
        assert_eq!(connection.query_row(third, [], |row| row.get::<_, i64>(0)).unwrap(), 0);

        longer[MIGRATIONS.len() + 1] = "CREATE TABLE third (a INTEGER) STRICT;";
        migrate_with(&mut connection, &longer).unwrap();
        assert_eq!(version(&connection).unwrap(), VERSION + 2);
        assert_eq!(connection.query_row("SELECT a FROM next", [], |row| row.get::<_, i64>(0)).unwrap(), 7);
    }
}
