//! What clients can make the listener hold.

use super::Target;
use super::vital::Vital;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const BODY: usize = 25 << 20;
const BUDGET: u64 = 48 << 20;

/// Thirty bodies of 25 MB, all but their last byte: 750 MB, of which the budget lets in 48.
#[test]
fn large_bodies_together_stay_within_the_budget() {
    let target = Target::with("");
    let before = Vital::of_listener(&target.world);
    let over = AtomicBool::new(false);
    let highest = std::thread::scope(|scope| {
        for _ in 0..30 {
            scope.spawn(|| send_all_but_the_end(target.port(), &over));
        }
        let began = Instant::now();
        let mut highest = before.resident;
        while began.elapsed() < Duration::from_secs(4) {
            highest = highest.max(Vital::of_listener(&target.world).resident);
            target.is_served();
            std::thread::sleep(Duration::from_millis(50));
        }
        over.store(true, Ordering::SeqCst);
        highest
    });
    let grown = highest - before.resident;
    assert!(grown > 16 << 20, "only {} MiB: nothing was held at all", grown >> 20);
    assert!(grown < BUDGET + (8 << 20), "{} MiB with a budget of {} MiB", grown >> 20, BUDGET >> 20);
    let peak = Vital::of_listener(&target.world).peak;
    assert!(peak < before.resident + BUDGET + (16 << 20), "a peak of {} MiB", peak >> 20);
    target.is_unharmed();
}

/// Sends a body in pieces, the last byte never; holds the connection until all is over or it is cut.
fn send_all_but_the_end(port: u16, over: &AtomicBool) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let head = format!(
        "POST /webhook HTTP/1.1\r\nHost: p\r\nContent-Type: application/json\r\nContent-Length: {BODY}\r\n\r\n"
    );
    let piece = vec![b'x'; 64 << 10];
    let mut left = BODY - 1;
    let _ = stream.write_all(head.as_bytes());
    while !over.load(Ordering::SeqCst) {
        match stream.write(&piece[..left.min(piece.len())]) {
            Ok(written) => left -= written,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
        if left == 0 {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A push of 24 MB is taken, and what it needed is given back.
#[test]
fn a_large_push_is_taken_and_its_memory_given_back() {
    let target = Target::with("");
    for _ in 0..3 {
        target.ignored_push(24_000_000).send(target.port()).unwrap().ignored();
    }
    let peak = Vital::of_listener(&target.world).peak - target.before.listener.resident;
    assert!(peak < 60 << 20, "a peak of {} MiB", peak >> 20);
    target.is_unharmed();
}
