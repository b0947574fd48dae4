//! Speaks HTTP, and is the only file that knows tiny_http.
//!
//! Four threads take requests and answer them through `routes`; what takes long gets a thread of its own. tiny_http has
//! no deadlines and trusts its clients: this file keeps it from dying of an announced length, and is the place where a
//! guard that owns the public connections belongs, which will pass on whole requests only. Line: no route, no rule.

use super::ask::{Answered, Ask, Reply, Stream};
use super::routes::{Outcome, Routes};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use tiny_http::{Header, Method, Request, Response, Server, StatusCode};

/// Threads that answer what can be answered at once.
const POOL: usize = 4;

/// Enough for a JSON document nested as deep as serde_json allows.
const STACK: usize = 256 << 10;

/// What tiny_http allocates in one piece when it drains an unread body; above this such a request is never dropped.
const DRAINABLE: u64 = 64 << 20;

/// Each request that is never dropped costs a thread and a connection; after so many a new process is cheaper.
const ABANDONED_AT_MOST: u32 = 64;

/// A socket that listens.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Socket::Tcp(socket) => match socket.local_addr() {
                Ok(address) => write!(f, "{address}"),
                Err(_) => f.write_str("a TCP socket"),
            },
            Socket::Unix(socket) => match socket.local_addr().ok().as_ref().and_then(|address| address.as_pathname()) {
                Some(path) => write!(f, "unix:{}", path.display()),
                None => f.write_str("a Unix socket"),
            },
        }
    }
}

/// What the threads share.
struct Desk {
    routes: Arc<Routes>,
    abandoned: AtomicU32,
    over: mpsc::Sender<io::Error>,
}

/// Answers requests on `socket` for as long as connections can be accepted; returns why they cannot.
pub fn serve(socket: Socket, routes: Arc<Routes>) -> io::Error {
    let server = match socket {
        Socket::Tcp(socket) => Server::from_listener(socket, None),
        Socket::Unix(socket) => Server::from_listener(socket, None),
    };
    // Dropping a server would unlink its Unix path, which is the daemon's: it lives as long as the process.
    let server: &'static Server = match server {
        Ok(server) => Box::leak(Box::new(server)),
        Err(error) => return io::Error::other(error.to_string()),
    };
    let (over, end) = mpsc::channel();
    let desk = Arc::new(Desk { routes, abandoned: AtomicU32::new(0), over });
    for _ in 0..POOL {
        let desk = Arc::clone(&desk);
        let started = spawn("answer", move || answer_all(server, &desk));
        if let Err(error) = started {
            return error;
        }
    }
    end.recv().unwrap_or_else(|_| io::Error::other("every thread has ended"))
}

fn answer_all(server: &Server, desk: &Arc<Desk>) {
    loop {
        match server.recv() {
            Ok(request) => answer(request, desk),
            // tiny_http accepts nothing after its first error: this process is done.
            Err(error) => {
                let _ = desk.over.send(error);
                return;
            }
        }
    }
}

fn answer(mut request: Request, desk: &Arc<Desk>) {
    let ask = match admit(&mut request, desk.routes.max_body()) {
        Ok(ask) => ask,
        Err(reply) => return turn_away(request, reply, desk),
    };
    match desk.routes.answer(&ask) {
        Outcome::Now(reply) => send(request, reply),
        Outcome::Later(errand) => {
            drop(ask);
            let run = move || match errand() {
                Answered::Whole(reply) => send(request, reply),
                Answered::Live(stream) => tell(request, stream),
            };
            // Where no thread can be had the request is dropped unasked, which tiny_http answers with 500.
            if let Err(error) = spawn("errand", run) {
                log::error!("no thread for a request: {error}");
            }
        }
    }
}

/// Reads the whole request, or says why it is not one.
fn admit(request: &mut Request, max_body: u64) -> Result<Ask, Reply> {
    let length = announced(request)?;
    if length.is_some_and(|length| length > max_body) {
        return Err(too_large(max_body));
    }
    let (path, query) =
        Ask::split_target(request.url()).ok_or_else(|| Reply::error(400, "the request target is not a path"))?;
    let method = request.method().to_string();
    let header = |header: &Header| (header.field.to_string(), header.value.to_string());
    let headers = request.headers().iter().map(header).collect();
    let peer = request.remote_addr().copied();
    let body = match length {
        Some(length) => read_exactly(request, length)?,
        None => read_chunks(request, max_body)?,
    };
    Ok(Ask { method, path, query, headers, body, peer })
}

/// The body's length; `None` when it comes in chunks. tiny_http takes contradicting and unreadable lengths as they
/// come, which would let two servers in a row see different requests.
fn announced(request: &Request) -> Result<Option<u64>, Reply> {
    let all = |name: &'static str| request.headers().iter().filter(move |header| header.field.equiv(name));
    let mut lengths = all("Content-Length").map(|header| header.value.as_str());
    let chunked = all("Transfer-Encoding").next().is_some();
    let unclear = || Reply::error(400, "the length of the body is not clear");
    match (lengths.next(), chunked) {
        (None, true) => Ok(None),
        (None, false) => Ok(Some(0)),
        (Some(_), true) => Err(unclear()),
        (Some(first), false) => {
            let digits = !first.is_empty() && first.bytes().all(|byte| byte.is_ascii_digit());
            match lengths.all(|other| other == first) && digits {
                // What tiny_http cannot count it does not read.
                true => {
                    request.body_length().and_then(|length| u64::try_from(length).ok()).map(Some).ok_or_else(unclear)
                }
                false => Err(unclear()),
            }
        }
    }
}

fn read_exactly(request: &mut Request, length: u64) -> Result<Vec<u8>, Reply> {
    let mut body = Vec::new();
    let read = request.as_reader().take(length).read_to_end(&mut body);
    match read {
        Ok(_) if body.len() as u64 == length => Ok(body),
        _ => Err(Reply::error(400, "the body ended early")),
    }
}

fn read_chunks(request: &mut Request, max_body: u64) -> Result<Vec<u8>, Reply> {
    let mut body = Vec::new();
    match request.as_reader().take(max_body.saturating_add(1)).read_to_end(&mut body) {
        Ok(_) if body.len() as u64 <= max_body => Ok(body),
        Ok(_) => Err(too_large(max_body)),
        Err(_) => Err(Reply::error(400, "the body's chunks cannot be read")),
    }
}

fn too_large(max_body: u64) -> Reply {
    Reply::error(413, format!("the body is larger than {max_body} bytes"))
}

/// Answers a request whose body was not read. tiny_http drains it first, for as long as the client likes: on a thread
/// of its own.
fn turn_away(request: Request, reply: Reply, desk: &Arc<Desk>) {
    let left = request.body_length().map_or(0, |length| length as u64);
    if left > DRAINABLE {
        return abandon(request, &reply, desk);
    }
    if left == 0 {
        return send(request, reply);
    }
    if let Err(error) = spawn("drain", move || send(request, reply)) {
        log::error!("no thread for a request: {error}");
    }
}

/// Answers a request that must not be dropped: tiny_http would drain its body through one allocation of the announced
/// length, which ends the process. An upgrade is its only way to the bare connection, and the interim 100 the only
/// status that leaves room for an answer after it.
fn abandon(request: Request, reply: &Reply, desk: &Desk) {
    let mut connection = request.upgrade("none", Response::empty(StatusCode(100)));
    let head = format!(
        "HTTP/1.1 {} {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        reply.status,
        StatusCode(reply.status).default_reason_phrase(),
        reply.body.len()
    );
    let whole = [head.as_bytes(), &reply.body].concat();
    if let Err(error) = connection.write_all(&whole).and_then(|()| connection.flush()) {
        log::debug!("a client was gone before its answer: {error}");
    }
    std::mem::forget(connection);
    if desk.abandoned.fetch_add(1, Ordering::Relaxed) + 1 >= ABANDONED_AT_MOST {
        let _ = desk.over.send(io::Error::other("too many clients announced bodies of absurd length"));
    }
}

fn send(request: Request, reply: Reply) {
    let mut response = Response::from_data(reply.body)
        .with_status_code(reply.status)
        // Everything has a known length: no chunks.
        .with_chunked_threshold(usize::MAX);
    for (name, value) in reply.headers.into_iter().chain(every_answer()) {
        if let Ok(header) = Header::from_bytes(name, value) {
            response.add_header(header);
        }
    }
    if let Err(error) = request.respond(response) {
        log::debug!("a client was gone before its answer: {error}");
    }
}

/// Headers of every answer.
fn every_answer() -> impl Iterator<Item = (&'static str, String)> {
    let headers = [("Server", "pintle"), ("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")];
    headers.into_iter().map(|(name, value)| (name, value.to_owned()))
}

/// Writes an answer as it comes: in chunks, or to an HTTP/1.0 client bare until the connection ends.
fn tell(request: Request, stream: Stream) {
    let chunked = *request.http_version() > (1, 0);
    let bodiless = *request.method() == Method::Head;
    let reason = StatusCode(stream.status).default_reason_phrase();
    let mut head = format!("HTTP/1.1 {} {reason}\r\n", stream.status);
    for (name, value) in stream.headers.into_iter().chain(every_answer()) {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(if chunked { "Transfer-Encoding: chunked\r\n\r\n" } else { "Connection: close\r\n\r\n" });
    let mut writer = request.into_writer();
    let told = writer.write_all(head.as_bytes()).and_then(|()| writer.flush()).and_then(|()| match bodiless {
        true => Ok(()),
        false => {
            let mut body = Pieces { to: &mut writer, chunked, held: Vec::new() };
            (stream.tell)(&mut body).and_then(|()| body.end())
        }
    });
    if let Err(error) = told {
        log::debug!("a client left before the end of its answer: {error}");
    }
}

/// What is written is held until it is flushed or fills a piece.
struct Pieces<'a> {
    to: &'a mut (dyn Write + Send),
    chunked: bool,
    held: Vec<u8>,
}

/// The largest piece.
const PIECE: usize = 8 << 10;

impl Pieces<'_> {
    fn end(&mut self) -> io::Result<()> {
        self.flush()?;
        self.to.write_all(if self.chunked { b"0\r\n\r\n" } else { b"" })?;
        self.to.flush()
    }
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.held.len() + bytes.len() > PIECE {
            self.flush()?;
        }
        self.held.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        let piece = std::mem::take(&mut self.held);
        match self.chunked {
            true => self.to.write_all(&[format!("{:x}\r\n", piece.len()).as_bytes(), &piece, b"\r\n"].concat())?,
            false => self.to.write_all(&piece)?,
        }
        self.to.flush()
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(work).map(drop)
}
