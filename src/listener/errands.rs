//! Threads for what takes long: one for each errand under way, kept a moment for the next.
//!
//! How many there may be is bounded by the seats of `routes`. Line: it does not know what an errand is about.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Enough for a JSON document nested as deep as serde_json allows.
pub(super) const STACK: usize = 256 << 10;

/// How long a thread waits for another errand: a burst of deliveries needs no new one for each, and a quiet listener
/// keeps none.
const KEPT: Duration = Duration::from_secs(2);

type Errand = Box<dyn FnOnce() + Send>;

/// Where errands are left.
#[derive(Clone, Default)]
pub(super) struct Errands(Arc<Shared>);

#[derive(Default)]
struct Shared {
    board: Mutex<Board>,
    bell: Condvar,
}

#[derive(Default)]
struct Board {
    errands: VecDeque<Errand>,
    /// Threads that wait for one.
    idle: usize,
}

impl Errands {
    /// Runs `errand` at once, on a thread that waits or on a new one. Fails when none can be had; the errand is dropped.
    pub(super) fn run(&self, errand: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut board = self.0.board();
        if board.idle > board.errands.len() {
            board.errands.push_back(Box::new(errand));
            self.0.bell.notify_one();
            return Ok(());
        }
        drop(board);
        let shared = Arc::clone(&self.0);
        let begin = move || {
            errand();
            shared.run_more();
        };
        thread::Builder::new().name("errand".into()).stack_size(STACK).spawn(begin).map(drop)
    }
}

impl Shared {
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs what is left for this thread, until nothing was for a while.
    fn run_more(&self) {
        while let Some(errand) = self.next() {
            errand();
        }
    }

    fn next(&self) -> Option<Errand> {
        let mut board = self.board();
        board.idle += 1;
        let nothing = |board: &mut Board| board.errands.is_empty();
        let waited = self.bell.wait_timeout_while(board, KEPT, nothing);
        board = waited.unwrap_or_else(PoisonError::into_inner).0;
        board.idle -= 1;
        board.errands.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::sync::mpsc::channel;

    #[test]
    fn errands_run_side_by_side_and_threads_are_used_again() {
        let errands = Errands::default();
        let (done, ends) = channel();
        let mut threads = BTreeSet::new();
        for _ in 0..20 {
            let done = done.clone();
            errands.run(move || done.send(format!("{:?}", thread::current().id())).unwrap()).unwrap();
            threads.insert(ends.recv().unwrap());
        }
        assert!(threads.len() < 20, "{threads:?}");

        // Each waits for all others: one that had to wait for a thread would never end.
        let together = Arc::new(std::sync::Barrier::new(20));
        for _ in 0..20 {
            let (done, together) = (done.clone(), Arc::clone(&together));
            errands
                .run(move || {
                    together.wait();
                    done.send(String::new()).unwrap()
                })
                .unwrap();
        }
        (0..20).for_each(|_| drop(ends.recv_timeout(Duration::from_secs(20)).unwrap()));
    }

    #[test]
    fn idle_threads_go() {
        let errands = Errands::default();
        errands.run(|| {}).unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while Arc::strong_count(&errands.0) > 1 {
            assert!(std::time::Instant::now() < deadline, "a thread stays for ever");
            thread::yield_now();
        }
    }
}
