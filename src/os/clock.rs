//! The wall clock as the kernel keeps it: whether something holds it to the true time, and when somebody sets it.
//!
//! What time it is, [`crate::base::Moment`] reads; here is what a time that decides something else must know besides.

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// Whether the kernel believes the clock to be right: somebody (NTP, mostly) disciplines it. A board without a clock
/// is not believed until the network is there; a host that nobody disciplines is never.
pub fn is_disciplined() -> bool {
    // SAFETY: all zeros are a valid `timex`: it asks and changes nothing.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel fills in a structure that is ours.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    state >= 0 && state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0
}

/// In seconds since 1970.
const YEAR_9999: i64 = 253_370_764_800;

/// Hears when the wall clock is set (not when it is slowed or hastened).
#[derive(Debug)]
pub struct ClockWatch(TimerFd);

impl ClockWatch {
    /// Waits from now on. Fails only when the process is out of descriptors.
    pub fn new() -> io::Result<ClockWatch> {
        let timer = TimerFd::new(ClockId::CLOCK_REALTIME, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
        let watch = ClockWatch(timer);
        watch.arm()?;
        Ok(watch)
    }

    /// To be called when it is readable: it is silent until the clock is set again.
    pub fn heard(&self) -> io::Result<()> {
        // It says "cancelled": that is the news.
        let _ = self.0.wait();
        self.arm()
    }

    /// An alarm that never rings, but is cancelled when the clock is set.
    fn arm(&self) -> io::Result<()> {
        let never =
            Expiration::OneShot(TimeSpec::new(libc::time_t::try_from(YEAR_9999).unwrap_or(libc::time_t::MAX), 0));
        let flags = TimerSetTimeFlags::TFD_TIMER_ABSTIME | TimerSetTimeFlags::TFD_TIMER_CANCEL_ON_SET;
        Ok(self.0.set(never, flags)?)
    }
}

impl AsFd for ClockWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::poll;
    use std::time::{Duration, Instant};

    #[test]
    fn a_clock_that_nobody_sets_is_not_heard_of() {
        let watch = ClockWatch::new().unwrap();
        let soon = Some(Instant::now() + Duration::from_millis(20));
        assert!(!poll::until(&mut [poll::readable(watch.as_fd())], soon).unwrap());
        watch.heard().unwrap();
        assert!(!poll::until(&mut [poll::readable(watch.as_fd())], soon).unwrap());
    }
}
