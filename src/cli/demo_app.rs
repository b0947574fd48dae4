//! `demo-app`: the sample app that the demo deploys.

use clap::Args;

#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct DemoAppArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<String>,
}

/// `pintle demo-app`.
pub fn run(_args: &DemoAppArgs) -> u8 {
    1
}
