//! Every other forge: real-looking deliveries against its rules. Signatures that stand here as text were computed by
//! Python's `hmac`, as the comment beside each says.

use super::*;
use crate::config::{Hash, Pattern};

macro_rules! payload {
    ($name:literal) => {
        include_str!(concat!("../../../tests/payloads/", $name))
    };
}

/// An app of a forge; its secret is `s`.
fn of(forge: Forge, on: TriggerEvent) -> AppTrigger {
    let repository = match forge {
        Forge::Gitlab => "owner/apps/nutricount",
        _ => "owner/nutricount",
    };
    let workflow_events = match forge {
        Forge::Gitlab => vec!["push".into(), "web".into()],
        _ => vec!["push".into(), "workflow_dispatch".into()],
    };
    AppTrigger { forge, workflow_events, repository: Some(repository.into()), ..app("web", "s", on) }
}

fn bare_hex(secret: &str, body: &[u8]) -> String {
    sign(secret, body).trim_start_matches("sha256=").to_owned()
}

type Headers<'a> = Vec<(&'a str, String)>;

fn deliver(app: &AppTrigger, headers: Headers<'_>, body: &[u8]) -> Decision {
    deliver_at(NOW, app, headers, body)
}

fn deliver_at(now: WallTime, app: &AppTrigger, headers: Headers<'_>, body: &[u8]) -> Decision {
    let headers: Vec<(String, String)> = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    decide(std::slice::from_ref(app), &RequestHead { door: ANY, headers: &headers, now }, body)
}

/// A delivery as the app's forge sends it, signed with `secret`.
fn sends(app: &AppTrigger, event: &str, secret: &str, body: &str) -> Decision {
    let hex = bare_hex(secret, body.as_bytes());
    let headers = match app.forge {
        Forge::Gitlab => vec![
            ("X-Gitlab-Event", event.to_owned()),
            ("X-Gitlab-Token", secret.to_owned()),
            ("X-Gitlab-Event-UUID", "7a".into()),
            ("Idempotency-Key", "id-1".into()),
        ],
        Forge::Gitea => {
            vec![("X-Gitea-Event", event.into()), ("X-Gitea-Signature", hex), ("X-Gitea-Delivery", "id-1".into())]
        }
        Forge::Forgejo => {
            vec![("X-Forgejo-Event", event.into()), ("X-Forgejo-Signature", hex), ("X-Forgejo-Delivery", "id-1".into())]
        }
        Forge::Gogs => {
            vec![("X-Gogs-Event", event.into()), ("X-Gogs-Signature", hex), ("X-Gogs-Delivery", "id-1".into())]
        }
        Forge::Bitbucket => vec![
            ("X-Event-Key", event.into()),
            ("X-Hub-Signature", format!("sha256={hex}")),
            ("X-Request-UUID", "id-1".into()),
        ],
        other => panic!("{other:?}"),
    };
    deliver(app, headers, body.as_bytes())
}

/// What an accepted delivery asks for; its id is the forge's.
fn asked(decision: Decision) -> String {
    match decision {
        Decision::Accept(delivery) => {
            assert_eq!((delivery.id.as_deref(), delivery.wants.len()), (Some("id-1"), 1), "{delivery:?}");
            delivery.wants[0].wanted.requested()
        }
        other => panic!("{other:?}"),
    }
}

fn with(body: &str, from: &str, to: &str) -> String {
    assert!(body.contains(from), "{from}");
    body.replace(from, to)
}

const EVERY_PUSH: [(Forge, &str, &str); 6] = [
    (Forge::Gitlab, "Push Hook", payload!("gitlab/push.json")),
    (Forge::Gitea, "push", payload!("gitea/push.json")),
    (Forge::Forgejo, "push", payload!("gitea/push.json")),
    (Forge::Gogs, "push", payload!("gitea/push.json")),
    (Forge::Bitbucket, "repo:push", payload!("bitbucket/push.json")),
    (Forge::Bitbucket, "repo:refs_changed", payload!("bitbucket/refs_changed.json")),
];

#[test]
fn a_push_to_the_branch_deploys_whoever_sends_it() {
    for (forge, event, body) in EVERY_PUSH {
        let app = of(forge, TriggerEvent::Push);
        assert_eq!(asked(sends(&app, event, "s", body)), COMMIT, "{forge:?} {event}");
        let dev = AppTrigger { branch: "nobody's".into(), ..app.clone() };
        expect(sends(&dev, event, "s", body), "is not \"nobody's\"", event);
        let foreign = AppTrigger { repository: Some("owner/other".into()), ..app.clone() };
        expect(sends(&foreign, event, "s", body), "no app that this secret belongs to", event);
        let loud = app.repository.as_ref().map(|name| name.to_uppercase());
        assert_eq!(asked(sends(&AppTrigger { repository: loud, ..app.clone() }, event, "s", body)), COMMIT);
        expect(
            sends(&AppTrigger { on: vec![TriggerEvent::Release], ..app.clone() }, event, "s", body),
            "not on push",
            event,
        );
        let rotated = AppTrigger { secrets: vec![Key(b"old".to_vec()), Key(b"s".to_vec())], ..app.clone() };
        assert_eq!(asked(sends(&rotated, event, "s", body)), COMMIT, "either secret");
        assert_eq!(status(&sends(&rotated, event, "old", body)), 202, "either secret");
        expect(sends(&app, "unheard-of", "s", body), "the event \"unheard-of\" deploys nothing", event);
        assert_eq!(status(&sends(&app, event, "s", "{\"ref\":")), 400);
        assert_eq!(status(&sends(&app, event, "s", "{}")), 400, "{forge:?} {event}");
    }
}

#[test]
fn an_unproven_delivery_is_refused_whoever_sends_it() {
    for (forge, event, body) in EVERY_PUSH {
        let app = of(forge, TriggerEvent::Push);
        for wrong in ["", "wrong", "S", "ss"] {
            assert_eq!(status(&sends(&app, event, wrong, body)), 401, "{forge:?} {wrong:?}");
        }
        let none = AppTrigger { secrets: vec![], ..app.clone() };
        let empty = AppTrigger { secrets: vec![Key(vec![])], ..app.clone() };
        for secret in ["", "s"] {
            assert_eq!(status(&sends(&none, event, secret, body)), 401, "{forge:?}");
            assert_eq!(status(&sends(&empty, event, secret, body)), 401, "{forge:?}");
        }
        let (header, kind) = match forge {
            Forge::Gitlab => ("X-Gitlab-Token", "X-Gitlab-Event"),
            Forge::Gitea => ("X-Gitea-Signature", "X-Gitea-Event"),
            Forge::Forgejo => ("X-Forgejo-Signature", "X-Forgejo-Event"),
            Forge::Gogs => ("X-Gogs-Signature", "X-Gogs-Event"),
            _ => ("X-Hub-Signature", "X-Event-Key"),
        };
        let given = |value: &str| deliver(&app, vec![(kind, event.into()), (header, value.into())], body.as_bytes());
        for value in ["", "sha256=", "0", &"0".repeat(64), &format!("sha256={}", "0".repeat(64))] {
            assert_eq!(status(&given(value)), 401, "{forge:?} {value:?}");
        }
        assert_eq!(status(&deliver(&app, vec![(kind, event.into())], body.as_bytes())), 401, "{forge:?} none");
        if forge != Forge::Gitlab {
            let signed =
                if forge == Forge::Bitbucket { sign("s", body.as_bytes()) } else { bare_hex("s", body.as_bytes()) };
            assert_eq!(status(&given(&signed)), 202, "{forge:?}: no delivery id is needed");
            let tampered = body.replace(COMMIT, &"5".repeat(40));
            let forged = deliver(&app, vec![(kind, event.into()), (header, signed.clone())], tampered.as_bytes());
            assert_eq!(status(&forged), 401, "{forge:?} tampered");
            // Its own header counts, not a look-alike's.
            let elsewhere = deliver(&app, vec![(kind, event.into()), ("X-Hub-Signature-256", signed)], body.as_bytes());
            assert_eq!(status(&elsewhere), 401, "{forge:?} another header");
        }
    }
}

#[test]
fn vectors_of_another_implementation_fit() {
    // hmac.new(b"s", b'{"x":1}', sha256).hexdigest()
    let hex = "e3e9e9ec7b99f31f6f5cb4d54d50d3902e3d99da31a1ab3c4e6138c5a5d201c8";
    let body = br#"{"x":1}"#;
    for (forge, header, value) in [
        (Forge::Github, "X-Hub-Signature-256", format!("sha256={hex}")),
        (Forge::Gitea, "X-Gitea-Signature", hex.to_owned()),
        (Forge::Forgejo, "X-Forgejo-Signature", hex.to_uppercase()),
        (Forge::Forgejo, "X-Gitea-Signature", hex.to_owned()),
        (Forge::Gogs, "X-Gogs-Signature", hex.to_owned()),
        (Forge::Bitbucket, "X-Hub-Signature", format!("sha256={hex}")),
    ] {
        let kinds = ["X-GitHub-Event", "X-Gitea-Event", "X-Forgejo-Event", "X-Gogs-Event", "X-Event-Key"];
        let mut headers: Headers<'_> = kinds.map(|kind| (kind, "whatever".to_owned())).to_vec();
        headers.push((header, value));
        expect(deliver(&of(forge, TriggerEvent::Push), headers, body), "\"whatever\" deploys nothing", header);
    }
}

#[test]
fn a_form_of_the_gitea_family_is_signed_as_its_json() {
    let json = payload!("gitea/push.json");
    let encoded: String = json.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let form = format!("payload={encoded}");
    let app = of(Forge::Gitea, TriggerEvent::Push);
    let send = |signed: &str| {
        let headers = vec![
            ("Content-Type", "application/x-www-form-urlencoded".to_owned()),
            ("X-Gitea-Event", "push".into()),
            ("X-Gitea-Delivery", "id-1".into()),
            ("X-Gitea-Signature", bare_hex("s", signed.as_bytes())),
        ];
        deliver(&app, headers, form.as_bytes())
    };
    assert_eq!(asked(send(json)), COMMIT);
    assert_eq!(status(&send(&form)), 401);
    assert_eq!(status(&send("")), 401);
}

#[test]
fn tags_and_releases_of_every_forge_deploy_what_they_stand_for() {
    let tag = "refs/tags/v1.4.0";
    for (forge, event, body, wanted) in [
        (Forge::Gitlab, "Tag Push Hook", payload!("gitlab/tag_push.json"), COMMIT),
        (Forge::Gitea, "create", payload!("gitea/create.json"), tag),
        (Forge::Gogs, "create", payload!("gitea/create.json"), tag),
        (Forge::Bitbucket, "repo:push", payload!("bitbucket/push.json"), COMMIT),
        (Forge::Bitbucket, "repo:refs_changed", payload!("bitbucket/refs_changed.json"), tag),
    ] {
        let app = of(forge, TriggerEvent::Tag);
        assert_eq!(asked(sends(&app, event, "s", body)), wanted, "{forge:?} {event}");
    }
    let pushed = with(payload!("gitea/push.json"), "refs/heads/main", "refs/tags/v1.4.0");
    assert_eq!(asked(sends(&of(Forge::Gitea, TriggerEvent::Tag), "push", "s", &pushed)), tag);
    let branch = with(payload!("gitea/create.json"), "\"tag\"", "\"branch\"");
    expect(sends(&of(Forge::Gitea, TriggerEvent::Tag), "create", "s", &branch), "creation of a \"branch\"", "create");
    let gone = with(payload!("gitlab/tag_push.json"), "82b3d5ae55f7080f1e6022629cdb57bfae7cccc7", &"0".repeat(40));
    expect(sends(&of(Forge::Gitlab, TriggerEvent::Tag), "Tag Push Hook", "s", &gone), "was deleted", "gitlab");
    for (forge, event, body) in [
        (Forge::Gitlab, "Release Hook", payload!("gitlab/release.json")),
        (Forge::Gitea, "release", payload!("gitea/release.json")),
        (Forge::Forgejo, "release", payload!("gitea/release.json")),
        (Forge::Gogs, "release", payload!("gitea/release.json")),
    ] {
        assert_eq!(asked(sends(&of(forge, TriggerEvent::Release), event, "s", body)), tag, "{forge:?}");
    }
    let update = with(payload!("gitlab/release.json"), "\"create\"", "\"update\"");
    expect(sends(&of(Forge::Gitlab, TriggerEvent::Release), "Release Hook", "s", &update), "not created", "update");
}

#[test]
fn only_a_branchs_own_successful_pipeline_deploys() {
    let pipeline = payload!("gitlab/pipeline.json");
    let app = AppTrigger { workflow: Some("Deploy pipeline".into()), ..of(Forge::Gitlab, TriggerEvent::Pipeline) };
    let source = |source: &str| with(pipeline, "\"source\": \"push\"", &format!("\"source\": \"{source}\""));
    let mut cases = vec![
        (pipeline.to_owned(), ""),
        (source("web"), ""),
        (source("merge_request_event"), "merge request"),
        (source("external_pull_request_event"), "merge request"),
        (source("parent_pipeline"), "started by \"parent_pipeline\""),
        (source("schedule"), "started by \"schedule\""),
        (with(pipeline, "\"source\": \"push\",", ""), "started by \"\""),
        (with(pipeline, "\"merge_request\": null", "\"merge_request\": {\"id\": 1}"), "merge request"),
        (with(pipeline, "\"ref\": \"main\"", "\"ref\": \"dev\""), "\"dev\" is not \"main\""),
        (with(pipeline, "\"tag\": false", "\"tag\": true"), "not one of a branch"),
        (with(pipeline, "Deploy pipeline", "Nightly"), "\"Nightly\" is not"),
        (with(pipeline, "owner/apps/nutricount", "mallory/nutricount"), "mallory/nutricount"),
        (with(pipeline, "owner/apps/nutricount", "owner/nutricount"), "owner/nutricount"),
    ];
    for over in ["failed", "canceled", "skipped"] {
        cases.push((
            with(pipeline, "\"status\": \"success\",\n    \"det", &format!("\"status\": \"{over}\",\n    \"det")),
            "not success",
        ));
    }
    for under_way in ["created", "pending", "running", "manual", "waiting_for_resource"] {
        let body =
            with(pipeline, "\"status\": \"success\",\n    \"det", &format!("\"status\": \"{under_way}\",\n    \"det"));
        cases.push((body, "not completed"));
    }
    for (body, part) in &cases {
        expect(sends(&app, "Pipeline Hook", "s", body), part, body);
    }
    expect(sends(&app, "Push Hook", "s", payload!("gitlab/push.json")), "after a pipeline, not on push", "push");
    for event in ["System Hook", "Push Hook"] {
        let app = of(Forge::Gitlab, TriggerEvent::Push);
        assert_eq!(asked(sends(&app, event, "s", payload!("gitlab/push.json"))), COMMIT, "{event}");
    }
    let made = "{\"event_name\":\"project_create\"}";
    expect(sends(&of(Forge::Gitlab, TriggerEvent::Push), "System Hook", "s", made), "\"project_create\"", "system");
}

#[test]
fn only_the_repositorys_own_successful_actions_deploy() {
    let run = payload!("gitea/workflow_run.json");
    let home =
        |home: &str| with(run, "\"run_number\": 5", &format!("\"head_repository\": {{\"full_name\": \"{home}\"}}"));
    let app = |name: &str| AppTrigger { workflow: Some(name.into()), ..of(Forge::Gitea, TriggerEvent::WorkflowRun) };
    for (body, part) in [
        (run.to_owned(), ""),
        (home("owner/nutricount"), ""),
        (home("mallory/nutricount"), "fork"),
        (with(run, "\"event\": \"push\"", "\"event\": \"pull_request\""), "fork"),
        (with(run, "\"event\": \"push\"", "\"event\": \"schedule\""), "started by \"schedule\""),
        (with(run, "\"head_branch\": \"main\"", "\"head_branch\": \"\""), "\"\" is not \"main\""),
        (with(run, "\"conclusion\": \"success\"", "\"conclusion\": \"failure\""), "not success"),
        (with(run, "\"action\": \"completed\"", "\"action\": \"in_progress\""), "not completed"),
        (with(run, "\"name\": \"CI\"", "\"name\": \"Lint\"").replace("ci.yml", "lint.yml"), "is not \"CI\""),
    ] {
        expect(sends(&app("CI"), "workflow_run", "s", &body), part, &body);
    }
    assert_eq!(asked(sends(&app("ci.yml"), "workflow_run", "s", run)), COMMIT, "by its file");

    let run = payload!("forgejo/action_run_success.json");
    let app = AppTrigger { workflow: Some("ci.yml".into()), ..of(Forge::Forgejo, TriggerEvent::WorkflowRun) };
    for (event, body, part) in [
        ("action_run_success", run.to_owned(), ""),
        ("action_run_failure", run.to_owned(), "not success"),
        ("action_run_recover", run.to_owned(), "deploys nothing"),
        ("action_run_success", with(run, "request\": false", "request\": true"), "fork"),
        ("action_run_success", with(run, "\"event\": \"push\"", "\"event\": \"pull_request\""), "started by"),
        ("action_run_success", with(run, "\"prettyref\": \"main\"", "\"prettyref\": \"#7\""), "is not \"main\""),
        ("action_run_success", with(run, "\"ci.yml\"", "\"lint.yml\""), "\"lint.yml\" is not"),
    ] {
        expect(sends(&app, event, "s", &body), part, &body);
    }
}

#[test]
fn bitbuckets_pushes_of_many_changes_and_its_statuses() {
    let push = payload!("bitbucket/push.json");
    let app = |on, branch: &str| AppTrigger { branch: branch.into(), ..of(Forge::Bitbucket, on) };
    assert_eq!(asked(sends(&app(TriggerEvent::Push, "dev"), "repo:push", "s", push)), "2".repeat(40));
    expect(sends(&app(TriggerEvent::Push, "old-idea"), "repo:push", "s", push), "\"old-idea\" was deleted", "closed");
    let server = payload!("bitbucket/refs_changed.json");
    expect(sends(&app(TriggerEvent::Push, "old-idea"), "repo:refs_changed", "s", server), "was deleted", "DELETE");
    expect(sends(&app(TriggerEvent::Push, "main"), "diagnostics:ping", "s", "{\"test\":true}"), "ping", "ping");
    let none = "{\"push\":{\"changes\":[]},\"repository\":{\"full_name\":\"owner/nutricount\"}}";
    expect(sends(&app(TriggerEvent::Push, "main"), "repo:push", "s", none), "tells of no change", "none");
    let many = |count: usize| {
        let changes = vec!["{\"old\":null,\"new\":null}"; count].join(",");
        none.replace("[]", &format!("[{changes}]"))
    };
    let most = forge::MOST_CHANGES;
    expect(sends(&app(TriggerEvent::Push, "main"), "repo:push", "s", &many(most)), "changed nothing", "most");
    assert_eq!(status(&sends(&app(TriggerEvent::Push, "main"), "repo:push", "s", &many(most + 1))), 400);

    let report = payload!("bitbucket/commit_status.json");
    let built = AppTrigger { workflow: Some("PIPELINE-7".into()), ..app(TriggerEvent::Pipeline, "main") };
    let linked = with(report, &format!("\"commit\": {{\"type\": \"commit\", \"hash\": \"{COMMIT}\"}},"), "");
    for (body, part) in [
        (report.to_owned(), ""),
        (linked, ""),
        (with(report, "SUCCESSFUL", "INPROGRESS"), "not completed"),
        (with(report, "SUCCESSFUL", "FAILED"), "not success"),
        (with(report, "\"refname\": \"main\"", "\"refname\": null"), "not one of a branch"),
        (with(report, "\"refname\": \"main\"", "\"refname\": \"dev\""), "\"dev\" is not"),
        (with(report, "PIPELINE-7", "LINT"), "is not \"PIPELINE-7\""),
    ] {
        expect(sends(&built, "repo:commit_status_updated", "s", &body), part, &body);
    }
}

/// bytes(range(32)), as GitLab shows a signing token.
const SIGNING_TOKEN: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

#[test]
fn gitlabs_signature_is_that_of_standard_webhooks() {
    let app = |secret: &str| AppTrigger { secrets: vec![Key(secret.into())], ..of(Forge::Gitlab, TriggerEvent::Push) };
    let send = |now: i64, secret: &str, id: &str, seconds: &str, signature: &str| {
        let headers = vec![
            ("X-Gitlab-Event", "Issue Hook".to_owned()),
            ("webhook-id", id.into()),
            ("webhook-timestamp", seconds.into()),
            ("webhook-signature", signature.into()),
        ];
        deliver_at(WallTime(now * 1000), &app(secret), headers, br#"{"x":1}"#)
    };
    // base64(hmac.new(key, b'd-1.1800000000.{"x":1}', sha256)), the key bytes(range(32)), then b"raw key".
    let good = "v1,94IgJ871SyIDuSgpnOC5DwHO9UeJxO/ONsZ2fRC6LVs=";
    let raw = "v1,cBXTekG0MaSB4uGwvw9mJZSJcwzAAhxAYtoN86bhGT4=";
    let at = 1_800_000_000;
    for (now, secret, id, seconds, signature, expected) in [
        (at, SIGNING_TOKEN, "d-1", "1800000000", good, 200),
        (at, "raw key", "d-1", "1800000000", raw, 200),
        (at + 300, SIGNING_TOKEN, "d-1", "1800000000", good, 200),
        (at - 300, SIGNING_TOKEN, "d-1", "1800000000", good, 200),
        (at + 301, SIGNING_TOKEN, "d-1", "1800000000", good, 401),
        (at - 301, SIGNING_TOKEN, "d-1", "1800000000", good, 401),
        (0, SIGNING_TOKEN, "d-1", "1800000000", good, 401),
        (at, SIGNING_TOKEN, "d-2", "1800000000", good, 401),
        (at, SIGNING_TOKEN, "d-1", "1800000001", good, 401),
        (at, SIGNING_TOKEN, "d-1", "1800000000", &format!("v1,AAAA v1a,BBBB {good}"), 200),
        (at, SIGNING_TOKEN, "d-1", "1800000000", &format!("{raw} {good}"), 200),
        (at, SIGNING_TOKEN, "d-1", "1800000000", &format!("{}{good}", "v1,AAAA ".repeat(8)), 401),
        (at, SIGNING_TOKEN, "d-1", "1800000000", &good.replace("v1,", "v2,"), 401),
        (at, SIGNING_TOKEN, "d-1", "1800000000", &good[3..], 401),
        (at, SIGNING_TOKEN, "d-1", "1800000000", raw, 401),
        (at, SIGNING_TOKEN, "d-1", "1800000000", "", 401),
        (at, SIGNING_TOKEN, "d-1", "1800000000", "v1,", 401),
        (at, "whsec_", "d-1", "1800000000", good, 401),
        (at, "whsec_!", "d-1", "1800000000", good, 401),
    ] {
        let decision = send(now, secret, id, seconds, signature);
        assert_eq!(status(&decision), expected, "{now} {id} {seconds} {signature}: {decision:?}");
    }
    let why = |decision: Decision| match decision {
        Decision::Refuse(refusal) => (refusal.proven, refusal.message),
        other => panic!("{other:?}"),
    };
    let (proven, late) = why(send(at + 301, SIGNING_TOKEN, "d-1", "1800000000", good));
    assert!(proven && late.contains("5m1s before the time on this machine's clock"), "{late}");
    let (proven, unset) = why(send(0, SIGNING_TOKEN, "d-1", "1800000000", good));
    assert!(proven && unset.contains("clock is not set (it reads 1970-01-01T00:00:00Z)"), "{unset}");
    assert_eq!(why(send(0, SIGNING_TOKEN, "d-2", "1800000000", good)), (false, "bad or missing signature".into()));
    let in_clear = vec![("X-Gitlab-Event", "Issue Hook".into()), ("X-Gitlab-Token", SIGNING_TOKEN.into())];
    assert_eq!(status(&deliver(&app(SIGNING_TOKEN), in_clear, b"{}")), 401, "a signing key is no token");
}

fn generic() -> AppTrigger {
    let pattern = |text: &str| Pattern::parse(text).unwrap();
    let at = |pointer: &str| Some(pointer.to_owned());
    let generic = Generic {
        header: "X-Signature".into(),
        hash: Hash::Sha256,
        value: pattern("sha256={hex}"),
        signed: pattern("{body}"),
        timestamp: None,
        id: Some("X-Delivery".into()),
        commit: at("/data/source/commits/0"),
        reference: at("/data/source/branch"),
        repository: at("/data/project"),
        event: at("/type"),
        event_is: Some("build.finished".into()),
    };
    AppTrigger { generic: Some(generic), ..of(Forge::Generic, TriggerEvent::Push) }
}

#[test]
fn a_sender_of_ones_own_is_read_by_pointers() {
    let built = payload!("generic/built.json");
    let send = |app: &AppTrigger, body: &str| {
        deliver(app, vec![("x-signature", sign("s", body.as_bytes())), ("X-Delivery", "id-1".into())], body.as_bytes())
    };
    assert_eq!(asked(send(&generic(), built)), COMMIT);
    assert_eq!(asked(send(&generic(), &with(built, "\"main\"", "\"refs/heads/main\""))), COMMIT);
    for (body, part) in [
        (with(built, "\"main\"", "\"dev\""), "\"dev\" is not \"main\""),
        (with(built, "\"main\"", "\"refs/tags/v1\""), "not on a tag"),
        (with(built, "build.finished", "build.started"), "\"build.started\", not \"build.finished\""),
        (with(built, "owner/nutricount", "owner/other"), "owner/other"),
        (with(built, COMMIT, &"0".repeat(40)), "was deleted"),
    ] {
        expect(send(&generic(), &body), part, &body);
    }
    for body in
        [with(built, COMMIT, "4f2a1c9"), with(built, "commits", "none"), with(built, "branch", "none"), "[]".into()]
    {
        assert_eq!(status(&send(&generic(), &body)), 400, "{body}");
    }
    let wrong = deliver(&generic(), vec![("X-Signature", sign("t", built.as_bytes()))], built.as_bytes());
    assert_eq!(status(&wrong), 401);
    assert_eq!(status(&deliver(&generic(), vec![], built.as_bytes())), 401);
    let tags = AppTrigger { on: vec![TriggerEvent::Tag], ..generic() };
    assert_eq!(asked(send(&tags, &with(built, "\"main\"", "\"refs/tags/v1\""))), COMMIT);
}

#[test]
fn a_sender_of_ones_own_may_sign_a_time_and_an_id() {
    let built = |value: &str, signed: &str, timestamp: Option<&str>, hash: Hash, secret: &str| {
        let mut app = generic();
        let generic = app.generic.as_mut().unwrap();
        generic.value = Pattern::parse(value).unwrap();
        generic.signed = Pattern::parse(signed).unwrap();
        generic.timestamp = timestamp.map(str::to_owned);
        (generic.hash, generic.id) = (hash, Some("webhook-id".into()));
        app.secrets = vec![Key(secret.into())];
        app
    };
    let body = br#"{"x":1}"#;
    let send = |now: WallTime, app: &AppTrigger, signature: &str| {
        let headers = vec![
            ("X-Signature", signature.to_owned()),
            ("webhook-id", "d-1".into()),
            ("webhook-timestamp", "1800000000".into()),
        ];
        status(&deliver_at(now, app, headers, body))
    };
    // Standard Webhooks, as above.
    let standard =
        built("v1,{base64}", "{id}.{timestamp}.{body}", Some("webhook-timestamp"), Hash::Sha256, SIGNING_TOKEN);
    let good = "v1,94IgJ871SyIDuSgpnOC5DwHO9UeJxO/ONsZ2fRC6LVs=";
    // hmac.new(b"s", b'1800000000.{"x":1}', sha512).hexdigest()
    let hex = "0cc3e398d99f098822418eda25827588b5769eb2cbab647eeb09ce89166e4c0266685684756be9e2a2181121cafb1b82f5e78728ddff6a654a4f4771da7c91e5";
    let timed = built("t={timestamp},v1={hex}", "{timestamp}.{body}", None, Hash::Sha512, "s");
    for (app, signature, expected) in [
        (&standard, good.to_owned(), 200),
        (&standard, format!("v1,AAAA {good}"), 200),
        (&standard, good.replace("v1", "v2"), 401),
        (&timed, format!("t=1800000000,v1={hex}"), 200),
        (&timed, format!("t=1800000001,v1={hex}"), 401),
        (&timed, format!("v1={hex}"), 401),
    ] {
        assert_eq!(send(NOW, app, &signature), expected, "{signature}");
        assert_eq!(send(WallTime(NOW.0 + 301_000), app, &signature), 401, "late: {signature}");
    }
}
