//! Real servers on loopback: what each kind of answer, and of silence, is told as.

use super::*;
use crate::os::sockets;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

const SOON: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(20);
const WELL: Expect<'static> = Expect { status: 200, contains: None };

fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("pintle-probe-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// Answers every connection with `answer` and closes it.
fn answer_all<S: Read + Write>(connections: impl Iterator<Item = io::Result<S>>, answer: &[u8]) {
    for connection in connections {
        let mut connection = connection.unwrap();
        read_head(&mut connection).unwrap();
        // Whoever has seen enough hangs up.
        let _ = connection.write_all(answer);
    }
}

/// Asks a TCP and a Unix server that give `answer`; both must be seen the same way.
fn ask(answer: impl Into<Vec<u8>>, expect: Expect<'_>) -> Result<(), String> {
    let answer = answer.into();
    let dir = scratch(&format!("ask-{}", answer.len()));
    let (tcp, tcp_address) = sockets::private(&Address::Tcp("127.0.0.1:1".parse().unwrap()), &dir).unwrap();
    let (unix, unix_address) = sockets::private(&Address::Unix("/x".into()), &dir).unwrap();
    std::thread::spawn({
        let answer = answer.clone();
        move || answer_all(TcpListener::from(tcp).incoming(), &answer)
    });
    std::thread::spawn(move || answer_all(UnixListener::from(unix).incoming(), &answer));
    let over_tcp = http_at(&tcp_address, "/health?deep=1", expect, LONG);
    let over_unix = http_at(&unix_address, "/health?deep=1", expect, LONG);
    assert_eq!(over_tcp, over_unix);
    std::fs::remove_dir_all(&dir).unwrap();
    over_tcp
}

#[test]
fn answers_are_told_by_status_and_first_line() {
    let healthy = Expect { status: 200, contains: Some("\"healthy\"") };
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n{\"status\": \"healthy\"}";
    assert_eq!(ask(ok, WELL), Ok(()));
    assert_eq!(ask(ok, healthy), Ok(()));
    assert_eq!(ask("HTTP/1.1 204 No Content\r\n\r\n", Expect { status: 204, contains: None }), Ok(()));
    let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n\"heal\r\n4;x=y\r\nthy\"\r\n0\r\n\r\n";
    assert_eq!(ask(chunks, healthy), Ok(()));
    let until_closed = "HTTP/1.0 200 OK\r\nX: y\r\n\r\nit is \"healthy\"";
    assert_eq!(ask(until_closed, healthy), Ok(()));

    let broken = "HTTP/1.1 500 Oops\r\nContent-Length: 26\r\n\r\n\n  Traceback\x1b[31m (most)\nxyz";
    assert_eq!(ask(broken, WELL).unwrap_err(), "HTTP 500 instead of 200: Traceback[31m (most)");
    assert_eq!(ask("HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n", WELL).unwrap_err(), "HTTP 503 instead of 200");
    let sick = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsick";
    assert_eq!(ask(sick, healthy).unwrap_err(), r#"the answer does not contain "\"healthy\"" but begins "sick""#);
    let moved = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(ask(moved, WELL).unwrap_err(), "HTTP 302 instead of 200", "no redirect is followed");
}

#[test]
fn a_large_body_is_read_in_part() {
    let large = |marker: &str| {
        let body = format!("{}{marker}", "x".repeat(BODY_MAX as usize));
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    assert_eq!(ask(large(""), WELL), Ok(()));
    let late = ask(large("late"), Expect { contains: Some("late"), ..WELL });
    assert!(late.unwrap_err().contains("does not contain"));
}

#[test]
fn who_does_not_speak_http_is_told() {
    for nonsense in ["SSH-2.0-OpenSSH_9.2\r\n\r\n", "HTTP/1.1 abc\r\n\r\n"] {
        let dir = scratch("nonsense");
        let (unix, address) = sockets::private(&Address::Unix("/x".into()), &dir).unwrap();
        std::thread::spawn(move || answer_all(UnixListener::from(unix).incoming(), nonsense.as_bytes()));
        let told = http_at(&address, "/", WELL, LONG).unwrap_err();
        assert!(told.contains("no HTTP answer"), "{told}");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}

#[test]
fn silence_and_absence_are_told_within_the_timeout() {
    let dir = scratch("silence");
    for like in [Address::Tcp("127.0.0.1:1".parse().unwrap()), Address::Unix("/x".into())] {
        let (socket, address) = sockets::private(&like, &dir).unwrap();
        let begun = Instant::now();
        assert_eq!(http_at(&address, "/", WELL, SOON).unwrap_err(), "no answer in 300ms");
        assert!(begun.elapsed() < LONG);
        drop(socket);
        // A child that another test is just starting may hold a copy until it executes its program.
        let mut told = String::new();
        while begun.elapsed() < LONG && told != "connection refused" {
            told = http_at(&address, "/", WELL, SOON).unwrap_err();
        }
        assert_eq!(told, "connection refused");
    }
    assert_eq!(http_at(&Address::Unix(dir.join("none")), "/", WELL, LONG).unwrap_err(), "there is no such socket");
    assert!(
        http_at(&Address::Unix(dir.join("none")), "/a b\r\n", WELL, LONG).unwrap_err().contains("cannot be asked for")
    );

    // Nobody accepts and the backlog is full: connect itself waits.
    let path = dir.join("full");
    let full = UnixListener::bind(&path).unwrap();
    nix::sys::socket::listen(&full, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let _waiting = UnixStream::connect(&path).unwrap();
    assert_eq!(http_at(&Address::Unix(path), "/", WELL, SOON).unwrap_err(), "no answer in 300ms");

    // One byte at a time does not win more time.
    let path = dir.join("drip");
    let drip = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        let (mut peer, _) = drip.accept().unwrap();
        while peer.write_all(b"H").is_ok() {
            std::thread::yield_now();
        }
    });
    assert!(http_at(&Address::Unix(path), "/", WELL, LONG).unwrap_err().contains("its head does not end"));
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_connection_is_enough_for_tcp() {
    let (socket, address) = sockets::private(&Address::Tcp("127.0.0.1:1".parse().unwrap()), Path::new("/")).unwrap();
    let Address::Tcp(bound) = address else { panic!("{address}") };
    assert_eq!(tcp(&bound.to_string(), LONG), Ok(()));
    assert_eq!(tcp(&format!("0.0.0.0:{}", bound.port()), LONG), Ok(()));
    assert_eq!(tcp(&format!("localhost:{}", bound.port()), LONG), Ok(()));
    drop(socket);
    assert_eq!(tcp(&bound.to_string(), LONG).unwrap_err(), "connection refused");
    assert!(tcp("no-port", LONG).unwrap_err().contains("no-port"));
}
