//! Small hand-made bodies of the events a forge sends: only what a receiver may need, and something it must skip.

use serde_json::{Value, json};

/// GitHub's `push` of `commit` to `branch`.
pub fn push(repository: &str, branch: &str, commit: &str) -> Value {
    json!({
        "ref": format!("refs/heads/{branch}"),
        "before": "0".repeat(40),
        "after": commit,
        "created": false,
        "deleted": false,
        "forced": false,
        "head_commit": { "id": commit, "message": "a \"quoted\" message\nin two lines, with ümläuts" },
        "commits": [{ "id": commit, "added": [], "removed": [], "modified": ["app.conf"] }],
        "repository": { "name": "x", "full_name": repository, "default_branch": "main" },
        "sender": { "login": "ada" },
    })
}

/// GitHub's `push` that deletes `branch`.
pub fn deleted(repository: &str, branch: &str) -> Value {
    let mut body = push(repository, branch, &"0".repeat(40));
    body["deleted"] = json!(true);
    body["head_commit"] = Value::Null;
    body
}

/// GitHub's `workflow_run`, completed and successful on `main`; tests change what they are about.
pub fn workflow_run(repository: &str, workflow: &str, commit: &str) -> Value {
    json!({
        "action": "completed",
        "workflow_run": {
            "id": 7,
            "name": workflow,
            "event": "push",
            "status": "completed",
            "conclusion": "success",
            "head_branch": "main",
            "head_sha": commit,
            "head_commit": { "id": commit },
            "head_repository": { "full_name": repository },
            "repository": { "full_name": repository },
            "pull_requests": [],
        },
        "workflow": { "name": workflow, "path": ".github/workflows/ci.yml" },
        "repository": { "name": "x", "full_name": repository },
    })
}
