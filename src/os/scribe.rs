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
    /// The beginning of a line whose end has not come yet.
    begun: Vec<u8>,
}

/// One file with those who write to it.
struct SharedLog {
    file: LogFile,
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
        let fresh = || SharedLog { file: LogFile::new(target.clone()), unfinished: None };
        self.logs.entry(path.clone()).or_insert_with(fresh).file.target = target.clone();
        self.sources.insert(id, Source { pipe, path, instance, begun: Vec::new() });
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
            let begun = std::mem::take(&mut source.begun);
            self.lost.fetch_add(write(&mut self.logs, &source.path, *id, &begun), Ordering::Relaxed);
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
        let (lines, begun) = text.split_at(text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
        let whole = !lines.is_empty();
        if whole {
            source.begun.extend_from_slice(lines);
            let ended = std::mem::take(&mut source.begun);
            self.lost.fetch_add(write(&mut self.logs, &source.path, id, &ended), Ordering::Relaxed);
        }
        source.begun.extend_from_slice(begun);
        if source.begun.len() >= LINE_MAX {
            let mut long = std::mem::take(&mut source.begun);
            long.push(b'\n');
            self.lost.fetch_add(write(&mut self.logs, &source.path, id, &long), Ordering::Relaxed);
        }
        true
    }

    fn close(&mut self, id: u64) {
        let Some(source) = self.sources.remove(&id) else { return };
        let _ = self.epoll.delete(&source.pipe);
        self.lost.fetch_add(write(&mut self.logs, &source.path, id, &source.begun), Ordering::Relaxed);
        if !self.sources.values().any(|other| other.path == source.path) {
            self.logs.remove(&source.path);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Bytes;
    use nix::unistd::write as put;
    use std::fs;
    use std::path::Path;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("pintle-scribe-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        dir
    }

    fn target(path: &Path) -> LogTarget {
        LogTarget { path: path.into(), max: Bytes(64 << 20), keep: 2 }
    }

    fn attached(scribe: &Scribe, target: LogTarget) -> OwnedFd {
        let (read, write) = make_pipe().unwrap();
        scribe.attach(target, read).unwrap();
        write
    }

    #[test]
    fn several_instances_share_a_file_line_by_line() {
        let dir = scratch("share");
        let path = dir.join("web.log");
        let scribe = Scribe::start().unwrap();
        let (one, two) = (attached(&scribe, target(&path)), attached(&scribe, target(&path)));
        put(&one, b"one be").unwrap();
        put(&two, b"two\n").unwrap();
        put(&one, b"gun\n").unwrap();
        scribe.flush();
        put(&one, b"unfinished").unwrap();
        scribe.flush();
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().collect::<std::collections::BTreeSet<_>>();
        assert_eq!(lines.into_iter().collect::<Vec<_>>(), ["one begun", "two", "unfinished"]);
        put(&one, b" after all\n").unwrap();
        scribe.flush();
        put(&one, b"cut").unwrap();
        scribe.flush();
        put(&two, b"other\n").unwrap();
        scribe.flush();
        assert!(fs::read_to_string(&path).unwrap().ends_with("unfinished after all\ncut\nother\n"));
        drop((one, two));
        drop(scribe);
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn what_is_in_the_pipe_is_written_before_the_thread_ends() {
        let dir = scratch("end");
        let path = dir.join("web.log");
        let scribe = Scribe::start().unwrap();
        let pipe = attached(&scribe, target(&path));
        put(&pipe, b"last words").unwrap();
        drop(scribe);
        assert_eq!(fs::read_to_string(&path).unwrap(), "last words");
        assert_eq!(put(&pipe, b"x"), Err(Errno::EPIPE), "nobody reads any more");
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn eight_mebibytes_come_through_rotation_whole() {
        let dir = scratch("eight");
        let path = dir.join("web.log");
        let scribe = Scribe::start().unwrap();
        let pipe = attached(&scribe, LogTarget { path: path.clone(), max: Bytes(1 << 20), keep: 20 });
        let line = |number: u32| format!("{number:063}\n");
        let lines = (8 << 20) / 64;
        let mut pipe = File::from(pipe);
        for number in 0..lines {
            io::Write::write_all(&mut pipe, line(number).as_bytes()).unwrap();
        }
        drop(pipe);
        drop(scribe);
        let files = (0..20).rev().map(|number| crate::os::logfile::rotated(&path, number));
        let texts = files.filter_map(|file| fs::read_to_string(file).ok()).collect::<Vec<_>>();
        assert!(texts.len() >= 8 && texts.iter().all(|text| text.len() <= 1 << 20 && text.ends_with('\n')));
        assert!(texts.concat().lines().map(|line| line.parse::<u32>().unwrap()).eq(0..lines));
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn an_endless_line_is_broken_and_a_full_disk_holds_nobody_up() {
        let dir = scratch("endless");
        let path = dir.join("web.log");
        let scribe = Scribe::start().unwrap();
        let (endless, full) = (attached(&scribe, target(&path)), attached(&scribe, target(Path::new("/dev/full"))));
        io::Write::write_all(&mut File::from(endless), &vec![b'x'; 3 * LINE_MAX]).unwrap();
        io::Write::write_all(&mut File::from(full), &vec![b'\n'; 3 << 20]).unwrap();
        scribe.flush();
        let lost = scribe.lost();
        drop(scribe);
        assert!(lost >= 2 << 20, "{lost}");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.lines().count() >= 2 && text.lines().all(|line| line.len() <= 2 * LINE_MAX));
        assert_eq!(text.bytes().filter(|byte| *byte == b'x').count(), 3 * LINE_MAX);
        fs::remove_dir_all(&dir).unwrap();
    }
}
