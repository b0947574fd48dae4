//! What systemd is to do for us: start the daemon and bring it back, run the health check, end a machine that hangs.

use super::super::findings::Finding;
use super::installation::Installation;
use crate::base::Span;
use crate::os::unit::{self, span};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::Duration;

/// What systemd says of a unit.
type Properties = BTreeMap<String, String>;

/// The Pi's own watchdog counts to 15 s and a little more; what is longer is silently off, or reboots in a loop.
const HARDWARE: Duration = Duration::from_secs(15);

const UNITS: &str =
    "LoadState,UnitFileState,ActiveState,WatchdogUSec,Restart,KillMode,Delegate,RuntimeDirectoryPreserve";

/// What is to be said of it.
pub fn look(here: &Installation) -> Vec<Finding> {
    let asked = || -> io::Result<Option<[Properties; 3]>> {
        let Some(daemon) = unit::properties(Some(unit::DAEMON), UNITS)? else { return Ok(None) };
        let timer = unit::properties(Some("pintle-health.timer"), UNITS)?.unwrap_or_default();
        let manager = unit::properties(None, "RuntimeWatchdogUSec")?.unwrap_or_default();
        Ok(Some([daemon, timer, manager]))
    };
    match asked() {
        Ok(Some([daemon, timer, manager])) => {
            let mut findings = service(&daemon);
            findings.push(health_timer(&timer));
            findings.push(hardware(&manager, has_hardware(here)));
            findings
        }
        Ok(None) => {
            let advice = "let whatever starts services here start `pintle run` at boot, and again when it ends";
            vec![Finding::warning("systemd", "it does not run this host: nobody brings the daemon back", advice)]
        }
        Err(error) => {
            let advice = "use sudo, or look with `systemctl status pintle`";
            vec![Finding::warning("systemd", format!("it cannot be asked: {error}"), advice)]
        }
    }
}

fn value<'p>(properties: &'p Properties, name: &str) -> &'p str {
    properties.get(name).map_or("", String::as_str)
}

/// The daemon's unit.
fn service(unit: &Properties) -> Vec<Finding> {
    let about = "systemd/pintle.service";
    if value(unit, "LoadState") != "loaded" {
        let advice = "sudo install -m 644 systemd/pintle.service /etc/systemd/system/ && sudo systemctl daemon-reload";
        return vec![Finding::critical(about, "it is not installed: nothing starts the daemon at boot", advice)];
    }
    let mut findings = vec![];
    if value(unit, "UnitFileState") != "enabled" {
        let what = format!("it is {}: the daemon does not start at boot", value(unit, "UnitFileState"));
        findings.push(Finding::warning(about, what, "sudo systemctl enable pintle"));
    }
    if value(unit, "ActiveState") != "active" {
        let what = format!("it is {}", value(unit, "ActiveState"));
        findings.push(Finding::warning(about, what, "sudo systemctl start pintle"));
    }
    let watchdog = span(value(unit, "WatchdogUSec"));
    if watchdog.is_zero() {
        let advice = "WatchdogSec=30 in `systemctl edit pintle`";
        findings.push(Finding::warning(about, "it has no watchdog: a daemon that hangs stays so", advice));
    }
    // What the applications outlive the daemon by.
    let vital = [
        ("KillMode", "process", "applications end with a daemon that crashes"),
        ("Restart", "always", "a daemon that ends is not always started again"),
        ("RuntimeDirectoryPreserve", "yes", "what the next daemon needs is removed when one ends"),
        ("Delegate", "yes", "instances have no control groups"),
    ];
    for (name, meant, otherwise) in vital {
        let found = value(unit, name);
        if found != meant {
            let advice = format!(
                "take {name}= out of `systemctl edit pintle`; the unit that comes with Pintle has {name}={meant}"
            );
            findings.push(Finding::critical(about, format!("{name}={found}: {otherwise}"), advice));
        }
    }
    if findings.is_empty() {
        let what = format!("enabled and active, watchdog {}", Span(watchdog));
        findings.push(Finding::ok(about, what));
    }
    findings
}

/// The health check's.
fn health_timer(timer: &Properties) -> Finding {
    let about = "systemd/pintle-health.timer";
    let enable = "sudo systemctl enable --now pintle-health.timer";
    match (value(timer, "LoadState"), value(timer, "UnitFileState"), value(timer, "ActiveState")) {
        ("loaded", "enabled", "active") => Finding::ok(about, "enabled and active"),
        ("loaded", enabled, active) => {
            Finding::warning(about, format!("it is {enabled} and {active}: nobody checks the daemon"), enable)
        }
        _ => {
            let advice = format!("sudo install -m 644 systemd/pintle-health.* /etc/systemd/system/ && {enable}");
            Finding::warning(about, "it is not installed: nobody checks the daemon", advice)
        }
    }
}

/// Whether the board has a watchdog that ends a machine that hangs.
fn has_hardware(here: &Installation) -> bool {
    fs::read_dir(here.path("/sys/class/watchdog")).is_ok_and(|mut found| found.next().is_some())
}

/// systemd's own use of it.
fn hardware(manager: &Properties, there: bool) -> Finding {
    let about = "systemd/watchdog";
    let limit = span(value(manager, "RuntimeWatchdogUSec"));
    let advice = "RuntimeWatchdogSec=10s below [Manager] in /etc/systemd/system.conf.d/watchdog.conf, then reboot";
    match (limit.is_zero(), there) {
        (true, false) => Finding::ok(about, "this machine has no hardware watchdog"),
        (true, true) => Finding {
            advice: Some(advice.into()),
            ..Finding::ok(about, "the hardware watchdog is not used: a machine that hangs stays so")
        },
        (false, _) if limit > HARDWARE => {
            let what = format!("RuntimeWatchdogSec is {}: above 15s a Pi's is off, or reboots in a loop", Span(limit));
            Finding::warning(about, what, advice)
        }
        (false, _) => Finding::ok(about, format!("a machine that hangs for {} is rebooted", Span(limit))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::findings::Level;
    use super::*;

    const WELL: &str = "LoadState=loaded UnitFileState=enabled ActiveState=active WatchdogUSec=30s Restart=always \
                        KillMode=process Delegate=yes RuntimeDirectoryPreserve=yes";

    fn properties(text: &str) -> Properties {
        let pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn each_thing_that_is_wrong_with_the_unit_is_told() {
        assert!(service(&properties(WELL))[0].is_ok());
        let table = [
            ("LoadState=loaded", "LoadState=not-found", Level::Critical, "not installed"),
            ("UnitFileState=enabled", "UnitFileState=disabled", Level::Warning, "does not start at boot"),
            ("ActiveState=active", "ActiveState=failed", Level::Warning, "it is failed"),
            ("WatchdogUSec=30s", "WatchdogUSec=0", Level::Warning, "no watchdog"),
            ("WatchdogUSec=30s", "WatchdogUSec=infinity", Level::Warning, "no watchdog"),
            ("KillMode=process", "KillMode=control-group", Level::Critical, "applications end"),
            ("Restart=always", "Restart=no", Level::Critical, "not always started again"),
            ("RuntimeDirectoryPreserve=yes", "RuntimeDirectoryPreserve=no", Level::Critical, "is removed"),
        ];
        for (meant, found, level, word) in table {
            let findings = service(&properties(&WELL.replace(meant, found)));
            assert_eq!((findings.len(), findings[0].level), (1, level), "{findings:?}");
            assert!(findings[0].what.contains(word) && findings[0].advice.is_some(), "{findings:?}");
        }
    }

    #[test]
    fn the_timer_is_there_or_it_is_said_how_to_have_it() {
        assert!(health_timer(&properties(WELL)).is_ok());
        let off = health_timer(&properties("LoadState=loaded UnitFileState=disabled ActiveState=inactive"));
        assert_eq!(off.advice.as_deref(), Some("sudo systemctl enable --now pintle-health.timer"));
        assert!(health_timer(&properties("LoadState=not-found")).advice.unwrap().contains("install -m 644"));
    }

    #[test]
    fn a_hardware_watchdog_counts_to_fifteen() {
        let said = |limit: &str, there| hardware(&properties(&format!("RuntimeWatchdogUSec={limit}")), there);
        assert!(said("10s", true).is_ok() && said("15s", true).is_ok() && said("0", false).is_ok());
        assert_eq!(said("16s", true).level, Level::Warning);
        assert_eq!(said("1min", true).level, Level::Warning);
        let unused = said("infinity", true);
        assert!(unused.is_ok() && unused.advice.is_some());
    }
}
