use super::super::scratch::{Scratch, brief, environment};
use super::super::{Config, Environment};
use std::fs;
use std::os::unix::fs::PermissionsExt;

fn trigger(secret: &str) -> String {
    format!("[source]\ngit = \"/srv/app\"\nbranch = \"main\"\n[trigger]\nrepository = \"o/n\"\nsecret = {secret}\n")
}

fn secrets(scratch: &Scratch, secret: &str) -> Result<Vec<String>, Vec<String>> {
    match scratch.load_app(&trigger(secret)) {
        Ok(loaded) => {
            let trigger = &loaded.config.apps[&"app".parse().unwrap()].trigger;
            assert!(!format!("{:?}", loaded.config).contains("hunter2"), "Debug shows a secret");
            Ok(trigger.secrets.iter().map(|secret| String::from_utf8(secret.expose().to_vec()).unwrap()).collect())
        }
        Err(problems) => {
            assert!(!format!("{problems:?}").contains("hunter2"), "a problem shows a secret: {problems:?}");
            Err(brief(&problems))
        }
    }
}

#[test]
fn each_kind_of_reference_is_followed() {
    let scratch = Scratch::new("secret-kinds");
    scratch.write("etc/pintle.env", "S=\"hunter2 env\"\n");
    scratch.write("etc/secrets/app", "hunter2 file \r\n\n");
    let absolute = scratch.path("elsewhere");
    scratch.write("elsewhere", "hunter2 absolute");
    let table = [
        (r#"{ env = "S" }"#.to_owned(), vec!["hunter2 env"]),
        (r#"{ env = "FROM_PROCESS" }"#.to_owned(), vec!["process"]),
        (r#"{ file = "secrets/app" }"#.to_owned(), vec!["hunter2 file "]),
        (format!("{{ file = {:?} }}", absolute.to_str().unwrap()), vec!["hunter2 absolute"]),
        (r#"[{ env = "S" }, { file = "secrets/app" }]"#.to_owned(), vec!["hunter2 env", "hunter2 file "]),
    ];
    for (secret, expected) in table {
        assert_eq!(secrets(&scratch, &secret).unwrap(), expected, "{secret}");
    }
}

#[test]
fn what_is_not_a_kept_secret_is_refused() {
    let scratch = Scratch::new("secret-refused");
    scratch.write("etc/pintle.env", "EMPTY=\n");
    scratch.write("etc/secrets/blank", " \n");
    scratch.write("etc/secrets/huge", vec![b'x'; 70_000]);
    fs::create_dir(scratch.path("etc/secrets/dir")).unwrap();
    nix::unistd::mkfifo(&scratch.path("etc/secrets/fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let table = [
        (r#""hunter2""#, "trigger.secret: is a secret written out in the configuration"),
        (r#"["hunter2"]"#, "trigger.secret[1]: is a secret written out in the configuration"),
        ("5", "trigger.secret: is a number, not a reference to a secret"),
        ("[]", "trigger.secret: is an empty list"),
        ("{}", "trigger.secret: must point at exactly one place"),
        (r#"{ env = "A", file = "b" }"#, "trigger.secret: must point at exactly one place"),
        (
            r#"{ env = "NOPE" }"#,
            "trigger.secret: points at NOPE, which is set neither in pintle.env nor in the environment",
        ),
        (r#"{ env = "EMPTY" }"#, "trigger.secret: points at an empty secret"),
        (r#"{ file = "secrets/blank" }"#, "trigger.secret: points at an empty secret"),
        (r#"{ credential = "x" }"#, "trigger.secret: points at a credential, and $CREDENTIALS_DIRECTORY is not set"),
        (r#"{ credential = "../x" }"#, "trigger.secret.credential: is not a credential's name"),
    ];
    for (secret, problem) in table {
        assert_eq!(secrets(&scratch, secret).unwrap_err(), [problem], "{secret}");
    }
    for (file, why) in
        [("none", "No such file"), ("dir", "is not a file"), ("huge", "64 KiB"), ("fifo", "is not a file")]
    {
        let problems = secrets(&scratch, &format!("{{ file = \"secrets/{file}\" }}")).unwrap_err();
        assert!(problems.len() == 1 && problems[0].contains(why), "{file}: {problems:?}");
    }
}

#[test]
fn a_file_that_others_can_read_is_refused() {
    let scratch = Scratch::new("secret-mode");
    scratch.write("etc/secrets/app", "hunter2");
    for (mode, good) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o620, false)] {
        fs::set_permissions(scratch.path("etc/secrets/app"), fs::Permissions::from_mode(mode)).unwrap();
        let outcome = secrets(&scratch, r#"{ file = "secrets/app" }"#);
        assert_eq!(outcome.is_ok(), good, "{mode:o}: {outcome:?}");
    }
    fs::set_permissions(scratch.path("etc/secrets/app"), fs::Permissions::from_mode(0o200)).unwrap();
    let unreadable = secrets(&scratch, r#"{ file = "secrets/app" }"#);
    assert_eq!(unreadable.is_ok(), nix::unistd::geteuid().is_root(), "only root reads past a file's mode");
}

#[test]
fn credentials_come_from_systemds_directory_whatever_their_mode() {
    let scratch = Scratch::new("secret-credential");
    scratch.write("credentials/hook", "hunter2\n");
    fs::set_permissions(scratch.path("credentials/hook"), fs::Permissions::from_mode(0o440)).unwrap();
    scratch.write("etc/pintle.toml", "");
    scratch.write("etc/apps/app.toml", trigger(r#"{ credential = "hook" }"#));
    let environment = Environment { credentials_dir: Some(scratch.path("credentials")), ..environment() };
    let loaded = Config::load(&scratch.path("etc"), &environment).unwrap();
    assert_eq!(loaded.config.apps[&"app".parse().unwrap()].trigger.secrets[0].expose(), b"hunter2");
}

#[test]
fn an_ssh_key_is_a_private_file_and_stays_one() {
    let scratch = Scratch::new("secret-key");
    scratch.write("etc/secrets/key", "PRIVATE KEY");
    scratch.write("etc/secrets/hosts", "host key");
    let app = |key: &str| {
        format!(
            "[source]\ngit = \"git@host:o/n\"\nbranch = \"main\"\nknown_hosts = \"secrets/hosts\"\nssh_key = {key}\n"
        )
    };
    let loaded = scratch.load_app(&app(r#"{ file = "secrets/key" }"#)).unwrap();
    let access = &loaded.config.apps[&"app".parse().unwrap()].source.access;
    assert_eq!(access.ssh_key, Some(scratch.path("etc/secrets/key")));
    assert_eq!(access.known_hosts, Some(scratch.path("etc/secrets/hosts")));
    let problems = scratch.load_app(&app(r#"{ env = "FROM_PROCESS" }"#)).unwrap_err();
    assert_eq!(brief(&problems), ["source.ssh_key: must be a file: other programs read it"]);
    fs::set_permissions(scratch.path("etc/secrets/key"), fs::Permissions::from_mode(0o644)).unwrap();
    let problems = scratch.load_app(&app(r#"{ file = "secrets/key" }"#)).unwrap_err();
    assert!(problems[0].wrong.contains("can be read by others (mode 0644)"), "{problems:?}");
    assert_eq!(problems[0].file, scratch.path("etc/apps/app.toml"));
    assert_eq!(problems[0].line, Some(5));
}
