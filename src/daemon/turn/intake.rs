//! What is asked for, judged: deliveries, deploys, rollbacks and the other verbs that change something.

use super::super::action::Action;
use super::super::event::{Known, RequestId};
use super::super::seen::SeenDelivery;
use super::super::world::{AppWorld, Pending, World};
use super::apps::{Verb, no_such_app};
use super::deploys::{row_of, status_of_new};
use crate::base::{AppName, BackupId, CommitId, DeployId, Moment, ReleaseName, WallTime};
use crate::control::{
    Answer, DeliveriesReport, Delivery, DeliveryVerdict, DeliveryView, DeployAsked, DeployStatus, Ignored, Request,
    Trigger, Verdict, Want, Wanted,
};
use crate::deploy::plan::DataToRestore;
use crate::deploy::{Deployment, Input, Kind};
use crate::store::Entry;

/// Exit codes of answers that are no deployment's end.
const USAGE: u8 = 64;
const NOWHERE_TO_GO: u8 = 3;
const REFUSED: u8 = 6;

impl World {
    /// Somebody asks for something.
    pub(super) fn asked(
        &mut self,
        now: Moment,
        from: RequestId,
        request: Request,
        known: &Known,
        actions: &mut Vec<Action>,
    ) {
        let refuse = |exit: u8, message: String| Action::Answer { to: from, answer: Answer::Error { exit, message } };
        if self.stopping && !matches!(request, Request::Ping | Request::Status { .. } | Request::PublicStatus) {
            return actions.push(refuse(69, "the daemon is stopping".into()));
        }
        match request {
            Request::Reexec => self.ask_successor(Some(from), actions),
            Request::Ping => actions.push(Action::Answer { to: from, answer: Answer::Pong }),
            Request::Status { app: Some(app), .. } if !self.apps.contains_key(&app) => {
                actions.push(refuse(USAGE, no_such_app(&app)));
            }
            Request::Status { app } => {
                let answer = Answer::Status(self.status(now, app.as_ref()));
                actions.push(Action::Answer { to: from, answer });
            }
            Request::PublicStatus => {
                actions.push(Action::Answer { to: from, answer: Answer::PublicStatus(self.public_status()) });
            }
            Request::Deliveries { .. } => {
                let deliveries = self.refused.newest_first();
                let answer = Answer::Deliveries(DeliveriesReport { deliveries });
                actions.push(Action::Answer { to: from, answer });
            }
            Request::BoardHistory { .. } => {
                let answer = Answer::BoardHistory(self.unwritten_samples());
                actions.push(Action::Answer { to: from, answer });
            }
            Request::Deliver(delivery) => self.delivered(now, from, delivery, known, actions),
            Request::Deploy(asked) => self.deploy_asked(now, from, asked, actions),
            Request::Rollback { app, to, with_data } => self.rollback_asked(now, from, app, to, with_data, actions),
            Request::BackupCreate { app } => {
                self.begin_for(now, from, &app, Kind::BackupOnly, |_| {}, actions);
            }
            Request::BackupRestore { app, id } => self.restore_asked(now, from, app, id, actions),
            Request::Cancel { number } => self.cancel_asked(now, from, number, actions),
            Request::Forgive { app, commit } => self.forgive_asked(from, app, &commit, actions),
            Request::Start { app, service } => {
                self.service_verb(now, from, Verb::Start, &app, service.as_ref(), actions);
            }
            Request::Stop { app, service } => {
                self.service_verb(now, from, Verb::Stop, &app, service.as_ref(), actions);
            }
            Request::Restart { app, service } => {
                self.service_verb(now, from, Verb::Restart, &app, service.as_ref(), actions);
            }
            Request::RunSchedule { app, schedule } => self.schedule_asked(now, from, &app, &schedule, actions),
            Request::Approve { number } => self.approve_asked(from, number, actions),
            Request::NotifyTest { channel } => self.test_asked(from, channel.as_deref(), actions),
            Request::Reload => actions.push(Action::Reload { from }),
            other => actions.push(refuse(USAGE, format!("this request is not the loop's to answer: {other:?}"))),
        }
    }

    /// A verified delivery: each app that it wants is judged; what is accepted is on disk before anybody hears so.
    fn delivered(
        &mut self,
        now: Moment,
        from: RequestId,
        delivery: Delivery,
        known: &Known,
        actions: &mut Vec<Action>,
    ) {
        if let Some(refused) = &delivery.refused {
            self.refused.remember(now.wall, delivery.trigger, refused);
        }
        let (mut verdicts, mut entries, mut deployments) = (vec![], vec![], vec![]);
        entries.extend(noted(&delivery, now.wall));
        let mut twin_is_being_written = false;
        for Want { app, wanted } in delivery.wants {
            let id = delivery.id.clone();
            let being_written = self.being_written(&app, &wanted);
            let judged = match (self.apps.get(&app), being_written) {
                (None, _) => Err((Ignored::UnknownApp, no_such_app(&app), None)),
                (Some(_), Some(twin)) => {
                    twin_is_being_written = true;
                    Err(duplicate_of(twin))
                }
                (Some(world), None) => judge(world, id.as_deref(), &wanted, known),
            };
            let (ignored, why, deployment) = match judged {
                Ok(()) => {
                    let begun = self.begin_from_outside(now, &app, &wanted, delivery.trigger);
                    let Some((new, entry)) = begun else { continue };
                    entries.push(entry);
                    let (deployment, state) = (new.number, status_of_new(&new));
                    verdicts.push(Verdict::Accepted { app: app.clone(), deployment, state });
                    deployments.push(new);
                    (None, None, Some(deployment))
                }
                Err((reason, why, deployment)) => {
                    let twin =
                        deployment.filter(|number| reason == Ignored::Duplicate && self.is_from_outside(*number));
                    let state = twin.map(|twin| self.state_of_twin(twin));
                    verdicts.push(Verdict::Ignored {
                        app: app.clone(),
                        why: why.clone(),
                        reason,
                        deployment: twin,
                        state,
                    });
                    (Some(reason), Some(why), deployment)
                }
            };
            if let (Some(id), Some(app), Some(number)) = (&id, self.apps.get_mut(&app), deployment) {
                let before = app.seen.get(id).and_then(|seen| seen.status);
                let status = before.or_else(|| app.deployment(number).map(|_| DeployStatus::Running));
                app.seen.remember(id, SeenDelivery { deployment, status });
            }
            if ignored != Some(Ignored::UnknownApp) {
                entries.push(Entry::Logged(Box::new(DeliveryView {
                    at: now.wall,
                    id: id.clone(),
                    app: Some(app.clone()),
                    trigger: delivery.trigger,
                    event: delivery.event.clone(),
                    wanted: Some(wanted.requested()),
                    verdict: if ignored.is_none() { DeliveryVerdict::Accepted } else { DeliveryVerdict::Ignored },
                    reason: why.clone(),
                    deployment,
                    from: None,
                    times: 1,
                })));
                let commit = wanted.commit().cloned();
                entries.push(Entry::Delivery { id, app, commit, deployment, ignored, reason: why, at: now.wall });
            }
        }
        let answer = Answer::Delivered { verdicts };
        match deployments.is_empty() && !twin_is_being_written {
            // What is ignored needs no disk to be ignored - unless the deployment that answers it is not there yet.
            true => {
                actions.push(Action::Record { token: None, entries });
                actions.push(Action::Answer { to: from, answer });
            }
            false => self.record(entries, Pending::Intake { deployments, to: from, answer: answer.into() }, actions),
        }
    }

    /// A deployment that a delivery or a look at the branch asks for, and what is to be on disk before it begins.
    pub(super) fn begin_from_outside(
        &mut self,
        now: Moment,
        app: &AppName,
        wanted: &Wanted,
        trigger: Trigger,
    ) -> Option<(Deployment, Entry)> {
        let mut new = self.new_deployment(app, trigger, Kind::Deploy)?;
        new.requested = Some(wanted.requested());
        new.commit = wanted.commit().cloned();
        self.judge_at_the_gates(now, &mut new);
        let entry = Entry::Queued(row_of(&new, now));
        Some((new, entry))
    }

    /// Whether the listener may follow it: what a person started is none of its business.
    fn is_from_outside(&self, number: DeployId) -> bool {
        let known = self.apps.values().find_map(|app| app.deployment(number));
        known.is_none_or(|known| matches!(known.trigger, Trigger::Webhook | Trigger::Deploy | Trigger::Poll))
    }

    /// How a deployment stands that answers a delivery already: whoever waits for its end is not to wait at a gate.
    fn state_of_twin(&self, number: DeployId) -> DeployStatus {
        let known = self.apps.values().find_map(|app| app.deployment(number));
        let waits = known.is_some_and(|known| known.waiting.is_some());
        if waits { DeployStatus::Waiting } else { DeployStatus::Running }
    }

    /// A deployment of the same which is on its way to the diary: it neither runs nor waits yet.
    pub(super) fn being_written(&self, app: &AppName, wanted: &Wanted) -> Option<DeployId> {
        let arriving = self.pending.values().flat_map(Pending::arriving);
        let mut twins = arriving.filter(|new| new.app == *app && is_for(new, wanted));
        twins.next().map(|twin| twin.number)
    }

    /// A person (or a hook) wants a deploy: first the commit is looked up, so that what is live needs no deployment.
    fn deploy_asked(&mut self, now: Moment, from: RequestId, asked: DeployAsked, actions: &mut Vec<Action>) {
        let Some(app) = self.apps.get(&asked.app) else {
            let message = no_such_app(&asked.app);
            return actions.push(Action::Answer { to: from, answer: Answer::Error { exit: USAGE, message } });
        };
        if asked.backup_only {
            return self.begin_for(now, from, &asked.app.clone(), Kind::BackupOnly, |_| {}, actions);
        }
        match asked.commit.as_ref().and_then(|commit| CommitId::new(commit.as_str()).ok()) {
            Some(commit) => self.resolved(now, from, asked, Some(commit), actions),
            None => actions.push(Action::Resolve { from, app: app.config.clone(), asked }),
        }
    }

    /// The commit of a person's deploy is known (or could not be looked up: then the fetch will say why).
    pub(super) fn resolved(
        &mut self,
        now: Moment,
        from: RequestId,
        asked: DeployAsked,
        commit: Option<CommitId>,
        actions: &mut Vec<Action>,
    ) {
        let Some(app) = self.apps.get(&asked.app) else {
            let message = no_such_app(&asked.app);
            return actions.push(Action::Answer { to: from, answer: Answer::Error { exit: USAGE, message } });
        };
        if let (Some(live), Some(commit), false) = (&app.live, &commit, asked.force)
            && live.commit.as_ref() == Some(commit)
        {
            let answer = Answer::AlreadyLive { release: live.release.clone() };
            return actions.push(Action::Answer { to: from, answer });
        }
        let quarantined = commit.as_ref().and_then(|commit| app.quarantine.get(commit));
        if let (Some(why), false) = (quarantined, asked.force) {
            let message = format!(
                "this commit is quarantined ({why}); deploy a newer one, lift it with `pintle forgive`, or use --force"
            );
            return actions.push(Action::Answer { to: from, answer: Answer::Error { exit: REFUSED, message } });
        }
        // What waits at a gate need not do so when a person wants it now.
        let begins = app.queue.iter().filter(|waiting| waiting.waiting.is_none());
        let mut under_way = app.active.iter().chain(begins).filter(|twin| twin.plan().kind == Kind::Deploy);
        if let Some(twin) = under_way.find(|twin| commit.is_some() && twin.commit == commit && !asked.force) {
            // It is being done: whoever asks again sees the rest of it.
            let status = if twin.is_queued() { DeployStatus::Queued } else { DeployStatus::Running };
            let answer = Answer::Deployment { number: twin.number, status };
            // Said when all that was told to the diary before is on disk: the number among it.
            return self.record(
                vec![],
                Pending::Intake { deployments: vec![], to: from, answer: answer.into() },
                actions,
            );
        }
        let name = asked.app.clone();
        let trigger = asked.trigger;
        let prepare = |new: &mut Deployment| {
            new.trigger = trigger;
            new.requested = commit.as_ref().map(|commit| commit.to_string()).or(asked.commit);
            new.commit = commit;
            new.forced = asked.force;
        };
        self.begin_for(now, from, &name, Kind::Deploy, prepare, actions);
    }

    fn rollback_asked(
        &mut self,
        now: Moment,
        from: RequestId,
        name: AppName,
        to: Option<ReleaseName>,
        with_data: bool,
        actions: &mut Vec<Action>,
    ) {
        let target = match self.apps.get(&name) {
            None => Err((USAGE, no_such_app(&name))),
            Some(app) => rollback_target(app, to),
        };
        match target {
            Err((exit, message)) => {
                actions.push(Action::Answer { to: from, answer: Answer::Error { exit, message } });
            }
            Ok(to) => {
                let data = with_data.then_some(DataToRestore::OfRelease);
                self.begin_for(now, from, &name, Kind::Rollback { to, data }, |_| {}, actions);
            }
        }
    }

    /// A restore is a rollback to what is live, with the data of a backup.
    fn restore_asked(&mut self, now: Moment, from: RequestId, name: AppName, id: BackupId, actions: &mut Vec<Action>) {
        let live = self.apps.get(&name).and_then(|app| app.live.clone());
        let Some(live) = live else {
            let message = format!("{name} has no live release whose data could be replaced: deploy first");
            return actions.push(Action::Answer { to: from, answer: Answer::Error { exit: NOWHERE_TO_GO, message } });
        };
        let kind = Kind::Rollback { to: live.release, data: Some(DataToRestore::Backup(id)) };
        self.begin_for(now, from, &name, kind, |_| {}, actions);
    }

    /// Writes a new deployment down, answers with its number, and lets it begin.
    fn begin_for(
        &mut self,
        now: Moment,
        from: RequestId,
        name: &AppName,
        kind: Kind,
        prepare: impl FnOnce(&mut Deployment),
        actions: &mut Vec<Action>,
    ) {
        let Some(mut new) = self.new_deployment(name, Trigger::Cli, kind) else {
            let message = no_such_app(name);
            return actions.push(Action::Answer { to: from, answer: Answer::Error { exit: USAGE, message } });
        };
        prepare(&mut new);
        self.judge_at_the_gates(now, &mut new);
        let row = row_of(&new, now);
        let answer = Answer::Deployment { number: new.number, status: row.status };
        let entries = vec![Entry::Queued(row)];
        self.record(entries, Pending::Intake { deployments: vec![new], to: from, answer: answer.into() }, actions);
    }

    fn cancel_asked(&mut self, now: Moment, from: RequestId, number: DeployId, actions: &mut Vec<Action>) {
        let of_it = |app: &&mut AppWorld| app.deployment(number).is_some();
        let Some(app) = self.apps.values_mut().find(of_it) else {
            let message =
                format!("deployment {} is neither under way nor waiting: `pintle show {}`", number.0, number.0);
            return actions.push(Action::Answer { to: from, answer: Answer::Error { exit: USAGE, message } });
        };
        let name = app.config.name.clone();
        let message = format!("deployment {} is being cancelled", number.0);
        match app.queue.iter().position(|waiting| waiting.number == number) {
            Some(at) => {
                if let Some(waiting) = app.queue.remove(at) {
                    self.end_unbegun(now, &waiting, DeployStatus::Cancelled, "cancelled by a person".into(), actions);
                }
            }
            None => self.drive(now, &name, Some(number), Input::Cancel("cancelled by a person".into()), actions),
        }
        actions.push(Action::Answer { to: from, answer: Answer::Done { message } });
    }

    fn forgive_asked(&mut self, from: RequestId, name: AppName, commit: &str, actions: &mut Vec<Action>) {
        let matches: Vec<CommitId> = match self.apps.get(&name) {
            Some(app) if commit.len() >= 4 => {
                app.quarantine.keys().filter(|bad| bad.as_str().starts_with(commit)).cloned().collect()
            }
            _ => vec![],
        };
        let [bad] = &matches[..] else {
            let message = match matches.len() {
                0 => format!("no quarantined commit of {name} begins with {commit:?} (at least 4 digits)"),
                several => format!("{several} quarantined commits of {name} begin with {commit}: give more digits"),
            };
            return actions.push(Action::Answer { to: from, answer: Answer::Error { exit: USAGE, message } });
        };
        let entries = vec![Entry::Forgiven { app: name.clone(), commit: bad.clone() }];
        let pending = Pending::Forgiveness { app: name, commit: bad.clone(), to: from };
        self.record(entries, pending, actions);
    }
}

/// What is to be remembered of a delivery that wants nothing: a line for each app it was about.
fn noted(delivery: &Delivery, at: WallTime) -> Vec<Entry> {
    let Some(why) = &delivery.ignored else { return vec![] };
    let entry = |app: Option<AppName>| {
        Entry::Logged(Box::new(DeliveryView {
            at,
            id: delivery.id.clone(),
            app,
            trigger: delivery.trigger,
            event: delivery.event.clone(),
            wanted: None,
            verdict: DeliveryVerdict::Ignored,
            reason: Some(why.clone()),
            deployment: None,
            from: None,
            times: 1,
        }))
    };
    match &delivery.apps[..] {
        [] => vec![entry(None)],
        apps => apps.iter().cloned().map(Some).map(entry).collect(),
    }
}

/// Whether a deployment was asked to make an app what is `wanted` now.
fn is_for(deployment: &Deployment, wanted: &Wanted) -> bool {
    match wanted {
        Wanted::Commit(commit) => deployment.commit.as_ref() == Some(commit),
        Wanted::Tag(_) => deployment.requested.as_ref() == Some(&wanted.requested()),
    }
}

fn duplicate_of(twin: DeployId) -> (Ignored, String, Option<DeployId>) {
    (Ignored::Duplicate, format!("duplicate: deployment {} of this commit is under way", twin.0), Some(twin))
}

/// Whether a delivered commit is to be deployed; if not, why, and the deployment that answers it already.
pub(super) fn judge(
    app: &AppWorld,
    id: Option<&str>,
    wanted: &Wanted,
    known: &Known,
) -> Result<(), (Ignored, String, Option<DeployId>)> {
    let under_way = app.active.iter().chain(&app.queue);
    let mut same = under_way.filter(|deployment| is_for(deployment, wanted));
    if let Some(twin) = same.next() {
        return Err(duplicate_of(twin.number));
    }
    let commit = wanted.commit();
    if commit.is_some() && app.live.as_ref().is_some_and(|live| live.commit.as_ref() == commit) {
        return Err((Ignored::Live, "duplicate: this commit is live already".into(), None));
    }
    if let Some(why) = commit.and_then(|commit| app.quarantine.get(commit)) {
        return Err((Ignored::Quarantined, format!("quarantined: {why}"), None));
    }
    let seen = id.and_then(|id| app.seen.get(id)).or_else(|| known.seen.get(&app.config.name));
    let failed = |seen: &SeenDelivery| {
        matches!(seen.status, Some(DeployStatus::Failed | DeployStatus::Cancelled) | None) && seen.deployment.is_some()
            || matches!(seen.status, Some(DeployStatus::RolledBack | DeployStatus::RollbackFailed))
    };
    if let Some(seen) = seen.filter(|seen| !failed(seen)) {
        return Err((Ignored::Duplicate, "duplicate: this delivery was seen before".into(), seen.deployment));
    }
    if known.older.contains(&app.config.name) {
        return Err((Ignored::Older, "older than what is live".into(), None));
    }
    Ok(())
}

/// The release to go back to: the one named, or the last good one that is not live.
fn rollback_target(app: &AppWorld, to: Option<ReleaseName>) -> Result<ReleaseName, (u8, String)> {
    let name = &app.config.name;
    let live = app.live.as_ref().map(|live| &live.release);
    match to {
        Some(to) if Some(&to) == live => Err((NOWHERE_TO_GO, format!("{to} is live already"))),
        Some(to) if app.known.contains_key(&to) => Ok(to),
        Some(to) => Err((NOWHERE_TO_GO, format!("{name} has no release {to}: `pintle releases {name}` lists them"))),
        None => {
            let mut good = app.good.iter().map(|(release, _)| release).filter(|release| Some(*release) != live);
            let none = || (NOWHERE_TO_GO, format!("{name} has no earlier good release to go back to"));
            good.next().cloned().ok_or_else(none)
        }
    }
}

#[cfg(test)]
mod tests;
