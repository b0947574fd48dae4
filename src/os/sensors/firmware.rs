//! What a Raspberry Pi says of its power: from the kernel's files, else by asking `vcgencmd`.
//!
//! The hwmon driver `rpi_volt` tells under-voltage now. What is held back, and what happened since the boot, stands in one
//! word of the firmware: in sysfs on some kernels, and `vcgencmd get_throttled` tells it on all - the only sensor that
//! needs a process.

use super::parsed;
use super::texts::Texts;
use crate::health::board::{Power, Reading};
use crate::health::parse::{number, throttled};
use crate::os::cancel::Cancel;
use crate::os::command::{self, Ending, Spec};
use std::io;
use std::time::Duration;

const WORD: &str = "sys/devices/platform/soc/soc:firmware/get_throttled";
const PROGRAMS: [&str; 2] = ["usr/bin/vcgencmd", "opt/vc/bin/vcgencmd"];
/// The firmware answers in milliseconds, or it hangs.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is known of the power.
pub(super) fn power(texts: &Texts) -> Power {
    let mut power = word(texts);
    match alarm(texts) {
        Reading::Unsupported => {}
        // Looked at each other second by the kernel, and there for everybody.
        alarm => power.now.under_voltage = alarm,
    }
    power
}

/// Under-voltage as the hwmon driver sees it.
fn alarm(texts: &Texts) -> Reading<bool> {
    for device in texts.names("sys/class/hwmon") {
        let at = |file: &str| texts.read(&format!("sys/class/hwmon/{device}/{file}"));
        if at("name").value().is_some_and(|name| name.trim() == "rpi_volt") {
            return parsed(at("in0_lcrit_alarm"), number::flag);
        }
    }
    Reading::Unsupported
}

/// The firmware's word.
fn word(texts: &Texts) -> Power {
    let text = match texts.read(WORD) {
        Reading::Unsupported => ask(texts),
        text => text,
    };
    match parsed(text, throttled::power) {
        Reading::Value(power) => power,
        Reading::Unsupported => Power::default(),
        Reading::Unreadable(why) => throttled::unreadable(&why),
    }
}

fn ask(texts: &Texts) -> Reading<String> {
    let Some(program) = PROGRAMS.into_iter().find(|program| texts.is_there(program)) else {
        return Reading::Unsupported;
    };
    let program = texts.path(program).to_string_lossy().into_owned();
    let spec = Spec { argv: vec![program.clone(), "get_throttled".into()], cwd: "/".into(), ..Spec::default() };
    match run(&spec) {
        Ok((Ending::Exited(0), said)) => Reading::Value(said),
        Ok((ending, said)) => {
            let how = command::explain(ending, PATIENCE);
            Reading::Unreadable(format!("ask {program} get_throttled: {how}: {}", said.trim()))
        }
        Err(error) => Reading::Unreadable(error.to_string()),
    }
}

fn run(spec: &Spec) -> io::Result<(Ending, String)> {
    let mut said = vec![];
    let cancel = Cancel::new()?;
    let ending = command::run(spec, PATIENCE, &cancel, &mut |bytes| {
        if said.len() < 1024 {
            said.extend_from_slice(bytes);
        }
    })?;
    Ok((ending, String::from_utf8_lossy(&said).into_owned()))
}
