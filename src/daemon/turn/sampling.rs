//! What is kept of how the board was, on its way to the diary. Nobody waits for it, and it holds up nobody: what cannot be
//! written is given up.

use super::super::action::Action;
use super::super::world::{Pending, World};
use crate::base::Moment;
use crate::control::{BoardHistory, BoardSample};
use crate::health::Resolution;
use crate::health::record::{Row, sampled};
use crate::store::Entry;

impl World {
    /// The board was looked at and judged; `changed`: something of it got worse or better.
    pub(super) fn keep_sample(&mut self, now: Moment, changed: bool, actions: &mut Vec<Action>) {
        let Some((_, readings)) = &self.board.seen else { return };
        let disciplined = readings.clock_synchronised.value() == Some(&true);
        self.recorder.look(now, disciplined, &sampled(readings));
        if changed {
            self.recorder.something_changed();
        }
        let rows = self.recorder.due(now.mono);
        self.write_samples(rows, actions);
    }

    /// The daemon ends, or becomes another: what waits is written down now.
    pub(super) fn write_all_samples(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let rows = self.recorder.rest(now.mono);
        self.write_samples(rows, actions);
    }

    fn write_samples(&mut self, rows: Vec<Row>, actions: &mut Vec<Action>) {
        if !rows.is_empty() {
            self.record(vec![Entry::Sampled(rows.clone())], Pending::Samples { rows }, actions);
        }
    }

    /// They are on disk, or cannot be.
    pub(super) fn samples_recorded(&mut self, rows: Vec<Row>, result: Result<(), String>, actions: &mut Vec<Action>) {
        let Err(why) = result else { return };
        self.recorder.could_not_be_written(rows);
        let text =
            format!("how the board was cannot be written down, {} minutes are lost: {why}", self.recorder.lost());
        actions.push(Action::Note { level: log::Level::Warn, text });
    }

    /// What the diary does not know yet.
    pub(super) fn unwritten_samples(&self) -> BoardHistory {
        let on_their_way = self.pending.values().filter_map(|pending| match pending {
            Pending::Samples { rows } => Some(rows),
            _ => None,
        });
        let minutes = on_their_way.flatten().filter(|row| row.resolution == Resolution::Minute);
        let mut samples: Vec<BoardSample> = minutes.map(|row| row.sample.clone()).collect();
        samples.extend(self.recorder.unwritten());
        let resolution_seconds = Resolution::Minute.span().as_secs();
        BoardHistory { resolution_seconds, samples, lost: self.recorder.lost() }
    }
}

#[cfg(test)]
mod tests;
