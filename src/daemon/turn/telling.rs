//! What people are told of what happens here.

use super::super::action::Action;
use super::super::world::World;
use crate::base::Moment;
use crate::notify::{Gravity, Happening};

impl World {
    /// Something happened that people may want to hear of.
    pub(in super::super) fn tell(&mut self, _now: Moment, happening: Happening, actions: &mut Vec<Action>) {
        let (level, text) = match happening {
            Happening::Trouble { gravity: Gravity::Warning, what, .. } => (log::Level::Warn, what),
            Happening::Trouble { gravity: Gravity::Critical, what, .. } => (log::Level::Error, what),
            Happening::Recovered { what, .. } => (log::Level::Info, what),
        };
        actions.push(Action::Note { level, text });
    }
}
