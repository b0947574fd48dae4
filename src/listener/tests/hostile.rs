//! What one client did to a bare tiny_http, done to the listener: it goes on answering.

use super::stage::*;
use crate::control::{DeployStatus, Phase};
use crate::listener::guard::Rate;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{setsockopt, sockopt::Linger};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The listener with other limits.
fn strict(change: impl FnOnce(&mut crate::listener::Setup)) -> (Scratch, SocketAddr) {
    let scratch = Scratch::new();
    play(&scratch, accepting(DeployStatus::Success, Phase::Done));
    let mut setup = setup(&scratch, vec![app("web")]);
    change(&mut setup);
    let address = listen_as(&scratch, setup);
    (scratch, address)
}

/// What is there until the connection ends.
fn rest(mut stream: TcpStream) -> String {
    let mut all = Vec::new();
    // A reset after the answer is an end too.
    let _ = stream.read_to_end(&mut all);
    String::from_utf8_lossy(&all).into_owned()
}

fn is_well(address: SocketAddr) {
    assert_eq!(get(address, "GET", "/health").status, 200);
    assert_eq!(post(address, "/webhook", "push", PUSH).status, 202);
}

#[test]
fn slow_heads_and_bodies_meet_their_deadline() {
    let (_scratch, address) = strict(|setup| {
        setup.limits.head = Duration::from_millis(300);
        setup.limits.body = Duration::from_millis(300);
    });
    let mut head = connect(address);
    let mut body = connect(address);
    let silent = connect(address);
    body.write_all(b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n").unwrap();
    // Bytes that keep coming do not help.
    while head.write_all(b"G").is_ok() && body.write_all(b"{").is_ok() {
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(silent);
    for _ in 0..2 {
        let mut stream = connect(address);
        let began = Instant::now();
        stream.write_all(b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx").unwrap();
        let answer = rest(stream);
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
    let mut half = connect(address);
    half.write_all(b"GET /health HT").unwrap();
    assert!(rest(half).starts_with("HTTP/1.1 408 "));
    is_well(address);
}

#[test]
fn resets_by_the_hundred_end_nothing() {
    let (_scratch, address) = strict(|_| {});
    for _ in 0..600 {
        let mut stream = connect(address);
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        setsockopt(&stream, Linger, &libc::linger { l_onoff: 1, l_linger: 0 }).unwrap();
    }
    is_well(address);
}

#[test]
fn two_thousand_silent_clients_keep_nobody_out() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(65_536), hard).unwrap();
    let (_scratch, address) = strict(|_| {});
    let mut silent = Vec::new();
    for number in 0..2000 {
        let mut stream = connect(address);
        // Half of them begin, and never end.
        if number % 2 == 0 {
            let _ = stream.write_all(b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Le");
        }
        silent.push(stream);
        if number % 100 == 0 {
            is_well(address);
        }
    }
    is_well(address);
}

#[test]
fn a_body_that_stalls_gives_way_to_one_that_comes() {
    let (_scratch, address) = strict(|setup| setup.limits.memory_budget = 3 << 20);
    let hold = || {
        let mut stream = connect(address);
        stream.write_all(b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n").unwrap();
        stream.write_all(&vec![b'x'; (1 << 20) - 1]).unwrap();
        stream
    };
    let stalled: Vec<TcpStream> = (0..4).map(|_| hold()).collect();
    is_well(address);
    let evicted = stalled.into_iter().filter(|stream| {
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let mut start = [0; 12];
        let mut stream = stream;
        stream.read(&mut start).is_ok_and(|read| start[..read].starts_with(b"HTTP/1.1 503"))
    });
    assert!((1..4).contains(&evicted.count()), "as many as it takes, and no more");
    is_well(address);
}

#[test]
fn deliveries_of_one_address_are_counted() {
    let (_scratch, address) = strict(|setup| setup.limits.rate = Rate { count: 5, per: Duration::from_secs(3600) });
    let from = |who: &str, body: &[u8]| {
        let text = String::from_utf8(signed("/webhook", "push", PUSH)).unwrap();
        let text = text.replace("Host: x\r\n", &format!("Host: x\r\nX-Forwarded-For: {who}\r\n"));
        let head = text.split_once("\r\n\r\n").unwrap().0.to_owned();
        exchange(connect(address), &[head.as_bytes(), b"\r\n\r\n", body].concat())
    };
    for _ in 0..5 {
        assert_eq!(from("1.2.3.4", PUSH).status, 202);
    }
    let refused = from("6.6.6.6, 1.2.3.4", PUSH);
    assert_eq!(refused.status, 429, "{refused:?}");
    assert!(refused.head.contains("\r\nRetry-After: 7"), "{refused:?}");
    assert_eq!(refused.json()["status"], "error");

    let forged = vec![b'x'; PUSH.len()];
    assert_eq!(from("2001:db8::1", &forged).status, 401);
    assert_eq!(from("2001:db8::2", PUSH).status, 202, "four of five are gone");
    assert_eq!(from("2001:db8::3", PUSH).status, 429);
    assert_eq!(from("2001:db8:0:1::3", PUSH).status, 202, "another subscriber");
    assert_eq!(get(address, "GET", "/health").status, 200, "pages are not counted");
}

#[test]
fn a_connection_is_used_again_and_half_closed_clients_are_answered() {
    let (_scratch, address) = strict(|_| {});
    let mut stream = connect(address);
    for _ in 0..3 {
        stream.write_all(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\nHEAD /health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    }
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let answers = rest(stream);
    let status: Vec<&str> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(status, ["404", "200", "404", "200", "404", "200", "200"], "{answers}");
    assert!(answers.ends_with("\"service\":\"pintle\"}"), "{answers}");
}

#[test]
fn a_refusal_is_read_although_the_body_still_comes() {
    let (_scratch, address) = strict(|_| {});
    for head in [
        "POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000",
        "POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000",
    ] {
        let mut stream = connect(address);
        write!(stream, "{head}\r\n\r\n").unwrap();
        for _ in 0..80 {
            // The guard stops reading only when it has said why.
            if stream.write_all(&[b'x'; 100_000]).is_err() {
                break;
            }
        }
        let answer = rest(stream);
        assert!(answer.starts_with("HTTP/1.1 413 ") || answer.starts_with("HTTP/1.1 404 "), "{answer:?}");
    }
}

const CHILD: &str = "PINTLE_TEST_FEW_DESCRIPTORS";

/// In a process of its own: with 64 descriptors, and with so few left that accepting fails.
#[test]
fn few_descriptors_end_nothing() {
    let Ok(left) = std::env::var(CHILD) else {
        for left in ["all", "few"] {
            from_outside(left);
        }
        return;
    };
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    if left == "all" {
        setrlimit(Resource::RLIMIT_NOFILE, 64, hard).unwrap();
    }
    let (_scratch, address) = strict(|_| {});
    is_well(address);
    if left == "few" {
        let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
        setrlimit(Resource::RLIMIT_NOFILE, open + 12, hard).unwrap();
    }
    println!("\n{address}");
    std::thread::sleep(Duration::from_secs(60));
}

fn from_outside(left: &str) {
    let name = "listener::tests::hostile::few_descriptors_end_nothing";
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, left)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = lines.map_while(Result::ok).find_map(|line| line.parse().ok());
    let address: SocketAddr = address.expect("the child says where it listens");
    let crowd: Vec<TcpStream> = (0..200).map(|_| connect(address)).collect();
    for _ in 0..5 {
        // Where none are left even the daemon cannot be asked, but the guard can say so.
        let expected: &[u16] = if left == "all" { &[200] } else { &[200, 503] };
        let got = get(address, "GET", "/health");
        assert!(expected.contains(&got.status), "{left} descriptors, with 200 clients: {got:?}");
    }
    drop(crowd);
    wait_until("descriptors are free", || get(address, "GET", "/health").status == 200);
    assert_eq!(get(address, "GET", "/health").status, 200, "{left} descriptors, and alone again");
    child.kill().unwrap();
    child.wait().unwrap();
}
