//! Whole command lines: what is understood, what the daemon is asked, what is printed, and the exit code.

use super::args::command;
use super::testing::{Ran, Said, Scratch, log};
use crate::base::{DeployId, ReleaseName};
use crate::control::{Answer, DeployAsked, DeployStatus, HistoryReport, Request, Trigger};

fn done() -> Said {
    Answer::Done { message: "done".into() }.into()
}

fn release() -> ReleaseName {
    "000007-4f2a1c9".parse().unwrap()
}

fn queued() -> Said {
    Answer::Deployment { number: DeployId(7), status: DeployStatus::Queued }.into()
}

/// What the daemon is asked by a command line, when apps of these names are configured.
fn asked(apps: &[&str], args: &[&str], said: Said) -> (Vec<Request>, Ran) {
    let scratch = Scratch::configured("asked", apps);
    let daemon = scratch.daemon(vec![vec![said]]);
    let ran = scratch.pintle(args);
    (daemon.asked(), ran)
}

#[test]
fn names_may_be_left_out_where_one_app_is_configured() {
    let start = |app: &str, service: Option<&str>| Request::Start {
        app: app.parse().unwrap(),
        service: service.map(|name| name.parse().unwrap()),
    };
    let forgive = |app: &str| Request::Forgive { app: app.parse().unwrap(), commit: "4f2a1c9".into() };
    let one: &[&str] = &["shop"];
    let two: &[&str] = &["mail", "shop"];
    let table: Vec<(&[&str], &str, Request)> = vec![
        (one, "start", start("shop", None)),
        (one, "start shop", start("shop", None)),
        (one, "start web", start("shop", Some("web"))),
        (one, "start shop web", start("shop", Some("web"))),
        (one, "start shop shop", start("shop", Some("shop"))),
        (two, "start mail", start("mail", None)),
        (two, "start mail web", start("mail", Some("web"))),
        (one, "forgive 4F2A1C9", forgive("shop")),
        (two, "forgive mail 4f2a1c9", forgive("mail")),
        (two, "approve 7", Request::Approve { number: DeployId(7) }),
        (two, "cancel 000007", Request::Cancel { number: DeployId(7) }),
        (two, "cancel #7", Request::Cancel { number: DeployId(7) }),
        (two, "reload", Request::Reload),
        (one, "backup prune", Request::BackupPrune { app: "shop".parse().unwrap() }),
    ];
    for (apps, args, request) in table {
        let (asked, ran) = asked(apps, &args.split(' ').collect::<Vec<_>>(), done());
        assert_eq!(asked, [request], "{args}: {ran:?}");
        assert_eq!((ran.exit, ran.out.as_str(), ran.err.as_str()), (0, "done\n", ""), "{args}");
    }
}

#[test]
fn a_deploy_is_asked_for_as_it_was_said() {
    let deploy = |commit: Option<&str>, force, backup_only| {
        Request::Deploy(DeployAsked {
            app: "shop".parse().unwrap(),
            commit: commit.map(str::to_owned),
            force,
            backup_only,
            trigger: Trigger::Cli,
        })
    };
    let rollback = |to, with_data| Request::Rollback { app: "shop".parse().unwrap(), to, with_data };
    let table = [
        ("deploy --detach", deploy(None, false, false)),
        ("deploy shop --commit 4F2A --force --detach", deploy(Some("4f2a"), true, false)),
        ("deploy --backup-only --detach", deploy(None, false, true)),
        ("rollback --detach", rollback(None, false)),
        ("rollback shop --to 000007-4f2a1c9 --with-data --detach", rollback(Some(release()), true)),
    ];
    for (args, request) in table {
        let (asked, ran) = asked(&["shop"], &args.split(' ').collect::<Vec<_>>(), queued());
        assert_eq!(asked, [request], "{args}: {ran:?}");
        assert_eq!(ran.exit, 0, "{args}");
        assert_eq!(ran.out, "deployment 000007 of shop: queued; `pintle logs --deploy 7 -f` watches it\n");
    }
    let (_, ran) = asked(&["shop"], &["deploy", "--detach", "--json"], queued());
    assert_eq!(ran.json(), serde_json::json!({"deployment": 7, "app": "shop", "status": "queued"}));
}

#[test]
fn what_is_not_understood_ends_with_64_and_says_what_is_meant() {
    let scratch = Scratch::configured("usage", &["mail", "shop"]);
    let table = [
        ("", "Usage"),
        ("frobnicate", "frobnicate"),
        ("--frob status", "--frob"),
        ("deploy", "mail, shop"),
        ("deploy nobody", "mail, shop"),
        ("deploy Shop", "lower-case"),
        ("deploy shop --commit main", "hex digits"),
        ("deploy shop --commit -x", "-x"),
        ("deploy shop --commit abcd --image v1", "--image"),
        ("deploy shop --image v1", "not active yet"),
        ("rollback shop --to ../x", "release"),
        ("show", "<N>"),
        ("show abc", "history"),
        ("logs web", "mail, shop"),
        ("forgive 4f2a1c9", "mail, shop"),
        ("forgive shop main", "hex digits"),
        ("backup", "Usage"),
        ("backup restore shop 2025", "backup list"),
        ("backup restore shop 20251024_200000-000042", "--yes"),
        ("backup verify shop", "not active yet"),
        ("backup drill", "not active yet"),
        ("exec shop", "CMD"),
        ("init", "--app NAME, --repo URL"),
        ("init --app shop2", "missing: --repo URL"),
        ("completions tcsh", "bash"),
        ("-v -q status", "--quiet"),
    ];
    for (args, says) in table {
        let args: Vec<&str> = args.split(' ').filter(|word| !word.is_empty()).collect();
        let ran = scratch.pintle(&args);
        assert_eq!((ran.exit, ran.out.as_str()), (64, ""), "{args:?}: {ran:?}");
        assert!(ran.err.contains(says), "{args:?}: {ran:?}");
        let json: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        if !args.is_empty() {
            let document = scratch.pintle(&json).json();
            assert_eq!(document["error"]["exit"], 64, "{json:?}: {document}");
        }
    }
}

#[test]
fn help_and_version_are_no_errors_and_every_verb_is_in_one_group() {
    let scratch = Scratch::new("help");
    for args in [vec!["--version"], vec!["--help"], vec!["deploy", "--help"], vec!["backup", "restore", "-h"]] {
        let ran = scratch.pintle(&args);
        assert_eq!((ran.exit, ran.err.as_str()), (0, ""), "{args:?}");
    }
    let help = scratch.pintle(&["--help"]).out;
    assert!(help.contains("The first three commands to try:"), "{help}");
    for verb in command().get_subcommands() {
        let line = format!("\n  {:<13} {}\n", verb.get_name(), verb.get_about().unwrap());
        let listed = help.matches(&line).count();
        assert_eq!(listed, usize::from(!verb.is_hide_set()), "{line:?} in\n{help}");
    }
    command().debug_assert();
}

#[test]
fn completions_are_made_for_each_shell() {
    let scratch = Scratch::new("completions");
    for (shell, says) in [("bash", "complete -F"), ("zsh", "#compdef pintle"), ("fish", "complete -c pintle")] {
        let ran = scratch.pintle(&["completions", shell]);
        assert_eq!(ran.exit, 0);
        assert!(ran.out.contains(says) && ran.out.contains("rollback"), "{shell}");
    }
}

#[test]
fn without_a_daemon_the_socket_is_named_and_json_has_a_document() {
    let scratch = Scratch::configured("down", &["shop"]);
    for args in [
        "status",
        "deploy",
        "rollback",
        "stop",
        "history",
        "deliveries",
        "show 7",
        "report 7",
        "releases",
        "backup list",
        "logs",
        "logs --deploy 7 -f",
    ] {
        let args: Vec<&str> = args.split(' ').collect();
        let ran = scratch.pintle(&args);
        assert_eq!((ran.exit, ran.out.as_str()), (69, ""), "{args:?}: {ran:?}");
        assert!(ran.err.contains("run/control.sock") && ran.err.contains("systemctl start pintle"), "{ran:?}");
        let json: Vec<&str> = args.iter().copied().chain(["--json"]).collect();
        assert_eq!(scratch.pintle(&json).json()["error"]["exit"], 69, "{json:?}");
    }
    let ran = Scratch::configured("empty", &[]).pintle(&["deploy"]);
    assert_eq!(ran.exit, 78, "{ran:?}");
    assert!(ran.err.contains("pintle init"), "{ran:?}");
}

#[test]
fn what_the_daemon_refuses_has_its_exit_code() {
    let refused = Answer::Error { exit: 6, message: "4f2a1c9 is quarantined".into() };
    let (_, ran) = asked(&["shop"], &["deploy"], refused.clone().into());
    assert_eq!((ran.exit, ran.err.as_str()), (6, "pintle: 4f2a1c9 is quarantined\n"));
    let (_, ran) = asked(&["shop"], &["--json", "deploy"], refused.into());
    assert_eq!(ran.json()["error"], serde_json::json!({"exit": 6, "message": "4f2a1c9 is quarantined"}));
    let (_, ran) = asked(&["shop"], &["stop"], Answer::Pong.into());
    assert_eq!(ran.exit, 70, "{ran:?}");
}

#[test]
fn a_live_commit_is_no_new_deployment() {
    let (_, ran) = asked(&["shop"], &["deploy"], Answer::AlreadyLive { release: release() }.into());
    assert_eq!(ran.exit, 0);
    assert_eq!(ran.out, "000007-4f2a1c9 of shop is live already; --force deploys it again\n");
    let (_, ran) = asked(&["shop"], &["deploy", "--json"], Answer::AlreadyLive { release: release() }.into());
    let document = ran.json();
    assert_eq!((&document["event"], &document["exit"]), (&"end".into(), &0.into()));
}

#[test]
fn logs_are_printed_as_they_are() {
    let logs = |deployment: Option<u64>, service: Option<&str>, lines| Request::Logs {
        app: deployment.is_none().then(|| "shop".parse().unwrap()),
        service: service.map(|name| name.parse().unwrap()),
        schedule: None,
        deployment: deployment.map(DeployId),
        lines,
        follow: false,
    };
    let table = [
        ("logs", logs(None, None, 100)),
        ("logs web -n 5", logs(None, Some("web"), 5)),
        ("logs shop web", logs(None, Some("web"), 100)),
        ("logs --deploy 7", logs(Some(7), None, u32::MAX)),
    ];
    for (args, request) in table {
        let args: Vec<&str> = args.split(' ').collect();
        let (asked, ran) = asked(&["shop"], &args, log(vec!["a", "\u{1b}[1mb"]));
        assert_eq!(asked, [request]);
        assert_eq!((ran.exit, ran.out.as_str(), ran.err.as_str()), (0, "a\n\u{1b}[1mb\n", ""), "{args:?}");
    }
    let (_, ran) = asked(&["shop"], &["logs", "--json"], log(vec!["a", "b"]));
    assert_eq!(ran.json(), serde_json::json!({"lines": ["a", "b"]}));
    let (_, ran) = asked(&["shop"], &["logs", "-f", "--json"], log(vec!["a"]));
    assert!(ran.out.starts_with("{\"event\":\"log\",\"line\":\"a\"}\n"), "{ran:?}");
}

#[test]
fn a_restore_asks_before_it_overwrites() {
    let scratch = Scratch::configured("restore", &["shop"]);
    let restore = ["backup", "restore", "20251024_200000-000042"];
    for said in ["", "n\n", "perhaps\n"] {
        let ran = scratch.pintle_asking(&restore, said);
        assert_eq!(ran.exit, 1, "{ran:?}");
        assert!(ran.err.contains("Overwrite the data of shop") && ran.err.contains("nothing was changed"), "{ran:?}");
    }
    let refused = Answer::Error { exit: 3, message: "nothing is live".into() };
    for (words, app) in [(&restore[..], "shop"), (&["backup", "restore", "shop", restore[2]], "shop")] {
        let daemon = scratch.daemon(vec![vec![refused.clone().into()]]);
        assert_eq!(scratch.pintle_asking(words, "Yes\n").exit, 3);
        let id = restore[2].parse().unwrap();
        assert_eq!(daemon.asked(), [Request::BackupRestore { app: app.parse().unwrap(), id }]);
    }
}

#[test]
fn a_reader_that_went_away_ends_the_command_quietly() {
    struct Gone;
    impl std::io::Write for Gone {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let scratch = Scratch::configured("pipe", &["shop"]);
    let nothing = HistoryReport { deployments: vec![], notices: vec![] };
    let _daemon = scratch.daemon(vec![vec![Answer::History(nothing).into()]]);
    let mut err = Vec::new();
    let world = super::World {
        input: &mut std::io::empty(),
        out: &mut Gone,
        err: &mut err,
        terminal: false,
        style: super::Style::plain(),
        config: Some(scratch.path.clone()),
        patience: std::time::Duration::ZERO,
        interrupts: false,
    };
    assert_eq!(super::run(["pintle", "history"].map(Into::into), world), 0);
    assert!(err.is_empty());
}

const SHOP: &str = r#"
[source]
git = "https://example.org/me/shop.git"
branch = "main"
[app]
allow_root = true
[trigger]
secret = { file = "secrets/shop" }
[service.web]
run = "./web"
env = { KEY = "${TOKEN}" }
[backup]
every = "24h"
"#;

#[test]
fn a_configuration_is_checked_whole() {
    let good = Scratch::with_app(SHOP);
    let ran = good.pintle(&["check-config"]);
    let at = good.path.display();
    assert_eq!((ran.exit, ran.err.as_str()), (0, ""), "{ran:?}");
    assert!(ran.out.contains("shop.toml") && ran.out.contains("not active yet"), "{ran:?}");
    assert!(ran.out.ends_with(&format!("{at}: ok (shop)\n")), "{ran:?}");
    let document = good.pintle(&["check-config", "--json"]).json();
    assert_eq!((&document["ok"], &document["problems"]), (&true.into(), &serde_json::json!([])));
    assert_eq!(document["notices"].as_array().unwrap().len(), 1, "{document}");

    let bad = Scratch::with_app(&SHOP.replace("git =", "gti =").replace("\"main\"", "7"));
    let ran = bad.pintle(&["check-config"]);
    assert_eq!((ran.exit, ran.out.as_str()), (78, ""), "{ran:?}");
    for says in ["apps/shop.toml:3: source.gti", "source.branch", "problems\n"] {
        assert!(ran.err.contains(says), "{says}: {ran:?}");
    }
    let ran = bad.pintle(&["check-config", "--json"]);
    assert_eq!(ran.exit, 78);
    let document = ran.json();
    let keys: Vec<&str> = document["problems"].as_array().unwrap().iter().filter_map(|p| p["key"].as_str()).collect();
    assert!(keys.contains(&"source.gti") && keys.contains(&"source.branch"), "{document}");
}

#[test]
fn a_configuration_is_shown_without_its_secrets() {
    let scratch = Scratch::with_app(SHOP);
    let ran = scratch.pintle(&["config", "show"]);
    assert_eq!((ran.exit, ran.err.as_str()), (0, ""), "{ran:?}");
    assert!(ran.out.contains("probation = \"30s\"") && ran.out.contains("${TOKEN}"), "{ran:?}");
    let json = scratch.pintle(&["config", "show", "shop", "--json"]);
    assert_eq!(json.json()["deploy"]["probation"], "30s");
    for secret in ["sesame", "ssss"] {
        assert!(!ran.out.contains(secret) && !json.out.contains(secret), "{secret}");
    }
}

#[test]
fn nothing_is_executed_without_a_live_release() {
    let ran = Scratch::with_app(SHOP).pintle(&["exec", "--", "true"]);
    assert_eq!(ran.exit, 78, "{ran:?}");
    assert!(ran.err.contains("state/apps/shop/current"), "{ran:?}");
}
