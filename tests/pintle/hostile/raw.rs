//! A client without manners: the bytes that a test wrote, in the pieces it likes, over a connection it may break.

use crate::world::Reply;
use nix::sys::socket::{setsockopt, sockopt};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// Longer than any deadline of the listener's in these tests.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A connection to the listener.
#[derive(Debug)]
pub struct Line {
    stream: TcpStream,
    /// Received and not yet part of a reply.
    heard: Vec<u8>,
}

impl Line {
    /// Connects to `127.0.0.1:port`.
    #[track_caller]
    pub fn to(port: u16) -> Line {
        Line::over(TcpStream::connect(("127.0.0.1", port)).unwrap_or_else(|error| panic!("connect to {port}: {error}")))
    }

    /// Over a connected stream.
    pub fn over(stream: TcpStream) -> Line {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Line { stream, heard: Vec::new() }
    }

    /// Connects and says all of it. A server that does not like the beginning may close before the end.
    #[track_caller]
    pub fn saying(port: u16, bytes: impl AsRef<[u8]>) -> Line {
        let mut line = Line::to(port);
        let _ = line.say(bytes);
        line
    }

    /// Says something.
    pub fn say(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Says `piece` every `pause` until the other side has enough; how often.
    pub fn drip(&mut self, piece: &[u8], pause: Duration) -> u32 {
        let began = Instant::now();
        let mut said = 0;
        while began.elapsed() < PATIENCE && self.say(piece).is_ok() && !self.is_closed() {
            said += 1;
            std::thread::sleep(pause);
        }
        said
    }

    /// Says nothing more; still listens.
    pub fn ends_its_side(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Breaks off with RST instead of an end.
    pub fn resets(self) {
        let at_once = nix::libc::linger { l_onoff: 1, l_linger: 0 };
        setsockopt(&self.stream, sockopt::Linger, &at_once).unwrap();
    }

    /// Whether the other side has closed; what it said before stays to be heard.
    pub fn is_closed(&mut self) -> bool {
        let mut bytes = [0; 4096];
        self.stream.set_nonblocking(true).unwrap();
        let closed = loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => break true,
                Ok(read) => self.heard.extend_from_slice(&bytes[..read]),
                Err(error) => break error.kind() != io::ErrorKind::WouldBlock,
            }
        };
        self.stream.set_nonblocking(false).unwrap();
        closed
    }

    /// The next answer; `None` when the connection ended without one.
    #[track_caller]
    pub fn hear(&mut self) -> Option<Reply> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some((reply, length)) = whole(&self.heard) {
                self.heard.drain(..length);
                return Some(reply);
            }
            assert!(Instant::now() < deadline, "no whole answer in time: {:?}", self.shown());
            let mut bytes = [0; 16 << 10];
            match self.stream.read(&mut bytes) {
                Ok(0) => break,
                Ok(read) => self.heard.extend_from_slice(&bytes[..read]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("no answer: {:?}", self.shown()),
                Err(_) => break,
            }
        }
        assert!(self.heard.is_empty(), "half an answer: {:?}", self.shown());
        None
    }

    /// The status of the next answer, whose body may be missing; `None` when the connection ended without one.
    #[track_caller]
    pub fn hear_status(&mut self) -> Option<u16> {
        while self.heard.len() < 12 {
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes) {
                Ok(0) | Err(_) => return None,
                Ok(read) => self.heard.extend_from_slice(&bytes[..read]),
            }
        }
        std::str::from_utf8(&self.heard[9..12]).ok()?.parse().ok()
    }

    /// Everything until the connection ends, or nothing comes for a while.
    pub fn hear_bytes(&mut self) -> Vec<u8> {
        let _ = self.stream.read_to_end(&mut self.heard);
        std::mem::take(&mut self.heard)
    }

    /// Every answer until the connection ends.
    #[track_caller]
    pub fn hear_all(&mut self) -> Vec<Reply> {
        std::iter::from_fn(|| self.hear()).collect()
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.heard[..self.heard.len().min(400)]).into_owned()
    }
}

/// The first answer in `bytes` and its length, when all of it is there. Ours have a length.
fn whole(bytes: &[u8]) -> Option<(Reply, usize)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&bytes[..end]).expect("a head is text");
    let mut lines = head.trim_end().split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    assert!(status_line.starts_with("HTTP/1."), "not an answer: {head:?}");
    let status = status_line.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("{head:?}"));
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").map(|(_, value)| value.parse().unwrap());
    let length: usize = match length {
        Some(length) => length,
        None if status == 100 => 0,
        None => panic!("an answer without a length: {head:?}"),
    };
    let body = bytes.get(end..end + length)?;
    let body = String::from_utf8_lossy(body).into_owned();
    Some((Reply { status, headers, body }, end + length))
}
