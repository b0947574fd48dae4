//! A network of a test's own: everything that its thread starts lives in it, and 192.0.2.0/24 are clients there.
//!
//! Loopback peers are trusted as proxies; strangers are needed to see what is not believed.

use super::raw::Line;
use nix::sched::{CloneFlags, unshare};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::process::Command;

/// Runs `test` in a network of its own.
pub fn in_a_network_of_its_own(test: impl FnOnce() + Send + 'static) {
    let inside = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace (root)");
        ip("link set lo up");
        ip("address add 192.0.2.0/24 dev lo");
        test();
    });
    if let Err(panic) = inside.join() {
        std::panic::resume_unwind(panic);
    }
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("ip (package iproute2)");
    assert!(status.success(), "ip {arguments}: {status}");
}

/// A connection of the stranger 192.0.2.`host` to `127.0.0.1:port`.
pub fn stranger(host: u8, port: u16) -> Line {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};
    let address = |ip: Ipv4Addr, port: u16| SockaddrIn::from(SocketAddrV4::new(ip, port));
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(fd.as_raw_fd(), &address(Ipv4Addr::new(192, 0, 2, host), 0)).unwrap();
    connect(fd.as_raw_fd(), &address(Ipv4Addr::LOCALHOST, port)).unwrap();
    let stream = TcpStream::from(fd);
    assert!(matches!(stream.local_addr().unwrap(), SocketAddr::V4(own) if own.ip().octets()[3] == host));
    Line::over(stream)
}
