//! The processes of the loop, by instance: started, taken over from an earlier daemon, signalled, forgotten.
//!
//! Before a process exists, everything it needs is made; after it exists, everything a daemon that comes after us needs
//! is left where that daemon finds it: its record, the end of its output, its notify socket.

use super::Hands;
use super::check::Check;
use crate::base::InstanceId;
use crate::config::{App, Ready, Service};
use crate::daemon::event::Event;
use crate::daemon::survivors::{Departed, Held};
use crate::os::cgroup::Group;
use crate::os::fdstore::name_of;
use crate::os::group::{self, Trail};
use crate::os::instances::Record;
use crate::os::logfile::LogTarget;
use crate::os::notify::NotifySocket;
use crate::os::output::{self, Output};
use crate::os::spawn::Child;
use crate::os::sweeper::Remains;
use crate::os::{process as processes, reap};
use crate::runtime::confinement;
use crate::runtime::process::{self, Ears, Outfit, Which};
use crate::supervise::notice;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Messages of one instance that are heard in one turn: one that never stops talking holds up nobody.
const MESSAGES: usize = 64;
/// The names under which descriptors are kept for the next daemon.
pub(in super::super) const OUTPUT: &str = "output";
pub(in super::super) const NOTIFY: &str = "notify";
pub(in super::super) const CHECK: &str = "check";

/// A process we started or took over.
#[derive(Debug)]
pub(in super::super) struct Running {
    pub(in super::super) child: Child,
    record: Option<Record>,
    notify: Option<NotifySocket>,
    group: Option<Group>,
    /// Where it shows that it is ready.
    pub(super) check: Option<Check>,
    pub(super) since: Instant,
}

/// Which instance to start, beyond its definition.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) round: u64,
    pub(super) index: u32,
    pub(super) restarts: u64,
}

impl Running {
    /// A process that keeps nothing for a later daemon.
    pub(super) fn of(child: Child) -> Running {
        let since = Instant::now();
        Running { child, record: None, notify: None, group: None, check: None, since }
    }

    /// Where it tells how it is.
    pub(in super::super) fn voice(&self) -> Option<BorrowedFd<'_>> {
        self.notify.as_ref().map(|notify| notify.as_fd())
    }

    /// What is to be passed on to a successor, by kind.
    pub(in super::super) fn descriptors(&self) -> impl Iterator<Item = (&'static str, BorrowedFd<'_>)> {
        let check = self.check.iter().map(|check| (CHECK, check.as_fd()));
        self.voice().map(|voice| (NOTIFY, voice)).into_iter().chain(check)
    }
}

impl Hands {
    pub(super) fn spawn(&mut self, instance: InstanceId, which: Which<'_>, place: Place) -> Event {
        match self.start(instance, which, place) {
            Ok((pid, port)) => Event::Spawned { instance, pid, port },
            Err(error) => {
                log::error!("{}: {}: {error}", which.app.name, which.service.name);
                self.forget(instance);
                Event::SpawnFailed { instance, why: error.to_string() }
            }
        }
    }

    fn start(&mut self, instance: InstanceId, which: Which<'_>, place: Place) -> io::Result<(u32, Option<u16>)> {
        let (app, service) = (which.app, which.service);
        let user = process::user(which)?;
        let ears = process::ears(&self.bench.ports, which, place.round, place.index)?;
        let check = self.check(instance, service)?;
        let notify = self.notify_socket(instance, app, service, user.as_ref())?;
        let output = Output::make(&self.bench.place.outputs(), instance, user.as_ref())?;
        let outfit = Outfit {
            user: user.as_ref(),
            ears: &ears,
            check: check.as_ref().map(Check::as_fd),
            output: output.write.as_fd(),
            notify: notify.as_ref().map(NotifySocket::path),
        };
        let child = process::start(self.bench.host(), which, instance, outfit, |_| {})?;
        let port = if let Ears::Port(port) = ears { Some(port) } else { None };
        let record = Record {
            pid: child.pid,
            start_time: child.start_time,
            instance,
            app: app.name.clone(),
            service: service.name.clone(),
            release: which.release.clone(),
            round: place.round,
            index: place.index,
            port,
            restarts: place.restarts,
            ready: service.ready == Ready::Exec && port.is_none(),
            speaks_every: None,
            asked_to_end: false,
        };
        let pid = child.pid;
        self.note(&record);
        self.follow(&record, service, output.read);
        let group = confinement::remains(self.bench.host(), &record).group;
        let (record, since) = (Some(record), Instant::now());
        self.take(instance, Running { child, record, notify, group, check, since });
        Ok((pid, port))
    }

    /// Takes over what an earlier daemon started: it goes on saying and telling what it has to say and tell.
    pub(in super::super) fn adopt(&mut self, held: Held) {
        let Held { record, child, app, service, output, notify, check } = held;
        let instance = record.instance;
        let output = output.map_or_else(|| output::reopen(&self.bench.place.outputs(), instance), Ok);
        match output {
            Ok(output) => self.follow(&record, &service, output),
            Err(error) => log::error!("{}: {}: its output is not kept: {error}", record.app, record.service),
        }
        let which = Which { app: &app, service: &service, release: &record.release, commit: None };
        let notify = process::user(which).and_then(|user| {
            let kept = notify.map(|socket| NotifySocket::from_kept(socket, user.as_ref()));
            match kept {
                Some(Ok(socket)) => Ok(Some(socket)),
                // It connects anew for each message: what stands at the path is what it reaches.
                _ => self.notify_socket(instance, &app, &service, user.as_ref()),
            }
        });
        let notify = notify.unwrap_or_else(|error| {
            log::error!("{}: {}: it is not heard: {error}", record.app, record.service);
            None
        });
        let check = check.filter(|_| !record.ready).and_then(Check::from_kept);
        let group = confinement::remains(self.bench.host(), &record).group;
        let (record, since) = (Some(record), Instant::now());
        self.take(instance, Running { child, record, notify, group, check, since });
    }

    /// Writes down what an instance said last that ended while no daemon ran.
    pub(in super::super) fn hear_out(&mut self, departed: Departed) {
        let Departed { record, service, output } = departed;
        let (app, name, pid) = (&record.app, &record.service, record.pid);
        log::warn!("{app}: {name} (pid {pid}) ended while no daemon ran, and how is not known");
        let Some(output) = output else { return };
        if let Err(error) = self.scribe.attach(self.log_of(&record, &service), output) {
            log::error!("{app}: {name}: what it said last is not kept: {error}");
        }
    }

    /// From now on it is one of ours; what a daemon that comes after us needs is kept for it.
    fn take(&mut self, instance: InstanceId, running: Running) {
        for (kind, fd) in running.descriptors() {
            self.keep(&name_of(kind, &instance.0.to_string()), fd);
        }
        self.running.insert(instance, running);
    }

    /// What the instances told since the last time.
    pub(in super::super) fn hear(&self, instance: InstanceId) -> Option<Event> {
        let notify = self.running.get(&instance)?.notify.as_ref()?;
        let messages = notify.receive(MESSAGES);
        let notices: Vec<_> = messages.iter().flat_map(|message| notice::parse(message)).collect();
        (!notices.is_empty()).then_some(Event::Told { instance, notices })
    }

    /// A daemon that comes after us is to know that it was ready.
    pub(super) fn became_ready(&mut self, instance: InstanceId) {
        if self.running.get_mut(&instance).is_some_and(|running| running.check.take().is_some()) {
            self.bench.kept.forget(&name_of(CHECK, &instance.0.to_string()));
        }
        self.note_that(instance, |record| record.ready = true);
    }

    /// ... and by whose word it is to judge its silence.
    pub(super) fn speaks_every(&mut self, instance: InstanceId, every: Duration) {
        self.note_that(instance, |record| record.speaks_every = Some(every));
    }

    fn note_that(&mut self, instance: InstanceId, change: impl FnOnce(&mut Record)) {
        let Some(record) = self.running.get_mut(&instance).and_then(|running| running.record.as_mut()) else { return };
        change(record);
        let record = record.clone();
        self.note(&record);
    }

    /// A daemon that comes after us is not to take for one that serves what is on its way out.
    pub(super) fn terminate(&mut self, instance: InstanceId, signal: i32) {
        self.note_that(instance, |record| record.asked_to_end = true);
        self.signal(instance, signal);
        // One that was stopped would never hear it.
        self.signal(instance, libc::SIGCONT);
    }

    /// Its whole group.
    pub(super) fn signal(&self, instance: InstanceId, signal: i32) {
        let Some(running) = self.running.get(&instance) else { return };
        if signal == libc::SIGKILL
            && let Some(group) = &running.group
            && let Err(error) = group.kill()
        {
            log::warn!("{error}");
        }
        if let Err(error) = group::signal(running.child.pid, signal) {
            log::warn!("signal {signal} to the group of {}: {error}", running.child.pid);
        }
    }

    /// Its process alone: it is to leave a core dump, if it may.
    pub(super) fn abort(&mut self, instance: InstanceId) {
        self.note_that(instance, |record| record.asked_to_end = true);
        let Some(running) = self.running.get(&instance) else { return };
        if let Err(error) = processes::signal(running.child.pidfd.as_fd(), libc::SIGABRT) {
            log::warn!("SIGABRT to {}: {error}", running.child.pid);
        }
        // One that is stopped could not even die of it.
        let _ = processes::signal(running.child.pidfd.as_fd(), libc::SIGCONT);
    }

    /// A process ended: how, and with it goes what it had started. `None`: it has not.
    pub(in super::super) fn end_of(&self, instance: InstanceId) -> Option<(bool, String)> {
        let running = self.running.get(&instance)?;
        let child = &running.child;
        let ended = match reap::try_wait(child.pid) {
            Ok(None) => return None,
            Ok(Some(ended)) => Some(ended),
            // Not our child: an earlier daemon's.
            Err(_) => processes::exit_of(child.pid, child.pidfd.as_fd()),
        };
        // What it started and did not end would hold its port and its data.
        if let Some(group) = &running.group {
            let _ = group.kill();
        }
        let _ = group::signal(child.pid, libc::SIGKILL);
        let starved = running.group.as_ref().and_then(Group::oom_kills).is_some_and(|kills| kills > 0);
        let unknown = || (false, "it ended, and how is not known: an earlier daemon had started it".to_string());
        let (clean, words) = ended.map_or_else(unknown, |ended| (ended.is_success(), ended.to_string()));
        let words = if starved && !clean { format!("{words}: its memory_max was reached") } else { words };
        Some((clean, words))
    }

    /// A process is gone: nothing is kept of it.
    pub(in super::super) fn gone(&mut self, instance: InstanceId) {
        let Some(running) = self.running.remove(&instance) else { return };
        if let Some(record) = &running.record
            && let Err(error) = self.bench.instances.remove(record)
        {
            log::warn!("{error}");
        }
        if let Some(notify) = running.notify {
            notify.remove();
        }
        self.forget(instance);
        let remains = match &running.record {
            Some(record) => confinement::remains(self.bench.host(), record),
            None => {
                let trail = Trail { marker: self.bench.instances.marker(instance), since: running.child.start_time };
                Remains { trail, group: None, private_tmp: None }
            }
        };
        self.sweeper.clear(remains, self.running.values().map(|running| running.child.pid).collect());
    }

    /// Descriptors that were kept for an instance are needed no more, nor is its pipe's name.
    fn forget(&self, instance: InstanceId) {
        if let Err(error) = output::remove(&self.bench.place.outputs(), instance) {
            log::warn!("{error}");
        }
        for kind in [OUTPUT, NOTIFY, CHECK] {
            self.bench.kept.forget(&name_of(kind, &instance.0.to_string()));
        }
    }

    fn note(&self, record: &Record) {
        if let Err(error) = self.bench.instances.write(record) {
            log::warn!("{error}; a daemon that comes after a crash will end this process and start it anew");
        }
    }

    /// What it says is written to its service's log, and waits for the next daemon where we cannot write any more.
    fn follow(&self, record: &Record, service: &Service, output: OwnedFd) {
        self.keep(&name_of(OUTPUT, &record.instance.0.to_string()), output.as_fd());
        if let Err(error) = self.scribe.follow(record.instance, self.log_of(record, service), output) {
            log::error!("{}: {}: its output is not kept: {error}", record.app, record.service);
        }
    }

    fn log_of(&self, record: &Record, service: &Service) -> LogTarget {
        let path = self.bench.place.service_log(&record.app, &record.service);
        LogTarget { path, max: service.log_max, keep: service.log_keep }
    }

    fn keep(&self, name: &str, fd: BorrowedFd<'_>) {
        if let Err(error) = self.bench.kept.keep(name, fd) {
            log::warn!("{error}");
        }
    }

    fn check(&self, instance: InstanceId, service: &Service) -> io::Result<Option<Check>> {
        match service.listen.first() {
            Some(public) if service.ready == Ready::Probe => {
                Check::make(public, &self.bench.place.notify_sockets(), instance).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Every instance can speak. For one that need not, it is no reason not to start that it cannot be heard.
    fn notify_socket(
        &self,
        instance: InstanceId,
        app: &App,
        service: &Service,
        user: Option<&crate::os::users::User>,
    ) -> io::Result<Option<NotifySocket>> {
        match NotifySocket::bind(&self.bench.place.notify_sockets(), instance, user) {
            Ok(socket) => Ok(Some(socket)),
            Err(error) if service.ready == Ready::Notify || service.watchdog.is_some() => Err(error),
            Err(error) => {
                log::warn!("{}: {}: it is not heard: {error}", app.name, service.name);
                Ok(None)
            }
        }
    }
}
