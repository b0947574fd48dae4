//! `/proc/uptime`: `350735.47 234388.90`.

use super::{Unfit, decimal};
use std::time::Duration;

/// Since the boot.
pub fn uptime(text: &str) -> Result<Duration, Unfit> {
    let seconds = text.split_ascii_whitespace().next().and_then(decimal);
    let uptime = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    uptime.ok_or_else(|| Unfit::new("seconds since the boot", text))
}
