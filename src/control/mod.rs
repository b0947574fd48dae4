//! The protocol of the two sockets: one JSON document per line, asked by the command line and the listener, answered
//! by the daemon.
//!
//! [`Request`] is all that can be asked; [`Answer`] all that can be said, and its reports are the JSON shapes users see
//! with `--json`. A followed deployment is answered by [`Followed`] lines until `end`. `client` connects and asks,
//! `wire` frames. Line: types and framing only; what a request does is decided in `daemon`.

pub mod client;
mod reports;
mod samples;
mod states;
pub mod wire;

pub use reports::*;
pub use samples::*;
pub(crate) use states::spelled;
pub use states::*;

use crate::base::{AppName, BackupId, CommitId, DeployId, ReleaseName, ScheduleName, ServiceName, TagName};
use serde::{Deserialize, Serialize};

/// What can be asked of the daemon. [`Request::on_listener_socket`] says which of them the listener may ask.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Request {
    /// Is the loop turning? Answered by the loop itself.
    Ping,
    /// Become the program that lies where the daemon was started from.
    Reexec,
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
    /// How the board was.
    BoardHistory {
        since_seconds: u64,
    },
    /// What came to the listener lately.
    Deliveries {
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
    /// Run a scheduled command now.
    RunSchedule {
        app: AppName,
        schedule: ScheduleName,
    },
    /// Stream a log file: of a service, of all services (`None`), of a schedule, or of a deployment.
    Logs {
        app: Option<AppName>,
        service: Option<ServiceName>,
        #[serde(default)]
        schedule: Option<ScheduleName>,
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
    /// Tell every channel something, or one of them.
    NotifyTest {
        channel: Option<String>,
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
    /// Every app whose secret fits and whose repository and branch are meant, with what each is to become.
    pub wants: Vec<Want>,
    /// Why nothing is wanted: such a delivery is only remembered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignored: Option<String>,
    /// Of one that wants nothing: whom it was about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apps: Vec<AppName>,
    /// Not a delivery at all: what was refused, for people who look for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
}

impl Delivery {
    /// One that wants nothing yet.
    pub fn new(id: Option<String>, trigger: Trigger, event: impl Into<String>) -> Delivery {
        Delivery { id, trigger, event: event.into(), wants: vec![], ignored: None, apps: vec![], refused: None }
    }
}

/// Requests that were refused, alike and in a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Refused {
    /// What the sender was answered.
    pub why: String,
    /// Its address, as far as addresses are counted.
    pub from: String,
    /// How many.
    pub times: u32,
}

/// One app that a delivery wants deployed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Want {
    pub app: AppName,
    pub wanted: Wanted,
}

/// What an app is to become.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// This commit.
    Commit(CommitId),
    /// The commit this tag stands for, which the forge did not name: the fetch looks it up.
    Tag(TagName),
}

impl Wanted {
    /// The commit, where it is known already.
    pub fn commit(&self) -> Option<&CommitId> {
        match self {
            Wanted::Commit(commit) => Some(commit),
            Wanted::Tag(_) => None,
        }
    }

    /// As a deployment keeps what it was asked for: a commit, or `refs/tags/NAME`.
    pub fn requested(&self) -> String {
        match self {
            Wanted::Commit(commit) => commit.to_string(),
            Wanted::Tag(tag) => format!("refs/tags/{tag}"),
        }
    }
}

/// What became of one [`Want`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Verdict {
    /// On disk: it runs or waits.
    Accepted { app: AppName, deployment: DeployId, state: DeployStatus },
    /// Nothing is to be done, and why; of a duplicate the deployment that answers it, where the listener may follow it.
    Ignored {
        app: AppName,
        why: String,
        reason: Ignored,
        #[serde(default)]
        deployment: Option<DeployId>,
        /// How that deployment stands.
        #[serde(default)]
        state: Option<DeployStatus>,
    },
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
    /// The program that takes over looked at everything and can.
    TakesOver {
        version: String,
        /// When this deployment is over; `None`: now. The connection ends then.
        after: Option<DeployId>,
    },
    Delivered {
        verdicts: Vec<Verdict>,
    },
    History(HistoryReport),
    BoardHistory(BoardHistory),
    Deliveries(DeliveriesReport),
    Show(Box<DeploymentReport>),
    Releases(ReleasesReport),
    Backups(BackupsReport),
    Backup(BackupReport),
    NotifyTest(NotifyReport),
    /// It could not be done: what `pintle` exits with, and why.
    Error {
        exit: u8,
        message: String,
    },
    /// A stream of [`Followed`] (for `Follow`) or raw log lines (for `Logs`) comes after this line.
    Stream,
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
