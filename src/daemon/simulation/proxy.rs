//! The reverse proxy: where it sends the clients of services that are handed over by port, and what is promised to
//! them.

use super::Simulation;
use super::host::Due;
use super::processes::Process;
use crate::base::{AppName, ReleaseName, ServiceName};
use crate::config::{Address, Service};
use crate::daemon::event::Event;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

impl Simulation {
    /// The port of a place that one process after the other fills.
    pub(super) fn port_of(&mut self, app: &AppName, service: &Service, round: u64, index: u32) -> u16 {
        let free = &mut self.ports_made;
        *self.ports.entry((app.clone(), service.name.clone(), round, index)).or_insert_with(|| {
            *free += 1;
            20_000 + *free % 12_768
        })
    }

    pub(super) fn keep_ports_of_survivors(&mut self) {
        self.ports.clear();
        for process in self.processes.values() {
            if let (Some(app), Some(service), Some(port)) = (&process.app, &process.service, process.port) {
                self.ports.insert((app.clone(), service.name.clone(), process.round, process.index), port);
            }
        }
    }

    /// Nobody fills that place any more: its port may be given to somebody else.
    pub(super) fn vacate(&mut self, app: AppName, service: ServiceName, round: u64, index: u32) {
        let there = |process: &&Process| {
            let mine =
                process.app.as_ref() == Some(&app) && process.service.as_ref().is_some_and(|mine| mine.name == service);
            mine && (process.round, process.index) == (round, index)
        };
        let taken = self.processes.values().find(there).map(|process| process.instance);
        self.promise(taken.is_none(), || {
            format!("{app} {service}: place {index} of round {round} is given up, and {taken:?} is there")
        });
        self.ports.remove(&(app, service, round, index));
    }

    /// Other sockets than these are closed.
    pub(super) fn keep_sockets(&mut self, addresses: BTreeSet<Address>) {
        self.sockets.retain(|address| addresses.contains(address));
        self.check_sockets();
    }

    /// Whoever listens on a socket of the daemon's has it, and the next one who does will find it open.
    pub(super) fn check_sockets(&mut self) {
        let listening = self.processes.values().filter_map(|process| process.service.as_ref());
        let needed: BTreeSet<&Address> = listening.flat_map(|service| &service.listen).collect();
        let closed: Vec<&Address> = needed.into_iter().filter(|address| !self.sockets.contains(address)).collect();
        let told = format!("{closed:?}");
        let none = closed.is_empty();
        self.promise(none, || format!("services listen on {told}, and the sockets are closed"));
    }

    /// The daemon wants clients to be sent elsewhere.
    pub(super) fn route(
        &mut self,
        app: &AppName,
        service: &Arc<Service>,
        release: ReleaseName,
        ports: Vec<u16>,
        old: &[u16],
    ) {
        let known = self.proxy.get(&(app.clone(), service.name.clone())).cloned().unwrap_or_default();
        let told = format!("{app} {}: clients go from {old:?} (in truth {known:?}) to {ports:?}", service.name);
        self.promise(old.is_empty() || old == known, || format!("{told}: not where they were"));
        self.promise(!ports.is_empty() && ports != old, || format!("{told}: that is no change"));
        for port in &ports {
            let answers = self.serves_at(app, service, *port);
            self.promise(answers, || format!("{told}: nobody is ready at {port}"));
        }
        if !self.calm && self.random.percent(12) {
            let result = Err("nginx: configuration file test failed".to_string());
            let (app, service) = (app.clone(), service.name.clone());
            let answer = Event::Routed { app, service, release, result };
            return self.soon(Duration::from_secs(5), Due::Hear(answer));
        }
        let drain = self.random.skewed(Duration::from_secs(60));
        let (app, service) = (app.clone(), service.name.clone());
        self.soon(Duration::from_secs(5), Due::Reroute { app, service, release, ports, drain });
    }

    pub(super) fn reroute(&mut self, app: &AppName, service: &ServiceName, ports: Vec<u16>) {
        self.trace.note(self.now, || format!("-- clients of {app} {service} go to {ports:?}"));
        self.proxy.insert((app.clone(), service.clone()), ports);
    }

    /// The daemon died over it: the proxy was told, or was not.
    pub(super) fn leave_routes_half_done(&mut self) {
        let mut done = vec![];
        for due in self.schedule.values() {
            if let Due::Reroute { app, service, ports, .. } = due {
                done.push((app.clone(), service.clone(), ports.clone()));
            }
        }
        for (app, service, ports) in done {
            if self.random.percent(50) {
                self.reroute(&app, &service, ports);
            }
        }
    }

    /// Somebody whom the daemon knows to be ready, and did not ask to end, is at that port - or was, and died without
    /// anybody having heard of it.
    fn serves_at(&self, app: &AppName, service: &Service, port: u16) -> bool {
        let serves = |process: &Process| {
            process.is_of(app, service) && process.port == Some(port) && process.heard.is_ready && !process.asked_to_end
        };
        self.processes.values().any(serves) || self.unheard.values().any(|(process, _)| serves(process))
    }

    /// Nobody to whom clients are sent is asked to end for the sake of a newer one, and they are sent to somebody who
    /// serves them.
    pub(super) fn check_clients_are_served(&mut self, app: &AppName, service: &Arc<Service>, process: &Process) {
        if service.nginx.is_none() {
            return;
        }
        let ports = self.proxy.get(&(app.clone(), service.name.clone())).cloned().unwrap_or_default();
        let (instance, port) = (process.instance, process.port.unwrap_or_default());
        let told = format!("{app} {}: {instance} at {port} is ended while clients are sent to {ports:?}", service.name);
        let served = ports.iter().any(|port| self.serves_at(app, service, *port));
        // Of several old rounds those go first that no clients are sent to, whatever became of the one they are sent to.
        let slots = self.world.iter().flat_map(|world| world.apps.get(app)).flat_map(|app| app.services.slots());
        let rounds: BTreeSet<u64> = slots.filter(|it| it.service.name == service.name).map(|it| it.round).collect();
        self.promise(!ports.contains(&port), || told.clone());
        self.promise(served || rounds.len() > 2, || format!("{told}, where nobody serves them"));
    }
}
