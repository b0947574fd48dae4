//! The last lines of a log, and those that come: across rotation, truncation and a file that is not there yet.
//!
//! Waiting is inotify on the log's directory; nothing wakes up while nothing is written. Line: lines are passed on as
//! they stand, without their newline.

use crate::os::cancel::Cancel;
use crate::os::files::because;
use crate::os::logfile::rotated;
use crate::os::poll::{self, readable};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::fs::{File, Metadata};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// Longer lines are passed on in pieces.
const LINE_MAX: usize = 1 << 20;

type Each<'a> = &'a mut dyn FnMut(&[u8]) -> ControlFlow<()>;
/// The file to go on with, unless the reader of the lines broke off.
type Followed = ControlFlow<(), Option<Reader>>;

/// Passes the last `lines` lines of the log at `path` (reaching back into its rotated files) to `each`, then, with
/// `follow`, every line that is written, until it is cancelled or `each` breaks off. Without `follow` a log that does not
/// exist is an error; with it, it is waited for.
pub fn tail(
    path: &Path,
    lines: usize,
    follow: Option<&Cancel>,
    each: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> io::Result<()> {
    // Watched before the first look, so that nothing written in between is missed.
    let watch = follow.map(|cancel| Ok::<_, io::Error>((watch(path)?, cancel))).transpose()?;
    let mut reader = match open_last(path, lines) {
        Ok(files) => pass_on_last(files, watch.is_none(), each)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound && watch.is_some() => ControlFlow::Continue(None),
        Err(error) => return Err(because("open", path, &error)),
    };
    let Some((inotify, cancel)) = watch else { return Ok(()) };
    while !cancel.is_cancelled() {
        reader = match reader {
            ControlFlow::Continue(reader) => catch_up(path, reader, each)?,
            ControlFlow::Break(()) => return Ok(()),
        };
        poll::until(&mut [readable(inotify.as_fd()), readable(cancel.as_fd())], None)?;
        // What happened is seen by looking; the events only say when.
        let _ = inotify.read_events();
    }
    Ok(())
}

fn watch(path: &Path) -> io::Result<Inotify> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    let events = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVE;
    inotify.add_watch(dir, events).map_err(|errno| because("watch", dir, &errno.into()))?;
    Ok(inotify)
}

/// The log and as many of its rotated files as hold its last `count` lines, newest first, each standing where they begin.
fn open_last(path: &Path, count: usize) -> io::Result<Vec<Reader>> {
    between_rotations(path, |files| {
        let mut left = count;
        let mut opened = Vec::new();
        for (number, _) in files {
            let mut file = Reader::open(path, *number)?;
            left -= file.skip_to_last(left)?;
            opened.push(file);
            if left == 0 {
                break;
            }
        }
        if opened.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(opened) }
    })
}

/// The file that was begun after `current`: the oldest when there is no current one; the newest when that is gone, as
/// what lies between cannot be known and nothing shall be told twice.
fn open_next(path: &Path, current: Option<&Reader>) -> io::Result<Option<Reader>> {
    let own = current.map(|current| current.file.metadata().map(identity)).transpose()?;
    between_rotations(path, |files| {
        let newer = match files.iter().position(|(_, file)| Some(*file) == own) {
            Some(place) => files.get(..place).unwrap_or_default(),
            None if own.is_some() => files.get(..1).unwrap_or_default(),
            None => files,
        };
        newer.last().map(|(number, _)| Reader::open(path, *number)).transpose()
    })
}

/// Device and inode.
type Identity = (u64, u64);

/// Does `open` with the log's files by number, newest first; again, when they were rotated meanwhile.
fn between_rotations<T>(path: &Path, open: impl Fn(&[(u32, Identity)]) -> io::Result<T>) -> io::Result<T> {
    loop {
        let files = list(path);
        let opened = open(&files);
        if list(path) == files {
            return opened;
        }
    }
}

fn list(path: &Path) -> Vec<(u32, Identity)> {
    let files = (0..).map(|number| (number, rotated(path, number).metadata().ok().map(identity)));
    // In the middle of a rotation one number is missing; two are the end.
    let mut missing = 0;
    let files = files.take_while(move |(_, file)| {
        missing = if file.is_some() { 0 } else { missing + 1 };
        missing < 2
    });
    files.filter_map(|(number, file)| Some((number, file?))).collect()
}

fn identity(meta: Metadata) -> Identity {
    (meta.dev(), meta.ino())
}

/// Passes on what the files hold, the newest to its last complete line unless this is the `last` look; returns it.
fn pass_on_last(mut files: Vec<Reader>, last: bool, each: Each<'_>) -> io::Result<Followed> {
    while let Some(mut file) = files.pop() {
        if file.pass_on(last || !files.is_empty(), each)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        if files.is_empty() {
            return Ok(ControlFlow::Continue(Some(file)));
        }
    }
    Ok(ControlFlow::Continue(None))
}

/// Passes on what was written since, file by file through any number of rotations; returns the one to go on with.
fn catch_up(path: &Path, mut current: Option<Reader>, each: Each<'_>) -> io::Result<Followed> {
    loop {
        if let Some(current) = &mut current {
            current.restart_if_truncated()?;
            if current.pass_on(false, each)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        let Some(next) = open_next(path, current.as_ref())? else { return Ok(ControlFlow::Continue(current)) };
        // Nobody writes to a file that was renamed: its last line is as complete as it will be.
        if let Some(mut renamed) = current.replace(next)
            && renamed.pass_on(true, each)?.is_break()
        {
            return Ok(ControlFlow::Break(()));
        }
    }
}

/// A file of the log, read line by line.
struct Reader {
    file: File,
    position: u64,
}

impl Reader {
    fn open(path: &Path, number: u32) -> io::Result<Reader> {
        Ok(Reader { file: File::open(rotated(path, number))?, position: 0 })
    }

    /// Goes to where the last `count` lines begin; returns how many there are, `count` at most.
    fn skip_to_last(&mut self, count: usize) -> io::Result<usize> {
        let end = self.file.seek(SeekFrom::End(0))?;
        self.position = end;
        if count == 0 || end == 0 {
            return Ok(0);
        }
        let (mut block, mut newlines, mut position) = (vec![0; 64 << 10], 0, end);
        while position > 0 {
            let size = position.min(block.len() as u64);
            position -= size;
            let read = block.get_mut(..size as usize).unwrap_or_default();
            self.file.read_exact_at(read, position)?;
            for (index, _) in read.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
                let after = position + index as u64 + 1;
                // The newline at the very end closes the last line, it does not begin one.
                newlines += usize::from(after < end);
                if newlines == count {
                    self.position = after;
                    return Ok(count);
                }
            }
        }
        self.position = 0;
        Ok(newlines + 1)
    }

    /// Passes on all complete lines, and with `rest` the incomplete one at the end too.
    fn pass_on(&mut self, rest: bool, each: Each<'_>) -> io::Result<ControlFlow<()>> {
        self.file.seek(SeekFrom::Start(self.position))?;
        let mut reader = BufReader::with_capacity(64 << 10, &self.file);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = reader.by_ref().take(LINE_MAX as u64).read_until(b'\n', &mut line)?;
            let complete = line.pop_if(|byte| *byte == b'\n').is_some() || read == LINE_MAX;
            if read == 0 || !complete && !rest {
                return Ok(ControlFlow::Continue(()));
            }
            self.position += read as u64;
            if each(&line).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }

    fn restart_if_truncated(&mut self) -> io::Result<()> {
        if self.file.metadata()?.len() < self.position {
            self.position = 0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Bytes;
    use crate::os::logfile::{LogFile, LogTarget};
    use std::fs;
    use std::path::PathBuf;
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("pintle-tail-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn last(path: &Path, count: usize) -> Vec<String> {
        let mut seen = Vec::new();
        let each = &mut |line: &[u8]| {
            seen.push(String::from_utf8(line.to_vec()).unwrap());
            ControlFlow::Continue(())
        };
        tail(path, count, None, each).unwrap();
        seen
    }

    fn next(lines: &Receiver<String>) -> String {
        lines.recv_timeout(Duration::from_secs(20)).unwrap()
    }

    #[test]
    fn the_last_lines_reach_back_into_rotated_files() {
        let dir = scratch("last");
        let path = dir.join("web.log");
        assert_eq!(
            tail(&path, 5, None, &mut |_| ControlFlow::Continue(())).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        fs::write(dir.join("web.log.2"), "1\n2\n").unwrap();
        fs::write(dir.join("web.log.1"), "3\n\n5\n").unwrap();
        fs::write(&path, "6\n7").unwrap();
        let table: [(usize, &[&str]); 7] = [
            (0, &[]),
            (1, &["7"]),
            (2, &["6", "7"]),
            (3, &["5", "6", "7"]),
            (4, &["", "5", "6", "7"]),
            (6, &["2", "3", "", "5", "6", "7"]),
            (99, &["1", "2", "3", "", "5", "6", "7"]),
        ];
        for (count, lines) in table {
            assert_eq!(last(&path, count), lines);
        }
        let long = "x".repeat(100_000);
        fs::write(&path, format!("a\n{long}\n{long}\n")).unwrap();
        assert_eq!(last(&path, 2), [long.clone(), long.clone()]);
        let mut seen = 0;
        tail(&path, 9, None, &mut |_| {
            seen += 1;
            ControlFlow::Break(())
        })
        .unwrap();
        assert_eq!(seen, 1, "who breaks off gets no more");
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn what_comes_is_followed_from_before_the_file_exists_through_rotations_until_cancelled() {
        let dir = scratch("follow");
        let path = dir.join("web.log");
        let cancel = Cancel::new().unwrap();
        let (send, lines) = channel();
        let follower = std::thread::spawn({
            let (path, cancel) = (path.clone(), cancel.clone());
            move || {
                tail(&path, 100_000, Some(&cancel), &mut |line| {
                    send.send(String::from_utf8(line.to_vec()).unwrap()).unwrap();
                    ControlFlow::Continue(())
                })
            }
        });
        let mut log = LogFile::new(LogTarget { path: path.clone(), max: Bytes(64), keep: 200 });
        for number in 0..1000 {
            log.append(format!("line {number}\n").as_bytes());
        }
        for number in 0..1000 {
            assert_eq!(next(&lines), format!("line {number}"));
        }
        log.append(b"half");
        log.append(b" and half\n");
        assert_eq!(next(&lines), "half and half");
        fs::write(&path, "").unwrap();
        log.append(b"x\n");
        assert_eq!(next(&lines), "x");
        fs::remove_file(&path).unwrap();
        log.append(b"y\n");
        assert_eq!(next(&lines), "y");
        cancel.cancel();
        follower.join().unwrap().unwrap();
        fs::remove_dir_all(&dir).unwrap();
    }
}
