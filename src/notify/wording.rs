//! What happened in words for people, and on which occasions that is told.

use super::cut;
use super::happening::{Deed, Ended, Gravity, Happening};
use super::message::{CommitState, Message, Tone};
use super::redact::Redactor;
use crate::base::{ReleaseName, Span, WallTime};
use crate::config::Occasion;
use crate::control::{DeployStatus, Phase};

/// Lines of output that go with a message, and how many characters they may have together.
const OUTPUT_LINES: usize = 12;
const OUTPUT_CHARS: usize = 1_200;
/// The longest sentence that is told; the log has the rest.
const SENTENCE: usize = 600;

/// A message and who hears of it: whoever listens on one of the occasions.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Said {
    pub message: Message,
    pub occasions: &'static [Occasion],
}

/// A deployment's end; `None`: nobody needs to hear of it (superseded, cancelled, refused).
pub fn ended(ended: &Ended, at: WallTime, redactor: &Redactor) -> Option<Said> {
    use DeployStatus::{Failed, RollbackFailed, RolledBack, Success};
    let app = &ended.app;
    let commit = ended.commit.as_ref().map(|commit| commit.short()).unwrap_or("the newest commit");
    let took = ended.took.map(|took| format!(" in {}", Span(took))).unwrap_or_default();
    let step = ended.failed.map(|phase| format!(" in {phase}")).unwrap_or_default();
    let named = |release: &Option<ReleaseName>| {
        release.as_ref().map_or_else(|| "the release before".to_owned(), |release| release.to_string())
    };
    let (event, tone, title, occasions): (_, _, _, &[Occasion]) = match (ended.deed, ended.status) {
        (Deed::Deploy, Success) => {
            ("deploy.success", Tone::Good, format!("{app}: {commit} is live{took}"), &[Occasion::Success])
        }
        (Deed::Rollback, Success) => {
            let title = format!("{app}: back at {} as ordered{took}", named(&ended.release));
            ("rollback.success", Tone::Good, title, &[Occasion::Success, Occasion::Rollback])
        }
        (Deed::Backup, Success) => {
            ("backup.success", Tone::Good, format!("{app}: backed up as ordered{took}"), &[Occasion::Success])
        }
        (Deed::Deploy, Failed) => {
            let title = format!("{app}: deploy of {commit} failed{step}");
            ("deploy.failed", Tone::Bad, title, &[Occasion::Failure])
        }
        (Deed::Rollback, Failed) => {
            let title = format!("{app}: rollback to {} failed{step}", named(&ended.release));
            ("rollback.failed", Tone::Bad, title, &[Occasion::Failure])
        }
        (Deed::Backup, Failed) => ("backup.failed", Tone::Bad, format!("{app}: backup failed"), &[Occasion::Failure]),
        (_, RolledBack) => {
            let title = format!("{app}: {commit} failed{step}, {} is back", named(&ended.previous));
            ("deploy.rolled_back", Tone::Bad, title, &[Occasion::Rollback])
        }
        (_, RollbackFailed) => {
            let title = format!("CRITICAL: {app}: {commit} failed{step}, and going back failed too");
            let all = &[Occasion::Critical, Occasion::Rollback, Occasion::Failure];
            ("deploy.rollback_failed", Tone::Critical, title, all)
        }
        _ => return None,
    };
    let clean = |printed: &str| redactor.clean(&cut::readable(printed));
    let mut text = ended.message.as_deref().map(|why| cut::chars(&clean(why), SENTENCE));
    if ended.status == RollbackFailed {
        let advice = format!("A person is needed: `pintle show {}`, `pintle status {app}`.", ended.number.0);
        text = Some(text.map_or_else(|| advice.clone(), |text| format!("{text}\n{advice}")));
    }
    // All of it together: what is secret may have several lines.
    let output: Vec<String> = clean(&ended.output.join("\n")).lines().map(str::to_owned).collect();
    let message = Message {
        event: event.into(),
        tone,
        title: cut::line(&redactor.clean(&title), 200),
        app: Some(app.clone()),
        text,
        facts: facts(ended),
        output: cut::tail(&output, OUTPUT_LINES, OUTPUT_CHARS),
        at,
    };
    Some(Said { message, occasions })
}

fn facts(ended: &Ended) -> Vec<(String, String)> {
    let commit = ended.commit.as_ref().map(|commit| ("commit", commit.to_string()));
    let branch = (ended.deed == Deed::Deploy).then(|| ("branch", ended.branch.clone()));
    let release = ended.release.as_ref().map(|release| ("release", release.to_string()));
    let previous = ended.previous.as_ref().map(|release| ("previous", release.to_string()));
    let took = ended.took.map(|took| ("duration", Span(took).to_string()));
    let rest = [("deployment", ended.number.0.to_string()), ("trigger", ended.trigger.to_string())];
    let all = [commit, branch, release, previous, took].into_iter().flatten().chain(rest);
    all.map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A trouble, or its all-clear, as a message. `None` for what is no trouble.
pub fn trouble(happening: &Happening, at: WallTime, redactor: &Redactor) -> Option<Message> {
    let (event, tone, title, app, text) = match happening {
        Happening::Ended(_) => return None,
        Happening::Trouble { gravity: Gravity::Warning, what, advice, app, .. } => {
            ("trouble.warning", Tone::Warning, format!("Warning: {what}"), app, advice)
        }
        Happening::Trouble { gravity: Gravity::Critical, what, advice, app, .. } => {
            ("trouble.critical", Tone::Critical, format!("CRITICAL: {what}"), app, advice)
        }
        Happening::Recovered { what, app, .. } => ("recovered", Tone::Good, format!("Well again: {what}"), app, &None),
    };
    let title = redactor.clean(&title);
    let (title, rest) =
        if title.chars().count() <= 200 { (title, None) } else { (cut::line(&title, 200), Some(title)) };
    let text = text.as_deref().map(|advice| redactor.clean(advice));
    let text = rest.into_iter().chain(text).collect::<Vec<_>>().join("\n");
    Some(Message {
        event: event.into(),
        tone,
        title: cut::line(&title, 200),
        app: app.clone(),
        text: Some(cut::chars(&text, 2 * SENTENCE)).filter(|text| !text.is_empty()),
        facts: vec![],
        output: vec![],
        at,
    })
}

/// What `pintle notify test` sends.
pub fn test(at: WallTime) -> Message {
    Message {
        event: "test".into(),
        tone: Tone::Neutral,
        title: "Test: messages of Pintle arrive here".into(),
        app: None,
        text: Some("Sent by `pintle notify test`. Nothing happened.".into()),
        facts: vec![],
        output: vec![],
        at,
    }
}

/// Many messages in one. `titles` are in order.
pub fn summary(titles: &[String], from: WallTime, at: WallTime) -> Message {
    const SHOWN: usize = 10;
    let shown = titles.iter().skip(titles.len().saturating_sub(SHOWN));
    let mut lines: Vec<String> = shown.map(|title| format!("- {title}")).collect();
    if titles.len() > SHOWN {
        lines.insert(0, format!("- {} more before those below", titles.len() - SHOWN));
    }
    Message {
        event: "summary".into(),
        tone: Tone::Neutral,
        title: format!("{} messages since {from} could not be sent", titles.len()),
        app: None,
        text: Some(lines.join("\n")),
        facts: vec![],
        output: vec![],
        at,
    }
}

/// What a forge is told of a deployment's end; `None`: nothing.
pub fn commit_state(ended: &Ended) -> (CommitState, String) {
    let took = ended.took.map(|took| format!(" in {}", Span(took))).unwrap_or_default();
    let step = ended.failed.map(|phase| format!(" in {phase}")).unwrap_or_default();
    match ended.status {
        DeployStatus::Success => (CommitState::Success, format!("live{took}")),
        DeployStatus::Failed if ended.failed.is_none_or(|phase| phase < Phase::Migrate) => {
            (CommitState::Failure, format!("failed{step}, nothing changed"))
        }
        DeployStatus::Failed => (CommitState::Failure, format!("failed{step}")),
        DeployStatus::RolledBack => (CommitState::Failure, format!("failed{step}, rolled back")),
        DeployStatus::RollbackFailed => (CommitState::Error, format!("failed{step}, and the rollback failed")),
        other => (CommitState::Error, other.to_string().replace('_', " ")),
    }
}

#[cfg(test)]
#[path = "wording/tests.rs"]
mod tests;
