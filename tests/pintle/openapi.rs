//! The listener against its own description (docs/openapi.json), by a program that makes requests up: schemathesis,
//! from PyPI.

use crate::world::site::SECRET;
use crate::world::{App, Request, World, python};
use std::fs;
use std::path::Path;
use std::process::Command;

const PACKAGES: [&str; 1] = ["schemathesis==4.32.5"];

/// What is held against every answer. Whether a body that fits is taken and one that does not is refused depends on
/// whether it is signed, which the description cannot say.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                      response_schema_conformance,unsupported_method,allow_header_conformance";

#[test]
#[ignore = "needs schemathesis from PyPI, and a minute"]
fn whatever_is_asked_is_answered_as_described() {
    let program = python::environment("schemathesis", &PACKAGES).join("bin/schemathesis");
    let world = World::with([App::new("shop")]);
    // What is answered is looked at here, not how often one may ask.
    let file = world.config().join("pintle.toml");
    fs::write(&file, fs::read_to_string(&file).unwrap().replace("1000/min", "100000/min")).unwrap();
    let world = world.up();
    let commit = world.shop().version("v1", &[]);
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    for token in [None, Some("not-the-token")] {
        let mut command = Command::new(&program);
        command.arg("run").arg(project.join("docs/openapi.json"));
        command.args(["--url", &format!("http://127.0.0.1:{}", world.hook)]);
        command.args([
            "--checks",
            CHECKS,
            "--max-examples",
            "40",
            "--seed",
            "4",
            "--phases",
            "examples,coverage,fuzzing",
        ]);
        command.args(["--request-timeout", "60", "--continue-on-failure", "--warnings", "off"]);
        // Local callers see everything; the second round is a stranger who guesses.
        if let Some(token) = token {
            command.args(["-H", &format!("Authorization:Bearer {token}"), "-H", "X-Forwarded-For:192.0.2.7"]);
        }
        command.current_dir(&world.root).env("SCHEMATHESIS_HOOKS", project.join("tests/schemathesis/hooks.py"));
        command.env("PINTLE_SECRET", SECRET).env("PINTLE_COMMIT", &commit).env("HOME", world.root.join("home"));
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{token:?}: {said}\n{}", String::from_utf8_lossy(&output.stderr));
        println!("{said}");
        Request::get("/health").send(world.hook).unwrap().is(200);
    }
    assert!(!world.history().is_empty(), "some of what was signed was a deploy");
}
