//! What the firmware of a Raspberry Pi says: `throttled=0x50005` of `vcgencmd get_throttled`, `50005` in sysfs.

use super::Unfit;
use crate::health::board::{Power, Reading, Strain};

/// Bits 0 to 3 are now, 16 to 19 since the boot.
const SINCE_BOOT: u32 = 16;

/// The four bits, twice.
pub fn power(text: &str) -> Result<Power, Unfit> {
    let word = text.trim();
    let word = word.strip_prefix("throttled=").unwrap_or(word);
    let digits = word.strip_prefix("0x").unwrap_or(word);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let bits = if plain { u32::from_str_radix(digits, 16).ok() } else { None };
    let bits = bits.ok_or_else(|| Unfit::new("the firmware's word about its power", text))?;
    Ok(Power { now: strain(bits), since_boot: strain(bits >> SINCE_BOOT) })
}

fn strain(bits: u32) -> Strain {
    let is = |bit: u32| Reading::Value(bits & 1 << bit != 0);
    Strain { under_voltage: is(0), frequency_capped: is(1), throttled: is(2), soft_temperature_limit: is(3) }
}

/// The word could not be had.
pub fn unreadable(why: &str) -> Power {
    let unreadable = || Reading::Unreadable(why.to_owned());
    let strain = || Strain {
        under_voltage: unreadable(),
        frequency_capped: unreadable(),
        throttled: unreadable(),
        soft_temperature_limit: unreadable(),
    };
    Power { now: strain(), since_boot: strain() }
}

/// Zeros and Compute Modules have nothing that measures the voltage: their bit is never set, which says nothing.
pub fn of_model(mut power: Power, model: Option<&str>) -> Power {
    let measures_nothing = model.is_some_and(|model| model.contains("Pi Zero") || model.contains("Compute Module"));
    for strain in [&mut power.now, &mut power.since_boot] {
        if measures_nothing && strain.under_voltage != Reading::Value(true) {
            strain.under_voltage = Reading::Unsupported;
        }
    }
    power
}
