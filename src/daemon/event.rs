//! What can happen, as the hands tell it. Every event names what it is about.

use super::boot::Found;
use super::seen::SeenDelivery;
use crate::base::{AppName, CommitId, DeployId, InstanceId, ReleaseName, ServiceName};
use crate::config::{App, Certificate, Config, Tls};
use crate::control::{DeployAsked, Request, StepReport};
use crate::deploy::Worked;
use crate::health::{Failure, Readings};
use crate::notify;
use crate::store::Entry;
use crate::supervise::agenda::Outcome;
use crate::supervise::notice::Notice;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A request that waits for its answer; made by the hands, handed back in `Action::Answer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// A write to the diary that something waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// A release's definition as it was frozen beside it.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Thawed {
    pub release: ReleaseName,
    pub commit: Option<CommitId>,
    pub definition: Arc<App>,
}

/// What mirrors and diary know of a delivery before it is judged.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Known {
    /// Apps for which the delivered commit is an ancestor of the live one.
    pub older: Vec<AppName>,
    /// Apps for which the diary holds this delivery's id, and what became of it.
    pub seen: BTreeMap<AppName, SeenDelivery>,
}

/// The commit an app's branch points at, where it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Tip {
    /// The commit.
    pub commit: CommitId,
    /// The mirror knows it as an ancestor of what is live.
    pub is_older: bool,
}

/// What the hands found or made.
#[derive(Debug, Clone)]
pub struct Certified {
    /// What was asked for.
    pub meant: Tls,
    /// `None`: there is none of our own yet.
    pub result: Result<Option<Arc<Certificate>>, String>,
    /// Whether it was made just now.
    pub is_new: bool,
    /// Whether something holds the wall clock to the true time.
    pub clock_is_held: bool,
}

/// Something happened.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Event {
    /// Somebody asks; with what the hands could find out about a delivery beforehand.
    Asked {
        from: RequestId,
        request: Request,
        known: Known,
    },
    /// A deploy's commit was looked up at the source (or could not be).
    Resolved {
        from: RequestId,
        asked: DeployAsked,
        commit: Option<CommitId>,
    },
    /// A write to the diary ended.
    Recorded {
        token: Token,
        result: Result<(), String>,
    },
    /// A worker thawed a release's definition; comes before the `Worked` it belongs to.
    Thawed {
        app: AppName,
        thawed: Thawed,
    },
    /// A piece of a deployment's work ended.
    Worked {
        app: AppName,
        number: DeployId,
        worked: Worked,
    },
    /// Facts for the diary that change nothing for the loop (a backup was made, pruned, proved).
    Happened {
        entries: Vec<Entry>,
    },
    /// A step of a deployment ended.
    Stepped {
        number: DeployId,
        step: StepReport,
        /// The last lines that it printed, where it failed.
        words: Vec<String>,
    },
    /// `current` points at this now (or at nothing).
    Pointed {
        app: AppName,
        release: Option<ReleaseName>,
    },
    Spawned {
        instance: InstanceId,
        pid: u32,
        /// The port it was given, where it listens by itself.
        port: Option<u16>,
    },
    SpawnFailed {
        instance: InstanceId,
        why: String,
    },
    /// A service spoke on its notify socket.
    Told {
        instance: InstanceId,
        notices: Vec<Notice>,
    },
    /// Somebody looked whether a starting instance is ready.
    Looked {
        instance: InstanceId,
        result: Result<(), String>,
    },
    /// Clients of a service are sent to its new ports and the old ones are quiet - or that could not be done.
    Routed {
        app: AppName,
        service: ServiceName,
        release: ReleaseName,
        result: Result<(), String>,
    },
    /// A process ended; `clean` is exit 0.
    Exited {
        instance: InstanceId,
        clean: bool,
        words: String,
    },
    /// A probe looked.
    Probed {
        app: AppName,
        watch: u64,
        index: usize,
        result: Result<(), Failure>,
    },
    /// A scheduled command ended.
    Scheduled {
        app: AppName,
        run: u64,
        outcome: Outcome,
    },
    /// Units of systemd were restarted, or could not be.
    UnitsRestarted {
        app: AppName,
        result: Result<(), String>,
    },
    /// The host could not be rebooted.
    NotRebooted {
        app: AppName,
        why: String,
    },
    /// A look at an app's branch ended; `Err`: why it saw nothing.
    BranchSeen {
        app: AppName,
        look: u64,
        result: Result<Tip, String>,
    },
    /// What became of a message that was to be sent.
    Sent {
        channel: String,
        seq: u64,
        outcome: notify::Outcome,
    },
    /// An address of this host is another one than it was.
    AddressChanged,
    /// Whoever holds our name was told our address, or could not be.
    AddressTold {
        result: Result<(), String>,
    },
    /// The board was looked at; `Err`: why that could not be done at all.
    Sensed {
        result: Result<Box<Readings>, String>,
    },
    /// There is a way out of this host again.
    NetworkIsBack,
    /// A configuration was read and accepted. `found` are the apps that were not configured before.
    Reconfigured {
        config: Box<Config>,
        found: BTreeMap<AppName, Found>,
    },
    /// The configuration was read and is broken; the old one stays.
    StaysBroken {
        notice: String,
    },
    /// The listener's certificate was looked at.
    Certified(Certified),
    /// One of the certificate's files changed, or may have.
    CertificateTouched,
    /// Somebody set the wall clock.
    ClockSet,
    /// We are to become the program that lies where ours was started from (SIGUSR2).
    Reexec,
    /// That program looked at itself, the configuration and the diary; `Ok`: its version.
    SuccessorChecked {
        result: Result<String, String>,
    },
    /// We are to end: the first time in order, the second time at once.
    Stop,
    /// A deadline passed.
    Tick,
}
