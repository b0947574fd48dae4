//! Reads `[repair]`: how far repairs of an application that stays unhealthy may go beyond its own services.

use super::read::Section;
use super::units::Misread;

/// `[repair]`; nothing of it is done unless it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Repair {
    /// Units of systemd that are restarted when a restart of the services did not help.
    pub units: Vec<String>,
    /// How often a day the host may be rebooted when that did not help either; 0: never.
    pub reboots_per_day: u32,
}

/// Reads the table. What was wrong is on the sheet.
pub(super) fn read(section: Option<&Section<'_>>) -> Repair {
    let Some(section) = section else { return Repair::default() };
    let units = section.list("units", unit).unwrap_or_default();
    let reboot = section.boolean("reboot").unwrap_or(false);
    let per_day = section.count("reboots_per_day", 1, 24);
    if section.has("reboots_per_day") && !reboot {
        section.problem(
            "reboots_per_day",
            "is a limit of what is not asked for",
            "write reboot = true, or leave it out",
        );
    }
    let reboots_per_day = if reboot { per_day.unwrap_or(1) } else { 0 };
    if !section.sheet.context.environment.is_root && !section.sheet.context.frozen {
        let text = "is only done by a daemon that runs as root; this one would leave it at restarts of the services";
        if !units.is_empty() {
            section.notice("units", text);
        }
        if reboot {
            section.notice("reboot", text);
        }
    }
    Repair { units, reboots_per_day }
}

/// The kinds of units that can be restarted to some effect.
const KINDS: [&str; 4] = [".service", ".socket", ".mount", ".target"];

/// Units whose start ends what runs on the host; as a repair there is `reboot`.
const THE_HOST: [&str; 7] = [
    "reboot.target",
    "poweroff.target",
    "halt.target",
    "kexec.target",
    "shutdown.target",
    "rescue.target",
    "emergency.target",
];

/// A unit's whole name; never ours.
fn unit(text: &str) -> Result<String, Misread> {
    let plain = |c: char| c.is_ascii_alphanumeric() || ":_.@\\-".contains(c);
    let is_name = KINDS.iter().any(|kind| text.len() > kind.len() && text.ends_with(kind));
    if !is_name || !text.starts_with(|c: char| c.is_ascii_alphanumeric()) || !text.chars().all(plain) {
        return Err(Misread::new("is not a unit's name", r#"write it whole, as in "postgresql.service""#));
    }
    if text.starts_with("pintle") {
        return Err(Misread::new("is Pintle itself", "leave it out: it repairs itself by other means"));
    }
    if THE_HOST.contains(&text) {
        return Err(Misread::new(
            "ends all that runs on the host",
            "write reboot = true for a reboot, and leave it out",
        ));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_of_other_units_are_taken() {
        for good in ["postgresql.service", "postgresql@15-main.service", "srv-data.mount", "docker.socket"] {
            assert_eq!(unit(good).unwrap(), good);
        }
        for bad in ["", "postgresql", ".service", "--force.service", "a b.service", "a/../b.service", "pintle.service"]
        {
            assert!(unit(bad).is_err(), "{bad:?}");
        }
        for grave in THE_HOST.into_iter().chain(["pintle-health.service", "pintle-health.timer"]) {
            assert!(unit(grave).is_err(), "{grave:?}");
        }
    }
}
