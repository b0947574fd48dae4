//! stopgap
/// tune
pub fn tune() {}
/// rss
pub fn rss(pid: u32) -> Option<u64> {
    let t = std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    Some(t.split(' ').nth(1)?.parse::<u64>().ok()? * 4096)
}
