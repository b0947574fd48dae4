//! Carries out the actions of a turn. What happens at once (a process started) comes back as an event at once; all
//! else is handed to a thread and reported through the post.
//!
//! `running` holds the processes, `check` is where one of them shows that it is ready, `listener` starts ours,
//! `board` asks the sensors, `certificate` finds or makes what it does TLS with, `looks` looks at what runs and sends
//! clients on, `branches` at where the apps come from, `schedules` runs what the clock says, `repairs` reaches beyond
//! the apps, `courier` tells people, `replies` knows who waits for an answer.

mod board;
mod branches;
mod certificate;
mod check;
mod courier;
mod listener;
mod looks;
mod repairs;
mod replies;
mod running;
mod schedules;

pub use courier::try_all;
pub(super) use listener::listener_user;
pub use replies::Replies;
pub(super) use running::{CHECK, NOTIFY, OUTPUT};

use super::action::{Action, Job};
use super::event::{Event, RequestId};
use super::hub::Hub;
use super::journal::Journal;
use super::post::Post;
use super::run::look_at;
use super::work::{self, Bench};
use crate::base::{DeployId, InstanceId};
use crate::config::{Address, Config};
use crate::control::{Answer, Followed};
use crate::deploy::Worked;
use crate::os::cancel::Cancel;
use crate::os::command::{self, Ending, Spec};
use crate::os::file_watch::FileWatch;
use crate::os::scribe::Scribe;
use crate::os::sweeper::Sweeper;
use crate::runtime::ports::Slot;
use crate::runtime::process::Which;
use crate::store::Snapshot;
use running::{Place, Running};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A new program has so long to look at itself, the configuration and the diary.
const PATIENCE_WITH_SUCCESSOR: Duration = Duration::from_secs(60);
/// Why the loop is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// All is down.
    ForGood,
    /// A new program takes over what runs.
    ForSuccessor,
}

/// All hands of the loop.
pub struct Hands {
    pub(super) bench: Bench,
    pub(super) config: Config,
    pub(super) journal: Journal,
    pub(super) replies: Replies,
    pub(super) scribe: Scribe,
    sweeper: Sweeper,
    pub(super) running: BTreeMap<InstanceId, Running>,
    cancels: BTreeMap<DeployId, Cancel>,
    /// Ends the scheduled commands that run, each by its run.
    schedules: BTreeMap<u64, Cancel>,
    /// Ends every look at a branch that is under way.
    looks: Option<Cancel>,
    /// Where our program lies, for whoever takes over from there.
    pub(super) program: PathBuf,
    /// Something big was done: what it needed can be given back once it is quiet.
    pub(super) worked: bool,
    /// The loop is to be left.
    pub(super) leave: Option<Leave>,
    /// Hears when the listener's certificate changes.
    pub(super) files: FileWatch,
}

impl Hands {
    /// Hands with nothing in them yet.
    #[allow(clippy::too_many_arguments)] // Each is a hand of its own.
    pub fn new(
        bench: Bench,
        config: Config,
        journal: Journal,
        replies: Replies,
        scribe: Scribe,
        sweeper: Sweeper,
        program: PathBuf,
        files: FileWatch,
    ) -> Hands {
        let (running, cancels) = (BTreeMap::new(), BTreeMap::new());
        Hands {
            bench,
            config,
            journal,
            replies,
            scribe,
            sweeper,
            running,
            cancels,
            schedules: BTreeMap::new(),
            looks: None,
            program,
            worked: false,
            leave: None,
            files,
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
            Action::Spawn { app, instance, service, release, commit, round, index, restarts } => {
                let which = Which { app: &app, service: &service, release: &release, commit: commit.as_ref() };
                return Some(self.spawn(instance, which, Place { round, index, restarts }));
            }
            Action::Look { app, instance, service, port, .. } => return self.look(&app, instance, &service, port),
            Action::BecameReady { instance } => self.became_ready(instance),
            Action::Route { app, service, release, ports, old } => {
                return self.route(app, service, release, ports, old);
            }
            Action::Vacated { app, service, round, index } => {
                self.bench.ports.release(&Slot { app, service, round, index });
            }
            Action::SpawnListener { instance, certificate } => {
                return Some(self.spawn_listener(instance, certificate.as_deref()));
            }
            Action::ReadCertificate { meant } => return self.read_certificate(meant),
            Action::MakeCertificate => return self.make_certificate(),
            Action::ForgetCertificate => self.follow_files(&[]),
            Action::Terminate { instance, signal } => self.terminate(instance, signal),
            Action::Kill { instance } => self.signal(instance, libc::SIGKILL),
            Action::Abort { instance } => self.abort(instance),
            Action::CheckSuccessor => return self.check_successor(),
            Action::KeepSockets { addresses } => self.keep_sockets(&addresses),
            Action::SpeaksEvery { instance, every } => self.speaks_every(instance, every),
            Action::Probe { app, watch, index, probe, release } => self.probe(app, watch, index, *probe, release),
            Action::Resolve { from, app, asked } => {
                let bench = self.bench.clone();
                let fallback = Event::Resolved { from, asked: asked.clone(), commit: None };
                return self.on_a_thread("resolve", fallback, move || {
                    let commit = work::resolve(&bench, &app, asked.commit.as_deref());
                    bench.post.send(Event::Resolved { from, asked, commit });
                });
            }
            Action::RestartUnits { app, units } => return self.restart_units(app, units),
            Action::Reboot { app } => return self.reboot(app),
            Action::Send { target, sending } => return self.send(target, *sending),
            Action::TellAddress { dns } => return self.tell_address(dns),
            Action::TryChannels { from, channels } => return self.try_channels(from, channels),
            Action::RunSchedule { app, release, commit, schedule, run } => {
                return self.run_schedule(app, release, commit, *schedule, run);
            }
            Action::EndSchedule { run } => self.end_schedule(run),
            Action::LookAtBranch { app, look } => return self.look_at_branch(app, look),
            Action::Sense => return self.sense(),
            Action::CancelLooks => self.looks.iter().for_each(Cancel::cancel),
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
            Action::Apply { app, release, commit } => {
                if let Err(error) = work::apply_definition(&self.bench, &app, &release, commit.as_ref()) {
                    log::error!("{}: a daemon after this one will not know its changed definition: {error}", app.name);
                }
            }
            Action::Reload { from } => self.reload(Some(from)),
            Action::Reexec => self.leave = Some(Leave::ForSuccessor),
            Action::Exit => self.leave = Some(Leave::ForGood),
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

    /// Has the program that lies where ours was started from look whether it can take over.
    fn check_successor(&self) -> Option<Event> {
        let argv =
            [self.program.clone(), "--config".into(), self.bench.config_dir.clone()].map(PathBuf::into_os_string);
        let argv = argv.into_iter().chain(["run", "--check"].map(Into::into)).map(|word| word.into_string());
        let argv: Result<Vec<String>, _> = argv.collect();
        let Ok(argv) = argv else {
            return Some(Event::SuccessorChecked { result: Err("its path is not UTF-8".into()) });
        };
        // As we were started: it is to read the same configuration.
        let env = std::env::vars().filter(|(name, _)| name != "NOTIFY_SOCKET");
        let env = env.chain([self.bench.instances.variable(self.bench.instances.helpers())]).collect();
        let spec = Spec { argv, cwd: "/".into(), env, ..Spec::default() };
        let post = self.post().clone();
        let fallback = Event::SuccessorChecked { result: Err("no thread could be started".into()) };
        self.on_a_thread("successor", fallback, move || post.send(Event::SuccessorChecked { result: ask(&spec) }))
    }

    /// Closes the listening sockets that nothing needs any more.
    fn keep_sockets(&self, addresses: &BTreeSet<Address>) {
        let ours = self.config.host.listen.iter().map(|listen| listen.address.clone());
        let addresses = addresses.iter().cloned().chain(ours).collect();
        for gone in self.bench.ports.keep_only(&addresses) {
            log::info!("{gone} is not listened on any more: no service names it");
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
                    message: "the configuration was read again; services it changes are handed over, the others are \
                              not touched"
                        .into(),
                }
            }
            Err(problems) => {
                let all: Vec<String> = problems.iter().map(|problem| problem.to_string()).collect();
                let message =
                    format!("problems of the configuration: {}; the old one stays:\n{}", all.len(), all.join("\n"));
                log::error!("{message}");
                let notice = format!(
                    "the configuration in {} is broken (problems: {}; `pintle check-config` lists them); the old one stays",
                    self.bench.config_dir.display(),
                    all.len()
                );
                self.post().send(Event::StaysBroken { notice });
                Answer::Error { exit: 78, message }
            }
        };
        if let Some(from) = from {
            self.replies.answer(from, answer);
        }
    }
}

/// Runs `run --check` of a program: its version, or why it cannot run.
fn ask(spec: &Spec) -> Result<String, String> {
    let mut said = vec![];
    let cancel = Cancel::new().map_err(|error| error.to_string())?;
    let ending = command::run(spec, PATIENCE_WITH_SUCCESSOR, &cancel, &mut |bytes| said.extend_from_slice(bytes));
    let said = String::from_utf8_lossy(&said);
    let version = said.lines().last().unwrap_or_default().trim();
    match ending.map_err(|error: io::Error| error.to_string())? {
        Ending::Exited(0) if version.starts_with(|first: char| first.is_ascii_digit()) => Ok(version.to_owned()),
        // Some other program, which would end where we go on.
        Ending::Exited(0) => Err("it does not tell its version, so it is no pintle".into()),
        ending => Err(format!("{}: {}", command::explain(ending, PATIENCE_WITH_SUCCESSOR), said.trim())),
    }
}
