//! Before anything is made: is there room, and can what the deploy needs be had at all?

use super::Task;
use crate::base::Bytes;
use crate::config::Address;
use crate::control::{Phase, StepStatus};
use crate::deploy::Worked;
use crate::os::{files, host};
use std::io;
use std::time::Duration;

/// Below this nothing is begun: a deploy that fills the disk takes the app's data down with it.
const ROOM: Bytes = Bytes(64 << 20);

impl Task<'_> {
    pub(super) fn preflight(&self) -> io::Result<Worked> {
        let app = &self.job.app;
        let dir = self.bench.place.app(&app.name);
        self.check_board()?;
        files::make_dir(&dir, 0o755)?;
        self.check_room(&dir)?;
        self.user()?;
        self.check_sockets()?;
        Ok(Worked::Done(vec![]))
    }

    /// What speaks against beginning ends it here; who forces it finds in the history what was known.
    fn check_board(&self) -> io::Result<()> {
        let objections = &self.job.objections;
        if self.job.forced {
            for objection in objections {
                self.say(&format!("forced, although {objection}"));
                let name = format!("forced, although {objection}");
                self.report(&name, Phase::Preflight, StepStatus::Warning, None, Duration::ZERO);
            }
            return Ok(());
        }
        match objections.is_empty() {
            true => Ok(()),
            false => Err(io::Error::other(format!("{}; or use --force", objections.join("; ")))),
        }
    }

    fn check_room(&self, dir: &std::path::Path) -> io::Result<()> {
        let free = host::disk(dir)?.free;
        if free >= ROOM || self.job.forced {
            return Ok(());
        }
        let why = format!(
            "the disk is full: {free} free where {} is, a deploy needs at least {ROOM}; free some space (old backups: \
             `pintle backup prune {}`) or use --force",
            dir.display(),
            self.job.app.name
        );
        Err(io::Error::new(io::ErrorKind::StorageFull, why))
    }

    /// A port somebody else holds is said now, while the old release still runs.
    fn check_sockets(&self) -> io::Result<()> {
        let addresses = self.job.app.services.values().flat_map(|service| &service.listen);
        for address in addresses {
            let address: &Address = address;
            self.bench.ports.socket(address)?;
        }
        Ok(())
    }
}
