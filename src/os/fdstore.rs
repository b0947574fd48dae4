//! Where descriptors outlive the daemon: listening sockets in which connections wait, and the ends of what instances
//! write to, given back by name to the daemon that comes after.
//!
//! Under systemd its descriptor store holds them, elsewhere a process of our own that does nothing else ([`keeper`]);
//! a binary that replaces itself passes them on ([`crate::os::reexec`]). All three give them back through
//! [`FdStore::open`]. Line: which descriptors are kept, and what they are for, is decided by the caller.

mod client;
pub mod keeper;
mod passed;
mod systemd;

use client::Client;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use systemd::Systemd;

/// Bytes of a name, as systemd has it.
const NAME_MAX: usize = 255;

/// A handle for all threads.
#[derive(Debug, Clone)]
pub struct FdStore(Arc<Mutex<Store>>);

#[derive(Debug)]
enum Store {
    Systemd(Systemd),
    Keeper(Client),
    Closed,
}

impl FdStore {
    /// Takes back what was kept or passed on, by name, each with CLOEXEC: what was passed to this process (once: a second
    /// call finds nothing of it), then what a keeper at `runtime_dir` has besides. What the keeper cannot give is said in
    /// the log. A keeper that will be started has `marker` (name, value) in its environment.
    pub fn open(runtime_dir: &Path, marker: (String, String)) -> (FdStore, Vec<(String, OwnedFd)>) {
        let keeper = keeper::Command::own();
        FdStore::open_with(runtime_dir, marker, keeper)
    }

    fn open_with(
        runtime_dir: &Path,
        marker: (String, String),
        keeper: keeper::Command,
    ) -> (FdStore, Vec<(String, OwnedFd)>) {
        let mut back = passed::take();
        if systemd::is_there() {
            let known = Systemd::knowing(&back);
            return (FdStore::of(Store::Systemd(known)), back);
        }
        let (client, kept) = Client::visit(runtime_dir, marker, keeper);
        for (name, fd) in kept {
            if !back.iter().any(|(known, _)| *known == name) {
                back.push((name, fd));
            }
        }
        (FdStore::of(Store::Keeper(client)), back)
    }

    /// Keeps a copy of `fd` under `name` (see [`name_of`]), instead of what was kept under it before.
    pub fn keep(&self, name: &str, fd: BorrowedFd<'_>) -> io::Result<()> {
        let kept = check(name).and_then(|()| match &mut *self.lock() {
            Store::Systemd(systemd) => systemd.keep(name, fd),
            Store::Keeper(client) => client.keep(name, fd),
            Store::Closed => Err(io::Error::other("the store is closed")),
        });
        kept.map_err(|error| {
            io::Error::new(error.kind(), format!("keep descriptor {name} for the next daemon: {error}"))
        })
    }

    /// Closes what is kept under `name`, if anything is.
    pub fn forget(&self, name: &str) {
        let forgotten = match &mut *self.lock() {
            Store::Systemd(systemd) => systemd.forget(name),
            Store::Keeper(client) => client.forget(name),
            Store::Closed => Ok(()),
        };
        if let Err(error) = forgotten {
            log::warn!("descriptor {name} is kept although it is not needed any more: {error}");
        }
    }

    /// Has `epoll` tell, with `data`, when the keeper has ended: then it is to be tended.
    pub fn watch(&self, epoll: &Epoll, data: u64) -> io::Result<()> {
        match &*self.lock() {
            Store::Keeper(client) => client
                .watch()
                .map_or(Ok(()), |watch| Ok(epoll.add(&watch.0, EpollEvent::new(EpollFlags::EPOLLIN, data))?)),
            Store::Systemd(_) | Store::Closed => Ok(()),
        }
    }

    /// Gives everything to a new keeper where the last one has ended.
    pub fn tend(&self) -> io::Result<()> {
        match &mut *self.lock() {
            Store::Keeper(client) => client.tend(),
            Store::Systemd(_) | Store::Closed => Ok(()),
        }
    }

    /// The orderly end: nothing more is kept, and a keeper ends. What systemd has it keeps through a `systemctl restart`,
    /// so that visitors wait meanwhile, and closes by itself when the unit is stopped for good.
    pub fn close(self) {
        let closed = match std::mem::replace(&mut *self.lock(), Store::Closed) {
            Store::Keeper(client) => client.close(),
            Store::Systemd(_) | Store::Closed => Ok(()),
        };
        if let Err(error) = closed {
            log::warn!("give up the descriptors kept for the next daemon: {error}");
        }
    }

    fn of(store: Store) -> FdStore {
        FdStore(Arc::new(Mutex::new(store)))
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        // What a panicking holder left behind is at worst a keeper that does not answer, which is looked for anyway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name of a descriptor of `kind` (a word of letters) that belongs to `text`: an address, a number. What a name may
/// not hold is written as `%` and two hexadecimal digits.
pub fn name_of(kind: &str, text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'%' | b':');
    let mut name = format!("{kind}-");
    for byte in text.bytes() {
        match plain(byte) {
            true => name.push(byte.into()),
            false => name.push_str(&format!("%{byte:02X}")),
        }
    }
    name
}

/// The text in a name that [`name_of`] made for `kind`; `None` for a name of another kind.
pub fn text_of(kind: &str, name: &str) -> Option<String> {
    let mut parts = name.strip_prefix(kind)?.strip_prefix('-')?.split('%');
    let mut text = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        text.push(u8::from_str_radix(digits, 16).ok()?);
        text.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(text).ok().filter(|text| name_of(kind, text) == name)
}

fn check(name: &str) -> io::Result<()> {
    let fits = (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
    match fits {
        true => Ok(()),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("a name has 1 to {NAME_MAX} printable ASCII characters and no ':'"),
        )),
    }
}

#[cfg(test)]
mod tests;
