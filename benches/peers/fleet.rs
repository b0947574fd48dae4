//! Many instances of the app under one supervisor: begun, killed one by one, ended.

use crate::births::{Birth, Births, now};
use crate::supervisors::Peer;
use crate::world::{App, World, processes};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use pintle::control::DeployStatus;
use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// `WatchdogSec=` of systemd/pintle.service.
pub const WATCHDOG: Duration = Duration::from_secs(30);
/// What one restart leaves to be done (records, logs) is not charged to the next.
const AFTERMATH: Duration = Duration::from_millis(30);

/// A supervisor with its apps.
pub struct Fleet {
    pub name: &'static str,
    /// The one that has run longest first.
    apps: VecDeque<Birth>,
    root: Root,
}

enum Root {
    Pintle(Box<World>),
    Peer { child: Child, end: Signal, dir: PathBuf },
}

impl Fleet {
    /// `count` services of one application under Pintle. Nothing looks at their health: no peer does.
    pub fn under_pintle(births: &Births, count: usize) -> io::Result<Fleet> {
        let run = format!("[{:?}]", births.app);
        let app = App::bare("fleet").set("deploy", "timeout", "\"120s\"").set("deploy", "probation", "\"0s\"");
        let app = (0..count).fold(app, |app, number| app.set(&format!("service.s{number:03}"), "run", &run));
        let world = World::with([app]);
        let run = births.dir.join(world.root.file_name().unwrap_or_default());
        fs::create_dir(&run)?;
        symlink(run, world.root.join("run"))?;
        let world = beside_systemd(world)?.up();
        let report = world.site("fleet").deploy("v1", &[]);
        assert_eq!(report.deployment.status, DeployStatus::Success, "{report:#?}");
        let apps = (0..count).map(|_| births.next()).collect::<io::Result<_>>()?;
        Ok(Fleet { name: "pintle", apps, root: Root::Pintle(Box::new(world)) })
    }

    /// The same under a peer, which works in `dir`.
    pub fn under(peer: &Peer, dir: &Path, births: &Births, count: usize) -> io::Result<Fleet> {
        let (dir, end) = (dir.join(peer.name), peer.end);
        let mut command = peer.command(&dir, births, count)?;
        let log = File::create(dir.join("said"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        // SAFETY: prctl is async-signal-safe; a supervisor whose benchmark dies shall end with it.
        unsafe { command.pre_exec(move || set_pdeathsig(end).map_err(Into::into)) };
        let child = command.spawn()?;
        let mut fleet = Fleet { name: peer.name, apps: VecDeque::new(), root: Root::Peer { child, end, dir } };
        for _ in 0..count {
            fleet.apps.push_back(births.next()?);
        }
        Ok(fleet)
    }

    /// Kills the app that has run longest; how long until its successor executed its first instruction.
    pub fn restart(&mut self, births: &Births) -> io::Result<Duration> {
        let Some(app) = self.apps.pop_front() else { return Err(io::Error::other("no app runs")) };
        let killed = now();
        kill(Pid::from_raw(app.pid), Signal::SIGKILL)?;
        // Of one that had left its supervisor we are the parent.
        let _ = waitpid(Pid::from_raw(app.pid), None);
        let successor = births.next()?;
        self.apps.push_back(successor);
        sleep(AFTERMATH);
        Ok(successor.at.saturating_sub(killed))
    }

    /// How long the app that is to be killed next has run.
    pub fn age(&self) -> Duration {
        self.apps.front().map_or(Duration::ZERO, |app| now().saturating_sub(app.at))
    }

    /// The processes that supervise - all of it but the apps -, the root first.
    pub fn overhead(&self) -> Vec<u32> {
        let (root, others) = match &self.root {
            // One of Pintle's processes may have left the daemon.
            Root::Pintle(world) => (world.daemon_pid(), processes::of(&world.places())),
            Root::Peer { child, .. } => (child.id() as i32, vec![]),
        };
        let others: BTreeSet<i32> = processes::descendants(root).into_iter().chain(others).collect();
        let others = others.into_iter().filter(|pid| *pid != root && self.apps.iter().all(|app| app.pid != *pid));
        [root].into_iter().chain(others).map(|pid| pid as u32).collect()
    }
}

/// As its unit has it: somebody hears its word and waits for its signs of life.
fn beside_systemd(world: World) -> io::Result<World> {
    let path = world.root.join("systemd");
    let socket = UnixDatagram::bind(&path)?;
    std::thread::spawn(move || while socket.recv(&mut [0; 4096]).is_ok() {});
    let watchdog = WATCHDOG.as_micros().to_string();
    Ok(world.environment("NOTIFY_SOCKET", &path.to_string_lossy()).environment("WATCHDOG_USEC", &watchdog))
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // A world ends itself.
        let Root::Peer { child, end, dir } = &mut self.root else { return };
        let _ = kill(Pid::from_raw(child.id() as i32), *end);
        let _ = child.wait();
        let places = [dir.clone()];
        let patience = Instant::now() + Duration::from_secs(5);
        while !processes::of(&places).is_empty() && Instant::now() < patience {
            sleep(Duration::from_millis(20));
        }
        // Monit, for one, leaves its apps alone when it ends.
        processes::end_all(&places);
    }
}
