//! The processes of the apps, and the listener: they are born, become ready, hang and die - with a daemon or without.

use super::Simulation;
use super::host::{Due, MILLISECOND};
use super::scenario::Fault;
use crate::base::{AppName, InstanceId, ReleaseName};
use crate::config::{App, Handover, Ready, Restart, Service};
use crate::daemon::action::Action;
use crate::daemon::event::Event;
use crate::supervise::notice::Notice;
use std::sync::Arc;
use std::time::Duration;

/// A process that runs.
#[derive(Debug, Clone)]
pub(super) struct Process {
    /// Its number in the daemon that started it.
    pub(super) instance: InstanceId,
    /// `None`: the listener.
    pub(super) app: Option<AppName>,
    pub(super) service: Option<Arc<Service>>,
    pub(super) release: Option<ReleaseName>,
    pub(super) round: u64,
    pub(super) index: u32,
    pub(super) restarts: u64,
    pub(super) port: Option<u16>,
    pub(super) born: Duration,
    /// Of the daemon that runs: the kernel tells it how the process ended.
    pub(super) is_child: bool,
    pub(super) record: Record,
    /// By whichever daemon.
    pub(super) asked_to_end: bool,
    pub(super) nature: Nature,
    pub(super) heard: Heard,
}

/// What is noted of a process for a daemon that comes after.
#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    pub(super) exists: bool,
    pub(super) ready: bool,
    pub(super) speaks_every: Option<Duration>,
    pub(super) asked_to_end: bool,
}

/// How a process is; shows itself only by what it does.
#[derive(Debug, Clone)]
pub(super) struct Nature {
    pub(super) ignores_the_signal: bool,
    pub(super) patience: Duration,
    /// When it is warm; `None`: never.
    pub(super) ready_at: Option<Duration>,
    /// It says that it lives at least so often.
    pub(super) speaks_every: Option<Duration>,
    pub(super) said_ready: bool,
    pub(super) said_it_is_broken: bool,
    pub(super) said_goodbye: bool,
    pub(super) hangs: bool,
    /// What it said while no daemon was there.
    pub(super) unread: Vec<Vec<Notice>>,
    /// A daemon was killed over what it said: nobody can know it.
    pub(super) was_misheard: bool,
}

/// What the daemon that runs could know of a process, from what it was told.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard {
    pub(super) is_ready: bool,
    /// By when it is to be ready.
    pub(super) ready_by: Option<Duration>,
    pub(super) alive_every: Option<Duration>,
    /// From when on its silence is a hang.
    pub(super) silent_at: Option<Duration>,
    /// It was asked to end then, or made to.
    pub(super) asked_at: Option<Duration>,
}

impl Process {
    pub(super) fn is_of(&self, app: &AppName, service: &Service) -> bool {
        self.app.as_ref() == Some(app) && self.service.as_ref().is_some_and(|mine| mine.name == service.name)
    }
    pub(super) fn is_warm(&self, now: Duration) -> bool {
        !self.nature.hangs && self.nature.ready_at.is_some_and(|at| now >= at)
    }
    pub(super) fn ready(&self) -> Ready {
        self.service.as_ref().map_or(Ready::Exec, |service| how_it_shows(service))
    }
}

/// How a service shows that it is ready: clients that are sent to its port must find it listening.
fn how_it_shows(service: &Service) -> Ready {
    match (service.handover, service.ready) {
        (Handover::Port, Ready::Exec) => Ready::Probe,
        (_, ready) => ready,
    }
}

impl Simulation {
    pub(super) fn spawn(
        &mut self,
        app: &App,
        instance: InstanceId,
        service: &Arc<Service>,
        release: ReleaseName,
        (round, index, restarts): (u64, u32, u64),
    ) {
        let fault = self.fault_of(&app.name, &release);
        if !self.calm && (fault == Fault::Exec || self.random.permille(5)) {
            let why = "no such file".to_string();
            return self.soon(20 * MILLISECOND, Due::Hear(Event::SpawnFailed { instance, why }));
        }
        let port = (service.handover == Handover::Port).then(|| self.port_of(&app.name, service, round, index));
        let process = Process {
            instance,
            app: Some(app.name.clone()),
            service: Some(service.clone()),
            release: Some(release),
            round,
            index,
            restarts,
            port,
            born: self.now.mono,
            is_child: true,
            record: Record { exists: true, ..Record::default() },
            asked_to_end: false,
            nature: self.nature(service, fault, app.deploy.startup),
            heard: Heard {
                ready_by: (how_it_shows(service) != Ready::Exec).then(|| self.now.mono + app.deploy.startup),
                alive_every: service.watchdog,
                ..Heard::default()
            },
        };
        self.sockets.extend(service.listen.iter().cloned());
        let pid = self.begin_process(process);
        self.decide_its_fate(pid, service, fault);
    }

    fn nature(&mut self, service: &Service, fault: Fault, startup: Duration) -> Nature {
        let warming = match (how_it_shows(service), self.calm) {
            (Ready::Exec, _) => Some(Duration::ZERO),
            (_, true) => Some(self.random.skewed(startup / 2)),
            (_, false) if fault == Fault::NeverReady => None,
            (_, false) => Some(self.random.skewed(startup * 5 / 4)),
        };
        Nature {
            ignores_the_signal: !self.calm && self.random.percent(5),
            patience: service.stop_timeout * 3 / 2,
            ready_at: warming.map(|span| self.now.mono + span),
            speaks_every: service.watchdog,
            said_ready: false,
            said_it_is_broken: false,
            said_goodbye: false,
            hangs: false,
            unread: vec![],
            was_misheard: false,
        }
    }

    /// When it speaks first, hangs, or dies by itself.
    fn decide_its_fate(&mut self, pid: u32, service: &Service, fault: Fault) {
        if let Some(at) = self.processes[&pid].nature.ready_at {
            self.schedule(at, Due::Speak { pid });
            if at > self.now.mono + 50 * MILLISECOND {
                self.schedule(self.now.mono + 50 * MILLISECOND, Due::Speak { pid });
            }
        }
        let lifetime = match (service.restart, fault) {
            (Restart::Never, _) => Some(self.random.span(Duration::from_secs(3))),
            _ if self.calm => None,
            (_, Fault::Crash) => Some(self.random.skewed(Duration::from_secs(3))),
            _ if self.random.percent(6) => Some(self.random.skewed(Duration::from_secs(600))),
            _ => None,
        };
        if let Some(lifetime) = lifetime {
            let clean = service.restart == Restart::Never && fault != Fault::Crash || self.random.percent(20);
            self.schedule(self.now.mono + lifetime, Due::Die { pid, clean, forced: false });
        }
        if !self.calm && (fault == Fault::HangsLater || self.random.percent(3)) {
            let later = self.now.mono + self.random.skewed(Duration::from_secs(300));
            self.schedule(later, Due::Hang { pid });
        }
    }

    pub(super) fn spawn_the_listener(&mut self, instance: InstanceId) {
        let nature = Nature {
            ignores_the_signal: !self.calm && self.random.percent(5),
            patience: Duration::from_secs(1),
            ready_at: Some(self.now.mono),
            speaks_every: None,
            said_ready: false,
            said_it_is_broken: false,
            said_goodbye: false,
            hangs: false,
            unread: vec![],
            was_misheard: false,
        };
        self.begin_process(Process {
            instance,
            app: None,
            service: None,
            release: None,
            round: 0,
            index: 0,
            restarts: 0,
            port: None,
            born: self.now.mono,
            is_child: true,
            record: Record::default(),
            asked_to_end: false,
            nature,
            heard: Heard::default(),
        });
    }

    fn begin_process(&mut self, process: Process) -> u32 {
        self.pids_made += 1;
        let (pid, instance, port) = (self.pids_made, process.instance, process.port);
        self.processes.insert(pid, process);
        // A process may be gone before anybody hears that it was there.
        self.soon(20 * MILLISECOND, Due::Hear(Event::Spawned { instance, pid, port }));
        pid
    }

    /// The daemon is killed after it started a process and before it noted that.
    pub(super) fn begin_without_a_record(&mut self, action: Action) {
        if let Action::Spawn { app, instance, service, release, round, index, restarts, .. } = action
            && self.random.percent(50)
        {
            self.spawn(&app, instance, &service, release, (round, index, restarts));
            let last = self.processes.values_mut().next_back().filter(|process| process.instance == instance);
            last.into_iter().for_each(|process| process.record.exists = false);
        }
    }

    /// The process that the daemon knows by this number.
    pub(super) fn process(&mut self, instance: InstanceId) -> Option<(u32, &mut Process)> {
        let mut mine = self.processes.iter_mut().filter(|(_, process)| process.instance == instance);
        mine.next().map(|(pid, process)| (*pid, process))
    }

    pub(super) fn terminate(&mut self, instance: InstanceId) {
        let now = self.now.mono;
        let Some((pid, process)) = self.process(instance) else { return };
        process.asked_to_end = true;
        process.record.asked_to_end = true;
        process.heard.asked_at.get_or_insert(now);
        if process.nature.ignores_the_signal {
            return;
        }
        let patience = process.nature.patience;
        let clean = self.random.percent(80);
        self.soon(patience, Due::Die { pid, clean, forced: false });
    }

    pub(super) fn abort(&mut self, instance: InstanceId) {
        let now = self.now.mono;
        let Some((pid, process)) = self.process(instance) else { return };
        process.asked_to_end = true;
        process.record.asked_to_end = true;
        process.heard.asked_at.get_or_insert(now);
        // A core dump may take longer than anybody waits.
        if self.random.percent(90) {
            self.soon(Duration::from_secs(5), Due::Die { pid, clean: false, forced: true });
        }
    }

    pub(super) fn kill(&mut self, instance: InstanceId) {
        let Some((pid, process)) = self.process(instance) else { return };
        process.asked_to_end = true;
        self.soon(50 * MILLISECOND, Due::Die { pid, clean: false, forced: true });
    }

    pub(super) fn kill_a_process(&mut self) {
        let pids: Vec<u32> = self.processes.keys().copied().collect();
        if !pids.is_empty() {
            let pid = *self.random.pick(&pids);
            let instance = self.processes[&pid].instance;
            self.trace.note(self.now, || format!("-- {instance} is killed from outside"));
            self.die(pid, false, true);
        }
    }

    pub(super) fn hang_a_process(&mut self) {
        let pids: Vec<u32> = self.processes.keys().copied().collect();
        if !pids.is_empty() {
            let pid = *self.random.pick(&pids);
            self.hang(pid);
        }
    }

    /// From now on it neither speaks nor answers, nor ends when it is asked to.
    pub(super) fn hang(&mut self, pid: u32) {
        // What does one job and ends is not worth the trouble: nobody would ever notice.
        let lasts = |service: &Arc<Service>| service.restart != Restart::Never;
        if let Some(process) = self.processes.get_mut(&pid).filter(|it| it.service.as_ref().is_some_and(lasts)) {
            process.nature.hangs = true;
            let instance = process.instance;
            self.trace.note(self.now, || format!("-- {instance} hangs"));
        }
    }

    /// Every exit is told once, or twice by mistake - or never, when no daemon is there. Whose child it is not, is not
    /// told how.
    pub(super) fn die(&mut self, pid: u32, clean: bool, forced: bool) {
        let hangs = self.processes.get(&pid).is_some_and(|process| process.nature.hangs);
        if hangs && !forced {
            return;
        }
        let Some(process) = self.processes.remove(&pid) else { return };
        let instance = process.instance;
        self.trace.note(self.now, || format!("-- {instance} is no more"));
        if self.world.is_none() {
            // A child of a program that replaces itself waits for the new one to hear of it.
            if process.is_child && self.is_replaced {
                self.unheard.insert(pid, (process, clean));
            }
            return;
        }
        self.speak_late(instance);
        self.tell_the_end(pid, process, clean);
    }

    pub(super) fn tell_the_end(&mut self, pid: u32, process: Process, clean: bool) {
        let (clean, words) = match (process.is_child, clean) {
            (true, true) => (true, "exit 0"),
            (true, false) => (false, "exit 1"),
            (false, _) => (false, "how it ended is not known"),
        };
        let instance = process.instance;
        let told = Event::Exited { instance, clean, words: words.into() };
        self.unheard.insert(pid, (process, clean));
        if !self.calm && self.random.percent(10) {
            self.soon(Duration::from_secs(5), Due::Hear(told.clone()));
        }
        self.soon(10 * MILLISECOND, Due::Hear(told));
    }

    pub(super) fn fault_of(&self, app: &AppName, release: &ReleaseName) -> Fault {
        let commit = self.disks[app].releases.get(release).map(|release| release.commit.clone());
        commit.map_or(Fault::None, |commit| self.branches[app].fault(&commit))
    }

    /// What a probe sees of that release.
    pub(super) fn look(&mut self, app: &AppName, release: &ReleaseName) -> Result<(), String> {
        let now = self.now.mono;
        let serves = |process: &&Process| process.release.as_ref() == Some(release) && process.is_warm(now);
        let births = self.processes.values().filter(|process| process.app.as_ref() == Some(app)).filter(serves);
        let Some(born) = births.map(|process| process.born).min() else { return Err("connection refused".into()) };
        let age = now.saturating_sub(born);
        let sick = match self.fault_of(app, release) {
            _ if self.calm => false,
            Fault::Unhealthy => true,
            Fault::SickLater => age > Duration::from_secs(4),
            _ => self.random.percent(1),
        };
        if sick { Err("HTTP 500".into()) } else { Ok(()) }
    }

    /// What somebody sees who looks whether one process is ready.
    pub(super) fn peek(&mut self, instance: InstanceId) -> Result<(), String> {
        let now = self.now.mono;
        let blinks = !self.calm && self.random.percent(3);
        match self.process(instance) {
            Some((_, process)) if process.is_warm(now) && !blinks => Ok(()),
            Some((_, process)) if process.nature.hangs => Err("no answer".into()),
            _ => Err("connection refused".into()),
        }
    }

    /// The record says so from now on.
    pub(super) fn speaks_every(&mut self, instance: InstanceId, every: Duration) {
        self.process(instance).into_iter().for_each(|(_, process)| process.record.speaks_every = Some(every));
    }

    /// So does this.
    pub(super) fn became_ready(&mut self, instance: InstanceId) {
        let found = self.process(instance).map(|(_, process)| {
            process.record.ready = true;
            process.heard.is_ready
        });
        self.promise(found != Some(false), || format!("{instance} is called ready and never showed that it is"));
    }
}
