//! What a push costs does not depend on how many came before.

use super::*;
use crate::control::DeployStatus;
use crate::daemon::event::{Event, Token};
use crate::daemon::simulation::shapes;
use crate::store::Snapshot;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// An app, and a diary that writes everything at once. No time passes: nothing else is done meanwhile.
struct Host {
    world: World,
    now: Moment,
    pushed: u64,
}

/// What one push made the daemon do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Done {
    entries: usize,
    actions: usize,
    turns: usize,
}

impl Host {
    fn new() -> Host {
        let (config, now) =
            (shapes::one_app(), Moment { mono: Duration::from_secs(60), wall: WallTime(1_761_336_000_000) });
        let (world, _) =
            World::boot(now, &config, Snapshot::default(), BTreeMap::new(), vec![], jiff::tz::TimeZone::UTC);
        Host { world, now, pushed: 0 }
    }

    fn app(&self) -> &AppWorld {
        self.world.apps.values().next().unwrap()
    }

    /// Another commit is pushed, and written down.
    fn push(&mut self) -> Done {
        self.pushed += 1;
        let name = self.app().config.name.clone();
        let wanted = Wanted::Commit(CommitId::new(format!("{:040x}", self.pushed)).unwrap());
        let id = Some(format!("delivery-{}", self.pushed));
        let wants = vec![Want { app: name, wanted }];
        let delivery = Delivery { wants, ..Delivery::new(id, Trigger::Webhook, "push") };
        let from = RequestId(self.pushed);
        let asked = Event::Asked { from, request: Request::Deliver(delivery), known: Known::default() };
        let mut done = Done { entries: 0, actions: 0, turns: 0 };
        let mut events = VecDeque::from([asked]);
        let mut answered = 0;
        while let Some(event) = events.pop_front() {
            done.turns += 1;
            for action in self.world.turn(self.now, event) {
                done.actions += 1;
                match action {
                    Action::Record { token, entries } => {
                        done.entries += entries.len();
                        let written = |token: Token| Event::Recorded { token, result: Ok(()) };
                        events.extend(token.map(written));
                    }
                    Action::Sense => events.push_back(Event::Sensed { result: Err("there is no board".into()) }),
                    Action::Answer { to, answer: Answer::Delivered { verdicts } } => {
                        assert_eq!(to, from);
                        assert!(matches!(verdicts[..], [Verdict::Accepted { state: DeployStatus::Queued, .. }]));
                        answered += 1;
                    }
                    _ => {}
                }
            }
        }
        assert_eq!(answered, 1);
        done
    }

    /// Everything that could grow with the number of pushes.
    fn sizes(&self) -> Vec<usize> {
        let app = self.app();
        let rivals = app.queue.iter().map(|waiting| waiting.rivals.len()).sum();
        let lists =
            [app.queue.len(), rivals, app.begun.len(), app.known.len(), app.definitions.len(), app.waiters.len()];
        lists.into_iter().chain([app.seen.len(), app.tried.commits(), self.world.pending.len()]).collect()
    }
}

#[test]
fn the_twenty_thousandth_push_costs_what_an_early_one_does() {
    let mut host = Host::new();
    // The first is deployed and stays under way, the others wait behind it. What is remembered fills up meanwhile.
    for _ in 0..2_000 {
        host.push();
    }
    let (done, sizes) = (host.push(), host.sizes());
    assert!(host.app().active.is_some() && host.app().queue.len() == 1, "{sizes:?}");
    for _ in 0..18_000 {
        assert_eq!(host.push(), done, "push {}", host.pushed);
    }
    assert_eq!(host.sizes(), sizes);
    let newest = host.app().queue[0].commit.clone();
    assert_eq!(newest, CommitId::new(format!("{:040x}", host.pushed)).ok(), "the newest waits, all others made way");
}
