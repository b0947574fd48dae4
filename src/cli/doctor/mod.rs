//! `doctor`: whether the installation is as it should be, one file for each group of things, each with what to do.
//!
//! `installation` reads what there is, as far as it can be read: an app whose configuration is wrong still has a user
//! and a repository that can be looked at. Where `check` asks whether all runs well now, this asks whether it can. Line:
//! nothing is changed, repaired or remembered.

mod certificate;
mod channels;
mod configuration;
mod installation;
mod kernel;
mod network;
mod nginx;
mod programs;
mod secrets;
mod state;
mod systemd;
mod users;

use super::check;
use super::context::Context;
use super::failure::Failure;
use super::findings::{self, Finding, Level};
use installation::Installation;
use serde::Serialize;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[allow(missing_docs)]
pub struct DoctorArgs {
    /// Leave out what asks over the network: names, the apps' repositories, the listener
    #[arg(long)]
    pub offline: bool,
    /// Where /etc, /proc and /sys are
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    pub root: PathBuf,
}

/// The `--json` document.
#[derive(Debug, Serialize)]
struct Document<'a> {
    level: Level,
    exit: u8,
    /// Everything that was looked at, what is well too.
    findings: &'a [Finding],
}

/// `pintle doctor`.
pub fn run(args: &DoctorArgs, cx: &mut Context<'_>) -> Result<u8, Failure> {
    let here = Installation::find(cx, args);
    let mut findings = [
        configuration::look(&here),
        here.daemon.findings(),
        programs::look(),
        users::look(&here),
        secrets::look(&here),
        state::look(&here),
        kernel::look(&here),
        systemd::look(&here),
        nginx::look(&here),
        certificate::look(&here),
        channels::look(&here),
        check::board(&here.root, &here.paths, here.config()).1,
    ]
    .concat();
    if !args.offline {
        findings.extend(network::look(&here));
    }
    let level = findings::worst(&findings);
    let document = Document { level, exit: findings::exit(level), findings: &findings };
    let quiet = cx.quiet;
    cx.answer(&document, |style| match quiet {
        true => findings::table(findings.iter().filter(|finding| !finding.is_ok()), style),
        false => findings::table(findings.iter(), style) + &findings::summary(&findings, style),
    })?;
    Ok(findings::exit(level))
}
