//! The daemon's side of the keeper: finds the one that is there, starts one when something is to be kept.
//!
//! It holds a copy of everything it gave away: a keeper that was killed is followed by one that has it all again.

use super::keeper::{self, MOST_BYTES};
use crate::os::files::because;
use crate::os::message;
use crate::os::poll::{self, readable};
use crate::os::reap;
use crate::os::spawn::{self, Child, Start};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket};
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Open files a keeper may have, where the hard limit allows.
const OPEN_FILES: u64 = 1 << 16;
/// A keeper that was told to end has ended after this.
const FAREWELL: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Client {
    path: PathBuf,
    marker: (String, String),
    command: keeper::Command,
    /// All that is kept: copies.
    kept: BTreeMap<String, OwnedFd>,
    connection: Option<OwnedFd>,
    /// Readable when the connection's other end is gone.
    watch: Option<Epoll>,
    /// Where the keeper is our own child.
    child: Option<Child>,
}

/// Why a request was not done.
enum Failed {
    /// The keeper says so.
    Refused(String),
    /// It ended, or does not answer.
    Gone(io::Error),
}

impl From<Failed> for io::Error {
    fn from(failed: Failed) -> io::Error {
        match failed {
            Failed::Refused(why) => io::Error::other(format!("the keeper refuses: {why}")),
            Failed::Gone(error) => io::Error::new(error.kind(), format!("the keeper does not answer: {error}")),
        }
    }
}

impl Client {
    /// Takes back what a keeper has that is there already; none is started.
    pub(super) fn visit(
        runtime_dir: &Path,
        marker: (String, String),
        command: keeper::Command,
    ) -> (Client, Vec<(String, OwnedFd)>) {
        let path = runtime_dir.join("keeper.sock");
        let watch = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC);
        let watch = watch.inspect_err(|error| log::warn!("an end of the keeper would not be noticed: {error}")).ok();
        let mut client = Client { path, marker, command, kept: BTreeMap::new(), connection: None, watch, child: None };
        let mut back = Vec::new();
        if client.find()
            && let Err(error) = client.take(&mut back)
        {
            let error = io::Error::from(error);
            log::error!("take back what the keeper at {} has: {error}", client.path.display());
        }
        for (name, fd) in &back {
            match fd.try_clone() {
                Ok(copy) => drop(client.kept.insert(name.clone(), copy)),
                Err(error) => log::warn!("hold a copy of descriptor {name}: {error}"),
            }
        }
        (client, back)
    }

    pub(super) fn keep(&mut self, name: &str, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.kept.insert(name.to_owned(), fd.try_clone_to_owned()?);
        match self.ask(&format!("P{name}"), Some(fd)) {
            Ok(()) => Ok(()),
            Err(Failed::Refused(why)) => Err(Failed::Refused(why).into()),
            Err(Failed::Gone(_)) => self.give_all(),
        }
    }

    pub(super) fn forget(&mut self, name: &str) -> io::Result<()> {
        if self.kept.remove(name).is_none() {
            return Ok(());
        }
        Ok(self.ask_if_there(&format!("D{name}"))?)
    }

    pub(super) fn tend(&mut self) -> io::Result<()> {
        // Unasked it says nothing: what there is to read is its end.
        let lives = |connection: &OwnedFd| {
            matches!(poll::until(&mut [readable(connection.as_fd())], Some(Instant::now())), Ok(false))
        };
        self.connection = self.connection.take().filter(lives);
        if self.connection.is_some() || self.kept.is_empty() { Ok(()) } else { self.give_all() }
    }

    pub(super) fn watch(&self) -> Option<&Epoll> {
        self.watch.as_ref()
    }

    pub(super) fn close(mut self) -> io::Result<()> {
        self.ask_if_there("E")?;
        if let Some(child) = &self.child {
            let _ = poll::until(&mut [readable(child.pidfd.as_fd())], Some(Instant::now() + FAREWELL));
            self.reap();
        }
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(because("remove", &self.path, &error)),
            _ => Ok(()),
        }
    }

    /// Finds or starts a keeper and gives it everything. One that is found may be about to end: its last descriptors are
    /// closed one after the other, and the socket at its path not first.
    fn give_all(&mut self) -> io::Result<()> {
        if self.find() {
            match self.hand_over() {
                Err(Failed::Gone(_)) => {}
                given => return Ok(given?),
            }
        }
        self.start().map_err(|error| io::Error::new(error.kind(), format!("start a keeper: {error}")))?;
        Ok(self.hand_over()?)
    }

    fn hand_over(&mut self) -> Result<(), Failed> {
        for (name, fd) in &self.kept {
            let connection = self.connection.as_ref().ok_or_else(never_met)?;
            let given = ask(connection.as_fd(), &format!("P{name}"), Some(fd.as_fd()));
            if given.is_err() {
                self.connection = None;
                return given;
            }
        }
        Ok(())
    }

    /// Connects to the keeper that is there; `false` when none is, or one of somebody else.
    fn find(&mut self) -> bool {
        self.connect().is_ok()
    }

    fn connect(&mut self) -> io::Result<()> {
        self.connection = None;
        let connection = connected(&self.path)?;
        if let Some(watch) = &self.watch {
            watch.add(&connection, EpollEvent::new(EpollFlags::EPOLLRDHUP, 0))?;
        }
        self.connection = Some(connection);
        Ok(())
    }

    fn start(&mut self) -> io::Result<()> {
        self.reap();
        let listener = bound(&self.path).map_err(|error| because("listen on", &self.path, &error))?;
        let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
        let env = [self.marker.clone()];
        let start = Start {
            program: Some(&self.command.program),
            sockets: vec![listener.as_fd()],
            open_files: Some(OPEN_FILES),
            // Where whoever looks for processes of this runtime directory finds it.
            ..Start::new(&self.command.argv, self.path.parent().unwrap_or(Path::new("/")), &env, null.as_fd())
        };
        self.child = Some(spawn::start(&start)?);
        self.connect()
    }

    /// Takes the ended child's zombie away; one that lives stays.
    fn reap(&mut self) {
        let ended = self.child.as_ref().is_some_and(|child| !matches!(reap::try_wait(child.pid), Ok(None)));
        if ended {
            self.child = None;
        }
    }

    fn take(&mut self, back: &mut Vec<(String, OwnedFd)>) -> Result<(), Failed> {
        let Some(connection) = &self.connection else { return Err(never_met()) };
        let taken = take(connection.as_fd(), back);
        self.unless_gone(taken)
    }

    fn ask(&mut self, request: &str, fd: Option<BorrowedFd<'_>>) -> Result<(), Failed> {
        let Some(connection) = &self.connection else { return Err(never_met()) };
        let asked = ask(connection.as_fd(), request, fd);
        self.unless_gone(asked)
    }

    /// A keeper that has ended has forgotten everything; one that only lost us is found again.
    fn ask_if_there(&mut self, request: &str) -> Result<(), Failed> {
        match self.ask(request, None) {
            Err(Failed::Gone(_)) if self.find() => self.ask(request, None),
            Err(Failed::Gone(_)) => Ok(()),
            asked => asked,
        }
    }

    /// A connection on which an answer is missing is of no use: the next one would be taken for it.
    fn unless_gone(&mut self, asked: Result<(), Failed>) -> Result<(), Failed> {
        if let Err(Failed::Gone(_)) = asked {
            self.connection = None;
        }
        asked
    }
}

fn never_met() -> Failed {
    Failed::Gone(io::ErrorKind::NotConnected.into())
}

fn ask(keeper: BorrowedFd<'_>, request: &str, fd: Option<BorrowedFd<'_>>) -> Result<(), Failed> {
    message::send(keeper, request.as_bytes(), fd.as_slice()).map_err(Failed::Gone)?;
    take_answers(keeper, &mut |_, _| {})
}

fn take(keeper: BorrowedFd<'_>, back: &mut Vec<(String, OwnedFd)>) -> Result<(), Failed> {
    message::send(keeper, b"T", &[]).map_err(Failed::Gone)?;
    take_answers(keeper, &mut |names, fds| back.extend(names.split('\0').map(str::to_owned).zip(fds)))
}

/// Reads answers up to the one that ends them.
fn take_answers(keeper: BorrowedFd<'_>, found: &mut dyn FnMut(&str, Vec<OwnedFd>)) -> Result<(), Failed> {
    let mut buffer = vec![0; MOST_BYTES];
    loop {
        let received = message::receive(keeper, &mut buffer).map_err(Failed::Gone)?;
        let text = String::from_utf8_lossy(buffer.get(..received.length).unwrap_or_default());
        match text.split_at_checked(1) {
            Some(("+", _)) => return Ok(()),
            Some(("-", why)) => return Err(Failed::Refused(why.to_owned())),
            Some(("F", names)) => {
                if !received.whole {
                    log::error!(
                        "too many open files: not all descriptors could be taken back of {}",
                        names.replace('\0', " ")
                    );
                }
                found(names, received.fds);
            }
            Some(_) => return Err(Failed::Gone(io::ErrorKind::InvalidData.into())),
            None => return Err(Failed::Gone(io::ErrorKind::UnexpectedEof.into())),
        }
    }
}

fn packets() -> io::Result<OwnedFd> {
    Ok(socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?)
}

fn connected(path: &Path) -> io::Result<OwnedFd> {
    let socket = packets()?;
    keeper::be_patient(socket.as_fd())?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    match keeper::is_one_of_us(socket.as_fd()) {
        true => Ok(socket),
        false => Err(io::ErrorKind::PermissionDenied.into()),
    }
}

/// A socket in the place of one that nobody answers on; ours alone before anybody can connect.
fn bound(path: &Path) -> io::Result<OwnedFd> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = packets()?;
    bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    listen(&socket, Backlog::new(8)?)?;
    Ok(socket)
}
