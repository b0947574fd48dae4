//! Of several commits that wait the newest wins: which of them ends without beginning, and what the winner takes over.

use super::super::action::Action;
use super::super::world::{Pending, World};
use super::deploys::kept_pass;
use crate::base::{AppName, DeployId, Moment};
use crate::control::{DeployStatus, Pass, Trigger};
use crate::deploy::gate::waits_for_more;
use crate::deploy::{Deployment, Kind};

/// Commits that a deployment is compared with because they were delivered shortly before it. Deliveries that cross each
/// other come close together; each costs the fetch a question to git.
const RIVALS: usize = 16;

impl World {
    /// Ends every commit that waits and is older than another one that stands behind no other gates than it does.
    pub(super) fn supersede_older(&mut self, now: Moment, name: &AppName, actions: &mut Vec<Action>) {
        self.look_at_gates(now, name, actions);
        let Some(app) = self.apps.get(name) else { return };
        let commits = app.queue.iter().filter(|waiting| waiting.plan().kind == Kind::Deploy);
        let being_approved = |one: &&Deployment| {
            let is_it =
                |pending: &Pending| matches!(pending, Pending::Approval { number, .. } if *number == one.number);
            self.pending.values().any(is_it)
        };
        let mut ends: Vec<(DeployId, DeployId)> = vec![];
        for one in commits.clone().filter(|one| !being_approved(one)) {
            let newer = commits.clone().filter(|other| makes_needless(other, one));
            ends.extend(newer.max_by_key(|other| other.rank()).map(|newest| (one.number, newest.number)));
        }
        for (older, newer) in ends {
            self.supersede(now, name, older, newer, actions);
        }
    }

    fn supersede(&mut self, now: Moment, name: &AppName, older: DeployId, newer: DeployId, actions: &mut Vec<Action>) {
        let Some(app) = self.apps.get_mut(name) else { return };
        let Some(at) = app.queue.iter().position(|waiting| waiting.number == older) else { return };
        let Some(superseded) = app.queue.remove(at) else { return };
        let delivered = |one: &Deployment| matches!(one.trigger, Trigger::Webhook | Trigger::Deploy | Trigger::Poll);
        // What a person names, or approved, is what a person gets.
        let takes = |one: &&mut Deployment| one.number == newer && delivered(one) && one.pass == Pass::None;
        if let Some(one) = app.queue.iter_mut().find(takes).filter(|_| delivered(&superseded)) {
            one.rivals.extend(superseded.commit.iter().chain(&superseded.rivals).cloned());
            one.rivals.truncate(RIVALS);
        }
        let message = format!("superseded by deployment {}", newer.0);
        self.end_unbegun(now, &superseded, DeployStatus::Superseded, message, actions);
    }

    /// Whether a commit waits for its turn, or to be written down, that would make a retry needless.
    pub(super) fn a_newer_commit_comes(&self, now: Moment, of: &Deployment) -> bool {
        let mut again = of.clone();
        (again.trigger, again.pass) = (Trigger::Retry, kept_pass(of));
        self.judge_at_the_gates(now, &mut again);
        let waiting = self.apps.get(&of.app).into_iter().flat_map(|app| &app.queue);
        let arriving = self.pending.values().flat_map(Pending::arriving);
        let mut newer = waiting.chain(arriving.filter(|new| new.app == of.app));
        newer
            .any(|new| new.plan().kind == Kind::Deploy && !waits_for_more(new.waiting.as_ref(), again.waiting.as_ref()))
    }
}

/// Whether `newer` is to be deployed in the place of `older`: nothing that it waits for is in its way alone.
fn makes_needless(newer: &Deployment, older: &Deployment) -> bool {
    newer.rank() > older.rank() && !waits_for_more(newer.waiting.as_ref(), older.waiting.as_ref())
}
