//! A connection's bytes, all at once and in pieces: the same requests, and no limit is passed.
//!
//! An input: one byte that seeds the pieces, then what a client sends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pintle::listener::guard::{Reading, read};

const MAX_BODY: u64 = 4096;

fuzz_target!(|input: &[u8]| {
    let Some((seed, bytes)) = input.split_first() else { return };
    let whole = read(MAX_BODY, [bytes]);
    assert_eq!(whole, read(MAX_BODY, pieces(*seed, bytes)), "the pieces it comes in matter");
    assert_eq!(whole, read(MAX_BODY, bytes.chunks(1)), "byte by byte it is another request");
    keeps_every_limit(&whole, bytes.len());
});

/// Cuts `bytes` at places that follow from `seed`.
fn pieces(seed: u8, mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut pieces = Vec::new();
    let mut next = u32::from(seed) + 1;
    while !bytes.is_empty() {
        next = next.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (piece, rest) = bytes.split_at((next >> 24) as usize % 40 % (bytes.len() + 1));
        pieces.push(piece);
        bytes = if piece.is_empty() { &bytes[..0] } else { rest };
        if piece.is_empty() && !rest.is_empty() {
            pieces.push(rest);
        }
    }
    pieces
}

fn keeps_every_limit(reading: &Reading, sent: usize) {
    let printable = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    for ask in &reading.asks {
        assert!(ask.body.len() as u64 <= MAX_BODY);
        assert!(ask.headers.len() <= 64);
        let head: usize = ask.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        assert!(head + ask.path.len() + ask.query.len() <= 16 << 10);
        assert!(ask.path.starts_with('/') && printable(&ask.path) && printable(&ask.query), "{ask:?}");
        for (name, value) in &ask.headers {
            assert!(!name.is_empty() && printable(name), "{name:?}");
            assert!(!value.contains(['\r', '\n', '\0']), "{name}: {value:?}");
            let of_framing = ["transfer-encoding", "connection", "expect", "te", "upgrade"];
            assert!(!of_framing.contains(&name.to_ascii_lowercase().as_str()), "{name} is passed on");
        }
    }
    if let Some(status) = reading.refused {
        assert!((400..=505).contains(&status), "{status}");
    }
    assert!(reading.asks.iter().map(|ask| ask.body.len()).sum::<usize>() <= sent);
}
