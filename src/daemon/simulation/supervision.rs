//! What is promised of processes: who starts beside whom, who is asked to end and when, who is told of an end.

use super::Simulation;
use super::host::Due;
use super::processes::Process;
use crate::base::{AppName, InstanceId, ReleaseName};
use crate::config::{Handover, Restart, Service};
use crate::control::Phase;
use crate::daemon::action::Action;
use crate::daemon::event::Event;
use crate::daemon::world::AppWorld;
use crate::health::ladder::COOL_DOWN;
use crate::supervise::State;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

impl Simulation {
    pub(super) fn check_nothing_runs(&mut self, name: &AppName, deed: &str) {
        let left: Vec<_> = self.processes.values().filter(|process| process.app.as_ref() == Some(name)).collect();
        let told = format!("{left:?}");
        let none = left.is_empty();
        self.promise(none, || format!("{name}: to {deed} the services are stopped, but {told}"));
    }

    /// Never two releases of a restart-handover service at once, never two processes in one place, never more than two
    /// generations beside a new one.
    pub(super) fn check_spawn(
        &mut self,
        name: &AppName,
        instance: InstanceId,
        service: &Service,
        release: &ReleaseName,
        round: u64,
        index: u32,
    ) {
        let mine: Vec<&Process> = self.processes.values().filter(|process| process.is_of(name, service)).collect();
        let others: Vec<_> = mine.iter().filter_map(|it| it.release.clone()).filter(|it| it != release).collect();
        let twins = mine.iter().filter(|process| process.index == index);
        let same_place = twins.clone().filter(|process| process.round == round).count();
        let (generations, count) = (twins.count(), mine.len());
        let is_new = !self.processes.values().any(|process| process.instance == instance)
            && !self.unheard.values().any(|(process, _)| process.instance == instance);
        let service_name = &service.name;
        let told = format!("{name} {service_name}: {instance}, place {index} of round {round} of {release}");
        if service.handover == Handover::Restart {
            self.promise(others.is_empty(), || format!("{told} starts beside {others:?}"));
            self.promise(count < service.instances as usize, || format!("{told} starts beside {count} others"));
        }
        self.promise(is_new, || format!("{told}: the number is in use"));
        self.promise(same_place == 0, || format!("{told} is there already"));
        self.promise(generations < 2, || format!("{told} starts beside {generations} others in that place"));
        let stopped = self.promises.stopped.get(name) == Some(&true);
        self.promise(!stopped, || format!("{told} starts although a person stopped the app"));
    }

    /// Its services were restarted because it was unhealthy, and the handover may still go on.
    fn was_repaired(&self, name: &AppName) -> bool {
        let at = self.promises.repaired.get(name);
        at.is_some_and(|at| self.now.mono < *at + Duration::from_secs(600))
    }

    pub(super) fn note_repairs(&mut self) {
        for app in self.world.iter().flat_map(|world| world.apps.values()) {
            if let Some(at) = app.ladder.last() {
                self.promises.repaired.insert(app.config.name.clone(), at);
            }
        }
    }

    /// Nobody ends what runs because of a deploy that has not come to its switch, nor because the daemon is another
    /// one; and where one release hands over to the next, never before the next one serves.
    pub(super) fn check_terminate(&mut self, instance: InstanceId) {
        let now = self.now.mono;
        let Some((_, process)) = self.process(instance) else { return };
        let process = process.clone();
        let (Some(name), Some(service)) = (process.app.clone(), process.service.clone()) else { return };
        let Some(world) = &self.world else { return };
        let Some(app) = world.apps.get(&name) else { return };
        let far = app.active.as_ref().is_some_and(|active| {
            active.phase() >= Phase::Switch || active.phase() == Phase::Migrate && active.plan().migrate_stopped
        });
        let late = !process.heard.is_ready && process.heard.ready_by.is_some_and(|by| now >= by);
        let again = process.asked_to_end;
        let on_purpose = world.stopping || app.removed || app.services.holds(&service.name);
        let wanted = app.services.target().and_then(|target| target.services.get(&service.name)).cloned();
        let meddled = self.was_repaired(&name) || self.promises.meddled.contains(&name);
        // Left by a rollback that failed: the next daemon goes by what is live.
        let is_live = self.disks[&name].current == process.release;
        let excused = on_purpose || far || late || again || meddled || !is_live;
        self.promise(excused, || {
            format!("{name}: {instance} is ended, and neither a person nor a switch nor its health asked for it")
        });
        if let Some(wanted) = wanted.filter(|_| !on_purpose && process.heard.is_ready && !again) {
            self.check_handover(&name, &wanted, &service, &process);
        }
    }

    /// Never zero listeners: whoever is asked to end for the sake of a newer one leaves a twin that serves.
    fn check_handover(&mut self, name: &AppName, wanted: &Arc<Service>, service: &Arc<Service>, process: &Process) {
        match (wanted.handover, service.handover) {
            (Handover::Socket, _) => {
                let index = process.index.min(wanted.instances.saturating_sub(1));
                let is_twin = |other: &Process| {
                    other.is_of(name, wanted)
                        && (other.round, other.index) != (process.round, process.index)
                        && other.index == index
                        && other.heard.is_ready
                        && !other.asked_to_end
                };
                let unheard = self.unheard.values().map(|(process, _)| process);
                let leaves_a_twin = self.processes.values().chain(unheard).any(is_twin);
                let told = format!("{name} {}: {} is ended", service.name, process.instance);
                self.promise(leaves_a_twin, || format!("{told} and nobody listens in its place {index}"));
            }
            (Handover::Port, Handover::Port) => self.check_clients_are_served(name, wanted, process),
            _ => {}
        }
    }

    /// Only who hangs, or says that it is broken, is aborted.
    pub(super) fn check_abort(&mut self, instance: InstanceId) {
        let now = self.now.mono;
        let Some((_, process)) = self.process(instance) else { return };
        let silent = process.heard.silent_at.is_some_and(|at| now >= at);
        let nature = &process.nature;
        let fair = nature.hangs || nature.said_it_is_broken || nature.was_misheard;
        let (every, twice) = (process.heard.alive_every, process.heard.asked_at.is_some());
        self.promise(silent, || format!("{instance} is aborted before its time"));
        self.promise(fair, || format!("{instance} is aborted and spoke in time, at least every {every:?}"));
        self.promise(!twice, || format!("{instance} is aborted and was asked to end before"));
    }

    /// Nobody is killed who was not asked first, and given its time.
    pub(super) fn check_kill(&mut self, instance: InstanceId) {
        let (now, at_once) = (self.now.mono, self.stops_asked > 1);
        let Some((_, process)) = self.process(instance).filter(|(_, process)| process.app.is_some()) else { return };
        let patience = process.service.as_ref().map_or(Duration::ZERO, |service| service.stop_timeout);
        let fair = process.heard.asked_at.is_some_and(|at| now >= at + patience);
        self.promise(fair || at_once, || format!("{instance} is killed before its time"));
    }

    /// After every turn: who was silent for too long is being ended, and so is who was not ready in time.
    pub(super) fn check_nobody_is_overdue(&mut self) {
        if self.world.is_none() {
            return;
        }
        let now = self.now.mono;
        let overdue = self.processes.values().find(|process| {
            let heard = &process.heard;
            let silent = heard.silent_at.is_some_and(|at| now >= at);
            let late = !heard.is_ready && heard.ready_by.is_some_and(|by| now >= by);
            process.app.is_some() && heard.asked_at.is_none() && (silent || late)
        });
        let told = overdue.map(|process| format!("{process:?}"));
        self.promise(told.is_none(), || format!("silent for too long or not ready in time, and left so: {told:?}"));
    }

    /// How many unexpected ends an event is to lead to: every end is told once.
    pub(super) fn ends_to_be_told(&mut self, event: &Event) -> usize {
        let (instance, clean) = match event {
            Event::Exited { instance, clean, .. } => (*instance, *clean),
            Event::SpawnFailed { instance, .. } => (*instance, false),
            _ => return 0,
        };
        let before = self.unheard.len();
        self.unheard.retain(|_, (process, _)| process.instance != instance);
        let is_first = self.unheard.len() < before;
        let apps = self.world.iter().flat_map(|world| world.apps.values());
        let mut slots = apps.flat_map(|app| app.services.slots()).filter(|slot| slot.process == Some(instance));
        let Some(slot) = slots.next() else {
            let listener = self.world.as_ref().and_then(|world| world.listener.as_ref());
            let listens = listener.is_some_and(|listener| listener.process == Some(instance));
            self.promise(!is_first || listens, || format!("{instance} ended, and nobody waits for that"));
            return 0;
        };
        let did_its_job = clean
            && slot.service.restart != Restart::Always
            && matches!(slot.machine.state(), State::Starting { .. } | State::Up { .. });
        let asked = matches!(slot.machine.state(), State::Stopping { .. });
        let spawned = matches!(event, Event::Exited { .. });
        self.promise(is_first || !spawned, || format!("{instance} ended twice, and somebody still waits for that"));
        usize::from(!did_its_job && !asked)
    }

    pub(super) fn check_ends_are_told(&mut self, expected: usize, actions: &[Action]) {
        let tells = |text: &str| {
            text.contains(" ended by itself: ") && !text.contains(": deployment ") && !text.contains(" is taken back ")
        };
        let told = actions.iter().filter(|action| matches!(action, Action::Note { text, .. } if tells(text))).count();
        self.promise(told == expected, || format!("{told} unexpected ends are told, {expected} happened"));
    }

    /// Only who is asked to becomes a new program, when it can, and nothing is cut off by that.
    pub(super) fn check_reexec(&mut self) {
        let (asked, fit) = (self.promises.reexecs_asked, std::mem::take(&mut self.promises.successor_is_fit));
        self.promises.reexecs_asked = 0;
        let busy: Vec<_> = self.works.keys().copied().collect();
        let active = |app: &&AppWorld| app.active.is_some();
        let active = self.world.iter().flat_map(|world| world.apps.values()).filter(active).count();
        let waiting = self.promises.who_would_be_cut_off();
        self.promise(asked > 0 && fit, || format!("a new program takes over: asked for {asked} times, fit: {fit}"));
        self.promise(busy.is_empty() && active == 0, || format!("a new program takes over while {busy:?} are at work"));
        self.promise(waiting.is_empty(), || format!("a new program takes over while {waiting:?} wait"));
    }

    /// A new daemon knows exactly the processes that there are.
    pub(super) fn check_nothing_is_lost(&mut self) {
        let Some(world) = self.world.as_ref() else { return };
        let known: BTreeSet<u32> = world.pids.values().copied().collect();
        let there: BTreeSet<u32> = self.processes.keys().copied().collect();
        self.promise(known == there, || format!("processes {there:?} run, {known:?} are known"));
    }
}

impl Simulation {
    /// Repairs beyond the apps keep their distance, and only who is allowed to reaches so far.
    fn check_the_ladder(&mut self, app: &AppName, allowed: bool, what: &str) {
        let now = self.now.mono;
        let before = self.promises.reached_beyond.insert(app.clone(), now);
        let too_soon = before.is_some_and(|before| now < before + COOL_DOWN);
        self.promise(allowed, || format!("{app}: {what}, and nobody allowed that"));
        self.promise(!too_soon, || format!("{app}: {what} at {now:?}, and the last such repair was at {before:?}"));
    }

    pub(super) fn restart_units(&mut self, app: AppName, units: &[String]) {
        let allowed = self.config.apps.get(&app).is_some_and(|app| app.repair.units == units);
        self.check_the_ladder(&app, allowed, "units are restarted");
        let result = if self.random.percent(80) { Ok(()) } else { Err("exit 1".to_string()) };
        self.soon(Duration::from_secs(60), Due::Hear(Event::UnitsRestarted { app, result }));
    }

    /// The host ends all and comes back, unless it cannot.
    pub(super) fn is_rebooted(&mut self, app: &AppName) -> bool {
        let per_day = self.config.apps.get(app).map_or(0, |app| app.repair.reboots_per_day);
        self.check_the_ladder(app, per_day > 0, "the host is rebooted");
        let now = self.now.mono;
        let is_recent = |at: &Duration| now < *at + Duration::from_secs(86_400);
        let reboots = self.promises.reboots.entry(app.clone()).or_default();
        reboots.retain(is_recent);
        reboots.push(now);
        let count = reboots.len();
        // A clock that is set forward makes a new day.
        let new_days = self.promises.clock_was_set_at.iter().filter(|at| is_recent(at)).count();
        let most = per_day as usize * (1 + new_days);
        self.promise(count <= most, || format!("{app}: {count} reboots in a day, {per_day} are allowed"));
        let can = self.random.percent(80);
        if !can {
            let why = "systemctl reboot: exit 1".to_string();
            self.hear(Event::NotRebooted { app: app.clone(), why });
        }
        can
    }
}
