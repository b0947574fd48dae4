//! Heads that are malformed, endless, or of another protocol.

use super::Target;
use super::lengths::refused;
use super::raw::Line;
use std::time::Duration;

#[test]
fn other_versions_and_methods_are_refused_and_leave_nothing_behind() {
    let target = Target::up();
    let cases: [(&str, &[u16]); 12] = [
        ("GET / HTTP/2.0\r\nHost: pintle\r\n\r\n", &[505, 400]),
        ("GET /health HTTP/2.0\r\nHost: pintle\r\n\r\n", &[505, 400]),
        ("GET /health HTTP/3\r\nHost: pintle\r\n\r\n", &[505, 400]),
        ("GET /health HTTP/0.9\r\n\r\n", &[505, 400]),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[505, 400]),
        ("GET /health\r\n\r\n", &[505, 400]),
        ("GET /health HTTQ/1.1\r\nHost: pintle\r\n\r\n", &[505, 400]),
        ("CONNECT pintle:443 HTTP/1.1\r\nHost: pintle:443\r\n\r\n", &[501, 405, 400]),
        ("TRACE /health HTTP/1.1\r\nHost: pintle\r\nConnection: close\r\n\r\n", &[501, 405]),
        ("BREW /health HTTP/1.1\r\nHost: pintle\r\n\r\n", &[501, 405]),
        ("get /health HTTP/1.1\r\nHost: pintle\r\n\r\n", &[501, 405, 400]),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\x03\x03 a TLS hello\r\n\r\n", &[400]),
    ];
    // The first of them is what blocks a bare tiny_http for ever: many of it.
    for _ in 0..50 {
        refused(&target, cases[0].0, cases[0].0, cases[0].1);
    }
    for (request, statuses) in cases {
        refused(&target, request, request, statuses);
    }
    target.is_unharmed();
}

#[test]
fn malformed_heads_are_refused() {
    let target = Target::up();
    let get = |lines: &str| format!("GET /health HTTP/1.1\r\n{lines}\r\n");
    let cases = [
        ("no host", get("")),
        ("two hosts", get("Host: a\r\nHost: a\r\n")),
        ("an empty host", get("Host:\r\n")),
        ("a host with a path", get("Host: a/b\r\n")),
        ("a folded line", get("Host: pintle\r\nX: y\r\n z\r\n")),
        ("a line folded with a tab", get("Host: pintle\r\nX: y\r\n\tz\r\n")),
        ("a blank before the first header", get(" Host: pintle\r\n")),
        ("a blank before the colon", get("Host : pintle\r\n")),
        ("a tab before the colon", get("Host\t: pintle\r\n")),
        ("no colon", get("Host: pintle\r\nnonsense\r\n")),
        ("no name", get("Host: pintle\r\n: x\r\n")),
        ("a name with a blank", get("Host: pintle\r\nX Y: z\r\n")),
        ("a name in quotes", get("Host: pintle\r\n\"X\": z\r\n")),
        ("NUL in a value", get("Host: pintle\r\nX: a\0b\r\n")),
        ("NUL in a name", get("Host: pintle\r\nX\0: b\r\n")),
        ("a bell in a value", get("Host: pintle\r\nX: \x07\r\n")),
        ("DEL in a value", get("Host: pintle\r\nX: \x7f\r\n")),
        ("a carriage return in a value", get("Host: pintle\r\nX: a\rb\r\n")),
        ("a line feed alone", "GET /health HTTP/1.1\nHost: pintle\n\n".to_owned()),
        ("a line feed alone between headers", "GET /health HTTP/1.1\r\nHost: pintle\nX: y\r\n\r\n".to_owned()),
        ("a line feed alone at the end", "GET /health HTTP/1.1\r\nHost: pintle\r\n\n".to_owned()),
        ("NUL in the target", "GET /hea\0lth HTTP/1.1\r\nHost: pintle\r\n\r\n".to_owned()),
        ("a tab in the request line", "GET\t/health\tHTTP/1.1\r\nHost: pintle\r\n\r\n".to_owned()),
        ("four words", "GET /health /x HTTP/1.1\r\nHost: pintle\r\n\r\n".to_owned()),
        ("a target that is no path", "GET health HTTP/1.1\r\nHost: pintle\r\n\r\n".to_owned()),
        ("a fragment", "GET /health#x HTTP/1.1\r\nHost: pintle\r\n\r\n".to_owned()),
        ("another host in the target", "GET http://other/health HTTP/1.1\r\nHost: pintle\r\n\r\n".to_owned()),
        ("an expectation", get("Host: pintle\r\nExpect: miracles\r\n")),
    ];
    for (name, request) in cases {
        refused(&target, name, request, &[400, 417, 505]);
    }
    let raw = [b"GET /health HTTP/1.1\r\nHost: pintle\r\nX: ".as_slice(), b"\xff\xfe", b"\r\n\r\n"].concat();
    let replies = Line::saying(target.port(), raw).hear_all();
    assert!(matches!(replies.first().map(|reply| reply.status), Some(200 | 400)), "{replies:?}");
    target.is_unharmed();
}

#[test]
fn floods_of_headers_are_cut_off() {
    let target = Target::up();
    let get = |lines: &str| format!("GET /health HTTP/1.1\r\nHost: pintle\r\n{lines}\r\n");
    refused(&target, "100 headers", get(&"X: y\r\n".repeat(100)), &[431]);
    refused(&target, "100,000 headers", get(&"X: y\r\n".repeat(100_000)), &[431]);
    refused(&target, "a long value", get(&format!("X: {}\r\n", "y".repeat(17 << 10))), &[431]);
    refused(&target, "a value of 10 MB", get(&format!("X: {}\r\n", "y".repeat(10 << 20))), &[431]);
    refused(&target, "a long name", get(&format!("{}: y\r\n", "X".repeat(17 << 10))), &[431]);
    let long = format!("GET /{} HTTP/1.1\r\nHost: pintle\r\n\r\n", "x".repeat(17 << 10));
    refused(&target, "a long target", long, &[414, 431]);
    refused(&target, "a line without end", "G".repeat(1 << 20), &[431, 400]);
    refused(&target, "empty lines without end", "\r\n".repeat(100_000), &[431, 400]);
    let reply = Line::saying(target.port(), get(&"X-Fine: y\r\n".repeat(60))).hear().expect("an answer");
    assert_eq!(reply.status, 200, "60 headers are fine: {reply:?}");
    target.is_unharmed();
}

#[test]
fn it_does_not_matter_in_which_pieces_a_request_comes() {
    let target = Target::with("");
    let body = "{}";
    let signature = crate::world::http::sign(crate::world::site::SECRET, body.as_bytes());
    let request = format!(
        "POST /webhook/shop HTTP/1.1\r\nHost: pintle\r\nX-GitHub-Event: ping\r\nContent-Type: application/json\r\n\
         X-Hub-Signature-256: {signature}\r\nContent-Length: 2\r\n\r\n{body}"
    );
    for size in [1, 2, 3, 50, request.len()] {
        let mut line = Line::to(target.port());
        for piece in request.as_bytes().chunks(size) {
            line.say(piece).unwrap();
            // Long enough to be a segment of its own, short enough for all of them within the deadline.
            std::thread::sleep(Duration::from_micros(300));
        }
        line.hear().unwrap_or_else(|| panic!("no answer to pieces of {size}")).ignored();
    }
    target.is_unharmed();
}

#[test]
fn requests_in_one_piece_are_answered_in_their_order() {
    let target = Target::up();
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: pintle\r\n\r\n");
    let mut line = Line::saying(target.port(), get("/health") + &get("/nothing") + &get("/status") + &get("/webhook"));
    let statuses: Vec<u16> = (0..4).map_while(|_| line.hear()).map(|reply| reply.status).collect();
    assert_eq!(statuses, [200, 404, 200, 405]);
    target.is_unharmed();
}

#[test]
fn a_body_that_waits_for_leave_gets_it_or_the_reason_why_not() {
    let target = Target::up();
    let head = |length: &str| {
        format!(
            "POST /webhook HTTP/1.1\r\nHost: pintle\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n\
             Content-Length: {length}\r\n\r\n"
        )
    };
    let mut line = Line::saying(target.port(), head("2"));
    assert_eq!(line.hear().map(|reply| reply.status), Some(100));
    line.say("{}").unwrap();
    assert_eq!(line.hear().map(|reply| reply.status), Some(401));
    for (length, status) in [("99999999999", 413), ("-1", 400)] {
        refused(&target, length, head(length), &[status]);
    }
    // Leave was given, and nothing comes.
    let mut silent = Line::saying(target.port(), head("2"));
    assert_eq!(silent.hear().map(|reply| reply.status), Some(100));
    assert!(matches!(silent.hear_all()[..], [] | [_]), "it is given up");
    target.is_unharmed();
}
