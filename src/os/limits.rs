//! How many files this process may have open: as many as the host allows, because each instance costs a handful.
//!
//! Programs that we start are given what we were given: some walk through all numbers, or use `select`.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io;
use std::sync::OnceLock;

/// More than any board needs.
const MOST: u64 = 65_536;

static GIVEN: OnceLock<u64> = OnceLock::new();

/// Raises our soft limit as far as the hard one allows. To be called before other threads start programs.
pub fn raise_open_files() -> io::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    GIVEN.get_or_init(|| soft);
    if soft < MOST.min(hard) {
        setrlimit(Resource::RLIMIT_NOFILE, MOST.min(hard), hard)?;
    }
    Ok(())
}

/// Our soft limit before it was raised; `None` when it was not.
pub fn given_open_files() -> Option<u64> {
    GIVEN.get().copied()
}
