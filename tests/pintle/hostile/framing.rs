//! No smuggling: what the guard admits, nginx and tiny_http read the same way.
//!
//! Requests are put together at random (see `streams`) and sent in one go with a last, plain one behind them. For each such stream: what the guard admits of it (`guard::read`, the listener's own code
//! without its sockets), what a server behind nginx is sent, and what tiny_http understands. They must agree on the
//! number of requests and on each one's method, target and body. That another server refuses what we take is fine, and
//! counted; that it waits for more, or sees another request, is not.

use super::raw::Line;
use super::streams::stream;
use crate::world::chance::Chance;
use crate::world::nginx::Nginx;
use crate::world::wait_until;
use pintle::listener::guard;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const MAX_BODY: u64 = 64 << 10;
const STREAMS: usize = 10_000;

/// One request as somebody read it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    method: String,
    target: String,
    body: Vec<u8>,
}

impl Seen {
    /// Without what is only another way to write the same target: the absolute form, and a query of nothing.
    fn new(method: &str, target: &str, body: Vec<u8>) -> Seen {
        let target = target.strip_prefix("http://pintle").unwrap_or(target);
        Seen { method: method.to_owned(), target: target.strip_suffix('?').unwrap_or(target).to_owned(), body }
    }
}

/// What the guard made of a stream.
struct Admitted {
    requests: Vec<Seen>,
    headers: Vec<Vec<(String, String)>>,
    refused: bool,
    /// We hung up on what may follow.
    is_over: bool,
}

fn admitted(stream: &[u8]) -> Admitted {
    let reading = guard::read(MAX_BODY, [stream]);
    let requests = reading.asks.iter().map(|ask| {
        let query = if ask.query.is_empty() { String::new() } else { format!("?{}", ask.query) };
        Seen::new(&ask.method, &(ask.path.clone() + &query), ask.body.clone())
    });
    Admitted {
        requests: requests.collect(),
        headers: reading.asks.iter().map(|ask| ask.headers.clone()).collect(),
        refused: reading.refused.is_some(),
        is_over: reading.is_over,
    }
}

/// How another server took the streams.
#[derive(Debug, Default)]
struct Tally {
    streams: usize,
    admitted: usize,
    with_body: usize,
    chunked: usize,
    refused_by_us: usize,
    equal: usize,
    refused_by_them: usize,
}

impl Tally {
    fn count(&mut self, stream: &[u8], ours: &Admitted) {
        self.streams += 1;
        self.refused_by_us += usize::from(ours.refused);
        // The last one does not count.
        self.admitted += ours.requests.iter().filter(|request| request.target != "/last").count();
        self.with_body += ours.requests.iter().filter(|request| !request.body.is_empty()).count();
        let says_chunked = stream.windows(7).any(|word| word == b"chunked");
        self.chunked += usize::from(says_chunked && ours.requests.iter().any(|request| !request.body.is_empty()));
    }

    /// It must not pass because there was nothing to compare.
    fn is_worth_something(&self, name: &str) {
        println!("{name}: {self:?}");
        assert!(self.admitted > self.streams / 2 && self.with_body > self.streams / 10, "{self:?}");
        assert!(self.chunked > self.streams / 30 && self.refused_by_us > self.streams / 10, "{self:?}");
        assert!(self.equal > self.streams / 3, "{self:?}");
    }
}

fn shown(stream: &[u8]) -> String {
    stream.escape_ascii().to_string()
}

/// A server that writes down what it is sent.
fn recorder() -> (u16, Receiver<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Some((seen, stream)) = stream.ok().and_then(recorded) else { continue };
            if tell.send(seen).is_err() {
                return;
            }
            // Only now: when the client has its answers everything is told.
            let mut stream = stream;
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    (port, told)
}

/// One request of nginx, which is well-formed.
fn recorded(stream: TcpStream) -> Option<(Seen, TcpStream)> {
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut length = 0;
    loop {
        let mut line = Vec::new();
        reader.read_until(b'\n', &mut line).ok()?;
        let text = String::from_utf8_lossy(&line).to_ascii_lowercase();
        if let Some(value) = text.strip_prefix("content-length:") {
            length = value.trim().parse().expect("nginx knows the length");
        }
        assert!(!text.starts_with("transfer-encoding:"), "nginx buffers");
        if text.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((Seen::new(&method, &target, body), reader.into_inner()))
}

#[test]
#[ignore = "needs nginx"]
fn nginx_reads_what_the_guard_admits_as_the_guard_does() {
    let dir = std::env::temp_dir().join(format!("pt-framing-{}", std::process::id()));
    let (backend, told) = recorder();
    let mut nginx = Nginx::serving(&dir, |port| {
        format!(
            "client_header_timeout 1s; client_body_timeout 1s; keepalive_timeout 5s; lingering_close off;\n\
             server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:{backend}; }} }}"
        )
    });
    nginx.up();
    wait_until("nginx", || TcpStream::connect(nginx.address()).ok());
    let mut chance = Chance::announced();
    let mut tally = Tally::default();
    for _ in 0..STREAMS {
        let bytes = stream(&mut chance);
        let ours = admitted(&bytes);
        tally.count(&bytes, &ours);
        if ours.requests.is_empty() {
            continue;
        }
        let statuses = statuses(&mut Line::saying(nginx.port, &bytes));
        let theirs: Vec<Seen> = told.try_iter().collect();
        let common = ours.requests.len().min(theirs.len());
        let differs = || format!("{}\nours:   {:?}\ntheirs: {theirs:?} {statuses:?}", shown(&bytes), ours.requests);
        assert_eq!(ours.requests[..common], theirs[..common], "{}", differs());
        if theirs.len() >= ours.requests.len() {
            // Where we hung up it may go on (to nginx "Connection: xkeep-alive" is a wish to); where we did not, it may not.
            assert!(ours.is_over || theirs.len() == ours.requests.len(), "more than we read: {}", differs());
            tally.equal += usize::from(theirs.len() == ours.requests.len());
        } else {
            let refused = statuses.last().is_some_and(|status| (400..600).contains(status) && *status != 408);
            assert!(refused, "less than we read, and no refusal: {}", differs());
            tally.refused_by_them += 1;
        }
    }
    drop(nginx);
    std::fs::remove_dir_all(&dir).unwrap();
    tally.is_worth_something("nginx");
}

/// The statuses of all answers until the connection ends.
fn statuses(line: &mut Line) -> Vec<u16> {
    let bytes = line.hear_bytes();
    let text = String::from_utf8_lossy(&bytes);
    let status = |part: &str| part.get(2..5).and_then(|digits| digits.parse().ok());
    text.split("HTTP/1.").skip(1).filter_map(status).filter(|status| *status != 100).collect()
}

#[test]
fn tiny_http_reads_what_the_guard_admits_as_the_guard_does() {
    let serve = || tiny_http::Server::http("127.0.0.1:0").unwrap();
    let mut server = serve();
    let mut chance = Chance::announced();
    let mut tally = Tally::default();
    'streams: for _ in 0..STREAMS {
        let bytes = stream(&mut chance);
        let ours = admitted(&bytes);
        tally.count(&bytes, &ours);
        // It is only ever given what was admitted: behind a refused request comes nothing.
        if ours.requests.is_empty() || ours.refused {
            continue;
        }
        let mut line = Line::saying(server.server_addr().to_ip().unwrap().port(), &bytes);
        let mut theirs = Vec::new();
        let mut headers = Vec::new();
        let began = Instant::now();
        while theirs.len() < ours.requests.len() && began.elapsed() < Duration::from_secs(2) {
            match server.recv_timeout(Duration::from_millis(20)).unwrap() {
                Some(mut request) => {
                    let mut body = Vec::new();
                    let read = request.as_reader().read_to_end(&mut body);
                    // Trailers are more than it knows, and it goes astray behind them: nothing to compare.
                    if read.is_err() {
                        drop(request);
                        server = serve();
                        tally.refused_by_them += 1;
                        continue 'streams;
                    }
                    theirs.push(Seen::new(&request.method().to_string(), request.url(), body));
                    let pair = |header: &tiny_http::Header| (header.field.to_string(), header.value.to_string());
                    headers.push(request.headers().iter().map(pair).collect::<Vec<_>>());
                    let _ = request.respond(tiny_http::Response::empty(204));
                }
                None if line.is_closed() => break,
                None => {}
            }
        }
        let differs = || format!("{}\nours:   {:?}\ntheirs: {theirs:?}", shown(&bytes), ours.requests);
        assert_eq!(theirs[..], ours.requests[..theirs.len()], "{}", differs());
        if theirs.len() < ours.requests.len() {
            // It closes without a word where a header is not ASCII. (Behind the guard it never sees one.)
            assert!(line.is_closed(), "it waits for more: {}", differs());
            tally.refused_by_them += 1;
            continue;
        }
        if ours.requests.last().is_some_and(|request| request.target == "/last") {
            let more = server.recv_timeout(Duration::from_millis(1)).unwrap();
            assert!(more.is_none(), "more than we read: {}", differs());
        } else {
            // We hung up before the end; of several Connection headers it knows the first, and may go on.
            server = serve();
        }
        for (ours, theirs) in ours.headers.iter().zip(&headers) {
            for (name, value) in ours {
                let same =
                    |(other, its): &(String, String)| other.eq_ignore_ascii_case(name) && its.trim() == value.trim();
                assert!(theirs.iter().any(same), "{name}: {value:?} of {}", differs());
            }
        }
        tally.equal += 1;
    }
    tally.is_worth_something("tiny_http");
}
