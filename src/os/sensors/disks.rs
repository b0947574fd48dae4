//! The file systems that hold what matters: room, and whether they can be written to.

use super::parsed;
use super::texts::Texts;
use crate::health::board::{Disk, Reading, Room};
use crate::health::parse::mounts;
use crate::os::files::because;
use nix::sys::statvfs::{Statvfs, statvfs};
use std::path::{Path, PathBuf};

/// A path whose file system matters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Watched {
    /// It need not be there yet: its nearest parent counts then.
    pub path: PathBuf,
    /// State or data lie there.
    pub must_be_writable: bool,
}

/// Each file system once.
pub(super) fn disks(texts: &Texts, watched: &[Watched]) -> Vec<Disk> {
    let mounts = parsed(mounted(texts), mounts::mounts);
    let mut disks: Vec<Disk> = vec![];
    for one in watched {
        let path = nearest(&one.path);
        let shown = path.to_string_lossy();
        let mount = mounts.value().and_then(|mounts| mounts::holding(mounts, &shown));
        let point = mount.map_or(shown.to_string(), |mount| mount.point.clone());
        if let Some(known) = disks.iter_mut().find(|disk| disk.mount == point) {
            known.must_be_writable |= one.must_be_writable;
            continue;
        }
        let (space, inodes) = room(&path);
        disks.push(Disk {
            mount: point,
            device: mount.map(|mount| mount.device.clone()).unwrap_or_default(),
            must_be_writable: one.must_be_writable,
            read_only: match (&mounts, mount) {
                (_, Some(mount)) => Reading::Value(mount.read_only),
                (Reading::Unreadable(why), None) => Reading::Unreadable(why.clone()),
                (_, None) => Reading::Unsupported,
            },
            space,
            inodes,
        });
    }
    disks
}

/// mountinfo, which tells what the file system is from what we alone see of it; a copied `/proc` may only have the other.
fn mounted(texts: &Texts) -> Reading<String> {
    match texts.read("proc/self/mountinfo") {
        Reading::Unsupported => texts.read("proc/self/mounts"),
        read => read,
    }
}

/// The path itself or the nearest parent that is there, without links.
fn nearest(path: &Path) -> PathBuf {
    path.ancestors().find_map(|path| path.canonicalize().ok()).unwrap_or_else(|| "/".into())
}

fn room(path: &Path) -> (Reading<Room>, Reading<Room>) {
    let stat = match statvfs(path) {
        Ok(stat) => stat,
        Err(errno) => {
            let why = because("ask for the free room at", path, &errno.into()).to_string();
            return (Reading::Unreadable(why.clone()), Reading::Unreadable(why));
        }
    };
    (space(&stat), inodes(&stat))
}

#[allow(clippy::unnecessary_cast)] // 32 bits wide on some platforms
fn space(stat: &Statvfs) -> Reading<Room> {
    let bytes = |blocks: libc::fsblkcnt_t| (blocks as u64).saturating_mul(stat.fragment_size() as u64);
    // What is kept for root is neither taken nor free: as `df` counts.
    let taken = bytes(stat.blocks()).saturating_sub(bytes(stat.blocks_free()));
    let free = bytes(stat.blocks_available());
    match stat.blocks() {
        0 => Reading::Unsupported,
        _ => Reading::Value(Room { total: taken.saturating_add(free), free }),
    }
}

#[allow(clippy::unnecessary_cast)]
fn inodes(stat: &Statvfs) -> Reading<Room> {
    match stat.files() as u64 {
        0 => Reading::Unsupported,
        total => Reading::Value(Room { total, free: stat.files_available() as u64 }),
    }
}
