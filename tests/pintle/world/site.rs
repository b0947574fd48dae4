//! One application as a test sees it: its repository, its webhook, its answers, its files.

use super::http::{Reply, Request};
use super::repo::Repo;
use super::{App, World, ask, payload, show, wait};
use pintle::base::AppName;
use pintle::control::{Answer, AppView, DeployStatus, DeploymentReport, InstanceView, Request as Ask};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// What its webhooks are signed with.
pub const SECRET: &str = "a-secret-of-more-than-thirty-two-bytes";

/// An application of a world.
#[derive(Debug, Clone)]
pub struct Site {
    pub name: String,
    pub repo: Repo,
    /// Where the service `web` answers.
    pub port: u16,
    hook: u16,
    state: PathBuf,
    control: PathBuf,
}

impl Site {
    pub(super) fn new(world: &World, app: App) -> Site {
        let path = world.root.join(format!("repo-{}", app.name));
        let repo = if path.exists() { Repo { path } } else { Repo::init(&path) };
        super::write_secret(&world.config().join("secrets").join(&app.name), SECRET);
        let text = app.text(&repo.path.display().to_string());
        fs::write(world.config().join(format!("apps/{}.toml", app.name)), text).unwrap();
        Site {
            name: app.name,
            repo,
            port: app.port.unwrap_or(0),
            hook: world.hook,
            state: world.state(),
            control: world.control(),
        }
    }

    /// Commits a release of the sample application that misbehaves as `conf` says.
    pub fn version(&self, version: &str, conf: &[&str]) -> String {
        let conf = format!("version = {version}\n{}\n", conf.join("\n"));
        self.repo.commit(&[("app.conf", &conf), ("version", version), ("data/README", "kept")])
    }

    /// A `push` of `commit` to `branch`, signed, not yet sent.
    pub fn push_request(&self, branch: &str, commit: &str) -> Request {
        static DELIVERY: AtomicU32 = AtomicU32::new(1);
        let id = format!("{}-{}", self.name, DELIVERY.fetch_add(1, Ordering::SeqCst));
        Request::post("/webhook")
            .header("X-GitHub-Event", "push")
            .header("X-GitHub-Delivery", &id)
            .json(&payload::push(&format!("owner/{}", self.name), branch, commit))
            .signed(SECRET)
    }

    /// Sends a signed push of `commit` to `main`.
    #[track_caller]
    pub fn push(&self, commit: &str) -> Reply {
        self.send(&self.push_request("main", commit))
    }

    /// Sends a request to the listener.
    #[track_caller]
    pub fn send(&self, request: &Request) -> Reply {
        request.send(self.hook).unwrap_or_else(|error| panic!("no answer of the listener: {error}"))
    }

    /// Commits, pushes, and waits for the deployment's end.
    #[track_caller]
    pub fn deploy(&self, version: &str, conf: &[&str]) -> DeploymentReport {
        let commit = self.version(version, conf);
        let number = self.push(&commit).accepted();
        self.end_of(number)
    }

    /// The same; it must succeed.
    #[track_caller]
    pub fn goes_live(&self, version: &str) -> DeploymentReport {
        let report = self.deploy(version, &[]);
        assert_eq!(report.deployment.status, DeployStatus::Success, "{report:#?}\n{}", self.log_of(&report));
        self.serves(version);
        report
    }

    /// Waits until deployment `number` is over.
    #[track_caller]
    pub fn end_of(&self, number: u64) -> DeploymentReport {
        let found = wait::wait_quietly(super::PATIENCE, || {
            show(&self.control, number).filter(|report| report.deployment.status.is_final())
        });
        found.unwrap_or_else(|| panic!("deployment {number} did not end: {:#?}", show(&self.control, number)))
    }

    /// Waits until deployment `number` is in `phase` (or over).
    #[track_caller]
    pub fn reaches(&self, number: u64, phase: pintle::control::Phase) -> DeploymentReport {
        let found = wait::wait_quietly(super::PATIENCE, || {
            show(&self.control, number).filter(|r| r.deployment.phase >= phase || r.deployment.status.is_final())
        });
        found.unwrap_or_else(|| panic!("deployment {number} did not reach {phase}: {:#?}", show(&self.control, number)))
    }

    /// The log file of a deployment.
    pub fn log_of(&self, report: &DeploymentReport) -> String {
        let name = format!("logs/deploy-{}.log", report.deployment.number);
        fs::read_to_string(self.dir().join(name)).unwrap_or_default()
    }

    /// `GET path` of the application.
    pub fn get(&self, path: &str) -> std::io::Result<Reply> {
        Request::get(path).send(self.port)
    }

    /// The application must answer with `version`.
    #[track_caller]
    pub fn serves(&self, version: &str) {
        match self.get("/") {
            Ok(reply) => assert_eq!((reply.status, reply.body.as_str()), (200, version)),
            Err(error) => panic!("{} should serve {version}: {error}", self.name),
        }
    }

    /// The pid that answers requests.
    #[track_caller]
    pub fn pid(&self) -> i32 {
        self.get("/pid").unwrap().body.parse().unwrap()
    }

    /// `status` of this application.
    pub fn view(&self) -> Option<AppView> {
        let app = AppName::new(self.name.as_str()).unwrap();
        match ask(&self.control, &Ask::Status { app: Some(app) })? {
            Answer::Status(report) => report.apps.into_iter().find(|view| view.app.as_str() == self.name),
            _ => None,
        }
    }

    /// The instances of one of its services.
    pub fn instances(&self, service: &str) -> Vec<InstanceView> {
        let services = self.view().map(|view| view.services).unwrap_or_default();
        let found = services.into_iter().find(|view| view.service.as_str() == service);
        found.map(|view| view.instances).unwrap_or_default()
    }

    /// The pid of the only instance of a service.
    pub fn pid_of(&self, service: &str) -> Option<i32> {
        self.instances(service).first()?.pid.map(|pid| pid as i32)
    }

    /// `STATE/apps/NAME`.
    pub fn dir(&self) -> PathBuf {
        self.state.join("apps").join(&self.name)
    }

    /// A file of the live release.
    pub fn live(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.dir().join("current").join(path)).ok()
    }

    /// The name of the live release.
    pub fn live_release(&self) -> Option<String> {
        let target = fs::read_link(self.dir().join("current")).ok()?;
        target.file_name().map(|name| name.to_string_lossy().into_owned())
    }

    /// The release directories on disk.
    pub fn releases(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir().join("releases")).into_iter().flatten().flatten();
        let dirs = entries.filter(|entry| entry.path().is_dir());
        let mut names: Vec<String> = dirs.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.retain(|name| !name.starts_with('.'));
        names.sort();
        names
    }

    /// A path below its shared directory.
    pub fn shared(&self, path: impl AsRef<Path>) -> PathBuf {
        self.dir().join("shared").join(path)
    }
}
