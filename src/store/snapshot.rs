//! What the diary knows, as the daemon loads it at its start - and the shapes in which single rows are answered.
//!
//! [`Snapshot`] is built row by row, newest first, by whoever holds the rows (`diary` or `memory`); everything that is
//! derived (which releases are good, what may be deduplicated) is derived here, once. Line: no database, no decisions.

use super::entry::{Kind, NewDeployment};
use crate::base::{AppName, CommitId, DeployId, ReleaseName, ScheduleName, ServiceName, WallTime};
use crate::control::{DeployStatus, DeploymentReport, DeploymentView, Ignored, Pass, Phase, StepReport, Trigger};
use crate::deploy::tried::Attempt;
use crate::health::record::Tail;
use crate::notify::incidents::Incident;
use crate::notify::outbox::{Counts, Outgoing};
use crate::supervise::agenda::Remembered;
use std::collections::BTreeMap;
use std::time::Duration;

/// How many delivery ids per app a snapshot carries; older ones are found by `Diary::seen`.
pub const DELIVERIES_IN_SNAPSHOT: usize = 1_000;
/// How many delivery ids per app the diary keeps: a captured delivery can be replayed for ever.
pub const DELIVERIES_KEPT: usize = 10_000;
/// Every so many deliveries the older ones are forgotten.
pub const DELIVERIES_BEYOND: usize = 128;
/// Requests to the listener that `deliveries` can show.
pub const LOGGED_KEPT: usize = 1_000;
/// Every so many requests the older ones are removed.
pub const LOGGED_BEYOND: usize = 64;
/// How many releases per app a snapshot carries, many more than are ever kept on disk.
pub const RELEASES_IN_SNAPSHOT: usize = 200;
/// How many beginnings per app a snapshot carries: more than any sensible limit in a day.
pub const BEGINNINGS_IN_SNAPSHOT: usize = 1_000;
/// How many deploys per app a snapshot tells the outcome of.
pub const ATTEMPTS_IN_SNAPSHOT: usize = 50;
/// How many reboots of the host for the sake of an app are kept.
pub const REBOOTS_KEPT: usize = 24;
/// How many hours of how the board was a snapshot carries: those that are in no day yet, and some more.
pub const HOURS_IN_SNAPSHOT: usize = 60;
/// How many such days.
pub const DAYS_IN_SNAPSHOT: usize = 4;
/// How many notices are kept.
pub const NOTICES_KEPT: usize = 100;

/// One deployment with all that is known of it.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Deployment {
    pub number: DeployId,
    pub app: AppName,
    pub kind: Kind,
    /// The commit as it was asked for; `None`: the branch's tip.
    pub requested: Option<String>,
    /// The commit in full, once it is known.
    pub commit: Option<CommitId>,
    pub release: Option<ReleaseName>,
    /// The release that was live before.
    pub previous: Option<ReleaseName>,
    pub status: DeployStatus,
    pub phase: Phase,
    pub failed_phase: Option<Phase>,
    pub trigger: Trigger,
    pub forced: bool,
    pub pass: Pass,
    pub retry_of: Option<DeployId>,
    /// When it was asked for.
    pub asked: WallTime,
    /// When its first phase began.
    pub began: Option<WallTime>,
    pub finished: Option<WallTime>,
    /// How long it ran; whole milliseconds.
    pub took: Option<Duration>,
    pub message: Option<String>,
    /// What `pintle deploy` exits with for it.
    pub exit: Option<u8>,
    pub passed_verify: bool,
}

impl Deployment {
    /// One that was just asked for.
    pub(super) fn asked_for(new: &NewDeployment) -> Deployment {
        Deployment {
            number: new.number,
            app: new.app.clone(),
            kind: new.kind,
            requested: new.requested.clone(),
            commit: new.commit.clone(),
            release: new.release.clone(),
            previous: None,
            status: new.status,
            phase: Phase::Preflight,
            failed_phase: None,
            trigger: new.trigger,
            forced: new.forced,
            pass: new.pass,
            retry_of: new.retry_of,
            asked: new.asked,
            began: None,
            finished: None,
            took: None,
            message: new.message.clone(),
            exit: None,
            passed_verify: false,
        }
    }

    /// As `history` lists it.
    pub fn view(&self) -> DeploymentView {
        DeploymentView {
            number: self.number,
            app: self.app.clone(),
            commit: self.commit.as_ref().map(CommitId::to_string).or_else(|| self.requested.clone()),
            release: self.release.clone(),
            status: self.status,
            phase: self.phase,
            trigger: self.trigger,
            started: self.began.unwrap_or(self.asked),
            finished: self.finished,
            duration_seconds: self.took.map(|took| took.as_secs_f64()),
            message: self.message.clone(),
        }
    }

    /// As `show` tells it. The path of the log is the caller's to add.
    pub fn report(&self, steps: Vec<StepReport>) -> DeploymentReport {
        let approved = self.pass == Pass::Approved;
        let (deployment, previous) = (self.view(), self.previous.clone());
        DeploymentReport { deployment, steps, previous, approved, exit: self.exit, log: None }
    }
}

/// A delivery that was judged before.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Seen {
    /// The forge's id.
    pub id: String,
    pub commit: Option<CommitId>,
    /// The deployment that answers it.
    pub deployment: Option<DeployId>,
    /// How that deployment stands: a failed one may be delivered again.
    pub status: Option<DeployStatus>,
    /// Why it was ignored; `None`: accepted.
    pub ignored: Option<Ignored>,
}

/// A commit that is not to be deployed again.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Quarantined {
    pub why: String,
    pub deployment: Option<DeployId>,
    pub at: WallTime,
}

/// A release that was live, passed Verify, and whose deployment ended well.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct GoodRelease {
    pub release: ReleaseName,
    pub commit: CommitId,
    /// When it last went live.
    pub at: WallTime,
}

/// A release that some deployment made.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct ReleaseInfo {
    pub release: ReleaseName,
    pub commit: CommitId,
    /// How the deployment that made it stands.
    pub status: DeployStatus,
    /// When that deployment began.
    pub created: WallTime,
    /// It was live and passed Verify.
    pub good: bool,
    /// Its commit is quarantined now.
    pub quarantined: bool,
}

/// Something about the diary or the daemon that people should know.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Notice {
    pub at: WallTime,
    pub text: String,
}

/// What is known of one application.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AppSnapshot {
    /// Deliveries with an id, oldest first; at most [`DELIVERIES_IN_SNAPSHOT`], the newest.
    pub deliveries: Vec<Seen>,
    /// Commits that are not to be deployed again.
    pub quarantine: BTreeMap<CommitId, Quarantined>,
    /// What people stopped (true) and started again; `None` is the app as a whole. See [`AppSnapshot::wanted_down`].
    pub wanted: BTreeMap<Option<ServiceName>, bool>,
    /// Good releases, the one that went live last first.
    pub good: Vec<GoodRelease>,
    /// What deploys of known commits came to, newest first; at most [`ATTEMPTS_IN_SNAPSHOT`].
    pub attempts: Vec<Attempt>,
    /// Releases by the deployments that made them, newest first.
    pub releases: Vec<ReleaseInfo>,
    /// When deploys began that nobody had ordered by hand, newest first: what a rate limit counts.
    pub begun: Vec<WallTime>,
    /// What is known of its schedules; also of such as are configured no longer.
    pub schedules: BTreeMap<ScheduleName, Remembered>,
    /// When the host was rebooted because it stayed unhealthy, newest first; at most [`REBOOTS_KEPT`].
    pub reboots: Vec<WallTime>,
}

impl AppSnapshot {
    /// Whether a person stopped this service, or the app without starting the service again.
    pub fn wanted_down(&self, service: &ServiceName) -> bool {
        let word = self.wanted.get(&Some(service.clone())).or_else(|| self.wanted.get(&None));
        word.copied().unwrap_or(false)
    }
}

/// All that the daemon needs to know when it starts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Snapshot {
    /// The highest number ever used; 0 when none was. After a lost diary higher ones may be found on disk.
    pub highest: DeployId,
    /// The latest time ever written: a clock that shows less cannot be trusted.
    pub newest: WallTime,
    /// Deployments that are not over, lowest number first.
    pub unfinished: Vec<Deployment>,
    /// By application; also those that are configured no longer.
    pub apps: BTreeMap<AppName, AppSnapshot>,
    /// How the board was lately.
    pub samples: Tail,
    /// Messages that were not sent, in their order.
    pub outbox: Vec<Outgoing>,
    /// What became of each channel's messages.
    pub channels: BTreeMap<String, Counts>,
    /// What is wrong, as people were told, by subject.
    pub incidents: Vec<Incident>,
}

/// The snapshot is built by adding rows, newest first, and closing.
impl Snapshot {
    pub(super) fn add_deployment(&mut self, row: Deployment) {
        self.highest = self.highest.max(row.number);
        let times = [Some(row.asked), row.began, row.finished];
        self.newest = times.into_iter().flatten().fold(self.newest, WallTime::max);
        let app = self.apps.entry(row.app.clone()).or_default();
        let by_itself = row.kind == Kind::Deploy && row.trigger.comes_by_itself() && !row.forced;
        if by_itself && app.begun.len() < BEGINNINGS_IN_SNAPSHOT {
            app.begun.extend(row.began);
        }
        let AppSnapshot { releases, attempts, .. } = app;
        if let (Kind::Deploy, Some(commit)) = (row.kind, &row.commit)
            && attempts.len() < ATTEMPTS_IN_SNAPSHOT
        {
            let (commit, trigger, status) = (commit.clone(), row.trigger, row.status);
            attempts.push(Attempt { commit, trigger, status, failed: row.failed_phase });
        }
        if let (Kind::Deploy, Some(release), Some(commit)) = (row.kind, &row.release, &row.commit)
            && releases.len() < RELEASES_IN_SNAPSHOT
        {
            releases.push(ReleaseInfo {
                release: release.clone(),
                commit: commit.clone(),
                status: row.status,
                created: row.began.unwrap_or(row.asked),
                good: false,
                quarantined: false,
            });
        }
        if row.finished.is_none() {
            self.unfinished.push(row);
        }
    }

    pub(super) fn add_delivery(&mut self, app: AppName, seen: Seen) {
        let deliveries = &mut self.apps.entry(app).or_default().deliveries;
        if deliveries.len() < DELIVERIES_IN_SNAPSHOT {
            deliveries.push(seen);
        }
    }

    pub(super) fn add_quarantine(&mut self, app: AppName, commit: CommitId, row: Quarantined) {
        self.apps.entry(app).or_default().quarantine.insert(commit, row);
    }

    pub(super) fn add_wanted(&mut self, app: AppName, service: Option<ServiceName>, down: bool) {
        self.apps.entry(app).or_default().wanted.insert(service, down);
    }

    pub(super) fn add_schedule(&mut self, app: AppName, name: ScheduleName, row: Remembered) {
        self.apps.entry(app).or_default().schedules.insert(name, row);
    }

    pub(super) fn add_reboot(&mut self, app: AppName, at: WallTime) {
        self.apps.entry(app).or_default().reboots.push(at);
    }

    /// `outcome` is that of the deployment that put it live; `None` when the diary does not know it any more. While that
    /// deployment is under way it can still be turned back.
    pub(super) fn add_live(&mut self, app: AppName, row: GoodRelease, outcome: Option<DeployStatus>) {
        let good = &mut self.apps.entry(app).or_default().good;
        let counts = outcome.is_none_or(|status| status == DeployStatus::Success);
        let known = good.iter().any(|other| other.release == row.release);
        if counts && !known && good.len() < RELEASES_IN_SNAPSHOT {
            good.push(row);
        }
    }

    /// Brings lists into the promised order and marks the releases.
    pub(super) fn close(mut self) -> Snapshot {
        self.unfinished.reverse();
        for app in self.apps.values_mut() {
            app.deliveries.reverse();
            for info in &mut app.releases {
                info.good = app.good.iter().any(|good| good.release == info.release);
                info.quarantined = app.quarantine.contains_key(&info.commit);
            }
        }
        self
    }
}
