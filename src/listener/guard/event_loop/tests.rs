//! The loop between real sockets: clients in front, a played tiny_http behind.

use super::*;
use crate::listener::guard::{Admission, Counts, Rate};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

/// Everything is a page.
struct Open;

impl Entrance for Open {
    fn admit(&self, _: &str, _: &str, _: Option<&str>) -> Result<Admission, Reply> {
        Ok(Admission { max_body: 1 << 20, counts: Counts::Never })
    }
}

/// A guard in front of `part`, which is given the number of the connection to tiny_http, the request's path and body, and
/// writes the answer; what it returns says whether it reads on.
fn guarded(part: impl Fn(usize, &str, &[u8], &mut UnixStream) -> bool + Send + Sync + 'static) -> std::net::SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let private = std::env::temp_dir().join(format!("pintle-guard-{}-{number}.sock", std::process::id()));
    let _ = std::fs::remove_file(&private);
    let behind = UnixListener::bind(&private).unwrap();
    let public = TcpListener::bind("127.0.0.1:0").unwrap();
    public.set_nonblocking(true).unwrap();
    let address = public.local_addr().unwrap();
    let tickets = Tickets::new().unwrap();
    let table = tickets.clone();
    let part = Arc::new(part);
    // How many connections there were, and whether the one that is late has looked for its ticket.
    let (came, looked) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    thread::spawn(move || {
        for (number, stream) in behind.incoming().enumerate() {
            let (part, table, mut stream) = (part.clone(), table.clone(), stream.unwrap());
            came.store(number + 1, Ordering::SeqCst);
            let (came, looked) = (came.clone(), looked.clone());
            thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                loop {
                    let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
                    let Some(ticket) = head.iter().find_map(|line| line.strip_prefix("X-Pintle-Ticket: ")) else {
                        return;
                    };
                    let path = head[0].split(' ').nth(1).unwrap().to_owned();
                    let take = || Number::of(ticket).and_then(|n| table.take(n));
                    let whole = match (path.as_str(), number) {
                        ("/deaf", 0) => None,
                        ("/late", 0) => {
                            until(|| came.load(Ordering::SeqCst) > 1);
                            let whole = take();
                            looked.store(1, Ordering::SeqCst);
                            whole
                        }
                        ("/late", _) => {
                            until(|| looked.load(Ordering::SeqCst) > 0);
                            take()
                        }
                        _ => take(),
                    };
                    let body = whole.map(|whole| whole.ask.body).unwrap_or_default();
                    if !part(number, &path, &body, &mut stream) {
                        return;
                    }
                }
            });
        }
    });
    let limits = Limits {
        connections: 64,
        head: Duration::from_secs(5),
        body: Duration::from_secs(20),
        max_body: 1 << 20,
        memory_budget: 8 << 20,
        rate: Rate { count: 1000, per: Duration::from_secs(60) },
        trusted: vec![],
    };
    let doors = Doors { public: Socket::Tcp(public), private, signals: None, tls: None };
    thread::spawn(move || guard(doors, limits, Arc::new(Open), tickets));
    address
}

fn until(so: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !so() {
        assert!(std::time::Instant::now() < deadline, "waited in vain");
        thread::yield_now();
    }
}

fn connect(address: std::net::SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn ask(address: std::net::SocketAddr, path: &str) -> TcpStream {
    let mut stream = connect(address);
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    stream
}

fn all(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn ok(stream: &mut UnixStream, body: &str) -> bool {
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).is_ok()
}

#[test]
fn requests_share_connections_and_bodies_arrive_whole() {
    let opened = Arc::new(AtomicUsize::new(0));
    let seen = opened.clone();
    let address = guarded(move |number, path, body, stream| {
        seen.fetch_max(number + 1, Ordering::SeqCst);
        ok(stream, &format!("{path} {}", body.len()))
    });
    let mut stream = connect(address);
    for turn in 0..50 {
        write!(stream, "POST /{turn} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n").unwrap();
        stream.write_all(&[b'x'; 100_000]).unwrap();
        let mut answer = [0; 200];
        let read = stream.read(&mut answer).unwrap();
        let text = String::from_utf8_lossy(&answer[..read]).into_owned();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with(&format!("/{turn} 100000")), "{text}");
    }
    assert_eq!(opened.load(Ordering::SeqCst), 1, "one after the other on one");
    let many: Vec<TcpStream> = (0..30).map(|number| ask(address, &format!("/{number}"))).collect();
    for (number, stream) in many.into_iter().enumerate() {
        assert!(all(stream).ends_with(&format!("/{number} 0")));
    }
}

#[test]
fn a_connection_that_nobody_takes_up_is_tried_anew() {
    let address = guarded(|number, path, _, stream| match (number, path) {
        (0, "/deaf") => {
            // Left behind a long answer, as in a pool that counted wrong.
            thread::sleep(Duration::from_secs(5));
            false
        }
        _ => ok(stream, &format!("by {number}")),
    });
    let began = std::time::Instant::now();
    assert!(all(ask(address, "/deaf")).ends_with("by 1"));
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}

#[test]
fn who_takes_up_a_connection_late_takes_no_request_from_the_next() {
    let address = guarded(|number, _, body, stream| ok(stream, &format!("by {number}: {}", body.len())));
    let mut stream = connect(address);
    write!(stream, "POST /late HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello").unwrap();
    assert!(all(stream).ends_with("by 1: 5"));
}

#[test]
fn who_does_not_answer_is_no_client_s_riddle() {
    let address = guarded(|_, path, _, stream| match path {
        "/broken" => false,
        "/garbled" => stream.write_all(b"what?\r\n\r\n").is_ok(),
        "/half" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").unwrap();
            false
        }
        _ => ok(stream, "well"),
    });
    for path in ["/broken", "/garbled"] {
        assert!(all(ask(address, path)).starts_with("HTTP/1.1 503 "), "{path}");
    }
    let half = all(ask(address, "/half"));
    assert!(half.contains("Content-Length: 10\r\n") && half.ends_with("half"), "cut off, not made whole: {half}");
    assert!(all(ask(address, "/fine")).ends_with("well"));
}

#[test]
fn a_stream_arrives_piece_by_piece() {
    let (next, gate) = mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let address = guarded(move |_, _, _, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n").unwrap();
        gate.lock().unwrap().recv().unwrap();
        stream.write_all(b"3\r\ntwo\r\n0\r\n\r\n").is_ok()
    });
    let mut stream = ask(address, "/");
    let mut text = String::new();
    let mut piece = [0; 1000];
    while !text.ends_with("3\r\none\r\n") {
        let read = stream.read(&mut piece).unwrap();
        assert!(read > 0, "{text}");
        text.push_str(std::str::from_utf8(&piece[..read]).unwrap());
    }
    next.send(()).unwrap();
    assert_eq!(all(stream), "3\r\ntwo\r\n0\r\n\r\n");
}

#[test]
fn a_slow_reader_holds_up_the_writer_and_gets_everything() {
    const LARGE: usize = 32 << 20;
    let written = Arc::new(AtomicUsize::new(0));
    let count = written.clone();
    let address = guarded(move |_, path, _, stream| {
        if path != "/large" {
            return ok(stream, "well");
        }
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n").unwrap();
        for _ in 0..LARGE / 65_536 {
            if stream.write_all(&[b'x'; 65_536]).is_err() {
                return false;
            }
            count.fetch_add(65_536, Ordering::SeqCst);
        }
        true
    });
    let mut stream = ask(address, "/large");
    let mut first = [0; 1];
    stream.read_exact(&mut first).unwrap();
    let mut before = usize::MAX;
    while before != written.load(Ordering::SeqCst) {
        before = written.load(Ordering::SeqCst);
        // Others are served meanwhile.
        assert!(all(ask(address, "/other")).ends_with("well"));
        thread::sleep(Duration::from_millis(50));
    }
    assert!(before < LARGE / 2, "{before} bytes were taken from the writer though nobody read");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert!(rest.len() > LARGE && rest.iter().rev().take(LARGE).all(|byte| *byte == b'x'));
}

#[test]
fn a_writer_hears_that_its_client_is_gone() {
    let (told, heard) = mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let address = guarded(move |_, _, _, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        loop {
            if let Err(error) = stream.write_all(b"4\r\nbeat\r\n") {
                told.lock().unwrap().send(error.kind()).unwrap();
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
    });
    let mut stream = ask(address, "/");
    stream.read_exact(&mut [0; 20]).unwrap();
    drop(stream);
    assert_eq!(heard.recv_timeout(Duration::from_secs(20)).unwrap(), io::ErrorKind::BrokenPipe);
}
