//! What is wrong with the host is no reason for the watchdog to end the daemon: it degrades, and goes on.

use super::board::Board;
use super::furniture;
use crate::world::Request;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const WATCHDOG: Duration = Duration::from_secs(2);
const UNIT: &str = "[Service]\nWatchdogSec=2s\n";

/// For more than two periods of the watchdog - a length of time by its nature - the same daemon is there and answers.
#[track_caller]
fn stays(board: &Board, daemon: i32, mut meanwhile: impl FnMut()) {
    let until = Instant::now() + WATCHDOG * 5 / 2;
    while Instant::now() < until {
        meanwhile();
        assert_eq!(board.daemon(), daemon, "{}", board.machine.journal());
        assert!(board.status().is_some(), "it does not answer");
    }
    assert_eq!(board.machine.property("NRestarts"), "0");
}

#[test]
#[ignore = "needs root, debootstrap and systemd-container"]
fn a_full_disk_is_no_hang() {
    let board = Board::installed(&furniture::shop()).drop_in(UNIT);
    board.machine.says("mkdir /var/lib/pintle && mount -t tmpfs -o size=160m,mode=0755 tmpfs /var/lib/pintle");
    let board = board.started();
    let (daemon, web) = (board.daemon(), board.pid());
    board.machine.run("dd if=/dev/zero of=/var/lib/pintle/ballast bs=64k status=none");
    assert_eq!(board.machine.says("df --output=avail /var/lib/pintle | tail -n 1").trim(), "0");
    let visitors = board.visitors();
    // Things to write down: a deployment that cannot be, an app that dies.
    board.commit("v2", "", &[]);
    let refused = board.pintle("deploy shop");
    assert_ne!(refused.code, Some(0), "{refused:?}");
    board.signal("KILL", web);
    stays(&board, daemon, || visitors.some_more());
    board.machine.says("rm /var/lib/pintle/ballast");
    visitors.were_not_refused(1);
    board.machine.wait("the disk to be used again", || (board.pintle("deploy shop").code == Some(0)).then_some(()));
    assert_eq!(board.get("/").unwrap().body, "v2");
    assert_eq!(board.daemon(), daemon);
}

#[test]
#[ignore = "needs root, debootstrap and systemd-container"]
fn a_flooded_listener_is_no_hang() {
    let board = Board::installed(&furniture::shop()).drop_in(UNIT).started();
    let (daemon, web) = (board.daemon(), board.pid());
    let visitors = board.visitors();
    // Many who never say what they want - more than the listener has descriptors for - and some who say it over and over.
    let silent: Vec<TcpStream> = board.machine.inside(|| (0..600).filter_map(|_| knock()).collect());
    stays(&board, daemon, || {
        board.machine.inside(|| {
            for mut stream in (0..20).filter_map(|_| knock()) {
                let _ = stream.write_all(b"POST /webhook HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}");
            }
        });
    });
    drop(silent);
    visitors.were_all_served();
    assert_eq!(board.pid(), web);
    // Whatever became of the listener, the daemon takes orders, and another listener takes its place.
    board.deploy("v2");
    let listener = board.status().unwrap().listener.pid.unwrap();
    board.signal("KILL", listener as i32);
    board.machine.wait("the next listener's answer", || {
        let reply = board.machine.inside(|| Request::get("/health").send(furniture::HOOK)).ok()?;
        (reply.status == 200).then_some(())
    });
    assert_eq!(board.daemon(), daemon);
}

/// A connection to the listener; `None` where its backlog is full.
fn knock() -> Option<TcpStream> {
    let address = SocketAddr::from(([127, 0, 0, 1], furniture::HOOK));
    TcpStream::connect_timeout(&address, Duration::from_millis(20)).ok()
}
