//! The kernel's and the firmware's texts, one file per kind: text in, values out.
//!
//! A text may be anything: empty, cut off, binary, of a kernel to come. What does not fit is an [`Unfit`] and never a
//! zero. Line: pure; `os::sensors` fetches the texts and knows where they are.

pub mod block;
pub mod emmc;
pub mod loadavg;
pub mod meminfo;
pub mod mounts;
pub mod number;
pub mod own;
pub mod pressure;
pub mod stat;
pub mod thermal;
pub mod throttled;
pub mod uptime;

use std::fmt;

/// A text that is not what it should be, with its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit(String);

impl Unfit {
    /// `what`: the thing that was looked for.
    pub fn new(what: &str, text: &str) -> Unfit {
        let shown: String = text.chars().take(40).collect();
        let cut = if shown.len() < text.len() { "..." } else { "" };
        Unfit(format!("{what} is not in {:?}{cut}", shown))
    }
}
impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A number of decimal digits and a point, as the kernel writes it in every locale; finite and not negative.
fn decimal(text: &str) -> Option<f64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if plain { text.parse().ok().filter(|number: &f64| number.is_finite()) } else { None }
}

/// Decimal digits alone.
fn whole(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests;
