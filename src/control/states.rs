//! The words for states: how each status, phase, trigger and run state is spelled in JSON, in the diary and on the
//! terminal - once, for all three.

use serde::{Deserialize, Serialize};

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

/// What lets a deployment past gates that others wait at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pass {
    /// Nothing does.
    #[default]
    None,
    /// A person approved it.
    Approved,
    /// It repeats what a person ordered.
    Person,
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

/// What became of a request that came to the listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryVerdict {
    /// A deployment was begun, or waits.
    Accepted,
    /// Genuine, and nothing was to be done.
    Ignored,
    /// Not genuine, or not to be read.
    Refused,
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
spelled!(Pass { None = "none", Approved = "approved", Person = "person" });
spelled!(Ignored {
    Duplicate = "duplicate", Live = "live", Older = "older", Quarantined = "quarantined", UnknownApp = "unknown_app",
});

impl DeployStatus {
    /// Nothing more will happen to it.
    pub fn is_final(self) -> bool {
        !matches!(self, DeployStatus::Queued | DeployStatus::Waiting | DeployStatus::Running)
    }
}

spelled!(DeliveryVerdict { Accepted = "accepted", Ignored = "ignored", Refused = "refused" });

impl Trigger {
    /// A commit arrived and nobody sits in front of a terminal: windows, approvals and rate limits are for these. A push
    /// to a repository on the board (`hook`) is a push, whoever made it.
    pub fn comes_by_itself(self) -> bool {
        matches!(self, Trigger::Webhook | Trigger::Deploy | Trigger::Poll | Trigger::Hook)
    }
    /// It repeats a deployment that was cut off.
    pub fn is_retry(self) -> bool {
        self == Trigger::Retry
    }
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum ListenerState {
    Up,
    Down,
    Off,
}

spelled!(ListenerState { Up = "up", Down = "down", Off = "off" });

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
