//! 2,000 slow clients of slowhttptest (a Debian package), and of our own that come back: the service is available
//! throughout, a signed push is quick, and nothing grows.

use super::Target;
use super::vital::{KEPT, Vital};
use crate::world::{App, World};
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const CLIENTS: usize = 2000;

/// The goal, for the quietest stretch of [`IN_A_ROW`] pushes: the machine may be a busy one. What all of them took is
/// printed. A tenth more than without an attack will do, too. The goal is a release build's (`cargo test --release`).
const P99: Duration = Duration::from_millis(if cfg!(debug_assertions) { 50 } else { 10 });

const IN_A_ROW: usize = 200;

const GROWTH: u64 = 2 << 20;

/// As installed: nothing shortened. A push is what a forge sends, 10 KB.
fn target() -> Target {
    // But the limit of deliveries: all of them come from one address here.
    let mut world = World::empty().host("rate_limit = \"1000000/min\"");
    world.add(App::new("shop"));
    let target = Target::of(world.up());
    // What the first requests of many connections touch for the first time is not the attack's.
    let _ = Measured::of(&target, 300, || false);
    target
}

/// What a forge saw, and what the processes were, in a span of time.
struct Measured {
    took: Vec<Duration>,
    failed: Vec<String>,
    listener: Vital,
    highest: u64,
    threads: usize,
    daemon: u64,
    status: Duration,
}

impl Measured {
    /// At least `least` pushes, one after the other, each on a connection of its own; more while `goes_on`.
    fn of(target: &Target, least: usize, goes_on: impl Fn() -> bool) -> Measured {
        let listener = Vital::of_listener(&target.world);
        let push = target.ignored_push(10_000);
        let mut seen = Measured {
            took: Vec::new(),
            failed: Vec::new(),
            listener,
            highest: listener.resident,
            threads: listener.threads,
            daemon: 0,
            status: Duration::ZERO,
        };
        while seen.took.len() + seen.failed.len() < least || goes_on() {
            let began = Instant::now();
            match push.send(target.port()) {
                Ok(reply) if reply.status == 200 => seen.took.push(began.elapsed()),
                other => seen.failed.push(format!("after {:?}: {other:?}", began.elapsed())),
            }
            if seen.took.len().is_multiple_of(20) {
                let asked = Instant::now();
                let now = Vital::of_listener(&target.world);
                seen.status = seen.status.max(asked.elapsed());
                assert_eq!(now.pid, listener.pid, "the listener ended");
                seen.highest = seen.highest.max(now.resident);
                seen.threads = seen.threads.max(now.threads);
                seen.daemon = seen.daemon.max(Vital::of(target.world.daemon_pid()).resident);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        seen
    }

    /// Of the quietest stretch.
    fn p99(&self) -> Duration {
        self.took.chunks_exact(IN_A_ROW).map(|stretch| percentile(stretch, 99)).min().expect("pushes were answered")
    }

    fn print(&self, name: &str) {
        println!(
            "{name:<28} {:>5} ok {:>2} failed   p50 {:>6.2} p99 {:>6.2} ({:.2}) ms   RSS {} + {} KiB   threads {}   daemon {} KiB, \
             status within {:.1} ms",
            self.took.len(),
            self.failed.len(),
            percentile(&self.took, 50).as_secs_f64() * 1e3,
            percentile(&self.took, 99).as_secs_f64() * 1e3,
            self.p99().as_secs_f64() * 1e3,
            self.listener.resident >> 10,
            (self.highest - self.listener.resident) >> 10,
            self.threads,
            self.daemon >> 10,
            self.status.as_secs_f64() * 1e3,
        );
    }

    /// Nobody noticed.
    #[track_caller]
    fn is_as_good_as(&self, calm: &Measured) {
        assert!(self.failed.is_empty(), "{:#?}", self.failed);
        // On a busy machine an errand may still be at its end when the next begins: that is no growth with the clients.
        assert!(self.threads <= calm.threads + KEPT, "{} threads after {}", self.threads, calm.threads);
        let grown = self.highest - self.listener.resident;
        assert!(grown < GROWTH, "the listener grew by {} KiB", grown >> 10);
        assert!(self.daemon < calm.daemon + (1 << 20), "the daemon: {} after {} KiB", self.daemon, calm.daemon);
        assert!(self.status < calm.status + Duration::from_millis(50), "`status` took {:?}", self.status);
        let bound = P99.max(calm.p99() * 11 / 10);
        assert!(self.p99() < bound, "p99 {:?} of {bound:?}", self.p99());
    }
}

fn percentile(took: &[Duration], percent: usize) -> Duration {
    let mut sorted = took.to_vec();
    sorted.sort();
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

#[test]
#[ignore = "needs slowhttptest; takes two minutes"]
fn slowhttptest_finds_the_service_available() {
    let target = target();
    let calm = Measured::of(&target, 500, || false);
    calm.print("nobody else");
    let length = ["-s", "1000000"];
    for (name, arguments) in [
        ("slow headers", &["-H", "-i", "1", "-x", "24"][..]),
        ("slow bodies", &["-B", "-i", "1", "-x", "24", "-t", "POST", length[0], length[1]][..]),
        ("slow reads", &["-X", "-n", "1", "-z", "8", "-w", "8", "-y", "32", "-k", "10"][..]),
    ] {
        let path = if name == "slow bodies" { "/webhook" } else { "/status" };
        let url = format!("http://127.0.0.1:{}{path}", target.port());
        let clients = CLIENTS.to_string();
        let mut command = Command::new("slowhttptest");
        command.args(arguments).args(["-c", &clients, "-r", "500", "-l", "25", "-p", "3", "-u", &url]);
        if name == "slow bodies" {
            command.args(["-f", "application/json"]);
        }
        many_descriptors(&mut command);
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let child = child.unwrap_or_else(|error| panic!("slowhttptest (a Debian package): {error}"));
        let over = AtomicBool::new(false);
        let (seen, output) = std::thread::scope(|scope| {
            let attack = scope.spawn(|| {
                let output = child.wait_with_output().unwrap();
                over.store(true, Ordering::SeqCst);
                output
            });
            let seen = Measured::of(&target, 300, || !over.load(Ordering::SeqCst));
            (seen, attack.join().unwrap())
        });
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        let looks: Vec<&str> = said.lines().filter(|line| line.contains("service available")).collect();
        let available = looks.iter().filter(|line| line.contains("YES")).count();
        seen.print(name);
        println!("{:<28} service available: YES in {available} of {} looks", "", looks.len());
        assert!(!looks.is_empty() && available == looks.len(), "{said}");
        seen.is_as_good_as(&calm);
        target.is_unharmed();
    }
}

/// Who is cut off comes back at once: the pressure stays for as long as is measured.
#[test]
#[ignore = "takes a minute"]
fn two_thousand_slow_clients_that_come_back_are_not_felt() {
    let target = target();
    let calm = Measured::of(&target, 500, || false);
    calm.print("nobody else");
    let head = "POST /webhook HTTP/1.1\r\nHost: pintle\r\n";
    let body =
        "POST /webhook HTTP/1.1\r\nHost: pintle\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n";
    for (name, beginning, piece) in
        [("nothing is said", "", ""), ("heads that drip", head, "X: y\r\n"), ("bodies that drip", body, "x")]
    {
        let over = AtomicBool::new(false);
        let seen = std::thread::scope(|scope| {
            let swarm = scope.spawn(|| swarm(target.port(), beginning, piece, &over));
            let seen = Measured::of(&target, 600, || false);
            over.store(true, Ordering::SeqCst);
            let came = swarm.join().unwrap();
            assert!(came > CLIENTS, "only {came} connections: no pressure");
            println!("{name}: {came} connections");
            seen
        });
        seen.print(name);
        seen.is_as_good_as(&calm);
        target.is_unharmed();
    }
}

/// Keeps up 2,000 connections that begin with `beginning` and then say `piece` every second; how many there were.
fn swarm(port: u16, beginning: &str, piece: &str, over: &AtomicBool) -> usize {
    let connect = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_nonblocking(true).ok()?;
        stream.write_all(beginning.as_bytes()).ok()?;
        Some(stream)
    };
    let mut clients: Vec<Option<TcpStream>> = Vec::new();
    clients.resize_with(CLIENTS, || None);
    let mut came = 0;
    while !over.load(Ordering::SeqCst) {
        // A hundred at a time, all of them within a second.
        for (number, client) in clients.iter_mut().enumerate() {
            if number.is_multiple_of(100) {
                std::thread::sleep(Duration::from_millis(50));
            }
            let gone = client.as_mut().is_none_or(|stream| {
                let ended = std::io::Read::read(stream, &mut [0; 256]).is_ok() || stream.take_error().is_err();
                ended || stream.write_all(piece.as_bytes()).is_err()
            });
            if gone {
                *client = connect();
                came += 1;
            }
        }
    }
    came
}

/// So many connections need as many descriptors.
fn many_descriptors(command: &mut Command) {
    // SAFETY: setrlimit is async-signal-safe and changes the child alone.
    unsafe {
        command.pre_exec(|| {
            use nix::sys::resource::{Resource, getrlimit, setrlimit};
            let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
            setrlimit(Resource::RLIMIT_NOFILE, most.min(65_536), most).map_err(Into::into)
        })
    };
}
