//! The protocol of the two sockets: one JSON document per line, asked by the command line and the listener, answered
//! by the daemon.
//!
//! [`Request`] is all that can be asked; [`Answer`] all that can be said, and its reports are the JSON shapes users see
//! with `--json`. A followed deployment is answered by [`Followed`] lines until `end`. `client` connects and asks,
//! `wire` frames. Line: types and framing only; what a request does is decided in `daemon`.

pub mod client;
pub mod wire;

use crate::base::{AppName, BackupId, Bytes, CommitId, DeployId, ReleaseName, ServiceName, WallTime};
use serde::{Deserialize, Serialize};

/// What can be asked of the daemon. [`Request::on_listener_socket`] says which of them the listener may ask.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Request {
    /// Is the loop turning? Answered by the loop itself.
    Ping,
    Status {
        app: Option<AppName>,
    },
    /// What anybody may see: states only.
    PublicStatus,
    Deploy(DeployAsked),
    Rollback {
        app: AppName,
        to: Option<ReleaseName>,
        with_data: bool,
    },
    /// A verified delivery, from the listener.
    Deliver(Delivery),
    /// Stream a deployment's log and events; from the listener only one that it started.
    Follow {
        number: DeployId,
    },
    History {
        app: Option<AppName>,
        limit: u32,
    },
    Show {
        number: DeployId,
    },
    Releases {
        app: AppName,
    },
    Cancel {
        number: DeployId,
    },
    Approve {
        number: DeployId,
    },
    Forgive {
        app: AppName,
        commit: String,
    },
    Start {
        app: AppName,
        service: Option<ServiceName>,
    },
    Stop {
        app: AppName,
        service: Option<ServiceName>,
    },
    Restart {
        app: AppName,
        service: Option<ServiceName>,
    },
    /// Stream a log file: of a service, of all services (`None`), or of a deployment.
    Logs {
        app: Option<AppName>,
        service: Option<ServiceName>,
        deployment: Option<DeployId>,
        lines: u32,
        follow: bool,
    },
    BackupCreate {
        app: AppName,
    },
    BackupList {
        app: AppName,
    },
    BackupRestore {
        app: AppName,
        id: BackupId,
    },
    BackupPrune {
        app: AppName,
    },
    /// Read the configuration again, as SIGHUP does.
    Reload,
}

impl Request {
    /// Whether the narrow socket of the listener carries this request.
    pub fn on_listener_socket(&self) -> bool {
        matches!(self, Request::Ping | Request::PublicStatus | Request::Deliver(_) | Request::Follow { .. })
    }
}

/// A deploy asked for by a person (`trigger` is then `cli`) or a hook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct DeployAsked {
    pub app: AppName,
    /// Full or abbreviated; `None`: the branch's tip.
    pub commit: Option<String>,
    pub force: bool,
    pub backup_only: bool,
    pub trigger: Trigger,
}

/// A delivery whose signature the listener has checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// The forge's delivery id; `None` for `/deploy`.
    pub id: Option<String>,
    /// Which request brought it.
    pub trigger: Trigger,
    /// The event's name as the forge sent it.
    pub event: String,
    /// Every app whose secret fits and whose repository and branch are meant, with the commit for each.
    pub wants: Vec<Want>,
}

/// One app that a delivery wants deployed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Want {
    pub app: AppName,
    pub commit: CommitId,
}

/// What became of one [`Want`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Verdict {
    /// On disk: it runs or waits.
    Accepted { app: AppName, deployment: DeployId, state: DeployStatus },
    /// Nothing is to be done, and why.
    Ignored { app: AppName, why: String, reason: Ignored },
}

/// Why a want needs no deploy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Ignored {
    Duplicate,
    Live,
    Older,
    Quarantined,
    UnknownApp,
}

/// What the daemon says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Answer {
    Pong,
    /// Done, with a sentence for people.
    Done {
        message: String,
    },
    Status(StatusReport),
    PublicStatus(PublicStatus),
    /// A deployment was written down; `Follow` shows the rest.
    Deployment {
        number: DeployId,
        status: DeployStatus,
    },
    /// The commit asked for is live already; nothing was started.
    AlreadyLive {
        release: ReleaseName,
    },
    Delivered {
        verdicts: Vec<Verdict>,
    },
    History(HistoryReport),
    Show(Box<DeploymentReport>),
    Releases(ReleasesReport),
    Backups(BackupsReport),
    Backup(BackupReport),
    /// It could not be done: what `pintle` exits with, and why.
    Error {
        exit: u8,
        message: String,
    },
    /// A stream of [`Followed`] (for `Follow`) or raw log lines (for `Logs`) comes after this line.
    Stream,
}

/// A deployment's status (contracts.md section 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum DeployStatus {
    Queued,
    Waiting,
    Running,
    Success,
    Failed,
    RolledBack,
    RollbackFailed,
    Superseded,
    Cancelled,
    Refused,
}

/// A deployment's phase, in the order of a deploy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Phase {
    Preflight,
    Fetch,
    Build,
    Test,
    Backup,
    Rehearse,
    Migrate,
    Switch,
    Verify,
    Probation,
    Rollback,
    Done,
}

/// What started a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Trigger {
    Webhook,
    Deploy,
    Poll,
    Cli,
    Hook,
    Retry,
}

/// Declares `as_str`, `Display` and `FromStr` for an enum whose JSON form is a plain string.
macro_rules! spelled {
    ($name:ident { $($variant:ident = $text:literal),+ $(,)? }) => {
        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];
            /// As it is spelled in JSON, the diary and on the terminal.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
        impl std::str::FromStr for $name {
            type Err = crate::base::BadName;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok($name::$variant),)+
                    _ => Err(crate::base::BadName(format!(concat!("{:?} is no ", stringify!($name)), text))),
                }
            }
        }
    };
}
pub(crate) use spelled;

spelled!(DeployStatus {
    Queued = "queued", Waiting = "waiting", Running = "running", Success = "success", Failed = "failed",
    RolledBack = "rolled_back", RollbackFailed = "rollback_failed", Superseded = "superseded",
    Cancelled = "cancelled", Refused = "refused",
});
spelled!(Phase {
    Preflight = "preflight", Fetch = "fetch", Build = "build", Test = "test", Backup = "backup",
    Rehearse = "rehearse", Migrate = "migrate", Switch = "switch", Verify = "verify", Probation = "probation",
    Rollback = "rollback", Done = "done",
});
spelled!(Trigger {
    Webhook = "webhook", Deploy = "deploy", Poll = "poll", Cli = "cli", Hook = "hook", Retry = "retry",
});
spelled!(Ignored {
    Duplicate = "duplicate", Live = "live", Older = "older", Quarantined = "quarantined", UnknownApp = "unknown_app",
});

impl DeployStatus {
    /// Nothing more will happen to it.
    pub fn is_final(self) -> bool {
        !matches!(self, DeployStatus::Queued | DeployStatus::Waiting | DeployStatus::Running)
    }
}

/// One deployment as `history` lists it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct DeploymentView {
    pub number: DeployId,
    pub app: AppName,
    /// `None` until a branch tip asked for by a person was resolved.
    pub commit: Option<String>,
    pub release: Option<ReleaseName>,
    pub status: DeployStatus,
    pub phase: Phase,
    pub trigger: Trigger,
    /// When it was asked for (queued) or, once it runs, when it began.
    pub started: WallTime,
    pub finished: Option<WallTime>,
    pub duration_seconds: Option<f64>,
    /// One sentence: why it ended as it did.
    pub message: Option<String>,
}

/// `history`: newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct HistoryReport {
    pub deployments: Vec<DeploymentView>,
    /// What people should know about the diary itself (set aside as damaged, and when).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

/// `show N`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct DeploymentReport {
    #[serde(flatten)]
    pub deployment: DeploymentView,
    pub steps: Vec<StepReport>,
    /// The release that was live before.
    pub previous: Option<ReleaseName>,
    /// What `pintle deploy` ends with for it; `None` while it is not final.
    pub exit: Option<u8>,
    /// The log file's path on the server.
    pub log: Option<String>,
}

/// A step or built-in action of a deployment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct StepReport {
    pub name: String,
    pub phase: Phase,
    pub status: StepStatus,
    /// The command's exit code; 128 + signal when it was killed; `None` for what is not a command.
    pub exit: Option<i32>,
    pub duration_seconds: f64,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum StepStatus {
    Success,
    /// Failed, and its policy says go on.
    Warning,
    Failed,
    TimedOut,
    Cancelled,
}
spelled!(StepStatus {
    Success = "success", Warning = "warning", Failed = "failed", TimedOut = "timed_out", Cancelled = "cancelled",
});

/// `releases APP`, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ReleasesReport {
    pub app: AppName,
    pub releases: Vec<ReleaseView>,
}

/// A release on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ReleaseView {
    pub release: ReleaseName,
    pub commit: Option<String>,
    /// `live`, `previous`, `good` (was live once), `rolled_back`, `failed`, `unknown`.
    pub state: String,
    pub created: Option<WallTime>,
    pub quarantined: bool,
}

/// `status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct StatusReport {
    pub daemon: DaemonView,
    pub listener: ListenerView,
    pub host: HostView,
    pub apps: Vec<AppView>,
    /// What a person should know now: a broken configuration file, a database set aside, a disk that is full.
    #[serde(default)]
    pub notices: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct DaemonView {
    pub pid: u32,
    pub version: String,
    pub uptime_seconds: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ListenerView {
    pub pid: Option<u32>,
    pub address: Option<String>,
    pub state: ListenerState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum ListenerState {
    Up,
    Down,
    Off,
}
spelled!(ListenerState { Up = "up", Down = "down", Off = "off" });

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct HostView {
    pub hostname: String,
    pub uptime_seconds: u64,
    /// Of the file system that holds the state directory.
    pub disk_free_bytes: Option<u64>,
    pub disk_total_bytes: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct AppView {
    pub app: AppName,
    pub state: AppState,
    pub release: Option<ReleaseName>,
    pub commit: Option<String>,
    /// The deployment under way.
    pub deploying: Option<DeployId>,
    /// Deployments that wait.
    #[serde(default)]
    pub waiting: Vec<DeployId>,
    /// The last look of each probe.
    #[serde(default)]
    pub probes: Vec<ProbeView>,
    pub services: Vec<ServiceView>,
}

/// The last look of a probe at a running app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ProbeView {
    pub name: String,
    /// `None`: not looked yet.
    pub healthy: Option<bool>,
    /// What the last failure said.
    pub message: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum AppState {
    Running,
    Degraded,
    Stopped,
    Failed,
    Deploying,
}
spelled!(AppState {
    Running = "running", Degraded = "degraded", Stopped = "stopped", Failed = "failed", Deploying = "deploying",
});

/// State of a service and of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum RunState {
    Down,
    Starting,
    Up,
    Stopping,
    Backoff,
    Held,
}
spelled!(RunState {
    Down = "down", Starting = "starting", Up = "up", Stopping = "stopping", Backoff = "backoff", Held = "held",
});

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ServiceView {
    pub service: ServiceName,
    pub state: RunState,
    pub instances: Vec<InstanceView>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct InstanceView {
    pub pid: Option<u32>,
    pub state: RunState,
    pub uptime_seconds: Option<u64>,
    pub restarts: u64,
    /// Proportional or resident set of the leader's process; `None` where it cannot be read.
    pub memory_bytes: Option<u64>,
    /// How it last ended, in words.
    pub last_exit: Option<String>,
    pub release: ReleaseName,
}

/// What the listener's `GET /status` may show to anybody.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PublicStatus {
    pub apps: Vec<PublicApp>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PublicApp {
    pub app: AppName,
    pub state: AppState,
    pub release: Option<ReleaseName>,
    pub commit: Option<String>,
    pub deploying: Option<DeployId>,
    /// Newest first, five at most: number, commit, status, times - no messages.
    pub deployments: Vec<PublicDeployment>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PublicDeployment {
    pub number: DeployId,
    pub commit: Option<String>,
    pub status: DeployStatus,
    pub started: WallTime,
    pub finished: Option<WallTime>,
}

/// `backup list`, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct BackupsReport {
    pub backups: Vec<BackupReport>,
}

/// One backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct BackupReport {
    pub id: BackupId,
    pub app: AppName,
    pub created: WallTime,
    /// All files.
    pub bytes: Bytes,
    /// What it took on disk beyond its predecessor.
    pub bytes_new: Bytes,
    /// The release that was live.
    pub release: Option<ReleaseName>,
    /// When a drill or a rehearsal last restored it.
    pub verified: Option<WallTime>,
    /// `complete`, `incomplete` or `missing`.
    pub status: String,
}

/// A line of a followed deployment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Followed {
    /// A phase began.
    Phase { phase: Phase, number: DeployId },
    /// A step or action ended.
    Step(StepReport),
    /// One line of the deployment's log.
    Log { line: String },
    /// It is over; always the last line.
    End {
        number: DeployId,
        status: DeployStatus,
        exit: u8,
        phase: Phase,
        release: Option<ReleaseName>,
        message: Option<String>,
    },
}
