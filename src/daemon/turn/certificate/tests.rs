use super::*;
use crate::config::Secret;
use crate::daemon::event::Event;
use crate::daemon::world::Listener;
use crate::supervise::{Instance, State};

const DAY: Duration = Duration::from_secs(86_400);

fn at(text: &str) -> WallTime {
    text.parse().unwrap()
}

fn certificate(name: &str, from: &str, until: &str) -> Arc<Certificate> {
    let (chain, key) = (name.to_owned(), Secret(name.into()));
    Arc::new(Certificate { chain, key, fingerprint: name.into(), from: at(from), until: at(until) })
}

/// A listener and the clocks around it. Every turn is a step of the hands that do nothing but answer.
struct Play {
    world: World,
    now: Moment,
}

fn files() -> Tls {
    Tls::Files { cert: "/c".into(), key: "/k".into() }
}

impl Play {
    fn of(meant: Tls, wall: &str) -> Play {
        let policy = crate::supervise::instance::Policy {
            restart: crate::config::Restart::Always,
            ready: crate::config::Ready::Exec,
            startup: Duration::ZERO,
            watchdog: None,
            stop_timeout: Duration::from_secs(5),
            seed: 0,
        };
        let (address, machine) = ("127.0.0.1:9000".into(), Instance::new(policy));
        let listener = Listener { address, machine, process: None, tls: Some(ListenerTls::new(meant)) };
        let world = World { listener: Some(listener), ..World::default() };
        Play { world, now: Moment { mono: Duration::from_secs(3600), wall: at(wall) } }
    }

    fn tls(&self) -> &ListenerTls {
        self.world.listener.as_ref().unwrap().tls.as_ref().unwrap()
    }

    fn turn(&mut self, event: Event) -> Vec<Action> {
        let actions = self.world.turn(self.now, event);
        let mut all = vec![];
        for action in actions {
            let answer = match &action {
                Action::SpawnListener { instance, .. } => {
                    Some(Event::Spawned { instance: *instance, pid: 1, port: None })
                }
                Action::Terminate { instance, .. } => {
                    Some(Event::Exited { instance: *instance, clean: true, words: String::new() })
                }
                _ => None,
            };
            all.push(action);
            all.extend(answer.into_iter().flat_map(|answer| self.turn(answer)));
        }
        all
    }

    fn start(&mut self) -> Vec<Action> {
        self.world.start_listener(self.now)
    }

    fn hear(&mut self, result: Result<Option<Arc<Certificate>>, &str>, is_new: bool, held: bool) -> Vec<Action> {
        let meant = self.tls().meant.clone();
        let result = result.map_err(str::to_owned);
        self.turn(Event::Certified(Certified { meant, result, is_new, clock_is_held: held }))
    }

    fn pass(&mut self, span: Duration) {
        self.now = Moment { mono: self.now.mono + span, wall: self.now.wall.plus(span) };
    }

    /// Goes to the next deadline.
    fn sleep(&mut self) -> Vec<Action> {
        let due = self.world.certificate_deadline().expect("something is due");
        self.pass(due.saturating_sub(self.now.mono));
        self.turn(Event::Tick)
    }

    fn runs_with(&self) -> Option<&str> {
        let listener = self.world.listener.as_ref().unwrap();
        let up = matches!(listener.machine.state(), State::Up { .. });
        self.tls().certificate.as_ref().filter(|_| up).map(|certificate| &*certificate.fingerprint)
    }
}

fn reads(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::ReadCertificate { .. }))
}

fn makes(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::MakeCertificate))
}

fn spawned_with(actions: &[Action]) -> Vec<&str> {
    let with = |action: &'_ Action| match action {
        Action::SpawnListener { certificate, .. } => certificate.as_ref().map(|it| it.chain.clone()),
        _ => None,
    };
    let names: Vec<String> = actions.iter().filter_map(with).collect();
    names.into_iter().map(|name| &*name.leak()).collect()
}

fn said(actions: &[Action], level: log::Level) -> Vec<&str> {
    let said = actions.iter().filter_map(|action| match action {
        Action::Note { level: loud, text } if *loud == level => Some(text.as_str()),
        _ => None,
    });
    said.collect()
}

#[test]
fn the_first_one_is_made_and_no_listener_runs_before() {
    let mut play = Play::of(Tls::SelfSigned, "2026-01-01T00:00:00Z");
    let actions = play.start();
    assert!(reads(&actions) && spawned_with(&actions).is_empty());
    let actions = play.hear(Ok(None), false, true);
    assert!(makes(&actions) && spawned_with(&actions).is_empty(), "{actions:?}");
    let first = certificate("first", "2025-12-31T00:00:00Z", "2027-01-01T00:00:00Z");
    let actions = play.hear(Ok(Some(first)), true, true);
    assert_eq!((spawned_with(&actions), play.runs_with()), (vec!["first"], Some("first")));
    assert_eq!(play.tls().view().kind, "self-signed");
}

#[test]
fn it_sleeps_until_thirty_days_before_the_end_and_renews() {
    let mut play = Play::of(Tls::SelfSigned, "2026-01-01T00:00:00Z");
    play.start();
    let first = certificate("first", "2025-12-31T00:00:00Z", "2027-01-01T00:00:00Z");
    play.hear(Ok(Some(first.clone())), false, false);
    assert_eq!(play.runs_with(), Some("first"));
    assert!(reads(&play.sleep()));
    assert_eq!(play.now.wall, at("2026-12-02T00:00:00Z"), "and nothing woke it before");
    assert_eq!(play.world.certificate_deadline(), None, "the hands are at it");
    assert!(makes(&play.hear(Ok(Some(first)), false, false)));
    let second = certificate("second", "2026-12-01T00:00:00Z", "2027-12-02T00:00:00Z");
    let actions = play.hear(Ok(Some(second)), true, false);
    assert_eq!((spawned_with(&actions), play.runs_with()), (vec!["second"], Some("second")));
    assert!(play.world.certificate_deadline().is_some_and(|due| due > play.now.mono + DAY * 300));
}

#[test]
fn what_cannot_be_made_is_tried_again_and_the_old_one_goes_on() {
    let mut play = Play::of(Tls::SelfSigned, "2026-12-15T00:00:00Z");
    play.start();
    let old = certificate("old", "2025-12-31T00:00:00Z", "2027-01-01T00:00:00Z");
    assert!(makes(&play.hear(Ok(Some(old.clone())), false, true)));
    let actions = play.hear(Err("no room"), true, true);
    assert!(said(&actions, log::Level::Error)[0].contains("no room"), "{actions:?}");
    assert_eq!(play.runs_with(), Some("old"));
    assert!(play.world.status(play.now, None).notices[0].contains("no room"));
    for _ in 0..3 {
        let before = play.now.mono;
        assert!(reads(&play.sleep()) && play.now.mono - before >= Duration::from_secs(60), "not a busy loop");
        assert!(makes(&play.hear(Ok(Some(old.clone())), false, true)));
        play.hear(Err("no room"), true, true);
    }
    let new = certificate("new", "2026-12-14T00:00:00Z", "2027-12-15T00:00:00Z");
    play.sleep();
    play.hear(Ok(Some(old)), false, true);
    play.hear(Ok(Some(new)), true, true);
    assert_eq!(play.runs_with(), Some("new"));
    assert!(play.world.status(play.now, None).notices.is_empty());
}

#[test]
fn a_wrong_clock_makes_at_most_one_too_many() {
    let now = |mono: u64, wall: &str| Moment { mono: Duration::from_secs(mono), wall: at(wall) };
    let one = certificate("one", "2026-01-01T00:00:00Z", "2027-01-02T00:00:00Z");
    let cases = [
        ("right", now(30, "2026-06-01T00:00:00Z"), true, false),
        ("never set, long behind", now(30, "1970-01-01T00:00:30Z"), false, false),
        ("never set, all day", now(86_400, "1970-01-02T00:00:00Z"), false, false),
        ("set back for good: made by a clock that was ahead", now(30, "2025-01-01T00:00:00Z"), true, true),
        ("ahead at the start, nobody vouches", now(30, "2099-01-01T00:00:00Z"), false, false),
        ("ahead, and nobody ever will", now(601, "2099-01-01T00:00:00Z"), false, true),
        ("ahead and held", now(30, "2026-12-20T00:00:00Z"), true, true),
        ("within thirty days of the end", now(601, "2026-12-03T00:00:00Z"), false, true),
        ("before that", now(601, "2026-12-02T00:00:00Z"), false, false),
    ];
    for (what, now, held, made) in cases {
        assert_eq!(renewal(Some(&one), now, held).is_some(), made, "{what}");
    }
    assert!(renewal(None, now(1, "1970-01-01T00:00:00Z"), false).is_some());

    // A board without a clock: one is made in 1970; when the network sets the time another one, once.
    let mut play = Play::of(Tls::SelfSigned, "1970-01-01T00:00:05Z");
    play.now.mono = Duration::from_secs(5);
    play.start();
    assert!(makes(&play.hear(Ok(None), false, false)));
    let early = certificate("1970", "1970-01-01T00:00:00Z", "1971-01-01T00:00:00Z");
    play.hear(Ok(Some(early.clone())), true, false);
    play.now.wall = at("2026-06-01T00:00:00Z");
    play.turn(Event::ClockSet);
    assert!(reads(&play.sleep()));
    assert!(makes(&play.hear(Ok(Some(early)), false, true)));
    let right = certificate("2026", "2026-05-31T00:00:00Z", "2027-06-01T00:00:00Z");
    play.hear(Ok(Some(right.clone())), true, true);
    for (wall, held) in [("1970-01-01T00:00:05Z", false), ("2026-06-02T00:00:00Z", true)].repeat(20) {
        play.now.wall = at(wall);
        play.turn(Event::ClockSet);
        assert!(reads(&play.sleep()));
        assert!(!makes(&play.hear(Ok(Some(right.clone())), false, held)), "made again at {wall}");
    }
    assert_eq!(play.runs_with(), Some("2026"));
}

#[test]
fn changed_files_are_read_when_they_have_settled_and_used_when_they_are_good() {
    let mut play = Play::of(files(), "2026-01-01T00:00:00Z");
    assert!(reads(&play.start()));
    let first = certificate("first", "2025-12-31T00:00:00Z", "2026-04-01T00:00:00Z");
    play.hear(Ok(Some(first.clone())), false, true);
    assert_eq!((play.runs_with(), play.tls().view().kind.as_str()), (Some("first"), "files"));

    let before = play.now.mono;
    for _ in 0..3 {
        assert!(!reads(&play.turn(Event::CertificateTouched)));
        play.pass(Duration::from_millis(100));
    }
    assert!(reads(&play.sleep()));
    assert_eq!(play.now.mono - before, SETTLED);
    assert!(!reads(&play.turn(Event::CertificateTouched)), "one look at a time");
    let actions = play.hear(Ok(Some(first.clone())), false, true);
    assert!(spawned_with(&actions).is_empty(), "the same one disturbs nobody");
    assert!(reads(&play.sleep()), "what changed meanwhile is looked at after all");

    let actions = play.hear(Err("listen.tls.key does not belong"), false, true);
    assert!(spawned_with(&actions).is_empty() && said(&actions, log::Level::Error)[0].contains("goes on"));
    assert_eq!(play.runs_with(), Some("first"));
    assert!(play.world.status(play.now, None).notices[0].contains("does not belong"));
    play.turn(Event::CertificateTouched);
    play.sleep();
    assert!(said(&play.hear(Err("listen.tls.key does not belong"), false, true), log::Level::Error).is_empty());

    play.turn(Event::CertificateTouched);
    play.sleep();
    let second = certificate("second", "2026-01-01T00:00:00Z", "2026-05-01T00:00:00Z");
    let actions = play.hear(Ok(Some(second)), false, true);
    assert_eq!((spawned_with(&actions), play.runs_with()), (vec!["second"], Some("second")));
    assert!(play.world.status(play.now, None).notices.is_empty());
}

#[test]
fn without_its_files_the_listener_waits_for_them_and_is_never_plain() {
    let mut play = Play::of(files(), "2026-01-01T00:00:00Z");
    play.start();
    let actions = play.hear(Err("cannot read /c"), false, true);
    assert!(!actions.iter().any(|action| matches!(action, Action::SpawnListener { .. })));
    assert!(play.world.status(play.now, None).notices[0].starts_with("no webhooks: "));
    play.turn(Event::CertificateTouched);
    assert!(reads(&play.sleep()));
    let late = certificate("late", "2025-12-31T00:00:00Z", "2026-04-01T00:00:00Z");
    assert_eq!(spawned_with(&play.hear(Ok(Some(late)), false, true)), ["late"]);
}

#[test]
fn somebody_elses_end_is_spoken_of_in_time() {
    let mut play = Play::of(files(), "2026-01-01T00:00:00Z");
    play.start();
    let short = certificate("short", "2025-12-31T00:00:00Z", "2026-04-01T00:00:00Z");
    play.hear(Ok(Some(short.clone())), false, true);
    assert!(play.world.status(play.now, None).notices.is_empty());
    assert!(reads(&play.sleep()));
    assert_eq!(play.now.wall, at("2026-03-18T00:00:00Z"));
    play.pass(Duration::from_secs(1));
    play.hear(Ok(Some(short)), false, true);
    assert!(play.world.status(play.now, None).notices[0].contains("expires on 2026-04-01"));
    assert_eq!(play.world.certificate_deadline(), None, "it is not looked at for nothing");
}

#[test]
fn a_reload_switches_tls_on_over_and_off() {
    let listen = |tls: Option<Tls>| {
        let scratch = crate::config::Address::Tcp("127.0.0.1:9000".parse().unwrap());
        Listen { address: scratch, tls, ..listen() }
    };
    let mut play = Play::of(files(), "2026-01-01T00:00:00Z");
    play.world.listener.as_mut().unwrap().tls = None;
    let now = play.now;
    play.start();
    let mut actions = vec![];
    assert!(play.world.tls_reconfigured(now, Some(&listen(Some(Tls::SelfSigned))), &mut actions));
    assert!(reads(&actions) && !actions.iter().any(|action| matches!(action, Action::SpawnListener { .. })));
    let own = certificate("own", "2025-12-31T00:00:00Z", "2026-12-31T00:00:00Z");
    play.hear(Ok(Some(own)), false, true);
    assert!(play.tls().certificate.is_some());

    let mut actions = vec![];
    assert!(!play.world.tls_reconfigured(now, Some(&listen(Some(files()))), &mut actions));
    assert!(reads(&actions) && play.tls().certificate.is_some(), "the old one serves until the new one is read");
    let stale = Certified { meant: Tls::SelfSigned, result: Err("late".into()), is_new: false, clock_is_held: true };
    play.turn(Event::Certified(stale));
    assert_eq!(play.tls().trouble, None, "an answer to an older question");

    let mut actions = vec![];
    assert!(play.world.tls_reconfigured(now, Some(&listen(None)), &mut actions));
    assert!(actions.iter().any(|action| matches!(action, Action::ForgetCertificate)));
    assert!(play.world.listener.as_ref().unwrap().tls.is_none());
}

fn listen() -> Listen {
    Listen {
        address: crate::config::Address::Tcp("127.0.0.1:9000".parse().unwrap()),
        user: None,
        max_body: crate::base::Bytes(1),
        memory_budget: crate::base::Bytes(1),
        connections: 1,
        header_timeout: DAY,
        body_timeout: DAY,
        rate_limit: crate::config::Rate { count: 1, per: DAY },
        trust_forwarded: vec![],
        tls: None,
        dashboard: true,
        token: None,
    }
}
