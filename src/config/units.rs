//! Texts that mean a quantity or a place: spans of time, sizes, rates, addresses, signals, inner paths.
//!
//! Each reads one text, and where it is shown again is written back exactly. Line: texts only; which key wants which
//! is said by the readers.

use super::{Address, Rate, TimeOfDay, Window};
use crate::base::Bytes;
use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// A text that does not mean what its key wants. `wrong` follows the quoted text or the key: "is not a size".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Misread {
    pub wrong: String,
    pub advice: String,
}

impl Misread {
    pub(super) fn new(wrong: impl Into<String>, advice: impl Into<String>) -> Misread {
        Misread { wrong: wrong.into(), advice: advice.into() }
    }
}

const SPANS: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
/// Ten years: what is longer is a slip of the pen, and sums of spans cannot overflow.
const LONGEST_MS: u64 = 3650 * 86_400_000;

/// A span of time: `250ms`, `30s`, `1h30m`, `7d`.
pub(super) fn duration(text: &str) -> Result<Duration, Misread> {
    let advice = r#"write a number and ms, s, m, h or d, as in "250ms", "30s", "5m" or "1h30m""#;
    let misread = || Misread::new("is not a span of time", advice);
    let mut rest = text.trim();
    let mut millis: u64 = 0;
    if rest.is_empty() {
        return Err(misread());
    }
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(misread)?);
        let (unit, after) = after.split_at(after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len()));
        let (_, size) = SPANS.iter().find(|(name, _)| *name == unit).ok_or_else(misread)?;
        let part = number.parse::<u64>().ok().and_then(|n| n.checked_mul(*size)).ok_or_else(misread)?;
        millis = millis
            .checked_add(part)
            .filter(|sum| *sum <= LONGEST_MS)
            .ok_or_else(|| Misread::new("is longer than ten years", "write a span that a machine will live to see"))?;
        rest = after.trim_start();
    }
    Ok(Duration::from_millis(millis))
}

/// A span of time exactly as [`duration`] reads it back.
pub(super) fn write_duration(span: Duration) -> String {
    let mut rest = span.as_millis() as u64;
    let mut text = String::new();
    for (unit, size) in SPANS.into_iter().skip(1) {
        if rest >= size {
            text.push_str(&format!("{}{unit}", rest / size));
            rest %= size;
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// A size: `10MiB`, `1.5GiB`, `512KiB`, `4096B`; `MB` and its kin are decimal.
pub(super) fn size(text: &str) -> Result<Bytes, Misread> {
    let misread = || Misread::new("is not a size", r#"write a number and B, KiB, MiB or GiB, as in "10MiB""#);
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(misread)?);
    let (_, scale) = SIZES.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim())).ok_or_else(misread)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if fraction.is_empty() || fraction.len() > 6 {
        return Err(misread());
    }
    let part =
        fraction.parse::<u128>().map_err(|_| misread())? * u128::from(*scale) / 10u128.pow(fraction.len() as u32);
    let bytes = whole.parse::<u128>().map_err(|_| misread())?.checked_mul(u128::from(*scale)).map(|whole| whole + part);
    bytes.and_then(|bytes| i64::try_from(bytes).ok()).map(|bytes| Bytes(bytes as u64)).ok_or_else(misread)
}

/// A size exactly as [`size`] reads it back.
pub(super) fn write_size(bytes: Bytes) -> String {
    let fits = SIZES.iter().take(5).find(|(_, scale)| bytes.0 >= *scale && bytes.0.is_multiple_of(*scale));
    let (unit, scale) = fits.copied().unwrap_or(("B", 1));
    format!("{}{unit}", bytes.0 / scale)
}

const RATE_UNITS: [(&str, u64); 4] = [("s", 1), ("min", 60), ("hour", 3600), ("day", 86_400)];

/// So many per span: `30/min`.
pub(super) fn rate(text: &str) -> Result<Rate, Misread> {
    let misread = || Misread::new("is not a rate", r#"write a number, '/' and s, min, hour or day, as in "30/min""#);
    let (count, per) = text.split_once('/').ok_or_else(misread)?;
    let count = count.trim().parse::<u32>().ok().filter(|count| *count > 0).ok_or_else(misread)?;
    let (_, seconds) = RATE_UNITS.iter().find(|(unit, _)| *unit == per.trim()).ok_or_else(misread)?;
    Ok(Rate { count, per: Duration::from_secs(*seconds) })
}

/// A daily window of local time: `02:00-05:00`.
pub(super) fn window(text: &str) -> Result<Window, Misread> {
    let times = text.split_once('-').and_then(|(from, to)| {
        let (from, to) = (time_of_day(from.trim()).ok()?, time_of_day(to.trim()).ok()?);
        (from != to).then_some(Window { from, to })
    });
    times.ok_or_else(|| Misread::new("is not a window", r#"write two different times of day: "02:00-05:00""#))
}

/// A time of day: `03:30`.
pub(super) fn time_of_day(text: &str) -> Result<TimeOfDay, Misread> {
    let part = |part: &str, limit: u8| {
        let digits = part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
        part.parse().ok().filter(|number| digits && *number < limit)
    };
    let time = text
        .split_once(':')
        .and_then(|(hour, minute)| Some(TimeOfDay { hour: part(hour, 24)?, minute: part(minute, 60)? }));
    time.ok_or_else(|| Misread::new("is not a time of day", r#"write hours and minutes: "03:30""#))
}

/// The longest path a Unix socket can have on Linux.
const LONGEST_SOCKET: usize = 107;

/// Where to listen: `127.0.0.1:5000`, `[::1]:5000` or `unix:/path`.
pub(super) fn address(text: &str) -> Result<Address, Misread> {
    if let Some(path) = text.strip_prefix("unix:") {
        let whole = Path::new(path).is_absolute() && path.len() <= LONGEST_SOCKET && !path.contains('\0');
        let advice = format!("write an absolute path of at most {LONGEST_SOCKET} bytes: \"unix:/run/app.sock\"");
        return if whole {
            Ok(Address::Unix(path.into()))
        } else {
            Err(Misread::new("is not a socket's path", advice))
        };
    }
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() > 0 => Ok(Address::Tcp(address)),
        Ok(_) => Err(Misread::new("has no port", "write the port it shall have, 1 to 65535")),
        Err(_) => {
            let port = text.rsplit(':').next().and_then(|port| port.parse::<u16>().ok()).filter(|port| *port > 0);
            let port = port.unwrap_or(5000);
            Err(Misread::new(
                "is not an address to listen on",
                format!(
                    r#"write "127.0.0.1:{port}" (this machine only), "0.0.0.0:{port}" (everybody) or "unix:/path""#
                ),
            ))
        }
    }
}

/// `HOST:PORT` to connect to.
pub(super) fn host_and_port(text: &str) -> Result<(), Misread> {
    let good = text.rsplit_once(':').is_some_and(|(host, port)| {
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let named = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');
        let v6 = bracketed.is_some_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok());
        (named || v6) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if good { Ok(()) } else { Err(Misread::new("is not HOST:PORT", r#"write where to connect: "127.0.0.1:11112""#)) }
}

const SIGNALS: [(&str, i32); 10] = [
    ("TERM", libc::SIGTERM),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("HUP", libc::SIGHUP),
    ("USR1", libc::SIGUSR1),
    ("USR2", libc::SIGUSR2),
    ("WINCH", libc::SIGWINCH),
    ("ALRM", libc::SIGALRM),
    ("ABRT", libc::SIGABRT),
    ("KILL", libc::SIGKILL),
];

/// A signal that may ask a service to end: `TERM` or `SIGTERM`.
pub(super) fn signal(text: &str) -> Result<i32, Misread> {
    let name = text.strip_prefix("SIG").unwrap_or(text);
    SIGNALS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number).ok_or_else(|| {
        let names: Vec<&str> = SIGNALS.iter().map(|(name, _)| *name).collect();
        Misread::new("is not a signal that ends a service", format!("write one of {}", names.join(", ")))
    })
}

/// A signal's name as [`signal`] reads it back.
pub(super) fn write_signal(number: i32) -> String {
    let known = SIGNALS.iter().find(|(_, known)| *known == number);
    known.map_or_else(|| number.to_string(), |(name, _)| (*name).to_owned())
}

/// A path that stays inside the directory it is relative to. `.` and a trailing '/' are dropped.
pub(super) fn inner_path(text: &str) -> Result<PathBuf, Misread> {
    let advice = r#"write a path inside the working directory, as in "data" or "var/uploads""#;
    if text.chars().any(char::is_control) {
        return Err(Misread::new("holds a control character", advice));
    }
    let mut inner = PathBuf::new();
    for component in Path::new(text).components() {
        match component {
            Component::Normal(part) => inner.push(part),
            Component::CurDir => {}
            Component::ParentDir => return Err(Misread::new("leads out with '..'", advice)),
            Component::RootDir | Component::Prefix(_) => return Err(Misread::new("is an absolute path", advice)),
        }
    }
    if inner.as_os_str().is_empty() { Err(Misread::new("names no path", advice)) } else { Ok(inner) }
}

/// A name an environment variable may have.
pub(super) fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written_back_exactly() {
        let table = [
            ("250ms", 250, "250ms"),
            ("30s", 30_000, "30s"),
            ("5m", 300_000, "5m"),
            ("300s", 300_000, "5m"),
            ("1h30m", 5_400_000, "1h30m"),
            ("1h 30m", 5_400_000, "1h30m"),
            ("7d", 604_800_000, "7d"),
            ("1w", 604_800_000, "7d"),
            ("0s", 0, "0s"),
        ];
        for (text, millis, written) in table {
            let span = duration(text).unwrap();
            assert_eq!(span, Duration::from_millis(millis), "{text}");
            assert_eq!(write_duration(span), written);
            assert_eq!(duration(written).unwrap(), span);
        }
        for bad in ["", "30", "s", "30 sec", "-5s", "1.5s", "5M", "99999999999999999999s", "4000d", "m5"] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn sizes_are_read_and_written_back_exactly() {
        let table = [
            ("10MiB", 10 << 20, "10MiB"),
            ("1.5KiB", 1536, "1536B"),
            ("1 kB", 1000, "1000B"),
            ("2gib", 2 << 30, "2GiB"),
        ];
        for (text, bytes, written) in table {
            assert_eq!(size(text).unwrap(), Bytes(bytes), "{text}");
            assert_eq!(write_size(Bytes(bytes)), written);
        }
        for bad in ["", "10", "MiB", "10 M", "-1MiB", "1.MiB", "1.1.1MiB", "99999999999TiB"] {
            assert!(size(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn rates_windows_and_signals() {
        assert_eq!(rate("6/hour").unwrap(), Rate { count: 6, per: Duration::from_secs(3600) });
        assert_eq!(rate("30/min").unwrap(), Rate { count: 30, per: Duration::from_secs(60) });
        for bad in ["0/min", "30", "30/week", "/min", "x/min"] {
            assert!(rate(bad).is_err(), "{bad:?}");
        }
        assert!(window("22:00-05:30").is_ok());
        for bad in ["02:00", "2:00-5:00", "24:00-05:00", "02:60-05:00", "02:00-02:00"] {
            assert!(window(bad).is_err(), "{bad:?}");
        }
        assert_eq!((signal("TERM").unwrap(), signal("SIGINT").unwrap()), (libc::SIGTERM, libc::SIGINT));
        assert_eq!(write_signal(libc::SIGQUIT), "QUIT");
        for bad in ["", "term", "STOP", "15", "SIGSIGTERM"] {
            assert!(signal(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn addresses_are_exact() {
        assert_eq!(address("127.0.0.1:5000").unwrap().to_string(), "127.0.0.1:5000");
        assert_eq!(address("[::1]:80").unwrap().to_string(), "[::1]:80");
        assert_eq!(address("unix:/run/a.sock").unwrap(), Address::Unix("/run/a.sock".into()));
        for bad in ["", "5000", ":5000", "localhost:5000", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:70000", "unix:a.sock"]
        {
            assert!(address(bad).is_err(), "{bad:?}");
        }
        assert!(address(":8080").unwrap_err().advice.contains("127.0.0.1:8080"));
        for good in ["127.0.0.1:11112", "db.lan:5432", "[::1]:1"] {
            assert!(host_and_port(good).is_ok(), "{good:?}");
        }
        for bad in ["11112", "a b:1", ":1", "a:0", "::1:1", "http://a:1"] {
            assert!(host_and_port(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn inner_paths_stay_inside() {
        for (text, path) in [("data", "data"), ("./data/", "data"), ("a//b", "a/b")] {
            assert_eq!(inner_path(text).unwrap(), PathBuf::from(path));
        }
        for bad in ["", ".", "..", "a/../b", "/etc", "a\nb"] {
            assert!(inner_path(bad).is_err(), "{bad:?}");
        }
    }
}
