//! What is done about an app that stays unhealthy, one rung after the other, and never in a storm.
//!
//! First the services that the failing probe is about are restarted. What that did not mend may be due to something they
//! depend on: where the configuration allows it, units of systemd are restarted, then the host is rebooted. Then it
//! begins anew: what hung again after a restart is not left so for ever, but each wait is twice as long as the one
//! before. A release in probation never gets here: it is rolled back. Line: pure; `daemon::turn` says when an app is
//! unhealthy and has the rung carried out.

use crate::base::{ServiceName, WallTime};
use crate::config::{Address, Probe, ProbeTarget, Service};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Between the first rung and the second at least; then twice as long each time, up to five hours.
pub const COOL_DOWN: Duration = Duration::from_secs(600);
const MOST_DOUBLINGS: u32 = 5;
const A_DAY: Duration = Duration::from_secs(86_400);

/// What may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rung {
    /// Restart services.
    Services,
    /// Restart the units that the configuration names.
    Units,
    /// Reboot the host.
    Reboot,
}

/// What the configuration and the day allow beyond a restart of services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Means {
    /// It names units.
    pub units: bool,
    /// It allows a reboot, and today's are not used up.
    pub reboot: bool,
}

/// How far repairs of one app have come.
#[derive(Debug, Clone, Default)]
pub struct Ladder {
    last: Option<Duration>,
    taken: u32,
}

impl Ladder {
    /// The next rung, if it is time for one; it counts as taken.
    pub fn next(&mut self, now: Duration, means: Means) -> Option<Rung> {
        let wait = COOL_DOWN * (1 << self.taken.min(MOST_DOUBLINGS));
        if self.last.is_some_and(|last| now < last + wait) {
            return None;
        }
        let rungs = [(Rung::Services, true), (Rung::Units, means.units), (Rung::Reboot, means.reboot)];
        let rungs: Vec<Rung> = rungs.into_iter().filter(|(_, allowed)| *allowed).map(|(rung, _)| rung).collect();
        let rung = *rungs.get(self.taken as usize % rungs.len())?;
        self.last = Some(now);
        self.taken = self.taken.saturating_add(1);
        Some(rung)
    }

    /// The app is well: the next repair begins below - but not sooner after the last one.
    pub fn is_well_again(&mut self) {
        self.taken = 0;
    }

    /// How many rungs were taken since it was last well.
    pub fn taken(&self) -> u32 {
        self.taken
    }

    /// When the last one was.
    pub fn last(&self) -> Option<Duration> {
        self.last
    }
}

/// Whether one more reboot is within the day's. One of which a clock that was set back says that it is yet to come
/// counts as well.
pub fn may_reboot(per_day: u32, reboots: &[WallTime], now: WallTime) -> bool {
    let recent = reboots.iter().filter(|at| now.since(**at) < A_DAY).count();
    u32::try_from(recent).is_ok_and(|recent| recent < per_day)
}

/// The services that failing probes are about; `None`: one of them is about the app as a whole.
pub fn concerned<'p>(
    failing: impl Iterator<Item = &'p Probe>,
    services: &BTreeMap<ServiceName, Arc<Service>>,
) -> Option<BTreeSet<ServiceName>> {
    let mut all = BTreeSet::new();
    for probe in failing {
        let service = match &probe.target {
            ProbeTarget::Service { service, .. } | ProbeTarget::Alive(service) => services.get(service),
            ProbeTarget::Http { url, .. } => listener(authority(url)?, services),
            ProbeTarget::Tcp(address) => listener(address, services),
            ProbeTarget::Run(_) => None,
        };
        all.insert(service?.name.clone());
    }
    Some(all).filter(|all| !all.is_empty())
}

fn authority(url: &str) -> Option<&str> {
    let rest = url.split_once("://")?.1;
    Some(&rest[..rest.find(['/', '?']).unwrap_or(rest.len())])
}

/// Who listens where `HOST:PORT` leads.
fn listener<'s>(place: &str, services: &'s BTreeMap<ServiceName, Arc<Service>>) -> Option<&'s Arc<Service>> {
    let port = place.rsplit_once(':')?.1;
    let is_here =
        place.starts_with("localhost:") || matches!(place.parse(), Ok(Address::Tcp(at)) if at.ip().is_loopback());
    let is_meant = |address: &Address| match address {
        Address::Tcp(listening) => {
            let answers_here = listening.ip().is_loopback() || listening.ip().is_unspecified();
            let same_port = listening.port().to_string() == port;
            address.to_string() == place || is_here && answers_here && same_port
        }
        Address::Unix(_) => false,
    };
    services.values().find(|service| service.listen.iter().any(is_meant))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// The rungs of a month in which it never gets well, with the minutes between them.
    fn climb(means: Means) -> Vec<(Rung, u64)> {
        let (mut ladder, mut rungs, mut last) = (Ladder::default(), vec![], Duration::ZERO);
        for minute in 0..30 * 24 * 60 {
            let now = MINUTE * minute;
            if let Some(rung) = ladder.next(now, means) {
                rungs.push((rung, (now - last).as_secs() / 60));
                last = now;
            }
        }
        rungs
    }

    #[test]
    fn without_more_being_allowed_services_are_restarted_ever_more_rarely() {
        let rungs = climb(Means::default());
        assert!(rungs.iter().all(|(rung, _)| *rung == Rung::Services));
        let waits: Vec<u64> = rungs.iter().map(|(_, wait)| *wait).collect();
        assert_eq!(waits[..8], [0, 20, 40, 80, 160, 320, 320, 320]);
        assert!(rungs.len() < 150, "{} in a month", rungs.len());
    }

    #[test]
    fn what_is_allowed_comes_after_the_services_and_in_turn() {
        let kinds = |means: Means| climb(means).into_iter().map(|(rung, _)| rung).take(5).collect::<Vec<_>>();
        use Rung::*;
        let table = [
            (Means { units: true, reboot: false }, [Services, Units, Services, Units, Services]),
            (Means { units: false, reboot: true }, [Services, Reboot, Services, Reboot, Services]),
            (Means { units: true, reboot: true }, [Services, Units, Reboot, Services, Units]),
        ];
        for (means, expected) in table {
            assert_eq!(kinds(means), expected, "{means:?}");
        }
    }

    #[test]
    fn an_app_that_gets_well_begins_below_and_not_too_soon() {
        let mut ladder = Ladder::default();
        let means = Means { units: true, reboot: true };
        assert_eq!(ladder.next(MINUTE, means), Some(Rung::Services));
        ladder.is_well_again();
        assert_eq!(ladder.next(10 * MINUTE, means), None, "flapping is no reason for a storm");
        assert_eq!(ladder.next(11 * MINUTE, means), Some(Rung::Services));
        assert_eq!(ladder.next(30 * MINUTE, means), None);
        assert_eq!(ladder.next(31 * MINUTE, means), Some(Rung::Units));
    }

    #[test]
    fn a_day_has_so_many_reboots_whatever_the_clock_does() {
        let at = |text: &str| -> WallTime { text.parse().unwrap() };
        let before = [at("2026-11-02T12:00:00Z")];
        assert!(!may_reboot(0, &[], at("2026-11-02T12:00:00Z")));
        assert!(may_reboot(1, &[], at("2026-11-02T12:00:00Z")));
        assert!(!may_reboot(1, &before, at("2026-11-03T11:59:59Z")));
        assert!(may_reboot(1, &before, at("2026-11-03T12:00:00Z")));
        assert!(may_reboot(2, &before, at("2026-11-02T13:00:00Z")));
        assert!(!may_reboot(1, &before, at("1970-01-01T00:00:00Z")), "the clock was lost by the reboot");
    }
}
