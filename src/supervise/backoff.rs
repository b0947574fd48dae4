//! How long a crashed instance waits before its next start.

use std::time::Duration;

/// A run of at least this long is followed by an immediate start.
pub const LONG_RUN: Duration = Duration::from_secs(10);
/// A run of at least this long forgives all earlier failures.
pub const STABLE_RUN: Duration = Duration::from_secs(60);
/// So many failures in a row are a crash loop: said once, retried slowly for ever.
pub const CRASH_LOOP: u32 = 5;

const FIRST: Duration = Duration::from_millis(100);
const CEILING: Duration = Duration::from_secs(60);

/// The wait before the next start after `failures` failures in a row, the last run having lasted `ran_for`.
/// Spread by up to a tenth, by `seed`, so that services which died together do not all start together.
pub fn delay(failures: u32, ran_for: Duration, seed: u64) -> Duration {
    if ran_for >= LONG_RUN {
        return Duration::ZERO;
    }
    let doublings = failures.saturating_sub(1).min(16);
    let plain = FIRST.saturating_mul(1 << doublings).min(CEILING);
    let tenth = plain.as_millis() as u64 / 10;
    let spread = scramble(seed ^ u64::from(failures)) % (tenth + 1);
    plain - Duration::from_millis(spread)
}

/// SplitMix64's finisher: neighbouring seeds end far apart.
fn scramble(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_from_a_tenth_of_a_second_to_a_minute() {
        let millis = [(1, 100), (2, 200), (3, 400), (5, 1600), (10, 51_200), (11, 60_000), (u32::MAX, 60_000)];
        for (failures, plain) in millis {
            for seed in 0..50 {
                let wait = delay(failures, Duration::from_secs(1), seed).as_millis() as u64;
                assert!(wait <= plain && wait >= plain - plain / 10, "{failures} failures: {wait} ms");
            }
        }
    }

    #[test]
    fn a_long_run_is_followed_by_an_immediate_start() {
        assert_eq!(delay(7, LONG_RUN, 1), Duration::ZERO);
    }
}
