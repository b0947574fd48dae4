//! Whole requests that wait to be taken by the routes.
//!
//! tiny_http is given a request's line and the number of its ticket; head and body stay here, so that it never meets a
//! doubtful byte and no body is copied. A number cannot be guessed: whoever found the private socket would find nothing
//! behind it.

use crate::listener::ask::Ask;
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The header that carries a ticket's number to tiny_http.
pub(in crate::listener) const HEADER: &str = "X-Pintle-Ticket";

/// A whole request, and the memory it holds until it is dropped.
#[derive(Debug)]
pub(in crate::listener) struct Whole {
    pub(in crate::listener) ask: Ask,
    pub(in crate::listener) portion: Portion,
}

/// A ticket's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::listener) struct Number(u128);

impl Number {
    fn random() -> io::Result<Number> {
        let mut bytes = [0_u8; 16];
        // SAFETY: the buffer has the length that is passed.
        let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        match usize::try_from(got) == Ok(bytes.len()) {
            true => Ok(Number(u128::from_ne_bytes(bytes))),
            false => Err(io::Error::last_os_error()),
        }
    }

    /// As [`HEADER`] carries it.
    pub(in crate::listener) fn of(text: &str) -> Option<Number> {
        u128::from_str_radix(text, 16).ok().map(Number)
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The table that guard and routes share, and the bell that wakes the guard.
#[derive(Debug)]
pub struct Tickets {
    waiting: Mutex<Waiting>,
    bell: EventFd,
}

#[derive(Debug, Default)]
struct Waiting {
    requests: HashMap<Number, Whole>,
    /// Rings the bell when it is taken.
    announced: Option<Number>,
    /// Why nobody takes any more.
    failure: Option<io::Error>,
}

impl Tickets {
    /// An empty table.
    pub fn new() -> io::Result<Arc<Tickets>> {
        let bell = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Arc::new(Tickets { waiting: Mutex::default(), bell }))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lays a request on the table.
    pub(super) fn issue(&self, whole: Whole) -> io::Result<Number> {
        let number = Number::random()?;
        self.waiting().requests.insert(number, whole);
        Ok(number)
    }

    /// Takes a request away; `None` when somebody did, or never laid one there.
    pub(in crate::listener) fn take(&self, number: Number) -> Option<Whole> {
        let mut waiting = self.waiting();
        let whole = waiting.requests.remove(&number);
        if waiting.announced.take_if(|announced| *announced == number).is_some() {
            self.ring();
        }
        whole
    }

    /// Rings the bell when `number` is taken.
    pub(super) fn announce(&self, number: Number) {
        self.waiting().announced = Some(number);
    }

    /// Whether `number` is still there to be taken.
    pub(super) fn holds(&self, number: Number) -> bool {
        self.waiting().requests.contains_key(&number)
    }

    /// Says that nobody takes requests any more.
    pub(in crate::listener) fn give_up(&self, failure: io::Error) {
        self.waiting().failure.get_or_insert(failure);
        self.ring();
    }

    /// Why nobody takes any more, where that is so.
    pub(super) fn failure(&self) -> Option<io::Error> {
        self.waiting().failure.take()
    }

    fn ring(&self) {
        // A counter that is full rings already.
        let _ = self.bell.write(1);
    }

    /// Silences the bell.
    pub(super) fn hush(&self) {
        let _ = self.bell.read();
    }
}

impl AsFd for Tickets {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

/// The memory that all bodies may hold together.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    used: Arc<AtomicU64>,
    all: u64,
}

impl Budget {
    pub(super) fn of(all: u64) -> Budget {
        Budget { used: Arc::default(), all }
    }

    /// A portion of nothing.
    pub(super) fn portion(&self) -> Portion {
        Portion { used: self.used.clone(), bytes: 0 }
    }

    /// Whether more is held than there is.
    pub(super) fn is_exceeded(&self) -> bool {
        self.used.load(Ordering::Relaxed) > self.all
    }

    /// Bytes held.
    #[cfg(test)]
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

/// What one body holds; given back when dropped.
#[derive(Debug)]
pub(in crate::listener) struct Portion {
    used: Arc<AtomicU64>,
    bytes: u64,
}

impl Portion {
    pub(super) fn grow(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Portion {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
