//! The command line without a daemon: usage, configuration, and the exit codes.

use crate::world::{App, Outcome, World, finish, is_root};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// `pintle` without a world.
fn pintle(args: &[&str]) -> Outcome {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pintle"));
    command.args(args).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", "/nowhere");
    finish(command, &format!("pintle {}", args.join(" ")))
}

#[test]
fn usage_errors_end_with_64_and_help_with_0() {
    let wrong: [&[&str]; 7] = [
        &["frobnicate"],
        &["keep"],
        &["deploy", "--no-such-option"],
        &[],
        &["show"],
        &["show", "abc"],
        &["rollback", "shop", "--to", "../../etc"],
    ];
    for args in wrong {
        let outcome = pintle(args).exits(64);
        assert!(!outcome.stderr.is_empty(), "{args:?}: {outcome:?}");
    }
    let help = pintle(&["--help"]).exits(0);
    for verb in [
        "init",
        "check-config",
        "run",
        "deploy",
        "rollback",
        "status",
        "history",
        "show",
        "releases",
        "report",
        "logs",
        "start",
        "stop",
        "restart",
        "cancel",
        "forgive",
        "exec",
        "backup",
        "config",
        "completions",
        "demo",
    ] {
        assert!(help.stdout.contains(verb), "{verb} is missing in the help:\n{}", help.stdout);
        assert!(pintle(&[verb, "--help"]).exits(0).stdout.len() > 40, "{verb} --help");
    }
    assert!(!help.stdout.contains("demo-app"), "the sample app is nobody's command");
    assert!(!help.stdout.contains("keep "), "the keeper is started by the daemon only");
    let version = pintle(&["--version"]).exits(0);
    assert!(version.stdout.contains(env!("CARGO_PKG_VERSION")), "{version:?}");
}

#[test]
fn without_a_daemon_commands_end_with_69_and_say_what_to_do() {
    let world = World::with([App::new("shop")]);
    let commands: [&[&str]; 7] = [
        &["status"],
        &["deploy", "shop"],
        &["rollback", "shop"],
        &["stop", "shop"],
        &["restart", "shop", "web"],
        &["cancel", "1"],
        &["backup", "create", "shop"],
    ];
    for args in commands {
        let outcome = world.pintle(args).exits(69);
        assert!(outcome.stderr.contains("control.sock"), "{args:?}: {outcome:?}");
    }
}

#[test]
fn twenty_mistakes_are_told_at_once() {
    let world = World::with([App::new("shop")]);
    let host = format!(
        "state_dir = 7\nruntime_dir = \"{}/run\"\nstate = \"x\"\n[listen]\naddress = \"nowhere\"\nmax_body = \"lots\"\nrate_limit = \"often\"\nport = 1\n[control]\ngruop = \"x\"\n",
        world.root.display()
    );
    fs::write(world.config().join("pintle.toml"), host).unwrap();
    let app = "
[source]
git = \"-x\"
branch = \"--upload-pack=sh\"
keep_releases = 0
shared = [\"../up\", \"/abs\"]
[trigger]
forge = \"sourceforge\"
secret = \"literal\"
on = [\"full-moon\"]
[deploy]
timeout = \"soon\"
probation = 30
nice = 99
[[step]]
name = \"a\"
phase = \"sometime\"
run = \"true\"
[[step]]
name = \"b\"
phase = \"build\"
[service.web]
run = [\"x\"]
after = [\"nobody\"]
handover = \"magic\"
restart = \"perhaps\"
stop_signal = \"LOUD\"
[health]
http = \"ftp://x\"
[backup]
keep = \"many\"
";
    fs::write(world.config().join("apps/shop.toml"), app).unwrap();
    let outcome = world.pintle(&["check-config"]).exits(78);
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    for key in [
        "state_dir",
        "state",
        "address",
        "max_body",
        "rate_limit",
        "port",
        "gruop",
        "git",
        "branch",
        "keep_releases",
        "shared",
        "forge",
        "secret",
        "on",
        "timeout",
        "probation",
        "nice",
        "phase",
        "run",
        "after",
        "handover",
        "restart",
        "stop_signal",
        "http",
        "keep",
    ] {
        assert!(said.lines().any(|line| line.contains(key)), "{key} is not told:\n{said}");
    }
    assert!(said.contains("pintle.toml") && said.contains("shop.toml"), "{said}");
    assert!(!said.contains("literal\""), "a literal secret must not be repeated:\n{said}");
    let json = world.pintle(&["--json", "check-config"]).exits(78).json();
    let problems = json["problems"].as_array().unwrap_or_else(|| panic!("no problems in {json}"));
    assert!(problems.len() >= 20, "{} problems: {json}", problems.len());
    world.pintle(&["run"]).exits(78);
}

#[test]
fn a_good_configuration_is_called_good() {
    let world = World::with([App::new("shop")]);
    world.shop().version("v1", &[]);
    world.pintle(&["check-config"]).exits(0);
    world.pintle(&["--json", "check-config"]).exits(0).json();
}

#[test]
fn keys_of_features_to_come_are_accepted_and_told() {
    let app = App::new("shop").set("backup", "every", "\"24h\"");
    let world = World::with([app]).host("[notify.slack]\nurl = { env = \"NO_SUCH\" }\non = [\"failure\"]");
    let outcome = world.environment("NO_SUCH", "https://example.org").pintle(&["check-config"]).exits(0);
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(said.contains("not active yet"), "{said}");
}

#[test]
fn a_secret_that_others_may_read_is_refused() {
    let world = World::with([App::new("shop")]);
    let secret = world.config().join("secrets/shop");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    let outcome = world.pintle(&["check-config"]).exits(78);
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(said.contains("secrets/shop"), "{said}");
    fs::remove_file(secret).unwrap();
    world.pintle(&["check-config"]).exits(78);
}

#[test]
fn init_writes_what_check_config_accepts() {
    let world = World::empty();
    let dir = world.root.join("fresh");
    let config = dir.to_str().unwrap();
    let init = [
        "--config",
        config,
        "init",
        "--app",
        "shop",
        "--repo",
        "https://example.org/owner/shop.git",
        "--branch",
        "main",
        "--forge",
        "github",
    ];
    let outcome = pintle(&init).exits(0);
    assert!(outcome.stdout.contains("/webhook"), "the form's values: {outcome:?}");
    let secrets: Vec<_> = fs::read_dir(dir.join("secrets")).unwrap().flatten().collect();
    assert_eq!(secrets.len(), 1);
    assert_eq!(secrets[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let before = fs::read_to_string(dir.join("apps/shop.toml")).unwrap();
    assert!(before.contains('#') && before.contains("example.org/owner/shop.git"), "{before}");
    let checked = pintle(&["--config", config, "check-config"]);
    let said = format!("{}{}", checked.stdout, checked.stderr);
    // Started as root, an app needs a user: the one thing only a person can say.
    assert!(checked.code == Some(0) || (is_root() && said.contains("user")), "{said}");
    let again = pintle(&init);
    assert_ne!(again.code, Some(0), "nothing is overwritten: {again:?}");
    assert_eq!(fs::read_to_string(dir.join("apps/shop.toml")).unwrap(), before);
}

#[test]
fn config_show_hides_secrets() {
    let world = World::with([App::new("shop")]);
    let outcome = world.pintle(&["config", "show", "shop"]).exits(0);
    assert!(!outcome.stdout.contains(crate::world::site::SECRET), "{outcome:?}");
    assert!(outcome.stdout.contains("probation") && outcome.stdout.contains("owner/shop"), "{outcome:?}");
}

#[test]
fn completions_are_scripts_of_the_shell() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(pintle(&["completions", shell]).exits(0).stdout.contains("pintle"), "{shell}");
    }
    pintle(&["completions", "tcsh-of-1979"]).exits(64);
}
