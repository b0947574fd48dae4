//! `/proc/self/statm` and `/proc/self/io`: what this process itself costs.

use super::{Unfit, whole};
use crate::base::Bytes;

/// The resident set, of `statm`.
pub fn resident(text: &str, page: u64) -> Result<Bytes, Unfit> {
    let pages = text.split_ascii_whitespace().nth(1).and_then(whole);
    pages.and_then(|pages| pages.checked_mul(page)).map(Bytes).ok_or_else(|| Unfit::new("resident pages", text))
}

/// What it made the disks write, of `io`; what was written and thrown away again before it got there does not count.
pub fn written(text: &str) -> Result<Bytes, Unfit> {
    let field = |name: &str| text.lines().find_map(|line| whole(line.strip_prefix(name)?.trim()));
    let (written, cancelled) = (field("write_bytes:"), field("cancelled_write_bytes:").unwrap_or(0));
    written.map(|bytes| Bytes(bytes.saturating_sub(cancelled))).ok_or_else(|| Unfit::new("write_bytes", text))
}
