//! What must never be untrue of deployments, whatever happens: the promises of the design, each as a sentence.

use super::Simulation;
use super::gates::Passages;
use super::scenario::place;
use crate::base::{AppName, CommitId, DeployId, ReleaseName};
use crate::config::StepPhase;
use crate::control::{Answer, DeployStatus, Pass, Phase, Request, Trigger, Verdict};
use crate::daemon::action::Job;
use crate::daemon::event::RequestId;
use crate::deploy::{End, Work};
use crate::store::{self, Entry};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A deployment, as far as it is on disk.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) app: AppName,
    pub(super) kind: store::Kind,
    pub(super) trigger: Trigger,
    pub(super) commit: Option<CommitId>,
    pub(super) release: Option<ReleaseName>,
    previous: Option<ReleaseName>,
    pub(super) forced: bool,
    pub(super) retry_of: Option<DeployId>,
    pub(super) phase: Option<Phase>,
    pub(super) status: DeployStatus,
    pub(super) message: Option<String>,
    /// The deployment that the same delivery had started before.
    answers_again: Option<DeployId>,
    pub(super) pass: Pass,
}

/// What was promised to people and what they may rely on.
#[derive(Debug, Default)]
pub(super) struct Promises {
    pub(super) rows: BTreeMap<DeployId, Row>,
    quarantine: BTreeSet<(AppName, CommitId)>,
    /// What each delivery id stands for.
    deliveries: BTreeMap<(AppName, String), DeployId>,
    /// Numbers that somebody was told.
    told: BTreeSet<DeployId>,
    pub(super) requests: BTreeMap<RequestId, Request>,
    /// Deployments a write of which failed: their intent may be missing.
    unwritten: BTreeSet<DeployId>,
    /// Whole apps that a person stopped (true) or started, and was told so; none while nobody can know.
    pub(super) stopped: BTreeMap<AppName, bool>,
    last_verb: BTreeMap<AppName, RequestId>,
    /// Apps whose services a person has meddled with since they were last at rest.
    pub(super) meddled: BTreeSet<AppName>,
    /// What was live when a deployment's first work began.
    at_begin: BTreeMap<DeployId, Option<ReleaseName>>,
    /// When each app's services were last restarted because it was unhealthy.
    pub(super) repaired: BTreeMap<AppName, Duration>,
    /// When a repair of it last reached beyond its services.
    pub(super) reached_beyond: BTreeMap<AppName, Duration>,
    /// When the host was rebooted for its sake.
    pub(super) reboots: BTreeMap<AppName, Vec<Duration>>,
    pub(super) clock_was_set_at: Vec<Duration>,
    /// How often somebody asked for a new program since it last took over.
    pub(super) reexecs_asked: u32,
    pub(super) successor_is_fit: bool,
    /// What the gates let begin.
    pub(super) passages: Passages,
}

impl Promises {
    /// Facts that are on disk now, and facts that could not be written.
    pub(super) fn learn(&mut self, written: &[Entry], refused: &[Entry]) {
        for entry in refused {
            if let Entry::Phase { number, .. } | Entry::Finished { number, .. } = entry {
                self.unwritten.insert(*number);
            }
        }
        for entry in written {
            self.learn_one(entry);
        }
    }

    fn learn_one(&mut self, entry: &Entry) {
        match entry.clone() {
            Entry::Queued(new) => {
                let row = Row {
                    app: new.app,
                    kind: new.kind,
                    trigger: new.trigger,
                    commit: new.commit,
                    release: new.release,
                    previous: None,
                    forced: new.forced,
                    retry_of: new.retry_of,
                    phase: None,
                    status: new.status,
                    message: None,
                    answers_again: None,
                    pass: new.pass,
                };
                self.rows.insert(new.number, row);
            }
            Entry::Approved { number } => self.change(number, |row| row.pass = Pass::Approved),
            Entry::Phase { number, phase, .. } => self.change(number, |row| row.phase = Some(phase)),
            Entry::Release { number, commit, release, previous } => self.change(number, |row| {
                (row.commit, row.release, row.previous) = (Some(commit), Some(release), previous);
            }),
            Entry::Finished { number, status, message, .. } => self.change(number, |row| {
                (row.status, row.message) = (status, message);
            }),
            Entry::Delivery { id: Some(id), app, deployment: Some(number), ignored, .. } => {
                let before = self.deliveries.insert((app, id), number);
                if ignored.is_none() {
                    self.change(number, |row| row.answers_again = before);
                }
            }
            Entry::Quarantine { app, commit, .. } => drop(self.quarantine.insert((app, commit))),
            Entry::Forgiven { app, commit } => drop(self.quarantine.remove(&(app, commit))),
            _ => {}
        }
    }

    fn change(&mut self, number: DeployId, edit: impl FnOnce(&mut Row)) {
        self.rows.get_mut(&number).into_iter().for_each(edit_once(edit));
    }

    pub(super) fn asked(&mut self, from: RequestId, request: &Request) {
        if let Request::Start { app, .. } | Request::Stop { app, .. } | Request::Restart { app, .. } = request {
            self.meddled.insert(app.clone());
            if !matches!(request, Request::Restart { .. }) {
                self.stopped.remove(app);
                self.last_verb.insert(app.clone(), from);
            }
        }
        self.reexecs_asked += u32::from(matches!(request, Request::Reexec));
        self.requests.insert(from, request.clone());
    }

    /// The daemon is gone, and with it whoever waited for an answer.
    pub(super) fn forget_requests(&mut self) {
        self.requests.clear();
    }

    pub(super) fn forget_app(&mut self, name: &AppName) {
        self.stopped.remove(name);
        self.last_verb.remove(name);
    }

    pub(super) fn meddle_with(&mut self, names: &[AppName]) {
        self.meddled.extend(names.iter().cloned());
    }

    pub(super) fn new_life(&mut self) {
        self.at_begin.clear();
        (self.reexecs_asked, self.successor_is_fit) = (0, false);
    }

    /// Whose answer was on its way through the daemon itself, and not through a look at the source of a commit.
    pub(super) fn who_would_be_cut_off(&self) -> Vec<Request> {
        self.requests.values().filter(|request| !matches!(request, Request::Deploy(_))).cloned().collect()
    }
}

/// `Option::map` with a closure that may be called once.
fn edit_once(edit: impl FnOnce(&mut Row)) -> impl FnMut(&mut Row) {
    let mut edit = Some(edit);
    move |row| {
        if let Some(edit) = edit.take() {
            edit(row);
        }
    }
}

impl Simulation {
    pub(super) fn promises_broken(&mut self, why: impl FnOnce() -> String) {
        if self.broken.is_none() {
            let why = why();
            self.trace.note(self.now, || format!("!! {why}"));
            self.broken = Some(why);
        }
    }

    pub(super) fn promise(&mut self, kept: bool, why: impl FnOnce() -> String) {
        if !kept {
            self.promises_broken(why);
        }
    }

    /// `current` always names a complete release, and changes only to one that is being deployed or gone back to.
    pub(super) fn check_the_disks(&mut self) {
        for name in self.config.apps.keys().cloned().collect::<Vec<_>>() {
            let disk = &self.disks[&name];
            let (current, sound) = (disk.current.clone(), disk.is_sound());
            self.promise(sound, || format!("{name}: `current` names a complete release, but {current:?} is none"));
        }
    }

    /// Intent first; one deploy per app at a time; what is worked on may be worked on.
    pub(super) fn check_work(&mut self, job: &Job) {
        let (name, number) = (job.app.name.clone(), job.number);
        let other = self.works.values().find(|busy| busy.job.app.name == name).map(|busy| busy.job.number);
        self.promise(other.is_none(), || {
            format!("{name}: one deploy at a time, but {other:?} is at work beside {number}")
        });
        let current = self.disks[&name].current.clone();
        self.promises.at_begin.entry(number).or_insert(current.clone());
        let Some(row) = self.promises.rows.get(&number) else {
            // On a full disk a retry may end before its beginning could be written down.
            if job.work == Work::Discard && self.journal.has_backlog() {
                return;
            }
            return self.promises_broken(|| format!("{number} is at work and was never written down"));
        };
        let intended = matches!(
            (&job.work, row.phase),
            (Work::Preflight, Some(Phase::Preflight))
                | (Work::Fetch, Some(Phase::Fetch))
                | (Work::Steps(StepPhase::Build), Some(Phase::Build))
                | (Work::Steps(StepPhase::Test), Some(Phase::Test))
                | (Work::Backup, Some(Phase::Backup))
                | (Work::Rehearse, Some(Phase::Rehearse))
                | (Work::Steps(StepPhase::Migrate), Some(Phase::Migrate))
                | (Work::RestoreData, Some(Phase::Switch))
                | (Work::Point(Some(_)), Some(Phase::Switch | Phase::Rollback))
                | (Work::Point(None), Some(Phase::Rollback))
                | (Work::Steps(StepPhase::Smoke), Some(Phase::Verify))
                // After a crash a release that had passed is verified again under its last words.
                | (Work::Steps(StepPhase::Smoke), Some(Phase::Switch | Phase::Probation | Phase::Done))
                | (Work::Steps(StepPhase::After) | Work::Tidy, Some(Phase::Done))
                | (Work::Discard, _)
        );
        let going_on_regardless = matches!(job.work, Work::Point(_) | Work::Steps(StepPhase::After) | Work::Tidy);
        let excused = going_on_regardless && self.promises.unwritten.contains(&number);
        let phase = row.phase;
        let (trigger, forced, kind, previous) = (row.trigger, row.forced, row.kind, row.previous.clone());
        self.promise(intended || excused, || format!("intent first: {:?} of {number} in {phase:?}", job.work));
        match &job.work {
            Work::Fetch => {
                let quarantined = job.commit.clone().map(|commit| (name.clone(), commit));
                let bad = quarantined.is_some_and(|key| self.promises.quarantine.contains(&key));
                let by_itself = matches!(trigger, Trigger::Webhook | Trigger::Deploy) && !forced;
                self.promise(!(bad && by_itself), || {
                    format!("{number}: a quarantined commit is never deployed by a delivery")
                });
            }
            Work::Steps(StepPhase::Migrate) if job.app.deploy.migrate_stopped => {
                self.check_nothing_runs(&name, "migrate")
            }
            Work::RestoreData => self.check_nothing_runs(&name, "restore data"),
            Work::Discard => {
                let made = Simulation::makes_a_release(job);
                self.promise(made, || format!("{number} discards only a release that it made"));
                self.promise(job.release.is_none() || job.release != current, || {
                    format!("{number} discards what is live")
                });
            }
            Work::Tidy => {
                let running = self.processes.values().filter(|process| process.app.as_ref() == Some(&name));
                let used = running.filter_map(|process| process.release.clone()).chain(current);
                let world = self.world.as_ref().and_then(|world| world.apps.get(&name));
                let queue = world.into_iter().flat_map(|app| &app.queue);
                let awaited = queue.filter_map(|waiting| waiting.release.clone());
                let used = used.chain(awaited);
                let lost: Vec<_> = used.filter(|release| !job.keep.contains(release)).collect();
                self.promise(lost.is_empty(), || format!("{number} prunes {lost:?}, which is in use"));
            }
            Work::Point(to) => {
                let allowed = *to == job.release || *to == previous;
                self.promise(allowed, || {
                    format!("{number} points `current` at {to:?}: neither its release nor the previous one")
                });
                let there = to.as_ref().is_none_or(|to| self.disks[&name].releases.contains_key(to));
                let back = phase == Some(Phase::Rollback);
                self.promise(there || !back, || format!("{number}: the previous release {to:?} is still there"));
                if let (Some(commit), false, store::Kind::Deploy) = (&job.commit, back || forced, kind) {
                    let live =
                        current.and_then(|live| self.disks[&name].releases.get(&live)).map(|live| place(&live.commit));
                    let older = live.is_some_and(|live| place(commit) < live);
                    self.promise(!older, || format!("{number}: never a commit older than what is live"));
                }
            }
            _ => {}
        }
    }

    /// What a person stopped cannot be healthy, and no commit is blamed for that.
    pub(super) fn check_facts(&mut self, entries: &[Entry]) {
        for entry in entries {
            if let Entry::Quarantine { app, why, .. } = entry {
                let stopped = self.promises.stopped.get(app) == Some(&true);
                let blamed = why.contains("not healthy within");
                self.promise(!(stopped && blamed), || {
                    format!("{app}: a commit is blamed, but a person stopped the app")
                });
            }
        }
    }

    /// Who is answered can rely on it; nobody is answered twice.
    pub(super) fn check_answer(&mut self, to: RequestId, answer: Answer) {
        let Some(request) = self.promises.requests.remove(&to) else {
            return self.promises_broken(|| format!("request {} is answered twice", to.0));
        };
        match answer {
            // Asked again for what is under way, a person is shown the deployment there is.
            Answer::Deployment { number, .. } if self.promises.told.contains(&number) => {
                let again = matches!(&request, Request::Deploy(asked) if !asked.force);
                self.promise(again, || format!("{number} was used before"));
            }
            Answer::Deployment { number, .. } => self.check_new_number(number),
            Answer::Delivered { verdicts } => {
                for verdict in verdicts {
                    if let Verdict::Accepted { deployment, .. } = verdict {
                        self.check_new_number(deployment);
                        self.check_it_is_no_duplicate(deployment);
                    }
                }
            }
            Answer::Done { .. } => match request {
                Request::Approve { number } => self.check_approval(number),
                _ => self.note_verb(to, &request),
            },
            _ => {}
        }
    }

    /// A number that is told is on disk, and was never told before.
    fn check_new_number(&mut self, number: DeployId) {
        let written = self.promises.rows.contains_key(&number);
        self.promise(written, || format!("{number} was accepted and is not in the diary"));
        let new = self.promises.told.insert(number);
        self.promise(new, || format!("{number} was used before"));
    }

    fn check_it_is_no_duplicate(&mut self, number: DeployId) {
        let Some(row) = self.promises.rows.get(&number) else { return };
        if self.journal.has_backlog() || !self.promises.unwritten.is_empty() {
            return;
        }
        let delivered = |other: &(&DeployId, &Row)| {
            *other.0 != number
                && other.1.app == row.app
                && matches!(other.1.trigger, Trigger::Webhook | Trigger::Deploy)
        };
        let twin = self
            .promises
            .rows
            .iter()
            .filter(delivered)
            .find(|(_, other)| other.commit == row.commit && !other.status.is_final());
        let before = row.answers_again.filter(|before| {
            let status = self.promises.rows.get(before).map(|row| row.status);
            matches!(
                status,
                Some(DeployStatus::Success | DeployStatus::Queued | DeployStatus::Waiting | DeployStatus::Superseded)
            )
        });
        let twin = twin.map(|(number, _)| *number).or(before);
        self.promise(twin.is_none(), || format!("{number} was accepted although {twin:?} answers the same delivery"));
    }

    fn note_verb(&mut self, to: RequestId, request: &Request) {
        let (app, service, down) = match request {
            Request::Stop { app, service } => (app, service, true),
            Request::Start { app, service } => (app, service, false),
            _ => return,
        };
        if service.is_none() && self.promises.last_verb.get(app) == Some(&to) {
            self.promises.stopped.insert(app.clone(), down);
        }
    }

    /// The end that is told is what the disk shows.
    pub(super) fn check_ended(&mut self, name: &AppName, number: DeployId, end: &End) {
        let current = self.disks[name].current.clone();
        let Some(row) = self.promises.rows.get(&number) else { return };
        let began = row.phase.is_some();
        let (release, previous) = (row.release.clone(), row.previous.clone());
        let backup = row.kind == store::Kind::Backup;
        let begin = self.promises.at_begin.get(&number).cloned();
        let status = end.status;
        if status == DeployStatus::Superseded {
            self.check_superseded(number, end.message.as_deref());
        }
        match status {
            DeployStatus::Success if !backup && began => {
                self.promise(current == release, || {
                    format!("{number} ended as success, but {current:?} is live, not {release:?}")
                });
            }
            DeployStatus::RolledBack => {
                self.promise(current == previous, || {
                    format!("{number} was rolled back, but {current:?} is live, not {previous:?}")
                });
            }
            DeployStatus::Failed | DeployStatus::Cancelled | DeployStatus::Refused => {
                let same = begin.as_ref().is_none_or(|begin| *begin == current);
                let nothing = current.is_none();
                let cut_off = end.message.as_ref().is_some_and(|why| why.contains("configured no longer"));
                self.promise(same || nothing || cut_off, || {
                    format!("{number} ended as {status}, and {current:?} is live instead of {begin:?}")
                });
            }
            DeployStatus::RollbackFailed => {
                let touched = end.failed.is_none_or(|phase| phase >= Phase::Switch);
                self.promise(touched, || {
                    format!("{number} touched nothing and says that its rollback failed: {:?}", end.message)
                });
            }
            _ => {}
        }
    }

    pub(super) fn check_after_a_turn(&mut self) {
        let Some(world) = &self.world else { return };
        let (instant, due) = (self.turns_at_this_instant, world.deadline());
        let late = due.filter(|at| *at <= self.now.mono);
        self.promise(late.is_none() || instant < 50, || format!("no busy loop, but {late:?} stays due"));
        self.promise(instant < 500, || "no more than 500 turns at one instant".into());
        self.check_the_queues();
        self.check_the_disks();
    }
}
