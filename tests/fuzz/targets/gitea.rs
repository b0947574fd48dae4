//! Events of Gitea and of its kin, Forgejo and Gogs: one shape, three headers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pintle::delivery::AppTrigger;
use pintle_fuzz::deliveries::{Proof, check, hex_header, triggers};
use std::sync::LazyLock;

static FORGES: LazyLock<[(Vec<AppTrigger>, Proof); 3]> = LazyLock::new(|| {
    let apps = |forge, events: &[&str]| triggers(forge, events, "");
    let all = &["push", "tag", "release", "workflow_run"];
    [
        (apps("gitea", all), |body| hex_header("X-Gitea-Signature", "", body)),
        (apps("forgejo", all), |body| hex_header("X-Forgejo-Signature", "", body)),
        (apps("gogs", &all[..3]), |body| hex_header("X-Gogs-Signature", "", body)),
    ]
});

fuzz_target!(|input: &[u8]| {
    for (apps, proof) in FORGES.iter() {
        check(apps, *proof, input);
    }
});
