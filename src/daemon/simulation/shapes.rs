//! Apps of different shapes: handed over by socket, by port or by restart, alone or in order, watched or not.

use super::random::Random;
use crate::base::{AppName, Bytes, ScheduleName, ServiceName};
use crate::config::{
    Address, App, At, Backup, Command, Config, Deploy, Forge, Handover, Host, Listen, Nginx, Probe, ProbeTarget, Rate,
    Ready, Rehearsal, RehearsalData, Repair, Restart, Schedule, Secret, Service, Source, Step, StepPhase, TimeOfDay,
    Trigger, TriggerEvent, When, Window,
};
use std::collections::BTreeMap;
use std::time::Duration;

/// The same apps, or all but one of them, as they are meant from now on.
pub(super) fn other_config(random: &mut Random, names: &[AppName], host: &Host) -> Config {
    let shapes = [shop(random), clinic(random), tiny(random), portal(random)];
    let without = random.percent(40).then(|| random.pick(names).clone()).filter(|_| names.len() > 1);
    let apps = shapes.into_iter().filter(|app| names.contains(&app.name) && Some(&app.name) != without.as_ref());
    Config { dir: "/etc/pintle".into(), host: host.clone(), apps: apps.map(|app| (app.name.clone(), app)).collect() }
}

/// One app that waits at no gate, and no listener.
pub(in crate::daemon) fn one_app() -> Config {
    let mut app = tiny(&mut Random::new(1));
    app.trigger = Trigger { rate_limit: None, window: None, approval: false, poll: None, ..app.trigger };
    let (state_dir, runtime_dir) = ("/var/lib/pintle".into(), "/run/pintle".into());
    let host = Host {
        state_dir,
        runtime_dir,
        listen: None,
        control_group: None,
        notify: Default::default(),
        duckdns: None,
        variables: vec![],
        health: Default::default(),
    };
    Config { dir: "/etc/pintle".into(), host, apps: [(app.name.clone(), app)].into() }
}

/// One to three apps of different shapes.
pub(super) fn config(random: &mut Random) -> Config {
    let shapes = [shop(random), clinic(random), tiny(random), portal(random)];
    let several = 1 + random.below(3) as usize;
    let first = random.below(4) as usize;
    let chosen = shapes.into_iter().cycle().skip(first).take(several);
    Config {
        dir: "/etc/pintle".into(),
        host: Host {
            state_dir: "/var/lib/pintle".into(),
            runtime_dir: "/run/pintle".into(),
            listen: random.percent(50).then(listen),
            control_group: None,
            notify: super::peers::channels(),
            duckdns: None,
            variables: vec![],
            health: crate::config::HostHealth::default(),
        },
        apps: chosen.map(|app| (app.name.clone(), app)).collect(),
    }
}

/// A web service handed over by port and one that needs it.
fn portal(random: &mut Random) -> App {
    let mut app = app("portal", random);
    app.steps = [StepPhase::Migrate].map(step).into();
    let proxied = random.percent(85).then(nginx);
    let web = Service { nginx: proxied, ..service("web", Handover::Port, 1 + random.below(3) as u32, &[]) };
    let mail = service("mail", Handover::Restart, 1, &["web"]);
    app.services = [web, mail].map(|it| manners(random, it)).map(|it| (it.name.clone(), it)).into();
    app
}

/// A web service handed over by socket and a worker behind it; every phase has something to do.
fn shop(random: &mut Random) -> App {
    let mut app = app("shop", random);
    app.steps =
        [StepPhase::Build, StepPhase::Test, StepPhase::Migrate, StepPhase::Smoke, StepPhase::After].map(step).into();
    let web =
        Service { listen: vec![address(random)], ..service("web", Handover::Socket, 1 + random.below(3) as u32, &[]) };
    let worker = service("worker", Handover::Restart, 1 + random.below(2) as u32, &["web"]);
    app.services = [web, worker].map(|it| manners(random, it)).map(|it| (it.name.clone(), it)).into();
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
    let web = Service { listen: vec![address(random)], ..web };
    let db = service("db", Handover::Restart, 1, &[]);
    app.services = [once, worker, web, db].map(|it| manners(random, it)).map(|it| (it.name.clone(), it)).into();
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
            secrets: if random.percent(50) { vec![Secret(b"shh".to_vec())] } else { vec![] },
            on: vec![TriggerEvent::Push],
            workflow: None,
            workflow_events: vec![],
            repository: None,
            generic: None,
            poll: random.pick(&[None, None, Some(60), Some(300), Some(1800)]).map(Duration::from_secs),
            rate_limit: random.percent(25).then(|| rate(random)),
            window: random.percent(25).then(|| window(random)),
            approval: random.percent(20),
        },
        commit_status: None,
        deploy: Deploy {
            timeout: Duration::from_secs(*random.pick(&[60, 300])),
            probation: Duration::from_secs(*random.pick(&[5, 30])),
            startup: Duration::from_secs(*random.pick(&[10, 60])),
            nice: 10,
            migrate_stopped: false,
        },
        rehearsal: Rehearsal { shared: RehearsalData::Copy, env: BTreeMap::new(), off: None },
        steps: vec![],
        schedules: schedules(random),
        services: BTreeMap::new(),
        probes: vec![Probe {
            name: "health".into(),
            target: ProbeTarget::Tcp("127.0.0.1:5000".into()),
            every: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
            failures: 3,
            grace: Duration::from_secs(*random.pick(&[0, 0, 20])),
        }],
        repair: Repair {
            units: if random.percent(30) { vec!["postgresql.service".into()] } else { vec![] },
            reboots_per_day: *random.pick(&[0, 0, 1, 2]),
        },
        backup: Backup { paths: vec![], sqlite: vec![], keep: 5, keep_for: None, before_deploy: true },
        definition: toml::Table::new(),
    }
}

/// What runs by the clock: in an interval, or at a time of day.
fn schedules(random: &mut Random) -> Vec<Schedule> {
    let minutes = |minutes: u64| When::Every(Duration::from_secs(60 * minutes));
    let often = schedule("tidy", minutes(*random.pick(&[10, 30])));
    let time = TimeOfDay { hour: random.below(24) as u8, minute: *random.pick(&[0, 30]) };
    let nightly = schedule("digest", When::At(At { day: None, time }));
    [often, nightly].into_iter().filter(|_| random.percent(40)).collect()
}

fn schedule(name: &str, when: When) -> Schedule {
    let name = ScheduleName::new(name).expect("a label");
    let (run, timeout) = (Command::Shell("true".into()), Duration::from_secs(3600));
    Schedule { name, when, run, timeout, env: BTreeMap::new() }
}

fn rate(random: &mut Random) -> Rate {
    Rate { count: 1 + random.below(3) as u32, per: Duration::from_secs(*random.pick(&[60, 600, 3600])) }
}

/// Of whole quarters of an hour, often over midnight. A clock that is set is noticed within the hour: so long it is open.
fn window(random: &mut Random) -> Window {
    let from = random.below(96);
    let to = (from + 5 + random.below(91)) % 96;
    let [from, to] =
        [from, to].map(|quarter| TimeOfDay { hour: (quarter / 4) as u8, minute: (quarter % 4 * 15) as u8 });
    Window { from, to }
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

fn nginx() -> Nginx {
    let command = || Command::Argv(vec!["nginx".into()]);
    Nginx { file: "web.conf".into(), upstream: "web".into(), test: command(), reload: command() }
}

/// How it shows that it is ready, and whether it promises to speak.
fn manners(random: &mut Random, service: Service) -> Service {
    if service.restart == Restart::Never {
        return service;
    }
    let ready = *random.pick(&[Ready::Exec, Ready::Exec, Ready::Notify, Ready::Probe]);
    let watchdog = *random.pick(&[None, None, Some(30), Some(120), Some(600)]);
    Service { ready, watchdog: watchdog.map(Duration::from_secs), ..service }
}

/// Where it listens may change with the configuration.
fn address(random: &mut Random) -> Address {
    Address::Unix(random.pick(&["/run/web.sock", "/run/www.sock"]).into())
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
        tls: None,
        dashboard: true,
        token: None,
    }
}
