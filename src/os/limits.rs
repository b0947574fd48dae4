//! What sets the daemon apart from the programs it starts: it may have as many files open as the host allows, because each
//! instance costs a handful, and when memory runs out it is nearly the last to go, because it alone brings the others
//! back.
//!
//! Programs that we start are given what we were given: some walk through all numbers of files, or use `select`; and one
//! that eats the memory must not be safe.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io;
use std::sync::OnceLock;

/// More than any board needs.
const MOST: libc::rlim_t = 65_536;

/// The kernel prefers everything else; -1000 would make it die for us rather than stop us.
const NEARLY_LAST: i32 = -900;

static GIVEN: OnceLock<u64> = OnceLock::new();
static GIVEN_SCORE: OnceLock<i32> = OnceLock::new();

/// `PID:OPEN FILES:SCORE`, what the process of this pid was given, for the image that replaces it: to that one what was
/// raised would look like what it was given.
const VARIABLE: &str = "PINTLE_GIVEN";

/// Raises our soft limit as far as the hard one allows. To be called before other threads start programs.
pub fn raise_open_files() -> io::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    #[allow(clippy::useless_conversion, reason = "32 bits wide on armv7")]
    GIVEN.get_or_init(|| earlier::<u64>(1).unwrap_or(soft.into()));
    if soft < MOST.min(hard) {
        setrlimit(Resource::RLIMIT_NOFILE, MOST.min(hard), hard)?;
    }
    Ok(())
}

/// Makes the kernel prefer others when memory runs out. Only root may; for everybody else nothing changes.
pub fn outlive_others() {
    const FILE: &str = "/proc/self/oom_score_adj";
    let own = || std::fs::read_to_string(FILE).ok().and_then(|text| text.trim().parse::<i32>().ok());
    let Some(given) = earlier(2).or_else(own).filter(|given| *given > NEARLY_LAST) else { return };
    if std::fs::write(FILE, NEARLY_LAST.to_string()).is_ok() {
        GIVEN_SCORE.get_or_init(|| given);
    }
}

/// Our `oom_score_adj` before it was lowered; `None` when it was not.
pub fn given_oom_score() -> Option<i32> {
    GIVEN_SCORE.get().copied()
}

/// Our soft limit before it was raised; `None` when it was not.
pub fn given_open_files() -> Option<u64> {
    GIVEN.get().copied()
}

/// What the image that replaces this one is to know, as a variable of its environment.
pub(super) fn for_successor() -> (&'static str, String) {
    let open_files = given_open_files().map(|limit| limit.to_string()).unwrap_or_default();
    let score = given_oom_score().map(|score| score.to_string()).unwrap_or_default();
    (VARIABLE, format!("{}:{open_files}:{score}", std::process::id()))
}

/// A field of what an earlier image of this process left.
fn earlier<T: std::str::FromStr>(field: usize) -> Option<T> {
    let text = std::env::var(VARIABLE).ok()?;
    let mut fields = text.split(':');
    let ours = fields.next()?.parse() == Ok(std::process::id());
    fields.nth(field - 1).filter(|_| ours)?.parse().ok()
}
