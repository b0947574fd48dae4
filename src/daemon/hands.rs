//! Carries out the actions of a turn. What happens at once (a process started) comes back as an event at once; all
//! else is handed to a thread and reported through the post.

use super::action::{Action, Job};
use super::event::{Event, RequestId};
use super::hub::Hub;
use super::journal::Journal;
use super::post::Post;
use super::run::look_at;
use super::work::{self, Bench};
use crate::base::{AppName, DeployId, InstanceId, ReleaseName};
use crate::config::{App, Config, Probe, ProbeTarget};
use crate::control::{Answer, Followed};
use crate::deploy::Worked;
use crate::listener::Setup;
use crate::os::cancel::Cancel;
use crate::os::command::Spec;
use crate::os::group;
use crate::os::instances::Record;
use crate::os::logfile::LogTarget;
use crate::os::scribe::{self, Scribe};
use crate::os::sockets;
use crate::os::spawn::{self, Child, Start};
use crate::os::sweeper::Sweeper;
use crate::os::users;
use crate::runtime::environment;
use crate::runtime::process::{self, Which};
use crate::store::Snapshot;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};

/// Requests that wait for an answer, and where each goes.
#[derive(Debug, Clone, Default)]
pub struct Replies(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    asked: u64,
    to: BTreeMap<RequestId, SyncSender<Answer>>,
}

impl Replies {
    /// A new request whose answer goes to `to`.
    pub fn expect(&self, to: SyncSender<Answer>) -> RequestId {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.asked += 1;
        let id = RequestId(waiting.asked);
        waiting.to.insert(id, to);
        id
    }
    /// Whoever asked is gone.
    pub fn forget(&self, id: RequestId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).to.remove(&id);
    }
    fn answer(&self, id: RequestId, answer: Answer) {
        let to = self.0.lock().unwrap_or_else(PoisonError::into_inner).to.remove(&id);
        if let Some(to) = to {
            // Whoever asked may be gone.
            let _ = to.try_send(answer);
        }
    }
}

/// All hands of the loop.
pub struct Hands {
    pub(super) bench: Bench,
    pub(super) config: Config,
    pub(super) journal: Journal,
    pub(super) replies: Replies,
    pub(super) scribe: Scribe,
    /// The listener's socket, held for ever; `None`: no `[listen]`.
    pub(super) listener_socket: Option<OwnedFd>,
    pub(super) children: BTreeMap<InstanceId, Child>,
    records: BTreeMap<InstanceId, Record>,
    cancels: BTreeMap<DeployId, Cancel>,
    sweeper: Sweeper,
    /// A deployment ended: what it needed can be given back once it is quiet.
    pub(super) worked: bool,
    /// Leave the loop.
    pub(super) exit: bool,
}

impl Hands {
    /// Hands with nothing in them yet.
    pub fn new(
        bench: Bench,
        config: Config,
        journal: Journal,
        replies: Replies,
        scribe: Scribe,
        listener_socket: Option<OwnedFd>,
    ) -> Hands {
        let (children, records, cancels) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Hands {
            bench,
            config,
            journal,
            replies,
            scribe,
            listener_socket,
            children,
            records,
            cancels,
            sweeper: Sweeper::default(),
            worked: false,
            exit: false,
        }
    }

    /// Carries out one action. An event that it causes at once is returned.
    pub fn carry_out(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Record { token, entries } => self.journal.record(token, entries),
            Action::Work(job) => return self.work(*job),
            Action::CancelWork { number } => {
                if let Some(cancel) = self.cancels.get(&number) {
                    cancel.cancel();
                }
            }
            Action::Spawn { app, instance, service, release, commit } => {
                let which = Which { app: &app, service: &service, release: &release, commit: commit.as_ref() };
                return Some(self.spawn(instance, which));
            }
            Action::SpawnListener { instance } => return Some(self.spawn_listener(instance)),
            Action::Terminate { instance, signal } => self.signal(instance, signal),
            Action::Kill { instance } => self.signal(instance, libc::SIGKILL),
            Action::Probe { app, watch, index, probe, release } => self.probe(app, watch, index, *probe, release),
            Action::Resolve { from, app, asked } => {
                let bench = self.bench.clone();
                let fallback = Event::Resolved { from, asked: asked.clone(), commit: None };
                return self.on_a_thread("resolve", fallback, move || {
                    let commit = work::resolve(&bench, &app, asked.commit.as_deref());
                    bench.post.send(Event::Resolved { from, asked, commit });
                });
            }
            Action::Answer { to, answer } => self.replies.answer(to, answer),
            Action::Say { number, line } => self.hub().say(number, &line),
            Action::PhaseBegins { number, phase } => self.hub().phase(number, phase),
            Action::Ended { number, end, release, .. } => {
                self.cancels.remove(&number);
                self.worked = true;
                let (status, exit, phase, message) = (end.status, end.exit, end.phase, end.message);
                self.hub().end(number, &Followed::End { number, status, exit, phase, release, message });
            }
            Action::Opened { app, number } => self.hub().open(&app, number),
            Action::Note { level, text } => log::log!(level, "{text}"),
            Action::Reload { from } => self.reload(Some(from)),
            Action::Exit => self.exit = true,
        }
        None
    }

    fn hub(&self) -> &Hub {
        &self.bench.hub
    }
    fn post(&self) -> &Post {
        &self.bench.post
    }

    fn work(&mut self, job: Job) -> Option<Event> {
        let (app, number) = (job.app.name.clone(), job.number);
        let failed = |why: String| Event::Worked { app: app.clone(), number, worked: Worked::Failed(why) };
        let cancel = match Cancel::new() {
            Ok(cancel) => cancel,
            Err(error) => return Some(failed(format!("no descriptors left: {error}"))),
        };
        self.cancels.insert(number, cancel.clone());
        let bench = self.bench.clone();
        let fallback = failed("no thread could be started for it".into());
        self.on_a_thread("work", fallback, move || {
            let worked = bench.carry_out(&job, &cancel);
            bench.post.send(Event::Worked { app: job.app.name.clone(), number, worked });
        })
    }

    /// Runs `work` beside the loop; where no thread can be had, `fallback` happens instead.
    fn on_a_thread(&self, name: &str, fallback: Event, work: impl FnOnce() + Send + 'static) -> Option<Event> {
        let thread = std::thread::Builder::new().name(name.into()).stack_size(512 << 10);
        match thread.spawn(work) {
            Ok(_) => None,
            Err(error) => {
                log::error!("start a thread for {name}: {error}");
                Some(fallback)
            }
        }
    }

    fn spawn(&mut self, instance: InstanceId, which: Which<'_>) -> Event {
        match self.start(instance, which) {
            Ok(pid) => Event::Spawned { instance, pid },
            Err(error) => {
                log::error!("{}: {}: {error}", which.app.name, which.service.name);
                Event::SpawnFailed { instance, why: error.to_string() }
            }
        }
    }

    fn start(&mut self, instance: InstanceId, which: Which<'_>) -> io::Result<u32> {
        let place = &self.bench.place;
        let ears = process::ears(&self.bench.ports, which)?;
        let (reader, writer) = scribe::make_pipe()?;
        let child = process::start(place, &self.bench.instances, which, instance, &ears, &writer, |_| {})?;
        let target = LogTarget {
            path: place.service_log(&which.app.name, &which.service.name),
            max: which.service.log_max,
            keep: which.service.log_keep,
        };
        if let Err(error) = self.scribe.attach(target, reader) {
            log::error!("{}: {}: its output is not kept: {error}", which.app.name, which.service.name);
        }
        let record = Record {
            pid: child.pid,
            start_time: child.start_time,
            instance,
            app: which.app.name.clone(),
            service: which.service.name.clone(),
            release: which.release.clone(),
        };
        if let Err(error) = self.bench.instances.write(&record) {
            log::warn!("{error}; a daemon that comes after a crash finds this process by its marker only");
        }
        let pid = child.pid;
        self.children.insert(instance, child);
        self.records.insert(instance, record);
        Ok(pid)
    }

    /// Has what an ended process had started and let go of (a double fork) looked for and ended. The mark is the
    /// instance's own, so its successor is safe.
    pub(super) fn sweep(&self, instance: InstanceId) {
        if let Err(error) = self.sweeper.sweep(self.bench.instances.marker(instance)) {
            log::warn!("look for what {instance} left behind: {error}");
        }
    }

    /// A process was reaped: nothing is kept of it.
    pub(super) fn gone(&mut self, instance: InstanceId) {
        self.children.remove(&instance);
        if let Some(record) = self.records.remove(&instance)
            && let Err(error) = self.bench.instances.remove(&record)
        {
            log::warn!("{error}");
        }
    }

    fn spawn_listener(&mut self, instance: InstanceId) -> Event {
        match self.start_listener(instance) {
            Ok(pid) => Event::Spawned { instance, pid },
            Err(error) => Event::SpawnFailed { instance, why: error.to_string() },
        }
    }

    /// The listener: unprivileged, its socket as descriptor 3, its secrets on stdin and nowhere else.
    fn start_listener(&mut self, instance: InstanceId) -> io::Result<u32> {
        let missing = || io::Error::other("there is no [listen] table");
        let listen = self.config.host.listen.as_ref().ok_or_else(missing)?;
        let socket = match &mut self.listener_socket {
            Some(socket) => socket,
            // The port was taken; by now it may be free.
            none => none.insert(sockets::bind(&listen.address)?),
        };
        let user = listener_user(listen.user.as_deref())?;
        let setup = Setup {
            socket: self.bench.place.listener_socket(),
            daemon_pid: std::process::id(),
            max_body: listen.max_body.0,
            apps: self.config.apps.values().map(crate::delivery::AppTrigger::of).collect(),
        };
        let document = serde_json::to_vec(&setup)?;
        let (stdin, mut feed) = io::pipe()?;
        let argv = ["pintle", "listen"].map(String::from);
        let mut env = vec![self.bench.instances.variable(instance)];
        env.extend(std::env::var("RUST_LOG").ok().map(|level| ("RUST_LOG".into(), level)));
        let output = io::stderr().as_fd().try_clone_to_owned()?;
        let root = std::path::Path::new("/");
        let mut start = Start::new(&argv, root, &env, output.as_fd());
        // Ourselves, whatever became of our file and whoever may read its directory.
        start.program = Some("/proc/self/exe");
        start.user = user.as_ref();
        start.no_new_privs = true;
        start.sockets = vec![socket.as_fd()];
        start.fd_names = vec!["listen".into()];
        let stdin: OwnedFd = stdin.into();
        start.stdin = Some(stdin.as_fd());
        let child = spawn::start(&start)?;
        drop(stdin);
        let pid = child.pid;
        self.children.insert(instance, child);
        // Larger than a pipe holds only with hundreds of apps; the listener reads it first of all.
        let feeding = std::thread::Builder::new().name("setup".into()).stack_size(128 << 10);
        feeding.spawn(move || drop(feed.write_all(&document)))?;
        Ok(pid)
    }

    fn signal(&self, instance: InstanceId, signal: i32) {
        let Some(child) = self.children.get(&instance) else { return };
        if let Err(error) = group::signal(child.pid, signal) {
            log::warn!("signal {signal} to the group of {}: {error}", child.pid);
        }
    }

    /// A look takes as long as it takes: on a thread of its own.
    fn probe(&self, app: AppName, watch: u64, index: usize, probe: Probe, release: ReleaseName) {
        let bench = self.bench.clone();
        let definition = self.config.apps.get(&app).cloned();
        let failed = Event::Probed { app: app.clone(), watch, index, result: Err("no thread could be started".into()) };
        let look = move || {
            let result = probe_once(&bench, definition.as_ref(), &app, &probe, &release);
            bench.post.send(Event::Probed { app, watch, index, result });
        };
        if let Some(event) = self.on_a_thread("probe", failed, look) {
            self.post().send(event);
        }
    }

    /// SIGHUP or `reload`: check first; what is broken changes nothing.
    pub(super) fn reload(&mut self, from: Option<RequestId>) {
        let loaded = Config::load(&self.bench.config_dir, &self.bench.environment);
        let answer = match loaded {
            Ok(loaded) => {
                if let Err(error) = crate::config::accept(&loaded.files, &self.bench.place.state_dir) {
                    log::error!("keep the accepted configuration: {error}");
                }
                let new = loaded.config.apps.values().filter(|app| !self.config.apps.contains_key(&app.name));
                let found =
                    new.map(|app| (app.name.clone(), look_at(&self.bench, app, &Snapshot::default()))).collect();
                self.config = loaded.config.clone();
                self.post().send(Event::Reconfigured { config: Box::new(loaded.config), found });
                log::info!("the configuration was read again");
                Answer::Done {
                    message: "the configuration was read again; what runs goes on as it was deployed \
                              (`pintle deploy --force` deploys it anew)"
                        .into(),
                }
            }
            Err(problems) => {
                let all: Vec<String> = problems.iter().map(|problem| problem.to_string()).collect();
                let message =
                    format!("problems of the configuration: {}; the old one stays:\n{}", all.len(), all.join("\n"));
                log::error!("{message}");
                Answer::Error { exit: 78, message }
            }
        };
        if let Some(from) = from {
            self.replies.answer(from, answer);
        }
    }
}

/// One look at the live release.
fn probe_once(
    bench: &Bench,
    app: Option<&App>,
    name: &AppName,
    probe: &Probe,
    release: &ReleaseName,
) -> Result<(), String> {
    let cancel = Cancel::new().map_err(|error| error.to_string())?;
    let service_at = |service: &crate::base::ServiceName| {
        let listening = app.and_then(|app| app.services.get(service)).and_then(|service| service.listen.first());
        let by_port =
            bench.ports.port(name, service).map(|port| crate::config::Address::Tcp(([127, 0, 0, 1], port).into()));
        listening.cloned().or(by_port).ok_or_else(|| format!("{service} has no address"))
    };
    let command = match (&probe.target, app) {
        (ProbeTarget::Run(command), Some(app)) => {
            let user = environment::user(app.user.as_deref()).map_err(|error| error.to_string())?;
            let env = environment::of_release(app, release, None, user.as_ref()).map_err(|error| error.to_string())?;
            let cwd = bench.place.working_dir(app, release);
            Some(Spec { argv: command.argv(), cwd, env: env.pairs(), user, nice: 0, stdin: vec![] })
        }
        _ => None,
    };
    let at = match &probe.target {
        ProbeTarget::Service { service, path, .. } => Some((service_at(service)?, path.clone())),
        _ => None,
    };
    work::look(&work::Aim { probe: probe.clone(), at }, &cancel, command)
}

/// `[listen] user`, else pintle-listen, else nobody - where we may choose.
pub(super) fn listener_user(configured: Option<&str>) -> io::Result<Option<users::User>> {
    if !users::is_root() {
        return Ok(None);
    }
    match configured {
        Some(name) => users::lookup(name).map(Some),
        None => users::lookup("pintle-listen").or_else(|_| users::lookup("nobody")).map(Some),
    }
}
