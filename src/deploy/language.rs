//! The language of a deployment: what it is told, what must be remembered of it, what it asks for.

use crate::base::{BackupId, CommitId, ReleaseName};
use crate::config::StepPhase;
use crate::control::{DeployStatus, Phase};
use std::time::Duration;

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// It is its turn.
    Start,
    /// The last fact is on disk, or could not be written.
    Recorded(Result<(), String>),
    /// The work asked for ended.
    Worked(Worked),
    /// The services run as asked for.
    Settled,
    /// A service of the release being deployed ended by itself.
    Tripped(String),
    /// Clients could not be sent to it: the proxy refuses, for which no commit is to blame.
    Unreachable(String),
    /// Every probe was good.
    Well,
    /// A probe failed as often as it may.
    Unwell(String),
    /// A person, or a newer commit, ends it.
    Cancel(String),
    /// Time passed.
    Tick,
}

/// How a piece of work ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Worked {
    /// As it should; with remarks for people (a step whose failure only warns).
    Done(Vec<String>),
    /// The commit is here, belongs to the branch, and has become a release directory.
    Fetched {
        /// The full commit.
        commit: CommitId,
        /// Its release.
        release: ReleaseName,
    },
    /// The backup is made.
    BackedUp(BackupId),
    /// It may not be deployed: older than what runs, not on the branch.
    Refused(String),
    /// It failed.
    Failed(String),
    /// It could not even be tried, and the commit is not to blame: something is missing on the host.
    Unready(String),
    /// It was ended as asked by [`Output::CancelWork`].
    Cancelled,
}

/// What hands do for a deployment, outside the loop. Each is answered by [`Input::Worked`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Work {
    Preflight,
    Fetch,
    Steps(StepPhase),
    Backup,
    Rehearse,
    /// Put the data of a backup in place; the services are stopped.
    RestoreData,
    /// Point `current` at this release, or at nothing.
    Point(Option<ReleaseName>),
    /// Remove what a failed deploy made.
    Discard,
    /// Prune releases and backups.
    Tidy,
}

/// What must be remembered.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Fact {
    /// The phase is about to begin.
    Phase(Phase),
    /// Which commit and release it is.
    Identified { commit: CommitId, release: ReleaseName },
    /// The release passed its verification: from now on it may stay after a crash.
    PassedVerify,
    /// The commit may not be deployed again unless forced.
    Quarantined { commit: CommitId, why: String },
    /// It is over.
    Ended(End),
}

/// How a deployment ended.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct End {
    pub status: DeployStatus,
    /// The last phase; `Done` only after success.
    pub phase: Phase,
    /// The phase that failed.
    pub failed: Option<Phase>,
    pub message: Option<String>,
    pub exit: u8,
}

/// What the machine asks for.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Output {
    /// Write the facts down, together; answered by `Recorded`.
    Record(Vec<Fact>),
    Work(Work),
    /// End the work under way soon; it still answers.
    CancelWork,
    /// Hand the services over to this release; answered by `Settled`.
    Run(ReleaseName),
    /// Stop every service; answered by `Settled`.
    RunNothing,
    /// Look eagerly until every probe is good; answered by `Well`.
    Verify,
    /// Look closely from now on for so long; a bad verdict is `Unwell`.
    Watch(Duration),
    /// A line for the deployment's log.
    Say(String),
    /// Nothing more will come.
    Finished(End),
}
