//! Ports for the worlds: outside the range from which the kernel lends ports to clients, so that no connection of
//! another test can sit on one.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 20_000;
const COUNT: u16 = 10_000;

/// A port on 127.0.0.1 that nobody has now and that no other world of this run gets.
pub fn take() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Two runs at once begin at different places.
    let start = (std::process::id() as u16).wrapping_mul(97) % COUNT;
    (0..COUNT)
        .map(|_| FIRST + (start + NEXT.fetch_add(1, Ordering::SeqCst) % COUNT) % COUNT)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}
