//! `deploy` and `rollback`: ask the daemon, then watch.

use super::args::{DeployArgs, RollbackArgs};
use super::context::{Context, SOON};
use super::failure::Failure;
use super::{follow, place, plan};
use crate::control::{Answer, DeployAsked, Request, Trigger};

/// `pintle deploy`.
pub fn deploy(args: &DeployArgs, cx: &mut Context<'_>) -> Result<u8, Failure> {
    if args.image.is_some() {
        return Err(Failure::not_active("--image").advise("apps are deployed from git: --commit SHA"));
    }
    let app = place::app(cx, args.app.as_deref())?;
    if args.dry_run {
        return plan::print(cx, &app);
    }
    let mut daemon = cx.daemon()?;
    let asked = DeployAsked {
        app: app.clone(),
        commit: args.commit.clone(),
        force: args.force,
        backup_only: args.backup_only,
        trigger: Trigger::Cli,
    };
    match daemon.ask(&Request::Deploy(asked), SOON)? {
        Answer::Backup(backup) => super::backup::made(cx, &backup),
        answer => follow::answered(cx, daemon, &app, answer, args.detach),
    }
}

/// `pintle rollback`.
pub fn rollback(args: &RollbackArgs, cx: &mut Context<'_>) -> Result<u8, Failure> {
    let app = place::app(cx, args.app.as_deref())?;
    let mut daemon = cx.daemon()?;
    let request = Request::Rollback { app: app.clone(), to: args.to.clone(), with_data: args.with_data };
    let answer = daemon.ask(&request, SOON)?;
    follow::answered(cx, daemon, &app, answer, args.detach)
}
