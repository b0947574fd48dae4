//! `demo`: the whole thing at work in a scratch directory.

use clap::Args;

#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct DemoArgs {
    /// Stay up at the end and print what to try
    #[arg(long)]
    pub stay: bool,
}

/// `pintle demo`.
pub fn run(_args: &DemoArgs) -> u8 {
    eprintln!("pintle: the demo is not active yet in this version");
    1
}
