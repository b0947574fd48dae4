//! GitHub's webhooks: `push`, `workflow_run` and `ping`.
//!
//! Only the fields a decision needs are read, borrowed from the body. Line: whether an event means "deploy this commit"
//! for an app; who signed it was settled before.

use super::{AppTrigger, Decision, Refusal, RequestHead, bad_json, commit, delivery, gather, shown};
use crate::base::CommitId;
use crate::config::TriggerEvent;
use crate::control::Trigger;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::borrow::Cow;

/// The header that proves who sent a delivery.
pub(super) fn signature<'a>(head: &RequestHead<'a>) -> Option<&'a str> {
    head.header("X-Hub-Signature-256")
}

/// A delivery of GitHub's: its id and what happened.
pub(super) struct Sent<'a> {
    id: Option<String>,
    event: Event<'a>,
}

enum Event<'a> {
    Ping,
    Push(Push<'a>),
    WorkflowRun(Finished<'a>),
    Other(&'a str),
}

#[derive(Deserialize)]
struct Push<'a> {
    #[serde(borrow, rename = "ref")]
    reference: Cow<'a, str>,
    #[serde(borrow)]
    after: Cow<'a, str>,
    #[serde(default)]
    deleted: bool,
    #[serde(borrow)]
    repository: Option<Repository<'a>>,
}

#[derive(Deserialize)]
struct Finished<'a> {
    #[serde(borrow)]
    action: Cow<'a, str>,
    #[serde(borrow)]
    workflow_run: Run<'a>,
    #[serde(borrow)]
    workflow: Option<Workflow<'a>>,
    #[serde(borrow)]
    repository: Repository<'a>,
}

#[derive(Deserialize)]
struct Run<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow)]
    conclusion: Option<Cow<'a, str>>,
    #[serde(borrow)]
    head_branch: Option<Cow<'a, str>>,
    #[serde(borrow)]
    head_sha: Cow<'a, str>,
    #[serde(borrow)]
    head_repository: Option<Repository<'a>>,
}

#[derive(Deserialize)]
struct Workflow<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Repository<'a> {
    #[serde(borrow)]
    full_name: Cow<'a, str>,
}

/// Reads a delivery that is known to be genuine.
pub(super) fn read<'a>(head: &RequestHead<'a>, json: &'a [u8]) -> Result<Sent<'a>, Refusal> {
    let id = head.header("X-GitHub-Delivery").map(checked_id).transpose()?;
    let name =
        head.header("X-GitHub-Event").ok_or_else(|| Refusal::new(400, "the header X-GitHub-Event is missing"))?;
    let event = match name {
        "push" => serde_json::from_slice(json).map(Event::Push),
        "workflow_run" => serde_json::from_slice(json).map(Event::WorkflowRun),
        "ping" => serde_json::from_slice(json).map(|_: IgnoredAny| Event::Ping),
        other => serde_json::from_slice(json).map(|_: IgnoredAny| Event::Other(other)),
    };
    Ok(Sent { id, event: event.map_err(|error| bad_json(&error))? })
}

/// Delivery ids are kept for a long time: what is kept is bounded.
fn checked_id(id: &str) -> Result<String, Refusal> {
    let good = (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    match good {
        true => Ok(id.to_owned()),
        false => Err(Refusal::new(400, "the header X-GitHub-Delivery is not a delivery id")),
    }
}

impl Sent<'_> {
    /// What the apps whose secret signed this make of it.
    pub(super) fn decide(self, apps: &[&AppTrigger]) -> Result<Decision, Refusal> {
        let Sent { id, event } = self;
        Ok(match event {
            Event::Ping => Decision::Ignore("ping: the hook reaches pintle and its secret fits".to_owned()),
            Event::Other(name) => Decision::Ignore(format!("the event {} deploys nothing", shown(name))),
            Event::Push(push) => push.decide(id, apps)?,
            Event::WorkflowRun(run) => run.decide(id, apps)?,
        })
    }
}

impl Push<'_> {
    fn decide(self, id: Option<String>, apps: &[&AppTrigger]) -> Result<Decision, Refusal> {
        let Some(branch) = self.reference.strip_prefix("refs/heads/") else {
            let why = match self.reference.strip_prefix("refs/tags/") {
                Some(tag) => format!("the tag {} deploys nothing, only a branch does", shown(tag)),
                None => format!("{} is not a branch", shown(&self.reference)),
            };
            return Ok(Decision::Ignore(why));
        };
        let nothing = !self.after.is_empty() && self.after.bytes().all(|digit| digit == b'0');
        if self.deleted || nothing {
            return Ok(Decision::Ignore(format!("the branch {} was deleted", shown(branch))));
        }
        let pushed = commit(&self.after)?;
        let repository = self.repository.as_ref().map(|repository| repository.full_name.as_ref());
        Ok(gather(apps, repository, delivery(id, Trigger::Webhook, "push"), |app| {
            deploys_on(app, TriggerEvent::Push)?;
            is_its_branch(app, branch)?;
            Ok(pushed.clone())
        }))
    }
}

impl Finished<'_> {
    fn decide(self, id: Option<String>, apps: &[&AppTrigger]) -> Result<Decision, Refusal> {
        let built = commit(&self.workflow_run.head_sha)?;
        let delivery = delivery(id, Trigger::Webhook, "workflow_run");
        Ok(gather(apps, Some(&self.repository.full_name), delivery, |app| self.commit_for(app, &built)))
    }

    fn commit_for(&self, app: &AppTrigger, built: &CommitId) -> Result<CommitId, String> {
        let run = &self.workflow_run;
        deploys_on(app, TriggerEvent::WorkflowRun)?;
        self.is_its_workflow(app)?;
        if self.action != "completed" {
            return Err(format!("the workflow run is {}, not completed", shown(&self.action)));
        }
        let conclusion = run.conclusion.as_deref().unwrap_or("null");
        if conclusion != "success" {
            return Err(format!("the workflow run ended with {}, not success", shown(conclusion)));
        }
        // A fork's pull request may come from a branch of the same name: its runs carry the same head_branch.
        let home = run.head_repository.as_ref().map(|repository| repository.full_name.as_ref());
        if !home.is_some_and(|home| home.eq_ignore_ascii_case(&self.repository.full_name)) {
            return Err("the workflow ran on a fork's commit".to_owned());
        }
        if !app.workflow_events.iter().any(|allowed| *allowed == run.event) {
            return Err(format!("the workflow was started by {}, which does not deploy", shown(&run.event)));
        }
        is_its_branch(app, run.head_branch.as_deref().unwrap_or_default())?;
        Ok(built.clone())
    }

    fn is_its_workflow(&self, app: &AppTrigger) -> Result<(), String> {
        let Some(wanted) = app.workflow.as_deref() else { return Ok(()) };
        let of_run = self.workflow_run.name.as_deref();
        let of_workflow = self.workflow.as_ref().and_then(|workflow| workflow.name.as_deref());
        match of_workflow == Some(wanted) || of_run == Some(wanted) {
            true => Ok(()),
            false => {
                let other = of_workflow.or(of_run).unwrap_or_default();
                Err(format!("the workflow {} is not {}", shown(other), shown(wanted)))
            }
        }
    }
}

fn deploys_on(app: &AppTrigger, event: TriggerEvent) -> Result<(), String> {
    match app.on.first() {
        Some(wanted) if *wanted == event => Ok(()),
        Some(TriggerEvent::Push) => Err("it is deployed on push, not after a workflow run".to_owned()),
        Some(TriggerEvent::WorkflowRun) => Err("it is deployed after a workflow run, not on push".to_owned()),
        Some(_) => Err("another event deploys it".to_owned()),
        None => Err("no event deploys it".to_owned()),
    }
}

fn is_its_branch(app: &AppTrigger, branch: &str) -> Result<(), String> {
    match app.branch == branch {
        true => Ok(()),
        false => Err(format!("the branch {} is not {}", shown(branch), shown(&app.branch))),
    }
}
