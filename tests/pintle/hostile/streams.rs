//! Streams of requests put together at random: of pieces good and bad, spoiled a little.

use crate::world::chance::Chance;

const LAST: &str = "GET /last HTTP/1.1\r\nHost: pintle\r\nConnection: close\r\n\r\n";

/// One to three requests and the last one.
pub(super) fn stream(chance: &mut Chance) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..=chance.below(3) {
        bytes.extend(request(chance));
    }
    for _ in 0..chance.below(10).saturating_sub(7) {
        spoil(&mut bytes, chance);
    }
    bytes.extend(LAST.as_bytes());
    bytes
}

fn one<'a>(chance: &mut Chance, of: &[&'a str]) -> &'a str {
    of[chance.below(of.len() as u64) as usize]
}

/// The first most of the time.
fn mostly<'a>(chance: &mut Chance, usual: &'a str, of: &[&'a str]) -> &'a str {
    if chance.below(100) < 96 { usual } else { one(chance, of) }
}

fn request(chance: &mut Chance) -> Vec<u8> {
    let method = one(chance, &["GET", "POST", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"]);
    let targets =
        ["/webhook", "/webhook/shop?x=1", "//x", "/a%2fb", "/?", "/a;b", "http://pintle/x", "/../x", "/a//b", "*", "x"];
    let target = mostly(chance, "/webhook", &targets);
    let version = mostly(chance, "HTTP/1.1", &["HTTP/1.0", "HTTP/1.1 ", "HTTP/1.2", "HTTP/2.0", "http/1.1"]);
    let end = mostly(chance, "\r\n", &["\n", "\r", "\r\r\n", "\n\r\n", " \r\n"]);
    let host =
        mostly(chance, "Host: pintle", &["host:pintle", "Host:  pintle ", "Host: pintle:80", "Host: a, b", "X: y"]);
    let body =
        one(chance, &["", "{}", "{\"ref\":\"x\"}", "0\r\n\r\n", "GET /smuggled HTTP/1.1\r\nHost: pintle\r\n\r\n"]);
    let mut head = format!("{method} {target} {version}\r\n{host}{end}");
    for _ in 0..chance.below(3) {
        let good =
            ["X: y", "x-empty:", "X:\ty\t", "Connection: keep-alive", "TE: trailers", "Cookie: a=b; c=d", "X_Y: z"];
        let usual = one(chance, &good);
        let others = [
            "Connection: close",
            "Connection: Content-Length",
            "Keep-Alive: 5",
            "X-Forwarded-For: ::1",
            "Trailer: X",
            "Upgrade: h2c",
            "X: \u{e4}",
            "X : y",
            "X\t: y",
            " X: y",
            "Transfer-Encoding",
        ];
        head += mostly(chance, usual, &others);
        head += mostly(chance, "\r\n", &["\n", "\r\n ", "\r\n\t", "\0\r\n"]);
    }
    let chunked = chance.below(3) == 0;
    let framing = match chunked {
        true => mostly(
            chance,
            "Transfer-Encoding: chunked\r\n",
            &[
                "transfer-encoding:chunked\r\n",
                "Transfer-Encoding: CHUNKED\r\n",
                "Transfer-Encoding:\tchunked \r\n",
                "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
                "Transfer-Encoding: identity, chunked\r\n",
                "Transfer-Encoding: chunked, chunked\r\n",
                "Transfer-Encoding: \x0bchunked\r\n",
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
                "Transfer-Encoding : chunked\r\n",
                "Transfer_Encoding: chunked\r\n",
                "X: y\r\n Transfer-Encoding: chunked\r\n",
            ],
        )
        .to_owned(),
        false => length(chance, body),
    };
    head += &framing;
    head += mostly(chance, "\r\n", &["\n", "\r\n\r\n", " \r\n"]);
    let body = if chunked { chunks(chance, body) } else { body.to_owned() };
    (head + &body).into_bytes()
}

fn length(chance: &mut Chance, body: &str) -> String {
    let right = body.len();
    if chance.below(100) < 85 {
        return if body.is_empty() && chance.below(2) == 0 {
            String::new()
        } else {
            format!("Content-Length: {right}\r\n")
        };
    }
    match chance.below(12) {
        0 => format!("Content-Length: 0{right}\r\n"),
        1 => format!("Content-Length: +{right}\r\n"),
        2 => format!("Content-Length: {right}, {right}\r\n"),
        3 => format!("Content-Length: {right}\r\nContent-Length: {right}\r\n"),
        4 => format!("Content-Length: {right}\r\nContent-Length: 0\r\n"),
        5 => format!("Content-Length: 0x{right:x}\r\n"),
        6 => format!("Content-Length:{right} \r\n"),
        7 => format!("Content-Length: {}\r\n", right / 2),
        8 => format!("content-length:\t{right}\r\n"),
        9 => format!("Content-Length : {right}\r\n"),
        10 => format!("Content_Length: {right}\r\n"),
        _ => format!("Content-Length: {}\r\n", u128::from(u64::MAX) + 1 + right as u128),
    }
}

fn chunks(chance: &mut Chance, body: &str) -> String {
    let size = 1 + chance.below(12) as usize;
    let mut text = String::new();
    for piece in body.as_bytes().chunks(size) {
        let length = piece.len();
        text += &match chance.below(60) {
            0 => format!("0{length:x}"),
            1 => format!("{length:x};name=value"),
            2 => format!("{length:x};name=\"a;b\""),
            3 => format!("{length:x} "),
            4 => format!(" {length:x}"),
            5 => format!("0x{length:x}"),
            6 => format!("+{length:x}"),
            7 => format!("{length:x};"),
            _ => format!("{length:x}"),
        };
        text += mostly(chance, "\r\n", &["\n", "\r", "\r\n"]);
        text += std::str::from_utf8(piece).unwrap();
        text += mostly(chance, "\r\n", &["\n", "", "\r\n"]);
    }
    text += mostly(
        chance,
        "0\r\n\r\n",
        &["0\r\nX: y\r\n\r\n", "00\r\n\r\n", "0;x\r\n\r\n", "0\n\n", "0\r\nX: y\n\r\n", "0\r\n"],
    );
    text
}

/// A byte more, less, or another one.
fn spoil(bytes: &mut Vec<u8>, chance: &mut Chance) {
    let hostile = b"\r\n\0 \t:;,0159afXZ+-\x0b\x7f\x80\xff/?#\"";
    let at = chance.below(bytes.len() as u64) as usize;
    let byte = hostile[chance.below(hostile.len() as u64) as usize];
    match chance.below(4) {
        0 => bytes.insert(at, byte),
        1 => drop(bytes.remove(at)),
        2 => bytes[at] = byte,
        _ => {
            let end = (at + 1 + chance.below(20) as usize).min(bytes.len());
            let again = bytes[at..end].to_vec();
            bytes.splice(at..at, again);
        }
    }
}
