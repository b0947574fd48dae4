//! `pintle run`: from nothing to the loop, and the loop.
//!
//! Before the loop everything that cannot work is explained and ends the process (exit 78 for the configuration, 3 for
//! the host). Inside it nothing does: an error becomes an event, a notice or a line in the journal.

use super::action::Action;
use super::boot::Found;
use super::doors::{self, Desk, Door};
use super::event::{Event, Thawed};
use super::hands::{Hands, Replies};
use super::hub::Hub;
use super::journal::Journal;
use super::post::Post;
use super::work::{self, Bench};
use super::world::World;
use crate::base::{AppName, DeployId, InstanceId, Moment};
use crate::config::{self, Config, Paths};
use crate::os::instances::Instances;
use crate::os::releases::Releases;
use crate::os::scribe::Scribe;
use crate::os::{backup, files, group, lock, memory, reap, signals, sockets, systemd};
use crate::runtime::place::Place;
use crate::runtime::ports::Ports;
use crate::store::{Diary, Snapshot};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, RwLock};
use std::time::Duration;

/// Why the daemon could not start, and what it exits with.
#[derive(Debug)]
pub struct Failure {
    /// 78: the configuration; 3: the host.
    pub exit: u8,
    /// For people.
    pub message: String,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure { exit: 3, message: error.to_string() }
    }
}

/// What a killed daemon left running is asked to end for so long, then killed.
const GRACE_FOR_LEFTOVERS: Duration = Duration::from_secs(5);

/// Runs the daemon until it is told to end.
pub fn run(config_dir: &Path) -> Result<(), Failure> {
    memory::tune();
    let began = Moment::now();
    let environment = Arc::new(config::Environment::of_process());
    let (config, broken_files) = configuration(config_dir, &environment)?;
    let place = Place { state_dir: config.host.state_dir.clone(), runtime_dir: config.host.runtime_dir.clone() };
    files::make_dir(&place.state_dir, 0o755)?;
    files::make_dir(&place.runtime_dir, 0o755)?;
    let _lock = lock::StateLock::take(&place.state_dir)?;
    let signals = signals::Signals::listen()?;
    let instances = Instances::open(&place.runtime_dir, &place.state_dir)?;
    end_leftovers(&instances);

    let opened =
        Diary::open(&place.state_dir, began).map_err(|error| Failure { exit: 3, message: error.to_string() })?;
    let mut notices: Vec<String> = opened.notice.into_iter().collect();
    let snapshot = opened.snapshot;
    let post = Post::new()?;
    let bench = Bench {
        config_dir: std::path::absolute(config_dir)?,
        environment,
        hub: Hub::new(&place.state_dir),
        ports: Ports::default(),
        post: post.clone(),
        instances,
        place,
    };
    let listener_socket = listener_socket(&config, &mut notices);
    let found = config.apps.values().map(|app| (app.name.clone(), look_at(&bench, app, &snapshot))).collect();
    let journal = Journal::start(opened.diary, post)?;
    let replies = Replies::default();
    let apps = shared_apps(&config);
    let desk = Desk { bench: bench.clone(), replies: replies.clone(), apps: apps.clone(), since: began.mono };
    open_doors(&config, desk)?;

    let scribe = Scribe::start()?;
    let (mut world, actions) = World::boot(Moment::now(), &config, snapshot, found, notices);
    world.broken_files = broken_files;
    let hands = Hands::new(bench, config, journal, replies, scribe, listener_socket);
    let mut turning = Loop::new(world, hands, signals, apps)?;
    turning.begin(actions);
    log::info!("ready after {} ms", Moment::now().mono.saturating_sub(began.mono).as_millis());
    systemd::ready();
    memory::rest();
    turning.turn_until_told()?;
    turning.leave_nothing_behind();
    Ok(())
}

/// The configuration; a broken one is reported loudly and the last accepted one used.
fn configuration(dir: &Path, environment: &config::Environment) -> Result<(Config, Option<String>), Failure> {
    let problems = match Config::load(dir, environment) {
        Ok(loaded) => {
            let state_dir = &loaded.config.host.state_dir;
            let kept = files::make_dir(state_dir, 0o755).and_then(|()| config::accept(&loaded.files, state_dir));
            return match kept {
                Ok(()) => Ok((loaded.config, None)),
                Err(error) => Ok((loaded.config, Some(format!("the configuration could not be kept: {error}")))),
            };
        }
        Err(problems) => problems,
    };
    let lines: Vec<String> = problems.iter().map(|problem| problem.to_string()).collect();
    let accepted = Paths::locate(dir).state_dir.join(config::ACCEPTED);
    let message = format!("problems of the configuration in {}: {}\n{}", dir.display(), lines.len(), lines.join("\n"));
    if !accepted.is_dir() {
        return Err(Failure { exit: 78, message });
    }
    match Config::load_from(&accepted, dir, environment) {
        Ok(loaded) => {
            log::error!("{message}");
            let notice = format!(
                "the configuration in {} is broken (problems: {}; `pintle check-config` lists them); the last accepted one is used",
                dir.display(),
                lines.len()
            );
            Ok((loaded.config, Some(notice)))
        }
        Err(_) => Err(Failure { exit: 78, message }),
    }
}

fn end_leftovers(instances: &Instances) {
    match instances.end_leftovers(GRACE_FOR_LEFTOVERS) {
        Ok(ended) => {
            for record in ended {
                let (app, service, pid) = (record.app, record.service, record.pid);
                log::warn!(
                    "{app}: {service} (pid {pid}) was left running by an earlier daemon: ended, it is started anew"
                );
            }
        }
        Err(error) => log::error!("look for what an earlier daemon left running: {error}"),
    }
}

/// The listener's socket is bound before privileges matter and held for ever. A port that is taken is a notice, not the
/// end: the apps matter more.
fn listener_socket(config: &Config, notices: &mut Vec<String>) -> Option<OwnedFd> {
    let listen = config.host.listen.as_ref()?;
    match sockets::bind(&listen.address) {
        Ok(socket) => Some(socket),
        Err(error) => {
            log::error!("the webhook listener cannot start: {error}");
            notices.push(format!("no webhooks: {error}"));
            None
        }
    }
}

/// What the disk shows of an app; scratch of a crash goes first.
pub(super) fn look_at(bench: &Bench, app: &config::App, snapshot: &Snapshot) -> Found {
    let dir = bench.place.app(&app.name);
    let releases = Releases::new(&dir);
    let said = backup::clean_scratch(&dir).and_then(|said| {
        releases.clean_scratch()?;
        files::remove_tree(&bench.place.scratch(&app.name))?;
        Ok(said)
    });
    match said {
        Ok(said) => said.iter().for_each(|line| log::info!("{}: {line}", app.name)),
        Err(error) => log::error!("{}: clean up after a crash: {error}", app.name),
    }
    let current = releases.current().unwrap_or_else(|error| {
        log::error!("{}: {error}", app.name);
        None
    });
    let current = current.filter(|release| {
        let whole = releases.holds(release);
        if !whole {
            log::error!("{}: current points at {release}, which is not there", app.name);
        }
        whole
    });
    let shared = Arc::new(app.clone());
    let definitions: Vec<Thawed> = current.iter().map(|release| work::thaw(bench, &shared, release)).collect();
    discard_unfinished(&releases, app, snapshot, current.as_ref());
    let logs = highest_log(&dir.join("logs"));
    Found { current, definitions, highest: releases.highest().unwrap_or_default().max(logs) }
}

/// A release whose deploy was cut off before Switch is scratch.
fn discard_unfinished(
    releases: &Releases,
    app: &config::App,
    snapshot: &Snapshot,
    live: Option<&crate::base::ReleaseName>,
) {
    let cut_off = |number: DeployId| {
        snapshot.unfinished.iter().any(|row| {
            row.number == number && row.kind == crate::store::Kind::Deploy && row.phase < crate::control::Phase::Switch
        })
    };
    // By number: the row of a deploy that was cut off while it fetched does not name its release yet.
    for release in releases.list().unwrap_or_default().iter().filter(|release| cut_off(release.number())) {
        if Some(release) != live
            && let Err(error) = releases.remove(release)
        {
            log::error!("{}: {error}", app.name);
        }
    }
}

fn highest_log(logs: &Path) -> DeployId {
    let names = std::fs::read_dir(logs)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    let numbers = names.filter_map(|name| name.strip_prefix("deploy-")?.strip_suffix(".log")?.parse().ok());
    DeployId(numbers.max().unwrap_or_default())
}

fn shared_apps(config: &Config) -> Apps {
    Arc::new(RwLock::new(config.apps.iter().map(|(name, app)| (name.clone(), Arc::new(app.clone()))).collect()))
}

type Apps = Arc<RwLock<BTreeMap<AppName, Arc<config::App>>>>;

fn open_doors(config: &Config, desk: Desk) -> Result<(), Failure> {
    let place = desk.bench.place.clone();
    let group =
        config.host.control_group.as_deref().and_then(group_id).map(|gid| (nix::unistd::geteuid().as_raw(), gid));
    doors::open(&place.control_socket(), 0o660, group, Door::Control, desk.clone())?;
    if let Some(listen) = &config.host.listen {
        let user = super::hands::listener_user(listen.user.as_deref())?;
        let owner = user.map(|user| (user.uid, user.gid));
        doors::open(&place.listener_socket(), 0o600, owner, Door::Listener, desk)?;
    }
    Ok(())
}

fn group_id(name: &str) -> Option<u32> {
    match nix::unistd::Group::from_name(name) {
        Ok(Some(group)) => Some(group.gid.as_raw()),
        _ => {
            log::warn!(
                "[control] group {name:?} does not exist: only root and the daemon's user may use the control socket"
            );
            None
        }
    }
}

/// After a deployment its followers and its tidying are done by then.
const QUIET_AFTER_WORK: Duration = Duration::from_secs(2);

/// What the loop waits for.
const BELL: u64 = u64::MAX;
const SIGNALS: u64 = u64::MAX - 1;

struct Loop {
    world: World,
    hands: Hands,
    signals: signals::Signals,
    epoll: Epoll,
    apps: Apps,
    /// When systemd is told next that the loop turns, and how often.
    heartbeat: Option<(Duration, Duration)>,
    /// When what a deployment needed is given back.
    rest_at: Option<Duration>,
    /// What systemd was last told.
    status: String,
}

impl Loop {
    fn new(world: World, hands: Hands, signals: signals::Signals, apps: Apps) -> io::Result<Loop> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(hands.bench.post.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, BELL))?;
        epoll.add(signals.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, SIGNALS))?;
        let heartbeat = systemd::heartbeat().map(|every| (Moment::now().mono, every));
        Ok(Loop { world, hands, signals, epoll, apps, heartbeat, rest_at: None, status: String::new() })
    }

    fn begin(&mut self, actions: Vec<Action>) {
        self.carry_out(actions);
        let actions = self.world.start_listener(Moment::now());
        self.carry_out(actions);
        self.turn(Event::Tick);
    }

    fn turn_until_told(&mut self) -> io::Result<()> {
        let mut ready = [EpollEvent::empty(); 64];
        while !self.hands.exit {
            let count = match self.epoll.wait(&mut ready, self.timeout()) {
                Ok(count) => count,
                Err(nix::errno::Errno::EINTR) => 0,
                Err(error) => return Err(error.into()),
            };
            // Ends of processes first: a crashed app is back before anything else is looked at.
            for event in &ready[..count] {
                match event.data() {
                    BELL | SIGNALS => {}
                    instance => self.ended(InstanceId(instance)),
                }
            }
            if ready[..count].iter().any(|event| event.data() == SIGNALS) {
                self.take_signals();
            }
            for event in self.hands.bench.post.take() {
                self.turn(event);
            }
            if self.world.deadline().is_some_and(|at| at <= Moment::now().mono) {
                self.turn(Event::Tick);
            }
            self.tell_systemd();
            self.rest();
        }
        Ok(())
    }

    /// A while after a deployment, memory is given back: what follows is a long time of little work.
    fn rest(&mut self) {
        let now = Moment::now().mono;
        if std::mem::take(&mut self.hands.worked) {
            self.rest_at = Some(now + QUIET_AFTER_WORK);
        }
        if self.rest_at.is_some_and(|at| now >= at) {
            self.rest_at = None;
            memory::rest();
        }
    }

    /// At the end of a whole turn, and only there: that we live, and how the apps are.
    fn tell_systemd(&mut self) {
        let now = Moment::now().mono;
        if let Some((due, every)) = self.heartbeat.filter(|(due, _)| now >= *due) {
            systemd::alive();
            self.heartbeat = Some((due.max(now) + every, every));
        }
        let status = self.world.summary();
        if status != self.status {
            systemd::status(&status);
            self.status = status;
        }
    }

    /// The apps are down; what they had started and lost sight of goes too.
    fn leave_nothing_behind(&self) {
        if let Err(error) = self.hands.bench.instances.end_leftovers(Duration::ZERO) {
            log::warn!("{error}");
        }
    }

    fn timeout(&self) -> EpollTimeout {
        let heartbeat = self.heartbeat.map(|(due, _)| due);
        let Some(deadline) = self.world.deadline().into_iter().chain(heartbeat).chain(self.rest_at).min() else {
            return EpollTimeout::NONE;
        };
        let left = deadline.saturating_sub(Moment::now().mono);
        // Rounded up: waking a moment too early would only mean waking twice.
        let millis = u64::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        EpollTimeout::from(u16::try_from(millis).unwrap_or(u16::MAX))
    }

    /// One whole turn, and those that its actions cause at once.
    fn turn(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            if let Event::Reconfigured { config, .. } = &event
                && let Ok(mut apps) = self.apps.write()
            {
                *apps = config.apps.iter().map(|(name, app)| (name.clone(), Arc::new(app.clone()))).collect();
            }
            for action in self.world.turn(Moment::now(), event) {
                events.extend(self.act(action));
            }
        }
    }

    /// Carries out all actions before the events they caused at once are looked at, so that facts keep their order.
    fn carry_out(&mut self, actions: Vec<Action>) {
        let events: Vec<Event> = actions.into_iter().filter_map(|action| self.act(action)).collect();
        for event in events {
            self.turn(event);
        }
    }

    fn act(&mut self, action: Action) -> Option<Event> {
        let event = self.hands.carry_out(action)?;
        if let Event::Spawned { instance, .. } = &event {
            self.watch(*instance);
        }
        Some(event)
    }

    /// Hears of the process's end.
    fn watch(&mut self, instance: InstanceId) {
        let Some(child) = self.hands.children.get(&instance) else { return };
        let added = self.epoll.add(child.pidfd.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, instance.0));
        if let Err(error) = added {
            log::error!("watch process {}: {error}", child.pid);
        }
    }

    /// A process of ours ended: reaped by its pid, exactly once; whatever it left in its session goes with it.
    fn ended(&mut self, instance: InstanceId) {
        let Some(child) = self.hands.children.get(&instance) else { return };
        let (clean, words) = match reap::try_wait(child.pid) {
            Ok(Some(ended)) => (ended.is_success(), ended.to_string()),
            Ok(None) => return,
            Err(error) => (false, format!("it ended, and how is not known: {error}")),
        };
        let _ = self.epoll.delete(child.pidfd.as_fd());
        let pid = child.pid;
        // What it started and did not end would hold its port and its data.
        let _ = group::signal(pid, libc::SIGKILL);
        // Its successor first: files and all of /proc can wait.
        self.turn(Event::Exited { instance, clean, words });
        self.hands.gone(instance);
        self.hands.sweep(instance);
    }

    fn take_signals(&mut self) {
        for signal in self.signals.take() {
            match signal {
                signals::Signal::Stop => {
                    log::info!("told to end: stopping the apps");
                    systemd::stopping();
                    self.turn(Event::Stop);
                }
                signals::Signal::Reload => self.hands.reload(None),
                signals::Signal::Reexec => log::warn!("SIGUSR2: replacing the running daemon is not active yet"),
            }
        }
    }
}
