//! The files in `examples/` are configurations a daemon would run, whatever machine this is.

use pintle::config::{Config, Environment};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// As root on a host that has every user: nothing then depends on where the test runs.
fn any_host() -> Environment {
    Environment { is_root: true, variable: Box::new(|_| None), user_exists: Box::new(|_| true), credentials_dir: None }
}

#[test]
fn every_example_is_accepted_and_promises_nothing_that_is_still_to_come() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let dir = std::env::temp_dir().join(format!("pintle-examples-{}", std::process::id()));
    fs::create_dir_all(dir.join("apps")).unwrap();
    fs::create_dir_all(dir.join("secrets")).unwrap();
    fs::write(dir.join("pintle.toml"), "[listen]\n").unwrap();
    let mut names = Vec::new();
    for entry in fs::read_dir(&examples).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        fs::copy(&path, dir.join("apps").join(path.file_name().unwrap())).unwrap();
        for secret in [name.clone(), format!("{name}_deploy_key"), "known_hosts".into()] {
            let file = dir.join("secrets").join(secret);
            fs::write(&file, format!("a secret of {name}, long enough for a signature")).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        }
        names.push(name);
    }
    names.sort();

    let loaded = Config::load(&dir, &any_host()).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert_eq!(loaded.config.apps.keys().map(|name| name.as_str()).collect::<Vec<_>>(), names);
    assert_eq!(names, ["agent", "clinic", "nutrition", "shop"]);
    let noticed: Vec<String> = loaded.notices.iter().map(|notice| format!("{notice:?}")).collect();
    assert!(noticed.is_empty(), "{noticed:#?}");
    fs::remove_dir_all(&dir).unwrap();
}
