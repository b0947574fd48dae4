//! What a candidate tells of itself while it is rehearsed. It is listened to all the time: who speaks to a full socket
//! waits, and would seem to hang.

use crate::base::InstanceId;
use crate::os::cancel::Cancel;
use crate::os::notify::NotifySocket;
use crate::os::poll::{self, readable};
use crate::os::users::User;
use crate::supervise::notice::{self, Notice};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Messages that are read at a time.
const MESSAGES: usize = 64;

/// A candidate's notify socket. Dropped, nobody listens any more and its name is gone.
pub(super) struct Voice {
    path: String,
    ready: Arc<AtomicBool>,
    end: Cancel,
}

impl Voice {
    /// Listens in `dir`, under a number that no instance has, to a candidate that runs as `owner`.
    pub(super) fn listen(dir: &Path, number: InstanceId, owner: Option<&User>) -> io::Result<Voice> {
        let socket = NotifySocket::bind(dir, number, owner)?;
        let (path, ready, end) = (socket.path().to_owned(), Arc::new(AtomicBool::new(false)), Cancel::new()?);
        let (heard, over) = (ready.clone(), end.clone());
        let listen = move || {
            while !over.is_cancelled() {
                // An error here only means that the next look comes sooner.
                let _ = poll::until(&mut [readable(socket.as_fd()), readable(over.as_fd())], None);
                let said = socket.receive(MESSAGES);
                if said.iter().flat_map(|message| notice::parse(message)).any(|notice| notice == Notice::Ready) {
                    heard.store(true, Ordering::SeqCst);
                }
            }
            socket.remove();
        };
        std::thread::Builder::new().name("voice".into()).stack_size(128 << 10).spawn(listen)?;
        Ok(Voice { path, ready, end })
    }

    /// Its `NOTIFY_SOCKET`.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// It said `READY=1`.
    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::SeqCst)
    }
}

impl Drop for Voice {
    fn drop(&mut self) {
        self.end.cancel();
    }
}
