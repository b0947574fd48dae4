//! Somebody who is told: a small HTTP server that keeps every request and answers as the test says.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Heard {
    pub method: String,
    pub path: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// What it was answered with; 0: with nothing at all.
    pub answered: u16,
    pub at: Instant,
}

impl Heard {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// How a request is answered.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Status, further header lines, body.
    Say(u16, &'static str, &'static str),
    /// The connection stays open and nothing comes, until the peer is dropped.
    Hang,
    /// It is taken, and the connection closed without a word.
    Swallow,
}

#[derive(Default)]
struct State {
    heard: Vec<Heard>,
    next: VecDeque<Answer>,
    always: Option<Answer>,
    held: Vec<TcpStream>,
}

/// The server. It listens until the test ends.
#[derive(Clone)]
pub struct Peer {
    pub port: u16,
    state: Arc<(Mutex<State>, Condvar)>,
}

impl Peer {
    /// One that answers everything with 200 and `ok`.
    pub fn new() -> Peer {
        Peer::on(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    fn on(listener: TcpListener) -> Peer {
        let peer = Peer { port: listener.local_addr().unwrap().port(), state: Arc::default() };
        let server = peer.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let peer = server.clone();
                std::thread::spawn(move || peer.serve(stream));
            }
        });
        peer
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The next requests are answered so, one after the other.
    pub fn then(&self, answers: &[Answer]) {
        self.state.0.lock().unwrap().next.extend(answers.iter().cloned());
    }

    /// All others are answered so.
    pub fn always(&self, answer: Answer) {
        self.state.0.lock().unwrap().always = Some(answer);
    }

    /// What came so far.
    pub fn heard(&self) -> Vec<Heard> {
        self.state.0.lock().unwrap().heard.clone()
    }

    /// Waits until so many requests came, and gives all.
    #[track_caller]
    pub fn hears(&self, count: usize) -> Vec<Heard> {
        let (state, news) = &*self.state;
        let enough = |state: &mut State| state.heard.len() < count;
        let (state, out) = news.wait_timeout_while(state.lock().unwrap(), super::PATIENCE, enough).unwrap();
        assert!(!out.timed_out(), "waited for {count} requests, heard {:#?}", titles(&state.heard));
        state.heard.clone()
    }

    fn serve(&self, stream: TcpStream) {
        let _ = stream.set_read_timeout(Some(Duration::from_secs(10)));
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let mut words = line.split_whitespace().map(str::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut headers = vec![];
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim_end().is_empty() {
                break;
            }
            let (name, value) = line.trim_end().split_once(':').expect("a header");
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
        let length = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        let mut body = vec![0; length.map_or(0, |(_, length)| length.parse().unwrap())];
        reader.read_exact(&mut body).unwrap();
        let mut state = self.state.0.lock().unwrap();
        let answer = state.next.pop_front().or_else(|| state.always.clone()).unwrap_or(Answer::Say(200, "", "ok"));
        let answered = if let Answer::Say(status, ..) = answer { status } else { 0 };
        state.heard.push(Heard { method, path, headers, body, answered, at: Instant::now() });
        if let Answer::Hang = answer {
            state.held.push(stream.try_clone().unwrap());
        }
        drop(state);
        self.state.1.notify_all();
        if let Answer::Say(status, more, body) = answer {
            let head =
                format!("HTTP/1.1 {status} X\r\n{more}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = (&stream).write_all((head + body).as_bytes());
        }
    }
}

/// What is worth seeing of requests: their titles.
pub fn titles(heard: &[Heard]) -> Vec<String> {
    heard.iter().map(|heard| format!("{} {}", heard.answered, String::from_utf8_lossy(&heard.body))).collect()
}
