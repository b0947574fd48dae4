//! An app's services: what should run, what does, and the next steps between the two.
//!
//! Each start of a service - of a new release, or by `restart` - is a new *round*; a [`Slot`] is one instance of one
//! round. [`Services`] compares the rounds that are wanted with the slots that exist and orders what may happen next:
//! services start when those they come `after` are up, stop in the reverse order, and the old round makes way for the
//! new one as the service's handover says. It is called again after every event, and doing it twice changes nothing.

use super::instance::{Deed, Input, Instance, Policy, State, Survival, Wanted};
use super::routes::Routes;
use crate::base::{InstanceId, ReleaseName, ServiceName};
use crate::config::{Handover, Ready, Service};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// What should run: a release and its services as they were meant when it was deployed.
#[derive(Debug, Clone)]
pub struct Target {
    /// The release.
    pub release: ReleaseName,
    /// Its services.
    pub services: BTreeMap<ServiceName, Arc<Service>>,
    /// How long one of them may take to be ready.
    pub startup: Duration,
}

/// An instance that an earlier daemon started and that runs.
#[derive(Debug, Clone)]
pub struct Survivor {
    /// Its process.
    pub instance: InstanceId,
    /// The definition it was started by.
    pub service: Arc<Service>,
    /// The release it runs.
    pub release: ReleaseName,
    /// 0 to `instances` - 1.
    pub index: u32,
    /// The start of the service it belongs to.
    pub round: u64,
    /// The port it was given.
    pub port: Option<u16>,
    /// How far it had come.
    pub survival: Survival,
}

/// One instance of one round of a service.
#[derive(Debug, Clone)]
pub struct Slot {
    /// The definition it was started by.
    pub service: Arc<Service>,
    /// The release it runs.
    pub release: ReleaseName,
    /// 0 to `instances` - 1.
    pub index: u32,
    /// Its process, from the order to spawn until its exit was seen.
    pub process: Option<InstanceId>,
    /// The port its process was given, where it listens by itself.
    pub port: Option<u16>,
    /// Its machine.
    pub machine: Instance,
    /// The start of the service it belongs to; the higher the later.
    pub round: u64,
}

impl Slot {
    fn new(service: &Arc<Service>, release: &ReleaseName, startup: Duration, round: u64, index: u32) -> Slot {
        let machine = Instance::new(policy(service, startup, round, index));
        let (service, release) = (service.clone(), release.clone());
        Slot { service, release, index, process: None, port: None, machine, round }
    }

    /// What no two slots share.
    fn place(&self) -> (&ServiceName, u64, u32) {
        (&self.service.name, self.round, self.index)
    }

    /// It is up, and nobody asked it to end.
    fn serves(&self) -> bool {
        self.process.is_some() && matches!(self.machine.state(), State::Up { .. })
    }
}

fn policy(service: &Service, startup: Duration, round: u64, index: u32) -> Policy {
    let ready = match (service.handover, service.ready) {
        // Clients are sent to it as soon as it is up: it must at least listen by then.
        (Handover::Port, Ready::Exec) => Ready::Probe,
        (_, ready) => ready,
    };
    let seed = round.wrapping_mul(31).wrapping_add(u64::from(index));
    let (restart, watchdog, stop_timeout) = (service.restart, service.watchdog, service.stop_timeout);
    Policy { restart, ready, startup, watchdog, stop_timeout, seed }
}

/// What is to be done with processes.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Order {
    /// Start a process; answered by `Spawned` or `SpawnFailed` for this id.
    Spawn { instance: InstanceId, service: Arc<Service>, release: ReleaseName, round: u64, index: u32, restarts: u64 },
    /// Look whether a starting instance is ready; answered by `Looked`.
    Look { instance: InstanceId, service: Arc<Service>, release: ReleaseName, port: Option<u16> },
    /// It showed that it is ready.
    BecameReady { instance: InstanceId },
    /// It says that it lives so often from now on, by its own word.
    SpeaksEvery { instance: InstanceId, every: Duration },
    /// Send clients to these ports, then wait until the old ones are quiet; answered by [`Services::routed`].
    Route { service: Arc<Service>, release: ReleaseName, ports: Vec<u16>, old: Vec<u16> },
    /// Send `signal` to the instance's group.
    Terminate { instance: InstanceId, signal: i32 },
    /// It hangs: let its process abort.
    Abort { instance: InstanceId, service: ServiceName, why: String },
    /// Kill the instance's whole group.
    Kill { instance: InstanceId },
    /// Nobody will fill this place any more.
    Vacated { service: ServiceName, round: u64, index: u32 },
    /// It ended, or could not be started, and nobody had asked for that.
    Ended { service: ServiceName, release: ReleaseName, words: String },
    /// Clients could not be sent to it.
    Unrouted { service: ServiceName, release: ReleaseName, why: String },
    /// It keeps ending; said once per loop.
    CrashLoop { service: ServiceName, failures: u32, words: String },
}

/// All services of one app.
#[derive(Debug, Clone, Default)]
pub struct Services {
    target: Option<Target>,
    /// The round of each service of the target.
    wanted_round: BTreeMap<ServiceName, u64>,
    rounds_made: u64,
    /// A person stopped the app ...
    held: bool,
    /// ... but said otherwise of these services since.
    said_otherwise: BTreeMap<ServiceName, bool>,
    slots: Vec<Slot>,
    routes: Routes,
    /// What should run was not said yet: nothing is started or stopped until it is.
    undecided: bool,
}

impl Services {
    /// Wants `target` to run. Services of it that run already are left alone.
    pub fn run(&mut self, target: Target) {
        self.undecided = false;
        self.routes.forgive();
        self.wanted_round.clear();
        for (name, service) in &target.services {
            let round = self.round_that_runs(service, &target.release).unwrap_or_else(|| self.new_round());
            self.wanted_round.insert(name.clone(), round);
        }
        self.target = Some(target);
    }

    /// Wants nothing to run.
    pub fn run_nothing(&mut self) {
        self.undecided = false;
        self.target = None;
        self.wanted_round.clear();
    }

    /// Waits until [`Services::run`] or [`Services::run_nothing`] says what should run.
    pub fn wait_for_a_word(&mut self) {
        self.undecided = true;
    }

    /// Nobody has said yet what should run.
    pub fn is_undecided(&self) -> bool {
        self.undecided
    }

    /// Takes in what an earlier daemon left running. Until it is said what should run, it stays as it is.
    pub fn adopt(&mut self, now: Duration, startup: Duration, survivor: Survivor) {
        let Survivor { instance, service, release, index, round, port, survival } = survivor;
        let machine = Instance::adopted(policy(&service, startup, round, index), now, survival);
        self.rounds_made = self.rounds_made.max(round);
        self.undecided = true;
        self.slots.push(Slot { service, release, index, process: Some(instance), port, machine, round });
    }

    /// A person stops a service (`None`: the app), or lifts that again.
    pub fn hold(&mut self, service: Option<&ServiceName>, held: bool) {
        match service {
            None => {
                self.held = held;
                self.said_otherwise.clear();
            }
            // Starting one service of a stopped app leaves the others stopped.
            Some(name) => drop(self.said_otherwise.insert(name.clone(), held)),
        }
        if !held {
            self.wake(service);
        }
    }

    /// Replaces a service's instances (`None`: of all services) by fresh ones, as its handover says.
    pub fn restart(&mut self, service: Option<&ServiceName>) {
        let names: Vec<ServiceName> = self.wanted_round.keys().cloned().collect();
        for name in names.iter().filter(|name| service.is_none_or(|one| one == *name)) {
            let round = self.new_round();
            self.wanted_round.insert(name.clone(), round);
        }
    }

    /// What should run.
    pub fn target(&self) -> Option<&Target> {
        self.target.as_ref()
    }
    /// Every instance there is, of every round.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }
    /// Whether a person stopped all there is to run.
    pub fn is_held(&self) -> bool {
        match &self.target {
            Some(target) if !target.services.is_empty() => target.services.keys().all(|service| self.holds(service)),
            _ => self.held && self.said_otherwise.values().all(|held| *held),
        }
    }
    /// Whether a person stopped this service.
    pub fn holds(&self, service: &ServiceName) -> bool {
        self.said_otherwise.get(service).copied().unwrap_or(self.held)
    }
    /// What runs is exactly what should: every wanted instance up, nothing else left.
    pub fn is_settled(&self) -> bool {
        let all_up = self.slots.iter().all(|slot| slot.machine.is_settled_up() && self.is_wanted(slot));
        all_up && self.slots.len() == self.wanted_slots() && self.all_routed()
    }
    /// The same for one service alone, whatever became of the others.
    pub fn is_settled_for(&self, name: &ServiceName) -> bool {
        let mut mine = self.slots.iter().filter(|slot| slot.service.name == *name);
        let all_up = mine.all(|slot| slot.machine.is_settled_up() && self.is_wanted(slot));
        let service = self.target.as_ref().and_then(|target| target.services.get(name));
        let is_complete = |service: &Arc<Service>| {
            self.holds(name) || self.all_up(service) && (!is_sent_to(service) || self.is_routed(service))
        };
        all_up && service.is_none_or(is_complete)
    }
    /// No process of any round is left of a release other than the target's.
    pub fn old_is_gone(&self) -> bool {
        !self.slots.iter().any(|slot| !self.is_wanted(slot) && slot.process.is_some())
    }

    /// When [`Services::tick`] is due.
    pub fn deadline(&self) -> Option<Duration> {
        self.slots.iter().filter_map(|slot| slot.machine.deadline()).chain(self.routes.deadline()).min()
    }

    /// Takes what happened to one process. Unknown ids (of processes long gone) are ignored.
    pub fn on(&mut self, now: Duration, instance: InstanceId, input: Input, mint: &mut u64) -> Vec<Order> {
        let Some(at) = self.slots.iter().position(|slot| slot.process == Some(instance)) else {
            return vec![];
        };
        let mut orders = vec![];
        let asked_to_end = matches!(self.slots[at].machine.state(), State::Stopping { .. });
        let ended = matches!(input, Input::Exited { .. } | Input::SpawnFailed(_));
        if ended {
            self.slots[at].process = None;
        }
        // Whether there is to be another one is not said yet.
        let leaves_a_gap = ended && self.undecided && (asked_to_end || self.holds(&self.slots[at].service.name));
        if leaves_a_gap {
            self.slots[at].machine.on(now, Input::Want(Wanted::Down));
        }
        self.feed(at, now, input, mint, &mut orders);
        let slot = &self.slots[at];
        let did_its_job = matches!(slot.machine.state(), State::Held { done: true, .. });
        if ended && !asked_to_end && !did_its_job {
            let (service, release) = (slot.service.name.clone(), slot.release.clone());
            let words = slot.machine.last_exit().unwrap_or_default().to_owned();
            orders.push(Order::Ended { service, release, words });
        }
        if leaves_a_gap {
            let Slot { service, round, index, .. } = self.slots.remove(at);
            orders.push(Order::Vacated { service: service.name.clone(), round, index });
        }
        orders.extend(self.reconcile(now, mint));
        orders
    }

    /// Its process exists, and was given this port.
    pub fn has_port(&mut self, instance: InstanceId, port: Option<u16>) {
        self.slots.iter_mut().filter(|slot| slot.process == Some(instance)).for_each(|slot| slot.port = port);
    }

    /// [`Order::Route`] was carried out, or could not be.
    pub fn routed(
        &mut self,
        now: Duration,
        service: &ServiceName,
        release: &ReleaseName,
        result: Result<(), String>,
        mint: &mut u64,
    ) -> Vec<Order> {
        let mut orders = vec![];
        if self.routes.changed(now, service, result.is_ok())
            && let Err(why) = result
        {
            orders.push(Order::Unrouted { service: service.clone(), release: release.clone(), why });
        }
        orders.extend(self.reconcile(now, mint));
        orders
    }

    /// Takes the passing of time.
    pub fn tick(&mut self, now: Duration, mint: &mut u64) -> Vec<Order> {
        let mut orders = vec![];
        self.routes.tick(now);
        for at in 0..self.slots.len() {
            self.feed(at, now, Input::Tick, mint, &mut orders);
        }
        orders.extend(self.reconcile(now, mint));
        orders
    }

    /// Orders what may happen next towards what is wanted.
    pub fn reconcile(&mut self, now: Duration, mint: &mut u64) -> Vec<Order> {
        let mut orders = vec![];
        if self.undecided {
            return orders;
        }
        self.add_missing_slots();
        loop {
            let step = self.next_start().or_else(|| self.next_stop());
            let Some((at, wanted)) = step else { break };
            self.feed(at, now, Input::Want(wanted), mint, &mut orders);
        }
        orders.extend(self.next_routes(now));
        let slots = std::mem::take(&mut self.slots);
        let stays = |slot: &Slot| slot.process.is_some() || !slot.machine.is_gone() || self.is_wanted(slot);
        let (slots, gone): (Vec<Slot>, Vec<Slot>) = slots.into_iter().partition(stays);
        self.slots = slots;
        let vacated =
            |slot: Slot| Order::Vacated { service: slot.service.name.clone(), round: slot.round, index: slot.index };
        orders.extend(gone.into_iter().map(vacated));
        orders
    }

    /// The first wanted slot that is down and may start now.
    fn next_start(&self) -> Option<(usize, Wanted)> {
        let startable = |slot: &&Slot| {
            slot.machine.wanted() == Wanted::Down
                && self.is_wanted(slot)
                && self.dependencies_are_up(&slot.service)
                && self.may_start_beside_the_old(slot)
        };
        let slot = self.slots.iter().position(|slot| startable(&slot))?;
        Some((slot, Wanted::Up))
    }

    /// The first slot that should end and may now.
    fn next_stop(&self) -> Option<(usize, Wanted)> {
        let stoppable =
            |slot: &Slot| slot.machine.wanted() == Wanted::Up && !self.is_wanted(slot) && self.may_stop(slot);
        let slot = self.slots.iter().position(stoppable)?;
        Some((slot, Wanted::Down))
    }

    /// Where clients are to be sent from now on: services handed over by port whose new instances are all up.
    fn next_routes(&mut self, now: Duration) -> Vec<Order> {
        let Some(target) = &self.target else { return vec![] };
        let services = target.services.values().filter(|service| is_sent_to(service) && !self.holds(&service.name));
        let of_target = |service: &Arc<Service>| Some((service.clone(), target.release.clone(), self.ports(service)?));
        let ready: Vec<_> =
            services.filter_map(|service| of_target(service).or_else(|| self.best_of_the_old(service))).collect();
        let change = |(service, release, ports): (Arc<Service>, ReleaseName, Vec<u16>)| {
            let old = self.routes.change(now, &service.name, &ports)?;
            Some(Order::Route { service, release, ports, old })
        };
        ready.into_iter().filter_map(change).collect()
    }

    /// Several old rounds stand in the way of the new one, and an earlier daemon sent clients to we know not which:
    /// then to the one of which most is up, so that the others may go.
    fn best_of_the_old(&self, service: &Service) -> Option<(Arc<Service>, ReleaseName, Vec<u16>)> {
        let name = &service.name;
        let is_old = |slot: &&Slot| slot.service.name == *name && !self.is_wanted(slot);
        let several = self.slots.iter().filter(is_old).filter(|slot| slot.process.is_some());
        let rounds: BTreeSet<u64> = several.map(|slot| slot.round).collect();
        if rounds.len() < 2 || self.routes.are_known(name) {
            return None;
        }
        let best = self.fullest_round(name)?;
        let up: Vec<&Slot> =
            self.slots.iter().filter(is_old).filter(|slot| slot.serves() && slot.round == best).collect();
        let first = up.first()?;
        let ports: Vec<u16> = up.iter().filter_map(|slot| slot.port).collect();
        (is_sent_to(&first.service) && !ports.is_empty()).then(|| (first.service.clone(), first.release.clone(), ports))
    }

    /// The old round of which most serves; of equals the latest.
    fn fullest_round(&self, name: &ServiceName) -> Option<u64> {
        let mut serving: BTreeMap<u64, usize> = BTreeMap::new();
        let old = self.slots.iter().filter(|slot| slot.service.name == *name && !self.is_wanted(slot));
        old.filter(|slot| slot.serves()).for_each(|slot| *serving.entry(slot.round).or_default() += 1);
        serving.into_iter().map(|(round, count)| (count, round)).max().map(|(_, round)| round)
    }

    /// Several old rounds stand in the way of the new one, and clients are sent to another one than this.
    fn is_only_in_the_way(&self, slot: &Slot) -> bool {
        let name = &slot.service.name;
        let others = |other: &&Slot| other.service.name == *name && other.round != slot.round && !self.is_wanted(other);
        match (is_sent_to(&slot.service), slot.port) {
            _ if !self.slots.iter().filter(others).any(|other| other.process.is_some()) => false,
            (true, Some(port)) => self.routes.are_known(name) && !self.routes.include(name, port),
            _ => self.fullest_round(name).is_some_and(|fullest| fullest != slot.round),
        }
    }

    /// Two old instances share its socket's place, left by a handover that was cut off: the new one may not start beside
    /// both, so one of them makes way, and the other goes on serving.
    fn is_one_too_many(&self, slot: &Slot) -> bool {
        let name = &slot.service.name;
        let fullest = self.fullest_round(name);
        let here = |old: &&Slot| old.service.name == *name && old.index == slot.index && !self.is_wanted(old);
        let twins = || self.slots.iter().filter(here).filter(|old| old.process.is_some());
        let stays = twins().filter(|old| old.serves()).max_by_key(|old| (Some(old.round) == fullest, old.round));
        twins().count() > 1 && stays.is_some_and(|stays| stays.round != slot.round)
    }

    /// The ports of the wanted round, once all of it is up.
    fn ports(&self, service: &Service) -> Option<Vec<u16>> {
        let round = self.wanted_round.get(&service.name);
        let slots = || self.slots.iter().filter(|slot| slot.service.name == service.name && Some(&slot.round) == round);
        let port = |index: u32| slots().find(|slot| slot.index == index)?.port;
        (0..service.instances).map(port).collect::<Option<Vec<u16>>>().filter(|_| self.all_up(service))
    }

    /// Clients of every service that needs it are sent to the instances that are wanted.
    fn all_routed(&self) -> bool {
        let mut services = self.target.iter().flat_map(|target| target.services.values());
        services.all(|service| !is_sent_to(service) || self.holds(&service.name) || self.is_routed(service))
    }

    fn is_routed(&self, service: &Service) -> bool {
        !is_sent_to(service) || self.ports(service).is_some_and(|ports| self.routes.lead_to(&service.name, &ports))
    }

    fn dependencies_are_up(&self, service: &Service) -> bool {
        let Some(target) = &self.target else { return false };
        service.after.iter().all(|name| match target.services.get(name) {
            Some(dependency) if !self.holds(name) => self.all_up(dependency),
            _ => true,
        })
    }

    /// Handover, the new side: with a socket the new instance starts beside the old one, one index after the other;
    /// with ports the whole new round starts beside the old one; neither beside two (restarts in quick succession must
    /// not pile up). Otherwise all of the old round must be gone.
    fn may_start_beside_the_old(&self, slot: &Slot) -> bool {
        let mine = |old: &&Slot| old.service.name == slot.service.name && old.round != slot.round;
        let mut old = self.slots.iter().filter(mine).filter(|old| old.process.is_some());
        let is_alone = || {
            let twins = self.slots.iter().filter(mine).filter(|old| old.process.is_some() && old.index == slot.index);
            twins.count() < 2
        };
        match slot.service.handover {
            Handover::Socket => is_alone() && old.all(|old| old.index >= slot.index),
            Handover::Port => is_alone(),
            Handover::Restart => old.next().is_none(),
        }
    }

    /// Handover, the old side; and the reverse order when services go for good.
    fn may_stop(&self, slot: &Slot) -> bool {
        let name = &slot.service.name;
        let successor = self.target.as_ref().and_then(|target| target.services.get(name));
        match successor {
            // Nobody relies on it: a newer round need not wait for what it never was.
            Some(_) if slot.process.is_none() || slot.machine.never_served() => true,
            Some(service) if !self.holds(name) => match service.handover {
                Handover::Socket => {
                    let twin = slot.index.min(service.instances.saturating_sub(1));
                    self.is_up(service, twin) || self.is_one_too_many(slot)
                }
                Handover::Port => self.all_up(service) && self.is_routed(service) || self.is_only_in_the_way(slot),
                Handover::Restart => self.dependencies_are_up(service),
            },
            _ => !self
                .slots
                .iter()
                .any(|other| other.service.after.contains(name) && other.process.is_some() && !self.is_wanted(other)),
        }
    }

    fn all_up(&self, service: &Service) -> bool {
        (0..service.instances).all(|index| self.is_up(service, index))
    }

    fn is_up(&self, service: &Service, index: u32) -> bool {
        let round = self.wanted_round.get(&service.name);
        self.slots.iter().any(|slot| {
            slot.service.name == service.name
                && Some(&slot.round) == round
                && slot.index == index
                && slot.machine.is_settled_up()
        })
    }

    fn is_wanted(&self, slot: &Slot) -> bool {
        self.wanted_round.get(&slot.service.name) == Some(&slot.round) && !self.holds(&slot.service.name)
    }

    /// How many slots there are when nothing is missing.
    fn wanted_slots(&self) -> usize {
        let wanted = self.target.iter().flat_map(|target| target.services.values());
        wanted.filter(|service| !self.holds(&service.name)).map(|service| service.instances as usize).sum()
    }

    fn add_missing_slots(&mut self) {
        // Nearly always none is: this is asked after every event.
        if self.slots.iter().filter(|slot| self.is_wanted(slot)).count() == self.wanted_slots() {
            return;
        }
        let missing: Vec<Slot> = self.missing_slots().collect();
        self.slots.extend(missing);
    }

    fn missing_slots(&self) -> impl Iterator<Item = Slot> {
        let there: BTreeSet<_> = self.slots.iter().map(Slot::place).collect();
        let wanted = self.target.iter().flat_map(move |target| {
            target.services.values().map(move |service| (service, self.wanted_round[&service.name], target))
        });
        let unheld = wanted.filter(|(service, ..)| !self.holds(&service.name));
        let each = unheld.flat_map(|(service, round, target)| {
            (0..service.instances).map(move |index| (service, round, target, index))
        });
        each.filter(move |(service, round, _, index)| !there.contains(&(&service.name, *round, *index)))
            .map(|(service, round, target, index)| Slot::new(service, &target.release, target.startup, round, index))
    }

    /// Gives an input to a slot's machine and turns its deeds into orders.
    fn feed(&mut self, at: usize, now: Duration, input: Input, mint: &mut u64, orders: &mut Vec<Order>) {
        let slot = &mut self.slots[at];
        for deed in slot.machine.on(now, input) {
            match (deed, slot.process) {
                (Deed::Spawn, _) => {
                    *mint += 1;
                    let instance = InstanceId(*mint);
                    slot.process = Some(instance);
                    let (service, release) = (slot.service.clone(), slot.release.clone());
                    let (round, index, restarts) = (slot.round, slot.index, slot.machine.restarts());
                    orders.push(Order::Spawn { instance, service, release, round, index, restarts });
                }
                (Deed::Look, Some(instance)) => {
                    let (service, release) = (slot.service.clone(), slot.release.clone());
                    orders.push(Order::Look { instance, service, release, port: slot.port });
                }
                (Deed::BecameReady, Some(instance)) => orders.push(Order::BecameReady { instance }),
                (Deed::SpeaksEvery(every), Some(instance)) => orders.push(Order::SpeaksEvery { instance, every }),
                (Deed::Terminate, Some(instance)) => {
                    orders.push(Order::Terminate { instance, signal: slot.service.stop_signal });
                }
                (Deed::Abort { why }, Some(instance)) => {
                    orders.push(Order::Abort { instance, service: slot.service.name.clone(), why });
                }
                (Deed::Kill, Some(instance)) => orders.push(Order::Kill { instance }),
                (Deed::Look | Deed::BecameReady | Deed::SpeaksEvery(_), None) => {}
                (Deed::Terminate | Deed::Abort { .. } | Deed::Kill, None) => {}
                (Deed::CrashLoop { failures, words }, _) => {
                    orders.push(Order::CrashLoop { service: slot.service.name.clone(), failures, words });
                }
            }
        }
    }

    /// Slots that ended for good (`restart = "never"`) start again when a person says start.
    fn wake(&mut self, service: Option<&ServiceName>) {
        self.slots.retain(|slot| {
            let meant = service.is_none_or(|name| *name == slot.service.name);
            !(meant && slot.process.is_none() && matches!(slot.machine.state(), State::Held { .. }))
        });
    }

    /// The latest round in which `service` runs (or is on its way) as part of `release`. One of which an instance is
    /// missing is completed; one that is on its way down is not turned round.
    fn round_that_runs(&self, service: &Service, release: &ReleaseName) -> Option<u64> {
        let same = |slot: &&Slot| *slot.service == *service && slot.release == *release;
        let goes_down = |round: u64| {
            let mut mine = self.slots.iter().filter(|slot| slot.service.name == service.name && slot.round == round);
            mine.any(|slot| slot.machine.wanted() == Wanted::Down && slot.process.is_some())
        };
        let runs = self.slots.iter().filter(same).filter(|slot| slot.machine.wanted() == Wanted::Up);
        runs.map(|slot| slot.round).filter(|round| !goes_down(*round)).max()
    }

    fn new_round(&mut self) -> u64 {
        self.rounds_made += 1;
        self.rounds_made
    }
}

/// Whether its clients have to be sent to its ports.
fn is_sent_to(service: &Service) -> bool {
    service.handover == Handover::Port && service.nginx.is_some()
}

#[cfg(test)]
mod tests;
