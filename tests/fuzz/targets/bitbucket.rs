//! Bitbucket's events, Cloud and Data Center.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pintle::delivery::AppTrigger;
use pintle_fuzz::deliveries::{check, hex_header, triggers};
use std::sync::LazyLock;

static APPS: LazyLock<Vec<AppTrigger>> = LazyLock::new(|| triggers("bitbucket", &["push", "tag", "pipeline"], ""));

fuzz_target!(|input: &[u8]| check(&APPS, |body| hex_header("X-Hub-Signature", "sha256=", body), input));
