//! Who can read the secrets, and whether they are any.
//!
//! By the files themselves and by what the configuration's files name (`{ file = "…" }`), so that one that others can
//! read is found however wrong the rest is. Line: no secret's value is looked at but its length.

use super::super::findings::Finding;
use super::installation::Installation;
use crate::config::App;
use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use toml::Value;

const ABOUT: &str = "secrets";

/// `pintle init` makes 32 bytes in hex; what is shorter than this can be guessed.
const SHORT: usize = 16;

/// What is to be said of them.
pub fn look(here: &Installation) -> Vec<Finding> {
    let mut files = named(&here.dir);
    files.extend(below(&here.dir.join("secrets")));
    files.insert(here.dir.join("pintle.env"));
    let wrong: Vec<Finding> = files.iter().filter_map(|file| readable(file)).collect();
    let mut findings = directories(&here.dir);
    match wrong.is_empty() {
        true => findings.push(Finding::ok(ABOUT, format!("nobody else can read those in {}", here.dir.display()))),
        false => findings.extend(wrong),
    }
    findings.extend(here.config().into_iter().flat_map(|config| config.apps.values()).map(of_forge));
    findings
}

/// Every file that a configuration file points at as a secret.
fn named(dir: &Path) -> BTreeSet<PathBuf> {
    let apps = fs::read_dir(dir.join("apps")).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found = BTreeSet::new();
    for file in std::iter::once(dir.join("pintle.toml")).chain(apps) {
        let table = fs::read_to_string(&file).ok().and_then(|text| text.parse::<toml::Table>().ok());
        collect(&Value::Table(table.unwrap_or_default()), dir, &mut found);
    }
    found
}

fn collect(value: &Value, dir: &Path, found: &mut BTreeSet<PathBuf>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, dir, found)),
        Value::Table(table) => {
            match (table.get("file"), table.len()) {
                (Some(Value::String(file)), 1) => found.extend([dir.join(file)]),
                _ => table.values().for_each(|value| collect(value, dir, found)),
            };
        }
        _ => {}
    }
}

/// Plain files in a directory.
fn below(dir: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| path.is_file())
}

/// A file that others can read, or change.
fn readable(file: &Path) -> Option<Finding> {
    let found = fs::metadata(file).ok()?;
    let mode = found.mode() & 0o7777;
    (mode & 0o077 != 0).then(|| {
        let shown = file.display();
        let advice = format!("chmod 600 {shown}; if it was so for long, choose a new secret");
        Finding::critical(ABOUT, format!("{shown} can be read by others (mode {mode:04o})"), advice)
    })
}

/// Directories in which others could put a file of theirs in the place of ours.
fn directories(dir: &Path) -> Vec<Finding> {
    let open = |path: PathBuf| {
        let found: Metadata = fs::metadata(&path).ok()?;
        let mode = found.mode() & 0o7777;
        // In a sticky directory files are their owners', as in /tmp.
        let wrong = mode & 0o022 != 0 && mode & 0o1000 == 0;
        wrong.then(|| {
            let what = format!("others can replace what is in {} (mode {mode:04o})", path.display());
            Finding::critical(ABOUT, what, format!("chmod go-w {}", path.display()))
        })
    };
    [dir.to_owned(), dir.join("apps"), dir.join("secrets")].into_iter().filter_map(open).collect()
}

/// What an app's webhooks are signed with.
fn of_forge(app: &App) -> Finding {
    let about = format!("app/{}/secret", app.name);
    let shortest = app.trigger.secrets.iter().map(|secret| secret.expose().len()).min();
    match shortest {
        None => Finding::ok(about, "none: no webhook is accepted for it, it is polled or deployed by hand"),
        Some(length) if length < SHORT => {
            let advice = "`openssl rand -hex 32` makes a better one; write it into the forge's webhook form too";
            Finding::warning(about, format!("the webhook's secret has {length} characters and can be guessed"), advice)
        }
        Some(length) => Finding::ok(about, format!("the webhook's secret has {length} characters")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::Scratch;
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_others_can_read_is_found_wherever_it_is_named() {
        let scratch = Scratch::configured("doctor-secrets", &["shop"]);
        let write = |path: &str, mode: u32| {
            let path = scratch.path.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "secret").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        write("secrets/shop", 0o644);
        write("keys/deploy", 0o640);
        write("secrets/kept", 0o600);
        let app = "[trigger]\nsecret = [{ file = 'secrets/shop' }, { env = 'X' }]\n[source]\nssh_key = { file = \
                   'keys/deploy' }\n[backup.restic]\npassword = { file = 'none' }\n";
        fs::write(scratch.path.join("apps/shop.toml"), app).unwrap();
        let files = named(&scratch.path);
        let expected = ["keys/deploy", "none", "secrets/shop"].map(|file| scratch.path.join(file));
        assert_eq!(files.into_iter().collect::<Vec<_>>(), expected);
        assert!(
            readable(&scratch.path.join("secrets/shop"))
                .unwrap()
                .what
                .contains("secrets/shop can be read by others (mode 0644)")
        );
        assert!(readable(&scratch.path.join("keys/deploy")).unwrap().advice.unwrap().starts_with("chmod 600"));
        assert_eq!((readable(&scratch.path.join("secrets/kept")), readable(&scratch.path.join("none"))), (None, None));
        let secrets = scratch.path.join("secrets");
        fs::set_permissions(&secrets, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(directories(&scratch.path).iter().any(|one| one.what.contains("(mode 0777)")));
        fs::set_permissions(&secrets, fs::Permissions::from_mode(0o700)).unwrap();
        assert!(!directories(&scratch.path).iter().any(|one| one.what.contains("secrets")));
    }
}
