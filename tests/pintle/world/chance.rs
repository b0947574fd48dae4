//! Chance that can be repeated: a seed in, the same numbers out.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A small generator (xorshift64*); good enough to choose instants.
pub struct Chance(u64);

impl Chance {
    /// Seeded by `PINTLE_SEED` where set, else by the clock; the seed is printed so that a failure can be repeated.
    pub fn announced() -> Chance {
        let given = std::env::var("PINTLE_SEED").ok().and_then(|text| text.parse().ok());
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| time.as_nanos() as u64 | 1);
        let seed = given.unwrap_or_else(clock);
        eprintln!("seed: PINTLE_SEED={seed}");
        Chance(seed.max(1))
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound.max(1)
    }

    /// A span below `bound`.
    pub fn span(&mut self, bound: Duration) -> Duration {
        Duration::from_micros(self.below(bound.as_micros() as u64))
    }
}
