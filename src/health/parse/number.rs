//! Files that hold one number, or one line of text.

use super::{Unfit, whole};

/// A whole number and nothing else.
pub fn count(text: &str) -> Result<u64, Unfit> {
    whole(text.trim()).ok_or_else(|| Unfit::new("a number", text))
}

/// `0` or `1`.
pub fn flag(text: &str) -> Result<bool, Unfit> {
    match text.trim() {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err(Unfit::new("0 or 1", text)),
    }
}

/// A name on one line; the device tree ends it with a NUL.
pub fn name(text: &str) -> Result<String, Unfit> {
    let name = text.trim_end_matches('\0').trim();
    let plain = !name.is_empty() && name.len() <= 256 && !name.chars().any(|c| c.is_control() || c == '\u{fffd}');
    if plain { Ok(name.to_owned()) } else { Err(Unfit::new("a name", text)) }
}
