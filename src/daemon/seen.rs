//! What came to the listener lately: deliveries that were judged, and requests that were refused.
//!
//! Bounded memory of the loop; the diary keeps deliveries for years. Pure.

use crate::base::{DeployId, WallTime};
use crate::control::{DeliveryVerdict, DeliveryView, DeployStatus, Refused, Trigger};
use std::collections::{BTreeMap, VecDeque};

/// A delivery that was judged before.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct SeenDelivery {
    pub deployment: Option<DeployId>,
    pub status: Option<DeployStatus>,
}

/// Deliveries kept in memory, per app.
const DELIVERIES: usize = 1_000;

/// The last deliveries judged, by the forge's id.
#[derive(Debug, Default)]
pub struct SeenDeliveries {
    by_id: BTreeMap<String, SeenDelivery>,
    in_order: VecDeque<String>,
    /// Which ids a deployment answers: its end is looked up for each of thousands that are superseded.
    of_deployment: BTreeMap<DeployId, Vec<String>>,
}

impl SeenDeliveries {
    /// What became of it.
    pub fn get(&self, id: &str) -> Option<&SeenDelivery> {
        self.by_id.get(id)
    }

    /// Remembers what became of a delivery; the oldest of many is forgotten.
    pub fn remember(&mut self, id: &str, seen: SeenDelivery) {
        let answers = seen.deployment;
        match self.by_id.insert(id.into(), seen) {
            None => self.in_order.push_back(id.into()),
            Some(before) => self.forget_answer(before.deployment, id),
        }
        if let Some(number) = answers {
            self.of_deployment.entry(number).or_default().push(id.into());
        }
        if self.in_order.len() > DELIVERIES
            && let Some(oldest) = self.in_order.pop_front()
            && let Some(forgotten) = self.by_id.remove(&oldest)
        {
            self.forget_answer(forgotten.deployment, &oldest);
        }
    }

    /// A deployment stands so now, and with it every delivery that it answers.
    pub fn settle(&mut self, number: DeployId, status: DeployStatus) {
        for id in self.of_deployment.get(&number).into_iter().flatten() {
            if let Some(seen) = self.by_id.get_mut(id) {
                seen.status = Some(status);
            }
        }
    }

    /// How many are remembered.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_id.len().max(self.in_order.len()).max(self.of_deployment.len())
    }

    fn forget_answer(&mut self, number: Option<DeployId>, id: &str) {
        let Some(number) = number else { return };
        let Some(ids) = self.of_deployment.get_mut(&number) else { return };
        ids.retain(|other| other != id);
        if ids.is_empty() {
            self.of_deployment.remove(&number);
        }
    }
}

/// The newest refused requests, those alike in one.
#[derive(Debug, Default)]
pub struct RefusedLately(VecDeque<DeliveryView>);

/// Enough to see a misconfigured forge among strangers.
const REFUSED: usize = 100;

impl RefusedLately {
    /// Adds to the one that is alike, or begins another.
    pub fn remember(&mut self, at: WallTime, trigger: Trigger, refused: &Refused) {
        let alike = |view: &DeliveryView| {
            view.reason.as_ref() == Some(&refused.why) && view.from.as_ref() == Some(&refused.from)
        };
        let before = self.0.iter().position(alike).and_then(|place| self.0.remove(place));
        self.0.push_back(DeliveryView {
            at,
            id: None,
            app: None,
            trigger,
            event: String::new(),
            wanted: None,
            verdict: DeliveryVerdict::Refused,
            reason: Some(refused.why.clone()),
            deployment: None,
            from: Some(refused.from.clone()),
            times: before.map_or(0, |view| view.times).saturating_add(refused.times),
        });
        if self.0.len() > REFUSED {
            self.0.pop_front();
        }
    }

    /// As `deliveries` lists them.
    pub fn newest_first(&self) -> Vec<DeliveryView> {
        self.0.iter().rev().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered_by(number: u64) -> SeenDelivery {
        SeenDelivery { deployment: Some(DeployId(number)), status: Some(DeployStatus::Running) }
    }

    #[test]
    fn the_end_of_a_deployment_is_that_of_every_delivery_it_answers() {
        let mut seen = SeenDeliveries::default();
        for (id, number) in [("a", 1), ("b", 1), ("c", 2), ("a", 3)] {
            seen.remember(id, answered_by(number));
        }
        seen.settle(DeployId(1), DeployStatus::Failed);
        let status = |id| seen.get(id).and_then(|seen| seen.status);
        assert_eq!(status("a"), Some(DeployStatus::Running), "another deployment answers it by now");
        assert_eq!((status("b"), status("c")), (Some(DeployStatus::Failed), Some(DeployStatus::Running)));
    }

    #[test]
    fn the_oldest_are_forgotten_whole() {
        let mut seen = SeenDeliveries::default();
        for n in 0..DELIVERIES as u64 + 5 {
            seen.remember(&n.to_string(), answered_by(n));
        }
        assert!(seen.get("4").is_none() && seen.get("5").is_some());
        assert_eq!((seen.by_id.len(), seen.of_deployment.len()), (DELIVERIES, DELIVERIES));
    }

    #[test]
    fn a_stranger_who_knocks_again_is_the_newest_and_counted() {
        let mut refused = RefusedLately::default();
        let knock = |from: &str| Refused { why: "no".into(), from: from.into(), times: 2 };
        for from in ["a", "b", "a"] {
            refused.remember(WallTime(1), Trigger::Webhook, &knock(from));
        }
        let seen: Vec<_> = refused.newest_first().into_iter().map(|view| (view.from.unwrap(), view.times)).collect();
        assert_eq!(seen, [("a".to_owned(), 4), ("b".to_owned(), 2)]);
        for n in 0..REFUSED {
            refused.remember(WallTime(2), Trigger::Webhook, &knock(&n.to_string()));
        }
        assert_eq!(refused.newest_first().len(), REFUSED);
    }
}
