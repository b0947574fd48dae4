//! The configured commands of a phase, one after the other.

use super::Task;
use crate::base::{Moment, Span};
use crate::config::{Step, StepPhase};
use crate::control::{Phase, StepStatus};
use crate::deploy::Worked;
use crate::os::command::{self, Ending, Spec};
use crate::os::files;
use crate::runtime::environment::{self, StepSight};
use crate::runtime::ports::Ports;
use crate::runtime::process::{Ears, Which};
use std::io;

impl Task<'_> {
    pub(super) fn steps(&self, phase: StepPhase) -> io::Result<Worked> {
        let url = (phase == StepPhase::Smoke).then(|| self.public_url()).flatten();
        let result = self.run_steps(phase, Self::phase_of(phase), url.as_deref(), false)?;
        Ok(match (phase, result) {
            (StepPhase::Migrate, Worked::Failed(why)) => Worked::Failed(self.explain_failed_migration(&why)),
            (_, result) => result,
        })
    }

    /// Runs the steps of `kind`, reported as part of `phase`.
    pub(super) fn run_steps(
        &self,
        kind: StepPhase,
        phase: Phase,
        url: Option<&str>,
        rehearsal: bool,
    ) -> io::Result<Worked> {
        let mut remarks = vec![];
        for step in self.job.app.steps.iter().filter(|step| step.phase == kind) {
            if self.cancel.is_cancelled() {
                return Ok(Worked::Cancelled);
            }
            match self.run_step(step, phase, url, rehearsal)? {
                Ending::Exited(0) => {}
                Ending::Cancelled => return Ok(Worked::Cancelled),
                ending => {
                    let why = format!("step {:?}: {}", step.name, command::explain(ending, step.timeout));
                    if !step.warn_only {
                        return Ok(Worked::Failed(why));
                    }
                    self.say(&format!("warning: {why}; the deploy goes on"));
                    remarks.push(why);
                }
            }
        }
        Ok(Worked::Done(remarks))
    }

    fn run_step(&self, step: &Step, phase: Phase, url: Option<&str>, rehearsal: bool) -> io::Result<Ending> {
        let spec = self.spec(step, phase, url, rehearsal)?;
        self.say(&format!("-- {}: {}", step.name, step.run));
        let began = Moment::now();
        let (mut output, mut last) = (self.output(), LastLines::default());
        let mut both = |bytes: &[u8]| {
            last.hear(bytes);
            output(bytes);
        };
        let ended = command::run(&spec, step.timeout, self.cancel, &mut both);
        // One that left its group on purpose outlives no step either.
        self.sweep(self.marks().steps);
        let took = Moment::now().mono.saturating_sub(began.mono);
        let ending = match ended {
            Ok(ending) => ending,
            Err(error) => {
                self.report(&step.name, phase, failed(step), None, took);
                self.say(&error.to_string());
                return Ok(Ending::Exited(127));
            }
        };
        let (status, exit) = match ending {
            Ending::Exited(0) => (StepStatus::Success, Some(0)),
            Ending::Exited(code) => (failed(step), Some(code)),
            Ending::Signaled(signal) => (failed(step), Some(128 + signal)),
            Ending::TimedOut => (StepStatus::TimedOut, None),
            Ending::Cancelled => (StepStatus::Cancelled, None),
        };
        let mut told = command::explain(ending, step.timeout);
        if ending != Ending::TimedOut {
            told += &format!(" after {}", Span(took));
        }
        self.say(&format!("-- {}: {told}", step.name));
        self.report_with(&step.name, phase, status, exit, took, last.lines());
        Ok(ending)
    }

    fn spec(&self, step: &Step, phase: Phase, url: Option<&str>, rehearsal: bool) -> io::Result<Spec> {
        let (app, place) = (&self.job.app, &self.bench.place);
        let missing = || io::Error::other("there is no release to run the steps in");
        let release = self.job.release.as_ref().ok_or_else(missing)?;
        let user = self.user()?;
        self.make_cache(user.as_ref())?;
        let sight = StepSight {
            release,
            commit: self.job.commit.as_ref(),
            previous_commit: self.job.previous_commit.as_ref(),
            phase,
            url,
            rehearsal: rehearsal.then_some(&app.rehearsal.env),
        };
        let mut env = environment::for_step(place, app, step, &sight, user.as_ref())?;
        let (marker, value) = self.bench.instances.variable(self.marks().steps);
        env.set(&marker, value);
        Ok(Spec {
            argv: step.run.argv(),
            cwd: place.working_dir(app, release),
            env: env.pairs(),
            user,
            nice: app.deploy.nice,
            stdin: vec![],
        })
    }

    fn make_cache(&self, user: Option<&crate::os::users::User>) -> io::Result<()> {
        let cache = self.bench.place.cache(&self.job.app.name);
        if cache.is_dir() {
            return Ok(());
        }
        files::make_dir(&cache, 0o755)?;
        match user {
            Some(user) => std::os::unix::fs::chown(&cache, Some(user.uid), Some(user.gid))
                .map_err(|error| files::because("give away", &cache, &error)),
            None => Ok(()),
        }
    }

    /// Where the live release answers: the first service that listens on TCP, or has a port.
    fn public_url(&self) -> Option<String> {
        let app = &self.job.app;
        let listening = app.services.values().find_map(|service| super::rehearse::url_of(service.listen.first()?));
        listening.or_else(|| {
            let port = app.services.keys().find_map(|service| self.bench.ports.port(&app.name, service))?;
            Some(format!("http://127.0.0.1:{port}"))
        })
    }

    fn explain_failed_migration(&self, why: &str) -> String {
        let name = &self.job.app.name;
        match &self.job.backup {
            Some(id) => format!(
                "{why}. The release that runs was not touched; the database may have been. The data as it was before: \
                 backup {id}, brought back by `pintle backup restore {name} {id}`"
            ),
            None => format!(
                "{why}. The release that runs was not touched; the database may have been, and there is no backup of \
                 this deploy ([backup] before_deploy)"
            ),
        }
    }

    /// What starts a candidate of `service`.
    pub(super) fn which<'a>(&'a self, service: &'a crate::config::Service) -> io::Result<Which<'a>> {
        let missing = || io::Error::other("there is no release to start");
        let release = self.job.release.as_ref().ok_or_else(missing)?;
        Ok(Which { app: &self.job.app, service, release, commit: self.job.commit.as_ref() })
    }
}

/// The end of what a command prints, for whoever is told that it failed.
#[derive(Default)]
struct LastLines(Vec<u8>);

impl LastLines {
    const KEPT: usize = 4 << 10;

    fn hear(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(&bytes[bytes.len().saturating_sub(Self::KEPT)..]);
        self.0.drain(..self.0.len().saturating_sub(Self::KEPT));
    }

    /// Line by line; the first one may have lost its beginning.
    fn lines(&self) -> Vec<String> {
        String::from_utf8_lossy(&self.0).lines().map(str::to_owned).collect()
    }
}

fn failed(step: &Step) -> StepStatus {
    if step.warn_only { StepStatus::Warning } else { StepStatus::Failed }
}

/// A port of its own, for a candidate.
pub(super) fn own_port(ports: &Ports) -> io::Result<Ears> {
    ports.free().map(Ears::Port)
}
