//! A delivery written by a fuzzer, signed as its forge would, and what must hold of the decision.
//!
//! An input is text: a line of words (`unsigned`, `deploy`, `named`, `form`), headers, an empty line, the body.

use crate::{SECRET, hex_of_mac, scratch};
use pintle::base::WallTime;
use pintle::config::Config;
use pintle::control::Request;
use pintle::delivery::{AppTrigger, Decision, Door, RequestHead, decide};

/// When every delivery comes.
pub const NOW: WallTime = WallTime(1_800_000_000_000);

/// How one forge proves itself: the headers for a body.
pub type Proof = fn(&[u8]) -> Vec<(String, String)>;

/// One header whose value is `prefix` and the hex digits of the body's HMAC.
pub fn hex_header(name: &str, prefix: &str, body: &[u8]) -> Vec<(String, String)> {
    vec![(name.to_owned(), format!("{prefix}{}", hex_of_mac(SECRET.as_bytes(), body)))]
}

/// Apps of `forge` that share a secret, one for each of `events`; `more` stands in `[trigger]` too, or behind it.
pub fn triggers(forge: &str, events: &[&str], more: &str) -> Vec<AppTrigger> {
    // As the payloads name it.
    let repository = if forge == "gitlab" { "owner/apps/nutricount" } else { "owner/nutricount" };
    let name = |event: &str| event.replace('_', "-");
    let text = |event: &str| {
        format!(
            "[source]\ngit = \"https://example.org/{repository}.git\"\nbranch = \"main\"\n[trigger]\nforge = {forge:?}\n\
             secret = {{ env = \"SECRET\" }}\nrepository = {repository:?}\non = [{event:?}]\n{more}\n"
        )
    };
    let apps: Vec<(String, String)> = events.iter().map(|event| (name(event), text(event))).collect();
    let apps: Vec<(&str, &str)> = apps.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    scratch::clear();
    scratch::write("", "", &apps);
    let loaded = Config::load(scratch::dir(), &scratch::environment()).unwrap_or_else(|why| panic!("{why:#?}"));
    loaded.config.apps.values().map(AppTrigger::of).collect()
}

/// Lets `apps` decide about the delivery that `input` describes.
pub fn check(apps: &[AppTrigger], proof: Proof, input: &[u8]) {
    let end = input.windows(2).position(|two| two == b"\n\n").unwrap_or(input.len());
    let head = String::from_utf8_lossy(&input[..end]);
    let body = input.get(end + 2..).unwrap_or_default();
    let mut lines = head.lines();
    let words = lines.next().unwrap_or_default();
    let says = |word: &str| words.split(' ').any(|said| said == word);

    let written = lines.filter_map(|line| line.split_once(": "));
    let mut headers: Vec<(String, String)> = written.map(|(name, value)| (name.into(), value.into())).collect();
    let genuine = !says("unsigned");
    if genuine {
        headers.extend(match says("deploy") {
            true => hex_header("X-Hub-Signature-256", "sha256=", body),
            false => proof(body),
        });
    }
    let kind = if says("form") { "application/x-www-form-urlencoded" } else { "application/json" };
    headers.push(("Content-Type".into(), kind.into()));
    let app = says("named").then_some("push");
    let door = if says("deploy") { Door::Deploy { app } } else { Door::Webhook { app, forge: None } };

    let decision = decide(apps, &RequestHead { door, headers: &headers, now: NOW }, body);
    // A fuzzer learns the secret from comparisons such as this one.
    let shows_the_secret = String::from_utf8_lossy(input).contains(SECRET);
    match decision {
        Decision::Refuse(refusal) => {
            assert!((400..500).contains(&refusal.status), "{refusal:?}");
            fit_to_be_shown(&refusal.message, shows_the_secret);
        }
        Decision::Ignore(ignored) => {
            assert!(genuine || shows_the_secret, "ignored without a signature: {ignored:?}");
            fit_to_be_shown(ignored.why(), shows_the_secret);
        }
        Decision::Accept(delivery) => {
            assert!(genuine || shows_the_secret, "accepted without a signature: {delivery:?}");
            assert!(!delivery.wants.is_empty());
            assert!(delivery.wants.iter().all(|want| apps.iter().any(|app| app.app == want.app)), "{delivery:?}");
            let asked = Request::Deliver(delivery);
            let line = serde_json::to_string(&asked).unwrap();
            assert!(!line.contains(SECRET) || shows_the_secret);
            assert_eq!(serde_json::from_str::<Request>(&line).unwrap(), asked, "the daemon hears what was meant");
        }
    }
}

/// A sentence for a log and for whoever sent this: bounded, on one line, without the secret.
fn fit_to_be_shown(sentence: &str, with_the_secret: bool) {
    assert!(!sentence.is_empty() && sentence.len() <= 4096, "{} bytes: {sentence:.200}", sentence.len());
    assert!(with_the_secret || !sentence.contains(SECRET), "{sentence:?}");
    assert!(!sentence.chars().any(char::is_control), "{sentence:?}");
}
