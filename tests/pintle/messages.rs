//! What happens is told: to real servers that answer, are away, refuse, hang - and nothing is lost, nothing told twice.

use crate::world::peer::{Answer, Heard, titles};
use crate::world::{App, Peer, World, write_secret};
use pintle::control::{ChannelView, DeployStatus};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

const TOKEN: &str = "123456:s3cr3t-s3cr3t-s3cr3t";

/// A world with `pintle.env` and these tables in `pintle.toml`.
fn world(app: App, env: &[(&str, String)], tables: &str) -> World {
    let world = World::with([app]).host(tables);
    let text: String = env.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    write_secret(&world.config().join("pintle.env"), &text);
    world
}

/// One channel: a webhook that `peer` hears.
fn with_webhook(app: App, peer: &Peer) -> World {
    let table = "[notify.webhook]\nurl = { env = \"HOOK\" }\n";
    world(app, &[("HOOK", peer.url("/hook/s3cr3t-s3cr3t-s3cr3t"))], table)
}

fn title(heard: &Heard) -> String {
    heard.json()["title"].as_str().unwrap().to_owned()
}

fn channel(world: &World, name: &str) -> ChannelView {
    let found = world.status().notify.into_iter().find(|view| view.channel == name);
    found.unwrap_or_else(|| panic!("no channel {name}"))
}

/// No secret is where people look, nor in the diary.
#[track_caller]
fn no_secret_is_shown(world: &World) {
    let status = world.pintle(&["--json", "status"]).exits(0).stdout;
    let mut texts = vec![world.daemon_said(), status];
    for file in ["pintle.db", "pintle.db-wal"] {
        let bytes = fs::read(world.state().join(file)).unwrap_or_default();
        texts.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    for text in texts {
        assert!(!text.contains("s3cr3t"), "{}", &text[text.find("s3cr3t").unwrap().saturating_sub(200)..]);
    }
}

#[test]
fn what_happens_is_told_to_each_channel_in_its_own_form() {
    let peers: Vec<Peer> = (0..5).map(|_| Peer::new()).collect();
    peers[2].always(Answer::Say(200, "", r#"{"ok":true,"result":{"message_id":7}}"#));
    peers[1].always(Answer::Say(204, "", ""));
    let env = [
        ("SLACK", peers[0].url("/services/T0/B0/s3cr3t-s3cr3t-s3cr3t")),
        ("DISCORD", peers[1].url("/api/webhooks/1/s3cr3t-s3cr3t-s3cr3t")),
        ("TELEGRAM", TOKEN.into()),
        ("NTFY", "tk_s3cr3t-s3cr3t-s3cr3t".into()),
        ("HOOK", peers[4].url("/hook/s3cr3t-s3cr3t-s3cr3t")),
        ("SIGN", "s3cr3t-to-sign-with".into()),
    ];
    let tables = format!(
        "[notify.slack]\nurl = {{ env = \"SLACK\" }}\n[notify.discord]\nurl = {{ env = \"DISCORD\" }}\n\
         [notify.telegram]\ntoken = {{ env = \"TELEGRAM\" }}\nchat = \"-100\"\nserver = {:?}\n\
         [notify.ntfy]\ntopic = \"pi\"\ntoken = {{ env = \"NTFY\" }}\nserver = {:?}\n\
         [notify.webhook]\nurl = {{ env = \"HOOK\" }}\nsecret = {{ env = \"SIGN\" }}\non = [\"failure\"]\n",
        peers[2].url(""),
        peers[3].url(""),
    );
    let failing = "echo 'PASSWORD=s3cr3t'; echo 'two tests <failed>'; exit 1";
    let app = App::new("shop").step("test", "unit", &format!("grep -q v1 version || {{ {failing}; }}"));
    let world = world(app, &env, &tables);
    let home = world.root.join("home");
    // A command runs in the home of its user, which is not this world's.
    let script = format!("#!/bin/sh\ncd {}\ncat > told\necho \"$PINTLE_EVENT\" >> events\n", home.display());
    let path = world.root.join("tell");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let world = world.host(&format!("[notify.script]\nkind = \"command\"\nrun = [{path:?}]\n")).up();
    let shop = world.shop();
    let commit = shop.goes_live("v1").deployment.commit.unwrap();
    let bad = shop.deploy("v2", &[]);
    assert_eq!(bad.deployment.status, DeployStatus::Failed);

    let slack = peers[0].hears(2);
    assert_eq!((slack[0].method.as_str(), slack[0].path.as_str()), ("POST", "/services/T0/B0/s3cr3t-s3cr3t-s3cr3t"));
    assert_eq!(slack[0].header("content-type"), Some("application/json"));
    let text = slack[0].json()["text"].as_str().unwrap().to_owned();
    assert!(text.starts_with(&format!("✅ shop: {} is live in ", &commit[..7])), "{text}");
    let all = slack[1].json().to_string();
    assert!(all.contains("failed in test") && all.contains("two tests &lt;failed&gt;"), "{all}");
    assert!(all.contains("step \\\"unit\\\": exit 1") && all.contains("PASSWORD=***"), "{all}");

    let discord = peers[1].hears(2);
    assert_eq!(discord[0].path, "/api/webhooks/1/s3cr3t-s3cr3t-s3cr3t");
    let embed = discord[0].json()["embeds"][0].clone();
    assert!(embed["title"].as_str().unwrap().contains("is live in"), "{embed}");
    assert!(embed["fields"].as_array().unwrap().iter().any(|field| field["value"] == *commit), "{embed}");

    let telegram = peers[2].hears(2);
    assert_eq!(telegram[0].path, format!("/bot{TOKEN}/sendMessage"));
    let document = telegram[1].json();
    assert_eq!((&document["chat_id"], &document["parse_mode"]), (&"-100".into(), &"HTML".into()));
    assert!(document["text"].as_str().unwrap().contains("two tests &lt;failed&gt;</pre>"), "{document}");

    let ntfy = peers[3].hears(2);
    assert_eq!((ntfy[1].path.as_str(), ntfy[1].header("priority")), ("/pi", Some("high")));
    assert_eq!(ntfy[1].header("authorization"), Some("Bearer tk_s3cr3t-s3cr3t-s3cr3t"));
    assert!(ntfy[1].header("title").unwrap().contains("failed in test"));

    let hook = peers[4].hears(1);
    assert_eq!(hook[0].json()["event"], "deploy.failed", "it listens to failures only");
    assert_eq!(hook[0].header("x-pintle-signature-256").unwrap().len(), "sha256=".len() + 64);

    let told = world.wait("the command's file", || {
        let told: serde_json::Value = serde_json::from_slice(&fs::read(home.join("told")).ok()?).ok()?;
        (told["event"] == "deploy.failed").then_some(told)
    });
    assert_eq!(told["facts"]["trigger"], "webhook");
    let events = world.wait("both events", || {
        let events = fs::read_to_string(home.join("events")).ok()?;
        (events.lines().count() == 2).then_some(events)
    });
    assert_eq!(events, "deploy.success\ndeploy.failed\n");
    world.wait("all to be noted", || world.status().notify.iter().all(|view| view.waiting == 0).then_some(()));
    assert_eq!(channel(&world, "slack").sent, 2);
    no_secret_is_shown(&world);
}

#[test]
fn what_cannot_be_told_now_waits_over_restarts_and_comes_in_order() {
    let peer = Peer::new();
    peer.always(Answer::Swallow);
    let mut world = with_webhook(App::new("shop"), &peer).up();
    for version in ["v1", "v2", "v3"] {
        world.shop().goes_live(version);
    }
    world.wait("a try in vain", || channel(&world, "webhook").trouble);
    assert_eq!(channel(&world, "webhook").waiting, 3);
    let page = world.pintle(&["status"]).exits(0).stdout;
    assert!(page.contains("notify webhook: 3 waiting, the connection was closed without an answer"), "{page}");
    assert_eq!(world.stop_daemon().code(), Some(0));
    world.start_daemon();
    peer.hears(2);
    peer.always(Answer::Say(200, "", ""));
    world.replace_daemon();
    world.wait("all to be told", || (channel(&world, "webhook").waiting == 0).then_some(()));
    let heard: Vec<Heard> = peer.heard().into_iter().filter(|heard| heard.answered == 200).collect();
    let told: Vec<String> = heard.iter().map(|heard| heard.json()["event"].as_str().unwrap().to_owned()).collect();
    // The daemon was killed once, which it tells after all else.
    assert_eq!(told, ["deploy.success", "deploy.success", "deploy.success", "trouble.warning"]);
    let numbers: Vec<String> =
        heard.iter().filter_map(|heard| Some(heard.json()["facts"]["deployment"].as_str()?.to_owned())).collect();
    assert_eq!(numbers, ["1", "2", "3"]);
    no_secret_is_shown(&world);
}

#[test]
fn a_daemon_that_is_killed_while_it_tells_loses_nothing_and_repeats_only_what_nobody_answered() {
    let peer = Peer::new();
    let mut world = with_webhook(App::new("shop"), &peer).up();
    world.shop().goes_live("v1");
    peer.hears(1);
    world.wait("it to be noted", || (channel(&world, "webhook").sent == 1).then_some(()));
    peer.then(&[Answer::Hang]);
    world.shop().goes_live("v2");
    peer.hears(2);
    world.shop().goes_live("v3");
    world.replace_daemon();
    let heard = peer.hears(5);
    let ids: Vec<String> = heard.iter().map(|heard| heard.json()["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(heard[1].answered, 0);
    assert_eq!(ids[1], ids[2], "what nobody answered comes once more, and says that it is the same");
    let distinct: std::collections::BTreeSet<&String> = ids.iter().collect();
    assert_eq!(distinct.len(), 4, "{:#?}", titles(&heard));
    assert!(title(&heard[4]).contains("the daemon ended without being told to"), "{:#?}", titles(&heard));
    assert_eq!(world.status().incidents.len(), 1);
    // The same trouble is not told again while it lasts, and neither is anything else.
    world.replace_daemon();
    assert_eq!(world.stop_daemon().code(), Some(0));
    world.start_daemon();
    world.shop().goes_live("v4");
    let heard = peer.hears(6);
    assert!(title(&heard[5]).contains("is live"), "{:#?}", titles(&heard));
    assert_eq!(heard.len(), 6);
}

#[test]
fn a_peer_that_asks_for_patience_gets_it_and_one_that_refuses_is_not_asked_again() {
    let (slow, strict) = (Peer::new(), Peer::new());
    slow.then(&[Answer::Say(429, "Retry-After: 7\r\n", "slow down"), Answer::Say(503, "", "not now")]);
    strict.then(&[Answer::Say(400, "", "no_text s3cr3t-s3cr3t-s3cr3t")]);
    let env = [("A", slow.url("/a/s3cr3t-s3cr3t-s3cr3t")), ("B", strict.url("/b/s3cr3t-s3cr3t-s3cr3t"))];
    let tables =
        "[notify.a]\nkind = \"slack\"\nurl = { env = \"A\" }\n[notify.b]\nkind = \"slack\"\nurl = { env = \"B\" }\n";
    let world = world(App::new("shop"), &env, tables).up();
    world.shop().goes_live("v1");
    strict.hears(1);
    let dropped = world.wait("the refusal", || Some(channel(&world, "b")).filter(|view| view.dropped == 1));
    assert_eq!((dropped.waiting, dropped.trouble.as_deref()), (0, Some("HTTP 400: no_text ***")));
    assert!(world.daemon_said().contains("notify b: a message was refused and is dropped: HTTP 400: no_text ***"));
    assert!(world.pintle(&["status"]).exits(0).stdout.contains("notify b: 1 dropped, HTTP 400: no_text ***"));
    world.shop().goes_live("v2");
    assert_eq!(strict.hears(2)[1].answered, 200, "what comes after is told");
    let heard = slow.hears(3);
    assert!(heard[1].at - heard[0].at >= Duration::from_millis(6_900), "{:?}", heard[1].at - heard[0].at);
    assert_eq!(heard[0].body, heard[2].body, "it is the first message still");
    world.wait("both to be told", || (channel(&world, "a").sent == 2).then_some(()));
    no_secret_is_shown(&world);
}

#[test]
fn a_test_says_what_happened_on_each_channel_whether_a_daemon_runs_or_not() {
    let (good, bad) = (Peer::new(), Peer::new());
    bad.always(Answer::Say(404, "", "no_service"));
    let env = [("A", good.url("/a")), ("B", bad.url("/b/s3cr3t-s3cr3t-s3cr3t")), ("EMPTY", String::new())];
    let tables = "[notify.a]\nkind = \"slack\"\nurl = { env = \"A\" }\n[notify.b]\nkind = \"discord\"\nurl = { env = \"B\" }\n\
                  [notify.slack]\nurl = { env = \"EMPTY\" }\n";
    let mut world = world(App::new("shop"), &env, tables).up();
    for daemon in ["up", "down"] {
        if daemon == "down" {
            world.stop_daemon();
        }
        let said = world.pintle(&["notify", "test"]).exits(1);
        let expected = "a (slack): ok\nb (discord): failed: HTTP 404: no_service\nslack: off: its address, token, chat or topic is empty\n";
        assert_eq!(said.stdout, expected, "{daemon}");
        assert_eq!(said.stderr.contains("the daemon is not reachable"), daemon == "down", "{}", said.stderr);
        world.pintle(&["notify", "test", "a"]).exits(0);
        world.pintle(&["notify", "test", "nobody"]).exits(64);
        let document = world.pintle(&["--json", "notify", "test", "b"]).exits(1).json();
        let expected = serde_json::json!({"channels": [
            {"channel": "b", "kind": "discord", "ok": false, "message": "HTTP 404: no_service"}]});
        assert_eq!(document, expected);
    }
    assert!(good.hears(4)[0].json()["text"].as_str().unwrap().contains("Test: messages of Pintle arrive here"));
    world.start_daemon();
    no_secret_is_shown(&world);
}

#[test]
fn a_commits_forge_hears_how_its_deploy_goes() {
    let forge = Peer::new();
    forge.always(Answer::Say(201, "", "{}"));
    let app = App::new("shop")
        .set("trigger", "forge", "\"gitea\"")
        .set("commit_status", "token", "{ env = \"FORGE\" }")
        .set("commit_status", "api", &format!("{:?}", forge.url("/api/v1")))
        .step("test", "unit", "grep -q v1 version");
    let world = world(app, &[("FORGE", "s3cr3t-s3cr3t-s3cr3t".into())], "").up();
    let shop = world.shop();
    let first = shop.version("v1", &[]);
    world.pintle(&["deploy", "shop"]).exits(0);
    let second = shop.version("v2", &[]);
    world.pintle(&["deploy", "shop"]).exits(1);
    let heard = forge.hears(4);
    let states: Vec<(String, String)> =
        heard.iter().map(|heard| (heard.path.clone(), heard.json()["state"].as_str().unwrap().to_owned())).collect();
    let path = |commit: &str| format!("/api/v1/repos/owner/shop/statuses/{commit}");
    let expected = [(&first, "pending"), (&first, "success"), (&second, "pending"), (&second, "failure")];
    assert_eq!(states, expected.map(|(commit, state)| (path(commit), state.to_owned())));
    assert_eq!(heard[0].header("authorization"), Some("token s3cr3t-s3cr3t-s3cr3t"));
    assert_eq!(heard[3].json()["context"], "pintle/shop");
    assert_eq!(heard[3].json()["description"], "failed in test, nothing changed");
    no_secret_is_shown(&world);
}

#[test]
fn the_name_follows_the_address_and_says_when_it_does_not() {
    let duck = Peer::new();
    duck.then(&[Answer::Say(200, "", "KO")]);
    duck.always(Answer::Say(200, "", "OK"));
    let tables = format!(
        "[dns.duckdns]\nsubdomain = \"clinic\"\ntoken = {{ env = \"DUCK\" }}\nevery = \"1s\"\nserver = {:?}\n",
        duck.url("")
    );
    let mut world = world(App::new("shop"), &[("DUCK", "s3cr3t-s3cr3t-s3cr3t".into())], &tables).up();
    let heard = duck.hears(1);
    assert_eq!((heard[0].method.as_str(), heard[0].body.len()), ("GET", 0));
    assert_eq!(heard[0].path, "/update?domains=clinic&token=s3cr3t-s3cr3t-s3cr3t&ip=");
    let dns = world.wait("its answer", || world.status().dns.filter(|dns| dns.ok == Some(false)));
    assert_eq!((dns.name.as_str(), dns.next.is_some()), ("clinic.duckdns.org", true));
    assert!(dns.message.unwrap().starts_with("it answers KO"));
    world.replace_daemon();
    world.wait("a good answer", || world.status().dns.filter(|dns| dns.ok == Some(true)));
    assert!(world.pintle(&["status"]).exits(0).stdout.contains("clinic.duckdns.org: address told "));
    duck.hears(3);
    no_secret_is_shown(&world);
}
