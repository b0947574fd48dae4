//! Whole requests against whole configurations, by tables.

mod forges;

use super::*;
use crate::base::CommitId;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const PUSH: &str = include_str!("../../tests/payloads/push.json");
const PUSH_DELETED: &str = include_str!("../../tests/payloads/push-deleted.json");
const PUSH_TAG: &str = include_str!("../../tests/payloads/push-tag.json");
const RUN: &str = include_str!("../../tests/payloads/workflow_run.json");
const RELEASE: &str = include_str!("../../tests/payloads/release.json");
const PACKAGE: &str = include_str!("../../tests/payloads/registry_package.json");
const PING: &str = include_str!("../../tests/payloads/ping.json");
/// A field that decides must be there once, and be what it should be.
const TWICE: &str =
    "{\"ref\":\"refs/heads/main\",\"ref\":\"refs/heads/main\",\"after\":\"4f2a1c9000000000000000000000000000000042\"}";
const HUGE: &str = "{\"ref\":1e999999,\"after\":\"4f2a1c9000000000000000000000000000000042\"}";
const COMMIT: &str = "4f2a1c9000000000000000000000000000000042";

fn app(name: &str, secret: &str, on: TriggerEvent) -> AppTrigger {
    AppTrigger {
        app: AppName::new(name).unwrap(),
        forge: Forge::Github,
        secrets: vec![Key(secret.as_bytes().to_vec())],
        on: vec![on],
        workflow: None,
        workflow_events: vec!["push".into(), "workflow_dispatch".into()],
        repository: Some("owner/nutricount".into()),
        generic: None,
        branch: "main".into(),
    }
}

/// When everything here happens.
const NOW: WallTime = WallTime(1_800_000_000_000);

fn head<'a>(door: Door<'a>, headers: &'a [(String, String)]) -> RequestHead<'a> {
    RequestHead { door, headers, now: NOW }
}

fn on_push() -> AppTrigger {
    app("web", "s", TriggerEvent::Push)
}

fn on_run() -> AppTrigger {
    AppTrigger { workflow: Some("CI/CD Pipeline".into()), ..app("web", "s", TriggerEvent::WorkflowRun) }
}

fn sign(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

/// A webhook as GitHub sends it, signed with `secret`.
fn hook(event: &str, secret: &str, body: &[u8]) -> Vec<(String, String)> {
    [
        ("content-type", "application/json"),
        ("x-github-event", event),
        ("X-GitHub-Delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958"),
        ("X-Hub-Signature-256", &sign(secret, body)),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

const ANY: Door<'static> = Door::Webhook { app: None, forge: None };

fn sent(apps: &[AppTrigger], door: Door<'_>, event: &str, body: &str) -> Decision {
    let headers = hook(event, "s", body.as_bytes());
    decide(apps, &head(door, &headers), body.as_bytes())
}

fn status(decision: &Decision) -> u16 {
    match decision {
        Decision::Accept(_) => 202,
        Decision::Ignore(_) => 200,
        Decision::Refuse(refusal) => refusal.status,
    }
}

fn wanted(decision: &Decision) -> Vec<&str> {
    match decision {
        Decision::Accept(delivery) => delivery.wants.iter().map(|want| want.app.as_str()).collect(),
        other => panic!("{other:?}"),
    }
}

/// The reason holds `part`; an empty `part` means: it is accepted.
fn expect(decision: Decision, part: &str, case: &str) {
    match decision {
        Decision::Accept(delivery) if part.is_empty() => {
            assert_eq!(delivery.wants[0].wanted.requested(), COMMIT, "{case}")
        }
        Decision::Ignore(ignored) if !part.is_empty() => {
            let why = ignored.why();
            assert!(why.contains(part), "{case}: {why}");
            assert!(ignored.delivery.wants.is_empty() && !ignored.delivery.event.is_empty(), "{ignored:?}");
        }
        other => panic!("{case}: {other:?}"),
    }
}

#[test]
fn a_push_to_the_branch_is_accepted_with_its_id_and_commit() {
    let decision = sent(&[on_push()], ANY, "push", PUSH);
    let want = Want { app: AppName::new("web").unwrap(), wanted: Wanted::Commit(CommitId::new(COMMIT).unwrap()) };
    let id = Some("72d3162e-cc78-11e3-81ab-4c9367dc0958".into());
    let expected = Delivery { wants: vec![want], ..Delivery::new(id, Trigger::Webhook, "push") };
    assert_eq!(decision, Decision::Accept(expected));
}

#[test]
fn pushes_that_deploy_nothing_say_why() {
    let to = |reference: &str| PUSH.replace("refs/heads/main", reference);
    let elsewhere = PUSH.replace("Owner/Nutricount", "owner/other");
    let cases: [(&str, &str); 9] = [
        (PUSH, ""),
        (PUSH_DELETED, "deleted"),
        (&PUSH_DELETED.replace("true", "false"), "deleted"),
        (PUSH_TAG, "tag \"main\""),
        (&to("refs/heads/feature/main"), "\"feature/main\" is not \"main\""),
        (&to("refs/heads/Main"), "is not"),
        (&to("main"), "not a branch"),
        (&to("refs/heads/refs/heads/main"), "is not"),
        (&elsewhere, "owner/other"),
    ];
    for (body, part) in cases {
        expect(sent(&[on_push()], ANY, "push", body), part, body);
    }
    expect(sent(&[on_run()], ANY, "push", PUSH), "after a workflow run, not on push", "push for a run app");
    expect(sent(&[on_push()], ANY, "ping", PING), "ping", "ping");
    expect(sent(&[on_push()], ANY, "issues", "{}"), "\"issues\" deploys nothing", "issues");
}

#[test]
fn only_a_completed_successful_run_of_the_named_workflow_on_the_branch_deploys() {
    let with = |from: &str, to: &str| {
        assert!(RUN.contains(from), "{from}");
        RUN.replace(from, to)
    };
    let fork = "\"head_repository\": {\"full_name\": \"mallory/nutricount\"}";
    let home = "\"head_repository\": {\"full_name\": \"owner/nutricount\"}";
    let success = "\"conclusion\": \"success\"";
    let mut cases = vec![
        (RUN.to_owned(), ""),
        (with("\"action\": \"completed\"", "\"action\": \"requested\""), "\"requested\", not completed"),
        (with("\"action\": \"completed\"", "\"action\": \"in_progress\""), "not completed"),
        (with(success, "\"conclusion\": null"), "\"null\", not success"),
        (with(home, fork), "fork"),
        (with(home, "\"head_repository\": null"), "fork"),
        (with("\"event\": \"push\"", "\"event\": \"pull_request\""), "started by \"pull_request\""),
        (with("\"event\": \"push\"", "\"event\": \"workflow_dispatch\""), ""),
        (with("\"head_branch\": \"main\"", "\"head_branch\": \"dev\""), "\"dev\" is not \"main\""),
        (with("\"head_branch\": \"main\"", "\"head_branch\": null"), "is not \"main\""),
        (with("CI/CD Pipeline", "Lint"), "\"Lint\" is not \"CI/CD Pipeline\""),
        (with("\"name\": \"CI/CD Pipeline\",\n    \"head", "\"name\": \"\",\n    \"head"), ""),
    ];
    for conclusion in
        ["failure", "neutral", "cancelled", "timed_out", "action_required", "stale", "skipped", "startup_failure"]
    {
        cases.push((with(success, &format!("\"conclusion\": \"{conclusion}\"")), "not success"));
    }
    for (body, part) in &cases {
        expect(sent(&[on_run()], ANY, "workflow_run", body), part, body);
    }
    expect(sent(&[on_push()], ANY, "workflow_run", RUN), "on push, not after a workflow run", "run for a push app");
    let both = AppTrigger { on: vec![TriggerEvent::WorkflowRun, TriggerEvent::Push], ..on_run() };
    expect(sent(&[both], ANY, "push", PUSH), "not on push", "of several events the first counts");
}

#[test]
fn a_release_deploys_its_tag_and_a_package_its_commit() {
    let on = |event| AppTrigger { on: vec![event], ..on_push() };
    let with = |body: &str, from: &str, to: &str| {
        assert!(body.contains(from), "{from}");
        body.replace(from, to)
    };
    let published = "\"action\": \"published\"";
    let releases = [
        (RELEASE.to_owned(), ""),
        (with(RELEASE, published, "\"action\": \"released\""), ""),
        (with(RELEASE, published, "\"action\": \"edited\""), "was \"edited\", not published"),
        (with(RELEASE, "\"draft\": false", "\"draft\": true"), "is a draft"),
        (with(RELEASE, "\"prerelease\": false", "\"prerelease\": true"), "prerelease, which does not deploy"),
        (with(RELEASE, "v1.4.0", "--upload-pack=x"), "a name that is not fetched"),
        (with(RELEASE, "owner/nutricount", "owner/other"), "owner/other"),
    ];
    for (body, part) in releases {
        match sent(&[on(TriggerEvent::Release)], ANY, "release", &body) {
            Decision::Accept(delivery) if part.is_empty() => {
                assert_eq!(delivery.wants[0].wanted.requested(), "refs/tags/v1.4.0")
            }
            other => expect(other, part, &body),
        }
    }
    let revision = format!("\"revision\": \"{COMMIT}\"");
    let unnamed = with(PACKAGE, &revision, "\"revision\": null");
    let packages = [
        (PACKAGE.to_owned(), ""),
        (with(&unnamed, &"1".repeat(40), COMMIT), ""),
        (with(&unnamed, &"1".repeat(40), "main"), "does not say which commit"),
        (with(PACKAGE, published, "\"action\": \"updated\""), "\"updated\", not published"),
    ];
    for (body, part) in packages {
        expect(sent(&[on(TriggerEvent::RegistryPackage)], ANY, "registry_package", &body), part, &body);
    }
    expect(sent(&[on_push()], ANY, "release", RELEASE), "on push, not on a release", "release for a push app");
    expect(sent(&[on(TriggerEvent::Release)], ANY, "push", PUSH), "on a release, not on push", "the other way round");
}

#[test]
fn a_pushed_tag_deploys_the_commit_it_stands_for() {
    let tags = [AppTrigger { on: vec![TriggerEvent::Tag], ..on_push() }];
    let named = |decision: Decision| match decision {
        Decision::Accept(delivery) => delivery.wants[0].wanted.requested(),
        other => panic!("{other:?}"),
    };
    assert_eq!(named(sent(&tags, ANY, "push", PUSH_TAG)), "refs/tags/main", "the commit is not named beside it");
    let head = format!("\"deleted\": false, \"head_commit\": {{\"id\": \"{COMMIT}\"}}");
    let annotated = PUSH_TAG.replace(COMMIT, &"8".repeat(40)).replace("\"deleted\": false", &head);
    assert_eq!(named(sent(&tags, ANY, "push", &annotated)), COMMIT, "not the tag's own object");
    expect(sent(&tags, ANY, "push", &PUSH_TAG.replace("false", "true")), "the tag \"main\" was deleted", "deleted");
    expect(sent(&tags, ANY, "push", PUSH), "on a tag, not on push", "a branch");
}

#[test]
fn what_is_skipped_may_be_anything_but_the_whole_must_be_text() {
    let deep = format!("{{\"commits\":{}{},{}", "[".repeat(100_000), "]".repeat(100_000), &PUSH.trim_start()[1..]);
    expect(sent(&[on_push()], ANY, "push", &deep), "", "deep");
    let numbers = format!("{{\"size\":1e999999,\"size2\":{},{}", "9".repeat(10_000), &PUSH.trim_start()[1..]);
    expect(sent(&[on_push()], ANY, "push", &numbers), "", "numbers");
    let mut latin = PUSH.as_bytes().to_vec();
    let at = PUSH.find("Count").unwrap();
    latin[at] = 0xe9;
    let headers = hook("push", "s", &latin);
    match decide(&[on_push()], &head(ANY, &headers), &latin) {
        Decision::Refuse(refusal) => {
            assert_eq!((refusal.status, refusal.message.as_str()), (400, "the body is not UTF-8"))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_signature_is_settled_before_anything_is_read() {
    let apps = [on_push(), AppTrigger { secrets: vec![], ..app("bare", "", TriggerEvent::Push) }];
    let headers = |secret: &str, body: &str| hook("push", secret, body.as_bytes());
    let without = |mut headers: Vec<(String, String)>, name: &str| {
        headers.retain(|(header, _)| !header.eq_ignore_ascii_case(name));
        headers
    };
    let to = |name: &'static str| Door::Webhook { app: Some(name), forge: None };
    let text = |mut headers: Vec<(String, String)>| {
        headers[0].1 = "text/plain".into();
        headers
    };
    let cases = [
        (202, ANY, headers("s", PUSH), PUSH),
        (401, ANY, headers("wrong", PUSH), PUSH),
        (401, ANY, headers("wrong", "{"), "{"),
        (401, ANY, headers("", PUSH), PUSH),
        (401, ANY, without(headers("s", PUSH), "X-Hub-Signature-256"), PUSH),
        (401, ANY, headers("s", PUSH), PING),
        (401, to("bare"), headers("", PUSH), PUSH),
        (401, to("bare"), headers("s", PUSH), PUSH),
        (202, to("web"), headers("s", PUSH), PUSH),
        (404, to("nobody"), headers("s", PUSH), PUSH),
        (404, Door::Webhook { app: None, forge: Some(Forge::Gitlab) }, headers("s", PUSH), PUSH),
        (202, Door::Webhook { app: None, forge: Some(Forge::Github) }, headers("s", PUSH), PUSH),
        (415, ANY, text(headers("s", PUSH)), PUSH),
        (400, ANY, headers("s", "{"), "{"),
        (400, ANY, headers("s", ""), ""),
        (400, ANY, headers("s", "[]"), "[]"),
        (400, ANY, headers("s", TWICE), TWICE),
        (400, ANY, headers("s", HUGE), HUGE),
        (400, ANY, headers("s", "{\"ref\":\"refs/heads/main\"}"), "{\"ref\":\"refs/heads/main\"}"),
        (400, ANY, without(headers("s", PUSH), "X-GitHub-Event"), PUSH),
        (202, ANY, without(headers("s", PUSH), "X-GitHub-Delivery"), PUSH),
    ];
    for (index, (expected, door, headers, body)) in cases.iter().enumerate() {
        let decision = decide(&apps, &head(*door, headers), body.as_bytes());
        assert_eq!(status(&decision), *expected, "case {index}: {decision:?}");
    }
    let refused = decide(&apps, &head(ANY, &headers("wrong", PUSH)), PUSH.as_bytes());
    assert_eq!(refused, Decision::Refuse(Refusal::new(401, "bad or missing signature")), "no detail");
    assert_eq!(status(&decide(&[], &head(ANY, &headers("s", PUSH)), PUSH.as_bytes())), 401);
}

#[test]
fn commits_that_are_none_and_ids_that_are_none_are_refused() {
    for bad in ["4f2a1c9", "--upload-pack=x", &"g".repeat(40), ""] {
        let body = PUSH.replacen(&format!("\"after\": \"{COMMIT}\""), &format!("\"after\": \"{bad}\""), 1);
        assert_eq!(status(&sent(&[on_push()], ANY, "push", &body)), 400, "{bad:?}");
    }
    for bad in ["", "\u{1b}[31m", &"x".repeat(65)] {
        let mut headers = hook("push", "s", PUSH.as_bytes());
        headers[1].1 = bad.to_owned();
        let decision = decide(&[on_push()], &head(ANY, &headers), PUSH.as_bytes());
        assert_eq!(status(&decision), 400, "event {bad:?}");
    }
    for bad in ["", "a b", &"x".repeat(129)] {
        let mut headers = hook("push", "s", PUSH.as_bytes());
        headers[2].1 = bad.to_owned();
        let decision = decide(&[on_push()], &head(ANY, &headers), PUSH.as_bytes());
        assert_eq!(status(&decision), 400, "{bad:?}");
    }
}

#[test]
fn a_form_is_signed_as_sent() {
    let encoded: String = PUSH.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let body = format!("payload={encoded}");
    let mut headers = hook("push", "s", body.as_bytes());
    headers[0].1 = "application/x-www-form-urlencoded".into();
    let decision = decide(&[on_push()], &head(ANY, &headers), body.as_bytes());
    expect(decision, "", "form");
    headers[3].1 = sign("s", PUSH.as_bytes());
    let decision = decide(&[on_push()], &head(ANY, &headers), body.as_bytes());
    assert_eq!(status(&decision), 401, "the JSON's signature is not the body's");
}

#[test]
fn test_and_prod_share_a_repository_and_each_decides_for_itself() {
    let prod = app("prod", "s", TriggerEvent::Push);
    let test = app("test", "s", TriggerEvent::Push);
    let dev = AppTrigger { branch: "dev".into(), ..app("dev", "s", TriggerEvent::Push) };
    let foreign = app("foreign", "another secret", TriggerEvent::Push);
    let other = AppTrigger { repository: Some("owner/other".into()), ..app("other", "s", TriggerEvent::Push) };
    let unknown = AppTrigger { repository: None, ..app("unknown", "s", TriggerEvent::Push) };
    let lab = AppTrigger { forge: Forge::Gitlab, ..app("lab", "s", TriggerEvent::Push) };
    let apps = [prod, test, dev.clone(), foreign, other, unknown, lab];
    assert_eq!(wanted(&sent(&apps, ANY, "push", PUSH)), ["prod", "test", "unknown"]);
    let to_dev = PUSH.replace("refs/heads/main", "refs/heads/dev");
    assert_eq!(wanted(&sent(&apps, ANY, "push", &to_dev)), ["dev"]);
    assert_eq!(wanted(&sent(&apps, Door::Webhook { app: Some("test"), forge: None }, "push", PUSH)), ["test"]);
    assert_eq!(status(&sent(&apps, Door::Webhook { app: Some("lab"), forge: None }, "push", PUSH)), 401);
    let two = [dev, on_run()];
    let why = "dev: the branch \"main\" is not \"dev\"; web: it is deployed after a workflow run, not on push";
    match sent(&two, ANY, "push", PUSH) {
        Decision::Ignore(ignored) => {
            assert_eq!(ignored.why(), why);
            assert_eq!(ignored.apps, [AppName::new("dev").unwrap(), AppName::new("web").unwrap()]);
            assert_eq!(ignored.delivery.id.as_deref(), Some("72d3162e-cc78-11e3-81ab-4c9367dc0958"));
            assert_eq!((ignored.delivery.event.as_str(), ignored.delivery.trigger), ("push", Trigger::Webhook));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn deploy_takes_a_commit_in_several_shapes() {
    let other = "5".repeat(40);
    let cases = [
        (202, format!("{{\"ref\":\"refs/heads/main\",\"head_commit\":{{\"id\":\"{COMMIT}\"}}}}")),
        (202, format!("{{\"ref\":\"main\",\"commit\":\"{COMMIT}\"}}")),
        (202, format!("{{\"commit\":\"{}\"}}", COMMIT.to_uppercase())),
        (202, PUSH.to_owned()),
        (200, format!("{{\"ref\":\"refs/heads/dev\",\"commit\":\"{COMMIT}\"}}")),
        (200, format!("{{\"ref\":\"refs/tags/main\",\"commit\":\"{COMMIT}\"}}")),
        (200, format!("{{\"commit\":\"{COMMIT}\",\"repository\":{{\"full_name\":\"owner/other\"}}}}")),
        (400, format!("{{\"commit\":\"{COMMIT}\",\"head_commit\":{{\"id\":\"{other}\"}}}}")),
        (400, "{\"commit\":\"4f2a1c9\"}".to_owned()),
        (400, format!("{{\"commit\":\"{}\"}}", "0".repeat(40))),
        (400, "{\"ref\":\"refs/heads/main\"}".to_owned()),
        (400, "{\"commit\":7}".to_owned()),
        (400, "not json".to_owned()),
        (422, format!("{{\"image_sha\":\"{COMMIT}\"}}")),
        (202, "{\"tag\":\"v1.4.0\"}".to_owned()),
        (202, "{\"tag\":\"refs/tags/v1.4.0\"}".to_owned()),
        (400, "{\"tag\":\"--upload-pack=x\"}".to_owned()),
        (400, "{\"tag\":\"\"}".to_owned()),
        (400, format!("{{\"tag\":\"v1.4.0\",\"commit\":\"{COMMIT}\"}}")),
    ];
    let apps = [on_run(), AppTrigger { forge: Forge::Gitlab, ..app("lab", "l", TriggerEvent::Push) }];
    for (expected, body) in &cases {
        let headers = hook("", "s", body.as_bytes());
        let head = head(Door::Deploy { app: None }, &headers);
        let decision = decide(&apps, &head, body.as_bytes());
        assert_eq!(status(&decision), *expected, "{body}: {decision:?}");
        if let Decision::Accept(delivery) = decision {
            assert_eq!((delivery.id, delivery.trigger, delivery.event.as_str()), (None, Trigger::Deploy, "deploy"));
            assert_eq!(delivery.wants.len(), 1);
        }
    }
    let body = &cases[1].1;
    let asked = |secret: &str, app: &str| {
        let headers = hook("", secret, body.as_bytes());
        status(&decide(&apps, &head(Door::Deploy { app: Some(app) }, &headers), body.as_bytes()))
    };
    assert_eq!(asked("l", "lab"), 202, "whatever its forge is");
    assert_eq!(asked("s", "lab"), 401);
    assert_eq!(asked("s", "nobody"), 404);
}

#[test]
fn what_outsiders_name_is_bounded_and_on_one_line() {
    let long = PUSH.replace("refs/heads/main", &format!("refs/heads/{}", "x".repeat(10_000)));
    match sent(&[on_push()], ANY, "push", &long) {
        Decision::Ignore(ignored) => assert!(ignored.why().len() < 200, "{}", ignored.why().len()),
        other => panic!("{other:?}"),
    }
    assert_eq!(shown("a\n\u{1b}[31m"), "\"a\\n\\u{1b}[31m\"");
}

#[test]
fn a_trigger_travels_as_json_and_hides_its_secrets() {
    let trigger = on_run();
    let json = serde_json::to_string(&trigger).unwrap();
    assert_eq!(serde_json::from_str::<AppTrigger>(&json).unwrap(), trigger);
    assert!(json.contains("[115]"), "secrets are bytes, not text");
    assert!(format!("{trigger:?}").contains("Key(…)"));
}
