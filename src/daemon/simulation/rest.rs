//! What must be true whenever the host has behaved well for a while: all is as the diary and the disk say.

use super::{Due, Simulation, trace};
use crate::base::{AppName, DeployId, ReleaseName, ServiceName};
use crate::config::Restart;
use crate::control::DeployStatus;
use crate::daemon::event::Event;
use crate::daemon::world::{AppWorld, World};
use crate::store;
use crate::supervise::State;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

impl Simulation {
    /// Nothing is left to happen but probes that are looked at now and then.
    pub(super) fn is_at_rest(&self) -> bool {
        self.is_quiet() && self.unsettled().is_empty()
    }

    /// Nothing is left to happen but that somebody approves, or that the time comes.
    pub(super) fn only_gates_are_left(&self) -> bool {
        let waits = |app: &AppWorld| app.active.is_none() && app.queue.iter().all(|one| one.waiting.is_some());
        let apps = || self.world.iter().flat_map(|world| world.apps.values());
        self.is_quiet() && apps().any(|app| !app.queue.is_empty()) && apps().all(waits)
    }

    fn is_quiet(&self) -> bool {
        let Some(world) = &self.world else { return false };
        let idle = |due: &Due| {
            let told = matches!(due, Due::Hear(Event::Probed { .. } | Event::Told { .. } | Event::Sensed { .. }));
            told || matches!(due, Due::Look { .. } | Due::Speak { .. } | Due::CommandEnds { .. })
        };
        let told = world.mail.outbox.is_empty() && world.mail.steady_at.is_none();
        !world.stopping && told && self.journal.is_idle() && self.works.is_empty() && self.schedule.values().all(idle)
    }

    fn unsettled(&self) -> Vec<AppName> {
        let Some(world) = &self.world else { return vec![] };
        let busy = world.apps.values().filter(|app| {
            let quiet = |state: &State| matches!(state, State::Up { .. } | State::Held { .. } | State::Down);
            let rests = app.services.slots().iter().any(|slot| matches!(slot.machine.state(), State::Held { .. }));
            let healthy = app.services.slots().iter().all(|slot| quiet(slot.machine.state()))
                && (rests || app.services.is_settled());
            let held = app.config.services.keys().any(|service| app.services.holds(service));
            let awaited = !app.waiters.is_empty() || app.active.is_some() || !app.queue.is_empty();
            awaited || !healthy || app.unwell.is_some() && !held
        });
        busy.map(|app| app.config.name.clone()).collect()
    }

    pub(super) fn what_is_left(&self) -> String {
        let due: Vec<_> = self.schedule.values().take(5).collect();
        let apps: Vec<_> = self.unsettled();
        let active = self.world.iter().flat_map(|world| world.apps.values()).map(|app| &app.active).collect::<Vec<_>>();
        let busy = self.world.iter().flat_map(|world| world.apps.values());
        let busy = busy.filter(|app| apps.contains(&app.config.name)).flat_map(|app| app.services.slots());
        let slots: Vec<String> = busy.map(trace::slot).collect();
        format!("{apps:?} {due:?} works: {:?} {active:?}\n{}", self.works.keys(), slots.join("\n"))
    }

    /// What runs is exactly the live release, the diary is closed, and a new daemon would think as this one does.
    pub(super) fn check_at_rest(&mut self) {
        self.promises.meddled.clear();
        let open: Vec<DeployId> =
            self.promises.rows.iter().filter(|(_, row)| !row.status.is_final()).map(|(number, _)| *number).collect();
        self.promise(open.is_empty(), || format!("every accepted deployment ends, but {open:?} did not"));
        let unanswered: Vec<_> = self.promises.requests.values().cloned().collect();
        self.promise(unanswered.is_empty(), || format!("everybody is answered, but for {unanswered:?}"));
        for name in self.config.apps.keys().cloned().collect::<Vec<_>>() {
            self.check_what_runs(&name);
            self.check_memory(&name);
        }
        self.check_retries();
        let configured = |name: &AppName| self.config.apps.contains_key(name);
        let strangers = self.processes.values().filter_map(|process| process.app.clone());
        let strangers: Vec<AppName> = strangers.filter(|name| !configured(name)).collect();
        self.promise(strangers.is_empty(), || format!("{strangers:?} run and are configured no longer"));
    }

    fn check_what_runs(&mut self, name: &AppName) {
        let Some(app) = self.world.as_ref().and_then(|world| world.apps.get(name)) else { return };
        let current = self.disks[name].current.clone();
        let live = app.live.as_ref().map(|live| live.release.clone());
        let meant = current
            .as_ref()
            .and_then(|release| self.disks[name].releases.get(release))
            .and_then(|it| it.applied.clone().or_else(|| it.definition.clone()));
        let mut expected: BTreeMap<(ServiceName, ReleaseName), u32> = BTreeMap::new();
        for service in meant.iter().flat_map(|app| app.services.values()) {
            if !app.services.holds(&service.name) && service.restart != Restart::Never {
                expected.extend(current.clone().map(|current| ((service.name.clone(), current), service.instances)));
            }
        }
        let held = app.services.is_held();
        let may_rest = |service: &ServiceName| {
            app.services
                .slots()
                .iter()
                .any(|slot| slot.service.name == *service && matches!(slot.machine.state(), State::Held { .. }))
        };
        let resting: Vec<ServiceName> =
            expected.keys().filter(|(service, _)| may_rest(service)).map(|(service, _)| service.clone()).collect();
        let blocked = !resting.is_empty()
            || app.services.slots().iter().any(|slot| matches!(slot.machine.state(), State::Held { done: false, .. }));
        let mut running: BTreeMap<(ServiceName, ReleaseName), u32> = BTreeMap::new();
        for process in self.processes.values().filter(|process| process.app.as_ref() == Some(name)) {
            if let (Some(service), Some(release)) = (process.service.clone(), process.release.clone()) {
                *running.entry((service.name.clone(), release)).or_default() += 1;
            }
        }
        let mut history = self.promises.rows.values().filter(|row| row.app == *name && row.kind != store::Kind::Backup);
        let settled = [DeployStatus::Success, DeployStatus::RolledBack, DeployStatus::RollbackFailed];
        let last = history.rfind(|row| row.phase.is_some() && settled.contains(&row.status));
        // The one state in which only a person helps.
        let needs_a_person = last.is_some_and(|row| row.status == DeployStatus::RollbackFailed);
        let probes = meant.as_ref().is_some_and(|app| !app.probes.is_empty());
        let watched = !probes || held || app.watch.is_some() || needs_a_person;
        let pids = self.world.as_ref().map_or(0, |world| world.pids.len());
        let processes = self.processes.len();
        self.promise(current == live, || format!("{name}: {live:?} is thought to be live, but it is {current:?}"));
        let strangers = running.iter().any(|(which, count)| expected.get(which).is_none_or(|most| count > most));
        let missing = expected.iter().any(|(which, count)| running.get(which) != Some(count));
        self.promise(needs_a_person || !strangers && (!missing || blocked), || {
            format!("{name}: {running:?} runs, and {expected:?} should")
        });
        self.promise(pids == processes, || format!("{pids} process ids are remembered, {processes} processes run"));
        self.promise(watched, || format!("{name}: nobody looks at its health"));
        let said = self.promises.stopped.get(name).copied();
        self.promise(said.is_none_or(|stopped| stopped == held), || {
            format!("{name}: a person was told stopped: {said:?}, it is {held}")
        });
    }

    /// What is remembered is what a new daemon would read.
    fn check_memory(&mut self, name: &AppName) {
        let Some(app) = self.world.as_ref().and_then(|world| world.apps.get(name)) else { return };
        let snapshot = self.journal.diary.snapshot();
        let read = snapshot.apps.get(name).cloned().unwrap_or_default();
        let good: Vec<_> = app.good.iter().map(|(release, _)| release.clone()).collect();
        let good_read: Vec<_> = read.good.iter().map(|good| good.release.clone()).collect();
        let bad: Vec<_> = app.quarantine.keys().cloned().collect();
        let bad_read: Vec<_> = read.quarantine.keys().cloned().collect();
        let held: Vec<_> = app.config.services.keys().filter(|service| app.services.holds(service)).cloned().collect();
        let held_read: Vec<_> =
            app.config.services.keys().filter(|service| read.wanted_down(service)).cloned().collect();
        self.promise(good == good_read, || format!("{name}: good releases are {good:?}, the diary says {good_read:?}"));
        self.promise(bad == bad_read, || format!("{name}: quarantined is {bad:?}, the diary says {bad_read:?}"));
        self.promise(held == held_read, || format!("{name}: stopped is {held:?}, the diary says {held_read:?}"));
    }

    fn check_retries(&mut self) {
        let mut retried: BTreeSet<DeployId> = BTreeSet::new();
        let mut wrong = vec![];
        for (number, row) in &self.promises.rows {
            let Some(of) = row.retry_of else { continue };
            let again = self.promises.rows.get(&of).is_some_and(|of| of.retry_of.is_some());
            if again || !retried.insert(of) {
                wrong.push(*number);
            }
        }
        self.promise(wrong.is_empty(), || format!("an interrupted deploy is retried at most once, but {wrong:?}"));
        let lost: Vec<DeployId> = self
            .promises
            .rows
            .iter()
            .filter_map(|(number, row)| {
                let promised = row.message.as_ref().is_some_and(|message| message.contains("tried once more"));
                (promised && !retried.contains(number)).then_some(*number)
            })
            .collect();
        self.promise(lost.is_empty(), || format!("{lost:?} said that they are tried once more, and were not"));
    }

    /// An hour in which nothing happens costs few turns.
    pub(super) fn check_idling(&mut self) {
        let (turns, until) = (self.turns, self.now.mono + Duration::from_secs(3600));
        let before = self.commands.so_far();
        while self.broken.is_none() && self.now.mono < until && !self.has_nothing_to_do() {
            self.step();
        }
        self.check_commands_ran_since(&before);
        let spent = self.turns - turns;
        // Per app: a probe every 30 s is one turn to send it out and one to hear of it.
        let hour = Duration::from_secs(3600);
        // And no look at a branch beyond those asked for, a tenth sooner each: one turn to begin it, one to hear of it.
        let polls = self.config.apps.values().filter_map(|app| app.trigger.poll);
        let looks: u64 = polls.map(|interval| (hour.as_secs() * 10).div_ceil(interval.as_secs() * 9) + 2).sum();
        // The board is looked at each minute: one turn to look, one to hear of it.
        let sensed = 2 * (60 + 1);
        let most = 300 * self.config.apps.len() as u64 + 2 * looks + sensed;
        let hour = trace::span(hour);
        self.promise(spent <= most, || format!("{spent} turns in {hour} in which nothing happened"));
    }

    pub(super) fn has_nothing_to_do(&self) -> bool {
        let waits = |world: &World| world.deadline().is_none();
        self.world.as_ref().is_some_and(waits) && self.schedule.is_empty()
    }
}
