//! A time of day as the clock on the wall shows it: when it comes next, whatever daylight saving does.

use crate::base::WallTime;
use crate::config::At;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use std::time::Duration;

/// For a clock that shows no date at all.
const A_DAY: Duration = Duration::from_secs(86_400);

/// The first time after `after` at which the clock shows `at`. A time that the clock skips comes as much later as it
/// skips; of one that it shows twice the first counts: each day has it once.
pub fn next(at: &At, after: WallTime, zone: &TimeZone) -> WallTime {
    let first = || -> Option<WallTime> {
        let today = Timestamp::from_millisecond(after.0).ok()?.to_zoned(zone.clone()).date();
        (0..=8).find_map(|days: i64| {
            let date = today.checked_add(days.days()).ok()?;
            let civil = date.at(at.time.hour as i8, at.time.minute as i8, 0, 0);
            let shown = WallTime(civil.to_zoned(zone.clone()).ok()?.timestamp().as_millisecond());
            (at.day.is_none_or(|day| day == date.weekday()) && shown > after).then_some(shown)
        })
    };
    first().unwrap_or_else(|| after.plus(A_DAY))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TimeOfDay;
    use jiff::civil::Weekday;

    fn berlin() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    fn time(text: &str) -> WallTime {
        text.parse().unwrap()
    }

    #[test]
    fn each_day_has_its_time_once_also_where_the_clock_is_changed() {
        let daily = |hour, minute| At { day: None, time: TimeOfDay { hour, minute } };
        let weekly = At { day: Some(Weekday::Monday), time: TimeOfDay { hour: 3, minute: 30 } };
        let table = [
            (daily(3, 30), "2026-11-02T01:00:00Z", "2026-11-02T02:30:00Z"),
            // Not the very moment itself: that was the last run.
            (daily(3, 30), "2026-11-02T02:30:00Z", "2026-11-03T02:30:00Z"),
            // 2026-03-29: 02:00 becomes 03:00, so 02:30 does not come, and 03:30 shows an hour sooner.
            (daily(2, 30), "2026-03-28T12:00:00Z", "2026-03-29T01:30:00Z"),
            (daily(2, 30), "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"),
            // 2026-10-25: 03:00 becomes 02:00, so 02:30 comes twice.
            (daily(2, 30), "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"),
            (daily(2, 30), "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"),
            (weekly, "2026-11-02T02:29:59Z", "2026-11-02T02:30:00Z"),
            (weekly, "2026-11-02T02:30:00Z", "2026-11-09T02:30:00Z"),
        ];
        for (at, after, expected) in table {
            assert_eq!(next(&at, time(after), &berlin()), time(expected), "{at} after {after}");
        }
    }

    #[test]
    fn a_year_has_as_many_runs_as_days() {
        let (mut now, mut runs) = (time("2026-01-01T00:00:00Z"), 0);
        let at = At { day: None, time: TimeOfDay { hour: 2, minute: 30 } };
        while now < time("2027-01-01T00:00:00Z") {
            now = next(&at, now, &berlin());
            runs += 1;
        }
        assert_eq!(runs, 366, "365 days, and the one that ended the count");
    }
}
