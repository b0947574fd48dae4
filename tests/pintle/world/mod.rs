//! A world of its own for each test: a short directory with repositories, a configuration and a daemon.
//!
//! What a test says about the world reads like the sentence it stands for; how it is done is here and in the files
//! beside: `app` (the configuration of one application), `site` (that application as a test sees it), `repo`, `http`,
//! `payload`, `wait`, `processes`; `takeover` is what happens to the daemon itself. A world ends everything it started and checks that nothing of it is left.

pub mod app;
pub mod chance;
pub mod gate;
pub mod gunicorn;
pub mod http;
pub mod nginx;
pub mod payload;
pub mod peer;
pub mod ports;
pub mod processes;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub mod puppet;
pub mod python;
pub mod repo;
pub mod site;
pub mod takeover;
pub mod upheaval;
pub mod visitors;
pub mod wait;
pub mod whole;
pub mod wrk;

pub use app::App;
pub use gate::Gate;
pub use http::{Reply, Request};
pub use peer::Peer;
pub use site::Site;
pub use wait::wait_until;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pintle::base::DeployId;
use pintle::control::client::Client;
use pintle::control::{Answer, DeploymentReport, DeploymentView, Request as Ask, StatusReport};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Long enough for anything on a busy board; only a failing test ever waits for it.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// A directory with a configuration, and the daemon that runs on it.
pub struct World {
    /// Everything of this world is below.
    pub root: PathBuf,
    /// The listener's port.
    pub hook: u16,
    sites: Vec<Site>,
    host: String,
    daemon: Option<Child>,
    environment: Vec<(String, String)>,
    state: PathBuf,
    /// What daemon and command line are executed from.
    program: PathBuf,
    /// Where the daemon's sensors find `/proc` and `/sys`.
    pub board: PathBuf,
    /// Who runs them, where that is somebody else.
    user: Option<u32>,
}

/// How a command of the command line ended.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    /// The exit code must be `code`.
    #[track_caller]
    pub fn exits(self, code: i32) -> Outcome {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }
    /// stdout as one JSON document.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {}\nstderr: {}", self.stdout, self.stderr))
    }
}

impl World {
    /// A world with nothing but a directory.
    pub fn empty() -> World {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let temp = std::env::temp_dir();
        let base = if temp.as_os_str().len() <= 40 { temp } else { PathBuf::from("/tmp") };
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let root = base.join(format!("pt-{}-{number}", std::process::id()));
        for dir in ["config/apps", "config/secrets", "home"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        let root = root.canonicalize().unwrap();
        World {
            hook: ports::take(),
            sites: Vec::new(),
            host: String::new(),
            daemon: None,
            environment: Vec::new(),
            state: root.join("state"),
            program: env!("CARGO_BIN_EXE_pintle").into(),
            board: "/".into(),
            user: None,
            root,
        }
    }

    /// A world in which `apps` are configured; the daemon is not running yet.
    pub fn with<const N: usize>(apps: [App; N]) -> World {
        World::empty().furnished(apps)
    }

    /// The same, with the state in a directory outside of the world's own.
    pub fn with_state_in<const N: usize>(state: &Path, apps: [App; N]) -> World {
        let mut world = World::empty();
        world.state = state.to_owned();
        world.furnished(apps)
    }

    fn furnished<const N: usize>(self, apps: [App; N]) -> World {
        let mut world = self;
        world.host = "rate_limit = \"1000/min\"".into();
        world.write_host();
        for app in apps {
            world.add(app);
        }
        world
    }

    /// The usual world: one application `shop`, and the daemon running.
    pub fn of_a_shop() -> World {
        World::with([App::new("shop")]).up()
    }

    /// Adds an application to the configuration, its repository and its secret.
    pub fn add(&mut self, app: App) {
        let site = Site::new(self, app);
        self.sites.retain(|known| known.name != site.name);
        self.sites.push(site);
    }

    /// Adds to `pintle.toml`: lines of `[listen]`, then other tables.
    pub fn host(mut self, text: &str) -> World {
        self.host.push('\n');
        self.host.push_str(text);
        self.write_host();
        self
    }

    /// Adds to the daemon's environment.
    pub fn environment(mut self, name: &str, value: &str) -> World {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    fn write_host(&self) {
        let root = self.root.display();
        let text = format!(
            "state_dir = \"{}\"\nruntime_dir = \"{root}/run\"\n\n[listen]\naddress = \"127.0.0.1:{}\"\n{}\n",
            self.state.display(),
            self.hook,
            self.host
        );
        fs::write(self.config().join("pintle.toml"), text).unwrap();
    }

    /// Starts the daemon and waits until it and its listener answer.
    pub fn up(mut self) -> World {
        self.start_daemon();
        self
    }

    /// Starts the daemon and waits until it and its listener answer.
    #[track_caller]
    pub fn start_daemon(&mut self) {
        self.launch_daemon();
        self.wait_for_daemon();
        let hook = self.hook;
        if fs::read_to_string(self.config().join("pintle.toml")).is_ok_and(|text| text.contains("[listen]")) {
            self.wait("the listener's answer", || Request::get("/health").send(hook).ok().filter(|r| r.status == 200));
        }
    }

    /// Starts the daemon without waiting for anything.
    pub fn launch_daemon(&mut self) {
        assert!(self.daemon.is_none(), "the daemon runs already");
        let log = OpenOptions::new().create(true).append(true).open(self.daemon_log()).unwrap();
        let mut command = self.command(&["run"]);
        command.arg("--root").arg(&self.board);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
        // SAFETY: prctl is async-signal-safe; a daemon whose test dies shall end, in good order, with it.
        unsafe { command.pre_exec(|| nix::sys::prctl::set_pdeathsig(Signal::SIGTERM).map_err(Into::into)) };
        self.daemon = Some(command.spawn().unwrap());
    }

    /// Waits until the control socket answers.
    #[track_caller]
    pub fn wait_for_daemon(&mut self) {
        let deadline = std::time::Instant::now() + PATIENCE;
        let mut pause = wait::Pause::new();
        loop {
            if matches!(self.ask(&Ask::Ping), Some(Answer::Pong)) {
                return;
            }
            if let Some(status) = self.daemon.as_mut().and_then(|child| child.try_wait().unwrap()) {
                self.daemon = None;
                panic!("the daemon ended ({status}) instead of answering; it said:\n{}", self.daemon_said());
            }
            assert!(std::time::Instant::now() < deadline, "no answer on the control socket:\n{}", self.daemon_said());
            pause.once();
        }
    }

    /// Runs `pintle run` until it ends by itself: for what must be refused at start.
    pub fn run_refused(&mut self) -> Outcome {
        self.pintle(&["run"])
    }

    /// SIGKILL for the daemon alone; what it started runs on.
    pub fn kill_daemon(&mut self) {
        let mut daemon = self.daemon.take().expect("the daemon runs");
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }

    /// SIGTERM, and waits for the end.
    #[track_caller]
    pub fn stop_daemon(&mut self) -> ExitStatus {
        let mut daemon = self.daemon.take().expect("the daemon runs");
        kill(Pid::from_raw(daemon.id() as i32), Signal::SIGTERM).unwrap();
        let status = wait::wait_quietly(PATIENCE, || daemon.try_wait().unwrap());
        status.unwrap_or_else(|| {
            let _ = daemon.kill();
            let _ = daemon.wait();
            panic!("the daemon did not end after SIGTERM; it said:\n{}", self.daemon_said())
        })
    }

    /// The daemon's process.
    pub fn daemon_pid(&self) -> i32 {
        self.daemon.as_ref().expect("the daemon runs").id() as i32
    }

    /// Whether the daemon is still there.
    pub fn daemon_lives(&mut self) -> bool {
        self.daemon.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// A `pintle` command with this world's configuration and a clean environment.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command.arg("--config").arg(self.config()).args(args);
        command.env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.root.join("home")).env("LANG", "C.UTF-8").env("RUST_BACKTRACE", "1");
        command.env("NO_COLOR", "1");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a `pintle` command to its end.
    #[track_caller]
    pub fn pintle(&self, args: &[&str]) -> Outcome {
        finish(self.command(args), &format!("pintle {}", args.join(" ")))
    }

    /// The application named `name`.
    #[track_caller]
    pub fn site(&self, name: &str) -> &Site {
        self.sites.iter().find(|site| site.name == name).unwrap_or_else(|| panic!("no site {name}"))
    }

    /// The application `shop`.
    pub fn shop(&self) -> &Site {
        self.site("shop")
    }

    /// Asks on the control socket; `None` when nobody answers.
    pub fn ask(&self, request: &Ask) -> Option<Answer> {
        ask(&self.control(), request)
    }

    /// `status`, of everything.
    #[track_caller]
    pub fn status(&self) -> StatusReport {
        match self.ask(&Ask::Status { app: None }) {
            Some(Answer::Status(report)) => report,
            other => panic!("status: {other:?}\n{}", self.daemon_said()),
        }
    }

    /// `history`, newest first.
    #[track_caller]
    pub fn history(&self) -> Vec<DeploymentView> {
        match self.ask(&Ask::History { app: None, limit: 1000 }) {
            Some(Answer::History(report)) => report.deployments,
            other => panic!("history: {other:?}\n{}", self.daemon_said()),
        }
    }

    /// `show NUMBER`.
    #[track_caller]
    pub fn show(&self, number: u64) -> DeploymentReport {
        show(&self.control(), number).unwrap_or_else(|| panic!("no deployment {number}\n{}", self.daemon_said()))
    }

    /// Waits until deployment `number` is over.
    #[track_caller]
    pub fn end_of(&self, number: u64) -> DeploymentReport {
        self.wait(&format!("the end of deployment {number}"), || {
            show(&self.control(), number).filter(|report| report.deployment.status.is_final())
        })
    }

    /// Waits for a condition; a failure shows what the daemon said.
    #[track_caller]
    pub fn wait<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> T {
        match wait::wait_quietly(PATIENCE, look) {
            Some(found) => found,
            None => {
                panic!("waited {} s in vain for {what}; the daemon said:\n{}", PATIENCE.as_secs(), self.daemon_said())
            }
        }
    }

    /// The directories that are this world's: whoever works in one of them belongs to it.
    pub fn places(&self) -> Vec<PathBuf> {
        vec![self.root.clone(), self.state.clone()]
    }
    /// The configuration directory.
    pub fn config(&self) -> PathBuf {
        self.root.join("config")
    }
    /// The state directory.
    pub fn state(&self) -> PathBuf {
        self.state.clone()
    }
    /// The control socket.
    pub fn control(&self) -> PathBuf {
        self.root.join("run/control.sock")
    }
    fn daemon_log(&self) -> PathBuf {
        self.root.join("daemon.log")
    }
    /// What the daemon wrote so far (its last part).
    pub fn daemon_said(&self) -> String {
        let text = fs::read_to_string(self.daemon_log()).unwrap_or_default();
        // The same line again and again would leave no room for the others.
        let mut lines: Vec<&str> = text.lines().collect();
        lines.dedup();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            if let Some(mut daemon) = self.daemon.take() {
                let _ = daemon.kill();
                let _ = daemon.wait();
            }
            processes::end_all(&self.places());
            eprintln!("kept for a look: {}\nthe daemon said:\n{}", self.root.display(), self.daemon_said());
            return;
        }
        if self.daemon_lives() {
            let status = self.stop_daemon();
            assert_eq!(status.code(), Some(0), "the daemon's end; it said:\n{}", self.daemon_said());
        }
        let left =
            wait::wait_quietly(Duration::from_secs(5), || processes::of(&self.places()).is_empty().then_some(()));
        if left.is_none() {
            let left = processes::describe(&self.places());
            processes::end_all(&self.places());
            panic!("processes of this world are left after its daemon ended:\n{left}\n{}", self.daemon_said());
        }
        fs::remove_dir_all(&self.root).unwrap();
    }
}

/// Asks on a control socket; `None` when nobody answers.
pub fn ask(socket: &Path, request: &Ask) -> Option<Answer> {
    Client::connect(socket).ok()?.ask(request, Some(PATIENCE)).ok()
}

/// `show NUMBER` on a control socket.
pub fn show(socket: &Path, number: u64) -> Option<DeploymentReport> {
    match ask(socket, &Ask::Show { number: DeployId(number) })? {
        Answer::Show(report) => Some(*report),
        _ => None,
    }
}

/// Where what is expensive to make is kept between runs: `$PINTLE_TEST_CACHE`, else `/var/cache/pintle-tests`.
pub fn cache() -> PathBuf {
    std::env::var_os("PINTLE_TEST_CACHE").map_or("/var/cache/pintle-tests".into(), PathBuf::from)
}

/// Whether the tests run as root.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Writes a file nobody else may read.
pub fn write_secret(path: &Path, text: &str) {
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(path).unwrap();
    std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
}

/// Runs a command to its end, or fails the test after a while.
#[track_caller]
pub fn finish(mut command: Command, name: &str) -> Outcome {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_raw(child.id() as i32);
    let (done, is_done) = std::sync::mpsc::channel();
    let waiting = std::thread::spawn(move || {
        let output = child.wait_with_output().unwrap();
        let _ = done.send(());
        output
    });
    let in_time = is_done.recv_timeout(PATIENCE).is_ok();
    if !in_time {
        let _ = kill(pid, Signal::SIGKILL);
    }
    let output = waiting.join().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let outcome = Outcome { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) };
    assert!(in_time, "{name} did not end in {} s: {outcome:?}", PATIENCE.as_secs());
    outcome
}
