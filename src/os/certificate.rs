//! A certificate of our own, for a listener that nobody brought one: made, kept under `STATE/tls`, read back.
//!
//! Chain and key stand in one file, which is replaced as a whole: a power cut leaves the old pair or the new one. Line:
//! when one is to be made is decided in `daemon::turn`.

use crate::base::WallTime;
use crate::config::{Address, Certificate, Secret, Tls};
use crate::os::files::{because, make_dir, replace};
use crate::os::host::hostname;
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    date_time_ymd,
};
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// It counts so long. Apple's systems refuse what counts for more than 825 days.
const LIFE: Duration = Duration::from_secs(365 * 86_400);
/// It counts from so long before it is made: a client's clock may be behind ours.
const SLACK: Duration = Duration::from_secs(86_400);
/// Interfaces of containers come by the hundred; a certificate should fit into a few packets.
const ADDRESSES: usize = 16;

/// After it there is room for a certificate's life.
const YEAR_9998: WallTime = WallTime(253_339_228_800_000);

fn dir(state_dir: &Path) -> PathBuf {
    state_dir.join("tls")
}

/// Where the pair is kept.
pub fn place(state_dir: &Path) -> PathBuf {
    dir(state_dir).join("self-signed.pem")
}

/// What the listener does TLS with: somebody's files, or the pair that was made earlier - which may not have been yet.
pub fn in_use(tls: &Tls, state_dir: &Path) -> Result<Option<Certificate>, String> {
    match tls {
        Tls::SelfSigned => kept(state_dir).map_err(|error| error.to_string()),
        Tls::Files { cert, key } => Certificate::read(cert, key).map(Some).map_err(|unfit| unfit.to_string()),
    }
}

/// The pair that was made earlier. `None`: there is none, or what lies there is no pair (which is said to the journal).
pub fn kept(state_dir: &Path) -> io::Result<Option<Certificate>> {
    let file = place(state_dir);
    let content = match fs::read(&file) {
        Ok(content) => content,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(because("read", &file, &error)),
    };
    make_private(&dir(state_dir), 0o700)?;
    make_private(&file, 0o600)?;
    match Certificate::of_pem(content.clone(), Secret(content)) {
        Ok(certificate) => Ok(Some(certificate)),
        Err(unfit) => {
            log::warn!("{} {}: another one is made", file.display(), unfit.wrong);
            Ok(None)
        }
    }
}

/// Takes back what a careless copy let others do.
fn make_private(path: &Path, mode: u32) -> io::Result<()> {
    let change = || -> io::Result<()> {
        if fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
            log::warn!("{} could be read by others: it is private again", path.display());
            fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        }
        Ok(())
    };
    change().map_err(|error| because("make private", path, &error))
}

/// Makes a pair for this host, of which `address` is listened on, and keeps it. It is on disk when this returns.
pub fn make(state_dir: &Path, address: &Address, now: WallTime) -> io::Result<Certificate> {
    let pem = signed_by_itself(&hostname(), &addresses(address), now)
        .map_err(|error| io::Error::other(format!("make a certificate: {error}")))?;
    make_dir(&dir(state_dir), 0o700)?;
    replace(&place(state_dir), pem.as_bytes(), 0o600)?;
    Certificate::of_pem(pem.clone().into_bytes(), Secret(pem.into_bytes()))
        .map_err(|unfit| io::Error::other(format!("the certificate that was just made {}", unfit.wrong)))
}

/// Both in PEM, the certificate first.
fn signed_by_itself(host: &str, addresses: &BTreeSet<IpAddr>, now: WallTime) -> Result<String, rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut names: Vec<String> = names(host);
    names.extend(addresses.iter().map(IpAddr::to_string));
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, host);
    params.distinguished_name.push(DnType::OrganizationName, "Pintle, signed by itself");
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // What a clock says beyond the years that a certificate can name is taken for the nearest that it can.
    let now = now.clamp(WallTime(0).plus(SLACK), YEAR_9998);
    let midnight = |(year, month, day)| date_time_ymd(year, month, day);
    (params.not_before, params.not_after) = (midnight(day(earlier(now, SLACK))), midnight(day(now.plus(LIFE))));
    let certificate = params.self_signed(&key)?;
    Ok(certificate.pem() + &key.serialize_pem())
}

/// What this host may be called: a name without dots is known to the neighbours as `NAME.local` too.
fn names(host: &str) -> Vec<String> {
    let label = |part: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (1..=63).contains(&part.len()) && part.bytes().all(plain) && !part.starts_with('-') && !part.ends_with('-')
    };
    let mut names = vec!["localhost".to_owned()];
    if host != "localhost" && host.len() <= 200 && host.split('.').all(label) {
        names.insert(0, host.to_owned());
        names.extend((!host.contains('.')).then(|| format!("{host}.local")));
    }
    names
}

/// Both loopback addresses, the one that is listened on, and those under which others reach this host.
fn addresses(listened: &Address) -> BTreeSet<IpAddr> {
    let own = nix::ifaddrs::getifaddrs().into_iter().flatten().filter_map(|interface| interface.address);
    let own = own.filter_map(|address| {
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    });
    let mut all = BTreeSet::from([IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1_u16])]);
    if let Address::Tcp(address) = listened
        && !address.ip().is_unspecified()
    {
        all.insert(address.ip());
    }
    all.extend(own.filter(reaches_far).take(ADDRESSES));
    all
}

fn reaches_far(address: &IpAddr) -> bool {
    let near = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    !near && !address.is_loopback() && !address.is_unspecified() && !address.is_multicast()
}

fn earlier(time: WallTime, span: Duration) -> WallTime {
    WallTime(time.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
}

/// Year, month and day (UTC).
fn day(time: WallTime) -> (i32, u8, u8) {
    let stamp = jiff::Timestamp::from_millisecond(time.0).unwrap_or_default();
    let date = jiff::tz::TimeZone::UTC.to_datetime(stamp).date();
    (date.year().into(), date.month().unsigned_abs(), date.day().unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> WallTime {
        text.parse().unwrap()
    }

    #[test]
    fn it_is_made_once_and_kept_private() {
        let state = std::env::temp_dir().join(format!("pintle-certificate-{}", std::process::id()));
        let _ = fs::remove_dir_all(&state);
        assert_eq!(kept(&state).unwrap(), None);
        let address = Address::Tcp("127.0.0.1:9000".parse().unwrap());
        let made = make(&state, &address, at("2026-07-01T10:00:00Z")).unwrap();
        assert_eq!((made.from, made.until), (at("2026-06-30T00:00:00Z"), at("2027-07-01T00:00:00Z")));
        assert_eq!(made.fingerprint.len(), 32 * 3 - 1);
        assert!(!format!("{made:?}").contains("PRIVATE"), "{made:?}");
        assert_eq!(kept(&state).unwrap(), Some(made.clone()), "the next daemon finds it");

        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir(&state)), mode(&place(&state))), (0o700, 0o600));
        fs::set_permissions(place(&state), fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(kept(&state).unwrap(), Some(made.clone()));
        assert_eq!(mode(&place(&state)), 0o600, "what others could read is private again");

        let again = make(&state, &address, at("2027-06-02T10:00:00Z")).unwrap();
        assert_ne!(again.fingerprint, made.fingerprint);
        assert_eq!(kept(&state).unwrap(), Some(again));
        assert_eq!(fs::read_dir(dir(&state)).unwrap().count(), 1, "nothing else lies there");
        for torn in ["", "-----BEGIN CERTIFICATE-----\n", &made.chain[..made.chain.len() / 2]] {
            fs::write(place(&state), torn).unwrap();
            assert_eq!(kept(&state).unwrap(), None, "{torn:?}");
        }
        fs::remove_dir_all(&state).unwrap();
    }

    #[test]
    fn no_clock_is_too_wrong_to_make_one() {
        let none = BTreeSet::new();
        for wrong in [WallTime(i64::MIN), WallTime(0), WallTime(i64::MAX), at("2099-12-31T00:00:00Z")] {
            let pem = signed_by_itself("pi", &none, wrong).unwrap().into_bytes();
            let made = Certificate::of_pem(pem.clone(), Secret(pem)).unwrap();
            assert!(made.from < made.until, "{made:?}");
        }
    }

    #[test]
    fn names_are_what_a_client_may_ask_for() {
        let cases: [(&str, &[&str]); 5] = [
            ("pi", &["pi", "localhost", "pi.local"]),
            ("pi.example.org", &["pi.example.org", "localhost"]),
            ("localhost", &["localhost"]),
            ("my_host", &["localhost"]),
            ("", &["localhost"]),
        ];
        for (host, expected) in cases {
            assert_eq!(names(host), expected, "{host}");
        }
        let listened = Address::Tcp("192.0.2.7:9000".parse().unwrap());
        let found = addresses(&listened);
        for meant in ["127.0.0.1", "::1", "192.0.2.7"] {
            assert!(found.contains(&meant.parse().unwrap()), "{meant} in {found:?}");
        }
        assert!(!addresses(&Address::Tcp("0.0.0.0:1".parse().unwrap())).contains(&"0.0.0.0".parse().unwrap()));
        let near = ["127.0.0.2", "169.254.1.1", "fe80::1", "::", "224.0.0.1", "ff02::1"];
        assert!(near.iter().all(|address| !reaches_far(&address.parse().unwrap())));
        assert!(["10.0.0.1", "2001:db8::1", "fd00::1"].iter().all(|address| reaches_far(&address.parse().unwrap())));
    }
}
