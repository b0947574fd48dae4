//! What the files in the configuration directory mean, typed and checked.
//!
//! `files` reads the texts once; `read` takes their TOML apart key by key, `sheet` collects every problem; `host`
//! and `app` (with a reader per table) turn them into the types below; `secret` and `text` resolve what a file may
//! only point at, `certificate` reads what TLS is done with; `load` joins all of it. `frozen` keeps an application's definition beside a release, `accept` the
//! last good files beside the state; `template` writes the first files, `show` what was understood. A [`Config`] that
//! exists is one the daemon can run: cycles, clashing ports, literal secrets and unknown keys were refused on the way.
//! Line: nothing here starts, deploys or listens; whether a path or a user exists is asked only where the check says so.

mod accept;
mod app;
mod backup;
mod certificate;
mod files;
mod frozen;
mod generic;
mod host;
mod host_health;
mod load;
mod notify;
mod probe;
mod problem;
mod read;
mod repair;
mod schedule;
#[cfg(test)]
mod scratch;
mod secret;
mod service;
mod sheet;
mod show;
mod source;
mod step;
mod template;
mod text;
mod trigger;
mod units;
mod write;

pub use accept::{ACCEPTED, accept, is_accepted};
pub use certificate::{Certificate, Half, Unfit, ends as certificate_ends, fingerprint};
pub use files::Files;
pub use frozen::{freeze, thaw, without_secrets};
pub use host_health::{HostHealth, Limits, Thresholds};
pub use load::{Environment, Loaded, LookUp, Paths};
pub use notify::{Channel, CommitStatus, DuckDns, Occasion, Way};
pub use probe::Page;
pub use problem::{Notice, Problem};
pub use repair::Repair;
pub use schedule::{At, Schedule, When};
pub use show::{show_json, show_text};
pub use template::{app_template, host_template};
pub use text::{BadLine, parse_env_file};

use crate::base::{AppName, Bytes, ServiceName};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Everything that is configured: the host and its applications.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The directory the files were read from; secret files are relative to it.
    pub dir: PathBuf,
    /// `pintle.toml`.
    pub host: Host,
    /// `apps/NAME.toml`, by name.
    pub apps: BTreeMap<AppName, App>,
}

/// `pintle.toml`: where things are kept, who may talk to us.
#[derive(Debug, Clone, PartialEq)]
pub struct Host {
    /// What must survive a reboot (`$STATE_DIRECTORY` wins).
    pub state_dir: PathBuf,
    /// Sockets and what may be lost at a reboot (`$RUNTIME_DIRECTORY` wins).
    pub runtime_dir: PathBuf,
    /// Absent: no listener process is started.
    pub listen: Option<Listen>,
    /// `[control] group`: who may use the control socket besides root and the daemon's user.
    pub control_group: Option<String>,
    /// `[notify.NAME]`: who is told, by name.
    pub notify: BTreeMap<String, Channel>,
    /// `[dns.duckdns]`.
    pub duckdns: Option<DuckDns>,
    /// What stands in `pintle.env` and looks secret: none of it is told to anybody.
    pub variables: Vec<Secret>,
    /// `[health]`: how often the board is looked at, and from when on people hear of it.
    pub health: HostHealth,
}

/// Where something listens or is probed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Address {
    /// TCP, v4 or v6.
    Tcp(SocketAddr),
    /// A Unix socket's path.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => write!(f, "{address}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl std::str::FromStr for Address {
    type Err = String;

    /// As configuration and [`Display`](fmt::Display) write it.
    fn from_str(text: &str) -> Result<Address, String> {
        units::address(text).map_err(|misread| format!("{} {}", misread.wrong, misread.advice))
    }
}

/// `[listen]`: the webhook listener.
#[derive(Debug, Clone, PartialEq)]
pub struct Listen {
    /// Where it listens.
    pub address: Address,
    /// The user it runs as when the daemon is root; `None`: `pintle-listen` if it exists, else `nobody`.
    pub user: Option<String>,
    /// The largest body accepted.
    pub max_body: Bytes,
    /// What all bodies in flight may hold together.
    pub memory_budget: Bytes,
    /// Open connections at most.
    pub connections: u32,
    /// A request's head must be complete within this.
    pub header_timeout: Duration,
    /// A request's body must be complete within this.
    pub body_timeout: Duration,
    /// Requests per client address.
    pub rate_limit: Rate,
    /// Peers whose forwarding headers are believed.
    pub trust_forwarded: Vec<IpAddr>,
    /// How TLS is done; `None`: plain HTTP.
    pub tls: Option<Tls>,
    /// Whether `/`, `/metrics` and `/api` are answered at all.
    pub dashboard: bool,
    /// What callers of these must show; `None`: local callers only.
    pub token: Option<Secret>,
}

/// `[listen] tls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tls {
    /// A certificate of our own, made once and renewed before it ends.
    SelfSigned,
    /// PEM files, read again when they change.
    Files {
        /// The chain, our own certificate first.
        cert: PathBuf,
        /// Its private key.
        key: PathBuf,
    },
}

/// So many per span: `30/min`, `6/hour`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// In which span.
    pub per: Duration,
}

/// A secret's value, never shown: `Debug` and `Display` print dots.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub Vec<u8>);

impl Secret {
    /// The bytes, for whoever signs or authenticates with them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// `apps/NAME.toml`: one application.
#[derive(Debug, Clone, PartialEq)]
pub struct App {
    /// Its name: the file's stem.
    pub name: AppName,
    /// `[source]`.
    pub source: Source,
    /// `[app] user`: runs steps and services; `None` only where the daemon is not root or `allow_root` was said.
    pub user: Option<String>,
    /// `[trigger]`.
    pub trigger: Trigger,
    /// `[deploy]`.
    pub deploy: Deploy,
    /// `[rehearsal]`.
    pub rehearsal: Rehearsal,
    /// `[[step]]`, in the file's order.
    pub steps: Vec<Step>,
    /// `[[schedule]]`, in the file's order.
    pub schedules: Vec<Schedule>,
    /// `[service.NAME]`, by name.
    pub services: BTreeMap<ServiceName, Service>,
    /// `[health]` first, then every `[[probe]]`; may be empty (alive is then all that is asked).
    pub probes: Vec<Probe>,
    /// `[repair]`.
    pub repair: Repair,
    /// `[backup]`.
    pub backup: Backup,
    /// `[commit_status]`; never of a frozen definition.
    pub commit_status: Option<CommitStatus>,
    /// The table the file was read from, references unresolved: what is frozen beside a release.
    pub definition: toml::Table,
}

/// `[source]`: where releases come from.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// What `git fetch` is given: URL or absolute path. (An image source comes with the compose runtime.)
    pub git: String,
    /// The only branch that is ever deployed.
    pub branch: String,
    /// Complete releases kept, the live one and the previous one always among them. At least 2.
    pub keep_releases: u32,
    /// Paths relative to the working directory, kept outside the releases and linked into each.
    pub shared: Vec<PathBuf>,
    /// The working directory within the release; empty: its root.
    pub subdirectory: PathBuf,
    /// Fetch submodules too.
    pub submodules: bool,
    /// Fetch Git LFS objects too.
    pub lfs: bool,
    /// How git proves who it is.
    pub access: Access,
}

/// How git proves who it is; secrets never reach an argument list.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Access {
    /// Path of a private key, readable by its owner only.
    pub ssh_key: Option<PathBuf>,
    /// Path of a known_hosts file; absent: the user's own, and unknown hosts are accepted on first sight only.
    pub known_hosts: Option<PathBuf>,
    /// A token for https.
    pub token: Option<Secret>,
}

/// A forge: decides which headers prove origin and how an event reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Forge {
    Github,
    Gitlab,
    Gitea,
    Forgejo,
    Gogs,
    /// Bitbucket Cloud and Data Center.
    Bitbucket,
    /// Whatever signs with an HMAC: `[trigger.generic]` says how it is read.
    Generic,
}

/// Events that may trigger a deploy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum TriggerEvent {
    Push,
    /// A tag was pushed.
    Tag,
    /// GitHub's (and Gitea's) CI ended.
    WorkflowRun,
    /// GitLab's CI ended.
    Pipeline,
    /// A release was published.
    Release,
    /// An image or package of the repository was published.
    RegistryPackage,
}

/// `[trigger]`: which signed events deploy.
#[derive(Debug, Clone, PartialEq)]
pub struct Trigger {
    /// Which forge sends.
    pub forge: Forge,
    /// Any of them may have signed (rotation). Empty: no webhook is accepted for this app.
    pub secrets: Vec<Secret>,
    /// Which events count.
    pub on: Vec<TriggerEvent>,
    /// The workflow's name that must have succeeded (`workflow_run` only).
    pub workflow: Option<String>,
    /// Which events may have started that workflow.
    pub workflow_events: Vec<String>,
    /// `owner/name`; derived from the source where it can be.
    pub repository: Option<String>,
    /// `[trigger.generic]`, for the forge of that name.
    pub generic: Option<Generic>,
    /// How often the branch is looked at; `None`: only at the start and when the network is back; zero: never.
    pub poll: Option<Duration>,
    /// How many deploys may begin by themselves in a span; more wait, and the newest wins.
    pub rate_limit: Option<Rate>,
    /// When deploys may begin by themselves; `None`: always.
    pub window: Option<Window>,
    /// Deploys wait for a person's `pintle approve`.
    pub approval: bool,
}

/// `[trigger.generic]`: how a sender of one's own signs, and where in its JSON the facts are (JSON pointers).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Generic {
    /// The header that holds the signature.
    pub header: String,
    /// The hash under the HMAC.
    pub hash: Hash,
    /// How the header's value is written.
    pub value: Pattern,
    /// What is signed.
    pub signed: Pattern,
    /// The header that holds the time of signing (seconds since 1970), where it is not in `value`.
    pub timestamp: Option<String>,
    /// The header that holds the delivery's id.
    pub id: Option<String>,
    /// Where the commit is.
    pub commit: Option<String>,
    /// Where the branch is, by its short or its full name, or the tag by its full name.
    pub reference: Option<String>,
    /// Where the repository is.
    pub repository: Option<String>,
    /// Where the event is.
    pub event: Option<String>,
    /// The only event that counts.
    pub event_is: Option<String>,
}

/// A hash that an HMAC is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[allow(missing_docs)]
pub enum Hash {
    Sha256,
    Sha512,
}

/// A text with places in it: `t={timestamp},v1={hex}`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Pattern(pub Vec<Part>);

/// A part of a [`Pattern`].
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Part {
    /// What stands there as it is.
    Text(String),
    /// The signature in hex.
    Hex,
    /// The signature in base64.
    Base64,
    /// Seconds since 1970.
    Timestamp,
    /// The request's body.
    Body,
    /// The delivery's id.
    Id,
}

/// A daily window of local time; one that ends before it begins lasts over midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// When it opens.
    pub from: TimeOfDay,
    /// When it closes.
    pub to: TimeOfDay,
}

/// A time of day on this host's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay {
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.hour, self.minute)
    }
}
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.from, self.to)
    }
}

/// `[deploy]`: deadlines of a deploy.
#[derive(Debug, Clone, PartialEq)]
pub struct Deploy {
    /// From fetch until the release is verified; probation has its own length, a rollback as long again for itself.
    pub timeout: Duration,
    /// Healthy and without a restart for so long before the deploy is final. May be zero.
    pub probation: Duration,
    /// How long a started release may take to become healthy.
    pub startup: Duration,
    /// Niceness of steps, 0 to 19.
    pub nice: i32,
    /// `migrate = "stopped"`: the old release is stopped before migrations.
    pub migrate_stopped: bool,
}

/// `[rehearsal]`: what a candidate sees of the shared data.
#[derive(Debug, Clone, PartialEq)]
pub struct Rehearsal {
    /// Which data.
    pub shared: RehearsalData,
    /// Added to the candidate's environment.
    pub env: BTreeMap<String, String>,
    /// Why no service is rehearsed although some could be (a database server without an `env` of its own).
    pub off: Option<String>,
}

/// `[rehearsal] shared`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RehearsalData {
    /// A scratch copy restored from the backup just made.
    Copy,
    /// The real shared paths.
    Live,
    /// Empty directories.
    Empty,
}

/// A phase that `[[step]]` commands belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum StepPhase {
    Build,
    Test,
    Migrate,
    Smoke,
    After,
}

/// `[[step]]`: one command of a phase.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Shown in logs, reports and history; unique within the app.
    pub name: String,
    /// When it runs.
    pub phase: StepPhase,
    /// What runs.
    pub run: Command,
    /// Ended, with its whole process group, after this.
    pub timeout: Duration,
    /// `on_failure = "warn"`: a failure is said, and the deploy goes on.
    pub warn_only: bool,
    /// Added to its environment.
    pub env: BTreeMap<String, String>,
}

/// A command as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// For `/bin/sh -c`.
    Shell(String),
    /// Program and arguments; a relative program is looked up in the working directory when it contains a '/', else in PATH.
    Argv(Vec<String>),
}

impl Command {
    /// Program and arguments as they are executed.
    pub fn argv(&self) -> Vec<String> {
        match self {
            Command::Shell(line) => vec!["/bin/sh".into(), "-c".into(), line.clone()],
            Command::Argv(argv) => argv.clone(),
        }
    }
}
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Shell(line) => f.write_str(line),
            Command::Argv(argv) => f.write_str(&argv.join(" ")),
        }
    }
}

/// How a service passes from the old release to the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Handover {
    /// The daemon holds the listening socket and passes it to each instance.
    Socket,
    /// Each release gets a `PORT` of its own and nginx is switched.
    Port,
    /// Stop, then start.
    Restart,
}

/// `[service.NAME] nginx`: the upstream that leads to a service's ports, and how nginx is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nginx {
    /// The file that is written, relative to `STATE/apps/APP/nginx/`.
    pub file: PathBuf,
    /// The upstream's name: letters, digits, '_', '.' and '-'.
    pub upstream: String,
    /// Says whether nginx would accept its configuration.
    pub test: Command,
    /// Makes nginx read it.
    pub reload: Command,
}

/// When an ended instance is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Restart {
    Always,
    OnFailure,
    Never,
}

/// When a started instance counts as up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ready {
    /// As soon as it was executed.
    Exec,
    /// When it sends `READY=1`.
    Notify,
    /// When the app's probes that name it pass.
    Probe,
}

/// `[service.NAME]`: a process that is kept running.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// What runs.
    pub run: Command,
    /// Sockets the daemon binds, holds and passes as LISTEN_FDS, in this order.
    pub listen: Vec<Address>,
    /// How releases follow each other.
    pub handover: Handover,
    /// Who is told the ports of `handover = "port"`; `None`: nobody.
    pub nginx: Option<Nginx>,
    /// Whether a candidate of it is started in the rehearsal.
    pub rehearse: bool,
    /// How many processes.
    pub instances: u32,
    /// Services that must be up before this one starts.
    pub after: Vec<ServiceName>,
    /// What happens when it ends.
    pub restart: Restart,
    /// Signal number that asks it to end.
    pub stop_signal: i32,
    /// After this it is killed.
    pub stop_timeout: Duration,
    /// Missed `WATCHDOG=1` for so long is a hang.
    pub watchdog: Option<Duration>,
    /// When it counts as up.
    pub ready: Ready,
    /// Its user; the app's where not set.
    pub user: Option<String>,
    /// PR_SET_NO_NEW_PRIVS.
    pub no_new_privs: bool,
    /// A /tmp and /var/tmp of each instance's own.
    pub private_tmp: bool,
    /// Its environment beside what Pintle sets.
    pub env: BTreeMap<String, String>,
    /// Files of `KEY=value` in the working directory, read at each start; must exist.
    pub env_file: Vec<PathBuf>,
    /// Enforced where the kernel does.
    pub memory_max: Option<Bytes>,
    /// A log file is rotated at this size.
    pub log_max: Bytes,
    /// Rotated files kept.
    pub log_keep: u32,
}

/// What a probe looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeTarget {
    /// GET a URL.
    Http {
        /// Absolute `http://` or `https://`.
        url: String,
        /// Which answer is healthy.
        page: Page,
    },
    /// GET a path of whatever address the service has.
    Service {
        /// Which service.
        service: ServiceName,
        /// The path, beginning with '/'.
        path: String,
        /// Which answer is healthy.
        page: Page,
    },
    /// Connect to an address (`HOST:PORT`).
    Tcp(String),
    /// Run a command in the live release; 0 is healthy.
    Run(Command),
    /// The service's instances are up.
    Alive(ServiceName),
}

/// `[health]` or a `[[probe]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    /// `health` for `[health]`, else its own.
    pub name: String,
    /// What it looks at.
    pub target: ProbeTarget,
    /// How often.
    pub every: Duration,
    /// One attempt's deadline.
    pub timeout: Duration,
    /// Failures in a row that mean unhealthy.
    pub failures: u32,
    /// Failures so soon after a start of what it looks at do not count.
    pub grace: Duration,
}

/// `[backup]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Backup {
    /// Directories and files relative to the working directory.
    pub paths: Vec<PathBuf>,
    /// SQLite files, copied by the online backup API; those inside `paths` are found by themselves.
    pub sqlite: Vec<PathBuf>,
    /// Newest kept.
    pub keep: u32,
    /// Older ones go.
    pub keep_for: Option<Duration>,
    /// A backup is made before anything is migrated, and its failure aborts the deploy.
    pub before_deploy: bool,
}
