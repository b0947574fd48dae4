//! `deploy --dry-run`: what a deploy of an app would do, phase by phase, with every command.
//!
//! Commands are shown as the file has them, so that a secret they refer to is not printed.

use super::check_config::loaded_app;
use super::context::Context;
use super::failure::Failure;
use super::style::{Style, Tone};
use crate::base::{AppName, ServiceName, Span};
use crate::config::{App, Command, Handover, ProbeTarget, RehearsalData, Service, Step, StepPhase};
use crate::control::Phase;
use serde::Serialize;
use std::path::PathBuf;

/// What a deploy would do.
#[derive(Debug, Serialize)]
struct Plan {
    app: AppName,
    timeout_seconds: u64,
    phases: Vec<Planned>,
}

/// What a phase would do: Pintle's own part in words, then the commands.
#[derive(Debug, Serialize)]
struct Planned {
    phase: Phase,
    does: String,
    steps: Vec<PlannedStep>,
}

/// A configured command.
#[derive(Debug, Serialize)]
struct PlannedStep {
    name: String,
    argv: Vec<String>,
    timeout_seconds: u64,
    on_failure: &'static str,
    #[serde(skip)]
    shown: String,
}

/// Prints the plan of `app`.
pub fn print(cx: &mut Context<'_>, app: &AppName) -> Result<u8, Failure> {
    let plan = plan(&loaded_app(cx, app)?);
    cx.answer(&plan, |style| text(&plan, style))?;
    Ok(0)
}

fn plan(app: &App) -> Plan {
    let phase = |phase, does: String, steps: Option<StepPhase>| Planned {
        phase,
        does,
        steps: steps.map(|phase| commands(app, phase)).unwrap_or_default(),
    };
    Plan {
        app: app.name.clone(),
        timeout_seconds: app.deploy.timeout.as_secs(),
        phases: vec![
            phase(Phase::Preflight, "check room on the disk, programs and users".into(), None),
            phase(Phase::Fetch, fetch(app), None),
            phase(Phase::Build, String::new(), Some(StepPhase::Build)),
            phase(Phase::Test, String::new(), Some(StepPhase::Test)),
            phase(Phase::Backup, backup(app), None),
            phase(Phase::Rehearse, rehearsal(app), None),
            phase(Phase::Migrate, migration(app), Some(StepPhase::Migrate)),
            phase(Phase::Switch, switch(app), None),
            phase(Phase::Verify, verification(app), Some(StepPhase::Smoke)),
            phase(Phase::Probation, probation(app), None),
            phase(Phase::Done, format!("keep {} releases", app.source.keep_releases), Some(StepPhase::After)),
        ],
    }
}

fn fetch(app: &App) -> String {
    let source = &app.source;
    let with = match (source.submodules, source.lfs) {
        (false, false) => "",
        (true, false) => ", with submodules",
        (false, true) => ", with LFS objects",
        (true, true) => ", with submodules and LFS objects",
    };
    format!("the newest commit of {} from {}{with}", source.branch, source.git)
}

fn backup(app: &App) -> String {
    if !app.backup.before_deploy {
        return "none (backup.before_deploy = false)".into();
    }
    match app.backup.paths.iter().chain(&app.backup.sqlite).collect::<Vec<_>>() {
        none if none.is_empty() => "nothing is configured to be backed up".into(),
        paths => format!("{}; a failure ends the deploy here", paths_text(paths)),
    }
}

fn rehearsal(app: &App) -> String {
    let services: Vec<&str> =
        in_order(app).filter(|service| service.rehearse).map(|service| service.name.as_str()).collect();
    if let Some(why) = &app.rehearsal.off {
        return format!("none: {why}");
    }
    if services.is_empty() {
        return "no service is rehearsed".into();
    }
    let data = match app.rehearsal.shared {
        RehearsalData::Copy => "on a copy of the shared paths from this backup, migrated first",
        RehearsalData::Live => "on the real shared paths",
        RehearsalData::Empty => "on empty shared paths",
    };
    format!("start {} alone, {data}; then health and smoke", services.join(", "))
}

fn migration(app: &App) -> String {
    match app.deploy.migrate_stopped && app.steps.iter().any(|step| step.phase == StepPhase::Migrate) {
        true => "stop the old release first (deploy.migrate = \"stopped\")".into(),
        false => String::new(),
    }
}

fn switch(app: &App) -> String {
    let services: Vec<String> = in_order(app)
        .map(|service| match service.handover {
            Handover::Socket => format!("{} (socket handed over)", service.name),
            Handover::Port if service.nginx.is_none() => format!("{} (new port, nobody is told)", service.name),
            Handover::Port => format!("{} (new port, nginx switched)", service.name),
            Handover::Restart => format!("{} (stopped, then started)", service.name),
        })
        .collect();
    match services.is_empty() {
        true => "current -> the new release".into(),
        false => format!("current -> the new release; then {}", services.join(", ")),
    }
}

fn verification(app: &App) -> String {
    let probes: Vec<String> = app
        .probes
        .iter()
        .map(|probe| match &probe.target {
            ProbeTarget::Http { url, .. } => format!("{} (GET {})", probe.name, without_login(url)),
            ProbeTarget::Service { service, path, .. } => format!("{} (GET {path} of {service})", probe.name),
            ProbeTarget::Tcp(address) => format!("{} (connect to {address})", probe.name),
            ProbeTarget::Run(_) => format!("{} (a command)", probe.name),
            ProbeTarget::Alive(service) => format!("{} ({service} is up)", probe.name),
        })
        .collect();
    let within = Span(app.deploy.startup);
    match probes.is_empty() {
        true => format!("every service is up within {within}"),
        false => format!("within {within}: {}", probes.join(", ")),
    }
}

fn probation(app: &App) -> String {
    match app.deploy.probation.is_zero() {
        true => "none".into(),
        false => {
            format!("healthy and without a restart for {}; else back to the release before", Span(app.deploy.probation))
        }
    }
}

fn commands(app: &App, phase: StepPhase) -> Vec<PlannedStep> {
    let steps = app.steps.iter().enumerate().filter(|(_, step)| step.phase == phase);
    steps
        .map(|(index, step)| {
            let command = as_written(app, index, step);
            PlannedStep {
                name: step.name.clone(),
                argv: command.argv(),
                timeout_seconds: step.timeout.as_secs(),
                on_failure: if step.warn_only { "warn" } else { "abort" },
                shown: command.to_string(),
            }
        })
        .collect()
}

/// The command as the file has it, before `${NAME}` was filled in.
fn as_written(app: &App, index: usize, step: &Step) -> Command {
    let run = app.definition.get("step").and_then(|steps| steps.get(index)).and_then(|step| step.get("run"));
    match run {
        Some(toml::Value::String(line)) => Command::Shell(line.clone()),
        Some(toml::Value::Array(argv)) => {
            Command::Argv(argv.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect())
        }
        _ => step.run.clone(),
    }
}

/// Services in the order they are switched: each after those it names in `after`.
fn in_order(app: &App) -> impl Iterator<Item = &Service> {
    let mut ordered: Vec<&Service> = Vec::new();
    let mut left: Vec<&Service> = app.services.values().collect();
    while !left.is_empty() {
        let is_placed = |name: &ServiceName| ordered.iter().any(|service| service.name == *name);
        // The configuration has no cycle; should there be one, the first goes first.
        let next = left.iter().position(|service| service.after.iter().all(is_placed)).unwrap_or(0);
        ordered.push(left.remove(next));
    }
    ordered.into_iter()
}

fn paths_text(paths: Vec<&PathBuf>) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// A URL without what may be secret in it: login and query.
fn without_login(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    format!("{scheme}://{}{path}", host.rsplit('@').next().unwrap_or_default())
}

fn text(plan: &Plan, style: &Style) -> String {
    let limit = Span(std::time::Duration::from_secs(plan.timeout_seconds));
    let mut text = format!("a deploy of {}, at most {limit} in all; nothing is done now\n\n", plan.app);
    for planned in &plan.phases {
        let does = if planned.does.is_empty() && planned.steps.is_empty() { "-" } else { &planned.does };
        let head = format!("{:<9}  ", planned.phase);
        text += &format!("{}{does}", style.paint(Tone::Strong, &head));
        text.truncate(text.trim_end().len());
        text.push('\n');
        for step in &planned.steps {
            let timeout = Span(std::time::Duration::from_secs(step.timeout_seconds));
            let policy = if step.on_failure == "warn" { ", a failure only warns" } else { "" };
            text += &format!("  {} (at most {timeout}{policy}): {}\n", step.name, step.shown);
        }
    }
    text
}

#[cfg(test)]
#[path = "plan/tests.rs"]
mod tests;
