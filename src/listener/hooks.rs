//! Hands a genuine delivery to the daemon and says what became of it.

use super::ask::Reply;
use super::daemon::Daemon;
use crate::base::{AppName, DeployId};
use crate::control::{Answer, Delivery, DeployStatus, Ignored, Request, Verdict};
use serde::Serialize;
use std::time::Duration;

/// Forges give up after ten seconds; the sender hears of a failure before that.
pub(super) const PATIENCE: Duration = Duration::from_secs(8);

/// A deployment that is on disk.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Accepted {
    pub(super) app: AppName,
    pub(super) deployment: DeployId,
    /// Told when it waits for a person, a window or the rate limit.
    #[serde(skip_serializing_if = "begins")]
    pub(super) state: DeployStatus,
}

fn begins(state: &DeployStatus) -> bool {
    *state != DeployStatus::Waiting
}

/// Hands `delivery` over; `Err` is the answer when it could not be written down.
pub(super) fn hand_over(daemon: &Daemon, delivery: Delivery) -> Result<Vec<Verdict>, Reply> {
    let answer = daemon.insist_on_answer(&Request::Deliver(delivery), PATIENCE);
    answer.map_err(|error| unwritten(&error)).and_then(verdicts)
}

/// What the daemon said of a delivery; `Err` as for [`hand_over`].
pub(super) fn verdicts(answer: Answer) -> Result<Vec<Verdict>, Reply> {
    match answer {
        Answer::Delivered { verdicts } => Ok(verdicts),
        Answer::Error { message, .. } => Err(unwritten(&message)),
        other => Err(unwritten(&format!("unexpected answer {other:?}"))),
    }
}

/// The sender learns that it failed; why, with its paths, is for the log.
pub(super) fn unwritten(why: &dyn std::fmt::Display) -> Reply {
    log::error!("a delivery could not be handed to the daemon: {why}");
    Reply::later("the deployment could not be written down: try again")
}

/// The deployments among `verdicts`, or what to say when there is none. Who waits wants the end of the deployment that
/// answers a duplicate as much as of a new one: a script that is run again must not take "under way" for a success.
pub(super) fn accepted(verdicts: Vec<Verdict>, wait: bool) -> Result<Vec<Accepted>, Unwanted> {
    let mut accepted = Vec::new();
    let mut unwanted = None;
    for verdict in verdicts {
        match verdict {
            Verdict::Accepted { app, deployment, state } => accepted.push(Accepted { app, deployment, state }),
            Verdict::Ignored { app, deployment: Some(deployment), state, .. } if wait => {
                accepted.push(Accepted { app, deployment, state: state.unwrap_or(DeployStatus::Running) });
            }
            Verdict::Ignored { why, reason, .. } => unwanted = unwanted.or(Some(Unwanted { why, reason })),
        }
    }
    match accepted.is_empty() {
        true => Err(unwanted.unwrap_or(Unwanted { why: "nothing is to be done".into(), reason: Ignored::Live })),
        false => Ok(accepted),
    }
}

/// What a sender that does not wait is told.
pub(super) fn reply(event: &str, verdicts: Vec<Verdict>) -> Reply {
    accepted(verdicts, false).map_or_else(Unwanted::reply, |deployments| triggered(event, &deployments))
}

/// Why no app needs a deploy: the first app's reason.
#[derive(Debug, PartialEq)]
pub(super) struct Unwanted {
    pub(super) why: String,
    pub(super) reason: Ignored,
}

impl Unwanted {
    /// What a sender that does not wait is told.
    pub(super) fn reply(self) -> Reply {
        match self.reason {
            Ignored::UnknownApp => Reply::error(404, "no such app"),
            _ => Reply::ignored(self.why),
        }
    }
}

#[derive(Serialize)]
struct Triggered<'a> {
    status: &'static str,
    message: &'static str,
    app: &'a AppName,
    deployment: DeployId,
    deployments: &'a [Accepted],
}

/// 202: on disk. `event` is the delivery's.
pub(super) fn triggered(event: &str, deployments: &[Accepted]) -> Reply {
    let Some(first) = deployments.first() else { return Reply::ignored("nothing is to be done") };
    let message = match event {
        "workflow_run"
        | "action_run_success"
        | "Pipeline Hook"
        | "repo:commit_status_created"
        | "repo:commit_status_updated" => "Deployment triggered after successful CI/CD",
        "push" | "Push Hook" | "repo:push" | "repo:refs_changed" => "Deployment triggered by push",
        _ => "Deployment triggered",
    };
    let (app, deployment) = (&first.app, first.deployment);
    Reply::json(202, &Triggered { status: "success", message, app, deployment, deployments })
}
