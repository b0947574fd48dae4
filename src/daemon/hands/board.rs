//! Asks the board's sensors, on a thread that is gone afterwards: a file system that hangs holds up nobody.

use super::Hands;
use crate::config::Config;
use crate::daemon::event::Event;
use crate::os::sensors::Watched;
use crate::runtime::place::Place;
use std::path::{Path, PathBuf};

impl Hands {
    /// Looks at every sensor.
    pub(super) fn sense(&self) -> Option<Event> {
        let (sensors, post) = (self.bench.sensors.clone(), self.post().clone());
        let watched = watched(&self.config, &self.bench.place);
        let fallback = Event::Sensed { result: Err("no thread could be started".into()) };
        self.on_a_thread("sensors", fallback, move || {
            let mut sensors = sensors.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            post.send(Event::Sensed { result: Ok(Box::new(sensors.look(&watched))) });
        })
    }
}

/// Where something of ours lies: state, what each app keeps, and the system itself.
fn watched(config: &Config, place: &Place) -> Vec<Watched> {
    let must = |path: PathBuf| Watched { path, must_be_writable: true };
    let mut all = vec![must(place.state_dir.clone())];
    for app in config.apps.values() {
        let dir = place.app(&app.name);
        let own = app.backup.paths.iter().chain(&app.source.shared).filter(|path| path.is_absolute());
        all.extend(["shared", "backups", "releases"].map(|part| must(dir.join(part))));
        all.extend(own.cloned().map(must));
    }
    all.push(Watched { path: Path::new("/").into(), must_be_writable: false });
    all
}
