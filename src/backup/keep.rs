//! Which backups may go.
//!
//! One rule: a backup goes when enough complete newer ones exist, or when it is too old and at least one complete newer
//! one exists. So the newest complete backup always stays, whatever its age and whatever `keep` says. Line: decides
//! only; deleting is the hands' work.

use crate::backup::name;
use crate::base::{BackupId, WallTime};
use std::time::Duration;

/// A backup as the decision needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its name.
    pub id: BackupId,
    /// When it was made, as the clock had it then.
    pub created: WallTime,
    /// Whether it can be restored whole, as far as is known.
    pub complete: bool,
}

/// How many are kept and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Complete ones kept; 0 means 1.
    pub keep: u32,
    /// Older ones go, where the clock can be trusted.
    pub keep_for: Option<Duration>,
    /// The time now.
    pub now: WallTime,
    /// Whether `now` is the real time (synchronised, or from a clock with a battery).
    pub clock_trusted: bool,
}

/// Before this no Pintle existed: a backup "made" earlier was made without a clock, and its age is not known.
const BEFORE_PINTLE: WallTime = WallTime(1_704_067_200_000);

/// The backups that may be deleted, oldest first; never one of `never`.
pub fn superfluous(held: &[Held], rule: &Rule, never: &[BackupId]) -> Vec<BackupId> {
    let mut newest_first: Vec<&Held> = held.iter().collect();
    newest_first.sort_by(|a, b| name::order(&b.id).cmp(&name::order(&a.id)));
    let enough = rule.keep.max(1);
    let mut newer_complete = 0;
    let mut gone = Vec::new();
    for backup in newest_first {
        let too_many = newer_complete >= enough;
        let too_old = newer_complete >= 1 && is_too_old(backup, rule);
        if (too_many || too_old) && !never.contains(&backup.id) {
            gone.push(backup.id.clone());
        }
        newer_complete += u32::from(backup.complete);
    }
    gone.reverse();
    gone
}

fn is_too_old(backup: &Held, rule: &Rule) -> bool {
    let age_known = rule.clock_trusted && backup.created >= BEFORE_PINTLE;
    age_known && rule.keep_for.is_some_and(|limit| rule.now.since(backup.created) > limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000;
    const NOW: WallTime = WallTime(1_761_336_000_000);

    /// A backup of deployment `number`, `days` old.
    fn held(number: u32, days: i64, complete: bool) -> Held {
        let created = WallTime(NOW.0 - days * DAY);
        Held { id: name::free(created, crate::base::DeployId(number.into()), |_| false), created, complete }
    }

    fn numbers(gone: &[BackupId]) -> Vec<u64> {
        gone.iter().map(|id| name::order(id).0.0).collect()
    }

    #[test]
    fn what_goes() {
        struct Case {
            what: &'static str,
            held: Vec<Held>,
            keep: u32,
            days: Option<u64>,
            trusted: bool,
            never: &'static [usize],
            gone: &'static [u64],
        }
        let five = || (1..=5).map(|n| held(n, 10 - i64::from(n), true)).collect::<Vec<_>>();
        let case = |what, held, keep, days, trusted, never, gone| Case { what, held, keep, days, trusted, never, gone };
        let cases = [
            case("nothing held", vec![], 3, Some(1), true, &[], &[]),
            case("fewer than keep", five(), 9, None, true, &[], &[]),
            case("the oldest beyond keep", five(), 3, None, true, &[], &[1, 2]),
            case("keep 0 still keeps the newest", five(), 0, None, true, &[], &[1, 2, 3, 4]),
            case("age", five(), 9, Some(7), true, &[], &[1, 2]),
            case("exactly the limit stays", five(), 9, Some(6), true, &[], &[1, 2, 3]),
            case("age with a clock nobody trusts", five(), 9, Some(1), false, &[], &[]),
            case("all too old: the newest stays", five(), 9, Some(1), true, &[], &[1, 2, 3, 4]),
            case("a rollback needs the first", five(), 2, None, true, &[0], &[2, 3]),
            case(
                "a damaged newest one does not count",
                vec![held(1, 3, true), held(2, 2, true), held(3, 1, false)],
                1,
                None,
                true,
                &[],
                &[1],
            ),
            case(
                "a damaged one goes when enough newer ones are whole",
                vec![held(1, 3, false), held(2, 2, true), held(3, 1, true)],
                2,
                None,
                true,
                &[],
                &[1],
            ),
            case(
                "only damaged ones: all stay",
                vec![held(1, 99, false), held(2, 98, false)],
                1,
                Some(1),
                true,
                &[],
                &[],
            ),
            case(
                "made in 1970 by a board without a clock",
                vec![held(7, 20_000, true), held(8, 20_000, true)],
                5,
                Some(7),
                true,
                &[],
                &[],
            ),
            case("made in the future", vec![held(1, -400, true), held(2, 0, true)], 5, Some(7), true, &[], &[]),
            case(
                "the clock went back to 1970: the new one is still newest",
                vec![held(1, 1, true), held(2, 20_000, true)],
                1,
                None,
                true,
                &[],
                &[1],
            ),
        ];
        for case in cases {
            let rule = Rule {
                keep: case.keep,
                keep_for: case.days.map(|d| Duration::from_secs(d * 86_400)),
                now: NOW,
                clock_trusted: case.trusted,
            };
            let never: Vec<BackupId> = case.never.iter().map(|i| case.held[*i].id.clone()).collect();
            let mut shuffled = case.held.clone();
            shuffled.reverse();
            assert_eq!(numbers(&superfluous(&case.held, &rule, &never)), case.gone, "{}", case.what);
            assert_eq!(numbers(&superfluous(&shuffled, &rule, &never)), case.gone, "{} (shuffled)", case.what);
        }
    }
}
