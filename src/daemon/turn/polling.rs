//! Looks at the apps' branches: begun when they are due, what they saw judged as a delivery would be.
//!
//! When to look is `deploy::lookout`'s to say, what is not begun again `deploy::tried`'s. A look is overtaken when a
//! deployment of its app was asked for while it was under way: what it saw may be older than that, so it looks again.

use super::super::action::Action;
use super::super::event::{Known, Tip};
use super::super::world::{AppWorld, Pending, World};
use super::intake::judge;
use crate::base::{AppName, CommitId, Moment};
use crate::config::Source;
use crate::control::{Trigger, Wanted};
use crate::deploy::lookout::{Heard, Rhythm, Seen};
use crate::deploy::{Deployment, Kind, Lookout};
use std::time::Duration;

/// A look that was overtaken, or could not be written down, is repeated after this.
const AGAIN: Duration = Duration::from_secs(10);

impl World {
    /// The schedule of an app that a daemon has just begun to know.
    pub(in super::super) fn look_out(&mut self, now: Moment, name: &AppName) {
        let Some(app) = self.apps.get_mut(name) else { return };
        // Hosts that start together after a power cut look at different times too.
        app.lookout = Lookout::start(now.mono, Rhythm::of(&app.config.trigger), (name.as_str(), now.mono));
    }

    /// The configuration was read again; `before` is where the app came from until now.
    pub(super) fn look_out_anew(&mut self, now: Moment, name: &AppName, before: &Source) {
        let Some(app) = self.apps.get_mut(name) else { return };
        let source = &app.config.source;
        let elsewhere = (&source.git, &source.branch, &source.access) != (&before.git, &before.branch, &before.access);
        app.lookout.follow(now.mono, Rhythm::of(&app.config.trigger), elsewhere);
    }

    /// Begins the app's look, if it is due.
    pub(super) fn look_if_due(&mut self, now: Moment, name: &AppName, actions: &mut Vec<Action>) {
        let stopping = self.stopping;
        let Some(app) = self.apps.get_mut(name).filter(|app| !stopping && !app.removed) else { return };
        let runs = app.runs_as_it_should();
        let Some(look) = app.lookout.begin(now.mono, runs) else { return };
        app.asked_before_look = app.asked;
        actions.push(Action::LookAtBranch { app: app.config.clone(), look });
    }

    /// There is a way out of this host again.
    pub(super) fn network_is_back(&mut self, now: Moment) {
        self.apps.values_mut().for_each(|app| app.lookout.network_is_back(now.mono));
    }

    /// A look at an app's branch ended.
    pub(super) fn branch_seen(
        &mut self,
        now: Moment,
        name: &AppName,
        look: u64,
        result: Result<Tip, String>,
        actions: &mut Vec<Action>,
    ) {
        let stopping = self.stopping;
        let Some(app) = self.any_app(name) else { return };
        let heard = app.lookout.ended(now.mono, look, result.is_ok());
        if heard == Heard::Outdated || app.removed || stopping {
            return;
        }
        if let Some((level, text)) = word_about(name, heard, &result) {
            actions.push(Action::Note { level, text });
        }
        let seen = match result {
            Ok(tip) => Ok(self.tip_seen(now, name, &tip, actions)),
            Err(why) => Err(why),
        };
        if let Some(app) = self.any_app(name) {
            app.lookout.seen = Some(Seen { at: now.wall, result: seen });
        }
    }

    /// What the branch's tip means, in a sentence; a new one is deployed.
    fn tip_seen(&mut self, now: Moment, name: &AppName, tip: &Tip, actions: &mut Vec<Action>) -> String {
        let wanted = Wanted::Commit(tip.commit.clone());
        let short = tip.commit.short();
        if let Some(twin) = self.being_written(name, &wanted) {
            return format!("{short}: deployment {} is for it", twin.0);
        }
        let tip_is_being_deployed = self.deploys_the_tip(name);
        let Some(app) = self.apps.get_mut(name) else { return format!("{short}: {name} is configured no longer") };
        if let Err(why) = is_new(app, tip, &wanted) {
            return format!("{short}: {why}");
        }
        if app.asked != app.asked_before_look || tip_is_being_deployed {
            app.lookout.look_again(now.mono, AGAIN);
            return format!("{short}: another deployment was asked for, so it is looked at again");
        }
        let Some((new, entry)) = self.begin_from_outside(now, name, &wanted, Trigger::Poll) else {
            return format!("{short}: {name} is configured no longer");
        };
        let number = new.number;
        let text = format!("{name}: {} moved to {short}: deployment {}", self.branch_of(name), number.0);
        actions.push(Action::Note { level: log::Level::Info, text });
        self.record(vec![entry], Pending::Poll { deployments: vec![new] }, actions);
        format!("{short} is new: deployment {}", number.0)
    }

    /// Whether the tip, whichever it is by then, is on its way already because a person asked for it.
    fn deploys_the_tip(&self, name: &AppName) -> bool {
        let arriving = self.pending.values().flat_map(Pending::arriving).filter(|new| new.app == *name);
        let known = self.apps.get(name).into_iter().flat_map(|app| app.active.iter().chain(&app.queue));
        known.chain(arriving).any(|one| one.plan().kind == Kind::Deploy && one.commit.is_none())
    }

    fn branch_of(&self, name: &AppName) -> &str {
        self.apps.get(name).map_or("", |app| &app.config.source.branch)
    }

    /// What a look began is on disk: it runs, or waits its turn - or it could not be written, and is found again.
    pub(super) fn poll_recorded(
        &mut self,
        now: Moment,
        deployments: Vec<Deployment>,
        result: Result<(), String>,
        actions: &mut Vec<Action>,
    ) {
        for deployment in deployments {
            let Err(why) = &result else {
                self.enqueue(now, deployment, actions);
                continue;
            };
            let name = deployment.app.clone();
            let text =
                format!("{name}: deployment {} is put off, the diary cannot be written: {why}", deployment.number.0);
            actions.push(Action::Note { level: log::Level::Error, text });
            if let Some(app) = self.any_app(&name) {
                app.lookout.look_again(now.mono, AGAIN);
            }
        }
    }
}

impl AppWorld {
    /// Whether its services are as they are meant to be: a look can take its time from nobody then.
    pub(super) fn runs_as_it_should(&self) -> bool {
        self.services.is_settled()
    }

    /// A deployment was asked for, and is on disk.
    pub(in super::super) fn note_asked(&mut self, commit: Option<&CommitId>, trigger: Trigger) {
        self.asked += 1;
        if let Some(commit) = commit {
            self.tried.begins(commit, trigger);
        }
    }
}

/// Whether polling is to deploy the tip; if not, why.
fn is_new(app: &AppWorld, tip: &Tip, wanted: &Wanted) -> Result<(), String> {
    let name = app.config.name.clone();
    let known = Known { older: tip.is_older.then_some(name).into_iter().collect(), ..Known::default() };
    judge(app, None, wanted, &known).map_err(|(_, why, _)| why)?;
    if !app.tried.may_begin(&tip.commit) {
        return Err("it was deployed before, and the branch did not move since".into());
    }
    if app.live.is_none() && !app.lookout.polls() {
        // A missed push is one that would have replaced something. A first deploy is begun when the host is ready for it,
        // which a person knows; or at once, where `poll` says so.
        return Err(format!("nothing is live yet: `pintle deploy {}`", app.config.name));
    }
    Ok(())
}

/// What the journal is told: the beginning of an outage, and its end.
fn word_about(name: &AppName, heard: Heard, result: &Result<Tip, String>) -> Option<(log::Level, String)> {
    match (heard, result) {
        (Heard::Silent { first: true }, Err(why)) => {
            Some((log::Level::Warn, format!("{name}: {why}; it is looked at again, ever more slowly")))
        }
        (Heard::Answered { again: true }, Ok(_)) => {
            Some((log::Level::Info, format!("{name}: its repository answers again")))
        }
        _ => None,
    }
}
