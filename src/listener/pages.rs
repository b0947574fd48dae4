//! What anybody may see: whether the service is well, and how the apps are - and what of it a token may see more.
//!
//! However many ask, the daemon is asked about once a second for each page.

use super::access::Sight;
use super::ask::{RETRY_AFTER, Reply};
use super::daemon::Daemon;
use super::recent::Recent;
use crate::base::Moment;
use crate::control::{Answer, AppState, PublicApp, PublicStatus, Request};
use serde::Serialize;
use std::time::Duration;

/// A daemon that needs longer than this is not well.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// Every page, with what the daemon last said for it.
#[derive(Debug)]
pub(super) struct Pages {
    well: Recent<Seen<bool>>,
    status: Recent<Seen<Option<PublicStatus>>>,
}

/// What was seen, and when (RFC 3339).
#[derive(Debug, Clone)]
struct Seen<T>(String, T);

#[derive(Serialize)]
struct Health {
    status: &'static str,
    timestamp: String,
    service: &'static str,
}

#[derive(Serialize)]
struct Status<'a> {
    webhook_status: &'static str,
    app_status: &'static str,
    timestamp: String,
    apps: &'a [PublicApp],
}

#[derive(Serialize)]
struct Unknown {
    status: &'static str,
    message: &'static str,
    webhook_status: &'static str,
    timestamp: String,
}

impl Pages {
    pub(super) fn new() -> Pages {
        Pages { well: Recent::new(), status: Recent::new() }
    }

    /// `GET /health`.
    pub(super) fn health(&self, daemon: &Daemon) -> Reply {
        let ask = || Seen(now(), matches!(daemon.ask(&Request::Ping, PATIENCE), Ok(Answer::Pong)));
        let Seen(timestamp, well) = self.well.get(ask);
        match well {
            true => Reply::json(200, &Health { status: "healthy", timestamp, service: "pintle" }),
            false => {
                let page = Health { status: "degraded", timestamp, service: "pintle" };
                Reply::json(503, &page).with("Retry-After", RETRY_AFTER)
            }
        }
    }

    /// `GET /status` and `GET /api/status`.
    pub(super) fn status(&self, daemon: &Daemon, sight: Sight) -> Reply {
        let ask = || match daemon.ask(&Request::PublicStatus, PATIENCE) {
            Ok(Answer::PublicStatus(status)) => Seen(now(), Some(status)),
            _ => Seen(now(), None),
        };
        let Seen(timestamp, status) = self.status.get(ask);
        let Some(status) = status else {
            let message = "the daemon does not answer";
            let page = Unknown { status: "error", message, webhook_status: "running", timestamp };
            return Reply::json(503, &page).with("Retry-After", RETRY_AFTER);
        };
        let status = if sight == Sight::Detailed { status } else { status.without_details() };
        let app_status = worst(status.apps.iter().map(|app| app.state));
        Reply::json(200, &Status { webhook_status: "running", app_status, timestamp, apps: &status.apps })
    }
}

/// One word for all apps: the one that needs a person most. A degraded app serves, so it runs.
fn worst(states: impl Iterator<Item = AppState>) -> &'static str {
    let urgency = |state: AppState| match state {
        AppState::Running | AppState::Degraded => (1, "running"),
        AppState::Deploying => (2, "deploying"),
        AppState::Stopped => (3, "stopped"),
        AppState::Failed => (4, "failed"),
    };
    states.map(urgency).max().map_or("stopped", |(_, word)| word)
}

fn now() -> String {
    Moment::now().wall.rfc3339()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_app_speaks_for_all() {
        use AppState::*;
        let cases: [(&[AppState], &str); 6] = [
            (&[], "stopped"),
            (&[Running], "running"),
            (&[Degraded], "running"),
            (&[Running, Deploying], "deploying"),
            (&[Stopped, Running, Deploying], "stopped"),
            (&[Running, Failed, Stopped], "failed"),
        ];
        for (states, word) in cases {
            assert_eq!(worst(states.iter().copied()), word, "{states:?}");
        }
    }
}
