//! Order and handover of services, by a small world that answers every order at once.

use super::*;
use crate::config::{Command, Nginx, Ready, Restart};

const NOW: Duration = Duration::from_secs(100);

fn service(name: &str, handover: Handover, instances: u32, after: &[&str]) -> Arc<Service> {
    Arc::new(Service {
        name: ServiceName::new(name).unwrap(),
        run: Command::Argv(vec![name.into()]),
        listen: vec![],
        handover,
        nginx: None,
        rehearse: false,
        instances,
        after: after.iter().map(|name| ServiceName::new(*name).unwrap()).collect(),
        restart: Restart::Always,
        stop_signal: 15,
        stop_timeout: Duration::from_secs(10),
        watchdog: None,
        ready: Ready::Exec,
        user: None,
        no_new_privs: true,
        private_tmp: false,
        env: BTreeMap::new(),
        env_file: vec![],
        memory_max: None,
        log_max: crate::base::Bytes(1 << 20),
        log_keep: 1,
    })
}

fn target(number: u64, services: &[Arc<Service>]) -> Target {
    Target {
        release: ReleaseName::new(format!("{number:06}-abcdef0")).unwrap(),
        services: services.iter().map(|service| (service.name.clone(), service.clone())).collect(),
        startup: Duration::from_secs(60),
    }
}

/// Answers every order as a well-behaved host would and writes down what happened, in order.
#[derive(Default)]
struct Host {
    services: Services,
    mint: u64,
    /// Processes that run: id, "service@release".
    running: BTreeMap<InstanceId, String>,
    diary: Vec<String>,
}

impl Host {
    fn settle(&mut self) {
        let mut orders = self.services.reconcile(NOW, &mut self.mint);
        while !orders.is_empty() {
            let order = orders.remove(0);
            orders.extend(self.carry_out(order));
        }
        assert!(self.services.is_settled(), "{:?}", self.diary);
    }

    fn carry_out(&mut self, order: Order) -> Vec<Order> {
        match order {
            Order::Spawn { instance, service, release, .. } => {
                let label = format!("{}@{}", service.name, release.number().0);
                self.diary.push(format!("+{label}"));
                self.running.insert(instance, label);
                self.services.on(NOW, instance, Input::Spawned, &mut self.mint)
            }
            Order::Terminate { instance, .. } | Order::Kill { instance } => {
                let label = self.running.remove(&instance).expect("only what runs is ended");
                self.diary.push(format!("-{label}"));
                let exited = Input::Exited { clean: true, words: "exit 0".into() };
                self.services.on(NOW, instance, exited, &mut self.mint)
            }
            Order::Look { instance, .. } => self.services.on(NOW, instance, Input::Looked(Ok(())), &mut self.mint),
            Order::Route { service, release, ports, .. } => {
                self.diary.push(format!("{} to {ports:?}", service.name));
                self.services.routed(NOW, &service.name, &release, Ok(()), &mut self.mint)
            }
            Order::Abort { .. } | Order::Ended { .. } | Order::CrashLoop { .. } => vec![],
            Order::BecameReady { .. } | Order::SpeaksEvery { .. } => vec![],
            Order::Unrouted { .. } | Order::Vacated { .. } => vec![],
        }
    }

    fn took(&mut self) -> String {
        std::mem::take(&mut self.diary).join(" ")
    }
}

#[test]
fn one_service_of_a_stopped_app_starts_alone_even_while_nothing_is_to_run() {
    let (web, worker) = (ServiceName::new("web").unwrap(), ServiceName::new("worker").unwrap());
    let mut services = Services::default();
    services.hold(None, true);
    assert!(services.is_held());
    services.hold(Some(&web), false);
    assert!(!services.is_held() && !services.holds(&web) && services.holds(&worker));
    services.hold(Some(&web), true);
    assert!(services.is_held());
    services.hold(None, false);
    assert!(!services.is_held() && !services.holds(&web) && !services.holds(&worker));
}

#[test]
fn an_app_is_stopped_when_each_of_its_services_is() {
    let (web, worker) = (ServiceName::new("web").unwrap(), ServiceName::new("worker").unwrap());
    let mut services = Services::default();
    services.run(target(1, &[service("web", Handover::Restart, 1, &[]), service("worker", Handover::Restart, 1, &[])]));
    services.hold(Some(&web), true);
    assert!(!services.is_held());
    services.hold(Some(&worker), true);
    assert!(services.is_held());
}

#[test]
fn services_start_in_order_and_stop_in_reverse() {
    let all = [
        service("web", Handover::Restart, 1, &["db"]),
        service("worker", Handover::Restart, 2, &["web"]),
        service("db", Handover::Restart, 1, &[]),
    ];
    let mut host = Host::default();
    host.services.run(target(1, &all));
    host.settle();
    assert_eq!(host.took(), "+db@1 +web@1 +worker@1 +worker@1");
    host.services.run_nothing();
    host.settle();
    assert_eq!(host.took(), "-worker@1 -worker@1 -web@1 -db@1");
    assert!(host.services.slots().is_empty());
}

#[test]
fn with_a_socket_the_new_one_is_up_before_the_old_one_goes() {
    let all = [service("web", Handover::Socket, 2, &[]), service("job", Handover::Restart, 1, &["web"])];
    let mut host = Host::default();
    host.services.run(target(1, &all));
    host.settle();
    host.took();
    host.services.run(target(2, &all));
    host.settle();
    assert_eq!(host.took(), "+web@2 -web@1 +web@2 -job@1 -web@1 +job@2");
}

#[test]
fn without_a_socket_the_old_one_is_gone_before_the_new_one_starts() {
    let all = [service("web", Handover::Restart, 2, &[])];
    let mut host = Host::default();
    host.services.run(target(1, &all));
    host.settle();
    host.took();
    host.services.run(target(2, &all));
    host.settle();
    assert_eq!(host.took(), "-web@1 -web@1 +web@2 +web@2");
}

#[test]
fn going_back_to_what_still_runs_restarts_nothing() {
    let all = [service("web", Handover::Socket, 1, &[])];
    let mut host = Host::default();
    host.services.run(target(1, &all));
    host.settle();
    host.took();
    host.services.run(target(2, &all));
    let orders = host.services.reconcile(NOW, &mut host.mint);
    let [Order::Spawn { instance, .. }] = &orders[..] else { panic!("{orders:?}") };
    let failed = Input::SpawnFailed("no such file".into());
    let orders = host.services.on(NOW, *instance, failed, &mut host.mint);
    assert!(matches!(&orders[..], [Order::Ended { .. }]), "{orders:?}");
    host.services.run(target(1, &all));
    host.settle();
    assert_eq!(host.took(), "");
    assert_eq!(host.running.len(), 1);
}

#[test]
fn a_stopped_service_stays_down_over_a_new_release_until_it_is_started() {
    let all = [service("web", Handover::Socket, 1, &[]), service("job", Handover::Restart, 1, &["web"])];
    let mut host = Host::default();
    host.services.run(target(1, &all));
    host.settle();
    let web = ServiceName::new("web").unwrap();
    host.services.hold(Some(&web), true);
    host.settle();
    host.took();
    host.services.run(target(2, &all));
    host.settle();
    assert_eq!(host.took(), "-job@1 +job@2");
    host.services.hold(Some(&web), false);
    host.settle();
    assert_eq!(host.took(), "+web@2");
    host.services.hold(None, true);
    host.settle();
    assert_eq!(host.took(), "-job@2 -web@2");
    host.services.hold(Some(&web), false);
    host.settle();
    assert_eq!(host.took(), "+web@2", "starting one leaves the others stopped");
}

#[test]
fn a_service_that_the_new_release_does_not_have_goes() {
    let web = service("web", Handover::Socket, 1, &[]);
    let mut host = Host::default();
    host.services.run(target(1, &[web.clone(), service("old", Handover::Restart, 1, &["web"])]));
    host.settle();
    host.took();
    host.services.run(target(2, &[web]));
    host.settle();
    assert_eq!(host.running.values().collect::<Vec<_>>(), ["web@2"]);
}

#[test]
fn an_exit_of_a_process_long_gone_is_nobodys_business() {
    let mut host = Host::default();
    host.services.run(target(1, &[service("web", Handover::Restart, 1, &[])]));
    host.settle();
    let exited = Input::Exited { clean: false, words: "exit 1".into() };
    assert_eq!(host.services.on(NOW, InstanceId(999), exited, &mut host.mint), []);
}

/// Spawned, and looked at: up at that port.
fn up_at(services: &mut Services, mint: &mut u64, orders: &[Order], port: u16) -> Vec<Order> {
    let spawned = orders.iter().find_map(|order| match order {
        Order::Spawn { instance, .. } => Some(*instance),
        _ => None,
    });
    let instance = spawned.expect("one is started");
    services.has_port(instance, Some(port));
    services.on(NOW, instance, Input::Spawned, mint);
    services.on(NOW, instance, Input::Looked(Ok(())), mint)
}

fn routes(orders: &[Order]) -> Vec<&[u16]> {
    let ports = orders.iter().filter_map(|order| match order {
        Order::Route { ports, .. } => Some(&ports[..]),
        _ => None,
    });
    ports.collect()
}

fn behind_nginx(name: &str) -> Arc<Service> {
    let command = || Command::Argv(vec!["nginx".into()]);
    let nginx = Nginx { file: "web.conf".into(), upstream: "web".into(), test: command(), reload: command() };
    Arc::new(Service { nginx: Some(nginx), ..(*service(name, Handover::Port, 1, &[])).clone() })
}

fn survivor(number: u64, service: &Arc<Service>, port: u16, asked_to_end: bool) -> Survivor {
    Survivor {
        instance: InstanceId(number),
        service: service.clone(),
        release: ReleaseName::new(format!("{number:06}-abcdef0")).unwrap(),
        index: 0,
        round: number,
        port: Some(port),
        survival: Survival { since: NOW, ready: true, restarts: 0, speaks_every: None, asked_to_end },
    }
}

#[test]
fn a_round_that_no_clients_are_sent_to_does_not_stand_in_the_way_of_the_next() {
    let (mut services, mut mint, web) = (Services::default(), 0, ServiceName::new("web").unwrap());
    let all = [behind_nginx("web")];
    services.run(target(1, &all));
    let orders = services.reconcile(NOW, &mut mint);
    assert_eq!(routes(&up_at(&mut services, &mut mint, &orders, 1)), [[1]]);
    services.routed(NOW, &web, &target(1, &all).release, Ok(()), &mut mint);
    services.restart(None);
    let orders = services.reconcile(NOW, &mut mint);
    assert_eq!(routes(&up_at(&mut services, &mut mint, &orders, 2)), [[2]]);
    services.restart(None);
    assert_eq!(services.reconcile(NOW, &mut mint), [], "two rounds are there, and clients may be sent to either");
    let orders = services.routed(NOW, &web, &target(1, &all).release, Ok(()), &mut mint);
    assert_eq!(orders, [Order::Terminate { instance: InstanceId(1), signal: 15 }]);
    let exited = Input::Exited { clean: true, words: "exit 0".into() };
    let orders = services.on(NOW, InstanceId(1), exited, &mut mint);
    assert_eq!(routes(&up_at(&mut services, &mut mint, &orders, 3)), [[3]]);
}

#[test]
fn where_nobody_knows_which_of_two_old_rounds_clients_are_sent_to_one_is_chosen() {
    let (mut services, mut mint, web) = (Services::default(), 2, ServiceName::new("web").unwrap());
    let old = behind_nginx("web");
    services.adopt(NOW, Duration::ZERO, survivor(1, &old, 1, false));
    services.adopt(NOW, Duration::ZERO, survivor(2, &old, 2, false));
    services.run(target(3, &[old]));
    let orders = services.reconcile(NOW, &mut mint);
    assert_eq!(routes(&orders), [[2]]);
    let orders = services.routed(NOW, &web, &target(2, &[]).release, Ok(()), &mut mint);
    assert_eq!(orders, [Order::Terminate { instance: InstanceId(1), signal: 15 }]);
}

#[test]
fn what_an_earlier_daemon_asked_to_end_is_nobodys_successor() {
    let web = service("web", Handover::Socket, 1, &[]);
    let (mut services, mut mint) = (Services::default(), 2);
    services.adopt(NOW, Duration::ZERO, survivor(1, &web, 0, true));
    services.adopt(NOW, Duration::ZERO, survivor(2, &web, 0, false));
    assert_eq!(services.reconcile(NOW, &mut mint), [], "it is not said yet what should run");
    services.run(target(1, &[web]));
    assert_eq!(services.reconcile(NOW, &mut mint), []);
    let exited = Input::Exited { clean: false, words: "not known".into() };
    let orders = services.on(NOW, InstanceId(1), exited, &mut mint);
    assert!(matches!(&orders[..], [Order::Spawn { instance: InstanceId(3), .. }]), "{orders:?}");
    let orders = services.on(NOW, InstanceId(3), Input::Spawned, &mut mint);
    assert_eq!(orders, [Order::Terminate { instance: InstanceId(2), signal: 15 }]);
}

#[test]
fn what_ends_before_it_is_said_what_should_run_stays_away_if_it_was_to_end() {
    let web = service("web", Handover::Socket, 1, &[]);
    let (mut services, mut mint) = (Services::default(), 2);
    services.hold(None, true);
    services.adopt(NOW, Duration::ZERO, survivor(1, &web, 0, false));
    let exited = Input::Exited { clean: false, words: "not known".into() };
    let orders = services.on(NOW, InstanceId(1), exited, &mut mint);
    assert!(matches!(&orders[..], [Order::Ended { .. }, Order::Vacated { .. }]), "{orders:?}");
    assert!(services.slots().is_empty());
}
