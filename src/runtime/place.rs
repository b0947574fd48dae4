//! Where things of an app are on disk (contracts.md, section 4).

use crate::base::{AppName, ReleaseName, ScheduleName, ServiceName};
use crate::config::App;
use std::path::{Path, PathBuf};

/// The directories of the daemon.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Place {
    pub state_dir: PathBuf,
    pub runtime_dir: PathBuf,
}

impl Place {
    /// `STATE/apps/APP`.
    pub fn app(&self, app: &AppName) -> PathBuf {
        self.state_dir.join("apps").join(app)
    }
    /// The release's directory.
    pub fn release(&self, app: &AppName, release: &ReleaseName) -> PathBuf {
        self.app(app).join("releases").join(release)
    }
    /// Where its services, steps and schedules run.
    pub fn working_dir(&self, app: &App, release: &ReleaseName) -> PathBuf {
        self.release(&app.name, release).join(&app.source.subdirectory)
    }
    /// The shared paths' root.
    pub fn shared(&self, app: &AppName) -> PathBuf {
        self.app(app).join("shared")
    }
    /// A rehearsal's scratch data.
    pub fn scratch(&self, app: &AppName) -> PathBuf {
        self.app(app).join("rehearsal")
    }
    /// What steps keep between deploys.
    pub fn cache(&self, app: &AppName) -> PathBuf {
        self.app(app).join("cache")
    }
    /// What nginx includes.
    pub fn nginx(&self, app: &AppName) -> PathBuf {
        self.app(app).join("nginx")
    }
    /// The log of a service.
    pub fn service_log(&self, app: &AppName, service: &ServiceName) -> PathBuf {
        self.app(app).join("logs").join(format!("{service}.log"))
    }
    /// The log of a schedule.
    pub fn schedule_log(&self, app: &AppName, schedule: &ScheduleName) -> PathBuf {
        self.app(app).join("logs").join(format!("schedule-{schedule}.log"))
    }
    /// The private /tmp of each instance that has one.
    pub fn private_tmps(&self, app: &AppName) -> PathBuf {
        self.app(app).join("tmp")
    }
    /// Where instances tell how they are.
    pub fn notify_sockets(&self) -> PathBuf {
        self.runtime_dir.join("notify")
    }
    /// What instances write to.
    pub fn outputs(&self) -> PathBuf {
        self.runtime_dir.join("instances")
    }
    /// What the command line talks to.
    pub fn control_socket(&self) -> PathBuf {
        control_socket(&self.runtime_dir)
    }
    /// What the listener talks to.
    pub fn listener_socket(&self) -> PathBuf {
        self.runtime_dir.join("listener.sock")
    }
    /// Where the listener's guard meets the server behind it.
    pub fn guard_socket(&self) -> PathBuf {
        self.runtime_dir.join("guard.sock")
    }
}

/// `RUN/control.sock`.
pub fn control_socket(runtime_dir: &Path) -> PathBuf {
    runtime_dir.join("control.sock")
}
