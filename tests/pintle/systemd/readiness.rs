//! What the daemon tells systemd: ready, how it is, and what a reload or a configuration nobody can run means.

use super::board::Board;
use super::furniture;
use pintle::control::{AppState, ListenerState};
use std::fs;

#[test]
#[ignore = "needs root, debootstrap and systemd-container"]
fn ready_means_that_the_control_socket_answers_and_the_apps_were_started() {
    let board = Board::with_a_shop();
    let first = board.pid();
    board.machine.systemctl("stop pintle.service");
    // `systemctl start` returns when READY came: nothing is waited for after it.
    board.machine.systemctl("start pintle.service");
    let status = board.status().expect("the control socket answers as soon as the unit is started");
    assert_eq!(status.daemon.pid as i32, board.daemon());
    let instances = board.instances("web");
    assert!(instances.iter().any(|instance| instance.pid.is_some()), "no start was attempted: {instances:?}");
    assert_ne!(board.pid(), first);
    assert_eq!(board.get("/").unwrap().body, "v1");
}

#[test]
#[ignore = "needs root, debootstrap and systemd-container"]
fn the_status_line_says_how_it_is() {
    let board = Board::with_a_shop();
    let line = || Some(board.machine.property("StatusText")).filter(|line| !line.is_empty());
    let well = board.machine.wait("a status line", || line().filter(|line| line.contains('1')));
    board.pintle("stop shop").exits(0);
    board.machine.wait("another status line", || line().filter(|line| *line != well));
    // The listener runs as the user that the package makes for it, and is no part of the apps.
    let status = board.status().unwrap();
    assert_eq!(status.listener.state, ListenerState::Up);
    let listener = status.listener.pid.unwrap();
    assert_eq!(board.machine.says(&format!("stat --format=%U /proc/{listener}")), "pintle-listen");
}

#[test]
#[ignore = "needs root, debootstrap and systemd-container"]
fn a_reload_leaves_alone_what_did_not_change() {
    let app = furniture::with_script(furniture::shop(), "worker", "worker.sh");
    let board = Board::installed(&app);
    board.machine.systemctl("enable --now pintle.service");
    board.commit("v1", "", &[("worker.sh", "exec sleep 100000\n")]);
    board.deploy_tip();
    let (daemon, web) = (board.daemon(), board.pid());
    let visitors = board.visitors();
    let changed = app.clone().set("service.worker", "env", "{ COLOUR = \"green\" }");
    furniture::configure(&board.machine.path("/"), &changed);
    board.machine.systemctl("reload pintle.service");
    board.wait_for_journal("read again");
    visitors.were_all_served();
    assert_eq!((board.daemon(), board.pid()), (daemon, web));
    // What was read is what the next deployment means.
    board.pintle("deploy shop --force").exits(0);
    let worker = board.pid_of("worker");
    let environment = board.machine.says(&format!("tr '\\0' '\\n' < /proc/{worker}/environ"));
    assert!(environment.contains("COLOUR=green"), "{environment}");
}

#[test]
#[ignore = "needs root, debootstrap and systemd-container"]
fn a_broken_configuration_keeps_the_old_one_and_says_why() {
    let board = Board::with_a_shop();
    let (daemon, web) = (board.daemon(), board.pid());
    let file = board.machine.path("/etc/pintle/apps/shop.toml");
    let good = fs::read_to_string(&file).unwrap();
    fs::write(&file, good.replace("[health]", "[helth]")).unwrap();
    board.machine.systemctl("reload pintle.service");
    let journal = board.wait_for_journal("helth");
    assert!(journal.contains("shop.toml"), "{journal}");
    assert_eq!((board.daemon(), board.pid()), (daemon, web));
    assert_eq!(board.machine.property("ActiveState"), "active");
    // A restart on the broken files starts the app as it was last accepted.
    board.machine.systemctl("restart pintle.service");
    let told = board.status().unwrap().notices.join("\n");
    assert!(told.contains("configuration"), "{told}");
    assert_eq!(board.get("/").unwrap().body, "v1");
    fs::write(&file, good).unwrap();
    board.machine.systemctl("reload pintle.service");
    board.machine.wait("the complaint to be over", || board.status()?.notices.is_empty().then_some(()));
    assert_eq!(board.shop().unwrap().state, AppState::Running);
}

#[test]
#[ignore = "needs root, debootstrap and systemd-container"]
fn a_configuration_nobody_can_run_is_not_tried_for_ever() {
    let board = Board::installed(&furniture::shop());
    fs::write(board.machine.path("/etc/pintle/pintle.toml"), "state_dri = \"/var/lib/pintle\"\n").unwrap();
    let outcome = board.machine.run("systemctl start pintle.service");
    assert_ne!(outcome.code, Some(0));
    assert_eq!(board.machine.property("ActiveState"), "failed");
    assert_eq!(board.machine.property("ExecMainStatus"), "78");
    assert_eq!(board.machine.property("NRestarts"), "0");
    assert!(board.machine.journal().contains("state_dri"), "{}", board.machine.journal());
}
