//! Writes down what the instances say: one thread reads all their output pipes and appends whole lines to the log files.
//!
//! The thread sleeps until a pipe has something; a pipe's size is the patience an instance meets when the disk is slow.
//! Several instances of a service share one file, line by line. Line: nothing is parsed, prefixed or judged.

use crate::base::InstanceId;
use crate::os::logfile::{LogFile, LogTarget};
use crate::os::output::PIPE_SIZE;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longer lines are broken.
const LINE_MAX: usize = 64 << 10;
/// A line that was begun and not ended is written as it is after this.
const PATIENCE: u16 = 500;
/// The bell's place among the sources.
const BELL: u64 = 0;

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
    /// Starts the thread.
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
            lost: lost.clone(),
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

    /// Ends the thread for an image that goes on in our place: everything that was read is in the files, lines that were
    /// only begun as well, what comes later waits in the pipes. Gives back the read ends of instances that may still say
    /// something.
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
    lost: Arc<AtomicU64>,
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
    /// What is to be written next: the beginning of a line whose end has not come yet.
    begun: Vec<u8>,
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
            let patience = if self.sources.values().any(|source| !source.begun.is_empty()) {
                EpollTimeout::from(PATIENCE)
            } else {
                EpollTimeout::NONE
            };
            let ready = match self.epoll.wait(&mut events, patience) {
                Ok(0) => {
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
                        Next::Stop => return self.drain(),
                        Next::Close(done) => return self.give_back(&done),
                    },
                    source => {
                        self.read(source);
                    }
                }
            }
        }
    }

    fn read_messages(&mut self) -> Next {
        let _ = self.bell.read();
        while let Ok(message) = self.messages.try_recv() {
            match message {
                Message::Attach(target, pipe, instance) => self.attach(target, pipe, instance),
                Message::Flush(done) => {
                    self.drain();
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
        let sources = std::mem::take(&mut self.sources).into_values();
        let followed = sources.filter_map(|source| Some((source.instance?, source.pipe.into())));
        // Whoever asked waits for it.
        let _ = done.send(followed.collect());
    }

    fn attach(&mut self, target: LogTarget, pipe: File, instance: Option<InstanceId>) {
        let id = self.next;
        self.next += 1;
        if let Err(errno) = self.epoll.add(&pipe, EpollEvent::new(EpollFlags::EPOLLIN, id)) {
            return log::error!("output for {} cannot be read: {errno}", target.path.display());
        }
        let path = target.path.clone();
        let fresh = || SharedLog { file: LogFile::new(target.clone()), sources: 0, unfinished: None };
        let log = self.logs.entry(path.clone()).or_insert_with(fresh);
        log.file.target = target.clone();
        log.sources += 1;
        self.sources.insert(id, Source { pipe, path, instance, begun: Vec::new(), column: 0 });
    }

    /// Writes everything that is in the pipes, and lines that were only begun.
    fn drain(&mut self) {
        for source in self.sources.keys().copied().collect::<Vec<_>>() {
            // More than this one fills its pipe faster than it is emptied: it will not hold up the others.
            let most = PIPE_SIZE as usize / LINE_MAX + 1;
            for _ in 0..most {
                if !self.read(source) {
                    break;
                }
            }
        }
        self.write_what_was_begun();
    }

    fn write_what_was_begun(&mut self) {
        for (id, source) in &mut self.sources {
            self.lost.fetch_add(source.write_begun(&mut self.logs, *id), Ordering::Relaxed);
        }
    }

    /// Reads once and writes the lines; `false` when nothing (more) is there.
    fn read(&mut self, id: u64) -> bool {
        let Some(source) = self.sources.get_mut(&id) else { return false };
        let read = match source.pipe.read(&mut self.buffer) {
            Ok(0) => 0,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return true,
            Err(_) => 0,
        };
        if read == 0 {
            self.close(id);
            return false;
        }
        let text = self.buffer.get(..read).unwrap_or_default();
        let lines = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        // Who writes alone disturbs nobody's line: all is written at once, so that nothing is here when we are killed.
        let alone = self.logs.get(&source.path).is_none_or(|log| log.sources == 1);
        let (ready, begun) = text.split_at(if alone { read } else { lines });
        if !ready.is_empty() {
            source.begun.extend_from_slice(ready);
            self.lost.fetch_add(source.write_begun(&mut self.logs, id), Ordering::Relaxed);
        }
        source.begun.extend_from_slice(begun);
        if source.column + source.begun.len() >= LINE_MAX {
            source.begun.push(b'\n');
            self.lost.fetch_add(source.write_begun(&mut self.logs, id), Ordering::Relaxed);
        }
        true
    }

    fn close(&mut self, id: u64) {
        let Some(mut source) = self.sources.remove(&id) else { return };
        let _ = self.epoll.delete(&source.pipe);
        self.lost.fetch_add(source.write_begun(&mut self.logs, id), Ordering::Relaxed);
        if let Some(log) = self.logs.get_mut(&source.path) {
            log.sources -= 1;
            if log.sources == 0 {
                self.logs.remove(&source.path);
            }
        }
    }
}

impl Source {
    /// Appends what was begun to its log; returns the bytes lost.
    fn write_begun(&mut self, logs: &mut HashMap<PathBuf, SharedLog>, id: u64) -> u64 {
        let text = std::mem::take(&mut self.begun);
        let last_line = text.iter().rev().take_while(|byte| **byte != b'\n').count();
        self.column = if last_line == text.len() { self.column + last_line } else { last_line };
        write(logs, &self.path, id, &text)
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

#[cfg(test)]
mod tests;
