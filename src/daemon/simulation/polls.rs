//! The network and the repositories behind it: pushes nobody heard of, outages, and looks that are late or see nothing.

use super::Simulation;
use super::host::Due;
use super::invariants::Row;
use super::scenario::place;
use crate::base::{AppName, DeployId, WallTime};
use crate::control::{DeployStatus, Phase, Trigger};
use crate::daemon::event::{Event, Tip};
use crate::deploy::tried::comes_from_the_branch;
use crate::store;
use std::collections::BTreeMap;
use std::time::Duration;

/// A look is given up after this.
const GIT_PATIENCE: Duration = Duration::from_secs(60);

impl Simulation {
    /// A push whose webhook is lost, or the way to every repository comes or goes.
    pub(super) fn something_about_the_network(&mut self, app: &AppName) {
        match self.random.below(3) {
            0 => self.push_unheard(app),
            _ if self.is_dark => self.network_comes_back(),
            _ => {
                self.trace.note(self.now, || "-- the network is gone".into());
                self.is_dark = true;
            }
        }
    }

    fn push_unheard(&mut self, app: &AppName) {
        let Some(branch) = self.branches.get_mut(app) else { return };
        let tip = branch.grow(&mut self.random);
        self.trace.note(self.now, || format!("-- {} is pushed to {app}, and nobody hears of it", tip.short()));
    }

    /// The daemon mostly hears of it.
    pub(super) fn network_comes_back(&mut self) {
        if !std::mem::take(&mut self.is_dark) {
            return;
        }
        self.trace.note(self.now, || "-- the network is back".into());
        if self.random.percent(80) {
            self.turn(Event::NetworkIsBack);
        }
    }

    /// What a look sees was true when it began, or when it ended.
    pub(super) fn look_at_a_branch(&mut self, name: &AppName, look: u64) {
        let fails = self.is_dark || !self.calm && self.random.percent(10);
        let result = match fails {
            true => Err("no route to host".to_string()),
            false => Ok(self.tip_of(name)),
        };
        let longest = if self.calm { Duration::from_secs(5) } else { GIT_PATIENCE };
        let at = self.now.mono + self.random.skewed(longest);
        self.schedule(at, Due::Hear(Event::BranchSeen { app: name.clone(), look, result }));
    }

    /// The mirror may not know how the tip stands to what is live.
    fn tip_of(&mut self, name: &AppName) -> Tip {
        let commit = self.branches[name].tip();
        let disk = &self.disks[name];
        let live = disk.current.as_ref().and_then(|live| disk.releases.get(live));
        let is_older = live.is_some_and(|live| place(&commit) < place(&live.commit)) && self.random.percent(70);
        Tip { commit, is_older }
    }

    /// Time passes until every branch that is looked at in an interval was looked at: no longer than that interval, or the
    /// longest backoff, with a tenth to spare.
    pub(super) fn let_every_branch_be_looked_at(&mut self) {
        let intervals = self.config.apps.values().filter_map(|app| app.trigger.poll);
        let longest = intervals.max().unwrap_or_default().max(Duration::from_secs(3600));
        let (before, until) = (self.last_looks(), self.now.mono + longest * 11 / 10 + 3 * GIT_PATIENCE);
        while self.broken.is_none() && self.now.mono < until && !self.is_informed_since(&before) {
            self.step();
        }
        let informed = self.is_informed_since(&before);
        self.promise(informed, || "every branch is looked at within its interval or the longest backoff".into());
    }

    /// When each branch was seen last. Only to be compared for being the same: the wall clock jumps.
    fn last_looks(&self) -> BTreeMap<AppName, WallTime> {
        let apps = self.world.iter().flat_map(|world| &world.apps);
        apps.filter_map(|(name, app)| Some((name.clone(), app.lookout.seen.as_ref()?.at))).collect()
    }

    fn is_informed_since(&self, before: &BTreeMap<AppName, WallTime>) -> bool {
        let Some(world) = &self.world else { return false };
        let is_informed = |name: &AppName| {
            let seen = world.apps.get(name).and_then(|app| app.lookout.seen.as_ref());
            let seen = seen.filter(|seen| before.get(name) != Some(&seen.at));
            seen.is_some_and(|seen| seen.result.as_ref().is_ok_and(|said| !said.contains("looked at again")))
        };
        self.config.apps.values().filter(|app| app.trigger.poll.is_some()).all(|app| is_informed(&app.name))
    }

    /// A push is deployed whether anybody heard of it or not, and once.
    pub(super) fn check_polls(&mut self) {
        let polled: Vec<AppName> =
            self.config.apps.values().filter(|app| app.trigger.poll.is_some()).map(|app| app.name.clone()).collect();
        for name in polled {
            let tip = self.branches[&name].tip();
            let known = self.promises.rows.values().any(|row| row.app == name && row.commit.as_ref() == Some(&tip));
            self.promise(known, || format!("{name}: {} was pushed, and polling did not find it", tip.short()));
        }
        let twice = self.polled_twice();
        self.promise(twice.is_empty(), || format!("a branch that stays where it is begins nothing: {twice:?}"));
    }

    /// Deployments that polling began although none of the same commit before it failed before any of its code ran, and the
    /// branch had not moved between them. (Two of a commit may end in another order than they were asked for.)
    fn polled_twice(&self) -> Vec<(DeployId, DeployId)> {
        let mut twice = vec![];
        for (number, row) in self.promises.rows.iter().filter(|(_, row)| row.trigger == Trigger::Poll) {
            let is_deploy = |other: &Row| other.app == row.app && other.kind == store::Kind::Deploy;
            let earlier = self.promises.rows.range(..*number).rev().filter(|(_, other)| is_deploy(other));
            let moved = |other: &Row| comes_from_the_branch(other.trigger) && other.commit != row.commit;
            let since_it_moved = earlier.take_while(|(_, other)| !moved(other));
            let same: Vec<_> = since_it_moved.filter(|(_, other)| other.commit == row.commit).collect();
            let ran = |other: &Row| other.phase.is_some_and(|phase| phase > Phase::Fetch);
            // Neither is it the commit's fault that its app was taken out before its turn: it is begun when the app is back.
            let went = |other: &Row| other.message.as_ref().is_some_and(|why| why.contains("configured no longer"));
            let is_blameless = |other: &Row| match other.status {
                DeployStatus::Failed => !ran(other),
                DeployStatus::Cancelled => !ran(other) && went(other),
                _ => false,
            };
            if let Some((before, _)) = same.first().filter(|_| !same.iter().any(|(_, other)| is_blameless(other))) {
                twice.push((**before, *number));
            }
        }
        twice
    }
}
