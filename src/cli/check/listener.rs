//! Whether the webhook listener hears us: a signed ping to ourselves, as the forge would send it; where no app takes
//! GitHub's, the page that says that it is well.
//!
//! The ping bears an id of its own, by which the listener leaves it out of `pintle deliveries`. It counts as one request
//! of this host's own address.

use super::super::findings::Finding;
use super::Known;
use super::daemon::Daemon;
use crate::config::{Address, App, Forge};
use crate::control::{ListenerState, ListenerView, TlsView};
use crate::delivery::{OWN_PING, signature};
use crate::os::round_trip::{self, Answer, Ask};
use std::time::Duration;

const ABOUT: &str = "listener";

/// A forge waits ten seconds; we are near.
const PATIENCE: Duration = Duration::from_secs(5);

/// GitHub's, and enough of it.
const PING: &[u8] = br#"{"zen":"Is it well?"}"#;

/// What is to be said of the listener.
pub fn look(daemon: &Daemon, config: Known<'_>, quick: bool) -> Vec<Finding> {
    let Some(status) = daemon.status() else { return vec![] };
    let listener = &status.listener;
    match (listener.state, &listener.address) {
        (ListenerState::Off, _) | (_, None) => vec![Finding::ok(ABOUT, "there is none: [listen] is not configured")],
        (ListenerState::Down, Some(address)) => {
            let advice = "the daemon starts it again; `pintle status` and `journalctl -u pintle` say why it ended";
            vec![Finding::critical(ABOUT, format!("it is down: nobody answers webhooks on {address}"), advice)]
        }
        (ListenerState::Up, Some(address)) if quick => vec![Finding::ok(ABOUT, format!("up on {address}"))],
        (ListenerState::Up, Some(address)) => vec![asked(listener, address, config)],
    }
}

fn asked(listener: &ListenerView, at: &str, config: Known<'_>) -> Finding {
    let advice = "`journalctl -u pintle` shows what the listener says";
    let Ok(address) = at.parse::<Address>() else {
        return Finding::warning(ABOUT, format!("its address {at} is not understood"), advice);
    };
    let fingerprint = listener.tls.as_ref().and_then(|tls: &TlsView| tls.fingerprint.as_deref());
    let pinged = config.and_then(|config| config.apps.values().find_map(|app| Some((app, secret(app)?))));
    match pinged {
        Some((app, secret)) => {
            let path = format!("/webhook/{}", app.name);
            let headers = [
                ("X-GitHub-Event", "ping".to_owned()),
                ("X-GitHub-Delivery", OWN_PING.to_owned()),
                ("Content-Type", "application/json".to_owned()),
                ("X-Hub-Signature-256", signature::sign(PING, secret).unwrap_or_default()),
            ];
            let ask = Ask { method: "POST", path: &path, headers: &headers, body: PING };
            let answer = round_trip::send(&address, fingerprint, &ask, PATIENCE);
            judged(answer, &format!("a signed ping of {}", app.name), at)
        }
        None => {
            let ask = Ask { method: "GET", path: "/webhook-health", headers: &[], body: &[] };
            judged(round_trip::send(&address, fingerprint, &ask, PATIENCE), "/webhook-health", at)
        }
    }
}

/// What an app's webhooks are signed with, where they come from GitHub.
fn secret(app: &App) -> Option<&[u8]> {
    let secret = app.trigger.secrets.first().map(|secret| secret.expose());
    secret.filter(|secret| app.trigger.forge == Forge::Github && !secret.is_empty())
}

fn judged(answer: Result<Answer, String>, what: &str, at: &str) -> Finding {
    let log = "`journalctl -u pintle` shows what the listener says";
    match answer {
        Ok(Answer { status: 200, .. }) => Finding::ok(ABOUT, format!("answers {what} on {at}")),
        Ok(Answer { status: 401, .. }) => {
            let advice = "`pintle reload` gives it the secrets that the files have now";
            Finding::critical(ABOUT, format!("refuses {what}: it knows another secret"), advice)
        }
        Ok(Answer { status: 404, .. }) => {
            let advice = "`pintle reload` gives it the apps that the files have now";
            Finding::critical(ABOUT, format!("does not know the app of {what}"), advice)
        }
        Ok(Answer { status: 429, .. }) => {
            let advice = "behind a proxy pass X-Forwarded-For on, so that senders are told apart; `pintle deliveries` \
                          shows who comes";
            Finding::warning(ABOUT, format!("has too much to do to answer {what}: its rate limit is used up"), advice)
        }
        Ok(Answer { status, .. }) => Finding::critical(ABOUT, format!("answers {what} on {at} with {status}"), log),
        Err(why) => Finding::critical(ABOUT, format!("does not answer {what} on {at}: {why}"), log),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::findings::Level;
    use super::*;

    #[test]
    fn what_the_listener_answers_means_something() {
        let answer = |status| Ok(Answer { status, body: vec![] });
        let table = [
            (answer(200), Level::Ok, "answers a ping on 127.0.0.1:9000"),
            (answer(401), Level::Critical, "another secret"),
            (answer(404), Level::Critical, "does not know the app"),
            (answer(429), Level::Warning, "rate limit"),
            (answer(503), Level::Critical, "with 503"),
            (Err("connection refused".into()), Level::Critical, "connection refused"),
        ];
        for (answer, level, word) in table {
            let finding = judged(answer, "a ping", "127.0.0.1:9000");
            assert_eq!(finding.level, level, "{finding:?}");
            assert!(finding.what.contains(word), "{finding:?}");
            assert_eq!(finding.advice.is_some(), level != Level::Ok);
        }
    }
}
