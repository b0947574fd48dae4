//! A request turned into ordered phases: what the machine walks, and what `deploy --dry-run` shows.

use crate::base::{BackupId, ReleaseName};
use crate::config::{App, StepPhase};
use crate::control::Phase;

/// What a deployment is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A new release of a commit.
    Deploy,
    /// Only a backup.
    BackupOnly,
    /// Back to a release that is on disk.
    Rollback {
        /// Which.
        to: ReleaseName,
        /// The shared data too.
        data: Option<DataToRestore>,
    },
}

/// Which backup brings the data back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataToRestore {
    /// The newest one made while the release was live.
    OfRelease,
    /// This one.
    Backup(BackupId),
}

/// The phases of one deployment, in order; [`Phase::Done`] is always the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What it is for.
    pub kind: Kind,
    /// What is done, in order. Phases with nothing to do are not in it.
    pub phases: Vec<Phase>,
    /// Verification ends with smoke steps.
    pub smoke: bool,
    /// Steps follow once the release is final.
    pub after: bool,
    /// The old release is stopped before migrations.
    pub migrate_stopped: bool,
}

impl Plan {
    /// The plan of a deployment of `app`.
    pub fn of(app: &App, kind: Kind) -> Plan {
        let has = |phase: StepPhase| app.steps.iter().any(|step| step.phase == phase);
        let candidates = app.services.values().any(|service| service.rehearse);
        let wanted = |phase: &Phase| match (&kind, phase) {
            (Kind::BackupOnly, phase) => matches!(phase, Phase::Backup | Phase::Done),
            (Kind::Rollback { data, .. }, Phase::Backup) => data.is_some(),
            (Kind::Rollback { .. }, phase) => *phase >= Phase::Switch && *phase != Phase::Rollback,
            (Kind::Deploy, Phase::Build) => has(StepPhase::Build),
            (Kind::Deploy, Phase::Test) => has(StepPhase::Test),
            (Kind::Deploy, Phase::Backup) => app.backup.before_deploy,
            (Kind::Deploy, Phase::Rehearse) => candidates && app.rehearsal.off.is_none(),
            (Kind::Deploy, Phase::Migrate) => has(StepPhase::Migrate),
            (Kind::Deploy, Phase::Rollback) => false,
            (Kind::Deploy, _) => true,
        };
        Plan {
            phases: Phase::ALL.iter().copied().filter(wanted).collect(),
            smoke: kind != Kind::BackupOnly && has(StepPhase::Smoke),
            after: kind == Kind::Deploy && has(StepPhase::After),
            migrate_stopped: app.deploy.migrate_stopped && has(StepPhase::Migrate),
            kind,
        }
    }

    /// The phase that follows `phase`.
    pub fn after(&self, phase: Option<Phase>) -> Phase {
        let mut all = self.phases.iter().copied();
        all.find(|one| phase.is_none_or(|phase| *one > phase)).unwrap_or(Phase::Done)
    }
}
