//! The daemon's own life: killed, cut off, ended in order, replaced by a new program, started again - and what its
//! successor finds.

use super::Simulation;
use super::host::Due;
use super::processes::{Heard, Process};
use crate::base::AppName;
use crate::config::Ready;
use crate::daemon::boot::Found;
use crate::daemon::event::Event;
use crate::daemon::world::World;
use crate::supervise::Survivor;
use crate::supervise::instance::Survival;
use std::collections::BTreeMap;
use std::time::Duration;

impl Simulation {
    /// SIGKILL: everything but the disk, the records and the apps' processes is gone.
    pub(super) fn crash(&mut self, how: &str) {
        self.peers.crashed = true;
        self.forget_what_nobody_knows_to_have_arrived();
        self.trace.note(self.now, || format!("-- {how}"));
        self.leave_routes_half_done();
        self.forget_what_was_due();
        self.world = None;
        self.works.clear();
        self.commands.are_gone();
        self.unheard.clear();
        self.processes.values_mut().for_each(|process| process.is_child = false);
        self.journal.lose_what_is_not_written();
        self.journal.full = false;
        self.promises.forget_requests();
        self.starts_at = self.now.mono + self.random.skewed(Duration::from_secs(60));
    }

    pub(super) fn power_cut(&mut self) {
        self.lose_unsynced_renames();
        self.crash("the plug is pulled");
        self.peers.crashed = false;
        self.end_everything();
    }

    /// It ended in order: what was told to the diary is written before.
    pub(super) fn exit(&mut self) {
        if self.stops_asked < 2 && !self.processes.is_empty() {
            let left = format!("{:?}", self.processes);
            self.promises_broken(|| format!("nothing of the apps is left when the daemon ends in order: {left}"));
        }
        if self.stops_asked < 2 {
            self.check_no_command_runs("the daemon ends in order");
        }
        if self.random.percent(50) {
            self.flush_the_journal();
        }
        self.crash("the daemon has ended");
        self.peers.crashed = false;
        self.end_everything();
    }

    fn end_everything(&mut self) {
        self.processes.clear();
        self.schedule.clear();
        self.sockets.clear();
    }

    /// The program that would take over looks at itself, the configuration and the diary.
    pub(super) fn ask_the_successor(&mut self) {
        let fit = self.calm || self.random.percent(80);
        let result = if fit { Ok("1.2.3".to_string()) } else { Err("its configuration is broken".to_string()) };
        self.promises.successor_is_fit = fit;
        self.soon(Duration::from_secs(5), Due::Hear(Event::SuccessorChecked { result }));
    }

    /// The daemon becomes a new program, once all that it was told is on disk: its children stay its own.
    pub(super) fn reexec(&mut self) {
        self.check_reexec();
        self.check_no_command_runs("a new program takes over");
        self.flush_the_journal();
        let cannot = self.journal.full || self.journal.has_backlog() || !self.calm && self.random.percent(10);
        if cannot {
            let result = Err("become /usr/bin/pintle: no such file".to_string());
            return self.hear(Event::SuccessorChecked { result });
        }
        self.trace.note(self.now, || "-- the daemon becomes a new program".into());
        self.leave_routes_half_done();
        self.forget_what_was_due();
        self.world = None;
        self.is_replaced = true;
        self.promises.forget_requests();
        self.starts_at = self.now.mono + self.random.span(Duration::from_millis(500));
    }

    /// What the disk and the records show of every app.
    pub(super) fn found(&self) -> BTreeMap<AppName, Found> {
        let found = self.disks.iter().map(|(app, disk)| {
            let highest = disk.releases.keys().map(|release| release.number()).max().unwrap_or_default();
            let (current, definitions) = (disk.current.clone(), self.definitions(app));
            let mine = self.processes.iter().filter(|(_, process)| process.app.as_ref() == Some(app));
            let survivors = mine.filter_map(|(pid, process)| Some((*pid, survivor(process)?))).collect();
            (app.clone(), Found { current, definitions, highest, survivors })
        });
        found.collect()
    }

    /// A new daemon ends what runs and is noted nowhere, and takes in what is, before it does anything else.
    pub(super) fn start(&mut self) {
        self.trace.note(self.now, || "-- the daemon starts".into());
        self.is_replaced = false;
        self.stops_asked = 0;
        self.told = Default::default();
        self.hear_of_zombies();
        self.end_strangers();
        self.disks.values_mut().for_each(|disk| disk.sweep());
        self.keep_ports_of_survivors();
        self.promises.new_life();
        self.commands.new_life(self.now.mono);
        self.promises.passages.remembered_anew(&self.promises.rows);
        let found = self.found();
        let snapshot = self.journal.diary.snapshot();
        let (mut world, mut actions) =
            World::boot(self.now, &self.config, snapshot, found, vec![], super::gates::zone());
        if std::mem::take(&mut self.peers.crashed) {
            world.predecessor_crashed(self.now, &mut actions);
        }
        self.world = Some(world);
        for pid in self.processes.keys().copied().collect::<Vec<_>>() {
            self.is_adopted(pid);
            self.read_what_was_said(pid);
        }
        self.check_nothing_is_lost();
        for (pid, (_, clean)) in std::mem::take(&mut self.unheard) {
            if let Some(process) = self.processes.remove(&pid) {
                self.tell_the_end(pid, process, clean);
            }
        }
        self.carry_out(actions, None);
        let Some(world) = &mut self.world else { return };
        let actions = world.start_listener(self.now);
        self.carry_out(actions, None);
    }

    /// Children that ended while nobody waited for them: seen as processes that are about to be reaped, or not at all.
    fn hear_of_zombies(&mut self) {
        let chance = self.random.percent(50);
        self.unheard.retain(|_, (process, _)| chance && process.record.exists);
        for (pid, (process, _)) in &self.unheard {
            self.processes.insert(*pid, process.clone());
        }
    }

    fn end_strangers(&mut self) {
        let configured = |process: &Process| process.app.as_ref().is_some_and(|app| self.config.apps.contains_key(app));
        let mut processes = std::mem::take(&mut self.processes);
        processes.retain(|_, process| process.record.exists && configured(process));
        self.processes = processes;
    }

    /// The new daemon begins with what the records tell.
    fn is_adopted(&mut self, pid: u32) {
        let now = self.now.mono;
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let (Some(app), Some(release)) = (process.app.clone(), process.release.clone()) else { return };
        let release = self.disks[&app].releases.get(&release);
        let definition = release.and_then(|release| release.applied.clone().or_else(|| release.definition.clone()));
        let startup = definition.map_or(Duration::ZERO, |app| app.deploy.startup);
        let every = process.service.as_ref().and_then(|service| service.watchdog);
        let every = every.map(|every| process.record.speaks_every.unwrap_or(every));
        let shows = process.ready() != Ready::Exec;
        process.heard = Heard { ready_by: shows.then(|| now + startup), alive_every: every, ..Heard::default() };
        if process.record.ready || !shows {
            process.is_known_to_be_ready(now);
        }
        process.heard.asked_at = process.record.asked_to_end.then_some(now);
    }
}

fn survivor(process: &Process) -> Option<Survivor> {
    Some(Survivor {
        instance: process.instance,
        service: process.service.clone()?,
        release: process.release.clone()?,
        index: process.index,
        round: process.round,
        port: process.port,
        survival: Survival {
            since: process.born,
            ready: process.record.ready,
            restarts: process.restarts,
            speaks_every: process.record.speaks_every,
            asked_to_end: process.record.asked_to_end,
        },
    })
}
