//! Whether the daemon answers; where it does not, what systemd says of it.

use super::super::findings::Finding;
use crate::base::Span;
use crate::config::Paths;
use crate::control::client::{AskError, Client};
use crate::control::{Answer, Request, StatusReport};
use crate::os::unit::{self, Unit};
use crate::runtime::place::control_socket;
use serde_json::{Value, json};
use std::time::Duration;

/// A loop that turns answers a ping in a thousandth of this; it waits for no disk.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// `EX_CONFIG`: the unit does not start again after it.
pub const CONFIGURATION: i32 = 78;

/// What came of asking the daemon.
#[derive(Debug)]
pub enum Heard {
    /// It answers, and says this.
    Status(Box<StatusReport>),
    /// It takes connections - or did, until it had too many - and answers none; who began to listen there.
    Nothing(Option<u32>),
    /// It says what this program does not understand.
    Unclear(String),
    /// Somebody is there - it answered a ping, or took the connection and let it go - and does not say how it is.
    Busy(String),
    /// Nobody is there.
    Nobody(String),
    /// We may not ask.
    Denied(String),
}

/// What systemd says of its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It runs.
    Up,
    /// It is being started, or will be in a moment.
    Starting,
    /// It is being stopped.
    Stopping,
    /// Somebody stopped it, or never started it.
    Stopped,
    /// It ended with an error, and is not started again by itself.
    Failed,
}

/// The daemon as it was found.
#[derive(Debug)]
pub struct Daemon {
    /// What it says.
    pub heard: Heard,
    /// What systemd says of its unit, where that was asked: it is, when the daemon does not answer.
    pub unit: Option<Unit>,
    /// Why systemd could not be asked.
    pub unasked: Option<String>,
}

impl Daemon {
    /// Asks it, and systemd when it does not answer.
    pub fn look(paths: &Paths) -> Daemon {
        let heard = ask(paths, PATIENCE);
        if matches!(heard, Heard::Status(_) | Heard::Unclear(_) | Heard::Busy(_) | Heard::Denied(_)) {
            return Daemon { heard, unit: None, unasked: None };
        }
        match unit::show(unit::DAEMON) {
            // A daemon on other directories is not the unit's.
            Ok(found) => {
                let ours = found.filter(|unit| unit.runtime_dir.as_ref() == Some(&paths.runtime_dir));
                Daemon { heard, unit: ours, unasked: None }
            }
            Err(error) => Daemon { heard, unit: None, unasked: Some(error.to_string()) },
        }
    }

    /// What it said, where it answers.
    pub fn status(&self) -> Option<&StatusReport> {
        match &self.heard {
            Heard::Status(status) => Some(status),
            _ => None,
        }
    }

    /// How its unit stands; `None` where it has none, or that is not known.
    pub fn standing(&self) -> Option<Standing> {
        self.unit.as_ref().map(standing)
    }

    /// Whether somebody stopped it on purpose.
    pub fn is_stopped(&self) -> bool {
        matches!(self.heard, Heard::Nobody(_))
            && matches!(self.standing(), Some(Standing::Stopped | Standing::Stopping))
    }

    /// The part of the `--json` document that is about it.
    pub fn document(&self) -> Value {
        let state = match (&self.heard, self.standing()) {
            (Heard::Status(status), _) => {
                let daemon = &status.daemon;
                let (pid, version, uptime) = (daemon.pid, &daemon.version, daemon.uptime_seconds);
                return json!({"state": "up", "pid": pid, "version": version, "uptime_seconds": uptime});
            }
            (Heard::Denied(_) | Heard::Unclear(_) | Heard::Busy(_), _) => "unknown",
            (Heard::Nothing(_) | Heard::Nobody(_), Some(Standing::Starting)) => "starting",
            (Heard::Nothing(_), _) => "silent",
            (Heard::Nobody(_), Some(Standing::Stopped | Standing::Stopping)) => "stopped",
            (Heard::Nobody(_), _) => "down",
        };
        let pid = if let Heard::Nothing(pid) = self.heard { pid } else { None };
        json!({"state": state, "pid": pid, "version": null, "uptime_seconds": null})
    }

    /// What is to be said of it, and what it says of the host.
    pub fn findings(&self) -> Vec<Finding> {
        let about = "daemon";
        let log = "`journalctl -u pintle` shows what it did last";
        let failed = |unit: &Unit| format!("it failed ({}, exit {})", unit.result, unit.exit_status);
        let why = |heard: &str| match (&self.unit, &self.unasked) {
            (Some(unit), _) if standing(unit) == Standing::Failed => failed(unit),
            (_, Some(unasked)) => format!("{heard} ({unasked})"),
            _ => heard.to_owned(),
        };
        let one = match (&self.heard, self.standing()) {
            (Heard::Status(status), _) => return said(status),
            (Heard::Denied(why), _) => {
                let advice = "use sudo, or join the group that `[control] group` names";
                Finding::warning(about, format!("it may not be asked, so the apps are not known: {why}"), advice)
            }
            (Heard::Unclear(why), _) => {
                let advice = "compare `pintle --version` with the program that runs: `pintle reexec` makes them one";
                Finding::warning(about, format!("it answers with what is not understood: {why}"), advice)
            }
            (Heard::Busy(why), _) => {
                let advice = "look again in a moment: `pintle status`";
                Finding::warning(about, format!("it is there, and does not say how it is: {why}"), advice)
            }
            (_, Some(Standing::Starting)) => Finding::warning(about, "it is being started", log),
            (Heard::Nothing(_), _) => {
                let what = format!("it hangs: no answer in {}", Span(PATIENCE));
                let advice = "`pintle check --repair` ends it; systemd starts it again, and the applications run on";
                Finding::critical(about, what, advice)
            }
            (Heard::Nobody(_), Some(Standing::Stopped | Standing::Stopping)) => {
                let advice = "`systemctl start pintle` starts it";
                let what = match self.unit.as_ref().is_some_and(|unit| unit.active == "failed") {
                    true => "it was stopped on purpose, and killed because that took too long",
                    false => "it was stopped on purpose, and the applications with it",
                };
                Finding::warning(about, what, advice)
            }
            (Heard::Nobody(heard), _) => {
                let advice = format!("start it with `systemctl start pintle` (or `pintle run`); {log}");
                Finding::critical(about, format!("it does not run: {}", why(heard)), advice)
            }
        };
        vec![one]
    }
}

/// What a daemon that answers says of itself, and what it wants a person to know.
fn said(status: &StatusReport) -> Vec<Finding> {
    let daemon = &status.daemon;
    let up = Span(Duration::from_secs(daemon.uptime_seconds));
    let well = Finding::ok("daemon", format!("pintle {} up {up} (pid {})", daemon.version, daemon.pid));
    let notice = |notice: &String| {
        let advice = "`pintle status` and `journalctl -u pintle` say more";
        Finding::warning("daemon/notice", notice.clone(), advice)
    };
    std::iter::once(well).chain(status.notices.iter().map(notice)).collect()
}

fn ask(paths: &Paths, patience: Duration) -> Heard {
    let socket = control_socket(&paths.runtime_dir);
    let mut client = match Client::connect_within(&socket, patience) {
        Ok(client) => client,
        Err(error) => return unconnected(error),
    };
    let peer = client.peer();
    // The ping first: what the loop answers by itself. A status takes a look at every process.
    let answered = match client.ask(&Request::Ping, Some(patience)) {
        Ok(Answer::Pong) => client.ask(&Request::Status { app: None }, Some(patience * 2)),
        Ok(other) => Ok(other),
        Err(AskError::TimedOut) => return Heard::Nothing(peer),
        Err(error) => Err(error),
    };
    match answered {
        Ok(Answer::Status(status)) => Heard::Status(Box::new(status)),
        Ok(Answer::Error { message, .. }) => Heard::Unclear(message),
        Ok(_) => Heard::Unclear("an answer that does not fit the question".into()),
        // Its loop turns: whatever holds the rest up, it is not ended for that.
        Err(AskError::TimedOut) => Heard::Busy("it answers a ping, but takes too long to say more".into()),
        Err(AskError::NotPermitted(error)) => Heard::Denied(error.to_string()),
        Err(AskError::Unreachable(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
            Heard::Unclear(error.to_string())
        }
        // Too many are connected already, or it is just going: whoever took the connection is there.
        Err(AskError::Unreachable(error)) => Heard::Busy(format!("it took the connection and closed it: {error}")),
    }
}

/// Why there is no connection.
fn unconnected(error: AskError) -> Heard {
    match error {
        AskError::TimedOut => Heard::Nothing(None),
        AskError::NotPermitted(error) => Heard::Denied(error.to_string()),
        AskError::Unreachable(error) => Heard::Nobody(error.to_string()),
    }
}

/// What systemd's words mean.
pub fn standing(unit: &Unit) -> Standing {
    match unit.active.as_str() {
        "active" => Standing::Up,
        // `reloading`: one program takes the place of another (`pintle reexec`).
        "activating" | "reloading" => Standing::Starting,
        "deactivating" => Standing::Stopping,
        // However its last run ended: one that is stopped while it waits to be started again keeps that result.
        "inactive" => Standing::Stopped,
        // What `Restart=always` does not start again after a time that ran out was being stopped.
        "failed" if unit.restart == "always" && unit.result == "timeout" && unit.exit_status != CONFIGURATION => {
            Standing::Stopped
        }
        _ => Standing::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::findings::Level;
    use super::*;
    use crate::control::wire;
    use std::io::BufReader;
    use std::os::unix::net::{UnixListener, UnixStream};

    fn unit(active: &str, result: &str) -> Unit {
        Unit { active: active.into(), result: result.into(), exit_status: 1, ..Unit::default() }
    }

    #[test]
    fn only_what_somebody_stopped_counts_as_stopped() {
        let table = [
            ("active", "success", Standing::Up),
            ("reloading", "success", Standing::Starting),
            ("activating", "watchdog", Standing::Starting),
            ("deactivating", "success", Standing::Stopping),
            ("inactive", "success", Standing::Stopped),
            ("inactive", "exit-code", Standing::Stopped),
            ("inactive", "signal", Standing::Stopped),
            ("failed", "exit-code", Standing::Failed),
            ("failed", "signal", Standing::Failed),
            ("", "", Standing::Failed),
        ];
        for (active, result, expected) in table {
            assert_eq!(standing(&unit(active, result)), expected, "{active} {result}");
        }
    }

    #[test]
    fn what_is_always_started_again_and_failed_by_a_time_that_ran_out_was_being_stopped() {
        let table = [
            ("always", "timeout", 9, Standing::Stopped),
            ("always", "timeout", 0, Standing::Stopped),
            ("always", "timeout", 78, Standing::Failed),
            ("always", "exit-code", 78, Standing::Failed),
            ("always", "start-limit-hit", 1, Standing::Failed),
            ("no", "timeout", 9, Standing::Failed),
            ("on-failure", "timeout", 9, Standing::Failed),
        ];
        for (restart, result, exit_status, expected) in table {
            let unit = Unit { restart: restart.into(), exit_status, ..unit("failed", result) };
            assert_eq!(standing(&unit), expected, "{restart} {result} {exit_status}");
        }
        let unit = Unit { restart: "always".into(), ..unit("failed", "timeout") };
        let daemon = Daemon { heard: Heard::Nobody("no".into()), unit: Some(unit), unasked: None };
        assert!(daemon.is_stopped() && daemon.findings()[0].what.contains("on purpose, and killed"), "{daemon:?}");
    }

    /// A socket on which each connection is dealt with by `deal`; what is heard on it.
    fn heard_of(name: &str, deal: impl FnOnce(UnixStream) + Send + 'static) -> Heard {
        let dir = std::env::temp_dir().join(format!("pintle-check-{name}-{}", std::process::id()));
        let paths = Paths { state_dir: dir.clone(), runtime_dir: dir.clone(), apps: vec![] };
        std::fs::create_dir_all(&dir).unwrap();
        let socket = control_socket(&dir);
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(socket).unwrap();
        let server = std::thread::spawn(move || deal(listener.accept().unwrap().0));
        let heard = ask(&paths, Duration::from_secs(1));
        server.join().unwrap();
        std::fs::remove_dir_all(dir).unwrap();
        heard
    }

    #[test]
    fn whoever_takes_the_connection_or_answers_the_ping_is_there() {
        let dropped = heard_of("dropped", drop);
        assert!(matches!(&dropped, Heard::Busy(why) if why.contains("closed it")), "{dropped:?}");
        let ponged = heard_of("ponged", |mut stream| {
            let mut lines = BufReader::new(stream.try_clone().unwrap());
            wire::receive::<Request>(&mut lines).unwrap();
            wire::send(&mut stream, &Answer::Pong).unwrap();
            // Nothing more is said, until whoever asked has gone.
            while let Ok(Some(_)) = wire::line(&mut lines) {}
        });
        assert!(matches!(&ponged, Heard::Busy(why) if why.contains("answers a ping")), "{ponged:?}");
        let mute = heard_of("mute", |stream| while let Ok(Some(_)) = wire::line(&mut BufReader::new(&stream)) {});
        assert!(matches!(mute, Heard::Nothing(Some(_))), "{mute:?}");
    }

    #[test]
    fn every_way_not_to_answer_has_its_word_and_its_level() {
        let nobody = || Heard::Nobody("connect to /run/pintle/control.sock: no such file".into());
        let denied = Heard::Denied("connect to /run/pintle/control.sock: permission denied".into());
        let table = [
            (nobody(), None, "down", Level::Critical, "does not run"),
            (nobody(), Some(unit("failed", "exit-code")), "down", Level::Critical, "failed (exit-code, exit 1)"),
            (nobody(), Some(unit("inactive", "success")), "stopped", Level::Warning, "on purpose"),
            (nobody(), Some(unit("activating", "success")), "starting", Level::Warning, "being started"),
            (nobody(), Some(unit("active", "success")), "down", Level::Critical, "control.sock"),
            (Heard::Nothing(Some(7)), Some(unit("active", "success")), "silent", Level::Critical, "no answer in 5s"),
            (Heard::Nothing(None), None, "silent", Level::Critical, "hangs"),
            (Heard::Nothing(None), Some(unit("activating", "x")), "starting", Level::Warning, "being started"),
            (denied, None, "unknown", Level::Warning, "permission denied"),
            (Heard::Unclear("x".into()), None, "unknown", Level::Warning, "not understood"),
            (Heard::Busy("x".into()), None, "unknown", Level::Warning, "is there"),
        ];
        for (heard, unit, state, level, word) in table {
            let daemon = Daemon { heard, unit, unasked: None };
            let findings = daemon.findings();
            assert_eq!((daemon.document()["state"].as_str(), findings.len()), (Some(state), 1), "{daemon:?}");
            assert_eq!(findings[0].level, level, "{daemon:?}");
            assert!(findings[0].what.contains(word), "{findings:?}");
            assert!(findings[0].advice.is_some());
        }
    }
}
