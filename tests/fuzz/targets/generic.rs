//! Whatever signs with an HMAC of its own fashion.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pintle::delivery::AppTrigger;
use pintle_fuzz::deliveries::{NOW, check, triggers};
use pintle_fuzz::{SECRET, hex_of_mac};
use std::sync::LazyLock;

const HOW: &str = r#"
[trigger.generic]
header = "X-Signature"
value = "t={timestamp},v1={hex}"
signed = "{timestamp}.{body}"
id = "X-Delivery"
commit = "/data/source/commits/0"
ref = "/data/source/branch"
repository = "/data/project"
event = "/type"
event_is = "build.finished"
"#;

static APPS: LazyLock<Vec<AppTrigger>> = LazyLock::new(|| triggers("generic", &["push"], HOW));

fuzz_target!(|input: &[u8]| check(&APPS, signed, input));

fn signed(body: &[u8]) -> Vec<(String, String)> {
    let seconds = NOW.0 / 1000;
    let hex = hex_of_mac(SECRET.as_bytes(), &[format!("{seconds}.").as_bytes(), body].concat());
    vec![("X-Signature".into(), format!("t={seconds},v1={hex}"))]
}
