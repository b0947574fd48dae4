//! The health timer under the real systemd: what hangs is ended and comes back, what failed is started, what was stopped
//! stays so - and the shop's visitors never know.

use super::board::Board;
use super::furniture;
use pintle::control::AppState;
use std::fs;

/// Its watchdog would come to our help.
const NO_WATCHDOG: &str = "[Service]\nWatchdogSec=0\n";

/// Runs the check as the timer does; what it said.
#[track_caller]
fn check(board: &Board) -> String {
    let outcome = board.machine.run("systemctl start pintle-health.service");
    let said = board.machine.says("journalctl --no-pager --output=cat --unit=pintle-health.service");
    assert_eq!(outcome.code, Some(0), "{outcome:?}\n{said}");
    said
}

/// What `doctor` says about something: its level and its sentence.
#[track_caller]
fn diagnosis(board: &Board, about: &str) -> (String, String) {
    let document = board.pintle("--json doctor").json();
    let findings = document["findings"].as_array().unwrap();
    let found = findings.iter().find(|one| one["about"] == about).unwrap_or_else(|| panic!("{about}: {document:#}"));
    let text = |key: &str| found[key].as_str().unwrap().to_owned();
    (text("level"), text("what"))
}

#[track_caller]
fn supervises(board: &Board, pid: i32) {
    let instances = board.instances("web");
    assert_eq!(instances.iter().map(|i| i.pid).collect::<Vec<_>>(), [Some(pid as u32)], "{instances:?}");
    assert_eq!((board.shop().unwrap().state, board.pid()), (AppState::Running, pid));
}

#[test]
#[ignore = "needs root, debootstrap and systemd-container"]
fn the_units_are_understood_and_a_check_of_what_is_well_says_nothing() {
    let board = Board::with_a_shop();
    let verified = board.machine.run("systemd-analyze verify pintle-health.service pintle-health.timer pintle.service");
    assert_eq!((verified.code, verified.stdout.as_str(), verified.stderr.as_str()), (Some(0), "", ""));
    let exposed = board.machine.run("systemd-analyze security --no-pager --threshold=35 pintle-health.service");
    assert_eq!(exposed.code, Some(0), "{}", exposed.stdout);
    let timers = board.machine.systemctl("show --property=TimersMonotonic pintle-health.timer");
    assert!(timers.contains("OnBootUSec=5min") && timers.contains("OnUnitActiveUSec=5min"), "{timers}");
    // The host's disk and memory are those of whoever runs the tests.
    let said = check(&board);
    assert!(!said.contains("pintle") && !said.contains("daemon") && !said.contains("app/"), "{said}");
    // It may see everything: nothing was left out.
    let document = board.pintle("--json check").json();
    assert_eq!(document["daemon"]["state"], "up", "{document:#}");
    let left_out = |one: &serde_json::Value| one["what"].as_str().unwrap().contains("left out");
    assert!(!document["findings"].as_array().unwrap().iter().any(left_out), "{document:#}");
}

#[test]
#[ignore = "needs root, debootstrap and systemd-container"]
fn a_daemon_that_hangs_is_ended_and_the_app_never_noticed() {
    let board = Board::installed(&furniture::shop()).drop_in(NO_WATCHDOG).started();
    let (daemon, web) = (board.daemon(), board.pid());
    let visitors = board.visitors();
    board.signal("STOP", daemon);
    let said = check(&board);
    assert!(said.contains("it did not answer and was ended; it was back after"), "{said}");
    assert_ne!(board.daemon(), daemon);
    supervises(&board, web);
    visitors.were_all_served();
    assert_eq!(board.machine.property("NRestarts"), "1");
    assert_eq!(board.machine.property("ActiveState"), "active");
}

#[test]
#[ignore = "needs root, debootstrap and systemd-container"]
fn one_that_was_stopped_on_purpose_stays_stopped() {
    let board = Board::with_a_shop();
    board.machine.systemctl("stop pintle.service");
    let said = check(&board);
    assert!(said.contains("stopped on purpose"), "{said}");
    assert_eq!(board.machine.run("systemctl is-active pintle.service").stdout.trim(), "inactive");
    let document = board.pintle("--json check").json();
    assert_eq!((&document["daemon"]["state"], document["level"].as_str()), (&"stopped".into(), Some("warning")));
    assert!(board.get("/").is_err(), "the shop was stopped with it");
}

#[test]
#[ignore = "needs root, debootstrap and systemd-container"]
fn one_that_was_stopped_while_it_waited_to_be_started_again_stays_stopped() {
    let board = Board::installed(&furniture::shop()).drop_in("[Service]\nRestartSec=1h\n").started();
    board.signal("KILL", board.daemon());
    board.machine.wait("systemd to wait", || (board.machine.property("SubState") == "auto-restart").then_some(()));
    let said = check(&board);
    assert!(said.contains("left alone: systemd is starting it"), "{said}");
    board.machine.systemctl("stop pintle.service");
    assert_eq!(board.machine.property("ActiveState"), "inactive");
    let said = check(&board);
    assert!(said.contains("left alone: it was stopped on purpose"), "{said}");
    assert_eq!(board.machine.property("ActiveState"), "inactive");
}

#[test]
#[ignore = "needs root, debootstrap and systemd-container"]
fn one_that_had_to_be_killed_at_its_stop_stays_stopped() {
    // Asked by a signal it does not hear. (Stopping it with SIGSTOP is no hang here: systemd sends SIGCONT as well.)
    let drop_in = "[Service]\nKillSignal=SIGWINCH\nTimeoutStopSec=1s\n";
    let board = Board::installed(&furniture::shop()).drop_in(drop_in).started();
    board.machine.systemctl("stop pintle.service");
    let stood = (board.machine.property("ActiveState"), board.machine.property("Result"));
    assert_eq!(stood, ("failed".into(), "timeout".into()));
    let said = check(&board);
    assert!(said.contains("left alone: it was stopped on purpose"), "{said}");
    assert_eq!(board.machine.property("ActiveState"), "failed");
}

#[test]
#[ignore = "needs root, debootstrap and systemd-container"]
fn one_that_failed_is_started_and_adopts_what_runs() {
    let unit = "[Service]\nRestart=no\n";
    let board = Board::installed(&furniture::shop()).drop_in(unit).started();
    let web = board.pid();
    board.signal("KILL", board.daemon());
    board.machine.wait("systemd to give it up", || (board.machine.property("ActiveState") == "failed").then_some(()));
    let document = board.pintle("--json check").json();
    assert_eq!((&document["daemon"]["state"], &document["exit"]), (&"down".into(), &2.into()), "{document:#}");
    let said = check(&board);
    assert!(said.contains("it had failed and was started; it was back after"), "{said}");
    supervises(&board, web);
}

#[test]
#[ignore = "needs root, debootstrap and systemd-container"]
fn one_that_failed_by_its_configuration_waits_for_a_person() {
    let board = Board::installed(&furniture::shop());
    let file = board.machine.path("/etc/pintle/pintle.toml");
    let good = fs::read_to_string(&file).unwrap();
    fs::write(&file, "nonsense [").unwrap();
    board.machine.run("systemctl start pintle.service");
    board.machine.wait("its end", || (board.machine.property("ActiveState") == "failed").then_some(()));
    assert_eq!(board.machine.property("ExecMainStatus"), "78");
    let outcome = board.machine.run("systemctl start pintle-health.service");
    assert_ne!(outcome.code, Some(0), "a daemon that is down is critical, and `systemctl --failed` lists that");
    assert_eq!(board.machine.property("ActiveState"), "failed");
    let said = board.machine.says("journalctl --no-pager --output=cat --unit=pintle-health.service");
    assert!(said.contains("left alone: its configuration has to be corrected first"), "{said}");
    fs::write(&file, good).unwrap();
    check(&board);
    assert_eq!(board.machine.property("ActiveState"), "active");
}

#[test]
#[ignore = "needs root, debootstrap and systemd-container"]
fn the_timer_does_it_by_itself() {
    let board = Board::installed(&furniture::shop()).drop_in(NO_WATCHDOG).started();
    let dir = board.machine.path("/etc/systemd/system/pintle-health.timer.d");
    fs::create_dir_all(&dir).unwrap();
    let soon = "[Timer]\nOnBootSec=\nOnBootSec=1s\nOnUnitActiveSec=1s\nAccuracySec=100ms\n";
    fs::write(dir.join("soon.conf"), soon).unwrap();
    board.machine.systemctl("daemon-reload");
    let began =
        || board.machine.systemctl("show --property=InactiveExitTimestampMonotonic --value pintle-health.service");
    let never = began();
    board.machine.systemctl("enable --now pintle-health.timer");
    let first = board.machine.wait("its first run", || Some(began()).filter(|at| *at != never));
    board.machine.wait("another one", || Some(began()).filter(|at| *at != first));
    let (daemon, web) = (board.daemon(), board.pid());
    let visitors = board.visitors();
    board.signal("STOP", daemon);
    board.machine.wait("another daemon", || Some(board.daemon()).filter(|pid| ![0, daemon].contains(pid)));
    board.machine.wait("it to answer", || board.status());
    supervises(&board, web);
    visitors.were_all_served();
    assert_eq!(board.machine.systemctl("is-active pintle-health.timer"), "active");
}

#[test]
#[ignore = "needs root, debootstrap and systemd-container"]
fn doctor_knows_the_units_and_the_real_nginx() {
    let board = Board::with_a_shop();
    let level = |about: &str| diagnosis(&board, about);
    let ok = |about: &str| level(about).0 == "ok";
    assert!(
        ok("systemd/pintle.service") && ok("listener") && ok("app/shop/user"),
        "{:?}",
        level("systemd/pintle.service")
    );
    assert!(level("systemd/pintle-health.timer").1.contains("nobody checks the daemon"));
    board.machine.systemctl("enable --now pintle-health.timer");
    assert!(ok("systemd/pintle-health.timer"));
    assert!(level("nginx/webhook").1.contains("no server of it passes /webhook on"));
    let site = "server { listen 80; location /webhook { proxy_pass http://127.0.0.1:9000; } }";
    fs::write(board.machine.path("/etc/nginx/conf.d/hook.conf"), site).unwrap();
    assert!(ok("nginx/webhook") && ok("nginx/webhook-health"), "{:?}", level("nginx/webhook"));
    let edited = "[Service]\nKillMode=control-group\n";
    let board = board.drop_in(edited);
    let (level, what) = diagnosis(&board, "systemd/pintle.service");
    assert!(level == "critical" && what.contains("KillMode=control-group"), "{what}");
}
