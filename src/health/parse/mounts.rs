//! `/proc/self/mountinfo`, and the older `/proc/self/mounts`: what is mounted where, and whether it can be written to.

use super::Unfit;

/// One mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Mount {
    pub device: String,
    pub point: String,
    pub kind: String,
    /// The file system is, for everybody; a mount that only we see read-only (`ProtectSystem=`) does not count, where
    /// the text tells them apart.
    pub read_only: bool,
}

/// Every mount in the order they were made: a later one lies over an earlier one at the same point. A line that is none
/// is left out; a text without any is unfit.
pub fn mounts(text: &str) -> Result<Vec<Mount>, Unfit> {
    let mounts: Vec<Mount> = text.lines().filter_map(mount).collect();
    if mounts.is_empty() { Err(Unfit::new("a mount", text)) } else { Ok(mounts) }
}

/// The mount that holds a path (absolute, without links).
pub fn holding<'a>(mounts: &'a [Mount], path: &str) -> Option<&'a Mount> {
    let holds = |point: &str| match path.strip_prefix(point) {
        Some(rest) => rest.is_empty() || rest.starts_with('/') || point.ends_with('/'),
        None => false,
    };
    // Of several as deep the last one is on top.
    mounts.iter().filter(|mount| holds(&mount.point)).max_by_key(|mount| mount.point.len())
}

/// What the kernel writes among the options of a file system that cannot be written to: since 6.12 `errors=remount-ro`
/// shows as one of the last two on ext4, and leaves `rw` there.
const READ_ONLY: [&str; 3] = ["ro", "emergency_ro", "shutdown"];

fn mount(line: &str) -> Option<Mount> {
    let (point, rest) = match line.split_once(" - ") {
        // mountinfo: numbers, the root, the point, the mount's own options; after the dash the file system.
        Some((mount, system)) => (mount.split(' ').nth(4)?, system.split(' ').collect::<Vec<_>>()),
        // mounts: the same in another order, and the options of both in one.
        None => {
            let mut fields = line.split(' ').collect::<Vec<_>>();
            let point = (fields.len() >= 4).then(|| fields.remove(1))?;
            fields.swap(0, 1);
            (point, fields)
        }
    };
    let [kind, device, options, ..] = rest[..] else { return None };
    let point = unescape(point);
    if !point.starts_with('/') || kind.is_empty() || device.is_empty() || options.is_empty() {
        return None;
    }
    let read_only = options.split(',').any(|option| READ_ONLY.contains(&option));
    Some(Mount { device: unescape(device), point, kind: kind.into(), read_only })
}

/// The kernel writes blanks and backslashes as `\040`.
fn unescape(field: &str) -> String {
    let mut bytes = vec![];
    let mut rest = field.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code =
            after.get(..3).filter(|code| *first == b'\\' && code.iter().all(|digit| (b'0'..=b'7').contains(digit)));
        let code = code.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 8).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
