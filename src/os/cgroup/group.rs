//! One group: who is in it, what it may use, its end.

use crate::base::Bytes;
use crate::os::files::because;
use crate::os::process::{self, Process};
use crate::os::usage::{self, Usage};
use nix::poll::{PollFd, PollFlags};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long killed processes are waited for: all but those that hang in the kernel go at once.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// What an instance may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// All its memory together. Above it the kernel kills one of its processes.
    pub memory_max: Option<Bytes>,
    /// All its processes and threads together; see [`super::tasks_max`].
    pub tasks_max: Option<u64>,
}

/// A control group of ours.
#[derive(Debug, Clone)]
pub struct Group {
    path: PathBuf,
}

impl Group {
    pub(super) fn at(path: PathBuf) -> Group {
        Group { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The way in, for `spawn::Start`: a descriptor of the group's directory.
    pub fn entry(&self) -> io::Result<OwnedFd> {
        Ok(File::open(&self.path).map_err(|error| because("open the control group", &self.path, &error))?.into())
    }

    /// Ends every process in it and below, at once and for certain: no fork is quick enough. A group that is gone is
    /// no error. Kernels before 5.14 lack the switch for it; there the group is frozen first, and then each is killed.
    pub fn kill(&self) -> io::Result<()> {
        match fs::write(self.path.join("cgroup.kill"), "1") {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.path.exists() => self.kill_one_by_one(),
            Err(error) if !is_gone(&error) => Err(because("end the processes of", &self.path, &error)),
            _ => Ok(()),
        }
    }

    /// Frozen processes do not fork; killed they go all the same.
    pub(super) fn kill_one_by_one(&self) -> io::Result<()> {
        let _ = self.write("cgroup.freeze", "1");
        let deadline = Instant::now() + LAST_WAIT;
        loop {
            let members = self.members();
            for pid in &members {
                if let Some(pidfd) = Process::read(*pid).and_then(|process| process.hold()) {
                    let _ = process::signal(pidfd.as_fd(), libc::SIGKILL);
                }
            }
            if members.is_empty() {
                return self.write("cgroup.freeze", "0");
            }
            if !self.wait_empty(Instant::now() + Duration::from_millis(10))? && Instant::now() >= deadline {
                let hang = io::Error::other(format!("{} processes do not die", members.len()));
                return Err(because("end the processes of", &self.path, &hang));
            }
        }
    }

    /// Removes it, with the groups its processes made inside, once they have all ended; to be called after
    /// [`Group::kill`]. One that is gone is no error; one with a process that hangs in the kernel is.
    pub fn remove(&self) -> io::Result<()> {
        let removed = match self.wait_empty(Instant::now() + LAST_WAIT) {
            Ok(_) => remove_tree(&self.path),
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if !is_gone(&error) => Err(because("remove the control group", &self.path, &error)),
            _ => Ok(()),
        }
    }

    /// Whether no process (zombies do not count) is in it or below.
    pub fn is_empty(&self) -> bool {
        fs::read_to_string(self.path.join("cgroup.events")).map_or(true, |events| !is_populated(&events))
    }

    /// What its processes use, and have used. Nothing, when it is gone.
    pub fn usage(&self) -> Usage {
        let cpu = self.figure("cpu.stat", "usage_usec").map(Duration::from_micros);
        // The file cache it could give back at once is not what it needs.
        let cache = || self.figure("memory.stat", "inactive_file").unwrap_or(0);
        let current = self.read("memory.current").and_then(|text| text.trim().parse::<u64>().ok());
        let memory = match current {
            Some(current) => Some(Bytes(current.saturating_sub(cache()))),
            None => usage::memory_of(&self.members()),
        };
        Usage { memory, cpu: cpu.unwrap_or_default() }
    }

    /// The limit the kernel enforces.
    pub fn memory_max(&self) -> Option<Bytes> {
        Some(Bytes(self.read("memory.max")?.trim().parse().ok()?))
    }

    /// How many of its processes the kernel has killed because its memory was used up; `None` where nobody counts.
    pub fn oom_kills(&self) -> Option<u64> {
        self.figure("memory.events", "oom_kill")
    }

    /// No swap beside it: a limit that is reached is to end in a kill and a restart, not in minutes of writing to an SD
    /// card, and compressed swap is memory again. And the kernel's choice of a victim stands (`memory.oom.group` stays
    /// 0): a server with workers loses the largest of them, which its own master replaces while the others answer; where
    /// it is the leader, the whole group ends with it.
    pub(super) fn limit_memory(&self, max: Bytes) -> io::Result<()> {
        self.write("memory.max", &max.0.to_string())?;
        match self.write("memory.swap.max", "0") {
            // A kernel without swap.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            written => written,
        }
    }

    pub(super) fn write(&self, file: &str, value: &str) -> io::Result<()> {
        let path = self.path.join(file);
        fs::write(&path, value).map_err(|error| because(&format!("write {value} to"), &path, &error))
    }

    pub(super) fn read(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.path.join(file)).ok()
    }

    /// A number from a file of `name number` lines.
    fn figure(&self, file: &str, name: &str) -> Option<u64> {
        let text = self.read(file)?;
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(key, _)| *key == name)?.1.trim().parse().ok()
    }

    /// The processes in it and below.
    fn members(&self) -> Vec<u32> {
        let mut members = Vec::new();
        let mut groups = vec![self.path.clone()];
        while let Some(group) = groups.pop() {
            let procs = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
            members.extend(procs.lines().filter_map(|pid| pid.parse::<u32>().ok()));
            groups.extend(below(&group));
        }
        members
    }

    /// Sleeps until no process is in it or below; `false` when some still are at `deadline`.
    fn wait_empty(&self, deadline: Instant) -> io::Result<bool> {
        let events = match File::open(self.path.join("cgroup.events")) {
            Err(error) if is_gone(&error) => return Ok(true),
            events => events?,
        };
        loop {
            // Read again through the same descriptor: that is what arms its next wake-up.
            if !is_populated(&read_from_start(&events)?) {
                return Ok(true);
            }
            let mut fds = [PollFd::new(events.as_fd(), PollFlags::POLLPRI)];
            if !crate::os::poll::until(&mut fds, Some(deadline))? {
                return Ok(false);
            }
        }
    }
}

fn read_from_start(file: &File) -> io::Result<String> {
    use std::os::unix::fs::FileExt;
    let mut text = [0; 256];
    match file.read_at(&mut text, 0) {
        Ok(length) => Ok(String::from_utf8_lossy(text.get(..length).unwrap_or_default()).into_owned()),
        Err(error) if is_gone(&error) => Ok(String::new()),
        Err(error) => Err(error),
    }
}

fn is_populated(events: &str) -> bool {
    events.lines().any(|line| line == "populated 1")
}

/// The group is not there, or went while we held one of its files.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

fn remove_tree(group: &Path) -> io::Result<()> {
    for inner in below(group) {
        remove_tree(&inner)?;
    }
    fs::remove_dir(group)
}

fn below(group: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()).collect()
}
