//! Where in the hierarchy we may make groups: what was delegated to us, and nothing else.

use nix::errno::Errno;
use nix::sys::statfs;
use nix::unistd::{AccessFlags, access};
use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};

/// `statfs` says so of a mount of cgroup v2.
const CGROUP2: statfs::FsType = statfs::CGROUP2_SUPER_MAGIC;

/// A place for our groups.
pub(super) struct Place {
    pub(super) base: PathBuf,
    /// No process is ever put into `base` itself.
    pub(super) may_have_controllers: bool,
}

/// The place of a process in the group `own`.
pub(super) fn place(mount: &Path, own: &str) -> Result<Place, String> {
    if !is_unified(mount) {
        return Err(format!(
            "{} is not the unified control group hierarchy (cgroup v2), so instances have no groups of their own",
            mount.display()
        ));
    }
    let own = mount.join(own.trim_start_matches('/'));
    let above = own.parent().filter(|above| above.starts_with(mount));
    let place = if is_delegated(&own) {
        Place { base: own, may_have_controllers: false }
    } else if let Some(above) = above.filter(|above| is_delegated(above)) {
        Place { base: above.into(), may_have_controllers: true }
    } else {
        return Err(format!(
            "the control group {} is not delegated to Pintle (under systemd the unit says Delegate=yes), so instances \
             have no groups of their own",
            own.display()
        ));
    };
    let writable = |path: &Path| access(path, AccessFlags::W_OK).is_ok();
    match writable(&place.base) && writable(&place.base.join("cgroup.procs")) {
        true => Ok(place),
        false => Err(format!(
            "the control group {} is delegated, but this user may not write to it, so instances have no groups of \
             their own",
            place.base.display()
        )),
    }
}

/// Whether cgroup v2, alone, is mounted there. Beside the old hierarchies (a hybrid host) it has no controllers, and
/// service managers do not agree on who may write to it.
pub(super) fn is_unified(mount: &Path) -> bool {
    statfs::statfs(mount).is_ok_and(|stat| stat.filesystem_type() == CGROUP2)
}

/// Whether the host has the controller, to give to anybody.
pub(super) fn offers(mount: &Path, controller: &str) -> bool {
    let list = fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default();
    list.split_whitespace().any(|name| name == controller)
}

/// Our own group.
pub(super) fn own_group() -> Result<String, String> {
    group_of("self")
}

/// The group of a process, as a path from the mount.
pub(super) fn group_of(pid: &str) -> Result<String, String> {
    let path = format!("/proc/{pid}/cgroup");
    let text = fs::read_to_string(&path).map_err(|error| format!("read {path}: {error}"))?;
    let group = text.lines().find_map(|line| line.strip_prefix("0::"));
    group.map(str::to_owned).ok_or_else(|| "this host has no control groups of version 2".into())
}

fn is_delegated(group: &Path) -> bool {
    ["user.delegate", "trusted.delegate"].into_iter().any(|mark| attribute_is_1(group, mark))
}

fn attribute_is_1(path: &Path, name: &str) -> bool {
    let (Ok(path), Ok(name)) = (CString::new(path.as_os_str().as_encoded_bytes()), CString::new(name)) else {
        return false;
    };
    let mut value = [0_u8; 4];
    // SAFETY: two strings ended by NUL, and a buffer with its length.
    let length = unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    match Errno::result(length) {
        Ok(length) => value.get(..length as usize).is_some_and(|value| value == b"1"),
        Err(_) => false,
    }
}
