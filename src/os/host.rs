//! The host itself: its name, how long it is up, how much room its disks have.

use crate::base::Bytes;
use crate::os::files::because;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

/// The host's name; `localhost` when it has none that can be read.
pub fn hostname() -> String {
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    name.filter(|name| !name.is_empty()).unwrap_or_else(|| "localhost".into())
}

/// How long the host has been up.
pub fn uptime() -> io::Result<Duration> {
    let path = Path::new("/proc/uptime");
    let text = fs::read_to_string(path).map_err(|error| because("read", path, &error))?;
    let seconds = text.split(' ').next().and_then(|seconds| seconds.parse().ok());
    let uptime = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    uptime
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("/proc/uptime is not as expected: {text:?}")))
}

/// The room of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// All of it.
    pub total: Bytes,
    /// What an ordinary user may still write.
    pub free: Bytes,
}

/// The room of the file system that holds `path`.
pub fn disk(path: &Path) -> io::Result<Disk> {
    let stat =
        nix::sys::statvfs::statvfs(path).map_err(|errno| because("ask for the free room at", path, &errno.into()))?;
    #[allow(clippy::unnecessary_cast)] // 32 bits wide on some platforms
    let bytes = |blocks: libc::fsblkcnt_t| Bytes((blocks as u64).saturating_mul(stat.fragment_size() as u64));
    Ok(Disk { total: bytes(stat.blocks()), free: bytes(stat.blocks_available()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_asked() {
        assert_eq!(hostname(), fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim());
        assert!(uptime().unwrap() > Duration::ZERO);
        let disk = disk(Path::new("/")).unwrap();
        assert!(disk.total > disk.free && disk.total > Bytes(0));
        assert!(super::disk(Path::new("/no/such")).unwrap_err().to_string().contains("/no/such"));
    }
}
