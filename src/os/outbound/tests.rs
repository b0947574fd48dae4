//! Against real servers on loopback, plain and with TLS.

use super::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Arc;

fn asked(url: &str, ca: Option<&Path>) -> Result<Answer, String> {
    let headers = [("Content-Type", "text/plain".to_owned())];
    call(Call { method: "POST", url, headers: &headers, body: b"hello", ca }).map_err(|silence| silence.why)
}

#[test]
fn what_can_never_be_asked_is_told_from_what_may_be_answered_later() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let good = format!("http://{nobody}/s3cr3t");
    let table = [
        (good.as_str(), "Bearer tk_s3cr3t", false),
        (&good, "Bearer tk\ns3cr3t", true),
        (&good, "Bearer tk\r\nX-Evil: s3cr3t", true),
        ("http://[s3cr3t/", "Bearer tk", true),
        ("http://host name/s3cr3t", "Bearer tk", true),
    ];
    for (url, value, unusable) in table {
        let headers = [("Authorization", value.to_owned())];
        let silence = call(Call { method: "POST", url, headers: &headers, body: b"hello", ca: None }).unwrap_err();
        assert_eq!(silence.unusable, unusable, "{url} {value:?}: {silence:?}");
        assert!(!silence.why.contains("s3cr3t"), "{silence:?}");
    }
}

/// Answers one connection: reads a request of five bytes of body, says `answer`.
fn serve(mut stream: impl io::Read + Write, answer: &str) -> String {
    let mut head = String::new();
    let mut reader = BufReader::new(&mut stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line == "\r\n" {
            break;
        }
        head += &line;
    }
    let mut body = [0; 5];
    let _ = reader.read_exact(&mut body);
    let _ = stream.write_all(answer.as_bytes());
    let _ = stream.flush();
    head + &String::from_utf8_lossy(&body)
}

fn plain(answer: &'static str) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook/s3cr3t", listener.local_addr().unwrap());
    (url, std::thread::spawn(move || serve(listener.accept().unwrap().0, answer)))
}

/// A TLS server for `localhost` with this chain; it serves `times` connections.
fn encrypted(certificate: rcgen::Certificate, key: &KeyPair, times: usize) -> (String, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}/hook/s3cr3t", listener.local_addr().unwrap().port());
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = Arc::new(config.with_single_cert(vec![certificate.der().clone()], key).unwrap());
    let serving = std::thread::spawn(move || {
        for _ in 0..times {
            let mut stream = listener.accept().unwrap().0;
            let mut tls = rustls::ServerConnection::new(config.clone()).unwrap();
            serve(rustls::Stream::new(&mut tls, &mut stream), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    (url, serving)
}

#[test]
fn an_answer_comes_back_as_it_is_and_a_redirect_is_not_followed() {
    let (url, server) = plain(
        "HTTP/1.1 429 Too Many\r\nRetry-After: 7\r\nX-RateLimit-Remaining: 0\r\nX-RateLimit-Reset: 1761336090\r\n\
         Content-Length: 4\r\n\r\nslow",
    );
    let answer = asked(&url, None).unwrap();
    assert_eq!((answer.status, answer.retry_after.as_deref(), &*answer.body), (429, Some("7"), &b"slow"[..]));
    assert_eq!((answer.quota_left.as_deref(), answer.quota_reset.as_deref()), (Some("0"), Some("1761336090")));
    let request = server.join().unwrap();
    assert!(request.starts_with("POST /hook/s3cr3t HTTP/1.1\r\n") && request.ends_with("hello"), "{request}");
    assert!(request.to_lowercase().contains("content-length: 5\r\n"), "{request}");
    let (url, server) = plain("HTTP/1.1 307 Over there\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(asked(&url, None).unwrap().status, 307);
    server.join().unwrap();
}

#[test]
fn what_fails_is_told_without_the_address() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (closing, server) = plain("");
    let (other, talk) = plain("SSH-2.0-OpenSSH\r\n\r\n");
    let table = [
        (format!("http://{nobody}/s3cr3t"), "connection refused"),
        (closing, "the connection was closed without an answer"),
        (other, "it does not speak HTTP"),
        ("http://no-such-host.invalid/s3cr3t".into(), "the host's name is not known"),
        ("http://[s3cr3t/".into(), "its address or a header cannot be used"),
    ];
    for (url, expected) in table {
        let why = asked(&url, None).unwrap_err();
        assert!(why.starts_with(expected), "{url}: {why}");
        assert!(!why.contains("s3cr3t"), "{why}");
    }
    server.join().unwrap();
    talk.join().unwrap();
}

#[test]
fn a_certificate_of_ones_own_ca_is_taken_where_that_is_named_and_a_stranger_never() {
    let dir = std::env::temp_dir().join(format!("pintle-outbound-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let file = dir.join("ca.pem");
    fs::write(&file, ca.pem()).unwrap();
    let names = || CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let key = KeyPair::generate().unwrap();
    let (url, server) = encrypted(names().signed_by(&key, &ca).unwrap(), &key, 2);
    assert_eq!(asked(&url, Some(&file)).unwrap().status, 200);
    let why = asked(&url, None).unwrap_err();
    assert!(why.starts_with("its certificate is not trusted"), "the system does not know that CA: {why}");
    server.join().unwrap();

    let (url, server) = encrypted(names().self_signed(&key).unwrap(), &key, 1);
    let why = asked(&url, Some(&file)).unwrap_err();
    assert!(why.starts_with("its certificate is not trusted") && why.contains("ca = "), "{why}");
    assert!(!why.contains("s3cr3t"));
    server.join().unwrap();

    let why = asked(&url, Some(&dir.join("gone.pem"))).unwrap_err();
    assert!(why.contains("gone.pem"), "{why}");
    fs::remove_dir_all(&dir).unwrap();
}
