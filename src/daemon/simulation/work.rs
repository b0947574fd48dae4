//! The workers: what each piece of a deployment's work does to the disk, how long it takes, and how it goes wrong.

use super::Simulation;
use super::host::Due;
use super::scenario::{Fault, place};
use crate::base::{AppName, BackupId, CommitId, DeployId, ReleaseName};
use crate::config::{App, StepPhase};
use crate::control::{Phase, StepReport, StepStatus};
use crate::daemon::action::Job;
use crate::daemon::event::{Event, Thawed};
use crate::deploy::{Kind, Work, Worked};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// An app's directory.
#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) releases: BTreeMap<ReleaseName, Release>,
    pub(super) current: Option<ReleaseName>,
}

#[derive(Debug)]
pub(super) struct Release {
    pub(super) commit: CommitId,
    /// Its files and its frozen definition are all there.
    pub(super) definition: Option<Arc<App>>,
    /// What a reload changed since it is live.
    pub(super) applied: Option<Arc<App>>,
    /// Its build steps went through.
    pub(super) built: bool,
}

/// A worker at work.
#[derive(Debug)]
pub(super) struct Busy {
    pub(super) job: Job,
    result: Worked,
    /// When it ends; `None`: never by itself.
    end: Option<(Duration, u64)>,
    cancelled: bool,
    /// For `Point`: what `current` was.
    before: Option<ReleaseName>,
    half_done: bool,
}

impl Disk {
    fn is_whole(&self, release: &ReleaseName) -> bool {
        self.releases.get(release).is_some_and(|release| release.definition.is_some() && release.built)
    }

    /// `current` names a complete release, or nothing.
    pub(super) fn is_sound(&self) -> bool {
        self.current.as_ref().is_none_or(|release| self.is_whole(release))
    }

    /// What an interrupted deploy left lies in the way of nobody: a new daemon removes it.
    pub(super) fn sweep(&mut self) {
        let current = self.current.clone();
        self.releases
            .retain(|name, release| Some(name) == current.as_ref() || release.definition.is_some() && release.built);
    }
}

impl Simulation {
    pub(super) fn begin_work(&mut self, job: Job) {
        self.check_work(&job);
        let result = self.result_of(&job);
        let longest = match job.work {
            Work::Preflight | Work::Point(_) | Work::Discard => Duration::from_secs(1),
            _ => Duration::from_secs(40),
        };
        let span = self.random.skewed(longest);
        let hangs = !self.calm && self.may_hang(&job) && (self.fault(&job) == Fault::Hang || self.random.percent(1));
        let now = self.now.mono;
        let half = Due::HalfWorked(job.number);
        self.schedule(now + span / 2, half);
        let number = job.number;
        let end = (!hangs).then(|| self.schedule(now + span, Due::Worked(number)));
        let before = self.disks[&job.app.name].current.clone();
        self.works.insert(number, Busy { job, result, end, cancelled: false, before, half_done: false });
    }

    fn may_hang(&self, job: &Job) -> bool {
        !matches!(job.work, Work::Preflight | Work::Point(_) | Work::Discard)
    }

    fn fault(&self, job: &Job) -> Fault {
        let commit = job.commit.as_ref().filter(|_| !self.calm);
        commit.map_or(Fault::None, |commit| self.branches[&job.app.name].fault(commit))
    }

    fn result_of(&mut self, job: &Job) -> Worked {
        let app = &job.app.name;
        if !self.calm && self.random.permille(8) {
            return Worked::Failed("a passing trouble".into());
        }
        let fault = self.fault(job);
        let fails = matches!(
            (&job.work, fault),
            (Work::Steps(StepPhase::Build), Fault::Build)
                | (Work::Steps(StepPhase::Test), Fault::Test)
                | (Work::Steps(StepPhase::Migrate), Fault::Migrate)
                | (Work::Steps(StepPhase::Smoke), Fault::Smoke)
                | (Work::Rehearse, Fault::Rehearsal)
        );
        if fails {
            return Worked::Failed(format!("{fault:?} fails"));
        }
        match &job.work {
            Work::Fetch => {
                let commit = job.commit.clone().unwrap_or_else(|| self.branches[app].tip());
                let live = job.live_commit.as_ref().map(place);
                if live.is_some_and(|live| place(&commit) < live) && !job.forced {
                    return Worked::Refused("older than what is live".into());
                }
                Worked::Fetched { release: ReleaseName::of(job.number, &commit), commit }
            }
            Work::Backup => Worked::BackedUp(self.a_backup()),
            Work::Point(Some(release)) if !self.disks[app].releases.contains_key(release) => {
                Worked::Failed(format!("there is no {release}"))
            }
            _ => Worked::Done(vec![]),
        }
    }

    pub(super) fn a_backup(&mut self) -> BackupId {
        self.backups_made += 1;
        BackupId::new(format!("20251024_200000-{:06}", self.backups_made)).expect("a backup's name")
    }

    /// A release of the app, on disk or not.
    pub(super) fn some_release(&mut self, app: &AppName) -> Option<ReleaseName> {
        let known: Vec<_> = self.promises.rows.values().filter(|row| row.app == *app).collect();
        let releases: Vec<_> = known.into_iter().filter_map(|row| row.release.clone()).collect();
        (!releases.is_empty()).then(|| self.random.pick(&releases).clone())
    }

    /// It is asked to end; what it does at its very end may be quicker.
    pub(super) fn cancel_work(&mut self, number: DeployId) {
        let Some(busy) = self.works.get_mut(&number).filter(|busy| !busy.cancelled) else { return };
        busy.cancelled = true;
        let soon = self.now.mono + self.random.span(Duration::from_secs(2));
        let finishes_first = self.random.percent(20);
        let earlier = self.works.get(&number).and_then(|busy| busy.end);
        if earlier.is_some_and(|(at, _)| at <= soon) {
            return;
        }
        earlier.and_then(|key| self.schedule.remove(&key));
        let end = self.schedule(soon, Due::Worked(number));
        if let Some(busy) = self.works.get_mut(&number) {
            busy.end = Some(end);
            if !(finishes_first && earlier.is_some()) {
                busy.result = Worked::Cancelled;
            }
        }
    }

    pub(super) fn half_worked(&mut self, number: DeployId) {
        let Some(busy) = self.works.get_mut(&number) else { return };
        busy.half_done = true;
        let Some(disk) = self.disks.get_mut(&busy.job.app.name) else { return };
        if let Work::Point(Some(release)) = &busy.job.work {
            disk.releases.get_mut(release).into_iter().for_each(|release| release.applied = None);
        }
        match (&busy.job.work, &busy.result) {
            (Work::Fetch, Worked::Fetched { commit, release }) => {
                let unfinished = Release { commit: commit.clone(), definition: None, applied: None, built: false };
                disk.releases.insert(release.clone(), unfinished);
            }
            (Work::Point(release), Worked::Done(_)) => disk.current = release.clone(),
            // The rename may be done although its sync then fails.
            (Work::Point(release), Worked::Failed(_)) if number.0.is_multiple_of(2) => {
                let is_there = release.as_ref().is_none_or(|release| disk.releases.contains_key(release));
                disk.current = if is_there { release.clone() } else { disk.current.clone() };
            }
            _ => {}
        }
    }

    pub(super) fn worked(&mut self, number: DeployId) {
        if self.works.get(&number).is_some_and(|busy| !busy.half_done) {
            self.half_worked(number);
        }
        let Some(Busy { job, result, .. }) = self.works.remove(&number) else { return };
        let app = job.app.name.clone();
        self.change_the_disk(&job, &result);
        let thawed = match (&job.work, &result) {
            (Work::Fetch, Worked::Fetched { release, .. }) => Some(release),
            // Read before the link is moved, so also where moving it is said to have failed and did not.
            (Work::Point(release), _) if self.disks[&app].current == *release => release.as_ref(),
            _ => None,
        };
        if let Some(thawed) = thawed.and_then(|release| self.thaw(&app, release)) {
            self.hear(Event::Thawed { app: app.clone(), thawed });
        }
        if let Work::Point(_) = &job.work {
            let release = self.disks[&app].current.clone();
            self.hear(Event::Pointed { app: app.clone(), release });
        }
        if let Work::Steps(_) = job.work {
            let step = StepReport {
                name: "step".into(),
                phase: Phase::Build,
                status: StepStatus::Success,
                exit: Some(0),
                duration_seconds: 1.0,
            };
            self.hear(Event::Stepped { number, step, words: vec![] });
        }
        self.hear(Event::Worked { app, number, worked: result });
    }

    fn change_the_disk(&mut self, job: &Job, result: &Worked) {
        let Some(disk) = self.disks.get_mut(&job.app.name) else { return };
        match (&job.work, result) {
            (Work::Fetch, Worked::Fetched { release, .. }) => {
                let has_build_steps = job.app.steps.iter().any(|step| step.phase == StepPhase::Build);
                if let Some(release) = disk.releases.get_mut(release) {
                    release.definition = Some(job.app.clone());
                    release.built = !has_build_steps;
                }
            }
            (Work::Steps(StepPhase::Build), Worked::Done(_)) => {
                let mine = job.release.as_ref().and_then(|release| disk.releases.get_mut(release));
                mine.into_iter().for_each(|release| release.built = true);
            }
            (Work::Discard, Worked::Done(_)) => {
                job.release.iter().for_each(|release| drop(disk.releases.remove(release)));
            }
            (Work::Tidy, Worked::Done(_)) => {
                let newest: BTreeSet<_> =
                    disk.releases.keys().rev().take(job.app.source.keep_releases as usize).cloned().collect();
                disk.releases.retain(|name, _| newest.contains(name) || job.keep.contains(name));
            }
            _ => {}
        }
    }

    fn thaw(&self, app: &AppName, release: &ReleaseName) -> Option<Thawed> {
        let kept = self.disks[app].releases.get(release)?;
        let definition = kept.definition.clone()?;
        Some(Thawed { release: release.clone(), commit: Some(kept.commit.clone()), definition })
    }

    /// The definitions that a daemon reads before it begins: of what is live, and of what runs.
    pub(super) fn definitions(&self, app: &AppName) -> Vec<Thawed> {
        let running = self.processes.values().filter(|process| process.app.as_ref() == Some(app));
        let running: BTreeSet<&ReleaseName> = running.filter_map(|process| process.release.as_ref()).collect();
        let disk = &self.disks[app];
        let follows = |thawed: Thawed| {
            let applied = disk.releases.get(&thawed.release).and_then(|release| release.applied.clone());
            Thawed { definition: applied.unwrap_or(thawed.definition), ..thawed }
        };
        let needed: BTreeSet<&ReleaseName> = disk.current.iter().chain(running).collect();
        needed.into_iter().filter_map(|release| self.thaw(app, release)).map(follows).collect()
    }

    /// The live release is meant otherwise from now on.
    pub(super) fn apply(&mut self, release: &ReleaseName, definition: Arc<App>) {
        let disk = self.disks.get_mut(&definition.name).expect("every app has a disk");
        disk.releases.get_mut(release).into_iter().for_each(|release| release.applied = Some(definition.clone()));
    }

    /// The plug was pulled: a rename that was not synced yet may never have been.
    pub(super) fn lose_unsynced_renames(&mut self) {
        let pointing: Vec<_> = self.works.values().filter(|busy| matches!(busy.job.work, Work::Point(_))).collect();
        let lost: Vec<_> = pointing.into_iter().map(|busy| (busy.job.app.name.clone(), busy.before.clone())).collect();
        for (app, before) in lost {
            if self.random.percent(50)
                && let Some(disk) = self.disks.get_mut(&app)
            {
                disk.current = before;
            }
        }
    }

    /// A deployment that makes a release, not one that goes back to one.
    pub(super) fn makes_a_release(job: &Job) -> bool {
        job.kind == Kind::Deploy
    }
}
