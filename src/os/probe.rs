//! Asks an application whether it is well: an HTTP answer or a TCP connection, within a deadline.
//!
//! What was seen comes back as a sentence. Line: how often to ask, and what an answer means, is decided by the health
//! room.

mod tls;

use crate::base::Span;
use crate::config::{Address, Page};
use crate::health::Failure;
use crate::os::sockets;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};
use ureq::tls::{RootCerts, TlsConfig};

/// What is read of an answer's body.
const BODY_MAX: u64 = 64 << 10;
/// What is read of an answer's head.
const HEAD_MAX: usize = 16 << 10;

/// What is kept of the body of an answer that is not well.
const KEPT: usize = 4 << 10;

/// GETs `url` (`http://` or `https://`, by certificates that the system or the page's own file vouches for). No proxy
/// is used, no connection kept, no redirect followed but those that the page allows.
///
/// What the page has to say must be there within `timeout`: status and headers, and the body (its first 64 KiB) where
/// `contains` or `latency` is about it. A body that nobody asked for may hang or break off.
pub fn http(url: &str, page: &Page, timeout: Duration) -> Result<(), Failure> {
    let began = Instant::now();
    let answer = get(url, page, timeout)?;
    judge(&answer, page, began.elapsed())?;
    match page.tls_days {
        Some(days) => Ok(tls::lasts(url, days, began + timeout, timeout)?),
        None => Ok(()),
    }
}

/// GETs `path` from whatever listens on `address`; the same counts as for [`http`].
pub fn http_at(address: &Address, path: &str, page: &Page, timeout: Duration) -> Result<(), Failure> {
    let began = Instant::now();
    let answer = get_at(address, path, page, timeout)?;
    judge(&answer, page, began.elapsed())
}

/// Whether a GET of `path` from `address` is answered at all, however.
pub fn answers_at(address: &Address, path: &str, timeout: Duration) -> bool {
    get_at(address, path, &Page::default(), timeout).is_ok()
}

/// Connects to `address` (`HOST:PORT`) and hangs up.
pub fn tcp(address: &str, timeout: Duration) -> Result<(), String> {
    let deadline = Instant::now() + timeout;
    let addresses = resolve(address, timeout)?;
    let mut last = format!("{address} has no address");
    for address in addresses {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        match TcpStream::connect_timeout(&reachable(address), left) {
            Ok(_) => return Ok(()),
            Err(error) => last = seen(&error, timeout),
        }
    }
    Err(last)
}

/// What came back.
struct Answer {
    status: u16,
    /// Names in lower case.
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// The body broke off.
    broken: Option<String>,
}

fn get(url: &str, page: &Page, timeout: Duration) -> Result<Answer, String> {
    let agent = match &page.ca {
        Some(ca) => tls::agent_that_trusts(ca)?,
        None => agent().clone(),
    };
    let request = agent.get(url).config().timeout_global(Some(timeout)).max_redirects(page.redirects).build();
    let answer = request.call().map_err(|error| in_words(error, timeout))?;
    let status = answer.status().as_u16();
    let text = |value: &ureq::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = answer.headers().iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    let mut body = Vec::new();
    let read = match needs_body(page, status) {
        true => answer.into_body().into_reader().take(BODY_MAX).read_to_end(&mut body).map(drop),
        false => Ok(()),
    };
    Ok(Answer { status, headers, body, broken: read.err().map(|error| unfinished(error, timeout)) })
}

/// Whether the body is looked at: where something is wanted of it, and where the status is wrong, for the reason.
fn needs_body(page: &Page, status: u16) -> bool {
    page.contains.is_some() || page.latency.is_some() || !page.expect.contains(&status)
}

fn get_at(address: &Address, path: &str, page: &Page, timeout: Duration) -> Result<Answer, String> {
    match address {
        Address::Tcp(address) => get(&format!("http://{}{path}", reachable(*address)), page, timeout),
        Address::Unix(socket) => get_over_unix(socket, path, page, timeout).map_err(|error| seen(&error, timeout)),
    }
}

/// Where to ask what listens on every address of the host.
pub(super) fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() { [127, 0, 0, 1].into() } else { [0, 0, 0, 0, 0, 0, 0, 1].into() });
    }
    address
}

/// One for all probes that trust whom the system trusts, made when the first is: certificates are read when the first
/// `https` is asked.
fn agent() -> &'static ureq::Agent {
    static AGENT: OnceLock<ureq::Agent> = OnceLock::new();
    AGENT.get_or_init(|| agent_with(RootCerts::PlatformVerifier))
}

fn agent_with(trusted: RootCerts) -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .max_idle_connections(0)
        .tls_config(TlsConfig::builder().root_certs(trusted).build())
        .user_agent(concat!("pintle/", env!("CARGO_PKG_VERSION")));
    ureq::Agent::new_with_config(config.build())
}

fn judge(answer: &Answer, page: &Page, took: Duration) -> Result<(), Failure> {
    let text = String::from_utf8_lossy(&answer.body);
    let failure = |said: String| Err(Failure { said, output: kept(&text) });
    let line = first_line(&text);
    if !page.expect.contains(&answer.status) {
        let told = if line.is_empty() { String::new() } else { format!(": {line}") };
        let expected: Vec<String> = page.expect.iter().map(ToString::to_string).collect();
        return failure(format!("HTTP {} instead of {}{told}", answer.status, expected.join(" or ")));
    }
    // Of an answer with the right status the body was read only where it was asked for.
    if let Some(why) = &answer.broken {
        return Err(why.clone().into());
    }
    if let Some(wanted) = page.contains.as_ref().filter(|wanted| !text.contains(wanted.as_str())) {
        return failure(format!("the answer does not contain {wanted:?} but begins {line:?}"));
    }
    for (name, wanted) in &page.headers {
        let mut there = answer.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value).peekable();
        let Some(first) = there.peek().map(|value| first_line(value)) else {
            return failure(format!("the answer has no header {name}"));
        };
        if !there.any(|value| value.contains(wanted)) {
            return failure(format!("its header {name} is {first:?}, which does not contain {wanted:?}"));
        }
    }
    match page.latency.filter(|limit| took > *limit) {
        Some(limit) => failure(format!("the answer took {}, more than {}", Span(took), Span(limit))),
        None => Ok(()),
    }
}

/// The beginning of a body, for whoever looks for the reason.
fn kept(text: &str) -> Option<String> {
    let mut end = KEPT.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let kept: String = text[..end].chars().filter(|c| !c.is_control() || *c == '\n').collect();
    Some(kept.trim_end().to_owned()).filter(|kept| !kept.is_empty())
}

/// The first line with text, without what would upset a terminal, at most 200 characters.
fn first_line(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(200).collect()
}

fn in_words(error: ureq::Error, timeout: Duration) -> String {
    match error {
        ureq::Error::Io(error) => seen(&error, timeout),
        ureq::Error::Timeout(_) => no_answer(timeout),
        ureq::Error::TooManyRedirects => "it redirects more often than the probe follows".into(),
        ureq::Error::HostNotFound => "the host's name is not known".into(),
        error => error.to_string(),
    }
}

fn seen(error: &io::Error, timeout: Duration) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => no_answer(timeout),
        io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => {
            "the connection was closed without an answer".into()
        }
        io::ErrorKind::NotFound => "there is no such socket".into(),
        _ => error.to_string(),
    }
}

/// Why there is no more of a body.
fn unfinished(error: io::Error, timeout: Duration) -> String {
    let is_late = matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
        || error.get_ref().is_some_and(|inner| matches!(inner.downcast_ref(), Some(ureq::Error::Timeout(_))));
    match is_late {
        true => format!("its body does not end in {}", Span(timeout)),
        false => "its body breaks off".into(),
    }
}

fn no_answer(timeout: Duration) -> String {
    format!("no answer in {}", Span(timeout))
}

/// Looks a host name up, in a thread of its own because the system's resolver knows no deadline.
pub fn resolve(address: &str, timeout: Duration) -> Result<Vec<SocketAddr>, String> {
    if let Ok(address) = address.parse() {
        return Ok(vec![address]);
    }
    let (send, found) = channel();
    let owned = address.to_owned();
    let look_up = move || send.send(owned.to_socket_addrs().map(Iterator::collect::<Vec<_>>));
    std::thread::Builder::new().spawn(look_up).map_err(|error| error.to_string())?;
    match found.recv_timeout(timeout) {
        Ok(Ok(addresses)) => Ok(addresses),
        Ok(Err(error)) => Err(format!("look up {address}: {error}")),
        Err(_) => Err(no_answer(timeout)),
    }
}

/// The little of HTTP/1.1 that one GET over a Unix socket takes: status, headers and the first 64 KiB of the body.
fn get_over_unix(socket: &Path, path: &str, page: &Page, timeout: Duration) -> io::Result<Answer> {
    let deadline = Instant::now() + timeout;
    if path.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{path:?} cannot be asked for")));
    }
    let stream = Deadlined { stream: sockets::connect(socket, timeout)?, deadline };
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: pintle/{}\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        env!("CARGO_PKG_VERSION")
    );
    (&stream.stream).write_all(request.as_bytes())?;
    read_answer(stream, page, timeout)
}

/// A stream that must have said everything by a deadline, however slowly it speaks.
struct Deadlined {
    stream: UnixStream,
    deadline: Instant,
}

impl Read for Deadlined {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        self.stream.read(buffer)
    }
}

fn read_answer(mut stream: impl Read, page: &Page, timeout: Duration) -> io::Result<Answer> {
    let strange = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("no HTTP answer: {what}"));
    loop {
        let head = read_head(&mut stream)?;
        let head = String::from_utf8_lossy(&head);
        let mut lines = head.lines();
        let status_line = lines.next().unwrap_or_default();
        let status = status_line.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
        let status: u16 = status.ok_or_else(|| strange(&first_line(status_line)))?;
        if (100..200).contains(&status) {
            continue;
        }
        let headers = lines.filter_map(|line| line.split_once(':'));
        let named = |(name, value): (&str, &str)| (name.trim().to_ascii_lowercase(), value.trim().to_owned());
        let headers: Vec<(String, String)> = headers.map(named).collect();
        let header = |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
        let chunked = header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
        let length = header("content-length").and_then(|length| length.parse().ok()).unwrap_or(u64::MAX);
        let mut body = Vec::new();
        let read = match (needs_body(page, status), chunked) {
            (false, _) => Ok(()),
            (true, true) => read_chunks(&mut stream, &mut body),
            (true, false) => read_up_to(&mut stream, length, &mut body),
        };
        return Ok(Answer { status, headers, body, broken: read.err().map(|error| unfinished(error, timeout)) });
    }
}

/// Up to and with the empty line, byte by byte so that nothing of the body is taken.
fn read_head(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && !head.ends_with(b"\n\n") {
        stream.read_exact(&mut byte)?;
        head.extend_from_slice(&byte);
        if head.len() > HEAD_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "no HTTP answer: its head does not end"));
        }
    }
    Ok(head)
}

/// As many bytes as were announced, at most those that are looked at; without an announcement up to the end.
fn read_up_to(stream: &mut impl Read, length: u64, body: &mut Vec<u8>) -> io::Result<()> {
    let read = stream.take(length.min(BODY_MAX)).read_to_end(body)? as u64;
    match length == u64::MAX || read == length.min(BODY_MAX) {
        true => Ok(()),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn read_chunks(stream: &mut impl Read, body: &mut Vec<u8>) -> io::Result<()> {
    let bad = || io::Error::new(io::ErrorKind::InvalidData, "no HTTP answer: a bad chunk");
    while (body.len() as u64) < BODY_MAX {
        let mut size = Vec::new();
        while !size.ends_with(b"\n") && size.len() < 100 {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            size.push(byte[0]);
        }
        let digits = String::from_utf8_lossy(&size);
        let digits = digits.split([';', '\r', '\n']).next().unwrap_or_default().trim().to_owned();
        let size = u64::from_str_radix(&digits, 16).map_err(|_| bad())?;
        if size == 0 {
            break;
        }
        let room = BODY_MAX - body.len() as u64;
        stream.take(size.min(room)).read_to_end(body)?;
        if size <= room {
            stream.read_exact(&mut [0; 2])?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
