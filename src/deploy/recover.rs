//! How an interrupted deployment goes on, from its last words in the diary and what `current` points at.
//!
//! The diary is intent and history; `current` is the truth about what is live, and where they disagree it wins.

use crate::base::{AppName, CommitId, DeployId, ReleaseName};
use crate::control::{DeployStatus, Phase, Trigger};

/// What the diary knows of a deployment that has no end.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Interrupted {
    pub number: DeployId,
    pub app: AppName,
    pub is_rollback: bool,
    pub is_backup_only: bool,
    pub status: DeployStatus,
    pub phase: Phase,
    pub requested: Option<String>,
    pub commit: Option<CommitId>,
    pub release: Option<ReleaseName>,
    pub previous: Option<ReleaseName>,
    pub trigger: Trigger,
    pub forced: bool,
    pub passed_verify: bool,
    pub retry_of: Option<DeployId>,
}

/// How it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovery {
    /// It had not begun: it waits as before, under its number.
    Requeue,
    /// Production was not touched: it failed, its scratch is removed.
    Fail {
        /// Try it once more, under a new number.
        retry: bool,
    },
    /// The previous release back, verified; then it is rolled back.
    GoBack {
        /// Try it once more afterwards.
        retry: bool,
    },
    /// The release had passed its verification and stays, if it is still well.
    Keep,
    /// All was done but the last word.
    Finish,
}

/// Decides, for a deployment without an end, when a new daemon starts.
pub fn decide(it: &Interrupted, current: Option<&ReleaseName>) -> Recovery {
    let retry = it.retry_of.is_none() && !it.is_rollback && !it.is_backup_only;
    let is_live = it.release.is_some() && it.release.as_ref() == current;
    match (it.status, it.phase) {
        (DeployStatus::Queued | DeployStatus::Waiting, _) => Recovery::Requeue,
        (_, Phase::Rollback) => Recovery::GoBack { retry: false },
        (_, Phase::Done) if is_live || it.is_backup_only => Recovery::Finish,
        // Only a backup was made: the release it was going to may be the live one, if only data were to change.
        (_, phase) if phase < Phase::Switch && it.is_rollback => Recovery::Fail { retry },
        (_, phase) if phase < Phase::Switch && !is_live => Recovery::Fail { retry },
        (_, Phase::Probation | Phase::Done) if it.passed_verify && is_live => Recovery::Keep,
        // The data may be half restored: verified, and told as what it is.
        (_, Phase::Switch) if it.is_rollback && it.release == it.previous => Recovery::GoBack { retry },
        // A retry of a rollback is the rollback itself: the release it was going to has run before.
        (_, _) if it.is_rollback && is_live => Recovery::Keep,
        (_, _) => Recovery::GoBack { retry },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interrupted(phase: Phase, passed_verify: bool) -> Interrupted {
        Interrupted {
            number: DeployId(8),
            app: AppName::new("app").unwrap(),
            is_rollback: false,
            is_backup_only: false,
            status: DeployStatus::Running,
            phase,
            requested: None,
            commit: None,
            release: Some(ReleaseName::new("000008-bbbbbbb").unwrap()),
            previous: Some(ReleaseName::new("000007-aaaaaaa").unwrap()),
            trigger: Trigger::Webhook,
            forced: false,
            passed_verify,
            retry_of: None,
        }
    }

    #[test]
    fn the_phase_and_what_is_live_decide() {
        use Phase::*;
        let (old, new) = (Some("000007-aaaaaaa"), Some("000008-bbbbbbb"));
        let retry = true;
        let cases = [
            (Preflight, false, old, Recovery::Fail { retry }),
            (Fetch, false, None, Recovery::Fail { retry }),
            (Build, false, old, Recovery::Fail { retry }),
            (Migrate, false, old, Recovery::Fail { retry }),
            (Switch, false, old, Recovery::GoBack { retry }),
            (Switch, false, new, Recovery::GoBack { retry }),
            (Verify, false, new, Recovery::GoBack { retry }),
            (Probation, true, new, Recovery::Keep),
            (Probation, true, old, Recovery::GoBack { retry }),
            (Rollback, false, new, Recovery::GoBack { retry: false }),
            (Rollback, false, old, Recovery::GoBack { retry: false }),
            (Done, true, new, Recovery::Finish),
            (Done, true, old, Recovery::GoBack { retry }),
        ];
        for (phase, passed, current, expected) in cases {
            let current = current.map(|name| ReleaseName::new(name).unwrap());
            assert_eq!(decide(&interrupted(phase, passed), current.as_ref()), expected, "{phase}, live: {current:?}");
        }
    }

    #[test]
    fn an_interrupted_rollback_is_finished_if_it_had_switched_and_a_restore_is_not_called_done() {
        use Phase::*;
        let (old, new) = (ReleaseName::new("000007-aaaaaaa").unwrap(), ReleaseName::new("000008-bbbbbbb").unwrap());
        let retry = false;
        let cases = [
            (Backup, &old, &new, &new, Recovery::Fail { retry }),
            (Switch, &old, &new, &new, Recovery::GoBack { retry }),
            (Switch, &old, &new, &old, Recovery::Keep),
            (Verify, &old, &new, &old, Recovery::Keep),
            (Backup, &old, &old, &old, Recovery::Fail { retry }),
            (Switch, &old, &old, &old, Recovery::GoBack { retry }),
            (Verify, &old, &old, &old, Recovery::Keep),
        ];
        for (phase, to, from, current, expected) in cases {
            let (release, previous) = (Some(to.clone()), Some(from.clone()));
            let it = Interrupted { is_rollback: true, release, previous, ..interrupted(phase, false) };
            assert_eq!(decide(&it, Some(current)), expected, "{phase}: {from} -> {to}, live: {current}");
        }
    }

    #[test]
    fn it_is_retried_once_and_a_queued_one_simply_waits_on() {
        let mut it = interrupted(Build, false);
        it.retry_of = Some(DeployId(7));
        assert_eq!(decide(&it, None), Recovery::Fail { retry: false });
        it.status = DeployStatus::Queued;
        assert_eq!(decide(&it, None), Recovery::Requeue);
    }

    use Phase::Build;
}
