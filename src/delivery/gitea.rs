//! Gitea, Forgejo and Gogs: one family, which imitates GitHub and signs in headers of its own.
//!
//! The signature is bare hex over the JSON, also where the JSON is sent in a form. A hook without a secret sends an
//! empty one.

use super::forge::{self, Proof, Read, Sent, Told, some_commit};
use super::github::{self, OneRun, Repository};
use super::happening::{Happening, Run, State};
use super::{AppTrigger, Refusal, RequestHead, bad_json, shown, signature};
use crate::config::{Forge, TriggerEvent};
use serde::Deserialize;
use serde_json::from_str;
use std::borrow::Cow;

/// A Forgejo hook of the type Gitea sends Gitea's headers only; every member of the family sends its parent's too.
pub(super) fn proof(app: &AppTrigger, head: &RequestHead<'_>, sent: &Sent<'_>) -> Proof {
    let headers: &[&str] = match app.forge {
        Forge::Forgejo => &["X-Forgejo-Signature", "X-Gitea-Signature"],
        Forge::Gogs => &["X-Gogs-Signature"],
        _ => &["X-Gitea-Signature"],
    };
    let given = headers.iter().find_map(|header| head.header(header));
    let fits = |given: &str| sent.json().is_ok_and(|json| signature::hex_fits(given, &json, &app.secrets));
    Proof::when(given.is_some_and(|given| !given.is_empty() && fits(given)))
}

pub(super) fn read<'a>(head: &RequestHead<'_>, json: &'a str) -> Result<Told<'a>, Refusal> {
    let id = forge::delivery_id(head, &["X-Forgejo-Delivery", "X-Gitea-Delivery", "X-Gogs-Delivery"])?;
    let event = forge::event_name(head, &["X-Gitea-Event", "X-Forgejo-Event", "X-Gogs-Event"])?;
    let read = match event {
        "push" => github::push_of_gitea(json),
        "create" => create(json),
        "release" => github::release(json),
        "workflow_run" => github::workflow_run(json, is_forks),
        "action_run_success" => action_run(json, State::Succeeded),
        "action_run_failure" => action_run(json, State::Ended(Cow::Borrowed("failure"))),
        other => forge::other(other),
    };
    let (repository, happenings) = read.map_err(|error| bad_json(&error))?;
    Ok(Told { id, event: event.to_owned(), repository, happenings })
}

/// Gitea names no head repository: then a pull request's run is taken for a fork's.
fn is_forks(run: &OneRun<'_>, repository: &str) -> bool {
    match &run.head_repository {
        Some(home) => !home.full_name.eq_ignore_ascii_case(repository),
        None => run.event.starts_with("pull_request"),
    }
}

#[derive(Deserialize)]
struct Create<'a> {
    #[serde(borrow, rename = "ref")]
    reference: Cow<'a, str>,
    #[serde(borrow)]
    ref_type: Cow<'a, str>,
    #[serde(borrow)]
    repository: Option<Repository<'a>>,
}

/// A new branch is told by `push` too; a new tag by Gogs only here.
fn create(json: &str) -> Read<'_> {
    let told: Create<'_> = from_str(json)?;
    let happening = match told.ref_type.as_ref() {
        "tag" => Happening::Tagged { tag: told.reference, commit: None },
        kind => Happening::Nothing(format!("the creation of a {} deploys nothing", shown(kind))),
    };
    Ok((told.repository.map(|repository| repository.full_name), vec![happening]))
}

#[derive(Deserialize)]
struct ActionRun<'a> {
    #[serde(borrow)]
    run: OneActionRun<'a>,
}

#[derive(Deserialize)]
struct OneActionRun<'a> {
    #[serde(borrow)]
    repository: Option<Repository<'a>>,
    /// The workflow's file: Forgejo has no other name for it.
    #[serde(borrow)]
    workflow_id: Option<Cow<'a, str>>,
    /// A branch or tag by its short name, `#7` for a pull request.
    #[serde(borrow)]
    prettyref: Option<Cow<'a, str>>,
    #[serde(borrow)]
    commit_sha: Cow<'a, str>,
    #[serde(borrow)]
    event: Option<Cow<'a, str>>,
    #[serde(default)]
    is_fork_pull_request: bool,
}

/// Forgejo's word for a workflow run that is over.
fn action_run<'a>(json: &'a str, state: State<'a>) -> Read<'a> {
    let run = from_str::<ActionRun<'_>>(json)?.run;
    let happening = Happening::Ran(Run {
        event: TriggerEvent::WorkflowRun,
        names: run.workflow_id.into_iter().collect(),
        state,
        foreign: run.is_fork_pull_request.then_some("on a fork's commit"),
        started_by: run.event.or(Some(Cow::Borrowed(""))),
        branch: run.prettyref,
        commit: some_commit(&run.commit_sha)?,
    });
    Ok((run.repository.map(|repository| repository.full_name), vec![happening]))
}
