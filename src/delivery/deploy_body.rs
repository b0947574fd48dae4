//! What scripts and CI jobs send to `/deploy`: a commit, in the shape of a push or by itself.

use super::{AppTrigger, Decision, Refusal, RequestHead, bad_json, commit, delivery, gather, shown};
use crate::base::CommitId;
use crate::control::Trigger;
use serde::Deserialize;
use std::borrow::Cow;

/// The header that proves who asks, whatever the app's forge is.
pub(super) fn signature<'a>(head: &RequestHead<'a>) -> Option<&'a str> {
    head.header("X-Hub-Signature-256")
}

/// A commit that somebody with the secret wants deployed.
pub(super) struct Asked {
    commit: CommitId,
    /// Without `refs/heads/`.
    branch: Option<String>,
    repository: Option<String>,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, rename = "ref")]
    reference: Option<Cow<'a, str>>,
    #[serde(borrow)]
    commit: Option<Cow<'a, str>>,
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
pub(super) fn read(json: &[u8]) -> Result<Asked, Refusal> {
    let body: Body<'_> = serde_json::from_slice(json).map_err(|error| bad_json(&error))?;
    if body.image_sha.is_some() {
        return Err(Refusal::new(422, "image sources are not active yet: name a commit"));
    }
    let named = body.commit.as_deref();
    let at_head = body.head_commit.as_ref().map(|head| head.id.as_ref());
    let wanted = match (named, at_head) {
        (Some(one), Some(other)) if one != other => {
            return Err(Refusal::new(400, "`commit` and `head_commit.id` name different commits"));
        }
        (Some(one), _) | (None, Some(one)) => commit(one)?,
        (None, None) => return Err(Refusal::new(400, "no commit is named: send `commit` or `head_commit.id`")),
    };
    let branch = body.reference.map(|name| name.strip_prefix("refs/heads/").unwrap_or(&name).to_owned());
    let repository = body.repository.and_then(|repository| repository.full_name).map(Cow::into_owned);
    Ok(Asked { commit: wanted, branch, repository })
}

impl Asked {
    /// What the apps whose secret signed this make of it.
    pub(super) fn decide(self, apps: &[&AppTrigger]) -> Result<Decision, Refusal> {
        let delivery = delivery(None, Trigger::Deploy, "deploy");
        Ok(gather(apps, self.repository.as_deref(), delivery, |app| match &self.branch {
            Some(branch) if *branch != app.branch => {
                Err(format!("the branch {} is not {}", shown(branch), shown(&app.branch)))
            }
            _ => Ok(self.commit.clone()),
        }))
    }
}
