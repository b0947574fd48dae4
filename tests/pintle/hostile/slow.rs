//! Clients that take their time: with the head, with the body, with reading the answer, with the end.

use super::Target;
use super::raw::Line;
use super::vital::Vital;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, setsockopt, socket, sockopt};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

#[test]
fn a_head_that_drips_is_cut_off_at_its_deadline() {
    let target = Target::up();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for first in ["", "G", "GET /health HTTP/1.1\r\nHost: pintle\r\n", "POST /webhook HTTP/1.1\r\n"] {
            let target = &target;
            scope.spawn(move || {
                let mut line = Line::saying(target.port(), first);
                // A byte now and then does not buy time.
                line.drip(b"X: y\r\n", Duration::from_millis(100));
                let took = began.elapsed();
                assert!(took < Duration::from_secs(5), "{first:?} was kept for {took:?}");
                let statuses: Vec<u16> = line.hear_all().iter().map(|reply| reply.status).collect();
                assert!(matches!(statuses[..], [] | [408] | [431]), "{first:?}: {statuses:?}");
            });
        }
        for _ in 0..10 {
            target.is_served();
        }
    });
    target.is_unharmed();
}

#[test]
fn silent_clients_are_given_up() {
    let target = Target::up();
    let mut lines: Vec<Line> = (0..20).map(|_| Line::to(target.port())).collect();
    target.is_served();
    let began = Instant::now();
    for line in &mut lines {
        assert!(line.hear_all().len() <= 1);
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    target.is_unharmed();
}

/// Two of them block a bare tiny_http with two threads; here there are more of them than it has.
#[test]
fn bodies_that_drip_hold_up_nobody() {
    let target = Target::up();
    std::thread::scope(|scope| {
        for number in 0..12 {
            let target = &target;
            scope.spawn(move || {
                let length = if number % 2 == 0 { "Content-Length: 1000000" } else { "Transfer-Encoding: chunked" };
                let head = format!(
                    "POST /webhook HTTP/1.1\r\nHost: pintle\r\nContent-Type: application/json\r\n{length}\r\n\r\n"
                );
                let mut line = Line::saying(target.port(), head);
                let piece: &[u8] = if number % 2 == 0 { b"x" } else { b"1\r\nx\r\n" };
                let said = line.drip(piece, Duration::from_millis(50));
                assert!(said < 200, "its deadline was moved by every byte: {said} pieces");
                let statuses: Vec<u16> = line.hear_all().iter().map(|reply| reply.status).collect();
                assert!(matches!(statuses[..], [] | [408]), "{statuses:?}");
            });
        }
        for _ in 0..20 {
            target.is_served();
        }
    });
    target.is_unharmed();
}

#[test]
fn bodies_that_are_too_large_hold_up_nobody() {
    let target = Target::with("header_timeout = \"1s\"\nbody_timeout = \"1s\"\nmax_body = \"64KiB\"");
    let head =
        "POST /webhook HTTP/1.1\r\nHost: pintle\r\nContent-Type: application/json\r\nContent-Length: 65537\r\n\r\n";
    let mut lines: Vec<Line> = (0..12).map(|_| Line::saying(target.port(), head)).collect();
    for line in &mut lines {
        assert_eq!(line.hear().map(|reply| reply.status), Some(413), "before the body came");
        let _ = line.say("x");
    }
    target.is_served();
    // Who sends all of it gets to read the answer too, instead of a reset.
    let mut line = Line::saying(target.port(), format!("{head}{}", "x".repeat(65_537)));
    assert_eq!(line.hear().map(|reply| reply.status), Some(413));
    target.is_unharmed();
}

/// Asks and asks, and reads no answer.
#[test]
fn who_does_not_read_is_not_waited_for_and_costs_no_memory() {
    let target = Target::up();
    let before = Vital::of_listener(&target.world);
    // Answered by the guard alone, so that buffers on the way are full soon.
    let asking = "GET /nothing HTTP/1.1\r\nHost: pintle\r\n\r\n".repeat(1000);
    let began = Instant::now();
    let mut lines: Vec<(TcpStream, usize)> = (0..4).map(|_| (with_a_small_buffer(target.port()), 0)).collect();
    let mut highest = before.resident;
    // As much as fits into the buffers on the way, and on until the listener has enough: ten seconds after that.
    while began.elapsed() < Duration::from_secs(60) && !lines.is_empty() {
        lines.retain_mut(|(line, said)| {
            loop {
                match line.write(&asking.as_bytes()[*said..]) {
                    Ok(written) => *said = (*said + written) % asking.len(),
                    Err(error) => break error.kind() == std::io::ErrorKind::WouldBlock,
                }
            }
        });
        highest = highest.max(Vital::of_listener(&target.world).resident);
        target.is_served();
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(lines.is_empty(), "{} of 4 are still waited for", lines.len());
    assert!(highest < before.resident + (6 << 20), "{} KiB more", (highest - before.resident) >> 10);
    target.is_unharmed();
}

/// A connection on which little fits that was not read.
fn with_a_small_buffer(port: u16) -> TcpStream {
    let address = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    setsockopt(&fd, sockopt::RcvBuf, &2048).unwrap();
    connect(fd.as_raw_fd(), &address).unwrap();
    let stream = TcpStream::from(fd);
    stream.set_nonblocking(true).unwrap();
    stream
}

#[test]
fn who_has_said_everything_is_answered_and_who_broke_off_is_forgotten() {
    let target = Target::up();
    let mut line = Line::saying(target.port(), "GET /health HTTP/1.1\r\nHost: pintle\r\n\r\n");
    line.ends_its_side();
    assert_eq!(line.hear().map(|reply| reply.status), Some(200));

    let half = ["", "GET /hea", "POST /webhook HTTP/1.1\r\nHost: pintle\r\nContent-Length: 10\r\n\r\n12345"];
    for request in half {
        let mut line = Line::saying(target.port(), request);
        line.ends_its_side();
        let began = Instant::now();
        let statuses: Vec<u16> = line.hear_all().iter().map(|reply| reply.status).collect();
        assert!(matches!(statuses[..], [] | [400] | [408]), "{request:?}: {statuses:?}");
        assert!(began.elapsed() < Duration::from_secs(4), "{request:?} took {:?}", began.elapsed());
    }
    target.is_unharmed();
}
