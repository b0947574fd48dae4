use super::super::scratch::{Scratch, app_with, brief};
use super::*;

const EVERY: [&str; 6] = ["push", "tag", "workflow_run", "pipeline", "release", "registry_package"];

fn load(scratch: &Scratch, trigger: &str) -> Result<(Trigger, Vec<String>), Vec<String>> {
    scratch.write("etc/pintle.env", "T=t\nEMPTY=\nBROKEN=whsec_!\nSIGNING=whsec_AAAA\n");
    let secret = if trigger.contains("secret =") { "" } else { "secret = { env = \"T\" }\n" };
    let loaded = scratch.load_app(&app_with(&format!("[trigger]\n{secret}{trigger}\n")));
    let loaded = loaded.map_err(|problems| {
        let advised = problems.iter().all(|problem| !problem.advice.is_empty());
        assert!(advised, "{problems:#?}");
        brief(&problems)
    })?;
    let app = loaded.config.apps.into_values().next().unwrap();
    Ok((app.trigger, loaded.notices.iter().map(|notice| format!("{}: {}", notice.key, notice.text)).collect()))
}

#[test]
fn a_forge_is_asked_only_for_events_it_can_send() {
    let scratch = Scratch::new("trigger-events");
    let table: [(&str, &[&str]); 6] = [
        ("github", &["push", "tag", "workflow_run", "release", "registry_package"]),
        ("gitlab", &["push", "tag", "pipeline", "release"]),
        ("gitea", &["push", "tag", "workflow_run", "release"]),
        ("forgejo", &["push", "tag", "workflow_run", "release"]),
        ("gogs", &["push", "tag", "release"]),
        ("bitbucket", &["push", "tag", "pipeline"]),
    ];
    for (forge, events) in table {
        for event in EVERY {
            let read = load(&scratch, &format!("forge = \"{forge}\"\non = [\"{event}\"]"));
            match read {
                Ok((trigger, _)) => {
                    assert!(events.contains(&event), "{forge} {event}");
                    assert_eq!(word(&EVENTS, trigger.on[0]), event);
                }
                Err(problems) => {
                    assert!(!events.contains(&event), "{forge} {event}: {problems:?}");
                    assert!(problems.len() == 1 && problems[0].contains(&format!("event of {forge}")), "{problems:?}");
                }
            }
        }
    }
    let advice = |forge, text| sent_by(forge, text).unwrap_err().advice;
    assert!(advice(Forge::Gitlab, "workflow_run").starts_with("write \"pipeline\""));
    assert!(advice(Forge::Github, "pipeline").starts_with("write \"workflow_run\""));
    assert_eq!(advice(Forge::Gogs, "workflow_run"), "write one of \"push\", \"tag\", \"release\"");
}

#[test]
fn defaults_are_the_forges_own() {
    let scratch = Scratch::new("trigger-defaults");
    let table = [
        ("github", "push", "workflow_run", "workflow_dispatch"),
        ("gitlab", "push", "pipeline", "web"),
        ("gitea", "push", "workflow_run", "workflow_dispatch"),
        ("forgejo", "push", "workflow_run", "workflow_dispatch"),
        ("bitbucket", "push", "pipeline", "workflow_dispatch"),
    ];
    for (forge, plain, with_workflow, by_hand) in table {
        let (trigger, notices) = load(&scratch, &format!("forge = \"{forge}\"")).unwrap();
        assert_eq!((word(&EVENTS, trigger.on[0]), notices.len()), (plain, 0), "{forge} {notices:?}");
        assert_eq!(trigger.workflow_events, ["push", by_hand], "{forge}");
        let (trigger, notices) = load(&scratch, &format!("forge = \"{forge}\"\nworkflow = \"CI\"")).unwrap();
        assert_eq!((word(&EVENTS, trigger.on[0]), notices.len()), (with_workflow, 0), "{forge} {notices:?}");
    }
    let (trigger, notices) =
        load(&scratch, "forge = \"gitlab\"\non = [\"pipeline\", \"push\"]\nworkflow = \"CI\"").unwrap();
    assert_eq!((trigger.on.len(), trigger.on[0]), (1, TriggerEvent::Pipeline));
    assert!(notices.len() == 1 && notices[0].contains("the first one counts"), "{notices:?}");
    let (_, notices) = load(&scratch, "on = [\"tag\"]\nworkflow_events = [\"push\"]").unwrap();
    assert!(notices.len() == 1 && notices[0].contains("is not looked at"), "{notices:?}");
}

#[test]
fn the_repository_is_named_as_its_forge_does() {
    let table = [
        ("https://github.com/owner/name.git", Forge::Github, Some("owner/name")),
        ("ssh://git@github.com:22/owner/name", Forge::Github, Some("owner/name")),
        ("git@gitlab.com:group/sub/sub2/name.git", Forge::Gitlab, Some("group/sub/sub2/name")),
        ("https://me@gitlab.example.org:8443/group/name.git", Forge::Gitlab, Some("group/name")),
        ("https://git.example.org/git/owner/name.git", Forge::Gitea, Some("owner/name")),
        ("git@bitbucket.org:owner/name.git", Forge::Bitbucket, Some("owner/name")),
        ("https://bitbucket.example.org/scm/PROJ/name.git", Forge::Bitbucket, Some("PROJ/name")),
        ("ssh://git@bitbucket.example.org:7999/~ada/name.git", Forge::Bitbucket, Some("~ada/name")),
        ("https://host/name", Forge::Github, None),
        ("https://host/name", Forge::Gitlab, None),
        ("/srv/owner/name.git", Forge::Github, None),
    ];
    for (git, forge, name) in table {
        assert_eq!(repository_of(git, forge).as_deref(), name, "{git}");
    }
    for good in ["owner/name", "group/sub/name", "~ada/name", "PROJ/a.b_c-d"] {
        assert!(repository(good).is_ok(), "{good}");
    }
    for bad in ["name", "owner/", "/name", "a//b", "a b/c", "https://h/o/n"] {
        assert!(repository(bad).is_err(), "{bad}");
    }
}

const GENERIC: &str =
    "forge = \"generic\"\n[trigger.generic]\nheader = \"X-Signature\"\ncommit = \"/after\"\nref = \"/ref\"\n";

#[test]
fn a_sender_of_ones_own_is_checked_completely() {
    let scratch = Scratch::new("trigger-generic");
    let (trigger, notices) = load(&scratch, GENERIC).unwrap();
    let generic = trigger.generic.unwrap();
    assert_eq!((generic.value.to_string(), generic.signed.to_string()), ("{hex}".into(), "{body}".into()));
    assert!(notices.is_empty(), "{notices:?}");
    let timed = "value = \"t={timestamp},v1={base64}\"\nsigned = \"{id}.{timestamp}.{body}\"\nid = \"X-Id\"\nhash = \"sha512\"\n\
                 event = \"/type\"\nevent_is = \"done\"\nrepository = \"/a~1b/0\"";
    let (trigger, _) = load(&scratch, &format!("{GENERIC}{timed}")).unwrap();
    let generic = trigger.generic.unwrap();
    assert_eq!(generic.value.to_string(), "t={timestamp},v1={base64}");
    assert_eq!((generic.hash, generic.event_is.as_deref()), (crate::config::Hash::Sha512, Some("done")));
    for (more, expected) in [
        ("hash = \"sha1\"", "hash: \"sha1\" is too weak"),
        ("hash = \"sha3\"", "hash: \"sha3\" is not one of"),
        ("value = \"sha256=\"", "value: \"sha256=\" must hold the signature once"),
        ("value = \"{hex},{base64}\"", "value: \"{hex},{base64}\" must hold the signature once"),
        ("value = \"{hexx}\"", "value: \"{hexx}\" knows no {hexx}"),
        ("value = \"{hex\"", "value: \"{hex\" has a '{'"),
        (
            "value = \"{timestamp}{hex}\"\nsigned = \"{timestamp}{body}\"",
            "value: \"{timestamp}{hex}\" has nothing between",
        ),
        ("value = \"{body}{hex}\"", "value: \"{body}{hex}\" may hold"),
        ("value = \"{timestamp},{hex}\"", "value: is about a time that is not signed"),
        ("timestamp = \"X-Time\"", "timestamp: is about a time that is not signed"),
        ("signed = \"{timestamp}.{body}\"", "signed: signs a time that is sent nowhere"),
        ("signed = \"{id}.{body}\"", "signed: signs an id that is sent nowhere"),
        ("signed = \"{timestamp}\"", "signed: \"{timestamp}\" must hold {body} once"),
        ("signed = \"{body}{hex}\"", "signed: \"{body}{hex}\" cannot hold"),
        ("repository = \"project\"", "repository: \"project\" is not a JSON pointer"),
        ("event = \"/a~2\"", "event: \"/a~2\" is not a JSON pointer"),
        ("event_is = \"x\"", "event_is: is compared with nothing"),
        ("id = \"X Id\"", "id: \"X Id\" is not a header's name"),
        ("heder = \"X\"", "heder: is not a known key"),
    ] {
        let problems = load(&scratch, &format!("{GENERIC}{more}")).unwrap_err();
        let expected = format!("trigger.generic.{expected}");
        assert!(problems.len() == 1 && problems[0].starts_with(&expected), "{more}\n{problems:#?}");
    }
    for (whole, expected) in [
        ("forge = \"generic\"", "trigger.generic: is missing"),
        (
            "forge = \"generic\"\n[trigger.generic]\ncommit = \"/after\"\nref = \"/r\"",
            "trigger.generic.header: is missing",
        ),
        ("forge = \"generic\"\n[trigger.generic]\nheader = \"X\"\nref = \"/r\"", "trigger.generic.commit: is missing"),
        ("forge = \"gitea\"\n[trigger.generic]\nheader = \"X\"", "trigger.generic: is for forge"),
        ("forge = \"gogs\"\nworkflow = \"CI\"", "trigger.workflow: is of no use: gogs"),
        ("workflow_events = []", "trigger.workflow_events: is empty"),
        ("forge = \"gitlab\"\nsecret = { env = \"BROKEN\" }", "trigger.secret: begins with whsec_"),
        ("secret = [{ env = \"T\" }, { env = \"EMPTY\" }]", "trigger.secret[2]: points at an empty secret"),
        ("secret = []", "trigger.secret: is an empty list"),
    ] {
        let problems = load(&scratch, whole).unwrap_err();
        assert!(problems.len() == 1 && problems[0].starts_with(expected), "{whole}\n{problems:#?}");
    }
    assert!(load(&scratch, "forge = \"gitlab\"\nsecret = { env = \"SIGNING\" }").is_ok());
    let (_, notices) = load(&scratch, &GENERIC.replace("ref = \"/ref\"\n", "")).unwrap();
    assert!(notices.len() == 1 && notices[0].starts_with("trigger.generic.ref: is missing"), "{notices:?}");
}
