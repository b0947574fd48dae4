//! Lines of the two sockets: what is understood means the same after it was written again, however it arrives.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pintle::control::{Answer, Followed, Request, wire};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;
use std::io::{BufRead, BufReader};

fuzz_target!(|input: &[u8]| {
    let (&piece, input) = input.split_first().unwrap_or((&1, input));
    let lines = lines(&mut &*input);
    let in_pieces = BufReader::with_capacity(usize::from(piece).max(1), input);
    assert_eq!(lines, self::lines(&mut { in_pieces }), "the pieces it comes in matter");
    for line in lines {
        comes_back::<Request>(&line);
        comes_back::<Answer>(&line);
        comes_back::<Followed>(&line);
    }
});

fn lines(from: &mut dyn BufRead) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    while let Some(line) = wire::line(from).unwrap() {
        assert!(!line.contains(&b'\n'));
        lines.push(line);
    }
    lines
}

fn comes_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(line: &[u8]) {
    let Ok(Some(document)) = wire::receive::<T>(&mut &*line) else { return };
    let mut written = Vec::new();
    wire::send(&mut written, &document).unwrap();
    assert_eq!(written.iter().filter(|byte| **byte == b'\n').count(), 1, "one document, one line");
    let again = wire::receive::<T>(&mut &written[..]).unwrap();
    assert_eq!(again.as_ref(), Some(&document));
}
