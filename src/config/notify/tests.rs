use crate::config::scratch::{Scratch, app_with, brief};
use crate::config::{Channel, Host, Occasion, Secret, Way};
use std::time::Duration;

fn host(scratch: &Scratch, text: &str) -> Result<Host, Vec<String>> {
    scratch.write("etc/pintle.env", "URL=https://hooks.example/T/hunter2\nTOKEN=123:hunter2\nEMPTY=\nWORD=hunter2\nSPACED=tk hunter2\nACCENT=tk_ühunter2\n");
    scratch.write("etc/pintle.toml", text);
    scratch.load().map(|loaded| loaded.config.host).map_err(|problems| brief(&problems))
}

fn channel(scratch: &Scratch, text: &str) -> Channel {
    let host = host(scratch, text).unwrap();
    assert_eq!(host.notify.len(), 1);
    host.notify.into_values().next().unwrap()
}

#[test]
fn every_kind_is_read_and_an_empty_secret_switches_it_off() {
    let scratch = Scratch::new("notify-kinds");
    let url = || Secret(b"https://hooks.example/T/hunter2".to_vec());
    let token = || Secret(b"123:hunter2".to_vec());
    let telegram = |server: &str| Way::Telegram { server: server.into(), token: token(), chat: "-100".into() };
    let table = [
        ("[notify.slack]\nurl = { env = \"URL\" }", "slack", Some(Way::Slack { url: url() })),
        ("[notify.team]\nkind = \"discord\"\nurl = { env = \"URL\" }", "discord", Some(Way::Discord { url: url() })),
        (
            "[notify.telegram]\ntoken = { env = \"TOKEN\" }\nchat = \"-100\"",
            "telegram",
            Some(telegram("https://api.telegram.org")),
        ),
        (
            "[notify.telegram]\ntoken = { env = \"TOKEN\" }\nchat = \"-100\"\nserver = \"http://127.0.0.1:1/\"",
            "telegram",
            Some(telegram("http://127.0.0.1:1")),
        ),
        (
            "[notify.ntfy]\ntopic = \"my-pi\"\ntoken = { env = \"EMPTY\" }",
            "ntfy",
            Some(Way::Ntfy { server: "https://ntfy.sh".into(), topic: "my-pi".into(), token: None }),
        ),
        (
            "[notify.webhook]\nurl = { env = \"URL\" }\nsecret = { env = \"WORD\" }",
            "webhook",
            Some(Way::Webhook { url: url(), secret: Some(Secret(b"hunter2".to_vec())) }),
        ),
        ("[notify.slack]\nurl = { env = \"EMPTY\" }", "slack", None),
        ("[notify.telegram]\ntoken = { env = \"EMPTY\" }\nchat = \"1\"", "telegram", None),
        ("[notify.telegram]\ntoken = { env = \"TOKEN\" }\nchat = \"${EMPTY}\"", "telegram", None),
        ("[notify.ntfy]\ntopic = \"\"", "ntfy", None),
    ];
    for (text, kind, way) in table {
        let read = channel(&scratch, text);
        assert_eq!((read.kind, &read.way), (kind, &way), "{text}");
        assert_eq!(read.on.len(), 6, "it hears of everything unless `on` says otherwise");
        assert!(!format!("{read:?}").contains("hunter2"), "{read:?}");
    }
    let read =
        channel(&scratch, "[notify.x]\nkind = \"command\"\nrun = [\"/bin/tell\"]\nuser = \"pi\"\non = [\"critical\"]");
    assert_eq!(read.on.into_iter().collect::<Vec<_>>(), [Occasion::Critical]);
    let Some(Way::Command { run, user, timeout }) = read.way else { panic!("{:?}", read.way) };
    assert_eq!(
        (run.argv(), user.as_deref(), timeout),
        (vec!["/bin/tell".to_string()], Some("pi"), Duration::from_secs(30))
    );
}

#[test]
fn what_is_wrong_is_said_by_its_key_and_no_secret_is_shown() {
    let scratch = Scratch::new("notify-wrong");
    let table = [
        ("[notify.team]\nurl = { env = \"URL\" }", "notify.team.kind: is missing, and the table's name is no kind"),
        ("[notify.slack]\nurl = \"https://x\"", "notify.slack.url: is a secret written out"),
        ("[notify.slack]\nurl = { env = \"WORD\" }", "notify.slack.url: does not point at an address of the web"),
        ("[notify.slack]\n", "notify.slack.url: is missing"),
        ("[notify.slack]\nurl = { env = \"URL\" }\nchat = \"1\"", "notify.slack.chat: is not a known key"),
        ("[notify.telegram]\ntoken = { env = \"TOKEN\" }", "notify.telegram.chat: is missing"),
        ("[notify.telegram]\ntoken = { env = \"URL\" }\nchat = \"1\"", "notify.telegram.token: is not a bot's token"),
        (
            "[notify.ntfy]\ntopic = \"a\"\ntoken = { env = \"SPACED\" }",
            "notify.ntfy.token: holds characters that no token",
        ),
        (
            "[notify.ntfy]\ntopic = \"a\"\ntoken = { env = \"ACCENT\" }",
            "notify.ntfy.token: holds characters that no token",
        ),
        ("[notify.ntfy]\ntopic = \"a/b\"", "notify.ntfy.topic: \"a/b\" is not a topic"),
        ("[notify.ntfy]\ntopic = \"a\"\nserver = \"ntfy.sh\"", "notify.ntfy.server: \"ntfy.sh\" is not an address"),
        ("[notify.ntfy]\ntopic = \"a\"\non = []", "notify.ntfy.on: is empty"),
        ("[notify.ntfy]\ntopic = \"a\"\non = [\"succes\"]", "notify.ntfy.on[1]: \"succes\" is not one of the words"),
        ("[notify.ntfy]\ntopic = \"a\"\nca = \"gone.pem\"", "notify.ntfy.ca: cannot read"),
        ("[notify.command]\n", "notify.command.run: is missing"),
        ("[notify.command]\nrun = \"true\"\nuser = \"eve\"", "notify.command.user: \"eve\" is not a user"),
        ("[notify.\"A b\"]\nkind = \"ntfy\"\ntopic = \"a\"", "notify.A b: \"A b\" is not a usable name"),
        ("[dns.other]\nsubdomain = \"x\"\ntoken = { env = \"WORD\" }", "dns.other: is not a provider known here"),
        (
            "[dns.duckdns]\nsubdomain = \"a b\"\ntoken = { env = \"WORD\" }",
            "dns.duckdns.subdomain: \"a b\" is not a name",
        ),
        ("[dns.duckdns]\nsubdomain = \"a\"", "dns.duckdns.token: is missing"),
    ];
    for (text, expected) in table {
        let found = host(&scratch, text).unwrap_err();
        assert!(found.len() == 1 && found[0].starts_with(expected), "{text}\n{found:#?}");
        assert!(!found[0].contains("hunter2"));
    }
}

#[test]
fn duckdns_is_on_with_a_token_and_tells_www_duckdns_org() {
    let scratch = Scratch::new("notify-dns");
    let text =
        |token: &str| format!("[dns.duckdns]\nsubdomain = \"Clinic.duckdns.org\"\ntoken = {{ env = \"{token}\" }}\n");
    let found = host(&scratch, &text("WORD")).unwrap().duckdns.unwrap();
    assert_eq!((found.subdomain.as_str(), found.every), ("clinic", Duration::from_secs(300)));
    assert_eq!(found.server, "https://www.duckdns.org");
    assert_eq!(host(&scratch, &text("EMPTY")).unwrap().duckdns, None);
}

#[test]
fn of_the_variables_those_that_look_secret_are_never_told() {
    let scratch = Scratch::new("notify-variables");
    scratch.write("etc/pintle.toml", "");
    scratch
        .write("etc/pintle.env", "DB_PASSWORD=one\nSITE=clinic\nDATABASE_URL=postgres://me:two@db/x\napi_key=three\n");
    let host = scratch.load().unwrap().config.host;
    let known: Vec<&[u8]> = host.variables.iter().map(Secret::expose).collect();
    assert_eq!(known, [&b"postgres://me:two@db/x"[..], b"one", b"three"]);
}

#[test]
fn the_forges_api_is_derived_from_the_source() {
    let scratch = Scratch::new("notify-status");
    scratch.write("etc/pintle.env", "TOKEN=hunter2\n");
    let app = |git: &str, forge: &str, more: &str| {
        scratch.write("etc/pintle.toml", "");
        let text = format!(
            "[source]\ngit = \"{git}\"\nbranch = \"main\"\n[trigger]\nforge = \"{forge}\"\n[commit_status]\n\
             token = {{ env = \"TOKEN\" }}\n{more}"
        );
        scratch.write("etc/apps/shop.toml", text);
        let loaded = scratch.load().map_err(|problems| brief(&problems));
        loaded.map(|loaded| loaded.config.apps.into_values().next().unwrap().commit_status.unwrap())
    };
    let table = [
        ("https://github.com/o/n.git", "github", "https://api.github.com"),
        ("git@github.com:o/n.git", "github", "https://api.github.com"),
        ("ssh://git@git.example:2222/o/n.git", "gitea", "https://git.example/api/v1"),
        ("https://gitlab.com/o/n.git", "gitlab", "https://gitlab.com/api/v4"),
        ("https://GitHub.com/o/n.git", "github", "https://api.github.com"),
        ("ssh://git@ssh.github.com:443/o/n.git", "github", "https://api.github.com"),
        ("git@ssh.github.com:o/n.git", "github", "https://api.github.com"),
        ("https://ghe.example/o/n.git", "github", "https://ghe.example/api/v3"),
        ("git@ghe.example:o/n.git", "github", "https://ghe.example/api/v3"),
        ("git@gitlab.com:o/n.git", "gitlab", "https://gitlab.com/api/v4"),
        ("ssh://git@altssh.gitlab.com:443/o/n.git", "gitlab", "https://gitlab.com/api/v4"),
        ("https://git.example:8443/o/n.git", "gitlab", "https://git.example:8443/api/v4"),
        ("http://192.168.1.5:3000/o/n.git", "gitea", "http://192.168.1.5:3000/api/v1"),
        ("http://forge:3000/o/n.git", "forgejo", "http://forge:3000/api/v1"),
        ("git@git.example:o/n.git", "forgejo", "https://git.example/api/v1"),
    ];
    for (git, forge, api) in table {
        let status = app(git, forge, "").unwrap();
        assert_eq!((status.api.as_str(), status.repository.as_str()), (api, "o/n"), "{git}");
        assert_eq!(status.context, "pintle/shop");
    }
    let told = app("/srv/n.git", "github", "").unwrap_err();
    assert_eq!(told.len(), 2, "{told:?}");
    let other = app("https://bitbucket.org/o/n.git", "bitbucket", "").unwrap_err();
    assert_eq!(other, ["commit_status: is not known of this forge"]);
    assert_eq!(
        app("https://git.example/o/n.git", "gitea", "api = \"http://127.0.0.1:1/\"").unwrap().api,
        "http://127.0.0.1:1"
    );
    let loaded = scratch.load_app(&app_with("")).unwrap();
    assert_eq!(loaded.config.apps.into_values().next().unwrap().commit_status, None);
}
