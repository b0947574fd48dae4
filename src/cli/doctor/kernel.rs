//! What the kernel has of what Pintle uses: pidfds, Landlock, control groups that count memory.

use super::super::findings::Finding;
use super::installation::Installation;
use crate::os::{confine, process};
use std::fs;

/// What is to be said of it.
pub fn look(here: &Installation) -> Vec<Finding> {
    vec![pidfd(), landlock(), memory(here)]
}

fn pidfd() -> Finding {
    match process::pidfd_open(std::process::id()) {
        Ok(_) => Finding::ok("kernel/pidfd", "the end of every process is seen"),
        Err(error) => {
            let what = format!("processes cannot be watched: {error}");
            Finding::critical("kernel/pidfd", what, "Linux 5.3 or later is needed: upgrade this system")
        }
    }
}

fn landlock() -> Finding {
    match confine::landlock_version() {
        Ok(version) => Finding::ok("kernel/landlock", format!("version {version}: the listener is confined by it")),
        Err(error) => {
            let what = format!("the listener goes without Landlock: {error}");
            let advice =
                "upgrade the kernel, or add lsm=landlock to its command line; everything else confines it still";
            Finding::warning("kernel/landlock", what, advice)
        }
    }
}

/// Whether a `memory_max` can be enforced.
fn memory(here: &Installation) -> Finding {
    let about = "kernel/memory";
    let limited = |app: &&crate::config::App| app.services.values().any(|service| service.memory_max.is_some());
    let limited: Vec<&str> = here.apps.iter().filter(limited).map(|app| app.name.as_str()).collect();
    let controllers = fs::read_to_string(here.path("/sys/fs/cgroup/cgroup.controllers"));
    let missing = match controllers {
        Ok(list) if list.split_whitespace().any(|name| name == "memory") => None,
        Ok(_) => {
            let advice = "add cgroup_enable=memory to the one line of /boot/firmware/cmdline.txt (older systems: \
                          /boot/cmdline.txt) and reboot";
            Some(("the kernel's memory controller is off", advice))
        }
        Err(_) => {
            let advice = "boot with systemd.unified_cgroup_hierarchy=1, as Debian 11 and later do by themselves";
            Some(("control groups are not of version 2 alone", advice))
        }
    };
    match missing {
        None => Finding::ok(about, "memory_max can be enforced"),
        Some((why, advice)) if limited.is_empty() => {
            let what = format!("no limit of memory is configured; one would not be enforced: {why}");
            Finding { advice: Some(advice.into()), ..Finding::ok(about, what) }
        }
        Some((why, advice)) => {
            let what = format!("memory_max of {} is NOT enforced: {why}", limited.join(", "));
            Finding::warning(about, what, advice)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::Scratch;
    use super::*;

    /// An installation whose one app has a limit of memory, on a host with these controllers.
    fn said(name: &str, controllers: Option<&str>, limit: &str) -> Finding {
        let scratch = Scratch::configured(name, &["shop"]);
        let app = format!("[source]\ngit = '/srv/shop'\nbranch = 'main'\n[service.web]\nrun = ['web']\n{limit}\n");
        fs::write(scratch.path.join("apps/shop.toml"), app).unwrap();
        if let Some(controllers) = controllers {
            fs::create_dir_all(scratch.path.join("sys/fs/cgroup")).unwrap();
            fs::write(scratch.path.join("sys/fs/cgroup/cgroup.controllers"), controllers).unwrap();
        }
        memory(&Installation::of(&scratch.path))
    }

    #[test]
    fn a_limit_that_is_not_enforced_is_told_with_what_to_write_where() {
        let limit = "memory_max = '64MiB'";
        assert!(said("kernel-on", Some("cpuset cpu io memory pids"), limit).is_ok());
        let off = said("kernel-off", Some("cpuset cpu io pids"), limit);
        assert!(off.what.contains("memory_max of shop is NOT enforced"), "{off:?}");
        assert!(off.advice.unwrap().contains("cgroup_enable=memory"));
        assert!(said("kernel-v1", None, limit).advice.unwrap().contains("unified_cgroup_hierarchy"));
        let unused = said("kernel-unused", Some("cpu"), "");
        assert!(unused.is_ok() && unused.advice.is_some(), "{unused:?}");
    }

    #[test]
    fn what_this_kernel_has_is_found() {
        assert!(pidfd().is_ok());
        assert_eq!(landlock().is_ok(), confine::landlock_version().is_ok());
    }
}
