//! The figures of a `status` that only the kernel knows: what the host has, what each instance uses.
//!
//! Asked by the door that answers, beside the loop, when somebody wants to know; nothing is sampled or kept.

use super::work::Bench;
use crate::base::Moment;
use crate::control::{InstanceView, StatusReport};
use crate::os::host;
use crate::os::usage::Usage;
use std::time::Duration;

/// Fills in what the turn left open; `since` is the daemon's own start.
pub(super) fn fill_in(bench: &Bench, since: Duration, report: &mut StatusReport) {
    report.daemon.pid = std::process::id();
    report.daemon.uptime_seconds = Moment::now().mono.saturating_sub(since).as_secs();
    report.host.hostname = host::hostname();
    report.host.uptime_seconds = host::uptime().unwrap_or_default().as_secs();
    if let Ok(disk) = host::disk(&bench.place.state_dir) {
        report.host.disk_free_bytes = Some(disk.free.0);
        report.host.disk_total_bytes = Some(disk.total.0);
    }
    let services = report.apps.iter_mut().flat_map(|app| &mut app.services);
    measure(bench, services.flat_map(|service| &mut service.instances).collect());
}

/// From its control group where it is in one of its own, else from its session.
fn measure(bench: &Bench, instances: Vec<&mut InstanceView>) {
    let mut ungrouped = vec![];
    for instance in instances {
        let Some(pid) = instance.pid else { continue };
        match bench.groups.as_ref().and_then(|groups| groups.of(pid)) {
            Some(group) => {
                note(instance, &group.usage());
                instance.memory_max_bytes = group.memory_max().map(|max| max.0);
            }
            None => ungrouped.push((pid, instance)),
        }
    }
    let sessions = ungrouped.iter().map(|(pid, _)| *pid).collect::<Vec<_>>();
    if sessions.is_empty() {
        return;
    }
    let usage = Usage::of_sessions(&sessions);
    for (pid, instance) in ungrouped {
        if let Some(usage) = usage.get(&pid) {
            note(instance, usage);
        }
    }
}

fn note(instance: &mut InstanceView, usage: &Usage) {
    instance.memory_bytes = usage.memory.map(|memory| memory.0);
    instance.cpu_seconds = Some(usage.cpu.as_secs_f64());
}
