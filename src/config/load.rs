//! Loads the configuration: reads the files, has each checked, compares them with each other, and hands out either
//! everything or every problem.

use super::files::{ENV, Files, HOST, app_path};
use super::problem::{Notice, Problem};
use super::sheet::{Context, Sheet};
use super::{Address, App, Config, Host, app, host, text};
use crate::base::AppName;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Looks a variable up by its name.
pub type LookUp = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What the check asks about the process and the host it runs on.
pub struct Environment {
    /// Whether the daemon runs, or will run, as root.
    pub is_root: bool,
    /// A variable of the process's own environment.
    pub variable: LookUp,
    /// Whether the host has a user of this name.
    pub user_exists: Box<dyn Fn(&str) -> bool + Send + Sync>,
    /// `$CREDENTIALS_DIRECTORY`.
    pub credentials_dir: Option<PathBuf>,
}

impl Environment {
    /// As this process finds it.
    pub fn of_process() -> Environment {
        Environment {
            is_root: nix::unistd::geteuid().is_root(),
            variable: Box::new(|name| std::env::var(name).ok()),
            user_exists: Box::new(|name| matches!(nix::unistd::User::from_name(name), Ok(Some(_)))),
            credentials_dir: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
        }
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").field("is_root", &self.is_root).finish_non_exhaustive()
    }
}

/// A configuration without a problem.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// What is meant.
    pub config: Config,
    /// What a person should know about it all the same.
    pub notices: Vec<Notice>,
    /// The texts it was read from, for [`super::accept()`].
    pub files: Files,
}

impl Config {
    /// Reads and checks the configuration in `dir`. `Err`: every problem of every file, in the files' order.
    pub fn load(dir: &Path, environment: &Environment) -> Result<Loaded, Vec<Problem>> {
        Config::load_from(dir, dir, environment)
    }

    /// As [`Config::load`], with the files in `files_dir` (the last accepted copy) while secret files and relative
    /// repositories still lie in `dir`.
    pub fn load_from(files_dir: &Path, dir: &Path, environment: &Environment) -> Result<Loaded, Vec<Problem>> {
        let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
        let (files, mut problems, mut notices) = Files::read(files_dir);
        let variables = variables(&files_dir.join(ENV), files.env.as_deref(), &mut problems);
        let accepted = std::path::absolute(files_dir).is_ok_and(|files_dir| files_dir != dir);
        let context = Context { dir: &dir, environment, variables, frozen: false, accepted };

        let mut sheets = Vec::new();
        let host = files.host.as_deref().and_then(|text| {
            let sheet = Sheet::new(&context, files_dir.join(HOST), text);
            let host = sheet.parse(text).map(|table| host::read(&sheet, &table));
            sheets.push(sheet);
            host
        });
        let mut apps = BTreeMap::new();
        for (name, text) in &files.apps {
            let sheet = Sheet::new(&context, files_dir.join(app_path(name)), text);
            let app = sheet.parse(text).map(|table| app::read(&sheet, name.clone(), table));
            apps.extend(app.map(|app| (name.clone(), app)));
            sheets.push(sheet);
        }
        refuse_clashes(&sheets, host.as_ref(), &apps);

        for sheet in sheets {
            let (wrong, worth_saying) = sheet.findings();
            problems.extend(wrong);
            notices.extend(worth_saying);
        }
        match host {
            Some(host) if problems.is_empty() => Ok(Loaded { config: Config { dir, host, apps }, notices, files }),
            _ => Err(problems),
        }
    }
}

/// `pintle.env` as look-ups see it; lines that cannot be read are problems.
pub(super) fn variables(file: &Path, text: Option<&str>, problems: &mut Vec<Problem>) -> BTreeMap<String, String> {
    let (pairs, bad) = text::read_env_file(text.unwrap_or_default());
    problems.extend(bad.into_iter().map(|bad| Problem {
        file: file.to_owned(),
        line: Some(bad.line),
        key: String::new(),
        wrong: bad.wrong.to_owned(),
        advice: "write one KEY=value on each line".to_owned(),
    }));
    pairs.into_iter().collect()
}

/// An address that is to be listened on, and where that is written.
struct Claim<'a> {
    sheet: &'a Sheet<'a>,
    key: String,
    address: &'a Address,
}

/// Every address can be listened on once, over all applications and the listener.
fn refuse_clashes(sheets: &[Sheet<'_>], host: Option<&Host>, apps: &BTreeMap<AppName, App>) {
    let sheet_of = |path: PathBuf| sheets.iter().find(|sheet| sheet.file.ends_with(&path));
    let mut claims: Vec<Claim<'_>> = Vec::new();
    if let (Some(listen), Some(sheet)) = (host.and_then(|host| host.listen.as_ref()), sheet_of(HOST.into())) {
        claims.push(Claim { sheet, key: "listen.address".into(), address: &listen.address });
    }
    for app in apps.values() {
        let Some(sheet) = sheet_of(app_path(&app.name)) else { continue };
        for service in app.services.values() {
            let key = format!("service.{}.listen", service.name);
            claims.extend(service.listen.iter().map(|address| Claim { sheet, key: key.clone(), address }));
        }
    }
    for (index, claim) in claims.iter().enumerate() {
        let Some(other) = claims[..index].iter().find(|other| clash(other.address, claim.address)) else { continue };
        let place = match std::ptr::eq(other.sheet, claim.sheet) {
            true => other.key.clone(),
            false => format!("{} in {}", other.key, other.sheet.file.display()),
        };
        let wrong = format!("{} is taken by {place}", claim.address);
        claim.sheet.problem(&claim.key, wrong, "give each its own port or path");
    }
}

/// Whether the kernel would refuse the second of two addresses.
fn clash(a: &Address, b: &Address) -> bool {
    match (a, b) {
        (Address::Tcp(a), Address::Tcp(b)) => {
            let everywhere = a.ip().is_unspecified() || b.ip().is_unspecified();
            a.port() == b.port() && (a.ip() == b.ip() || (everywhere && a.is_ipv4() == b.is_ipv4()))
        }
        (a, b) => a == b,
    }
}

/// Where a client finds the daemon and its applications, from files that may be broken or out of its reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// As [`Host::state_dir`].
    pub state_dir: PathBuf,
    /// As [`Host::runtime_dir`].
    pub runtime_dir: PathBuf,
    /// The applications that have a file, whatever is in it, by name.
    pub apps: Vec<AppName>,
}

impl Paths {
    /// Looks in `dir` with the process's own environment. Never fails: what cannot be read has its default.
    pub fn locate(dir: &Path) -> Paths {
        Paths::locate_with(dir, &Environment::of_process())
    }

    /// As [`Paths::locate`], with an environment of one's own.
    pub fn locate_with(dir: &Path, environment: &Environment) -> Paths {
        let text = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap_or_default();
        let variables = variables(&dir.join(ENV), Some(&text(ENV)), &mut Vec::new());
        let context = Context { dir, environment, variables, frozen: false, accepted: false };
        let (state_dir, runtime_dir) = host::directories(&context, &dir.join(HOST), &text(HOST));
        Paths { state_dir, runtime_dir, apps: Files::names(dir) }
    }
}

#[cfg(test)]
mod tests;
