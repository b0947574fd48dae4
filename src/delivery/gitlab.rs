//! GitLab's webhooks: pushes, tags, pipelines, releases.
//!
//! Two proofs exist: the secret itself in `X-Gitlab-Token`, and (newer) the signature of the Standard Webhooks
//! specification, whose key begins with `whsec_`. Either will do; a `whsec_` key is never taken as a token, because then
//! it is known to be meant for signatures. A hook that is answered with 4xx a few times is switched off by GitLab.

use super::forge::{self, Proof, Read, Sent, Told, commit, some_commit};
use super::happening::{Happening, Run, State};
use super::signature::{self, Key};
use super::{AppTrigger, Refusal, RequestHead, bad_json, shown};
use crate::config::{Hash, TriggerEvent};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::from_str;
use std::borrow::Cow;

/// A delivery may carry several signatures while keys change; more than these are not tried.
const MOST_SIGNATURES: usize = 8;

pub(super) fn proof(app: &AppTrigger, head: &RequestHead<'_>, sent: &Sent<'_>) -> Proof {
    let tokens: Vec<Key> = app.secrets.iter().filter(|key| key.standard().is_none()).cloned().collect();
    if head.header("X-Gitlab-Token").is_some_and(|token| signature::is_token(token, &tokens)) {
        return Proof::Fits;
    }
    match signed_at(app, head, sent) {
        Some(seconds) => signature::is_timely(seconds, head.now).map_or_else(Proof::Untimely, |()| Proof::Fits),
        None => Proof::Fails,
    }
}

/// When a delivery was signed, if it was, with one of the app's secrets.
fn signed_at<'a>(app: &AppTrigger, head: &RequestHead<'a>, sent: &Sent<'_>) -> Option<&'a str> {
    let (id, seconds) = (head.header("webhook-id")?, head.header("webhook-timestamp")?);
    let given = head.header("webhook-signature")?;
    let keys = || app.secrets.iter().map(|key| key.standard().map_or(Cow::Borrowed(&key.0[..]), Cow::Owned));
    let signed: [&[u8]; 5] = [id.as_bytes(), b".", seconds.as_bytes(), b".", sent.body];
    let digests = given.split_ascii_whitespace().take(MOST_SIGNATURES);
    let digests = digests.filter_map(|one| signature::digest_of_base64(one.strip_prefix("v1,")?));
    let fits = digests.fold(false, |fits, digest| fits | signature::is_signed(Hash::Sha256, &digest, &signed, keys()));
    fits.then_some(seconds)
}

pub(super) fn read<'a>(head: &RequestHead<'_>, json: &'a str) -> Result<Told<'a>, Refusal> {
    let id = forge::delivery_id(head, &["webhook-id", "Idempotency-Key", "X-Gitlab-Event-UUID"])?;
    let event = forge::event_name(head, &["X-Gitlab-Event"])?;
    let read = match event {
        "Push Hook" => happened(json, "push"),
        "Tag Push Hook" => happened(json, "tag_push"),
        "Pipeline Hook" => happened(json, "pipeline"),
        "Release Hook" => happened(json, "release"),
        // One hook for a whole instance: the body says what it is, and the repository which app is meant.
        "System Hook" => kind(json).and_then(|kind| happened(json, &kind)),
        other => forge::other(other),
    };
    let (repository, happenings) = read.map_err(|error| bad_json(&error))?;
    Ok(Told { id, event: event.to_owned(), repository, happenings })
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow)]
    object_kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    event_name: Option<Cow<'a, str>>,
}

fn kind(json: &str) -> Result<Cow<'_, str>, serde_json::Error> {
    let told: Kind<'_> = from_str(json)?;
    Ok(told.object_kind.or(told.event_name).unwrap_or_default())
}

fn happened<'a>(json: &'a str, kind: &str) -> Read<'a> {
    match kind {
        "push" | "tag_push" => push(json),
        "pipeline" => pipeline(json),
        "release" => release(json),
        other => forge::other(other),
    }
}

#[derive(Deserialize)]
struct Project<'a> {
    #[serde(borrow)]
    path_with_namespace: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Push<'a> {
    #[serde(borrow, rename = "ref")]
    reference: Cow<'a, str>,
    #[serde(borrow)]
    after: Cow<'a, str>,
    #[serde(borrow)]
    checkout_sha: Option<Cow<'a, str>>,
    #[serde(borrow)]
    project: Project<'a>,
}

fn push(json: &str) -> Read<'_> {
    let push: Push<'_> = from_str(json)?;
    let happening = match Happening::of_reference(push.reference, commit(&push.after)?) {
        // `after` of an annotated tag is the tag itself; what it stands for is checked out.
        Happening::Tagged { tag, .. } => {
            Happening::Tagged { tag, commit: push.checkout_sha.map(|sha| some_commit(&sha)).transpose()? }
        }
        happening => happening,
    };
    Ok((Some(push.project.path_with_namespace), vec![happening]))
}

#[derive(Deserialize)]
struct Pipeline<'a> {
    #[serde(borrow)]
    object_attributes: Attributes<'a>,
    merge_request: Option<IgnoredAny>,
    #[serde(borrow)]
    project: Project<'a>,
}

#[derive(Deserialize)]
struct Attributes<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "ref")]
    reference: Option<Cow<'a, str>>,
    #[serde(default)]
    tag: bool,
    #[serde(borrow)]
    sha: Cow<'a, str>,
    #[serde(borrow)]
    source: Option<Cow<'a, str>>,
    #[serde(borrow)]
    status: Cow<'a, str>,
}

/// The `ref` of a merge request's pipeline is the name of its source branch, which may be `main` in a fork.
fn pipeline(json: &str) -> Read<'_> {
    let told: Pipeline<'_> = from_str(json)?;
    let run = told.object_attributes;
    let by_request = |source: &str| matches!(source, "merge_request_event" | "external_pull_request_event");
    let of_request = told.merge_request.is_some() || run.source.as_deref().is_some_and(by_request);
    let state = match run.status.as_ref() {
        "success" => State::Succeeded,
        "failed" | "canceled" | "skipped" => State::Ended(run.status),
        _ => State::Unfinished(run.status),
    };
    let happening = Happening::Ran(Run {
        event: TriggerEvent::Pipeline,
        names: run.name.into_iter().collect(),
        state,
        foreign: of_request.then_some("one of a merge request"),
        started_by: run.source.or(Some(Cow::Borrowed(""))),
        branch: run.reference.filter(|_| !run.tag),
        commit: some_commit(&run.sha)?,
    });
    Ok((Some(told.project.path_with_namespace), vec![happening]))
}

#[derive(Deserialize)]
struct Release<'a> {
    #[serde(borrow)]
    action: Cow<'a, str>,
    #[serde(borrow)]
    tag: Cow<'a, str>,
    #[serde(borrow)]
    project: Project<'a>,
}

fn release(json: &str) -> Read<'_> {
    let told: Release<'_> = from_str(json)?;
    let but = (told.action != "create").then(|| format!("was changed ({}), not created", shown(&told.action)));
    Ok((Some(told.project.path_with_namespace), vec![Happening::Released { tag: told.tag, but }]))
}
