//! GitLab's events, proven by its token.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pintle::delivery::AppTrigger;
use pintle_fuzz::SECRET;
use pintle_fuzz::deliveries::{check, triggers};
use std::sync::LazyLock;

static APPS: LazyLock<Vec<AppTrigger>> = LazyLock::new(|| triggers("gitlab", &["push", "tag", "pipeline"], ""));

fuzz_target!(|input: &[u8]| check(&APPS, |_| vec![("X-Gitlab-Token".into(), SECRET.into())], input));
