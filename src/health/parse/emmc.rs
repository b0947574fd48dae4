//! What an eMMC says of its wear in sysfs: `life_time` and `pre_eol_info`.

use super::Unfit;
use crate::health::board::{Reading, Spare};

/// `life_time`: `0x01 0x02`, one for each kind of memory; the worse one in tenths of its life, 11 when it is beyond.
/// Zero is "not defined".
pub fn life_used(text: &str) -> Result<Reading<u8>, Unfit> {
    let estimates: Option<Vec<u8>> = text.split_ascii_whitespace().map(byte).collect();
    let known = estimates.filter(|estimates| (1..=2).contains(&estimates.len()));
    match known.and_then(|estimates| estimates.into_iter().max()) {
        Some(0) => Ok(Reading::Unsupported),
        Some(tenths @ 1..=11) => Ok(Reading::Value(tenths)),
        _ => Err(Unfit::new("an estimate of its life", text)),
    }
}

/// `pre_eol_info`: `0x01`. Zero is "not defined".
pub fn spare(text: &str) -> Result<Reading<Spare>, Unfit> {
    match byte(text.trim()) {
        Some(0) => Ok(Reading::Unsupported),
        Some(1) => Ok(Reading::Value(Spare::Normal)),
        Some(2) => Ok(Reading::Value(Spare::Warning)),
        Some(3) => Ok(Reading::Value(Spare::Urgent)),
        _ => Err(Unfit::new("the state of its spare blocks", text)),
    }
}

fn byte(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("0x")?;
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if plain { u8::from_str_radix(digits, 16).ok() } else { None }
}
