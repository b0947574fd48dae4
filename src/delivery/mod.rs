//! A request's head and bytes in; accept, ignore with a reason, or refuse out.
//!
//! [`decide`] reads as the story: which apps the path means, whose secret proves the sender, what the forge tells, what
//! each app makes of it. `forge` is what every forge's file is asked (`github`, `gitlab`, `gitea` with its kin,
//! `bitbucket`, `generic`; `deploy_body` for scripts), `happening` the words they share and every reason for not
//! deploying, `signature` the arithmetic of proofs, `payload` finds the JSON. Line: no secret is read and no connection
//! answered here, and what is known already (duplicates, older commits) is the daemon's to say.

mod bitbucket;
mod deploy_body;
mod forge;
mod generic;
mod gitea;
mod github;
mod gitlab;
mod happening;
mod payload;
pub mod signature;

#[cfg(test)]
mod tests;

use crate::base::{AppName, WallTime};
use crate::config::{self, Forge, Generic, TriggerEvent};
use crate::control::{Delivery, Trigger, Want, Wanted};
use forge::{Proof, Sent, Told};
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
    /// How a sender of one's own signs and what it sends; of the forge `generic` only.
    #[serde(default)]
    pub generic: Option<Generic>,
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
            generic: app.trigger.generic.clone(),
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
    /// When it came, by this machine's clock: some signatures are of a time.
    pub now: WallTime,
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
    /// Genuine, and nothing is to be done.
    Ignore(Ignored),
    /// Not to be acted on.
    Refuse(Refusal),
}

/// A genuine delivery that nothing is to be done about.
#[derive(Debug, Clone, PartialEq)]
pub struct Ignored {
    /// What it was, without wants, and `ignored` with a sentence for whoever reads the forge's list of deliveries.
    pub delivery: Delivery,
    /// The apps whose secret signed it and whose repository it is about; none when it is about another one.
    pub apps: Vec<AppName>,
}

/// The delivery id of the ping by which `pintle check` looks whether the listener hears us.
pub const OWN_PING: &str = "pintle-check";

impl Ignored {
    /// Whether it is our own question whether all is well: answered as any ping, and not worth a line anywhere. It
    /// bears our secret, so nobody else hides behind it.
    pub fn is_own_ping(&self) -> bool {
        self.delivery.id.as_deref() == Some(OWN_PING) && self.delivery.event == "ping"
    }
    /// Why nothing is to be done.
    pub fn why(&self) -> &str {
        self.delivery.ignored.as_deref().unwrap_or_default()
    }
}

/// Why a request is not acted on, in HTTP's terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// 400, 401, 404, 415 or 422.
    pub status: u16,
    /// A sentence for the sender.
    pub message: String,
    /// Whether the signature fitted: no stranger can cause it, and it deserves a line in the log.
    pub proven: bool,
}

impl Refusal {
    fn new(status: u16, message: impl Into<String>) -> Refusal {
        Refusal { status, message: message.into(), proven: false }
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
    let sent = Sent { body, format: Format::of(head.header("Content-Type"))? };
    let apps = signed_by(meant, head, &sent)?;
    let json = sent.json();
    let told = match &json {
        Ok(json) => read(&apps, head, json),
        Err(refusal) => Err(refusal.clone()),
    };
    let told = told.map_err(|refusal| Refusal { proven: true, ..refusal })?;
    Ok(settle(told, trigger_of(head.door), &apps))
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

/// The apps whose secret signed a request; never none, and all read it alike.
fn signed_by<'a>(
    meant: Vec<&'a AppTrigger>,
    head: &RequestHead<'_>,
    sent: &Sent<'_>,
) -> Result<Vec<&'a AppTrigger>, Refusal> {
    let (mut signed, mut untimely) = (Vec::new(), None);
    for app in meant {
        let proof = match head.door {
            Door::Deploy { .. } => deploy_body::proof(app, head, sent),
            Door::Webhook { .. } => forge::proof(app, head, sent),
        };
        match proof {
            Proof::Fits => signed.push(app),
            Proof::Untimely(why) => untimely = Some(why),
            Proof::Fails => {}
        }
    }
    let first = match (signed.first(), untimely) {
        (Some(first), _) => *first,
        (None, Some(why)) => return Err(Refusal { proven: true, ..Refusal::new(401, why) }),
        (None, None) => return Err(unsigned()),
    };
    if matches!(head.door, Door::Webhook { .. }) {
        signed.retain(|app| app.forge == first.forge && app.generic == first.generic);
    }
    Ok(signed)
}

fn read<'a>(apps: &[&AppTrigger], head: &RequestHead<'_>, json: &'a [u8]) -> Result<Told<'a>, Refusal> {
    let json = std::str::from_utf8(json).map_err(|_| Refusal::new(400, "the body is not UTF-8"))?;
    if !json.trim_start().starts_with('{') {
        return Err(Refusal::new(400, "the body is not a JSON object"));
    }
    match (head.door, apps.first()) {
        (Door::Deploy { .. }, _) => deploy_body::read(json),
        (Door::Webhook { .. }, Some(app)) => forge::read(app, head, json),
        (Door::Webhook { .. }, None) => Err(unsigned()),
    }
}

fn trigger_of(door: Door<'_>) -> Trigger {
    match door {
        Door::Webhook { .. } => Trigger::Webhook,
        Door::Deploy { .. } => Trigger::Deploy,
    }
}

fn unsigned() -> Refusal {
    Refusal::new(401, "bad or missing signature")
}

/// Asks each app of the repository: a delivery of all that want something, or the reasons why none does.
fn settle(told: Told<'_>, trigger: Trigger, apps: &[&AppTrigger]) -> Decision {
    let mut delivery = Delivery::new(told.id.clone(), trigger, told.event.clone());
    let repository = told.repository.as_deref();
    let ours: Vec<&AppTrigger> = apps.iter().copied().filter(|app| app.is_of(repository)).collect();
    let mut reasons = Vec::new();
    for app in &ours {
        match wanted_by(app, &told) {
            Ok(wanted) => delivery.wants.push(Want { app: app.app.clone(), wanted }),
            Err(why) if ours.len() == 1 => reasons.push(why),
            Err(why) => reasons.push(format!("{}: {why}", app.app)),
        }
    }
    if !delivery.wants.is_empty() {
        return Decision::Accept(delivery);
    }
    let why = match (ours.is_empty(), &told.happenings[..]) {
        // A reason that has nothing to do with the app is said once.
        (_, [happening::Happening::Nothing(why)]) => why.clone(),
        (true, _) => {
            format!("no app that this secret belongs to is deployed from {}", shown(repository.unwrap_or_default()))
        }
        (false, _) => reasons.join("; "),
    };
    delivery.ignored = Some(bounded(why));
    Decision::Ignore(Ignored { delivery, apps: ours.iter().map(|app| app.app.clone()).collect() })
}

/// What an app is to become by what is told; of several that concern it the last counts.
fn wanted_by(app: &AppTrigger, told: &Told<'_>) -> Result<Wanted, String> {
    // More than these say nothing that the first did not.
    const REASONS: usize = 3;
    if let Some(wanted) = told.happenings.iter().rev().find_map(|happening| happening.wanted_by(app).ok()) {
        return Ok(wanted);
    }
    let reasons: Vec<String> =
        told.happenings.iter().filter_map(|happening| happening.wanted_by(app).err()).take(REASONS).collect();
    Err(if reasons.is_empty() { "it tells of no change".to_owned() } else { reasons.join(", ") })
}

/// A reason is kept with the delivery: what is kept is bounded.
fn bounded(mut why: String) -> String {
    const LONGEST: usize = 600;
    if let Some((end, _)) = why.char_indices().nth(LONGEST) {
        why.truncate(end);
        why.push('…');
    }
    why
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
