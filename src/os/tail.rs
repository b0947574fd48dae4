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
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Longer lines are passed on in pieces.
const LINE_MAX: usize = 1 << 20;

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
    let mut reader = match Reader::open(path, 0) {
        Ok(reader) => Some(reader),
        Err(error) if error.kind() == io::ErrorKind::NotFound && watch.is_some() => None,
        Err(error) => return Err(because("open", path, &error)),
    };
    if let Some(reader) = &mut reader
        && last_lines(path, reader, lines, watch.is_none(), each)?.is_break()
    {
        return Ok(());
    }
    let Some((inotify, cancel)) = watch else { return Ok(()) };
    while !cancel.is_cancelled() {
        if catch_up(path, &mut reader, each)?.is_break() {
            return Ok(());
        }
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

/// The last `count` lines of the log and its rotated files; `reader` stands at the end of the newest afterwards, before
/// a line that is not complete yet unless this is the `last` look.
fn last_lines(
    path: &Path,
    reader: &mut Reader,
    count: usize,
    last: bool,
    each: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> io::Result<ControlFlow<()>> {
    let (start, mut found) = start_of_last(&mut reader.file, count)?;
    let mut older = Vec::new();
    while found < count
        && let Ok(mut file) = Reader::open(path, older.len() as u32 + 1)
    {
        let (start, more) = start_of_last(&mut file.file, count - found)?;
        file.skip_to(start)?;
        found += more;
        older.push(file);
    }
    for mut file in older.into_iter().rev() {
        if file.pass_on(true, each)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    reader.skip_to(start)?;
    reader.pass_on(last, each)
}

/// Passes on what was written since, through any number of rotations.
fn catch_up(
    path: &Path,
    reader: &mut Option<Reader>,
    each: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
) -> io::Result<ControlFlow<()>> {
    if let Some(current) = reader {
        current.restart_if_truncated()?;
        if current.pass_on(false, each)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    let place = reader.as_ref().map(|current| current.place(path));
    let newer = match place {
        Some(Some(0)) => return Ok(ControlFlow::Continue(())),
        // Rotated so many times; once more to its end, as it was written to until it was renamed.
        Some(Some(times)) => times,
        // Rotated away altogether, or not there so far: whatever is there now is new.
        Some(None) => (1..).take_while(|number| rotated(path, *number).exists()).last().map_or(1, |oldest| oldest + 1),
        None => 1,
    };
    if let Some(current) = reader
        && current.pass_on(true, each)?.is_break()
    {
        return Ok(ControlFlow::Break(()));
    }
    for number in (0..newer).rev() {
        let Ok(mut next) = Reader::open(path, number) else { continue };
        let flow = next.pass_on(number > 0, each)?;
        *reader = Some(next);
        if flow.is_break() {
            return Ok(flow);
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Where the last `count` lines of `file` begin, and how many there are (at most `count`).
fn start_of_last(file: &mut File, count: usize) -> io::Result<(u64, usize)> {
    let end = file.seek(SeekFrom::End(0))?;
    if count == 0 || end == 0 {
        return Ok((end, 0));
    }
    let (mut block, mut newlines) = (vec![0; 64 << 10], 0);
    let mut position = end;
    while position > 0 {
        let size = position.min(block.len() as u64);
        position -= size;
        file.seek(SeekFrom::Start(position))?;
        let read = block.get_mut(..size as usize).unwrap_or_default();
        file.read_exact(read)?;
        for (index, _) in read.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let after = position + index as u64 + 1;
            // The newline at the very end closes the last line, it does not begin one.
            if after < end {
                newlines += 1;
                if newlines == count {
                    return Ok((after, count));
                }
            }
        }
    }
    Ok((0, newlines + 1))
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

    fn skip_to(&mut self, position: u64) -> io::Result<()> {
        self.position = self.file.seek(SeekFrom::Start(position))?;
        Ok(())
    }

    /// Passes on all complete lines, and with `rest` the incomplete one at the end too.
    fn pass_on(&mut self, rest: bool, each: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> io::Result<ControlFlow<()>> {
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

    /// How many times this file was rotated since it was the log at `path`; `None` when it is not among its files.
    fn place(&self, path: &Path) -> Option<u32> {
        let identity = |meta: Metadata| (meta.dev(), meta.ino());
        let own = self.file.metadata().ok().map(identity)?;
        let files = (0..).map(|number| rotated(path, number).metadata().ok().map(identity));
        // Right after a rotation the log itself is not there yet: go on looking behind it.
        let behind = files.enumerate().take_while(|(number, file)| *number == 0 || file.is_some());
        behind.filter(|(_, file)| *file == Some(own)).map(|(number, _)| number as u32).next()
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
                tail(&path, 10, Some(&cancel), &mut |line| {
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
        cancel.cancel();
        follower.join().unwrap().unwrap();
        fs::remove_dir_all(&dir).unwrap();
    }
}
