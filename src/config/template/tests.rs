use super::super::scratch::{Scratch, brief};
use super::*;

fn scratch(test: &str) -> Scratch {
    let scratch = Scratch::new(test);
    scratch.write("etc/secrets/shop", "0123456789abcdef");
    scratch.write("etc/secrets/dashboard", "0123456789abcdef");
    scratch
        .write("etc/pintle.env", "SLACK_WEBHOOK_URL=https://x\nTELEGRAM_TOKEN=1:x\nDUCKDNS_TOKEN=x\nFORGE_TOKEN=x\n");
    scratch
}

fn app() -> String {
    let name = "shop".parse().unwrap();
    app_template(&name, "https://github.com/owner/shop.git", "main", Forge::Github, Some("pi"))
}

/// Switches every key on: `#key = ...` and `#[table]`, not `# an explanation`.
fn switched_on(text: &str) -> String {
    let on = |line: &str| {
        line.strip_prefix('#').filter(|rest| !rest.starts_with(' ') && !rest.is_empty()).map(str::to_owned)
    };
    text.lines().map(|line| on(line).unwrap_or_else(|| line.to_owned()) + "\n").collect()
}

#[test]
fn the_first_files_pass_the_check() {
    let scratch = scratch("template");
    scratch.write("etc/pintle.toml", host_template("127.0.0.1:9000"));
    scratch.write("etc/apps/shop.toml", app());
    let loaded = scratch.load().unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert_eq!(loaded.notices, []);
    let shop = &loaded.config.apps[&"shop".parse().unwrap()];
    assert_eq!(shop.source.git, "https://github.com/owner/shop.git");
    assert_eq!((shop.source.branch.as_str(), shop.user.as_deref()), ("main", Some("pi")));
    assert_eq!(shop.trigger.secrets[0].expose(), b"0123456789abcdef");
    let nobody = app_template(&"shop".parse().unwrap(), "/srv/x", "main", Forge::Gitea, None);
    assert!(nobody.contains("\n#user = \"pi\"\n") && nobody.contains("forge = \"gitea\""));
}

#[test]
fn every_key_in_the_first_files_is_known_and_right_when_switched_on() {
    let scratch = scratch("template-on");
    scratch.write("etc/pintle.toml", switched_on(&host_template("127.0.0.1:9000")));
    let shop = "shop".parse().unwrap();
    for forge in [Forge::Gitlab, Forge::Gitea, Forge::Forgejo, Forge::Gogs, Forge::Bitbucket] {
        let text = app_template(&shop, "https://git.example.org/owner/shop.git", "main", forge, Some("pi"));
        assert!(!text.contains('@'), "{text}");
        scratch.write("etc/apps/shop.toml", switched_on(&text));
        let loaded = scratch.load().unwrap_or_else(|problems| panic!("{forge:?} {:#?}", brief(&problems)));
        assert_eq!(loaded.config.apps[&shop].trigger.forge, forge);
    }
    scratch.write("etc/apps/shop.toml", switched_on(&app()));
    let loaded = scratch.load().unwrap_or_else(|problems| panic!("{:#?}", brief(&problems)));
    assert_eq!(loaded.config.apps[&"shop".parse().unwrap()].services.len(), 1);
    assert!(!loaded.notices.is_empty(), "what is not active yet is said: {:#?}", loaded.notices);
}

#[test]
fn what_is_filled_in_cannot_break_out() {
    let scratch = scratch("template-quotes");
    scratch.write("etc/pintle.toml", host_template("127.0.0.1:9000"));
    let odd = "/srv/a\"\nbranch = \"x\\@USER@";
    scratch.write("etc/apps/shop.toml", app_template(&"shop".parse().unwrap(), odd, "main", Forge::Github, Some("pi")));
    let problems = scratch.load().unwrap_err();
    assert_eq!(problems.len(), 1, "only the repository itself is wrong: {problems:#?}");
    assert_eq!(problems[0].key, "source.git");
}
