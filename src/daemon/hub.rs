//! The logs of deployments: one file each, and whoever follows along.
//!
//! A line is written to the file and handed to the followers under one lock, so that a follower who joins late reads
//! the file up to where its stream begins: nothing twice, nothing missing.

use crate::base::{AppName, DeployId};
use crate::control::{Followed, Phase};
use crate::os::files;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What one deployment may write; more is counted and said.
const LOG_MAX: u64 = 64 << 20;
/// A follower that lags so many lines is let go; it joins again.
const LAG_MAX: usize = 4_096;
/// A line without an end is cut here.
const LINE_MAX: usize = 16 << 10;

/// All logs of deployments under way.
#[derive(Debug, Clone)]
pub struct Hub {
    state_dir: PathBuf,
    desks: Arc<Mutex<BTreeMap<DeployId, Desk>>>,
    news: Arc<(Mutex<u64>, Condvar)>,
}

#[derive(Debug)]
struct Desk {
    path: PathBuf,
    file: Option<File>,
    written: u64,
    unfinished_line: Vec<u8>,
    phase: Option<Phase>,
    followers: Vec<SyncSender<Followed>>,
}

/// What a follower gets: the file as it is now, then what comes.
#[derive(Debug)]
pub struct Following {
    /// The log file.
    pub path: PathBuf,
    /// Read so many bytes of it ...
    pub length: u64,
    /// ... which end in this phase ...
    pub phase: Option<Phase>,
    /// ... then these.
    pub rest: Receiver<Followed>,
}

/// The log file of a deployment.
pub fn log_path(state_dir: &Path, app: &AppName, number: DeployId) -> PathBuf {
    state_dir.join("apps").join(app).join("logs").join(format!("deploy-{number}.log"))
}

impl Hub {
    /// A hub that keeps its files under `state_dir`.
    pub fn new(state_dir: &Path) -> Hub {
        Hub { state_dir: state_dir.to_path_buf(), desks: Arc::default(), news: Arc::default() }
    }

    /// How many deployments have begun or ended; ask before looking, then wait for more.
    pub fn news(&self) -> u64 {
        *self.news.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is more news than `seen`, or `patience` is over.
    pub fn wait_for_news(&self, seen: u64, patience: Duration) {
        let news = self.news.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Whether it was news or time: the caller looks again.
        drop(self.news.1.wait_timeout_while(news, patience, |news| *news == seen));
    }

    fn tell_news(&self) {
        *self.news.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.news.1.notify_all();
    }

    /// Opens the log of a deployment that begins (or goes on after a restart of the daemon). Without room on the disk
    /// it still reaches the followers.
    pub fn open(&self, app: &AppName, number: DeployId) {
        let path = log_path(&self.state_dir, app, number);
        let file = path
            .parent()
            .map_or(Ok(()), |parent| files::make_dir(parent, 0o755))
            .and_then(|()| OpenOptions::new().create(true).append(true).mode(0o640).open(&path))
            .inspect_err(|error| {
                log::error!("open {}: {error}; the deployment goes on without its log", path.display())
            })
            .ok();
        let written = file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |meta| meta.len());
        let desk = Desk { path, file, written, unfinished_line: vec![], phase: None, followers: vec![] };
        self.desks().entry(number).or_insert(desk);
        self.tell_news();
    }

    /// One line.
    pub fn say(&self, number: DeployId, line: &str) {
        if let Some(desk) = self.desks().get_mut(&number) {
            for line in line.lines() {
                desk.line(line.as_bytes());
            }
        }
    }

    /// Output of a command, as it comes.
    pub fn output(&self, number: DeployId, bytes: &[u8]) {
        if let Some(desk) = self.desks().get_mut(&number) {
            desk.bytes(bytes);
        }
    }

    /// A phase begins.
    pub fn phase(&self, number: DeployId, phase: Phase) {
        if let Some(desk) = self.desks().get_mut(&number) {
            desk.finish_line();
            desk.phase = Some(phase);
            desk.write(format!("== {phase}\n").as_bytes());
            desk.tell(&Followed::Phase { phase, number });
        }
    }

    /// A step ended.
    pub fn step(&self, number: DeployId, step: Followed) {
        if let Some(desk) = self.desks().get_mut(&number) {
            desk.finish_line();
            desk.tell(&step);
        }
    }

    /// It is over: the last line for every follower.
    pub fn end(&self, number: DeployId, end: &Followed) {
        if let Some(mut desk) = self.desks().remove(&number) {
            desk.finish_line();
            if let Followed::End { status, message, .. } = end {
                let why = message.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
                desk.write(format!("== {status}{why}\n").as_bytes());
            }
            desk.tell(end);
        }
        self.tell_news();
    }

    /// Joins the followers of a deployment under way.
    pub fn follow(&self, number: DeployId) -> Option<Following> {
        let mut desks = self.desks();
        let desk = desks.get_mut(&number)?;
        let (follower, rest) = sync_channel(LAG_MAX);
        desk.followers.push(follower);
        Some(Following { path: desk.path.clone(), length: desk.written, phase: desk.phase, rest })
    }

    fn desks(&self) -> MutexGuard<'_, BTreeMap<DeployId, Desk>> {
        self.desks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk {
    fn bytes(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (line, ended) =
                piece.split_last().filter(|(last, _)| **last == b'\n').map_or((piece, false), |(_, line)| (line, true));
            self.unfinished_line.extend_from_slice(line);
            if ended || self.unfinished_line.len() > LINE_MAX {
                let line = std::mem::take(&mut self.unfinished_line);
                self.line(&line);
            }
        }
    }

    fn finish_line(&mut self) {
        let line = std::mem::take(&mut self.unfinished_line);
        if !line.is_empty() {
            self.line(&line);
        }
    }

    fn line(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.write(&[line, b"\n"].concat());
        self.tell(&Followed::Log { line: String::from_utf8_lossy(line).into_owned() });
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.written >= LOG_MAX {
            return;
        }
        let full = self.written + bytes.len() as u64 >= LOG_MAX;
        let written = self.file.as_mut().map_or(Ok(()), |file| match full {
            true => file.write_all(b"== this log is full; the output goes on without being kept\n"),
            false => file.write_all(bytes),
        });
        match written {
            Ok(()) => self.written += bytes.len() as u64,
            Err(error) => self.give_up(&error),
        }
    }

    fn give_up(&mut self, error: &io::Error) {
        log::error!("write {}: {error}; the deployment goes on without its log", self.path.display());
        self.file = None;
    }

    fn tell(&mut self, what: &Followed) {
        self.followers.retain(|follower| follower.try_send(what.clone()).is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_follower_reads_the_file_and_then_the_rest_with_no_gap() {
        let dir = std::env::temp_dir().join(format!("pintle-hub-{}", std::process::id()));
        let hub = Hub::new(&dir);
        let (app, number) = (AppName::new("app").unwrap(), DeployId(7));
        hub.open(&app, number);
        hub.phase(number, Phase::Build);
        hub.output(number, b"one\ntw");
        let following = hub.follow(number).unwrap();
        hub.output(number, b"o\nthree");
        let end = Followed::End {
            number,
            status: crate::control::DeployStatus::Success,
            exit: 0,
            phase: Phase::Done,
            release: None,
            message: None,
        };
        hub.end(number, &end);
        let text = std::fs::read_to_string(&following.path).unwrap();
        assert_eq!(&text[..following.length as usize], "== build\none\n");
        assert_eq!(&text[following.length as usize..], "two\nthree\n== success\n");
        let lines: Vec<Followed> = following.rest.iter().collect();
        let log = |line: &str| Followed::Log { line: line.into() };
        assert_eq!(lines, [log("two"), log("three"), end]);
        assert!(hub.follow(number).is_none());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
