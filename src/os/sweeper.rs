//! Clears up behind instances that have ended: their control group, the processes that hid from their session, their
//! private /tmp.
//!
//! A thread of its own, because reading all of `/proc` takes its time and the next start must not wait for it. What
//! comes in while it works is done in one go: when hundreds of services end at once, `/proc` is read once. Line: what
//! has ended, and by what it is known, comes from the caller.

use crate::os::cgroup::Group;
use crate::os::group::{self, Trail};
use crate::os::private_tmp;
use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// What an instance that has ended may have left.
#[derive(Debug)]
pub struct Remains {
    /// By what its processes are known.
    pub trail: Trail,
    /// Its control group. Where it had one no process can have hidden, and none is looked for.
    pub group: Option<Group>,
    /// Its private /tmp.
    pub private_tmp: Option<PathBuf>,
}

/// The thread's handle. Dropped, it waits until everything is cleared.
#[derive(Debug)]
pub struct Sweeper {
    inbox: Option<Sender<(Remains, BTreeSet<u32>)>>,
    thread: Option<JoinHandle<()>>,
}

impl Sweeper {
    /// Starts the thread.
    pub fn start() -> io::Result<Sweeper> {
        let (inbox, remains) = channel();
        let thread = std::thread::Builder::new().name("sweeper".into()).stack_size(256 << 10);
        let thread = thread.spawn(move || work(&remains))?;
        Ok(Sweeper { inbox: Some(inbox), thread: Some(thread) })
    }

    /// Clears up behind an instance. `sessions` are those of all instances that run.
    pub fn clear(&self, remains: Remains, sessions: BTreeSet<u32>) {
        // The thread lives as long as the inbox.
        let _ = self.inbox.as_ref().map(|inbox| inbox.send((remains, sessions)));
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.inbox = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn work(inbox: &Receiver<(Remains, BTreeSet<u32>)>) {
    while let Ok((first, mut sessions)) = inbox.recv() {
        let mut batch = vec![first];
        for (next, newer) in inbox.try_iter() {
            batch.push(next);
            // Only the newest is used: an older one may name a session that has ended and is somebody else's now.
            sessions = newer;
        }
        clear(batch, &sessions);
    }
}

fn clear(batch: Vec<Remains>, sessions: &BTreeSet<u32>) {
    for group in batch.iter().filter_map(|remains| remains.group.as_ref()) {
        if let Err(error) = group.kill().and_then(|()| group.remove()) {
            log::warn!("{error}");
        }
    }
    let ungrouped = batch.iter().filter(|remains| remains.group.is_none());
    group::sweep(&ungrouped.map(|remains| remains.trail.clone()).collect::<Vec<_>>(), sessions);
    // Last: nobody writes there any more.
    for dir in batch.iter().filter_map(|remains| remains.private_tmp.as_ref()) {
        if let Err(error) = private_tmp::remove(dir) {
            log::warn!("{error}");
        }
    }
}
