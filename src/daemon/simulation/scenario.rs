//! What there is to simulate: apps of different shapes, commits with their hidden faults, and what people, forges and
//! the machine do to a daemon.

use super::Simulation;
use super::random::Random;
use crate::base::{AppName, Bytes, CommitId, DeployId, ServiceName};
use crate::config::{
    Address, App, Backup, Command, Config, Deploy, Forge, Handover, Host, Listen, Probe, ProbeTarget, Rate, Ready,
    Rehearsal, RehearsalData, Restart, Service, Source, Step, StepPhase, Trigger, TriggerEvent,
};
use crate::control::{self, Delivery, DeployAsked, Request, Want};
use crate::daemon::event::Event;
use std::collections::BTreeMap;
use std::time::Duration;

/// What is wrong with a commit; shows itself only when it is deployed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    Build,
    Test,
    Rehearsal,
    Migrate,
    Smoke,
    /// Its processes cannot be executed.
    Exec,
    /// Its processes end soon after their start.
    Crash,
    /// Its probes never pass.
    Unhealthy,
    /// Its probes pass at first.
    SickLater,
    /// A piece of its work never ends by itself.
    Hang,
}

/// An app's branch: commit `n + 1` is a child of commit `n`.
#[derive(Debug, Default)]
pub(super) struct Branch {
    faults: Vec<Fault>,
}

impl Branch {
    pub(super) fn grow(&mut self, random: &mut Random) -> CommitId {
        use Fault::*;
        let faults = [Build, Test, Rehearsal, Migrate, Smoke, Exec, Crash, Unhealthy, SickLater, Hang];
        let fault = if random.percent(60) { None } else { *random.pick(&faults) };
        self.faults.push(fault);
        commit(self.faults.len())
    }
    pub(super) fn tip(&self) -> CommitId {
        commit(self.faults.len())
    }
    pub(super) fn any(&self, random: &mut Random) -> CommitId {
        commit(1 + random.below(self.faults.len() as u64) as usize)
    }
    pub(super) fn fault(&self, commit: &CommitId) -> Fault {
        self.faults[place(commit) - 1]
    }
}

fn commit(place: usize) -> CommitId {
    CommitId::new(format!("{place:07x}{:033x}", 1)).expect("hex digits")
}

/// Where a commit stands in its branch; a smaller one is an ancestor.
pub(super) fn place(commit: &CommitId) -> usize {
    usize::from_str_radix(commit.short(), 16).expect("made by `commit`")
}

/// The same apps, or all but one of them, as they are meant from now on.
pub(super) fn other_config(random: &mut Random, names: &[AppName], host: &Host) -> Config {
    let shapes = [shop(random), clinic(random), tiny(random)];
    let without = random.percent(40).then(|| random.pick(names).clone()).filter(|_| names.len() > 1);
    let apps = shapes.into_iter().filter(|app| names.contains(&app.name) && Some(&app.name) != without.as_ref());
    Config { dir: "/etc/pintle".into(), host: host.clone(), apps: apps.map(|app| (app.name.clone(), app)).collect() }
}

/// One to three apps of different shapes.
pub(super) fn config(random: &mut Random) -> Config {
    let shapes = [shop(random), clinic(random), tiny(random)];
    let several = 1 + random.below(3) as usize;
    let first = random.below(3) as usize;
    let chosen = shapes.into_iter().cycle().skip(first).take(several);
    Config {
        dir: "/etc/pintle".into(),
        host: Host {
            state_dir: "/var/lib/pintle".into(),
            runtime_dir: "/run/pintle".into(),
            listen: random.percent(50).then(listen),
            control_group: None,
        },
        apps: chosen.map(|app| (app.name.clone(), app)).collect(),
    }
}

/// A web service handed over by socket and a worker behind it; every phase has something to do.
fn shop(random: &mut Random) -> App {
    let mut app = app("shop", random);
    app.steps =
        [StepPhase::Build, StepPhase::Test, StepPhase::Migrate, StepPhase::Smoke, StepPhase::After].map(step).into();
    let web = service("web", Handover::Socket, 1 + random.below(3) as u32, &[]);
    let worker = service("worker", Handover::Restart, 1 + random.below(2) as u32, &["web"]);
    app.services = [web, worker].map(|service| (service.name.clone(), service)).into();
    app
}

/// A chain of services, one of which ends by itself, and migrations that need the old release stopped.
fn clinic(random: &mut Random) -> App {
    let mut app = app("clinic", random);
    app.steps = [StepPhase::Build, StepPhase::Migrate].map(step).into();
    app.deploy.migrate_stopped = true;
    let once = Service { restart: Restart::Never, ..service("cache", Handover::Restart, 1, &["db"]) };
    let worker = Service { restart: Restart::OnFailure, ..service("worker", Handover::Restart, 1, &["web", "cache"]) };
    let web = service("web", Handover::Socket, 1 + random.below(2) as u32, &["db"]);
    let db = service("db", Handover::Restart, 1, &[]);
    app.services = [once, worker, web, db].map(|service| (service.name.clone(), service)).into();
    app
}

/// One process, no steps, no probes, no probation.
fn tiny(random: &mut Random) -> App {
    let mut app = app("tiny", random);
    app.probes.clear();
    app.deploy.probation = Duration::ZERO;
    app.backup.before_deploy = false;
    let only = Service { rehearse: false, ..service("main", Handover::Restart, 1, &[]) };
    app.services = [(only.name.clone(), only)].into();
    app
}

fn app(name: &str, random: &mut Random) -> App {
    App {
        name: AppName::new(name).expect("a label"),
        source: Source {
            git: "/srv/git/it.git".into(),
            branch: "main".into(),
            keep_releases: 2 + random.below(3) as u32,
            shared: vec!["data".into()],
            subdirectory: "".into(),
            submodules: false,
            lfs: false,
            access: Default::default(),
        },
        user: None,
        trigger: Trigger {
            forge: Forge::Github,
            secrets: vec![],
            on: vec![TriggerEvent::Push],
            workflow: None,
            workflow_events: vec![],
            repository: None,
        },
        deploy: Deploy {
            timeout: Duration::from_secs(*random.pick(&[60, 300])),
            probation: Duration::from_secs(*random.pick(&[5, 30])),
            startup: Duration::from_secs(*random.pick(&[10, 60])),
            nice: 10,
            migrate_stopped: false,
        },
        rehearsal: Rehearsal { shared: RehearsalData::Copy, env: BTreeMap::new(), off: None },
        steps: vec![],
        services: BTreeMap::new(),
        probes: vec![Probe {
            name: "health".into(),
            target: ProbeTarget::Tcp("127.0.0.1:5000".into()),
            every: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
            failures: 3,
        }],
        backup: Backup { paths: vec![], sqlite: vec![], keep: 5, keep_for: None, before_deploy: true },
        definition: toml::Table::new(),
    }
}

fn step(phase: StepPhase) -> Step {
    Step {
        name: format!("{phase:?}").to_lowercase(),
        phase,
        run: Command::Shell("true".into()),
        timeout: Duration::from_secs(60),
        warn_only: false,
        env: BTreeMap::new(),
    }
}

fn service(name: &str, handover: Handover, instances: u32, after: &[&str]) -> Service {
    let label = |name: &str| ServiceName::new(name).expect("a label");
    Service {
        name: label(name),
        run: Command::Argv(vec![name.into()]),
        listen: vec![],
        handover,
        nginx: None,
        rehearse: handover == Handover::Socket,
        instances,
        after: after.iter().map(|name| label(name)).collect(),
        restart: Restart::Always,
        stop_signal: 15,
        stop_timeout: Duration::from_secs(10),
        watchdog: None,
        ready: Ready::Exec,
        user: None,
        no_new_privs: true,
        private_tmp: false,
        env: BTreeMap::new(),
        env_file: vec![],
        memory_max: None,
        log_max: Bytes(1 << 20),
        log_keep: 1,
    }
}

fn listen() -> Listen {
    Listen {
        address: Address::Unix("/run/pintle/hooks.sock".into()),
        user: None,
        max_body: Bytes(1 << 20),
        memory_budget: Bytes(1 << 20),
        connections: 16,
        header_timeout: Duration::from_secs(5),
        body_timeout: Duration::from_secs(5),
        rate_limit: Rate { count: 30, per: Duration::from_secs(60) },
        trust_forwarded: vec![],
        token: None,
    }
}

impl Simulation {
    /// Something comes from outside, at this moment.
    pub(super) fn stimulate(&mut self) {
        let names: Vec<AppName> = self.config.apps.keys().cloned().collect();
        let app = self.random.pick(&names).clone();
        match self.random.below(100) {
            0..30 => self.deliver_something(app),
            30..40 => self.repeat_a_delivery(),
            40..52 => self.ask_for_a_deploy(app),
            52..56 => {
                let to = self.random.percent(30).then(|| self.some_release(&app)).flatten();
                let with_data = self.random.percent(30);
                self.ask(Request::Rollback { app, to, with_data });
            }
            56..58 => self.ask(Request::BackupCreate { app }),
            58..60 => {
                let id = self.a_backup();
                self.ask(Request::BackupRestore { app, id });
            }
            60..66 => {
                let recent = 1 + self.random.below(5);
                let newest = self.promises.rows.keys().next_back().map_or(0, |number| number.0);
                self.ask(Request::Cancel { number: DeployId(newest.saturating_sub(recent - 1)) });
            }
            66..69 => {
                let commit = self.branches[&app].any(&mut self.random).to_string();
                self.ask(Request::Forgive { app, commit });
            }
            69..78 => {
                let services: Vec<ServiceName> = self.config.apps[&app].services.keys().cloned().collect();
                let service = self.random.percent(50).then(|| self.random.pick(&services).clone());
                let verb = self.random.below(5);
                self.ask(match verb {
                    0..2 => Request::Stop { app, service },
                    2..4 => Request::Start { app, service },
                    _ => Request::Restart { app, service },
                });
            }
            78..80 => {
                self.stops_asked += 1;
                self.turn(Event::Stop);
            }
            80..84 => self.crash("the daemon is killed"),
            84..86 => self.power_cut(),
            86..90 => self.jump(),
            90..92 => self.fill_the_disk(),
            92..98 => self.kill_a_process(),
            98 => self.reconfigure(),
            _ => self.ask(Request::Status { app: None }),
        }
    }

    /// SIGHUP after the files were changed.
    fn reconfigure(&mut self) {
        let names: Vec<AppName> = self.branches.keys().cloned().collect();
        self.config = other_config(&mut self.random, &names, &self.config.host);
        let gone = names.iter().filter(|name| !self.config.apps.contains_key(*name));
        gone.for_each(|name| self.promises.forget_app(name));
        self.promises.meddle_with(&names);
        let found = if self.world.is_some() { self.found() } else { BTreeMap::new() };
        self.turn(Event::Reconfigured { config: Box::new(self.config.clone()), found });
    }

    fn deliver_something(&mut self, app: AppName) {
        let branch = self.branches.get_mut(&app).expect("every app has one");
        let commit = match self.random.below(10) {
            0..7 => branch.grow(&mut self.random),
            7 => branch.tip(),
            _ => branch.any(&mut self.random),
        };
        let webhook = self.random.percent(85);
        self.deliveries_made += 1;
        let delivery = Delivery {
            id: webhook.then(|| format!("delivery-{}", self.deliveries_made)),
            trigger: if webhook { control::Trigger::Webhook } else { control::Trigger::Deploy },
            event: "push".into(),
            wants: vec![Want { app, commit }],
        };
        self.deliver(delivery.clone());
        if self.random.percent(10) {
            self.deliver(delivery.clone());
        }
        self.past_deliveries.push(delivery);
    }

    fn repeat_a_delivery(&mut self) {
        if self.past_deliveries.is_empty() {
            return;
        }
        let recent = self.past_deliveries.len().saturating_sub(5);
        let again = self.random.pick(&self.past_deliveries[recent..]).clone();
        self.deliver(again);
    }

    fn deliver(&mut self, delivery: Delivery) {
        self.ask(Request::Deliver(delivery));
    }

    fn ask_for_a_deploy(&mut self, app: AppName) {
        let commit = match self.random.below(3) {
            0 => None,
            1 => Some(self.branches[&app].tip().to_string()),
            _ => Some(self.branches[&app].any(&mut self.random).to_string()),
        };
        let (force, backup_only) = (self.random.percent(30), self.random.percent(5));
        let trigger = control::Trigger::Cli;
        self.ask(Request::Deploy(DeployAsked { app, commit, force, backup_only, trigger }));
    }
}
