//! A played daemon, a listener in front of it, and a client that writes its requests byte by byte.

use crate::base::{AppName, DeployId, ReleaseName};
use crate::config::{Forge, TriggerEvent};
use crate::control::*;
use crate::delivery::AppTrigger;
use crate::delivery::signature::Key;
use crate::listener::guard::{Limits, Rate};
use crate::listener::server::Socket;
use crate::listener::{Setup, Sockets};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value;
use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

pub(super) const SECRET: &str = "hush";
pub(super) const COMMIT: &str = "4f2a1c9000000000000000000000000000000042";
pub(super) const PUSH: &[u8] = include_bytes!("../../../tests/payloads/push.json");
pub(super) const MAX_BODY: u64 = 1 << 20;

/// A directory that goes away with the test.
pub(super) struct Scratch {
    pub(super) dir: PathBuf,
}

impl Scratch {
    pub(super) fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("pintle-listener-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir).unwrap();
        Scratch { dir }
    }
    /// A path for a guard's socket; each listener has its own.
    fn private(&self) -> PathBuf {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        self.dir.join(format!("guard-{}.sock", NEXT.fetch_add(1, Ordering::Relaxed)))
    }
    pub(super) fn socket(&self) -> PathBuf {
        self.dir.join("listener.sock")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Plays the daemon: `part` writes the answer to each request.
pub(super) fn play(scratch: &Scratch, part: impl Fn(Request, &mut UnixStream) + Send + Sync + 'static) {
    let listener = UnixListener::bind(scratch.socket()).unwrap();
    let part = Arc::new(part);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let part = Arc::clone(&part);
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap());
                while let Ok(Some(request)) = wire::receive::<Request>(&mut lines) {
                    assert!(request.on_listener_socket(), "{request:?}");
                    part(request, &mut stream);
                }
            });
        }
    });
}

pub(super) fn say<T: serde::Serialize>(to: &mut UnixStream, document: &T) {
    wire::send(to, document).unwrap();
}

/// Every delivery is accepted as deployment 42, which ends as `end` says.
pub(super) fn accepting(status: DeployStatus, phase: Phase) -> impl Fn(Request, &mut UnixStream) {
    move |request, stream| match request {
        Request::Ping => say(stream, &Answer::Pong),
        Request::Deliver(delivery) => {
            say(stream, &Answer::Delivered { verdicts: accept(&delivery, DeployStatus::Queued) })
        }
        Request::Follow { number } => {
            say(stream, &Answer::Stream);
            say(stream, &Followed::Log { line: "building".into() });
            say(stream, &end(number, status, phase));
        }
        other => panic!("{other:?}"),
    }
}

pub(super) fn accept(delivery: &Delivery, state: DeployStatus) -> Vec<Verdict> {
    let number = |index: usize| DeployId(42 + index as u64);
    let verdict =
        |(index, want): (usize, &Want)| Verdict::Accepted { app: want.app.clone(), deployment: number(index), state };
    delivery.wants.iter().enumerate().map(verdict).collect()
}

pub(super) fn end(number: DeployId, status: DeployStatus, phase: Phase) -> Followed {
    let release = Some(ReleaseName::new("000042-4f2a1c9").unwrap());
    Followed::End { number, status, exit: 0, phase, release, message: None }
}

pub(super) fn app(name: &str) -> AppTrigger {
    AppTrigger {
        app: AppName::new(name).unwrap(),
        forge: Forge::Github,
        secrets: vec![Key(SECRET.as_bytes().to_vec())],
        on: vec![TriggerEvent::Push],
        workflow: None,
        workflow_events: vec!["push".into()],
        repository: None,
        generic: None,
        branch: "main".into(),
    }
}

/// The limits of the documentation, but a rate no test meets unless it is about that.
pub(super) fn limits() -> Limits {
    Limits {
        connections: 256,
        head: Duration::from_secs(5),
        body: Duration::from_secs(20),
        max_body: MAX_BODY,
        memory_budget: 48 << 20,
        rate: Rate { count: 1_000_000, per: Duration::from_secs(60) },
        trusted: vec![],
    }
}

pub(super) fn setup(scratch: &Scratch, apps: Vec<AppTrigger>) -> Setup {
    Setup { socket: scratch.socket(), daemon_pid: 0, limits: limits(), tls: None, dashboard: true, token: None, apps }
}

/// Serves `public` as the listener's process does, on threads of this one.
pub(super) fn serve(scratch: &Scratch, public: Socket, setup: Setup) {
    let private = UnixListener::bind(scratch.private()).unwrap();
    thread::spawn(move || crate::listener::serve(Sockets { public, private }, setup, None).unwrap());
}

pub(super) fn listen_as(scratch: &Scratch, setup: Setup) -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    serve(scratch, Socket::Tcp(socket), setup);
    address
}

pub(super) fn listen_with(scratch: &Scratch, apps: Vec<AppTrigger>) -> SocketAddr {
    listen_as(scratch, setup(scratch, apps))
}

pub(super) fn listen(scratch: &Scratch) -> SocketAddr {
    listen_with(scratch, vec![app("web")])
}

/// A played daemon and a listener in front of it.
pub(super) fn stage(part: impl Fn(Request, &mut UnixStream) + Send + Sync + 'static) -> (Scratch, SocketAddr) {
    let scratch = Scratch::new();
    play(&scratch, part);
    let address = listen(&scratch);
    (scratch, address)
}

#[derive(Debug)]
pub(super) struct Got {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Got {
    pub(super) fn json(&self) -> Value {
        assert!(self.head.contains("Content-Type: application/json"), "{self:?}");
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

pub(super) fn exchange<S: Read + Write>(mut stream: S, request: &[u8]) -> Got {
    stream.write_all(request).unwrap();
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    let got = got(&String::from_utf8(all).unwrap());
    let line = String::from_utf8_lossy(request.split(|byte| *byte == b'\r').next().unwrap()).into_owned();
    let mut words = line.split(' ');
    super::openapi::hold(words.next().unwrap(), words.next().unwrap(), &got);
    got
}

pub(super) fn got(text: &str) -> Got {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body = if head.contains("Transfer-Encoding: chunked") { unchunked(body) } else { body.to_owned() };
    Got { status, head: head.to_owned(), body }
}

/// The pieces of a body, put together; it must have an end. A head alone has none.
fn unchunked(body: &str) -> String {
    let (mut bytes, mut whole) = (body.as_bytes(), Vec::new());
    while !bytes.is_empty() {
        let at = bytes.windows(2).position(|two| two == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..at]).unwrap(), 16).unwrap();
        whole.extend_from_slice(&bytes[at + 2..at + 2 + size]);
        bytes = bytes[at + 2 + size..].strip_prefix(b"\r\n").unwrap();
        assert!(size > 0 || bytes.is_empty(), "{body:?}");
    }
    String::from_utf8(whole).unwrap()
}

pub(super) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

pub(super) fn get(address: SocketAddr, method: &str, path: &str) -> Got {
    exchange(connect(address), format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
}

pub(super) fn sign(body: &[u8]) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(body);
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

/// The bytes of a signed POST.
pub(super) fn signed(path: &str, event: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nX-GitHub-Event: {event}\r\n\
         X-Hub-Signature-256: {}\r\nContent-Length: {}\r\n\r\n",
        sign(body),
        body.len()
    );
    [head.as_bytes(), body].concat()
}

pub(super) fn post(address: SocketAddr, path: &str, event: &str, body: &[u8]) -> Got {
    exchange(connect(address), &signed(path, event, body))
}

pub(super) fn deploy_body() -> Vec<u8> {
    format!("{{\"ref\":\"refs/heads/main\",\"head_commit\":{{\"id\":\"{COMMIT}\"}}}}").into_bytes()
}

/// Waits for `condition` with a deadline, looking more and more rarely.
pub(super) fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut pause = Duration::from_millis(1);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// A gate that holds whoever passes until it is opened.
#[derive(Default)]
pub(super) struct Gate {
    open: Mutex<bool>,
    bell: Condvar,
    waiting: AtomicUsize,
}

impl Gate {
    pub(super) fn pass(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let open = self.open.lock().unwrap();
        drop(self.bell.wait_while(open, |open| !*open).unwrap());
    }
    pub(super) fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.bell.notify_all();
    }
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }
}
