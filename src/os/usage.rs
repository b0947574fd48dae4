//! What an instance uses: memory now, CPU time since its start.
//!
//! Asked of its control group where it has one; else added up over the processes of its session, all sessions in one
//! pass over `/proc`. Line: numbers only; what is too much is judged elsewhere.

use crate::base::Bytes;
use crate::os::process::{Process, processes};
use nix::unistd::{SysconfVar, sysconf};
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// Memory and CPU time of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// What it holds; `None` where that cannot be read.
    pub memory: Option<Bytes>,
    /// What its processes have computed, those that ended included.
    pub cpu: Duration,
}

impl Usage {
    /// What the processes of these sessions use. A session without processes is missing in the answer.
    ///
    /// Memory is the resident set where a session is one process: cheap, and what `ps` shows. Of several processes it
    /// is the proportional set (each page shared by n counts 1/n), because the workers of a forking server share most
    /// of theirs, and added up they would seem to need several times what there is.
    pub fn of_sessions(sessions: &[u32]) -> BTreeMap<u32, Usage> {
        let mut members: BTreeMap<u32, Vec<Process>> = sessions.iter().map(|session| (*session, vec![])).collect();
        for process in processes() {
            if let Some(members) = members.get_mut(&process.session) {
                members.push(process);
            }
        }
        members.retain(|_, members| !members.is_empty());
        let usage = |members: Vec<Process>| Usage {
            memory: memory_of_processes(&members),
            cpu: ticks(members.iter().map(|process| process.cpu_ticks).sum()),
        };
        members.into_iter().map(|(session, members)| (session, usage(members))).collect()
    }
}

/// The memory of these processes together, counted as in [`Usage::of_sessions`]; `None` when none is left.
pub(crate) fn memory_of(pids: &[u32]) -> Option<Bytes> {
    memory_of_processes(&pids.iter().filter_map(|pid| Process::read(*pid)).collect::<Vec<_>>())
}

fn memory_of_processes(members: &[Process]) -> Option<Bytes> {
    let resident = |process: &Process| process.resident_pages * page_size();
    match members {
        [] => None,
        [alone] => Some(Bytes(resident(alone))),
        // One whose maps we may not read has only the larger figure.
        all => {
            Some(Bytes(all.iter().map(|process| proportional(process.pid).unwrap_or_else(|| resident(process))).sum()))
        }
    }
}

/// The proportional set size of a process in bytes.
fn proportional(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}

fn page_size() -> u64 {
    sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|size| u64::try_from(size).ok()).unwrap_or(4096)
}

fn ticks(ticks: u64) -> Duration {
    let per_second = sysconf(SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100);
    Duration::from_secs_f64(ticks as f64 / per_second.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::CommandExt;
    use std::process::{Command, Stdio};

    #[test]
    fn a_session_is_all_its_processes_and_what_they_have_computed() {
        let script = "import os, sys, time\n\
                      block = bytearray(os.urandom(1 << 20)) * 40\n\
                      if os.fork() == 0:\n    time.sleep(600)\n\
                      end = time.process_time() + 0.2\n\
                      while time.process_time() < end: pass\n\
                      print('ready', flush=True)\n\
                      time.sleep(600)";
        let mut command = Command::new("python3");
        command.args(["-c", script]).stdout(Stdio::piped());
        // SAFETY: a system call without memory of ours.
        unsafe { command.pre_exec(|| nix::unistd::setsid().map(drop).map_err(Into::into)) };
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let usage = Usage::of_sessions(&[child.id(), u32::MAX]);
        nix::sys::signal::killpg(nix::unistd::Pid::from_raw(child.id() as i32), nix::sys::signal::SIGKILL).unwrap();
        child.wait().unwrap();
        assert_eq!(usage.keys().copied().collect::<Vec<_>>(), [child.id()]);
        let Usage { memory, cpu } = usage[&child.id()];
        assert!(cpu >= Duration::from_millis(200) && cpu < Duration::from_secs(60), "{cpu:?}");
        let memory = memory.unwrap().0;
        assert!((40 << 20..80 << 20).contains(&memory), "shared by the two, counted once: {memory}");
    }

    #[test]
    fn a_process_alone_has_its_resident_set() {
        let me = std::process::id();
        assert!(memory_of(&[me]).unwrap() > Bytes(1 << 20));
        assert_eq!(memory_of(&[u32::MAX]), None);
    }
}
