//! The command line: asks the daemon, reads the configuration, tells people and scripts.
//!
//! `args` defines what may be written; each verb has its file (small families share one) and returns an exit code or a
//! [`Failure`], which says what was tried, on which path, why it failed and what to do. `context` is where verbs print
//! and how they reach the daemon, `place` finds out which app is meant, `follow` watches a deployment, `style` makes
//! tables and colours, `findings` is what `check` and `doctor` tell. `offline` reads the state directory while the daemon is down. Line: nothing is decided here about
//! apps; the daemon does, and what only it may write is never written by a command.

mod args;
mod backup;
mod board_history;
mod check;
mod check_config;
mod completions;
mod config_show;
mod context;
mod deliveries;
pub mod demo;
pub mod demo_app;
mod deploy;
mod doctor;
mod exec;
mod failure;
mod findings;
mod follow;
mod history;
mod init;
mod live;
mod logs;
mod notify;
mod offline;
mod orders;
mod place;
mod plan;
mod reexec;
mod report;
mod serve;
mod status;
mod style;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use args::command;
pub use context::World;
pub use failure::Failure;
pub use style::Style;

use args::{Cli, ScheduleVerb, Verb};
use clap::FromArgMatches;
use context::Context;
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// How long a follower waits for a daemon that went away.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the command line of this process.
pub fn main(argv: impl IntoIterator<Item = OsString>) -> ExitCode {
    let argv: Vec<OsString> = argv.into_iter().collect();
    // Before anything is read or set up: it stays as small as the kernel can make a process.
    if argv.get(1).is_some_and(|verb| verb == "keep") {
        return ExitCode::from(crate::os::fdstore::keeper::run());
    }
    let (terminal, printed) = (io::stdin().is_terminal(), io::stdout().is_terminal());
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let world = World {
        // Not locked: the listener reads its setup from it.
        input: &mut io::BufReader::new(io::stdin()),
        out: &mut io::stdout(),
        err: &mut io::stderr(),
        terminal: terminal && printed,
        style: Style { colour: printed && !no_color, zone: jiff::tz::TimeZone::system() },
        config: std::env::var_os("PINTLE_CONFIG").filter(|dir| !dir.is_empty()).map(PathBuf::from),
        patience: PATIENCE,
        interrupts: true,
    };
    ExitCode::from(run(argv, world))
}

/// Runs one command line in `world`; returns its exit code.
pub fn run(argv: impl IntoIterator<Item = OsString>, world: World<'_>) -> u8 {
    let argv: Vec<OsString> = argv.into_iter().collect();
    let parsed = args::command().try_get_matches_from(&argv).and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return misunderstood(&error, &argv, world),
    };
    let config_dir = cli.config.or_else(|| world.config.clone()).unwrap_or_else(|| PathBuf::from("/etc/pintle"));
    let mut cx = Context { world, config_dir, json: cli.json, verbose: cli.verbose, quiet: cli.quiet };
    match dispatch(&cli.verb, &mut cx) {
        Ok(exit) => exit,
        Err(failure) => failed(&mut cx, &failure),
    }
}

fn dispatch(verb: &Verb, cx: &mut Context<'_>) -> Result<u8, Failure> {
    match verb {
        Verb::Init(args) => init::run(args, cx),
        Verb::CheckConfig => check_config::run(cx),
        Verb::Config(verb) => config_show::run(verb, cx),
        Verb::Run(args) => serve::run(args, cx),
        Verb::Listen => serve::listen(cx),
        Verb::Reload => orders::reload(cx),
        Verb::Reexec => reexec::run(cx),
        Verb::Deploy(args) => deploy::deploy(args, cx),
        Verb::Rollback(args) => deploy::rollback(args, cx),
        Verb::Approve(args) => orders::approve(args, cx),
        Verb::Cancel(args) => orders::cancel(args, cx),
        Verb::Forgive(args) => orders::forgive(args, cx),
        Verb::Status(args) => status::run(args, cx),
        Verb::Check(args) => check::run(args, cx),
        Verb::Doctor(args) => doctor::run(args, cx),
        Verb::Logs(args) => logs::run(args, cx),
        Verb::History(args) => history::history(args, cx),
        Verb::Deliveries(args) => deliveries::run(args, cx),
        Verb::Show(args) => history::show(args, cx),
        Verb::Report(args) => report::run(args, cx),
        Verb::Releases(args) => history::releases(args, cx),
        Verb::Start(args) => orders::start(args, cx),
        Verb::Stop(args) => orders::stop(args, cx),
        Verb::Restart(args) => orders::restart(args, cx),
        Verb::Exec(args) => exec::run(args, cx),
        Verb::Notify(verb) => notify::run(verb, cx),
        Verb::Backup(verb) => backup::run(verb, cx),
        Verb::Schedule(ScheduleVerb::Run(args)) => orders::run_schedule(args, cx),
        Verb::Completions(args) => completions::run(args, cx),
        Verb::Demo(args) => Ok(demo::run(args)),
        Verb::DemoApp(args) => Ok(demo_app::run(args)),
    }
}

/// Tells a failure: people on stderr, scripts by a document on stdout.
fn failed(cx: &mut Context<'_>, failure: &Failure) -> u8 {
    if failure.message.is_empty() {
        return failure.exit;
    }
    if cx.json {
        // Whoever reads the document may be gone; the exit code still tells.
        let _ = cx.document(&failure.document());
    }
    cx.complain(&failure.text());
    failure.exit
}

/// What clap could not make sense of - or was asked for: help and version come as "errors" too.
fn misunderstood(error: &clap::Error, argv: &[OsString], world: World<'_>) -> u8 {
    let text = error.render().to_string();
    let json = argv.iter().take_while(|word| *word != "--").any(|word| word == "--json");
    let mut cx = Context { world, config_dir: PathBuf::new(), json, verbose: 0, quiet: false };
    if !error.use_stderr() {
        return cx.say(&text).map_or_else(|failure| failure.exit, |()| 0);
    }
    if json {
        let line = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        let _ = cx.document(&Failure::usage(line).document());
    }
    cx.complain(&text);
    failure::USAGE
}
