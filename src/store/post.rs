//! Rows of messages on their way to people, and of what is wrong for now.

use super::diary::Diary;
use super::error::StoreError;
use super::record::{integer, run};
use super::snapshot::Snapshot;
use crate::base::{AppName, WallTime};
use crate::notify::Gravity;
use crate::notify::incidents::{self, Incident};
use crate::notify::outbox::{Counts, Fact, Outgoing};
use rusqlite::{Connection, params};

/// Writes what is told of a message.
pub(super) fn write(db: &Connection, fact: &Fact) -> rusqlite::Result<usize> {
    match fact {
        Fact::Put(outgoing) => insert(db, outgoing),
        Fact::Sent { channel, seq, at } => {
            let gone = remove(db, *seq)?;
            let sql = "UPDATE outbox_channels SET sent = sent + ?2, last_sent = ?3 WHERE channel = ?1";
            run(db, sql, params![channel, gone as i64, at.0])
        }
        Fact::Dropped { channel, seqs } => {
            let mut gone = 0;
            for seq in seqs {
                gone += remove(db, *seq)?;
            }
            let sql = "UPDATE outbox_channels SET dropped = dropped + ?2 WHERE channel = ?1";
            run(db, sql, params![channel, gone as i64])
        }
        Fact::Summarised { seqs, by } => {
            for seq in seqs {
                remove(db, *seq)?;
            }
            insert(db, by)
        }
        Fact::ChannelGone { channel } => {
            run(db, "DELETE FROM outbox WHERE channel = ?1", [channel])?;
            run(db, "DELETE FROM outbox_channels WHERE channel = ?1", [channel])
        }
    }
}

/// Writes what is told of something that is wrong.
pub(super) fn write_incident(db: &Connection, fact: &incidents::Fact) -> rusqlite::Result<usize> {
    match fact {
        incidents::Fact::Opened(incident) => {
            let sql = "INSERT INTO incidents (subject, app, critical, what, since) VALUES (?1, ?2, ?3, ?4, ?5)
                       ON CONFLICT (subject) DO UPDATE SET critical = excluded.critical, what = excluded.what";
            let Incident { subject, app, gravity, what, since } = incident;
            let app = app.as_ref().map(AppName::as_str);
            run(db, sql, params![subject, app, *gravity == Gravity::Critical, what, since.0])
        }
        incidents::Fact::Closed { subject } => run(db, "DELETE FROM incidents WHERE subject = ?1", [subject]),
    }
}

fn insert(db: &Connection, outgoing: &Outgoing) -> rusqlite::Result<usize> {
    let Outgoing { seq, channel, at, body } = outgoing;
    let sql = "INSERT INTO outbox_channels (channel, last_seq) VALUES (?1, ?2)
               ON CONFLICT (channel) DO UPDATE SET last_seq = max(last_seq, excluded.last_seq)";
    run(db, sql, params![channel, integer(*seq)])?;
    let sql = "INSERT OR IGNORE INTO outbox (seq, channel, at, body) VALUES (?1, ?2, ?3, ?4)";
    run(db, sql, params![integer(*seq), channel, at.0, body])
}

fn remove(db: &Connection, seq: u64) -> rusqlite::Result<usize> {
    run(db, "DELETE FROM outbox WHERE seq = ?1", [integer(seq)])
}

impl Diary {
    /// Adds messages and incidents to what a daemon that starts knows.
    pub(super) fn gather_post(&self, snapshot: &mut Snapshot) -> Result<(), StoreError> {
        self.each("SELECT seq, channel, at, body FROM outbox ORDER BY seq", [], |row| {
            let seq = u64::try_from(row.get::<_, i64>("seq")?).unwrap_or(0);
            let (channel, at, body) = (row.get("channel")?, WallTime(row.get("at")?), row.get("body")?);
            snapshot.outbox.push(Outgoing { seq, channel, at, body });
            Ok(())
        })?;
        self.each("SELECT channel, last_seq, sent, dropped, last_sent FROM outbox_channels", [], |row| {
            let whole = |column: &str| row.get::<_, i64>(column).map(|value| u64::try_from(value).unwrap_or(0));
            let last_sent = row.get::<_, Option<i64>>("last_sent")?.map(WallTime);
            let counts =
                Counts { last_seq: whole("last_seq")?, sent: whole("sent")?, dropped: whole("dropped")?, last_sent };
            snapshot.channels.insert(row.get("channel")?, counts);
            Ok(())
        })?;
        self.each("SELECT subject, app, critical, what, since FROM incidents ORDER BY subject", [], |row| {
            let app = super::diary::perhaps(row, "app")?;
            let gravity = if row.get("critical")? { Gravity::Critical } else { Gravity::Warning };
            let (subject, what, since) = (row.get("subject")?, row.get("what")?, WallTime(row.get("since")?));
            snapshot.incidents.push(Incident { subject, app, gravity, what, since });
            Ok(())
        })
    }
}
