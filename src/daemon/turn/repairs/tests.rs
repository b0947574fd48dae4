//! An app over hours of virtual time: what is repaired and what is left alone, and that every incident ends.

use super::*;
use crate::base::{ReleaseName, WallTime};
use crate::config::{Address, App, Command, Config, Probe, ProbeTarget};
use crate::control::{Answer, Request};
use crate::daemon::boot::Found;
use crate::daemon::event::{Event, Known, RequestId, Thawed};
use crate::daemon::simulation::shapes;
use crate::notify::incidents::Incident;
use crate::store::Snapshot;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

const MINUTE: u64 = 60;
const HOUR: u64 = 3600;
const NOON: WallTime = WallTime(1_761_336_000_000);

/// An app whose services `main` and `dicom` listen and are probed, on a host where repairs may go all the way.
struct Host {
    world: World,
    second: u64,
    /// Probes that fail.
    sick: BTreeSet<&'static str>,
    /// What was done to mend it, and what people were told.
    deeds: Vec<String>,
}

fn name() -> AppName {
    AppName::new("tiny").unwrap()
}

fn service(name: &str) -> ServiceName {
    ServiceName::new(name).unwrap()
}

fn probe(name: &str, target: ProbeTarget) -> Probe {
    let (every, timeout) = (Duration::from_secs(30), Duration::from_secs(5));
    Probe { name: name.into(), target, every, timeout, failures: 3, grace: Duration::ZERO }
}

fn config() -> Config {
    let mut config = shapes::one_app();
    let app: &mut App = config.apps.values_mut().next().unwrap();
    let only = app.services.values().next().unwrap().clone();
    let place = |port: u16| format!("127.0.0.1:{port}");
    for (which, port) in [("main", 5000), ("dicom", 4242)] {
        let listen = vec![Address::Tcp(place(port).parse().unwrap())];
        let one = crate::config::Service { name: service(which), listen, ..only.clone() };
        app.services.insert(one.name.clone(), one);
        app.probes.push(probe(which, ProbeTarget::Tcp(place(port))));
    }
    app.repair.units = vec!["postgresql.service".into()];
    app.repair.reboots_per_day = 24;
    app.schedules.clear();
    config
}

impl Host {
    fn new(config: &Config, incidents: Vec<Incident>) -> Host {
        Host::booted(config, incidents, None)
    }

    fn booted(config: &Config, incidents: Vec<Incident>, sick: Option<&'static str>) -> Host {
        let release = ReleaseName::new("000001-0123456").unwrap();
        let definition = Arc::new(config.apps[&name()].clone());
        let definitions = vec![Thawed { release: release.clone(), commit: None, definition }];
        let found = Found { current: Some(release), definitions, ..Found::default() };
        let snapshot = Snapshot { incidents, ..Snapshot::default() };
        let (zone, notices) = (jiff::tz::TimeZone::UTC, vec![]);
        let found = BTreeMap::from([(name(), found)]);
        let (world, actions) = World::boot(at(1), config, snapshot, found, notices, zone);
        let mut host = Host { world, second: 1, sick: sick.into_iter().collect(), deeds: vec![] };
        host.carry_out(actions);
        host
    }

    fn app(&self) -> &AppWorld {
        &self.world.apps[&name()]
    }

    fn pass(&mut self, seconds: u64) {
        let end = self.second + seconds;
        while self.second < end {
            let due = self.world.deadline().map_or(end, |due| due.as_millis().div_ceil(1000) as u64);
            self.second = due.clamp(self.second + 1, end);
            self.hear(Event::Tick);
        }
    }

    fn hear(&mut self, event: Event) {
        let actions = self.world.turn(at(self.second), event);
        self.carry_out(actions);
    }

    fn ask(&mut self, request: Request) {
        self.hear(Event::Asked { from: RequestId(1), request, known: Known::default() });
    }

    fn carry_out(&mut self, actions: Vec<Action>) {
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            let event = match action {
                Action::Spawn { instance, .. } => Event::Spawned { instance, pid: 1, port: None },
                Action::Look { instance, .. } => Event::Looked { instance, result: Ok(()) },
                Action::Terminate { instance, .. } => {
                    Event::Exited { instance, clean: true, words: "it was ended".into() }
                }
                Action::Record { token: Some(token), .. } => Event::Recorded { token, result: Ok(()) },
                Action::Sense => Event::Sensed { result: Ok(Box::default()) },
                Action::Probe { app, watch, index, probe, .. } => {
                    let is_sick = self.sick.contains(probe.name.as_str());
                    let result = if is_sick { Err("refused".into()) } else { Ok(()) };
                    Event::Probed { app, watch, index, result }
                }
                Action::RestartUnits { app, .. } => {
                    self.deeds.push("units".into());
                    Event::UnitsRestarted { app, result: Ok(()) }
                }
                Action::Reboot { .. } => {
                    self.deeds.push("reboot".into());
                    continue;
                }
                Action::Note { text, .. } => {
                    self.deeds.push(text);
                    continue;
                }
                Action::Answer { answer, .. } => {
                    assert!(matches!(answer, Answer::Done { .. }), "{answer:?}");
                    continue;
                }
                _ => continue,
            };
            actions.extend(self.world.turn(at(self.second), event));
        }
    }

    fn open(&self) -> Vec<&str> {
        self.world.mail.incidents.iter().map(|open| open.subject.as_str()).collect()
    }
}

fn at(second: u64) -> Moment {
    let mono = Duration::from_secs(second);
    Moment { mono, wall: NOON.plus(mono) }
}

fn incident(subject: &str) -> Incident {
    let what = "it was bad".into();
    Incident { subject: subject.into(), app: Some(name()), gravity: Gravity::Critical, what, since: NOON }
}

#[test]
fn repairs_begin_below_once_a_restart_by_hand_mended_the_app() {
    let mut host = Host::new(&config(), vec![]);
    host.pass(HOUR);
    assert_eq!(host.app().ladder.taken(), 0);
    host.sick.insert("dicom");
    host.pass(40 * MINUTE);
    assert_eq!(host.app().ladder.taken(), 2, "{:?}", host.deeds);
    host.sick.clear();
    host.ask(Request::Restart { app: name(), service: None });
    host.pass(10);
    assert_eq!((host.app().ladder.taken(), host.app().unwell.is_some()), (0, false));
    // Weeks later the first deed is the mildest one.
    host.pass(100 * HOUR);
    host.deeds.clear();
    host.sick.insert("dicom");
    host.pass(5 * MINUTE);
    assert!(!host.deeds.iter().any(|deed| deed == "units" || deed == "reboot"), "{:?}", host.deeds);
    assert!(host.deeds.iter().any(|deed| deed.contains("restarting dicom")), "{:?}", host.deeds);
}

#[test]
fn a_service_that_a_person_stopped_is_no_reason_to_repair() {
    let mut host = Host::new(&config(), vec![]);
    host.pass(HOUR);
    host.ask(Request::Stop { app: name(), service: Some(service("dicom")) });
    host.sick.insert("dicom");
    host.deeds.clear();
    host.pass(24 * HOUR);
    assert_eq!((host.deeds.as_slice(), host.app().unwell.as_ref()), (&[] as &[String], None));
    // What is not stopped is looked after as ever.
    host.sick.insert("main");
    host.pass(5 * MINUTE);
    assert!(host.deeds.iter().any(|deed| deed.contains("restarting main")), "{:?}", host.deeds);
    // Started again, so is the other.
    host.sick.remove("main");
    host.ask(Request::Start { app: name(), service: Some(service("dicom")) });
    host.pass(HOUR);
    assert!(host.app().unwell.as_ref().is_some_and(|why| why.contains("dicom")), "{:?}", host.app().unwell);
}

#[test]
fn while_a_part_is_stopped_on_purpose_neither_units_nor_the_host_are_restarted() {
    for (stopped, expected) in [(true, false), (false, true)] {
        let mut config = config();
        let app = config.apps.values_mut().next().unwrap();
        app.probes.push(probe("all", ProbeTarget::Run(Command::Shell("check".into()))));
        let mut host = Host::new(&config, vec![]);
        host.pass(HOUR);
        if stopped {
            host.ask(Request::Stop { app: name(), service: Some(service("dicom")) });
        }
        host.sick.insert("all");
        host.pass(24 * HOUR);
        let grave = |deed: &str| host.deeds.iter().any(|done| done == deed);
        assert_eq!((grave("units"), grave("reboot")), (expected, expected), "{:?}", host.deeds);
    }
}

#[test]
fn an_incident_that_nobody_remembers_the_cause_of_ends_when_all_is_well() {
    // A slow start: the eager looks are over before it answers, and it answers before it is called unwell.
    let mut host = Host::booted(&config(), vec![incident("app/tiny/health")], Some("main"));
    let startup = host.app().config.deploy.startup.as_secs();
    host.pass(startup + 2);
    assert!(host.app().eager_until.is_none() && host.app().unwell.is_none());
    assert_eq!(host.open(), ["app/tiny/health"]);
    host.sick.clear();
    host.pass(2 * MINUTE);
    assert_eq!(host.open(), [""; 0]);
}

#[test]
fn who_kept_ending_is_remembered_by_the_next_daemon_and_its_end_is_told() {
    let mut host = Host::new(&config(), vec![incident("app/tiny/ends/main")]);
    assert!(host.app().looping.contains(&service("main")));
    host.pass(STABLE_RUN.as_secs() - 5);
    assert_eq!(host.open(), ["app/tiny/ends/main"]);
    host.pass(10);
    assert_eq!((host.open(), host.app().looping.len()), (vec![], 0));
}

#[test]
fn nobody_is_called_stopped_while_it_is_not_known_what_should_run() {
    let mut host = Host::new(&config(), vec![incident("app/tiny/ends/main")]);
    let app = host.world.apps.get_mut(&name()).unwrap();
    app.services = crate::supervise::Services::default();
    app.services.wait_for_a_word();
    host.pass(HOUR);
    assert_eq!((host.open(), host.app().runs_again_at()), (vec!["app/tiny/ends/main"], None));
    host.world.run_nothing(at(host.second), &name(), &mut vec![]);
    host.pass(1);
    assert_eq!(host.open(), [""; 0]);
}
