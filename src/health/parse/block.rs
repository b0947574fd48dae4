//! `/sys/block/NAME/stat`: what was read from and written to a device since the boot.

use super::{Unfit, whole};
use crate::base::Bytes;

/// Whatever the device's own are, the kernel counts in these.
const SECTOR: u64 = 512;

/// What was written.
pub fn written(text: &str) -> Result<Bytes, Unfit> {
    let sectors = text.split_ascii_whitespace().nth(6).and_then(whole);
    sectors
        .and_then(|sectors| sectors.checked_mul(SECTOR))
        .map(Bytes)
        .ok_or_else(|| Unfit::new("sectors written", text))
}
