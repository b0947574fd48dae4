//! Who waits for what, and until when - over midnight, over both changes of the clock, with several gates at once.

use super::*;
use crate::base::AppName;
use crate::config::{Forge, TriggerEvent};
use crate::control;
use crate::deploy::machine::Deadlines;
use crate::deploy::plan::Plan;

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);

/// Central European time: forward on the last Sunday of March at 02:00, back on the last of October at 03:00.
fn europe() -> TimeZone {
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
}

fn utc(text: &str) -> WallTime {
    text.parse().unwrap()
}

/// What the clock on the wall shows in Europe, as a time in UTC and back.
fn in_europe(time: WallTime) -> String {
    let stamp = Timestamp::from_millisecond(time.0).unwrap().to_zoned(europe());
    stamp.strftime("%Y-%m-%d %H:%M %Z").to_string()
}

fn window(text: &str) -> Window {
    let time = |text: &str| TimeOfDay { hour: text[..2].parse().unwrap(), minute: text[3..].parse().unwrap() };
    let (from, to) = text.split_once('-').unwrap();
    Window { from: time(from), to: time(to) }
}

fn rules(window: Option<Window>, rate_limit: Option<Rate>, approval: bool) -> Trigger {
    Trigger {
        forge: Forge::Github,
        secrets: vec![],
        on: vec![TriggerEvent::Push],
        workflow: None,
        workflow_events: vec![],
        repository: None,
        generic: None,
        poll: None,
        rate_limit,
        window,
        approval,
    }
}

fn of_kind(kind: Kind, trigger: control::Trigger) -> Deployment {
    let deadlines = Deadlines { timeout: HOUR, startup: MINUTE, probation: MINUTE };
    let plan = Plan { kind, phases: vec![], smoke: false, after: false, migrate_stopped: false };
    Deployment::new(DeployId(42), AppName::new("shop").unwrap(), trigger, plan, deadlines)
}

fn asked_by(trigger: control::Trigger) -> Deployment {
    of_kind(Kind::Deploy, trigger)
}

fn clock(now: WallTime) -> Clock {
    Clock { now: Moment { mono: Duration::from_secs(86_400), wall: now }, zone: europe() }
}

fn six_an_hour() -> Rate {
    Rate { count: 6, per: HOUR }
}

/// On a board that is well.
fn judge(deployment: &Deployment, rules: &Trigger, clock: &Clock, begun: &[Duration]) -> Option<Waits> {
    super::judge(deployment, rules, clock, begun, &[])
}

#[test]
fn a_strained_board_is_a_gate_for_every_deploy_that_nobody_forces() {
    use control::Trigger::*;
    let noon = clock(utc("2025-10-24T10:00:00Z"));
    let strained = [
        Strained { strain: Strain::UnderVoltage, now: "weak".into(), awaited: "the power supply (weak)".into() },
        Strained { strain: Strain::Heat, now: "hot".into(), awaited: "the board to cool down (hot)".into() },
    ];
    let gates = [Gate::Board(Strain::UnderVoltage), Gate::Board(Strain::Heat)];
    let open = rules(None, None, false);
    for trigger in [Webhook, Deploy, Poll, Hook, Cli, Retry] {
        let waits = super::judge(&asked_by(trigger), &open, &noon, &[], &strained).unwrap();
        assert_eq!((waits.gates.as_slice(), waits.until), (gates.as_slice(), None), "{trigger}");
        assert_eq!(waits.reason, "waits for the power supply (weak) and the board to cool down (hot)");
        let mut forced = asked_by(trigger);
        forced.forced = true;
        assert_eq!(super::judge(&forced, &open, &noon, &[], &strained), None, "{trigger}, forced");
    }
    for kind in [Kind::BackupOnly, Kind::Rollback { to: "000041-4f2a1c9".parse().unwrap(), data: None }] {
        assert_eq!(super::judge(&of_kind(kind, Cli), &open, &noon, &[], &strained), None, "going back is always right");
    }
    let night = rules(Some(window("02:00-05:00")), None, true);
    let waits = super::judge(&asked_by(Webhook), &night, &noon, &[], &strained[..1]).unwrap();
    assert_eq!(waits.gates, [Gate::Approval, Gate::Window(window("02:00-05:00")), gates[0]]);
    assert!(waits.for_approval() && waits.until.is_none(), "{waits:?}");
    assert!(waits.reason.ends_with("and the power supply (weak)"), "{}", waits.reason);
}

#[test]
fn only_what_comes_by_itself_waits_and_each_for_its_own_gates() {
    use control::Trigger::*;
    let noon = clock(utc("2025-10-24T10:00:00Z"));
    let strict = rules(Some(window("02:00-05:00")), Some(Rate { count: 1, per: HOUR }), true);
    let begun = [MINUTE];
    let gates = |deployment: &Deployment| judge(deployment, &strict, &noon, &begun).map(|waits| waits.gates);
    let (approval, night, rate) =
        (Gate::Approval, Gate::Window(window("02:00-05:00")), Gate::Rate(Rate { count: 1, per: HOUR }));
    for trigger in [Webhook, Deploy, Poll, Hook] {
        assert_eq!(gates(&asked_by(trigger)), Some(vec![approval, night, rate]), "{trigger}");
        let mut approved = asked_by(trigger);
        approved.pass = Pass::Approved;
        assert_eq!(gates(&approved), Some(vec![night, rate]), "{trigger}, approved");
        let mut forced = asked_by(trigger);
        forced.forced = true;
        assert_eq!(gates(&forced), None, "{trigger}, forced");
        assert!(counts(&asked_by(trigger)) && !counts(&forced));
    }
    assert_eq!(gates(&asked_by(Cli)), None, "what a person orders begins");
    assert_eq!(gates(&asked_by(Retry)), Some(vec![night]), "it was let in before; the window is asked again");
    let mut again = asked_by(Retry);
    again.pass = Pass::Person;
    assert_eq!(gates(&again), None, "the retry of what a person ordered");
    assert!(!counts(&asked_by(Retry)) && !counts(&asked_by(Cli)));
    let back = Kind::Rollback { to: "000041-4f2a1c9".parse().unwrap(), data: None };
    for kind in [back, Kind::BackupOnly] {
        assert_eq!(gates(&of_kind(kind, Webhook)), None);
    }
    assert_eq!(judge(&asked_by(Webhook), &rules(None, None, false), &noon, &begun), None);
}

#[test]
fn several_gates_are_all_named() {
    let noon = clock(utc("2025-10-24T10:00:00Z"));
    let strict = rules(Some(window("02:00-05:00")), Some(Rate { count: 1, per: HOUR }), true);
    let waits = judge(&asked_by(control::Trigger::Webhook), &strict, &noon, &[MINUTE]).unwrap();
    assert_eq!(
        waits.reason,
        "waits for `pintle approve 42`, its window 02:00-05:00 (opens 2025-10-25 02:00) and its rate limit of 1 in 1h \
         (until 2025-10-24 12:59)"
    );
    assert_eq!(waits.until, Some(utc("2025-10-25T00:00:00Z")));
    assert_eq!(waits.look_again, 59 * MINUTE);
    let only = judge(&asked_by(control::Trigger::Webhook), &rules(None, None, true), &noon, &[]).unwrap();
    assert_eq!((only.reason.as_str(), only.until), ("waits for `pintle approve 42`", None));
    assert_eq!(only.look_again, LOOK_AGAIN);
}

#[test]
fn a_window_is_local_time_and_may_last_over_midnight() {
    let table = [
        // window, now in UTC, opens in local time; None: it is open
        ("02:00-05:00", "2025-07-01T10:00:00Z", Some("2025-07-02 02:00 CEST")),
        ("02:00-05:00", "2025-07-01T00:00:00Z", None),
        ("02:00-05:00", "2025-07-01T02:59:59Z", None),
        ("02:00-05:00", "2025-07-01T03:00:00Z", Some("2025-07-02 02:00 CEST")),
        ("02:00-05:00", "2025-06-30T23:59:59Z", Some("2025-07-01 02:00 CEST")),
        ("22:00-06:00", "2025-07-01T10:00:00Z", Some("2025-07-01 22:00 CEST")),
        ("22:00-06:00", "2025-07-01T21:00:00Z", None),
        ("22:00-06:00", "2025-07-01T03:59:00Z", None),
        ("22:00-06:00", "2025-07-01T04:00:00Z", Some("2025-07-01 22:00 CEST")),
        ("00:00-23:59", "2025-07-01T21:59:30Z", Some("2025-07-02 00:00 CEST")),
    ];
    for (written, now, opens) in table {
        check_opening(written, now, opens);
    }
}

#[test]
fn daylight_saving_moves_a_window_and_swallows_none() {
    let table = [
        // Forward on 30 March 2025: 02:00 CET (01:00Z) is 03:00 CEST.
        ("02:30-05:00", "2025-03-30T00:59:00Z", Some("2025-03-30 03:30 CEST")),
        ("01:00-04:00", "2025-03-30T01:59:00Z", None),
        ("01:00-04:00", "2025-03-30T02:00:00Z", Some("2025-03-31 01:00 CEST")),
        ("02:00-03:00", "2025-03-30T00:30:00Z", Some("2025-03-30 03:00 CEST")),
        ("02:00-03:00", "2025-03-30T01:30:00Z", None),
        ("02:00-03:00", "2025-03-30T02:00:00Z", Some("2025-03-31 02:00 CEST")),
        ("22:00-06:00", "2025-03-30T03:59:00Z", None),
        ("22:00-06:00", "2025-03-30T04:00:00Z", Some("2025-03-30 22:00 CEST")),
        // Back on 26 October 2025: 03:00 CEST (01:00Z) is 02:00 CET.
        ("02:30-02:45", "2025-10-26T00:29:00Z", Some("2025-10-26 02:30 CEST")),
        ("02:30-02:45", "2025-10-26T01:31:00Z", Some("2025-10-27 02:30 CET")),
        ("02:00-04:00", "2025-10-26T02:59:00Z", None),
        ("02:00-04:00", "2025-10-26T03:00:00Z", Some("2025-10-27 02:00 CET")),
        ("22:00-06:00", "2025-10-26T04:59:00Z", None),
    ];
    for (written, now, opens) in table {
        check_opening(written, now, opens);
    }
}

#[track_caller]
fn check_opening(written: &str, now: &str, opens: Option<&str>) {
    let rules = rules(Some(window(written)), None, false);
    let waits = judge(&asked_by(control::Trigger::Webhook), &rules, &clock(utc(now)), &[]);
    let found = waits.as_ref().and_then(|waits| waits.until).map(in_europe);
    assert_eq!(found.as_deref(), opens, "{written} at {now}: {waits:?}");
    if let Some(waits) = waits {
        assert!(waits.look_again <= LOOK_AGAIN, "{waits:?}");
        // It is open at the moment that was named.
        assert_eq!(judge(&asked_by(control::Trigger::Webhook), &rules, &clock(waits.until.unwrap()), &[]), None);
    }
}

#[test]
fn a_window_opens_at_every_minute_of_a_year_where_it_should_and_never_later_than_a_day_ahead() {
    let rules = rules(Some(window("23:30-02:30")), None, false);
    let start = utc("2025-01-01T00:00:00Z");
    for minute in (0..366 * 24 * 60).step_by(7) {
        let now = start.plus(minute * MINUTE);
        let waits = judge(&asked_by(control::Trigger::Webhook), &rules, &clock(now), &[]);
        let shows = Timestamp::from_millisecond(now.0).unwrap().to_zoned(europe()).time();
        let (shows, is_open) = (shows.hour() as i32 * 60 + shows.minute() as i32, waits.is_none());
        let ambiguous = (2 * 60..4 * 60).contains(&shows);
        let meant = !(2 * 60 + 30..23 * 60 + 30).contains(&shows);
        assert!(ambiguous || is_open == meant, "{}", in_europe(now));
        let ahead = waits.and_then(|waits| waits.until).map(|until| until.since(now));
        assert!(ahead.is_none_or(|ahead| ahead <= 23 * HOUR), "{}: {ahead:?}", in_europe(now));
    }
}

#[test]
fn a_rate_counts_what_began_in_its_span() {
    let minutes = |list: &[u32]| list.iter().map(|ago| *ago * MINUTE).collect::<Vec<_>>();
    let table = [
        (vec![], None),
        (minutes(&[1, 2, 3, 4, 5]), None),
        (minutes(&[1, 2, 3, 4, 5, 50]), Some(10)),
        (minutes(&[50, 5, 4, 3, 2, 1]), Some(10)),
        (minutes(&[1, 2, 3, 4, 5, 60]), None),
        // More than may were let in by a person's configuration: as many must be old as are too many.
        (minutes(&[1, 2, 3, 4, 5, 30, 40, 50]), Some(30)),
    ];
    for (begun, wait) in table {
        let rules = rules(None, Some(six_an_hour()), false);
        let now = utc("2025-07-01T10:00:00Z");
        let waits = judge(&asked_by(control::Trigger::Webhook), &rules, &clock(now), &begun);
        let until = wait.map(|minutes: u32| now.plus(minutes * MINUTE));
        assert_eq!(waits.map(|waits| waits.until.unwrap()), until, "{begun:?}");
    }
}

#[test]
fn a_limit_that_ends_outside_the_window_means_the_next_window() {
    let rules = rules(Some(window("10:00-12:10")), Some(Rate { count: 1, per: HOUR }), false);
    let now = utc("2025-07-01T10:00:00Z");
    let waits = judge(&asked_by(control::Trigger::Webhook), &rules, &clock(now), &[MINUTE]).unwrap();
    assert_eq!(waits.gates, [Gate::Rate(Rate { count: 1, per: HOUR })]);
    assert_eq!(waits.until.map(in_europe).as_deref(), Some("2025-07-02 10:00 CEST"));
    assert_eq!(waits.look_again, 59 * MINUTE);
}

#[test]
fn a_clock_that_cannot_be_right_opens_no_window_and_ends_no_judgement() {
    let rules = rules(Some(window("02:00-05:00")), None, false);
    let open = utc("2025-07-01T01:00:00Z");
    let just_booted = Clock { now: Moment { mono: Duration::from_secs(20), wall: open }, zone: europe() };
    let waits = judge(&asked_by(control::Trigger::Webhook), &rules, &just_booted, &[]).unwrap();
    assert_eq!(
        (waits.until, waits.look_again),
        (Some(open.plus(100 * Duration::from_secs(1))), Duration::from_secs(100))
    );
    for nowhere in [i64::MIN, i64::MAX, 0, -1] {
        let waits = judge(&asked_by(control::Trigger::Webhook), &rules, &clock(WallTime(nowhere)), &[]);
        assert!(waits.is_none_or(|waits| waits.look_again <= LOOK_AGAIN), "{nowhere}");
    }
}

#[test]
fn a_drift_of_two_clocks_is_no_news_and_a_newer_commit_counts_where_no_more_holds_it_up() {
    let noon = utc("2025-10-24T10:00:00Z");
    let at = |now: WallTime| {
        let rules = rules(None, Some(Rate { count: 1, per: HOUR }), false);
        judge(&asked_by(control::Trigger::Webhook), &rules, &clock(now), &[MINUTE]).unwrap()
    };
    assert!(at(noon.plus(Duration::from_millis(3))).is_told_by(&at(noon)));
    assert!(!at(noon.plus(5 * MINUTE)).is_told_by(&at(noon)));
    assert!(!at(noon).is_told_by(&Waits::default()));
    let by = |gates: &[Gate]| Waits { gates: gates.to_vec(), ..Waits::default() };
    let (window, both) =
        (by(&[Gate::Window(window("02:00-05:00"))]), by(&[Gate::Approval, Gate::Window(window("02:00-05:00"))]));
    let table = [
        (None, None, false),
        (None, Some(&window), false),
        (Some(&window), None, true),
        (Some(&window), Some(&both), false),
        (Some(&both), Some(&window), true),
        (Some(&both), Some(&both), false),
    ];
    for (one, other, more) in table {
        assert_eq!(waits_for_more(one, other), more, "{one:?} {other:?}");
    }
}
