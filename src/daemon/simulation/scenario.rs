//! What there is to simulate: commits with their hidden faults, and what people, forges and the machine do to a daemon.

use super::Simulation;
use super::random::Random;
use super::shapes::other_config;
use crate::base::{AppName, CommitId, DeployId, ServiceName};
use crate::control::{self, Delivery, DeployAsked, Request, Want, Wanted};
use crate::daemon::event::Event;
use std::collections::BTreeMap;

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
    /// Its processes run and never become ready.
    NeverReady,
    /// Its processes stop speaking and answering.
    HangsLater,
}

/// An app's branch: commit `n + 1` is a child of commit `n`.
#[derive(Debug, Default)]
pub(super) struct Branch {
    faults: Vec<Fault>,
}

impl Branch {
    pub(super) fn grow(&mut self, random: &mut Random) -> CommitId {
        use Fault::*;
        let in_its_work = [Build, Test, Rehearsal, Migrate, Smoke, Hang];
        let in_its_processes = [Exec, Crash, Unhealthy, SickLater, NeverReady, HangsLater];
        let faults = [in_its_work, in_its_processes].concat();
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

impl Simulation {
    /// Something comes from outside, at this moment.
    pub(super) fn stimulate(&mut self) {
        let names: Vec<AppName> = self.config.apps.keys().cloned().collect();
        let app = self.random.pick(&names).clone();
        match self.random.below(100) {
            0..25 => self.deliver_something(app),
            25..28 => self.ask_for_a_new_program(),
            28..30 => self.hang_a_process(),
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
            60..67 => {
                let recent = 1 + self.random.below(5);
                let newest = self.promises.rows.keys().next_back().map_or(0, |number| number.0);
                let number = DeployId(newest.saturating_sub(recent - 1));
                let approves = self.random.percent(50);
                self.ask(if approves { Request::Approve { number } } else { Request::Cancel { number } });
            }
            67..69 => {
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
            92..95 => self.kill_a_process(),
            95..98 => self.something_about_the_network(&app),
            98 => self.reconfigure(),
            _ => self.ask_for_a_command_or_the_status(app),
        }
    }

    /// SIGHUP after the files were changed.
    fn reconfigure(&mut self) {
        let names: Vec<AppName> = self.branches.keys().cloned().collect();
        self.config = other_config(&mut self.random, &names, &self.config.host);
        let gone = names.iter().filter(|name| !self.config.apps.contains_key(*name));
        gone.for_each(|name| self.promises.forget_app(name));
        self.promises.meddle_with(&names);
        self.promises.passages.remembered_anew(&self.promises.rows);
        let found = if self.world.is_some() { self.found() } else { BTreeMap::new() };
        self.turn(Event::Reconfigured { config: Box::new(self.config.clone()), found });
    }

    /// By signal, or by the command line.
    fn ask_for_a_new_program(&mut self) {
        match self.random.percent(50) {
            true => {
                self.promises.reexecs_asked += 1;
                self.turn(Event::Reexec);
            }
            false => self.ask(Request::Reexec),
        }
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
        let id = webhook.then(|| format!("delivery-{}", self.deliveries_made));
        let trigger = if webhook { control::Trigger::Webhook } else { control::Trigger::Deploy };
        let wants = vec![Want { app, wanted: Wanted::Commit(commit) }];
        let delivery = Delivery { wants, ..Delivery::new(id, trigger, "push") };
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
