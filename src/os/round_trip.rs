//! One request to our own listener and back, by whatever it listens on: TCP, a Unix socket, TLS.
//!
//! With TLS the listener must show the very certificate the daemon says it has, by its fingerprint: names and authorities
//! do not matter on the way to ourselves. Line: what is asked, and what an answer means, is not known here.

use crate::base::Span;
use crate::config::Address;
use crate::os::{probe, sockets};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is read of an answer at most.
const ANSWER_MAX: u64 = 64 << 10;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its body, where it was sent in one piece.
    pub body: Vec<u8>,
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask<'a> {
    /// `GET` or `POST`.
    pub method: &'a str,
    /// The path, beginning with '/'.
    pub path: &'a str,
    /// Headers beside those that every request has.
    pub headers: &'a [(&'a str, String)],
    /// The body.
    pub body: &'a [u8],
}

/// Sends `ask` to the listener on `address`; `tls` is the fingerprint of the certificate it must show (`AB:CD:…`). `Err`
/// is a sentence that says what was seen.
pub fn send(address: &Address, tls: Option<&str>, ask: &Ask<'_>, timeout: Duration) -> Result<Answer, String> {
    exchange(address, tls, ask, timeout).map_err(|error| match error.kind() {
        ErrorKind::ConnectionRefused => "connection refused".into(),
        ErrorKind::NotFound => "there is no such socket".into(),
        ErrorKind::TimedOut | ErrorKind::WouldBlock => format!("no answer in {}", Span(timeout)),
        ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe => {
            "the connection was closed without an answer".into()
        }
        _ => error.to_string(),
    })
}

fn exchange(address: &Address, tls: Option<&str>, ask: &Ask<'_>, timeout: Duration) -> io::Result<Answer> {
    let deadline = Instant::now() + timeout;
    let socket = match address {
        Address::Tcp(address) => Socket::Tcp(TcpStream::connect_timeout(&probe::reachable(*address), timeout)?),
        Address::Unix(path) => Socket::Unix(sockets::connect(path, timeout)?),
    };
    let socket = Timed { socket, deadline };
    let request = written(ask);
    match tls {
        None => converse(socket, &request),
        Some(fingerprint) => {
            let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
            let session = ClientConnection::new(pinned(fingerprint)?, name).map_err(io::Error::other)?;
            converse(StreamOwned::new(session, socket), &request)
        }
    }
}

fn written(ask: &Ask<'_>) -> Vec<u8> {
    let mut head = format!(
        "{} {} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: pintle/{}\r\nConnection: close\r\nContent-Length: {}\r\n",
        ask.method,
        ask.path,
        env!("CARGO_PKG_VERSION"),
        ask.body.len()
    );
    for (name, value) in ask.headers {
        head += &format!("{name}: {value}\r\n");
    }
    [head.as_bytes(), b"\r\n", ask.body].concat()
}

fn converse(mut stream: impl Read + Write, request: &[u8]) -> io::Result<Answer> {
    stream.write_all(request)?;
    stream.flush()?;
    let mut answer = Vec::new();
    let read = (&mut stream).take(ANSWER_MAX).read_to_end(&mut answer);
    // Who ends a connection without TLS's farewell has said everything all the same.
    if let Err(error) = read
        && (answer.is_empty() || error.kind() != ErrorKind::UnexpectedEof)
    {
        return Err(error);
    }
    understood(&answer)
}

fn understood(answer: &[u8]) -> io::Result<Answer> {
    if answer.is_empty() {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut headers);
    let strange =
        |why: &dyn std::fmt::Display| io::Error::new(ErrorKind::InvalidData, format!("no HTTP answer: {why}"));
    match head.parse(answer).map_err(|error| strange(&error))? {
        httparse::Status::Complete(end) => {
            let status = head.code.ok_or_else(|| strange(&"it has no status"))?;
            Ok(Answer { status, body: answer.get(end..).unwrap_or_default().to_vec() })
        }
        httparse::Status::Partial => Err(strange(&"its head does not end")),
    }
}

/// A client that knows one certificate and no other.
fn pinned(fingerprint: &str) -> io::Result<Arc<ClientConfig>> {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned(fingerprint.to_owned())))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The fingerprint of the only certificate that is believed.
#[derive(Debug)]
struct Pinned(String);

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let shown = crate::config::fingerprint(shown);
        match shown == self.0 {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(rustls::Error::General(format!("it shows another certificate (SHA-256 {shown})"))),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &default_provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &default_provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A socket whose conversation must be over by a deadline.
#[derive(Debug)]
struct Timed {
    socket: Socket,
    deadline: Instant,
}

impl Timed {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left()?;
        match &mut self.socket {
            Socket::Tcp(stream) => stream.set_read_timeout(left).and_then(|()| stream.read(buffer)),
            Socket::Unix(stream) => stream.set_read_timeout(left).and_then(|()| stream.read(buffer)),
        }
    }
}

impl Write for Timed {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let left = self.left()?;
        match &mut self.socket {
            Socket::Tcp(stream) => stream.set_write_timeout(left).and_then(|()| stream.write(buffer)),
            Socket::Unix(stream) => stream.set_write_timeout(left).and_then(|()| stream.write(buffer)),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    const PING: Ask<'_> = Ask { method: "POST", path: "/webhook", headers: &[], body: b"{}" };

    /// What is seen of a listener that says `answer` to whoever comes, and goes.
    fn seen(answer: &'static [u8]) -> (Result<Answer, String>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap());
        let other = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = vec![0; 4096];
            let mut length = 0;
            while !request[..length].ends_with(b"\r\n\r\n{}") {
                length += stream.read(&mut request[length..]).unwrap();
            }
            stream.write_all(answer).unwrap();
            String::from_utf8(request[..length].to_vec()).unwrap()
        });
        let answer = send(&address, None, &PING, Duration::from_secs(10));
        (answer, other.join().unwrap())
    }

    #[test]
    fn an_answer_comes_back_whole_and_what_is_none_is_said() {
        let (answer, request) = seen(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!(answer, Ok(Answer { status: 200, body: b"hi".to_vec() }));
        assert!(request.starts_with("POST /webhook HTTP/1.1\r\nHost: localhost\r\n"), "{request}");
        assert!(seen(b"").0.unwrap_err().contains("closed without an answer"));
        assert!(seen(b"SSH-2.0-x\r\n").0.unwrap_err().contains("no HTTP answer"));
        assert!(seen(b"HTTP/1.1 200 OK\r\n").0.unwrap_err().contains("does not end"));
    }

    #[test]
    fn who_does_not_listen_or_does_not_answer_is_said_in_time() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::Tcp(listener.local_addr().unwrap());
        let began = Instant::now();
        let silent = send(&address, None, &PING, Duration::from_millis(100)).unwrap_err();
        assert!(silent.contains("no answer in 100ms") && began.elapsed() < Duration::from_secs(5), "{silent}");
        drop(listener);
        assert_eq!(send(&address, None, &PING, Duration::from_secs(5)).unwrap_err(), "connection refused");
        let nowhere = Address::Unix("/nonexistent/pintle.sock".into());
        assert_eq!(send(&nowhere, None, &PING, Duration::from_secs(5)).unwrap_err(), "there is no such socket");
    }
}
