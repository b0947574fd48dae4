//! What anybody may see: whether the service is well, and how the apps are.

use super::ask::Reply;
use super::daemon::Daemon;
use crate::base::Moment;
use crate::control::{Answer, AppState, PublicApp, Request};
use serde::Serialize;
use std::time::Duration;

/// A daemon that needs longer than this is not well.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Serialize)]
struct Health {
    status: &'static str,
    timestamp: String,
    service: &'static str,
}

/// `GET /health`.
pub(super) fn health(daemon: &Daemon) -> Reply {
    let (code, status) = match daemon.ask(&Request::Ping, PATIENCE) {
        Ok(Answer::Pong) => (200, "healthy"),
        _ => (503, "degraded"),
    };
    Reply::json(code, &Health { status, timestamp: now(), service: "pintle" })
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

/// `GET /status`.
pub(super) fn status(daemon: &Daemon) -> Reply {
    match daemon.ask(&Request::PublicStatus, PATIENCE) {
        Ok(Answer::PublicStatus(public)) => {
            let app_status = worst(public.apps.iter().map(|app| app.state));
            let page = Status { webhook_status: "running", app_status, timestamp: now(), apps: &public.apps };
            Reply::json(200, &page)
        }
        _ => {
            let message = "the daemon does not answer";
            Reply::json(503, &Unknown { status: "error", message, webhook_status: "running", timestamp: now() })
        }
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
