//! `pintle run`: from nothing - or from what an earlier daemon left - to the loop.
//!
//! Before the loop everything that cannot work is explained and ends the process (exit 78 for the configuration, 3 for
//! the host). Inside it nothing does: an error becomes an event, a notice or a line in the journal.

use super::boot::Found;
use super::doors::{self, Desk, Door, DoorPlan, Remembered};
use super::event::{Event, Thawed};
use super::event_loop::{Apps, Loop};
use super::hands::{Hands, Leave, Replies};
use super::hub::Hub;
use super::journal::Journal;
use super::post::Post;
use super::survivors::{self, Survivors};
use super::work::{self, Bench};
use super::world::World;
use crate::base::{DeployId, Moment};
use crate::config::{self, Address, Config, Paths};
use crate::os::cgroup::{self, Cgroups};
use crate::os::fdstore::{self, FdStore};
use crate::os::file_watch::FileWatch;
use crate::os::instances::Instances;
use crate::os::releases::Releases;
use crate::os::scribe::Scribe;
use crate::os::sensors::Sensors;
use crate::os::sweeper::Sweeper;
use crate::os::{alive, backup, clock, files, git, limits, lock, memory, network, signals, sockets, systemd};
use crate::runtime::place::Place;
use crate::runtime::ports::{Ports, SOCKET, Slot};
use crate::store::{Diary, Snapshot};
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};

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

/// The names under which the two doors are passed on.
const CONTROL: &str = "door-control";
const LISTENER: &str = "door-listener";
/// Signals that were heard and not answered before a new program took over.
pub(super) const SIGNALS: &str = "signals";

/// Runs the daemon until it is told to end. `root`: where its sensors find `/proc` and `/sys`.
pub fn run(config_dir: &Path, root: &Path) -> Result<(), Failure> {
    memory::tune();
    let began = Moment::now();
    let program = where_it_lies(std::env::current_exe()?);
    let environment = Arc::new(config::Environment::of_process());
    let (config, broken_files) = configuration(config_dir, &environment)?;
    let place = Place { state_dir: config.host.state_dir.clone(), runtime_dir: config.host.runtime_dir.clone() };
    files::make_dir(&place.state_dir, 0o755)?;
    files::make_dir(&place.runtime_dir, 0o755)?;
    let _lock = lock::StateLock::take(&place.state_dir)?;
    let mark = alive::Mark::leave(&place.runtime_dir)
        .inspect_err(|error| log::warn!("{error}: a crash of this daemon will not be told"))
        .ok();
    let signals = signals::Signals::listen()?;
    limits::raise_open_files()?;
    limits::outlive_others();
    let instances = Instances::open(&place.runtime_dir, &place.state_dir)?;
    git::mark(instances.variable(instances.helpers()));
    let (kept, back) = FdStore::open(&place.runtime_dir, instances.variable(instances.keeper()));
    let mut back: BTreeMap<String, OwnedFd> = back.into_iter().collect();
    if let Some(earlier) = back.remove(SIGNALS) {
        // Nearly always nobody had spoken.
        let _ = signals.hear_again(earlier);
    }
    let found = Cgroups::find(instances.tag());
    let unenforced = unenforced_memory(&config, &found);
    let groups = found.inspect_err(|why| log::info!("{why}")).ok();
    let post = Post::new()?;
    let bench = Bench {
        config_dir: std::path::absolute(config_dir)?,
        environment,
        hub: Hub::new(&place.state_dir),
        ports: Ports::kept_by(kept.clone()),
        post: post.clone(),
        instances,
        kept,
        groups,
        place,
        sensors: Arc::new(Mutex::new(Sensors::below(root))),
    };
    let survivors = survivors::find(&bench, &config, &mut back);
    survivors::end_others(&bench, &survivors, config.apps.keys());
    take_back_sockets(&bench, &survivors, &mut back);

    let opened =
        Diary::open(&bench.place.state_dir, began).map_err(|error| Failure { exit: 3, message: error.to_string() })?;
    let mut notices: Vec<String> = opened.notice.into_iter().collect();
    let snapshot = opened.snapshot;
    bind_listener_socket(&bench, &config, &mut notices);
    notices.extend(unenforced);
    let found = config.apps.values().map(|app| {
        let found = look_at(&bench, app, &snapshot);
        (app.name.clone(), survivors.join(&app.name, found))
    });
    let found = found.collect();
    let bell = post.clone();
    if let Err(error) = network::watch(move |news| bell.send(event_of(news))) {
        log::warn!(
            "that the network is back will not be noticed, so webhooks missed meanwhile are not looked for: {error}"
        );
    }
    let journal = Journal::start(opened.diary, post)?;
    let replies = Replies::default();
    let apps = shared_apps(&config);
    let remembered = Arc::new(Remembered::new(&config.host.state_dir));
    let since = began.mono;
    let desk = Desk { bench: bench.clone(), remembered, replies: replies.clone(), apps: apps.clone(), since };
    let doors = open_doors(&config, desk, &mut back)?;
    for name in back.keys() {
        bench.kept.forget(name);
    }
    drop(back);

    let scribe = Scribe::start()?;
    let (mut world, mut actions) = World::boot(Moment::now(), &config, snapshot, found, notices, TimeZone::system());
    world.broken_files = broken_files;
    if mark.as_ref().is_some_and(|mark| mark.predecessor_crashed) {
        world.predecessor_crashed(Moment::now(), &mut actions);
    }
    world.clock_is_held = clock::is_disciplined();
    let mut hands = Hands::new(bench, config, journal, replies, scribe, Sweeper::start()?, program, FileWatch::new()?);
    for held in survivors.held {
        log::info!("{}: {} (pid {}) runs on: taken over", held.record.app, held.record.service, held.record.pid);
        hands.adopt(held);
    }
    survivors.departed.into_iter().for_each(|departed| hands.hear_out(departed));
    let mut turning = Loop::new(world, hands, signals, apps)?;
    turning.begin(actions);
    log::info!("ready after {} ms", Moment::now().mono.saturating_sub(began.mono).as_millis());
    systemd::ready();
    memory::rest();
    match turning.turn_until_told()? {
        Leave::ForGood => turning.leave_nothing_behind(),
        // Nothing is dropped by becoming another program: the mark stays, and names the same process.
        Leave::ForSuccessor => return Err(turning.into_successor(doors).into()),
    }
    Ok(())
}

fn event_of(news: network::News) -> Event {
    match news {
        network::News::IsBack => Event::NetworkIsBack,
        network::News::AddressChanged => Event::AddressChanged,
    }
}

/// A file that was replaced while it runs is shown with this ending; its successor lies where it lay.
fn where_it_lies(shown: PathBuf) -> PathBuf {
    let text = shown.to_str().and_then(|text| text.strip_suffix(" (deleted)"));
    text.map_or_else(|| shown.clone(), PathBuf::from)
}

/// Listening sockets that an earlier daemon bound; one that was not kept is taken from an instance that has it.
fn take_back_sockets(bench: &Bench, survivors: &Survivors, back: &mut BTreeMap<String, OwnedFd>) {
    let addressed = |name: &String| Some((name.clone(), fdstore::text_of(SOCKET, name)?.parse::<Address>().ok()?));
    let named: Vec<(String, Address)> = back.keys().filter_map(addressed).collect();
    for (name, address) in named {
        let Some(socket) = back.remove(&name) else { continue };
        if let Err(error) = bench.ports.adopt_socket(address, socket) {
            log::warn!("{error}");
            bench.kept.forget(&name);
        }
    }
    for held in &survivors.held {
        for address in held.service.listen.iter().filter(|address| !bench.ports.holds(address)) {
            let taken = sockets::of_process(held.child.pidfd.as_fd(), held.record.pid, address);
            let adopted = taken.and_then(|socket| bench.ports.adopt_socket(address.clone(), socket));
            if let Err(error) = adopted {
                log::error!("{}: {address} cannot be taken from pid {}: {error}", held.record.app, held.record.pid);
            }
        }
        if let Some(port) = held.record.port {
            let record = &held.record;
            let (app, service) = (record.app.clone(), record.service.clone());
            bench.ports.adopt(Slot { app, service, round: record.round, index: record.index }, port);
        }
    }
}

/// What people must know where a limit of memory was asked for that nobody enforces.
fn unenforced_memory(config: &Config, found: &Result<Cgroups, String>) -> Option<String> {
    let limited =
        config.apps.values().flat_map(|app| app.services.values()).any(|service| service.memory_max.is_some());
    let why = cgroup::unenforced_memory(found.as_ref().map_err(String::as_str)).filter(|_| limited)?;
    log::warn!("{why}");
    Some(why)
}

/// Whether this program could run with this configuration and diary: what a running daemon asks of the program that is
/// to take over. Changes nothing.
pub fn check(config_dir: &Path) -> Result<(), Failure> {
    let environment = config::Environment::of_process();
    let loaded = Config::load(config_dir, &environment).or_else(|problems| {
        let accepted = Paths::locate(config_dir).state_dir.join(config::ACCEPTED);
        Config::load_from(&accepted, config_dir, &environment).map_err(|_| problems)
    });
    let config = loaded.map_err(|problems| broken(config_dir, &problems))?.config;
    Diary::check(&config.host.state_dir).map_err(|error| Failure { exit: 3, message: error.to_string() })
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
    let failure = broken(dir, &problems);
    let accepted = Paths::locate(dir).state_dir.join(config::ACCEPTED);
    if !accepted.is_dir() {
        return Err(failure);
    }
    match Config::load_from(&accepted, dir, environment) {
        Ok(loaded) => {
            log::error!("{}", failure.message);
            let notice = format!(
                "the configuration in {} is broken (problems: {}; `pintle check-config` lists them); the last accepted one is used",
                dir.display(),
                problems.len()
            );
            Ok((loaded.config, Some(notice)))
        }
        Err(_) => Err(failure),
    }
}

fn broken(dir: &Path, problems: &[config::Problem]) -> Failure {
    let lines: Vec<String> = problems.iter().map(|problem| problem.to_string()).collect();
    let message = format!("problems of the configuration in {}: {}\n{}", dir.display(), lines.len(), lines.join("\n"));
    Failure { exit: 78, message }
}

/// The listener's socket is bound early and held for ever. A port that is taken is a notice, not the end: the apps
/// matter more.
fn bind_listener_socket(bench: &Bench, config: &Config, notices: &mut Vec<String>) {
    let Some(listen) = &config.host.listen else { return };
    if let Err(error) = bench.ports.socket(&listen.address) {
        log::error!("the webhook listener cannot start: {error}");
        notices.push(format!("no webhooks: {error}"));
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
    let definitions: Vec<Thawed> = current.iter().map(|release| work::thaw_live(bench, &shared, release)).collect();
    discard_unfinished(&releases, app, snapshot, current.as_ref());
    let logs = highest_log(&dir.join("logs"));
    Found { current, definitions, highest: releases.highest().unwrap_or_default().max(logs), survivors: vec![] }
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

/// Both doors, each where an earlier daemon had it or anew; gives what a successor is to have of them.
fn open_doors(
    config: &Config,
    desk: Desk,
    back: &mut BTreeMap<String, OwnedFd>,
) -> Result<Vec<(String, OwnedFd)>, Failure> {
    let place = desk.bench.place.clone();
    let group =
        config.host.control_group.as_deref().and_then(group_id).map(|gid| (nix::unistd::geteuid().as_raw(), gid));
    let control = DoorPlan { path: place.control_socket(), mode: 0o660, owner: group, door: Door::Control };
    let mut doors = vec![(CONTROL.to_string(), doors::open(control, back.remove(CONTROL), desk.clone())?)];
    if let Some(listen) = &config.host.listen {
        let user = super::hands::listener_user(listen.user.as_deref())?;
        let owner = user.map(|user| (user.uid, user.gid));
        let narrow = DoorPlan { path: place.listener_socket(), mode: 0o600, owner, door: Door::Listener };
        doors.push((LISTENER.to_string(), doors::open(narrow, back.remove(LISTENER), desk)?));
    }
    Ok(doors)
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
