//! What processes say of themselves over their notify sockets, and what a daemon can know from that.

use super::Simulation;
use super::host::{Due, MILLISECOND};
use super::processes::Process;
use crate::base::InstanceId;
use crate::config::Ready;
use crate::daemon::event::Event;
use crate::supervise::notice::Notice;
use std::time::Duration;

/// What a process may promise by `WATCHDOG_USEC`.
const PROMISES: [Duration; 3] = [Duration::from_secs(20), Duration::from_secs(90), Duration::from_secs(900)];

impl Simulation {
    /// It is warm, or it is time to say that it lives, or it feels like speaking.
    pub(super) fn speak(&mut self, pid: u32) {
        let now = self.now.mono;
        let Some(process) = self.processes.get(&pid) else { return };
        if process.nature.hangs || process.nature.said_goodbye {
            return;
        }
        if !process.is_warm(now) {
            return self.ask_for_time(pid);
        }
        let first = !process.nature.said_ready;
        let mut notices = vec![];
        if first {
            notices.extend((process.ready() == Ready::Notify).then_some(Notice::Ready));
        }
        notices.extend(process.nature.speaks_every.map(|_| Notice::Alive));
        if !self.calm {
            notices.extend(self.something_else(pid));
        }
        if let Some(process) = self.processes.get_mut(&pid) {
            process.nature.said_ready |= first;
        }
        self.speak_again(pid);
        self.say(pid, notices);
    }

    fn something_else(&mut self, pid: u32) -> Vec<Notice> {
        let Some(process) = self.processes.get_mut(&pid) else { return vec![] };
        let is_watched = process.nature.speaks_every.is_some();
        match self.random.below(60) {
            0..8 => vec![Notice::Status("serving".into())],
            8..12 => vec![Notice::Reloading, Notice::Ready],
            12..14 => vec![Notice::Extend(self.random.span(Duration::from_secs(60)))],
            14..18 if is_watched => {
                let promise = *self.random.pick(&PROMISES);
                process.nature.speaks_every = Some(promise);
                vec![Notice::AliveEvery(promise)]
            }
            18 if is_watched => {
                process.nature.said_it_is_broken = true;
                vec![Notice::Broken]
            }
            19 => {
                process.nature.said_goodbye = true;
                let (soon, clean) = (self.random.skewed(Duration::from_secs(20)), self.random.percent(50));
                self.schedule(self.now.mono + soon, Due::Die { pid, clean, forced: false });
                vec![Notice::Stopping]
            }
            _ => vec![],
        }
    }

    /// A watched process speaks in time, others now and then. Who is slow to start asks for more time, or does not.
    fn speak_again(&mut self, pid: u32) {
        let Some(process) = self.processes.get(&pid) else { return };
        let gap = match process.nature.speaks_every {
            Some(limit) => limit / 4 + self.random.span(limit * 13 / 20),
            None if !self.calm && self.random.percent(60) => self.random.span(Duration::from_secs(600)),
            None => return,
        };
        self.schedule(self.now.mono + gap, Due::Speak { pid });
    }

    fn say(&mut self, pid: u32, notices: Vec<Notice>) {
        let Some(process) = self.processes.get_mut(&pid).filter(|_| !notices.is_empty()) else { return };
        let instance = process.instance;
        if self.world.is_none() {
            // The socket is kept, and with it what nobody has read.
            return process.nature.unread.push(notices);
        }
        if self.random.percent(5) {
            self.hear(Event::Told { instance, notices: notices.clone() });
        }
        self.turn(Event::Told { instance, notices });
    }

    /// What was said to nobody is read by the daemon that comes.
    pub(super) fn read_what_was_said(&mut self, pid: u32) {
        let Some(process) = self.processes.get_mut(&pid) else { return };
        let (instance, unread) = (process.instance, std::mem::take(&mut process.nature.unread));
        for notices in unread {
            self.hear_in(MILLISECOND, Event::Told { instance, notices });
        }
    }

    /// Nobody has read it yet: it waits in the socket.
    pub(super) fn leave_unread(&mut self, instance: InstanceId, notices: Vec<Notice>) {
        if let Some((_, process)) = self.process(instance) {
            process.nature.unread.push(notices);
        }
    }

    /// A word that is read after its speaker's death.
    pub(super) fn speak_late(&mut self, instance: InstanceId) {
        if !self.calm && self.random.percent(10) {
            let notices = vec![Notice::Ready, Notice::Alive, Notice::Extend(Duration::from_secs(1000)), Notice::Broken];
            self.soon(Duration::from_secs(5), Due::Hear(Event::Told { instance, notices }));
        }
    }

    /// A process that begins slowly asks for more time before its time is up.
    fn ask_for_time(&mut self, pid: u32) {
        let Some(process) = self.processes.get(&pid) else { return };
        let (Some(by), Some(warm)) = (process.heard.ready_by, process.nature.ready_at) else { return };
        if warm > by && process.ready() == Ready::Notify && self.random.percent(50) {
            self.say(pid, vec![Notice::Extend(warm.saturating_sub(self.now.mono) + Duration::from_secs(1))]);
        }
    }

    /// The daemon was killed over what somebody had just said.
    pub(super) fn lose_the_word_of(&mut self, speaker: Option<InstanceId>) {
        let process = speaker.and_then(|instance| self.process(instance));
        process.into_iter().for_each(|(_, process)| process.nature.was_misheard = true);
    }

    /// What the daemon knows of a process from here on.
    pub(super) fn take_note(&mut self, event: &Event) {
        let now = self.now.mono;
        match event {
            Event::Spawned { instance, .. } => {
                let at_once = self.remembered(*instance).filter(|process| process.ready() == Ready::Exec);
                at_once.into_iter().for_each(|process| process.is_known_to_be_ready(now));
            }
            Event::Looked { instance, result: Ok(()) } => {
                self.remembered(*instance).into_iter().for_each(|process| process.is_known_to_be_ready(now));
            }
            Event::Told { instance, notices } => {
                let Some(process) = self.remembered(*instance) else { return };
                notices.iter().for_each(|notice| process.was_heard(now, notice));
            }
            _ => {}
        }
    }

    /// The process that the daemon takes for running under this number.
    fn remembered(&mut self, instance: InstanceId) -> Option<&mut Process> {
        let unheard = self.unheard.values_mut().map(|(process, _)| process);
        self.processes.values_mut().chain(unheard).find(|process| process.instance == instance)
    }
}

impl Process {
    pub(super) fn is_known_to_be_ready(&mut self, now: Duration) {
        if !self.heard.is_ready {
            self.heard.is_ready = true;
            self.heard.silent_at = self.heard.alive_every.map(|every| now + every);
        }
    }

    fn was_heard(&mut self, now: Duration, notice: &Notice) {
        let heard = &mut self.heard;
        match notice {
            Notice::Ready if self.service.as_ref().is_some_and(|service| service.ready == Ready::Notify) => {
                self.is_known_to_be_ready(now);
            }
            Notice::Alive if heard.is_ready => heard.silent_at = heard.alive_every.map(|every| now + every),
            Notice::AliveEvery(every) if heard.alive_every.is_some() => {
                heard.alive_every = Some(*every);
                heard.silent_at = heard.is_ready.then_some(now + *every);
            }
            Notice::Broken => heard.silent_at = Some(now),
            Notice::Stopping => heard.silent_at = None,
            Notice::Extend(span) => heard.ready_by = heard.ready_by.map(|by| by.max(now + *span)),
            _ => {}
        }
    }
}
