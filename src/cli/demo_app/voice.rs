//! What the sample application tells its supervisor (`sd_notify(3)`), and how it fails to.
//!
//! | in `app.conf` | what it does |
//! |---|---|
//! | `ready = never` | it does not say that it is ready, nor serve; like the next two not in a rehearsal |
//! | `rehearsal_ready = never` | the same, in a rehearsal only |
//! | `ready_after = 500ms`, `ready_if = PATH` | not before that; until then it does not serve either |
//! | `extend = 3s` | while it starts it asks for so much time |
//! | `status = TEXT` | with being ready it says what it does |
//! | `silent_if = PATH` | once that is there it does not say any more that it lives |
//! | `broken_if = PATH` | once that is there it says that it is broken |
//! | `flood = yes` | it never stops talking |

use super::App;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sd_notify::NotifyState;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks for a file, in milliseconds.
const LOOK_AGAIN: u16 = 5;

impl App {
    /// Says that it is ready once it is; `false`: it was asked to end before.
    pub(super) fn becomes_ready(&self, end: &mut UnixStream) -> io::Result<bool> {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return Ok(true);
        }
        if let Some(span) = self.span("extend")? {
            let micros = u32::try_from(span.as_micros()).unwrap_or(u32::MAX);
            sd_notify::notify(&[NotifyState::ExtendTimeoutUsec(micros)])?;
        }
        let rehearsed = std::env::var_os("PINTLE_REHEARSAL").is_some();
        let never = self.get(if rehearsed { "rehearsal_ready" } else { "ready" }) == Some("never");
        let not_before = Instant::now() + self.span("ready_after")?.filter(|_| !rehearsed).unwrap_or_default();
        let is_there = || rehearsed || self.get("ready_if").is_none_or(|path| Path::new(path).exists());
        while never || Instant::now() < not_before || !is_there() {
            if is_asked_to_end(end) {
                return Ok(false);
            }
        }
        let status = self.get("status").map(NotifyState::Status);
        sd_notify::notify(&[NotifyState::Ready].into_iter().chain(status).collect::<Vec<_>>())?;
        Ok(true)
    }

    /// From now on it says in time that it lives, where that is asked for.
    pub(super) fn keep_talking(&self) {
        let path = self.get("silent_if").map(str::to_owned);
        if let Some(limit) = std::env::var("WATCHDOG_USEC").ok().and_then(|micros| micros.parse().ok()) {
            let gap = Duration::from_micros(limit) / 4;
            thread::spawn(move || {
                while !path.as_ref().is_some_and(|path| Path::new(path).exists()) {
                    let _ = sd_notify::notify(&[NotifyState::Watchdog]);
                    thread::sleep(gap);
                }
            });
        }
        if let Some(path) = self.get("broken_if").map(str::to_owned) {
            thread::spawn(move || {
                while !Path::new(&path).exists() {
                    thread::sleep(Duration::from_millis(LOOK_AGAIN.into()));
                }
                let _ = sd_notify::notify(&[NotifyState::WatchdogTrigger]);
            });
        }
        if self.yes("flood") {
            thread::spawn(|| {
                loop {
                    let _ = sd_notify::notify(&[NotifyState::Status("talking")]);
                }
            });
        }
    }
}

fn is_asked_to_end(end: &mut UnixStream) -> bool {
    let _ = poll(&mut [PollFd::new(end.as_fd(), PollFlags::POLLIN)], PollTimeout::from(LOOK_AGAIN));
    end.read(&mut [0; 16]).is_ok_and(|count| count > 0)
}
