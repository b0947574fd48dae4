use super::*;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn started(rhythm: Rhythm) -> Lookout {
    Lookout::start(Duration::ZERO, rhythm, "shop")
}

/// Begins the next look at the moment it is due, and ends it a second later; returns when it began.
fn look(it: &mut Lookout, answered: bool) -> (Duration, Heard) {
    let at = it.deadline(true).expect("a look is due");
    let number = it.begin(at, true).expect("it is due");
    assert_eq!(it.deadline(true), None, "one look at a time");
    (at, it.ended(at + Duration::from_secs(1), number, answered))
}

fn is_about(span: Duration, meant: Duration) -> bool {
    span >= meant * 9 / 10 && span <= meant * 11 / 10 + Duration::from_secs(2)
}

#[test]
fn ten_apps_look_every_five_minutes_and_not_at_once() {
    let mut firsts = std::collections::BTreeSet::new();
    for app in 0..10 {
        let mut it = Lookout::start(Duration::ZERO, Rhythm::Every(5 * MINUTE), app);
        let mut last = look(&mut it, true).0;
        assert!(last >= SETTLE && last <= SETTLE + SPREAD, "{last:?}");
        firsts.insert(last);
        for _ in 0..20 {
            let at = look(&mut it, true).0;
            assert!(is_about(at - last, 5 * MINUTE), "{:?}", at - last);
            last = at;
        }
    }
    assert!(firsts.len() > 7, "spread out: {firsts:?}");
}

#[test]
fn what_fails_is_repeated_ever_more_slowly_and_forgiven_at_once() {
    let waits = |rhythm: Rhythm| {
        let mut it = started(rhythm);
        let mut last = look(&mut it, false).0;
        let mut waits = vec![];
        for _ in 0..8 {
            let at = look(&mut it, false).0;
            waits.push(at - last);
            last = at;
        }
        look(&mut it, true);
        (waits, it)
    };
    let table = [
        (Rhythm::WhenBack, [1, 2, 4, 8, 16, 32, 60, 60], None),
        (Rhythm::Every(5 * MINUTE), [5, 10, 20, 40, 60, 60, 60, 60], Some(5)),
        (Rhythm::Every(6 * HOUR), [360; 8], Some(360)),
    ];
    for (rhythm, expected, then) in table {
        let (found, mut it) = waits(rhythm);
        for (wait, minutes) in found.iter().zip(expected) {
            assert!(is_about(*wait, minutes * MINUTE), "{rhythm:?}: {wait:?}, not {minutes} min");
        }
        match then {
            None => assert_eq!(it.deadline(true), None, "a look was owed, and nothing more"),
            Some(minutes) => {
                let (first, second) = (look(&mut it, true).0, look(&mut it, true).0);
                assert!(is_about(second - first, minutes * MINUTE), "{rhythm:?}");
            }
        }
    }
}

#[test]
fn an_outage_is_said_once_and_so_is_its_end() {
    let mut it = started(Rhythm::Every(MINUTE));
    let heard: Vec<Heard> = [true, false, false, true, true].map(|answered| look(&mut it, answered).1).into();
    let answered = |again| Heard::Answered { again };
    let silent = |first| Heard::Silent { first };
    assert_eq!(heard, [answered(false), silent(true), silent(false), answered(true), answered(false)]);
}

#[test]
fn a_network_that_comes_and_goes_is_looked_at_once_a_minute() {
    let mut it = started(Rhythm::WhenBack);
    look(&mut it, true);
    assert_eq!(it.deadline(true), None);
    let (mut looks, mut now) = (vec![], MINUTE);
    while now < 11 * MINUTE {
        it.network_is_back(now);
        if let Some(number) = it.begin(now, true) {
            looks.push(now);
            it.ended(now, number, true);
        }
        now += Duration::from_secs(1);
    }
    assert!((9..=11).contains(&looks.len()), "{looks:?}");
    assert!(looks.windows(2).all(|pair| pair[1] - pair[0] >= CALM - Duration::from_secs(1)), "{looks:?}");
}

#[test]
fn a_network_that_is_back_ends_the_backoff() {
    let mut it = started(Rhythm::Every(5 * MINUTE));
    let mut last = Duration::ZERO;
    for _ in 0..7 {
        last = look(&mut it, false).0;
    }
    it.network_is_back(last + MINUTE);
    let (at, heard) = look(&mut it, true);
    assert!(at - last <= MINUTE + SETTLE + SPREAD, "{:?}", at - last);
    assert_eq!(heard, Heard::Answered { again: true });
}

#[test]
fn a_look_that_was_under_way_when_the_network_came_back_is_repeated_soon_if_it_failed() {
    for (answered, soon) in [(false, true), (true, false)] {
        let mut it = started(Rhythm::WhenBack);
        let at = it.deadline(true).unwrap();
        let number = it.begin(at, true).unwrap();
        it.network_is_back(at);
        it.ended(at, number, answered);
        assert_eq!(it.deadline(true).is_some_and(|next| next <= at + SETTLE + SPREAD), soon);
    }
}

#[test]
fn the_first_look_waits_for_the_app_but_not_for_ever() {
    let mut it = started(Rhythm::WhenBack);
    assert_eq!(it.deadline(false), Some(APPS_FIRST));
    assert!(it.deadline(true).unwrap() <= SETTLE + SPREAD);
    assert_eq!(it.begin(APPS_FIRST - Duration::from_secs(1), false), None);
    assert!(it.begin(APPS_FIRST, false).is_some());
}

#[test]
fn who_is_never_looked_at_wakes_nobody() {
    let mut it = started(Rhythm::Never);
    it.network_is_back(MINUTE);
    it.look_again(MINUTE, SETTLE);
    assert_eq!(it.deadline(true), None);
}

#[test]
fn a_changed_interval_counts_at_once_and_a_look_at_the_old_source_does_not() {
    let mut it = started(Rhythm::Every(6 * HOUR));
    let at = look(&mut it, true).0;
    it.follow(at + MINUTE, Rhythm::Every(6 * HOUR), false);
    assert!(it.deadline(true).unwrap() > at + HOUR, "nothing changed");
    it.follow(at + MINUTE, Rhythm::Every(5 * MINUTE), false);
    let next = it.deadline(true).unwrap();
    assert!(next <= at + MINUTE + SETTLE + SPREAD);
    let number = it.begin(next, true).unwrap();
    it.follow(next, Rhythm::Every(5 * MINUTE), true);
    assert_eq!(it.deadline(true), None, "the old look is still under way");
    assert_eq!(it.ended(next, number, true), Heard::Outdated);
    assert!(it.deadline(true).unwrap() <= next + SETTLE + SPREAD, "the new source is looked at");
    it.follow(next, Rhythm::Never, false);
    assert_eq!(it.deadline(true), None);
    assert_eq!(it.ended(next, 99, true), Heard::Outdated);
}

#[test]
fn without_an_interval_only_missed_pushes_are_looked_for() {
    use crate::config::{Forge, Secret};
    let trigger = |on: TriggerEvent, secret: bool, poll: Option<Duration>| Trigger {
        forge: Forge::Github,
        secrets: if secret { vec![Secret(b"s".to_vec())] } else { vec![] },
        on: vec![on],
        workflow: None,
        workflow_events: vec![],
        repository: None,
        generic: None,
        poll,
        rate_limit: None,
        window: None,
        approval: false,
    };
    use TriggerEvent::*;
    let table = [
        (Push, true, None, Rhythm::WhenBack),
        (Push, false, None, Rhythm::Never),
        (Push, true, Some(Duration::ZERO), Rhythm::Never),
        (WorkflowRun, true, None, Rhythm::Never),
        (Pipeline, true, None, Rhythm::Never),
        (Tag, true, None, Rhythm::Never),
        (Release, true, None, Rhythm::Never),
        (WorkflowRun, true, Some(MINUTE), Rhythm::Every(MINUTE)),
        (Push, false, Some(MINUTE), Rhythm::Every(MINUTE)),
    ];
    for (on, secret, poll, rhythm) in table {
        assert_eq!(Rhythm::of(&trigger(on, secret, poll)), rhythm, "{on:?} {secret} {poll:?}");
    }
}
