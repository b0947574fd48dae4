use super::*;
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};
use std::collections::VecDeque;

/// The network between two sides that never wait; it holds `room` bytes in the server's direction to the client.
struct Network {
    to_server: VecDeque<u8>,
    to_client: VecDeque<u8>,
    room: usize,
    /// The client sends nothing more.
    ended: bool,
}

impl Network {
    fn new() -> Network {
        Network { to_server: VecDeque::new(), to_client: VecDeque::new(), room: usize::MAX, ended: false }
    }
}

/// The server's end.
impl Read for Network {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.to_server.read(into) {
            Ok(0) if !self.ended => Err(ErrorKind::WouldBlock.into()),
            read => read,
        }
    }
}

impl Write for Network {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.room.saturating_sub(self.to_client.len()));
        self.to_client.extend(&bytes[..taken]);
        if taken == 0 { Err(ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn material() -> Material {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let chain = params.self_signed(&key).unwrap().pem();
    Material { chain, key: Key(key.serialize_pem().into_bytes()) }
}

struct Pair {
    server: Session,
    client: ClientConnection,
    network: Network,
}

fn pair_with(versions: &[&'static SupportedProtocolVersion], alpn: &[&[u8]]) -> Pair {
    let material = material();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(material.chain.as_bytes()).unwrap()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let client = client.with_protocol_versions(versions).unwrap();
    let mut client = client.with_root_certificates(roots).with_no_client_auth();
    client.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let client = ClientConnection::new(Arc::new(client), "localhost".try_into().unwrap()).unwrap();
    Pair { server: Session::new(&material.config().unwrap()).unwrap(), client, network: Network::new() }
}

fn pair() -> Pair {
    pair_with(&[&TLS13, &TLS12], &[b"http/1.1"])
}

impl Pair {
    /// The client says what it has to say and hears what was said to it.
    fn client_turn(&mut self) -> Result<(), rustls::Error> {
        while self.client.wants_write() {
            self.client.write_tls(&mut self.network.to_server).unwrap();
        }
        self.client_hears()?;
        while self.client.wants_write() {
            self.client.write_tls(&mut self.network.to_server).unwrap();
        }
        Ok(())
    }

    fn client_hears(&mut self) -> Result<(), rustls::Error> {
        while !self.network.to_client.is_empty() {
            self.client.read_tls(&mut self.network.to_client).unwrap();
            self.client.process_new_packets()?;
        }
        Ok(())
    }

    fn server_turn(&mut self) -> io::Result<()> {
        match self.server.progress(&mut self.network) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            done => done,
        }
    }

    fn agree(mut self) -> Pair {
        for _ in 0..10 {
            self.client_turn().unwrap();
            self.server_turn().unwrap();
        }
        assert!(!self.server.handshaking() && !self.client.is_handshaking());
        self
    }

    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut buffer = [0; 32 << 10];
        let count = self.server.read(&mut self.network, &mut buffer)?;
        Ok(buffer[..count].to_vec())
    }

    /// All that the client hears.
    fn heard(&mut self) -> Vec<u8> {
        self.client_turn().unwrap();
        let mut heard = vec![0; 1 << 20];
        let count = self.client.reader().read(&mut heard).unwrap_or(0);
        heard.truncate(count);
        heard
    }
}

fn kind(result: io::Result<impl std::fmt::Debug>) -> ErrorKind {
    result.expect_err("this cannot be done now").kind()
}

#[test]
fn both_versions_agree_and_talk() {
    for version in [&TLS13, &TLS12] {
        let mut pair = pair_with(&[version], &[b"h2", b"http/1.1"]).agree();
        assert_eq!(pair.client.alpn_protocol(), Some(&b"http/1.1"[..]));
        assert_eq!(kind(pair.read()), ErrorKind::WouldBlock);
        pair.client.writer().write_all(b"GET / HTTP/1.1\r\n").unwrap();
        pair.client_turn().unwrap();
        assert_eq!(pair.read().unwrap(), b"GET / HTTP/1.1\r\n");
        assert_eq!(pair.server.write(&mut pair.network, b"hello").unwrap(), 5);
        assert_eq!(pair.heard(), b"hello");
        pair.server.close(&mut pair.network);
        assert!(pair.server.has_taken_leave());
        pair.client_turn().unwrap();
        let mut rest = [0; 8];
        assert_eq!(pair.client.reader().read(&mut rest).unwrap(), 0, "a farewell, not a broken line");
    }
}

#[test]
fn a_client_that_comes_byte_by_byte_is_understood() {
    let mut pair = pair();
    let mut wire = VecDeque::new();
    for _ in 0..8 {
        while pair.client.wants_write() {
            pair.client.write_tls(&mut wire).unwrap();
        }
        for byte in std::mem::take(&mut wire) {
            pair.network.to_server.push_back(byte);
            pair.server_turn().unwrap();
        }
        pair.client_hears().unwrap();
    }
    assert!(!pair.server.handshaking());
    pair.client.writer().write_all(b"slow").unwrap();
    pair.client.write_tls(&mut wire).unwrap();
    let (last, first) = (wire.pop_back().unwrap(), wire);
    for byte in first {
        pair.network.to_server.push_back(byte);
        assert_eq!(kind(pair.read()), ErrorKind::WouldBlock);
    }
    pair.network.to_server.push_back(last);
    assert_eq!(pair.read().unwrap(), b"slow");
}

#[test]
fn what_comes_with_the_end_of_the_handshake_is_not_forgotten() {
    let mut pair = pair();
    pair.client_turn().unwrap();
    pair.server_turn().unwrap();
    while !pair.network.to_client.is_empty() {
        pair.client.read_tls(&mut pair.network.to_client).unwrap();
    }
    pair.client.process_new_packets().unwrap();
    pair.client.writer().write_all(b"at once").unwrap();
    pair.client_turn().unwrap();
    pair.server_turn().unwrap();
    assert!(pair.server.has_unread(), "the socket is empty: nobody else would tell");
    assert_eq!(pair.read().unwrap(), b"at once");
    assert!(!pair.server.has_unread());
}

#[test]
fn what_is_read_in_parts_stays_there() {
    let mut pair = pair().agree();
    pair.client.writer().write_all(b"hello").unwrap();
    pair.client_turn().unwrap();
    let mut two = [0; 2];
    for (expected, unread) in [("he", true), ("ll", true), ("o", false)] {
        let count = pair.server.read(&mut pair.network, &mut two).unwrap();
        assert_eq!((&two[..count], pair.server.has_unread()), (expected.as_bytes(), unread));
    }
}

#[test]
fn a_handshake_that_breaks_off_is_an_end_and_one_that_waits_is_none() {
    let mut whole = VecDeque::new();
    pair().client.write_tls(&mut whole).unwrap();
    for length in [0, 1, 4, 5, 6, 40, whole.len() - 1] {
        let mut pair = pair();
        pair.network.to_server.extend(whole.iter().take(length));
        pair.server_turn().unwrap();
        assert!(pair.server.handshaking(), "{length}");
        pair.network.ended = true;
        assert_eq!(kind(pair.server_turn()), ErrorKind::UnexpectedEof, "{length}");
    }
}

#[test]
fn what_is_no_handshake_is_answered_once_and_ended() {
    for plain in ["GET / HTTP/1.1\r\nHost: x\r\n\r\n", "POST /webhook HTTP/1.1\r\n", "G"] {
        let mut pair = pair();
        pair.network.to_server.extend(plain.bytes());
        assert_eq!(kind(pair.server_turn()), ErrorKind::InvalidData);
        pair.server.close(&mut pair.network);
        let answer = String::from_utf8(pair.network.to_client.into()).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 ") && body.contains("HTTPS"), "{answer}");
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{answer}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap()["status"], "error");
    }
    let over = [&[22, 3, 1, 0x40, 0][..], &[0xff; 40]].concat();
    for garbage in [&[0_u8; 64][..], &[0x80, 0x2e, 1, 3, 1], &[22, 9, 9, 0, 1, 1], &over, b"\x16\x03\x01\x00\x05hello"]
    {
        let mut pair = pair();
        pair.network.to_server.extend(garbage);
        pair.network.ended = true;
        assert!(pair.server_turn().is_err(), "{garbage:?}");
        assert!(pair.network.to_client.len() < 64, "an alert at most");
    }
}

#[test]
fn a_client_without_a_common_protocol_is_turned_away() {
    let mut pair = pair_with(&[&TLS13], &[b"h2"]);
    pair.client_turn().unwrap();
    assert_eq!(kind(pair.server_turn()), ErrorKind::InvalidData);
    assert!(matches!(pair.client_turn(), Err(rustls::Error::AlertReceived(_))), "it is told why");
}

#[test]
fn an_endless_handshake_is_cut_short() {
    let mut pair = pair();
    // A client hello that announces 64 KiB, in records of 1 KiB.
    let mut record = vec![22, 3, 1, 4, 0];
    let mut hello = vec![1, 0, 0xff, 0xff];
    hello.resize(1024, 0);
    record.extend(&hello);
    pair.network.to_server.extend(&record);
    for sent in 0..64 {
        if pair.server_turn().is_err() {
            assert!(sent <= HANDSHAKE / 1024 + 1, "{sent} KiB were taken");
            return;
        }
        pair.network.to_server.extend([&[22, 3, 1, 4, 0][..], &[0; 1024]].concat());
    }
    panic!("64 KiB of a handshake were taken");
}

#[test]
fn a_large_answer_waits_for_a_slow_reader() {
    let mut pair = pair().agree();
    pair.heard();
    pair.network.room = 1000;
    let answer: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    let (mut written, mut heard, mut most) = (0, vec![], 0);
    for _ in 0..10_000 {
        match pair.server.write(&mut pair.network, &answer[written..]) {
            Ok(count) => written += count,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                assert!(pair.server.wants_write(), "somebody must wake us");
                heard.extend(pair.heard());
            }
        }
        most = most.max(heard.len().abs_diff(written));
        if written == answer.len() {
            break;
        }
    }
    assert_eq!(written, answer.len());
    assert!(!pair.server.wants_write(), "what was reported has left");
    pair.server.close(&mut pair.network);
    for _ in 0..10 {
        heard.extend(pair.heard());
        pair.server_turn().unwrap();
    }
    assert!(heard == answer, "{} bytes of {}", heard.len(), answer.len());
    assert!(most <= 2 * OUTGOING, "{most} bytes were held");
}

#[test]
fn an_end_without_a_farewell_is_an_end() {
    for farewell in [true, false] {
        let mut pair = pair().agree();
        pair.client.writer().write_all(b"last words").unwrap();
        if farewell {
            pair.client.send_close_notify();
        }
        pair.client_turn().unwrap();
        pair.network.ended = !farewell;
        assert_eq!(pair.read().unwrap(), b"last words");
        assert_eq!(pair.read().unwrap(), b"", "farewell: {farewell}");
    }
}

#[test]
fn records_that_do_not_fit_their_keys_end_the_connection() {
    let mut pair = pair().agree();
    pair.client.writer().write_all(b"hello").unwrap();
    pair.client_turn().unwrap();
    let last = pair.network.to_server.len() - 1;
    pair.network.to_server[last] ^= 1;
    assert_eq!(kind(pair.read()), ErrorKind::InvalidData);
}

#[test]
fn a_key_is_never_shown_and_a_broken_one_is_explained() {
    let material = material();
    assert!(!format!("{material:?}").contains("PRIVATE"));
    let broken = Material { key: Key(b"x".to_vec()), ..material.clone() };
    assert!(broken.config().unwrap_err().contains("private key"));
    let other = Material { key: super::tests::material().key, ..material };
    assert!(other.config().unwrap_err().contains("cannot be used"));
}
