//! Commits that deployments were made for since the branch last moved: polling begins none of them again.
//!
//! A branch stays where it is after a deploy failed or a person went back to an earlier release; without this memory every
//! look would find "something new" there. It is forgotten when the branch moves on, so a branch that is moved back to an
//! earlier commit deploys it.

use crate::base::CommitId;
use crate::control::{DeployStatus, Phase, Trigger};
use std::collections::BTreeMap;

/// A commit none of whose own code ran - the repository, the disk or the power failed before - is begun so often.
const ATTEMPTS: u32 = 3;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tried(BTreeMap<CommitId, Attempts>);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Attempts {
    begun: u32,
    /// The last one failed before any of the commit's own code ran.
    is_blameless: bool,
}

/// A deployment as the diary remembers it.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Attempt {
    pub commit: CommitId,
    pub trigger: Trigger,
    pub status: DeployStatus,
    pub failed: Option<Phase>,
}

impl Tried {
    /// From what the diary remembers, the newest first.
    pub fn remembered<'a>(newest_first: impl DoubleEndedIterator<Item = &'a Attempt>) -> Tried {
        let mut tried = Tried::default();
        for attempt in newest_first.rev() {
            tried.begins(&attempt.commit, attempt.trigger);
            tried.ends(&attempt.commit, attempt.status, attempt.failed);
        }
        tried
    }

    /// A deployment of `commit` was asked for.
    pub fn begins(&mut self, commit: &CommitId, trigger: Trigger) {
        if comes_from_the_branch(trigger) {
            self.0.retain(|other, _| other == commit);
        }
        let attempts = self.0.entry(commit.clone()).or_default();
        attempts.begun = attempts.begun.saturating_add(1);
        attempts.is_blameless = false;
    }

    /// What a deployment of the branch's tip, whichever that is, turned out to be for.
    pub fn is_for(&mut self, commit: &CommitId) {
        self.0.entry(commit.clone()).or_insert(Attempts { begun: 1, is_blameless: false });
    }

    /// A deployment of `commit` ended; `failed`: in which phase.
    pub fn ends(&mut self, commit: &CommitId, status: DeployStatus, failed: Option<Phase>) {
        if let Some(attempts) = self.0.get_mut(commit) {
            let early = failed.is_some_and(|phase| phase <= Phase::Fetch);
            attempts.is_blameless = status == DeployStatus::Failed && early;
        }
    }

    /// How many commits are remembered.
    #[cfg(test)]
    pub fn commits(&self) -> usize {
        self.0.len()
    }

    /// Whether polling may begin it.
    pub fn may_begin(&self, commit: &CommitId) -> bool {
        self.0.get(commit).is_none_or(|attempts| attempts.is_blameless && attempts.begun < ATTEMPTS)
    }
}

/// Whether such a deployment was asked for because the branch moved, not because a person chose a commit.
pub fn comes_from_the_branch(trigger: Trigger) -> bool {
    matches!(trigger, Trigger::Webhook | Trigger::Deploy | Trigger::Poll | Trigger::Hook)
}

#[cfg(test)]
mod tests {
    use super::*;
    use DeployStatus::*;

    fn commit(digit: char) -> CommitId {
        CommitId::new(digit.to_string().repeat(40)).unwrap()
    }

    fn after(attempts: &[(char, Trigger, DeployStatus, Option<Phase>)]) -> Tried {
        let all = attempts.iter().map(|(digit, trigger, status, failed)| Attempt {
            commit: commit(*digit),
            trigger: *trigger,
            status: *status,
            failed: *failed,
        });
        let all: Vec<Attempt> = all.collect();
        Tried::remembered(all.iter().rev())
    }

    #[test]
    fn what_was_tried_is_not_begun_again_until_the_branch_moves() {
        use Trigger::*;
        // What happened, in order; then which of the commits a, b and c polling may begin.
        type Row<'a> = (&'a [(char, Trigger, DeployStatus, Option<Phase>)], &'a str);
        let table: &[Row] = &[
            (&[], "abc"),
            (&[('a', Webhook, Success, None)], "bc"),
            (&[('a', Webhook, Failed, Some(Phase::Build))], "bc"),
            (&[('a', Webhook, RolledBack, Some(Phase::Verify))], "bc"),
            (&[('a', Poll, Cancelled, None)], "bc"),
            // Not its fault: again, but not for ever.
            (&[('a', Poll, Failed, Some(Phase::Fetch))], "abc"),
            (&[('a', Webhook, Failed, Some(Phase::Preflight)), ('a', Poll, Failed, Some(Phase::Fetch))], "abc"),
            (&[('a', Poll, Failed, Some(Phase::Fetch)); 3], "bc"),
            (&[('a', Poll, Failed, Some(Phase::Fetch)), ('a', Poll, Failed, Some(Phase::Build))], "bc"),
            // The branch moved on, and came back.
            (&[('a', Webhook, Success, None), ('b', Poll, Success, None)], "ac"),
            // A person went to another commit: the branch stayed.
            (&[('a', Webhook, Success, None), ('b', Cli, Success, None)], "c"),
            (&[('b', Cli, Failed, Some(Phase::Test)), ('a', Webhook, Success, None)], "bc"),
            (&[('a', Webhook, Failed, Some(Phase::Switch)), ('a', Retry, Failed, Some(Phase::Switch))], "bc"),
        ];
        for (row, (attempts, free)) in table.iter().enumerate() {
            let tried = after(attempts);
            let may: String = "abc".chars().filter(|digit| tried.may_begin(&commit(*digit))).collect();
            assert_eq!(may, *free, "row {row}: {attempts:?}");
        }
    }

    #[test]
    fn a_deployment_of_the_tip_counts_for_the_commit_it_turned_out_to_be() {
        let mut tried = Tried::default();
        tried.is_for(&commit('a'));
        assert!(!tried.may_begin(&commit('a')));
        tried.ends(&commit('a'), Failed, Some(Phase::Build));
        assert!(!tried.may_begin(&commit('a')));
    }
}
