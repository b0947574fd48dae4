//! The backup phase, and putting data back.

use super::{Bench, Task};
use crate::base::{BackupId, Bytes, Moment};
use crate::config::App;
use crate::control::BackupReport;
use crate::deploy::plan::DataToRestore;
use crate::deploy::{Kind, Worked};
use crate::os::backup::{self, Made, Plan, Shelved, What};
use crate::store::Entry;
use std::io;

impl Task<'_> {
    pub(super) fn back_up(&self) -> io::Result<Worked> {
        if let Kind::Rollback { data: Some(_), .. } = &self.job.kind {
            // Nothing is touched for data that cannot be had.
            self.backup_to_restore()?;
        }
        let (app, now) = (&self.job.app, Moment::now());
        let live = self.releases().current()?;
        let plan = Plan {
            app: app.name.clone(),
            app_dir: self.bench.place.app(&app.name),
            number: self.number(),
            created: now.wall,
            release: live.clone(),
            commit: self.job.live_commit.clone(),
            paths: app.backup.paths.clone(),
            sqlite: app.backup.sqlite.clone(),
            shared: app.source.shared.clone(),
            subdirectory: app.source.subdirectory.clone(),
            reserve: backup::DEFAULT_RESERVE,
        };
        let Made { id, bytes, bytes_new, files, databases } =
            backup::create(&plan, self.cancel, &mut |line| self.say(line))?;
        self.say(&format!("backup {id}: {files} files, {databases} databases, {bytes} ({bytes_new} new)"));
        let report = BackupReport {
            id: id.clone(),
            app: app.name.clone(),
            created: now.wall,
            bytes,
            bytes_new,
            release: live,
            verified: None,
            status: "complete".into(),
        };
        let entry = Entry::Backup { report, commit: self.job.live_commit.clone(), deployment: Some(self.number()) };
        self.bench.tell(vec![entry]);
        Ok(Worked::BackedUp(id))
    }

    pub(super) fn restore_data(&self) -> io::Result<Worked> {
        let app_dir = self.bench.place.app(&self.job.app.name);
        let id = self.backup_to_restore()?;
        self.say(&format!("restoring the data of backup {id}"));
        let shared = self.bench.place.shared(&self.job.app.name);
        backup::restore(&app_dir, &id, &shared, &What::Shared, self.cancel, &mut |line| self.say(line))?;
        self.bench.tell(vec![verified(&self.job.app, &id)]);
        Ok(Worked::Done(vec![format!("data restored from backup {id}")]))
    }

    /// The one that was named, or the newest that was made while the release we go to was live.
    fn backup_to_restore(&self) -> io::Result<BackupId> {
        let Kind::Rollback { to, data: Some(data) } = &self.job.kind else {
            return Err(io::Error::other("this deployment restores no data"));
        };
        if let DataToRestore::Backup(id) = data {
            return Ok(id.clone());
        }
        let shelf = backup::list(&self.bench.place.app(&self.job.app.name))?;
        let of_release = |backup: &&Shelved| {
            let release = backup.summary.as_ref().and_then(|summary| summary.release.as_ref());
            release == Some(to) && Some(&backup.id) != self.job.backup.as_ref()
        };
        let none = || {
            let why = format!("there is no backup of the time when {to} was live (`pintle backup list`)");
            io::Error::new(io::ErrorKind::NotFound, why)
        };
        shelf.iter().find(of_release).map(|backup| backup.id.clone()).ok_or_else(none)
    }
}

/// A rehearsal or a restore proved a backup.
pub(super) fn verified(app: &App, id: &BackupId) -> Entry {
    Entry::BackupVerified { app: app.name.clone(), id: id.clone(), at: Moment::now().wall }
}

/// Removes backups beyond `[backup] keep` and `keep_for`, and tells the diary.
pub(super) fn prune_backups(bench: &Bench, app: &App, never: &[BackupId]) -> io::Result<Vec<BackupId>> {
    let now = Moment::now().wall;
    let dir = bench.place.app(&app.name);
    let gone =
        backup::prune(&dir, app.backup.keep, app.backup.keep_for, now, bench.clock_is_trusted(&dir, now), never)?;
    let entries = gone.iter().map(|id| Entry::BackupGone { app: app.name.clone(), id: id.clone(), at: now });
    bench.tell(entries.collect());
    Ok(gone)
}

impl Bench {
    /// Prunes for a person; says what went.
    pub fn prune(&self, app: &App) -> io::Result<Vec<BackupId>> {
        prune_backups(self, app, &[])
    }

    /// Facts that nobody waits for.
    pub(super) fn tell(&self, entries: Vec<Entry>) {
        if !entries.is_empty() {
            self.post.send(crate::daemon::event::Event::Happened { entries });
        }
    }

    /// Ages mean nothing to a clock that was never set: one that shows a time before the newest backup.
    fn clock_is_trusted(&self, dir: &std::path::Path, now: crate::base::WallTime) -> bool {
        backup::list(dir).is_ok_and(|shelf| shelf.iter().all(|backup| backup.created() <= now))
    }
}

/// A backup found on disk that the diary does not know (it was lost), as a row.
pub fn open_row(app: &App, shelved: &Shelved) -> BackupReport {
    let summary = shelved.summary.as_ref();
    BackupReport {
        id: shelved.id.clone(),
        app: app.name.clone(),
        created: shelved.created(),
        bytes: summary.map_or(Bytes(0), |summary| summary.bytes),
        bytes_new: summary.map_or(Bytes(0), |summary| summary.bytes_new),
        release: summary.and_then(|summary| summary.release.clone()),
        verified: None,
        status: shelved.state.as_str().into(),
    }
}
