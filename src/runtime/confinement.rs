//! What an instance may use, and what is to be cleared when it has ended: its control group and its private /tmp.
//!
//! Both are named after the instance (`SERVICE-N` among its app's, `APP-SERVICE-N` among all), so that a daemon that
//! comes after a killed one knows what belongs to nobody. Line: limits come from the configuration; whether the kernel
//! keeps them is `os::cgroup`'s to say.

use super::process::{Host, Which};
use crate::base::{AppName, InstanceId, ServiceName};
use crate::os::cgroup::{self, Group, Limits};
use crate::os::group::Trail;
use crate::os::instances::Record;
use crate::os::sweeper::Remains;
use crate::os::users::User;
use crate::os::{private_tmp, users};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// How many times the processes of one instance a user may have altogether, where nothing else bounds them: several
/// instances and a person's own programs share the number.
const INSTANCES_OF_A_USER: u64 = 4;

/// A group for the instance, with the way in. Where none can be made it runs without: down it would be of less use.
pub(super) fn group(host: Host<'_>, which: Which<'_>, instance: InstanceId) -> Option<(Group, OwnedFd)> {
    let limits = Limits { memory_max: which.service.memory_max, tasks_max: Some(cgroup::tasks_max()) };
    let name = group_name(&which.app.name, &which.service.name, instance);
    let make = |groups: &cgroup::Cgroups| {
        let group = groups.create(&name, &limits)?;
        let entry = group.entry()?;
        Ok((group, entry))
    };
    let made: io::Result<_> = host.groups.map(make).transpose();
    made.unwrap_or_else(|error| {
        log::error!("{}: {}: started without limits: {error}", which.app.name, which.service.name);
        None
    })
}

/// The end of a fork bomb where no group is. Our own user is not bounded: we would be with it.
pub(super) fn process_limit(host: Host<'_>, user: Option<&User>) -> Option<u64> {
    let bounded = host.groups.is_some_and(|groups| groups.enforces_tasks());
    let another = user.is_some_and(|user| users::is_root() && user.uid != 0);
    (another && !bounded).then(|| cgroup::tasks_max() * INSTANCES_OF_A_USER)
}

/// A fresh private /tmp, where the service has one.
pub(super) fn private_tmp(host: Host<'_>, which: Which<'_>, instance: InstanceId) -> io::Result<Option<PathBuf>> {
    if !which.service.private_tmp {
        return Ok(None);
    }
    let dir = private_tmp_dir(host, &which.app.name, &which.service.name, instance);
    private_tmp::make(&dir)?;
    Ok(Some(dir))
}

/// What the ended instance of this record may have left.
pub fn remains(host: Host<'_>, record: &Record) -> Remains {
    let name = group_name(&record.app, &record.service, record.instance);
    let tmp = private_tmp_dir(host, &record.app, &record.service, record.instance);
    Remains {
        trail: Trail { marker: host.instances.marker(record.instance), since: record.start_time },
        group: host.groups.and_then(|groups| groups.open(&name).ok()),
        private_tmp: tmp.exists().then_some(tmp),
    }
}

/// Ends and removes what belongs to instances that `keep` does not name: their control groups, with all processes in
/// them, and their private /tmp. For what a daemon before us left, and for candidates, which share one number.
pub fn clear_leftovers<'a>(
    host: Host<'_>,
    apps: impl IntoIterator<Item = &'a AppName>,
    keep: &dyn Fn(InstanceId) -> bool,
) {
    let dead = |name: &str| instance_of(name).is_some_and(|instance| !keep(instance));
    if let Some(groups) = host.groups {
        for name in groups.names().unwrap_or_default().iter().filter(|name| dead(name)) {
            report(groups.open(name).and_then(|group| group.kill().and_then(|()| group.remove())));
        }
    }
    for app in apps {
        for entry in fs::read_dir(host.place.private_tmps(app)).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(dead) {
                report(private_tmp::remove(&entry.path()));
            }
        }
    }
}

fn report(cleared: io::Result<()>) {
    if let Err(error) = cleared {
        log::warn!("clear up behind an instance: {error}");
    }
}

fn group_name(app: &AppName, service: &ServiceName, instance: InstanceId) -> String {
    format!("{app}-{service}-{}", instance.0)
}

fn private_tmp_dir(host: Host<'_>, app: &AppName, service: &ServiceName, instance: InstanceId) -> PathBuf {
    host.place.private_tmps(app).join(format!("{service}-{}", instance.0))
}

/// The instance that a name made here ends with.
fn instance_of(name: &str) -> Option<InstanceId> {
    name.rsplit_once('-')?.1.parse().ok().map(InstanceId)
}
