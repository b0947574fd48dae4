//! Who runs: one small record per started instance under `RUN/instances/`, for the daemon that comes after a killed one.
//!
//! A record names its process by pid and start time, so that a number used again by somebody else is never touched.
//! Written without fsync: after a power cut no process is left that it could tell of. Line: here leftovers are found
//! and ended; adopting them is the supervisor's decision.

use crate::base::{AppName, InstanceId, ReleaseName, ServiceName};
use crate::os::files::{because, make_dir};
use crate::os::group;
use crate::os::process::Process;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A started instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its leader's pid, which is also its session.
    pub pid: u32,
    /// When the leader was started, in clock ticks since boot.
    pub start_time: u64,
    /// Its number in the daemon that started it.
    pub instance: InstanceId,
    /// Whose it is.
    pub app: AppName,
    /// Which service.
    pub service: ServiceName,
    /// Of which release.
    pub release: ReleaseName,
    /// Which start of the service it belongs to.
    #[serde(default)]
    pub round: u64,
    /// Its place among that start's instances.
    #[serde(default)]
    pub index: u32,
    /// The port it was given.
    #[serde(default)]
    pub port: Option<u16>,
    /// How often it had been started again.
    #[serde(default)]
    pub restarts: u64,
    /// It was ready.
    #[serde(default)]
    pub ready: bool,
    /// How often it says that it lives, by its own word.
    #[serde(default)]
    pub speaks_every: Option<Duration>,
    /// It was asked to end.
    #[serde(default)]
    pub asked_to_end: bool,
}

impl Record {
    /// Whether the leader still runs.
    pub fn is_running(&self) -> bool {
        self.leader().is_some()
    }

    fn leader(&self) -> Option<Process> {
        Process::read(self.pid).filter(|process| process.runs && process.start_time == self.start_time)
    }
}

/// The records, and the tag by which all processes of one state directory are recognised.
#[derive(Debug, Clone)]
pub struct Instances {
    dir: PathBuf,
    tag: String,
}

impl Instances {
    /// The records under `runtime_dir`, made where they are not there yet, of the daemon that works on `state_dir`.
    pub fn open(runtime_dir: &Path, state_dir: &Path) -> io::Result<Instances> {
        let dir = runtime_dir.join("instances");
        make_dir(&dir, 0o700)?;
        let state_dir = fs::canonicalize(state_dir).map_err(|error| because("resolve", state_dir, &error))?;
        let hash = Sha256::digest(state_dir.as_os_str().as_encoded_bytes());
        let tag = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        Ok(Instances { dir, tag })
    }

    /// The variable (`PINTLE_INSTANCE=TAG.NUMBER`) an instance is to be started with.
    pub fn variable(&self, instance: InstanceId) -> (String, String) {
        (group::MARKER.to_owned(), self.marker(instance))
    }

    /// What sets the processes of this state directory apart.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The number of the instance that `process` descends from; `None` when it is none of ours.
    pub fn number_of(&self, process: &Process) -> Option<InstanceId> {
        let marker = group::marker(process)?;
        let number = std::str::from_utf8(&marker).ok()?.strip_prefix(&self.tag)?.strip_prefix('.')?;
        number.parse().ok().map(InstanceId)
    }

    /// The value by which `group::sweep` finds the processes of an instance.
    pub fn marker(&self, instance: InstanceId) -> String {
        format!("{}.{}", self.tag, instance.0)
    }

    /// The number that the keeper of descriptors carries: it outlives every daemon that ends out of order.
    pub fn keeper(&self) -> InstanceId {
        InstanceId(0)
    }

    /// The number that programs carry which the daemon itself needs for a while: above those of instances, and of what is
    /// made for a deployment.
    pub fn helpers(&self) -> InstanceId {
        InstanceId(1 << 63)
    }

    /// Notes a started instance, or what has become of it.
    pub fn write(&self, record: &Record) -> io::Result<()> {
        let path = self.path(record);
        let new = path.with_extension("new");
        let written = fs::write(&new, serde_json::to_vec(record)?).and_then(|()| fs::rename(&new, &path));
        written.map_err(|error| because("write", &path, &error))
    }

    /// Forgets an instance of which no process is left. One that is not noted is no error.
    pub fn remove(&self, record: &Record) -> io::Result<()> {
        let path = self.path(record);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(because("remove", &path, &error)),
            _ => Ok(()),
        }
    }

    /// All that are noted; what cannot be read is left out.
    pub fn read(&self) -> io::Result<Vec<Record>> {
        let entries = fs::read_dir(&self.dir).map_err(|error| because("list", &self.dir, &error))?;
        // Beside them lie the pipes that instances write to: reading one would wait for its writer.
        let paths =
            entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|it| it == "json"));
        let texts = paths.filter_map(|path| fs::read(path).ok());
        Ok(texts.filter_map(|text| serde_json::from_slice(&text).ok()).collect())
    }

    /// Ends everything a daemon before us left running - the noted instances with their sessions, and every process
    /// that carries our tag - by SIGTERM, `grace`, SIGKILL, and forgets the records. A process that `spare` names is left
    /// alone, and the record of a leader it names is kept: what is adopted is spared by session or by
    /// [`Instances::number_of`]. To be called before the first start. Returns the instances that still ran.
    pub fn end_leftovers(&self, spare: &dyn Fn(&Process) -> bool, grace: Duration) -> io::Result<Vec<Record>> {
        let noted = self.read()?;
        let noted = noted.into_iter().filter(|record| !record.leader().is_some_and(|leader| spare(&leader)));
        let noted = noted.collect::<Vec<_>>();
        let left = noted.iter().filter(|record| record.is_running()).cloned().collect::<Vec<_>>();
        // A session counts while its leader proves that the number is still its own; later only the marker does.
        let sessions = left.iter().map(|record| record.pid).collect::<BTreeSet<_>>();
        let ours = |process: &Process| sessions.contains(&process.session) || self.number_of(process).is_some();
        group::end_all(&|process| ours(process) && !spare(process), grace);
        for record in &noted {
            self.remove(record)?;
        }
        Ok(left)
    }

    fn path(&self, record: &Record) -> PathBuf {
        self.dir.join(format!("{}-{}.json", record.pid, record.start_time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::spawn::{Child, Start, start};
    use crate::os::{poll, process, reap};
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::time::Instant;

    /// Starts `line` in a shell; gives the child and what it wrote until its output was closed.
    fn shell(line: &str, marker: (String, String)) -> (Child, String) {
        let argv = ["/bin/sh", "-c", line].map(String::from);
        let env = [("PATH".into(), "/usr/bin:/bin".into()), marker];
        let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
        let child = start(&Start::new(&argv, Path::new("/"), &env, write.as_fd())).unwrap();
        drop(write);
        let mut said = String::new();
        fs::File::from(read).read_to_string(&mut said).unwrap();
        (child, said)
    }

    fn is_running(pid: &str) -> bool {
        Process::read(pid.trim().parse().unwrap()).is_some_and(|process| process.runs)
    }

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("pintle-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    const SILENT: &str = ">/dev/null 2>&1";

    #[test]
    fn a_sweep_finds_those_who_left_the_session_and_those_who_ignore_sigterm() {
        let dir = scratch("sweep");
        let instances = Instances::open(&dir, &dir).unwrap();
        let escape =
            format!("setsid --fork sh -c 'echo $$; trap \"\" TERM; exec sleep 61 {SILENT}'; exec sleep 62 {SILENT}");
        let (child, escaped) = shell(&escape, instances.variable(InstanceId(7)));
        let (other, _) = shell(&format!("exec sleep 63 {SILENT}"), instances.variable(InstanceId(71)));
        assert!(is_running(&escaped));
        let trail = group::Trail { marker: instances.marker(InstanceId(7)), since: child.start_time };
        let mut untouched = trail.clone();
        untouched.since += 1_000_000;
        assert_eq!(group::sweep(&[untouched], &BTreeSet::new()), 0, "nothing is that young");
        assert_eq!(group::sweep(std::slice::from_ref(&trail), &BTreeSet::from([child.pid])), 1, "only who left");
        assert!(is_running(&child.pid.to_string()));
        assert_eq!(group::sweep(&[trail], &BTreeSet::new()), 1);
        assert!(!is_running(&escaped));
        assert_eq!(reap::wait(child.pid).unwrap().to_string(), "killed by SIGKILL");
        assert!(is_running(&other.pid.to_string()), "#71 is not #7");
        group::signal(other.pid, libc::SIGKILL).unwrap();
        reap::wait(other.pid).unwrap();
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn leftovers_are_asked_first_then_killed_and_a_reused_number_is_spared() {
        let dir = scratch("leftovers");
        let instances = Instances::open(&dir, &dir).unwrap();
        let farewell = dir.join("farewell");
        let polite = format!(
            "trap 'echo bye > {}; exit 0' TERM; sh -c 'trap \"\" TERM; echo $$; exec sleep 64 {SILENT}' & exec {SILENT}; wait",
            farewell.display()
        );
        let (child, stubborn) = shell(&polite, ("UNMARKED".into(), "1".into()));
        let (stranger, _) = shell(&format!("exec sleep 65 {SILENT}"), ("UNMARKED".into(), "1".into()));
        let record = |child: &Child, start_time| Record {
            pid: child.pid,
            start_time,
            instance: InstanceId(1),
            app: AppName::new("clinic").unwrap(),
            service: ServiceName::new("web").unwrap(),
            release: ReleaseName::new("000042-4f2a1c9").unwrap(),
            round: 1,
            index: 0,
            port: None,
            restarts: 0,
            ready: true,
            speaks_every: None,
            asked_to_end: false,
        };
        let noted = record(&child, child.start_time);
        instances.write(&noted).unwrap();
        let hides = format!("setsid --fork sh -c 'echo $$; exec sleep 66 {SILENT}'; exec sleep 67 {SILENT}");
        let (adopted, hidden) = shell(&hides, instances.variable(InstanceId(9)));
        let kept = Record { instance: InstanceId(9), ..record(&adopted, adopted.start_time) };
        instances.write(&kept).unwrap();
        instances.write(&record(&stranger, stranger.start_time - 1)).unwrap();
        fs::write(dir.join("instances/half.json"), "{\"pid\":").unwrap();
        assert_eq!(instances.read().unwrap().len(), 3);

        let spare = |process: &Process| instances.number_of(process) == Some(InstanceId(9));
        assert_eq!(instances.end_leftovers(&spare, Duration::from_millis(500)).unwrap(), [noted]);
        assert_eq!(fs::read_to_string(&farewell).unwrap(), "bye\n");
        assert!(!is_running(&stubborn) && is_running(&stranger.pid.to_string()));
        assert_eq!(instances.read().unwrap(), std::slice::from_ref(&kept), "what is adopted keeps its record");
        assert!(is_running(&hidden) && kept.is_running());
        assert_eq!(instances.end_leftovers(&|_| false, Duration::ZERO).unwrap(), [kept]);
        assert!(!is_running(&hidden));
        reap::wait(adopted.pid).unwrap();
        assert_eq!(instances.read().unwrap(), []);
        assert_eq!(instances.end_leftovers(&|_| false, Duration::ZERO).unwrap(), []);

        assert!(reap::wait(child.pid).unwrap().is_success());
        process::signal(stranger.pidfd.as_fd(), libc::SIGKILL).unwrap();
        let soon = Instant::now() + Duration::from_secs(20);
        assert!(poll::until(&mut [poll::readable(stranger.pidfd.as_fd())], Some(soon)).unwrap());
        reap::wait(stranger.pid).unwrap();
        assert!(process::signal(stranger.pidfd.as_fd(), 0).is_err());
        fs::remove_dir_all(&dir).unwrap();
    }
}
