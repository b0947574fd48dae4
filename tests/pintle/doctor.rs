//! `pintle doctor`: what is wrong with an installation is named, with what to do; what is right is said too.

use crate::world::{App, World, ports};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;

fn doctor(world: &World, more: &[&str]) -> (i32, Vec<Value>) {
    let outcome = world.pintle(&[&["--json", "doctor"], more].concat());
    let (code, document) = (outcome.code.unwrap_or(-1), outcome.json());
    assert_eq!(document["exit"], code, "{document:#}");
    let level = ["ok", "warning", "critical"][usize::try_from(code).unwrap()];
    assert_eq!(document["level"], level, "{document:#}");
    let findings = document["findings"].as_array().unwrap().clone();
    for one in &findings {
        let advised = one["advice"].as_str().is_some_and(|advice| !advice.is_empty());
        assert!(one["level"] == "ok" || advised, "no advice: {one}");
    }
    (code, findings)
}

/// Level and advice of the finding about `about` that says `words`.
#[track_caller]
fn says(findings: &[Value], about: &str, words: &str) -> (String, String) {
    let fits = |one: &&Value| one["about"] == about && one["what"].as_str().unwrap().contains(words);
    let found = findings.iter().find(fits).unwrap_or_else(|| panic!("{about}: {words:?} in {findings:#?}"));
    (found["level"].as_str().unwrap().into(), found["advice"].as_str().unwrap_or_default().into())
}

#[test]
fn an_installation_that_is_well_is_said_to_be() {
    let world = World::of_a_shop();
    fs::set_permissions(world.config().join("secrets"), fs::Permissions::from_mode(0o700)).unwrap();
    world.shop().goes_live("v1");
    let (_, findings) = doctor(&world, &[]);
    for (about, words) in [
        ("configuration", "can be used (one app)"),
        ("git", "git 2."),
        ("secrets", "nobody else can read"),
        ("app/shop/secret", "38 characters"),
        ("app/shop/repository", "answers: main is at"),
        ("listener", "answers a signed ping of shop"),
        ("kernel/pidfd", ""),
    ] {
        assert_eq!(says(&findings, about, words).0, "ok", "{findings:#?}");
    }
    // Systemd, the kernel and the disk are those of whoever runs the tests.
    let ours = |one: &&Value| {
        ["app/", "secrets", "configuration"].iter().any(|ours| one["about"].as_str().unwrap().starts_with(ours))
    };
    let as_root = |one: &&Value| !one["what"].as_str().unwrap().contains("allow_root");
    let wrong: Vec<&Value> = findings.iter().filter(ours).filter(as_root).filter(|one| one["level"] != "ok").collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let text = world.pintle(&["doctor", "--offline"]).stdout;
    let git = text.lines().find(|line| line.split_whitespace().nth(1) == Some("git"));
    assert!(git.is_some_and(|line| line.starts_with("ok ")) && !text.contains("repository"), "{text}");
    assert!(!text.contains("a-secret-of"), "{text}");
}

#[test]
fn everything_that_is_wrong_is_named_with_what_to_do() {
    let nowhere = format!("\"http://127.0.0.1:{}/shop.git\"", ports::take());
    let app = App::new("shop").set("app", "user", "\"no-such-user\"").set("source", "git", &nowhere);
    let world = World::with([app, App::bare("other").set("source", "git", &nowhere)]);
    let secret = world.config().join("secrets/shop");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(world.config().join("secrets"), fs::Permissions::from_mode(0o777)).unwrap();
    let (code, findings) = doctor(&world, &[]);
    assert_eq!(code, 2);
    let shown = secret.display().to_string();
    let (level, advice) = says(&findings, "secrets", &format!("{shown} can be read by others (mode 0644)"));
    assert!(level == "critical" && advice.starts_with(&format!("chmod 600 {shown}")), "{advice}");
    assert!(says(&findings, "secrets", "others can replace what is in").1.starts_with("chmod go-w"));
    let (level, advice) = says(&findings, "app/shop/user", "no-such-user");
    assert!(level == "critical" && advice.contains("adduser --system --group no-such-user"), "{advice}");
    assert_eq!(says(&findings, "configuration", "can be read by others").0, "critical");
    // It was asked without what the configuration would have given it.
    let (level, advice) = says(&findings, "app/shop/repository", "127.0.0.1");
    assert!(level == "warning" && advice.contains("correct the configuration first"), "{advice}");

    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let file = world.config().join("apps/shop.toml");
    fs::write(&file, fs::read_to_string(&file).unwrap().replace("user = \"no-such-user\"", "")).unwrap();
    crate::world::write_secret(&world.config().join("secrets/other"), "short");
    let (_, findings) = doctor(&world, &[]);
    says(&findings, "configuration", "can be used (2 apps)");
    let (level, advice) = says(&findings, "app/other/repository", "127.0.0.1");
    assert!(level == "critical" && advice.contains("apps/other.toml"), "{advice}");
    let (level, advice) = says(&findings, "app/other/secret", "5 characters");
    assert!(level == "warning" && advice.contains("openssl rand"), "{advice}");
    let (_, findings) = doctor(&world, &["--offline"]);
    assert!(!findings.iter().any(|one| one["about"].as_str().unwrap().ends_with("/repository")), "{findings:#?}");
}

#[test]
fn nginx_is_asked_for_both_locations() {
    let world = World::of_a_shop();
    let root = world.root.join("host");
    let nginx = root.join("etc/nginx");
    fs::create_dir_all(nginx.join("sites-enabled")).unwrap();
    fs::write(nginx.join("nginx.conf"), "http { include /etc/nginx/sites-enabled/*; }").unwrap();
    let site = |text: &str| fs::write(nginx.join("sites-enabled/shop"), text).unwrap();
    let ask = || doctor(&world, &["--offline", "--root", root.to_str().unwrap()]).1;
    let hook = world.hook;
    site("server { location / { proxy_pass http://127.0.0.1:5000; } }");
    for path in ["/webhook", "/webhook-health"] {
        let (level, advice) = says(&ask(), &format!("nginx{path}"), "no server of it passes");
        assert_eq!(
            (level.as_str(), advice),
            ("warning", format!("add to the server block: location {path} {{ proxy_pass http://127.0.0.1:{hook}; }}"))
        );
    }
    site(&format!(
        "server {{ location /webhook {{ proxy_pass http://127.0.0.1:{hook}; }}
         location /webhook-health {{ proxy_pass http://127.0.0.1:{hook}; }} }}"
    ));
    for path in ["/webhook", "/webhook-health"] {
        assert_eq!(says(&ask(), &format!("nginx{path}"), "it passes").0, "ok");
    }
    fs::remove_dir_all(&nginx).unwrap();
    assert_eq!(says(&ask(), "nginx", "is not installed").0, "ok");
}
