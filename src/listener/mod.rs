//! The process that the network talks to: `pintle listen`.
//!
//! The daemon starts it unprivileged, passes it two listening sockets (the public one as descriptor 3, the guard's as 4)
//! and writes one [`Setup`] to its stdin; from then on it is a client of `RUN/listener.sock`. `inherit` takes what was
//! passed, `guard` owns every public connection and lets whole requests through, `server` is all that knows tiny_http
//! behind it, `routes` answers an [`ask::Ask`] with an [`ask::Reply`] or an [`ask::Stream`], `courier` hands deliveries
//! over and `hooks` says what became of them, `wait` stays with a deployment until its end, `live` tells its log as it happens (both hear it from `story`),
//! `pages` shows what anybody may see (asking once a second: `recent`), `access` says who may see more, `daemon` does the
//! asking, `notes` tells it what came to nothing. docs/openapi.json describes it all to clients. Line: whether a delivery
//! counts is decided in `delivery`, what becomes of it in the daemon; nothing here touches an app.

mod access;
pub mod ask;
mod courier;
mod daemon;
mod errands;
pub mod guard;
mod hooks;
mod inherit;
mod live;
mod notes;
mod pages;
mod recent;
pub mod routes;
pub mod server;
mod story;
mod wait;

#[cfg(test)]
mod tests;

use crate::delivery::AppTrigger;
use crate::delivery::signature::Key;
use crate::os::confine;
use crate::os::signals::Signals;
use guard::{Doors, Limits, Material, Tickets};
use routes::Routes;
use serde::{Deserialize, Serialize};
use server::Socket;
use std::io;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;

/// What the daemon writes to the listener's stdin, as one JSON document followed by end of file. Secrets travel here
/// and nowhere else: not in the arguments, not in the environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    /// `RUN/listener.sock`.
    pub socket: PathBuf,
    /// The daemon's pid: a listener whose parent is another process is an orphan and ends.
    pub daemon_pid: u32,
    /// Limits and deadlines of the guard.
    pub limits: Limits,
    /// What TLS is done with; `None`: plain HTTP.
    #[serde(default)]
    pub tls: Option<Material>,
    /// Whether `/api` is answered at all.
    pub dashboard: bool,
    /// What its callers must show; `None`: local callers only.
    pub token: Option<Key>,
    /// Every app that a request may trigger.
    pub apps: Vec<AppTrigger>,
}

/// Descriptors the listener may have open: for each public connection one of ours, tiny_http's two and one to the
/// daemon; and what it has for itself.
fn open_files(limits: &Limits) -> u32 {
    limits.connections.saturating_mul(4).saturating_add(256)
}

/// Why the listener ends.
struct Failure {
    exit: u8,
    message: String,
}

/// Answers requests until SIGTERM and returns 0; 64 when it was not started by the daemon, 1 when what it was passed is
/// of no use or requests cannot be answered any more.
pub fn run() -> u8 {
    match listen() {
        Ok(()) => 0,
        Err(Failure { exit, message }) => {
            eprintln!("pintle listen: {message}");
            exit
        }
    }
}

fn listen() -> Result<(), Failure> {
    give_large_bodies_back();
    // Executed by way of /proc/self/exe, it would be called "exe".
    // SAFETY: the name is a string ended by NUL, of at most 16 bytes.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"pintle-listen".as_ptr()) };
    let sockets = inherit::sockets()?;
    let setup = inherit::setup()?;
    log::info!("listening on {}; apps: {}", sockets.public, setup.apps.len());
    let ended = Signals::listen().and_then(|signals| {
        // Landlock and seccomp are a thread's own: before there is another one.
        let needs = confine::Needs { open_files: open_files(&setup.limits), listening: &inherit::SOCKETS };
        log::info!("listener confined: {}", confine::now(&needs));
        serve(sockets, setup, Some(signals))
    });
    ended.map_err(|error| Failure {
        exit: 1,
        message: format!("cannot answer requests any more: {error}; the daemon starts a new listener"),
    })
}

/// The sockets of one listener.
#[derive(Debug)]
pub struct Sockets {
    /// Where the public comes in.
    pub public: Socket,
    /// Where tiny_http answers, and the guard is its only client.
    pub private: UnixListener,
}

/// Answers requests until `signals` hears SIGTERM.
pub fn serve(sockets: Sockets, setup: Setup, signals: Option<Signals>) -> io::Result<()> {
    let Sockets { public, private } = sockets;
    let address = private.local_addr()?;
    let path = address.as_pathname().ok_or_else(|| io::Error::other("the guard's socket has no path"))?.to_owned();
    public.set_nonblocking(true)?;
    // tiny_http takes a refused wait for the end.
    private.set_nonblocking(false)?;
    let limits = setup.limits.clone();
    let tls = setup.tls.as_ref().map(Material::config).transpose().map_err(io::Error::other)?;
    let (routes, tickets) = (Routes::new(setup), Tickets::new()?);
    server::start(private, Arc::clone(&routes), Arc::clone(&tickets))?;
    crate::os::memory::rest();
    guard::guard(Doors { public, private: path, signals, tls }, limits, routes, tickets)
}

/// A body of many megabytes is mapped for itself and unmapped after use, instead of growing the heap for ever.
fn give_large_bodies_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt takes two integers and is called before any other thread exists.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 128 << 10);
    }
}
