//! Reads `[trigger]`: which signed events deploy an application.

use super::read::{Section, one_of};
use super::secret::secrets;
use super::units::{self, Misread};
use super::{Forge, Generic, Trigger, TriggerEvent};
use super::{generic, source};
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

/// The events that a forge can send and that say which commit is meant. The first one is its default.
fn events_of(forge: Forge) -> &'static [TriggerEvent] {
    use TriggerEvent::{Pipeline, Push, RegistryPackage, Release, Tag, WorkflowRun};
    match forge {
        Forge::Github => &[Push, Tag, WorkflowRun, Release, RegistryPackage],
        Forge::Gitlab => &[Push, Tag, Pipeline, Release],
        Forge::Gitea | Forge::Forgejo => &[Push, Tag, WorkflowRun, Release],
        Forge::Gogs => &[Push, Tag, Release],
        Forge::Bitbucket => &[Push, Tag, Pipeline],
        Forge::Generic => &[Push, Tag],
    }
}

/// What the forge calls the end of a run of its CI; `None`: it tells of none.
fn end_of_ci(forge: Forge) -> Option<TriggerEvent> {
    let is_ci = |event: &&TriggerEvent| matches!(event, TriggerEvent::WorkflowRun | TriggerEvent::Pipeline);
    events_of(forge).iter().find(is_ci).copied()
}

/// Which runs count where nothing is said: those of a push, and those that a person started.
fn workflow_events(forge: Forge) -> Vec<String> {
    match forge {
        Forge::Gitlab => vec!["push".into(), "web".into()],
        _ => vec!["push".into(), "workflow_dispatch".into()],
    }
}

/// What holds without `[trigger]`: no webhook is accepted.
pub(super) fn none(git: &str) -> Trigger {
    let forge = Forge::Github;
    Trigger {
        forge,
        secrets: Vec::new(),
        on: vec![TriggerEvent::Push],
        workflow: None,
        workflow_events: workflow_events(forge),
        repository: repository_of(git, forge),
        generic: None,
        poll: None,
        rate_limit: None,
        window: None,
        approval: false,
    }
}

/// Reads the table; `git` is the source's address. What was wrong is on the sheet.
pub(super) fn read(trigger: &Section<'_>, git: &str) -> Trigger {
    let forge = trigger.word("forge", &FORGES).unwrap_or(Forge::Github);
    let workflow = trigger.line("workflow");
    let on = read_event(trigger, forge, workflow.is_some());
    let read = Trigger {
        forge,
        secrets: secrets(trigger, "secret"),
        on: vec![on],
        workflow_events: read_workflow_events(trigger, forge, on),
        workflow,
        repository: trigger.parsed("repository", repository).or_else(|| repository_of(git, forge)),
        generic: read_generic(trigger, forge),
        poll: trigger.parsed("poll", interval),
        rate_limit: trigger.parsed("rate_limit", units::rate),
        window: trigger.parsed("window", units::window),
        approval: trigger.boolean("approval").unwrap_or(false),
    };
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
    if forge == Forge::Gitlab && read.secrets.iter().any(|secret| is_damaged_key(secret.expose())) {
        let advice = "copy the signing token from GitLab's form once more: whsec_ and 44 characters";
        trigger.problem("secret", "begins with whsec_, and the rest is not base64", advice);
    }
    read
}

/// Who asks a forge more often than this is a nuisance.
const FREQUENT: Duration = Duration::from_secs(30);

fn is_damaged_key(secret: &[u8]) -> bool {
    use base64::Engine;
    let encoded = secret.strip_prefix(b"whsec_");
    encoded.is_some_and(|encoded| {
        let key = base64::engine::general_purpose::STANDARD.decode(encoded.trim_ascii());
        key.map_or(true, |key| key.is_empty())
    })
}

fn read_event(trigger: &Section<'_>, forge: Forge, workflow: bool) -> TriggerEvent {
    let default = end_of_ci(forge).filter(|_| workflow).unwrap_or(TriggerEvent::Push);
    if workflow && end_of_ci(forge).is_none() {
        let wrong = format!("is of no use: {} tells of no run of a CI", word(&FORGES, forge));
        trigger.problem("workflow", wrong, "leave it out, and let the CI itself ask: POST /deploy, signed");
    }
    let Some(on) = trigger.list("on", |text| sent_by(forge, text)) else {
        return default;
    };
    let Some(first) = on.first().copied() else {
        if trigger.value("on").and_then(toml::Value::as_array).is_some_and(Vec::is_empty) {
            let advice = format!("write on = [\"{}\"]; leave secret out for no webhooks", word(&EVENTS, default));
            trigger.problem("on", "names no event", advice);
        }
        return default;
    };
    if on.iter().any(|event| *event != first) {
        trigger
            .notice("on", "names several events, which would deploy each commit several times: the first one counts");
    }
    let ci = end_of_ci(forge);
    if workflow && ci.is_some() && Some(first) != ci {
        let text = format!("is not waited for: on = [\"{}\"] deploys whatever a CI says", word(&EVENTS, first));
        trigger.notice("workflow", text);
    } else if Some(first) == ci && !trigger.has("workflow") {
        trigger.notice("workflow", "is missing: any run of the forge's CI that succeeds on the branch deploys");
    }
    first
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

/// An event by its name, if the forge can send it.
fn sent_by(forge: Forge, text: &str) -> Result<TriggerEvent, Misread> {
    let event = one_of(&EVENTS, text)?;
    if events_of(forge).contains(&event) {
        return Ok(event);
    }
    let is_ci = matches!(event, TriggerEvent::WorkflowRun | TriggerEvent::Pipeline);
    let advice = match end_of_ci(forge).filter(|_| is_ci) {
        Some(ci) => format!("write {:?}, its name for the end of a CI run", word(&EVENTS, ci)),
        None => {
            let known: Vec<String> =
                events_of(forge).iter().map(|event| format!("{:?}", word(&EVENTS, *event))).collect();
            format!("write one of {}", known.join(", "))
        }
    };
    Err(Misread::new(format!("is not an event of {}", word(&FORGES, forge)), advice))
}

fn read_workflow_events(trigger: &Section<'_>, forge: Forge, on: TriggerEvent) -> Vec<String> {
    let given = trigger.list("workflow_events", event_name);
    if given.as_ref().is_some_and(Vec::is_empty) {
        let advice = "name what may start it, as in [\"push\"], or leave it out";
        trigger.problem("workflow_events", "is empty: no run would ever deploy", advice);
    } else if given.is_some() && (forge == Forge::Bitbucket || Some(on) != end_of_ci(forge)) {
        trigger.notice("workflow_events", "is not looked at: the event that deploys does not say what started it");
    }
    given.unwrap_or_else(|| workflow_events(forge))
}

fn read_generic(trigger: &Section<'_>, forge: Forge) -> Option<Generic> {
    if forge != Forge::Generic {
        if trigger.has("generic") {
            trigger.problem("generic", "is for forge = \"generic\"", "write that forge, or leave the table out");
        }
        return None;
    }
    match trigger.table("generic") {
        Some(table) => generic::read(&table),
        None => {
            trigger
                .missing("generic", "add [trigger.generic] with header and commit: how it signs, where its facts are");
            None
        }
    }
}

/// The repository as the forge names it, from the source's address: GitLab has groups within groups, everybody else an
/// owner and a name.
fn repository_of(git: &str, forge: Forge) -> Option<String> {
    let parts = source::path_parts(git)?;
    let from = match forge {
        Forge::Gitlab => 0,
        _ => parts.len().checked_sub(2)?,
    };
    Some(parts.get(from..)?.join("/")).filter(|_| parts.len() >= 2)
}

fn word<T: PartialEq + Copy>(words: &[(&'static str, T)], value: T) -> &'static str {
    words.iter().find(|(_, known)| *known == value).map_or("", |(word, _)| word)
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
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'~'))
    };
    let good = text.split('/').count() >= 2 && text.split('/').all(part);
    if good { Ok(text.into()) } else { Err(Misread::new("is not a repository's name", r#"write "OWNER/NAME""#)) }
}

#[cfg(test)]
mod tests;
