//! Waiting for conditions: with a deadline, never for a length of time.

use std::time::{Duration, Instant};

/// The pause between two looks: short at first, never long.
pub struct Pause(Duration);

impl Pause {
    pub fn new() -> Pause {
        Pause(Duration::from_millis(1))
    }
    /// Pauses once.
    pub fn once(&mut self) {
        std::thread::sleep(self.0);
        self.0 = (self.0 * 3 / 2).min(Duration::from_millis(25));
    }
}

/// Looks until something is found or the deadline passes.
pub fn wait_quietly<T>(patience: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + patience;
    let mut pause = Pause::new();
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        pause.once();
    }
}

/// Looks until something is found; fails the test when the deadline passes.
#[track_caller]
pub fn wait_until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait_quietly(super::PATIENCE, look).unwrap_or_else(|| panic!("waited in vain for {what}"))
}
