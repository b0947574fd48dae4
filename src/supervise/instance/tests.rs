//! The machine of one instance, input by input.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn policy(restart: Restart) -> Policy {
    let (startup, stop_timeout) = (60 * SECOND, 10 * SECOND);
    Policy { restart, ready: Ready::Exec, startup, watchdog: None, stop_timeout, seed: 1 }
}
fn instance(restart: Restart) -> Instance {
    Instance::new(policy(restart))
}
fn exited(clean: bool) -> Input {
    Input::Exited { clean, words: "exit 3".into() }
}
fn up(restart: Restart) -> Instance {
    let mut it = instance(restart);
    assert_eq!(it.on(SECOND, Input::Want(Wanted::Up)), [Deed::Spawn]);
    assert_eq!(it.on(SECOND, Input::Spawned), []);
    assert_eq!(it.state(), &State::Up { since: SECOND });
    it
}

#[test]
fn after_a_long_run_it_is_back_at_once() {
    let mut it = up(Restart::Always);
    assert_eq!(it.on(30 * SECOND, exited(false)), [Deed::Spawn]);
    assert_eq!(it.restarts(), 1);
    assert_eq!(it.last_exit(), Some("exit 3"));
}

#[test]
fn a_crash_loop_slows_down_says_so_once_and_never_gives_up() {
    let mut it = up(Restart::Always);
    let (mut now, mut said, mut longest) = (SECOND, 0, Duration::ZERO);
    for _ in 0..40 {
        let deeds = it.on(now, exited(false));
        said += deeds.iter().filter(|deed| matches!(deed, Deed::CrashLoop { .. })).count();
        let until = it.deadline().expect("it waits");
        longest = longest.max(until - now);
        assert_eq!(it.on(until - Duration::from_millis(1), Input::Tick), [], "not before its time");
        now = until;
        assert_eq!(it.on(now, Input::Tick), [Deed::Spawn]);
        it.on(now, Input::Spawned);
    }
    assert_eq!(said, 1);
    assert!(longest <= 60 * SECOND && longest >= 54 * SECOND);
    let deeds = it.on(now + 61 * SECOND, exited(false));
    assert_eq!(deeds, [Deed::Spawn], "a stable minute forgives");
}

#[test]
fn policies_decide_what_an_exit_means() {
    let cases = [
        (Restart::OnFailure, true, true, true),
        (Restart::OnFailure, false, false, false),
        (Restart::Never, false, true, false),
        (Restart::Never, true, true, true),
        (Restart::Always, true, false, false),
    ];
    for (restart, clean, held, settled) in cases {
        let mut it = up(restart);
        it.on(2 * SECOND, exited(clean));
        assert_eq!(matches!(it.state(), State::Held { .. }), held, "{restart:?} {clean}");
        assert_eq!(it.is_settled_up(), settled, "{restart:?} {clean}");
    }
}

#[test]
fn a_stop_is_asked_first_then_forced_and_an_exit_then_is_no_crash() {
    let mut it = up(Restart::Always);
    assert_eq!(it.on(5 * SECOND, Input::Want(Wanted::Down)), [Deed::Terminate]);
    assert_eq!(it.on(14 * SECOND, Input::Tick), []);
    assert_eq!(it.deadline(), Some(15 * SECOND));
    assert_eq!(it.on(15 * SECOND, Input::Tick), [Deed::Kill]);
    assert_eq!(it.on(16 * SECOND, Input::Tick), [], "killed once");
    assert_eq!(it.on(16 * SECOND, exited(false)), []);
    assert_eq!(it.state(), &State::Down);
}

#[test]
fn wanted_again_while_it_stops_it_starts_once_it_is_gone() {
    let mut it = up(Restart::Always);
    it.on(5 * SECOND, Input::Want(Wanted::Down));
    assert_eq!(it.on(6 * SECOND, Input::Want(Wanted::Up)), []);
    assert_eq!(it.on(7 * SECOND, exited(true)), [Deed::Spawn]);
}

#[test]
fn what_cannot_be_executed_is_retried_slowly() {
    let mut it = instance(Restart::Always);
    it.on(SECOND, Input::Want(Wanted::Up));
    assert_eq!(it.on(SECOND, Input::SpawnFailed("no such file".into())), []);
    assert!(matches!(it.state(), State::Backoff { .. }));
    assert_eq!(it.on(SECOND, Input::Want(Wanted::Down)), []);
    assert_eq!(it.state(), &State::Down);
}

fn starting(ready: Ready, watchdog: Option<Duration>) -> Instance {
    let mut it = Instance::new(Policy { ready, watchdog, ..policy(Restart::Always) });
    assert_eq!(it.on(SECOND, Input::Want(Wanted::Up)), [Deed::Spawn]);
    assert_eq!(it.on(SECOND, Input::Spawned), []);
    it
}

#[test]
fn who_must_say_that_it_is_ready_is_up_then_and_not_before() {
    let mut it = starting(Ready::Notify, None);
    assert!(!it.is_settled_up() && it.never_served());
    assert_eq!(it.deadline(), Some(61 * SECOND));
    assert_eq!(it.on(2 * SECOND, Input::Told(Notice::Status("warming up".into()))), []);
    assert_eq!(it.status(), Some("warming up"));
    assert_eq!(it.on(50 * SECOND, Input::Told(Notice::Extend(30 * SECOND))), []);
    assert_eq!(it.on(61 * SECOND, Input::Tick), [], "it asked for more time");
    assert_eq!(it.on(70 * SECOND, Input::Told(Notice::Ready)), [Deed::BecameReady]);
    assert_eq!(it.state(), &State::Up { since: SECOND });
    assert_eq!(it.deadline(), None);
}

#[test]
fn who_is_not_ready_in_time_is_ended_and_tried_again_slowly() {
    let mut it = starting(Ready::Notify, None);
    assert_eq!(it.on(61 * SECOND, Input::Tick), [Deed::Terminate]);
    assert_eq!(it.on(71 * SECOND, Input::Tick), [Deed::Kill]);
    assert_eq!(it.on(71 * SECOND, exited(false)), []);
    assert!(matches!(it.state(), State::Backoff { .. }), "{:?}", it.state());
    assert_eq!(it.last_exit(), Some("it did not say READY=1 within 1m; exit 3"));
}

#[test]
fn a_probe_is_looked_at_with_growing_gaps_until_it_passes() {
    let mut it = starting(Ready::Probe, None);
    let (mut now, mut looks) = (SECOND, 0);
    while now < 5 * SECOND {
        now = it.deadline().unwrap();
        assert_eq!(it.on(now, Input::Tick), [Deed::Look]);
        looks += 1;
        assert_eq!(it.deadline(), Some(61 * SECOND), "one look at a time");
        assert_eq!(it.on(now, Input::Looked(Err("HTTP 503".into()))), []);
    }
    assert!((8..20).contains(&looks), "{looks}");
    assert_eq!(it.on(now, Input::Looked(Ok(()))), [Deed::BecameReady]);
    let mut it = starting(Ready::Probe, None);
    it.on(2 * SECOND, Input::Looked(Err("HTTP 503".into())));
    assert_eq!(it.on(61 * SECOND, Input::Tick), [Deed::Terminate]);
    it.on(62 * SECOND, exited(true));
    assert_eq!(it.last_exit(), Some("it was not ready within 1m: HTTP 503; exit 3"));
}

#[test]
fn silence_is_a_hang_for_who_promised_to_speak() {
    let mut it = starting(Ready::Exec, Some(30 * SECOND));
    for now in [20, 40, 60] {
        assert_eq!(it.on(now * SECOND, Input::Told(Notice::Alive)), []);
        assert_eq!(it.on((now + 15) * SECOND, Input::Tick), []);
    }
    assert_eq!(it.deadline(), Some(90 * SECOND));
    let why = "its watchdog heard nothing of it for 30s".to_string();
    assert_eq!(it.on(90 * SECOND, Input::Tick), [Deed::Abort { why }]);
    assert_eq!(it.on(100 * SECOND, Input::Tick), [Deed::Kill]);
    let aborted = Input::Exited { clean: false, words: "killed by SIGABRT".into() };
    assert_eq!(it.on(100 * SECOND, aborted), [Deed::Spawn]);
    assert_eq!(it.last_exit(), Some("its watchdog heard nothing of it for 30s; killed by SIGABRT"));
    assert_eq!(it.on(100 * SECOND, Input::Spawned), []);
    let promised = it.on(101 * SECOND, Input::Told(Notice::AliveEvery(SECOND)));
    assert_eq!(promised, [Deed::SpeaksEvery(SECOND)], "whoever comes after us is to know");
    assert_eq!(it.deadline(), Some(102 * SECOND), "it may promise more");
    assert_eq!(it.on(101 * SECOND, Input::Told(Notice::Stopping)), []);
    assert_eq!(it.deadline(), None, "who says goodbye need not speak");
}

#[test]
fn before_it_is_ready_silence_is_no_hang() {
    let mut it = starting(Ready::Notify, Some(5 * SECOND));
    assert_eq!(it.on(20 * SECOND, Input::Tick), []);
    it.on(20 * SECOND, Input::Told(Notice::Ready));
    assert_eq!(it.deadline(), Some(25 * SECOND));
    assert!(matches!(it.on(21 * SECOND, Input::Told(Notice::Broken))[..], [Deed::Abort { .. }]));
}

#[test]
fn a_stop_may_be_extended_but_not_for_ever() {
    let mut it = up(Restart::Always);
    it.on(5 * SECOND, Input::Want(Wanted::Down));
    for now in (6..700).step_by(5) {
        it.on(now * SECOND, Input::Told(Notice::Extend(20 * SECOND)));
    }
    assert_eq!(it.deadline(), Some(615 * SECOND));
    assert_eq!(it.on(615 * SECOND, Input::Tick), [Deed::Kill]);
}

#[test]
fn what_is_adopted_goes_on_as_it_was() {
    let survival = Survival { since: SECOND, ready: true, restarts: 4, speaks_every: None, asked_to_end: false };
    let it = Instance::adopted(policy(Restart::Always), 100 * SECOND, survival);
    assert_eq!((it.state(), it.restarts(), it.wanted()), (&State::Up { since: SECOND }, 4, Wanted::Up));
    let watched = Policy { ready: Ready::Notify, watchdog: Some(5 * SECOND), ..policy(Restart::Always) };
    let it = Instance::adopted(watched.clone(), 100 * SECOND, survival);
    assert_eq!(it.deadline(), Some(105 * SECOND), "it is given its time anew");
    let promised = Survival { speaks_every: Some(60 * SECOND), ..survival };
    let it = Instance::adopted(watched.clone(), 100 * SECOND, promised);
    assert_eq!(it.deadline(), Some(160 * SECOND), "by its own word");
    let asked = Survival { asked_to_end: true, ..survival };
    let mut it = Instance::adopted(policy(Restart::Always), 100 * SECOND, asked);
    assert!(it.is_being_ended() && !it.is_settled_up());
    assert_eq!(it.on(101 * SECOND, exited(false)), [Deed::Spawn], "wanted, once it has ended");
    let unready = Survival { ready: false, ..survival };
    let mut it = Instance::adopted(watched, 100 * SECOND, unready);
    assert_eq!(it.deadline(), Some(160 * SECOND));
    assert_eq!(it.on(101 * SECOND, Input::Told(Notice::Ready)), [Deed::BecameReady]);
    assert_eq!(it.state(), &State::Up { since: SECOND });
}
