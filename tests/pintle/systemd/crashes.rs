//! The daemon dies - killed, hung, again and again - and the shop's visitors never know.

use super::board::Board;
use super::furniture;
use pintle::control::AppState;
use std::time::{Duration, Instant};

/// The unit is back and supervises the same process; the time since `since`.
#[track_caller]
fn back(board: &Board, gone: i32, since: Instant) -> Duration {
    board.machine.wait("another daemon that answers", || {
        board.status().filter(|status| status.daemon.pid as i32 != gone && !status.apps.is_empty())
    });
    let spent = since.elapsed();
    board
        .machine
        .wait("systemd to call it active", || (board.machine.property("ActiveState") == "active").then_some(()));
    spent
}

#[track_caller]
fn supervises(board: &Board, pid: i32) {
    let instances = board.instances("web");
    assert_eq!(instances.iter().map(|i| i.pid).collect::<Vec<_>>(), [Some(pid as u32)], "{instances:?}");
    assert_eq!(board.shop().unwrap().state, AppState::Running);
    assert_eq!(board.pid(), pid);
}

/// The socket lies with systemd.
#[track_caller]
fn socket_is_kept(board: &Board) {
    let count: usize = board.machine.property("NFileDescriptorStore").parse().unwrap();
    let kept = board.machine.says("systemd-analyze fdstore pintle.service");
    assert!(count >= 1 && kept.contains("socket-"), "{count} descriptors are kept:\n{kept}");
}

#[test]
#[ignore = "needs root, debootstrap and systemd-container"]
fn a_killed_daemon_is_back_and_the_app_never_noticed() {
    let board = Board::with_a_shop();
    let (daemon, web) = (board.daemon(), board.pid());
    socket_is_kept(&board);
    let visitors = board.visitors();
    let since = Instant::now();
    board.signal("KILL", daemon);
    let spent = back(&board, daemon, since);
    assert!(spent < Duration::from_secs(2), "it took {spent:?} to be back");
    supervises(&board, web);
    socket_is_kept(&board);
    visitors.were_all_served();
    // It supervises what it adopted: the app's end is seen, and who comes meanwhile waits for the next one.
    let visitors = board.visitors();
    board.signal("KILL", web);
    visitors.some_more();
    assert_ne!(board.pid(), web);
    visitors.were_not_refused(1);
    assert_eq!(board.machine.property("NRestarts"), "1");
    board.deploy("v2");
}

#[test]
#[ignore = "needs root, debootstrap and systemd-container"]
fn the_socket_outlives_daemon_and_app_together() {
    let board = Board::with_a_shop();
    let visitors = board.visitors();
    for _ in 0..3 {
        let (daemon, web) = (board.daemon(), board.pid());
        let since = Instant::now();
        board.machine.says(&format!("kill -KILL {daemon} {web}"));
        back(&board, daemon, since);
        visitors.some_more();
        assert_ne!(board.pid(), web);
    }
    visitors.were_not_refused(3);
    socket_is_kept(&board);
}

#[test]
#[ignore = "needs root, debootstrap and systemd-container"]
fn a_hung_daemon_is_ended_by_the_watchdog_and_the_app_never_noticed() {
    let board = Board::installed(&furniture::shop()).drop_in("[Service]\nWatchdogSec=3s\n").started();
    let (daemon, web) = (board.daemon(), board.pid());
    let visitors = board.visitors();
    let since = Instant::now();
    board.signal("STOP", daemon);
    let spent = back(&board, daemon, since);
    assert!(spent < Duration::from_secs(3 + 2), "the watchdog and the new daemon took {spent:?}");
    supervises(&board, web);
    visitors.were_all_served();
    let journal = board.machine.journal();
    assert!(journal.contains("Watchdog timeout"), "{journal}");
}

#[test]
#[ignore = "needs root, debootstrap and systemd-container"]
fn five_kills_in_quick_succession_change_nothing() {
    let board = Board::with_a_shop();
    let web = board.pid();
    let visitors = board.visitors();
    let mut daemon = board.daemon();
    for _ in 0..5 {
        let since = Instant::now();
        let gone = daemon;
        board.signal("KILL", gone);
        // Not waited for until it is ready: the next one may die while it starts.
        daemon = board.machine.wait("the next daemon", || Some(board.daemon()).filter(|pid| ![0, gone].contains(pid)));
        assert!(since.elapsed() < Duration::from_secs(2), "it took {:?}", since.elapsed());
    }
    board.machine.wait("the last daemon", || board.status().filter(|status| status.daemon.pid as i32 == daemon));
    visitors.were_all_served();
    supervises(&board, web);
    assert_eq!(board.machine.property("NRestarts"), "5");
}

#[test]
#[ignore = "needs root, debootstrap and systemd-container"]
fn what_an_app_says_while_nobody_listens_is_written_down() {
    let board = Board::with_a_shop();
    let (daemon, web) = (board.daemon(), board.pid());
    let log = || board.pintle("logs shop web").stdout;
    board.signal("STOP", daemon);
    // What the shop complains about, once for each.
    let complaints = 20;
    for _ in 0..complaints {
        assert!(board.get(&format!("/{}", "x".repeat(17 << 10))).is_err());
    }
    let since = Instant::now();
    board.signal("KILL", daemon);
    back(&board, daemon, since);
    supervises(&board, web);
    board.machine.wait("each complaint to be in the log", || {
        (log().matches("a head above 16 KiB").count() == complaints).then_some(())
    });
    board.pintle("stop shop").exits(0);
    board.machine.wait("the last words", || log().contains(&format!("pid {web}: stopped")).then_some(()));
}
