//! What the daemon said a moment ago: however many ask, it is asked about once a second.
//!
//! Line: knows nothing of what is remembered.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// An answer is as good as a new one for so long.
pub(super) const FRESH: Duration = Duration::from_secs(1);

/// While somebody asks, the others get the last answer if it is not older than this; a silent daemon is noticed sooner.
const BEARABLE: Duration = Duration::from_secs(4);

/// One remembered answer.
#[derive(Debug)]
pub(super) struct Recent<T> {
    memory: Mutex<Memory<T>>,
    bell: Condvar,
}

#[derive(Debug)]
struct Memory<T> {
    last: Option<(Instant, T)>,
    asking: bool,
}

impl<T: Clone> Recent<T> {
    pub(super) fn new() -> Recent<T> {
        Recent { memory: Mutex::new(Memory { last: None, asking: false }), bell: Condvar::new() }
    }

    /// What was answered within the last second; else `ask` is called by one, and waited for by others.
    pub(super) fn get(&self, ask: impl FnOnce() -> T) -> T {
        let mut memory = self.memory();
        loop {
            let age = memory.last.as_ref().map(|(since, _)| since.elapsed());
            let good = if memory.asking { BEARABLE } else { FRESH };
            if let Some((_, last)) = memory.last.as_ref().filter(|_| age.is_some_and(|age| age < good)) {
                return last.clone();
            }
            if !memory.asking {
                break;
            }
            memory = self.bell.wait(memory).unwrap_or_else(PoisonError::into_inner);
        }
        memory.asking = true;
        drop(memory);
        let turn = Turn(self);
        let answer = ask();
        self.memory().last = Some((Instant::now(), answer.clone()));
        drop(turn);
        answer
    }

    fn memory(&self) -> MutexGuard<'_, Memory<T>> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever asks; the next one may when it is dropped, also by a panic.
struct Turn<'a, T: Clone>(&'a Recent<T>);

impl<T: Clone> Drop for Turn<'_, T> {
    fn drop(&mut self) {
        self.0.memory().asking = false;
        self.0.bell.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Barrier};
    use std::thread;

    #[test]
    fn of_many_at_once_one_asks() {
        let recent = Arc::new(Recent::new());
        let asked = Arc::new(AtomicUsize::new(0));
        let together = Arc::new(Barrier::new(16));
        let callers: Vec<_> = (0..16)
            .map(|_| {
                let (recent, asked, together) = (recent.clone(), asked.clone(), together.clone());
                thread::spawn(move || {
                    together.wait();
                    recent.get(|| asked.fetch_add(1, Ordering::SeqCst))
                })
            })
            .collect();
        for caller in callers {
            assert_eq!(caller.join().unwrap(), 0);
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn what_is_old_is_asked_anew_and_meanwhile_good_enough_for_others() {
        let recent = Recent::new();
        assert_eq!(recent.get(|| 1), 1);
        assert_eq!(recent.get(|| unreachable!()), 1);
        let age = |by: Duration| {
            let mut memory = recent.memory();
            if let Some((since, _)) = &mut memory.last {
                *since = since.checked_sub(by).unwrap();
            }
        };
        age(FRESH);
        let second = recent.get(|| {
            assert_eq!(recent.get(|| unreachable!()), 1, "somebody else, meanwhile");
            2
        });
        assert_eq!((second, recent.get(|| unreachable!())), (2, 2));
    }

    #[test]
    fn one_that_panics_leaves_the_turn_to_the_next() {
        let recent: Recent<u8> = Recent::new();
        let fell = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| recent.get(|| panic!("fell"))));
        assert!(fell.is_err());
        assert_eq!(recent.get(|| 3), 3);
    }
}
