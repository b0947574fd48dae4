//! A flag that ends work in progress: checked between steps, polled beside a child's pipes.

use nix::sys::eventfd::{EfdFlags, EventFd};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Asked once, seen by every holder of a clone, never taken back.
#[derive(Debug, Clone)]
pub struct Cancel(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    asked: AtomicBool,
    bell: EventFd,
}

impl Cancel {
    /// A flag nobody has raised. Fails only when the process is out of descriptors.
    pub fn new() -> std::io::Result<Cancel> {
        let bell = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Cancel(Arc::new(Inner { asked: AtomicBool::new(false), bell })))
    }
    /// Ends whatever holds a clone.
    pub fn cancel(&self) {
        self.0.asked.store(true, Ordering::SeqCst);
        // Full only after 2^64 - 2 cancels; readable is all that matters.
        let _ = self.0.bell.write(1);
    }
    /// Whether another clone is left.
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
    /// Whether it was asked.
    pub fn is_cancelled(&self) -> bool {
        self.0.asked.load(Ordering::SeqCst)
    }
}

impl AsFd for Cancel {
    /// Readable from the moment it is cancelled, for `poll`.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.bell.as_fd()
    }
}
