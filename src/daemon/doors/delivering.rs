//! Deliveries at the listener's door: judged with what mirrors and diary know of them, and written down together where
//! several came together.

use super::{Awaited, Desk, PATIENCE, error};
use crate::base::{AppName, CommitId};
use crate::control::{Answer, Delivery, Request, Want};
use crate::daemon::event::{Event, Known};
use crate::daemon::seen::SeenDelivery;
use crate::daemon::work;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long those that are judged wait for the others of their group: most are at once, but a commit that the mirror
/// has costs a run of git.
const HELD: Duration = Duration::from_millis(20);

/// Whether an app's commit is older than what is live, of those that were asked about.
type Judged = BTreeMap<(AppName, CommitId), bool>;

impl Desk {
    /// The answers to deliveries that came together, in order.
    pub(super) fn deliver(&self, deliveries: Vec<Delivery>) -> Vec<Answer> {
        let until = Instant::now() + PATIENCE;
        let mut judged = Judged::new();
        let awaited: Vec<Option<Awaited>> = post_as_judged(
            deliveries,
            until,
            Instant::now,
            |delivery| self.known_of(delivery, &mut judged),
            |delivery, known| self.put(Request::Deliver(delivery), known),
            |events: Vec<Event>| self.bench.post.send_together(events),
        );
        // They are written together, and the last is answered last: whoever has heard that one need not wait again.
        let left = || until.saturating_duration_since(Instant::now());
        let answer = |awaited: &Option<Awaited>| match awaited {
            Some(awaited) => self.heard(awaited, left()),
            None => error(69, format!("the delivery could not be judged within {} s", PATIENCE.as_secs())),
        };
        let mut answers: Vec<Answer> = awaited.iter().rev().map(answer).collect();
        answers.reverse();
        answers
    }

    fn known_of(&self, delivery: &Delivery, judged: &mut Judged) -> Known {
        let is_older = |app: &AppName, commit: &CommitId| {
            self.app(app).is_some_and(|app| work::is_older(&self.bench, &app, commit))
        };
        Known { older: older_of(delivery, judged, is_older), seen: self.seen_before(delivery) }
    }

    /// What became of this delivery's id, as far as the diary remembers.
    fn seen_before(&self, delivery: &Delivery) -> BTreeMap<AppName, SeenDelivery> {
        let Some(id) = &delivery.id else { return BTreeMap::new() };
        let seen = |want: &Want| Some((want.app.clone(), self.remembered.seen(&want.app, id)?));
        delivery.wants.iter().filter_map(seen).collect()
    }
}

/// Judges one after the other and posts them together, but none much later than it is known. `None`: not judged before
/// `until`, and not posted, for its sender has been told that nothing came of it.
fn post_as_judged<A, E>(
    deliveries: Vec<Delivery>,
    until: Instant,
    now: impl Fn() -> Instant,
    mut judge: impl FnMut(&Delivery) -> Known,
    mut put: impl FnMut(Delivery, Known) -> (A, E),
    mut post: impl FnMut(Vec<E>),
) -> Vec<Option<A>> {
    let (mut gathered, mut posted) = (vec![], now());
    let mut awaited = Vec::with_capacity(deliveries.len());
    for delivery in deliveries {
        let known = (now() < until).then(|| judge(&delivery)).filter(|_| now() < until);
        awaited.push(known.map(|known| {
            let (answer, event) = put(delivery, known);
            gathered.push(event);
            answer
        }));
        if now() >= posted + HELD {
            post(std::mem::take(&mut gathered));
            posted = now();
        }
    }
    post(gathered);
    awaited
}

/// The apps that are to become an ancestor of what is live. Each commit is asked about once.
fn older_of(
    delivery: &Delivery,
    judged: &mut Judged,
    mut is_older: impl FnMut(&AppName, &CommitId) -> bool,
) -> Vec<AppName> {
    let older = delivery.wants.iter().filter(|want| {
        want.wanted.commit().is_some_and(|commit| {
            let known = judged.entry((want.app.clone(), commit.clone()));
            *known.or_insert_with(|| is_older(&want.app, commit))
        })
    });
    older.map(|want| want.app.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Trigger, Wanted};
    use std::cell::Cell;

    fn commit(letter: &str) -> CommitId {
        CommitId::new(letter.repeat(40)).unwrap()
    }

    /// Who wants which commit.
    fn delivery(wants: &[(&str, &str)]) -> Delivery {
        let want = |(app, letter): &(&str, &str)| Want {
            app: AppName::new(*app).unwrap(),
            wanted: Wanted::Commit(commit(letter)),
        };
        Delivery { wants: wants.iter().map(want).collect(), ..Delivery::new(None, Trigger::Webhook, "push") }
    }

    /// What is posted together of `count` deliveries, and which are awaited, when judging each takes `each`.
    fn posted(count: usize, each: Duration) -> (Vec<Vec<usize>>, Vec<Option<usize>>) {
        let (begun, passed, put) = (Instant::now(), Cell::new(Duration::ZERO), Cell::new(0));
        let mut groups = vec![];
        let awaited = post_as_judged(
            vec![delivery(&[]); count],
            begun + PATIENCE,
            || begun + passed.get(),
            |_| {
                passed.set(passed.get() + each);
                Known::default()
            },
            |_, _| {
                let n = put.replace(put.get() + 1);
                (n, n)
            },
            |events: Vec<usize>| groups.push(events),
        );
        groups.retain(|group| !group.is_empty());
        (groups, awaited)
    }

    #[test]
    fn what_is_judged_at_once_is_posted_together_and_what_takes_long_is_not_held() {
        assert_eq!(posted(4, Duration::ZERO), (vec![vec![0, 1, 2, 3]], (0..4).map(Some).collect()));
        assert_eq!(posted(3, HELD), (vec![vec![0], vec![1], vec![2]], (0..3).map(Some).collect()));
        assert_eq!(posted(4, HELD / 2), (vec![vec![0, 1], vec![2, 3]], (0..4).map(Some).collect()));
    }

    #[test]
    fn nothing_is_posted_after_its_sender_was_given_up() {
        let (groups, awaited) = posted(5, Duration::from_secs(3));
        assert_eq!(groups, [[0], [1]]);
        assert_eq!(awaited, [Some(0), Some(1), None, None, None]);
    }

    #[test]
    fn each_commit_of_an_app_is_asked_about_once() {
        let (mut judged, mut asked) = (Judged::new(), vec![]);
        let pushes = [&[("shop", "a"), ("blog", "a")][..], &[("shop", "a")], &[("shop", "b"), ("blog", "a")]];
        let older = pushes.map(|wants| {
            let is_older = |app: &AppName, wanted: &CommitId| {
                asked.push((app.to_string(), wanted.clone()));
                app.as_str() == "shop" && *wanted == commit("a")
            };
            older_of(&delivery(wants), &mut judged, is_older)
        });
        let shop = AppName::new("shop").unwrap();
        assert_eq!(older, [vec![shop.clone()], vec![shop], vec![]]);
        let once = [("shop", "a"), ("blog", "a"), ("shop", "b")];
        assert_eq!(asked, once.map(|(app, letter)| (app.to_owned(), commit(letter))));
    }
}
