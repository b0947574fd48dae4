//! The status of a commit, as each forge wants to be told.
//!
//! GitHub: <https://docs.github.com/en/rest/commits/statuses>; GitLab:
//! <https://docs.gitlab.com/api/commits/#set-commit-pipeline-status>; Gitea and Forgejo: `POST
//! /repos/{owner}/{repo}/statuses/{sha}` of their API.

use super::cut;
use super::message::{CommitState, StatusOf};
use super::request::{Request, address};
use crate::config::{CommitStatus, Forge};
use serde_json::json;

/// GitHub takes 140 characters, GitLab 255.
const DESCRIPTION: usize = 140;

/// The request that tells a commit's status.
pub fn request(status: &CommitStatus, of: &StatusOf) -> Request {
    let (api, repository, commit) = (&status.api, &status.repository, of.commit.as_str());
    let description = cut::line(&of.description, DESCRIPTION);
    let token = address(&status.token);
    match status.forge {
        Forge::Gitlab => {
            let project = repository.replace('/', "%2F");
            let document = json!({"state": for_gitlab(of.state), "name": status.context, "description": description});
            let mut request = Request::json(format!("{api}/projects/{project}/statuses/{commit}"), &document);
            request.headers.push(("PRIVATE-TOKEN", token));
            request
        }
        forge => {
            let document = json!({"state": of.state, "context": status.context, "description": description});
            let mut request = Request::json(format!("{api}/repos/{repository}/statuses/{commit}"), &document);
            if forge == Forge::Github {
                request.headers.push(("Accept", "application/vnd.github+json".into()));
                request.headers.push(("X-GitHub-Api-Version", "2022-11-28".into()));
                request.headers.push(("Authorization", format!("Bearer {token}")));
            } else {
                request.headers.push(("Accept", "application/json".into()));
                request.headers.push(("Authorization", format!("token {token}")));
            }
            request
        }
    }
}

fn for_gitlab(state: CommitState) -> &'static str {
    match state {
        CommitState::Pending => "running",
        CommitState::Success => "success",
        CommitState::Failure => "failed",
        CommitState::Error => "canceled",
    }
}
