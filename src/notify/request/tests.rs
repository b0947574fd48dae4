//! Each channel's requests against its documented form and limits.

use super::*;
use crate::base::{AppName, CommitId};
use crate::config::Forge;
use crate::notify::{CommitState, StatusOf, Tone};
use serde_json::Value;
use std::collections::BTreeSet;

const SECRET: &str = "hunter2hunter2";

fn target(way: Way) -> Target {
    let kind = "slack";
    Target::Channel(Arc::new(Channel { name: "x".into(), kind, on: BTreeSet::new(), way: Some(way), ca: None }))
}

fn url() -> Secret {
    Secret(format!("https://hooks.example/{SECRET}").into_bytes())
}

fn ways() -> Vec<Way> {
    let token = || Secret(format!("123:{SECRET}").into_bytes());
    vec![
        Way::Slack { url: url() },
        Way::Discord { url: url() },
        Way::Telegram { server: "https://t.example".into(), token: token(), chat: "-100".into() },
        Way::Ntfy { server: "https://n.example".into(), topic: "pi".into(), token: Some(token()) },
        Way::Webhook { url: url(), secret: Some(Secret(SECRET.into())) },
    ]
}

fn short() -> Message {
    Message {
        event: "deploy.failed".into(),
        tone: Tone::Bad,
        title: "shop: a<b & *c* failed".into(),
        app: Some(AppName::new("shop").unwrap()),
        text: Some("why: <script> & `code` @everyone <!channel>".into()),
        facts: vec![("commit".into(), "4f2a1c9".into()), ("branch".into(), "feature/<x>_y".into())],
        output: vec!["error: </pre> ``` & done".into()],
        at: WallTime(1_761_336_000_000),
    }
}

/// Everything far beyond every limit, in characters that take two UTF-16 units and four bytes.
fn huge() -> Message {
    let long = "🚨<&>*".repeat(3_000);
    Message {
        title: long.clone(),
        text: Some(long.clone()),
        facts: (0..40).map(|nth| (format!("{nth}{long}"), long.clone())).collect(),
        output: vec![long; 30],
        ..short()
    }
}

fn envelope() -> Envelope {
    Envelope { id: "17-4".into(), host: "cupboard".into(), at: WallTime(1_761_336_009_000) }
}

fn request(way: Way, message: &Message) -> Request {
    target(way).request(&Body::Message(message.clone()), &envelope()).unwrap()
}

fn json(request: &Request) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

fn header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    let mut found = request.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
    let value = found.next().map(|(_, value)| value.as_str());
    assert!(found.next().is_none(), "{name} is there once");
    value
}

fn units(text: &Value) -> usize {
    text.as_str().unwrap().encode_utf16().count()
}

#[test]
fn slack_gets_escaped_text_within_its_limits() {
    let of = |message: &Message| request(Way::Slack { url: url() }, message);
    let sent = of(&short());
    assert_eq!((sent.method, sent.url.as_str()), ("POST", &*format!("https://hooks.example/{SECRET}")));
    assert_eq!(header(&sent, "content-type"), Some("application/json"));
    let document = json(&sent);
    assert_eq!(document["text"], "❌ shop: a&lt;b &amp; *c* failed");
    let blocks = document["attachments"][0]["blocks"].as_array().unwrap();
    assert_eq!(document["attachments"][0]["color"], "#d04035");
    assert!(blocks[0]["text"]["text"].as_str().unwrap().ends_with("@everyone &lt;!channel&gt;"), "nobody is called");
    assert_eq!(blocks[1]["fields"][1]["text"], "*branch*\nfeature/&lt;x&gt;_y");
    assert_eq!(blocks[2]["text"]["text"], "```\nerror: &lt;/pre&gt; ''' &amp; done\n```");
    let document = json(&of(&huge()));
    for block in document["attachments"][0]["blocks"].as_array().unwrap() {
        assert!(["section", "context"].contains(&block["type"].as_str().unwrap()));
        assert!(block["text"]["text"].as_str().is_none_or(|text| text.chars().count() <= 3000));
        let fields = block["fields"].as_array().cloned().unwrap_or_default();
        assert!(
            fields.len() <= 10 && fields.iter().all(|field| field["text"].as_str().unwrap().chars().count() <= 2000)
        );
    }
}

#[test]
fn discord_gets_one_embed_within_its_limits() {
    let of = |message: &Message| json(&request(Way::Discord { url: url() }, message));
    let document = of(&short());
    assert_eq!(document["allowed_mentions"]["parse"], serde_json::json!([]));
    let embed = &document["embeds"][0];
    assert_eq!(embed["title"], "❌ shop: a<b & \\*c\\* failed");
    assert_eq!((&embed["color"], &embed["timestamp"]), (&0xd0_40_35.into(), &"2025-10-24T20:00:00Z".into()));
    assert_eq!(embed["fields"][1]["value"], "feature/<x\\>\\_y");
    assert!(embed["description"].as_str().unwrap().ends_with("```\nerror: </pre> ''' & done\n```"));
    let document = of(&huge());
    assert_eq!(document["embeds"].as_array().unwrap().len(), 1);
    let embed = &document["embeds"][0];
    let fields = embed["fields"].as_array().unwrap();
    assert!(units(&embed["title"]) <= 256 && units(&embed["description"]) <= 4096 && fields.len() <= 25);
    for field in fields {
        assert!(units(&field["name"]) <= 256 && units(&field["value"]) <= 1024);
    }
    let all: usize = fields.iter().map(|field| units(&field["name"]) + units(&field["value"])).sum();
    let all = all + units(&embed["title"]) + units(&embed["description"]) + units(&embed["footer"]["text"]);
    assert!(all <= 6000, "all texts of an embed together: {all}");
}

#[test]
fn telegram_gets_html_that_is_closed_escaped_and_short_enough() {
    let way = || Way::Telegram {
        server: "https://t.example".into(),
        token: Secret(b"123:abc".to_vec()),
        chat: "@pi_news".into(),
    };
    let sent = request(way(), &short());
    assert_eq!(sent.url, "https://t.example/bot123:abc/sendMessage");
    let document = json(&sent);
    assert_eq!((&document["chat_id"], &document["parse_mode"]), (&"@pi_news".into(), &"HTML".into()));
    let text = document["text"].as_str().unwrap();
    assert!(text.starts_with("❌ <b>shop: a&lt;b &amp; *c* failed</b>\nwhy: &lt;script&gt; &amp; `code`"), "{text}");
    assert!(text.ends_with("<pre>error: &lt;/pre&gt; ``` &amp; done</pre>\n<i>cupboard</i>"), "{text}");
    let sent = json(&request(way(), &huge()));
    let text = sent["text"].as_str().unwrap();
    // As Telegram counts: without tags, an entity as one character.
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['<', '&']) {
        plain += &rest[..at];
        let end = rest[at..].find(['>', ';']).expect("every tag and entity is whole") + at;
        let what = &rest[at..=end];
        match what {
            "&lt;" | "&gt;" | "&amp;" => plain.push('.'),
            "<b>" | "</b>" | "<i>" | "</i>" | "<pre>" | "</pre>" => {}
            other => panic!("{other} is not known to Telegram"),
        }
        rest = &rest[end + 1..];
    }
    plain += rest;
    assert!(plain.encode_utf16().count() <= 4096, "{}", plain.encode_utf16().count());
    for tag in ["b", "i", "pre"] {
        assert_eq!(text.matches(&format!("<{tag}>")).count(), text.matches(&format!("</{tag}>")).count());
    }
}

#[test]
fn ntfy_gets_headers_that_are_ascii_and_a_short_body() {
    let way = || Way::Ntfy {
        server: "https://n.example".into(),
        topic: "pi".into(),
        token: Some(Secret(b"tk_abc".to_vec())),
    };
    let sent = request(way(), &short());
    assert_eq!(sent.url, "https://n.example/pi");
    assert_eq!(header(&sent, "title"), Some("shop: a<b & *c* failed"));
    assert_eq!((header(&sent, "priority"), header(&sent, "tags")), (Some("high"), Some("x")));
    assert_eq!(header(&sent, "authorization"), Some("Bearer tk_abc"));
    assert!(String::from_utf8(sent.body).unwrap().ends_with("error: </pre> ``` & done\n(cupboard)"));
    let message = Message { title: "Füße\r\nX-Evil: 1".into(), tone: Tone::Critical, ..short() };
    let sent = request(way(), &message);
    assert_eq!(header(&sent, "title"), Some("=?UTF-8?B?RsO8w59lIFgtRXZpbDogMQ==?="));
    assert_eq!(header(&sent, "priority"), Some("urgent"));
    let sent = request(way(), &huge());
    let title = header(&sent, "title").unwrap();
    assert!(title.split(' ').all(|word| word.len() <= 75 && word.starts_with("=?UTF-8?B?") && word.ends_with("?=")));
    assert!(sent.body.len() <= 4096 && std::str::from_utf8(&sent.body).is_ok());
}

#[test]
fn a_webhook_is_signed_and_says_who_when_and_what() {
    let sent =
        request(Way::Webhook { url: url(), secret: Some(Secret(b"It's a Secret to Everybody".to_vec())) }, &short());
    let document = json(&sent);
    for (key, value) in [
        ("id", Value::from("17-4")),
        ("timestamp", 1_761_336_009.into()),
        ("event", "deploy.failed".into()),
        ("severity", "bad".into()),
        ("host", "cupboard".into()),
        ("app", "shop".into()),
        ("at", "2025-10-24T20:00:00Z".into()),
    ] {
        assert_eq!(document[key], value, "{key}");
    }
    assert_eq!(document["facts"]["commit"], "4f2a1c9");
    assert_eq!(header(&sent, "x-pintle-event"), Some("deploy.failed"));
    assert_eq!(
        (header(&sent, "x-pintle-delivery"), header(&sent, "x-pintle-timestamp")),
        (Some("17-4"), Some("1761336009"))
    );
    let signature = header(&sent, "x-pintle-signature-256").unwrap();
    let secret = Secret(b"It's a Secret to Everybody".to_vec());
    assert_eq!(Some(signature.to_owned()), webhook::sign(&secret, &sent.body));
    // GitHub's own example.
    let known = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    assert_eq!(webhook::sign(&secret, b"Hello, World!").as_deref(), Some(known));
    let unsigned = request(Way::Webhook { url: url(), secret: None }, &short());
    assert_eq!(header(&unsigned, "x-pintle-signature-256"), None);
}

#[test]
fn a_command_gets_variables_of_which_none_can_break_out() {
    let message = Message { title: "a\0b".into(), ..short() };
    let variables = webhook::variables(&Body::Message(message), &envelope());
    let value = |name: &str| variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    assert_eq!((value("PINTLE_TITLE"), value("PINTLE_SEVERITY")), (Some("ab"), Some("bad")));
    assert_eq!((value("PINTLE_APP"), value("PINTLE_EVENT")), (Some("shop"), Some("deploy.failed")));
    assert!(variables.iter().all(|(name, _)| name.starts_with("PINTLE_")));
}

#[test]
fn each_forge_is_told_as_its_api_wants_it() {
    let of = StatusOf {
        commit: CommitId::new("4f2a1c9000000000000000000000000000000001").unwrap(),
        state: CommitState::Failure,
        description: "failed in test, nothing changed".repeat(20),
    };
    let status = |forge, api: &str, repository: &str| {
        let (token, context) = (Secret(b"t0ken".to_vec()), "pintle/shop".to_owned());
        Target::Forge(Arc::new(CommitStatus {
            forge,
            api: api.into(),
            repository: repository.into(),
            token,
            context,
            ca: None,
        }))
    };
    let table = [
        (Forge::Github, "o/n", "/repos/o/n/statuses/", ("Authorization", "Bearer t0ken"), "failure", "context"),
        (Forge::Gitlab, "g/s/n", "/projects/g%2Fs%2Fn/statuses/", ("PRIVATE-TOKEN", "t0ken"), "failed", "name"),
        (Forge::Gitea, "o/n", "/repos/o/n/statuses/", ("Authorization", "token t0ken"), "failure", "context"),
        (Forge::Forgejo, "o/n", "/repos/o/n/statuses/", ("Authorization", "token t0ken"), "failure", "context"),
    ];
    for (forge, repository, path, (name, value), state, context) in table {
        let target = status(forge, "https://api.example", repository);
        let sent = target.request(&Body::Status(of.clone()), &envelope()).unwrap();
        assert_eq!(sent.url, format!("https://api.example{path}{}", of.commit));
        assert_eq!(header(&sent, name), Some(value), "{forge:?}");
        let document = json(&sent);
        assert_eq!((&document["state"], &document[context]), (&state.into(), &"pintle/shop".into()));
        assert!(document["description"].as_str().unwrap().chars().count() <= 140);
        assert!(target.request(&Body::Message(short()), &envelope()).is_none());
    }
    let github =
        status(Forge::Github, "https://api.github.com", "o/n").request(&Body::Status(of), &envelope()).unwrap();
    assert_eq!(header(&github, "accept"), Some("application/vnd.github+json"));
    assert_eq!(header(&github, "x-github-api-version"), Some("2022-11-28"));
}

#[test]
fn answers_are_understood_and_no_secret_is_repeated_from_them() {
    let now = WallTime(1_761_336_000_000);
    let reply = |status, retry_after: Option<&str>, body: &str| Reply {
        status,
        retry_after: retry_after.map(str::to_owned),
        quota_left: None,
        quota_reset: None,
        body: body.as_bytes().to_vec(),
    };
    let waits = |outcome: Outcome| match outcome {
        Outcome::Later { after, .. } => after.map(|after| after.as_millis() as u64),
        other => panic!("{other:?}"),
    };
    for way in ways() {
        let target = target(way);
        for status in [200, 201, 204] {
            assert_eq!(target.outcome(&reply(status, None, "ok"), now), Outcome::Delivered);
        }
        for status in [301, 307, 400, 401, 403, 404, 410] {
            let outcome = target.outcome(&reply(status, None, &format!("no {SECRET}")), now);
            match status {
                401 | 403 | 404 => assert!(matches!(&outcome, Outcome::Refused { .. }), "{status} {outcome:?}"),
                _ => assert!(matches!(&outcome, Outcome::Never { .. }), "{status} {outcome:?}"),
            }
            assert!(!format!("{outcome:?} {target:?}").contains(SECRET), "{outcome:?}");
        }
        // Where a cut would go through the secret, or an escape sequence does.
        for body in [format!("{}{SECRET}", "x".repeat(190)), format!("PASS\u{1b}[1mWORD\u{1b}[0m: {SECRET}")] {
            let outcome = target.outcome(&reply(400, None, &body), now);
            assert!(!format!("{outcome:?}").contains("hunter"), "{outcome:?}");
        }
        for status in [408, 429, 500, 502, 503] {
            assert_eq!(waits(target.outcome(&reply(status, None, ""), now)), None);
            assert_eq!(waits(target.outcome(&reply(status, Some("7"), ""), now)), Some(7_000));
        }
        let date = target.outcome(&reply(503, Some("Fri, 24 Oct 2025 20:02:00 GMT"), ""), now);
        assert_eq!(waits(date), Some(120_000));
    }
    let told = |way, body: &str| waits(target(way).outcome(&reply(429, None, body), now));
    let telegram = r#"{"ok":false,"error_code":429,"description":"Too Many Requests: retry after 5","parameters":{"retry_after":5}}"#;
    let discord = r#"{"message":"You are being rate limited.","retry_after":64.57,"global":false}"#;
    let mut ways = ways();
    assert_eq!(told(ways.remove(2), telegram), Some(5_000));
    assert_eq!(told(ways.remove(1), discord), Some(64_570));
}

#[test]
fn a_403_of_a_rate_limit_is_waited_out_and_any_other_is_a_refusal() {
    let now = WallTime(1_761_336_000_000);
    let later = |seconds: Option<u64>| Some(seconds.map(Duration::from_secs));
    type Row = (u16, Option<&'static str>, Option<&'static str>, Option<&'static str>, Option<Option<Duration>>);
    let table: [Row; 9] = [
        (403, Some("60"), None, None, later(Some(60))),
        (403, None, Some("0"), Some("1761336090"), later(Some(90))),
        (403, Some("7"), Some("0"), Some("1761336090"), later(Some(7))),
        (403, None, Some("0"), None, later(None)),
        (403, None, Some("0"), Some("99999999999999999"), later(None)),
        (429, None, Some("0"), Some("1761336090"), later(Some(90))),
        (403, None, Some("4999"), Some("1761336090"), None),
        (403, None, None, None, None),
        (404, None, Some("0"), None, None),
    ];
    let target = target(Way::Slack { url: url() });
    for (status, retry_after, left, reset, expected) in table {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let (quota_left, quota_reset) = (owned(left), owned(reset));
        let reply = Reply { status, retry_after: owned(retry_after), quota_left, quota_reset, body: vec![] };
        match (target.outcome(&reply, now), expected) {
            (Outcome::Later { after, answered: false, .. }, Some(expected)) => assert_eq!(after, expected, "{reply:?}"),
            (Outcome::Refused { .. }, None) => {}
            (other, _) => panic!("{reply:?}: {other:?}"),
        }
    }
}
