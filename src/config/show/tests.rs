use super::super::scratch::{Scratch, app_with};
use super::*;

const MORE: &str = "token = { env = \"T\" }\nshared = [\"data\"]\n[app]\nuser = \"pi\"\n[trigger]\n\
    secret = [{ env = \"T\" }, { env = \"T\" }]\npoll = \"5m\"\n[[step]]\nname = \"s\"\nphase = \"test\"\nrun = \"login ${T}\"\n\
    [service.web]\nrun = [\"app\", \"${T}\"]\nlisten = [\"127.0.0.1:5000\"]\nenv = { T = \"${T}\", U = \"plain\" }\nstop_timeout = \"90s\"\n\
    [service.api]\nrun = [\"api\"]\nhandover = \"port\"\n\
    nginx = { file = \"api.conf\", upstream = \"api\", reload = \"nginx -s reload\", test = [\"nginx\", \"-t\"] }\n[health]\nservice = \"web\"\npath = \"/health\"\n[[probe]]\nname = \"p\"\ntcp = \"127.0.0.1:5000\"\n\
    [backup]\npostgres = [{ url = { env = \"T\" } }]\n[rehearsal]\nenv = { A = \"1\" }\n";

fn shown() -> (String, serde_json::Value) {
    let scratch = Scratch::new(&format!("show-{:?}", std::thread::current().id()));
    scratch.write("etc/pintle.env", "T=hunter2\n");
    let loaded = scratch.load_app(&app_with(MORE)).unwrap();
    let app = loaded.config.apps.values().next().unwrap();
    (show_text(app), show_json(app))
}

#[test]
fn defaults_are_there_and_secrets_are_not() {
    let (text, json) = shown();
    assert!(!text.contains("hunter2") && !json.to_string().contains("hunter2"), "{text}");
    for line in [
        "# app as Pintle understands it, defaults included",
        "[source]",
        "token = \"(secret)\"",
        "secret = [\"(secret)\", \"(secret)\"]",
        "keep_releases = 5",
        "probation = \"30s\"",
        "[service.web]",
        "run = [\"app\", \"${T}\"]",
        "env = { T = \"${T}\", U = \"plain\" }",
        "stop_timeout = \"1m30s\"",
        "stop_signal = \"TERM\"",
        "[[step]]",
        "run = \"login ${T}\"",
        "poll = \"5m\"",
        "log_max = \"10MiB\"",
        "nginx = { file = \"api.conf\", upstream = \"api\", test = [\"nginx\", \"-t\"], reload = \"nginx -s reload\" }",
        "[health]",
        "[[probe]]",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line}\n{text}");
    }
    assert_eq!(json["name"], "app");
    assert_eq!(json["service"]["web"]["handover"], "socket");
    assert_eq!(json["backup"]["postgres"][0]["url"], "(secret)");
}

#[test]
fn what_is_shown_means_the_same() {
    let (text, _) = shown();
    let again = Scratch::new("show-again");
    again.write("etc/pintle.env", "T=hunter2\n");
    let with_secrets = text.replace("\"(secret)\"", "{ env = \"T\" }");
    let loaded = again.load_app(&with_secrets).unwrap_or_else(|problems| panic!("{problems:#?}\n{text}"));
    let first = again.load_app(&app_with(MORE)).unwrap();
    let [mut shown, mut written] = [loaded, first].map(|loaded| loaded.config.apps.into_values().next().unwrap());
    shown.definition.clear();
    written.definition.clear();
    assert_eq!(shown, written);
}
