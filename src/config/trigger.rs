//! Reads `[trigger]`: which signed events deploy an application.

use super::read::{Section, one_of};
use super::secret::secrets;
use super::units::{self, Misread};
use super::{Forge, Trigger, TriggerEvent};
use std::time::Duration;

/// The forges by the names they are configured with.
pub(super) const FORGES: [(&str, Forge); 7] = [
    ("github", Forge::Github),
    ("gitlab", Forge::Gitlab),
    ("gitea", Forge::Gitea),
    ("forgejo", Forge::Forgejo),
    ("gogs", Forge::Gogs),
    ("bitbucket", Forge::Bitbucket),
    ("generic", Forge::Generic),
];

/// The events by the names they are configured with.
pub(super) const EVENTS: [(&str, TriggerEvent); 6] = [
    ("push", TriggerEvent::Push),
    ("tag", TriggerEvent::Tag),
    ("workflow_run", TriggerEvent::WorkflowRun),
    ("pipeline", TriggerEvent::Pipeline),
    ("release", TriggerEvent::Release),
    ("registry_package", TriggerEvent::RegistryPackage),
];

/// What holds without `[trigger]`: no webhook is accepted.
pub(super) fn none(derived: Option<String>) -> Trigger {
    Trigger {
        forge: Forge::Github,
        secrets: Vec::new(),
        on: vec![TriggerEvent::Push],
        workflow: None,
        workflow_events: workflow_events(),
        repository: derived,
        poll: None,
        rate_limit: None,
        window: None,
        approval: false,
    }
}

/// Reads the table; `derived` is the repository as the source names it. What was wrong is on the sheet.
pub(super) fn read(trigger: &Section<'_>, derived: Option<String>) -> Trigger {
    let workflow = trigger.line("workflow");
    let read = Trigger {
        forge: trigger.word("forge", &FORGES).unwrap_or(Forge::Github),
        secrets: secrets(trigger, "secret"),
        on: read_events(trigger, workflow.is_some()),
        workflow_events: trigger.list("workflow_events", event_name).unwrap_or_else(workflow_events),
        workflow,
        repository: trigger.parsed("repository", repository).or(derived),
        poll: trigger.parsed("poll", interval),
        rate_limit: trigger.parsed("rate_limit", units::rate),
        window: trigger.parsed("window", units::window),
        approval: trigger.boolean("approval").unwrap_or(false),
    };
    read_what_is_to_come(trigger, &read);
    read_poll(trigger, &read);
    let is_polled = read.poll.is_some_and(|interval| !interval.is_zero());
    if !trigger.has("secret") && is_polled {
        // Behind NAT that is how it is meant.
    } else if !trigger.has("secret") {
        trigger.notice("secret", "is missing: no webhook is accepted for this application");
    } else if read.repository.is_none() {
        trigger
            .notice("repository", "cannot be derived from git: every repository that signs with the secret may deploy");
    }
    read
}

/// Who asks a forge more often than this is a nuisance.
const FREQUENT: Duration = Duration::from_secs(30);

fn workflow_events() -> Vec<String> {
    vec!["push".into(), "workflow_dispatch".into()]
}

fn read_events(trigger: &Section<'_>, workflow: bool) -> Vec<TriggerEvent> {
    let default = if workflow { TriggerEvent::WorkflowRun } else { TriggerEvent::Push };
    let Some(on) = trigger.list("on", |text| one_of(&EVENTS, text)) else {
        return vec![default];
    };
    let Some(first) = on.first().copied() else {
        if trigger.value("on").and_then(toml::Value::as_array).is_some_and(Vec::is_empty) {
            trigger.problem(
                "on",
                "names no event",
                "write [\"push\"] or [\"workflow_run\"]; leave secret out for no webhooks",
            );
        }
        return vec![default];
    };
    if on.iter().any(|event| *event != first) {
        trigger.notice("on", "names both events, which would deploy each commit twice: the first one counts");
    }
    match first {
        TriggerEvent::Push if workflow => {
            trigger.notice("workflow", "is not waited for: on = [\"push\"] deploys as soon as a push arrives");
        }
        TriggerEvent::WorkflowRun if !trigger.has("workflow") => {
            trigger.notice("workflow", "is missing: any workflow that succeeds on the branch deploys");
        }
        _ => {}
    }
    vec![first]
}

/// `poll`: a span, or "off" for none at all, which is zero.
fn interval(text: &str) -> Result<Duration, Misread> {
    match text {
        "off" => Ok(Duration::ZERO),
        text => match units::duration(text)? {
            Duration::ZERO => Err(Misread::new("is no time at all", r#"write a span as in "5m", or "off""#)),
            span => Ok(span),
        },
    }
}

/// What a look at the branch cannot know.
fn read_poll(trigger: &Section<'_>, read: &Trigger) {
    let Some(interval) = read.poll.filter(|interval| !interval.is_zero()) else { return };
    let by_ci = read.on.iter().any(|event| matches!(event, TriggerEvent::WorkflowRun | TriggerEvent::Pipeline));
    if by_ci {
        trigger.notice("poll", "deploys the branch's tip whether its CI passed or not; leave it out to wait for CI");
    } else if read.on.iter().any(|event| *event != TriggerEvent::Push) {
        trigger
            .notice("poll", "deploys the branch's tip, also between the events in on; leave it out to wait for them");
    }
    if interval < FREQUENT {
        trigger.notice("poll", "is short: forges slow down or shut out who asks more often than every 30s");
    }
}

fn read_what_is_to_come(trigger: &Section<'_>, read: &Trigger) {
    if read.forge != Forge::Github {
        trigger.not_active("forge", "webhooks of forges other than github");
    }
    trigger.not_active("rate_limit", "the limit of deploys");
    trigger.not_active("window", "deploy windows");
    trigger.not_active("approval", "approvals");
}

fn event_name(text: &str) -> Result<String, Misread> {
    let good = !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    if good {
        Ok(text.into())
    } else {
        Err(Misread::new("is not an event's name", r#"write it as the forge does: "push""#))
    }
}

fn repository(text: &str) -> Result<String, Misread> {
    let part = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
    };
    let good = text.split('/').count() >= 2 && text.split('/').all(part);
    if good { Ok(text.into()) } else { Err(Misread::new("is not a repository's name", r#"write "OWNER/NAME""#)) }
}
