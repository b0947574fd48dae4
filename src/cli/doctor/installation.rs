//! What is installed, read as far as it can be.

use super::super::check::Daemon;
use super::super::context::Context;
use super::DoctorArgs;
use crate::config::{App, Config, Environment, Listen, Loaded, Paths, Problem, without_secrets};
use std::path::{Path, PathBuf};

/// The installation.
pub struct Installation {
    /// The configuration directory.
    pub dir: PathBuf,
    /// Where `/etc` and `/proc` are.
    pub root: PathBuf,
    /// Where state and sockets are.
    pub paths: Paths,
    /// The configuration, or all that is wrong with it.
    pub loaded: Result<Loaded, Vec<Problem>>,
    /// The apps; of a configuration that cannot be used those that could be read, without their secrets.
    pub apps: Vec<App>,
    /// What the daemon says.
    pub daemon: Daemon,
}

impl Installation {
    /// Reads it.
    pub fn find(cx: &Context<'_>, args: &DoctorArgs) -> Installation {
        let paths = cx.paths();
        let loaded = Config::load(&cx.config_dir, &Environment::of_process());
        let apps = apps(&cx.config_dir, &paths, &loaded);
        let daemon = Daemon::look(&paths);
        Installation { dir: cx.config_dir.clone(), root: args.root.clone(), paths, loaded, apps, daemon }
    }

    /// The one in a directory that is host and configuration at once.
    #[cfg(test)]
    pub fn of(dir: &Path) -> Installation {
        let paths = Paths::locate(dir);
        let loaded = Config::load(dir, &Environment::of_process());
        let apps = apps(dir, &paths, &loaded);
        Installation { dir: dir.into(), root: dir.into(), daemon: Daemon::look(&paths), paths, loaded, apps }
    }

    /// The configuration, where it can be used.
    pub fn config(&self) -> Option<&Config> {
        self.loaded.as_ref().ok().map(|loaded| &loaded.config)
    }

    /// `[listen]`, where it is known and there is one.
    pub fn listen(&self) -> Option<&Listen> {
        self.config()?.host.listen.as_ref()
    }

    /// A path of the host.
    pub fn path(&self, absolute: &str) -> PathBuf {
        self.root.join(absolute.trim_start_matches('/'))
    }
}

fn apps(dir: &Path, paths: &Paths, loaded: &Result<Loaded, Vec<Problem>>) -> Vec<App> {
    if let Ok(loaded) = loaded {
        return loaded.config.apps.values().cloned().collect();
    }
    // Whether its users exist is asked by `users`, which has more to say of it.
    let lenient = Environment { is_root: false, user_exists: Box::new(|_| true), ..Environment::of_process() };
    paths.apps.iter().filter_map(|name| without_secrets(name, dir, &lenient)).collect()
}
