//! `notify test`: does what is told arrive?

use super::args::{NotifyVerb, TestArgs};
use super::context::{Context, unexpected};
use super::failure::{CONFIGURATION, Failure};
use super::style::{Style, Tone};
use crate::config::{Config, Environment};
use crate::control::{Answer, ChannelTried, NotifyReport, Request};
use crate::daemon::hands::try_all;
use std::sync::Arc;
use std::time::Duration;

/// A peer has half a minute, a command its own time.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(120));

/// `pintle notify ...`.
pub fn run(verb: &NotifyVerb, cx: &mut Context<'_>) -> Result<u8, Failure> {
    let NotifyVerb::Test(args) = verb;
    let request = Request::NotifyTest { channel: args.channel.clone() };
    let report = match cx.ask(&request, PATIENCE) {
        Ok(Answer::NotifyTest(report)) => report,
        Ok(_) => return Err(unexpected()),
        Err(down) if down.is_unreachable() => {
            let report = by_ourselves(args, cx)?;
            cx.note("the daemon is not reachable: told by this command itself");
            report
        }
        Err(failure) => return Err(failure),
    };
    cx.answer(&report, |style| report.channels.iter().map(|tried| line(tried, style)).collect())?;
    Ok(u8::from(report.channels.iter().any(|tried| tried.ok == Some(false))))
}

/// While the daemon is down: with the configuration as it is on disk.
fn by_ourselves(args: &TestArgs, cx: &Context<'_>) -> Result<NotifyReport, Failure> {
    let loaded = Config::load(&cx.config_dir, &Environment::of_process()).map_err(|problems| {
        let text = format!("problems of the configuration in {}: {}", cx.config_dir.display(), problems.len());
        Failure::new(CONFIGURATION, text).advise("`pintle check-config` lists them")
    })?;
    let channels = loaded.config.host.notify.into_values();
    let channels = channels.filter(|channel| args.channel.as_ref().is_none_or(|name| *name == channel.name));
    let channels: Vec<_> = channels.map(Arc::new).collect();
    match (&args.channel, channels.is_empty()) {
        (Some(name), true) => Err(Failure::usage(format!("there is no [notify.{name}]"))),
        (None, true) => Err(Failure::new(CONFIGURATION, "nobody is told anything: there is no [notify.NAME]")),
        _ => Ok(NotifyReport { channels: try_all(&channels) }),
    }
}

fn line(tried: &ChannelTried, style: &Style) -> String {
    let word = match tried.ok {
        Some(true) => style.paint(Tone::Good, "ok"),
        Some(false) => style.paint(Tone::Bad, "failed"),
        None => style.paint(Tone::Faint, "off"),
    };
    let kind = if tried.kind == tried.channel { String::new() } else { format!(" ({})", tried.kind) };
    let message = super::history::one_line(&tried.message);
    match tried.ok {
        Some(true) => format!("{}{kind}: {word}\n", tried.channel),
        _ => format!("{}{kind}: {word}: {}\n", tried.channel, message.trim_start_matches("off: ")),
    }
}
