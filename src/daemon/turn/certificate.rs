//! What the listener does TLS with: when it is looked at, made, renewed, and put to use.
//!
//! No listener runs without the certificate that was asked for: plain HTTP is never what TLS falls back to. A new one
//! that is of no use leaves the one before it in place. Of the wall clock, which decides when a certificate ends, it
//! is known that it may be wrong until the network is there, and that somebody may set it at any time.

use super::super::action::Action;
use super::super::event::Certified;
use super::super::world::{ListenerTls, World};
use crate::base::{Moment, WallTime};
use crate::config::{Certificate, Listen, Tls};
use crate::control::TlsView;
use crate::supervise::Input;
use crate::supervise::instance::Wanted;
use std::sync::Arc;
use std::time::Duration;

/// Whoever renews a certificate writes several files: they are read when it is done with them.
const SETTLED: Duration = Duration::from_secs(2);
/// One of our own is renewed so long before it ends.
const RENEW: Duration = Duration::from_secs(30 * 86_400);
/// One of somebody else is spoken of in the journal so long before it ends.
const SPEAK: Duration = Duration::from_secs(14 * 86_400);
/// What failed is tried again.
const AGAIN: Duration = Duration::from_secs(3600);
/// Whoever sets the clock says soon after whether it is right now.
const CLOCK_SETTLES: Duration = Duration::from_secs(60);
/// The network, and the time with it, are there so long after the host's start, or will not be.
const HOST_IS_UP: Duration = Duration::from_secs(600);

impl World {
    /// A certificate was read or made, or could not be.
    pub(super) fn certified(&mut self, now: Moment, certified: Certified, actions: &mut Vec<Action>) {
        let Some(tls) = self.listener.as_mut().and_then(|listener| listener.tls.as_mut()) else { return };
        if tls.meant != certified.meant {
            return;
        }
        tls.is_under_way = false;
        let found = match certified.result {
            Ok(found) => found,
            Err(why) => return tls.keep_what_is_there(now, why, actions),
        };
        let is_ours = tls.meant == Tls::SelfSigned && !certified.is_new;
        if is_ours && let Some(why) = renewal(found.as_deref(), now, certified.clock_is_held) {
            actions.push(note(log::Level::Info, format!("a certificate for the listener is made: {why}")));
            actions.push(Action::MakeCertificate);
            tls.is_under_way = true;
        }
        if let Some(certificate) = found {
            self.put_to_use(now, certificate, actions);
        }
    }

    fn put_to_use(&mut self, now: Moment, certificate: Arc<Certificate>, actions: &mut Vec<Action>) {
        let stopping = self.stopping;
        let Some(tls) = self.listener.as_mut().and_then(|listener| listener.tls.as_mut()) else { return };
        tls.trouble = None;
        // While another is made, the answer to that says when to look.
        let next = tls.next_look(now, &certificate).filter(|_| !tls.is_under_way);
        tls.look_no_later_than(next);
        if tls.certificate.as_ref() == Some(&certificate) {
            return;
        }
        let text = format!("the listener's certificate: {}, until {}", certificate.fingerprint, certificate.until);
        actions.push(note(log::Level::Info, text));
        if let Some(worry) = certificate.worry(now.wall) {
            actions.push(note(log::Level::Warn, format!("the listener's certificate {worry}")));
        }
        let before = tls.certificate.replace(certificate);
        match before {
            _ if stopping => {}
            Some(_) => self.restart_listener(now, actions),
            None => self.feed_listener(now, Input::Want(Wanted::Up), actions),
        }
    }

    /// One of its files changed.
    pub(super) fn certificate_touched(&mut self, now: Moment) {
        if let Some(tls) = self.listener.as_mut().and_then(|listener| listener.tls.as_mut()) {
            tls.look_no_later_than(Some(now.mono + SETTLED));
        }
    }

    /// What was long to go may be due, and what was due may not be.
    pub(super) fn clock_set(&mut self, now: Moment) {
        if let Some(tls) = self.listener.as_mut().and_then(|listener| listener.tls.as_mut()) {
            tls.look_no_later_than(Some(now.mono + CLOCK_SETTLES));
        }
    }

    /// When the certificate is to be looked at next.
    pub(super) fn certificate_deadline(&self) -> Option<Duration> {
        let tls = self.listener.as_ref()?.tls.as_ref()?;
        tls.look_at.filter(|_| !tls.is_under_way && !self.stopping)
    }

    pub(super) fn look_at_certificate_when_due(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let is_due = self.certificate_deadline().is_some_and(|due| due <= now.mono);
        if is_due && let Some(tls) = self.listener.as_mut().and_then(|listener| listener.tls.as_mut()) {
            tls.look(actions);
        }
    }

    /// The configuration was read again. `true`: the listener is restarted, or waits for its certificate.
    pub(super) fn tls_reconfigured(&mut self, now: Moment, listen: Option<&Listen>, actions: &mut Vec<Action>) -> bool {
        let (Some(listener), Some(listen)) = (&mut self.listener, listen) else { return false };
        let before = listener.tls.as_ref().map(|tls| &tls.meant);
        match (before, &listen.tls) {
            (None, None) => false,
            (Some(_), None) => {
                listener.tls = None;
                actions.push(Action::ForgetCertificate);
                self.restart_listener(now, actions);
                true
            }
            (before, Some(meant)) => {
                if before == Some(meant) {
                    listener.tls.iter_mut().for_each(|tls| tls.look(actions));
                    return false;
                }
                let was = listener.tls.take();
                let mut tls = ListenerTls::new(meant.clone());
                let was_plain = was.is_none();
                tls.certificate = was.and_then(|was| was.certificate);
                tls.look(actions);
                listener.tls = Some(tls);
                if was_plain {
                    // From now on nothing is to be said in clear; callers wait in the socket.
                    self.feed_listener(now, Input::Want(Wanted::Down), actions);
                }
                was_plain
            }
        }
    }
}

impl ListenerTls {
    /// Nothing is known of it but what is configured.
    pub fn new(meant: Tls) -> ListenerTls {
        ListenerTls { meant, certificate: None, trouble: None, look_at: None, is_under_way: false }
    }

    /// Has the hands look; their answer is `Certified`.
    pub(super) fn look(&mut self, actions: &mut Vec<Action>) {
        if !std::mem::replace(&mut self.is_under_way, true) {
            self.look_at = None;
            actions.push(Action::ReadCertificate { meant: self.meant.clone() });
        }
    }

    /// As people see it.
    pub fn view(&self) -> TlsView {
        let kind = match self.meant {
            Tls::SelfSigned => "self-signed",
            Tls::Files { .. } => "files",
        };
        let certificate = self.certificate.as_ref();
        TlsView {
            kind: kind.into(),
            fingerprint: certificate.map(|certificate| certificate.fingerprint.clone()),
            expires: certificate.map(|certificate| certificate.until),
        }
    }

    fn look_no_later_than(&mut self, at: Option<Duration>) {
        self.look_at = self.look_at.into_iter().chain(at).min();
    }

    /// The same trouble is said once to the journal, and for as long as it lasts in `status`.
    fn keep_what_is_there(&mut self, now: Moment, why: String, actions: &mut Vec<Action>) {
        let trouble = match &self.certificate {
            Some(kept) => format!("{why}; the listener goes on with its certificate until {}", kept.until),
            None => format!("no webhooks: {why}; the listener starts when that is repaired"),
        };
        if self.trouble.as_ref() != Some(&trouble) {
            actions.push(note(log::Level::Error, trouble.clone()));
        }
        self.trouble = Some(trouble);
        self.look_no_later_than(Some(now.mono + AGAIN));
    }

    /// By the clock as it is now; when that is set, it is asked again.
    fn next_look(&self, now: Moment, certificate: &Certificate) -> Option<Duration> {
        let ahead = if self.meant == Tls::SelfSigned { RENEW } else { SPEAK };
        match (earlier(certificate.until, ahead).since(now.wall), &self.meant) {
            // It would have been renewed, but for a clock that nobody vouches for.
            (Duration::ZERO, Tls::SelfSigned) => Some(HOST_IS_UP.max(now.mono + CLOCK_SETTLES)),
            (Duration::ZERO, Tls::Files { .. }) => None,
            (left, _) => Some(now.mono + left),
        }
    }
}

/// Why another certificate of our own is due. A clock that was never set is behind: by it nothing ends too early, and
/// nothing is made anew only because it lies in its future.
fn renewal(certificate: Option<&Certificate>, now: Moment, clock_is_held: bool) -> Option<String> {
    let Some(certificate) = certificate else { return Some("there is none yet".into()) };
    let may_be_believed = clock_is_held || now.mono >= HOST_IS_UP;
    if now.wall >= earlier(certificate.until, RENEW) && may_be_believed {
        return Some(format!("the one there is ends on {}", certificate.until));
    }
    if now.wall < certificate.from && clock_is_held {
        return Some(format!("the one there is counts from {} only: it was made by a wrong clock", certificate.from));
    }
    None
}

fn earlier(time: WallTime, span: Duration) -> WallTime {
    WallTime(time.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
}

fn note(level: log::Level, text: String) -> Action {
    Action::Note { level, text }
}

#[cfg(test)]
#[path = "certificate/tests.rs"]
mod tests;
