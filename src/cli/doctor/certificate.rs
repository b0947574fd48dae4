//! The listener's certificate: its fingerprint, and how long it counts.

use super::super::findings::Finding;
use super::installation::Installation;
use crate::base::{Moment, WallTime};
use crate::config::{Certificate, Tls, Unfit};
use crate::os::certificate;

const ABOUT: &str = "listener/tls";

/// What is to be said of it.
pub fn look(here: &Installation) -> Vec<Finding> {
    let Some(tls) = here.listen().and_then(|listen| listen.tls.as_ref()) else { return vec![] };
    let made = certificate::place(&here.paths.state_dir);
    let (cert, key) = match tls {
        Tls::Files { cert, key } => (cert, key),
        Tls::SelfSigned if !made.exists() => {
            return vec![Finding::ok(ABOUT, "no certificate yet: the daemon makes one at its start")];
        }
        Tls::SelfSigned => (&made, &made),
    };
    vec![match Certificate::read(cert, key) {
        Ok(certificate) => judged(&certificate, Moment::now().wall),
        Err(Unfit { wrong, advice, .. }) => Finding::critical(ABOUT, format!("it cannot be used: {wrong}"), advice),
    }]
}

fn judged(certificate: &Certificate, now: WallTime) -> Finding {
    let days = certificate.until.since(now).as_secs() / 86_400;
    let what = format!("{days} days left (until {}), SHA-256 {}", certificate.until, certificate.fingerprint);
    match certificate.worry(now) {
        None => Finding::ok(ABOUT, what),
        Some(worry) if days == 0 => Finding::critical(ABOUT, format!("it {worry}; {what}"), RENEW),
        Some(worry) => Finding::warning(ABOUT, format!("it {worry}; {what}"), RENEW),
    }
}

const RENEW: &str = "renew it (certbot does so by itself); a self-signed one is renewed 30 days before its end, by a \
                     daemon whose clock is right";

#[cfg(test)]
mod tests {
    use super::super::super::findings::Level;
    use super::*;
    use crate::config::Secret;
    use std::time::Duration;

    #[test]
    fn days_and_fingerprint_are_told_and_the_end_in_time() {
        let day = Duration::from_secs(86_400);
        let now: WallTime = "2026-11-30T12:00:00Z".parse().unwrap();
        let until = |days: u32| Certificate {
            chain: String::new(),
            key: Secret(vec![]),
            fingerprint: "AB:CD".into(),
            from: "2026-01-01T00:00:00Z".parse().unwrap(),
            until: now.plus(day * days),
        };
        for (days, level) in [(90, Level::Ok), (10, Level::Warning), (0, Level::Critical)] {
            let finding = judged(&until(days), now);
            assert_eq!(finding.level, level, "{finding:?}");
            assert!(finding.what.contains(&format!("{days} days left")) && finding.what.contains("SHA-256 AB:CD"));
        }
    }
}
