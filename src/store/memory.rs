//! The diary without a disk: the same facts in, the same answers out.
//!
//! The simulation keeps its diary here; cloning it before a fact and going on with the clone is a crash that lost the
//! fact. It is also the model the real diary is tested against. Line: no database, no I/O.

use super::entry::{Entry, Needs};
use super::error::StoreError;
use super::snapshot::{
    DAYS_IN_SNAPSHOT, DELIVERIES_KEPT, Deployment, GoodRelease, HOURS_IN_SNAPSHOT, LOGGED_KEPT, NOTICES_KEPT, Notice,
    Quarantined, REBOOTS_KEPT, ReleaseInfo, Seen, Snapshot,
};
use crate::base::{AppName, BackupId, CommitId, DeployId, ScheduleName, ServiceName, WallTime};
use crate::control::{
    BackupReport, DeliveryView, DeployStatus, DeploymentReport, DeploymentView, Ignored, Pass, StepReport,
};
use crate::health::Resolution;
use crate::health::gathering::Kept;
use crate::health::record::{Row, Tail};
use crate::notify::incidents::{self, Incident};
use crate::notify::outbox::{Counts, Fact, Outgoing};
use crate::supervise::agenda::Remembered;
use std::collections::BTreeMap;
use std::time::Duration;

/// A diary that is forgotten with the process.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Memory {
    deployments: BTreeMap<DeployId, Deployment>,
    steps: BTreeMap<DeployId, Vec<StepReport>>,
    deliveries: BTreeMap<AppName, Vec<Judged>>,
    quarantine: BTreeMap<(AppName, CommitId), Quarantined>,
    wanted: BTreeMap<(AppName, Option<ServiceName>), bool>,
    backups: BTreeMap<(AppName, BackupId), KeptBackup>,
    live: Vec<(AppName, GoodRelease, DeployId)>,
    logged: Vec<DeliveryView>,
    notices: Vec<Notice>,
    outbox: BTreeMap<u64, Outgoing>,
    channels: BTreeMap<String, Counts>,
    incidents: BTreeMap<String, Incident>,
    schedules: BTreeMap<(AppName, ScheduleName), Remembered>,
    reboots: BTreeMap<AppName, Vec<WallTime>>,
    minutes: Vec<Row>,
    /// Hours and days, by resolution and slot.
    samples: BTreeMap<(Resolution, u64), Row>,
}

#[derive(Debug, Clone, PartialEq)]
struct Judged {
    id: Option<String>,
    commit: Option<CommitId>,
    deployment: Option<DeployId>,
    ignored: Option<Ignored>,
}

#[derive(Debug, Clone, PartialEq)]
struct KeptBackup {
    report: BackupReport,
    gone: bool,
}

impl Memory {
    /// An empty diary.
    pub fn new() -> Memory {
        Memory::default()
    }

    /// Remembers all of `entries`, or none when one of them contradicts what is known.
    pub fn record(&mut self, entries: &[Entry]) -> Result<(), StoreError> {
        self.check(entries)?;
        for entry in entries {
            self.apply(entry);
        }
        Ok(())
    }

    /// What a daemon that starts now would load.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { samples: self.samples_tail(), ..self.gather(None) }
    }

    /// The newest `limit` deployments (of one app, or of all), newest first.
    pub fn history(&self, app: Option<&AppName>, limit: u32) -> Vec<DeploymentView> {
        let meant = self.deployments.values().rev().filter(|row| app.is_none_or(|app| row.app == *app));
        meant.take(limit as usize).map(Deployment::view).collect()
    }

    /// One deployment with its steps.
    pub fn show(&self, number: DeployId) -> Option<DeploymentReport> {
        let steps = self.steps.get(&number).cloned().unwrap_or_default();
        self.deployments.get(&number).map(|row| row.report(steps))
    }

    /// The app's releases, newest first.
    pub fn releases_info(&self, app: &AppName) -> Vec<ReleaseInfo> {
        self.gather(Some(app)).apps.remove(app).map(|app| app.releases).unwrap_or_default()
    }

    /// The app's backups that are still there, newest first.
    pub fn backups(&self, app: &AppName) -> Vec<BackupReport> {
        let mut found: Vec<_> = self.backups.values().filter(|kept| kept.report.app == *app && !kept.gone).collect();
        found.sort_by_key(|kept| (kept.report.created, kept.report.id.clone()));
        found.into_iter().rev().map(|kept| kept.report.clone()).collect()
    }

    /// What was judged under this delivery id before.
    pub fn seen(&self, app: &AppName, id: &str) -> Option<Seen> {
        let judged = self.deliveries.get(app)?.iter().find(|judged| judged.id.as_deref() == Some(id))?;
        self.as_seen(judged)
    }

    /// The newest `limit` requests to the listener (for one app, or all), newest first.
    pub fn deliveries(&self, app: Option<&AppName>, limit: u32) -> Vec<DeliveryView> {
        let meant = self.logged.iter().rev().filter(|view| app.is_none() || view.app.as_ref() == app);
        meant.take(limit as usize).cloned().collect()
    }

    /// What people should know, newest first.
    pub fn notices(&self) -> Vec<Notice> {
        self.notices.iter().rev().cloned().collect()
    }

    /// How the board was: all that is kept, in the order written.
    pub fn samples(&self) -> Kept {
        let of = |resolution| {
            let rows = self.samples.values().filter(|row| row.resolution == resolution);
            let mut rows: Vec<Row> = rows.cloned().collect();
            rows.sort_by_key(|row| row.number);
            rows
        };
        let (hours, days) = (of(Resolution::Hour), of(Resolution::Day));
        Kept { minutes: self.minutes.clone(), hours, days, unwritten: vec![] }
    }

    fn samples_tail(&self) -> Tail {
        let Kept { mut minutes, mut hours, mut days, .. } = self.samples();
        let highest = [&minutes, &hours, &days].map(|rows| rows.last().map_or(0, |row| row.number));
        let in_hours = hours.iter().map(|row| row.through).max().unwrap_or(0);
        minutes.retain(|row| row.number > in_hours);
        drop_oldest(&mut hours, HOURS_IN_SNAPSHOT);
        drop_oldest(&mut days, DAYS_IN_SNAPSHOT);
        Tail { minutes, hours, days, highest }
    }

    fn sampled(&mut self, rows: Vec<Row>) {
        for row in rows {
            match row.resolution {
                Resolution::Minute => self.minutes.push(row),
                coarse => {
                    self.samples.insert((coarse, row.number % coarse.kept()), row);
                }
            }
        }
        drop_oldest(&mut self.minutes, Resolution::Minute.kept() as usize);
    }

    fn gather(&self, only: Option<&AppName>) -> Snapshot {
        let meant = |app: &AppName| only.is_none_or(|only| only == app);
        let mut snapshot = Snapshot::default();
        for row in self.deployments.values().rev().filter(|row| meant(&row.app)) {
            snapshot.add_deployment(row.clone());
        }
        for (app, deliveries) in self.deliveries.iter().filter(|(app, _)| meant(app)) {
            for seen in deliveries.iter().rev().filter_map(|judged| self.as_seen(judged)) {
                snapshot.add_delivery(app.clone(), seen);
            }
        }
        for ((app, commit), row) in self.quarantine.iter().filter(|((app, _), _)| meant(app)) {
            snapshot.add_quarantine(app.clone(), commit.clone(), row.clone());
        }
        for ((app, service), down) in self.wanted.iter().filter(|((app, _), _)| meant(app)) {
            snapshot.add_wanted(app.clone(), service.clone(), *down);
        }
        for (app, row, number) in self.live.iter().rev().filter(|(app, ..)| meant(app)) {
            snapshot.add_live(app.clone(), row.clone(), self.status_of(*number));
        }
        if only.is_none() {
            snapshot.outbox = self.outbox.values().cloned().collect();
            snapshot.channels = self.channels.clone();
            snapshot.incidents = self.incidents.values().cloned().collect();
        }
        for ((app, name), row) in self.schedules.iter().filter(|((app, _), _)| meant(app)) {
            snapshot.add_schedule(app.clone(), name.clone(), row.clone());
        }
        for (app, times) in self.reboots.iter().filter(|(app, _)| meant(app)) {
            times.iter().rev().for_each(|at| snapshot.add_reboot(app.clone(), *at));
        }
        snapshot.close()
    }

    fn as_seen(&self, judged: &Judged) -> Option<Seen> {
        Some(Seen {
            id: judged.id.clone()?,
            commit: judged.commit.clone(),
            deployment: judged.deployment,
            status: judged.deployment.and_then(|number| self.status_of(number)),
            ignored: judged.ignored,
        })
    }

    fn status_of(&self, number: DeployId) -> Option<DeployStatus> {
        self.deployments.get(&number).map(|row| row.status)
    }

    /// Looks for contradictions, with what earlier entries of the batch would have changed.
    fn check(&self, entries: &[Entry]) -> Result<(), StoreError> {
        let mut in_batch: BTreeMap<DeployId, bool> = BTreeMap::new();
        for entry in entries {
            entry.check()?;
            let open = |number| match in_batch.get(number) {
                Some(open) => Some(*open),
                None => self.deployments.get(number).map(|row| row.finished.is_none()),
            };
            match entry.needs() {
                Needs::Unused(number) if open(&number).is_some() => return Err(StoreError::used(number)),
                Needs::Open(number) if open(&number) != Some(true) => return Err(StoreError::not_open(number)),
                Needs::Known(number) if open(&number).is_none() => return Err(StoreError::unknown(number)),
                _ => {}
            }
            match entry {
                Entry::Queued(new) => in_batch.insert(new.number, true),
                Entry::Finished { number, .. } => in_batch.insert(*number, false),
                _ => None,
            };
        }
        Ok(())
    }

    fn apply(&mut self, entry: &Entry) {
        match entry.clone() {
            Entry::Queued(new) => {
                self.deployments.insert(new.number, Deployment::asked_for(&new));
            }
            Entry::Status { number, status, message } => self.change(number, |row| {
                row.status = status;
                row.message = message;
            }),
            Entry::Approved { number } => self.change(number, |row| row.pass = Pass::Approved),
            Entry::Phase { number, phase, at } => self.change(number, |row| {
                row.status = DeployStatus::Running;
                row.phase = phase;
                row.began = row.began.or(Some(at));
                row.message = None;
            }),
            Entry::Release { number, commit, release, previous } => self.change(number, |row| {
                row.commit = Some(commit);
                row.release = Some(release);
                row.previous = previous;
            }),
            Entry::PassedVerify { number } => self.change(number, |row| row.passed_verify = true),
            Entry::Finished { number, status, phase, failed_phase, message, exit, took, at } => {
                self.change(number, |row| {
                    row.status = status;
                    row.phase = phase;
                    row.failed_phase = failed_phase;
                    row.message = message;
                    row.exit = Some(exit);
                    row.took = took.map(whole_millis);
                    row.finished = Some(at);
                });
            }
            Entry::Step { number, mut step, .. } => {
                step.duration_seconds = (step.duration_seconds * 1000.0).round() / 1000.0;
                self.steps.entry(number).or_default().push(step);
            }
            Entry::WentLive { app, release, commit, deployment, at } => {
                self.live.push((app, GoodRelease { release, commit, at }, deployment));
            }
            Entry::Delivery { id, app, commit, deployment, ignored, .. } => {
                self.note_delivery(app, Judged { id, commit, deployment, ignored });
            }
            Entry::Logged(view) => {
                self.logged.push(DeliveryView { from: None, times: 1, ..*view });
                drop_oldest(&mut self.logged, LOGGED_KEPT);
            }
            Entry::Quarantine { app, commit, why, deployment, at } => {
                self.quarantine.insert((app, commit), Quarantined { why, deployment, at });
            }
            Entry::Forgiven { app, commit } => {
                self.quarantine.remove(&(app, commit));
            }
            Entry::Wanted { app, service, down } => {
                if service.is_none() {
                    self.wanted.retain(|(other, _), _| *other != app);
                }
                self.wanted.insert((app, service), down);
            }
            Entry::Backup { mut report, .. } => {
                let key = (report.app.clone(), report.id.clone());
                let verified = self.backups.get(&key).and_then(|kept| kept.report.verified);
                report.verified = report.verified.or(verified);
                self.backups.insert(key, KeptBackup { report, gone: false });
            }
            Entry::BackupVerified { app, id, at } => {
                if let Some(kept) = self.backups.get_mut(&(app, id)) {
                    kept.report.verified = Some(at);
                }
            }
            Entry::BackupGone { app, id, .. } => {
                if let Some(kept) = self.backups.get_mut(&(app, id)) {
                    kept.gone = true;
                }
            }
            Entry::Scheduled { app, name, row } => {
                self.schedules.insert((app, name), as_kept(row));
            }
            Entry::Rebooted { app, at } => {
                let known = self.reboots.entry(app).or_default();
                known.push(at);
                drop_oldest(known, REBOOTS_KEPT);
            }
            Entry::Sampled(rows) => self.sampled(rows),
            Entry::Notice { text, at } => {
                self.notices.push(Notice { at, text });
                drop_oldest(&mut self.notices, NOTICES_KEPT);
            }
            Entry::Post(fact) => self.apply_post(fact),
            Entry::Incident(incidents::Fact::Opened(incident)) => {
                let since = self.incidents.get(&incident.subject).map_or(incident.since, |known| known.since);
                let app = self.incidents.get(&incident.subject).map_or(incident.app.clone(), |known| known.app.clone());
                self.incidents.insert(incident.subject.clone(), Incident { since, app, ..incident });
            }
            Entry::Incident(incidents::Fact::Closed { subject }) => drop(self.incidents.remove(&subject)),
        }
    }

    fn apply_post(&mut self, fact: Fact) {
        match fact {
            Fact::Put(outgoing) => self.add_outgoing(outgoing),
            Fact::Sent { channel, seq, at } => {
                let gone = u64::from(self.outbox.remove(&seq).is_some());
                if let Some(counts) = self.channels.get_mut(&channel) {
                    counts.sent += gone;
                    counts.last_sent = Some(at);
                }
            }
            Fact::Dropped { channel, seqs } => {
                let gone = seqs.iter().filter(|seq| self.outbox.remove(seq).is_some()).count();
                self.channels.entry(channel).and_modify(|counts| counts.dropped += gone as u64);
            }
            Fact::Summarised { seqs, by } => {
                self.outbox.retain(|seq, _| !seqs.contains(seq));
                self.add_outgoing(by);
            }
            Fact::ChannelGone { channel } => {
                self.outbox.retain(|_, outgoing| outgoing.channel != channel);
                self.channels.remove(&channel);
            }
        }
    }

    fn add_outgoing(&mut self, outgoing: Outgoing) {
        let counts = self.channels.entry(outgoing.channel.clone()).or_default();
        counts.last_seq = counts.last_seq.max(outgoing.seq);
        self.outbox.entry(outgoing.seq).or_insert(outgoing);
    }

    fn change(&mut self, number: DeployId, edit: impl FnOnce(&mut Deployment)) {
        if let Some(row) = self.deployments.get_mut(&number) {
            edit(row);
        }
    }

    fn note_delivery(&mut self, app: AppName, judged: Judged) {
        let known = self.deliveries.entry(app).or_default();
        let place = known.iter().position(|other| other.id.is_some() && other.id == judged.id);
        match (place, judged.deployment) {
            (Some(_), None) => return,
            (Some(place), Some(_)) => {
                known.remove(place);
            }
            (None, _) => {}
        }
        known.push(judged);
        drop_oldest(known, DELIVERIES_KEPT);
    }
}

fn as_kept(mut row: Remembered) -> Remembered {
    let took = row.run.as_mut().and_then(|run| run.ended.as_mut()).map(|(_, took)| took);
    took.into_iter().for_each(|took| *took = whole_millis(*took));
    row
}

fn whole_millis(span: Duration) -> Duration {
    Duration::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

fn drop_oldest<T>(rows: &mut Vec<T>, keep: usize) {
    rows.drain(..rows.len().saturating_sub(keep));
}
