//! Visitors who write down what happened to each single request: when, how long, and what went wrong.
//!
//! `wrk` makes the load and counts; visitors are few, miss nothing - not the request that is never answered either - and
//! name the instant of a failure, so that its cause can be found in the logs.

use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A request that has no answer after so long never gets one.
const NEVER: Duration = Duration::from_secs(15);
/// Between two requests of one visitor: few enough to leave the machine to the others, and long enough for a kept
/// connection to be idle when its server ends.
const PACE: Duration = Duration::from_millis(4);

/// How a visitor holds on to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// A connection for each request.
    Anew,
    /// One connection until the server closes it.
    KeepAlive,
}

/// At which point a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    Connect,
    Write,
    /// Before the first byte of the answer, on a connection that had carried answers before: the server closed it while
    /// the request was on its way. HTTP lets the client send it again (RFC 9112, 9.3.1).
    Reuse,
    Read,
    /// No answer within [`NEVER`].
    Never,
    Status,
}

/// A request that failed.
#[derive(Debug, Clone)]
pub struct Failure {
    pub point: Point,
    /// Seconds since 1970, to be found in logs.
    pub at: f64,
    pub after: Duration,
    pub why: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, after) = (self.at, self.after.as_millis());
        write!(f, "{at:.3}: {:?} after {after} ms: {}", self.point, self.why)
    }
}

/// What visitors saw.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub answers: u64,
    pub failures: Vec<Failure>,
    pub longest: Duration,
}

/// Visitors at work.
pub struct Visitors {
    threads: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

struct Shared {
    address: SocketAddr,
    leaving: AtomicBool,
    answers: AtomicU64,
    seen: Mutex<Seen>,
}

impl Visitors {
    /// Sends one visitor per manner to `address`.
    pub fn to(address: SocketAddr, manners: &[Manner]) -> Visitors {
        let (leaving, answers) = (AtomicBool::new(false), AtomicU64::new(0));
        let shared = Arc::new(Shared { address, leaving, answers, seen: Mutex::default() });
        let visit = |manner: &Manner| {
            let (shared, manner) = (shared.clone(), *manner);
            std::thread::spawn(move || shared.visit(manner))
        };
        Visitors { threads: manners.iter().map(visit).collect(), shared }
    }

    /// Answers so far.
    pub fn answers(&self) -> u64 {
        self.shared.answers.load(Ordering::Relaxed)
    }

    /// Waits until they had `more` answers from now on.
    #[track_caller]
    pub fn have_had(&self, more: u64) {
        let enough = self.answers() + more;
        let had = super::wait::wait_quietly(super::PATIENCE, || (self.answers() >= enough).then_some(()));
        assert!(had.is_some(), "visitors wait in vain for answers: {:#?}", self.shared.seen.lock().unwrap().failures);
    }

    /// Ends the visits after the requests that are under way; what was seen.
    pub fn leave(mut self) -> Seen {
        self.shared.leaving.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
        let mut seen = std::mem::take(&mut *self.shared.seen.lock().unwrap());
        seen.answers = self.shared.answers.load(Ordering::Relaxed);
        seen
    }
}

impl Drop for Visitors {
    fn drop(&mut self) {
        self.shared.leaving.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn visit(&self, manner: Manner) {
        let mut kept: Option<BufReader<TcpStream>> = None;
        while !self.leaving.load(Ordering::Relaxed) {
            let (began, reused) = (Instant::now(), kept.is_some());
            match self.one(manner, &mut kept) {
                Ok(()) => drop(self.answers.fetch_add(1, Ordering::Relaxed)),
                Err((point, why)) => {
                    kept = None;
                    let point = if reused && matches!(point, Point::Write) { Point::Reuse } else { point };
                    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
                    let failure = Failure { point, at, after: began.elapsed(), why };
                    self.seen.lock().unwrap().failures.push(failure);
                }
            }
            let mut seen = self.seen.lock().unwrap();
            seen.longest = seen.longest.max(began.elapsed());
            drop(seen);
            std::thread::sleep(PACE);
        }
    }

    fn one(&self, manner: Manner, kept: &mut Option<BufReader<TcpStream>>) -> Result<(), (Point, String)> {
        let at = |point: Point| move |error: io::Error| (point, error.to_string());
        let reused = kept.is_some();
        let mut stream = match kept.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect_timeout(&self.address, NEVER).map_err(at(Point::Connect))?;
                stream.set_read_timeout(Some(NEVER)).map_err(at(Point::Connect))?;
                BufReader::new(stream)
            }
        };
        let connection = if manner == Manner::Anew { "close" } else { "keep-alive" };
        let request = format!("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: {connection}\r\n\r\n");
        stream.get_mut().write_all(request.as_bytes()).map_err(at(Point::Write))?;
        // A receive with a time-out is not taken up again after a signal.
        let first = loop {
            match stream.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                first => break first.map(|bytes| bytes.len()),
            }
        };
        match first {
            Ok(0) if reused => return Err((Point::Reuse, "closed under the request".into())),
            Ok(0) => return Err((Point::Read, "closed without an answer".into())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err((Point::Never, "no answer".into()));
            }
            Err(error) if reused => return Err((Point::Reuse, error.to_string())),
            Err(error) => return Err((Point::Read, error.to_string())),
            Ok(_) => {}
        }
        if read_answer(&mut stream)? && manner == Manner::KeepAlive {
            *kept = Some(stream);
        }
        Ok(())
    }
}

/// Reads one answer; whether the server keeps the connection.
fn read_answer(stream: &mut impl BufRead) -> Result<bool, (Point, String)> {
    let broken = |error: io::Error| (Point::Read, error.to_string());
    let (mut head, mut length, mut keeps) = (String::new(), None, true);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).map_err(broken)? == 0 {
            return Err((Point::Read, format!("broke off after {head:?}")));
        }
        let text = line.trim_end().to_ascii_lowercase();
        match text.split_once(": ") {
            Some(("content-length", value)) => length = value.parse::<usize>().ok(),
            Some(("connection", value)) => keeps = value != "close",
            _ if text.is_empty() => break,
            _ => {}
        }
        head.push_str(&line);
    }
    let length = length.ok_or_else(|| (Point::Read, format!("no length in {head:?}")))?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).map_err(broken)?;
    match head.split(' ').nth(1) {
        Some(status) if status.starts_with('2') => Ok(keeps),
        _ => Err((Point::Status, format!("{head:?} {:?}", String::from_utf8_lossy(&body)))),
    }
}

#[test]
fn an_answer_is_read_to_its_end_and_no_further() {
    let mut good = &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokmore"[..];
    assert_eq!(read_answer(&mut good), Ok(true));
    assert_eq!(good, b"more");
    let parting = read_answer(&mut &b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"[..]);
    assert_eq!(parting, Ok(false));
    let refused = read_answer(&mut &b"HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n"[..]);
    assert_eq!(refused.unwrap_err().0, Point::Status);
    let half = read_answer(&mut &b"HTTP/1.1 200 OK\r\nContent-Le"[..]);
    assert_eq!(half.unwrap_err().0, Point::Read);
}
