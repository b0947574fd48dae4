//! Repairs that reach beyond the apps: units of systemd, the host itself.

use super::Hands;
use crate::base::AppName;
use crate::daemon::event::Event;
use crate::os::cancel::Cancel;
use crate::os::command::{self, Ending, Spec};
use std::io;
use std::time::Duration;

/// systemd is waited for so long; a unit may take its time to stop and to start.
const PATIENCE: Duration = Duration::from_secs(180);
/// What is kept of what it says.
const KEPT: usize = 1024;

impl Hands {
    /// Restarts units of systemd.
    pub(super) fn restart_units(&self, app: AppName, units: Vec<String>) -> Option<Event> {
        let post = self.post().clone();
        let failed = |why: String| Event::UnitsRestarted { app: app.clone(), result: Err(why) };
        let fallback = failed("no thread could be started".into());
        let app = app.clone();
        self.on_a_thread("units", fallback, move || {
            let words = ["restart", "--"].map(str::to_owned).into_iter().chain(units).collect();
            let result = systemctl(words);
            post.send(Event::UnitsRestarted { app, result });
        })
    }

    /// Reboots the host; systemd then ends us in order, and the apps with us.
    pub(super) fn reboot(&self, app: AppName) -> Option<Event> {
        let post = self.post().clone();
        let fallback = Event::NotRebooted { app: app.clone(), why: "no thread could be started".into() };
        self.on_a_thread("reboot", fallback, move || {
            if let Err(why) = systemctl(vec!["reboot".into()]) {
                post.send(Event::NotRebooted { app, why });
            }
        })
    }
}

/// Runs systemctl to its end; `Err`: what it said.
fn systemctl(words: Vec<String>) -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("the daemon does not run as root".into());
    }
    let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/sbin:/usr/bin:/sbin:/bin".into());
    let argv: Vec<String> = std::iter::once("systemctl".to_owned()).chain(words).collect();
    let tried = argv.join(" ");
    let spec = Spec { argv, cwd: "/".into(), env: vec![("PATH".into(), path)], ..Spec::default() };
    let mut said = vec![];
    let mut keep = |bytes: &[u8]| said.extend(bytes.iter().take(KEPT.saturating_sub(said.len())));
    let mut run = || -> io::Result<Ending> { command::run(&spec, PATIENCE, &Cancel::new()?, &mut keep) };
    match run().map_err(|error| error.to_string())? {
        Ending::Exited(0) => Ok(()),
        ending => {
            let said = String::from_utf8_lossy(&said).trim().replace('\n', " / ");
            Err(format!("{tried}: {}: {said}", command::explain(ending, PATIENCE)))
        }
    }
}
