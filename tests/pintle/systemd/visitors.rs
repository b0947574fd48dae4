//! Visitors of the shop: they come one after the other, all the time, and remember each one that was turned away.

use super::machine::Machine;
use crate::world::{Reply, Request};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Doors they come through at once.
const DOORS: usize = 2;
/// Between a visitor and the next at the same door.
const PAUSE: Duration = Duration::from_millis(3);

/// The visitors, until they are counted.
pub struct Visitors<'m> {
    machine: &'m Machine,
    enough: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    doors: Vec<JoinHandle<Tally>>,
}

/// What they remember.
#[derive(Debug, Default)]
pub struct Tally {
    /// Answered with 200.
    pub served: usize,
    /// What the others heard, or did not.
    pub failed: Vec<String>,
    /// The longest anybody waited for an answer.
    pub slowest: Duration,
}

impl<'m> Visitors<'m> {
    /// They begin to come to `port` of the machine.
    pub fn come(machine: &'m Machine, port: u16) -> Visitors<'m> {
        let (enough, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        // Inside the machine's network before the thread is spawned that inherits it.
        let doors = machine.inside(|| {
            let door = |_| {
                let (enough, served) = (enough.clone(), served.clone());
                thread::spawn(move || visit(port, &enough, &served))
            };
            (0..DOORS).map(door).collect()
        });
        let visitors = Visitors { machine, enough, served, doors };
        visitors.some_more();
        visitors
    }

    /// Waits until some more were served: the shop answers now.
    #[track_caller]
    pub fn some_more(&self) {
        let before = self.served.load(Ordering::SeqCst);
        let more = || (self.served.load(Ordering::SeqCst) >= before + 4 * DOORS).then_some(());
        self.machine.wait("visitors to be served", more);
    }

    /// Counts them.
    pub fn leave(mut self) -> Tally {
        self.some_more();
        self.enough.store(true, Ordering::SeqCst);
        let mut whole = Tally::default();
        for door in std::mem::take(&mut self.doors) {
            let tally = door.join().unwrap();
            whole.served += tally.served;
            whole.failed.extend(tally.failed);
            whole.slowest = whole.slowest.max(tally.slowest);
        }
        whole
    }

    /// Counts them; nobody may have been turned away.
    #[track_caller]
    pub fn were_all_served(self) -> Tally {
        let tally = self.leave();
        let some: Vec<&String> = tally.failed.iter().take(5).collect();
        assert!(tally.failed.is_empty(), "{} served, {} not: {some:?}", tally.served, tally.failed.len());
        tally
    }

    /// Counts them after the shop itself was killed so many times: whom it was serving then it took with it, but nobody
    /// was refused at the door.
    #[track_caller]
    pub fn were_not_refused(self, kills: usize) {
        let tally = self.leave();
        let refused = tally.failed.iter().filter(|why| why.contains("refused")).count();
        let few = tally.failed.len() <= kills * DOORS;
        assert!(refused == 0 && few, "{} served, {} not: {:?}", tally.served, tally.failed.len(), tally.failed);
    }
}

impl Drop for Visitors<'_> {
    fn drop(&mut self) {
        self.enough.store(true, Ordering::SeqCst);
    }
}

fn visit(port: u16, enough: &AtomicBool, served: &AtomicUsize) -> Tally {
    let mut tally = Tally::default();
    let request = Request::get("/");
    while !enough.load(Ordering::SeqCst) {
        let began = Instant::now();
        match judge(request.send(port)) {
            Ok(()) => {
                tally.served += 1;
                served.fetch_add(1, Ordering::SeqCst);
            }
            Err(why) => tally.failed.push(why),
        }
        tally.slowest = tally.slowest.max(began.elapsed());
        thread::sleep(PAUSE);
    }
    tally
}

fn judge(reply: io::Result<Reply>) -> Result<(), String> {
    match reply {
        Ok(reply) if reply.status == 200 => Ok(()),
        Ok(reply) => Err(format!("{} {}", reply.status, reply.body)),
        Err(error) => Err(error.to_string()),
    }
}
