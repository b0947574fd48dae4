//! A scheduled command, from its first line in the log to its last.

use super::Bench;
use crate::base::{Bytes, CommitId, InstanceId, Moment, ReleaseName, Span};
use crate::config::{App, Schedule};
use crate::os::cancel::Cancel;
use crate::os::command::{self, Ending, Spec};
use crate::os::group::{self, Trail};
use crate::os::logfile::{LogFile, LogTarget};
use crate::runtime::environment;
use crate::supervise::agenda::Outcome;
use std::collections::BTreeSet;
use std::io;

/// As the logs of services are where nothing else is said.
const LOG_MAX: Bytes = Bytes(10 << 20);
const LOG_KEEP: u32 = 5;

/// Runs a schedule's command in `release` until it ends, its time is up or `cancel` is raised.
pub fn run(
    bench: &Bench,
    app: &App,
    release: &ReleaseName,
    commit: Option<&CommitId>,
    schedule: &Schedule,
    run: u64,
    cancel: &Cancel,
) -> Outcome {
    let path = bench.place.schedule_log(&app.name, &schedule.name);
    let mut log = Log { file: LogFile::new(LogTarget { path, max: LOG_MAX, keep: LOG_KEEP }), is_at_start: true };
    let began = Moment::now();
    log.line(&format!("== {} {}: {} in {release}", began.wall.rfc3339(), schedule.name, schedule.run));
    // Far above the numbers of instances, and apart from those of steps and candidates.
    let mark = InstanceId((1 << 60) + run);
    let ended = spec(bench, app, release, commit, schedule, mark)
        .and_then(|spec| command::run(&spec, schedule.timeout, cancel, &mut |bytes| log.output(bytes)));
    // One that left its group on purpose does not outlive it either.
    group::sweep(&[Trail { marker: bench.instances.marker(mark), since: 0 }], &BTreeSet::new());
    let ended_at = Moment::now();
    let took = Span(ended_at.mono.saturating_sub(began.mono));
    let (outcome, words) = match ended {
        Ok(Ending::Exited(0)) => (Outcome::Well, "exit 0".to_string()),
        Ok(Ending::Cancelled) => (Outcome::Ended("cancelled".into()), "ended: the app was stopped".to_string()),
        Ok(ending) => {
            let words = command::explain(ending, schedule.timeout);
            (Outcome::Failed(words.clone()), words)
        }
        Err(error) => (Outcome::Failed(error.to_string()), error.to_string()),
    };
    log.line(&format!("== {} {}: {words} after {took}", ended_at.wall.rfc3339(), schedule.name));
    outcome
}

fn spec(
    bench: &Bench,
    app: &App,
    release: &ReleaseName,
    commit: Option<&CommitId>,
    schedule: &Schedule,
    mark: InstanceId,
) -> io::Result<Spec> {
    let user = environment::user(app.user.as_deref())?;
    let cwd = bench.place.working_dir(app, release);
    let mut env = environment::for_schedule(app, schedule, release, commit, user.as_ref(), &cwd)?;
    let (marker, value) = bench.instances.variable(mark);
    env.set(&marker, value);
    Ok(Spec { argv: schedule.run.argv(), cwd, env: env.pairs(), user, nice: app.deploy.nice, stdin: vec![] })
}

/// The schedule's log: our lines stand on lines of their own.
struct Log {
    file: LogFile,
    is_at_start: bool,
}

impl Log {
    fn output(&mut self, bytes: &[u8]) {
        self.file.append(bytes);
        self.is_at_start = bytes.last().map_or(self.is_at_start, |last| *last == b'\n');
    }
    fn line(&mut self, text: &str) {
        let start = if self.is_at_start { "" } else { "\n" };
        // A command may be written over several lines.
        self.file.append(format!("{start}{}\n", text.replace('\n', " / ")).as_bytes());
        self.is_at_start = true;
    }
}
