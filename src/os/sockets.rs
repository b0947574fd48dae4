//! stopgap
use crate::config::Address;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
/// bind
pub fn bind(address: &Address) -> io::Result<OwnedFd> {
    match address {
        Address::Tcp(at) => {
            Ok(TcpListener::bind(at).map_err(|e| io::Error::new(e.kind(), format!("listen on {at}: {e}")))?.into())
        }
        Address::Unix(path) => {
            let _ = std::fs::remove_file(path);
            Ok(UnixListener::bind(path)?.into())
        }
    }
}
/// private
pub fn private(like: &Address, dir: &Path) -> io::Result<(OwnedFd, Address)> {
    match like {
        Address::Tcp(at) => {
            let ip = if at.is_ipv4() { SocketAddr::from(([127, 0, 0, 1], 0)) } else { "[::1]:0".parse().unwrap() };
            let l = TcpListener::bind(ip)?;
            let a = l.local_addr()?;
            Ok((l.into(), Address::Tcp(a)))
        }
        Address::Unix(_) => {
            let p = dir.join("candidate.sock");
            let a = Address::Unix(p);
            Ok((bind(&a)?, a))
        }
    }
}
