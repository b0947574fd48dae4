//! Bitbucket's webhooks, of the Cloud (`repo:push`, commit statuses) and of the Data Center (`repo:refs_changed`).
//!
//! Both sign the body in `X-Hub-Signature`. One push may be about several branches and tags.

use super::forge::{self, Proof, Read, Sent, Told, commit, few, some_commit};
use super::happening::{Happening, Run, State};
use super::{AppTrigger, Refusal, RequestHead, bad_json, signature};
use crate::config::TriggerEvent;
use serde::Deserialize;
use serde_json::from_str;
use std::borrow::Cow;

pub(super) fn proof(app: &AppTrigger, head: &RequestHead<'_>, sent: &Sent<'_>) -> Proof {
    let given = head.header("X-Hub-Signature");
    Proof::when(given.is_some_and(|given| signature::fits(given, sent.body, &app.secrets)))
}

pub(super) fn read<'a>(head: &RequestHead<'_>, json: &'a str) -> Result<Told<'a>, Refusal> {
    let id = forge::delivery_id(head, &["X-Request-UUID", "X-Request-Id"])?;
    let event = forge::event_name(head, &["X-Event-Key"])?;
    let read = match event {
        "repo:push" => push(json),
        "repo:refs_changed" => refs_changed(json),
        "repo:commit_status_created" | "repo:commit_status_updated" => commit_status(json),
        "diagnostics:ping" => forge::ping(),
        other => forge::other(other),
    };
    let (repository, happenings) = read.map_err(|error| bad_json(&error))?;
    Ok(Told { id, event: event.to_owned(), repository, happenings })
}

#[derive(Deserialize)]
struct CloudRepository<'a> {
    #[serde(borrow)]
    full_name: Cow<'a, str>,
}

#[derive(Deserialize)]
struct CloudPush<'a> {
    #[serde(borrow)]
    push: Changes<'a>,
    #[serde(borrow)]
    repository: CloudRepository<'a>,
}

#[derive(Deserialize)]
struct Changes<'a> {
    #[serde(borrow, deserialize_with = "few")]
    changes: Vec<CloudChange<'a>>,
}

/// A branch or tag as it was and as it is; none where it was not there before, or is not any more.
#[derive(Deserialize)]
struct CloudChange<'a> {
    #[serde(borrow)]
    old: Option<CloudRef<'a>>,
    #[serde(borrow)]
    new: Option<CloudRef<'a>>,
}

#[derive(Deserialize)]
struct CloudRef<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    target: Option<Commit<'a>>,
}

#[derive(Deserialize)]
struct Commit<'a> {
    #[serde(borrow)]
    hash: Option<Cow<'a, str>>,
}

fn push(json: &str) -> Read<'_> {
    let told: CloudPush<'_> = from_str(json)?;
    let happenings: Result<Vec<_>, _> = told.push.changes.into_iter().map(change).collect();
    Ok((Some(told.repository.full_name), happenings?))
}

fn change(change: CloudChange<'_>) -> Result<Happening<'_>, serde_json::Error> {
    let is_there = change.new.is_some();
    let Some(reference) = change.new.or(change.old) else {
        return Ok(Happening::Nothing("the push changed nothing".to_owned()));
    };
    let hash = reference.target.and_then(|target| target.hash).filter(|_| is_there);
    let commit = hash.map(|hash| some_commit(&hash)).transpose()?;
    Ok(match (reference.kind.as_ref(), is_there) {
        ("tag" | "annotated_tag", true) => Happening::Tagged { tag: reference.name, commit },
        ("tag" | "annotated_tag", false) => Happening::Untagged { tag: reference.name },
        _ if is_there && commit.is_none() => return Err(forge::bad("a changed branch has no target.hash")),
        _ => Happening::Pushed { branch: reference.name, tip: commit },
    })
}

#[derive(Deserialize)]
struct RefsChanged<'a> {
    #[serde(borrow, deserialize_with = "few")]
    changes: Vec<ServerChange<'a>>,
    #[serde(borrow)]
    repository: ServerRepository<'a>,
}

#[derive(Deserialize)]
struct ServerChange<'a> {
    #[serde(borrow, rename = "ref")]
    reference: ServerRef<'a>,
    #[serde(borrow, rename = "toHash")]
    to_hash: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct ServerRef<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
}

#[derive(Deserialize)]
struct ServerRepository<'a> {
    #[serde(borrow)]
    slug: Cow<'a, str>,
    #[serde(borrow)]
    project: ServerProject<'a>,
}

#[derive(Deserialize)]
struct ServerProject<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
}

fn refs_changed(json: &str) -> Read<'_> {
    let told: RefsChanged<'_> = from_str(json)?;
    let repository = format!("{}/{}", told.repository.project.key, told.repository.slug);
    let read = |change: ServerChange<'_>| {
        let deleted = change.kind.as_deref() == Some("DELETE");
        let to = commit(&change.to_hash)?.filter(|_| !deleted);
        Ok(match Happening::of_reference(change.reference.id, to) {
            // Of an annotated tag this is the tag itself: it is fetched by its name.
            Happening::Tagged { tag, .. } => Happening::Tagged { tag: tag.into_owned().into(), commit: None },
            Happening::Pushed { branch, tip } => Happening::Pushed { branch: branch.into_owned().into(), tip },
            Happening::Untagged { tag } => Happening::Untagged { tag: tag.into_owned().into() },
            _ => Happening::Nothing("it is about neither a branch nor a tag".to_owned()),
        })
    };
    let happenings: Result<Vec<_>, serde_json::Error> = told.changes.into_iter().map(read).collect();
    Ok((Some(Cow::Owned(repository)), happenings?))
}

#[derive(Deserialize)]
struct CommitStatus<'a> {
    #[serde(borrow)]
    commit_status: Status<'a>,
    #[serde(borrow)]
    repository: CloudRepository<'a>,
}

#[derive(Deserialize)]
struct Status<'a> {
    #[serde(borrow)]
    key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    state: Cow<'a, str>,
    #[serde(borrow)]
    refname: Option<Cow<'a, str>>,
    #[serde(borrow)]
    commit: Option<Commit<'a>>,
    #[serde(borrow)]
    links: Option<Links<'a>>,
}

#[derive(Deserialize)]
struct Links<'a> {
    #[serde(borrow)]
    commit: Option<Link<'a>>,
}

#[derive(Deserialize)]
struct Link<'a> {
    #[serde(borrow)]
    href: Option<Cow<'a, str>>,
}

/// What Bitbucket has in the place of a pipeline's event: Pipelines and other CI report the commits they built. Some
/// payloads name the commit by its link only.
fn commit_status(json: &str) -> Read<'_> {
    let told: CommitStatus<'_> = from_str(json)?;
    let status = told.commit_status;
    let linked = status.links.and_then(|links| links.commit).and_then(|link| link.href);
    let named = status.commit.and_then(|commit| commit.hash);
    let hash = named.or_else(|| Some(Cow::Owned(linked?.rsplit('/').next()?.to_owned())));
    let hash = hash.ok_or_else(|| forge::bad("the status names no commit"))?;
    let state = match status.state.as_ref() {
        "SUCCESSFUL" => State::Succeeded,
        "INPROGRESS" => State::Unfinished(status.state),
        _ => State::Ended(status.state),
    };
    let happening = Happening::Ran(Run {
        event: TriggerEvent::Pipeline,
        names: [status.name, status.key].into_iter().flatten().collect(),
        state,
        foreign: None,
        started_by: None,
        branch: status.refname,
        commit: some_commit(&hash)?,
    });
    Ok((Some(told.repository.full_name), vec![happening]))
}
