//! A body as it arrives: so many bytes, or chunks. What surrounds the bytes is checked, bounded and dropped.
//!
//! Pure: bytes in, the part of them that is body out. Used for what clients send and for what tiny_http answers. Line:
//! how large a body may be is counted where it is kept.

use super::head::Framing;

/// Bytes of one chunk's size line, its extensions included.
const SIZE_LINE: usize = 256;

/// Bytes of all trailers together.
const TRAILERS: usize = 4 << 10;

/// Bytes of size lines and trailers that are worth as much body: who sends a body in chunks of one byte pays for it.
const OVERHEAD: u64 = 1 << 20;

/// Reads one body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decoder {
    /// So many bytes are left.
    Length(u64),
    /// Chunks.
    Chunks(Chunks),
}

/// Where in a chunked body we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chunks {
    at: At,
    /// Framing read so far, and body.
    overhead: u64,
    body: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum At {
    /// In a size line of which this was read.
    Size(Vec<u8>),
    /// In a chunk of which so much is left.
    Data(u64),
    /// Behind a chunk: what is left of its CR LF.
    DataEnd(&'static [u8]),
    /// Behind the last chunk, in a line of which so much was read; so much of all trailers.
    Trailer {
        line: usize,
        all: usize,
        after_cr: bool,
    },
    Done,
}

/// One step: what was found at the beginning of the bytes given.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step<'a> {
    /// Bytes that were used.
    pub(super) used: usize,
    /// Those of them that are body.
    pub(super) body: &'a [u8],
}

/// The chunks are not chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken;

impl Decoder {
    pub(super) fn of(framing: Framing) -> Decoder {
        match framing {
            Framing::Length(length) => Decoder::Length(length),
            Framing::Chunked => Decoder::Chunks(Chunks { at: At::Size(Vec::new()), overhead: 0, body: 0 }),
        }
    }

    /// Whether nothing belongs to this body any more.
    pub(super) fn is_done(&self) -> bool {
        match self {
            Decoder::Length(left) => *left == 0,
            Decoder::Chunks(chunks) => chunks.at == At::Done,
        }
    }

    /// The size of this body as far as it is known: what was read, and what is announced to follow.
    pub(super) fn at_least(&self) -> u64 {
        match self {
            Decoder::Length(left) => *left,
            Decoder::Chunks(Chunks { at: At::Data(left), body, .. }) => body.saturating_add(*left),
            Decoder::Chunks(chunks) => chunks.body,
        }
    }

    /// Takes what it can of `bytes` in one piece; called again with the rest until nothing is left or it is done.
    pub(super) fn step<'a>(&mut self, bytes: &'a [u8]) -> Result<Step<'a>, Broken> {
        match self {
            Decoder::Length(left) => {
                let body = take(bytes, *left);
                *left -= body.len() as u64;
                Ok(Step { used: body.len(), body })
            }
            Decoder::Chunks(chunks) => chunks.step(bytes),
        }
    }
}

impl Chunks {
    fn step<'a>(&mut self, bytes: &'a [u8]) -> Result<Step<'a>, Broken> {
        if let At::Data(left) = &mut self.at {
            let body = take(bytes, *left);
            *left -= body.len() as u64;
            self.body += body.len() as u64;
            if *left == 0 {
                self.at = At::DataEnd(b"\r\n");
            }
            return Ok(Step { used: body.len(), body });
        }
        let mut used = 0;
        for byte in bytes {
            if matches!(self.at, At::Data(_) | At::Done) {
                break;
            }
            self.framing(*byte)?;
            used += 1;
        }
        self.overhead += used as u64;
        match self.overhead > OVERHEAD.max(self.body) {
            true => Err(Broken),
            false => Ok(Step { used, body: &[] }),
        }
    }

    /// One byte that is not body.
    fn framing(&mut self, byte: u8) -> Result<(), Broken> {
        match &mut self.at {
            At::Size(line) => {
                let after_cr = line.last() == Some(&b'\r');
                match byte {
                    b'\n' if after_cr => {
                        let size = size_of(line)?;
                        self.at =
                            if size == 0 { At::Trailer { line: 0, all: 0, after_cr: false } } else { At::Data(size) };
                    }
                    _ if after_cr || line.len() >= SIZE_LINE => return Err(Broken),
                    b'\r' | b'\t' | b' '..=b'~' => line.push(byte),
                    _ => return Err(Broken),
                }
            }
            At::DataEnd(expected) => match expected.split_first() {
                Some((first, rest)) if *first == byte => {
                    self.at = if rest.is_empty() { At::Size(Vec::new()) } else { At::DataEnd(rest) };
                }
                _ => return Err(Broken),
            },
            At::Trailer { line, all, after_cr } => {
                *all += 1;
                match byte {
                    b'\n' if *after_cr && *line == 0 => self.at = At::Done,
                    b'\n' if *after_cr => (*line, *after_cr) = (0, false),
                    _ if *after_cr || *all > TRAILERS => return Err(Broken),
                    b'\r' => *after_cr = true,
                    b'\t' | b' '..=b'~' | 0x80.. => *line += 1,
                    _ => return Err(Broken),
                }
            }
            At::Data(_) | At::Done => return Err(Broken),
        }
        Ok(())
    }
}

/// The size in a line: hex digits, and an extension that is not looked at. At most 2^60, which nobody sends.
fn size_of(line: &[u8]) -> Result<u64, Broken> {
    let line = line.strip_suffix(b"\r").ok_or(Broken)?;
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    if digits.is_empty() || digits.len() > 15 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(Broken);
    }
    let digits = std::str::from_utf8(digits).map_err(|_| Broken)?;
    u64::from_str_radix(digits, 16).map_err(|_| Broken)
}

fn take(bytes: &[u8], most: u64) -> &[u8] {
    let length = usize::try_from(most).map_or(bytes.len(), |most| most.min(bytes.len()));
    bytes.get(..length).unwrap_or_default()
}

#[cfg(test)]
mod tests;
