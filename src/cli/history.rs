//! `history`, `show` and `releases`: what happened, and what is there to go back to. They work while the daemon is down.

use super::args::{AppArgs, HistoryArgs, NumberArgs};
use super::context::Context;
use super::failure::Failure;
use super::style::{Cell, Style, Table, Tone, Toned};
use super::{board_history, offline, place};
use crate::base::{DeployId, Span};
use crate::control::{Answer, DeployStatus, DeploymentReport, DeploymentView, HistoryReport, ReleasesReport, Request};
use std::time::Duration;

/// `pintle history`.
pub fn history(args: &HistoryArgs, cx: &mut Context<'_>) -> Result<u8, Failure> {
    if args.health {
        return board_history::run(args.since, cx);
    }
    let (app, limit) = (place::app_or_all(cx, args.app.as_deref())?, args.limit);
    let report = cx.ask_or_read(
        &Request::History { app: app.clone(), limit },
        |answer| if let Answer::History(report) = answer { Some(report) } else { None },
        |paths| offline::history(&paths.state_dir, app.as_ref(), limit),
    )?;
    for notice in &report.notices {
        cx.note(notice);
    }
    cx.answer(&report, |style| history_text(&report, style))?;
    Ok(0)
}

/// `pintle show N`.
pub fn show(args: &NumberArgs, cx: &mut Context<'_>) -> Result<u8, Failure> {
    let report = deployment(cx, args.number)?;
    cx.answer(&report, |style| show_text(&report, style))?;
    Ok(0)
}

/// `pintle releases`.
pub fn releases(args: &AppArgs, cx: &mut Context<'_>) -> Result<u8, Failure> {
    let app = place::app(cx, args.app.as_deref())?;
    let report = cx.ask_or_read(
        &Request::Releases { app: app.clone() },
        |answer| if let Answer::Releases(report) = answer { Some(report) } else { None },
        |paths| offline::releases(&paths.state_dir, &app),
    )?;
    cx.answer(&report, |style| releases_text(&report, style))?;
    Ok(0)
}

/// One deployment, from the daemon or from the diary.
pub fn deployment(cx: &mut Context<'_>, number: DeployId) -> Result<DeploymentReport, Failure> {
    cx.ask_or_read(
        &Request::Show { number },
        |answer| if let Answer::Show(report) = answer { Some(*report) } else { None },
        |paths| offline::show(&paths.state_dir, number),
    )
}

fn history_text(report: &HistoryReport, style: &Style) -> String {
    if report.deployments.is_empty() {
        return "no deployments yet; `pintle deploy` makes the first one\n".into();
    }
    let mut table = Table::new(0, &[">N", "APP", "STATUS", "COMMIT", "TRIGGER", "STARTED", ">TOOK", "MESSAGE"]);
    for deployment in &report.deployments {
        table.row(vec![
            deployment.number.0.into(),
            deployment.app.as_str().into(),
            Cell::toned(verdict(deployment), deployment.status.tone()),
            Cell::or_dash(deployment.commit.as_deref().map(short)),
            deployment.trigger.as_str().into(),
            style.time(deployment.started).into(),
            Cell::or_dash(took(deployment)),
            one_line(deployment.message.as_deref().unwrap_or_default()).into(),
        ]);
    }
    table.text(style)
}

fn show_text(report: &DeploymentReport, style: &Style) -> String {
    let deployment = &report.deployment;
    let mut text = facts(report, style);
    if !report.steps.is_empty() {
        let mut table = Table::new(2, &["PHASE", "STEP", "STATUS", ">EXIT", ">TOOK"]);
        for step in &report.steps {
            table.row(vec![
                step.phase.as_str().into(),
                step.name.as_str().into(),
                Cell::toned(step.status, step.status.tone()),
                Cell::or_dash(step.exit),
                span(step.duration_seconds).into(),
            ]);
        }
        text += &format!("\n{}", table.text(style));
    }
    if deployment.status == DeployStatus::Waiting {
        text +=
            &format!("\n`pintle cancel {0}` ends it, `pintle logs --deploy {0} -f` watches it\n", deployment.number.0);
    } else if !deployment.status.is_final() {
        text +=
            &format!("\nin phase {}; `pintle logs --deploy {} -f` watches it\n", deployment.phase, deployment.number.0);
    }
    text
}

/// The head of `show` and `report`: what it was, and how it ended.
pub fn facts(report: &DeploymentReport, style: &Style) -> String {
    let deployment = &report.deployment;
    let status = style.paint(deployment.status.tone(), &verdict(deployment));
    let mut text = format!("deployment {} of {}: {status}\n", deployment.number, deployment.app);
    let mut fact = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            text += &format!("  {name:<9} {value}\n");
        }
    };
    fact("why", deployment.message.as_deref().map(one_line));
    fact("commit", deployment.commit.clone());
    fact("release", deployment.release.as_ref().map(ToString::to_string));
    fact("before", report.previous.as_ref().map(ToString::to_string));
    let approved = if report.approved { ", approved by a person" } else { "" };
    fact("trigger", Some(format!("{}{approved}", deployment.trigger)));
    fact("started", Some(style.time(deployment.started)));
    let after = took(deployment).map(|took| format!(", after {took}")).unwrap_or_default();
    fact("finished", deployment.finished.map(|time| format!("{}{after}", style.time(time))));
    fact("log", report.log.clone());
    text
}

fn releases_text(report: &ReleasesReport, style: &Style) -> String {
    if report.releases.is_empty() {
        return format!("{} has no release yet; `pintle deploy {0}` makes the first one\n", report.app);
    }
    let mut table = Table::new(0, &["RELEASE", "STATE", "CREATED", "COMMIT"]);
    for release in &report.releases {
        let tone = match release.state.as_str() {
            "live" => Tone::Good,
            "previous" | "good" => Tone::Plain,
            "rolled_back" | "failed" => Tone::Bad,
            _ => Tone::Faint,
        };
        let quarantined = if release.quarantined { " (quarantined)" } else { "" };
        table.row(vec![
            release.release.as_str().into(),
            Cell::toned(format!("{}{quarantined}", words(&release.state)), tone),
            Cell::or_dash(release.created.map(|time| style.time(time))),
            Cell::or_dash(release.commit.as_deref()),
        ]);
    }
    table.text(style)
}

/// `failed in build`, `rolled back`, `running: test`.
fn verdict(deployment: &DeploymentView) -> String {
    match deployment.status {
        DeployStatus::Failed => format!("failed in {}", deployment.phase),
        DeployStatus::Running => format!("running: {}", deployment.phase),
        status => words(status.as_str()),
    }
}

fn words(spelled: &str) -> String {
    spelled.replace('_', " ")
}

/// Seven digits of a commit, as people use them.
pub fn short(commit: &str) -> &str {
    commit.get(..7).unwrap_or(commit)
}

fn took(deployment: &DeploymentView) -> Option<String> {
    deployment.duration_seconds.map(span)
}

/// Seconds as people read them.
pub fn span(seconds: f64) -> String {
    Span(Duration::try_from_secs_f64(seconds).unwrap_or_default()).to_string()
}

/// The first line without control characters: a commit's author does not write to this terminal.
pub fn one_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
#[path = "history/tests.rs"]
mod tests;
