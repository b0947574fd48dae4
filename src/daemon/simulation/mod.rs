//! The daemon's pure core in a simulated world: a seeded, deterministic run of deploy, supervise and the diary.
//!
//! A [`Simulation`] carries out what `World::turn` asks for in virtual time - on a disk, with processes, workers, probes
//! and a diary that all answer late, fail, or are cut off between any two actions - while people, forges and the
//! machine do their worst. After every step it is held to the promises in `invariants`; at the end the host turns well
//! behaved and everything must come to rest. A run that breaks a promise is run again and told line by line.
//!
//! ```text
//! random     chance that can be repeated
//! shapes      apps of different shapes
//! scenario    commits with hidden faults, what comes from outside
//! host        time, and the turns of the loop
//! life        the daemon's end, and what its successor finds
//! processes   the apps' processes: born, ready, hung, dead - with a daemon or without
//! voices      what they say of themselves
//! proxy       where clients are sent
//! peers       those who are told what happened
//! board       what the sensors tell
//! schedules   what runs by the clock, and what must never be untrue of it
//! polls       the network, and what looks at branches see
//! work        what workers do to the disk
//! journal     the diary, written late
//! invariants  what must never be untrue of deployments
//! gates       what must never be untrue of deployments that wait
//! supervision what must never be untrue of processes
//! rest        what must be true when nothing is left to do
//! trace       a run in words
//! ```
//! `PINTLE_SEED` runs one seed, `PINTLE_SEEDS` so many, `PINTLE_STEPS` each so far.

mod board;
mod gates;
mod host;
mod invariants;
mod journal;
mod life;
mod peers;
mod polls;
mod processes;
mod proxy;
mod random;
mod rest;
mod scenario;
mod schedules;
pub(super) mod shapes;
mod supervision;
mod trace;
mod voices;
mod work;

use host::Due;
use journal::Journal;
use processes::Process;
use random::Random;
use scenario::Branch;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use trace::Trace;
use work::{Busy, Disk};

use super::world::World;
use crate::base::{AppName, DeployId, Moment, ServiceName, WallTime};
use crate::config::{Address, Config};
use crate::control::Delivery;

/// One run.
struct Simulation {
    random: Random,
    now: Moment,
    config: Config,
    branches: BTreeMap<AppName, Branch>,
    /// `None` while no daemon runs.
    world: Option<World>,
    /// When somebody starts it again.
    starts_at: Duration,
    schedule: BTreeMap<(Duration, u64), Due>,
    scheduled: u64,
    journal: Journal,
    disks: BTreeMap<AppName, Disk>,
    /// What runs, by pid; no pid is used again.
    processes: BTreeMap<u32, Process>,
    pids_made: u32,
    /// What ended and the daemon has not heard of yet, and whether it ended well.
    unheard: BTreeMap<u32, (Process, bool)>,
    /// The daemon is becoming a new program.
    is_replaced: bool,
    /// The ports of services' places, by round and index.
    ports: BTreeMap<(AppName, ServiceName, u64, u32), u16>,
    ports_made: u16,
    /// The sockets that the daemon holds for services.
    sockets: BTreeSet<Address>,
    /// Where the proxy sends clients.
    proxy: BTreeMap<(AppName, ServiceName), Vec<u16>>,
    works: BTreeMap<DeployId, Busy>,
    /// Those who are told, and what was written down for them.
    peers: peers::Peers,
    /// Scheduled commands that run, and what was begun in this daemon's life.
    commands: schedules::Commands,
    backups_made: u64,
    deliveries_made: u64,
    requests_made: u64,
    /// SIGTERMs since the daemon's start.
    stops_asked: u32,
    /// No repository can be reached, since the network went.
    is_dark: bool,
    /// What the sensors told the daemon that runs.
    told: board::Told,
    past_deliveries: Vec<Delivery>,
    /// The host behaves well and nothing comes from outside.
    calm: bool,
    turns: u64,
    turns_at_this_instant: u32,
    promises: invariants::Promises,
    broken: Option<String>,
    trace: Trace,
}

/// So long may everything take to come to rest, once the host behaves well.
const PATIENCE: Duration = Duration::from_secs(12 * 3600);

impl Simulation {
    fn new(seed: u64, trace: Trace) -> Simulation {
        let mut random = Random::new(seed);
        let config = shapes::config(&mut random);
        let mut branches: BTreeMap<AppName, Branch> = BTreeMap::new();
        for name in config.apps.keys() {
            branches.entry(name.clone()).or_default().grow(&mut random);
        }
        Simulation {
            now: Moment { mono: Duration::from_secs(100), wall: WallTime(1_761_336_000_000) },
            disks: config.apps.keys().map(|name| (name.clone(), Disk::default())).collect(),
            random,
            config,
            branches,
            world: None,
            starts_at: Duration::from_secs(100),
            schedule: BTreeMap::new(),
            scheduled: 0,
            journal: Journal::default(),
            processes: BTreeMap::new(),
            pids_made: 1000,
            unheard: BTreeMap::new(),
            is_replaced: false,
            ports: BTreeMap::new(),
            ports_made: 0,
            sockets: BTreeSet::new(),
            proxy: BTreeMap::new(),
            works: BTreeMap::new(),
            peers: Default::default(),
            commands: Default::default(),
            backups_made: 0,
            deliveries_made: 0,
            requests_made: 0,
            stops_asked: 0,
            is_dark: false,
            told: board::Told::default(),
            past_deliveries: vec![],
            calm: false,
            turns: 0,
            turns_at_this_instant: 0,
            promises: Default::default(),
            broken: None,
            trace,
        }
    }

    /// `steps` steps, then peace. Says which promise was broken.
    fn run(&mut self, steps: u64) -> Option<String> {
        for step in 0..steps {
            if self.broken.is_some() {
                break;
            }
            // Now and then all is quiet for a while: then everything must be as it should.
            match step % 500 == 499 {
                true => self.come_to_rest(),
                false => self.step(),
            }
        }
        if self.broken.is_none() {
            self.come_to_rest();
        }
        self.broken.take()
    }

    /// The host behaves well until nothing is left to do.
    fn come_to_rest(&mut self) {
        self.trace.note(self.now, || "-- from here on the host behaves well".into());
        self.calm = true;
        self.journal.full = false;
        self.network_comes_back();
        self.settle();
        self.let_every_branch_be_looked_at();
        self.settle();
        if self.broken.is_none() {
            self.flush_the_journal();
            self.check_polls();
            self.check_at_rest();
            self.check_everybody_was_told();
            self.check_idling();
        }
        self.calm = false;
        self.trace.note(self.now, || "-- from here on anything goes".into());
    }

    /// Lets happen what is left to do.
    fn settle(&mut self) {
        let until = self.now.mono + PATIENCE;
        while self.broken.is_none() && !self.is_at_rest() {
            if self.now.mono > until || self.has_nothing_to_do() {
                let why = self.what_is_left();
                self.promises_broken(|| format!("everything settles once the host behaves well: {why}"));
            }
            if self.only_gates_are_left() {
                self.let_begin_what_waits();
            }
            self.step();
        }
    }
}

/// A number given by whoever runs the tests.
fn given(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Runs one seed; a broken promise, or a panic, is told with the steps that led to it.
fn hold(seed: u64, steps: u64) {
    let outcome = catch_unwind(AssertUnwindSafe(|| Simulation::new(seed, Trace::off()).run(steps)));
    if matches!(outcome, Ok(None)) {
        return;
    }
    let trace = Trace::on();
    let told = trace.clone();
    let again = catch_unwind(AssertUnwindSafe(|| Simulation::new(seed, trace).run(steps)));
    let broken = match again {
        Ok(broken) => broken.unwrap_or_else(|| "it broke once and not again: the core is not deterministic".into()),
        Err(_) => "the core panicked (see above)".into(),
    };
    panic!("\n{}\nbroken: {broken}\nagain: PINTLE_SEED={seed} PINTLE_STEPS={steps} cargo test simulation", told.text());
}

fn hold_many(seeds: u64, steps: u64) {
    let steps = given("PINTLE_STEPS").unwrap_or(steps);
    if let Some(seed) = given("PINTLE_SEED") {
        return hold(seed, steps);
    }
    let seeds = given("PINTLE_SEEDS").unwrap_or(seeds);
    let next = AtomicU64::new(given("PINTLE_FIRST_SEED").unwrap_or(0));
    let hold_some = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return;
            }
            hold(seed, steps);
        }
    };
    // Each seed is a world of its own, and a core of its own makes a million of steps a matter of minutes.
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(hold_some))));
}

#[test]
fn whatever_happens_the_promises_hold() {
    hold_many(300, 1_000);
}

#[test]
#[ignore = "takes minutes: for the nightly run"]
fn whatever_happens_for_a_million_steps_the_promises_hold() {
    hold_many(1_000, 2_500);
}
