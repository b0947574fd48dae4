//! `/sys/class/thermal/thermal_zone*`: which of them is the processor, and how hot it is.

use super::Unfit;

/// What kernels call the processor's zone, the surest first. Numbers mean nothing: zone 0 may be the Wi-Fi.
const PROCESSORS: [&str; 10] = [
    "cpu-thermal",
    "cpu_thermal",
    "bcm2835_thermal",
    "soc-thermal",
    "soc_thermal",
    "cpu0-thermal",
    "x86_pkg_temp",
    "TCPU",
    "k10temp",
    "acpitz",
];

/// How surely a zone of this type is the processor: 0 is the surest; `None`: it is something else.
pub fn rank(kind: &str) -> Option<usize> {
    PROCESSORS.iter().position(|known| *known == kind.trim())
}

/// `temp`: thousandths of a degree Celsius. What no processor ever had is not believed.
pub fn celsius(text: &str) -> Result<f64, Unfit> {
    let text = text.trim();
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let thousandths = text.parse::<i64>().ok().filter(|it| plain && (-60_000..=200_000).contains(it));
    thousandths.map(|it| it as f64 / 1000.0).ok_or_else(|| Unfit::new("a temperature", text))
}
