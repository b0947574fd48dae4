//! Framing: one JSON document per line, bounded.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, BufRead, Write};

/// The longest line either side accepts: a status of hundreds of services fits, a flood does not.
pub const LINE_MAX: usize = 4 << 20;

/// Writes one document and a newline in a single write.
pub fn send<T: Serialize>(to: &mut dyn Write, document: &T) -> io::Result<()> {
    send_all(to, std::slice::from_ref(document))
}

/// Writes several documents, each on a line, in a single write.
pub fn send_all<T: Serialize>(to: &mut dyn Write, documents: &[T]) -> io::Result<()> {
    let mut lines = Vec::with_capacity(documents.len() * 256);
    for document in documents {
        serde_json::to_writer(&mut lines, document)?;
        lines.push(b'\n');
    }
    to.write_all(&lines)?;
    to.flush()
}

/// Reads one document; `None` at end of file.
pub fn receive<T: DeserializeOwned>(from: &mut dyn BufRead) -> io::Result<Option<T>> {
    let Some(line) = line(from)? else { return Ok(None) };
    serde_json::from_slice(&line).map(Some).map_err(|error| {
        io::Error::new(io::ErrorKind::InvalidData, format!("not a document of this protocol: {error}"))
    })
}

/// Reads one line without its newline; `None` at end of file. A line above [`LINE_MAX`] is an error.
pub fn line(from: &mut dyn BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let read = io::Read::take(&mut *from, LINE_MAX as u64 + 1).read_until(b'\n', &mut line)?;
    if read == 0 {
        return Ok(None);
    }
    if line.pop_if(|last| *last == b'\n').is_none() && read > LINE_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a line longer than 4 MiB"));
    }
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::Request;

    #[test]
    fn documents_come_back_and_a_flood_is_refused() {
        let mut buffer = Vec::new();
        send(&mut buffer, &Request::Ping).unwrap();
        assert_eq!(buffer, b"{\"ask\":\"ping\"}\n");
        assert_eq!(receive::<Request>(&mut &buffer[..]).unwrap(), Some(Request::Ping));
        assert_eq!(receive::<Request>(&mut &b""[..]).unwrap(), None);
        assert!(receive::<Request>(&mut &b"{\"ask\":\"fly\"}\n"[..]).is_err());
        assert!(line(&mut &vec![b'x'; LINE_MAX + 2][..]).is_err());
    }
}
