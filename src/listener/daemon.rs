//! The asking side of `RUN/listener.sock`: connections that are used again, and patience where a request is worth it.

use crate::control::client::{AskError, Client};
use crate::control::{Answer, Request};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Connections kept for the next request. The daemon closes those that stay idle.
const IDLE: usize = 4;

/// Where the daemon answers.
#[derive(Debug)]
pub(super) struct Daemon {
    socket: PathBuf,
    idle: Mutex<Vec<Client>>,
}

impl Daemon {
    pub(super) fn at(socket: PathBuf) -> Daemon {
        Daemon { socket, idle: Mutex::default() }
    }

    /// Asks once.
    pub(super) fn ask(&self, request: &Request, patience: Duration) -> Result<Answer, AskError> {
        let (client, answer) = self.converse(request, patience)?;
        self.keep(client);
        Ok(answer)
    }

    /// [`Daemon::insist`] where no stream follows.
    pub(super) fn insist_on_answer(&self, request: &Request, patience: Duration) -> Result<Answer, AskError> {
        let (client, answer) = self.insist(request, patience)?;
        self.keep(client);
        Ok(answer)
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

    /// Over a connection from before, where there is one and it still works: its daemon may be gone by now.
    fn converse(&self, request: &Request, patience: Duration) -> Result<(Client, Answer), AskError> {
        // A timeout of nothing would be an error, not an answer.
        let patience = Some(patience.max(Duration::from_millis(1)));
        while let Some(mut client) = self.kept() {
            match client.ask(request, patience) {
                Err(AskError::Unreachable(_)) => {}
                outcome => return outcome.map(|answer| (client, answer)),
            }
        }
        let mut client = Client::connect(&self.socket)?;
        let answer = client.ask(request, patience)?;
        Ok((client, answer))
    }

    /// Asks several at once and adds what is answered to `answers`, in order; those that are left when it fails can be
    /// asked again. `patience` is for all of it, also where a connection from before turns out to be dead.
    pub(super) fn ask_all(
        &self,
        requests: &[Request],
        patience: Duration,
        answers: &mut Vec<Answer>,
    ) -> Result<(), AskError> {
        let until = Instant::now() + patience;
        let left = || until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let (kept, before) = (self.kept(), answers.len());
        if let Some(mut client) = kept {
            match client.ask_all(requests, left(), answers) {
                Ok(()) => {
                    self.keep(client);
                    return Ok(());
                }
                // Its daemon was gone before it heard any of them.
                Err(AskError::Unreachable(_)) if answers.len() == before => {}
                Err(error) => return Err(error),
            }
        }
        let mut client = Client::connect(&self.socket)?;
        client.ask_all(requests, left(), answers)?;
        self.keep(client);
        Ok(())
    }

    fn kept(&self) -> Option<Client> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn keep(&self, client: Client) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE {
            idle.push(client);
        }
    }
}
