//! `/proc/pressure/*`: `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same for `full`.

use super::{Unfit, decimal};
use crate::health::board::Pressure;

/// Both lines. `full` is missing for the processor on older kernels, and is nothing there.
pub fn pressure(text: &str) -> Result<Pressure, Unfit> {
    let unfit = || Unfit::new("pressure in percent", text);
    let some = line(text, "some").ok_or_else(unfit)?;
    let full = match text.lines().any(|line| line.starts_with("full")) {
        true => line(text, "full").ok_or_else(unfit)?,
        false => [0.0; 3],
    };
    Ok(Pressure {
        some_avg10: some[0],
        some_avg60: some[1],
        some_avg300: some[2],
        full_avg10: full[0],
        full_avg60: full[1],
        full_avg300: full[2],
    })
}

fn line(text: &str, which: &str) -> Option<[f64; 3]> {
    let mut fields = text.lines().find_map(|line| line.strip_prefix(which)?.strip_prefix(' '))?.split(' ');
    let mut field = |name: &str| {
        let percent = decimal(fields.next()?.strip_prefix(name)?)?;
        (percent <= 100.0).then_some(percent)
    };
    Some([field("avg10=")?, field("avg60=")?, field("avg300=")?])
}
