//! `logs`: the output of services, schedules and deployments, past and live.

use super::args::LogsArgs;
use super::context::{Context, Daemon, SOON, unexpected};
use super::failure::Failure;
use super::{follow, offline, place};
use crate::base::{AppName, DeployId, ScheduleName, ServiceName};
use crate::control::{Answer, Request};
use std::ops::ControlFlow;

/// Lines of the past that are shown when nobody says how many.
const LINES: u32 = 100;

/// `pintle logs`.
pub fn run(args: &LogsArgs, cx: &mut Context<'_>) -> Result<u8, Failure> {
    match args.deploy {
        Some(number) if args.follow => {
            let mut daemon = cx.daemon()?;
            // We show a deployment; only `deploy` and `rollback` speak for its success.
            follow::to_the_end(cx, &mut daemon, number).map(|_| 0)
        }
        Some(number) => of_deployment(cx, number, args.lines.unwrap_or(u32::MAX)),
        None if args.schedule.is_some() => {
            let schedule = args.schedule.as_deref().unwrap_or_default();
            let schedule = ScheduleName::new(schedule).map_err(|bad| Failure::usage(bad.to_string()))?;
            let app = place::app(cx, args.app.as_deref())?;
            of_schedule(cx, &app, &schedule, args.lines.unwrap_or(LINES), args.follow)
        }
        None => {
            let (app, service) = place::target(cx, args.app.as_deref(), args.service.as_deref())?;
            of_services(cx, &app, service, args.lines.unwrap_or(LINES), args.follow)
        }
    }
}

fn of_deployment(cx: &mut Context<'_>, number: DeployId, lines: u32) -> Result<u8, Failure> {
    let request =
        Request::Logs { app: None, service: None, schedule: None, deployment: Some(number), lines, follow: false };
    streamed(cx, &request, false, |state_dir| offline::deployment_log(state_dir, number, lines))
}

fn of_services(
    cx: &mut Context<'_>,
    app: &AppName,
    service: Option<ServiceName>,
    lines: u32,
    follow: bool,
) -> Result<u8, Failure> {
    let (whose, which) = (Some(app.clone()), service.clone());
    let request = Request::Logs { app: whose, service: which, schedule: None, deployment: None, lines, follow };
    streamed(cx, &request, follow, |state_dir| offline::service_logs(state_dir, app, service.as_ref(), lines))
}

fn of_schedule(
    cx: &mut Context<'_>,
    app: &AppName,
    schedule: &ScheduleName,
    lines: u32,
    follow: bool,
) -> Result<u8, Failure> {
    let (whose, which) = (Some(app.clone()), Some(schedule.clone()));
    let request = Request::Logs { app: whose, service: None, schedule: which, deployment: None, lines, follow };
    streamed(cx, &request, follow, |state_dir| offline::schedule_log(state_dir, app, schedule, lines))
}

/// Prints what the daemon streams; while it is down, what the files have.
fn streamed(
    cx: &mut Context<'_>,
    request: &Request,
    follow: bool,
    read: impl FnOnce(&std::path::Path) -> Result<Vec<Vec<u8>>, Failure>,
) -> Result<u8, Failure> {
    let mut daemon = match asked(cx, request) {
        Ok(daemon) => daemon,
        Err(down) if down.is_unreachable() => {
            let lines = cx.read(&down, |paths| read(&paths.state_dir))?;
            all(cx, &lines)?;
            return if follow { Err(down) } else { Ok(0) };
        }
        Err(failure) => return Err(failure),
    };
    if cx.json && !follow {
        let mut lines = Vec::new();
        received(&mut daemon, &mut |line| {
            lines.push(line.to_owned());
            Ok(())
        })?;
        all(cx, &lines)?;
        return Ok(0);
    }
    received(&mut daemon, &mut |line| one(cx, line))?;
    match follow {
        true => Err(Failure::new(super::failure::UNREACHABLE, "the daemon went away while its log was followed")
            .advise("the app goes on; ask again when the daemon is back")),
        false => Ok(0),
    }
}

fn asked(cx: &Context<'_>, request: &Request) -> Result<Daemon, Failure> {
    let mut daemon = cx.daemon()?;
    match daemon.ask(request, SOON)? {
        Answer::Stream => Ok(daemon),
        _ => Err(unexpected()),
    }
}

fn received(daemon: &mut Daemon, each: &mut dyn FnMut(&[u8]) -> Result<(), Failure>) -> Result<(), Failure> {
    let mut trouble = None;
    let read = daemon.client.lines(&mut |line| match each(line) {
        Ok(()) => ControlFlow::Continue(()),
        Err(failure) => {
            trouble = Some(failure);
            ControlFlow::Break(())
        }
    });
    match trouble {
        Some(failure) => Err(failure),
        None => read.map_err(|error| Failure::asking(&error, &daemon.socket)),
    }
}

fn one(cx: &mut Context<'_>, line: &[u8]) -> Result<(), Failure> {
    if cx.json {
        return cx.document(&serde_json::json!({"event": "log", "line": String::from_utf8_lossy(line)}));
    }
    cx.say_bytes(&[line, b"\n"].concat())
}

fn all(cx: &mut Context<'_>, lines: &[Vec<u8>]) -> Result<(), Failure> {
    if cx.json {
        let lines: Vec<_> = lines.iter().map(|line| String::from_utf8_lossy(line)).collect();
        return cx.document(&serde_json::json!({"lines": lines}));
    }
    lines.iter().try_for_each(|line| one(cx, line))
}
