//! A scheduled command beside a stop, a deployment, and a disk that hangs.

use super::*;
use crate::base::{CommitId, ReleaseName, WallTime};
use crate::config::{Command, When};
use crate::control::{Delivery, Request, Trigger, Want, Wanted};
use crate::daemon::boot::Found;
use crate::daemon::event::{Event, Known, Thawed};
use crate::daemon::simulation::shapes;
use crate::store::Snapshot;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// The app `tiny` with a command each half hour. Its diary answers when it is told to.
struct Host {
    world: World,
    second: u64,
    disk_hangs: bool,
    /// Writes that wait for the disk.
    waiting: Vec<crate::daemon::event::Token>,
    running: Vec<u64>,
    asked_to_end: Vec<u64>,
    notes: Vec<String>,
}

fn name() -> AppName {
    AppName::new("tiny").unwrap()
}

fn at(second: u64) -> Moment {
    let mono = Duration::from_secs(second);
    Moment { mono, wall: WallTime(1_761_336_000_000).plus(mono) }
}

impl Host {
    fn new() -> Host {
        let mut config = shapes::one_app();
        let app = config.apps.values_mut().next().unwrap();
        let half_an_hour = Duration::from_secs(1800);
        app.schedules = vec![Schedule {
            name: ScheduleName::new("tidy").unwrap(),
            when: When::Every(half_an_hour),
            run: Command::Shell("true".into()),
            timeout: half_an_hour,
            env: BTreeMap::new(),
        }];
        let release = ReleaseName::new("000001-0123456").unwrap();
        let definitions = vec![Thawed { release: release.clone(), commit: None, definition: Arc::new(app.clone()) }];
        let found = Found { current: Some(release), definitions, ..Found::default() };
        let found = BTreeMap::from([(name(), found)]);
        let zone = jiff::tz::TimeZone::UTC;
        let (world, actions) = World::boot(at(1), &config, Snapshot::default(), found, vec![], zone);
        let (waiting, running, asked_to_end, notes) = (vec![], vec![], vec![], vec![]);
        let mut host = Host { world, second: 1, disk_hangs: false, waiting, running, asked_to_end, notes };
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
                Action::Record { token: Some(token), .. } if self.disk_hangs => {
                    self.waiting.push(token);
                    continue;
                }
                Action::Record { token: Some(token), .. } => Event::Recorded { token, result: Ok(()) },
                Action::Sense => Event::Sensed { result: Err("there is no board".into()) },
                Action::RunSchedule { run, .. } => {
                    self.running.push(run);
                    continue;
                }
                Action::EndSchedule { run } => {
                    self.asked_to_end.push(run);
                    continue;
                }
                Action::Note { text, .. } => {
                    self.notes.push(text);
                    continue;
                }
                _ => continue,
            };
            actions.extend(self.world.turn(at(self.second), event));
        }
    }

    fn push(&mut self) {
        let wants = vec![Want { app: name(), wanted: Wanted::Commit(CommitId::new("a".repeat(40)).unwrap()) }];
        let delivery = Delivery { wants, ..Delivery::new(None, Trigger::Webhook, "push") };
        self.ask(Request::Deliver(delivery));
        assert!(self.app().active.is_some());
    }
}

#[test]
fn a_stop_does_not_wait_for_a_run_whose_row_a_hung_disk_never_takes() {
    let mut host = Host::new();
    host.pass(1700);
    host.disk_hangs = true;
    host.pass(200);
    assert!(host.app().agenda.is_running() && host.running.is_empty(), "it waits for its row");
    host.ask(Request::Stop { app: name(), service: None });
    host.pass(1);
    assert!(!host.app().agenda.is_running());
    assert_eq!((host.running.as_slice(), host.asked_to_end.as_slice()), (&[] as &[u64], &[] as &[u64]));
    // The disk comes back: it does not begin after all.
    host.disk_hangs = false;
    for token in std::mem::take(&mut host.waiting) {
        host.hear(Event::Recorded { token, result: Ok(()) });
    }
    host.pass(3600);
    assert!(host.running.is_empty() && !host.app().agenda.is_running());
}

#[test]
fn while_a_deployment_has_everything_stopped_no_command_runs() {
    let mut host = Host::new();
    host.pass(1900);
    let [run] = host.running[..] else { panic!("{:?}", host.running) };
    host.push();
    host.pass(1);
    assert_eq!(host.asked_to_end, [0; 0], "beside a deployment that leaves the app up it goes on");
    host.world.run_nothing(at(host.second), &name(), &mut vec![]);
    host.hear(Event::Tick);
    assert_eq!(host.asked_to_end, [run]);
    assert!(host.app().agenda.is_running(), "and who migrates waits for its end");
    host.hear(Event::Scheduled { app: name(), run, outcome: Outcome::Ended("cancelled".into()) });
    // What gets due meanwhile waits, and is not lost.
    let now = at(host.second + 3000);
    let mut actions = vec![];
    host.world.run_what_is_scheduled(now, &name(), &mut actions);
    assert!(!host.app().agenda.is_running(), "{actions:?}");
    let app = host.world.apps.get_mut(&name()).unwrap();
    app.active = None;
    let release = app.live.clone().unwrap().release;
    host.world.run_release(now, &name(), &release, &mut actions);
    host.world.run_what_is_scheduled(now, &name(), &mut actions);
    assert!(host.app().agenda.is_running(), "{actions:?}");
}

#[test]
fn a_run_that_is_put_off_is_spoken_of() {
    let mut host = Host::new();
    host.pass(60);
    host.disk_hangs = true;
    host.ask(Request::RunSchedule { app: name(), schedule: ScheduleName::new("tidy").unwrap() });
    let waiting = std::mem::take(&mut host.waiting);
    assert!(!waiting.is_empty() && host.app().agenda.is_running());
    host.disk_hangs = false;
    host.push();
    for token in waiting {
        host.hear(Event::Recorded { token, result: Ok(()) });
    }
    assert!(!host.app().agenda.is_running() && host.running.is_empty());
    let said = |text: &String| text.contains("tidy does not begin") && text.contains("asked for again");
    assert!(host.notes.iter().any(said), "{:?}", host.notes);
}
