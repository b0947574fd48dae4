//! A request's head and bytes in; accept, ignore with a reason, or refuse out.
//!
//! [`decide`] reads as the story: which apps the path means, which of their secrets signed the body, what the event
//! says, which commit each app wants of it. `signature` proves the origin, `payload` finds the JSON, `github` and its
//! siblings to come read one forge's events each, `deploy_body` reads what scripts send to `/deploy`. Line: no secret is
//! read and no connection answered here, and what is known already (duplicates, older commits) is the daemon's to say.

mod deploy_body;
mod github;
mod payload;
pub mod signature;

#[cfg(test)]
mod tests;

use crate::base::{AppName, CommitId};
use crate::config::{self, Forge, TriggerEvent};
use crate::control::{Delivery, Trigger, Want, Wanted};
use payload::Format;
use serde::{Deserialize, Serialize};
use signature::Key;

/// Who may trigger one app, and by what: all that the listener is told about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AppTrigger {
    /// Its name.
    pub app: AppName,
    /// Whose webhooks it takes.
    pub forge: Forge,
    /// Any of them may have signed; none: nothing can trigger it from outside.
    pub secrets: Vec<Key>,
    /// The event that deploys; of several the first counts.
    pub on: Vec<TriggerEvent>,
    /// The workflow that must have succeeded; `None`: any.
    pub workflow: Option<String>,
    /// Which events may have started that workflow.
    pub workflow_events: Vec<String>,
    /// `owner/name`; `None`: whatever its secret signed.
    pub repository: Option<String>,
    /// The only branch that is deployed.
    pub branch: String,
}

impl AppTrigger {
    /// What the listener has to know of a configured app.
    pub fn of(app: &config::App) -> AppTrigger {
        AppTrigger {
            app: app.name.clone(),
            forge: app.trigger.forge,
            secrets: app.trigger.secrets.iter().map(|secret| Key(secret.expose().to_vec())).collect(),
            on: app.trigger.on.clone(),
            workflow: app.trigger.workflow.clone(),
            workflow_events: app.trigger.workflow_events.clone(),
            repository: app.trigger.repository.clone(),
            branch: app.source.branch.clone(),
        }
    }

    /// Whether an event of `repository` can be meant for this app; what is not known on either side does not exclude.
    fn is_of(&self, repository: Option<&str>) -> bool {
        match (&self.repository, repository) {
            (Some(ours), Some(theirs)) => ours.eq_ignore_ascii_case(theirs),
            _ => true,
        }
    }
}

/// Where a request came in, and what its path named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door<'a> {
    /// A forge's webhook: `/webhook`, `/webhook/APP`, `/webhooks/FORGE`, `/`.
    Webhook {
        /// The app in the path.
        app: Option<&'a str>,
        /// The forge in the path.
        forge: Option<Forge>,
    },
    /// A script's request: `/deploy`, `/deploy/APP`.
    Deploy {
        /// The app in the path.
        app: Option<&'a str>,
    },
}

/// What is known of a request before its body is looked at.
#[derive(Debug, Clone, Copy)]
pub struct RequestHead<'a> {
    /// Where it came in.
    pub door: Door<'a>,
    /// Its headers, as sent.
    pub headers: &'a [(String, String)],
}

impl<'a> RequestHead<'a> {
    /// The first header of this name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.iter().find(|(header, _)| header.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// What is to be done with a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Genuine, and it wants at least one app deployed.
    Accept(Delivery),
    /// Genuine, and nothing is to be done: a sentence for whoever reads the forge's list of deliveries.
    Ignore(String),
    /// Not to be acted on.
    Refuse(Refusal),
}

/// Why a request is not acted on, in HTTP's terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// 400, 401, 404, 415 or 422.
    pub status: u16,
    /// A sentence for the sender.
    pub message: String,
}

impl Refusal {
    fn new(status: u16, message: impl Into<String>) -> Refusal {
        Refusal { status, message: message.into() }
    }
}

/// What is to be done with a request whose whole body is `body`.
pub fn decide(apps: &[AppTrigger], head: &RequestHead<'_>, body: &[u8]) -> Decision {
    decided(apps, head, body).unwrap_or_else(Decision::Refuse)
}

/// Whether a request with such a head can be acted on at all, said before its body is read: `Err` is 404 or 415.
pub fn may_enter(apps: &[AppTrigger], door: Door<'_>, content_type: Option<&str>) -> Result<(), Refusal> {
    named_by(door, apps)?;
    Format::of(content_type).map(drop)
}

fn decided(apps: &[AppTrigger], head: &RequestHead<'_>, body: &[u8]) -> Result<Decision, Refusal> {
    let meant = named_by(head.door, apps)?;
    let format = Format::of(head.header("Content-Type"))?;
    let signed = signed_by(meant, head, body)?;
    let json = format.json(body)?;
    match (head.door, signed.forge) {
        (Door::Deploy { .. }, _) => deploy_body::read(&json)?.decide(&signed.apps),
        (Door::Webhook { .. }, Forge::Github) => github::read(head, &json)?.decide(&signed.apps),
        (Door::Webhook { .. }, _) => Err(unsigned()),
    }
}

fn named_by<'a>(door: Door<'_>, apps: &'a [AppTrigger]) -> Result<Vec<&'a AppTrigger>, Refusal> {
    let (name, forge) = match door {
        Door::Webhook { app, forge } => (app, forge),
        Door::Deploy { app } => (app, None),
    };
    let meant = |app: &&AppTrigger| {
        name.is_none_or(|name| app.app.as_str() == name) && forge.is_none_or(|forge| app.forge == forge)
    };
    let named: Vec<&AppTrigger> = apps.iter().filter(meant).collect();
    match named.is_empty() && (name.is_some() || forge.is_some()) {
        true => Err(Refusal::new(404, "no such app")),
        false => Ok(named),
    }
}

/// The apps whose secret signed a body, all of one forge.
struct Signed<'a> {
    forge: Forge,
    apps: Vec<&'a AppTrigger>,
}

fn signed_by<'a>(mut apps: Vec<&'a AppTrigger>, head: &RequestHead<'_>, body: &[u8]) -> Result<Signed<'a>, Refusal> {
    apps.retain(|app| {
        let signature = match (head.door, app.forge) {
            (Door::Deploy { .. }, _) => deploy_body::signature(head),
            (Door::Webhook { .. }, Forge::Github) => github::signature(head),
            // The other forges prove themselves in their own ways, each in a file of its own.
            (Door::Webhook { .. }, _) => None,
        };
        signature.is_some_and(|signature| signature::fits(signature, body, &app.secrets))
    });
    let forge = apps.first().ok_or_else(unsigned)?.forge;
    if matches!(head.door, Door::Webhook { .. }) {
        apps.retain(|app| app.forge == forge);
    }
    Ok(Signed { forge, apps })
}

fn unsigned() -> Refusal {
    Refusal::new(401, "bad or missing signature")
}

/// Asks `commit_for` about each app of `repository`: a delivery of all that want one, or the reasons why none does.
fn gather(
    apps: &[&AppTrigger],
    repository: Option<&str>,
    delivery: Delivery,
    commit_for: impl Fn(&AppTrigger) -> Result<CommitId, String>,
) -> Decision {
    let ours: Vec<&AppTrigger> = apps.iter().copied().filter(|app| app.is_of(repository)).collect();
    if ours.is_empty() {
        let theirs = shown(repository.unwrap_or_default());
        return Decision::Ignore(format!("no app that this secret belongs to is deployed from {theirs}"));
    }
    let mut wants = Vec::new();
    let mut reasons = Vec::new();
    for app in &ours {
        match commit_for(app) {
            Ok(commit) => wants.push(Want { app: app.app.clone(), wanted: Wanted::Commit(commit) }),
            Err(why) if ours.len() == 1 => reasons.push(why),
            Err(why) => reasons.push(format!("{}: {why}", app.app)),
        }
    }
    match wants.is_empty() {
        true => Decision::Ignore(reasons.join("; ")),
        false => Decision::Accept(Delivery { wants, ..delivery }),
    }
}

/// A delivery without wants yet.
fn delivery(id: Option<String>, trigger: Trigger, event: &str) -> Delivery {
    Delivery { id, trigger, event: event.to_owned(), wants: Vec::new(), ignored: None }
}

/// A commit as the sender wrote it; hex digits may be capital.
fn commit(text: &str) -> Result<CommitId, Refusal> {
    CommitId::new(text.to_ascii_lowercase())
        .map_err(|_| Refusal::new(400, format!("{} is not a full commit id (40 or 64 hex digits)", shown(text))))
}

fn bad_json(error: &serde_json::Error) -> Refusal {
    Refusal::new(400, format!("the body cannot be read: {error}"))
}

/// An outside string fit for a sentence: quoted, on one line, of bounded length.
fn shown(text: &str) -> String {
    const LONGEST: usize = 80;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}
