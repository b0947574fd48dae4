//! Starts an instance of a service as a plain process: its sockets, environment, user and log put together.

use super::confinement;
use super::environment::{self, Environment};
use super::place::Place;
use super::ports::{Ports, Slot};
use crate::base::{CommitId, InstanceId, ReleaseName};
use crate::config::{App, Handover, Service};
use crate::os::cgroup::Cgroups;
use crate::os::instances::Instances;
use crate::os::spawn::{self, Child, Start};
use crate::os::users::User;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Which instance to start.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct Which<'a> {
    pub app: &'a App,
    pub service: &'a Service,
    pub release: &'a ReleaseName,
    pub commit: Option<&'a CommitId>,
}

/// Where it listens.
#[derive(Debug, Clone)]
pub enum Ears {
    /// On these sockets, held by us.
    Sockets(Vec<Arc<OwnedFd>>),
    /// On this port, bound by itself.
    Port(u16),
    /// Nowhere that we know of.
    None,
}

/// The ears of an instance in production.
pub fn ears(ports: &Ports, which: Which<'_>, round: u64, index: u32) -> io::Result<Ears> {
    if !which.service.listen.is_empty() {
        let sockets = which.service.listen.iter().map(|address| ports.socket(address)).collect::<io::Result<_>>()?;
        return Ok(Ears::Sockets(sockets));
    }
    match which.service.handover {
        Handover::Port | Handover::Restart => {
            let (app, service) = (which.app.name.clone(), which.service.name.clone());
            Ok(Ears::Port(ports.choose(&Slot { app, service, round, index })?))
        }
        Handover::Socket => Ok(Ears::None),
    }
}

/// Who runs it; `None`: ourselves.
pub fn user(which: Which<'_>) -> io::Result<Option<User>> {
    environment::user(which.service.user.as_deref().or(which.app.user.as_deref()))
}

/// What an instance is given beside what its definition says.
#[derive(Debug, Clone, Copy)]
pub struct Outfit<'a> {
    /// Who runs it; see [`user`].
    pub user: Option<&'a User>,
    /// Where it listens.
    pub ears: &'a Ears,
    /// Passed behind its own sockets, for us to see whether this instance answers.
    pub check: Option<BorrowedFd<'a>>,
    /// Its stdout and stderr.
    pub output: BorrowedFd<'a>,
    /// Where it tells how it is: its `NOTIFY_SOCKET`.
    pub notify: Option<&'a str>,
}

/// What is asked for a start beside what is started.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs)]
pub struct Host<'a> {
    pub place: &'a Place,
    pub instances: &'a Instances,
    /// Where instances have control groups of their own.
    pub groups: Option<&'a Cgroups>,
}

/// Starts it. `extra` comes last: what a rehearsal changes.
pub fn start(
    host: Host<'_>,
    which: Which<'_>,
    instance: InstanceId,
    outfit: Outfit<'_>,
    extra: impl FnOnce(&mut Environment),
) -> io::Result<Child> {
    let Which { app, service, release, commit } = which;
    let cwd = host.place.working_dir(app, release);
    let mut env = environment::for_service(app, service, release, commit, outfit.user, &cwd)?;
    // One that is stopped before the next starts may have a port of its own choice; elsewhere two run side by side.
    if let Ears::Port(port) = outfit.ears
        && (service.handover == Handover::Port || env.get("PORT").is_none())
    {
        env.set("PORT", port.to_string());
    }
    if let Some(socket) = outfit.notify {
        env.set("NOTIFY_SOCKET", socket);
        if let Some(every) = service.watchdog {
            env.set("WATCHDOG_USEC", every.as_micros().to_string());
        }
    }
    extra(&mut env);
    let (marker, value) = host.instances.variable(instance);
    env.set(&marker, value);
    let (argv, env) = (service.run.argv(), env.pairs());
    let mut start = Start::new(&argv, &cwd, &env, outfit.output);
    start.user = outfit.user;
    start.no_new_privs = service.no_new_privs;
    start.open_files = Some(65_536);
    if let Ears::Sockets(sockets) = outfit.ears {
        start.sockets = sockets.iter().map(|socket| socket.as_fd()).collect();
        let name = |at: usize| if at == 0 { service.name.to_string() } else { format!("{}-{at}", service.name) };
        start.fd_names = (0..sockets.len()).map(name).collect();
        start.sockets.extend(outfit.check);
        start.fd_names.extend(outfit.check.map(|_| format!("{}-check", service.name)));
    }
    let group = confinement::group(host, which, instance);
    start.cgroup = group.as_ref().map(|(_, entry)| entry.as_fd());
    start.processes = confinement::process_limit(host, outfit.user);
    let tmp = confinement::private_tmp(host, which, instance)?;
    start.private_tmp = tmp.as_deref();
    spawn::start(&start).inspect_err(|_| {
        if let Some((group, _)) = &group {
            let _ = group.remove();
        }
    })
}
