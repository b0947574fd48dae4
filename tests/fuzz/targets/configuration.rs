//! Files of a configuration directory: read whole or refused with problems, never a panic, and no secret is shown.
//!
//! An input is three texts divided by a line `%%`: `pintle.toml`, `apps/shop.toml`, `pintle.env`.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use pintle::config::{Config, freeze, show_json, show_text, thaw};
use pintle_fuzz::{SECRET, scratch};

fuzz_target!(|input: &[u8]| -> Corpus {
    let Ok(text) = std::str::from_utf8(input) else { return Corpus::Reject };
    let mut texts = text.splitn(3, "\n%%\n");
    let mut next = || texts.next().unwrap_or_default();
    let (host, app, env) = (next(), next(), next());
    scratch::write(host, env, &[("shop", app)]);
    let environment = scratch::environment();
    // A reference in a string is the user's own choice of a place for it; and a fuzzer learns the secret sooner or later.
    let hidden = !text.contains('$') && !text.contains(SECRET);
    match Config::load(scratch::dir(), &environment) {
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a reason");
            for problem in problems {
                assert!(!problem.wrong.is_empty() && !problem.advice.is_empty(), "{problem:?}");
                assert!(!hidden || !problem.to_string().contains(SECRET), "{problem}");
            }
        }
        Ok(loaded) => {
            for app in loaded.config.apps.values() {
                let shown = show_text(app) + &show_json(app).to_string() + &format!("{app:?}");
                assert!(!hidden || !shown.contains(SECRET), "{shown}");
                let again = thaw(&app.name, &freeze(app), scratch::dir(), &environment)
                    .unwrap_or_else(|why| panic!("what was accepted cannot be thawed: {why:?}"));
                assert_eq!(again.services, app.services, "a release is run as it was meant");
            }
        }
    }
    Corpus::Keep
});
