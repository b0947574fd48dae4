//! The daemon's unit as systemd knows it, and the orders that bring a daemon back.
//!
//! By `systemctl`, which finds its way to the manager whether D-Bus runs or not. Line: what a state means, and whether
//! an order is given, is decided by whoever asks.

use crate::os::cancel::Cancel;
use crate::os::command::{self, Ending, Spec};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The daemon's.
pub const DAEMON: &str = "pintle.service";

/// systemd answers at once, unless it is busy starting the machine.
const PATIENCE: Duration = Duration::from_secs(15);

/// How a unit stands, in systemd's own words.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Unit {
    /// `active`, `activating`, `deactivating`, `inactive`, `failed`.
    pub active: String,
    /// The finer word: `running`, `auto-restart`, `dead`.
    pub sub: String,
    /// How its last run ended: `success`, `exit-code`, `signal`, `watchdog`.
    pub result: String,
    /// `enabled`, `disabled`; empty: it has no file.
    pub file_state: String,
    /// Its main process; 0 while there is none.
    pub main_pid: u32,
    /// What its main process exited with last.
    pub exit_status: i32,
    /// Its `Restart=`: `always`, `on-failure`, `no`.
    pub restart: String,
    /// Its `RuntimeDirectory=`, as a path.
    pub runtime_dir: Option<PathBuf>,
}

/// Whether systemd is what runs this host.
pub fn is_managed() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

/// How `unit` stands; `None` where systemd does not run, or knows no such unit.
pub fn show(unit: &str) -> io::Result<Option<Unit>> {
    let names = "LoadState,ActiveState,SubState,Result,UnitFileState,MainPID,ExecMainStatus,Restart,RuntimeDirectory";
    Ok(properties(Some(unit), names)?.and_then(|properties| read(&properties)))
}

/// Properties of `unit` (of systemd itself where it is `None`) by their names, as they are printed; `None` where systemd
/// does not run.
pub fn properties(unit: Option<&str>, names: &str) -> io::Result<Option<BTreeMap<String, String>>> {
    if !is_managed() {
        return Ok(None);
    }
    let names = format!("--property={names}");
    let args = ["show", &names].into_iter().chain(unit).collect::<Vec<_>>();
    let said = systemctl(&args)?;
    let pair = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    Ok(Some(said.lines().filter_map(pair).collect()))
}

/// Kills the main process, and no other: what it runs goes on, and `Restart=` brings it back.
pub fn end_main(unit: &str) -> io::Result<()> {
    end_main_by(&mut systemctl, unit)
}

fn end_main_by(systemctl: &mut dyn FnMut(&[&str]) -> io::Result<String>, unit: &str) -> io::Result<()> {
    let mut kill = |whom: &str| systemctl(&["kill", "--signal=KILL", whom, unit]).map(drop);
    match kill("--kill-whom=main") {
        // As it was called before systemd 252.
        Err(error) if error.to_string().contains("unrecognized option") => kill("--kill-who=main"),
        done => done,
    }
}

/// Forgets that it failed, and starts it.
pub fn start(unit: &str) -> io::Result<()> {
    systemctl(&["reset-failed", unit])?;
    systemctl(&["start", "--no-block", unit]).map(drop)
}

fn systemctl(args: &[&str]) -> io::Result<String> {
    let mut argv = vec!["systemctl".to_owned()];
    argv.extend(args.iter().map(|arg| (*arg).to_owned()));
    let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/sbin:/usr/bin:/sbin:/bin".into());
    let env = [("PATH", path.as_str()), ("LC_ALL", "C"), ("SYSTEMD_PAGER", ""), ("SYSTEMD_COLORS", "0")];
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let spec = Spec { argv, cwd: "/".into(), env, ..Spec::default() };
    let mut said = Vec::new();
    let ending = command::run(&spec, PATIENCE, &Cancel::new()?, &mut |bytes| said.extend_from_slice(bytes))?;
    let said = String::from_utf8_lossy(&said).into_owned();
    match ending {
        Ending::Exited(0) => Ok(said),
        ending => Err(io::Error::other(format!(
            "systemctl {}: {}: {}",
            args.join(" "),
            command::explain(ending, PATIENCE),
            said.trim().replace('\n', " / ")
        ))),
    }
}

/// The unit of its properties; `None` where it is not known to systemd.
fn read(properties: &BTreeMap<String, String>) -> Option<Unit> {
    let value = |name: &str| properties.get(name).cloned().unwrap_or_default();
    if value("LoadState") != "loaded" {
        return None;
    }
    let runtime_dir = value("RuntimeDirectory");
    Some(Unit {
        active: value("ActiveState"),
        sub: value("SubState"),
        result: value("Result"),
        file_state: value("UnitFileState"),
        main_pid: value("MainPID").parse().unwrap_or(0),
        exit_status: value("ExecMainStatus").parse().unwrap_or(0),
        restart: value("Restart"),
        runtime_dir: (!runtime_dir.is_empty()).then(|| Path::new("/run").join(runtime_dir)),
    })
}

/// A span as systemd prints it: `30s`, `1min 30s`, `500ms`, `infinity`.
pub fn span(text: &str) -> Duration {
    let word = |word: &str| {
        let digits = word.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(word.len());
        let (number, unit) = word.split_at(digits);
        let seconds = match unit {
            "us" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "min" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return Duration::ZERO,
        };
        Duration::try_from_secs_f64(number.parse().unwrap_or(0.0) * seconds).unwrap_or_default()
    };
    text.split(' ').map(word).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemctl_prints_is_read() {
        let known = |pairs: &[(&str, &str)]| {
            let owned = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            read(&owned.collect())
        };
        let all = [
            ("Result", "watchdog"),
            ("MainPID", "1234"),
            ("ExecMainStatus", "9"),
            ("Restart", "always"),
            ("RuntimeDirectory", "pintle"),
            ("LoadState", "loaded"),
            ("ActiveState", "active"),
            ("SubState", "running"),
            ("UnitFileState", "enabled"),
        ];
        let expected = Unit {
            active: "active".into(),
            sub: "running".into(),
            result: "watchdog".into(),
            file_state: "enabled".into(),
            main_pid: 1234,
            exit_status: 9,
            restart: "always".into(),
            runtime_dir: Some("/run/pintle".into()),
        };
        assert_eq!(known(&all), Some(expected));
        assert_eq!(known(&[("LoadState", "not-found"), ("ActiveState", "inactive")]), None);
        assert_eq!(known(&[]), None);
        let bare = known(&[("LoadState", "loaded"), ("ActiveState", "inactive"), ("MainPID", "x")]).unwrap();
        assert_eq!((bare.main_pid, bare.runtime_dir), (0, None));
    }

    #[test]
    fn only_a_systemctl_that_does_not_know_the_option_is_asked_by_the_older_name() {
        let ending = |refusal: &str| {
            let mut asked = vec![];
            let ended = end_main_by(
                &mut |args| {
                    asked.push(args.join(" "));
                    match args[2] == "--kill-whom=main" && !refusal.is_empty() {
                        true => Err(io::Error::other(format!("systemctl kill: exit 1: {refusal}"))),
                        false => Ok(String::new()),
                    }
                },
                "x.service",
            );
            (ended.is_ok(), asked)
        };
        let (whom, who) =
            ("kill --signal=KILL --kill-whom=main x.service", "kill --signal=KILL --kill-who=main x.service");
        assert_eq!(ending(""), (true, vec![whom.into()]));
        assert_eq!(ending("systemctl: unrecognized option '--kill-whom=main'"), (true, vec![whom.into(), who.into()]));
        assert_eq!(ending("Failed to kill unit: Access denied"), (false, vec![whom.into()]));
    }

    #[test]
    fn spans_are_read_as_systemd_prints_them() {
        let table = [("30s", 30_000), ("1min 30s", 90_000), ("500ms", 500), ("2min", 120_000), ("1h", 3_600_000)];
        for (text, millis) in table {
            assert_eq!(span(text), Duration::from_millis(millis), "{text}");
        }
        for text in ["", "0", "infinity", "x"] {
            assert_eq!(span(text), Duration::ZERO, "{text}");
        }
    }
}
