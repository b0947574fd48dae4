//! One log file that is rotated by size: `web.log`, then `web.log.1` (newer) ... `web.log.N` (older).
//!
//! Lines stay whole across files. A write that fails loses what it was to write and nothing else: the loss is counted,
//! said once, and noted in the file as soon as there is room. Line: whose output comes here is the scribe's matter.

use crate::base::Bytes;
use crate::os::files::{because, make_dir};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Where to log, and how much is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogTarget {
    /// The newest file.
    pub path: PathBuf,
    /// It is rotated before it would grow beyond this (a single longer line excepted).
    pub max: Bytes,
    /// Rotated files kept beside it.
    pub keep: u32,
}

/// The name of the `number`th rotated file; 0 is the newest, the log itself.
pub(crate) fn rotated(path: &Path, number: u32) -> PathBuf {
    if number == 0 {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

/// A log open for appending.
#[derive(Debug)]
pub(crate) struct LogFile {
    pub(crate) target: LogTarget,
    file: Option<File>,
    /// Bytes that could not be written since the last that could.
    lost: u64,
}

impl LogFile {
    /// The file is opened with the first line.
    pub(crate) fn new(target: LogTarget) -> LogFile {
        LogFile { target, file: None, lost: 0 }
    }

    /// Appends `text`, rotating between lines; returns how many bytes were lost because the disk did not take them.
    pub(crate) fn append(&mut self, text: &[u8]) -> usize {
        let outcome = self.note_the_loss().and_then(|()| self.write(text));
        let Err((error, lost)) = outcome.map_err(|error| (error, text.len())) else { return 0 };
        if self.lost == 0 {
            log::warn!("{error}; output is dropped until it can be written again");
        }
        self.lost += lost as u64;
        self.file = None;
        lost
    }

    fn note_the_loss(&mut self) -> io::Result<()> {
        if self.lost > 0 {
            let note = format!("[pintle: {} of output could not be written here]\n", Bytes(self.lost));
            self.write(note.as_bytes())?;
            log::info!("{} is written again, {} were lost", self.target.path.display(), Bytes(self.lost));
            self.lost = 0;
        }
        Ok(())
    }

    fn write(&mut self, mut text: &[u8]) -> io::Result<()> {
        let max = self.target.max.0;
        while !text.is_empty() {
            let (mut file, size) = self.open()?;
            let fits = whole_lines(text, max.saturating_sub(size));
            if fits == 0 && size > 0 {
                self.rotate()?;
                continue;
            }
            let (now, later) = text.split_at(if fits == 0 { first_line(text) } else { fits });
            file.write_all(now).map_err(|error| because("write", &self.target.path, &error))?;
            text = later;
        }
        Ok(())
    }

    /// The file and its size. One that somebody removed or renamed away is made anew.
    fn open(&mut self) -> io::Result<(&File, u64)> {
        let path = &self.target.path;
        let stands = |file: &File| file.metadata().ok().filter(|meta| meta.nlink() > 0).is_some();
        if !self.file.as_ref().is_some_and(stands) {
            if let Some(parent) = path.parent() {
                make_dir(parent, 0o750)?;
            }
            let file = OpenOptions::new().append(true).create(true).mode(0o640).open(path);
            self.file = Some(file.map_err(|error| because("open", path, &error))?);
        }
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        Ok((file, file.metadata()?.len()))
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.file = None;
        let path = &self.target.path;
        for number in (0..self.target.keep).rev() {
            match fs::rename(rotated(path, number), rotated(path, number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(because("rotate", path, &error)),
                _ => {}
            }
        }
        if self.target.keep == 0 {
            fs::remove_file(path).map_err(|error| because("remove", path, &error))?;
        }
        Ok(())
    }
}

/// How many of the first bytes of `text` are whole lines (or all of it) within `room`.
fn whole_lines(text: &[u8], room: u64) -> usize {
    let room = usize::try_from(room).unwrap_or(usize::MAX);
    match text.get(..room) {
        Some(start) if room < text.len() => start.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1),
        _ => text.len(),
    }
}

fn first_line(text: &[u8]) -> usize {
    text.iter().position(|byte| *byte == b'\n').map_or(text.len(), |end| end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("pintle-logfile-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        dir
    }

    #[test]
    fn files_rotate_between_lines_and_only_so_many_are_kept() {
        let dir = scratch("rotate");
        let path = dir.join("web.log");
        let mut log = LogFile::new(LogTarget { path: path.clone(), max: Bytes(10), keep: 2 });
        log.append(b"1234\n5678\nabcd\nefgh\n");
        log.append(b"a line longer than all\nx\n");
        let read = |number| fs::read_to_string(rotated(&path, number)).unwrap();
        assert_eq!([read(0), read(1), read(2)], ["x\n", "a line longer than all\n", "abcd\nefgh\n"]);
        assert!(!rotated(&path, 3).exists());
        let mode = fs::metadata(&path).unwrap().mode();
        assert_eq!(mode & 0o777, 0o640);

        let mut none = LogFile::new(LogTarget { path: dir.join("n.log"), max: Bytes(4), keep: 0 });
        none.append(b"one\ntwo\n");
        assert_eq!(fs::read_to_string(dir.join("n.log")).unwrap(), "two\n");
        assert!(!dir.join("n.log.1").exists());
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_file_that_was_taken_away_or_emptied_is_gone_on_with() {
        let dir = scratch("taken");
        let path = dir.join("web.log");
        let mut log = LogFile::new(LogTarget { path: path.clone(), max: Bytes(100), keep: 2 });
        log.append(b"one\n");
        fs::remove_file(&path).unwrap();
        log.append(b"two\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "two\n");
        File::create(&path).unwrap();
        log.append(b"three\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn what_the_disk_does_not_take_is_counted_and_told_when_it_does_again() {
        let dir = scratch("full");
        fs::create_dir_all(dir.join("web.log")).unwrap();
        let target = |path: PathBuf| LogTarget { path, max: Bytes(1000), keep: 1 };
        let mut log = LogFile::new(target(dir.join("web.log")));
        assert_eq!(log.append(b"lost\n"), 5);
        assert_eq!(log.append(b"lost too\n"), 9);
        fs::remove_dir(dir.join("web.log")).unwrap();
        assert_eq!(log.append(b"back\n"), 0);
        let read = fs::read_to_string(dir.join("web.log")).unwrap();
        assert_eq!(read, "[pintle: 14B of output could not be written here]\nback\n");

        let mut full = LogFile::new(target("/dev/full".into()));
        assert_eq!(full.append(b"x\n"), 2, "no space left on device");
        fs::remove_dir_all(&dir).unwrap();
    }
}
