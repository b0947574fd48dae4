//! GitHub's events.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pintle::delivery::AppTrigger;
use pintle_fuzz::deliveries::{check, hex_header, triggers};
use std::sync::LazyLock;

static APPS: LazyLock<Vec<AppTrigger>> =
    LazyLock::new(|| triggers("github", &["push", "workflow_run", "release", "registry_package", "tag"], ""));

fuzz_target!(|input: &[u8]| check(&APPS, |body| hex_header("X-Hub-Signature-256", "sha256=", body), input));
