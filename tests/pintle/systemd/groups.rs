//! Each instance in a group of its own below the unit's, so that its end is the end of all it started.

use super::board::Board;
use super::furniture;

const UNIT: &str = "/system.slice/pintle.service";

/// A child that is in no process group, session or environment of the instance's any more.
const HIDING: &str = "(setsid env -i /bin/sleep 98765 &)\nexec /bin/sleep 100000\n";

#[track_caller]
fn hidden(board: &Board) -> Option<i32> {
    board.machine.run("pgrep --full 'sleep 98765'").stdout.lines().next()?.parse().ok()
}

#[track_caller]
fn groups_hold(board: &Board) {
    let two = furniture::with_script(furniture::shop(), "worker", "worker.sh");
    furniture::configure(&board.machine.path("/"), &two);
    board.machine.systemctl("enable --now pintle.service");
    board.commit("v1", "", &[("worker.sh", HIDING)]);
    board.deploy_tip();
    let (daemon, web, worker) = (board.daemon(), board.pid(), board.pid_of("worker"));
    let child = board.machine.wait("the hidden child", || hidden(board));
    let group = |pid: i32| board.machine.group_of(pid).unwrap_or_default();
    let (of_daemon, of_web, of_worker) = (group(daemon), group(web), group(worker));
    for group in [&of_daemon, &of_web, &of_worker] {
        assert!(group.starts_with(UNIT), "{group} is outside of the unit");
    }
    assert!(of_web != of_daemon && of_worker != of_daemon && of_web != of_worker, "{of_web} {of_worker} {of_daemon}");
    assert_eq!(group(child), of_worker);
    // The instance ends, and with it what hid from everything else.
    board.signal("KILL", worker);
    let next = board.machine.wait("the worker's next process", || {
        let pid = board.instances("worker").first()?.pid? as i32;
        (pid != worker).then_some(pid)
    });
    board.machine.wait("the hidden child to end", || (!board.machine.is_alive(child)).then_some(()));
    assert_eq!(board.pid(), web);
    // The same after the daemon was killed, and when it is adopted instances that end.
    let child = board.machine.wait("the next hidden child", || hidden(board));
    board.signal("KILL", daemon);
    board.machine.wait("another daemon", || board.status().filter(|status| status.daemon.pid as i32 != daemon));
    assert_eq!(board.pid_of("worker"), next, "it is adopted");
    assert_eq!(group(board.daemon()), of_daemon);
    board.pintle("stop shop worker").exits(0);
    board.machine.wait("the hidden child to end", || (!board.machine.is_alive(child)).then_some(()));
    let stale = board.machine.run(&format!("ls -d /sys/fs/cgroup{}", group(next)));
    assert!(group(next).is_empty(), "{}", stale.stdout);
    assert_eq!(board.pid(), web);
}

#[test]
#[ignore = "needs root, debootstrap and systemd-container"]
fn each_instance_ends_with_all_it_started() {
    let board = Board::installed(&furniture::shop());
    groups_hold(&board);
    assert_eq!(board.machine.group_of(board.daemon()).unwrap(), format!("{UNIT}/daemon"));
}

#[test]
#[ignore = "needs root, debootstrap and systemd-container"]
fn the_same_where_systemd_cannot_put_the_daemon_into_a_group_of_its_own() {
    // As before systemd 254.
    let board = Board::installed(&furniture::shop()).drop_in("[Service]\nDelegateSubgroup=\n");
    groups_hold(&board);
    assert_eq!(board.machine.group_of(board.daemon()).unwrap(), UNIT);
}
