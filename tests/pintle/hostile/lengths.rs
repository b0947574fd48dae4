//! Requests that lie about the length of their body, or leave it open.

use super::Target;
use super::raw::Line;

/// Must be answered with one of these statuses, and then be cut off: nobody reads on behind an unclear request.
#[track_caller]
pub(super) fn refused(target: &Target, name: &str, request: impl AsRef<[u8]>, statuses: &[u16]) {
    let replies = Line::saying(target.port(), &request).hear_all();
    let got: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
    let text = String::from_utf8_lossy(request.as_ref()).into_owned();
    assert!(matches!(got[..], [one] if statuses.contains(&one)), "{name}: {got:?}, not {statuses:?}; {:.300?}", text);
    let closes = replies[0].header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    assert!(closes, "{name}: it does not say that it closes: {:?}", replies[0]);
    assert_eq!(replies[0].json()["status"], "error", "{name}");
}

/// A request of `path` with these lines in its head and this body.
fn post(path: &str, lines: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: pintle\r\nContent-Type: application/json\r\n{lines}\r\n{body}")
}

#[test]
fn absurd_lengths_are_refused_before_anything_is_reserved_for_them() {
    let target = Target::up();
    for length in ["3000000000", "10000000000000", "18000000000000000000", "18446744073709551615"] {
        for path in ["/webhook", "/webhook/shop", "/deploy", "/"] {
            let name = format!("{length} to {path}");
            refused(&target, &name, post(path, &format!("Content-Length: {length}\r\n"), "{"), &[413]);
        }
        // No body is welcome there, of whatever length.
        for request in ["GET /health", "GET /nothing", "POST /health", "PUT /webhook"] {
            let head = format!("{request} HTTP/1.1\r\nHost: pintle\r\nContent-Length: {length}\r\n\r\n");
            refused(&target, &format!("{length} with {request}"), head, &[404, 405, 413]);
        }
    }
    for length in ["18446744073709551616", "99999999999999999999999999999999999999999999"] {
        refused(&target, length, post("/webhook", &format!("Content-Length: {length}\r\n"), "{"), &[400, 413]);
    }
    target.is_unharmed();
}

#[test]
fn a_length_that_two_servers_could_read_differently_is_refused() {
    let target = Target::up();
    let cases = [
        "Content-Length: 2\r\nContent-Length: 3\r\n",
        "Content-Length: 2\r\nContent-Length: 2\r\n",
        "Content-Length: 2\r\ncontent-length: 30\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: +2\r\n",
        "Content-Length: 0x2\r\n",
        "Content-Length: 2, 2\r\n",
        "Content-Length: 2 2\r\n",
        "Content-Length: 2;\r\n",
        "Content-Length: 2.0\r\n",
        "Content-Length: 1_0\r\n",
        "Content-Length: \r\n",
        "Content-Length: two\r\n",
        "Content-Length: \u{0662}\r\n",
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: identity, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: chunkedx\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: chunked;q=1\r\n",
        "Transfer-Encoding: ,chunked\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding\t: chunked\r\n",
        "Content-Length : 2\r\n",
        "X: y\r\n Transfer-Encoding: chunked\r\n",
    ];
    for lines in cases {
        refused(&target, lines, post("/webhook", lines, "{}"), &[400, 501]);
    }
    let old = "POST /webhook HTTP/1.0\r\nHost: pintle\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
    refused(&target, "chunks in HTTP/1.0", old, &[400, 501]);
    target.is_unharmed();
}

#[test]
fn chunks_that_are_none_are_refused() {
    let target = Target::up();
    let flood = |piece: &str, times: usize| piece.repeat(times);
    let cases = [
        ("a size of 65 bits", "10000000000000000\r\n{}".to_owned()),
        ("a size that wraps to 2", "10000000000000002\r\n{}\r\n0\r\n\r\n".to_owned()),
        ("a size of 64 bits", "ffffffffffffffff\r\n{}".to_owned()),
        ("a size of 63 bits", "7fffffffffffffff\r\n{}".to_owned()),
        ("many zeros", format!("{}2\r\n{{}}\r\n0\r\n\r\n", flood("0", 100_000))),
        ("a negative size", "-2\r\n{}\r\n0\r\n\r\n".to_owned()),
        ("a size with a sign", "+2\r\n{}\r\n0\r\n\r\n".to_owned()),
        ("a size with 0x", "0x2\r\n{}\r\n0\r\n\r\n".to_owned()),
        ("no size", "\r\n{}\r\n0\r\n\r\n".to_owned()),
        ("an extension and no size", ";x\r\n{}\r\n0\r\n\r\n".to_owned()),
        ("a blank before the size", " 2\r\n{}\r\n0\r\n\r\n".to_owned()),
        ("a line feed behind the size", "2\n{}\r\n0\r\n\r\n".to_owned()),
        ("a line feed behind the chunk", "2\r\n{}\n0\r\n\r\n".to_owned()),
        ("a carriage return in the size line", "2\rx\r\n{}\r\n0\r\n\r\n".to_owned()),
        ("more than the size says", "2\r\n{}}\r\n0\r\n\r\n".to_owned()),
        ("NUL in an extension", "2;\0\r\n{}\r\n0\r\n\r\n".to_owned()),
        ("one long extension", format!("2;{}\r\n{{}}\r\n0\r\n\r\n", flood("x", 100_000))),
        ("extensions without end", flood(&format!("1;{}\r\nx\r\n", flood("y", 200)), 20_000)),
        ("one long trailer", format!("2\r\n{{}}\r\n0\r\nX: {}\r\n\r\n", flood("x", 100_000))),
        ("many trailers", format!("2\r\n{{}}\r\n0\r\n{}\r\n", flood("X: y\r\n", 100_000))),
        ("a trailer with NUL", "2\r\n{}\r\n0\r\nX: \0\r\n\r\n".to_owned()),
        ("a line feed behind a trailer", "2\r\n{}\r\n0\r\nX: y\n\r\n".to_owned()),
    ];
    for (name, chunks) in cases {
        refused(&target, name, post("/webhook", "Transfer-Encoding: chunked\r\n", &chunks), &[400, 413, 431]);
    }
    let large = format!("{:x}\r\n{}", 26 << 20, "x".repeat(64 << 10));
    refused(&target, "a chunk above max_body", post("/webhook", "Transfer-Encoding: chunked\r\n", &large), &[413]);
    target.is_unharmed();
}

#[test]
fn good_chunks_are_put_together_and_signed_as_a_whole() {
    let target = Target::up();
    let body = "{\"zen\":\"Keep it logically awesome.\"}";
    let signature = crate::world::http::sign(crate::world::site::SECRET, body.as_bytes());
    let lines = format!("Transfer-Encoding: chunked\r\nX-GitHub-Event: ping\r\nX-Hub-Signature-256: {signature}\r\n");
    for size in [1, 7, body.len()] {
        let pieces = body.as_bytes().chunks(size).map(|piece| std::str::from_utf8(piece).unwrap());
        let chunks: String = pieces.map(|piece| format!("{:X};name=value\r\n{piece}\r\n", piece.len())).collect();
        let request = post("/webhook/shop", &lines, &format!("{chunks}0\r\nX-Trailer: y\r\n\r\n"));
        let reply = Line::saying(target.port(), request).hear().expect("an answer");
        reply.ignored();
    }
    target.is_unharmed();
}

#[test]
fn nothing_behind_a_refused_request_is_a_request() {
    let target = Target::up();
    let smuggled = "GET /health HTTP/1.1\r\nHost: pintle\r\n\r\n";
    let both = "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n";
    let cases = [
        ("CL.TE", post("/webhook", both, &format!("0\r\n\r\n{smuggled}"))),
        ("TE.CL", post("/webhook", both, &format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len()))),
        ("two lengths", post("/webhook", "Content-Length: 0\r\nContent-Length: 60\r\n", smuggled)),
        ("an announced flood", post("/webhook", "Content-Length: 10000000000000\r\n", smuggled)),
        ("an unreadable length", post("/webhook", "Content-Length: 0x0\r\n", smuggled)),
        ("a body that is none of ours", format!("GET /health HTTP/1.1\r\nHost: a b\r\n\r\n{smuggled}")),
    ];
    for (name, request) in cases {
        refused(&target, name, request, &[400, 413]);
    }
    target.is_unharmed();
}

#[test]
fn a_request_in_a_body_stays_a_body() {
    let target = Target::up();
    let smuggled = "GET /health HTTP/1.1\r\nHost: pintle\r\n\r\n";
    let framed = |lines: &str, body: &str| {
        let last = "GET /webhook-health HTTP/1.1\r\nHost: pintle\r\nConnection: close\r\n\r\n";
        format!("{}{last}", post("/webhook", lines, body))
    };
    let length = framed(&format!("Content-Length: {}\r\n", smuggled.len()), smuggled);
    let chunks = format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len());
    let chunked = framed("Transfer-Encoding: chunked\r\n", &chunks);
    for request in [length, chunked] {
        let replies = Line::saying(target.port(), request).hear_all();
        let statuses: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
        // The body has no signature; the connection may end with that.
        assert!(statuses == [401, 200] || statuses == [401], "{statuses:?}");
    }
    target.is_unharmed();
}
