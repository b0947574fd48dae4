//! What the end of a deployment means to whoever asked: the exit code of `pintle deploy` and `pintle rollback`.

use crate::control::{DeployStatus, Phase};

/// The exit code for a deployment that ended as `status`, having failed in `failed` (contracts.md, section 1).
pub fn exit_code(status: DeployStatus, failed: Option<Phase>) -> u8 {
    match (status, failed) {
        (DeployStatus::Success, _) => 0,
        (DeployStatus::Failed, Some(Phase::Test)) => 1,
        (DeployStatus::Failed, Some(Phase::Build)) => 2,
        (DeployStatus::Failed, _) => 3,
        (DeployStatus::RolledBack, _) => 4,
        (DeployStatus::RollbackFailed, _) => 5,
        (DeployStatus::Refused | DeployStatus::Superseded | DeployStatus::Cancelled, _) => 6,
        (DeployStatus::Queued | DeployStatus::Waiting | DeployStatus::Running, _) => 69,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_has_its_exit_code() {
        let cases = [
            (DeployStatus::Success, None, 0),
            (DeployStatus::Failed, Some(Phase::Test), 1),
            (DeployStatus::Failed, Some(Phase::Build), 2),
            (DeployStatus::Failed, Some(Phase::Fetch), 3),
            (DeployStatus::Failed, Some(Phase::Rehearse), 3),
            (DeployStatus::Failed, Some(Phase::Migrate), 3),
            (DeployStatus::Failed, Some(Phase::Verify), 3),
            (DeployStatus::RolledBack, Some(Phase::Probation), 4),
            (DeployStatus::RollbackFailed, Some(Phase::Verify), 5),
            (DeployStatus::Refused, Some(Phase::Fetch), 6),
            (DeployStatus::Superseded, None, 6),
            (DeployStatus::Cancelled, Some(Phase::Build), 6),
        ];
        for (status, failed, code) in cases {
            assert_eq!(exit_code(status, failed), code, "{status} in {failed:?}");
        }
    }
}
