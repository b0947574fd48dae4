//! The asking side of `RUN/listener.sock`: one connection per request, and patience where a request is worth it.

use crate::control::client::{AskError, Client};
use crate::control::{Answer, Request};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// Where the daemon answers.
#[derive(Debug)]
pub(super) struct Daemon {
    socket: PathBuf,
}

impl Daemon {
    pub(super) fn at(socket: PathBuf) -> Daemon {
        Daemon { socket }
    }

    /// Asks once.
    pub(super) fn ask(&self, request: &Request, patience: Duration) -> Result<Answer, AskError> {
        self.converse(request, patience).map(|(_, answer)| answer)
    }

    /// Asks until somebody answers: a daemon that is being restarted is back within moments. A request whose
    /// connection broke is asked again, so it must be one that may arrive twice. The connection is returned for a
    /// stream that may follow the answer.
    pub(super) fn insist(&self, request: &Request, patience: Duration) -> Result<(Client, Answer), AskError> {
        let deadline = Instant::now() + patience;
        let mut pause = Duration::from_millis(20);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.converse(request, left) {
                Err(AskError::Unreachable(_) | AskError::NotPermitted(_)) if pause < left => thread::sleep(pause),
                outcome => return outcome,
            }
            pause = (pause * 2).min(Duration::from_millis(500));
        }
    }

    fn converse(&self, request: &Request, patience: Duration) -> Result<(Client, Answer), AskError> {
        let mut client = Client::connect(&self.socket)?;
        // A timeout of nothing would be an error, not an answer.
        let answer = client.ask(request, Some(patience.max(Duration::from_millis(1))))?;
        Ok((client, answer))
    }
}
