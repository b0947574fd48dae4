//! `?wait=1`: follows deployments to their end and answers with what came of them.

use super::ask::Reply;
use super::daemon::Daemon;
use super::hooks::{self, Accepted, Unwanted};
use super::story::{Story, Untold};
use crate::base::{AppName, DeployId, ReleaseName};
use crate::control::{DeployStatus, Followed, Ignored, Phase};
use crate::deploy::gate;
use serde::Serialize;
use std::time::Duration;

/// The end of a log is where the reason stands.
const LOG_KEPT: usize = 64 << 10;

/// How long a daemon that goes away between accepting a deploy and telling its story may take to be back.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A quiet deploy is waited for all the same.
const A_WHILE: Duration = Duration::from_secs(600);

/// What one deployment came to, as the caller reads it.
#[derive(Serialize)]
struct Ended {
    status: DeployStatus,
    app: AppName,
    deployment: DeployId,
    phase: Option<Phase>,
    release: Option<ReleaseName>,
    message: Option<String>,
    log: String,
    #[serde(skip)]
    code: u16,
}

/// What several deployments came to: the worst one, and a line for each.
#[derive(Serialize)]
struct Outcome<'a> {
    #[serde(flatten)]
    worst: &'a Ended,
    deployments: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    app: &'a AppName,
    deployment: DeployId,
    status: DeployStatus,
}

/// Answers when every deployment has ended, or as soon as one waits for a person, a window or the rate limit.
pub(super) fn until_the_end(daemon: &Daemon, event: &str, accepted: &[Accepted]) -> Reply {
    if accepted.iter().any(|deployment| deployment.state == DeployStatus::Waiting) {
        return not_now(accepted);
    }
    let mut ended = Vec::new();
    for deployment in accepted {
        match follow(daemon, deployment) {
            Ok(Told::End(end)) => ended.push(end),
            Ok(Told::Waits) => return not_now(&waiting(accepted, deployment.deployment)),
            Err(error) => {
                return gone(deployment.deployment, &error);
            }
        }
    }
    // 200, 202, 422, 500, 503: the higher, the worse.
    let Some(worst) = ended.iter().max_by_key(|end| end.code) else {
        return hooks::triggered(event, accepted);
    };
    let deployments =
        ended.iter().map(|end| Line { app: &end.app, deployment: end.deployment, status: end.status }).collect();
    Reply::json(worst.code, &Outcome { worst, deployments })
}

/// What a caller is told whose deployment nobody tells of any more.
pub(super) fn gone(number: DeployId, why: &Untold) -> Reply {
    log::error!("deployment {number} cannot be followed: {why}");
    Reply::later(format!("the daemon went away; deployment {number} continues without it"))
}

/// 202: on disk, and held up by a person, a window or the rate limit for nobody knows how long.
pub(super) fn not_now(accepted: &[Accepted]) -> Reply {
    let as_is = accepted.iter().map(|deployment| Ended {
        status: deployment.state,
        app: deployment.app.clone(),
        deployment: deployment.deployment,
        phase: Some(Phase::Preflight),
        release: None,
        message: Some("it waits for an approval, a window or the rate limit of deploys".into()),
        log: String::new(),
        code: 202,
    });
    let as_is: Vec<Ended> = as_is.collect();
    let lines = as_is.iter().map(|end| Line { app: &end.app, deployment: end.deployment, status: end.status });
    let deployments = lines.collect();
    match as_is.iter().find(|end| end.status == DeployStatus::Waiting) {
        Some(worst) => Reply::json(worst.code, &Outcome { worst, deployments }),
        None => Reply::ignored("nothing is to be done"),
    }
}

/// What a waiting caller is told when nothing was started: 422 when its commit will not be deployed.
pub(super) fn nothing_started(unwanted: Unwanted) -> Reply {
    #[derive(Serialize)]
    struct Refused {
        status: DeployStatus,
        message: String,
        deployment: Option<DeployId>,
        phase: Option<Phase>,
        release: Option<ReleaseName>,
        log: &'static str,
    }
    match unwanted.reason {
        Ignored::Quarantined | Ignored::Older => {
            let (status, message) = (DeployStatus::Refused, unwanted.why);
            Reply::json(422, &Refused { status, message, deployment: None, phase: None, release: None, log: "" })
        }
        _ => unwanted.reply(),
    }
}

/// The same deployments, one of which has met a gate meanwhile.
fn waiting(accepted: &[Accepted], number: DeployId) -> Vec<Accepted> {
    let as_told = |one: &Accepted| match one.deployment == number {
        true => Accepted { state: DeployStatus::Waiting, ..one.clone() },
        false => one.clone(),
    };
    accepted.iter().map(as_told).collect()
}

/// What a story comes to for somebody who waits for its end.
enum Told {
    End(Ended),
    /// Its turn came and it may not begin: nobody knows when it ends.
    Waits,
}

fn follow(daemon: &Daemon, accepted: &Accepted) -> Result<Told, Untold> {
    let number = accepted.deployment;
    let mut story = Story::open(daemon, number, 0, PATIENCE)?;
    let (mut log, mut has_begun) = (Tail::default(), false);
    loop {
        match story.next(daemon, A_WHILE)? {
            Some((_, Followed::Phase { .. })) => has_begun = true,
            // Before its first phase nothing of its own runs that could say so.
            Some((_, Followed::Log { line })) if !has_begun && line.starts_with(gate::WAITS) => return Ok(Told::Waits),
            Some((_, Followed::Log { line })) => log.push(&line),
            Some((_, Followed::End { status, phase, release, message, .. })) => {
                let app = accepted.app.clone();
                let (log, code) = (log.into_text(), code(status, phase));
                let phase = Some(phase);
                return Ok(Told::End(Ended { status, app, deployment: number, phase, release, message, log, code }));
            }
            _ => {}
        }
    }
}

/// 422: what runs was not touched; 500: it was, and is as before or was never there; 503: a person is needed.
fn code(status: DeployStatus, phase: Phase) -> u16 {
    let touched = matches!(phase, Phase::Switch | Phase::Verify | Phase::Probation | Phase::Rollback);
    match status {
        DeployStatus::Success => 200,
        DeployStatus::Queued | DeployStatus::Waiting | DeployStatus::Running => 202,
        DeployStatus::Failed if touched => 500,
        DeployStatus::Failed | DeployStatus::Refused | DeployStatus::Superseded | DeployStatus::Cancelled => 422,
        DeployStatus::RolledBack => 500,
        DeployStatus::RollbackFailed => 503,
    }
}

/// The last part of a log.
#[derive(Default)]
struct Tail(String);

impl Tail {
    fn push(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
        if self.0.len() > 2 * LOG_KEPT {
            self.cut();
        }
    }

    fn into_text(mut self) -> String {
        self.cut();
        self.0
    }

    /// Keeps whole lines where they are shorter than what is kept.
    fn cut(&mut self) {
        let Some(excess) = self.0.len().checked_sub(LOG_KEPT).filter(|excess| *excess > 0) else { return };
        let line = self.0.as_bytes()[excess - 1..].iter().position(|byte| *byte == b'\n').map(|at| excess + at);
        let whole = line.filter(|line| *line < self.0.len());
        let start = whole.or_else(|| (excess..self.0.len()).find(|at| self.0.is_char_boundary(*at)));
        self.0.drain(..start.unwrap_or(self.0.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_tells_what_was_touched() {
        use DeployStatus::*;
        let cases = [
            (Success, Phase::Done, 200),
            (Failed, Phase::Fetch, 422),
            (Failed, Phase::Rehearse, 422),
            (Failed, Phase::Migrate, 422),
            (Failed, Phase::Switch, 500),
            (Failed, Phase::Verify, 500),
            (Failed, Phase::Probation, 500),
            (Failed, Phase::Rollback, 500),
            (Refused, Phase::Fetch, 422),
            (Superseded, Phase::Preflight, 422),
            (Cancelled, Phase::Build, 422),
            (RolledBack, Phase::Rollback, 500),
            (RollbackFailed, Phase::Rollback, 503),
            (Waiting, Phase::Preflight, 202),
        ];
        for (status, phase, expected) in cases {
            assert_eq!(code(status, phase), expected, "{status} in {phase}");
        }
    }

    #[test]
    fn of_a_long_log_the_last_whole_lines_are_kept() {
        let mut tail = Tail::default();
        for line in 0..100_000 {
            tail.push(&format!("line {line} ü"));
        }
        let text = tail.into_text();
        assert!(text.len() <= LOG_KEPT && text.len() > LOG_KEPT - 20, "{}", text.len());
        assert!(text.starts_with("line ") && text.ends_with("line 99999 ü\n"));

        let mut one = Tail::default();
        one.push(&"ü".repeat(LOG_KEPT));
        let text = one.into_text();
        assert!(text.len() <= LOG_KEPT && text.len() > LOG_KEPT - 4, "{}", text.len());

        let mut short = Tail::default();
        short.push("a");
        assert_eq!(short.into_text(), "a\n");
    }
}
