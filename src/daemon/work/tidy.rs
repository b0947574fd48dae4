//! After a deploy: what is no longer needed goes. A failure here is a remark, never a failed deploy.

use super::Task;
use super::backup::prune_backups;
use crate::deploy::{Kind, Worked};
use crate::os::files;
use std::io;

impl Task<'_> {
    pub(super) fn tidy(&self) -> io::Result<Worked> {
        let mut remarks = vec![];
        let mut note = |result: io::Result<()>| remarks.extend(result.err().map(|error| error.to_string()));
        note(files::remove_tree(&self.bench.place.scratch(&self.job.app.name)));
        if self.job.kind == Kind::Deploy {
            note(self.prune_releases());
            note(self.tidy_mirror());
        }
        note(prune_backups(self.bench, &self.job.app, self.job.backup.as_slice()).map(drop));
        Ok(Worked::Done(remarks))
    }

    fn prune_releases(&self) -> io::Result<()> {
        let gone = self.releases().prune(self.job.app.source.keep_releases, &self.job.keep)?;
        for release in gone {
            self.say(&format!("removed release {release}"));
        }
        Ok(())
    }

    /// Now and then, so that years of fetches do not pile up.
    fn tidy_mirror(&self) -> io::Result<()> {
        if !self.number().0.is_multiple_of(20) {
            return Ok(());
        }
        let mirror = self.mirror()?;
        self.with_limits(|limits| mirror.tidy(limits))
    }
}
