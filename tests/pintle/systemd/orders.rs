//! What a person orders with systemctl: restart, stop, stop at once, and a new binary in the old one's place.

use super::board::Board;
use super::furniture;
use std::time::{Duration, Instant};

/// Nothing of the unit is left: no process, no group.
#[track_caller]
fn nothing_is_left(board: &Board) {
    let left =
        board.machine.run("ps -e -o user:16,pid,args | grep -E '^keeper|/usr/bin/pintle|sleep 600' | grep -v grep");
    assert_eq!(left.stdout, "", "processes are left");
    let group = board.machine.run("ls -d /sys/fs/cgroup/system.slice/pintle.service");
    assert_ne!(group.code, Some(0), "the unit's group is left: {}", board.machine.run("systemd-cgls").stdout);
}

#[test]
#[ignore = "needs root, debootstrap and systemd-container"]
fn a_restart_stops_and_starts_the_apps_and_refuses_nobody() {
    let board = Board::with_a_shop();
    let (daemon, web) = (board.daemon(), board.pid());
    let visitors = board.visitors();
    board.machine.systemctl("restart pintle.service");
    visitors.some_more();
    assert!(board.daemon() != daemon && board.pid() != web);
    assert!(!board.machine.is_alive(web));
    // Stopped, not killed: it said goodbye, and whoever was connected was answered.
    let journal = board.machine.says("cat /var/lib/pintle/apps/shop/shared/data/journal");
    assert!(journal.contains(&format!("end v1 web {web}")), "{journal}");
    visitors.were_all_served();
}

#[test]
#[ignore = "needs root, debootstrap and systemd-container"]
fn a_stop_leaves_nothing() {
    let board = Board::with_a_shop();
    board.commit("v2", "child = yes", &[]);
    board.deploy_tip();
    board.machine.systemctl("stop pintle.service");
    assert_eq!(board.machine.property("Result"), "success");
    assert_eq!(board.machine.property("ActiveState"), "inactive");
    nothing_is_left(&board);
    // Nobody holds the socket: who comes now is told at once.
    assert!(board.get("/").is_err());
    board.machine.systemctl("start pintle.service");
    assert_eq!(board.get("/").unwrap().body, "v2");
}

#[test]
#[ignore = "needs root, debootstrap and systemd-container"]
fn a_second_sigterm_stops_waiting() {
    let app = furniture::shop().set("service.web", "stop_timeout", "\"60s\"");
    let board = Board::installed(&app);
    board.machine.systemctl("enable --now pintle.service");
    board.commit("v1", "ignore_term = yes\nrehearsal_ignore_term = no", &[]);
    board.deploy_tip();
    let (daemon, web) = (board.daemon(), board.pid());
    board.machine.systemctl("stop --no-block pintle.service");
    board.machine.wait("the app to have heard it", || {
        board.pintle("logs shop web").stdout.contains("SIGTERM ignored").then_some(())
    });
    assert!(board.machine.is_alive(daemon) && board.machine.is_alive(web));
    let since = Instant::now();
    board.signal("TERM", daemon);
    board
        .machine
        .wait("the unit to be inactive", || (board.machine.property("ActiveState") == "inactive").then_some(()));
    assert!(since.elapsed() < Duration::from_secs(5), "it took {:?}", since.elapsed());
    assert_eq!(board.machine.property("Result"), "success");
    nothing_is_left(&board);
}

#[test]
#[ignore = "needs root, debootstrap and systemd-container"]
fn a_new_binary_takes_the_old_ones_place_and_nobody_notices() {
    let board = Board::with_a_shop();
    let (daemon, web) = (board.daemon(), board.pid());
    let image = |pid: i32| board.machine.says(&format!("stat --dereference --format=%i /proc/{pid}/exe"));
    let old = image(daemon);
    let visitors = board.visitors();
    let entered = board.machine.property("ActiveEnterTimestampMonotonic");
    // The first over an unchanged binary, the second over a new one.
    board.pintle("reexec").exits(0);
    visitors.some_more();
    furniture::install_binary(&board.machine.path("/"));
    board.signal("USR2", daemon);
    board.machine.wait("the new binary", || (image(daemon) != old).then_some(()));
    board.machine.wait("its answer", || board.status());
    visitors.some_more();
    assert_eq!((board.daemon(), board.pid()), (daemon, web));
    assert_eq!(board.machine.property("ActiveEnterTimestampMonotonic"), entered, "the unit was never inactive");
    assert_eq!(board.machine.property("NRestarts"), "0");
    visitors.were_all_served();
    // The children are still its own: the end of one is seen with its cause.
    board.signal("ABRT", web);
    let again = board.machine.wait("a new process of the shop", || Some(board.pid()).filter(|pid| *pid != web));
    let instances = board.instances("web");
    assert_eq!(instances[0].pid, Some(again as u32));
    assert!(instances[0].last_exit.as_deref().is_some_and(|exit| exit.contains("SIGABRT")), "{instances:?}");
    board.deploy("v2");
}
