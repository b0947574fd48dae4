//! The exact text of a plan, from configurations as people write them.

use super::super::testing::Scratch;

const RICH: &str = r#"
[source]
git = "https://example.org/me/shop.git"
branch = "main"
submodules = true
shared = ["data"]
[app]
allow_root = true
[trigger]
secret = { file = "secrets/shop" }
[[step]]
name = "deps"
phase = "build"
run = "pip install --token ${TOKEN} ."
timeout = "5m"
[[step]]
name = "lint"
phase = "test"
run = ["make", "lint"]
on_failure = "warn"
[[step]]
name = "tables"
phase = "migrate"
run = ["./migrate"]
[[step]]
name = "cache"
phase = "after"
run = "./warm"
[service.web]
run = [".venv/bin/gunicorn", "app:app"]
listen = ["127.0.0.1:5000"]
[service.mail]
run = "./mail"
after = ["web"]
[service.jobs]
run = "./jobs"
after = ["mail"]
[health]
http = "http://me:${TOKEN}@127.0.0.1:5000/health?key=${TOKEN}"
[deploy]
migrate = "stopped"
[backup]
paths = ["data"]
"#;

#[test]
fn a_plan_shows_every_phase_and_command_and_no_secret() {
    let scratch = Scratch::with_app(RICH);
    let ran = scratch.pintle(&["deploy", "--dry-run"]);
    assert_eq!((ran.exit, ran.err.as_str()), (0, ""), "{ran:?}");
    assert_eq!(
        ran.out,
        "\
a deploy of shop, at most 5m in all; nothing is done now

preflight  check room on the disk, programs and users
fetch      the newest commit of main from https://example.org/me/shop.git, with submodules
build
  deps (at most 5m): pip install --token ${TOKEN} .
test
  lint (at most 5m, a failure only warns): make lint
backup     data; a failure ends the deploy here
rehearse   start web alone, on a copy of the shared paths from this backup, migrated first; then health and smoke
migrate    stop the old release first (deploy.migrate = \"stopped\")
  tables (at most 5m): ./migrate
switch     current -> the new release; then web (socket handed over), mail (stopped, then started), jobs (stopped, then started)
verify     within 1m: health (GET http://127.0.0.1:5000/health)
probation  healthy and without a restart for 30s; else back to the release before
done       keep 5 releases
  cache (at most 5m): ./warm
"
    );
    let document = scratch.pintle(&["deploy", "--dry-run", "--json"]).json();
    assert_eq!(document["phases"][2]["steps"][0]["argv"][0], "/bin/sh");
    assert_eq!(document["phases"][3]["steps"][0]["on_failure"], "warn");
    assert!(!document.to_string().contains("sesame"), "{document}");
}

#[test]
fn a_plan_of_little_says_so() {
    let ran = Scratch::with_app("[source]\ngit = \"/srv/git/shop.git\"\nbranch = \"main\"\n[app]\nallow_root = true\n[trigger]\nsecret = { file = \"secrets/shop\" }\n[backup]\nbefore_deploy = false\n")
        .pintle(&["deploy", "--dry-run"]);
    assert_eq!(ran.exit, 0, "{ran:?}");
    for says in [
        "build      -\n",
        "backup     none (backup.before_deploy = false)\n",
        "rehearse   no service is rehearsed\n",
        "switch     current -> the new release\n",
        "verify     every service is up within 1m\n",
    ] {
        assert!(ran.out.contains(says), "{says:?} in\n{}", ran.out);
    }
}

#[test]
fn a_plan_needs_a_configuration_that_can_be_used() {
    let ran = Scratch::with_app("[sauce]\n").pintle(&["deploy", "--dry-run"]);
    assert_eq!((ran.exit, ran.out.as_str()), (78, ""), "{ran:?}");
    assert!(ran.err.contains("apps/shop.toml") && ran.err.contains("pintle check-config"), "{ran:?}");
}
