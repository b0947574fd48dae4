//! Reads `[[schedule]]`: commands of an application that run by the clock, as cron's did.

use super::read::Section;
use super::step::unique_name;
use super::units::{self, Misread};
use super::{Command, TimeOfDay};
use crate::base::ScheduleName;
use jiff::civil::Weekday;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// A run takes so long at most where nobody says otherwise.
const TIMEOUT: Duration = Duration::from_secs(3600);
/// What runs more often than this is a service.
const SHORTEST: Duration = Duration::from_secs(1);

/// `[[schedule]]`: one command that runs by the clock, in the live release.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// Names its log, its line in `status` and what is told of it; unique within the app.
    pub name: ScheduleName,
    /// When it runs.
    pub when: When,
    /// What runs.
    pub run: Command,
    /// Ended, with its whole process group, after this.
    pub timeout: Duration,
    /// Added to its environment.
    pub env: BTreeMap<String, String>,
}

/// When a schedule's command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// In an interval, whatever the clock on the wall shows.
    Every(Duration),
    /// At a time of day.
    At(At),
}

/// A time of day by this host's clock, of every day or of one day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    /// `None`: every day.
    pub day: Option<Weekday>,
    /// The time.
    pub time: TimeOfDay,
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            When::Every(span) => write!(f, "every {}", units::write_duration(*span)),
            When::At(at) => write!(f, "at {at}"),
        }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.day.and_then(|day| DAYS.iter().find(|(_, known)| *known == day)) {
            Some((word, _)) => write!(f, "{word} {}", self.time),
            None => write!(f, "{}", self.time),
        }
    }
}

const DAYS: [(&str, Weekday); 7] = [
    ("Mon", Weekday::Monday),
    ("Tue", Weekday::Tuesday),
    ("Wed", Weekday::Wednesday),
    ("Thu", Weekday::Thursday),
    ("Fri", Weekday::Friday),
    ("Sat", Weekday::Saturday),
    ("Sun", Weekday::Sunday),
];

/// Reads all schedules, in the file's order. What was wrong is on the sheet.
pub(super) fn read(schedules: &[Section<'_>]) -> Vec<Schedule> {
    let mut names = BTreeSet::new();
    schedules.iter().filter_map(|schedule| read_one(schedule, &mut names)).collect()
}

fn read_one(section: &Section<'_>, names: &mut BTreeSet<String>) -> Option<Schedule> {
    let text = unique_name(section, names);
    let name = ScheduleName::new(text.clone());
    if let (Err(bad), false) = (&name, text.is_empty()) {
        section.problem("name", bad.0.clone(), "its log is called by it: write it as in \"nightly-digest\"");
    }
    section.missing("run", "write the command to run");
    let (run, timeout, env) = (section.command("run"), section.positive_duration("timeout"), section.env("env"));
    let when = read_when(section);
    Some(Schedule { name: name.ok()?, when: when?, run: run?, timeout: timeout.unwrap_or(TIMEOUT), env })
}

fn read_when(section: &Section<'_>) -> Option<When> {
    if section.has("every") == section.has("at") {
        let advice = r#"write one of every = "24h" and at = "03:30""#;
        section.sheet.problem(&section.path, "must say when, in exactly one way", advice);
    }
    let every = section.positive_duration("every");
    if every.is_some_and(|span| span < SHORTEST) {
        section.problem("every", "is shorter than a second", "what runs all the time is a service: [service.NAME]");
    }
    every.map(When::Every).or(section.parsed("at", at).map(When::At))
}

/// `03:30`, or `Mon 03:30`.
fn at(text: &str) -> Result<At, Misread> {
    let misread = |advice: &str| Misread::new("is not a time of day", advice);
    let Some((day, time)) = text.split_once(' ') else {
        let time = units::time_of_day(text).map_err(|_| misread(r#"write "03:30", or "Mon 03:30" for once a week"#))?;
        return Ok(At { day: None, time });
    };
    let day = DAYS.iter().find(|(word, _)| word.eq_ignore_ascii_case(day)).map(|(_, day)| *day);
    let day = day.ok_or_else(|| misread(r#"begin with Mon, Tue, Wed, Thu, Fri, Sat or Sun, as in "Mon 03:30""#))?;
    Ok(At { day: Some(day), time: units::time_of_day(time.trim())? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written_back_exactly() {
        for text in ["03:30", "Mon 03:30", "Sun 23:59"] {
            assert_eq!(at(text).unwrap().to_string(), text);
        }
        assert_eq!(at("sat 07:05").unwrap().to_string(), "Sat 07:05");
        for bad in ["", "3:30", "24:00", "Monday 03:30", "Mon", "Mon 3:30", "03:30 Mon"] {
            assert!(at(bad).is_err(), "{bad:?}");
        }
        assert_eq!(When::Every(Duration::from_secs(86_400)).to_string(), "every 1d");
    }
}
