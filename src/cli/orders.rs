//! The verbs that are one order to the daemon, answered by a sentence: start, stop, restart, approve, cancel, forgive,
//! schedule run and reload.

use super::args::{ForgiveArgs, NumberArgs, ScheduleArgs, TargetArgs, commit_prefix};
use super::context::{Context, LONG, SOON};
use super::failure::Failure;
use super::place;
use crate::base::{AppName, ScheduleName, ServiceName};
use crate::control::Request;

/// `pintle start`.
pub fn start(args: &TargetArgs, cx: &mut Context<'_>) -> Result<u8, Failure> {
    supervised(args, cx, |app, service| Request::Start { app, service })
}

/// `pintle stop`.
pub fn stop(args: &TargetArgs, cx: &mut Context<'_>) -> Result<u8, Failure> {
    supervised(args, cx, |app, service| Request::Stop { app, service })
}

/// `pintle restart`.
pub fn restart(args: &TargetArgs, cx: &mut Context<'_>) -> Result<u8, Failure> {
    supervised(args, cx, |app, service| Request::Restart { app, service })
}

fn supervised(
    args: &TargetArgs,
    cx: &mut Context<'_>,
    request: impl FnOnce(AppName, Option<ServiceName>) -> Request,
) -> Result<u8, Failure> {
    let (app, service) = place::target(cx, args.app.as_deref(), args.service.as_deref())?;
    cx.order(&request(app, service), LONG)
}

/// `pintle approve`.
pub fn approve(args: &NumberArgs, cx: &mut Context<'_>) -> Result<u8, Failure> {
    cx.order(&Request::Approve { number: args.number }, SOON)
}

/// `pintle cancel`.
pub fn cancel(args: &NumberArgs, cx: &mut Context<'_>) -> Result<u8, Failure> {
    cx.order(&Request::Cancel { number: args.number }, SOON)
}

/// `pintle forgive`.
pub fn forgive(args: &ForgiveArgs, cx: &mut Context<'_>) -> Result<u8, Failure> {
    let (app, word) = place::app_then(cx, &args.words)?;
    let commit = commit_prefix(word).map_err(Failure::usage)?;
    cx.order(&Request::Forgive { app, commit }, SOON)
}

/// `pintle schedule run`.
pub fn run_schedule(args: &ScheduleArgs, cx: &mut Context<'_>) -> Result<u8, Failure> {
    let (app, word) = place::app_then(cx, &args.words)?;
    let schedule = ScheduleName::new(word).map_err(|bad| Failure::usage(bad.to_string()))?;
    cx.order(&Request::RunSchedule { app, schedule }, SOON)
}

/// `pintle reload`.
pub fn reload(cx: &mut Context<'_>) -> Result<u8, Failure> {
    cx.order(&Request::Reload, SOON)
}
