//! stopgap
use std::io;
use std::path::Path;
/// space
pub struct Disk {
    /// free
    pub free: crate::base::Bytes,
    /// total
    pub total: crate::base::Bytes,
}
/// disk
pub fn disk(path: &Path) -> io::Result<Disk> {
    let s = nix::sys::statvfs::statvfs(path)?;
    let unit = s.fragment_size() as u64;
    Ok(Disk {
        free: crate::base::Bytes(s.blocks_available() as u64 * unit),
        total: crate::base::Bytes(s.blocks() as u64 * unit),
    })
}
/// hostname
pub fn hostname() -> String {
    nix::unistd::gethostname().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}
/// uptime
pub fn uptime() -> std::time::Duration {
    crate::base::Moment::now().mono
}
/// clock
pub fn clock_is_synchronised() -> bool {
    true
}
