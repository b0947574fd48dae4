use super::super::scratch::{Scratch, app_with, brief, environment};
use super::super::{Access, ProbeTarget, Source};
use super::*;

fn name() -> AppName {
    "app".parse().unwrap()
}

const MORE: &str = "shared = [\"data\"]\ntoken = { file = \"secrets/token\" }\n[trigger]\nsecret = { file = \"secrets/app\" }\nworkflow = \"CI\"\n\
    [app]\nuser = \"pi\"\n[deploy]\nprobation = \"0s\"\n[[step]]\nname = \"b\"\nphase = \"build\"\nrun = \"make ${FLAG}\"\n\
    [[step]]\nname = \"a\"\nphase = \"after\"\nrun = [\"true\"]\n[service.web]\nrun = [\"app\"]\nlisten = [\"127.0.0.1:5000\"]\n\
    env = { KEY = \"${KEY}\" }\n[service.api]\nrun = [\"api\"]\nhandover = \"port\"\n\
    nginx = { file = \"api.conf\", upstream = \"api\", reload = \"nginx -s reload\", test = [\"nginx\", \"-t\"] }\n[health]\nservice = \"web\"\npath = \"/health\"\n[[probe]]\nname = \"run\"\nrun = \"check\"\n\
    [backup]\npostgres = [{ url = { file = \"secrets/app\" } }]\nkeep = 3\n[rehearsal]\nenv = { A = \"1\" }\n";

fn deployed(scratch: &Scratch) -> App {
    scratch.write("etc/pintle.env", "FLAG=-j2\nKEY=hunter2\n");
    scratch.write("etc/secrets/app", "hunter2");
    scratch.write("etc/secrets/token", "hunter2");
    scratch.load_app(&app_with(MORE)).unwrap().config.apps.remove(&name()).unwrap()
}

#[test]
fn an_application_thaws_as_it_was_frozen_though_secrets_are_gone() {
    let scratch = Scratch::new("frozen");
    let app = deployed(&scratch);
    let text = serde_json::to_string_pretty(&freeze(&app)).unwrap();
    assert!(!text.contains("hunter2"), "{text}");
    scratch.remove("etc/secrets/app");
    scratch.remove("etc/secrets/token");
    scratch.write("etc/pintle.toml", "broken [");

    let frozen: Value = serde_json::from_str(&text).unwrap();
    let thawed = thaw(&name(), &frozen, &scratch.path("etc"), &environment()).unwrap();
    assert_eq!(thawed.trigger.secrets, []);
    assert_eq!(thawed.source.access, Access::default());
    let source = Source { access: Access::default(), ..app.source.clone() };
    let same = App { trigger: thawed.trigger.clone(), source, ..app };
    assert_eq!(thawed, same, "everything else is as it was");
    assert!(matches!(thawed.probes[1].target, ProbeTarget::Run(_)));
    assert_eq!(freeze(&thawed), frozen, "and freezes to the same again");
}

#[test]
fn what_cannot_be_used_is_said() {
    let scratch = Scratch::new("frozen-bad");
    let mut frozen = freeze(&deployed(&scratch));
    let dir = scratch.path("etc");
    for bad in [serde_json::json!({}), serde_json::json!({ "format": 2, "definition": {} }), Value::Null] {
        let problems = thaw(&name(), &bad, &dir, &environment()).unwrap_err();
        assert_eq!(brief(&problems), [": is not a definition that can be read"]);
    }
    scratch.write("etc/pintle.env", "FLAG=-j2\n");
    let problems = thaw(&name(), &frozen, &dir, &environment()).unwrap_err();
    assert_eq!(brief(&problems), ["service.web.env.KEY: ${KEY} is set neither in pintle.env nor in the environment"]);
    scratch.write("etc/pintle.env", "FLAG=-j2\nKEY=1\n");
    frozen["definition"]["service"]["web"]["key_of_another_version"] = "x".into();
    assert!(thaw(&name(), &frozen, &dir, &environment()).is_ok());
    frozen["definition"]["service"]["web"]["listen"] = "x".into();
    assert_eq!(thaw(&name(), &frozen, &dir, &environment()).unwrap_err().len(), 1);
}
