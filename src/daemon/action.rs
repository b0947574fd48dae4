//! What the hands are to do. Actions of one turn are carried out in order.

use super::event::{RequestId, Token};
use crate::base::{AppName, BackupId, CommitId, DeployId, InstanceId, ReleaseName, ServiceName};
use crate::config::{Address, App, Certificate, Channel, DuckDns, Probe, Schedule, Service, Tls};
use crate::control::{Answer, DeployAsked, Phase};
use crate::deploy::plan::Kind;
use crate::deploy::{End, Work};
use crate::notify::Target;
use crate::notify::outbox::Sending;
use crate::store::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// A piece of work, with all a worker needs to know.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Job {
    pub app: Arc<App>,
    pub number: DeployId,
    pub kind: Kind,
    pub work: Work,
    pub forced: bool,
    /// What was asked for; `None`: the branch's tip.
    pub requested: Option<String>,
    /// Commits that were delivered before it and did not begin.
    pub rivals: Vec<CommitId>,
    /// Commits that are not deployed again unless forced, and why: a tag may stand for one of them.
    pub quarantine: BTreeMap<CommitId, String>,
    /// What speaks against beginning, by the board's sensors; for the preflight.
    pub objections: Vec<String>,
    pub commit: Option<CommitId>,
    pub release: Option<ReleaseName>,
    pub previous: Option<ReleaseName>,
    /// The commit of `previous`.
    pub previous_commit: Option<CommitId>,
    /// The commit that is live; from the switch on the deployment's own.
    pub live_commit: Option<CommitId>,
    pub backup: Option<BackupId>,
    /// Releases that must stay on disk whatever their age.
    pub keep: Vec<ReleaseName>,
}

/// Something to do.
#[derive(Debug, Clone)]
// An answer is large, and there are few of them.
#[allow(missing_docs, clippy::large_enum_variant)]
pub enum Action {
    /// Write to the diary; with a token, answered by `Recorded`.
    Record {
        token: Option<Token>,
        entries: Vec<Entry>,
    },
    /// Answered by `Worked`.
    Work(Box<Job>),
    /// End that deployment's work soon; it still answers.
    CancelWork {
        number: DeployId,
    },
    /// Answered by `Spawned` or `SpawnFailed`.
    Spawn {
        app: Arc<App>,
        instance: InstanceId,
        service: Arc<Service>,
        release: ReleaseName,
        commit: Option<CommitId>,
        /// Which start of the service it belongs to, its place among that start's instances, and how often it ended
        /// by itself.
        round: u64,
        index: u32,
        restarts: u64,
    },
    /// Look whether a starting instance is ready; answered by `Looked`.
    Look {
        app: Arc<App>,
        instance: InstanceId,
        service: Arc<Service>,
        release: ReleaseName,
        port: Option<u16>,
    },
    /// An instance showed that it is ready: a daemon that comes after us is to know.
    BecameReady {
        instance: InstanceId,
    },
    /// An instance says that it lives so often, by its own word: a daemon that comes after us is to know.
    SpeaksEvery {
        instance: InstanceId,
        every: Duration,
    },
    /// Send clients to these ports, then wait until the old ones are quiet; answered by `Routed`.
    Route {
        app: Arc<App>,
        service: Arc<Service>,
        release: ReleaseName,
        ports: Vec<u16>,
        old: Vec<u16>,
    },
    /// Answered as `Spawn`. With TLS or, where none is configured, without.
    SpawnListener {
        instance: InstanceId,
        certificate: Option<Arc<Certificate>>,
    },
    /// Look at the certificate and hear of its changes from now on; answered by `Certified`.
    ReadCertificate {
        meant: Tls,
    },
    /// Make one of our own; answered by `Certified`.
    MakeCertificate,
    /// There is no certificate to hear of any more.
    ForgetCertificate,
    Terminate {
        instance: InstanceId,
        signal: i32,
    },
    /// A place for an instance is given up, and its port with it.
    Vacated {
        app: AppName,
        service: ServiceName,
        round: u64,
        index: u32,
    },
    /// The sockets that services may need from now on; others are closed.
    KeepSockets {
        addresses: BTreeSet<Address>,
    },
    /// It hangs: SIGABRT to its process alone.
    Abort {
        instance: InstanceId,
    },
    Kill {
        instance: InstanceId,
    },
    /// Answered by `Probed`.
    Probe {
        app: AppName,
        watch: u64,
        index: usize,
        probe: Box<Probe>,
        release: ReleaseName,
    },
    /// Restart units of systemd because an app stays unhealthy; answered by `UnitsRestarted`.
    RestartUnits {
        app: AppName,
        units: Vec<String>,
    },
    /// Reboot the host because an app stays unhealthy; answered by `NotRebooted`, should it not be.
    Reboot {
        app: AppName,
    },
    /// Run a scheduled command in the live release; answered by `Scheduled`.
    RunSchedule {
        app: Arc<App>,
        release: ReleaseName,
        commit: Option<CommitId>,
        schedule: Box<Schedule>,
        run: u64,
    },
    /// End that run soon; it still answers.
    EndSchedule {
        run: u64,
    },
    /// Answered by `Resolved`.
    Resolve {
        from: RequestId,
        app: Arc<App>,
        asked: DeployAsked,
    },
    /// Ask the app's source where its branch is; answered by `BranchSeen`.
    LookAtBranch {
        app: Arc<App>,
        look: u64,
    },
    /// Look at the board; answered by `Sensed`.
    Sense,
    /// End all looks at branches soon; each still answers.
    CancelLooks,
    Answer {
        to: RequestId,
        answer: Answer,
    },
    /// A deployment begins (or goes on after a restart): its log is opened.
    Opened {
        app: AppName,
        number: DeployId,
    },
    /// A line for a deployment's log and its followers.
    Say {
        number: DeployId,
        line: String,
    },
    /// A deployment's phase begins, for its followers.
    PhaseBegins {
        number: DeployId,
        phase: Phase,
    },
    /// A deployment is over, for its followers and the journal.
    Ended {
        app: AppName,
        number: DeployId,
        end: End,
        release: Option<ReleaseName>,
    },
    /// A line for the daemon's own journal.
    Note {
        level: log::Level,
        text: String,
    },
    /// Tell somebody; answered by `Sent`.
    Send {
        target: Target,
        sending: Box<Sending>,
    },
    /// Tell whoever holds our name our address; answered by `AddressTold`.
    TellAddress {
        dns: Arc<DuckDns>,
    },
    /// Tell each of them something, beside the outbox; what happened is the answer.
    TryChannels {
        from: RequestId,
        channels: Vec<Arc<Channel>>,
    },
    /// The release is meant as this definition says, until a deploy or a rollback says otherwise: written beside it.
    Apply {
        app: Arc<App>,
        release: ReleaseName,
        commit: Option<CommitId>,
    },
    /// Read the configuration again; answered by `Reconfigured`, or by the answer to the request.
    Reload {
        from: RequestId,
    },
    /// Have the program we were started from look whether it can take over; answered by `SuccessorChecked`.
    CheckSuccessor,
    /// Become that program, now.
    Reexec,
    /// All is down: leave the loop.
    Exit,
}
