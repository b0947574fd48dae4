//! A machine with the real systemd as its first process, in a container: systemd-nspawn on a Debian of its own.
//!
//! It has its own processes, cgroups (version 2, without controllers), network (the loopback device) and a file system
//! in memory over the cached Debian; only its `/srv` is a directory of the host. It ends with its value, or with the
//! process of the test.

use super::debian;
use crate::world::{Outcome, PATIENCE, finish, processes, wait};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// How long a machine may take to boot or to power off on a busy board.
const BOOT_PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// Lays a file system over the Debian in a mount namespace of its own and boots it.
const BOOT: &str = r#"
set -e
for group in $GROUPS_OF_ITS_OWN; do echo $$ > "$group/cgroup.procs"; done
mount -t tmpfs -o mode=0755 tmpfs "$DIR/disk"
mkdir "$DIR/disk/upper" "$DIR/disk/work" "$DIR/disk/root"
mount -t overlay overlay -o "lowerdir=$DEBIAN,upperdir=$DIR/disk/upper,workdir=$DIR/disk/work" "$DIR/disk/root"
exec systemd-nspawn --quiet --directory="$DIR/disk/root" --boot --register=no --keep-unit --private-network \
    --bind="$DIR/srv:/srv" --resolv-conf=off --timezone=off --link-journal=no --settings=no --machine="$NAME"
"#;

/// A booted machine.
pub struct Machine {
    nspawn: Child,
    /// Its first process, as the host numbers it.
    leader: i32,
    dir: PathBuf,
    groups: Vec<PathBuf>,
}

impl Machine {
    /// Boots a fresh machine and waits until systemd has started everything.
    #[track_caller]
    pub fn boot() -> Machine {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        assert!(crate::world::is_root(), "a machine with systemd needs root");
        let name = format!("pt{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::SeqCst));
        let debian = debian::root();
        let dir = std::env::temp_dir().join(format!("pt-machine-{name}"));
        for dir in [dir.join("disk"), dir.join("srv")] {
            fs::create_dir_all(dir).unwrap();
        }
        let console = File::create(dir.join("console")).unwrap();
        let groups = groups_of_its_own(&name);
        let group_list: Vec<&str> = groups.iter().map(|group| group.to_str().unwrap()).collect();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", BOOT]);
        command.env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1").env("NAME", &name).env("DIR", &dir);
        command.env("DEBIAN", debian).env("GROUPS_OF_ITS_OWN", group_list.join(" "));
        command.stdin(Stdio::null()).stdout(console.try_clone().unwrap()).stderr(console).process_group(0);
        // SAFETY: prctl is async-signal-safe; a machine whose test dies shall power off with it.
        unsafe { command.pre_exec(|| nix::sys::prctl::set_pdeathsig(Signal::SIGTERM).map_err(Into::into)) };
        let nspawn = command.spawn().expect("unshare (util-linux) is installed");
        let mut machine = Machine { nspawn, leader: 0, dir, groups };
        machine.wait_for_boot();
        machine
    }

    #[track_caller]
    fn wait_for_boot(&mut self) {
        let outer = self.nspawn.id() as i32;
        let booted = wait::wait_quietly(BOOT_PATIENCE, || {
            if self.nspawn.try_wait().unwrap().is_some() {
                return Some(false);
            }
            self.leader = processes::children(outer).into_iter().find(|pid| name_of(*pid) == "systemd")?;
            let state = self.run("systemctl is-system-running").stdout;
            matches!(state.trim(), "running" | "degraded").then_some(true)
        });
        assert_eq!(booted, Some(true), "the machine did not boot:\n{}", self.console());
    }

    /// Runs a script of the shell in the machine to its end.
    #[track_caller]
    pub fn run(&self, script: &str) -> Outcome {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.leader));
        command.args(["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd", "--"]);
        command.args(["sh", "-c", script]).env_clear();
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin").env("HOME", "/root");
        command.env("LANG", "C.UTF-8").env("NO_COLOR", "1").env("SYSTEMD_PAGER", "cat").env("SYSTEMD_COLORS", "0");
        finish(command, script)
    }

    /// The same; it must succeed. What it printed, without the last newline.
    #[track_caller]
    pub fn says(&self, script: &str) -> String {
        let outcome = self.run(script);
        assert_eq!(outcome.code, Some(0), "{script}: {}{}\n{}", outcome.stdout, outcome.stderr, self.journal());
        outcome.stdout.trim_end().to_owned()
    }

    /// `systemctl ARGS`; it must succeed.
    #[track_caller]
    pub fn systemctl(&self, args: &str) -> String {
        self.says(&format!("systemctl {args}"))
    }

    /// A property of `pintle.service`.
    #[track_caller]
    pub fn property(&self, name: &str) -> String {
        self.systemctl(&format!("show --property={name} --value pintle.service"))
    }

    /// A path of the machine as the host sees it.
    pub fn path(&self, inside: impl AsRef<Path>) -> PathBuf {
        let inside = inside.as_ref();
        Path::new("/proc").join(self.leader.to_string()).join("root").join(inside.strip_prefix("/").unwrap_or(inside))
    }

    /// The host's name for the machine's `/srv`: git refuses to work behind `/proc`.
    pub fn srv(&self) -> PathBuf {
        self.dir.join("srv")
    }

    /// Whether a process of the machine is there and no zombie.
    pub fn is_alive(&self, pid: i32) -> bool {
        let Ok(stat) = fs::read_to_string(self.path(format!("/proc/{pid}/stat"))) else { return false };
        let state = stat.rfind(')').and_then(|end| stat[end + 1..].trim_start().chars().next());
        !matches!(state, None | Some('Z' | 'X'))
    }

    /// The group of a process, as the machine names it.
    pub fn group_of(&self, pid: i32) -> Option<String> {
        let outcome = self.run(&format!("cat /proc/{pid}/cgroup"));
        outcome.stdout.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned)
    }

    /// Does something in the machine's network.
    pub fn inside<T: Send>(&self, deed: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let there = scope.spawn(|| {
                self.enter_network();
                deed()
            });
            there.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// The calling thread is in the machine's network from now on.
    pub fn enter_network(&self) {
        let network = File::open(format!("/proc/{}/ns/net", self.leader)).unwrap();
        setns(network, CloneFlags::CLONE_NEWNET).unwrap();
    }

    /// The end of what `pintle.service` said and what systemd said of it.
    pub fn journal(&self) -> String {
        self.run("journalctl --no-pager --lines=60 --output=short-monotonic --unit=pintle.service").stdout
    }

    /// Waits for a condition; a failure shows the journal.
    #[track_caller]
    pub fn wait<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> T {
        wait::wait_quietly(PATIENCE, look)
            .unwrap_or_else(|| panic!("waited {} s in vain for {what}:\n{}", PATIENCE.as_secs(), self.journal()))
    }

    fn console(&self) -> String {
        fs::read_to_string(self.dir.join("console")).unwrap_or_default()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() && self.leader != 0 {
            eprintln!("the machine's journal ends with:\n{}", self.journal());
        }
        // nspawn passes it on as an order to power off.
        let _ = kill(Pid::from_raw(self.nspawn.id() as i32), Signal::SIGTERM);
        let ended = wait::wait_quietly(BOOT_PATIENCE, || self.nspawn.try_wait().unwrap());
        if ended.is_none() {
            let _ = kill(Pid::from_raw(self.leader), Signal::SIGKILL);
            let _ = self.nspawn.kill();
            let _ = self.nspawn.wait();
        }
        for group in &self.groups {
            wait::wait_quietly(PATIENCE, || remove_group(group).then_some(()));
        }
        let _ = fs::remove_dir_all(&self.dir);
        if !std::thread::panicking() {
            assert!(ended.is_some(), "the machine did not power off in {} s", BOOT_PATIENCE.as_secs());
        }
    }
}

/// A group in each hierarchy that systemd uses, so that machines never meet: the second is there on hosts whose own
/// hierarchy is of version 1.
fn groups_of_its_own(name: &str) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let hierarchies = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (place, kind, options) = (fields.next()?, fields.next()?, fields.next()?);
        let ours = kind == "cgroup2" || (kind == "cgroup" && options.split(',').any(|o| o == "name=systemd"));
        ours.then(|| Path::new(place).join(name))
    });
    let groups: Vec<PathBuf> = hierarchies.collect();
    for group in &groups {
        fs::create_dir(group).unwrap();
    }
    groups
}

/// Removes a group and what nspawn made below it; false while somebody is in it.
fn remove_group(group: &Path) -> bool {
    let below = fs::read_dir(group).into_iter().flatten().flatten().map(|entry| entry.path());
    let emptied = below.filter(|path| path.is_dir()).all(|path| remove_group(&path));
    emptied && (fs::remove_dir(group).is_ok() || !group.exists())
}

fn name_of(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}
