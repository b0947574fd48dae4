//! What the daemon knows: every app with its services, its deployments and its history, as far as decisions need it.

use super::event::{RequestId, Thawed, Token};
use super::seen::{RefusedLately, SeenDeliveries};
pub use super::turn::board::Board;
use crate::base::{AppName, CommitId, DeployId, InstanceId, ReleaseName, ServiceName, WallTime};
use crate::config::{App, Certificate, DuckDns, Listen, Schedule, Tls};
use crate::control::Answer;
use crate::deploy::{Deployment, Lookout, Tried};
use crate::health::record::{Row, Tail};
use crate::health::{Ladder, Recorder, Watch};
use crate::notify::duckdns::Teller;
use crate::notify::redact::Redactor;
use crate::notify::{Incidents, Outbox, Target};
use crate::store::{AppSnapshot, Entry};
use crate::supervise::{Agenda, Instance, Services};
use jiff::tz::TimeZone;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// All that decisions are made from.
#[derive(Debug)]
pub struct World {
    /// By name; an app whose file is gone stays until its services are down.
    pub apps: BTreeMap<AppName, AppWorld>,
    /// Apps that are configured no longer and may come back.
    pub(super) parked: BTreeMap<AppName, AppWorld>,
    /// What the diary knew of apps that were not configured when the daemon started.
    pub(super) history: BTreeMap<AppName, AppSnapshot>,
    /// The number the next deployment gets.
    pub next_number: DeployId,
    /// The listener, where one is configured.
    pub listener: Option<Listener>,
    /// Process ids of running instances.
    pub pids: BTreeMap<InstanceId, u32>,
    /// What is wrong with the configuration's files, until a reload finds them whole.
    pub broken_files: Option<String>,
    /// What else people should know as long as this daemon runs.
    pub notices: Vec<String>,
    /// Where people's times of day are those of the windows.
    pub zone: TimeZone,
    /// We are ending.
    pub stopping: bool,
    /// What the listener refused lately. Not for the diary: a stranger must not be able to wear out the disk.
    pub(super) refused: RefusedLately,
    /// What is kept of how the board was.
    pub(super) recorder: Recorder,
    /// What is known of the board we run on.
    pub(super) board: Board,
    /// How far we are in becoming a new program.
    pub(super) reexec: Reexec,
    pub(super) instances_made: u64,
    pub(super) tokens_made: u64,
    pub(super) watches_made: u64,
    pub(super) scheduled_runs: u64,
    /// Something holds the wall clock to the true time, or somebody has set it since we began.
    pub clock_is_held: bool,
    pub(super) pending: BTreeMap<Token, Pending>,
    /// What people are told.
    pub(super) mail: Mail,
}

/// What people are told, and by which ways.
#[derive(Debug, Default)]
pub(super) struct Mail {
    /// What waits to be sent.
    pub outbox: Outbox,
    /// Where it goes, by the channel's name.
    pub targets: BTreeMap<String, Target>,
    /// What must not be told.
    pub redactor: Redactor,
    /// What is wrong, as people were told.
    pub incidents: Incidents,
    /// A name that follows our address, and when it is told.
    pub dns: Option<Arc<DuckDns>>,
    pub teller: Teller,
    /// When a crash that was told is over.
    pub steady_at: Option<Duration>,
}

/// What waits for a write to the diary.
#[derive(Debug)]
pub(super) enum Pending {
    /// A deployment's machine, and what it wants to be remembered.
    Machine { app: AppName, number: DeployId, facts: Vec<Entry> },
    /// New deployments, and whoever asked for them.
    Intake { deployments: Vec<Deployment>, to: RequestId, answer: Box<Answer> },
    /// New deployments that a look at a branch began; nobody waits for an answer.
    Poll { deployments: Vec<Deployment> },
    /// A person's word about services, and whoever waits for it to be so.
    Wish { app: AppName, to: RequestId, facts: Vec<Entry> },
    /// A person's approval of a deployment that waits for it.
    Approval { app: AppName, number: DeployId, to: RequestId },
    /// A reboot of the host for the sake of an app: the next daemon is to know of it.
    Reboot { app: AppName },
    /// A scheduled command that begins once it is known that it does.
    Schedule { app: AppName, schedule: Box<Schedule>, run: u64 },
    /// A commit whose quarantine is lifted once that is written.
    Forgiveness { app: AppName, commit: CommitId, to: RequestId },
    /// How the board was; nobody waits for it.
    Samples { rows: Vec<Row> },
    /// What people are told: it is sent once that is written.
    News { facts: Vec<Entry> },
    /// What became of a channel's message: the next one waits for it.
    Sent { channel: String },
}

impl Pending {
    /// Deployments on their way to the diary.
    pub(super) fn arriving(&self) -> &[Deployment] {
        match self {
            Pending::Intake { deployments, .. } | Pending::Poll { deployments } => deployments,
            _ => &[],
        }
    }
}

/// How far the daemon is in becoming a new program.
#[derive(Debug, Default)]
pub(super) enum Reexec {
    /// Nobody asked.
    #[default]
    No,
    /// The new program looks whether it can; these wait to hear.
    Checking(Vec<RequestId>),
    /// It can; no deployment begins any more, and when the last one is over it takes over.
    Due {
        /// What it calls itself.
        version: String,
        /// Whoever asked has heard of it by then.
        not_before: Duration,
    },
    /// The hands are at it; these asked meanwhile.
    UnderWay(Vec<RequestId>),
}

/// The listener process.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Listener {
    /// As it was told when it started last.
    pub listen: Listen,
    pub machine: Instance,
    pub process: Option<InstanceId>,
    /// `None`: plain HTTP.
    pub tls: Option<ListenerTls>,
}

/// How the listener does TLS.
#[derive(Debug)]
pub struct ListenerTls {
    /// As configured.
    pub meant: Tls,
    /// What it does it with; without one it does not run at all.
    pub certificate: Option<Arc<Certificate>>,
    /// Why the last look or making was for nothing; what was there before goes on.
    pub trouble: Option<String>,
    /// When it is looked at next.
    pub(super) look_at: Option<Duration>,
    /// The hands are at it.
    pub(super) is_under_way: bool,
}

/// What is live: the release `current` points at.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Live {
    pub release: ReleaseName,
    pub commit: Option<CommitId>,
}

/// When all apps are down there is still the listener, and what they left behind.
const TIME_TO_LEAVE: Duration = Duration::from_secs(30);

/// Somebody who waits for the services to be as asked.
#[derive(Debug)]
pub(super) struct Waiter {
    pub to: RequestId,
    /// Of whom it was asked; `None`: of all.
    pub service: Option<ServiceName>,
    pub until: Duration,
    pub message: String,
    /// What was asked for is on disk; nobody is told before.
    pub written: bool,
}

/// When something began, in nanoseconds of the monotonic clock: negative before the board's boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Beginning(i128);

impl Beginning {
    /// So long ago by now.
    pub(super) fn ago(now: Duration, span: Duration) -> Beginning {
        Beginning(nanos(now).saturating_sub(nanos(span)))
    }
    /// How long ago that is.
    pub(super) fn age(self, now: Duration) -> Duration {
        Duration::from_nanos(u64::try_from(nanos(now).saturating_sub(self.0)).unwrap_or(0))
    }
}

fn nanos(span: Duration) -> i128 {
    i128::try_from(span.as_nanos()).unwrap_or(i128::MAX)
}

/// A definition that a reload gave to the live release.
#[derive(Debug)]
pub(super) struct Applied {
    /// What it was before.
    pub before: Arc<App>,
    /// When it has stood the test.
    pub until: Duration,
}

/// One app.
#[derive(Debug)]
pub struct AppWorld {
    /// As configured now; what the next deploy is made by.
    pub config: Arc<App>,
    /// What `current` points at.
    pub live: Option<Live>,
    /// Definitions of releases that may run, as frozen with them.
    pub definitions: BTreeMap<ReleaseName, Thawed>,
    /// Its processes.
    pub services: Services,
    /// The probes of what runs.
    pub watch: Option<Watch>,
    /// Eager looks end then, whatever they saw.
    pub(super) eager_until: Option<Duration>,
    /// The verdict was said to be bad and not yet to be good again.
    pub unwell: Option<String>,
    /// A changed definition of the live release that is still on trial.
    pub(super) applied: Option<Applied>,
    /// How far repairs have come.
    pub(super) ladder: Ladder,
    /// When the host was rebooted because it stayed unhealthy, the last first.
    pub(super) reboots: Vec<WallTime>,
    /// Services that keep ending, as people were told.
    pub(super) looping: BTreeSet<ServiceName>,
    /// Its scheduled commands.
    pub agenda: Agenda,
    /// The definition that the agenda follows.
    pub(super) planned_by: Option<Arc<App>>,
    /// The releases that their runs under way are in.
    pub(super) scheduled_in: BTreeMap<u64, ReleaseName>,
    /// The deployment under way.
    pub active: Option<Deployment>,
    pub(super) active_since: Duration,
    /// The repetition of the deployment under way, written down with its end.
    pub(super) retry: Option<Deployment>,
    /// The deployment that its forge was last told the beginning of, until it hears of the end.
    pub(super) reported: Option<DeployId>,
    /// The last lines of the step that failed in the deployment under way.
    pub(super) last_words: Vec<String>,
    /// Deployments that wait for it, in order.
    pub queue: VecDeque<Deployment>,
    /// The last deliveries judged, by the forge's id; older ones are in the diary.
    pub seen: SeenDeliveries,
    /// When deploys began that came by themselves, on the monotonic clock; the newest last.
    pub(super) begun: Vec<Beginning>,
    /// When a gate is to be looked at again although nothing happens.
    pub(super) gates_due: Option<Duration>,
    /// Commits not to be deployed again by themselves, and why.
    pub quarantine: BTreeMap<CommitId, String>,
    /// Releases that were live and verified, the last first.
    pub good: Vec<(ReleaseName, CommitId)>,
    /// Every release the diary knows, with its commit.
    pub known: BTreeMap<ReleaseName, CommitId>,
    /// When its branch is looked at.
    pub lookout: Lookout,
    /// Commits that a look does not begin again.
    pub tried: Tried,
    /// How many deployments of it were asked for since this daemon began.
    pub(super) asked: u64,
    /// How many that were when the last look began.
    pub(super) asked_before_look: u64,
    /// Its file is gone: when its services are down, so is it.
    pub removed: bool,
    pub(super) waiters: Vec<Waiter>,
}

impl Default for World {
    fn default() -> World {
        World {
            apps: BTreeMap::new(),
            parked: BTreeMap::new(),
            history: BTreeMap::new(),
            next_number: DeployId::default(),
            listener: None,
            pids: BTreeMap::new(),
            broken_files: None,
            notices: vec![],
            zone: TimeZone::UTC,
            stopping: false,
            refused: RefusedLately::default(),
            recorder: Recorder::resume(Duration::ZERO, Tail::default()),
            board: Board::default(),
            reexec: Reexec::No,
            instances_made: 0,
            tokens_made: 0,
            watches_made: 0,
            scheduled_runs: 0,
            clock_is_held: false,
            pending: BTreeMap::new(),
            mail: Mail::default(),
        }
    }
}

impl World {
    /// How long the apps may take to end, one service after the other.
    pub fn longest_stop(&self) -> Duration {
        let slots = self.apps.values().flat_map(|app| app.services.slots());
        slots.map(|slot| slot.service.stop_timeout).sum::<Duration>() + TIME_TO_LEAVE
    }

    /// No deployment may begin: a new program is to take over first.
    #[cfg(test)]
    pub(super) fn waits_for_a_new_program(&self) -> bool {
        matches!(self.reexec, Reexec::Due { .. } | Reexec::UnderWay(_))
    }

    /// An app, also one that is configured no longer.
    pub(super) fn any_app(&mut self, name: &AppName) -> Option<&mut AppWorld> {
        match self.apps.get_mut(name) {
            Some(app) => Some(app),
            None => self.parked.get_mut(name),
        }
    }
}

impl AppWorld {
    /// An app nothing is known of but its configuration.
    pub fn new(config: Arc<App>) -> AppWorld {
        AppWorld {
            config,
            live: None,
            definitions: BTreeMap::new(),
            services: Services::default(),
            watch: None,
            eager_until: None,
            unwell: None,
            applied: None,
            ladder: Ladder::default(),
            reboots: vec![],
            looping: BTreeSet::new(),
            agenda: Agenda::default(),
            planned_by: None,
            scheduled_in: BTreeMap::new(),
            active: None,
            active_since: Duration::ZERO,
            retry: None,
            reported: None,
            last_words: vec![],
            queue: VecDeque::new(),
            seen: SeenDeliveries::default(),
            begun: vec![],
            gates_due: None,
            quarantine: BTreeMap::new(),
            good: vec![],
            known: BTreeMap::new(),
            lookout: Lookout::default(),
            tried: Tried::default(),
            asked: 0,
            asked_before_look: 0,
            removed: false,
            waiters: vec![],
        }
    }

    /// The deployment with that number, under way or waiting.
    pub fn deployment(&self, number: DeployId) -> Option<&Deployment> {
        self.active.iter().chain(&self.queue).find(|deployment| deployment.number == number)
    }

    /// The definition the live release was deployed with.
    pub fn live_definition(&self) -> Option<&Arc<App>> {
        let live = self.live.as_ref()?;
        self.definitions.get(&live.release).map(|thawed| &thawed.definition)
    }

    /// A release as it was meant when it was deployed; without that knowledge, as the app is configured.
    pub fn definition_of(&self, release: &ReleaseName) -> Arc<App> {
        let thawed = self.definitions.get(release).map(|thawed| thawed.definition.clone());
        thawed.unwrap_or_else(|| self.config.clone())
    }

    /// The commit of a release.
    pub fn commit_of(&self, release: &ReleaseName) -> Option<CommitId> {
        let thawed = self.definitions.get(release).and_then(|thawed| thawed.commit.clone());
        thawed.or_else(|| self.known.get(release).cloned())
    }
}
