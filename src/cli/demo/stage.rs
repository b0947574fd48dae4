//! What the demo plays on: a scratch directory with a repository, a configuration and a running daemon.
//!
//! Everything the stage starts it ends, and everything it writes is below one directory that it removes.

use super::Failure;
use crate::base::{AppName, DeployId};
use crate::control::client::Client;
use crate::control::{Answer, Followed, Request};
use hmac::{Hmac, KeyInit, Mac};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::ops::ControlFlow;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// No step of the demo takes longer, on any board it should run on.
const PATIENCE: Duration = Duration::from_secs(120);
/// What the webhook is signed with; the demo's own, worth nothing.
const SECRET: &str = "demo-secret-of-at-least-thirty-two-bytes";

/// A scratch directory and what runs in it.
pub(super) struct Stage {
    /// The scratch directory.
    pub(super) root: PathBuf,
    /// Where the application answers.
    pub(super) app_url: String,
    /// Where the listener answers.
    pub(super) hook_url: String,
    /// For requests to both.
    pub(super) agent: ureq::Agent,
    binary: PathBuf,
    daemon: Option<Child>,
    interrupted: Arc<AtomicBool>,
}

impl Stage {
    /// Writes everything the daemon needs; starts nothing.
    pub(super) fn set_up() -> Result<Stage, Failure> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&interrupted)).map_err(failed("watch for Ctrl-C"))?;
        }
        let root = scratch()?;
        let ports = (TcpListener::bind("127.0.0.1:0"), TcpListener::bind("127.0.0.1:0"));
        let app = ports.0.and_then(|l| l.local_addr()).map_err(failed("find a free port"))?;
        let hook = ports.1.and_then(|l| l.local_addr()).map_err(failed("find a free port"))?;
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(20)))
            .http_status_as_error(false)
            .proxy(None)
            .build()
            .new_agent();
        let stage = Stage {
            app_url: format!("http://{app}"),
            hook_url: format!("http://{hook}"),
            agent,
            binary: std::env::current_exe().map_err(failed("find the path of this program"))?,
            daemon: None,
            interrupted,
            root,
        };
        if let Err(failure) = stage.write_configuration(&app.to_string(), &hook.to_string()) {
            stage.take_down()?;
            return Err(failure);
        }
        Ok(stage)
    }

    fn write_configuration(&self, app: &str, hook: &str) -> Result<(), Failure> {
        let config = self.config();
        for dir in [config.join("apps"), config.join("secrets"), self.repo()] {
            fs::create_dir_all(&dir).map_err(failed(format!("create {}", dir.display())))?;
        }
        let write =
            |path: PathBuf, text: &str| fs::write(&path, text).map_err(failed(format!("write {}", path.display())));
        let secret = config.join("secrets/shop");
        File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&secret)
            .and_then(|mut file| io::Write::write_all(&mut file, SECRET.as_bytes()))
            .map_err(failed(format!("write {}", secret.display())))?;
        let root = self.root.display();
        write(
            config.join("pintle.toml"),
            &format!(
                "state_dir = \"{root}/state\"\nruntime_dir = \"{root}/run\"\n\n[listen]\naddress = \"{hook}\"\nrate_limit = \"600/min\"\n"
            ),
        )?;
        let allow_root = if nix::unistd::geteuid().is_root() { "[app]\nallow_root = true\n" } else { "" };
        let binary = self.binary.display();
        write(
            config.join("apps/shop.toml"),
            &format!(
                r#"[source]
git = "{root}/shop"
branch = "main"
shared = ["data"]

{allow_root}
[trigger]
forge = "github"
secret = {{ file = "secrets/shop" }}
poll = "off"
repository = "demo/shop"

[deploy]
timeout = "60s"
startup = "3s"
probation = "2s"

[[step]]
name = "compile"
phase = "build"
run = "sh build.sh"

[[step]]
name = "schema"
phase = "migrate"
run = "echo \"schema of $(cat version)\" > data/schema"

[service.web]
run = ["{binary}", "demo-app"]
listen = ["{app}"]

[health]
http = "http://{app}/health"
every = "1s"

[backup]
paths = ["data"]
keep = 3
"#
            ),
        )?;
        self.git(&["init", "--quiet", "--initial-branch", "main", "."]).map(drop)
    }

    /// A commit of version `version` of the sample application, misbehaving as `conf` says.
    pub(super) fn commit(&self, version: &str, conf: &str, build: &str) -> Result<String, Failure> {
        let files = [
            ("app.conf", format!("version = {version}\n{conf}")),
            ("version", format!("{version}\n")),
            ("build.sh", format!("set -e\necho \"compiling {version}\"\n{build}\n")),
            ("data/README", "what the shop keeps\n".to_owned()),
        ];
        for (name, text) in files {
            let path = self.repo().join(name);
            let made = path.parent().map_or(Ok(()), fs::create_dir_all);
            made.and_then(|()| fs::write(&path, text)).map_err(failed(format!("write {}", path.display())))?;
        }
        self.git(&["add", "--all"])?;
        self.git(&["commit", "--quiet", "--message", version])?;
        Ok(self.git(&["rev-parse", "HEAD"])?.trim().to_owned())
    }

    fn git(&self, args: &[&str]) -> Result<String, Failure> {
        let who = [("GIT_AUTHOR_NAME", "Ada"), ("GIT_COMMITTER_NAME", "Ada")];
        let mail = [("GIT_AUTHOR_EMAIL", "ada@example.org"), ("GIT_COMMITTER_EMAIL", "ada@example.org")];
        let output = Command::new("git")
            .args(args)
            .current_dir(self.repo())
            .envs(who)
            .envs(mail)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env_remove("GIT_DIR")
            .env_remove("GIT_WORK_TREE")
            .env_remove("GIT_INDEX_FILE")
            .output()
            .map_err(failed("run git (it must be installed)"))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Failure::wrong(format!("git {}: {}", args.join(" "), said.trim())))
    }

    /// Starts the daemon and waits until it and its listener answer. Returns both pids.
    pub(super) fn start_daemon(&mut self) -> Result<(u32, u32), Failure> {
        let log = self.root.join("daemon.log");
        let log = File::options().append(true).create(true).open(&log);
        let log = log.map_err(failed(format!("open {}", self.root.join("daemon.log").display())))?;
        let daemon = self
            .pintle(&["run"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // Ctrl-C is ours to take; the daemon is then asked to end in good order.
            .process_group(0)
            .spawn()
            .map_err(failed("start the daemon"))?;
        let pid = daemon.id();
        self.daemon = Some(daemon);
        let listener = self.wait_for("the listener's answer", |stage| {
            if let Some(status) = stage.daemon.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
                return Err(Failure::wrong(format!("the daemon ended at once: {status}")));
            }
            let healthy = stage.agent.get(format!("{}/health", stage.hook_url)).call().is_ok_and(|a| a.status() == 200);
            Ok(if healthy { stage.listener_pid() } else { None })
        })?;
        Ok((pid, listener))
    }

    /// Kills the daemon so that it can do nothing about it. Returns its pid.
    pub(super) fn kill_daemon(&mut self) -> Result<u32, Failure> {
        let mut daemon = self.daemon.take().ok_or_else(|| Failure::wrong("no daemon runs"))?;
        let pid = daemon.id();
        daemon.kill().and_then(|()| daemon.wait()).map_err(failed(format!("kill {pid}")))?;
        Ok(pid)
    }

    fn listener_pid(&self) -> Option<u32> {
        match self.ask(&Request::Status { app: None }) {
            Ok(Answer::Status(report)) => report.listener.pid,
            _ => None,
        }
    }

    /// Sends a signed push of `commit`; the status and the JSON of the answer.
    pub(super) fn push(&self, commit: &str) -> Result<(u16, Value), Failure> {
        self.push_signed_with(commit, SECRET)
    }

    /// The same, signed with any secret.
    pub(super) fn push_signed_with(&self, commit: &str, secret: &str) -> Result<(u16, Value), Failure> {
        let body = serde_json::json!({
            "ref": "refs/heads/main",
            "before": "0".repeat(40),
            "after": commit,
            "deleted": false,
            "head_commit": { "id": commit, "message": "demo" },
            "repository": { "full_name": "demo/shop" },
        })
        .to_string();
        let mut answer = self
            .agent
            .post(format!("{}/webhook", self.hook_url))
            .header("Content-Type", "application/json")
            .header("X-GitHub-Event", "push")
            .header("X-GitHub-Delivery", format!("demo-{commit}"))
            .header("X-Hub-Signature-256", sign(secret, body.as_bytes()))
            .send(&body)
            .map_err(|error| Failure::wrong(format!("POST {}/webhook: {error}", self.hook_url)))?;
        let status = answer.status().as_u16();
        let text = answer.body_mut().read_to_string().unwrap_or_default();
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    /// `GET path` of the application: status and body.
    pub(super) fn visit(&self, path: &str) -> Result<(u16, String), Failure> {
        let url = format!("{}{path}", self.app_url);
        let wrong = |error: ureq::Error| Failure::wrong(format!("GET {url}: {error}"));
        let mut answer = self.agent.get(&url).call().map_err(wrong)?;
        Ok((answer.status().as_u16(), answer.body_mut().read_to_string().map_err(wrong)?))
    }

    /// Hands every line about deployment `number` to `each`, until its end, which is returned.
    pub(super) fn follow(&self, number: DeployId, each: &mut dyn FnMut(&Followed)) -> Result<Followed, Failure> {
        let (send, lines) = mpsc::channel();
        let mut client = Client::connect(&self.control()).map_err(|error| Failure::wrong(error.to_string()))?;
        match client.ask(&Request::Follow { number }, Some(PATIENCE)) {
            Ok(Answer::Stream) => {}
            other => return Err(Failure::wrong(format!("following deployment {number}: {other:?}"))),
        }
        // A thread of its own, so that Ctrl-C and our patience count while the stream is silent. It ends with the daemon.
        std::thread::spawn(move || {
            let outcome = client.followed(&mut |line| match send.send(line.clone()) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            });
            drop(outcome);
        });
        let until = Instant::now() + PATIENCE;
        loop {
            match lines.recv_timeout(Duration::from_millis(50)) {
                Ok(end @ Followed::End { .. }) => return Ok(end),
                Ok(line) => each(&line),
                Err(RecvTimeoutError::Timeout) if Instant::now() < until => self.check_interrupt()?,
                Err(error) => return Err(Failure::wrong(format!("following deployment {number}: {error}"))),
            }
        }
    }

    /// Asks the daemon on its control socket.
    pub(super) fn ask(&self, request: &Request) -> Result<Answer, Failure> {
        let wrong = |error: crate::control::client::AskError| Failure::wrong(error.to_string());
        let mut client = Client::connect(&self.control()).map_err(wrong)?;
        client.ask(request, Some(PATIENCE)).map_err(wrong)
    }

    /// The application's process.
    pub(super) fn app_pid(&self) -> Result<i32, Failure> {
        let app = AppName::new("shop").map_err(|error| Failure::wrong(error.to_string()))?;
        match self.ask(&Request::Status { app: Some(app) })? {
            Answer::Status(report) => {
                let mut instances = report.apps.iter().flat_map(|a| &a.services).flat_map(|s| &s.instances);
                let pid = instances.find_map(|instance| instance.pid).and_then(|pid| i32::try_from(pid).ok());
                pid.ok_or_else(|| Failure::wrong("status names no process of the app"))
            }
            other => Err(Failure::wrong(format!("status: {other:?}"))),
        }
    }

    /// What a command of this program prints.
    pub(super) fn printed(&self, args: &[&str]) -> Result<String, Failure> {
        let output = self.pintle(args).output().map_err(failed(format!("run pintle {}", args.join(" "))))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Failure::wrong(format!("pintle {}: {}: {}", args.join(" "), output.status, said.trim())))
    }

    fn pintle(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("--config").arg(self.config()).args(args);
        // Set for a service of systemd, these would lead the demo into somebody's real directories.
        for name in ["STATE_DIRECTORY", "RUNTIME_DIRECTORY", "PINTLE_CONFIG", "NOTIFY_SOCKET", "LISTEN_FDS"] {
            command.env_remove(name);
        }
        command
    }

    /// Tries until `look` finds something, Ctrl-C, or the demo's patience ends.
    pub(super) fn wait_for<T>(
        &mut self,
        what: &str,
        mut look: impl FnMut(&mut Stage) -> Result<Option<T>, Failure>,
    ) -> Result<T, Failure> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            self.check_interrupt()?;
            if let Some(found) = look(self)? {
                return Ok(found);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(Failure::wrong(format!("waited {} s in vain for {what}", PATIENCE.as_secs())))
    }

    /// An error as soon as Ctrl-C was pressed.
    pub(super) fn check_interrupt(&self) -> Result<(), Failure> {
        if self.interrupted.load(Ordering::SeqCst) { Err(Failure::Interrupted) } else { Ok(()) }
    }

    /// The last lines the daemon wrote.
    pub(super) fn last_words(&self) -> String {
        let text = fs::read_to_string(self.root.join("daemon.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Ends the daemon and with it everything it started, then removes the scratch directory.
    pub(super) fn take_down(mut self) -> Result<(), Failure> {
        if let Some(mut daemon) = self.daemon.take() {
            end_daemon(&mut daemon);
        }
        let left = processes_in(&self.root);
        for pid in &left {
            let _ = kill(*pid, Signal::SIGKILL);
        }
        fs::remove_dir_all(&self.root).map_err(failed(format!("remove {}", self.root.display())))?;
        if left.is_empty() {
            return Ok(());
        }
        Err(Failure::wrong(format!("the daemon left {} processes behind: {left:?}", left.len())))
    }

    /// The configuration directory.
    pub(super) fn config(&self) -> PathBuf {
        self.root.join("config")
    }
    /// The working copy that stands for the developer's.
    pub(super) fn repo(&self) -> PathBuf {
        self.root.join("shop")
    }
    /// This program's path.
    pub(super) fn binary(&self) -> &Path {
        &self.binary
    }
    fn control(&self) -> PathBuf {
        self.root.join("run/control.sock")
    }
}

/// A new directory, short enough for the Unix sockets below it.
fn scratch() -> Result<PathBuf, Failure> {
    let temp = std::env::temp_dir();
    let base = if temp.as_os_str().len() <= 40 { temp } else { PathBuf::from("/tmp") };
    let root = base.join(format!("pintle-demo-{}", std::process::id()));
    fs::DirBuilder::new().mode(0o755).create(&root).map_err(failed(format!("create {}", root.display())))?;
    Ok(root)
}

fn end_daemon(daemon: &mut Child) {
    let Ok(pid) = i32::try_from(daemon.id()) else { return };
    let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    let until = Instant::now() + Duration::from_secs(15);
    while Instant::now() < until {
        if !matches!(daemon.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = daemon.kill();
    let _ = daemon.wait();
}

/// Processes that work below `root`: only the demo's own can.
fn processes_in(root: &Path) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let works_there = |pid: &i32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(root));
    pids.filter(works_there).map(Pid::from_raw).collect()
}

fn sign(secret: &str, body: &[u8]) -> String {
    // HMAC takes keys of any length.
    let Ok(mut mac) = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()) else { return String::new() };
    mac.update(body);
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

fn failed(deed: impl Into<String>) -> impl FnOnce(io::Error) -> Failure {
    let deed = deed.into();
    move |error| Failure::wrong(format!("{deed}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_githubs() {
        let expected = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert_eq!(sign("It's a Secret to Everybody", b"Hello, World!"), expected);
    }
}
