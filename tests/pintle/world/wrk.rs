//! A crowd: `wrk` asks an address as fast as it is answered until it is told to stop, and says what came of it.
//!
//! What `wrk` counts (4.1, read in its source and tried): a refused connection, an answer that breaks off, a connection
//! closed or reset with a request on it, a status of 400 and more; as time-outs, answers that came after more than two
//! seconds. What it does not count is a request that is never answered: `visitors` do.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::Read;
use std::ops::Add;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Longer than any phase; a crowd is ended by [`Crowd::leaves`].
const FOR_EVER: &str = "3600s";

/// Printed when it ends: one line that can be read without guessing at units.
const REPORT: &str = r#"
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("figures %d %d %d %d %d %d %d %d %d\n", summary.requests, e.connect, e.read, e.write, e.status,
    e.timeout, latency:percentile(50), latency:percentile(99), latency.max))
end
"#;

/// A running `wrk`.
pub struct Crowd(Child);

/// What came of a crowd's requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Answers, of whatever status.
    pub requests: u64,
    pub connect: u64,
    pub read: u64,
    pub write: u64,
    /// Answers of 400 and more.
    pub status: u64,
    /// Answers after more than two seconds.
    pub late: u64,
    pub p50: Duration,
    pub p99: Duration,
    pub max: Duration,
}

impl Crowd {
    /// `connections` at once on `url`; `keep_alive` or a connection for each request.
    pub fn on(url: &str, connections: u32, keep_alive: bool, scratch: &Path) -> Crowd {
        Crowd::with(Command::new("wrk"), url, connections, keep_alive, scratch)
    }

    /// The same by another command line that ends in `wrk`: in a name space, say.
    pub fn with(mut wrk: Command, url: &str, connections: u32, keep_alive: bool, scratch: &Path) -> Crowd {
        let report = scratch.join("wrk.lua");
        fs::write(&report, REPORT).unwrap();
        wrk.args(["--threads", "1", "--duration", FOR_EVER, "--connections", &connections.to_string()]);
        wrk.arg("--script").arg(&report);
        if !keep_alive {
            wrk.args(["--header", "Connection: close"]);
        }
        let spawned = wrk.arg(url).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn();
        Crowd(spawned.unwrap_or_else(|error| panic!("wrk (package wrk): {error}")))
    }

    /// Ends it; its figures.
    #[track_caller]
    pub fn leaves(mut self) -> Figures {
        // wrk takes an interrupt for the end of its time, and reports.
        kill(Pid::from_raw(self.0.id() as i32), Signal::SIGINT).unwrap();
        let mut said = String::new();
        self.0.stdout.take().expect("it is piped").read_to_string(&mut said).unwrap();
        Figures::parse(&said).unwrap_or_else(|| panic!("wrk said: {said}"))
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        // A failed test would leave it for an hour.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Figures {
    fn parse(said: &str) -> Option<Figures> {
        let line = said.lines().find_map(|line| line.strip_prefix("figures "))?;
        let numbers: Vec<u64> = line.split(' ').map(|word| word.parse().ok()).collect::<Option<_>>()?;
        let [requests, connect, read, write, status, late, p50, p99, max] = numbers.try_into().ok()?;
        let [p50, p99, max] = [p50, p99, max].map(Duration::from_micros);
        Some(Figures { requests, connect, read, write, status, late, p50, p99, max })
    }

    /// Requests that failed.
    pub fn failed(&self) -> u64 {
        self.connect + self.read + self.write + self.status
    }
}

impl Add for Figures {
    type Output = Figures;

    /// Counts together; of the latencies the worst.
    fn add(self, other: Figures) -> Figures {
        Figures {
            requests: self.requests + other.requests,
            connect: self.connect + other.connect,
            read: self.read + other.read,
            write: self.write + other.write,
            status: self.status + other.status,
            late: self.late + other.late,
            p50: self.p50.max(other.p50),
            p99: self.p99.max(other.p99),
            max: self.max.max(other.max),
        }
    }
}

#[test]
fn figures_are_read() {
    let figures = Figures::parse("Running 1h test\nfigures 10 1 2 3 4 5 600 7000 80000\n").unwrap();
    assert_eq!((figures.requests, figures.failed(), figures.late), (10, 10, 5));
    assert_eq!(figures.max, Duration::from_millis(80));
}
