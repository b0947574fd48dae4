//! The nouns every room shares: names, numbers, moments and sizes.
//!
//! Each is a type of its own so that a branch can never be passed where a commit belongs, and each is checked
//! where it is made: what holds an [`AppName`] or a [`CommitId`] holds a string that is safe as a file name and as
//! an argument of git. Line: no room's logic, no I/O - except that [`Moment::now`] is the one place that reads clocks.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A name that failed its check; says what was wrong and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadName(pub String);

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for BadName {}

/// Declares a string type that only its checked constructor can make.
macro_rules! checked_name {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks and wraps `text`.
            pub fn new(text: impl Into<String>) -> Result<Self, BadName> {
                let text = text.into();
                $check(&text)?;
                Ok($name(text))
            }
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl FromStr for $name {
            type Err = BadName;
            fn from_str(text: &str) -> Result<Self, BadName> {
                $name::new(text)
            }
        }
        impl TryFrom<String> for $name {
            type Error = BadName;
            fn try_from(text: String) -> Result<Self, BadName> {
                $name::new(text)
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }
        impl AsRef<std::path::Path> for $name {
            fn as_ref(&self) -> &std::path::Path {
                std::path::Path::new(&self.0)
            }
        }
    };
}

checked_name!(
    /// The name of a configured application: the stem of `apps/NAME.toml`, and a directory under the state directory.
    AppName,
    check_label
);
checked_name!(
    /// The name of a service within an application (`[service.NAME]`).
    ServiceName,
    check_label
);
checked_name!(
    /// A schedule of an application, as its `[[schedule]]` names it.
    ScheduleName,
    check_label
);
checked_name!(
    /// A full git object name: 40 (SHA-1) or 64 (SHA-256) lower-case hex digits.
    CommitId,
    check_commit
);
checked_name!(
    /// A tag's name as git allows it (without `refs/tags/`), at most 200 bytes.
    TagName,
    check_tag
);
checked_name!(
    /// The name of a release and of its directory: number and short commit, as in `000042-4f2a1c9`.
    ReleaseName,
    check_release
);
checked_name!(
    /// The name of a backup and of its directory: UTC time and deployment number, as in `20251024_200000-000042`.
    BackupId,
    check_backup
);

fn check_label(text: &str) -> Result<(), BadName> {
    let good_start = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let good_rest = text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_');
    if good_start && good_rest && text.len() <= 48 {
        return Ok(());
    }
    Err(BadName(format!(
        "{text:?} is not a usable name: 1 to 48 lower-case letters, digits, '-' and '_', beginning with a letter or digit"
    )))
}

fn check_commit(text: &str) -> Result<(), BadName> {
    let hex = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let zeros = text.bytes().all(|b| b == b'0');
    if hex && !zeros && (text.len() == 40 || text.len() == 64) {
        return Ok(());
    }
    Err(BadName(format!("{text:?} is not a commit: 40 or 64 lower-case hex digits")))
}

/// git's own rules for a reference (git-check-ref-format), a little stricter: ASCII only.
fn check_tag(text: &str) -> Result<(), BadName> {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"~^:?*[\\\"'`$<>|&;(){}!#".contains(&byte);
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    let good = text.len() <= 200
        && text.bytes().all(plain)
        && text.split('/').all(part)
        && !text.starts_with('-')
        && !text.ends_with('.')
        && !text.contains("..")
        && !text.contains("@{")
        && text != "@";
    if good { Ok(()) } else { Err(BadName(format!("{text:?} is not a tag's name as git allows it"))) }
}

fn check_release(text: &str) -> Result<(), BadName> {
    let parts = text.split_once('-');
    let good = parts.is_some_and(|(number, commit)| {
        (6..=18).contains(&number.len())
            && number.bytes().all(|b| b.is_ascii_digit())
            && (1..=64).contains(&commit.len())
            && commit.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'_')
            && !commit.starts_with('.')
    });
    if good {
        return Ok(());
    }
    Err(BadName(format!("{text:?} is not a release: a number of six digits, '-', a short commit (000042-4f2a1c9)")))
}

fn check_backup(text: &str) -> Result<(), BadName> {
    let good = text.len() >= 15
        && text.len() <= 64
        && text.bytes().enumerate().all(|(i, b)| match i {
            8 => b == b'_',
            15 => b == b'-',
            _ => b.is_ascii_digit() || (i > 15 && b == b'-'),
        });
    if good {
        return Ok(());
    }
    Err(BadName(format!("{text:?} is not a backup: see `pintle backup list`")))
}

impl CommitId {
    /// The first seven digits, as people and release names use them.
    pub fn short(&self) -> &str {
        &self.0[..7]
    }
}

impl ReleaseName {
    /// The release that deployment `number` makes of `commit`.
    pub fn of(number: DeployId, commit: &CommitId) -> ReleaseName {
        ReleaseName(format!("{number}-{}", commit.short()))
    }
    /// The number of the deployment that made it.
    pub fn number(&self) -> DeployId {
        let digits = self.0.split('-').next().unwrap_or_default();
        DeployId(digits.parse().unwrap_or_default())
    }
    /// The short commit (or image tag) it was made of.
    pub fn short_commit(&self) -> &str {
        self.0.split_once('-').map_or("", |(_, commit)| commit)
    }
}

/// A deployment's number: global over all apps, counted up, never reused. Shown as six digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DeployId(pub u64);

impl DeployId {
    /// The number after this one.
    pub fn next(self) -> DeployId {
        DeployId(self.0 + 1)
    }
}
impl fmt::Display for DeployId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:06}", self.0)
    }
}

/// One started process of a service. Never reused within a daemon's life, so a late event about an instance that is
/// gone can never be mistaken for one about its successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(pub u64);

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// An instant on both clocks: `mono` decides, `wall` only stamps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Time since boot, suspended time included (CLOCK_BOOTTIME); never jumps.
    pub mono: Duration,
    /// UTC as the machine believes it; may jump, may be 1970 on a board without a clock.
    pub wall: WallTime,
}

impl Moment {
    /// Reads both clocks. The only place in the project that does.
    pub fn now() -> Moment {
        let mono = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default();
        let wall = nix::time::clock_gettime(nix::time::ClockId::CLOCK_REALTIME)
            .map(|t| WallTime(t.tv_sec().saturating_mul(1000) + t.tv_nsec() / 1_000_000))
            .unwrap_or_default();
        Moment { mono, wall }
    }
}

/// Milliseconds since 1970 UTC. Written and read as RFC 3339 (`2025-10-24T20:00:00Z`, with milliseconds when there are any).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WallTime(pub i64);

impl WallTime {
    /// The time as RFC 3339 in whole seconds.
    pub fn rfc3339(self) -> String {
        self.to_string()
    }
    /// The time as `YYYYMMDD_HHMMSS` (UTC), as backups are named.
    pub fn compact(self) -> String {
        let digits: String = self.to_string().chars().filter(|c| c.is_ascii_digit() || *c == 'T').collect();
        digits.replace('T', "_")
    }
    /// `self` later by `span`.
    pub fn plus(self, span: Duration) -> WallTime {
        WallTime(self.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }
    /// `self` earlier by `span`.
    pub fn minus(self, span: Duration) -> WallTime {
        WallTime(self.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }
    /// How long after `earlier` this is; zero when the clock went backwards.
    pub fn since(self, earlier: WallTime) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}
impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stamp = jiff::Timestamp::from_second(self.0.div_euclid(1000)).unwrap_or_default();
        write!(f, "{stamp}")
    }
}
impl FromStr for WallTime {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let stamp: jiff::Timestamp = text.parse().map_err(|_| BadName(format!("{text:?} is not an RFC 3339 time")))?;
        Ok(WallTime(stamp.as_millisecond()))
    }
}
impl Serialize for WallTime {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}
impl<'de> Deserialize<'de> for WallTime {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A number of bytes. Written as configuration has it: `10MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        for (unit, size) in UNITS {
            if self.0 >= size {
                let tenths = (u128::from(self.0) * 10 + u128::from(size) / 2) / u128::from(size);
                return match tenths % 10 {
                    0 => write!(f, "{}{unit}", tenths / 10),
                    tenth => write!(f, "{}.{tenth}{unit}", tenths / 10),
                };
            }
        }
        write!(f, "{}B", self.0)
    }
}

/// A span of time as people read it: `350ms`, `12s`, `4m10s`, `3h`, `7d2h`.
pub struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.0.as_secs();
        let (days, hours, minutes, seconds) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60);
        let two = |f: &mut fmt::Formatter<'_>, a: u64, x: &str, b: u64, y: &str| match b {
            0 => write!(f, "{a}{x}"),
            _ => write!(f, "{a}{x}{b}{y}"),
        };
        match (days, hours, minutes) {
            (0, 0, 0) if whole == 0 => write!(f, "{}ms", self.0.as_millis()),
            (0, 0, 0) if whole < 10 && self.0.subsec_millis() >= 100 => {
                write!(f, "{whole}.{}s", self.0.subsec_millis() / 100)
            }
            (0, 0, 0) => write!(f, "{whole}s"),
            (0, 0, _) => two(f, minutes, "m", seconds, "s"),
            (0, _, _) => two(f, hours, "h", minutes, "m"),
            (_, _, _) => two(f, days, "d", hours, "h"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_harm_a_path_or_a_command_line_are_refused() {
        for bad in ["", "-x", "..", ".a", "a/b", "A", "ä", "a b", "a\n", &"x".repeat(49)] {
            assert!(AppName::new(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "nutricount", "my-app_2", "0x"] {
            assert!(AppName::new(good).is_ok(), "{good:?}");
        }
        for bad in ["", "HEAD", "-n", "4f2a1c9", &"0".repeat(40), &"G".repeat(40), &"A".repeat(40)] {
            assert!(CommitId::new(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "1-a", "000042", "000042-", "000042-a/b", "000042-..", "x00042-abc"] {
            assert!(ReleaseName::new(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "20251024", "20251024-200000", "20251024_200000-/..", "20251024_200000x"] {
            assert!(BackupId::new(bad).is_err(), "{bad:?}");
        }
        assert!(BackupId::new("20251024_200000").is_ok());
        assert!(BackupId::new("20251024_200000-000042").is_ok());
        assert!(BackupId::new("20251024_200000-000042-2").is_ok());
    }

    #[test]
    fn a_release_is_named_by_number_and_commit() {
        let commit = CommitId::new("4f2a1c9000000000000000000000000000000000").unwrap();
        let release = ReleaseName::of(DeployId(42), &commit);
        assert_eq!(release.as_str(), "000042-4f2a1c9");
        assert_eq!(release.number(), DeployId(42));
        assert_eq!(release.short_commit(), "4f2a1c9");
    }

    #[test]
    fn times_are_rfc3339_and_come_back() {
        let time = WallTime(1_761_336_000_000);
        assert_eq!(time.rfc3339(), "2025-10-24T20:00:00Z");
        assert_eq!(time.compact(), "20251024_200000Z".trim_end_matches('Z'));
        assert_eq!("2025-10-24T20:00:00Z".parse::<WallTime>().unwrap(), time);
        assert_eq!(time.since(time.plus(Duration::from_secs(5))), Duration::ZERO);
    }

    #[test]
    fn sizes_and_spans_read_as_people_write_them() {
        let sizes = [(0, "0B"), (1023, "1023B"), (1536, "1.5KiB"), (10 << 20, "10MiB"), (5 << 30, "5GiB")];
        for (bytes, text) in sizes {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
        let spans =
            [(0, "0ms"), (350, "350ms"), (1200, "1.2s"), (12_300, "12s"), (250_000, "4m10s"), (10_800_000, "3h")];
        for (millis, text) in spans {
            assert_eq!(Span(Duration::from_millis(millis)).to_string(), text);
        }
        assert_eq!(Span(Duration::from_secs(7 * 86_400 + 7200)).to_string(), "7d2h");
    }
}
