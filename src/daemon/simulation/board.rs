//! The board's sensors: answer late, sometimes never, and sometimes tell of under-voltage - and what is promised of
//! deployments meanwhile.

use super::Simulation;
use super::host::Due;
use crate::base::DeployId;
use crate::daemon::event::Event;
use crate::health::Readings;
use crate::health::board::Reading;
use std::time::Duration;

/// A deployment begins by readings that are no older, and waits no longer for new ones.
const TEN_SECONDS: Duration = Duration::from_secs(10);

/// What the daemon that runs was told.
#[derive(Debug, Default)]
pub(super) struct Told {
    asked: Option<Duration>,
    last: Option<(Duration, bool)>,
}

impl Simulation {
    pub(super) fn sense(&mut self) {
        self.told.asked = Some(self.now.mono);
        if !self.calm && self.random.permille(5) {
            return self.trace.note(self.now, || "-- the sensors hang".into());
        }
        let mut readings = Readings::default();
        readings.power.now.under_voltage = Reading::Value(!self.calm && self.random.percent(15));
        let broken = !self.calm && self.random.percent(2);
        let result = if broken { Err("no thread".into()) } else { Ok(Box::new(readings)) };
        self.soon(Duration::from_secs(2), Due::Hear(Event::Sensed { result }));
    }

    pub(super) fn note_what_the_sensors_say(&mut self, event: &Event) {
        if let Event::Sensed { result } = event {
            let is_weak = |readings: &Readings| readings.power.now.under_voltage == Reading::Value(true);
            self.told.asked = None;
            self.told.last = Some((self.now.mono, result.as_ref().is_ok_and(|readings| is_weak(readings))));
        }
    }

    /// No deploy begins while the voltage is too low, nor by what was so long ago.
    pub(super) fn check_the_board_at(&mut self, number: DeployId, is_forced: bool) {
        let Told { asked, last } = &self.told;
        let now = self.now.mono;
        let is_lost = asked.is_some_and(|at| now >= at + TEN_SECONDS);
        let is_fresh = last.is_some_and(|(at, _)| now <= at + TEN_SECONDS);
        let is_weak = last.is_some_and(|(_, weak)| weak) && !is_lost;
        self.promise(is_fresh || is_lost, || format!("{number} begins, and nobody looked at the board before"));
        self.promise(is_forced || !is_weak, || format!("{number} begins at under-voltage"));
    }
}
