//! The board: when it is looked at, who hears of what is found, and what keeps deployments from beginning.
//!
//! ```text
//! due, or a deployment is to begin and the last look is old
//!        └─▶ Sense ─▶ Sensed ─┬─▶ strains: under-voltage, heat, memory, clock ─▶ gates are judged anew
//!                             └─▶ each `every`: the judge ─▶ what changed is told
//! ```
//! A look that does not come back (a file system that hangs) holds up nobody for long, and no second one is begun beside
//! it. Nothing here touches what runs: heat never restarts an app. Line: `health::judge` knows what readings mean,
//! `deploy::gate` who waits for a strain.

use super::super::action::Action;
use super::super::world::World;
use crate::base::{AppName, Moment, WallTime};
use crate::config::{HostHealth, Limits};
use crate::deploy::gate::{Gate, Strain, Strained};
use crate::deploy::{Deployment, Kind};
use crate::health::board::{Disk, Readings, Room};
use crate::health::judge::{Change, Finding, Judge, Level};
use crate::notify::{Gravity, Happening, Subject};
use std::time::Duration;

/// A deployment begins by readings that are no older.
const FRESH: Duration = Duration::from_secs(10);
/// While a deployment waits for the board, it is looked at so often.
const WHILE_AWAITED: Duration = Duration::from_secs(10);
/// A look takes milliseconds; one that has not come back by then is waited for no longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How far below its limit a value must be before what waited for it goes on.
const MARGIN: f64 = 3.0;
/// What is critical by its share alone is no reason to wait or to refuse where there is this much.
const ENOUGH_MEMORY: u64 = 512 << 20;
const ENOUGH_DISK: u64 = 1 << 30;
const ENOUGH_INODES: u64 = 10_000;
/// After so many samples everything that stands is known: none takes more to rise.
const SETTLED: u32 = 6;
/// What people are told of as long as a look does not come back.
const SENSORS: &str = "sensors";
/// No clock that was ever set shows less: 2024-01-01.
const CLOCK_WAS_SET: WallTime = WallTime(1_704_067_200_000);

/// What is known of the board.
#[derive(Debug, Default)]
pub struct Board {
    pub(in super::super) health: HostHealth,
    /// The last look.
    pub(in super::super) seen: Option<(Moment, Readings)>,
    /// What stands, over many looks.
    pub(in super::super) judge: Judge,
    judged_at: Option<Duration>,
    /// How often it was judged since this daemon began, as far as that matters.
    judged: u32,
    /// When the next look is due; never, where nobody said how to watch.
    due: Option<Duration>,
    look: Look,
    /// What keeps deployments from beginning.
    strained: Vec<Strained>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Look {
    #[default]
    None,
    UnderWay {
        since: Duration,
    },
    /// It has not come back, and nothing is known meanwhile.
    Lost,
}

impl Board {
    pub(in super::super) fn deadline(&self) -> Option<Duration> {
        match self.look {
            Look::None => self.due,
            Look::UnderWay { since } => Some(since + PATIENCE),
            Look::Lost => None,
        }
    }

    /// Something happened that may change what it says.
    pub(super) fn look_now(&mut self, now: Moment) {
        self.due = Some(self.due.map_or(now.mono, |due| due.min(now.mono)));
    }

    /// What keeps deployments from beginning.
    pub(super) fn strained(&self) -> &[Strained] {
        &self.strained
    }

    /// The gravest thing that stands.
    pub(in super::super) fn worst(&self) -> Option<Finding> {
        self.judge.findings().into_iter().next().filter(|finding| finding.level == Level::Critical)
    }

    /// A deployment may wait for no more than that this look comes back.
    #[cfg(test)]
    pub(in super::super) fn is_being_looked_at(&self) -> bool {
        matches!(self.look, Look::UnderWay { .. })
    }

    fn is_fresh(&self, now: Moment) -> bool {
        self.look == Look::Lost || self.seen.as_ref().is_some_and(|(at, _)| now.mono.saturating_sub(at.mono) <= FRESH)
    }

    fn begin_look(&mut self, now: Moment, actions: &mut Vec<Action>) {
        if self.look == Look::None {
            self.look = Look::UnderWay { since: now.mono };
            actions.push(Action::Sense);
        }
    }

    /// Why a deployment must not even wait: it would fail, or do harm.
    fn objections(&self) -> Vec<String> {
        let Some((_, readings)) = &self.seen else { return vec![] };
        let limits = self.health.thresholds.disk_percent;
        readings.disks.iter().filter(|disk| disk.must_be_writable).filter_map(|disk| objection(disk, limits)).collect()
    }
}

impl World {
    /// `[health]` as it is meant now; what was beyond the old limits is judged by the new ones at the next look.
    pub(in super::super) fn watch_the_board(&mut self, now: Moment, health: HostHealth) {
        self.board.health = health;
        self.board.look_now(now);
    }

    /// Looks when it is time to, and gives up waiting for a look that does not come back.
    pub(super) fn look_at_the_board_when_due(&mut self, now: Moment, actions: &mut Vec<Action>) {
        if self.stopping {
            return;
        }
        match self.board.look {
            Look::None if self.board.due.is_some_and(|due| due <= now.mono) => self.board.begin_look(now, actions),
            Look::UnderWay { since } if since + PATIENCE <= now.mono => {
                self.board.look = Look::Lost;
                self.board.strained.clear();
                self.tell(now, nothing_is_heard(), actions);
                self.begin_what_may(now, actions);
            }
            _ => {}
        }
    }

    /// Before this deployment begins the board is to be looked at; true: it is not to begin yet.
    pub(super) fn must_look_first(&mut self, now: Moment, deployment_kind: &Kind, actions: &mut Vec<Action>) -> bool {
        if *deployment_kind != Kind::Deploy || self.board.is_fresh(now) {
            return false;
        }
        self.board.begin_look(now, actions);
        true
    }

    /// A look came back.
    pub(super) fn sensed(&mut self, now: Moment, result: Result<Box<Readings>, String>, actions: &mut Vec<Action>) {
        self.board.look = Look::None;
        if self.mail.incidents.is_open(&Subject::host(SENSORS)) {
            let what = "the board's sensors answer again".into();
            self.tell(now, Happening::Recovered { about: Subject::host(SENSORS), app: None, what }, actions);
        }
        match result {
            Ok(readings) => {
                self.board.strained = strained(&readings, &self.board.health, now.wall, &self.board.strained);
                self.board.seen = Some((now, *readings));
                self.judge_the_board(now, actions);
            }
            Err(why) => {
                // Nobody knows, so nobody is held up.
                self.board.strained.clear();
                self.board.seen = Some((now, Readings::default()));
                let text = format!("look at the board: {why}");
                actions.push(Action::Note { level: log::Level::Error, text });
            }
        }
        self.begin_what_may(now, actions);
        let is_awaited = self.apps.values().flat_map(|app| &app.queue).any(waits_for_the_board);
        let every = self.board.health.every;
        self.board.due = Some(now.mono + if is_awaited { every.min(WHILE_AWAITED) } else { every });
    }

    /// Samples count as often as they were meant to, however often is looked in between.
    fn judge_the_board(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let board = &mut self.board;
        let every = board.health.every;
        let is_time = |at: Duration| now.mono.saturating_sub(at) >= every - every / 10;
        let Some((_, readings)) = board.seen.as_ref().filter(|_| board.judged_at.is_none_or(is_time)) else { return };
        board.judged_at = Some(now.mono);
        board.judged = board.judged.saturating_add(1);
        let is_settled = board.judged >= SETTLED;
        let changes = board.judge.look(readings, &board.health.thresholds);
        self.keep_sample(now, !changes.is_empty(), actions);
        for change in changes {
            match change {
                Change::Raised(finding) => self.tell(now, trouble(finding), actions),
                Change::Cleared { about, what } => {
                    let happening = Happening::Recovered { about: Subject::host(&about), app: None, what };
                    self.tell(now, happening, actions);
                }
                Change::Eased(finding) => {
                    actions.push(Action::Note { level: log::Level::Warn, text: finding.what.clone() });
                    // Nobody is told, but should it get as grave again, people are.
                    self.tell(now, trouble(finding), actions);
                }
            }
        }
        if is_settled {
            self.close_what_stands_no_longer(now, actions);
        }
    }

    fn begin_what_may(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let waiting = self.apps.iter().filter(|(_, app)| !app.queue.is_empty()).map(|(name, _)| name.clone());
        for name in waiting.collect::<Vec<AppName>>() {
            self.start_next(now, &name, actions);
        }
    }

    /// What speaks against a deployment that begins now. Who forces it hears - and the history has - what else the board
    /// would have kept it for.
    pub(super) fn objections_to(&self, deployment: &Deployment) -> Vec<String> {
        if deployment.plan().kind != Kind::Deploy {
            return vec![];
        }
        let strains = self.board.strained.iter().filter(|_| deployment.forced).map(|strained| strained.now.clone());
        self.board.objections().into_iter().chain(strains).collect()
    }
}

fn waits_for_the_board(deployment: &Deployment) -> bool {
    let gates = deployment.waiting.iter().flat_map(|waits| &waits.gates);
    gates.into_iter().any(|gate| matches!(gate, Gate::Board(_)))
}

fn trouble(finding: Finding) -> Happening {
    Happening::Trouble {
        about: Subject::host(&finding.about),
        app: None,
        gravity: if finding.level == Level::Critical { Gravity::Critical } else { Gravity::Warning },
        what: finding.what,
        advice: Some(finding.advice),
    }
}

fn nothing_is_heard() -> Happening {
    let advice = "A file system may hang: `journalctl -k` shows which. Until they answer nothing is known of the board, and \
                  deployments begin without asking them.";
    Happening::Trouble {
        about: Subject::host(SENSORS),
        app: None,
        gravity: Gravity::Warning,
        what: "the board's sensors do not answer".into(),
        advice: Some(advice.into()),
    }
}

/// What keeps deployments from beginning. What did before goes on to until it is well below its limit.
fn strained(readings: &Readings, health: &HostHealth, wall: WallTime, before: &[Strained]) -> Vec<Strained> {
    let was = |strain: Strain| before.iter().any(|strained| strained.strain == strain);
    let limit = |limits: Limits, strain: Strain| limits.critical - if was(strain) { MARGIN } else { 0.0 };
    let mut all = vec![];
    let mut found = |strain: Strain, now: String, awaited: String| all.push(Strained { strain, now, awaited });
    if readings.power.now.under_voltage.value() == Some(&true) {
        let now = "under-voltage now: the power supply or cable is too weak";
        found(Strain::UnderVoltage, now.into(), format!("the power supply ({now})"));
    }
    let hot = limit(health.thresholds.temperature_celsius, Strain::Heat);
    if let Some(degrees) = readings.temperature.value().filter(|degrees| **degrees >= hot) {
        let cool = health.thresholds.temperature_celsius.critical - MARGIN;
        let now = format!("the processor is {degrees:.1} °C hot");
        let awaited = format!("the board to cool down ({now}; it goes on below {cool:.0} °C)");
        found(Strain::Heat, now, awaited);
    }
    let short = limit(health.thresholds.memory_percent, Strain::Memory);
    let memory = readings.memory.value().filter(|memory| memory.available.0 < ENOUGH_MEMORY);
    if let Some(memory) = memory.filter(|memory| memory.used_percent() >= short) {
        let now = format!("memory is short: {} of {} are available", memory.available, memory.total);
        found(Strain::Memory, now.clone(), format!("memory ({now})"));
    }
    // A clock that nobody ever set: certificates cannot be checked, and what is kept by its age would be thrown away.
    if readings.clock_synchronised.value() == Some(&false) && wall < CLOCK_WAS_SET {
        let now = format!("the clock is not set: it shows {wall}");
        found(Strain::Clock, now.clone(), format!("the time ({now})"));
    }
    all
}

fn objection(disk: &Disk, limits: Limits) -> Option<String> {
    let (mount, device) = (&disk.mount, &disk.device);
    if disk.read_only.value() == Some(&true) {
        return Some(format!(
            "nothing can be written at {mount}: {device} is mounted read-only, which the kernel does after errors of \
             the disk; look into `dmesg`, and check or replace it"
        ));
    }
    let is_full = |room: &Room, enough: u64| room.used_percent() >= limits.critical && room.free < enough;
    if let Some(room) = disk.space.value().filter(|room| is_full(room, ENOUGH_DISK)) {
        let free = crate::base::Bytes(room.free);
        return Some(format!(
            "the disk is full: {free} free at {mount} ({:.0} % taken); free some space (old backups: `pintle backup \
             prune`)",
            room.used_percent()
        ));
    }
    let inodes = disk.inodes.value().filter(|room| is_full(room, ENOUGH_INODES))?;
    Some(format!("the disk at {mount} has room for only {} more files; remove what is many and small", inodes.free))
}

#[cfg(test)]
mod tests;
