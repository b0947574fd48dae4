//! The machine under the daemon: time, what is due in it, the turns of the loop and what their actions do.

use super::journal::Page;
use super::scenario::place;
use super::{Simulation, trace};
use crate::base::{AppName, DeployId, InstanceId, ReleaseName, ServiceName, WallTime};
use crate::control::{Phase, Request};
use crate::daemon::action::Action;
use crate::daemon::event::{Event, Known, RequestId};
use std::collections::BTreeMap;
use std::time::Duration;

pub(super) const MILLISECOND: Duration = Duration::from_millis(1);

/// What will happen by itself.
#[derive(Debug)]
pub(super) enum Due {
    Hear(Event),
    /// The diary's writer writes what it was given.
    Commit,
    HalfWorked(DeployId),
    Worked(DeployId),
    /// A process ends: by itself or asked to, unless it hangs - or made to.
    Die {
        pid: u32,
        clean: bool,
        forced: bool,
    },
    /// A process says what it has to say.
    Speak {
        pid: u32,
    },
    /// A process stops answering and speaking.
    Hang {
        pid: u32,
    },
    /// A probe looks.
    Look {
        app: AppName,
        watch: u64,
        index: usize,
        release: ReleaseName,
    },
    /// Somebody looks whether a starting process is ready.
    Peek {
        instance: InstanceId,
    },
    /// The proxy reads where clients are to be sent; the old ports are quiet after `drain`.
    Reroute {
        app: AppName,
        service: ServiceName,
        release: ReleaseName,
        ports: Vec<u16>,
        drain: Duration,
    },
    DiskIsFree,
    /// A scheduled command ends.
    CommandEnds {
        run: u64,
    },
}

impl Due {
    /// It happens whether a daemon is there or not.
    fn needs_no_daemon(&self) -> bool {
        matches!(self, Due::Die { .. } | Due::Speak { .. } | Due::Hang { .. })
    }
}

impl Simulation {
    /// The next thing that happens: by itself, in time, or from outside.
    pub(super) fn step(&mut self) {
        let due = self.schedule.keys().next().map(|(at, _)| *at);
        let Some(world) = &self.world else {
            return match due.filter(|at| *at <= self.starts_at) {
                Some(at) => {
                    self.pass_to(at);
                    self.next_due();
                }
                None => {
                    self.pass_to(self.starts_at);
                    self.start();
                }
            };
        };
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
            false => self.next_due(),
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

    fn next_due(&mut self) {
        let Some((_, due)) = self.schedule.pop_first() else { return };
        match due {
            Due::Hear(event) => self.turn(event),
            Due::Commit => self.commit(),
            Due::HalfWorked(number) => self.half_worked(number),
            Due::Worked(number) => self.worked(number),
            Due::Die { pid, clean, forced } => self.die(pid, clean, forced),
            Due::Speak { pid } => self.speak(pid),
            Due::Hang { pid } => self.hang(pid),
            Due::Look { app, watch, index, release } => {
                let result = self.look(&app, &release).map_err(Into::into);
                self.turn(Event::Probed { app, watch, index, result });
            }
            Due::Peek { instance } => {
                let result = self.peek(instance);
                self.turn(Event::Looked { instance, result });
            }
            Due::Reroute { app, service, release, ports, drain } => {
                self.reroute(&app, &service, ports);
                self.hear_in(drain, Event::Routed { app, service, release, result: Ok(()) });
            }
            Due::CommandEnds { run } => self.command_ends(run),
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

    pub(super) fn hear_in(&mut self, span: Duration, event: Event) {
        self.schedule(self.now.mono + span, Due::Hear(event));
    }

    pub(super) fn soon(&mut self, longest: Duration, due: Due) {
        let at = self.now.mono + self.random.skewed(longest);
        self.schedule(at, due);
    }

    /// One turn of the loop; the daemon may be killed between any two of its actions.
    pub(super) fn turn(&mut self, event: Event) {
        if self.world.is_none() {
            return;
        }
        self.trace.note(self.now, || trace::event(&event));
        let ends = self.ends_to_be_told(&event);
        self.take_note(&event);
        self.note_what_the_sensors_say(&event);
        let Some(world) = &mut self.world else { return };
        let speaker = if let Event::Told { instance, .. } = &event { Some(*instance) } else { None };
        let actions = world.turn(self.now, event);
        // Whoever speaks often costs as many turns.
        self.turns += u64::from(speaker.is_none());
        self.turns_at_this_instant += 1;
        self.note_repairs();
        self.check_ends_are_told(ends, &actions);
        self.carry_out(actions, speaker);
    }

    /// `speaker`: whose word led to this turn; it is lost when the daemon is killed in it.
    pub(super) fn carry_out(&mut self, actions: Vec<Action>, speaker: Option<InstanceId>) {
        let killed = (!self.calm && self.random.permille(3)).then(|| self.random.below(actions.len() as u64 + 1));
        for (at, action) in actions.into_iter().enumerate() {
            if killed == Some(at as u64) {
                self.lose_the_word_of(speaker);
                self.begin_without_a_record(action);
                return self.crash("the daemon is killed between two actions");
            }
            self.trace.note(self.now, || trace::action(&action));
            match action {
                Action::Exit => return self.exit(),
                Action::Reexec => return self.reexec(),
                Action::Reboot { app } if self.is_rebooted(&app) => return self.power_cut(),
                action => self.act(action),
            }
        }
        self.check_after_a_turn();
        self.check_nobody_is_overdue();
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
            Action::Spawn { app, instance, service, release, round, index, restarts, .. } => {
                self.check_spawn(&app.name, instance, &service, &release, round, index);
                self.spawn(&app, instance, &service, release, (round, index, restarts));
            }
            Action::SpawnListener { instance, .. } => self.spawn_the_listener(instance),
            Action::Terminate { instance, .. } => {
                self.check_terminate(instance);
                self.terminate(instance);
            }
            Action::Abort { instance } => {
                self.check_abort(instance);
                self.abort(instance);
            }
            Action::Kill { instance } => {
                self.check_kill(instance);
                self.kill(instance);
            }
            Action::Look { instance, .. } => self.soon(Duration::from_secs(2), Due::Peek { instance }),
            Action::BecameReady { instance } => self.became_ready(instance),
            Action::SpeaksEvery { instance, every } => self.speaks_every(instance, every),
            Action::Route { app, service, release, ports, old } => {
                self.route(&app.name, &service, release, ports, &old);
            }
            Action::Probe { app, watch, index, release, .. } => {
                self.soon(Duration::from_secs(5), Due::Look { app, watch, index, release });
            }
            Action::Resolve { from, asked, .. } => {
                let reachable = self.calm || self.random.percent(80);
                let tip = reachable.then(|| self.branches[&asked.app].tip());
                self.soon(Duration::from_secs(5), Due::Hear(Event::Resolved { from, asked, commit: tip }));
            }
            Action::RestartUnits { app, units } => self.restart_units(app, &units),
            // That ends the turn, or does not happen: taken care of there.
            Action::Reboot { .. } => {}
            Action::Sense => self.sense(),
            Action::RunSchedule { app, release, schedule, run, .. } => {
                self.begin_a_command(&app.name, &release, &schedule, run);
            }
            Action::EndSchedule { run } => self.end_a_command(run),
            Action::LookAtBranch { app, look } => self.look_at_a_branch(&app.name, look),
            Action::Answer { to, answer } => self.check_answer(to, answer),
            Action::Ended { app, number, end, .. } => self.check_ended(&app, number, &end),
            Action::Send { sending, .. } => self.peer_is_told(*sending),
            Action::TryChannels { .. } | Action::TellAddress { .. } => {}
            Action::CheckSuccessor => self.ask_the_successor(),
            Action::Reload { .. } | Action::CancelLooks | Action::Exit | Action::Reexec => {}
            Action::Apply { app, release, .. } => self.apply(&release, app),
            Action::Vacated { app, service, round, index } => self.vacate(app, service, round, index),
            Action::KeepSockets { addresses } => self.keep_sockets(addresses),
            Action::PhaseBegins { number, phase: Phase::Preflight } => self.check_passage(number),
            // Its listener speaks plain HTTP.
            Action::ReadCertificate { .. } | Action::MakeCertificate | Action::ForgetCertificate => {}
            Action::Opened { .. } | Action::Say { .. } | Action::PhaseBegins { .. } | Action::Note { .. } => {}
        }
    }

    fn commit(&mut self) {
        let written = self.journal.commit();
        if let Some(contradiction) = written.contradiction {
            self.promises_broken(|| format!("the core never contradicts the diary: {contradiction}"));
        }
        self.promises.learn(&written.entries, &written.refused);
        self.learn_the_post(&written.entries);
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
                let is_older = live.zip(want.wanted.commit());
                let is_older = is_older.is_some_and(|(live, commit)| place(commit) < place(&live.commit));
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
        self.set_the_clock(by);
    }

    pub(super) fn set_the_clock(&mut self, by: i64) {
        self.promises.passages.clock_was_set();
        self.promises.clock_was_set_at.push(self.now.mono);
        self.now.wall = WallTime(self.now.wall.0 + by);
        self.trace.note(self.now, || format!("-- the wall clock jumps by {by} ms"));
        self.commands.the_clock_jumped();
    }

    pub(super) fn fill_the_disk(&mut self) {
        self.trace.note(self.now, || "-- the disk is full".into());
        self.journal.full = true;
        self.soon(Duration::from_secs(120), Due::DiskIsFree);
    }

    /// What only the daemon would have done or heard of is gone with it.
    pub(super) fn forget_what_was_due(&mut self) {
        let (stays, gone) = std::mem::take(&mut self.schedule).into_iter().partition(|(_, due)| due.needs_no_daemon());
        self.schedule = stays;
        let gone: BTreeMap<(Duration, u64), Due> = gone;
        for due in gone.into_values() {
            if let Due::Hear(Event::Told { instance, notices }) = due {
                self.leave_unread(instance, notices);
            }
        }
    }
}
