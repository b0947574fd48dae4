//! A virtual machine: the cached Debian on a disk image of its own, its kernel, and a line to an agent in it.
//!
//! The kernel is booted directly, finds its disk without a module (NVMe, ext4) and so needs no initramfs; what a board
//! needs but this machine does not (device discovery, logins) is masked. The agent is a shell on the second serial
//! line: a script in, its exit code and output back.

use crate::systemd::{debian, furniture};
use crate::world::{App, repo::Repo};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use pintle::control::{AppView, StatusReport};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take in it, a boot included.
const PATIENCE: Duration = Duration::from_secs(120);

const MAKE_DISK: &str = r#"
set -e
mount -t overlay overlay -o "lowerdir=$DEBIAN,upperdir=$DIR/upper,workdir=$DIR/work" "$DIR/root"
mkfs.ext4 -q -F -d "$DIR/root" "$DIR/disk.img" 1500M
"#;

const AGENT: &str = r#"
exec < /dev/ttyS1 > /dev/ttyS1
stty raw -echo
export HOME=/root LANG=C.UTF-8 NO_COLOR=1 SYSTEMD_PAGER=cat SYSTEMD_COLORS=0
printf '\nready\n'
while read -r script; do
    sh -c "$script" 2>&1 < /dev/null
    printf '\nended %d\n' "$?"
done
"#;

const AGENT_UNIT: &str = "[Unit]\nDefaultDependencies=no\n[Service]\nExecStart=/bin/bash /usr/local/lib/agent\n";

const MASKED: [&str; 19] = [
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "e2scrub_reap.service",
    "getty.target",
    "ldconfig.service",
    "nginx.service",
    "serial-getty@ttyS0.service",
    "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service",
    "systemd-logind.service",
    "systemd-random-seed.service",
    "systemd-udev-trigger.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-udevd.service",
    "systemd-update-done.service",
    "systemd-user-sessions.service",
];

/// A machine that may be booted, rebooted, and cut off from its power.
pub struct Emulator {
    dir: PathBuf,
    running: Option<Running>,
}

struct Running {
    qemu: Child,
    line: BufReader<UnixStream>,
}

impl Emulator {
    /// A machine with Pintle installed and enabled, and `apps`, each with a repository to commit to; not booted yet.
    pub fn furnished<const N: usize>(apps: [App; N], commit: impl FnOnce([Repo; N])) -> Emulator {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        assert!(crate::world::is_root(), "making the machine's disk needs root");
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let dir = std::env::temp_dir().join(format!("pt-emulator-{}-{number}", std::process::id()));
        let upper = dir.join("upper");
        for place in ["upper/etc/systemd/system/multi-user.target.wants", "upper/usr/local/lib", "work", "root"] {
            fs::create_dir_all(dir.join(place)).unwrap();
        }
        for file in ["etc/passwd", "etc/group"] {
            fs::copy(debian::root().join(file), upper.join(file)).unwrap();
        }
        furniture::install(&upper);
        commit(apps.map(|app| furniture::add(&upper, &upper.join("srv"), &app)));
        let units = upper.join("etc/systemd/system");
        for unit in MASKED {
            symlink("/dev/null", units.join(unit)).unwrap();
        }
        fs::write(upper.join("usr/local/lib/agent"), AGENT).unwrap();
        fs::write(units.join("agent.service"), AGENT_UNIT).unwrap();
        for unit in ["agent.service", "pintle.service"] {
            symlink(Path::new("..").join(unit), units.join("multi-user.target.wants").join(unit)).unwrap();
        }
        let mut make = Command::new("unshare");
        make.args(["--mount", "--propagation", "private", "sh", "-c", MAKE_DISK]);
        let output = make.env("DEBIAN", debian::root()).env("DIR", &dir).output().unwrap();
        assert!(output.status.success(), "make the disk: {}", String::from_utf8_lossy(&output.stderr));
        Emulator { dir, running: None }
    }

    /// Switches the power on and waits until everything was started; `kernel` is added to the kernel's command line.
    #[track_caller]
    pub fn boot(&mut self, kernel: &str) {
        assert!(self.running.is_none(), "it runs already");
        let socket = self.dir.join("agent.sock");
        let _ = fs::remove_file(&socket);
        let dir = self.dir.display();
        let log = File::options().create(true).append(true).open(self.dir.join("qemu.log")).unwrap();
        let mut command = Command::new("qemu-system-x86_64");
        // No CMPXCHG16B: QEMU 7.2 emulates it with wrong flags now and then, and the kernel dies of it.
        command.args(["-accel", "tcg", "-cpu", "qemu64,-cx16", "-smp", "1", "-m", "512", "-nodefaults", "-nographic"]);
        command.arg("-kernel").arg(debian::kernel());
        command.args(["-append", &format!("root=/dev/nvme0n1 rw console=ttyS0 mitigations=off {kernel}")]);
        command.args(["-drive", &format!("file={dir}/disk.img,format=raw,if=none,id=disk")]);
        command.args(["-device", "nvme,serial=pintle,drive=disk"]);
        command.args(["-serial", &format!("file:{dir}/console")]);
        command.args(["-serial", &format!("unix:{},server=on,wait=off", socket.display())]);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
        // SAFETY: prctl is async-signal-safe; a machine whose test dies shall die with it.
        unsafe { command.pre_exec(|| set_pdeathsig(Signal::SIGKILL).map_err(Into::into)) };
        let mut qemu = command.spawn().expect("qemu-system-x86 is installed");
        let line = crate::world::wait_until("qemu's socket", || {
            assert!(qemu.try_wait().unwrap().is_none(), "qemu ended: {}", self.read("qemu.log"));
            UnixStream::connect(&socket).ok()
        });
        line.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        self.running = Some(Running { qemu, line: BufReader::new(line) });
        self.wait_for_boot();
    }

    #[track_caller]
    fn wait_for_boot(&mut self) {
        self.hear("the agent", |line| (line == "ready").then_some(()));
        let state = self.run("systemctl is-system-running --wait").1;
        assert!(
            ["running", "degraded"].contains(&state.as_str()),
            "the machine is {state:?}:\n{}",
            self.read("console")
        );
    }

    /// Reboots from within, as an impatient person does, and waits until everything was started again.
    #[track_caller]
    pub fn reboot(&mut self) {
        self.say("reboot --force");
        self.wait_for_boot();
    }

    /// Cuts the power: what was not flushed to the disk is gone.
    pub fn pull_the_plug(&mut self) {
        let mut running = self.running.take().expect("it runs");
        running.qemu.kill().unwrap();
        running.qemu.wait().unwrap();
    }

    /// Runs one line of shell to its end: its exit code, and what it said.
    #[track_caller]
    pub fn run(&mut self, script: &str) -> (i32, String) {
        self.say(script);
        let mut said: Vec<String> = Vec::new();
        let code = self.hear(script, |line| match line.strip_prefix("ended ") {
            Some(code) => code.parse().ok(),
            None => {
                said.push(line.to_owned());
                None
            }
        });
        (code, said.join("\n").trim().to_owned())
    }

    /// The same; it must succeed.
    #[track_caller]
    pub fn says(&mut self, script: &str) -> String {
        let (code, said) = self.run(script);
        assert_eq!(code, 0, "{script}: {said}\n{}", self.journal());
        said
    }

    /// Begins a script whose end nobody waits for.
    #[track_caller]
    pub fn begin(&mut self, script: &str) {
        self.says(&format!("({script}) > /dev/null 2>&1 &"));
    }

    /// Looks until something is found.
    #[track_caller]
    pub fn wait<T>(&mut self, what: &str, mut look: impl FnMut(&mut Emulator) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(Instant::now() < deadline, "waited in vain for {what}:\n{}", self.journal());
        }
    }

    /// What the daemon says of itself and the apps.
    #[track_caller]
    pub fn status(&mut self) -> StatusReport {
        let said = self.says("pintle --json status");
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
    }

    /// An app as the daemon sees it.
    #[track_caller]
    pub fn app(&mut self, name: &str) -> AppView {
        let status = self.status();
        let found = status.apps.iter().find(|view| view.app.as_str() == name).cloned();
        found.unwrap_or_else(|| panic!("no app {name}: {status:?}"))
    }

    /// The end of what the unit said.
    #[track_caller]
    pub fn journal(&mut self) -> String {
        self.run("journalctl --no-pager --lines=60 --output=cat --unit=pintle.service").1
    }

    #[track_caller]
    fn say(&mut self, script: &str) {
        assert!(!script.contains('\n'), "the agent takes one line: {script:?}");
        let running = self.running.as_mut().expect("the machine is switched on");
        running.line.get_mut().write_all(format!("{script}\n").as_bytes()).unwrap();
    }

    /// Reads the agent's lines until one of them is what is waited for.
    #[track_caller]
    fn hear<T>(&mut self, what: &str, mut look: impl FnMut(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut line = Vec::new();
        loop {
            let running = self.running.as_mut().expect("the machine is switched on");
            match running.line.read_until(b'\n', &mut line) {
                Ok(0) => panic!("qemu hung up, waiting for {what}:\n{}", self.read("qemu.log")),
                Ok(_) => {
                    let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                    line.clear();
                    if let Some(found) = look(&text) {
                        return found;
                    }
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => panic!("the line to the agent, waiting for {what}: {error}"),
            }
            assert!(Instant::now() < deadline, "no answer: {what}; the console:\n{}", self.read("console"));
        }
    }

    fn read(&self, name: &str) -> String {
        let text = fs::read(self.dir.join(name)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.qemu.kill();
            let _ = running.qemu.wait();
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}
