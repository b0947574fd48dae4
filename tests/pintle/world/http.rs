//! A small HTTP/1.1 client that sends exactly what a test says.

use hmac::{Hmac, KeyInit, Mac};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A request as it will stand on the wire.
#[derive(Debug, Clone)]
pub struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Request {
    pub fn new(method: &str, path: &str) -> Request {
        Request { method: method.into(), path: path.into(), headers: Vec::new(), body: Vec::new() }
    }
    pub fn get(path: &str) -> Request {
        Request::new("GET", path)
    }
    pub fn post(path: &str) -> Request {
        Request::new("POST", path)
    }
    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Request {
        self.headers.push((name.into(), value.into()));
        self
    }
    /// The body; its length is sent with it.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Request {
        self.body = body.into();
        self
    }
    /// A JSON body.
    pub fn json(self, body: &serde_json::Value) -> Request {
        self.header("Content-Type", "application/json").body(body.to_string())
    }
    /// Signs the body as GitHub does.
    pub fn signed(self, secret: &str) -> Request {
        let signature = sign(secret, &self.body);
        self.header("X-Hub-Signature-256", &signature)
    }

    /// Sends it to `127.0.0.1:port` and reads the whole answer.
    pub fn send(&self, port: u16) -> io::Result<Reply> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        self.exchange(&mut stream)
    }

    /// Sends it and hangs up without waiting for the answer.
    pub fn send_and_leave(&self, port: u16) -> io::Result<()> {
        TcpStream::connect(("127.0.0.1", port))?.write_all(&self.bytes())
    }

    /// Sends it over a connected stream and reads until its end.
    pub fn exchange(&self, stream: &mut (impl Read + Write)) -> io::Result<Reply> {
        // A server may answer and close before it has read everything: then the answer counts.
        let sent = stream.write_all(&self.bytes());
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Err(error) if answer.is_empty() => return Err(sent.err().unwrap_or(error)),
            _ => {}
        }
        Reply::parse(&answer).ok_or_else(|| {
            let text = String::from_utf8_lossy(&answer).into_owned();
            io::Error::new(io::ErrorKind::InvalidData, format!("not an HTTP answer: {text:?}"))
        })
    }

    /// As it stands on the wire.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            bytes.push_str(&format!("{name}: {value}\r\n"));
        }
        if self.method != "GET" || !self.body.is_empty() {
            bytes.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        bytes.push_str("\r\n");
        let mut bytes = bytes.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

impl Reply {
    fn parse(bytes: &[u8]) -> Option<Reply> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..end]).ok()?;
        let mut lines = head.split("\r\n");
        let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value.contains("chunked"));
        let body = if chunked { unchunk(&bytes[end + 4..])? } else { bytes[end + 4..].to_vec() };
        Some(Reply { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let name = name.to_ascii_lowercase();
        self.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {self:?}"))
    }

    /// The status must be `status`.
    #[track_caller]
    pub fn is(self, status: u16) -> Reply {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// It must be a 202; the deployment's number.
    #[track_caller]
    pub fn accepted(self) -> u64 {
        let json = self.is(202).json();
        json["deployment"].as_u64().unwrap_or_else(|| panic!("no deployment in {json}"))
    }

    /// It must be a 200 that says "ignored"; why.
    #[track_caller]
    pub fn ignored(self) -> String {
        let json = self.is(200).json();
        assert_eq!(json["status"], "ignored", "{json}");
        json["message"].as_str().unwrap_or_else(|| panic!("no message in {json}")).to_owned()
    }
}

fn unchunk(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = bytes.windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(&bytes[..end]).ok()?.split(';').next()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        if size == 0 {
            return Some(whole);
        }
        whole.extend_from_slice(bytes.get(end + 2..end + 2 + size)?);
        bytes = bytes.get(end + 2 + size + 2..)?;
    }
}

/// `sha256=HEX` of the body under `secret`.
pub fn sign(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body);
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

#[test]
fn chunks_are_put_together() {
    assert_eq!(unchunk(b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n").unwrap(), b"abcde");
    let reply = Reply::parse(b"HTTP/1.1 202 Accepted\r\nA: b\r\n\r\n{}").unwrap();
    assert_eq!((reply.status, reply.header("a"), reply.body.as_str()), (202, Some("b"), "{}"));
}
