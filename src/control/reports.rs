//! What people and scripts are shown: the JSON shapes of `--json` (contracts.md section 1). Keys may be added, never
//! renamed.

use super::states::{AppState, DeliveryVerdict, DeployStatus, ListenerState, Phase, RunState, StepStatus, Trigger};
use crate::base::{AppName, BackupId, Bytes, DeployId, ReleaseName, ScheduleName, ServiceName, WallTime};
use serde::{Deserialize, Serialize};

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

/// A request to deploy that came to the listener, as `deliveries` lists it: no body, no secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct DeliveryView {
    pub at: WallTime,
    /// The forge's id; `None` for `/deploy`, and for what was refused: nothing a stranger says is kept.
    pub id: Option<String>,
    /// `None`: it was meant for no app in particular, or for none of ours.
    pub app: Option<AppName>,
    pub trigger: Trigger,
    /// The event's name as the forge sent it; empty where it was refused.
    pub event: String,
    /// The commit, or `refs/tags/NAME`.
    pub wanted: Option<String>,
    pub verdict: DeliveryVerdict,
    /// Why it was ignored or refused.
    pub reason: Option<String>,
    /// The deployment it began, or the one that answers it already.
    pub deployment: Option<DeployId>,
    /// Who sent it, where it was refused: an IPv4 address or the first half of an IPv6 one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// How often the same came in a row; more than once only where it was refused.
    pub times: u32,
}

/// `deliveries`: newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct DeliveriesReport {
    pub deliveries: Vec<DeliveryView>,
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
    /// A person let it begin (`pintle approve`).
    #[serde(default)]
    pub approved: bool,
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
    pub host: Box<HostView>,
    pub apps: Vec<AppView>,
    /// What a person should know now: a broken configuration file, a database set aside, a disk that is full.
    #[serde(default)]
    pub notices: Vec<String>,
    /// What is wrong, as people were told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub incidents: Vec<IncidentView>,
    /// Who is told, and what waits for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<ChannelView>,
    /// The name that follows our address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<DnsView>,
}

/// A name that follows our address.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct DnsView {
    pub name: String,
    /// When the address was last told; `None`: not since the daemon began.
    pub last: Option<WallTime>,
    pub ok: Option<bool>,
    /// Why it was not taken.
    pub message: Option<String>,
    pub next: Option<WallTime>,
}

/// Something that is wrong, as people were told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct IncidentView {
    /// `host/...` or `app/APP/...`.
    pub about: String,
    pub app: Option<AppName>,
    pub critical: bool,
    pub what: String,
    pub since: WallTime,
}

/// A channel, or a forge that is told of commits (`commit_status/APP`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ChannelView {
    pub channel: String,
    pub kind: String,
    /// `false`: its address or token is empty.
    pub on: bool,
    /// Messages that wait to be sent.
    pub waiting: usize,
    /// What its peer took, and what was given up, since it was configured.
    pub sent: u64,
    pub dropped: u64,
    pub last_sent: Option<WallTime>,
    /// Why the last try was in vain.
    pub trouble: Option<String>,
    /// When it is tried again.
    pub next: Option<WallTime>,
}

/// `notify test`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct NotifyReport {
    pub channels: Vec<ChannelTried>,
}

/// What became of a test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ChannelTried {
    pub channel: String,
    pub kind: String,
    /// `None`: it is off.
    pub ok: Option<bool>,
    pub message: String,
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
    /// `None`: plain HTTP.
    #[serde(default)]
    pub tls: Option<TlsView>,
}

/// What the listener does TLS with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TlsView {
    /// `self-signed` or `files`.
    pub kind: String,
    /// SHA-256 of the certificate as openssl writes it: `AB:CD:…`; `None`: there is none yet, and no listener runs.
    pub fingerprint: Option<String>,
    /// When it ends.
    pub expires: Option<WallTime>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct HostView {
    pub hostname: String,
    pub uptime_seconds: u64,
    /// Of the file system that holds the state directory.
    pub disk_free_bytes: Option<u64>,
    pub disk_total_bytes: Option<u64>,
    /// When the board was last looked at.
    #[serde(default)]
    pub sensed: Option<WallTime>,
    /// What is wrong with it, the gravest first.
    #[serde(default)]
    pub findings: Vec<FindingView>,
    /// What each sensor said: the value, `"unsupported"`, or `{"unreadable": "why"}`.
    #[serde(flatten)]
    pub readings: serde_json::Map<String, serde_json::Value>,
}

/// Something that is wrong with the board.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct FindingView {
    /// The same thing always has the same name: `temperature`, `disk:/`.
    pub about: String,
    /// `warning` or `critical`.
    pub level: String,
    pub what: String,
    /// What it means and what to do.
    pub advice: String,
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
    /// Deployments that have not begun, in the order in which they may.
    #[serde(default)]
    pub waiting: Vec<WaitingView>,
    /// When its branch is looked at; `None`: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll: Option<PollView>,
    /// The last look of each probe.
    #[serde(default)]
    pub probes: Vec<ProbeView>,
    /// Its commands that run by the clock.
    #[serde(default)]
    pub schedules: Vec<ScheduleView>,
    pub services: Vec<ServiceView>,
}

/// A command that runs by the clock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ScheduleView {
    pub schedule: ScheduleName,
    /// `every 1d`, `at 03:30`, `at Mon 03:30`.
    pub when: String,
    /// For how long its command runs by now; `None`: it does not.
    pub running_seconds: Option<f64>,
    /// The last run; `None`: there was none yet.
    pub last: Option<ScheduleRunView>,
    /// When it is due next by this host's clock; `None`: the clock is not held to the true time yet.
    pub next: Option<WallTime>,
    /// How often its time came while its command still ran, since the daemon began.
    pub left_out: u64,
}

/// One run of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ScheduleRunView {
    pub started: WallTime,
    /// `running`, `success`, `failed` or `cancelled`.
    pub status: String,
    /// Of one that is over.
    pub duration_seconds: Option<f64>,
    /// How it failed.
    pub message: Option<String>,
}

/// A deployment that has not begun, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct WaitingView {
    pub number: DeployId,
    /// As it was asked for; `None`: the branch's tip.
    pub commit: Option<String>,
    /// In a sentence: "waits for ...".
    pub reason: String,
    /// Before that it does not begin by itself; `None`: it begins when its turn comes, or when a person says so.
    pub until: Option<WallTime>,
}

/// The last look at an app's branch, and the next one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PollView {
    /// When the last look ended; `None`: none since the daemon began.
    pub last: Option<WallTime>,
    /// Whether the repository answered then.
    pub ok: Option<bool>,
    /// What was seen, or why nothing was, in a sentence.
    pub result: Option<String>,
    /// When the next look is due by this host's clock; `None`: when the network is back, or one is under way.
    pub next: Option<WallTime>,
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
    /// The beginning of the answer, or the end of the command's output, that the last look failed by: 4 KiB at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

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
    /// What all its processes hold together (`os::usage` says how that is counted); `None` where it cannot be read.
    pub memory_bytes: Option<u64>,
    /// What it says of itself (`STATUS=` of sd_notify).
    #[serde(default)]
    pub says: Option<String>,
    /// The limit of that which the kernel enforces; `None` where there is none.
    #[serde(default)]
    pub memory_max_bytes: Option<u64>,
    /// What its processes have computed since it was started.
    #[serde(default)]
    pub cpu_seconds: Option<f64>,
    /// How it last ended, in words.
    pub last_exit: Option<String>,
    pub release: ReleaseName,
}

/// What the listener may show: all of it with the token, [without its details](PublicStatus::without_details) to
/// anybody.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PublicStatus {
    pub apps: Vec<PublicApp>,
}

impl PublicStatus {
    /// What is left of it for anybody: no message, no name of a service.
    pub fn without_details(mut self) -> PublicStatus {
        for app in &mut self.apps {
            app.services.clear();
            for deployment in &mut app.deployments {
                (deployment.phase, deployment.trigger, deployment.message) = (None, None, None);
            }
        }
        self
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PublicApp {
    pub app: AppName,
    pub state: AppState,
    pub release: Option<ReleaseName>,
    pub commit: Option<String>,
    pub deploying: Option<DeployId>,
    /// For callers who are local or have the token.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<PublicService>,
    /// Newest first, five at most.
    pub deployments: Vec<PublicDeployment>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PublicService {
    pub service: ServiceName,
    pub state: RunState,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PublicDeployment {
    pub number: DeployId,
    pub commit: Option<String>,
    pub status: DeployStatus,
    pub started: WallTime,
    pub finished: Option<WallTime>,
    /// This and what follows: for callers who are local or have the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Trigger>,
    /// One sentence: why it ended as it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
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
