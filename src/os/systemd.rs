//! What we tell systemd: that we are ready, how we are, that the loop still turns. Without systemd all of it is nothing.

use sd_notify::NotifyState;
use std::time::Duration;

/// The control socket answers and a start of every app was attempted.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// One line for `systemctl status`.
pub fn status(line: &str) {
    tell(&[NotifyState::Status(line)]);
}

/// The configuration is read again; [`ready`] says when that is done.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => log::warn!("tell systemd of the reload: {error}"),
    }
}

/// The apps are being stopped, which may take so long.
pub fn stopping(at_most: Duration) {
    let micros = u32::try_from(at_most.as_micros()).unwrap_or(u32::MAX);
    tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(micros)]);
}

/// A whole turn of the loop is done.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How often [`alive`] is to be said: half of `WatchdogSec=`. `None`: nobody waits for it.
pub fn heartbeat() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2)
}

/// Whether a service manager started us that hears what is said here.
pub fn is_listening() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some_and(|socket| !socket.is_empty())
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        log::warn!("tell systemd: {error}");
    }
}
