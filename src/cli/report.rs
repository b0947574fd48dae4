//! `report N`: a deployment to hand on - what was deployed, what was proved, how long it took, how it ended.

use super::args::NumberArgs;
use super::check_config::loaded;
use super::context::Context;
use super::failure::Failure;
use super::history::{deployment, facts, span};
use super::style::{Style, Tone, Toned};
use crate::control::{DeploymentReport, Phase, StepReport, StepStatus};
use serde::Serialize;

/// The parts of a deployment that people ask about, by the phases they are made of.
const PARTS: &[(&str, &[Phase])] = &[
    ("build", &[Phase::Build]),
    ("tests", &[Phase::Test]),
    ("backup", &[Phase::Backup]),
    ("rehearsal", &[Phase::Rehearse]),
    ("migration", &[Phase::Migrate]),
    ("switch", &[Phase::Switch]),
    ("smoke", &[Phase::Verify, Phase::Probation]),
    ("rollback", &[Phase::Rollback]),
];

/// A deployment with its parts judged.
#[derive(Debug, Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    deployment: &'a DeploymentReport,
    branch: Option<String>,
    /// Part by part: `None` where nothing of it ran.
    parts: Vec<Part>,
}

/// What became of the build, the tests, ...
#[derive(Debug, Serialize)]
struct Part {
    part: &'static str,
    status: Option<StepStatus>,
    duration_seconds: f64,
    /// Names of the steps that did not succeed.
    troubled: Vec<String>,
}

/// `pintle report N`.
pub fn run(args: &NumberArgs, cx: &mut Context<'_>) -> Result<u8, Failure> {
    let found = deployment(cx, args.number)?;
    let app = loaded(cx).ok().and_then(|loaded| loaded.config.apps.get(&found.deployment.app).cloned());
    let report = judged(&found, app.map(|app| app.source.branch));
    cx.answer(&report, |style| text(&report, style))?;
    Ok(0)
}

fn judged(deployment: &DeploymentReport, branch: Option<String>) -> Report<'_> {
    let parts = PARTS.iter().map(|(name, phases)| part(name, phases, &deployment.steps)).collect();
    Report { deployment, branch, parts }
}

fn part(name: &'static str, phases: &[Phase], steps: &[StepReport]) -> Part {
    let steps: Vec<&StepReport> = steps.iter().filter(|step| phases.contains(&step.phase)).collect();
    Part {
        part: name,
        status: steps.iter().map(|step| step.status).max_by_key(|status| gravity(*status)),
        duration_seconds: steps.iter().map(|step| step.duration_seconds).sum(),
        troubled: steps
            .iter()
            .filter(|step| step.status != StepStatus::Success)
            .map(|step| match step.exit {
                Some(exit) => format!("{} (exit {exit})", step.name),
                None => step.name.clone(),
            })
            .collect(),
    }
}

fn gravity(status: StepStatus) -> u8 {
    match status {
        StepStatus::Success => 0,
        StepStatus::Warning => 1,
        StepStatus::Cancelled => 2,
        StepStatus::TimedOut => 3,
        StepStatus::Failed => 4,
    }
}

fn text(report: &Report<'_>, style: &Style) -> String {
    let mut text = facts(report.deployment, style);
    if let Some(branch) = &report.branch {
        text += &format!("  {:<9} {branch}\n", "branch");
    }
    if let Some(exit) = report.deployment.exit {
        text += &format!("  {:<9} {exit}\n", "exit code");
    }
    text.push('\n');
    for part in &report.parts {
        let (status, took) = match part.status {
            None => (style.paint(Tone::Faint, "-"), String::new()),
            Some(status) => {
                let word = if status == StepStatus::Success { "ok".into() } else { status.as_str().replace('_', " ") };
                (style.paint(status.tone(), &word), format!(", {}", span(part.duration_seconds)))
            }
        };
        let troubled = if part.troubled.is_empty() { String::new() } else { format!(": {}", part.troubled.join(", ")) };
        text += &format!("  {:<9} {status}{took}{troubled}\n", part.part);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::DeployId;
    use crate::control::{DeployStatus, DeploymentView, Trigger};

    fn step(name: &str, phase: Phase, status: StepStatus, exit: Option<i32>) -> StepReport {
        StepReport { name: name.into(), phase, status, exit, duration_seconds: 1.5 }
    }

    #[test]
    fn a_report_names_each_part_and_who_failed() {
        let deployment = DeploymentReport {
            deployment: DeploymentView {
                number: DeployId(42),
                app: "shop".parse().unwrap(),
                commit: Some("4f2a1c9d00000000000000000000000000000001".into()),
                release: Some("000042-4f2a1c9".parse().unwrap()),
                status: DeployStatus::RolledBack,
                phase: Phase::Probation,
                trigger: Trigger::Webhook,
                started: "2025-10-24T20:00:00Z".parse().unwrap(),
                finished: Some("2025-10-24T20:01:12Z".parse().unwrap()),
                duration_seconds: Some(72.0),
                message: Some("web ended with 1 in probation".into()),
            },
            steps: vec![
                step("deps", Phase::Build, StepStatus::Success, Some(0)),
                step("assets", Phase::Build, StepStatus::Warning, Some(3)),
                step("unit", Phase::Test, StepStatus::Success, Some(0)),
                step("backup", Phase::Backup, StepStatus::Success, None),
                step("health", Phase::Verify, StepStatus::Success, None),
                step("probation", Phase::Probation, StepStatus::Failed, None),
                step("rollback", Phase::Rollback, StepStatus::Success, None),
            ],
            previous: Some("000041-88aa001".parse().unwrap()),
            approved: false,
            exit: Some(4),
            log: None,
        };
        let report = judged(&deployment, Some("main".into()));
        assert_eq!(
            text(&report, &Style::plain()),
            "\
deployment 000042 of shop: rolled back
  why       web ended with 1 in probation
  commit    4f2a1c9d00000000000000000000000000000001
  release   000042-4f2a1c9
  before    000041-88aa001
  trigger   webhook
  started   2025-10-24 20:00:00
  finished  2025-10-24 20:01:12, after 1m12s
  branch    main
  exit code 4

  build     warning, 3s: assets (exit 3)
  tests     ok, 1.5s
  backup    ok, 1.5s
  rehearsal -
  migration -
  switch    -
  smoke     failed, 3s: probation
  rollback  ok, 1.5s
"
        );
        let document = serde_json::to_value(&report).unwrap();
        assert_eq!(document["number"], 42);
        assert_eq!(document["branch"], "main");
        assert_eq!(document["parts"][0]["status"], "warning");
        assert_eq!(document["parts"][3]["status"], serde_json::Value::Null);
    }
}
