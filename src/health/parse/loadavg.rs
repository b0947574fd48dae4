//! `/proc/loadavg`: `0.20 0.18 0.12 1/80 11206`.

use super::{Unfit, decimal};
use crate::health::board::Load;

/// The three averages.
pub fn load(text: &str) -> Result<Load, Unfit> {
    let mut averages = text.split_ascii_whitespace().map(decimal);
    let mut next = || averages.next().flatten().ok_or_else(|| Unfit::new("three load averages", text));
    Ok(Load { one_minute: next()?, five_minutes: next()?, fifteen_minutes: next()? })
}
