//! Services that do what no service should: they are supervised and bounded, leave nothing behind, and nobody else
//! notices.
//!
//! Each world has a calm application, `shop`, and a wild one that behaves until its file `data/go` appears. What is
//! asserted of the calm one is generous: that it is served and back after a crash, not how fast this machine is.

use crate::world::{App, World, is_root, processes, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pintle::control::{DeployStatus, InstanceView, RunState};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How much slower the calm application may come back while the wild one rages, on a machine that others use too.
const SLOWER: u32 = 10;
/// A restart is never blamed below this.
const QUICK: Duration = Duration::from_secs(1);

/// A calm application, and a wild one.
struct Wilderness {
    world: World,
    calm: Duration,
}

impl Wilderness {
    /// Both are up, and the wild one is still quiet. `script` is in python; `more` are keys of its service.
    fn with(script: &str, more: &[(&str, &str)]) -> Wilderness {
        let mut world = World::with([App::new("shop")]);
        let wait = "import os, resource, signal, sys, time\nwhile not os.path.exists('data/go'): time.sleep(0.02)\n";
        // The world's directory in the arguments: whoever forks, leaves its session and empties its environment is
        // still found by the test.
        let script = format!("root = {:?}\n{wait}{script}", world.root.display().to_string());
        let app = App::bare("wild")
            .set("service.beast", "run", &format!("[\"python3\", \"-u\", \"-c\", {script:?}]"))
            .set("service.beast", "stop_timeout", "\"300ms\"");
        world.add(more.iter().fold(app, |app, (key, value)| app.set("service.beast", key, value)));
        let world = world.up();
        world.shop().goes_live("v1");
        let report = world.site("wild").deploy("v1", &[]);
        assert_eq!(report.deployment.status, DeployStatus::Success, "{report:#?}");
        let mut wilderness = Wilderness { world, calm: Duration::ZERO };
        wilderness.calm = (0..3).map(|_| wilderness.restart()).max().unwrap();
        wilderness
    }

    /// Lets it loose.
    fn go(&self) {
        fs::write(self.world.site("wild").shared("data/go"), "").unwrap();
    }

    fn beast(&self) -> Option<InstanceView> {
        self.world.site("wild").instances("beast").into_iter().next()
    }

    /// Its processes, wherever they hide.
    fn wild_ones(&self) -> Vec<i32> {
        let mark = format!("root = {:?}", self.world.root.display().to_string());
        let cmdline = |pid: &i32| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let found = processes::of(&self.world.places()).into_iter();
        found.filter(|pid| cmdline(pid).windows(mark.len()).any(|part| part == mark.as_bytes())).collect()
    }

    /// From the end of the calm application's process to the first answer of the next one.
    fn restart(&self) -> Duration {
        let shop = self.world.shop();
        let old = shop.pid();
        let began = Instant::now();
        kill(Pid::from_raw(old), Signal::SIGKILL).unwrap();
        wait_until("the calm one's return", || shop.get("/pid").ok().filter(|reply| reply.body != old.to_string()));
        began.elapsed()
    }

    /// The calm application answers, and comes back from a crash about as fast as ever.
    #[track_caller]
    fn nobody_is_slowed(&self) {
        for _ in 0..20 {
            self.world.shop().serves("v1");
        }
        let took = self.restart();
        assert!(took < QUICK.max(self.calm * SLOWER), "back after {took:?}; in calm it took {:?}", self.calm);
        assert_eq!(self.world.status().apps.len(), 2, "people are answered too");
    }

    /// `stop` ends the wild application, and nothing of it is left.
    #[track_caller]
    fn nothing_is_left_after_stop(&self) {
        self.world.pintle(&["stop", "wild"]).exits(0);
        self.world.wait("the end of all wild ones", || self.wild_ones().is_empty().then_some(()));
        self.world.shop().serves("v1");
        assert_eq!(self.beast().map_or(RunState::Down, |beast| beast.state), RunState::Down);
    }

    fn file(&self, name: &str) -> PathBuf {
        self.world.root.join(name)
    }
}

/// Of its own user's processes so many may run more than run already; the kernel holds root to nothing, so it is run as
/// somebody else.
const BOUNDED: &str = "\
def mine(pid):
    try: return os.stat(f'/proc/{pid}').st_uid == os.getuid() and len(os.listdir(f'/proc/{pid}/task'))
    except OSError: return 0
bound = sum(mine(pid) for pid in os.listdir('/proc') if pid.isdigit()) + 200
resource.setrlimit(resource.RLIMIT_NPROC, (bound, bound))
";

#[test]
fn a_fork_bomb_whose_fragments_leave_their_session_ends_with_its_service() {
    let bomb = "\
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
until = time.time() + 120
while time.time() < until:
    try:
        if os.fork() == 0: os.setsid()
    except OSError: time.sleep(0.01)
";
    let user = if is_root() { "\"nobody\"" } else { "" };
    let keys = [("user", user)];
    let wild = Wilderness::with(&format!("{BOUNDED}{bomb}"), if is_root() { &keys } else { &[] });
    wild.go();
    wild.world.wait("the bomb to go off", || (wild.wild_ones().len() > 100).then_some(()));
    wild.nobody_is_slowed();
    wild.nothing_is_left_after_stop();
}

#[test]
fn daemons_that_fork_twice_and_ignore_sigterm_go_with_their_leader() {
    let daemon = "\
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.chdir('/')
        for fd in range(3): os.close(fd)
        time.sleep(600)
    os._exit(0)
os.wait()
time.sleep(600)
";
    let wild = Wilderness::with(daemon, &[]);
    wild.go();
    let leader = wild.world.site("wild").pid_of("beast").unwrap();
    let hidden = wild.world.wait("the hidden one", || {
        let hidden = wild.wild_ones().into_iter().filter(|pid| *pid != leader).collect::<Vec<_>>();
        (hidden.len() == 1 && processes::children(leader).is_empty()).then(|| hidden[0])
    });
    kill(Pid::from_raw(leader), Signal::SIGKILL).unwrap();
    wild.world.wait("the end of the first one's daemon", || (!processes::is_alive(hidden)).then_some(()));
    wild.world.wait("a second pair", || (wild.wild_ones().len() == 2).then_some(()));
    wild.nobody_is_slowed();
    wild.nothing_is_left_after_stop();
}

#[test]
fn who_stops_itself_hears_its_sigterm_all_the_same() {
    let sleeper = "\
def bye(*_):
    open('FAREWELL', 'w').close()
    os._exit(0)
signal.signal(signal.SIGTERM, bye)
if os.fork() == 0: time.sleep(600)
os.kill(0, signal.SIGSTOP)
";
    let farewell = std::env::temp_dir().join(format!("pt-farewell-{}", std::process::id()));
    let sleeper = sleeper.replace("FAREWELL", &farewell.display().to_string());
    let wild = Wilderness::with(&sleeper, &[("stop_timeout", "\"30s\"")]);
    wild.go();
    wild.world.wait("two that are stopped", || {
        let stopped = |pid: &i32| processes::state(*pid) == Some('T');
        (wild.wild_ones().iter().filter(|pid| stopped(pid)).count() == 2).then_some(())
    });
    wild.nobody_is_slowed();
    let began = Instant::now();
    wild.nothing_is_left_after_stop();
    assert!(began.elapsed() < Duration::from_secs(20), "it was left to be killed");
    fs::remove_file(farewell).unwrap();
}

#[test]
fn who_closes_its_output_is_supervised_and_costs_nothing() {
    let wild = Wilderness::with("for fd in range(3): os.close(fd)\ntime.sleep(600)", &[]);
    wild.go();
    let pid = wild.world.site("wild").pid_of("beast").unwrap();
    wild.world.wait("its output to be closed", || (!PathBuf::from(format!("/proc/{pid}/fd/1")).exists()).then_some(()));
    wild.nobody_is_slowed();
    // A loop over an output that has ended would show here.
    let (began, before) = (Instant::now(), processes::cpu_time(wild.world.daemon_pid()));
    wait_until("a while to pass", || (began.elapsed() > Duration::from_secs(2)).then_some(()));
    let spent = processes::cpu_time(wild.world.daemon_pid()) - before;
    assert!(spent < began.elapsed() / 2, "the daemon computed {spent:?} in {:?}", began.elapsed());
    let beast = wild.beast().unwrap();
    assert_eq!((beast.state, beast.restarts), (RunState::Up, 0));
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    wild.world.wait("its successor", || wild.world.site("wild").pid_of("beast").filter(|now| *now != pid));
    wild.nothing_is_left_after_stop();
}

#[test]
fn a_burst_of_a_gigabyte_of_log_holds_up_nobody_and_fills_no_disk() {
    let burst = "\
block = b''.join(b'%063d\\n' % line for line in range(1024))
for _ in range(1 << 14): os.write(1, block)
open(f'{root}/written', 'w').close()
time.sleep(600)
";
    let wild = Wilderness::with(burst, &[("log_max", "\"1MiB\""), ("log_keep", "2")]);
    wild.go();
    let logs = wild.world.site("wild").dir().join("logs");
    let size = || -> u64 {
        let entries = fs::read_dir(&logs).into_iter().flatten().flatten();
        let beast = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("beast"));
        beast.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
    };
    wild.world.wait("the first rotation", || (size() > 1 << 20).then_some(()));
    let deadline = Instant::now() + Duration::from_secs(300);
    let mut rounds = 0;
    while !wild.file("written").exists() {
        wild.nobody_is_slowed();
        assert!(size() <= 4 << 20, "{} bytes of log", size());
        assert!(Instant::now() < deadline, "it is not written down");
        rounds += 1;
    }
    assert!(rounds > 0, "the burst was over before anybody could be slowed");
    wild.nothing_is_left_after_stop();
}

#[test]
fn who_ends_after_a_millisecond_for_ever_is_started_less_and_less() {
    let wild = Wilderness::with("os._exit(1)", &[]);
    let began = Instant::now();
    wild.go();
    let mut rounds = 0;
    let restarts = loop {
        wild.nobody_is_slowed();
        rounds += 1;
        let restarts = wild.beast().map_or(0, |beast| beast.restarts);
        if restarts >= 5 {
            break restarts;
        }
        assert!(began.elapsed() < Duration::from_secs(40), "{restarts} restarts in {rounds} rounds");
    };
    // 100 ms doubled each time: by then 1.5 s have passed, and the next pause is as long again.
    assert!(began.elapsed() > Duration::from_millis(700), "{restarts} restarts in {:?} is a storm", began.elapsed());
    assert!(restarts <= 8, "{restarts} restarts in {:?}", began.elapsed());
    wild.nothing_is_left_after_stop();
}
