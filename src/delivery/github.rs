//! GitHub's webhooks: `push`, `workflow_run`, `release`, `registry_package` and `ping`.
//!
//! The signature is over the body as it was sent. A form has its JSON in `payload`. `gitea` and its kin speak the same
//! dialect and read some events here.

use super::forge::{self, Proof, Read, Sent, Told, commit, some_commit};
use super::happening::{Happening, Run, State};
use super::{AppTrigger, Refusal, RequestHead, bad_json, signature};
use crate::base::CommitId;
use crate::config::TriggerEvent;
use serde::Deserialize;
use serde_json::from_str;
use std::borrow::Cow;

pub(super) fn proof(app: &AppTrigger, head: &RequestHead<'_>, sent: &Sent<'_>) -> Proof {
    let given = head.header("X-Hub-Signature-256");
    Proof::when(given.is_some_and(|given| signature::fits(given, sent.body, &app.secrets)))
}

pub(super) fn read<'a>(head: &RequestHead<'_>, json: &'a str) -> Result<Told<'a>, Refusal> {
    let id = forge::delivery_id(head, &["X-GitHub-Delivery"])?;
    let event = forge::event_name(head, &["X-GitHub-Event"])?;
    let read = match event {
        "push" => push(json),
        "workflow_run" => workflow_run(json, of_another_repository),
        "release" => release(json),
        "registry_package" => registry_package(json),
        "ping" => forge::ping(),
        other => forge::other(other),
    };
    let (repository, happenings) = read.map_err(|error| bad_json(&error))?;
    Ok(Told { id, event: event.to_owned(), repository, happenings })
}

#[derive(Deserialize)]
pub(super) struct Repository<'a> {
    #[serde(borrow)]
    pub full_name: Cow<'a, str>,
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
    head_commit: Option<HeadCommit<'a>>,
    #[serde(borrow)]
    repository: Option<Repository<'a>>,
}

#[derive(Deserialize)]
struct HeadCommit<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
}

fn push(json: &str) -> Read<'_> {
    let push: Push<'_> = from_str(json)?;
    let after = commit(&push.after)?.filter(|_| !push.deleted);
    let happening = match (Happening::of_reference(push.reference, after), push.head_commit) {
        // `after` may be the tag itself, which is an object of its own; the commit it stands for is beside it.
        (Happening::Tagged { tag, .. }, head) => {
            let commit = head.and_then(|head| head.id).map(|id| some_commit(&id)).transpose()?;
            Happening::Tagged { tag, commit }
        }
        (happening, _) => happening,
    };
    Ok((push.repository.map(|repository| repository.full_name), vec![happening]))
}

#[derive(Deserialize)]
struct WorkflowRun<'a> {
    #[serde(borrow)]
    action: Cow<'a, str>,
    #[serde(borrow)]
    workflow_run: OneRun<'a>,
    #[serde(borrow)]
    workflow: Option<Workflow<'a>>,
    #[serde(borrow)]
    repository: Repository<'a>,
}

#[derive(Deserialize)]
pub(super) struct OneRun<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    path: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub event: Cow<'a, str>,
    #[serde(borrow)]
    conclusion: Option<Cow<'a, str>>,
    #[serde(borrow)]
    head_branch: Option<Cow<'a, str>>,
    #[serde(borrow)]
    head_sha: Cow<'a, str>,
    #[serde(borrow)]
    pub head_repository: Option<Repository<'a>>,
}

#[derive(Deserialize)]
struct Workflow<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
}

/// A fork's pull request may come from a branch of the same name: its runs carry the same head_branch.
fn of_another_repository(run: &OneRun<'_>, repository: &str) -> bool {
    !run.head_repository.as_ref().is_some_and(|home| home.full_name.eq_ignore_ascii_case(repository))
}

/// Reads a `workflow_run`; `is_forks` tells from a run and the repository's name whether it ran on a fork's commit.
pub(super) fn workflow_run(json: &str, is_forks: fn(&OneRun<'_>, &str) -> bool) -> Read<'_> {
    let told: WorkflowRun<'_> = from_str(json)?;
    let run = told.workflow_run;
    let is_forks = is_forks(&run, &told.repository.full_name);
    // `.github/workflows/ci.yml`, or `ci.yml@refs/heads/main`: it may be called by its file too.
    let file = run.path.as_deref().and_then(|path| path.split('@').next()?.rsplit('/').next()).map(str::to_owned);
    let workflow = told.workflow.and_then(|workflow| workflow.name);
    let names = [workflow, run.name, file.map(Cow::Owned)].into_iter().flatten();
    let state = match (told.action.as_ref(), run.conclusion) {
        ("completed", Some(conclusion)) if conclusion == "success" => State::Succeeded,
        ("completed", conclusion) => State::Ended(conclusion.unwrap_or(Cow::Borrowed("null"))),
        _ => State::Unfinished(told.action),
    };
    let run = Run {
        event: TriggerEvent::WorkflowRun,
        names: names.filter(|name| !name.is_empty()).collect(),
        state,
        foreign: is_forks.then_some("on a fork's commit"),
        started_by: Some(run.event),
        branch: run.head_branch.or(Some(Cow::Borrowed(""))),
        commit: some_commit(&run.head_sha)?,
    };
    Ok((Some(told.repository.full_name), vec![Happening::Ran(run)]))
}

#[derive(Deserialize)]
struct Release<'a> {
    #[serde(borrow)]
    action: Cow<'a, str>,
    #[serde(borrow)]
    release: OneRelease<'a>,
    #[serde(borrow)]
    repository: Repository<'a>,
}

#[derive(Deserialize)]
struct OneRelease<'a> {
    #[serde(borrow)]
    tag_name: Cow<'a, str>,
    #[serde(default)]
    draft: bool,
    #[serde(default)]
    prerelease: bool,
}

/// Reads a `release`. A prerelease deploys when it becomes a release, which GitHub tells as `released`.
pub(super) fn release(json: &str) -> Read<'_> {
    let told: Release<'_> = from_str(json)?;
    let but = match told.action.as_ref() {
        _ if told.release.draft => Some("is a draft".to_owned()),
        _ if told.release.prerelease => Some("is a prerelease, which does not deploy".to_owned()),
        "published" | "released" => None,
        action => Some(format!("was {}, not published", super::shown(action))),
    };
    Ok((Some(told.repository.full_name), vec![Happening::Released { tag: told.release.tag_name, but }]))
}

#[derive(Deserialize)]
struct RegistryPackage<'a> {
    #[serde(borrow)]
    action: Cow<'a, str>,
    #[serde(borrow)]
    registry_package: Package<'a>,
    #[serde(borrow)]
    repository: Option<Repository<'a>>,
}

#[derive(Deserialize)]
struct Package<'a> {
    #[serde(borrow)]
    package_version: Option<Version<'a>>,
}

#[derive(Deserialize)]
struct Version<'a> {
    #[serde(borrow)]
    target_oid: Option<Cow<'a, str>>,
    #[serde(borrow)]
    container_metadata: Option<Container<'a>>,
}

#[derive(Deserialize)]
struct Container<'a> {
    #[serde(borrow)]
    labels: Option<Labels<'a>>,
}

#[derive(Deserialize)]
struct Labels<'a> {
    #[serde(borrow)]
    revision: Option<Cow<'a, str>>,
}

/// Reads a `registry_package`. What the image says of itself counts more than where the branch was at that time.
fn registry_package(json: &str) -> Read<'_> {
    let told: RegistryPackage<'_> = from_str(json)?;
    let repository = told.repository.map(|repository| repository.full_name);
    if told.action != "published" {
        let why = format!("the package was {}, not published", super::shown(&told.action));
        return Ok((repository, vec![Happening::Nothing(why)]));
    }
    let version = told.registry_package.package_version;
    let (target, container) = version.map_or((None, None), |it| (it.target_oid, it.container_metadata));
    let revision = container.and_then(|container| container.labels).and_then(|labels| labels.revision);
    let full = |text: Option<Cow<'_, str>>| CommitId::new(text?.to_ascii_lowercase()).ok();
    Ok((repository, vec![Happening::Packaged { commit: full(revision).or_else(|| full(target)) }]))
}

/// Reads a `push` as Gitea and its kin send it: tags by name alone, because `create` tells of the same tag again.
pub(super) fn push_of_gitea(json: &str) -> Read<'_> {
    let (repository, mut happenings) = push(json)?;
    for happening in &mut happenings {
        if let Happening::Tagged { commit, .. } = happening {
            *commit = None;
        }
    }
    Ok((repository, happenings))
}
