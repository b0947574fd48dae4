//! The world as people see it: `status`, and the little of it that anybody may see.
//!
//! Pure; what only the kernel knows (memory of a process, free space) is filled in by the hands afterwards.

use super::world::{AppWorld, ListenerTls, World};
use crate::base::{AppName, Moment, ServiceName};
use crate::control::{
    AppState, AppView, DaemonView, FindingView, HostView, InstanceView, ListenerState, ListenerView, PollView,
    ProbeView, PublicApp, PublicService, PublicStatus, RunState, ServiceView, StatusReport, WaitingView,
};
use crate::deploy::Deployment;
use crate::health::{Finding, Level};
use crate::supervise::{Slot, State};
use std::collections::{BTreeMap, BTreeSet};

impl World {
    /// Everything `pintle status` shows but the host's own figures.
    pub fn status(&self, now: Moment, only: Option<&AppName>) -> StatusReport {
        let apps = self.apps.values().filter(|app| only.is_none_or(|name| *name == app.config.name));
        let version = env!("CARGO_PKG_VERSION").to_string();
        StatusReport {
            daemon: DaemonView { pid: 0, version, uptime_seconds: 0 },
            listener: self.listener_view(),
            host: Box::new(self.host_view()),
            apps: apps.map(|app| self.app_view(now, app)).collect(),
            incidents: self.incident_views(),
            notify: self.channel_views(now),
            dns: self.dns_view(now),
            notices: self.broken_files.iter().chain(&self.notices).cloned().chain(self.tls_notice(now)).collect(),
        }
    }

    /// What the listener may show; the hands add the last deployments.
    pub fn public_status(&self) -> PublicStatus {
        let apps = self.apps.values().map(|app| PublicApp {
            app: app.config.name.clone(),
            state: state_of(app),
            release: app.live.as_ref().map(|live| live.release.clone()),
            commit: app.live.as_ref().and_then(|live| live.commit.as_ref()).map(|commit| commit.to_string()),
            deploying: app.active.as_ref().map(|deployment| deployment.number),
            services: service_names(app).into_iter().map(|name| public_service(app, name)).collect(),
            deployments: vec![],
        });
        PublicStatus { apps: apps.collect() }
    }

    /// One line for `systemctl status`.
    pub fn summary(&self) -> String {
        let word = |app: &AppWorld| match &app.live {
            Some(live) => format!("{}: {} ({})", app.config.name, state_of(app), live.release),
            None => format!("{}: nothing deployed", app.config.name),
        };
        let apps: Vec<String> = self.apps.values().map(word).collect();
        let apps = if apps.is_empty() { "no app is configured".into() } else { apps.join(", ") };
        match self.board.worst() {
            Some(worst) => format!("{apps}; {}", worst.what),
            None => apps,
        }
    }

    /// The board as its sensors saw it last.
    fn host_view(&self) -> HostView {
        let readings = self.board.seen.as_ref().map(|(_, readings)| serde_json::to_value(readings));
        let mut readings = match readings {
            Some(Ok(serde_json::Value::Object(readings))) => readings,
            _ => serde_json::Map::new(),
        };
        // The hands know better how late it is.
        readings.remove("uptime_seconds");
        HostView {
            hostname: String::new(),
            uptime_seconds: 0,
            disk_free_bytes: None,
            disk_total_bytes: None,
            sensed: self.board.seen.as_ref().map(|(at, _)| at.wall),
            findings: self.board.judge.findings().into_iter().map(finding_view).collect(),
            readings,
        }
    }

    fn listener_view(&self) -> ListenerView {
        let Some(listener) = &self.listener else {
            return ListenerView { pid: None, address: None, state: ListenerState::Off, tls: None };
        };
        let up = matches!(listener.machine.state(), State::Up { .. });
        ListenerView {
            pid: listener.process.and_then(|instance| self.pids.get(&instance).copied()),
            address: Some(listener.listen.address.to_string()),
            state: if up { ListenerState::Up } else { ListenerState::Down },
            tls: listener.tls.as_ref().map(ListenerTls::view),
        }
    }

    /// What people must know of the listener's certificate.
    fn tls_notice(&self, now: Moment) -> Option<String> {
        let tls = self.listener.as_ref()?.tls.as_ref()?;
        let worry = || Some(format!("the listener's certificate {}", tls.certificate.as_ref()?.worry(now.wall)?));
        tls.trouble.clone().or_else(worry)
    }

    fn app_view(&self, now: Moment, app: &AppWorld) -> AppView {
        let services = service_names(app).into_iter().map(|name| {
            let slots = app.services.slots().iter().filter(|slot| slot.service.name == *name);
            let instances: Vec<InstanceView> = slots.map(|slot| self.instance_view(now, slot)).collect();
            let states: Vec<RunState> = instances.iter().map(|instance| instance.state).collect();
            ServiceView { service: name.clone(), state: worst(&states), instances }
        });
        let probes = app.watch.iter().flat_map(|watch| watch.looks()).map(|(name, last)| ProbeView {
            name: name.to_string(),
            healthy: last.map(|look| look.is_ok()),
            message: last.and_then(|look| look.as_ref().err()).map(|failure| failure.said.clone()),
            output: last.and_then(|look| look.as_ref().err()).and_then(|failure| failure.output.clone()),
        });
        AppView {
            app: app.config.name.clone(),
            state: state_of(app),
            release: app.live.as_ref().map(|live| live.release.clone()),
            commit: app.live.as_ref().and_then(|live| live.commit.as_ref()).map(|commit| commit.to_string()),
            deploying: app.active.as_ref().map(|deployment| deployment.number),
            waiting: app.queue.iter().map(waiting_view).collect(),
            poll: app.lookout.looks_at_all().then(|| poll_view(now, app)),
            probes: probes.collect(),
            schedules: self.schedule_views(now, app),
            services: services.collect(),
        }
    }

    fn instance_view(&self, now: Moment, slot: &Slot) -> InstanceView {
        let since = match slot.machine.state() {
            State::Starting { since, .. } | State::Up { since } => Some(*since),
            _ => None,
        };
        InstanceView {
            pid: slot.process.and_then(|instance| self.pids.get(&instance).copied()),
            state: run_state(slot.machine.state()),
            uptime_seconds: since.map(|since| now.mono.saturating_sub(since).as_secs()),
            restarts: slot.machine.restarts(),
            memory_bytes: None,
            says: slot.machine.status().map(str::to_string),
            memory_max_bytes: None,
            cpu_seconds: None,
            last_exit: slot.machine.last_exit().map(str::to_string),
            release: slot.release.clone(),
        }
    }
}

fn finding_view(finding: Finding) -> FindingView {
    let level = if finding.level == Level::Critical { "critical" } else { "warning" };
    FindingView { about: finding.about, level: level.into(), what: finding.what, advice: finding.advice }
}

/// Every service that is meant, configured or still running.
fn service_names(app: &AppWorld) -> BTreeSet<&ServiceName> {
    let target = app.services.target().into_iter().flat_map(|target| target.services.keys());
    let configured = app.config.services.keys();
    let running = app.services.slots().iter().map(|slot| &slot.service.name);
    target.chain(configured).chain(running).collect()
}

fn public_service(app: &AppWorld, name: &ServiceName) -> PublicService {
    let slots = app.services.slots().iter().filter(|slot| slot.service.name == *name);
    let states: Vec<RunState> = slots.map(|slot| run_state(slot.machine.state())).collect();
    PublicService { service: name.clone(), state: worst(&states) }
}

fn waiting_view(deployment: &Deployment) -> WaitingView {
    let commit = deployment.commit.as_ref().map(|commit| commit.to_string());
    let waits = deployment.waiting.as_ref();
    WaitingView {
        number: deployment.number,
        commit: commit.or_else(|| deployment.requested.clone()),
        reason: waits.map_or("waits for its turn".into(), |waits| waits.reason.clone()),
        until: waits.and_then(|waits| waits.until),
    }
}

fn poll_view(now: Moment, app: &AppWorld) -> PollView {
    let seen = app.lookout.seen.as_ref();
    let next = app.lookout.deadline(true).map(|at| now.wall.plus(at.saturating_sub(now.mono)));
    PollView {
        last: seen.map(|seen| seen.at),
        ok: seen.map(|seen| seen.result.is_ok()),
        result: seen.map(|seen| seen.result.clone().unwrap_or_else(|why| why)),
        next,
    }
}

/// One word for an app.
fn state_of(app: &AppWorld) -> AppState {
    if app.active.is_some() {
        return AppState::Deploying;
    }
    let Some(target) = app.services.target().filter(|_| !app.services.is_held()) else {
        return AppState::Stopped;
    };
    let mut meant = target.services.values().filter(|service| !app.services.holds(&service.name)).peekable();
    if meant.peek().is_none() && !target.services.is_empty() {
        return AppState::Stopped;
    }
    let mut ready: BTreeMap<&ServiceName, u32> = BTreeMap::new();
    for slot in app.services.slots() {
        *ready.entry(&slot.service.name).or_default() += u32::from(slot.machine.is_settled_up());
    }
    let (mut all, mut any) = (true, target.services.is_empty());
    for service in meant {
        let ready = ready.get(&service.name);
        all &= ready.is_some_and(|ready| *ready >= service.instances);
        any |= ready.is_some_and(|ready| *ready > 0);
    }
    match (all, any, &app.unwell) {
        (true, _, None) => AppState::Running,
        (_, true, _) => AppState::Degraded,
        (_, false, _) => AppState::Failed,
    }
}

fn run_state(state: &State) -> RunState {
    match state {
        State::Down => RunState::Down,
        State::Starting { .. } => RunState::Starting,
        State::Up { .. } => RunState::Up,
        State::Stopping { .. } | State::Failing { .. } => RunState::Stopping,
        State::Backoff { .. } => RunState::Backoff,
        State::Held { .. } => RunState::Held,
    }
}

/// A service is as well as its least well instance.
fn worst(states: &[RunState]) -> RunState {
    use RunState::*;
    let order = [Backoff, Held, Stopping, Starting, Down, Up];
    order.into_iter().find(|state| states.contains(state)).unwrap_or(Down)
}
