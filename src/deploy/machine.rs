//! One deployment, walked event by event.
//!
//! ```text
//! Preflight -> Fetch -> Build -> Test -> Backup -> Rehearse -> Migrate -> Switch -> Verify -> Probation -> Done
//!   a failure before Switch: what was made is discarded, what runs was never touched          (Failed)
//!   a failure from Switch on: the previous release back, verified by its own health check     (RolledBack | RollbackFailed)
//! ```
//! Intent first: every phase begins with a [`Fact`] that must be on disk ([`Input::Recorded`]) before its work starts.
//! The machine waits for exactly one thing at a time, its `Stage`; all of them together end by `[deploy] timeout`.

use super::gate::Waits;
use super::language::{End, Fact, Input, Output, Work, Worked};
use super::outcome;
use super::plan::{Kind, Plan};
use crate::base::{AppName, BackupId, CommitId, DeployId, ReleaseName, Span};
use crate::config::StepPhase;
use crate::control::{DeployStatus, Pass, Phase, Trigger};
use std::time::Duration;

/// The one thing a deployment waits for.
#[derive(Debug, Clone, PartialEq)]
enum Stage {
    Queued,
    Recording,
    Working(Work),
    /// Services stop before the data or the schema changes.
    Emptying,
    /// Services are handed over.
    Settling,
    Verifying {
        until: Duration,
    },
    Probation {
        until: Duration,
    },
    Ending(End),
    Ended,
}

/// Deadlines of a deployment, from `[deploy]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Deadlines {
    pub timeout: Duration,
    pub startup: Duration,
    pub probation: Duration,
}

/// One deployment.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// Its number.
    pub number: DeployId,
    /// Its app.
    pub app: AppName,
    /// What started it.
    pub trigger: Trigger,
    /// Ordered with `--force`.
    pub forced: bool,
    /// What lets it past gates.
    pub pass: Pass,
    /// The gates it waits at, as people were told; `None`: it may begin.
    pub waiting: Option<Waits>,
    /// The interrupted deployment it repeats.
    pub retry_of: Option<DeployId>,
    /// What was asked for: a commit, full or not; `None`: the branch's tip.
    pub requested: Option<String>,
    /// Commits it superseded while it waited. Deliveries may come in the wrong order: should one of these be newer,
    /// it is the one that counts.
    pub rivals: Vec<CommitId>,
    /// The commit, once known.
    pub commit: Option<CommitId>,
    /// The release, once it is on disk.
    pub release: Option<ReleaseName>,
    /// What was live when it began; where a failure goes back to.
    pub previous: Option<ReleaseName>,
    /// The backup made on the way.
    pub backup: Option<BackupId>,
    /// What the last bad look of a probe said.
    pub last_look: Option<String>,
    /// It was interrupted and goes back; once it ended, it is tried again.
    pub retry_after: bool,
    /// Its release was seen to be well.
    pub passed_verify: bool,
    /// The app is stopped by a person: nothing is started, nothing can be verified.
    pub app_is_stopped: bool,
    plan: Plan,
    deadlines: Deadlines,
    phase: Phase,
    stage: Stage,
    /// Why it goes back, once it does.
    going_back: Option<Failure>,
    /// Why it ends, while its work is being cancelled.
    cancelling: Option<Failure>,
    /// By when all must be done: of the deploy, then anew of the rollback.
    overall: Option<Duration>,
    emptied: bool,
    remarks: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
struct Failure {
    phase: Phase,
    why: String,
    status: DeployStatus,
    /// The commit is to blame: it is not tried again by itself.
    quarantine: bool,
}

impl Deployment {
    /// A deployment that has not begun.
    pub fn new(number: DeployId, app: AppName, trigger: Trigger, plan: Plan, deadlines: Deadlines) -> Deployment {
        Deployment {
            number,
            app,
            trigger,
            forced: false,
            pass: Pass::None,
            waiting: None,
            retry_of: None,
            requested: None,
            rivals: vec![],
            commit: None,
            release: match &plan.kind {
                Kind::Rollback { to, .. } => Some(to.clone()),
                _ => None,
            },
            previous: None,
            backup: None,
            last_look: None,
            retry_after: false,
            passed_verify: false,
            app_is_stopped: false,
            phase: plan.after(None),
            plan,
            deadlines,
            stage: Stage::Queued,
            going_back: None,
            cancelling: None,
            overall: None,
            emptied: false,
            remarks: vec![],
        }
    }

    /// The phase it is in, or will begin with.
    pub fn phase(&self) -> Phase {
        self.phase
    }
    /// What it does.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }
    /// How late it was asked for: a retry stands where the deployment stood that it repeats.
    pub fn rank(&self) -> DeployId {
        self.retry_of.unwrap_or(self.number)
    }
    /// It has not begun.
    pub fn is_queued(&self) -> bool {
        self.stage == Stage::Queued
    }
    /// Its release's services are under its eye: an end of one of them is its business first.
    pub fn watches_services(&self) -> bool {
        matches!(self.phase, Phase::Switch | Phase::Verify | Phase::Probation) && self.going_back.is_none()
    }
    /// It waits for services to be as it asked.
    pub fn waits_for_services(&self) -> bool {
        matches!(self.stage, Stage::Settling | Stage::Emptying)
    }
    /// It waits for what probes say.
    pub fn waits_for_health(&self) -> bool {
        matches!(self.stage, Stage::Verifying { .. } | Stage::Probation { .. })
    }
    /// Its end is being written down.
    pub fn is_ending(&self) -> bool {
        matches!(self.stage, Stage::Ending(_))
    }
    /// A worker is busy for it.
    pub fn is_working(&self) -> bool {
        matches!(self.stage, Stage::Working(_))
    }
    /// When [`Input::Tick`] is due, on the monotonic clock.
    pub fn deadline(&self) -> Option<Duration> {
        let stage = match self.stage {
            Stage::Verifying { until } | Stage::Probation { until } => Some(until),
            Stage::Queued | Stage::Recording | Stage::Ending(_) | Stage::Ended => return None,
            _ => None,
        };
        let overall = self.overall.filter(|_| self.cancelling.is_none());
        [stage, overall].into_iter().flatten().min()
    }

    /// Goes on where a daemon that is gone had got to with a release that passed its verification.
    pub fn resume_watching(&mut self, now: Duration) -> Vec<Output> {
        self.overall = Some(now + self.deadlines.timeout);
        self.phase = Phase::Verify;
        self.settle_on(self.release.clone())
    }

    /// Goes back because the daemon ended between Switch and the end of Verify.
    pub fn resume_going_back(&mut self, now: Duration, interrupted_in: Phase) -> Vec<Output> {
        let why = "the daemon ended in the middle of the deploy (a crash or a power cut)".to_string();
        let status = DeployStatus::RolledBack;
        self.go_back(now, Failure { phase: interrupted_in, why, status, quarantine: false })
    }

    /// Takes one input at `now` (monotonic) and says what is to be done.
    pub fn on(&mut self, now: Duration, input: Input) -> Vec<Output> {
        match (self.stage.clone(), input) {
            (Stage::Ended, _) => vec![],
            (Stage::Ending(end), Input::Recorded(written)) => self.finish(end, written),
            (Stage::Ending(_), _) => vec![],

            (Stage::Queued, Input::Start) => self.announce(self.phase),
            (Stage::Queued, Input::Cancel(why)) => self.end(DeployStatus::Cancelled, None, Some(why)),
            (Stage::Queued, _) => vec![],

            (Stage::Recording, Input::Recorded(Ok(()))) => match self.cancelling.take() {
                Some(failure) => self.turn_back(now, failure),
                None => self.begin(now),
            },
            (Stage::Recording, Input::Recorded(Err(why))) => self.diary_failed(now, why),

            (Stage::Working(work), Input::Worked(result)) => self.worked(now, work, result),
            (Stage::Emptying, Input::Settled) => self.emptied(),
            (Stage::Settling, Input::Settled) => self.settled(now),
            (Stage::Verifying { .. }, Input::Well) => self.well(),
            (Stage::Verifying { .. }, Input::Tick) if self.app_is_stopped => self.verify(now),
            (Stage::Verifying { until }, Input::Tick) if now >= until => {
                let limit = Span(self.deadlines.startup);
                let seen = self.last_look.iter().map(|look| format!(": {look}")).collect::<String>();
                self.fail(now, format!("not healthy within {limit} (`[deploy] startup`){seen}"), true)
            }
            (Stage::Probation { until }, Input::Tick) if now >= until => self.announce(Phase::Done),
            (Stage::Probation { .. }, Input::Unwell(why)) => {
                self.fail(now, format!("unhealthy in probation: {why}"), true)
            }

            (_, Input::Tripped(why)) if self.watches_services() => self.trip(now, why, true),
            (_, Input::Unreachable(why)) if self.watches_services() => self.trip(now, why, false),
            (_, Input::Cancel(why)) => self.cancel(now, why),
            (_, Input::Tick) if self.overall.is_some_and(|at| now >= at) => self.overdue(now),
            _ => vec![],
        }
    }

    /// Writes down that `phase` is about to begin.
    fn announce(&mut self, phase: Phase) -> Vec<Output> {
        self.phase = phase;
        self.stage = Stage::Recording;
        let passed = (phase == Phase::Probation).then_some(Fact::PassedVerify);
        self.passed_verify |= passed.is_some();
        let blamed = (phase == Phase::Rollback).then(|| self.blame()).flatten();
        let facts = passed.into_iter().chain(blamed).chain([Fact::Phase(phase)]).collect();
        vec![Output::Record(facts)]
    }

    /// The intent is on disk: the phase's work.
    fn begin(&mut self, now: Duration) -> Vec<Output> {
        if self.overall.is_none() && self.phase != Phase::Preflight {
            self.overall = Some(now + self.deadlines.timeout);
        }
        match self.phase {
            Phase::Preflight => self.work(Work::Preflight),
            Phase::Fetch => self.work(Work::Fetch),
            Phase::Build => self.work(Work::Steps(StepPhase::Build)),
            Phase::Test => self.work(Work::Steps(StepPhase::Test)),
            Phase::Backup => self.work(Work::Backup),
            Phase::Rehearse => self.work(Work::Rehearse),
            Phase::Migrate if self.plan.migrate_stopped => self.empty(),
            Phase::Migrate => self.work(Work::Steps(StepPhase::Migrate)),
            Phase::Switch if self.restores_data() => self.empty(),
            Phase::Switch => self.work(Work::Point(self.release.clone())),
            Phase::Verify => self.verify(now),
            Phase::Probation => self.probation(now),
            Phase::Done => self.clean_up(now),
            Phase::Rollback => match self.previous.clone() {
                Some(previous) => self.work(Work::Point(Some(previous))),
                None => self.empty(),
            },
        }
    }

    fn work(&mut self, work: Work) -> Vec<Output> {
        self.stage = Stage::Working(work.clone());
        vec![Output::Work(work)]
    }

    fn empty(&mut self) -> Vec<Output> {
        self.stage = Stage::Emptying;
        self.emptied = true;
        vec![Output::Say("stopping the services".into()), Output::RunNothing]
    }

    fn emptied(&mut self) -> Vec<Output> {
        match self.phase {
            Phase::Migrate => self.work(Work::Steps(StepPhase::Migrate)),
            Phase::Switch => self.work(Work::RestoreData),
            _ => self.work(Work::Point(None)),
        }
    }

    fn worked(&mut self, now: Duration, work: Work, result: Worked) -> Vec<Output> {
        if let Some(failure) = self.cancelling.take() {
            return self.turn_back(now, failure);
        }
        match (work, result) {
            (Work::Discard, _) => self.end_as_failed(),
            (Work::Tidy, result) => {
                self.remark(result);
                self.succeed()
            }
            (Work::Steps(StepPhase::After), result) => {
                self.remark(result);
                self.work(Work::Tidy)
            }
            (Work::Fetch, Worked::Fetched { commit, release }) => {
                self.commit = Some(commit.clone());
                self.release = Some(release.clone());
                let mut outputs = self.announce(self.plan.after(Some(Phase::Fetch)));
                outputs.iter_mut().for_each(|output| {
                    if let Output::Record(facts) = output {
                        facts.insert(0, Fact::Identified { commit: commit.clone(), release: release.clone() });
                    }
                });
                outputs
            }
            (_, Worked::BackedUp(id)) => {
                self.backup = Some(id);
                self.announce(self.plan.after(Some(self.phase)))
            }
            (_, Worked::Refused(why)) => {
                let status = DeployStatus::Refused;
                self.turn_back(now, Failure { phase: self.phase, why, status, quarantine: false })
            }
            (Work::Rehearse, Worked::Failed(why)) => self.fail(now, why, true),
            (Work::Steps(StepPhase::Smoke), Worked::Failed(_)) if self.app_is_stopped => self.verify(now),
            (Work::Steps(StepPhase::Smoke), Worked::Failed(why)) => self.fail(now, why, true),
            (_, Worked::Failed(why) | Worked::Unready(why)) => self.fail(now, why, false),
            (_, Worked::Cancelled) => self.fail(now, "its work was ended from outside".into(), false),
            (Work::RestoreData, _) => self.work(Work::Point(self.release.clone())),
            (Work::Point(Some(release)), _) => self.settle_on(Some(release)),
            (Work::Point(None), _) => self.end_as_failed(),
            (Work::Steps(StepPhase::Smoke), result) => {
                self.remark(result);
                self.announce(Phase::Probation)
            }
            (_, result) => {
                self.remark(result);
                self.announce(self.plan.after(Some(self.phase)))
            }
        }
    }

    fn restores_data(&self) -> bool {
        matches!(self.plan.kind, Kind::Rollback { data: Some(_), .. })
    }

    fn settle_on(&mut self, release: Option<ReleaseName>) -> Vec<Output> {
        self.stage = Stage::Settling;
        match release {
            Some(release) => vec![Output::Say(format!("handing over to {release}")), Output::Run(release)],
            None => vec![Output::RunNothing],
        }
    }

    /// The services were handed over and nothing of the other side is left.
    fn settled(&mut self, now: Duration) -> Vec<Output> {
        match (&self.going_back, self.phase) {
            (Some(_), _) => self.verify(now),
            (None, Phase::Verify) => self.verify(now),
            (None, _) => self.announce(Phase::Verify),
        }
    }

    fn verify(&mut self, now: Duration) -> Vec<Output> {
        if self.app_is_stopped {
            let said = Output::Say("the app is stopped: nothing was started, nothing could be verified".into());
            self.remarks.push("not verified: the app is stopped (`pintle start` starts it)".into());
            let mut outputs = vec![said];
            outputs.extend(if self.going_back.is_some() { self.back_is_well() } else { self.announce(Phase::Done) });
            return outputs;
        }
        self.stage = Stage::Verifying { until: now + self.deadlines.startup };
        vec![Output::Verify]
    }

    fn well(&mut self) -> Vec<Output> {
        if self.going_back.is_some() {
            return self.back_is_well();
        }
        match self.plan.smoke {
            true => self.work(Work::Steps(StepPhase::Smoke)),
            false => self.announce(Phase::Probation),
        }
    }

    fn probation(&mut self, now: Duration) -> Vec<Output> {
        let span = self.deadlines.probation;
        if span.is_zero() {
            return self.announce(Phase::Done);
        }
        // What is verified and well must not be turned back because its build was slow: probation has its own length.
        self.overall = None;
        self.stage = Stage::Probation { until: now + span };
        vec![Output::Watch(span)]
    }

    /// What follows a deploy has a time of its own: the deploy's ends with its probation.
    fn clean_up(&mut self, now: Duration) -> Vec<Output> {
        self.overall = Some(now + self.deadlines.timeout);
        self.work(if self.plan.after { Work::Steps(StepPhase::After) } else { Work::Tidy })
    }

    fn succeed(&mut self) -> Vec<Output> {
        let message = (!self.remarks.is_empty()).then(|| self.remarks.join("; "));
        self.end(DeployStatus::Success, None, message)
    }

    /// A failure in the present phase.
    fn fail(&mut self, now: Duration, why: String, quarantine: bool) -> Vec<Output> {
        let status = if self.phase >= Phase::Switch { DeployStatus::RolledBack } else { DeployStatus::Failed };
        self.turn_back(now, Failure { phase: self.phase, why, status, quarantine })
    }

    /// What is put right depends on how far it had come.
    fn turn_back(&mut self, now: Duration, failure: Failure) -> Vec<Output> {
        let mut outputs = vec![Output::Say(format!("{} failed: {}", failure.phase, failure.why))];
        if self.going_back.is_some() {
            outputs.extend(self.back_failed(failure.why));
        } else if self.phase >= Phase::Switch && self.phase != Phase::Done {
            outputs.extend(self.go_back(now, failure));
        } else {
            outputs.extend(self.undo(now, failure));
        }
        outputs
    }

    /// What runs was not touched (but perhaps stopped for a migration): what was made goes.
    fn undo(&mut self, now: Duration, failure: Failure) -> Vec<Output> {
        let was_stopped = std::mem::take(&mut self.emptied);
        let mut outputs: Vec<Output> =
            self.previous.clone().filter(|_| was_stopped).map(Output::Run).into_iter().collect();
        self.going_back = Some(failure);
        outputs.extend(match self.plan.kind {
            Kind::Deploy => {
                self.overall = Some(now + self.deadlines.timeout);
                self.work(Work::Discard)
            }
            // The release a rollback goes to was made by somebody else.
            Kind::BackupOnly | Kind::Rollback { .. } => self.end_as_failed(),
        });
        outputs
    }

    fn go_back(&mut self, now: Duration, failure: Failure) -> Vec<Output> {
        self.overall = Some(now + self.deadlines.timeout);
        self.going_back = Some(failure);
        self.announce(Phase::Rollback)
    }

    fn back_is_well(&mut self) -> Vec<Output> {
        let Some(failure) = self.going_back.clone() else { return vec![] };
        let back = self.previous.as_ref().map_or("nothing".to_string(), |release| release.to_string());
        let health = if self.app_is_stopped { "which was not started: the app is stopped" } else { "which is healthy" };
        let kept = self.what_migrations_left();
        let message = format!("{} failed: {}; rolled back to {back}, {health}{kept}", failure.phase, failure.why);
        self.end(DeployStatus::RolledBack, Some(failure.phase), Some(message))
    }

    fn back_failed(&mut self, why: String) -> Vec<Output> {
        let first = self.going_back.clone().map(|failure| format!("{} failed: {}; ", failure.phase, failure.why));
        let phase = self.going_back.as_ref().map_or(self.phase, |failure| failure.phase);
        let (first, kept) = (first.unwrap_or_default(), self.what_migrations_left());
        let message = format!("{first}the rollback failed too and needs a person: {why}{kept}");
        self.end(DeployStatus::RollbackFailed, Some(phase), Some(message))
    }

    /// Code goes back, a schema does not: said plainly, with the way to the data as it was.
    fn what_migrations_left(&self) -> String {
        if !self.plan.phases.contains(&Phase::Migrate) {
            return String::new();
        }
        let app = &self.app;
        match &self.backup {
            Some(id) => {
                format!("; the migrations were NOT undone (`pintle backup restore {app} {id}` brings the data back)")
            }
            None => "; the migrations were NOT undone".into(),
        }
    }

    /// The end of a deploy that failed with nothing live behind it, or before anything was touched.
    fn end_as_failed(&mut self) -> Vec<Output> {
        let Some(failure) = self.going_back.clone() else { return vec![] };
        let no_way_back = self.phase == Phase::Rollback;
        let (status, message) = match no_way_back {
            true => (DeployStatus::Failed, format!("{}; there was no release to go back to", failure.why)),
            false => (failure.status, failure.why.clone()),
        };
        self.end(status, Some(failure.phase), Some(message))
    }

    fn end(&mut self, status: DeployStatus, failed: Option<Phase>, message: Option<String>) -> Vec<Output> {
        let phase = if status == DeployStatus::Success { Phase::Done } else { failed.unwrap_or(self.phase) };
        let end = End { status, phase, failed, message, exit: outcome::exit_code(status, failed) };
        let blamed = if self.phase < Phase::Switch { self.blame() } else { None };
        let facts = blamed.into_iter().chain([Fact::Ended(end.clone())]).collect();
        self.stage = Stage::Ending(end);
        vec![Output::Record(facts)]
    }

    /// The fact that keeps a bad commit from being tried again by itself. It goes to disk with the intent to turn back.
    fn blame(&self) -> Option<Fact> {
        let failure = self.going_back.as_ref().filter(|failure| failure.quarantine)?;
        let commit = self.commit.clone().filter(|_| self.plan.kind == Kind::Deploy)?;
        Some(Fact::Quarantined { commit, why: format!("{} failed: {}", failure.phase, failure.why) })
    }

    fn finish(&mut self, end: End, written: Result<(), String>) -> Vec<Output> {
        self.stage = Stage::Ended;
        let mut outputs = vec![];
        if let Err(why) = written {
            outputs.push(Output::Say(format!("the end could not be written to the diary yet: {why}")));
        }
        outputs.push(Output::Finished(end));
        outputs
    }

    fn trip(&mut self, now: Duration, why: String, quarantine: bool) -> Vec<Output> {
        let status = DeployStatus::RolledBack;
        self.interrupt(now, Failure { phase: self.phase, why, status, quarantine })
    }

    fn cancel(&mut self, now: Duration, why: String) -> Vec<Output> {
        let past_the_point = self.going_back.is_some() || self.phase == Phase::Done;
        if past_the_point || self.cancelling.is_some() {
            return vec![];
        }
        let status = if self.phase >= Phase::Switch { DeployStatus::RolledBack } else { DeployStatus::Cancelled };
        self.interrupt(now, Failure { phase: self.phase, why, status, quarantine: false })
    }

    /// The overall deadline passed.
    fn overdue(&mut self, now: Duration) -> Vec<Output> {
        let limit = Span(self.deadlines.timeout);
        if self.going_back.is_some() {
            self.overall = None;
            return match self.stage {
                Stage::Working(Work::Discard) => vec![Output::CancelWork],
                Stage::Working(_) => {
                    let why = format!("not done within {limit}");
                    let status = DeployStatus::RollbackFailed;
                    self.cancelling = Some(Failure { phase: Phase::Rollback, why, status, quarantine: false });
                    vec![Output::CancelWork]
                }
                _ => self.back_failed(format!("not done within {limit}")),
            };
        }
        if self.phase == Phase::Done {
            self.overall = Some(now + self.deadlines.timeout);
            return vec![Output::CancelWork];
        }
        let why = format!("the deploy's time of {limit} was up (`[deploy] timeout`)");
        let status = if self.phase >= Phase::Switch { DeployStatus::RolledBack } else { DeployStatus::Failed };
        self.interrupt(now, Failure { phase: self.phase, why, status, quarantine: self.phase >= Phase::Switch })
    }

    fn interrupt(&mut self, now: Duration, failure: Failure) -> Vec<Output> {
        match self.stage {
            _ if self.cancelling.is_some() => vec![],
            // Work is ended first; an intent on its way to the disk is waited for.
            Stage::Working(_) => {
                self.cancelling = Some(failure);
                vec![Output::CancelWork]
            }
            Stage::Recording => {
                self.cancelling = Some(failure);
                vec![]
            }
            _ => self.turn_back(now, failure),
        }
    }

    fn diary_failed(&mut self, now: Duration, why: String) -> Vec<Output> {
        let why = format!("the diary could not be written: {why}");
        match self.going_back {
            // Going back must not depend on the disk: the previous release is worth more than its record.
            Some(_) => {
                let mut outputs = vec![Output::Say(why)];
                outputs.extend(self.begin(now));
                outputs
            }
            None if self.phase == Phase::Done => self.begin(now),
            // The switch has not begun: there is nothing to go back from.
            None if self.phase == Phase::Switch => {
                self.cancelling = None;
                let mut outputs = vec![Output::Say(format!("{} failed: {why}", self.phase))];
                let status = DeployStatus::Failed;
                outputs.extend(self.undo(now, Failure { phase: self.phase, why, status, quarantine: false }));
                outputs
            }
            None => {
                self.cancelling = None;
                self.fail(now, why, false)
            }
        }
    }

    fn remark(&mut self, result: Worked) {
        match result {
            Worked::Done(remarks) => self.remarks.extend(remarks),
            Worked::Failed(why) | Worked::Refused(why) | Worked::Unready(why) => self.remarks.push(why),
            Worked::Cancelled => self.remarks.push("ended before it was done".into()),
            Worked::Fetched { .. } | Worked::BackedUp(_) => {}
        }
    }
}

#[cfg(test)]
mod tests;
