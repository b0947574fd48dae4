//! Chance that can be repeated: the same seed gives the same numbers everywhere.

use std::time::Duration;

/// SplitMix64.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(seed)
    }
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
    /// 0 to `limit` - 1.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }
    pub(super) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
    pub(super) fn permille(&mut self, chance: u64) -> bool {
        self.below(1000) < chance
    }
    pub(super) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
    /// Up to `longest`, in whole milliseconds.
    pub(super) fn span(&mut self, longest: Duration) -> Duration {
        Duration::from_millis(self.below(longest.as_millis() as u64 + 1))
    }
    /// Mostly short, sometimes as long as `longest`.
    pub(super) fn skewed(&mut self, longest: Duration) -> Duration {
        let cut = 1 << self.below(8);
        self.span(longest / cut)
    }
}
