//! What the daemon can tell the diary: one variant for each kind of fact.
//!
//! Entries are values, so that pure code can say what is to be remembered and a test can compare it. Line: no
//! database; what an entry does to the rows is written in `record` (on disk) and `memory` (without).

use super::error::StoreError;
use crate::base::{AppName, BackupId, CommitId, DeployId, ReleaseName, ScheduleName, ServiceName, WallTime};
use crate::control::{BackupReport, DeliveryView, DeployStatus, Ignored, Pass, Phase, StepReport, Trigger, spelled};
use crate::health::record::Row;
use crate::notify::{incidents, outbox};
use crate::supervise::agenda::Remembered;
use std::time::Duration;

/// What a deployment does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Makes a release of a commit and puts it live.
    Deploy,
    /// Puts an earlier release live again because a person asked for it.
    Rollback,
    /// Only makes a backup.
    Backup,
}
spelled!(Kind { Deploy = "deploy", Rollback = "rollback", Backup = "backup" });

/// A deployment as it is first written down.
#[derive(Debug, Clone, PartialEq)]
pub struct NewDeployment {
    /// Its number; one that was never used before.
    pub number: DeployId,
    /// The application.
    pub app: AppName,
    /// What it does.
    pub kind: Kind,
    /// The commit as it was asked for, perhaps abbreviated; `None`: the branch's tip.
    pub requested: Option<String>,
    /// The commit, where it is known in full already.
    pub commit: Option<CommitId>,
    /// For a rollback: the release to go back to, where it is chosen already.
    pub release: Option<ReleaseName>,
    /// `Queued` or `Waiting`.
    pub status: DeployStatus,
    /// What started it.
    pub trigger: Trigger,
    /// Asked for with `--force`.
    pub forced: bool,
    /// What lets it past gates.
    pub pass: Pass,
    /// The interrupted deployment that this one repeats.
    pub retry_of: Option<DeployId>,
    /// What it waits for, in a sentence.
    pub message: Option<String>,
    /// When it was asked for.
    pub asked: WallTime,
}

/// A fact to remember. Several told together are remembered together or not at all.
///
/// A fact about a deployment that was never `Queued`, or one that would change a deployment that is `Finished`, is a
/// contradiction and refused: history is not rewritten.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// A deployment was asked for.
    Queued(NewDeployment),
    /// It waits, is queued again or runs. Never a final status: that is told by [`Entry::Finished`].
    #[allow(missing_docs)]
    Status { number: DeployId, status: DeployStatus, message: Option<String> },
    /// A person approved it.
    #[allow(missing_docs)]
    Approved { number: DeployId },
    /// A phase begins (told before it does): the deployment runs, and what it waited for is forgotten.
    #[allow(missing_docs)]
    Phase { number: DeployId, phase: Phase, at: WallTime },
    /// What is being deployed, and the release that was live before.
    #[allow(missing_docs)]
    Release { number: DeployId, commit: CommitId, release: ReleaseName, previous: Option<ReleaseName> },
    /// A step or built-in action ended. Kept in the order told.
    #[allow(missing_docs)]
    Step { number: DeployId, step: StepReport, at: WallTime },
    /// From now on an interrupted deploy keeps the new release.
    #[allow(missing_docs)]
    PassedVerify { number: DeployId },
    /// It is over.
    Finished {
        /// The deployment.
        number: DeployId,
        /// A final status.
        status: DeployStatus,
        /// Where it stands: `Done`, or where it ended.
        phase: Phase,
        /// The phase that failed, where one did.
        failed_phase: Option<Phase>,
        /// One sentence: why it ended as it did.
        message: Option<String>,
        /// What `pintle deploy` exits with.
        exit: u8,
        /// How long it ran, by a clock that does not jump; `None` when it never ran or was cut off.
        took: Option<Duration>,
        /// When it ended.
        at: WallTime,
    },
    /// A release went live and passed Verify. It counts as good once `deployment` has ended well.
    #[allow(missing_docs)]
    WentLive { app: AppName, release: ReleaseName, commit: CommitId, deployment: DeployId, at: WallTime },
    /// A delivery was judged. One whose id is known already changes something only when it names a deployment: then
    /// the id stands for that one.
    Delivery {
        /// The forge's id; `None` for `/deploy`: noted, never a duplicate.
        id: Option<String>,
        /// The application that was wanted ...
        app: AppName,
        /// ... at this commit; `None`: a tag whose commit was not known then.
        commit: Option<CommitId>,
        /// The deployment it started, or the one that answers it already.
        deployment: Option<DeployId>,
        /// Why it was ignored; `None`: accepted.
        ignored: Option<Ignored>,
        /// The same as a sentence.
        reason: Option<String>,
        /// When it was judged.
        at: WallTime,
    },
    /// A request came to the listener: for people who look what became of it. Only the newest are kept.
    Logged(Box<DeliveryView>),
    /// A commit is not to be deployed again unless forced or forgiven.
    #[allow(missing_docs)]
    Quarantine { app: AppName, commit: CommitId, why: String, deployment: Option<DeployId>, at: WallTime },
    /// The quarantine is lifted.
    #[allow(missing_docs)]
    Forgiven { app: AppName, commit: CommitId },
    /// A person stopped (`down`) or started an app or one service of it. A word about the whole app replaces what was
    /// said about its services.
    #[allow(missing_docs)]
    Wanted { app: AppName, service: Option<ServiceName>, down: bool },
    /// A backup was made (or found on disk); one known by this id is replaced, its `verified` kept.
    Backup {
        /// As `backup list` shows it.
        report: BackupReport,
        /// The commit that was live.
        commit: Option<CommitId>,
        /// The deployment that made it.
        deployment: Option<DeployId>,
    },
    /// A backup was restored somewhere and found whole. Nothing to remember about a backup that is not known.
    #[allow(missing_docs)]
    BackupVerified { app: AppName, id: BackupId, at: WallTime },
    /// A backup was removed; its row stays, lists leave it out.
    #[allow(missing_docs)]
    BackupGone { app: AppName, id: BackupId, at: WallTime },
    /// What is known of a schedule; replaces what was.
    #[allow(missing_docs)]
    Scheduled { app: AppName, name: ScheduleName, row: Remembered },
    /// The host is about to be rebooted because an app stays unhealthy.
    #[allow(missing_docs)]
    Rebooted { app: AppName, at: WallTime },
    /// How the board was. A row takes the place of the one that is as many numbers older as its resolution keeps, or of
    /// itself as it was told before.
    Sampled(Vec<Row>),
    /// Something about the daemon or the diary itself that `history` is to show.
    #[allow(missing_docs)]
    Notice { text: String, at: WallTime },
    /// About a message on its way.
    Post(outbox::Fact),
    /// About something that is wrong for now.
    Incident(incidents::Fact),
}

/// What must be true of a deployment for an entry to fit.
pub(super) enum Needs {
    /// Its number was never used.
    Unused(DeployId),
    /// It was queued and is not finished.
    Open(DeployId),
    /// It was queued.
    Known(DeployId),
    /// The entry is about something else.
    Nothing,
}

impl Entry {
    /// What must be true for this entry to be told.
    pub(super) fn needs(&self) -> Needs {
        match self {
            Entry::Queued(new) => Needs::Unused(new.number),
            Entry::Status { number, .. }
            | Entry::Approved { number }
            | Entry::Phase { number, .. }
            | Entry::Release { number, .. }
            | Entry::PassedVerify { number }
            | Entry::Finished { number, .. } => Needs::Open(*number),
            Entry::Step { number, .. } => Needs::Known(*number),
            _ => Needs::Nothing,
        }
    }

    /// Refuses a status in the wrong place: a final one while it goes on, a passing one at its end.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match self {
            Entry::Queued(NewDeployment { number, status, .. }) | Entry::Status { number, status, .. }
                if status.is_final() =>
            {
                Err(StoreError::contradiction(*number, &format!("it is said to go on, as {status}")))
            }
            Entry::Finished { number, status, .. } if !status.is_final() => {
                Err(StoreError::contradiction(*number, &format!("it is said to be over, as {status}")))
            }
            _ => Ok(()),
        }
    }
}
