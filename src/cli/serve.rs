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
    let _ = logger(env_logger::Builder::new().filter_level(level).parse_env("PINTLE_LOG"), level).try_init();
}

/// What speaks HTTPS for us would log whole addresses and headers - the token of a bot, the address of a webhook - in
/// its debug lines, whatever was asked for.
fn logger(builder: &mut env_logger::Builder, level: LevelFilter) -> &mut env_logger::Builder {
    let most = level.min(LevelFilter::Info);
    ["ureq", "ureq_proto", "rustls"].into_iter().fold(builder, |builder, module| builder.filter_module(module, most))
}

#[cfg(test)]
mod tests {
    use super::*;
    use log::{Level, Log, Metadata};

    #[test]
    fn no_verbosity_lets_the_http_client_tell_addresses() {
        for wish in ["", "trace", "ureq=trace,ureq_proto=debug,rustls=trace"] {
            let mut builder = env_logger::Builder::new();
            let logger =
                logger(builder.filter_level(LevelFilter::Trace).parse_filters(wish), LevelFilter::Trace).build();
            let tells = |target, level| logger.enabled(&Metadata::builder().target(target).level(level).build());
            for target in ["ureq::run", "ureq::unversioned::transport", "ureq_proto::client", "rustls::client::hs"] {
                assert!(tells(target, Level::Info) && !tells(target, Level::Debug), "{wish} {target}");
            }
            assert!(tells("pintle::os", Level::Trace), "{wish}");
        }
    }
}
