//! The senders: `wrk` with pushes that were made and signed beforehand.

use super::Kind;
use super::world::{http, payload};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Bytes of a push; what GitHub sends is mostly 7 to 25 KB.
const SIZE: usize = 10 << 10;
/// Different commits for each round: more than any server takes in its time.
const COMMITS: usize = 60_000;
const CONNECTIONS: &str = "16";

/// Sends one prepared request after the other; prints what came of them in one line.
const SCRIPT: &str = r#"
local fixed, list, n = nil, {}, 0
answers = {}
init = function(args)
  dofile(args[1])
  if commits then
    for line in io.lines(commits) do
      list[#list + 1] = line
    end
  end
  fixed = head .. signature .. "\r\n\r\n" .. before .. commit .. after
end
request = function()
  if #list == 0 then return fixed end
  n = n % #list + 1
  local commit, signature = list[n]:sub(1, 40), list[n]:sub(42)
  return head .. signature .. "\r\nX-GitHub-Delivery: " .. commit .. "\r\n\r\n" .. before .. commit .. after
end
response = function(status)
  answers[status] = (answers[status] or 0) + 1
end
local threads = {}
setup = function(thread) threads[#threads + 1] = thread end
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format("figures %d %d %d %d", summary.requests, summary.duration, latency:percentile(50), latency:percentile(99)))
  io.write(string.format(" lost=%d", e.connect + e.read + e.write + e.timeout))
  for _, thread in ipairs(threads) do
    for status, count in pairs(thread:get("answers") or {}) do io.write(string.format(" %d=%d", status, count)) end
  end
  io.write("\n")
end
"#;

/// What there is to send.
pub struct Pushes {
    dir: PathBuf,
}

impl Pushes {
    /// Makes them: for each round other commits, because a commit that came before is a duplicate.
    pub fn made(dir: &Path, secret: &str, rounds: usize) -> io::Result<Pushes> {
        fs::write(dir.join("push.lua"), SCRIPT)?;
        let (before, after) = around("main");
        for round in 0..rounds {
            let mut lines = String::new();
            for n in 0..COMMITS {
                let commit = format!("{:040x}", 0x00c0_ffee_0000_0000_u64 + (round * COMMITS + n) as u64);
                let signature = http::sign(secret, format!("{before}{commit}{after}").as_bytes());
                let _ = writeln!(lines, "{commit} {signature}");
            }
            fs::write(dir.join(format!("commits-{round}")), lines)?;
        }
        for (kind, branch, key) in [
            (Kind::Ignored, "other", secret),
            (Kind::Wrong, "main", "another secret"),
            (Kind::Accepted, "main", secret),
        ] {
            let (before, after) = around(branch);
            let commit = "c".repeat(40);
            let signature = http::sign(key, format!("{before}{commit}{after}").as_bytes());
            let text = format!(
                "before = [==[{before}]==]\nafter = [==[{after}]==]\ncommit = {commit:?}\nsignature = {signature:?}\n"
            );
            fs::write(dir.join(format!("{kind:?}.lua")), text)?;
        }
        Ok(Pushes { dir: dir.to_owned() })
    }
}

/// What stands before and after the commit in a push of [`SIZE`] bytes.
fn around(branch: &str) -> (String, String) {
    let mark = "d".repeat(40);
    let mut body = payload::push("owner/shop", branch, &mark);
    body["head_commit"] = serde_json::Value::Null;
    body["commits"] = serde_json::json!([]);
    let missing = SIZE.saturating_sub(body.to_string().len() + 20);
    body["padding"] = "x".repeat(missing).into();
    let text = body.to_string();
    let (before, after) = text.split_once(&mark).expect("the commit is in its push");
    (before.to_owned(), after.to_owned())
}

/// Requests against one server.
pub struct Crowd;

impl Crowd {
    /// Sends to `path` on `port` for `span`.
    pub fn on(port: u16, path: &str, kind: Kind, pushes: &Pushes, round: usize, span: Duration) -> io::Result<Figures> {
        let dir = &pushes.dir;
        let (before, after) = around(if kind == Kind::Ignored { "other" } else { "main" });
        let length = before.len() + 40 + after.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\nX-GitHub-Event: push\r\n\
             Content-Length: {length}\r\nX-Hub-Signature-256: "
        );
        let commits = match kind {
            Kind::Accepted => format!("commits = {:?}\n", dir.join(format!("commits-{round}"))),
            _ => String::new(),
        };
        let values = fs::read_to_string(dir.join(format!("{kind:?}.lua")))?;
        let file = dir.join("now.lua");
        fs::write(&file, format!("{values}head = {head:?}\n{commits}"))?;
        let mut wrk = Command::new("wrk");
        wrk.args(["--threads", "1", "--connections", CONNECTIONS, "--duration", &format!("{}s", span.as_secs())]);
        wrk.arg("--script").arg(dir.join("push.lua")).arg(format!("http://127.0.0.1:{port}{path}"));
        let said = wrk.arg("--").arg(&file).output();
        let said = said.map_err(|error| io::Error::other(format!("start wrk (package wrk): {error}")))?;
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        Figures::read(&text)
            .ok_or_else(|| io::Error::other(format!("wrk said: {text}\n{}", String::from_utf8_lossy(&said.stderr))))
    }
}

/// What came of them: of one run, or of several.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    pub requests: u64,
    pub rate: f64,
    pub p50: Duration,
    pub p99: Duration,
    /// How often each status came; what never came to an answer is `lost`.
    answers: BTreeMap<String, u64>,
    runs: Vec<(f64, Duration, Duration)>,
}

impl Figures {
    fn read(said: &str) -> Option<Figures> {
        let mut words = said.lines().find_map(|line| line.strip_prefix("figures "))?.split(' ');
        let mut number = || words.next()?.parse::<u64>().ok();
        let (requests, micros, p50, p99) = (number()?, number()?, number()?, number()?);
        let [p50, p99] = [p50, p99].map(Duration::from_micros);
        let rate = requests as f64 / (micros as f64 / 1e6);
        let answers = words.filter_map(|word| word.split_once('='));
        let answers = answers.filter_map(|(what, count)| Some((what.to_owned(), count.parse().ok()?))).collect();
        Some(Figures { requests, rate, p50, p99, answers, runs: vec![(rate, p50, p99)] })
    }

    /// Adds another run.
    pub fn add(&mut self, other: Figures) {
        self.requests += other.requests;
        for (what, count) in other.answers {
            *self.answers.entry(what).or_default() += count;
        }
        self.runs.extend(other.runs);
    }

    /// With the medians of all runs.
    pub fn middle(&self) -> Figures {
        let mut runs = self.runs.clone();
        runs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let rate = runs[runs.len() / 2].0;
        let of = |pick: fn(&(f64, Duration, Duration)) -> Duration| {
            super::measure::median(&runs.iter().map(pick).collect::<Vec<_>>())
        };
        Figures { rate, p50: of(|run| run.1), p99: of(|run| run.2), ..self.clone() }
    }

    /// Requests per second of each run, in order: what grows with their number shows here.
    pub fn rates(&self) -> String {
        self.runs.iter().map(|run| format!("{:.0}", run.0)).collect::<Vec<_>>().join(" ")
    }

    /// How often `status` came.
    pub fn answered(&self, status: &str) -> u64 {
        self.answers.get(status).copied().unwrap_or(0)
    }

    /// Answers that are not `expected`, and requests without one.
    pub fn unexpected(&self, expected: &str) -> u64 {
        self.answers.iter().filter(|(what, _)| *what != expected).map(|(_, count)| count).sum()
    }
}
