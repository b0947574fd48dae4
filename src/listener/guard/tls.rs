//! TLS on the server's side, without waiting: bytes of the socket in, bytes of the request out, and back.
//!
//! rustls does the work; this file bounds it. A client can make a session hold a handshake of [`HANDSHAKE`] bytes, one
//! record it sent and [`OUTGOING`] bytes it did not take: nothing is read from the socket while it has not been asked
//! for, nothing encrypted while the last of it has not left. Line: no deadline (the guard's hold for a handshake too),
//! no descriptor, and where the certificate comes from the daemon knows.

use crate::delivery::signature::Key;
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, ServerConnection};
use serde::{Deserialize, Serialize};
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

/// What TLS is done with; goes from the daemon to the listener by its pipe and nowhere else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Material {
    /// The chain in PEM, our own certificate first.
    pub chain: String,
    /// Its private key in PEM.
    pub key: Key,
}

impl Material {
    /// What every session is made from. `Err`: a sentence; the daemon has checked the pair before it passed it on.
    pub fn config(&self) -> Result<Arc<ServerConfig>, String> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(self.chain.as_bytes()).collect();
        let chain = chain.map_err(|_| "the certificate is not PEM")?;
        let key = PrivateKeyDer::from_pem_slice(&self.key.0).map_err(|_| "the private key is not PEM")?;
        let config = || -> Result<ServerConfig, rustls::Error> {
            let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
                .with_protocol_versions(&[&TLS13, &TLS12])?
                .with_no_client_auth()
                .with_single_cert(chain, key)?;
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            // The client keeps its session itself, in a ticket: we keep nothing of those who are gone.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.ticketer = Ticketer::new()?;
            config.send_tls13_tickets = 1;
            Ok(config)
        };
        config().map(Arc::new).map_err(|error| format!("the certificate cannot be used: {error}"))
    }
}

/// A client's part of a handshake is 0.3 to 2 KiB (more with post-quantum shares, cookies and tickets); what does not
/// end within this is none.
const HANDSHAKE: usize = 16 << 10;
/// Encrypted and not taken yet: a record.
const OUTGOING: usize = 16 << 10;
/// Of a client that sends much, or many empty records, so many pieces are read at once: others wait.
const PIECES: usize = 8;

/// One client's session.
#[derive(Debug)]
pub(super) struct Session {
    connection: ServerConnection,
    /// Received while the two sides agreed, in bytes.
    handshake: usize,
    /// Decrypted and not read yet, in bytes.
    unread: usize,
    /// Encrypted and reported to nobody, because it did not leave at once: in bytes of the writer's.
    owed: usize,
    /// Nothing more will be written.
    closing: bool,
    /// The first bytes have been looked at.
    begun: bool,
}

impl Session {
    /// A session whose client has not said anything yet.
    pub(super) fn new(config: &Arc<ServerConfig>) -> Result<Session, rustls::Error> {
        let mut connection = ServerConnection::new(Arc::clone(config))?;
        connection.set_buffer_limit(Some(OUTGOING));
        Ok(Session { connection, handshake: 0, unread: 0, owed: 0, closing: false, begun: false })
    }

    /// Whether the two sides still agree on how to talk.
    pub(super) fn handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Whether bytes can be read that the socket does not tell of.
    pub(super) fn has_unread(&self) -> bool {
        self.unread > 0
    }

    /// Whether the socket must take something before anything else happens.
    pub(super) fn wants_write(&self) -> bool {
        self.connection.wants_write()
    }

    /// Whether all that was said has left, the farewell too.
    pub(super) fn has_taken_leave(&self) -> bool {
        self.closing && !self.connection.wants_write()
    }

    /// Carries the handshake on and sends what waits. An error ends the connection; its alert has been sent, as far as
    /// it could be.
    pub(super) fn progress(&mut self, socket: &mut (impl Read + Write)) -> io::Result<()> {
        self.flush(socket)?;
        while self.connection.is_handshaking() {
            if self.receive(socket)? == 0 {
                return match self.connection.is_handshaking() {
                    true => Err(io::Error::new(ErrorKind::UnexpectedEof, "the handshake ended early")),
                    false => Ok(()),
                };
            }
            if self.connection.wants_write() && !self.flush(socket)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Decrypted bytes; 0 when the client is done, with a farewell or without: HTTP knows by itself what is whole.
    pub(super) fn read(&mut self, socket: &mut (impl Read + Write), into: &mut [u8]) -> io::Result<usize> {
        for _ in 0..PIECES {
            if self.connection.is_handshaking() {
                break;
            }
            match self.connection.reader().read(into) {
                Ok(count) => {
                    self.unread = self.unread.saturating_sub(count);
                    return Ok(count);
                }
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            self.receive(socket)?;
            self.flush(socket)?;
        }
        Err(ErrorKind::WouldBlock.into())
    }

    /// Encrypts and sends. As with `SSL_write`, bytes that did not leave at once are reported by the next call, which
    /// must begin with the same ones: what is reported as written is with the kernel, and a connection may end on it.
    pub(super) fn write(&mut self, socket: &mut (impl Read + Write), bytes: &[u8]) -> io::Result<usize> {
        if !self.flush(socket)? || self.connection.is_handshaking() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let owed = std::mem::take(&mut self.owed);
        if owed > 0 {
            return Ok(owed.min(bytes.len()));
        }
        let piece = bytes.get(..OUTGOING).unwrap_or(bytes);
        let taken = self.connection.writer().write(piece)?;
        match self.flush(socket)? {
            true => Ok(taken),
            false => {
                self.owed = taken;
                Err(ErrorKind::WouldBlock.into())
            }
        }
    }

    /// Says farewell, as far as the socket takes it; the rest goes with [`Session::progress`].
    pub(super) fn close(&mut self, socket: &mut impl Write) {
        if !self.closing {
            self.closing = true;
            self.connection.send_close_notify();
        }
        let _ = self.flush(socket);
    }

    /// Takes one piece from the socket and says how much that was; what cannot be understood is answered with an alert.
    fn receive(&mut self, socket: &mut (impl Read + Write)) -> io::Result<usize> {
        let count = match self.begun {
            true => self.connection.read_tls(socket)?,
            false => self.begin(socket)?,
        };
        if self.connection.is_handshaking() {
            self.handshake += count;
            if self.handshake > HANDSHAKE {
                return Err(io::Error::new(ErrorKind::InvalidData, "the handshake is too long"));
            }
        }
        match self.connection.process_new_packets() {
            Ok(state) => {
                self.unread = state.plaintext_bytes_to_read();
                Ok(count)
            }
            Err(error) => {
                let _ = self.flush(socket);
                Err(io::Error::new(ErrorKind::InvalidData, error))
            }
        }
    }

    /// The client's first bytes: whoever takes us for plain HTTP is told so in plain HTTP.
    fn begin(&mut self, socket: &mut (impl Read + Write)) -> io::Result<usize> {
        let mut first = [0; 512];
        let count = socket.read(&mut first)?;
        let first = first.get(..count).unwrap_or_default();
        self.begun = true;
        if first.first().is_some_and(u8::is_ascii_uppercase) {
            // What is left unread would have the answer thrown away with the connection.
            let _ = socket.read(&mut [0; 16 << 10]);
            let _ = socket.write(NOT_PLAIN);
            // An alert would mean nothing to it.
            self.closing = true;
            return Err(io::Error::new(ErrorKind::InvalidData, "it speaks plain HTTP to a TLS port"));
        }
        let mut rest = first;
        while !rest.is_empty() {
            self.connection.read_tls(&mut rest)?;
        }
        Ok(count)
    }

    /// Sends what waits; `false`: the socket does not take all of it now.
    fn flush(&mut self, socket: &mut impl Write) -> io::Result<bool> {
        while self.connection.wants_write() {
            match self.connection.write_tls(socket) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

const NOT_PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: 64\r\n\
    Connection: close\r\n\r\n{\"status\":\"error\",\"message\":\"this port speaks HTTPS: use https\"}";

#[cfg(test)]
#[path = "tls/tests.rs"]
mod tests;
