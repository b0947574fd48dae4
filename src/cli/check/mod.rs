//! `check`: whether all is well - the daemon, the listener, every app, the board. For the health timer and for people.
//!
//! `daemon` finds out whether the daemon answers and what systemd says of it, `repair` brings it back, `apps` tells how
//! every application is and `probes` asks it, `listener` sends a signed ping to ourselves, `host` reads the board's
//! sensors. Line: what an app's state means is the daemon's word; nothing here is remembered, so nothing is told to
//! anybody but whoever runs it.

mod apps;
mod daemon;
mod host;
mod listener;
mod probes;
mod repair;

use super::check_config::loaded;
use super::context::Context;
use super::failure::{Failure, NOT_PERMITTED};
use super::findings::{self, Finding, Level};
use crate::config::Config;
use crate::control::ListenerView;
use apps::AppSeen;
pub use daemon::Daemon;
pub use host::look as board;
pub use listener::look as listener;
use serde::Serialize;
use serde_json::Value;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[allow(missing_docs)]
pub struct CheckArgs {
    /// End a daemon that does not answer, start one that failed; the applications run on
    #[arg(long)]
    pub repair: bool,
    /// Leave out what asks over the network: the apps' probes, the ping to the listener
    #[arg(long)]
    pub quick: bool,
    /// Where /proc and /sys are
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    pub root: PathBuf,
}

/// The `--json` document.
#[derive(Debug, Serialize)]
struct Document<'a> {
    level: Level,
    exit: u8,
    daemon: Value,
    listener: Option<&'a ListenerView>,
    /// What is not well.
    findings: Vec<&'a Finding>,
    apps: &'a [AppSeen],
    host: Value,
}

/// `pintle check`.
pub fn run(args: &CheckArgs, cx: &mut Context<'_>) -> Result<u8, Failure> {
    let config = loaded(cx).map(|loaded| loaded.config);
    let mut daemon = Daemon::look(&cx.paths());
    let repaired = if args.repair { repair::repair(&mut daemon, &cx.paths(), config.is_ok()) } else { None };
    let mut findings = daemon.findings();
    findings.extend(repaired);
    findings.extend(config.as_ref().err().map(unread));

    let (apps, of_apps) = apps::look(cx, &daemon, args.quick);
    findings.extend(listener::look(&daemon, config.as_ref().ok(), args.quick));
    findings.extend(of_apps);
    let (host, of_host) = host::look(&args.root, &cx.paths(), config.as_ref().ok());
    findings.extend(of_host);

    let level = findings::worst(&findings);
    answer(cx, &findings, &daemon, &apps, host)?;
    Ok(findings::exit(level))
}

/// The configuration cannot be read as a whole: what is secret in it is then not known here.
fn unread(failure: &Failure) -> Finding {
    let advice = failure.advice.clone().unwrap_or_default();
    match failure.exit {
        NOT_PERMITTED => {
            let what = format!("{}; what needs it was left out", failure.message);
            Finding::warning("configuration", what, advice)
        }
        _ => Finding::warning("configuration", failure.message.clone(), advice),
    }
}

fn answer(
    cx: &mut Context<'_>,
    findings: &[Finding],
    daemon: &Daemon,
    apps: &[AppSeen],
    host: Value,
) -> Result<(), Failure> {
    let wrong: Vec<&Finding> = findings.iter().filter(|finding| !finding.is_ok()).collect();
    if cx.json {
        let level = findings::worst(findings);
        return cx.document(&Document {
            level,
            exit: findings::exit(level),
            daemon: daemon.document(),
            listener: daemon.status().map(|status| &status.listener),
            findings: wrong,
            apps,
            host,
        });
    }
    let style = cx.world.style.clone();
    let text = match (cx.quiet, wrong.is_empty()) {
        // What a timer runs says nothing every five minutes while all is well.
        (true, true) => return Ok(()),
        (true, false) => findings::table(wrong.into_iter(), &style),
        (false, _) => findings::table(findings.iter(), &style) + &findings::summary(findings, &style),
    };
    cx.say(&text)
}

/// The configuration, where it could be read.
type Known<'a> = Option<&'a Config>;
