//! What a service, a step or a person's command sees in its environment - and that it sees nothing else.
//!
//! Of the daemon's own environment only PATH, LANG and TZ pass; HOME and USER are the user's. Later sources win:
//! the basics, what Pintle sets, `env_file`, `env`.

use super::place::Place;
use crate::base::{CommitId, ReleaseName};
use crate::config::{self, App, Schedule, Service, Step};
use crate::control::Phase;
use crate::os::files::because;
use crate::os::users::{self, User};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// An environment while it is put together.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Sets one variable, over what was there.
    pub fn set(&mut self, name: &str, value: impl Into<String>) -> &mut Environment {
        self.0.insert(name.into(), value.into());
        self
    }
    /// Sets several, over what was there.
    pub fn set_all(&mut self, more: &BTreeMap<String, String>) -> &mut Environment {
        self.0.extend(more.iter().map(|(name, value)| (name.clone(), value.clone())));
        self
    }
    /// A variable's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
    /// As `exec` wants it.
    pub fn pairs(self) -> Vec<(String, String)> {
        self.0.into_iter().collect()
    }
}

/// The user that runs things of `app`; `None`: ourselves.
pub fn user(name: Option<&str>) -> io::Result<Option<User>> {
    match name {
        Some(name) => users::lookup(name).map(Some),
        None => Ok(None),
    }
}

/// The basics, and which app and release it is.
pub fn of_release(
    app: &App,
    release: &ReleaseName,
    commit: Option<&CommitId>,
    user: Option<&User>,
) -> io::Result<Environment> {
    let mut environment = Environment::default();
    let path =
        std::env::var("PATH").unwrap_or_else(|_| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into());
    environment.set("PATH", path);
    for name in ["LANG", "TZ"] {
        if let Ok(value) = std::env::var(name) {
            environment.set(name, value);
        }
    }
    let its_own = match user {
        Some(user) => user.environment(),
        None => users::current()?.environment(),
    };
    for (name, value) in its_own {
        environment.set(&name, value);
    }
    environment.set("PINTLE_APP", app.name.as_str()).set("PINTLE_RELEASE", release.as_str());
    environment.set("PINTLE_COMMIT", commit.map_or(release.short_commit(), CommitId::as_str));
    Ok(environment)
}

/// What a service sees beside its port or sockets.
pub fn for_service(
    app: &App,
    service: &Service,
    release: &ReleaseName,
    commit: Option<&CommitId>,
    user: Option<&User>,
    working_dir: &Path,
) -> io::Result<Environment> {
    let mut environment = of_release(app, release, commit, user)?;
    environment.set("PINTLE_SERVICE", service.name.as_str());
    for file in &service.env_file {
        environment.set_all(&read_env_file(&working_dir.join(file))?);
    }
    environment.set_all(&service.env);
    Ok(environment)
}

/// What a step sees.
pub struct StepSight<'a> {
    /// The release it works in.
    pub release: &'a ReleaseName,
    /// Its commit.
    pub commit: Option<&'a CommitId>,
    /// The commit that was live before.
    pub previous_commit: Option<&'a CommitId>,
    /// The phase it runs in; a smoke step runs in `rehearse` and in `verify`.
    pub phase: Phase,
    /// Smoke: where the candidate answers.
    pub url: Option<&'a str>,
    /// Data of a rehearsal's own.
    pub rehearsal: Option<&'a BTreeMap<String, String>>,
}

/// The environment of a step.
pub fn for_step(
    place: &Place,
    app: &App,
    step: &Step,
    sight: &StepSight<'_>,
    user: Option<&User>,
) -> io::Result<Environment> {
    let mut environment = of_release(app, sight.release, sight.commit, user)?;
    environment.set("PINTLE_CACHE", place.cache(&app.name).to_string_lossy());
    environment.set("PINTLE_PHASE", sight.phase.as_str());
    environment.set("PINTLE_PREVIOUS_COMMIT", sight.previous_commit.map_or("", CommitId::as_str));
    if let Some(url) = sight.url {
        environment.set("PINTLE_URL", url);
    }
    environment.set_all(&step.env);
    if let Some(own) = sight.rehearsal {
        environment.set("PINTLE_REHEARSAL", "1").set_all(own);
    }
    Ok(environment)
}

/// What a person's command sees: the environment of the app's first service (where there is one) in the live release,
/// so that a shell sees the settings the app runs with.
pub fn for_command(
    app: &App,
    release: &ReleaseName,
    commit: Option<&CommitId>,
    user: Option<&User>,
    working_dir: &Path,
) -> io::Result<Vec<(String, String)>> {
    let environment = match app.services.values().next() {
        Some(service) => for_service(app, service, release, commit, user, working_dir)?,
        None => of_release(app, release, commit, user)?,
    };
    Ok(environment.pairs())
}

/// What a scheduled command sees: what a person's command does, and what is written for it.
pub fn for_schedule(
    app: &App,
    schedule: &Schedule,
    release: &ReleaseName,
    commit: Option<&CommitId>,
    user: Option<&User>,
    working_dir: &Path,
) -> io::Result<Environment> {
    let mut environment = Environment::default();
    for (name, value) in for_command(app, release, commit, user, working_dir)? {
        environment.set(&name, value);
    }
    environment.set("PINTLE_SCHEDULE", schedule.name.as_str());
    environment.set_all(&schedule.env);
    Ok(environment)
}

fn read_env_file(path: &Path) -> io::Result<BTreeMap<String, String>> {
    let content = std::fs::read_to_string(path).map_err(|error| because("read env_file", path, &error))?;
    let parsed = config::parse_env_file(&content).map_err(|lines| {
        let all: Vec<String> = lines.iter().map(|line| line.to_string()).collect();
        because("read env_file", path, &io::Error::new(io::ErrorKind::InvalidData, all.join("; ")))
    })?;
    Ok(parsed.into_iter().collect())
}
