//! Drives each deployment's machine: its outputs become actions, entries of the diary, orders to the services.

use super::super::action::{Action, Job};
use super::super::world::{AppWorld, Pending, World};
use super::apps::took;
use super::gates::begins_to_wait;
use crate::base::{AppName, DeployId, Moment};
use crate::control::{DeployStatus, Pass, Phase, StepReport, StepStatus, Trigger};
use crate::deploy::machine::Deadlines;
use crate::deploy::{Deployment, End, Fact, Input, Kind, Output, Plan, Work};
use crate::notify::{Deed, Ended, Happening};
use crate::store::{self, Entry, NewDeployment};
use std::collections::BTreeMap;
use std::time::Duration;

const NOT_CONFIGURED: &str = "its app is configured no longer";

impl World {
    /// A deployment that is on disk: it runs now, or waits its turn. Of several commits that wait the newest wins.
    pub(super) fn enqueue(&mut self, now: Moment, deployment: Deployment, actions: &mut Vec<Action>) {
        let name = deployment.app.clone();
        let Some(app) = self.apps.get_mut(&name).filter(|app| !app.removed) else {
            return self.end_unbegun(now, &deployment, DeployStatus::Cancelled, NOT_CONFIGURED.into(), actions);
        };
        begins_to_wait(&deployment, actions);
        if deployment.plan().kind == Kind::Deploy {
            app.note_asked(deployment.commit.as_ref(), deployment.trigger);
        }
        app.queue.push_back(deployment);
        self.start_next(now, &name, actions);
    }

    /// Begins the next deployment that waits, if none is under way.
    pub(in super::super) fn start_next(&mut self, now: Moment, name: &AppName, actions: &mut Vec<Action>) {
        let nothing_begins = self.stopping || self.waits_for_reexec();
        self.supersede_older(now, name, actions);
        let Some(app) = self.apps.get_mut(name).filter(|app| app.active.is_none() && !nothing_begins) else { return };
        // What waits at a gate holds up nobody behind it.
        let goes = |waiting: &Deployment| waiting.waiting.is_none() || needless(app, waiting).is_some();
        let Some(at) = app.queue.iter().position(goes) else { return };
        let kind = app.queue[at].plan().kind.clone();
        if self.must_look_first(now, &kind, actions) {
            return;
        }
        let Some(app) = self.apps.get_mut(name) else { return };
        let Some(mut deployment) = app.queue.remove(at) else { return };
        if let Some((status, why)) = needless(app, &deployment) {
            self.end_unbegun(now, &deployment, status, why, actions);
            return self.start_next(now, name, actions);
        }
        app.applied = None;
        deployment.previous = app.live.as_ref().map(|live| live.release.clone());
        let number = deployment.number;
        let known = deployment.release.clone().and_then(|release| Some((app.commit_of(&release)?, release)));
        if let Some((commit, release)) = known {
            // A rollback: its target is known from the start.
            deployment.commit = Some(commit.clone());
            let previous = deployment.previous.clone();
            let entries = vec![Entry::Release { number, commit, release, previous }];
            actions.push(Action::Record { token: None, entries });
        }
        app.note_beginning(now, &deployment);
        app.active = Some(deployment);
        app.active_since = now.mono;
        app.last_words.clear();
        actions.push(Action::Opened { app: name.clone(), number });
        self.drive(now, name, Some(number), Input::Start, actions);
    }

    /// Gives an input to the app's deployment under way (only if it is `number`, where one is named).
    pub(super) fn drive(
        &mut self,
        now: Moment,
        name: &AppName,
        number: Option<DeployId>,
        input: Input,
        actions: &mut Vec<Action>,
    ) {
        if self.stopping {
            return;
        }
        let Some(app) = self.apps.get_mut(name) else { return };
        let Some(deployment) = app.active.as_mut() else { return };
        if number.is_some_and(|number| number != deployment.number) {
            return;
        }
        deployment.app_is_stopped = app.services.is_held();
        let outputs = deployment.on(now.mono, input);
        self.perform(now, name, outputs, actions);
    }

    /// Carries the outputs of the app's deployment under way into the world.
    pub(in super::super) fn perform(
        &mut self,
        now: Moment,
        name: &AppName,
        outputs: Vec<Output>,
        actions: &mut Vec<Action>,
    ) {
        for output in outputs {
            let Some(app) = self.apps.get_mut(name) else { return };
            let Some(deployment) = &app.active else { return };
            let number = deployment.number;
            match output {
                Output::Record(facts) => self.write_facts(now, name, number, facts, actions),
                Output::Work(work) => {
                    let job = self.job(name, work);
                    actions.extend(job.map(|job| Action::Work(Box::new(job))));
                }
                Output::CancelWork => actions.push(Action::CancelWork { number }),
                Output::Run(release) => self.run_release(now, name, &release, actions),
                Output::RunNothing => self.run_nothing(now, name, actions),
                Output::Verify => {
                    let startup = app.config.deploy.startup;
                    self.watch_eagerly(now, name, startup);
                }
                Output::Watch(span) => {
                    app.eager_until = None;
                    app.watch.iter_mut().for_each(|watch| watch.close(now.mono, span));
                }
                Output::Say(line) => actions.push(Action::Say { number, line }),
                Output::Finished(end) => self.finished(now, name, end, actions),
            }
        }
        // Services that needed nothing done are settled without an event.
        self.tell_if_settled(now, name, actions);
    }

    fn write_facts(
        &mut self,
        now: Moment,
        name: &AppName,
        number: DeployId,
        facts: Vec<Fact>,
        actions: &mut Vec<Action>,
    ) {
        let mut entries = vec![];
        for fact in facts {
            let Some(app) = self.apps.get_mut(name) else { return };
            let Some(deployment) = &app.active else { return };
            match fact {
                Fact::Phase(phase) => {
                    actions.push(Action::PhaseBegins { number, phase });
                    entries.push(Entry::Phase { number, phase, at: now.wall });
                    if phase < Phase::Rollback {
                        entries.extend(self.status_pending(now, name));
                    }
                }
                Fact::Identified { commit, release } => {
                    let previous = deployment.previous.clone();
                    if deployment.plan().kind == Kind::Deploy {
                        app.tried.is_for(&commit);
                    }
                    app.known.insert(release.clone(), commit.clone());
                    entries.push(Entry::Release { number, commit, release, previous });
                }
                Fact::PassedVerify => {
                    entries.push(Entry::PassedVerify { number });
                    if let Some(release) = deployment.release.clone()
                        && let Some(commit) = app.commit_of(&release)
                    {
                        let app = name.clone();
                        entries.push(Entry::WentLive { app, release, commit, deployment: number, at: now.wall });
                    }
                }
                Fact::Quarantined { commit, why } => {
                    app.quarantine.insert(commit.clone(), why.clone());
                    let (app, deployment) = (name.clone(), Some(number));
                    entries.push(Entry::Quarantine { app, commit, why, deployment, at: now.wall });
                }
                Fact::Ended(end) => {
                    let finished = Entry::Finished {
                        number,
                        status: end.status,
                        phase: end.phase,
                        failed_phase: end.failed,
                        message: end.message.clone(),
                        exit: end.exit,
                        took: Some(now.mono.saturating_sub(app.active_since)),
                        at: now.wall,
                    };
                    let took = Some(now.mono.saturating_sub(app.active_since));
                    let ended = ended(app, deployment, &end, took);
                    let happening = Happening::Ended(Box::new(ended));
                    entries.push(finished);
                    entries.extend(self.news(now, &happening, actions));
                    entries.extend(self.plan_the_retry(now, name));
                }
            }
        }
        let facts = entries.clone();
        self.record(entries, Pending::Machine { app: name.clone(), number, facts }, actions);
    }

    /// An interrupted deploy that went back is tried once more. That is written down together with its end, so that
    /// no crash can come between.
    fn plan_the_retry(&mut self, now: Moment, name: &AppName) -> Option<Entry> {
        let of = self.apps.get(name)?.active.as_ref().filter(|deployment| deployment.retry_after)?.clone();
        if self.a_newer_commit_comes(now, &of) {
            return None;
        }
        let again = self.repetition(&of)?;
        let entry = Entry::Queued(row_of(&again, now));
        self.apps.get_mut(name)?.retry = Some(again);
        Some(entry)
    }

    fn job(&self, name: &AppName, work: Work) -> Option<Job> {
        let app = self.apps.get(name)?;
        let deployment = app.active.as_ref()?;
        let live = app.live.as_ref();
        let good = app.good.first().map(|(release, _)| release.clone());
        let running = app.services.slots().iter().map(|slot| slot.release.clone());
        let running = running.chain(app.scheduled_in.values().cloned());
        let awaited = app.queue.iter().filter_map(|waiting| waiting.release.clone());
        let keep = [live.map(|live| live.release.clone()), deployment.previous.clone(), good];
        let quarantine = match work {
            Work::Fetch if !deployment.forced => app.quarantine.clone(),
            _ => BTreeMap::new(),
        };
        let objections = match work {
            Work::Preflight => self.objections_to(deployment),
            _ => vec![],
        };
        Some(Job {
            app: app.config.clone(),
            number: deployment.number,
            kind: deployment.plan().kind.clone(),
            work,
            forced: deployment.forced,
            requested: deployment.requested.clone(),
            rivals: deployment.rivals.clone(),
            quarantine,
            objections,
            commit: deployment.commit.clone(),
            release: deployment.release.clone(),
            previous: deployment.previous.clone(),
            previous_commit: deployment.previous.as_ref().and_then(|release| app.commit_of(release)),
            live_commit: live.and_then(|live| live.commit.clone()),
            backup: deployment.backup.clone(),
            keep: keep.into_iter().flatten().chain(running).chain(awaited).collect(),
        })
    }

    /// A deployment is over: what is remembered of it, and whoever comes next.
    fn finished(&mut self, now: Moment, name: &AppName, end: End, actions: &mut Vec<Action>) {
        let Some(app) = self.apps.get_mut(name) else { return };
        let Some(deployment) = app.active.take() else { return };
        let number = deployment.number;
        app.seen.settle(number, end.status);
        if let Some(commit) = deployment.commit.as_ref().filter(|_| deployment.plan().kind == Kind::Deploy) {
            app.tried.ends(commit, end.status, end.failed);
        }
        let release = deployment.release.clone();
        if end.status == DeployStatus::Success
            && deployment.passed_verify
            && let Some(release) = &release
            && let Some(commit) = app.commit_of(release)
        {
            app.good.retain(|(good, _)| good != release);
            app.good.insert(0, (release.clone(), commit));
        }
        app.eager_until = None;
        app.watch.iter_mut().for_each(|watch| watch.steady(now.mono));
        let keep = [app.live.as_ref().map(|live| &live.release), app.good.first().map(|(release, _)| release)];
        app.definitions.retain(|known, _| {
            keep.contains(&Some(known)) || app.services.slots().iter().any(|slot| slot.release == *known)
        });
        let touched_nothing = end.failed.is_some_and(|phase| phase < Phase::Switch);
        if let (true, Kind::Deploy, Some(unfinished)) = (touched_nothing, &deployment.plan().kind, &release) {
            // It was discarded, or could not be: nobody is to go back to it.
            app.known.remove(unfinished);
        }
        let is_seen_to_be_well = end.status == DeployStatus::Success && deployment.passed_verify;
        let startup = app.config.deploy.startup;
        let is_unwatched = app.watch.is_none() && app.services.target().is_some();
        let span = took(now, app.active_since);
        let why = end.message.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        let level = if end.status == DeployStatus::Success { log::Level::Info } else { log::Level::Error };
        let text = format!("{name}: deployment {} ended as {} after {span}{why}", number.0, end.status);
        actions.push(Action::Note { level, text });
        actions.push(Action::Ended { app: name.clone(), number, end, release });
        if is_seen_to_be_well {
            self.tell_of_health(now, name, actions);
        }
        if self.apps.get(name).is_some_and(|app| app.services.is_undecided()) {
            // It went back for an earlier daemon, and did not come to the point where services are told what to run.
            self.run_what_is_live(now, name, actions);
        }
        if is_unwatched {
            // It was stopped for a migration that failed, and runs again.
            self.watch_eagerly(now, name, startup);
        }
        self.keep_sockets(actions);
        match self.apps.get_mut(name).and_then(|app| app.retry.take()) {
            Some(again) => self.enqueue(now, again, actions),
            None => self.start_next(now, name, actions),
        }
    }

    /// An interrupted deploy, once more: under a new number, because the old one's history is written.
    pub(in super::super) fn repetition(&mut self, of: &Deployment) -> Option<Deployment> {
        let mut again = self.new_deployment(&of.app, Trigger::Retry, Kind::Deploy)?;
        again.requested = of.commit.as_ref().map(|commit| commit.to_string()).or_else(|| of.requested.clone());
        again.commit = of.commit.clone();
        again.forced = of.forced;
        again.retry_of = Some(of.number);
        again.pass = kept_pass(of);
        Some(again)
    }

    /// A deployment with the next number; nothing is written yet.
    pub(super) fn new_deployment(&mut self, name: &AppName, trigger: Trigger, kind: Kind) -> Option<Deployment> {
        let app = self.apps.get(name)?;
        let deploy = &app.config.deploy;
        let deadlines = Deadlines { timeout: deploy.timeout, startup: deploy.startup, probation: deploy.probation };
        let plan = Plan::of(&app.config, kind);
        let number = self.next_number;
        self.next_number = number.next();
        Some(Deployment::new(number, name.clone(), trigger, plan, deadlines))
    }

    /// Ends a deployment that never began.
    pub(super) fn end_unbegun(
        &mut self,
        now: Moment,
        deployment: &Deployment,
        status: DeployStatus,
        message: String,
        actions: &mut Vec<Action>,
    ) {
        let number = deployment.number;
        let exit = crate::deploy::outcome::exit_code(status, None);
        let phase = if status == DeployStatus::Success { Phase::Done } else { deployment.phase() };
        let entry = Entry::Finished {
            number,
            status,
            phase,
            failed_phase: None,
            message: Some(message.clone()),
            exit,
            took: None,
            at: now.wall,
        };
        let mut entries = vec![entry];
        let end = End { status, phase, failed: None, message: Some(message), exit };
        // What never began is no news; what was under way is.
        if let Some(app) = self.apps.get(&deployment.app).filter(|_| status == DeployStatus::Failed) {
            let happening = Happening::Ended(Box::new(ended(app, deployment, &end, None)));
            entries.extend(self.news(now, &happening, actions));
        }
        self.record_news(entries, actions);
        if let Some(app) = self.any_app(&deployment.app) {
            app.seen.settle(number, status);
        }
        actions.push(Action::Ended { app: deployment.app.clone(), number, end, release: None });
    }

    /// Ends what an app does and what waits for it: it is configured no longer. Work under way is waited for.
    pub(super) fn abandon(&mut self, now: Moment, name: &AppName, actions: &mut Vec<Action>) {
        let Some(app) = self.apps.get_mut(name) else { return };
        let active = app.active.take_if(|active| !active.is_ending());
        let waiting = std::mem::take(&mut app.queue);
        if let Some(deployment) = active {
            self.end_unbegun(now, &deployment, DeployStatus::Failed, NOT_CONFIGURED.into(), actions);
        }
        for deployment in waiting {
            self.end_unbegun(now, &deployment, DeployStatus::Cancelled, NOT_CONFIGURED.into(), actions);
        }
    }

    /// What a step printed last before it failed: people are told with the end.
    pub(super) fn keep_last_words(&mut self, number: DeployId, step: &StepReport, words: Vec<String>) {
        let is_ours = |app: &&mut AppWorld| app.active.as_ref().is_some_and(|active| active.number == number);
        let failed = matches!(step.status, StepStatus::Failed | StepStatus::TimedOut) && !words.is_empty();
        if let Some(app) = self.apps.values_mut().find(is_ours).filter(|_| failed) {
            app.last_words = words;
        }
    }

    pub(super) fn forget_active(&mut self, name: &AppName) {
        if let Some(app) = self.apps.get_mut(name) {
            app.active = None;
        }
    }
}

/// A retry of what a person ordered is a person's.
pub(super) fn kept_pass(of: &Deployment) -> Pass {
    if of.trigger == Trigger::Cli { Pass::Person } else { of.pass }
}

/// How a deployment that waited ends without beginning, because of what the one before it came to.
fn needless(app: &AppWorld, waiting: &Deployment) -> Option<(DeployStatus, String)> {
    if let Kind::Rollback { to, .. } = &waiting.plan().kind {
        let is_live = app.live.as_ref().is_some_and(|live| live.release == *to);
        // A diary that was lost knows of no commit; what ran well under this daemon did come to be.
        let was_good = app.good.iter().any(|(good, _)| good == to);
        let is_gone = !is_live && !was_good && app.commit_of(to).is_none();
        return is_gone.then(|| (DeployStatus::Refused, format!("{to} did not come to be: its deployment failed")));
    }
    let commit = waiting.commit.as_ref().filter(|_| waiting.plan().kind == Kind::Deploy && !waiting.forced)?;
    if let Some(why) = app.quarantine.get(commit) {
        return Some((DeployStatus::Refused, format!("its commit was quarantined while it waited: {why}")));
    }
    let is_live = app.live.as_ref().is_some_and(|live| live.commit.as_ref() == Some(commit));
    is_live.then(|| (DeployStatus::Success, "its commit went live while it waited".to_string()))
}

/// A deployment's end as people may want to hear of it.
fn ended(app: &AppWorld, deployment: &Deployment, end: &End, took: Option<Duration>) -> Ended {
    Ended {
        number: deployment.number,
        app: deployment.app.clone(),
        deed: match deployment.plan().kind {
            Kind::Deploy => Deed::Deploy,
            Kind::Rollback { .. } => Deed::Rollback,
            Kind::BackupOnly => Deed::Backup,
        },
        status: end.status,
        failed: end.failed,
        message: end.message.clone(),
        commit: deployment.commit.clone(),
        branch: app.config.source.branch.clone(),
        release: deployment.release.clone(),
        previous: deployment.previous.clone(),
        trigger: deployment.trigger,
        took,
        output: if end.status == DeployStatus::Success { vec![] } else { app.last_words.clone() },
    }
}

/// How a deployment that has not begun stands.
pub(in super::super) fn status_of_new(deployment: &Deployment) -> DeployStatus {
    if deployment.waiting.is_some() { DeployStatus::Waiting } else { DeployStatus::Queued }
}

/// The diary's row of a deployment that is new.
pub(in super::super) fn row_of(deployment: &Deployment, now: Moment) -> NewDeployment {
    NewDeployment {
        number: deployment.number,
        app: deployment.app.clone(),
        kind: match deployment.plan().kind {
            Kind::Deploy => store::Kind::Deploy,
            Kind::BackupOnly => store::Kind::Backup,
            Kind::Rollback { .. } => store::Kind::Rollback,
        },
        requested: deployment.requested.clone(),
        commit: deployment.commit.clone(),
        release: deployment.release.clone(),
        status: status_of_new(deployment),
        trigger: deployment.trigger,
        forced: deployment.forced,
        pass: deployment.pass,
        retry_of: deployment.retry_of,
        message: deployment.waiting.as_ref().map(|waits| waits.reason.clone()),
        asked: now.wall,
    }
}
