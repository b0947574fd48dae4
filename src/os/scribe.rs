//! Writes down what the instances say: one thread reads all their output pipes and appends whole lines to the log files.
//!
//! The thread sleeps until a pipe has something; a pipe's size is the patience an instance meets when the disk is slow.
//! Several instances of a service share one file, line by line. Nothing is taken out of a pipe before it is written, and
//! a line that was only begun stays in it: a daemon that is killed takes no line with it. Line: nothing is parsed, prefixed or judged.

mod peek;

use crate::base::InstanceId;
use crate::os::logfile::{LogFile, LogTarget};
use crate::os::output::PIPE_SIZE;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use peek::Peek;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longer lines are broken.
const LINE_MAX: usize = 64 << 10;
/// A line that was begun and not ended is written as it is after so many milliseconds of silence.
const PATIENCE: u16 = 500;
/// The bell's place among the sources.
const BELL: u64 = 0;
/// Whose line it is that stands unfinished in a file from earlier.
const NOBODY: u64 = BELL;

/// A pipe for the output of what ends with us: `write` becomes its stdout and stderr, `read` goes to the scribe. Large,
/// where the kernel allows. An instance, which outlives us, gets an [`Output`](crate::os::output::Output).
pub fn make_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    let _ = nix::fcntl::fcntl(&read, FcntlArg::F_SETPIPE_SZ(PIPE_SIZE));
    Ok((read, write))
}

/// The thread's handle. Dropped, it writes what is there and ends the thread.
#[derive(Debug)]
pub struct Scribe {
    inbox: Sender<Message>,
    bell: Arc<EventFd>,
    lost: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

enum Message {
    Attach(LogTarget, File, Option<InstanceId>),
    Flush(Sender<()>),
    Close(Sender<Vec<(InstanceId, OwnedFd)>>),
    Stop,
}

impl Scribe {
    /// Starts the thread. A line that stands unfinished in a file was cut off with its writer: the next is a new one.
    pub fn start() -> io::Result<Scribe> {
        let bell = Arc::new(EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&*bell, EpollEvent::new(EpollFlags::EPOLLIN, BELL))?;
        let (inbox, messages) = channel();
        let lost = Arc::new(AtomicU64::new(0));
        let desk = Desk {
            epoll,
            bell: bell.clone(),
            messages,
            sources: BTreeMap::new(),
            logs: HashMap::new(),
            next: BELL + 1,
            busy: BTreeSet::new(),
            lost: lost.clone(),
            peek: Peek::new()?,
            buffer: vec![0; LINE_MAX],
        };
        let thread = std::thread::Builder::new().name("scribe".into()).stack_size(256 << 10).spawn(|| desk.work())?;
        Ok(Scribe { inbox, bell, lost, thread: Some(thread) })
    }

    /// From now on what comes out of `read` is appended to the target, until its end of file. The descriptor is made
    /// non-blocking, so it must not share its open file description with a writer.
    pub fn attach(&self, target: LogTarget, read: OwnedFd) -> io::Result<()> {
        nix::fcntl::fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        self.tell(Message::Attach(target, File::from(read), None));
        Ok(())
    }

    /// The same for the output of an instance, which [`close`](Scribe::close) gives back.
    pub fn follow(&self, instance: InstanceId, target: LogTarget, read: OwnedFd) -> io::Result<()> {
        nix::fcntl::fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        self.tell(Message::Attach(target, File::from(read), Some(instance)));
        Ok(())
    }

    /// Ends the thread for an image that goes on in our place. What is not written stays in the pipes, lines that were
    /// only begun as well. Gives back the read ends of instances that may still say something.
    pub fn close(self) -> Vec<(InstanceId, OwnedFd)> {
        let (done, back) = channel();
        self.tell(Message::Close(done));
        back.recv().unwrap_or_default()
    }

    /// Returns when everything that was in the pipes is in the files, or after a second: an instance that has ended
    /// can then be read up on.
    pub fn flush(&self) {
        let (done, wait) = channel();
        self.tell(Message::Flush(done));
        let _ = wait.recv_timeout(Duration::from_secs(1));
    }

    /// Whether there is still somebody who reads.
    pub fn lives(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Bytes that could not be written since the start.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn tell(&self, message: Message) {
        // The thread ends only when told to, and a full bell rings all the same.
        let _ = self.inbox.send(message);
        let _ = self.bell.write(1);
    }
}

impl Drop for Scribe {
    fn drop(&mut self) {
        self.tell(Message::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread's own side.
struct Desk {
    epoll: Epoll,
    bell: Arc<EventFd>,
    messages: Receiver<Message>,
    sources: BTreeMap<u64, Source>,
    logs: HashMap<PathBuf, SharedLog>,
    next: u64,
    /// Sources in which there may be more than was seen.
    busy: BTreeSet<u64>,
    lost: Arc<AtomicU64>,
    peek: Peek,
    buffer: Vec<u8>,
}

/// What the thread does after its messages.
enum Next {
    Work,
    Stop,
    Close(Sender<Vec<(InstanceId, OwnedFd)>>),
}

/// One instance's pipe.
struct Source {
    pipe: File,
    path: PathBuf,
    /// Whose it is, where it outlives this daemon.
    instance: Option<InstanceId>,
    /// The beginning of a line is in the pipe, and its end has not come yet.
    waits: bool,
    /// Nobody is left to write.
    ended: bool,
    /// Bytes of its unfinished line that are written already.
    column: usize,
}

/// One file with those who write to it.
struct SharedLog {
    file: LogFile,
    /// How many write to it.
    sources: usize,
    /// The source whose line stands unfinished at the end of the file.
    unfinished: Option<u64>,
}

impl Desk {
    fn work(mut self) {
        let mut events = [EpollEvent::empty(); 16];
        loop {
            let ready = match self.epoll.wait(&mut events, self.patience()) {
                Ok(0) if self.busy.is_empty() => {
                    self.write_what_was_begun();
                    continue;
                }
                Ok(ready) => ready,
                Err(Errno::EINTR) => continue,
                Err(errno) => return log::error!("the log thread cannot wait for output: {errno}"),
            };
            for event in events.iter().take(ready) {
                match event.data() {
                    BELL => match self.read_messages() {
                        Next::Work => {}
                        Next::Stop => return self.finish(),
                        Next::Close(done) => return self.give_back(&done),
                    },
                    source => self.wake(source, event.events()),
                }
            }
            for source in self.busy.clone() {
                if !self.read(source) {
                    self.busy.remove(&source);
                }
            }
        }
    }

    fn patience(&self) -> EpollTimeout {
        match self.sources.values().any(|source| source.waits) {
            _ if !self.busy.is_empty() => EpollTimeout::ZERO,
            true => EpollTimeout::from(PATIENCE),
            false => EpollTimeout::NONE,
        }
    }

    fn read_messages(&mut self) -> Next {
        let _ = self.bell.read();
        while let Ok(message) = self.messages.try_recv() {
            match message {
                Message::Attach(target, pipe, instance) => self.attach(target, pipe, instance),
                Message::Flush(done) => {
                    self.finish();
                    let _ = done.send(());
                }
                Message::Close(done) => return Next::Close(done),
                Message::Stop => return Next::Stop,
            }
        }
        Next::Work
    }

    fn give_back(mut self, done: &Sender<Vec<(InstanceId, OwnedFd)>>) {
        self.drain();
        let all = std::mem::take(&mut self.sources).into_iter();
        let (followed, own): (BTreeMap<_, _>, BTreeMap<_, _>) = all.partition(|(_, source)| source.instance.is_some());
        self.sources = own;
        self.finish();
        // Whoever asked waits for it.
        let followed = followed.into_values().filter_map(|source| Some((source.instance?, source.pipe.into())));
        let _ = done.send(followed.collect());
    }

    fn attach(&mut self, target: LogTarget, pipe: File, instance: Option<InstanceId>) {
        let id = self.next;
        self.next += 1;
        // Told of each time something comes, not of what is left in the pipe for later.
        let news = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        if let Err(errno) = self.epoll.add(&pipe, EpollEvent::new(news, id)) {
            return log::error!("output for {} cannot be read: {errno}", target.path.display());
        }
        let path = target.path.clone();
        let fresh = || SharedLog {
            file: LogFile::new(target.clone()),
            sources: 0,
            unfinished: ends_within_a_line(&path).then_some(NOBODY),
        };
        let log = self.logs.entry(path.clone()).or_insert_with(fresh);
        log.file.target = target.clone();
        log.sources += 1;
        self.sources.insert(id, Source { pipe, path, instance, waits: false, ended: false, column: 0 });
        // Of a pipe whose writers are gone already no news would come.
        self.busy.insert(id);
    }

    fn wake(&mut self, id: u64, events: EpollFlags) {
        if let Some(source) = self.sources.get_mut(&id) {
            source.ended |= events.contains(EpollFlags::EPOLLHUP);
            self.busy.insert(id);
        }
    }

    /// Writes everything that is in the pipes, and lines that were only begun.
    fn finish(&mut self) {
        self.drain();
        self.write_what_was_begun();
    }

    /// Writes all whole lines that are in the pipes.
    fn drain(&mut self) {
        for source in self.sources.keys().copied().collect::<Vec<_>>() {
            // More than this one fills its pipe faster than it is emptied: it will not hold up the others.
            let most = 2 * PIPE_SIZE as usize / LINE_MAX;
            for _ in 0..most {
                if !self.read(source) {
                    break;
                }
            }
        }
    }

    fn write_what_was_begun(&mut self) {
        let waiting = self.sources.iter_mut().filter(|(_, source)| source.waits);
        let waiting: Vec<u64> = waiting.map(|(id, _)| *id).collect();
        for id in waiting {
            if let Some(seen) = self.look(id) {
                self.put(id, seen, false);
                self.busy.insert(id);
            }
        }
    }

    /// Looks once and writes the lines; `false` when nothing (more) is to be written now.
    fn read(&mut self, id: u64) -> bool {
        let Some(seen) = self.look(id) else { return false };
        let Some(source) = self.sources.get_mut(&id) else { return false };
        let text = self.buffer.get(..seen).unwrap_or_default();
        match text.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => self.put(id, end + 1, false),
            None if source.column + seen >= LINE_MAX => self.put(id, seen, true),
            None if source.ended => self.put(id, seen, false),
            None => {
                source.waits = true;
                false
            }
        }
    }

    /// Bytes that are in the buffer now; `None` when there are none, or no more will come.
    fn look(&mut self, id: u64) -> Option<usize> {
        let source = self.sources.get_mut(&id)?;
        match self.peek.look(&source.pipe, &mut self.buffer) {
            Ok(seen) if seen > 0 => return Some(seen),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Ok(_) => {}
            Err(error) => log::error!("output for {} cannot be read: {error}", source.path.display()),
        }
        self.close(id);
        None
    }

    /// Writes the buffer's first `bytes`, and then takes them out of the pipe; `false` when that is its end.
    fn put(&mut self, id: u64, bytes: usize, broken: bool) -> bool {
        let Some(source) = self.sources.get_mut(&id) else { return false };
        let text = self.buffer.get(..bytes).unwrap_or_default();
        let last_line = text.iter().rev().take_while(|byte| **byte != b'\n').count();
        source.column = if last_line == bytes { source.column + bytes } else { last_line };
        source.waits = false;
        let mut lost = write(&mut self.logs, &source.path, id, text);
        if broken {
            source.column = 0;
            lost += write(&mut self.logs, &source.path, id, b"\n");
        }
        self.lost.fetch_add(lost, Ordering::Relaxed);
        if let Err(error) = self.peek.take(&source.pipe, bytes) {
            log::error!("output for {} cannot be read any more: {error}", source.path.display());
            self.close(id);
            return false;
        }
        true
    }

    fn close(&mut self, id: u64) {
        let Some(source) = self.sources.remove(&id) else { return };
        let _ = self.epoll.delete(&source.pipe);
        self.busy.remove(&id);
        if let Some(log) = self.logs.get_mut(&source.path) {
            log.sources -= 1;
            if log.sources == 0 {
                self.logs.remove(&source.path);
            }
        }
    }
}

/// Appends `text` to the log at `path`, on a line of its own unless it goes on with the source's unfinished one.
/// Returns the bytes lost.
fn write(logs: &mut HashMap<PathBuf, SharedLog>, path: &PathBuf, id: u64, text: &[u8]) -> u64 {
    let Some(log) = logs.get_mut(path).filter(|_| !text.is_empty()) else { return 0 };
    let mut lost = 0;
    if log.unfinished.is_some_and(|other| other != id) {
        lost += log.file.append(b"\n");
    }
    lost += log.file.append(text);
    log.unfinished = (text.last() != Some(&b'\n')).then_some(id);
    lost as u64
}

fn ends_within_a_line(path: &Path) -> bool {
    let mut last = [b'\n'];
    let read = File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)
    });
    read.is_ok() && last != *b"\n"
}

#[cfg(test)]
mod tests;
