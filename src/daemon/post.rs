//! Where events wait for the loop: a queue, and a bell that the loop's poll hears.

use super::event::Event;
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};

/// A handle to the queue; every thread of the daemon holds one.
#[derive(Debug, Clone)]
pub struct Post(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    events: Mutex<VecDeque<Event>>,
    bell: EventFd,
}

impl Post {
    /// An empty queue. Fails only when the process is out of descriptors.
    pub fn new() -> std::io::Result<Post> {
        let bell = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Post(Arc::new(Inner { events: Mutex::default(), bell })))
    }

    /// Hands an event to the loop.
    pub fn send(&self, event: Event) {
        self.send_together([event]);
    }

    /// Hands several events to the loop, which finds them together.
    pub fn send_together(&self, new: impl IntoIterator<Item = Event>) {
        let mut events = self.0.events.lock().unwrap_or_else(PoisonError::into_inner);
        let was_empty = events.is_empty();
        events.extend(new);
        let is_first = was_empty && !events.is_empty();
        drop(events);
        // Where others wait it has been rung for them, and whoever answers it takes all.
        if is_first {
            // A full counter rings too.
            let _ = self.0.bell.write(1);
        }
    }

    /// All that has come, in order; the bell is silent again.
    pub fn take(&self) -> VecDeque<Event> {
        let _ = self.0.bell.read();
        std::mem::take(&mut *self.0.events.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl AsFd for Post {
    /// Readable while events wait.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.bell.as_fd()
    }
}
