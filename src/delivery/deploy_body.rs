//! What scripts and CI jobs send to `/deploy`: a commit, in the shape of a push or by itself, or a tag.

use super::forge::{Proof, Sent, Told};
use super::happening::Happening;
use super::{AppTrigger, Refusal, RequestHead, bad_json, shown, signature};
use crate::base::{CommitId, TagName};
use crate::control::Wanted;
use serde::Deserialize;
use std::borrow::Cow;

/// Whatever the app's forge is: scripts sign alike.
pub(super) fn proof(app: &AppTrigger, head: &RequestHead<'_>, sent: &Sent<'_>) -> Proof {
    let given = head.header("X-Hub-Signature-256");
    Proof::when(given.is_some_and(|given| signature::fits(given, sent.body, &app.secrets)))
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, rename = "ref")]
    reference: Option<Cow<'a, str>>,
    #[serde(borrow)]
    commit: Option<Cow<'a, str>>,
    #[serde(borrow)]
    tag: Option<Cow<'a, str>>,
    #[serde(borrow)]
    head_commit: Option<HeadCommit<'a>>,
    #[serde(borrow)]
    image_sha: Option<Cow<'a, str>>,
    #[serde(borrow)]
    repository: Option<Repository<'a>>,
}

#[derive(Deserialize)]
struct HeadCommit<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Repository<'a> {
    #[serde(borrow)]
    full_name: Option<Cow<'a, str>>,
}

/// Reads a body that is known to be genuine.
pub(super) fn read(json: &str) -> Result<Told<'_>, Refusal> {
    let body: Body<'_> = serde_json::from_str(json).map_err(|error| bad_json(&error))?;
    if body.image_sha.is_some() {
        return Err(Refusal::new(422, "image sources are not active yet: name a commit"));
    }
    let at_head = body.head_commit.as_ref().map(|head| head.id.as_ref());
    let wanted = match (body.commit.as_deref(), at_head, body.tag.as_deref()) {
        (Some(one), Some(other), _) if one != other => {
            return Err(Refusal::new(400, "`commit` and `head_commit.id` name different commits"));
        }
        (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => {
            return Err(Refusal::new(400, "a commit and a `tag` are named: send one of them"));
        }
        (Some(one), _, None) | (None, Some(one), None) => Wanted::Commit(commit(one)?),
        (None, None, Some(name)) => Wanted::Tag(tag(name)?),
        (None, None, None) => {
            return Err(Refusal::new(400, "no commit is named: send `commit`, `head_commit.id` or `tag`"));
        }
    };
    let branch = body.reference.map(|name| match name.strip_prefix("refs/heads/") {
        Some(short) => Cow::Owned(short.to_owned()),
        None => name,
    });
    let repository = body.repository.and_then(|repository| repository.full_name);
    Ok(Told { id: None, event: "deploy".to_owned(), repository, happenings: vec![Happening::Asked { wanted, branch }] })
}

fn commit(text: &str) -> Result<CommitId, Refusal> {
    CommitId::new(text.to_ascii_lowercase())
        .map_err(|_| Refusal::new(400, format!("{} is not a full commit id (40 or 64 hex digits)", shown(text))))
}

fn tag(text: &str) -> Result<TagName, Refusal> {
    let name = text.strip_prefix("refs/tags/").unwrap_or(text);
    TagName::new(name).map_err(|_| Refusal::new(400, format!("{} is not a tag that can be fetched", shown(text))))
}
