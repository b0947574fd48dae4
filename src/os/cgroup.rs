//! Control groups (cgroup v2): one for each instance, where the host lets us make them.
//!
//! In a group of its own an instance cannot lose a process: whatever it starts stays in the group, whoever adopts it,
//! and the kernel ends them all at once. The group also bounds memory and processes and counts what was used. Line:
//! how an instance is to be bounded, and when it is ended, is decided by the caller.
//!
//! We touch nothing but what was delegated to us: a group that carries the mark `user.delegate` or `trusted.delegate`,
//! as systemd sets it for `Delegate=yes`. Where the group above ours carries it (`DelegateSubgroup=`), the controllers
//! can be switched on for our instances. Where it is our own group they cannot: the kernel would then refuse every
//! process in that group, and a restarted daemon is put there. Membership, ending and CPU time work all the same.

mod delegation;
mod group;

pub use group::{Group, Limits};

use crate::os::files::because;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Where systemd, and everybody else, mounts the one hierarchy.
const MOUNT: &str = "/sys/fs/cgroup";

/// The groups of our instances: children of one that was delegated to us.
#[derive(Debug, Clone)]
pub struct Cgroups {
    /// Where the hierarchy is mounted.
    mount: PathBuf,
    /// The group that ours are made in.
    base: PathBuf,
    /// What sets our groups apart from those of another daemon in the same place.
    suffix: String,
    controllers: Controllers,
}

/// Which controllers are on for the groups we make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Controllers {
    memory: bool,
    pids: bool,
}

impl Cgroups {
    /// Finds the place where groups may be made and switches the controllers on there. `tag` names our state
    /// directory: several daemons may share a delegated group. The error says, as a sentence, why there is no place.
    pub fn find(tag: &str) -> Result<Cgroups, String> {
        Cgroups::under(Path::new(MOUNT), &delegation::own_group()?, tag)
    }

    /// The same, for a process in the group `own` of the hierarchy at `mount`.
    fn under(mount: &Path, own: &str, tag: &str) -> Result<Cgroups, String> {
        let place = delegation::place(mount, own)?;
        let switched_on = |name| place.may_have_controllers && switch_on(&place.base, name);
        let controllers = Controllers { memory: switched_on("memory"), pids: switched_on("pids") };
        // Counted without it too, in less detail; a kernel that lacks it takes nothing from us.
        switched_on("cpu");
        let suffix = format!("@{}", tag.get(..8).unwrap_or(tag));
        Ok(Cgroups { mount: mount.into(), base: place.base, suffix, controllers })
    }

    /// Whether a `memory_max` given to [`Cgroups::create`] is kept by the kernel.
    pub fn enforces_memory(&self) -> bool {
        self.controllers.memory
    }

    /// Whether the same goes for `tasks_max`.
    pub fn enforces_tasks(&self) -> bool {
        self.controllers.pids
    }

    /// Makes the group `name` (of letters, digits, '-' and '_': never a controller's file, which has a dot) with its
    /// limits. One of that name without processes is replaced; with processes it is an error.
    pub fn create(&self, name: &str, limits: &Limits) -> io::Result<Group> {
        let path = self.path(name)?;
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_dir(&path).and_then(|()| fs::create_dir(&path))
            }
            made => made,
        }
        .map_err(|error| because("make the control group", &path, &error))?;
        let group = Group::at(path);
        self.limit(&group, limits).inspect_err(|_| drop(group.remove()))?;
        Ok(group)
    }

    /// What the kernel does not enforce is left out: [`unenforced_memory`] has said so.
    fn limit(&self, group: &Group, limits: &Limits) -> io::Result<()> {
        if let Some(memory_max) = limits.memory_max.filter(|_| self.controllers.memory) {
            group.limit_memory(memory_max)?;
        }
        if let Some(tasks_max) = limits.tasks_max.filter(|_| self.controllers.pids) {
            group.write("pids.max", &tasks_max.to_string())?;
        }
        Ok(())
    }

    /// The group `name`, when it exists.
    pub fn open(&self, name: &str) -> io::Result<Group> {
        let path = self.path(name)?;
        fs::metadata(&path).map_err(|error| because("open the control group", &path, &error))?;
        Ok(Group::at(path))
    }

    /// The names of all groups of ours that exist: after a start, those nobody adopts are to be ended.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(&self.base).map_err(|error| because("list", &self.base, &error))?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        Ok(names.filter_map(|name| Some(name.strip_suffix(&self.suffix)?.to_owned())).collect())
    }

    /// The group of ours that the process `pid` is in, however deep below.
    pub fn of(&self, pid: u32) -> Option<Group> {
        let path = delegation::group_of(&pid.to_string()).ok()?;
        let path = self.mount.join(path.trim_start_matches('/'));
        let name = path.strip_prefix(&self.base).ok()?.components().next()?;
        let name = name.as_os_str().to_str().filter(|name| name.ends_with(&self.suffix))?;
        Some(Group::at(self.base.join(name)))
    }

    fn path(&self, name: &str) -> io::Result<PathBuf> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || !name.chars().all(plain) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("no name for a control group: {name:?}")));
        }
        Ok(self.base.join(format!("{name}{}", self.suffix)))
    }
}

/// Switches a controller on for the groups in `base`; `false` where the host does not have it or does not let us.
fn switch_on(base: &Path, controller: &str) -> bool {
    let has = |file: &str| {
        let list = fs::read_to_string(base.join(file)).unwrap_or_default();
        list.split_whitespace().any(|name| name == controller)
    };
    let switch = || fs::write(base.join("cgroup.subtree_control"), format!("+{controller}"));
    has("cgroup.subtree_control") || has("cgroup.controllers") && switch().is_ok()
}

/// What people must know where a service has a `memory_max`: that it is not enforced, why, and what to do. `None`
/// where it is. For `status` and the journal.
pub fn unenforced_memory(found: Result<&Cgroups, &str>) -> Option<String> {
    let why = match found {
        Ok(groups) if groups.enforces_memory() => return None,
        Ok(groups) if !delegation::offers(&groups.mount, "memory") => kernel_lacks_memory(),
        Ok(_) => {
            "the service manager does not let Pintle switch the memory controller on: the unit needs Delegate=yes \
                  and DelegateSubgroup=daemon (systemd 254 or newer)"
                .into()
        }
        Err(_) if delegation::is_unified(Path::new(MOUNT)) && !delegation::offers(Path::new(MOUNT), "memory") => {
            kernel_lacks_memory()
        }
        Err(why) => why.to_owned(),
    };
    Some(format!("memory_max is NOT enforced: {why}"))
}

/// Raspberry Pi OS starts its kernel with the controller off.
fn kernel_lacks_memory() -> String {
    let files = ["/boot/firmware/cmdline.txt", "/boot/cmdline.txt"];
    let file = files.into_iter().find(|file| Path::new(file).exists()).unwrap_or(files[0]);
    format!(
        "the kernel's memory controller is off; on a Raspberry Pi add cgroup_enable=memory to the one line of {file} \
         and reboot"
    )
}

/// How many processes and threads an instance may have: an eighth of all that the kernel allows (which grows with the
/// memory), at least 512, at most 4096. A fork bomb ends there, with room for everybody else; no honest program that
/// a small board can carry comes near it.
pub fn tasks_max() -> u64 {
    // Once: it stands before every restart of a crashed app.
    static MOST: OnceLock<u64> = OnceLock::new();
    *MOST.get_or_init(|| {
        let text = fs::read_to_string("/proc/sys/kernel/threads-max").unwrap_or_default();
        (text.trim().parse().unwrap_or(0) / 8_u64).clamp(512, 4096)
    })
}

#[cfg(test)]
mod tests;
