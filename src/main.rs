//! Hands the command line to [`pintle::cli`] and its exit code to the system.

use std::process::ExitCode;

fn main() -> ExitCode {
    pintle::cli::main(std::env::args_os())
}
