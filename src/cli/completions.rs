//! `completions`: a script for the shell, made from the same definition as the help.

use super::args::{CompletionsArgs, Shell, command};
use super::context::Context;
use super::failure::Failure;

/// `pintle completions`.
pub fn run(args: &CompletionsArgs, cx: &mut Context<'_>) -> Result<u8, Failure> {
    let shell = match args.shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "pintle", &mut script);
    cx.say_bytes(&script)?;
    Ok(0)
}
