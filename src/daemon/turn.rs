//! The table: every event comes here, every action leaves from here. Pure.
//!
//! [`World::turn`] is one whole turn. `intake` judges what is asked for, `gates` what must wait, `superseding` which of
//! several that wait wins, `polling` when branches are looked at, `deploys` drives the machine of each deployment, `apps`
//! the services and probes of each app, `repairs` what is done about one that stays unwell, `board` what the sensors say
//! of the host and `sampling` what is kept of it, `configured` follows the files, `certificate` what the listener does TLS
//! with, `schedules` what runs by the clock, `reexec` the change of the program, `telling` what people hear, `standing`
//! what only we can tell of ourselves. Time comes in as a value; [`World::deadline`] says
//! when the next turn is due even if nothing happens.

mod apps;
pub(super) mod board;
mod certificate;
mod configured;
pub(super) mod deploys;
mod gates;
mod intake;
mod polling;
mod reexec;
mod repairs;
mod sampling;
mod schedules;
mod standing;
mod superseding;
mod telling;
use super::action::Action;
use super::event::{Event, Token};
use super::world::{AppWorld, Listener, Pending, World};
use crate::base::{AppName, InstanceId, Moment};
use crate::control::{Answer, Phase};
use crate::store::Entry;
use crate::supervise::{Deed, Input};
use std::time::Duration;

impl World {
    /// Takes one event at `now` and says what is to be done, in order.
    pub fn turn(&mut self, now: Moment, event: Event) -> Vec<Action> {
        let mut actions = vec![];
        match event {
            Event::Asked { from, request, known } => self.asked(now, from, request, &known, &mut actions),
            Event::Resolved { from, asked, commit } => self.resolved(now, from, asked, commit, &mut actions),
            Event::Recorded { token, result } => self.recorded(now, token, result, &mut actions),
            Event::Thawed { app, thawed } => {
                if let Some(app) = self.any_app(&app) {
                    app.definitions.insert(thawed.release.clone(), thawed);
                }
            }
            Event::Pointed { app, release } => self.pointed(&app, release),
            Event::Worked { app, number, worked } => {
                match self.stopping {
                    // Its row stays open: the next start of the daemon finds it interrupted.
                    true => self.forget_active(&app),
                    false if self.apps.get(&app).is_some_and(|app| app.removed) => {
                        self.abandon(now, &app, &mut actions);
                    }
                    false => {
                        self.drive(now, &app, Some(number), crate::deploy::Input::Worked(worked), &mut actions);
                    }
                }
            }
            Event::Happened { entries } => actions.push(Action::Record { token: None, entries }),
            Event::Stepped { number, step, words } => {
                self.keep_last_words(number, &step, words);
                let entries = vec![Entry::Step { number, step, at: now.wall }];
                actions.push(Action::Record { token: None, entries });
            }
            Event::Spawned { instance, pid, port } => {
                // It may have ended before anybody heard that it began.
                if self.is_expected(instance) {
                    self.pids.insert(instance, pid);
                }
                self.apps.values_mut().for_each(|app| app.services.has_port(instance, port));
                self.instance_event(now, instance, Input::Spawned, &mut actions);
            }
            Event::Told { instance, notices } => {
                for notice in notices {
                    self.instance_event(now, instance, Input::Told(notice), &mut actions);
                }
            }
            Event::Looked { instance, result } => {
                self.instance_event(now, instance, Input::Looked(result), &mut actions);
            }
            Event::Routed { app, service, release, result } => {
                self.routed(now, &app, &service, &release, result, &mut actions);
            }
            Event::SpawnFailed { instance, why } => {
                self.instance_event(now, instance, Input::SpawnFailed(why), &mut actions);
            }
            Event::Exited { instance, clean, words } => {
                self.pids.remove(&instance);
                self.instance_event(now, instance, Input::Exited { clean, words }, &mut actions);
            }
            Event::Probed { app, watch, index, result } => {
                self.probed(now, &app, watch, index, result, &mut actions);
            }
            Event::UnitsRestarted { app, result } => self.units_restarted(now, &app, result, &mut actions),
            Event::NotRebooted { app, why } => self.not_rebooted(now, &app, &why, &mut actions),
            Event::Scheduled { app, run, outcome } => self.schedule_ended(now, &app, run, outcome, &mut actions),
            Event::BranchSeen { app, look, result } => self.branch_seen(now, &app, look, result, &mut actions),
            Event::Sensed { result } => self.sensed(now, result, &mut actions),
            Event::NetworkIsBack => {
                self.network_is_back(now);
                self.mail.outbox.try_at_once();
                self.address_may_differ(now);
            }
            Event::AddressChanged => self.address_may_differ(now),
            Event::AddressTold { result } => self.address_told(now, result, &mut actions),
            Event::Sent { channel, seq, outcome } => self.sent(now, &channel, seq, outcome, &mut actions),
            Event::Reconfigured { config, found } => self.reconfigured(now, *config, found, &mut actions),
            Event::StaysBroken { notice } => self.broken_files = Some(notice),
            Event::Certified(certified) => self.certified(now, certified, &mut actions),
            Event::CertificateTouched => self.certificate_touched(now),
            Event::ClockSet => {
                self.clock_is_held = true;
                self.clock_set(now);
                // What TLS refused by a wrong clock may do now.
                self.mail.outbox.try_at_once();
                self.board.look_now(now);
            }
            Event::Reexec => self.ask_successor(None, &mut actions),
            Event::SuccessorChecked { result } => self.successor_checked(now, result, &mut actions),
            Event::Stop => self.stop(now, &mut actions),
            Event::Tick => {}
        }
        self.time_passed(now, &mut actions);
        actions
    }

    /// When the next turn is due, on the monotonic clock; `None`: only an event can change anything.
    pub fn deadline(&self) -> Option<Duration> {
        let apps = self.apps.values().flat_map(|app| {
            let waiters = app.waiters.iter().map(|waiter| waiter.until).min();
            let watch = app.watch.as_ref().filter(|_| self.may_probe(app)).and_then(|watch| watch.deadline());
            // A daemon that ends leaves deployments as they are, for its successor to find.
            let active = app.active.as_ref().filter(|_| !self.stopping).and_then(|deployment| deployment.deadline());
            let runs = app.runs_as_it_should();
            let look = Some(&app.lookout).filter(|_| !self.stopping && !app.removed);
            let look = look.and_then(|lookout| lookout.deadline(runs));
            let gates = app.gates_due.filter(|_| !self.stopping);
            let runs_again = app.runs_again_at();
            let agenda = app.agenda.deadline().filter(|_| !self.stopping);
            [app.services.deadline(), watch, active, waiters, look, gates, agenda, runs_again]
        });
        let listener = self.listener.as_ref().and_then(|listener| listener.machine.deadline());
        let board = self.board.deadline().filter(|_| !self.stopping);
        apps.chain([
            listener,
            board,
            self.certificate_deadline(),
            self.reexec_deadline(),
            self.mail_deadline(),
            self.standing_deadline(),
        ])
        .flatten()
        .min()
    }

    /// Whatever is due by now, for every app and the listener.
    fn time_passed(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let names: Vec<AppName> = self.apps.keys().cloned().collect();
        for name in names {
            self.app_time_passed(now, &name, actions);
            self.look_if_due(now, &name, actions);
            self.run_what_is_scheduled(now, &name, actions);
        }
        self.feed_listener(now, Input::Tick, actions);
        self.look_at_certificate_when_due(now, actions);
        self.look_at_the_board_when_due(now, actions);
        self.standing_time_passed(now, actions);
        self.send_what_is_due(now, actions);
        if self.stopping && self.is_down() {
            actions.push(Action::Exit);
        }
        self.reexec_when_quiet(now, actions);
    }

    /// A write to the diary ended: whoever waited for it goes on.
    fn recorded(&mut self, now: Moment, token: Token, result: Result<(), String>, actions: &mut Vec<Action>) {
        match self.pending.remove(&token) {
            Some(Pending::Machine { app, number, facts }) => {
                self.news_written(&facts);
                let goes_on = |app: &AppWorld| app.active.as_ref().is_some_and(|active| active.number == number);
                if result.is_err() && self.apps.get(&app).is_some_and(goes_on) {
                    self.write_later(facts, actions);
                }
                self.drive(now, &app, Some(number), crate::deploy::Input::Recorded(result), actions);
            }
            Some(Pending::News { facts }) => self.news_written(&facts),
            Some(Pending::Sent { channel }) => self.mail.outbox.noted(&channel),
            Some(Pending::Intake { deployments, to, answer }) => {
                let written = result.is_ok();
                actions.push(Action::Answer { to, answer: or_error(result, *answer) });
                for deployment in deployments.into_iter().filter(|_| written) {
                    self.enqueue(now, deployment, actions);
                }
            }
            Some(Pending::Poll { deployments }) => self.poll_recorded(now, deployments, result, actions),
            Some(Pending::Wish { app, to, facts }) => match result {
                Ok(()) => self.wish_is_written(now, &app, to, actions),
                Err(why) => {
                    self.write_later(facts, actions);
                    self.wish_may_be_forgotten(&app, to, &why, actions);
                }
            },
            Some(Pending::Samples { rows }) => self.samples_recorded(rows, result, actions),
            Some(Pending::Approval { app, number, to }) => self.approved(now, &app, number, to, result, actions),
            Some(Pending::Reboot { app }) => self.reboot_is_written(now, &app, result, actions),
            // One that cannot be written down runs all the same.
            Some(Pending::Schedule { app, schedule, run }) => self.begin_schedule(now, &app, *schedule, run, actions),
            Some(Pending::Forgiveness { app: name, commit, to }) => {
                if let Some(app) = self.any_app(&name).filter(|_| result.is_ok()) {
                    app.quarantine.remove(&commit);
                }
                let message = format!("{} may be deployed to {name} again", commit.short());
                actions.push(Action::Answer { to, answer: or_error(result, Answer::Done { message }) });
            }
            None => {}
        }
    }

    /// What became true although it could not be written down is written as soon as there is room: a deployment whose
    /// end is missing would be taken for an interrupted one at the next start, long after others followed it.
    fn write_later(&mut self, facts: Vec<Entry>, actions: &mut Vec<Action>) {
        let became_true = |fact: &Entry| match fact {
            Entry::Phase { phase, .. } => matches!(phase, Phase::Rollback | Phase::Done),
            Entry::PassedVerify { .. } | Entry::WentLive { .. } => false,
            _ => true,
        };
        let entries: Vec<Entry> = facts.into_iter().filter(became_true).collect();
        if !entries.is_empty() {
            actions.push(Action::Record { token: None, entries });
        }
    }

    /// Asks for a write that `pending` waits for.
    pub(super) fn record(&mut self, entries: Vec<Entry>, pending: Pending, actions: &mut Vec<Action>) {
        self.tokens_made += 1;
        let token = Token(self.tokens_made);
        self.pending.insert(token, pending);
        actions.push(Action::Record { token: Some(token), entries });
    }

    /// SIGTERM: in order; a second one: at once.
    fn stop(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let again = std::mem::replace(&mut self.stopping, true);
        if again {
            let everything = self.pids.keys().map(|instance| Action::Kill { instance: *instance });
            actions.extend(everything);
            actions.push(Action::Exit);
            return;
        }
        actions.push(Action::CancelLooks);
        self.write_all_samples(now, actions);
        let names: Vec<AppName> = self.apps.keys().cloned().collect();
        for name in names {
            self.stop_app_for_good(now, &name, actions);
        }
        self.feed_listener(now, Input::Want(crate::supervise::instance::Wanted::Down), actions);
    }

    /// Its end was not heard of yet.
    fn is_expected(&self, instance: InstanceId) -> bool {
        let listener = self.listener.iter().filter_map(|listener| listener.process);
        let services = self.apps.values().flat_map(|app| app.services.slots()).filter_map(|slot| slot.process);
        listener.chain(services).any(|expected| expected == instance)
    }

    fn is_down(&self) -> bool {
        let listener_down = self.listener.as_ref().is_none_or(|listener| listener.process.is_none());
        let works = self.apps.values().any(|app| app.active.as_ref().is_some_and(|deployment| deployment.is_working()));
        let runs = self.apps.values().any(|app| app.agenda.is_running());
        listener_down && !works && !runs && self.apps.values().all(|app| app.services.slots().is_empty())
    }

    /// Starts the listener, where there is one.
    pub fn start_listener(&mut self, now: Moment) -> Vec<Action> {
        let mut actions = vec![];
        match self.listener.as_mut().and_then(|listener| listener.tls.as_mut()) {
            Some(tls) => tls.look(&mut actions),
            None => self.feed_listener(now, Input::Want(crate::supervise::instance::Wanted::Up), &mut actions),
        }
        actions
    }

    /// A listener knows the apps as they were when it started: a new one is given them as they are. Its socket stays
    /// open meanwhile, so that callers wait and nobody is refused.
    fn restart_listener(&mut self, now: Moment, actions: &mut Vec<Action>) {
        self.feed_listener(now, Input::Want(crate::supervise::instance::Wanted::Down), actions);
        let lacks_certificate =
            |listener: &Listener| listener.tls.as_ref().is_some_and(|tls| tls.certificate.is_none());
        if !self.listener.as_ref().is_some_and(lacks_certificate) {
            self.feed_listener(now, Input::Want(crate::supervise::instance::Wanted::Up), actions);
        }
    }

    /// The listener is supervised as any service is.
    fn feed_listener(&mut self, now: Moment, input: Input, actions: &mut Vec<Action>) {
        let Some(listener) = &mut self.listener else { return };
        if matches!(input, Input::Exited { .. } | Input::SpawnFailed(_)) {
            listener.process = None;
        }
        for deed in listener.machine.on(now.mono, input) {
            match (deed, listener.process) {
                (Deed::Spawn, _) => {
                    self.instances_made += 1;
                    let instance = InstanceId(self.instances_made);
                    listener.process = Some(instance);
                    let certificate = listener.tls.as_ref().and_then(|tls| tls.certificate.clone());
                    actions.push(Action::SpawnListener { instance, certificate });
                }
                (Deed::Terminate, Some(instance)) => actions.push(Action::Terminate { instance, signal: SIGTERM }),
                (Deed::Kill, Some(instance)) => actions.push(Action::Kill { instance }),
                (Deed::CrashLoop { words, .. }, _) => {
                    let text = format!("the listener keeps ending ({words}); it is tried again, ever more slowly");
                    actions.push(Action::Note { level: log::Level::Error, text });
                }
                // It shows that it is ready by running, and nobody waits for its word.
                (Deed::Look | Deed::BecameReady | Deed::SpeaksEvery(_) | Deed::Abort { .. }, _) => {}
                (Deed::Terminate | Deed::Kill, None) => {}
            }
        }
    }
}

const SIGTERM: i32 = 15;

pub(super) fn or_error(result: Result<(), String>, answer: Answer) -> Answer {
    match result {
        Ok(()) => answer,
        Err(why) => Answer::Error { exit: 3, message: format!("it could not be written to the diary: {why}") },
    }
}
