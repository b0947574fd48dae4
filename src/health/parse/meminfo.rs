//! `/proc/meminfo`: RAM and swap.

use super::{Unfit, whole};
use crate::base::Bytes;
use crate::health::board::{Memory, Reading, Swap};

/// RAM, with what is available for new programs.
pub fn memory(text: &str) -> Result<Memory, Unfit> {
    let (total, available) = (field(text, "MemTotal")?, field(text, "MemAvailable")?);
    if total.0 == 0 {
        return Err(Unfit::new("MemTotal", text));
    }
    Ok(Memory { total, available })
}

/// Swap; unsupported where there is none.
pub fn swap(text: &str) -> Result<Reading<Swap>, Unfit> {
    let (total, free) = (field(text, "SwapTotal")?, field(text, "SwapFree")?);
    Ok(if total.0 == 0 { Reading::Unsupported } else { Reading::Value(Swap { total, free }) })
}

fn field(text: &str, name: &str) -> Result<Bytes, Unfit> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib = rest.and_then(|rest| whole(rest.trim().strip_suffix("kB")?.trim()));
    kib.and_then(|kib| kib.checked_mul(1024)).map(Bytes).ok_or_else(|| Unfit::new(name, text))
}
