//! `run` and `listen`: the two processes, their log lines on stderr where the journal stamps them.

use super::args::RunArgs;
use super::context::Context;
use super::failure::Failure;
use crate::daemon;
use log::LevelFilter;

/// `pintle run`.
pub fn run(args: &RunArgs, cx: &mut Context<'_>) -> Result<u8, Failure> {
    log_to_stderr(cx);
    let ran = match args.check {
        true => daemon::run::check(&cx.config_dir),
        false => daemon::run::run(&cx.config_dir, &args.root),
    };
    ran.map_err(|daemon::run::Failure { exit, message }| Failure::new(exit, message))?;
    if args.check {
        cx.say(concat!(env!("CARGO_PKG_VERSION"), "\n"))?;
    }
    Ok(0)
}

/// `pintle listen`.
pub fn listen(cx: &mut Context<'_>) -> Result<u8, Failure> {
    log_to_stderr(cx);
    Ok(crate::listener::run())
}

/// `-q` warnings, `-v` debug, `-vv` everything; `$PINTLE_LOG` (`debug`, `pintle::os=trace`) wins.
fn log_to_stderr(cx: &Context<'_>) {
    let level = match (cx.quiet, cx.verbose) {
        (true, _) => LevelFilter::Warn,
        (_, 0) => LevelFilter::Info,
        (_, 1) => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    };
    // Fails only where a logger is there already.
    let _ = env_logger::Builder::new().filter_level(level).parse_env("PINTLE_LOG").try_init();
}
