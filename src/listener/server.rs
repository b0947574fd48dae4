//! Speaks HTTP behind the guard, and is the only file that knows tiny_http.
//!
//! tiny_http accepts on the private socket, where the guard is its only client: each request is one line and a ticket,
//! for which the whole request is taken from the table. A few threads answer through `routes`; what takes long, or is
//! written piece by piece, gets a thread of its own. Line: no route, no rule, no limit.

use super::ask::{Answered, Ask, Pieces, Reply, Stream};
use super::courier::Courier;
use super::errands::{Errands, STACK};
use super::guard::Tickets;
use super::guard::tickets::{HEADER, Number, Whole};
use super::routes::{Outcome, Routes};
use std::fmt;
use std::io::{self, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::thread;
use tiny_http::{Header, Request, Response, Server, StatusCode};

/// Threads that answer what can be answered at once: a page asks the daemon and waits for it.
const POOL: usize = 4;

/// A public socket that listens.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Socket {
    /// Whether accepting waits for a client.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        match self {
            Socket::Tcp(socket) => socket.set_nonblocking(nonblocking),
            Socket::Unix(socket) => socket.set_nonblocking(nonblocking),
        }
    }
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
    server: &'static Server,
    routes: Arc<Routes>,
    tickets: Arc<Tickets>,
    errands: Errands,
    courier: Courier,
}

/// Answers the requests on `tickets` that come in by `private`, on threads of its own. When it cannot any more the
/// guard is told.
pub fn start(private: UnixListener, routes: Arc<Routes>, tickets: Arc<Tickets>) -> io::Result<()> {
    let server = Server::from_listener(private, None).map_err(|error| io::Error::other(error.to_string()))?;
    // Dropping a server would unlink its path, which is the daemon's: it lives as long as the process.
    let server: &'static Server = Box::leak(Box::new(server));
    let errands = Errands::default();
    let courier = Courier::to(routes.daemon(), errands.clone());
    let desk = Arc::new(Desk { server, routes, tickets, errands, courier });
    for _ in 0..POOL {
        let desk = Arc::clone(&desk);
        spawn("answer", move || answer_all(&desk))?;
    }
    Ok(())
}

fn answer_all(desk: &Desk) {
    loop {
        match desk.server.recv() {
            Ok(request) => answer(request, desk),
            // tiny_http accepts nothing after its first error: this process is done.
            Err(error) => return desk.tickets.give_up(error),
        }
    }
}

fn answer(request: Request, desk: &Desk) {
    let Some(Whole { ask, portion }) = number_on(&request).and_then(|number| desk.tickets.take(number)) else {
        // Its client left meanwhile, or somebody found the private socket.
        return send(request, Reply::later("there is no such request"));
    };
    let outcome = desk.routes.answer(&ask);
    // Before the answer waits for anybody, the body's memory is free for others.
    drop::<(Ask, _)>((ask, portion));
    match outcome {
        Outcome::Now(reply) => send(request, reply),
        Outcome::Carried(delivery, reply) => {
            let word = Box::new(move |word| send(request, reply(word)));
            note(desk.courier.carry(delivery, word));
        }
        // Where no thread can be had the request is dropped unasked, which tiny_http answers with 500.
        Outcome::Later(errand) => {
            let run = move || match errand() {
                Answered::Whole(reply) => send(request, reply),
                Answered::Live(stream) => pass_on(request, stream),
            };
            note(desk.errands.run(run));
        }
    }
}

fn number_on(request: &Request) -> Option<Number> {
    let mut headers = request.headers().iter();
    headers.find(|header| header.field.equiv(HEADER)).and_then(|header| Number::of(header.value.as_str()))
}

/// Headers of every answer.
const FIXED: [(&str, &str); 3] =
    [("Server", "pintle"), ("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")];

fn send(request: Request, reply: Reply) {
    let mut response = Response::from_data(reply.body)
        .with_status_code(reply.status)
        // Everything has a known length: no chunks.
        .with_chunked_threshold(usize::MAX);
    let fixed = FIXED.map(|(name, value)| (name, value.to_owned()));
    for (name, value) in reply.headers.into_iter().chain(fixed) {
        if let Ok(header) = Header::from_bytes(name, value) {
            response.add_header(header);
        }
    }
    if let Err(error) = request.respond(response) {
        log::debug!("a client was gone before its answer: {error}");
    }
}

/// tiny_http holds back eight kilobytes of what a reader gives it: a live answer is framed here and flushed at once.
fn pass_on(request: Request, stream: Stream) {
    let is_head = request.method() == &tiny_http::Method::Head;
    let mut chunks = Chunks { to: request.into_writer(), is_head };
    let reason = StatusCode(stream.status).default_reason_phrase();
    let head = format!(
        "HTTP/1.1 {} {reason}\r\nServer: pintle\r\nContent-Type: {}\r\nCache-Control: no-store\r\n\
         X-Content-Type-Options: nosniff\r\nX-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\n\r\n",
        stream.status, stream.content_type
    );
    let written = chunks.all(head.as_bytes()).and_then(|()| match is_head {
        true => Ok(()),
        false => (stream.write)(&mut chunks).and_then(|()| chunks.all(b"0\r\n\r\n")),
    });
    if let Err(error) = written {
        log::debug!("a stream ended early: {error}");
        // The guard must not wait for the rest: what is no chunk tells it so.
        let _ = chunks.all(b"!\r\n");
    }
}

struct Chunks {
    to: Box<dyn Write + Send>,
    is_head: bool,
}

impl Chunks {
    fn all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.to.write_all(bytes)?;
        self.to.flush()
    }
}

impl Pieces for Chunks {
    fn piece(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() || self.is_head {
            return Ok(());
        }
        let size = format!("{:x}\r\n", bytes.len());
        self.all(&[size.as_bytes(), bytes, b"\r\n"].concat())
    }
}

fn note(started: io::Result<()>) {
    if let Err(error) = started {
        log::error!("no thread for a request: {error}");
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(work).map(drop)
}
