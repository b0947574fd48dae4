//! Where the clients of services that are handed over by port are sent: to which ports, and whether a change of that is
//! under way. One change at a time for each service; one that failed is tried again after a while.
//!
//! Line: pure. When a change is due is decided in `services`; the reverse proxy is told by `runtime::nginx`.

use crate::base::ServiceName;
use std::collections::BTreeMap;
use std::time::Duration;

/// After a change that failed.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// The routes of one app's services.
#[derive(Debug, Clone, Default)]
pub struct Routes(BTreeMap<ServiceName, Route>);

#[derive(Debug, Clone, Default)]
struct Route {
    /// Where clients are sent.
    ports: Vec<u16>,
    /// Where they will be, once the proxy has been told.
    changing_to: Option<Vec<u16>>,
    retry_at: Option<Duration>,
}

impl Routes {
    /// Clients of `service` are sent to exactly these ports, and that is not about to change.
    pub fn lead_to(&self, service: &ServiceName, ports: &[u16]) -> bool {
        self.0.get(service).is_some_and(|route| route.ports == ports && route.changing_to.is_none())
    }

    /// Where clients of `service` are sent was decided by us. After a daemon's start it is not known.
    pub fn are_known(&self, service: &ServiceName) -> bool {
        self.0.get(service).is_some_and(|route| !route.ports.is_empty())
    }

    /// Clients of `service` are sent to `port`, or are about to be.
    pub fn include(&self, service: &ServiceName, port: u16) -> bool {
        let includes =
            |route: &Route| route.ports.iter().chain(route.changing_to.iter().flatten()).any(|to| *to == port);
        self.0.get(service).is_some_and(includes)
    }

    /// Begins to send clients to `ports`; returns where they were sent before. `None`: they are sent there, or it is
    /// not time.
    pub fn change(&mut self, now: Duration, service: &ServiceName, ports: &[u16]) -> Option<Vec<u16>> {
        let route = self.0.entry(service.clone()).or_default();
        let waits = route.changing_to.is_some() || route.retry_at.is_some_and(|at| now < at);
        if waits || route.ports == ports {
            return None;
        }
        route.retry_at = None;
        route.changing_to = Some(ports.to_vec());
        Some(route.ports.clone())
    }

    /// The change that was under way ended. `false`: none was.
    pub fn changed(&mut self, now: Duration, service: &ServiceName, worked: bool) -> bool {
        let Some(route) = self.0.get_mut(service) else { return false };
        let Some(ports) = route.changing_to.take() else { return false };
        match worked {
            true => route.ports = ports,
            false => route.retry_at = Some(now + RETRY_AFTER),
        }
        true
    }

    /// Something else is wanted: what failed may be tried again at once.
    pub fn forgive(&mut self) {
        self.0.values_mut().for_each(|route| route.retry_at = None);
    }

    /// When a change that failed is due again.
    pub fn deadline(&self) -> Option<Duration> {
        self.0.values().filter_map(|route| route.retry_at).min()
    }

    /// Forgets when a failed change was due: whoever wants it asks again.
    pub fn tick(&mut self, now: Duration) {
        self.0
            .values_mut()
            .filter(|route| route.retry_at.is_some_and(|at| now >= at))
            .for_each(|route| route.retry_at = None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn one_change_at_a_time_and_a_failed_one_again_later() {
        let web = ServiceName::new("web").unwrap();
        let mut routes = Routes::default();
        assert!(!routes.lead_to(&web, &[1]) && !routes.changed(SECOND, &web, true));
        assert_eq!(routes.change(SECOND, &web, &[1]), Some(vec![]));
        assert_eq!(routes.change(SECOND, &web, &[2]), None, "one is under way");
        assert!(routes.include(&web, 1) && !routes.are_known(&web), "on its way");
        assert!(routes.changed(SECOND, &web, true) && routes.lead_to(&web, &[1]) && routes.are_known(&web));
        assert_eq!(routes.change(SECOND, &web, &[1]), None, "so it is");
        assert_eq!(routes.change(SECOND, &web, &[2, 3]), Some(vec![1]));
        assert!(!routes.lead_to(&web, &[1]), "about to change");
        assert!(routes.include(&web, 1) && routes.include(&web, 3) && !routes.include(&web, 4));
        assert!(routes.changed(2 * SECOND, &web, false) && routes.lead_to(&web, &[1]));
        assert_eq!(routes.change(3 * SECOND, &web, &[2, 3]), None);
        assert_eq!(routes.deadline(), Some(12 * SECOND));
        routes.tick(12 * SECOND);
        assert_eq!((routes.deadline(), routes.change(12 * SECOND, &web, &[2, 3])), (None, Some(vec![1])));
    }
}
