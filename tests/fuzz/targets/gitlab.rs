//! GitLab's events, proven by its token, and by a signature of the Standard Webhooks.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pintle::delivery::AppTrigger;
use pintle_fuzz::deliveries::{NOW, check, triggers};
use pintle_fuzz::{SECRET, base64, mac};
use std::sync::LazyLock;

static APPS: LazyLock<Vec<AppTrigger>> =
    LazyLock::new(|| triggers("gitlab", &["push", "tag", "pipeline", "release"], ""));

fuzz_target!(|input: &[u8]| {
    check(&APPS, |_| vec![("X-Gitlab-Token".into(), SECRET.into())], input);
    check(&APPS, signed, input);
});

fn signed(body: &[u8]) -> Vec<(String, String)> {
    let seconds = NOW.0 / 1000;
    let signature = base64(&mac(SECRET.as_bytes(), &[format!("msg_1.{seconds}.").as_bytes(), body].concat()));
    vec![
        ("webhook-id".into(), "msg_1".into()),
        ("webhook-timestamp".into(), seconds.to_string()),
        ("webhook-signature".into(), format!("v1,AAAA v1,{signature}")),
    ]
}
