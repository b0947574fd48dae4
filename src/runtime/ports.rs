//! Listening sockets the daemon holds for ever, and the ports of services that bind for themselves.
//!
//! A held socket outlives every instance and every release: while nobody accepts, connections wait in its backlog.

use crate::base::{AppName, ServiceName};
use crate::config::Address;
use crate::os::sockets;
use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All sockets and ports of all apps.
#[derive(Debug, Clone, Default)]
pub struct Ports(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    sockets: BTreeMap<Address, Arc<OwnedFd>>,
    ports: BTreeMap<(AppName, ServiceName), u16>,
}

impl Ports {
    /// The socket for `address`, bound at the first call.
    pub fn socket(&self, address: &Address) -> io::Result<Arc<OwnedFd>> {
        let mut held = self.held();
        if let Some(socket) = held.sockets.get(address) {
            return Ok(socket.clone());
        }
        let socket = Arc::new(sockets::bind(address)?);
        held.sockets.insert(address.clone(), socket.clone());
        Ok(socket)
    }

    /// A free port for a service that binds for itself; it is remembered for probes until the next start.
    pub fn choose(&self, app: &AppName, service: &ServiceName) -> io::Result<u16> {
        let port = free_port()?;
        self.held().ports.insert((app.clone(), service.clone()), port);
        Ok(port)
    }

    /// The port its running instance was given.
    pub fn port(&self, app: &AppName, service: &ServiceName) -> Option<u16> {
        self.held().ports.get(&(app.clone(), service.clone())).copied()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A loopback port nobody uses now.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
