//! The texts of a configuration directory, each read once: what is checked is then also what is accepted.

use super::problem::{Notice, Problem};
use crate::base::AppName;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The host's file.
pub(super) const HOST: &str = "pintle.toml";
/// The variables beside it.
pub(super) const ENV: &str = "pintle.env";
/// The directory of the applications' files.
pub(super) const APPS: &str = "apps";

/// The texts of `pintle.toml`, `pintle.env` and every `apps/NAME.toml`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Files {
    pub(super) host: Option<String>,
    pub(super) env: Option<String>,
    pub(super) apps: BTreeMap<AppName, String>,
}

impl fmt::Debug for Files {
    /// Names only: `pintle.env` holds secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.entries().map(|(path, _)| path)).finish()
    }
}

impl Files {
    /// Every file with its path relative to the directory.
    pub fn entries(&self) -> impl Iterator<Item = (PathBuf, &str)> {
        let host = self.host.iter().map(|text| (PathBuf::from(HOST), text.as_str()));
        let env = self.env.iter().map(|text| (PathBuf::from(ENV), text.as_str()));
        let apps = self.apps.iter().map(|(name, text)| (app_path(name), text.as_str()));
        host.chain(env).chain(apps)
    }

    /// Reads what can be read; what cannot is a problem of that file.
    pub(super) fn read(dir: &Path) -> (Files, Vec<Problem>, Vec<Notice>) {
        let mut found = Found { problems: Vec::new(), notices: Vec::new() };
        let host = found.text(&dir.join(HOST));
        if host.is_none() && found.problems.is_empty() {
            found.problem(
                &dir.join(HOST),
                "is not there",
                "write one with `pintle init`, or name its directory with --config",
            );
        }
        let env = found.text(&dir.join(ENV));
        found.say_who_reads(&dir.join(ENV));
        let names = found.app_names(&dir.join(APPS));
        let apps = names.into_iter().filter_map(|name| {
            let text = found.text(&dir.join(app_path(&name)))?;
            Some((name, text))
        });
        let apps: BTreeMap<AppName, String> = apps.collect();
        if apps.is_empty() && found.problems.is_empty() {
            found.notice(&dir.join(APPS), "holds no NAME.toml: no application is configured");
        }
        (Files { host, env, apps }, found.problems, found.notices)
    }

    /// The names of the applications alone; empty where the directory cannot be read.
    pub(super) fn names(dir: &Path) -> Vec<AppName> {
        Found { problems: Vec::new(), notices: Vec::new() }.app_names(&dir.join(APPS))
    }
}

/// `apps/NAME.toml`.
pub(super) fn app_path(name: &AppName) -> PathBuf {
    Path::new(APPS).join(format!("{name}.toml"))
}

struct Found {
    problems: Vec<Problem>,
    notices: Vec<Notice>,
}

impl Found {
    /// A file's text; `None` where there is none, or it could not be read and that was said.
    fn text(&mut self, path: &Path) -> Option<String> {
        match fs::read(path).map(String::from_utf8) {
            Ok(Ok(text)) => return Some(text),
            Ok(Err(_)) => self.problem(path, "is not UTF-8 text", "save it as UTF-8"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.unreadable(path, &error),
        }
        None
    }

    /// The stems of `*.toml`, sorted; other files are mentioned, an editor's leavings are not.
    fn app_names(&mut self, apps: &Path) -> Vec<AppName> {
        let entries = match fs::read_dir(apps) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                self.unreadable(apps, &error);
                return Vec::new();
            }
        };
        let mut names = Vec::new();
        for path in entries.flatten().map(|entry| entry.path()) {
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match file.strip_suffix(".toml").map(AppName::new) {
                _ if file.starts_with('.') || file.ends_with('~') || file.contains(".dpkg-") => {}
                Some(Ok(name)) => names.push(name),
                Some(Err(bad)) => self.problem(&path, &bad.0, "rename the file"),
                None => self.notice(&path, "is not read: an application's file is called NAME.toml"),
            }
        }
        names.sort();
        names
    }

    fn say_who_reads(&mut self, env: &Path) {
        if fs::metadata(env).is_ok_and(|metadata| metadata.mode() & 0o004 != 0) {
            self.notice(env, "can be read by everybody; chmod 600 it");
        }
    }

    fn unreadable(&mut self, path: &Path, error: &io::Error) {
        let advice = match error.kind() {
            io::ErrorKind::PermissionDenied => "run this as the user that runs pintle, or let that user read it",
            _ => "repair what keeps it from being read",
        };
        self.problem(path, &format!("cannot be read: {error}"), advice);
    }

    fn problem(&mut self, path: &Path, wrong: &str, advice: &str) {
        let (wrong, advice) = (wrong.to_owned(), advice.to_owned());
        self.problems.push(Problem { file: path.to_owned(), line: None, key: String::new(), wrong, advice });
    }

    fn notice(&mut self, path: &Path, text: &str) {
        self.notices.push(Notice { file: path.to_owned(), line: None, key: String::new(), text: text.to_owned() });
    }
}
