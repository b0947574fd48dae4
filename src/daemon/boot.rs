//! The world at the daemon's start: from the configuration, the diary and what the disk shows to be live.
//!
//! Pure: the hands bring a [`Found`] per app. What a deployment without an end means is decided by
//! `deploy::recover`; here it is put into effect.

use super::action::Action;
use super::event::Thawed;
use super::seen::SeenDelivery;
use super::turn::deploys::row_of;
use super::world::{AppWorld, Beginning, Listener, ListenerTls, Live, World};
use crate::base::{AppName, DeployId, Moment, ReleaseName};
use crate::config::{App, Config, Ready, Restart};
use crate::control::{DeployStatus, Phase};
use crate::deploy::gate::Waits;
use crate::deploy::plan::Kind;
use crate::deploy::recover::{self, Interrupted, Recovery};
use crate::deploy::{Deployment, End, Plan, Tried};
use crate::health::Recorder;
use crate::notify::{Deed, Ended, Happening};
use crate::store::{self, AppSnapshot, Entry, Snapshot};
use crate::supervise::instance::Policy;
use crate::supervise::{Agenda, Instance, Survivor};
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What the disk shows of an app.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// What `current` points at, if it is there.
    pub current: Option<ReleaseName>,
    /// Definitions of the live release and of those a recovery may need.
    pub definitions: Vec<Thawed>,
    /// The highest release number on disk.
    pub highest: DeployId,
    /// What an earlier daemon left running of it, with the pids.
    pub survivors: Vec<(u32, Survivor)>,
}

impl World {
    /// Builds the world and says what the first turn has to do.
    pub fn boot(
        now: Moment,
        config: &Config,
        mut snapshot: Snapshot,
        mut found: BTreeMap<AppName, Found>,
        notices: Vec<String>,
        zone: TimeZone,
    ) -> (World, Vec<Action>) {
        let mut world = World { notices, zone, ..World::default() };
        world.recorder = Recorder::resume(now.mono, std::mem::take(&mut snapshot.samples));
        world.watch_the_board(now, config.host.health.clone());
        let on_disk = found.values().map(|found| found.highest).max().unwrap_or_default();
        world.next_number = snapshot.highest.max(on_disk).next();
        if let Some(listen) = &config.host.listen {
            let policy = Policy {
                restart: Restart::Always,
                ready: Ready::Exec,
                startup: Duration::ZERO,
                watchdog: None,
                stop_timeout: Duration::from_secs(5),
                seed: 0,
            };
            let machine = Instance::new(policy);
            let tls = listen.tls.clone().map(ListenerTls::new);
            world.listener = Some(Listener { listen: listen.clone(), machine, process: None, tls });
        }
        for (name, app) in &config.apps {
            let mut app = AppWorld::new(Arc::new(app.clone()));
            let mut found = found.remove(name).unwrap_or_default();
            let survivors = std::mem::take(&mut found.survivors);
            app.remember(now, snapshot.apps.get(name), found);
            app.services.wait_for_a_word();
            world.apps.insert(name.clone(), app);
            world.look_out(now, name);
            world.adopt(now, name, survivors);
        }
        let mut actions = vec![];
        world.take_over_mail(now, &mut snapshot, config, &mut actions);
        let mut going_back = vec![];
        for interrupted in &snapshot.unfinished {
            // One that waits at a gate may do so for long: whether it counts is seen when both are judged.
            let newer = |row: &store::Deployment| {
                let comes_soon = row.kind == store::Kind::Deploy && row.status != DeployStatus::Waiting;
                row.app == interrupted.app && row.number > interrupted.number && comes_soon
            };
            let is_newest = !snapshot.unfinished.iter().any(newer);
            going_back.extend(world.recover(now, interrupted, is_newest, &mut actions));
        }
        for name in config.apps.keys().filter(|name| !going_back.contains(name)) {
            world.run_what_is_live(now, name, &mut actions);
        }
        for name in config.apps.keys() {
            world.start_next(now, name, &mut actions);
        }
        world.keep_sockets(&mut actions);
        world.history = snapshot.apps.into_iter().filter(|(name, _)| !config.apps.contains_key(name)).collect();
        (world, actions)
    }

    /// Takes in the processes of an app that an earlier daemon started. They go on as they are until it is known what
    /// should run.
    fn adopt(&mut self, now: Moment, name: &AppName, survivors: Vec<(u32, Survivor)>) {
        let Some(app) = self.apps.get_mut(name) else { return };
        for (pid, survivor) in survivors {
            self.instances_made = self.instances_made.max(survivor.instance.0);
            self.pids.insert(survivor.instance, pid);
            let startup = app.definition_of(&survivor.release).deploy.startup;
            app.services.adopt(now.mono, startup, survivor);
        }
    }

    /// An app is configured that was not before, or not for a while: what is live of it runs again.
    pub(super) fn take_in(
        &mut self,
        now: Moment,
        name: &AppName,
        config: Arc<App>,
        found: Option<Found>,
        actions: &mut Vec<Action>,
    ) {
        let app = match self.parked.remove(name) {
            Some(parked) => AppWorld { config, removed: false, ..parked },
            None => {
                let found = found.unwrap_or_default();
                self.next_number = self.next_number.max(found.highest.next());
                let mut app = AppWorld::new(config);
                app.remember(now, self.history.remove(name).as_ref(), found);
                app
            }
        };
        self.apps.insert(name.clone(), app);
        self.look_out(now, name);
        self.run_what_is_live(now, name, actions);
    }

    pub(super) fn run_what_is_live(&mut self, now: Moment, name: &AppName, actions: &mut Vec<Action>) {
        let Some(app) = self.apps.get(name) else { return };
        let Some(live) = app.live.clone() else { return self.run_nothing(now, name, actions) };
        let startup = app.config.deploy.startup;
        self.run_release(now, name, &live.release, actions);
        self.watch_eagerly(now, name, startup);
    }

    /// Puts one deployment without an end right. Names its app when what is live must not simply be started. Only
    /// the newest commit asked for is tried again.
    fn recover(
        &mut self,
        now: Moment,
        row: &store::Deployment,
        is_newest: bool,
        actions: &mut Vec<Action>,
    ) -> Option<AppName> {
        let interrupted = interrupted(row);
        let name = row.app.clone();
        let current = self.apps.get(&name).and_then(|app| app.live.as_ref()).map(|live| live.release.clone());
        let Some(app) = self.apps.get(&name) else {
            self.close(now, row, "its app is configured no longer".into(), None, actions);
            return None;
        };
        let recovery = recover::decide(&interrupted, current.as_ref());
        let deadlines = app.config.deploy.clone();
        let kind = match (&row.kind, &row.release) {
            (store::Kind::Backup, _) => Kind::BackupOnly,
            (store::Kind::Rollback, Some(to)) => Kind::Rollback { to: to.clone(), data: None },
            (store::Kind::Rollback, None) => {
                self.close(now, row, "interrupted before it began".into(), None, actions);
                return None;
            }
            (store::Kind::Deploy, _) => Kind::Deploy,
        };
        let deadlines = crate::deploy::machine::Deadlines {
            timeout: deadlines.timeout,
            startup: deadlines.startup,
            probation: deadlines.probation,
        };
        let plan = Plan::of(&app.config, kind);
        let mut again = Deployment::new(row.number, name.clone(), row.trigger, plan, deadlines);
        again.requested = row.requested.clone();
        again.commit = row.commit.clone();
        again.release = row.release.clone();
        again.previous = row.previous.clone();
        again.forced = row.forced;
        again.pass = row.pass;
        again.retry_of = row.retry_of;
        again.passed_verify = row.passed_verify;
        match recovery {
            Recovery::Requeue => {
                // What people were told before is told anew, or that it waits no longer.
                again.waiting = (row.status == DeployStatus::Waiting).then(Waits::default);
                self.apps.get_mut(&name)?.queue.push_back(again);
                None
            }
            Recovery::Fail { retry } => {
                let message = format!("interrupted in {} by the end of the daemon (a crash or a power cut)", row.phase);
                let retry = if retry && is_newest { self.repetition(&again) } else { None };
                let message = match &retry {
                    Some(retry) => format!("{message}; it is tried once more as deployment {}", retry.number.0),
                    None => message,
                };
                self.close(now, row, message, retry.as_ref(), actions);
                let app = self.apps.get_mut(&name)?;
                retry.iter().for_each(|retry| app.note_asked(retry.commit.as_ref(), retry.trigger));
                app.queue.extend(retry);
                None
            }
            Recovery::Finish => {
                self.close_as(now, row, DeployStatus::Success, None, None, actions);
                if let (true, Some(release), Some(commit)) = (row.passed_verify, &row.release, &row.commit) {
                    let app = self.apps.get_mut(&name)?;
                    app.good.retain(|(good, _)| good != release);
                    app.good.insert(0, (release.clone(), commit.clone()));
                }
                None
            }
            Recovery::Keep | Recovery::GoBack { .. } => {
                again.retry_after = recovery == Recovery::GoBack { retry: true };
                let outputs = match recovery {
                    Recovery::Keep => again.resume_watching(now.mono),
                    _ => again.resume_going_back(now.mono, row.phase),
                };
                let app = self.apps.get_mut(&name)?;
                app.active = Some(again);
                app.active_since = now.mono;
                actions.push(Action::Opened { app: name.clone(), number: row.number });
                self.perform(now, &name, outputs, actions);
                Some(name)
            }
        }
    }

    fn close(
        &mut self,
        now: Moment,
        row: &store::Deployment,
        message: String,
        retry: Option<&Deployment>,
        actions: &mut Vec<Action>,
    ) {
        self.close_as(now, row, DeployStatus::Failed, Some(message), retry, actions);
    }

    /// A deployment that an earlier daemon did not bring to its end, as people may want to hear of it.
    fn ended_row(
        &self,
        row: &store::Deployment,
        status: DeployStatus,
        failed: Option<Phase>,
        message: Option<String>,
    ) -> Ended {
        let branch = self.apps.get(&row.app).map(|app| app.config.source.branch.clone());
        Ended {
            number: row.number,
            app: row.app.clone(),
            deed: match row.kind {
                store::Kind::Deploy => Deed::Deploy,
                store::Kind::Rollback => Deed::Rollback,
                store::Kind::Backup => Deed::Backup,
            },
            status,
            failed,
            message,
            commit: row.commit.clone(),
            branch: branch.unwrap_or_default(),
            release: row.release.clone(),
            previous: row.previous.clone(),
            trigger: row.trigger,
            took: None,
            output: vec![],
        }
    }

    fn close_as(
        &mut self,
        now: Moment,
        row: &store::Deployment,
        status: DeployStatus,
        message: Option<String>,
        retry: Option<&Deployment>,
        actions: &mut Vec<Action>,
    ) {
        let failed = (status != DeployStatus::Success).then_some(row.phase);
        let exit = crate::deploy::outcome::exit_code(status, failed);
        let number = row.number;
        let text = format!("{}: deployment {} ended as {status}", row.app, number.0);
        let text = message.iter().fold(text, |text, why| format!("{text}: {why}"));
        actions.push(Action::Note { level: log::Level::Warn, text });
        let entry = Entry::Finished {
            number,
            status,
            phase: row.phase,
            failed_phase: failed,
            message: message.clone(),
            exit,
            took: None,
            at: now.wall,
        };
        let entries = [Some(entry), retry.map(|retry| Entry::Queued(row_of(retry, now)))];
        let mut entries: Vec<Entry> = entries.into_iter().flatten().collect();
        let happening = Happening::Ended(Box::new(self.ended_row(row, status, failed, message.clone())));
        entries.extend(self.news(now, &happening, actions));
        self.record_news(entries, actions);
        if let Some(app) = self.apps.get_mut(&row.app) {
            app.seen.settle(number, status);
            if let Some(commit) = row.commit.as_ref().filter(|_| row.kind == store::Kind::Deploy) {
                app.tried.ends(commit, status, failed);
            }
        }
        let end = End { status, phase: row.phase, failed, message, exit };
        actions.push(Action::Ended { app: row.app.clone(), number, end, release: row.release.clone() });
    }
}

impl AppWorld {
    fn remember(&mut self, now: Moment, known: Option<&AppSnapshot>, found: Found) {
        for thawed in found.definitions {
            self.definitions.insert(thawed.release.clone(), thawed);
        }
        if let Some(known) = known {
            for release in &known.releases {
                self.known.insert(release.release.clone(), release.commit.clone());
            }
            self.tried = Tried::remembered(known.attempts.iter());
            self.good = known.good.iter().map(|good| (good.release.clone(), good.commit.clone())).collect();
            let quarantine = known.quarantine.iter();
            self.quarantine = quarantine.map(|(commit, row)| (commit.clone(), row.why.clone())).collect();
            for seen in &known.deliveries {
                let row = SeenDelivery { deployment: seen.deployment, status: seen.status };
                self.seen.remember(&seen.id, row);
            }
            // A clock that shows less than it did has not been set yet: as if it had been a moment ago.
            let beginnings = known.begun.iter().rev();
            self.begun = beginnings.map(|at| Beginning::ago(now.mono, now.wall.since(*at))).collect();
            self.reboots = known.reboots.clone();
            self.agenda = Agenda::remembering(known.schedules.clone());
            self.hold_what_was_stopped(known);
        }
        self.live = found.current.map(|release| Live { commit: self.commit_of(&release), release });
        let forgotten = known.is_none_or(|known| known.releases.is_empty());
        if let Some(Live { release, commit: Some(commit) }) = self.live.clone().filter(|_| forgotten) {
            // The diary was lost: what runs is the one release that is known to be worth going back to.
            self.good.push((release, commit));
        }
    }
}

impl AppWorld {
    /// `stop` lasts over reboots; `start` of one service of a stopped app too.
    fn hold_what_was_stopped(&mut self, known: &AppSnapshot) {
        // The word about the app as a whole is the first one in order.
        for (service, down) in &known.wanted {
            self.services.hold(service.as_ref(), *down);
        }
    }
}

fn interrupted(row: &store::Deployment) -> Interrupted {
    Interrupted {
        number: row.number,
        app: row.app.clone(),
        is_rollback: row.kind == store::Kind::Rollback,
        is_backup_only: row.kind == store::Kind::Backup,
        status: row.status,
        phase: row.phase,
        requested: row.requested.clone(),
        commit: row.commit.clone(),
        release: row.release.clone(),
        previous: row.previous.clone(),
        trigger: row.trigger,
        forced: row.forced,
        passed_verify: row.passed_verify,
        retry_of: row.retry_of,
    }
}
