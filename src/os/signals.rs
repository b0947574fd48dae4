//! Signals to the daemon as something its loop can poll: each becomes a byte in a pipe.

use nix::fcntl::OFlag;
use nix::sys::signal::{SigHandler, SigSet, Signal as Number, signal};
use signal_hook::SigId;
use signal_hook::low_level;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// What somebody asks of the daemon by a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: end.
    Stop,
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGUSR2: become the new binary.
    Reexec,
}

const HEARD: [(Number, Signal); 4] = [
    (Number::SIGTERM, Signal::Stop),
    (Number::SIGINT, Signal::Stop),
    (Number::SIGHUP, Signal::Reload),
    (Number::SIGUSR2, Signal::Reexec),
];

/// The pipe's end; readable when a signal came.
#[derive(Debug)]
pub struct Signals {
    read: File,
    handlers: Vec<SigId>,
    /// Held open for the handlers, which know it by number.
    write: OwnedFd,
}

impl Signals {
    /// From now on the four signals are heard here instead of ending the process, and a closed peer is an error of
    /// `write` instead of SIGPIPE.
    pub fn listen() -> io::Result<Signals> {
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        // SAFETY: ignoring runs no code of ours.
        unsafe { signal(Number::SIGPIPE, SigHandler::SigIgn) }?;
        let mut signals = Signals { read: File::from(read), handlers: Vec::new(), write };
        let pipe = signals.write.as_raw_fd();
        for (number, _) in HEARD {
            let byte = number as u8;
            // SAFETY: the handler only calls write, which is async-signal-safe, and leaves errno to signal-hook, which
            // restores it; the descriptor outlives the handler (see drop). A full pipe is readable, which is enough.
            let heard = unsafe {
                low_level::register(number as i32, move || {
                    libc::write(pipe, (&raw const byte).cast(), 1);
                })
            };
            signals.handlers.push(heard?);
        }
        // An image that we replaced had them wait for these handlers.
        SigSet::empty().thread_set_mask()?;
        Ok(signals)
    }

    /// Hears what the `Signals` of an earlier image had heard and not yet taken; `earlier` is its pipe's end.
    pub fn hear_again(&self, earlier: OwnedFd) -> io::Result<()> {
        let mut bytes = [0; 64];
        let read = nix::unistd::read(&earlier, &mut bytes)?;
        nix::unistd::write(&self.write, bytes.get(..read).unwrap_or_default())?;
        Ok(())
    }

    /// The signals that came since the last time, in order.
    pub fn take(&mut self) -> Vec<Signal> {
        let mut bytes = [0; 64];
        let read = self.read.read(&mut bytes).unwrap_or(0);
        let meaning = |byte: &u8| HEARD.iter().find(|(number, _)| *number as u8 == *byte).map(|(_, signal)| *signal);
        bytes.iter().take(read).filter_map(meaning).collect()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for handler in self.handlers.drain(..) {
            low_level::unregister(handler);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::poll::{readable, until};
    use nix::sys::signal::raise;
    use std::time::{Duration, Instant};

    #[test]
    fn signals_are_heard_in_order_and_each_time() {
        let mut signals = Signals::listen().unwrap();
        assert_eq!(signals.take(), []);
        for number in [Number::SIGHUP, Number::SIGTERM, Number::SIGUSR2, Number::SIGTERM] {
            raise(number).unwrap();
        }
        assert!(until(&mut [readable(signals.as_fd())], Some(Instant::now() + Duration::from_secs(20))).unwrap());
        assert_eq!(signals.take(), [Signal::Reload, Signal::Stop, Signal::Reexec, Signal::Stop]);
        assert_eq!(signals.take(), []);

        let after = Signals::listen().unwrap();
        assert!(after.hear_again(signals.read.try_clone().unwrap().into()).is_err(), "nothing is there to be read");
        raise(Number::SIGHUP).unwrap();
        let mut after = Signals::listen().unwrap();
        after.hear_again(signals.read.try_clone().unwrap().into()).unwrap();
        assert_eq!(after.take(), [Signal::Reload]);
    }
}
