use super::*;

/// Reads a body in pieces of `size`: the body, and what is left behind it.
fn read(framing: Framing, bytes: &[u8], size: usize) -> Result<(Vec<u8>, Vec<u8>, bool), Broken> {
    let mut decoder = Decoder::of(framing);
    let mut body = Vec::new();
    let mut rest = Vec::new();
    for piece in bytes.chunks(size) {
        rest.extend_from_slice(piece);
        while !decoder.is_done() && !rest.is_empty() {
            let step = decoder.step(&rest)?;
            body.extend_from_slice(step.body);
            let used = step.used;
            assert!(used > 0, "every step moves");
            rest.drain(..used);
        }
    }
    Ok((body, rest, decoder.is_done()))
}

#[test]
fn bodies_of_a_length() {
    for size in [1, 2, 3, 100] {
        let read = |length, bytes: &[u8]| read(Framing::Length(length), bytes, size).unwrap();
        assert_eq!(read(3, b"abcdef"), (b"abc".to_vec(), b"def".to_vec(), true));
        assert_eq!(read(0, b"def"), (vec![], b"def".to_vec(), true));
        assert_eq!(read(7, b"abc"), (b"abc".to_vec(), vec![], false));
        assert_eq!(read(u64::MAX, b"abc"), (b"abc".to_vec(), vec![], false));
    }
}

#[test]
fn bodies_in_chunks() {
    let good: [(&[u8], &[u8], &[u8]); 7] = [
        (b"0\r\n\r\n", b"", b""),
        (b"3\r\nabc\r\n0\r\n\r\nGET", b"abc", b"GET"),
        (b"3\r\nabc\r\n00A\r\n0123456789\r\n000\r\n\r\n", b"abc0123456789", b""),
        (b"3;a=b\r\nabc\r\n0;last\r\n\r\n", b"abc", b""),
        (b"3\r\nabc\r\n0\r\nTrailer: x\r\nMore: y\r\n\r\nGET", b"abc", b"GET"),
        (b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n", b""),
        (b"a\r\n0123456789\r\n0\r\n\r\n", b"0123456789", b""),
    ];
    let bad: [&[u8]; 16] = [
        b"\r\n",
        b"x\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"0x1\r\n",
        b" 1\r\n",
        b"1 \r\n",
        b"1\n",
        b"1\rx",
        b"1\r\nab\r\n",
        b"1\r\na\n",
        b"1\r\naGET",
        b"1;a\0\r\n",
        b"1000000000000000\r\n",
        b"0\r\nA: \n\r\n",
        b"0\r\n\0\r\n",
    ];
    for size in [1, 2, 3, 7, 1000] {
        for (bytes, body, rest) in good {
            let expected = (body.to_vec(), rest.to_vec(), true);
            assert_eq!(read(Framing::Chunked, bytes, size), Ok(expected), "{bytes:?} by {size}");
        }
        for bytes in bad {
            assert_eq!(read(Framing::Chunked, bytes, size), Err(Broken), "{bytes:?} by {size}");
        }
    }
}

#[test]
fn what_surrounds_chunks_is_bounded() {
    let long = |count| format!("1;{}", "a".repeat(count));
    assert_eq!(read(Framing::Chunked, long(SIZE_LINE).as_bytes(), 64), Err(Broken));
    let trailers = format!("0\r\n{}", "A: b\r\n".repeat(TRAILERS / 6 + 1));
    assert_eq!(read(Framing::Chunked, trailers.as_bytes(), 64), Err(Broken));
    let dust = format!("1;{}\r\na\r\n", "x".repeat(200)).repeat((OVERHEAD / 200) as usize);
    assert_eq!(read(Framing::Chunked, dust.as_bytes(), 4096), Err(Broken));
    let fair = format!("400\r\n{}\r\n0\r\n\r\n", "a".repeat(1024));
    assert!(read(Framing::Chunked, fair.as_bytes(), 64).is_ok());
}
