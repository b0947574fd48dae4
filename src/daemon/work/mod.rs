//! The work of a deployment, phase by phase, each on a thread of its own outside the loop.
//!
//! [`Bench`] is what a piece of work has at hand; [`Bench::carry_out`] does it and says how it ended. Line: hands. What
//! a failure means is decided by `deploy::machine`; here it only gets its words.

mod backup;
mod fetch;
mod look;
mod preflight;
mod rehearse;
mod schedule;
mod steps;
mod tidy;
mod voice;

pub use backup::open_row;
pub use fetch::{apply_definition, is_older, resolve, thaw, thaw_live, tip};
pub use look::{Aim, look};
pub(super) use rehearse::is_at;
pub use schedule::run as run_schedule;

use super::action::Job;
use super::event::Event;
use super::hub::Hub;
use super::post::Post;
use crate::base::{DeployId, InstanceId, Moment, ReleaseName};
use crate::config::{self, StepPhase};
use crate::control::{Followed, Phase, StepReport, StepStatus};
use crate::deploy::{Work, Worked};
use crate::os::cancel::Cancel;
use crate::os::cgroup::Cgroups;
use crate::os::fdstore::FdStore;
use crate::os::git::{Limits, Mirror};
use crate::os::group::{self, Trail};
use crate::os::instances::Instances;
use crate::os::releases::{Data, Releases};
use crate::os::sensors::Sensors;
use crate::os::users::User;
use crate::runtime::environment;
use crate::runtime::place::Place;
use crate::runtime::ports::Ports;
use crate::runtime::process::Host;
use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Git work has the deploy's deadline; this bounds it where there is none (a look-up for a person).
pub(super) const GIT_PATIENCE: Duration = Duration::from_secs(60);
/// A person waits for the answer to a look-up, and less long than this; what takes longer is left to the fetch.
pub(super) const LOOK_PATIENCE: Duration = Duration::from_secs(8);

/// What every piece of work has at hand.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Bench {
    pub place: Place,
    /// The configuration directory: secret files and `pintle.env` are there.
    pub config_dir: PathBuf,
    pub environment: Arc<config::Environment>,
    pub post: Post,
    pub hub: Hub,
    pub ports: Ports,
    pub instances: Instances,
    /// What is kept for the daemon that comes after us.
    pub kept: FdStore,
    /// Where instances have control groups of their own.
    pub groups: Option<Cgroups>,
    /// The board's. Asked by one thread at a time.
    pub sensors: Arc<Mutex<Sensors>>,
}

/// One piece of work under way.
pub(super) struct Task<'a> {
    bench: &'a Bench,
    job: &'a Job,
    cancel: &'a Cancel,
}

struct Marks {
    steps: InstanceId,
    candidates: InstanceId,
}

impl Bench {
    /// What an instance is started with.
    pub(super) fn host(&self) -> Host<'_> {
        Host { place: &self.place, instances: &self.instances, groups: self.groups.as_ref() }
    }

    /// Does a piece of work and says how it ended.
    pub fn carry_out(&self, job: &Job, cancel: &Cancel) -> Worked {
        let task = Task { bench: self, job, cancel };
        let began = Moment::now();
        let result = task.carry_out();
        let worked = match result {
            Ok(worked) => worked,
            Err(_) if cancel.is_cancelled() => Worked::Cancelled,
            Err(error) => Worked::Failed(error.to_string()),
        };
        if let Some((name, phase)) = built_in(&job.work) {
            task.report(name, phase, status_of(&worked), None, Moment::now().mono.saturating_sub(began.mono));
        }
        worked
    }
}

/// What shows up among the steps beside the configured ones.
fn built_in(work: &Work) -> Option<(&'static str, Phase)> {
    match work {
        Work::Fetch => Some(("fetch", Phase::Fetch)),
        Work::Backup => Some(("backup", Phase::Backup)),
        Work::Rehearse => Some(("rehearsal", Phase::Rehearse)),
        Work::RestoreData => Some(("restore data", Phase::Switch)),
        _ => None,
    }
}

fn status_of(worked: &Worked) -> StepStatus {
    match worked {
        Worked::Done(_) | Worked::Fetched { .. } | Worked::BackedUp(_) => StepStatus::Success,
        Worked::Refused(_) | Worked::Failed(_) | Worked::Unready(_) => StepStatus::Failed,
        Worked::Cancelled => StepStatus::Cancelled,
    }
}

impl Task<'_> {
    fn carry_out(&self) -> io::Result<Worked> {
        match &self.job.work {
            Work::Preflight => self.preflight(),
            Work::Fetch => self.fetch(),
            Work::Steps(phase) => self.steps(*phase),
            Work::Backup => self.back_up(),
            Work::Rehearse => self.rehearse(),
            Work::RestoreData => self.restore_data(),
            Work::Point(release) => self.point(release.as_ref()),
            Work::Discard => self.discard(),
            Work::Tidy => self.tidy(),
        }
    }

    fn releases(&self) -> Releases {
        Releases::new(&self.bench.place.app(&self.job.app.name))
    }
    fn mirror(&self) -> io::Result<Mirror> {
        Mirror::open(&self.bench.place.app(&self.job.app.name), &self.job.app.source)
    }
    /// The app's user, where the daemon may become it.
    fn user(&self) -> io::Result<Option<User>> {
        environment::user(self.job.app.user.as_deref())
    }
    fn number(&self) -> DeployId {
        self.job.number
    }
    /// The mark of this deployment's steps, and that of its candidates: far above the numbers of instances, so that
    /// the sweep behind one never finds another.
    fn marks(&self) -> Marks {
        let number = self.number().0;
        Marks { steps: InstanceId((1 << 62) + number), candidates: InstanceId((1 << 61) + number) }
    }
    /// Ends whatever carries a mark, wherever it went.
    fn sweep(&self, mark: InstanceId) {
        let trail = Trail { marker: self.bench.instances.marker(mark), since: 0 };
        group::sweep(&[trail], &BTreeSet::new());
    }
    fn say(&self, line: &str) {
        self.bench.hub.say(self.number(), line);
    }
    fn output(&self) -> impl FnMut(&[u8]) {
        let (hub, number) = (self.bench.hub.clone(), self.number());
        move |bytes: &[u8]| hub.output(number, bytes)
    }
    fn with_limits<T>(&self, work: impl FnOnce(&mut Limits<'_>) -> io::Result<T>) -> io::Result<T> {
        let mut output = self.output();
        work(&mut Limits::new(self.job.app.deploy.timeout.max(GIT_PATIENCE), self.cancel, &mut output))
    }

    fn report(&self, name: &str, phase: Phase, status: StepStatus, exit: Option<i32>, took: Duration) {
        self.report_with(name, phase, status, exit, took, vec![]);
    }

    /// With the last lines that it printed.
    fn report_with(
        &self,
        name: &str,
        phase: Phase,
        status: StepStatus,
        exit: Option<i32>,
        took: Duration,
        words: Vec<String>,
    ) {
        let step = StepReport { name: name.into(), phase, status, exit, duration_seconds: took.as_secs_f64() };
        self.bench.hub.step(self.number(), Followed::Step(step.clone()));
        self.bench.post.send(Event::Stepped { number: self.number(), step, words });
    }

    /// Points `current` at a release that leads to the real data, and tells the loop its definition.
    fn point(&self, release: Option<&ReleaseName>) -> io::Result<Worked> {
        let (releases, app) = (self.releases(), self.job.app.name.clone());
        let pointed = self.try_to_point(release);
        // A rename whose sync failed has happened all the same: the link is asked, not the error.
        let live = releases.current().unwrap_or_else(|_| release.cloned());
        self.bench.post.send(Event::Pointed { app, release: live });
        pointed.map(|()| Worked::Done(vec![]))
    }

    /// Why a service could not even be started: a file of its environment that nobody has put there yet.
    fn missing_env_file(&self) -> Option<String> {
        let (app, release) = (&self.job.app, self.job.release.as_ref()?);
        let dir = self.bench.place.working_dir(app, release);
        app.services.values().find_map(|service| {
            let missing = service.env_file.iter().find(|file| !dir.join(file).exists())?;
            let (file, name, shared) = (missing.display(), &service.name, self.bench.place.shared(&app.name));
            Some(format!(
                "env_file {file} of service {name} does not exist: put it into {} (if it is one of [source] shared), or into \
                 the repository; then deploy again",
                shared.display()
            ))
        })
    }

    fn try_to_point(&self, release: Option<&ReleaseName>) -> io::Result<()> {
        let (releases, app) = (self.releases(), self.job.app.name.clone());
        match release {
            Some(release) => {
                let thawed = thaw(self.bench, &self.job.app, release);
                let source = &thawed.definition.source;
                releases.link_shared(release, source, Data::Real, self.user()?.as_ref())?;
                // Whatever was changed while it was live before: code is run as it was meant with it.
                releases.take_back(release)?;
                self.bench.post.send(Event::Thawed { app, thawed });
                releases.point(release)
            }
            None => releases.unpoint(),
        }
    }

    /// Before Switch: whatever was made for a release that will not be.
    fn discard(&self) -> io::Result<Worked> {
        crate::os::files::remove_tree(&self.bench.place.scratch(&self.job.app.name))?;
        let releases = self.releases();
        let mine = self.job.kind == crate::deploy::Kind::Deploy;
        if let Some(release) = self.job.release.as_ref().filter(|_| mine)
            && releases.current()?.as_ref() != Some(release)
        {
            releases.remove(release)?;
        }
        Ok(Worked::Done(vec![]))
    }

    fn phase_of(phase: StepPhase) -> Phase {
        match phase {
            StepPhase::Build => Phase::Build,
            StepPhase::Test => Phase::Test,
            StepPhase::Migrate => Phase::Migrate,
            StepPhase::Smoke => Phase::Verify,
            StepPhase::After => Phase::Done,
        }
    }
}
