//! Real servers on loopback: what each kind of answer, and of silence, is told as.

use super::*;
use crate::os::sockets;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

const SOON: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(20);

fn well() -> Page {
    Page::default()
}

fn containing(text: &str) -> Page {
    Page { contains: Some(text.into()), ..Page::default() }
}

/// What was said.
fn said<T: std::fmt::Debug>(result: Result<T, Failure>) -> String {
    result.unwrap_err().said
}

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
fn ask(answer: impl Into<Vec<u8>>, page: &Page) -> Result<(), Failure> {
    let answer = answer.into();
    let dir = scratch(&format!("ask-{}", answer.len()));
    let (tcp, tcp_address) = sockets::private(&Address::Tcp("127.0.0.1:1".parse().unwrap()), &dir).unwrap();
    let (unix, unix_address) = sockets::private(&Address::Unix("/x".into()), &dir).unwrap();
    std::thread::spawn({
        let answer = answer.clone();
        move || answer_all(TcpListener::from(tcp).incoming(), &answer)
    });
    std::thread::spawn(move || answer_all(UnixListener::from(unix).incoming(), &answer));
    let over_tcp = http_at(&tcp_address, "/health?deep=1", page, LONG);
    let over_unix = http_at(&unix_address, "/health?deep=1", page, LONG);
    assert_eq!(over_tcp, over_unix);
    std::fs::remove_dir_all(&dir).unwrap();
    over_tcp
}

#[test]
fn answers_are_told_by_status_and_first_line() {
    let healthy = &containing("\"healthy\"");
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n{\"status\": \"healthy\"}";
    assert_eq!(ask(ok, &well()), Ok(()));
    assert_eq!(ask(ok, healthy), Ok(()));
    assert_eq!(ask("HTTP/1.1 204 No Content\r\n\r\n", &Page { expect: vec![200, 204], ..well() }), Ok(()));
    let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n\"heal\r\n4;x=y\r\nthy\"\r\n0\r\n\r\n";
    assert_eq!(ask(chunks, healthy), Ok(()));
    let until_closed = "HTTP/1.0 200 OK\r\nX: y\r\n\r\nit is \"healthy\"";
    assert_eq!(ask(until_closed, healthy), Ok(()));

    let broken = "HTTP/1.1 500 Oops\r\nContent-Length: 26\r\n\r\n\n  Traceback\x1b[31m (most)\nxyz";
    assert_eq!(said(ask(broken, &well())), "HTTP 500 instead of 200: Traceback[31m (most)");
    assert_eq!(said(ask("HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n", &well())), "HTTP 503 instead of 200");
    let sick = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nsick";
    assert_eq!(said(ask(sick, healthy)), r#"the answer does not contain "\"healthy\"" but begins "sick""#);
    let moved = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(said(ask(moved, &well())), "HTTP 302 instead of 200", "no redirect is followed");
}

#[test]
fn a_large_body_is_read_in_part() {
    let large = |marker: &str| {
        let body = format!("{}{marker}", "x".repeat(BODY_MAX as usize));
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    assert_eq!(ask(large(""), &well()), Ok(()));
    assert!(said(ask(large("late"), &containing("late"))).contains("does not contain"));
}

#[test]
fn a_body_that_breaks_off_is_of_interest_only_where_it_was_asked_for() {
    let half = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n\"healthy\"";
    assert_eq!(ask(half, &well()), Ok(()));
    assert_eq!(said(ask(half, &containing("healthy"))), "its body breaks off");
    assert_eq!(said(ask(half, &Page { latency: Some(LONG), ..well() })), "its body breaks off");
    let sick = "HTTP/1.1 500 X\r\nContent-Length: 100\r\n\r\nno disk";
    assert_eq!(said(ask(sick, &well())), "HTTP 500 instead of 200: no disk");
}

#[test]
fn a_body_that_does_not_end_is_not_waited_for_unless_it_was_asked_for() {
    /// Answers one, and keeps the connection until whoever asked hangs up.
    fn answer_half(mut connection: impl Read + Write) {
        read_head(&mut connection).unwrap();
        connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhealthy").unwrap();
        let _ = connection.read(&mut [0]);
    }
    let dir = scratch("hangs");
    let (tcp, tcp_address) = sockets::private(&Address::Tcp("127.0.0.1:1".parse().unwrap()), &dir).unwrap();
    let (unix, unix_address) = sockets::private(&Address::Unix("/x".into()), &dir).unwrap();
    std::thread::spawn(move || TcpListener::from(tcp).incoming().for_each(|one| answer_half(one.unwrap())));
    std::thread::spawn(move || UnixListener::from(unix).incoming().for_each(|one| answer_half(one.unwrap())));
    for address in [tcp_address, unix_address] {
        let begun = Instant::now();
        assert_eq!(http_at(&address, "/", &well(), LONG), Ok(()), "{address}");
        assert!(begun.elapsed() < LONG, "{address}");
        assert_eq!(said(http_at(&address, "/", &containing("healthy"), SOON)), "its body does not end in 300ms");
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn who_does_not_speak_http_is_told() {
    for nonsense in ["SSH-2.0-OpenSSH_9.2\r\n\r\n", "HTTP/1.1 abc\r\n\r\n"] {
        let dir = scratch("nonsense");
        let (unix, address) = sockets::private(&Address::Unix("/x".into()), &dir).unwrap();
        std::thread::spawn(move || answer_all(UnixListener::from(unix).incoming(), nonsense.as_bytes()));
        let told = said(http_at(&address, "/", &well(), LONG));
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
        assert_eq!(said(http_at(&address, "/", &well(), SOON)), "no answer in 300ms");
        assert!(begun.elapsed() < LONG);
        drop(socket);
        // A child that another test is just starting may hold a copy until it executes its program.
        let mut told = String::new();
        while begun.elapsed() < LONG && told != "connection refused" {
            told = said(http_at(&address, "/", &well(), SOON));
        }
        assert_eq!(told, "connection refused");
    }
    assert_eq!(said(http_at(&Address::Unix(dir.join("none")), "/", &well(), LONG)), "there is no such socket");
    assert!(said(http_at(&Address::Unix(dir.join("none")), "/a b\r\n", &well(), LONG)).contains("cannot be asked for"));

    // Nobody accepts and the backlog is full: connect itself waits.
    let path = dir.join("full");
    let full = UnixListener::bind(&path).unwrap();
    nix::sys::socket::listen(&full, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let _waiting = UnixStream::connect(&path).unwrap();
    assert_eq!(said(http_at(&Address::Unix(path), "/", &well(), SOON)), "no answer in 300ms");

    // One byte at a time does not win more time.
    let path = dir.join("drip");
    let drip = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        let (mut peer, _) = drip.accept().unwrap();
        while peer.write_all(b"H").is_ok() {
            std::thread::yield_now();
        }
    });
    assert!(said(http_at(&Address::Unix(path), "/", &well(), LONG)).contains("its head does not end"));
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

#[test]
fn headers_latency_and_what_was_answered_are_told() {
    let json = "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 2\r\n\r\n{}";
    let with = |name: &str, text: &str| Page { headers: [(name.to_owned(), text.to_owned())].into(), ..well() };
    assert_eq!(ask(json, &with("content-type", "application/json")), Ok(()));
    assert_eq!(said(ask(json, &with("x-version", "2"))), "the answer has no header x-version");
    let told = said(ask(json, &with("content-type", "text/html")));
    assert_eq!(
        told,
        "its header content-type is \"application/json; charset=utf-8\", which does not contain \"text/html\""
    );
    let hurried = Page { latency: Some(Duration::from_nanos(1)), ..well() };
    let dir = scratch("hurried");
    let (unix, address) = sockets::private(&Address::Unix("/x".into()), &dir).unwrap();
    std::thread::spawn(move || answer_all(UnixListener::from(unix).incoming(), json.as_bytes()));
    assert!(said(http_at(&address, "/", &hurried, LONG)).starts_with("the answer took "));
    std::fs::remove_dir_all(&dir).unwrap();

    let long = format!("HTTP/1.1 500 Oops\r\n\r\nTraceback\x07:\n{}", "ä".repeat(8000));
    let failure = ask(long, &well()).unwrap_err();
    let output = failure.output.unwrap();
    assert!(output.starts_with("Traceback:\nää") && (4000..=4096).contains(&output.len()), "{}", output.len());
    assert_eq!(failure.said.chars().count(), "HTTP 500 instead of 200: Traceback:".chars().count());
}

#[test]
fn as_many_redirects_are_followed_as_are_allowed() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(server.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in server.incoming() {
            let mut connection = connection.unwrap();
            let head = String::from_utf8_lossy(&read_head(&mut connection).unwrap()).into_owned();
            let left: u32 = head.split(['/', ' ']).nth(2).unwrap().parse().unwrap();
            let answer = match left {
                0 => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok".to_string(),
                left => format!(
                    "HTTP/1.1 302 F\r\nLocation: /{}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                    left - 1
                ),
            };
            let _ = connection.write_all(answer.as_bytes());
        }
    });
    let page = |redirects| Page { redirects, ..well() };
    assert_eq!(http_at(&address, "/2", &page(2), LONG), Ok(()));
    assert_eq!(said(http_at(&address, "/3", &page(2), LONG)), "it redirects more often than the probe follows");
    assert_eq!(said(http_at(&address, "/1", &page(0), LONG)), "HTTP 302 instead of 200");
}
