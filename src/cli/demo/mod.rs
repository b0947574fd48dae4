//! `pintle demo`: the whole system in one scratch directory, told line by line.
//!
//! `stage` sets up what a user would have (a repository, a configuration, a running daemon) and takes it down again,
//! `crowd` visits the application all the while, `tell` writes the lines, `story` is what happens and what must come
//! of it; the sample application is `demo_app`. Line: the demo asks what anybody may ask - webhooks, the control socket,
//! the command line - and never reaches into the daemon.

mod crowd;
mod stage;
mod story;
mod tell;

use clap::Args;
use stage::Stage;
use tell::Tell;

/// Why the demo ended before its end.
#[derive(Debug)]
enum Failure {
    /// Ctrl-C, or SIGTERM.
    Interrupted,
    /// Something did not come out as told.
    Wrong(String),
}

impl Failure {
    fn wrong(what: impl Into<String>) -> Failure {
        Failure::Wrong(what.into())
    }
}

#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct DemoArgs {
    /// Stay up at the end and print what to try
    #[arg(long)]
    pub stay: bool,
}

/// `pintle demo`: plays it; with `stay` it then waits for Ctrl-C. Exit code 1 when any step came out differently than told,
/// 130 when interrupted; the scratch directory and every process are gone either way.
pub fn run(args: &DemoArgs) -> u8 {
    let tell = Tell::new();
    let mut stage = match Stage::set_up() {
        Ok(stage) => stage,
        Err(failure) => return ended(&tell, Err(failure), ""),
    };
    let played =
        story::play(&mut stage, &tell).and_then(|()| if args.stay { story::stay(&stage, &tell) } else { Ok(()) });
    let said = if matches!(played, Err(Failure::Wrong(_))) { stage.last_words() } else { String::new() };
    let taken_down = stage.take_down();
    ended(&tell, played.and(taken_down), &said)
}

fn ended(tell: &Tell, outcome: Result<(), Failure>, said: &str) -> u8 {
    match outcome {
        Ok(()) => {
            tell.line("the scratch directory is removed, nothing is left running");
            0
        }
        Err(Failure::Interrupted) => {
            tell.line("interrupted; the scratch directory is removed, nothing is left running");
            130
        }
        Err(Failure::Wrong(what)) => {
            tell.wrong(&what, said);
            1
        }
    }
}
