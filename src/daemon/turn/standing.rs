//! Two things people are told of this host that nobody else looks at: that the daemon crashed, and that its name does not
//! follow its address.

use super::super::action::Action;
use super::super::world::World;
use crate::base::Moment;
use crate::config::DuckDns;
use crate::control::DnsView;
use crate::notify::duckdns::Teller;
use crate::notify::{Gravity, Happening, Subject};
use std::sync::Arc;
use std::time::Duration;

/// What is told of here, of all that is told of the host.
pub(super) const SUBJECTS: [&str; 2] = [DAEMON, DUCKDNS];
const DAEMON: &str = "daemon";
const DUCKDNS: &str = "duckdns";
/// A daemon that has run for so long is not one that keeps crashing.
const STEADY: Duration = Duration::from_secs(600);
/// So many failures in a row to tell the address are an outage.
const UNTOLD: u32 = 3;

impl World {
    /// The daemon before this one did not end: it crashed or was killed, and the host did not restart meanwhile.
    pub(in super::super) fn predecessor_crashed(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let advice =
            "The applications ran on. Why it ended is in `journalctl -u pintle` and `journalctl -k` (out of memory?).";
        let trouble = Happening::Trouble {
            about: Subject::host(DAEMON),
            app: None,
            gravity: Gravity::Warning,
            what: "the daemon ended without being told to, and was started again".into(),
            advice: Some(advice.into()),
        };
        self.tell(now, trouble, actions);
        self.expect_to_be_steady(now);
    }

    /// Where a crash was told, its all-clear is due.
    pub(super) fn expect_to_be_steady(&mut self, now: Moment) {
        let told = self.mail.incidents.iter().any(|open| open.subject == Subject::host(DAEMON).as_str());
        self.mail.steady_at = told.then_some(now.mono + STEADY);
    }

    /// Begins to tell the address as it is configured now.
    pub(super) fn readdress_dns(&mut self, now: Moment, dns: Option<&DuckDns>, actions: &mut Vec<Action>) {
        if dns.is_none() {
            let what = "no address is told to DuckDNS any more".into();
            self.tell(now, Happening::Recovered { about: Subject::host(DUCKDNS), app: None, what }, actions);
        }
        let dns = dns.map(|dns| Arc::new(dns.clone()));
        if dns != self.mail.dns {
            self.mail.teller = if dns.is_some() { Teller::new(now) } else { Teller::default() };
            self.mail.dns = dns;
        }
    }

    /// The address is another one, or may be.
    pub(super) fn address_may_differ(&mut self, now: Moment) {
        if self.mail.dns.is_some() {
            self.mail.teller.hurry(now);
        }
    }

    /// Whatever is due by now.
    pub(super) fn standing_time_passed(&mut self, now: Moment, actions: &mut Vec<Action>) {
        if self.stopping {
            return;
        }
        if self.mail.steady_at.take_if(|at| *at <= now.mono).is_some() {
            let what = "the daemon has run steadily since".into();
            self.tell(now, Happening::Recovered { about: Subject::host(DAEMON), app: None, what }, actions);
        }
        if let Some(dns) = self.mail.dns.clone()
            && self.mail.teller.begin(now)
        {
            actions.push(Action::TellAddress { dns });
        }
    }

    /// When that is next.
    pub(super) fn standing_deadline(&self) -> Option<Duration> {
        let dns = self.mail.dns.as_ref().and_then(|_| self.mail.teller.deadline());
        [dns, self.mail.steady_at].into_iter().flatten().min().filter(|_| !self.stopping)
    }

    /// The address was told, or could not be.
    pub(super) fn address_told(&mut self, now: Moment, result: Result<(), String>, actions: &mut Vec<Action>) {
        let Some(dns) = self.mail.dns.clone() else { return };
        let (about, name) = (Subject::host(DUCKDNS), &dns.subdomain);
        let failures = self.mail.teller.ended(now, dns.every, result.clone());
        match result {
            Ok(()) => {
                let what = format!("DuckDNS knows the address of {name} again");
                self.tell(now, Happening::Recovered { about, app: None, what }, actions);
            }
            Err(why) if failures >= UNTOLD => {
                let what = format!("DuckDNS could not be told the address of {name}: {why}");
                let advice = Some("Visitors may be led to an old address until it can.".into());
                let gravity = Gravity::Warning;
                self.tell(now, Happening::Trouble { about, app: None, gravity, what, advice }, actions);
            }
            Err(_) => {}
        }
    }

    /// As people see it.
    pub(in super::super) fn dns_view(&self, now: Moment) -> Option<DnsView> {
        let dns = self.mail.dns.as_ref()?;
        let last = self.mail.teller.last.as_ref();
        let next = self.mail.teller.deadline();
        Some(DnsView {
            name: format!("{}.duckdns.org", dns.subdomain),
            last: last.map(|(at, _)| *at),
            ok: last.map(|(_, result)| result.is_ok()),
            message: last.and_then(|(_, result)| result.clone().err()),
            next: next.map(|at| now.wall.plus(at.saturating_sub(now.mono))),
        })
    }
}
