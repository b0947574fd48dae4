use super::*;

/// Scans and reads what stands at the beginning of `bytes`.
fn read(bytes: &[u8]) -> Result<Option<Head>, Refused> {
    match Scan::default().end(bytes)? {
        Some(end) => Head::read(&bytes[..end]).map(Some),
        None => Ok(None),
    }
}

fn status(bytes: &[u8]) -> u16 {
    match read(bytes) {
        Ok(Some(_)) => 200,
        Ok(None) => 100,
        Err(refused) => refused.status,
    }
}

#[test]
fn what_is_ambiguous_is_refused() {
    let lines = |lines: &str| format!("POST /webhook HTTP/1.1\r\nHost: x\r\n{lines}\r\n");
    let cases = [
        (200, lines("")),
        (200, lines("Content-Length: 5\r\n")),
        (200, lines("Content-Length: 0000005\r\n")),
        (400, lines("Content-Length: -1\r\n")),
        (400, lines("Content-Length: +5\r\n")),
        (400, lines("Content-Length: 5 5\r\n")),
        (400, lines("Content-Length: 5, 5\r\n")),
        (400, lines("Content-Length: 0x5\r\n")),
        (400, lines("Content-Length:\r\n")),
        (400, lines("Content-Length: 99999999999999999999999\r\n")),
        (400, lines("Content-Length: 5\r\nContent-Length: 5\r\n")),
        (400, lines("Content-Length: 5\r\nContent-Length: 6\r\n")),
        (400, lines("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n")),
        (200, lines("Transfer-Encoding: chunked\r\n")),
        (200, lines("Transfer-Encoding: Chunked\r\n")),
        (400, lines("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")),
        (400, lines("Transfer-Encoding: gzip, chunked\r\n")),
        (400, lines("Transfer-Encoding: identity\r\n")),
        (400, lines("Transfer-Encoding: xchunked\r\n")),
        (400, lines("Transfer-Encoding: \u{b}chunked\r\n")),
        (400, lines("Transfer-Encoding : chunked\r\n")),
        (400, lines("Content-Length : 5\r\n")),
        (400, lines(" Folded: 1\r\n")),
        (400, lines("A: 1\r\n folded\r\n")),
        (400, lines("A: 1\r\n\tfolded\r\n")),
        (400, lines("A: 1\n")),
        (400, lines("A: 1\r")),
        (400, lines("A: 1\0\r\n")),
        (400, lines("A: 1\u{1}\r\n")),
        (400, lines("A: 1\u{7f}\r\n")),
        (400, lines("A\u{e4}: 1\r\n")),
        (200, lines("A: \u{e4}\r\n")),
        (400, lines(": 1\r\n")),
        (400, lines("A\r\n")),
        (400, lines("Host: y\r\n")),
        (200, lines("Expect: 100-continue\r\n")),
        (417, lines("Expect: 200-ok\r\n")),
        (400, lines("Expect: 100-continue\r\nExpect: 100-continue\r\n")),
        (431, lines(&"A: 1\r\n".repeat(64))),
        (200, lines(&"A: 1\r\n".repeat(63))),
    ];
    for (expected, text) in cases {
        assert_eq!(status(text.as_bytes()), expected, "{text:?}");
    }
    assert_eq!(status(b"GET / HTTP/1.1\r\nHost: x\r\nA: \xff\r\n\r\n"), 400, "no text");
}

#[test]
fn request_lines() {
    let cases = [
        (200, "GET / HTTP/1.1"),
        (200, "GET /a?b=c%20d HTTP/1.1"),
        (200, "GET / HTTP/1.0"),
        (200, "GET http://x/a HTTP/1.1"),
        (200, "GET HTTP://X?q HTTP/1.1"),
        (400, "GET http://y/a HTTP/1.1"),
        (400, "GET http://user@x/a HTTP/1.1"),
        (400, "GET ftp://x/a HTTP/1.1"),
        (400, "GET nowhere HTTP/1.1"),
        (400, "OPTIONS * HTTP/1.1"),
        (501, "CONNECT x:443 HTTP/1.1"),
        (501, "BREW / HTTP/1.1"),
        (501, "get / HTTP/1.1"),
        (501, "BREW / HTTP/1.1"),
        (400, "GET /a#b HTTP/1.1"),
        (400, "GET /\u{e4} HTTP/1.1"),
        (400, "GET  / HTTP/1.1"),
        (400, "GET /  HTTP/1.1"),
        (400, "GET / HTTP/1.1 "),
        (400, "GET /a b HTTP/1.1"),
        (400, "GET\t/ HTTP/1.1"),
        (400, "GET /"),
        (400, "G@T / HTTP/1.1"),
        (505, "GET / HTTP/2.0"),
        (505, "PRI * HTTP/2.0"),
        (505, "GET / HTTP/1.2"),
    ];
    for (expected, line) in cases {
        assert_eq!(status(format!("{line}\r\nHost: x\r\n\r\n").as_bytes()), expected, "{line:?}");
    }
    assert_eq!(status(b"GET / HTTP/1.1\r\n\r\n"), 400, "no host");
    assert_eq!(status(b"GET / HTTP/1.0\r\n\r\n"), 200, "HTTP/1.0 has none");
    for host in ["", "a b", "a/b", "a,b", "user@a"] {
        assert_eq!(status(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()), 400, "{host:?}");
    }
    for host in ["example.org:9000", "[::1]:9000", "a_b"] {
        assert_eq!(status(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()), 200, "{host:?}");
    }
}

#[test]
fn a_head_says_how_to_go_on() {
    let head = |text: &str| read(format!("{text}\r\n\r\n").as_bytes()).unwrap().unwrap();
    let keeps = |text: &str| head(text).keep_alive;
    assert!(keeps("GET / HTTP/1.1\r\nHost: x"));
    assert!(keeps("GET / HTTP/1.0\r\nConnection: Keep-Alive"));
    assert!(keeps("GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade, foo"));
    assert!(!keeps("GET / HTTP/1.0"));
    assert!(!keeps("GET / HTTP/1.1\r\nHost: x\r\nConnection: foo, Close"));
    assert!(!keeps("GET / HTTP/1.0\r\nConnection: keep-alive\r\nConnection: close"));

    let chunked = head("POST /a?b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\nX-A: 1");
    assert_eq!((chunked.framing, chunked.path(), chunked.method), (Framing::Chunked, "/a", "POST"));
    let names: Vec<&str> = chunked.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["Host", "X-A"], "what is between this client and us stays here");
    let sly = head("GET / HTTP/1.1\r\nHost: x\r\nConnection: X-Forwarded-For\r\nX-Forwarded-For: 1.2.3.4");
    assert_eq!(sly.header("x-forwarded-for"), Some("1.2.3.4"));
    assert!(head("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nExpect: 100-Continue").expects_continue);
    assert!(!head("POST / HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue").expects_continue);
    assert_eq!(status(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400, "no chunks in HTTP/1.0");
}

#[test]
fn a_head_has_a_length() {
    let of_length = |length: usize| {
        let start = "GET / HTTP/1.1\r\nHost: x\r\nA: ";
        format!("{start}{}\r\n\r\n", "a".repeat(length - start.len() - 4))
    };
    assert_eq!(status(of_length(HEAD_BYTES).as_bytes()), 200);
    assert_eq!(status(of_length(HEAD_BYTES + 1).as_bytes()), 431);
    assert_eq!(status("a".repeat(HEAD_BYTES - 1).as_bytes()), 100);
    assert_eq!(status("a".repeat(HEAD_BYTES).as_bytes()), 431);
    assert_eq!(status(b"\x16\x03\x01\x02\x00\x01"), 400, "TLS on a plain port is told at once");
    assert_eq!(status(b"GET / HTTP/1.1\n"), 400, "at the first line");
    assert_eq!(blank(b"\r\n\r\nGET"), 0..4);
    assert_eq!(blank(b"\rGET"), 0..0);
}

#[test]
fn where_a_head_ends_does_not_depend_on_how_it_came() {
    let bytes = b"POST / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\n\r\n";
    let end = Scan::default().end(bytes).unwrap().unwrap();
    let mut scan = Scan::default();
    let found = (1..bytes.len()).find(|length| scan.end(&bytes[..*length]).unwrap().is_some());
    assert_eq!(found, Some(end));
}
