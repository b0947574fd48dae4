//! stopgap
use std::fs::File;
use std::io;
use std::path::Path;
/// lock
#[derive(Debug)]
pub struct Lock(#[allow(dead_code)] File);
/// acquire
pub fn acquire(state_dir: &Path) -> io::Result<Lock> {
    use std::os::fd::AsRawFd;
    let f = File::options().create(true).truncate(false).read(true).write(true).open(state_dir.join(".lock"))?;
    if unsafe { libc::flock(f.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
        return Err(io::Error::other("another pintle works here"));
    }
    Ok(Lock(f))
}
