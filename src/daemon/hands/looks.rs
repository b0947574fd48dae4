//! Looks at what runs - a probe of the live release, whether a starting instance is ready - and sends clients to new
//! ports. Each takes as long as it takes, on a thread of its own.

use super::Hands;
use crate::base::{AppName, InstanceId, ReleaseName, ServiceName};
use crate::config::{Address, App, Probe, ProbeTarget, Service};
use crate::daemon::event::Event;
use crate::daemon::work::{self, Aim, Bench};
use crate::health::Failure;
use crate::os::cancel::Cancel;
use crate::os::command::Spec;
use crate::os::probe;
use crate::runtime::{environment, nginx};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// A starting instance is asked for so long at most; then it is asked again.
const LOOK: Duration = Duration::from_secs(2);
/// One that has not answered in the longer look gets this much more.
const BRIEFLY: Duration = Duration::from_millis(250);
/// A program that has not answered on the socket of its own for so long, while others answer on the shared one, does
/// not serve every socket it is given. It is believed then: connections wait in the shared one, whoever accepts them.
const DEAF: Duration = Duration::from_secs(10);
/// Testing or reloading nginx takes at most so long.
const NGINX: Duration = Duration::from_secs(20);
/// nginx's old workers still accept for a moment after a reload.
const SETTLE: Duration = Duration::from_secs(1);

impl Hands {
    /// Looks at the live release.
    pub(super) fn probe(&self, app: AppName, watch: u64, index: usize, probe: Probe, release: ReleaseName) {
        let bench = self.bench.clone();
        let definition = self.config.apps.get(&app).cloned();
        let failed = Event::Probed { app: app.clone(), watch, index, result: Err("no thread could be started".into()) };
        let look = move || {
            let result = probe_once(&bench, definition.as_ref(), &app, &probe, &release);
            bench.post.send(Event::Probed { app, watch, index, result });
        };
        if let Some(event) = self.on_a_thread("probe", failed, look) {
            self.post().send(event);
        }
    }

    /// Looks whether a starting instance answers.
    pub(super) fn look(&self, app: &App, instance: InstanceId, service: &Service, port: Option<u16>) -> Option<Event> {
        let running = self.running.get(&instance)?;
        let own = running.check.as_ref().map(|check| check.address().clone());
        let (since, patience) = (running.since, DEAF.min(app.deploy.startup / 2));
        let by_port = port.map(|port| Address::Tcp(([127, 0, 0, 1], port).into()));
        let shared = service.listen.first().cloned();
        let alone = own.clone().or(by_port).or_else(|| shared.clone());
        let missing = || Err(format!("{} has no address to look at", service.name));
        let Some(address) = alone else { return Some(Event::Looked { instance, result: missing() }) };
        let probes = readiness_probes(app, service);
        let name = format!("{}: {}", app.name, service.name);
        let post = self.post().clone();
        let fallback = Event::Looked { instance, result: Err("no thread could be started".into()) };
        self.on_a_thread("look", fallback, move || {
            let mut result = look_at(&probes, &address);
            // Asked when that look is over: it may itself have taken long.
            let may_be_deaf = own.is_some() && since.elapsed() >= patience;
            if let (Err(why), Some(shared), true) = (&result, shared, may_be_deaf)
                && is_silent(&probes, &address)
                && look_at(&probes, &shared).is_ok()
            {
                log::warn!(
                    "{name}: it does not answer on the second socket it was given ({why}); it is taken for ready because \
                     {shared} answers. Let the program serve every socket in LISTEN_FDS, or use ready = \"notify\""
                );
                result = Ok(());
            }
            post.send(Event::Looked { instance, result });
        })
    }

    /// Sends clients to `ports`, and returns when nobody is at the old ones any more.
    pub(super) fn route(
        &self,
        app: Arc<App>,
        service: Arc<Service>,
        release: ReleaseName,
        ports: Vec<u16>,
        old: Vec<u16>,
    ) -> Option<Event> {
        let bench = self.bench.clone();
        let (name, which) = (app.name.clone(), service.name.clone());
        let done =
            |release: ReleaseName, result| Event::Routed { app: name.clone(), service: which.clone(), release, result };
        let fallback = done(release.clone(), Err("no thread could be started".into()));
        let (name, which) = (name.clone(), which.clone());
        self.on_a_thread("route", fallback, move || {
            let result = route_now(&bench, &app.name, &service, &ports, &old).map_err(|error| error.to_string());
            bench.post.send(Event::Routed { app: name, service: which, release, result });
        })
    }
}

fn route_now(bench: &Bench, app: &AppName, service: &Service, ports: &[u16], old: &[u16]) -> io::Result<()> {
    let Some(nginx) = &service.nginx else { return Ok(()) };
    let cancel = Cancel::new()?;
    // A daemon before us may have sent clients elsewhere.
    let before = nginx::routed_ports(&bench.place, app, nginx).into_iter().chain(old.iter().copied());
    let left: Vec<u16> = before.filter(|port| !ports.contains(port)).collect();
    let routed = nginx::write_and_reload(&bench.place, app, nginx, ports, NGINX, &cancel)?;
    if routed == nginx::Routed::Switched && !left.is_empty() {
        let patience = service.stop_timeout.max(SETTLE);
        if !nginx::drain(&left, SETTLE, patience, &cancel) {
            log::warn!(
                "{app}: {}: the old instances still had connections after {} s",
                service.name,
                patience.as_secs()
            );
        }
    }
    Ok(())
}

/// The probes that look at this service, each with the path it asks for.
fn readiness_probes(app: &App, service: &Service) -> Vec<(Probe, String)> {
    let of_service = |probe: &Probe| match &probe.target {
        ProbeTarget::Service { service: named, path, .. } => (*named == service.name).then(|| path.clone()),
        ProbeTarget::Http { url, .. } => {
            let rest = url.strip_prefix("http://")?;
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let mine = service.listen.iter().any(|address| work::is_at(authority, address));
            mine.then(|| if path.is_empty() { "/".into() } else { path.into() })
        }
        ProbeTarget::Tcp(_) | ProbeTarget::Run(_) | ProbeTarget::Alive(_) => None,
    };
    app.probes.iter().filter_map(|probe| Some((probe.clone(), of_service(probe)?))).collect()
}

/// Nobody says anything there: who answers that it is sick is not deaf.
fn is_silent(probes: &[(Probe, String)], address: &Address) -> bool {
    !probes.iter().any(|(_, path)| probe::answers_at(address, path, BRIEFLY))
}

/// All probes there, or that somebody listens.
fn look_at(probes: &[(Probe, String)], address: &Address) -> Result<(), String> {
    let cancel = Cancel::new().map_err(|error| error.to_string())?;
    if probes.is_empty() {
        return match address {
            Address::Tcp(address) => probe::tcp(&address.to_string(), LOOK),
            Address::Unix(path) => {
                std::os::unix::net::UnixStream::connect(path).map(drop).map_err(|error| error.to_string())
            }
        };
    }
    probes.iter().try_for_each(|(probe, path)| {
        let probe = Probe { timeout: probe.timeout.min(LOOK), ..probe.clone() };
        let name = probe.name.clone();
        work::look(&Aim { probe, at: Some((address.clone(), path.clone())) }, &cancel, None)
            .map_err(|failure| format!("{name}: {}", failure.said))
    })
}

/// One look at the live release: at every instance, where each has a port of its own.
fn probe_once(
    bench: &Bench,
    app: Option<&App>,
    name: &AppName,
    probe: &Probe,
    release: &ReleaseName,
) -> Result<(), Failure> {
    let cancel = Cancel::new().map_err(|error| error.to_string())?;
    let command = match (&probe.target, app) {
        (ProbeTarget::Run(command), Some(app)) => {
            let user = environment::user(app.user.as_deref()).map_err(|error| error.to_string())?;
            let mut env =
                environment::of_release(app, release, None, user.as_ref()).map_err(|error| error.to_string())?;
            let (marker, value) = bench.instances.variable(bench.instances.helpers());
            env.set(&marker, value);
            let cwd = bench.place.working_dir(app, release);
            Some(Spec { argv: command.argv(), cwd, env: env.pairs(), user, nice: 0, stdin: vec![] })
        }
        _ => None,
    };
    let ProbeTarget::Service { service, path, .. } = &probe.target else {
        return work::look(&Aim { probe: probe.clone(), at: None }, &cancel, command);
    };
    addresses(bench, app, name, service)?.into_iter().try_for_each(|address| {
        work::look(&Aim { probe: probe.clone(), at: Some((address, path.clone())) }, &cancel, None)
    })
}

/// Where a service answers: its socket, or the ports of its newest instances.
fn addresses(bench: &Bench, app: Option<&App>, name: &AppName, service: &ServiceName) -> Result<Vec<Address>, String> {
    let listening = app.and_then(|app| app.services.get(service)).and_then(|service| service.listen.first());
    if let Some(address) = listening {
        return Ok(vec![address.clone()]);
    }
    let ports = bench.ports.newest_ports(name, service);
    match ports.is_empty() {
        true => Err(format!("{service} has no address")),
        false => Ok(ports.into_iter().map(|port| Address::Tcp(([127, 0, 0, 1], port).into())).collect()),
    }
}
