//! The board's name, and its processor: use, heat, frequency.

use super::parsed;
use super::texts::Texts;
use crate::health::board::{Cpu, Frequency, Reading};
use crate::health::parse::{number, stat, thermal};

/// The device tree's name, or the one of a PC's firmware.
pub(super) fn model(texts: &Texts) -> Reading<String> {
    // /proc/device-tree is a link that leads out of a root that is not `/`.
    let places = ["sys/firmware/devicetree/base/model", "proc/device-tree/model", "sys/class/dmi/id/product_name"];
    let all = places.into_iter().map(|place| parsed(texts.read(place), number::name));
    all.into_iter().find(|model| *model != Reading::Unsupported).unwrap_or_default()
}

/// The use since the look before, which becomes this one.
pub(super) fn use_since(before: &mut Option<stat::Times>, now: Reading<stat::Times>) -> Reading<Cpu> {
    let now = match now {
        Reading::Value(now) => now,
        Reading::Unsupported => return Reading::Unsupported,
        Reading::Unreadable(why) => return Reading::Unreadable(why),
    };
    let cpu = before.as_ref().and_then(|before| stat::between(before, &now));
    *before = Some(now);
    cpu.map_or(Reading::Unsupported, Reading::Value)
}

/// Of the zone that is the processor most surely.
pub(super) fn temperature(texts: &Texts) -> Reading<f64> {
    let zones = texts.names("sys/class/thermal").into_iter().filter(|name| name.starts_with("thermal_zone"));
    let ranked = zones.filter_map(|zone| {
        let kind = texts.read(&format!("sys/class/thermal/{zone}/type"));
        Some((thermal::rank(kind.value()?)?, zone))
    });
    match ranked.min() {
        Some((_, zone)) => parsed(texts.read(&format!("sys/class/thermal/{zone}/temp")), thermal::celsius),
        None => Reading::Unsupported,
    }
}

/// Of the first core; on these boards all run at the same.
pub(super) fn frequency(texts: &Texts) -> Reading<Frequency> {
    let read = |file: &str| parsed(texts.read(&format!("sys/devices/system/cpu/cpu0/cpufreq/{file}")), number::count);
    match (read("scaling_cur_freq"), read("cpuinfo_max_freq")) {
        (Reading::Value(current_khz), Reading::Value(max_khz)) => Reading::Value(Frequency { current_khz, max_khz }),
        (Reading::Unreadable(why), _) | (_, Reading::Unreadable(why)) => Reading::Unreadable(why),
        _ => Reading::Unsupported,
    }
}
