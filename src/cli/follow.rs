//! Watches a deployment to its end, through a daemon that goes away and comes back.
//!
//! Ctrl-C stops the watching, not the deployment. After a reconnect the daemon tells the story from its beginning: what
//! was shown already is skipped.

use super::context::{Context, Daemon, SOON, unexpected};
use super::failure::{Failure, UNREACHABLE};
use super::style::{Style, Tone, Toned};
use crate::base::{AppName, DeployId, Span};
use crate::control::{Answer, DeployStatus, Followed, Phase, Request};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// After an answer to a deploy or a rollback: watches, unless `detach`. Returns the exit code.
pub fn answered(
    cx: &mut Context<'_>,
    mut daemon: Daemon,
    app: &AppName,
    answer: Answer,
    detach: bool,
) -> Result<u8, Failure> {
    match answer {
        Answer::AlreadyLive { release } => {
            let message = format!("{release} of {app} is live already; --force deploys it again");
            let document = serde_json::json!({
                "event": "end", "number": null, "status": DeployStatus::Success, "exit": 0, "phase": Phase::Done,
                "release": release, "message": message,
            });
            cx.answer(&document, |_| format!("{message}\n"))?;
            Ok(0)
        }
        Answer::Deployment { number, status } if detach => {
            let document = serde_json::json!({"deployment": number, "app": app, "status": status});
            cx.answer(&document, |style| {
                let status = style.paint(status.tone(), status.as_str());
                format!("deployment {number} of {app}: {status}; `pintle logs --deploy {} -f` watches it\n", number.0)
            })?;
            Ok(0)
        }
        Answer::Deployment { number, .. } => {
            if !cx.json && !cx.quiet {
                let line = format!("deployment {number} of {app} (Ctrl-C stops watching, not the deployment)\n");
                cx.say(&line)?;
            }
            to_the_end(cx, &mut daemon, number)
        }
        _ => Err(unexpected()),
    }
}

/// Watches deployment `number` until it is over; returns what `pintle deploy` exits with for it.
pub fn to_the_end(cx: &mut Context<'_>, daemon: &mut Daemon, number: DeployId) -> Result<u8, Failure> {
    if cx.world.interrupts {
        detach_on_interrupt(number)?;
    }
    let mut shown = Shown::default();
    loop {
        let before = shown.lines;
        if let Some(exit) = watch(cx, daemon, number, &mut shown)? {
            return Ok(exit);
        }
        // It lets go of a follower that lags behind, and is there all the same: nothing to tell.
        if shown.lines > before
            && let Ok(there) = Daemon::connect(daemon.socket.clone())
        {
            *daemon = there;
            continue;
        }
        cx.note(&format!("the daemon went away; waiting {} for it", Span(cx.world.patience)));
        *daemon = reconnected(daemon.socket.clone(), cx.world.patience).ok_or_else(|| {
            Failure::new(
                UNREACHABLE,
                format!("deployment {number} continues, but the daemon did not come back in time"),
            )
            .advise(format!("`pintle logs --deploy {} -f` watches it again", number.0))
        })?;
    }
}

/// One connection's worth of watching; `None` when the daemon went away.
fn watch(
    cx: &mut Context<'_>,
    daemon: &mut Daemon,
    number: DeployId,
    shown: &mut Shown,
) -> Result<Option<u8>, Failure> {
    match daemon.ask(&Request::Follow { number }, SOON) {
        Ok(Answer::Stream) => {}
        Ok(_) => return Err(unexpected()),
        Err(failure) if failure.is_unreachable() => return Ok(None),
        Err(failure) => return Err(failure),
    }
    shown.retell();
    let mut trouble = None;
    let ended = daemon.client.followed(&mut |line| {
        if !shown.is_new(line) {
            return ControlFlow::Continue(());
        }
        match show(cx, line) {
            Ok(()) => ControlFlow::Continue(()),
            Err(failure) => {
                trouble = Some(failure);
                ControlFlow::Break(())
            }
        }
    });
    match (trouble, ended) {
        (Some(failure), _) => Err(failure),
        (None, Ok(Some(Followed::End { exit, .. }))) => Ok(Some(exit)),
        (None, _) => Ok(None),
    }
}

fn show(cx: &mut Context<'_>, line: &Followed) -> Result<(), Failure> {
    if cx.json {
        return cx.document(line);
    }
    if let Followed::End { exit, .. } = line {
        let text = ending(line, &cx.world.style);
        if *exit == 0 {
            return cx.say(&text);
        }
        cx.complain(&text);
        return Ok(());
    }
    if cx.quiet {
        return Ok(());
    }
    let text = told(line, &cx.world.style);
    cx.say(&text)
}

/// A line of the live log, for people.
fn told(line: &Followed, style: &Style) -> String {
    match line {
        Followed::Phase { phase, .. } => format!("{}\n", style.paint(Tone::Strong, &format!("== {phase}"))),
        Followed::Step(step) => {
            let status = style.paint(step.status.tone(), step.status.as_str());
            let took = Span(Duration::try_from_secs_f64(step.duration_seconds).unwrap_or_default());
            let exit = step.exit.filter(|exit| *exit != 0).map(|exit| format!(", exit {exit}")).unwrap_or_default();
            format!("   {}: {status} after {took}{exit}\n", step.name)
        }
        Followed::Log { line } => format!("   {line}\n"),
        Followed::End { .. } => ending(line, style),
    }
}

fn ending(line: &Followed, style: &Style) -> String {
    let Followed::End { number, status, phase, release, message, .. } = line else { return String::new() };
    let verdict = style.paint(status.tone(), &status.as_str().replace('_', " "));
    let mut text = match (status, release) {
        (DeployStatus::Success, Some(release)) => format!("deployment {number}: {verdict}, {release} is live\n"),
        (DeployStatus::Failed, _) => format!("deployment {number}: {verdict} in {phase}\n"),
        _ => format!("deployment {number}: {verdict}\n"),
    };
    if let Some(message) = message {
        text += &format!("  {message}\n");
    }
    if *status != DeployStatus::Success {
        text += &format!("  `pintle show {0}` lists its steps, `pintle logs --deploy {0}` its output\n", number.0);
    }
    text
}

/// How much of a deployment's story was shown, and how far a retold one has come.
#[derive(Debug, Default)]
struct Shown {
    lines: usize,
    retold: usize,
    phases: Vec<Phase>,
    steps: Vec<(Phase, String)>,
}

impl Shown {
    fn retell(&mut self) {
        self.retold = 0;
    }
    fn is_new(&mut self, line: &Followed) -> bool {
        match line {
            Followed::Log { .. } => {
                self.retold += 1;
                let new = self.retold > self.lines;
                self.lines = self.lines.max(self.retold);
                new
            }
            Followed::Phase { phase, .. } => add(&mut self.phases, *phase),
            Followed::Step(step) => add(&mut self.steps, (step.phase, step.name.clone())),
            Followed::End { .. } => true,
        }
    }
}

fn add<T: PartialEq>(set: &mut Vec<T>, item: T) -> bool {
    let new = !set.contains(&item);
    if new {
        set.push(item);
    }
    new
}

/// Tries to connect again until `patience` is over, at first often, then twice a second.
fn reconnected(socket: PathBuf, patience: Duration) -> Option<Daemon> {
    let since = Instant::now();
    let mut pause = Duration::from_millis(20);
    while since.elapsed() < patience {
        std::thread::sleep(pause.min(patience.saturating_sub(since.elapsed())));
        pause = (pause * 2).min(Duration::from_millis(500));
        if let Ok(daemon) = Daemon::connect(socket.clone()) {
            return Some(daemon);
        }
    }
    None
}

/// From now on Ctrl-C says that the deployment goes on, and ends us with 0.
fn detach_on_interrupt(number: DeployId) -> Result<(), Failure> {
    let trouble =
        |error: std::io::Error| Failure::io(&std::io::Error::new(error.kind(), format!("prepare for Ctrl-C: {error}")));
    let (mut bell, ring) = std::os::unix::net::UnixStream::pair().map_err(trouble)?;
    signal_hook::low_level::pipe::register(signal_hook::consts::SIGINT, ring).map_err(trouble)?;
    std::thread::spawn(move || {
        if matches!(std::io::Read::read(&mut bell, &mut [0]), Ok(1)) {
            let command = format!("pintle logs --deploy {} -f", number.0);
            eprintln!("\ndeployment {number} continues in the background; `{command}` follows it");
            std::process::exit(0);
        }
    });
    Ok(())
}

#[cfg(test)]
#[path = "follow/tests.rs"]
mod tests;
