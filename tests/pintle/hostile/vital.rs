//! What a process shows of itself from outside: threads, descriptors, memory.

use crate::world::World;
use std::fs;

/// Connections to tiny_http that the guard keeps after a busy time, each with a thread and three descriptors.
pub const KEPT: usize = 4;

/// Connections to the daemon that are kept for the next request.
const TO_THE_DAEMON: usize = 8;

/// What an allocator keeps, and what a debug build touches on a path it had not taken yet.
const MEMORY_SLACK: u64 = 6 << 20;

/// One look at a process.
#[derive(Debug, Clone, Copy)]
pub struct Vital {
    pub pid: i32,
    pub threads: usize,
    pub descriptors: usize,
    /// Bytes in memory now, and at most since the process began.
    pub resident: u64,
    pub peak: u64,
}

impl Vital {
    /// A look at process `pid`, which must exist.
    #[track_caller]
    pub fn of(pid: i32) -> Vital {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_else(|e| panic!("process {pid}: {e}"));
        let field = |name: &str| -> u64 {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}: {pid}"));
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        Vital {
            pid,
            threads: field("Threads:") as usize,
            descriptors: fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count(),
            resident: field("VmRSS:") << 10,
            peak: field("VmHWM:") << 10,
        }
    }

    /// A look at a world's listener.
    #[track_caller]
    pub fn of_listener(world: &World) -> Vital {
        let pid = world.status().listener.pid;
        Vital::of(pid.unwrap_or_else(|| panic!("no listener runs:\n{}", world.daemon_said())) as i32)
    }

    /// Whether this is the same process in the same state of rest; `None` while it is not. Another process is a crash.
    #[track_caller]
    pub fn rests_like(&self, before: &Vital) -> Option<()> {
        assert_eq!(self.pid, before.pid, "the process of before has ended");
        let rests = self.threads <= before.threads + KEPT
            && self.descriptors <= before.descriptors + 3 * KEPT + TO_THE_DAEMON
            && self.resident <= before.resident + MEMORY_SLACK;
        rests.then_some(())
    }
}
