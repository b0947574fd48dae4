//! Brings a daemon back that hangs or failed, through systemd, and never at the cost of an application.
//!
//! One that hangs is killed, and it alone: `Restart=` starts the next one, which adopts what runs. A restart of the unit
//! would stop the applications. One that was stopped on purpose stays stopped.

use super::super::findings::Finding;
use super::daemon::{CONFIGURATION, Daemon, Heard, Standing};
use crate::base::Span;
use crate::config::Paths;
use crate::os::unit;
use std::time::{Duration, Instant};

/// A daemon that was just started has the state to open first, after a power cut on a slow card too.
const BACK: Duration = Duration::from_secs(30);
/// Between two looks whether it is back.
const PAUSE: Duration = Duration::from_millis(100);
/// Before the second look at one that is not there: it may be between two programs, or two lives.
const MOMENT: Duration = Duration::from_secs(2);

/// What can be done about a daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Remedy {
    /// Nothing needs to be done.
    None,
    /// Nothing is done, and why.
    Leave(&'static str),
    /// The main process is killed; systemd starts another one.
    End,
    /// It is started.
    Start,
}

/// Does what can be done, and looks again; what is to be said of it.
pub fn repair(daemon: &mut Daemon, paths: &Paths, configured: bool) -> Option<Finding> {
    if remedy(daemon, configured) == Remedy::End {
        // Once is not enough to be killed for: a machine that was suspended or out of memory needs a moment. One that
        // hangs was given it by the look itself.
        if matches!(daemon.heard, Heard::Nobody(_)) {
            std::thread::sleep(MOMENT);
        }
        *daemon = Daemon::look(paths);
    }
    let (deed, done) = match remedy(daemon, configured) {
        Remedy::None => return None,
        Remedy::Leave(why) => return Some(Finding::warning("repair", format!("left alone: {why}"), ADVICE)),
        Remedy::End => ("it did not answer and was ended", unit::end_main(unit::DAEMON)),
        Remedy::Start => ("it had failed and was started", unit::start(unit::DAEMON)),
    };
    if let Err(error) = done {
        return Some(Finding::critical("repair", format!("it could not be done: {error}"), "use sudo"));
    }
    let began = Instant::now();
    // The one that was killed may still be there for an instant: it does not answer.
    while daemon.status().is_none() && began.elapsed() < BACK {
        std::thread::sleep(PAUSE);
        *daemon = Daemon::look(paths);
    }
    Some(match daemon.status() {
        Some(_) => {
            let back = Span(began.elapsed());
            Finding::warning("repair", format!("{deed}; it was back after {back}, and the applications ran on"), ADVICE)
        }
        None => Finding::critical("repair", format!("{deed}; after {} it is not back", Span(BACK)), ADVICE),
    })
}

const ADVICE: &str = "`journalctl -u pintle` shows what it did before";

fn remedy(daemon: &Daemon, configured: bool) -> Remedy {
    let Some(unit) = &daemon.unit else {
        return match (&daemon.heard, &daemon.unasked) {
            (Heard::Nothing(_) | Heard::Nobody(_), Some(_)) => Remedy::Leave("systemd could not be asked"),
            (Heard::Nothing(_) | Heard::Nobody(_), None) => Remedy::Leave("it is not one of systemd's here"),
            _ => Remedy::None,
        };
    };
    match (&daemon.heard, super::daemon::standing(unit)) {
        (Heard::Status(_) | Heard::Unclear(_) | Heard::Busy(_) | Heard::Denied(_), _) => Remedy::None,
        (_, Standing::Starting) => Remedy::Leave("systemd is starting it"),
        (_, Standing::Stopping) => Remedy::Leave("it is being stopped"),
        (Heard::Nothing(Some(pid)), _) if *pid != unit.main_pid => {
            Remedy::Leave("what hangs is another process than that of pintle.service")
        }
        (Heard::Nothing(_), _) | (Heard::Nobody(_), Standing::Up) => Remedy::End,
        (Heard::Nobody(_), Standing::Stopped) => Remedy::Leave("it was stopped on purpose"),
        (Heard::Nobody(_), Standing::Failed) if unit.exit_status == CONFIGURATION && !configured => {
            Remedy::Leave("its configuration has to be corrected first: `pintle check-config`")
        }
        (Heard::Nobody(_), Standing::Failed) => Remedy::Start,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::unit::Unit;

    #[test]
    fn what_hangs_is_ended_what_failed_is_started_and_what_was_stopped_is_left() {
        let unit = |active: &str, result: &str, exit_status| {
            Some(Unit { active: active.into(), result: result.into(), main_pid: 7, exit_status, ..Unit::default() })
        };
        let nobody = || Heard::Nobody("no".into());
        let silent = |pid| Heard::Nothing(pid);
        let table = [
            (silent(Some(7)), unit("active", "success", 0), true, "end"),
            (silent(None), unit("active", "success", 0), true, "end"),
            (silent(Some(8)), unit("active", "success", 0), true, "another process"),
            (silent(Some(7)), unit("activating", "success", 0), true, "starting"),
            (silent(Some(7)), unit("deactivating", "success", 0), true, "stopped"),
            (silent(Some(7)), None, true, "systemd's"),
            (nobody(), unit("active", "success", 0), true, "end"),
            (nobody(), unit("failed", "signal", 9), true, "start"),
            (nobody(), unit("failed", "exit-code", 78), true, "start"),
            (nobody(), unit("failed", "exit-code", 78), false, "check-config"),
            (nobody(), unit("inactive", "success", 0), true, "on purpose"),
            (nobody(), unit("inactive", "exit-code", 1), true, "on purpose"),
            (nobody(), unit("activating", "watchdog", 0), true, "starting"),
            (nobody(), unit("reloading", "success", 0), true, "starting"),
            (silent(Some(7)), unit("reloading", "success", 0), true, "starting"),
            (Heard::Busy("?".into()), unit("active", "success", 0), true, "none"),
            (nobody(), None, true, "systemd's"),
            (Heard::Denied("no".into()), unit("active", "success", 0), true, "none"),
            (Heard::Unclear("?".into()), unit("active", "success", 0), true, "none"),
        ];
        for (heard, unit, configured, expected) in table {
            let daemon = Daemon { heard, unit, unasked: None };
            let said = match remedy(&daemon, configured) {
                Remedy::None => "none",
                Remedy::End => "end",
                Remedy::Start => "start",
                Remedy::Leave(why) => why,
            };
            assert!(said.contains(expected), "{daemon:?}: {said}");
        }
    }
}
