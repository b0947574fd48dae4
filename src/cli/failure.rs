//! Why a command could not do what was asked, in words for people and as an exit code.

use crate::control::client::AskError;
use serde_json::json;
use std::io::{self, ErrorKind};
use std::path::Path;

/// The command line was not understood.
pub const USAGE: u8 = 64;
/// The daemon is not reachable.
pub const UNREACHABLE: u8 = 69;
/// The daemon said something this program does not know.
pub const SOFTWARE: u8 = 70;
/// A file could not be read or written.
pub const IO: u8 = 74;
/// We are not allowed to.
pub const NOT_PERMITTED: u8 = 77;
/// The configuration is wrong.
pub const CONFIGURATION: u8 = 78;

/// Why a command failed: what it exits with, what went wrong on which path, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub exit: u8,
    /// What was tried, on which path, and why it failed. Empty: nobody is left to tell.
    pub message: String,
    /// What to do about it.
    pub advice: Option<String>,
}

impl Failure {
    /// A failure with this exit code.
    pub fn new(exit: u8, message: impl Into<String>) -> Failure {
        Failure { exit, message: message.into(), advice: None }
    }
    /// The command line was not understood.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure::new(USAGE, message)
    }
    /// A verb or option whose feature is still to come.
    pub fn not_active(what: &str) -> Failure {
        Failure::usage(format!("{what} is not active yet in this version"))
    }
    /// An I/O error that already names deed and path.
    pub fn io(error: &io::Error) -> Failure {
        let exit = if error.kind() == ErrorKind::PermissionDenied { NOT_PERMITTED } else { IO };
        Failure::new(exit, error.to_string())
    }
    /// `deed` on `path` failed.
    pub fn on_path(deed: &str, path: &Path, error: &io::Error) -> Failure {
        Failure::io(&crate::os::files::because(deed, path, error))
    }
    /// The daemon's socket did not carry the question or the answer.
    pub fn asking(error: &AskError, socket: &Path) -> Failure {
        match error {
            AskError::Unreachable(error) => Failure::new(UNREACHABLE, format!("the daemon cannot be reached: {error}"))
                .advise("start it with `systemctl start pintle` (or `pintle run`); `journalctl -u pintle` says why it ended"),
            AskError::NotPermitted(error) => Failure::new(NOT_PERMITTED, format!("the daemon may not be asked: {error}"))
                .advise("use sudo, or join the group that `[control] group` names"),
            AskError::TimedOut => {
                Failure::new(UNREACHABLE, format!("the daemon on {} gave no answer in time", socket.display()))
                    .advise("it may be busy: try again; `journalctl -u pintle` shows what it does")
            }
        }
    }
    /// Nobody reads our output any more (`pintle history | head -1`): end without a word.
    pub fn nobody_listens() -> Failure {
        Failure::new(0, "")
    }
    /// The same, with what to do about it.
    pub fn advise(mut self, advice: impl Into<String>) -> Failure {
        self.advice = Some(advice.into());
        self
    }
    /// Whether the daemon is down, so that reading the state directory is worth a try.
    pub fn is_unreachable(&self) -> bool {
        self.exit == UNREACHABLE
    }
    /// The `--json` document of an error.
    pub fn document(&self) -> serde_json::Value {
        match &self.advice {
            None => json!({"error": {"exit": self.exit, "message": self.message}}),
            Some(advice) => json!({"error": {"exit": self.exit, "message": self.message, "advice": advice}}),
        }
    }
    /// For people, on stderr.
    pub fn text(&self) -> String {
        match &self.advice {
            None => format!("pintle: {}\n", self.message),
            Some(advice) => format!("pintle: {}\n  {advice}\n", self.message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_of_not_being_heard_has_its_code_and_its_advice() {
        let socket = Path::new("/run/pintle/control.sock");
        let io = |kind| io::Error::new(kind, "connect to /run/pintle/control.sock: no");
        let table = [
            (AskError::Unreachable(io(ErrorKind::NotFound)), 69, "systemctl start pintle"),
            (AskError::NotPermitted(io(ErrorKind::PermissionDenied)), 77, "[control] group"),
            (AskError::TimedOut, 69, "try again"),
        ];
        for (error, exit, advice) in table {
            let failure = Failure::asking(&error, socket);
            assert_eq!(failure.exit, exit);
            assert!(failure.text().contains("/run/pintle/control.sock"), "{}", failure.text());
            assert!(failure.text().contains(advice), "{}", failure.text());
            assert_eq!(failure.document()["error"]["exit"], exit);
        }
        assert_eq!(Failure::io(&ErrorKind::PermissionDenied.into()).exit, 77);
        assert_eq!(Failure::io(&ErrorKind::NotFound.into()).exit, 74);
    }
}
