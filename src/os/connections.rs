//! TCP sockets of the host as `/proc/net` shows them: who still talks on a port, who listens there.
//!
//! Line: only the state is told; whether a connection is worth waiting for is judged elsewhere.

use crate::os::files::because;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

/// A state of a TCP socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Both sides may still send. A connection that waits to be accepted is established too.
    Established,
    /// Connections are taken here.
    Listening,
}

impl State {
    /// As the table writes it.
    fn code(self) -> &'static [u8] {
        match self {
            State::Established => b"01",
            State::Listening => b"0A",
        }
    }
}

/// Whether a TCP socket, v4 or v6, that has one of `ports` on its own side is in `state`. A table that cannot be read
/// is an error; a host without IPv6 has only one.
pub fn any_on(ports: &[u16], state: State) -> io::Result<bool> {
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let table = Path::new(table);
        let file = match File::open(table) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && table.ends_with("tcp6") => continue,
            opened => opened.map_err(|error| because("read", table, &error))?,
        };
        let found = any_in(BufReader::with_capacity(64 << 10, file), ports, state);
        if found.map_err(|error| because("read", table, &error))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// One line is held at a time: a busy host has tens of thousands.
fn any_in(mut table: impl BufRead, ports: &[u16], state: State) -> io::Result<bool> {
    let mut line = Vec::new();
    while table.read_until(b'\n', &mut line)? > 0 {
        if is_on(&line, ports, state) == Some(true) {
            return Ok(true);
        }
        line.clear();
    }
    Ok(false)
}

/// `  0: 0100007F:4E21 00000000:0000 0A ...`: number, own address, the other's, state. `None`: the heading.
fn is_on(line: &[u8], ports: &[u16], state: State) -> Option<bool> {
    let mut fields = line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty()).skip(1);
    let (own, _other, found) = (fields.next()?, fields.next()?, fields.next()?);
    let port = own.rsplit(|byte| *byte == b':').next().and_then(|port| std::str::from_utf8(port).ok())?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(found == state.code() && ports.contains(&port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn only_the_own_side_and_the_asked_state_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                     0: 0100007F:4E21 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0\n   \
                     1: 0100007F:9C40 0100007F:4E22 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0\n   \
                     2: 0000000000000000FFFF00000100007F:4E23 0000000000000000FFFF00000100007F:9C41 01 00000000:00000000\n   \
                     3: 0100007F:4E24 0100007F:9C42 06 00000000:00000000 03:00000000 00000000     0        0 0 3 0\n";
        let found = |port: u16, state| any_in(table.as_bytes(), &[1, port], state).unwrap();
        assert!(found(20_001, State::Listening) && !found(20_001, State::Established));
        assert!(!found(20_002, State::Established), "the client's side of a connection is not the port's");
        assert!(found(20_003, State::Established) && !found(20_003, State::Listening));
        assert!(!found(20_004, State::Established), "TIME_WAIT");
        assert!(!any_in(table.as_bytes(), &[], State::Established).unwrap());
    }

    #[test]
    fn a_connection_is_seen_from_its_beginning_to_its_end() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let server = TcpListener::bind(host).unwrap();
            let ports = [server.local_addr().unwrap().port()];
            assert!(any_on(&ports, State::Listening).unwrap());
            assert!(!any_on(&ports, State::Established).unwrap());
            let client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
            assert!(any_on(&ports, State::Established).unwrap(), "before it is accepted");
            let (accepted, _) = server.accept().unwrap();
            drop((client, accepted));
            // A child that another test is just starting may hold a copy until it executes its program.
            let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
            while any_on(&ports, State::Established).unwrap() {
                assert!(std::time::Instant::now() < until);
                std::thread::yield_now();
            }
        }
    }
}
