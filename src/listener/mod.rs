//! The process that the network talks to: `pintle listen`.
//!
//! The daemon starts it unprivileged, passes the listening socket as descriptor 3 and writes one [`Setup`] to its stdin;
//! from then on it is a client of `RUN/listener.sock`. `inherit` takes what was passed, `server` is all that knows
//! tiny_http, `routes` answers an [`ask::Ask`] with an [`ask::Reply`] or an [`ask::Stream`], `hooks` hands deliveries
//! over, `wait` stays with a deployment until its end, `live` tells its log as it happens (both hear it from `story`),
//! `pages` shows what anybody may see (asking once a second: `recent`), `access` says who may see more, `daemon` does the
//! asking. docs/openapi.json describes it all to clients. Line: whether a delivery counts is decided in `delivery`, what
//! becomes of it in the daemon; nothing here touches an app.

mod access;
pub mod ask;
mod daemon;
mod hooks;
mod inherit;
mod live;
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
use routes::Routes;
use serde::{Deserialize, Serialize};
use server::Socket;
use std::path::PathBuf;

/// What the daemon writes to the listener's stdin, as one JSON document followed by end of file. Secrets travel here
/// and nowhere else: not in the arguments, not in the environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    /// `RUN/listener.sock`.
    pub socket: PathBuf,
    /// The daemon's pid: a listener whose parent is another process is an orphan and ends.
    pub daemon_pid: u32,
    /// The largest body accepted, in bytes.
    pub max_body: u64,
    /// Whether `/api` is answered at all.
    pub dashboard: bool,
    /// What its callers must show; `None`: local callers only.
    pub token: Option<Key>,
    /// Every app that a request may trigger.
    pub apps: Vec<AppTrigger>,
}

/// Why the listener ends.
struct Failure {
    exit: u8,
    message: String,
}

/// Answers requests until the process is ended. Returns only when it cannot: 64 when it was not started by the daemon,
/// 1 when the socket or the setup is of no use.
pub fn run() -> u8 {
    let Failure { exit, message } = listen();
    eprintln!("pintle listen: {message}");
    exit
}

fn listen() -> Failure {
    give_large_bodies_back();
    // Executed by way of /proc/self/exe, it would be called "exe".
    // SAFETY: the name is a string ended by NUL, of at most 16 bytes.
    unsafe { libc::prctl(libc::PR_SET_NAME, c"pintle-listen".as_ptr()) };
    let inherited = inherit::socket().and_then(|socket| Ok((socket, inherit::setup()?)));
    match inherited {
        Ok((socket, setup)) => serve(socket, setup),
        Err(failure) => failure,
    }
}

fn serve(socket: Socket, setup: Setup) -> Failure {
    log::info!("listening on {socket}; apps: {}", setup.apps.len());
    crate::os::memory::rest();
    let error = server::serve(socket, Routes::new(setup));
    Failure {
        exit: 1,
        message: format!("cannot accept connections any more: {error}; the daemon starts a new listener"),
    }
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
