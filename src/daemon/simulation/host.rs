//! The machine under the daemon: time, processes, probes, the writer of the diary, and the daemon's own life.

use super::journal::Page;
use super::scenario::{Fault, place};
use super::{Simulation, trace};
use crate::base::{AppName, DeployId, InstanceId, ReleaseName, ServiceName, WallTime};
use crate::config::{Restart, Service};
use crate::control::Request;
use crate::daemon::action::Action;
use crate::daemon::boot::Found;
use crate::daemon::event::{Event, Known, RequestId};
use crate::daemon::world::World;
use std::collections::BTreeMap;
use std::time::Duration;

const MILLISECOND: Duration = Duration::from_millis(1);

/// What will happen by itself.
#[derive(Debug)]
pub(super) enum Due {
    Hear(Event),
    /// The diary's writer writes what it was given.
    Commit,
    HalfWorked(DeployId),
    Worked(DeployId),
    /// A process ends.
    Die {
        instance: InstanceId,
        clean: bool,
    },
    /// A probe looks.
    Look {
        app: AppName,
        watch: u64,
        index: usize,
        release: ReleaseName,
    },
    DiskIsFree,
}

/// A process that runs.
#[derive(Debug)]
pub(super) struct Process {
    /// `None`: the listener.
    pub(super) app: Option<AppName>,
    pub(super) service: Option<ServiceName>,
    pub(super) release: Option<ReleaseName>,
    pub(super) asked_to_end: bool,
    born: Duration,
    ignores_the_signal: bool,
    patience: Duration,
}

impl Simulation {
    /// The next thing that happens: by itself, in time, or from outside.
    pub(super) fn step(&mut self) {
        let Some(world) = &self.world else {
            self.pass_to(self.starts_at);
            return self.start();
        };
        let due = self.schedule.keys().next().map(|(at, _)| *at);
        let deadline = world.deadline();
        let next = [due, deadline].into_iter().flatten().min();
        if !self.calm && (next.is_none() || self.random.percent(12)) {
            let gap = next.map_or(Duration::from_secs(60), |at| at.saturating_sub(self.now.mono));
            let wait = self.random.span(gap.min(Duration::from_secs(600)));
            self.pass_to(self.now.mono + wait);
            return self.stimulate();
        }
        let Some(next) = next else { return };
        self.pass_to(next);
        match deadline.is_some_and(|at| due.is_none_or(|due| at <= due)) {
            true => {
                // A busy loop comes late.
                let late = if self.random.percent(10) { self.random.span(30 * MILLISECOND) } else { Duration::ZERO };
                self.pass_to(self.now.mono + late);
                self.turn(Event::Tick);
            }
            false => {
                if let Some((_, due)) = self.schedule.pop_first() {
                    self.happen(due);
                }
            }
        }
    }

    fn pass_to(&mut self, at: Duration) {
        let span = at.saturating_sub(self.now.mono);
        if !span.is_zero() {
            self.turns_at_this_instant = 0;
        }
        self.now.mono += span;
        self.now.wall = self.now.wall.plus(span);
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Hear(event) => self.turn(event),
            Due::Commit => self.commit(),
            Due::HalfWorked(number) => self.half_worked(number),
            Due::Worked(number) => self.worked(number),
            Due::Die { instance, clean } => self.die(instance, clean),
            Due::Look { app, watch, index, release } => {
                let result = self.look(&app, &release);
                self.turn(Event::Probed { app, watch, index, result });
            }
            Due::DiskIsFree => self.journal.full = false,
        }
        self.check_the_disks();
    }

    pub(super) fn schedule(&mut self, at: Duration, due: Due) -> (Duration, u64) {
        self.scheduled += 1;
        let key = (at, self.scheduled);
        self.schedule.insert(key, due);
        key
    }

    /// The daemon hears of it now, after what it is to hear before.
    pub(super) fn hear(&mut self, event: Event) {
        self.schedule(self.now.mono, Due::Hear(event));
    }

    fn soon(&mut self, longest: Duration, due: Due) {
        let at = self.now.mono + self.random.skewed(longest);
        self.schedule(at, due);
    }

    /// One turn of the loop; the daemon may be killed between any two of its actions.
    pub(super) fn turn(&mut self, event: Event) {
        let Some(world) = &mut self.world else { return };
        self.trace.note(self.now, || trace::event(&event));
        let actions = world.turn(self.now, event);
        self.turns += 1;
        self.turns_at_this_instant += 1;
        self.carry_out(actions);
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        let killed = (!self.calm && self.random.permille(3)).then(|| self.random.below(actions.len() as u64 + 1));
        for (at, action) in actions.into_iter().enumerate() {
            if killed == Some(at as u64) {
                return self.crash("the daemon is killed between two actions");
            }
            self.trace.note(self.now, || trace::action(&action));
            if matches!(action, Action::Exit) {
                return self.exit();
            }
            self.act(action);
        }
        self.check_after_a_turn();
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Record { token, entries } => {
                self.check_facts(&entries);
                if self.journal.take(Page { token, entries }) {
                    self.soon(Duration::from_secs(2), Due::Commit);
                }
            }
            Action::Work(job) => self.begin_work(*job),
            Action::CancelWork { number } => self.cancel_work(number),
            Action::Spawn { app, instance, service, release, .. } => {
                self.check_spawn(&app.name, &service, &release);
                self.spawn(&app.name, instance, &service, release);
            }
            Action::SpawnListener { instance } => {
                let patience = Duration::from_secs(1);
                self.begin_process(instance, None, None, None, patience);
            }
            Action::Terminate { instance, .. } => {
                self.check_terminate(instance);
                self.processes.get_mut(&instance).into_iter().for_each(|process| process.asked_to_end = true);
                let Some(process) = self.processes.get(&instance).filter(|it| !it.ignores_the_signal) else { return };
                let patience = process.patience;
                let clean = self.random.percent(80);
                self.soon(patience, Due::Die { instance, clean });
            }
            Action::Kill { instance } => self.soon(50 * MILLISECOND, Due::Die { instance, clean: false }),
            Action::Probe { app, watch, index, release, .. } => {
                self.soon(Duration::from_secs(5), Due::Look { app, watch, index, release });
            }
            Action::Resolve { from, asked, .. } => {
                let reachable = self.calm || self.random.percent(80);
                let tip = reachable.then(|| self.branches[&asked.app].tip());
                self.soon(Duration::from_secs(5), Due::Hear(Event::Resolved { from, asked, commit: tip }));
            }
            Action::Answer { to, answer } => self.check_answer(to, answer),
            Action::Ended { app, number, end, .. } => self.check_ended(&app, number, &end),
            Action::Reload { .. } | Action::Exit => {}
            Action::Look { .. } | Action::BecameReady { .. } | Action::Route { .. } | Action::Abort { .. } => {}
            Action::Vacated { .. } | Action::KeepSockets { .. } | Action::SpeaksEvery { .. } => {}
            Action::CheckSuccessor | Action::Reexec => {}
            Action::Opened { .. } | Action::Say { .. } | Action::PhaseBegins { .. } | Action::Note { .. } => {}
        }
    }

    fn spawn(&mut self, app: &AppName, instance: InstanceId, service: &Service, release: ReleaseName) {
        let commit = self.disks[app].releases.get(&release).map(|release| release.commit.clone());
        let fault = commit.map_or(Fault::None, |commit| self.branches[app].fault(&commit));
        if !self.calm && (fault == Fault::Exec || self.random.permille(5)) {
            let why = "no such file".to_string();
            return self.soon(20 * MILLISECOND, Due::Hear(Event::SpawnFailed { instance, why }));
        }
        let patience = service.stop_timeout * 3 / 2;
        self.begin_process(instance, Some(app.clone()), Some(service.name.clone()), Some(release), patience);
        let lifetime = match (service.restart, fault) {
            (Restart::Never, _) => Some(self.random.span(Duration::from_secs(3))),
            _ if self.calm => None,
            (_, Fault::Crash) => Some(self.random.skewed(Duration::from_secs(3))),
            _ if self.random.percent(6) => Some(self.random.skewed(Duration::from_secs(600))),
            _ => None,
        };
        if let Some(lifetime) = lifetime {
            let clean = service.restart == Restart::Never && fault != Fault::Crash || self.random.percent(20);
            self.schedule(self.now.mono + lifetime, Due::Die { instance, clean });
        }
    }

    fn begin_process(
        &mut self,
        instance: InstanceId,
        app: Option<AppName>,
        service: Option<ServiceName>,
        release: Option<ReleaseName>,
        patience: Duration,
    ) {
        let ignores_the_signal = !self.calm && self.random.percent(5);
        let born = self.now.mono;
        let process = Process { app, service, release, asked_to_end: false, born, ignores_the_signal, patience };
        self.processes.insert(instance, process);
        // A process may be gone before anybody hears that it was there.
        self.soon(20 * MILLISECOND, Due::Hear(Event::Spawned { instance, pid: 1000 + instance.0 as u32, port: None }));
    }

    /// Every exit is told once, or twice by mistake.
    fn die(&mut self, instance: InstanceId, clean: bool) {
        if self.processes.remove(&instance).is_none() {
            return;
        }
        let words = if clean { "exit 0" } else { "exit 1" };
        let told = Event::Exited { instance, clean, words: words.into() };
        if !self.calm && self.random.percent(10) {
            self.soon(Duration::from_secs(5), Due::Hear(told.clone()));
        }
        self.soon(10 * MILLISECOND, Due::Hear(told));
    }

    pub(super) fn kill_a_process(&mut self) {
        let instances: Vec<InstanceId> = self.processes.keys().copied().collect();
        if !instances.is_empty() {
            let instance = *self.random.pick(&instances);
            self.trace.note(self.now, || format!("-- {instance} is killed from outside"));
            self.die(instance, false);
        }
    }

    /// What a probe sees of that release.
    fn look(&mut self, app: &AppName, release: &ReleaseName) -> Result<(), String> {
        let births = self.processes.values().filter(|process| process.release.as_ref() == Some(release));
        let Some(born) = births.map(|process| process.born).min() else { return Err("connection refused".into()) };
        let commit = self.disks[app].releases.get(release).map(|release| release.commit.clone());
        let fault = commit.map_or(Fault::None, |commit| self.branches[app].fault(&commit));
        let age = self.now.mono.saturating_sub(born);
        let sick = match fault {
            _ if self.calm => false,
            Fault::Unhealthy => true,
            Fault::SickLater => age > Duration::from_secs(4),
            _ => self.random.percent(1),
        };
        if sick { Err("HTTP 500".into()) } else { Ok(()) }
    }

    fn commit(&mut self) {
        let written = self.journal.commit();
        if let Some(contradiction) = written.contradiction {
            self.promises_broken(|| format!("the core never contradicts the diary: {contradiction}"));
        }
        self.promises.learn(&written.entries, &written.refused);
        for (token, result) in written.answers {
            self.hear(Event::Recorded { token, result });
        }
    }

    /// As the next write would.
    pub(super) fn flush_the_journal(&mut self) {
        self.commit();
    }

    pub(super) fn ask(&mut self, request: Request) {
        if self.world.is_none() {
            return;
        }
        self.requests_made += 1;
        let from = RequestId(self.requests_made);
        let mut older = vec![];
        if let Request::Deliver(delivery) = &request {
            for want in &delivery.wants {
                let disk = &self.disks[&want.app];
                let live = disk.current.as_ref().and_then(|release| disk.releases.get(release));
                let is_older = live.is_some_and(|live| place(&want.commit) < place(&live.commit));
                if is_older && self.random.percent(70) {
                    older.push(want.app.clone());
                }
            }
        }
        self.promises.asked(from, &request);
        let known = Known { older, ..Known::default() };
        self.turn(Event::Asked { from, request, known });
    }

    pub(super) fn jump(&mut self) {
        let day = 86_400_000;
        let by = self.random.below(800 * day) as i64 - 400 * day as i64;
        self.now.wall = WallTime(self.now.wall.0 + by);
        self.trace.note(self.now, || format!("-- the wall clock jumps by {by} ms"));
    }

    pub(super) fn fill_the_disk(&mut self) {
        self.trace.note(self.now, || "-- the disk is full".into());
        self.journal.full = true;
        self.soon(Duration::from_secs(120), Due::DiskIsFree);
    }

    /// SIGKILL: everything but the disk and the apps' processes is gone.
    pub(super) fn crash(&mut self, how: &str) {
        self.trace.note(self.now, || format!("-- {how}"));
        self.world = None;
        self.schedule.clear();
        self.works.clear();
        self.journal.lose_what_is_not_written();
        self.journal.full = false;
        self.promises.forget_requests();
        self.starts_at = self.now.mono + self.random.skewed(Duration::from_secs(60));
    }

    pub(super) fn power_cut(&mut self) {
        self.lose_unsynced_renames();
        self.processes.clear();
        self.crash("the plug is pulled");
    }

    /// It ended in order: what was told to the diary is written before.
    fn exit(&mut self) {
        if self.stops_asked < 2 && !self.processes.is_empty() {
            let left = format!("{:?}", self.processes);
            self.promises_broken(|| format!("nothing of the apps is left when the daemon ends in order: {left}"));
        }
        if self.random.percent(50) {
            self.commit();
        }
        self.processes.clear();
        self.crash("the daemon has ended");
    }

    /// What the disk shows of every app.
    pub(super) fn found(&self) -> BTreeMap<AppName, Found> {
        let found = self.disks.iter().map(|(app, disk)| {
            let highest = disk.releases.keys().map(|release| release.number()).max().unwrap_or_default();
            let (current, definitions) = (disk.current.clone(), self.live_definition(app));
            (app.clone(), Found { current, definitions, highest, survivors: vec![] })
        });
        found.collect()
    }

    /// A new daemon ends what a killed one left running before it starts its own.
    fn start(&mut self) {
        self.trace.note(self.now, || "-- the daemon starts".into());
        self.processes.clear();
        self.stops_asked = 0;
        self.disks.values_mut().for_each(|disk| disk.sweep());
        self.promises.new_life(&self.disks);
        let found = self.found();
        let snapshot = self.journal.diary.snapshot();
        let (world, actions) = World::boot(self.now, &self.config, snapshot, found, vec![]);
        self.world = Some(world);
        self.carry_out(actions);
        let Some(world) = &mut self.world else { return };
        let actions = world.start_listener(self.now);
        self.carry_out(actions);
    }
}
