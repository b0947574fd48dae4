//! The services and probes of each app, and the verbs people have for them.

use super::super::action::Action;
use super::super::event::RequestId;
use super::super::world::{AppWorld, Live, Pending, Waiter, World};
use crate::base::{AppName, InstanceId, Moment, ReleaseName, ServiceName, Span};
use crate::config::{Probe, ProbeTarget, Service};
use crate::control::Answer;
use crate::deploy;
use crate::health::{Failure, Verdict, Watch, ladder};
use crate::notify::{Happening, Subject};
use crate::store::Entry;
use crate::supervise::{Input, Order, Services, Slot, State, Target};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Whoever says start or stop waits at most this long beyond what the services may take.
const PATIENCE: Duration = Duration::from_secs(5);

impl World {
    /// Something happened to a process: of a service, or the listener.
    pub(super) fn instance_event(
        &mut self,
        now: Moment,
        instance: InstanceId,
        input: Input,
        actions: &mut Vec<Action>,
    ) {
        if self.listener.as_ref().is_some_and(|listener| listener.process == Some(instance)) {
            if let Input::Exited { words, .. } | Input::SpawnFailed(words) = &input
                && !self.stopping
            {
                let text = format!("the listener ended: {words}");
                actions.push(Action::Note { level: log::Level::Warn, text });
            }
            return self.feed_listener(now, input, actions);
        }
        let owns = |app: &&AppWorld| app.services.slots().iter().any(|slot| slot.process == Some(instance));
        let Some(name) = self.apps.values().find(owns).map(|app| app.config.name.clone()) else { return };
        let Some(app) = self.apps.get_mut(&name) else { return };
        let orders = app.services.on(now.mono, instance, input, &mut self.instances_made);
        self.carry(now, &name, orders, actions);
    }

    /// Wants a release to run: its services as they were meant when it was deployed.
    pub(in super::super) fn run_release(
        &mut self,
        now: Moment,
        name: &AppName,
        release: &ReleaseName,
        actions: &mut Vec<Action>,
    ) {
        let Some(app) = self.apps.get_mut(name) else { return };
        let thawed = app.definitions.get(release).map(|thawed| thawed.definition.clone());
        let definition = thawed.unwrap_or_else(|| app.config.clone());
        let shared = |(name, service): (&ServiceName, &Service)| (name.clone(), Arc::new(service.clone()));
        let services: BTreeMap<ServiceName, Arc<Service>> = definition.services.iter().map(shared).collect();
        app.services.run(Target { release: release.clone(), services, startup: definition.deploy.startup });
        self.reconcile(now, name, actions);
    }

    /// Wants nothing to run.
    pub(in super::super) fn run_nothing(&mut self, now: Moment, name: &AppName, actions: &mut Vec<Action>) {
        let Some(app) = self.apps.get_mut(name) else { return };
        app.watch = None;
        app.services.run_nothing();
        self.reconcile(now, name, actions);
    }

    /// Looks at what runs, eagerly, until all is well or `patience` is over.
    pub(in super::super) fn watch_eagerly(&mut self, now: Moment, name: &AppName, patience: Duration) {
        self.watches_made += 1;
        let serial = self.watches_made;
        let Some(app) = self.apps.get_mut(name) else { return };
        let probes = app.live_definition().map(|definition| definition.probes.clone()).unwrap_or_default();
        app.watch = Some(Watch::eager(&probes, now.mono, serial));
        app.eager_until = Some(now.mono + patience);
        app.unwell = None;
    }

    pub(super) fn reconcile(&mut self, now: Moment, name: &AppName, actions: &mut Vec<Action>) {
        let Some(app) = self.apps.get_mut(name) else { return };
        let orders = app.services.reconcile(now.mono, &mut self.instances_made);
        self.carry(now, name, orders, actions);
    }

    /// Turns the orders of an app's services into actions, and tells whoever waits for the services.
    fn carry(&mut self, now: Moment, name: &AppName, orders: Vec<Order>, actions: &mut Vec<Action>) {
        let mut ended = vec![];
        for order in orders {
            let Some(app) = self.apps.get(name) else { return };
            match order {
                Order::Spawn { instance, service, release, round, index, restarts } => {
                    let (commit, app) = (app.commit_of(&release), app.definition_of(&release));
                    actions.push(Action::Spawn { app, instance, service, release, commit, round, index, restarts });
                }
                Order::Look { instance, service, release, port } => {
                    let app = app.definition_of(&release);
                    actions.push(Action::Look { app, instance, service, release, port });
                }
                Order::SpeaksEvery { instance, every } => actions.push(Action::SpeaksEvery { instance, every }),
                Order::Vacated { service, round, index } => {
                    let app = name.clone();
                    actions.push(Action::Vacated { app, service, round, index });
                }
                Order::BecameReady { instance } => actions.push(Action::BecameReady { instance }),
                Order::Route { service, release, ports, old } => {
                    let app = app.definition_of(&release);
                    actions.push(Action::Route { app, service, release, ports, old });
                }
                Order::Unrouted { service, release, why } => {
                    let text = format!("{name}: clients of {service} could not be sent to {release}: {why}");
                    actions.push(Action::Note { level: log::Level::Error, text });
                    let why = format!("clients could not be sent to {service}: {why}");
                    self.tell_deployment(now, name, &release, deploy::Input::Unreachable(why), actions);
                }
                Order::Terminate { instance, signal } => actions.push(Action::Terminate { instance, signal }),
                Order::Abort { instance, service, why } => {
                    let text = format!("{name}: {service} is aborted: {why}");
                    actions.push(Action::Note { level: log::Level::Error, text });
                    actions.push(Action::Abort { instance });
                }
                Order::Kill { instance } => actions.push(Action::Kill { instance }),
                Order::Ended { service, release, words } => {
                    let text = format!("{name}: {service} ended by itself: {words}");
                    actions.push(Action::Note { level: log::Level::Warn, text });
                    let why = format!("{service} ended by itself: {words}");
                    ended.push((release.clone(), why.clone()));
                    self.tell_deployment(now, name, &release, deploy::Input::Tripped(why), actions);
                }
                Order::CrashLoop { service, failures, words } => {
                    self.keeps_ending(now, name, &service, failures, &words, actions);
                }
            }
        }
        // Only now: it orders anew, and what was ordered before comes before.
        for (release, why) in ended {
            self.take_back(now, name, &release, &why, actions);
        }
        self.tell_if_settled(now, name, actions);
    }

    /// Something is wrong with a release: the deployment of it should know.
    fn tell_deployment(
        &mut self,
        now: Moment,
        name: &AppName,
        release: &ReleaseName,
        word: deploy::Input,
        actions: &mut Vec<Action>,
    ) {
        let Some(deployment) = self.apps.get(name).and_then(|app| app.active.as_ref()) else { return };
        if deployment.release.as_ref() == Some(release) {
            self.drive(now, name, None, word, actions);
        }
    }

    /// Clients of a service are sent to its new ports, or could not be.
    pub(super) fn routed(
        &mut self,
        now: Moment,
        name: &AppName,
        service: &ServiceName,
        release: &ReleaseName,
        result: Result<(), String>,
        actions: &mut Vec<Action>,
    ) {
        // Also of an app whose file went meanwhile: should it come back, its clients are to be sent on again.
        let Some(app) = self.apps.get_mut(name).or_else(|| self.parked.get_mut(name)) else { return };
        let orders = app.services.routed(now.mono, service, release, result, &mut self.instances_made);
        self.carry(now, name, orders, actions);
    }

    pub(super) fn tell_if_settled(&mut self, now: Moment, name: &AppName, actions: &mut Vec<Action>) {
        let Some(app) = self.apps.get_mut(name) else { return };
        let is_so = |waiter: &Waiter| match &waiter.service {
            Some(service) => app.services.is_settled_for(service),
            None => app.services.is_settled(),
        };
        let waiters = std::mem::take(&mut app.waiters).into_iter();
        let (told, waiting): (Vec<Waiter>, Vec<Waiter>) = waiters.partition(|waiter| waiter.written && is_so(waiter));
        app.waiters = waiting;
        for waiter in told {
            actions.push(Action::Answer { to: waiter.to, answer: Answer::Done { message: waiter.message } });
        }
        if !app.services.is_settled() {
            return;
        }
        // What is to be alone with the data waits for scheduled commands as for services.
        let is_alone = app.services.target().is_some() || !app.agenda.is_running();
        let waits = app.active.as_ref().is_some_and(|deployment| deployment.waits_for_services());
        if waits && is_alone {
            self.drive(now, name, None, crate::deploy::Input::Settled, actions);
        }
    }

    /// `start`, `stop`, `restart`: written down first, answered when it is so.
    pub(super) fn service_verb(
        &mut self,
        now: Moment,
        from: RequestId,
        verb: Verb,
        name: &AppName,
        service: Option<&ServiceName>,
        actions: &mut Vec<Action>,
    ) {
        let answer_error = |message: String| Action::Answer { to: from, answer: Answer::Error { exit: 64, message } };
        let Some(app) = self.apps.get_mut(name) else {
            return actions.push(answer_error(no_such_app(name)));
        };
        let known = |one: &ServiceName| {
            app.config.services.contains_key(one)
                || app.live_definition().is_some_and(|live| live.services.contains_key(one))
        };
        if let Some(unknown) = service.filter(|one| !known(one)) {
            let names: Vec<&str> = app.config.services.keys().map(|name| name.as_str()).collect();
            return actions
                .push(answer_error(format!("{name} has no service {unknown}; it has: {}", names.join(", "))));
        }
        let what = service.map_or(name.to_string(), |service| format!("{name} {service}"));
        if app.live.is_none() && verb != Verb::Stop {
            let message = format!("{what} cannot be started: nothing was deployed yet (`pintle deploy {name}`)");
            return actions.push(Action::Answer { to: from, answer: Answer::Error { exit: 3, message } });
        }
        let is_stopped = service.map_or(app.services.is_held(), |service| app.services.holds(service));
        if verb == Verb::Restart && is_stopped {
            let message = format!("{what} is stopped, so there is nothing to restart: `pintle start {what}`");
            return actions.push(Action::Answer { to: from, answer: Answer::Error { exit: 3, message } });
        }
        let message = match verb {
            Verb::Start => format!("{what} is up"),
            Verb::Stop => format!("{what} is stopped, and stays so until `pintle start`"),
            Verb::Restart => format!("{what} was restarted"),
        };
        let slowest = app.services.slots().iter().map(|slot| slot.service.stop_timeout).max().unwrap_or_default();
        let until = now.mono + slowest + PATIENCE + app.config.deploy.startup.min(Duration::from_secs(15));
        let written = verb == Verb::Restart;
        app.waiters.push(Waiter { to: from, service: service.cloned(), until, message, written });
        match verb {
            Verb::Restart => app.services.restart(service),
            Verb::Start | Verb::Stop => {
                let down = verb == Verb::Stop;
                app.services.hold(service, down);
                let facts = vec![Entry::Wanted { app: name.clone(), service: service.cloned(), down }];
                let wish = Pending::Wish { app: name.clone(), to: from, facts: facts.clone() };
                self.record(facts, wish, actions);
            }
        }
        if let Some(app) = self.apps.get(name).filter(|app| verb != Verb::Stop && app.active.is_none()) {
            let startup = app.config.deploy.startup;
            self.watch_eagerly(now, name, startup);
        }
        self.reconcile(now, name, actions);
        // A deployment need not wait for the health of what was stopped.
        self.drive(now, name, None, crate::deploy::Input::Tick, actions);
    }

    /// A person's word about services is on disk: it lasts.
    pub(super) fn wish_is_written(&mut self, now: Moment, name: &AppName, to: RequestId, actions: &mut Vec<Action>) {
        let waiters = self.apps.get_mut(name).into_iter().flat_map(|app| &mut app.waiters);
        waiters.filter(|waiter| waiter.to == to).for_each(|waiter| waiter.written = true);
        self.tell_if_settled(now, name, actions);
    }

    /// It is as the person said, but a new daemon would not know.
    pub(super) fn wish_may_be_forgotten(
        &mut self,
        name: &AppName,
        to: RequestId,
        why: &str,
        actions: &mut Vec<Action>,
    ) {
        let Some(app) = self.apps.get_mut(name) else { return };
        let waits = app.waiters.iter().any(|waiter| waiter.to == to);
        app.waiters.retain(|waiter| waiter.to != to);
        if waits {
            let message = format!("it is done, but may not last: it could not be written to the diary yet: {why}");
            actions.push(Action::Answer { to, answer: Answer::Error { exit: 3, message } });
        }
    }

    /// A probe looked.
    pub(super) fn probed(
        &mut self,
        now: Moment,
        name: &AppName,
        serial: u64,
        index: usize,
        result: Result<(), Failure>,
        actions: &mut Vec<Action>,
    ) {
        let Some(app) = self.apps.get_mut(name) else { return };
        let Some(watch) = app.watch.as_mut().filter(|watch| watch.serial == serial) else { return };
        let is_excused = watch.probe(index).is_some_and(|probe| is_in_grace(now, &app.services, probe));
        // What a person stopped cannot answer, and is no reason to repair or to take anything back.
        let target = app.services.target();
        let about = |probe| ladder::concerned(std::iter::once(probe), &target?.services);
        let is_held = watch.probe(index).and_then(about).is_some_and(|all| all.iter().all(|it| app.services.holds(it)));
        watch.seen(now.mono, index, if is_held { Ok(()) } else { result }, is_excused);
        if app.services.is_held() {
            return;
        }
        self.judge(now, name, actions);
    }

    /// What the verdict means: to a deployment that waits for it, else to whoever reads the journal.
    fn judge(&mut self, now: Moment, name: &AppName, actions: &mut Vec<Action>) {
        let Some(app) = self.apps.get_mut(name) else { return };
        let Some(watch) = &mut app.watch else { return };
        let verdict = watch.verdict();
        if app.active.as_ref().is_some_and(|deployment| deployment.waits_for_health()) {
            match verdict {
                Verdict::Well => self.drive(now, name, None, crate::deploy::Input::Well, actions),
                Verdict::Unwell(why) => self.drive(now, name, None, crate::deploy::Input::Unwell(why), actions),
                Verdict::Unknown => {}
            }
            return;
        }
        match (verdict, app.eager_until) {
            (Verdict::Well, Some(_)) => {
                app.eager_until = None;
                watch.steady(now.mono);
                app.ladder.is_well_again();
                self.tell_of_health(now, name, actions);
            }
            (Verdict::Well, None) => self.is_well_again(now, name, actions),
            (Verdict::Unwell(why), None) => self.is_unwell(now, name, why, actions),
            _ => {}
        }
    }

    /// It is well: whoever heard that it was not hears so, also from another daemon.
    pub(super) fn tell_of_health(&mut self, now: Moment, name: &AppName, actions: &mut Vec<Action>) {
        let (about, what) = (Subject::app(name, "health"), format!("{name} is healthy again"));
        self.tell(now, Happening::Recovered { about, app: Some(name.clone()), what }, actions);
    }

    /// Whether there is anything to look at.
    pub(super) fn may_probe(&self, app: &AppWorld) -> bool {
        !self.stopping && app.live.is_some() && app.services.target().is_some() && !app.services.is_held()
    }

    /// Whatever is due by now for one app.
    pub(super) fn app_time_passed(&mut self, now: Moment, name: &AppName, actions: &mut Vec<Action>) {
        let Some(app) = self.apps.get_mut(name) else { return };
        if app.services.deadline().is_some_and(|at| now.mono >= at) {
            let orders = app.services.tick(now.mono, &mut self.instances_made);
            self.carry(now, name, orders, actions);
        }
        let active = self.apps.get(name).and_then(|app| app.active.as_ref()).filter(|_| !self.stopping);
        let due = active.and_then(|active| active.deadline());
        if due.is_some_and(|at| now.mono >= at) {
            self.explain_what_was_missing(name);
            self.drive(now, name, None, crate::deploy::Input::Tick, actions);
        }
        self.look_who_runs_again(now, name, actions);
        self.answer_late_waiters(now, name, actions);
        self.look(now, name, actions);
        self.open_gates(now, name, actions);
        let gone = self.apps.get(name).is_some_and(|app| {
            let nothing_left = app.active.is_none() && app.queue.is_empty() && app.services.slots().is_empty();
            app.removed && nothing_left && app.waiters.is_empty() && !app.agenda.is_running()
        });
        if gone && let Some(app) = self.apps.remove(name) {
            self.parked.insert(name.clone(), app);
        }
    }

    /// Before a verification fails for lack of time: what the last look said.
    fn explain_what_was_missing(&mut self, name: &AppName) {
        let Some(app) = self.apps.get_mut(name) else { return };
        if let (Some(deployment), Some(watch)) = (&mut app.active, &app.watch) {
            deployment.last_look = watch.last_failure();
        }
    }

    fn answer_late_waiters(&mut self, now: Moment, name: &AppName, actions: &mut Vec<Action>) {
        let Some(app) = self.apps.get_mut(name) else { return };
        let (late, patient) = std::mem::take(&mut app.waiters).into_iter().partition(|waiter| now.mono >= waiter.until);
        app.waiters = patient;
        for waiter in late {
            let waiter: Waiter = waiter;
            let message = format!("not done yet: see `pintle status {name}` and `pintle logs {name}`");
            actions.push(Action::Answer { to: waiter.to, answer: Answer::Error { exit: 3, message } });
        }
    }

    /// Sends out the looks that are due.
    fn look(&mut self, now: Moment, name: &AppName, actions: &mut Vec<Action>) {
        let Some(app) = self.apps.get(name) else { return };
        if !self.may_probe(app) {
            return;
        }
        let Some(app) = self.apps.get_mut(name) else { return };
        let (Some(watch), Some(live)) = (&mut app.watch, &app.live) else { return };
        let deploying = app.active.as_ref().is_some_and(|deployment| deployment.waits_for_health());
        if !deploying && app.eager_until.is_some_and(|until| now.mono >= until) {
            app.eager_until = None;
            watch.steady(now.mono);
        }
        let serial = watch.serial;
        let due = watch.due(now.mono);
        let mut known = vec![];
        for (index, probe) in due {
            if let ProbeTarget::Alive(service) = &probe.target {
                known.push((index, is_alive(&app.services, service)));
                continue;
            }
            let (app, release) = (name.clone(), live.release.clone());
            actions.push(Action::Probe { app, watch: serial, index, probe: Box::new(probe), release });
        }
        let nothing_to_ask = watch.looks().next().is_none();
        for (index, result) in known {
            self.probed(now, name, serial, index, result, actions);
        }
        if deploying && nothing_to_ask {
            self.judge(now, name, actions);
        }
    }

    pub(super) fn pointed(&mut self, name: &AppName, release: Option<ReleaseName>) {
        let Some(app) = self.any_app(name) else { return };
        app.live = release.map(|release| Live { commit: app.commit_of(&release), release });
    }

    /// Ends an app's work and services, in reverse order.
    pub(super) fn stop_app_for_good(&mut self, now: Moment, name: &AppName, actions: &mut Vec<Action>) {
        if let Some(deployment) = self.apps.get(name).and_then(|app| app.active.as_ref()) {
            actions.push(Action::CancelWork { number: deployment.number });
        }
        self.run_nothing(now, name, actions);
    }
}

/// Whether all instances of a service are up, as nobody else could say.
fn is_alive(services: &Services, name: &ServiceName) -> Result<(), Failure> {
    let meant = services.target().and_then(|target| target.services.get(name));
    let meant = meant.filter(|_| !services.holds(name)).map_or(0, |service| service.instances as usize);
    let mine = || services.slots().iter().filter(|slot| slot.service.name == *name);
    let up = mine().filter(|slot| slot.machine.is_settled_up()).count();
    if up >= meant {
        return Ok(());
    }
    let last = mine().find_map(|slot| slot.machine.last_exit()).map(|last| format!(" (it last ended: {last})"));
    Err(format!("{up} of {meant} instances are up{}", last.unwrap_or_default()).into())
}

/// What the probe looks at was started so lately that it may still fail.
fn is_in_grace(now: Moment, services: &Services, probe: &Probe) -> bool {
    let target = services.target().map(|target| &target.services);
    let concerned = target.and_then(|services| ladder::concerned(std::iter::once(probe), services));
    let is_meant = |slot: &&Slot| concerned.as_ref().is_none_or(|names| names.contains(&slot.service.name));
    let since = |slot: &Slot| match slot.machine.state() {
        State::Starting { since, .. } | State::Up { since } => Some(*since),
        _ => None,
    };
    let youngest = services.slots().iter().filter(is_meant).filter_map(since).max();
    youngest.is_some_and(|since| now.mono.saturating_sub(since) < probe.grace)
}

/// What a person wants of services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Start,
    Stop,
    Restart,
}

pub(super) fn no_such_app(name: &AppName) -> String {
    format!("there is no app {name}: `pintle status` lists the configured ones")
}

/// How long something took, for people.
pub(super) fn took(now: Moment, since: Duration) -> Span {
    Span(now.mono.saturating_sub(since))
}
