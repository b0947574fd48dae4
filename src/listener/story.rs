//! A deployment's story as the daemon tells it, through a daemon that goes away and comes back.
//!
//! The daemon tells it from its beginning each time. A line of the log has its place in the file; what was heard before
//! is skipped by that place, on this connection or on one of an earlier listener. Line: what a line looks like to a
//! client is for `live` and `wait`.

use super::daemon::Daemon;
use crate::base::DeployId;
use crate::control::client::{AskError, Client};
use crate::control::{Answer, Followed, Phase, Request};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long a daemon that went away in the middle of a deploy may take to be back.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often it may go away without having told anything new. It also lets go of a follower that lags behind.
const ATTEMPTS: u32 = 4;

/// A place in the log: so many of its lines, those that name a phase among them.
pub(super) type Place = u64;

/// A deployment that is followed.
pub(super) struct Story {
    number: DeployId,
    client: Client,
    /// How far the daemon is in telling it this time.
    heard: Place,
    /// How far it was ever told.
    told: Place,
    /// Steps have no place in the log: each is told once by its name.
    steps: BTreeSet<(Phase, String)>,
    /// Connections in a row that brought nothing new.
    barren: u32,
}

/// Why a story is not told.
#[derive(Debug)]
pub(super) enum Untold {
    /// The daemon will not: there is no such deployment, or it was not started from outside.
    Refused(Box<Answer>),
    /// It does not answer.
    Unheard(AskError),
}

impl Untold {
    /// Whether there is no such deployment, or none that was started from outside.
    pub(super) fn is_unknown(&self) -> bool {
        matches!(self, Untold::Refused(answer) if matches!(**answer, Answer::Error { exit: 64 | 77, .. }))
    }
}

impl Story {
    /// Follows deployment `number` from the line after place `after`; waits `patience` for a daemon that is away.
    pub(super) fn open(daemon: &Daemon, number: DeployId, after: Place, patience: Duration) -> Result<Story, Untold> {
        let client = follow(daemon, number, patience)?;
        Ok(Story { number, client, heard: 0, told: after, steps: BTreeSet::new(), barren: 0 })
    }

    /// Which deployment it is of.
    pub(super) fn number(&self) -> DeployId {
        self.number
    }

    /// What comes next, and how far into the log it leads; `None` when nothing came within `patience`. An error when
    /// the daemon went away for good: the deployment continues without anybody listening.
    pub(super) fn next(&mut self, daemon: &Daemon, patience: Duration) -> Result<Option<(Place, Followed)>, Untold> {
        loop {
            match self.client.next_followed(patience) {
                Ok(None) => return Ok(None),
                Ok(Some(line)) if self.is_new(&line) => {
                    self.barren = 0;
                    return Ok(Some((self.told, line)));
                }
                Ok(Some(_)) => {}
                Err(error) => {
                    log::debug!("deployment {} is followed anew: {error}", self.number);
                    self.barren += 1;
                    if self.barren >= ATTEMPTS {
                        return Err(Untold::Unheard(error));
                    }
                    self.client = follow(daemon, self.number, PATIENCE)?;
                    self.heard = 0;
                }
            }
        }
    }

    fn is_new(&mut self, line: &Followed) -> bool {
        match line {
            Followed::Phase { .. } | Followed::Log { .. } => {
                self.heard += 1;
                let new = self.heard > self.told;
                self.told = self.told.max(self.heard);
                new
            }
            Followed::Step(step) => self.steps.insert((step.phase, step.name.clone())),
            Followed::End { .. } => true,
        }
    }
}

fn follow(daemon: &Daemon, number: DeployId, patience: Duration) -> Result<Client, Untold> {
    match daemon.insist(&Request::Follow { number }, patience) {
        Ok((client, Answer::Stream)) => Ok(client),
        Ok((_, answer)) => Err(Untold::Refused(Box::new(answer))),
        Err(error) => Err(Untold::Unheard(error)),
    }
}

impl std::fmt::Display for Untold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Untold::Refused(answer) => match &**answer {
                Answer::Error { message, .. } => f.write_str(message),
                other => write!(f, "unexpected answer {other:?}"),
            },
            Untold::Unheard(error) => write!(f, "{error}"),
        }
    }
}
