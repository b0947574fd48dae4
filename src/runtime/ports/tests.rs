use super::*;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

fn slot(service: &str, round: u64, index: u32) -> Slot {
    Slot { app: AppName::new("shop").unwrap(), service: ServiceName::new(service).unwrap(), round, index }
}

fn address_of(socket: &TcpListener) -> Address {
    Address::Tcp(socket.local_addr().unwrap())
}

fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("pintle-ports-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

#[test]
fn a_slot_keeps_its_port_and_shares_it_with_none() {
    let ports = Ports::default();
    let mut seen = BTreeSet::new();
    for index in 0..50 {
        let port = ports.choose(&slot("web", 1, index)).unwrap();
        assert!(RANGE.contains(&port));
        assert!(seen.insert(port), "{port} twice, though nobody has bound it yet");
        assert_eq!(ports.choose(&slot("web", 1, index)).unwrap(), port, "after a crash");
    }
    assert!(!seen.contains(&ports.free().unwrap()));
}

#[test]
fn connections_of_the_crashed_instance_do_not_cost_the_slot_its_port() {
    let ports = Ports::default();
    let port = ports.choose(&slot("web", 1, 0)).unwrap();
    let server = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    // Who closes first keeps the port in TIME_WAIT for a minute.
    drop(server.accept().unwrap());
    drop((client, server));
    assert_eq!(ports.choose(&slot("web", 1, 0)).unwrap(), port);
    assert!(!is_free(port, Lingering::Refused), "a program that binds without SO_REUSEADDR would not get it");
}

#[test]
fn a_port_that_somebody_else_took_is_given_up() {
    let ports = Ports::default();
    for everywhere in [Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED] {
        let port = ports.choose(&slot("web", 1, 0)).unwrap();
        let stranger = TcpListener::bind((everywhere, port)).unwrap();
        let other = ports.choose(&slot("web", 1, 0)).unwrap();
        assert_ne!(other, port);
        assert_eq!(ports.ports_of(&slot("web", 1, 0).app, &slot("web", 1, 0).service, 1), [other]);
        drop(stranger);
    }
}

#[test]
fn the_newest_round_is_where_probes_look() {
    let ports = Ports::default();
    let Slot { app, service, .. } = slot("web", 0, 0);
    assert_eq!(ports.port(&app, &service), None);
    for (round, index, port) in [(3, 1, 20_031), (3, 0, 20_030), (2, 0, 20_020), (10, 1, 20_101), (10, 0, 20_100)] {
        ports.adopt(slot("web", round, index), port);
    }
    ports.adopt(slot("api", 99, 0), 20_990);
    assert_eq!(ports.port(&app, &service), Some(20_100));
    assert_eq!(ports.ports_of(&app, &service, 3), [20_030, 20_031]);
    assert_eq!(ports.release(&slot("web", 10, 0)), Some(20_100));
    assert_eq!(ports.port(&app, &service), Some(20_101));
    assert_eq!(ports.release(&slot("web", 10, 1)), Some(20_101));
    assert_eq!(ports.release(&slot("web", 10, 1)), None);
    assert_eq!(ports.port(&app, &service), Some(20_030));
}

#[test]
fn an_adopted_socket_goes_on_and_one_that_is_something_else_is_refused() {
    let ports = Ports::default();
    let kept = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = address_of(&kept);
    let waiting = TcpStream::connect(kept.local_addr().unwrap()).unwrap();
    ports.adopt_socket(address.clone(), kept.into()).unwrap();
    let held = TcpListener::from(ports.socket(&address).unwrap().try_clone().unwrap());
    assert_eq!(held.accept().unwrap().1, waiting.local_addr().unwrap());

    let (pipe, _end) = nix::unistd::pipe().unwrap();
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = Address::Tcp("127.0.0.1:1".parse().unwrap());
    let unix = Address::Unix(std::env::temp_dir().join("pintle-nobody.sock"));
    for (address, socket) in [
        (&nowhere, pipe.try_clone().unwrap()),
        (&nowhere, elsewhere.try_clone().unwrap().into()),
        (&unix, elsewhere.into()),
        (&Address::Tcp(waiting.local_addr().unwrap()), waiting.into()),
    ] {
        let error = ports.adopt_socket(address.clone(), socket).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{address}: {error}");
    }
    let again = held.try_clone().unwrap().into();
    assert_eq!(ports.adopt_socket(address.clone(), again).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(ports.sockets().into_iter().map(|(address, _)| address).collect::<Vec<_>>(), [address]);
}

#[test]
fn what_nobody_needs_is_closed_and_its_file_removed() {
    let dir = scratch("keep");
    let ports = Ports::default();
    let [needed, unneeded] = ["needed.sock", "unneeded.sock"].map(|name| Address::Unix(dir.join(name)));
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = tcp.local_addr().unwrap();
    let tcp_address = address_of(&tcp);
    ports.adopt_socket(tcp_address.clone(), tcp.into()).unwrap();
    ports.socket(&needed).unwrap();
    let listener = UnixListener::bind(dir.join("unneeded.sock")).unwrap();
    ports.adopt_socket(unneeded.clone(), listener.into()).unwrap();

    let all: BTreeSet<Address> = [&needed, &unneeded, &tcp_address].map(Address::clone).into();
    assert_eq!(ports.keep_only(&all), []);
    assert_eq!(ports.keep_only(&[needed.clone()].into()), [tcp_address, unneeded]);
    assert!(!dir.join("unneeded.sock").exists());
    UnixStream::connect(dir.join("needed.sock")).unwrap();
    // A child that another test is just starting may hold a copy until it executes its program.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while TcpStream::connect(port).is_ok() {
        assert!(std::time::Instant::now() < until, "{port} is still listened on");
        std::thread::yield_now();
    }
    std::fs::remove_dir_all(&dir).unwrap();
}
