//! The diary's one writer: a thread that writes what the loop tells it, several facts in one transaction when they
//! come together, and answers those that somebody waits for.
//!
//! What a round of the loop tells is handed on once, at its end: deliveries that came together cost the disk one flush.
//! What nobody waits for and cannot be written now (a full disk) is kept and tried again with the next write, so that
//! history has no holes once there is room.

use super::event::{Event, Token};
use super::post::Post;
use crate::store::{Diary, Entry, Trouble};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Facts kept for later at most: enough for a bad day, little memory.
const BACKLOG: usize = 2_000;

/// How long a fact may lie that nobody waits for: steps and ends come in bunches, and each write is worn out of a card.
const LEISURE: Duration = Duration::from_millis(50);

/// The writing end.
#[derive(Debug)]
pub struct Journal {
    desk: Sender<Vec<Page>>,
    /// What this round of the loop told so far.
    told: Vec<Page>,
    writer: JoinHandle<()>,
    ended: Receiver<()>,
}

#[derive(Debug)]
struct Page {
    token: Option<Token>,
    entries: Vec<Entry>,
}

impl Journal {
    /// Starts the writer.
    pub fn start(diary: Diary, post: Post) -> std::io::Result<Journal> {
        let (desk, pages) = channel();
        let writer = std::thread::Builder::new().name("diary".into()).stack_size(256 << 10);
        let (end, ended) = channel();
        let writer = writer.spawn(move || {
            write(diary, &pages, &post);
            drop(end);
        })?;
        Ok(Journal { desk, told: vec![], writer, ended })
    }

    /// Whether there is still somebody who writes.
    pub fn lives(&self) -> bool {
        !self.writer.is_finished()
    }

    /// Returns when everything that was told is written, or could not be.
    pub fn close(mut self) {
        self.hand_on();
        drop(self.desk);
        let _ = self.writer.join();
    }

    /// The same, but waits no longer than this: a disk that hangs must not keep a daemon from ending.
    pub fn close_within(mut self, patience: Duration) {
        self.hand_on();
        drop(self.desk);
        // Nothing is ever sent: it ends with the writer.
        let _ = self.ended.recv_timeout(patience);
    }

    /// Has `entries` written, all or none; with a token, `Recorded` tells how it went. They are with the writer after
    /// [`Journal::hand_on`].
    pub fn record(&mut self, token: Option<Token>, entries: Vec<Entry>) {
        self.told.push(Page { token, entries });
    }

    /// Hands what was told to the writer: before the loop waits for anything.
    pub fn hand_on(&mut self) {
        if !self.told.is_empty() {
            // The writer ends only with the process.
            let _ = self.desk.send(std::mem::take(&mut self.told));
        }
    }
}

fn write(mut diary: Diary, pages: &Receiver<Vec<Page>>, post: &Post) {
    let mut backlog: Vec<Entry> = vec![];
    while let Ok(first) = pages.recv() {
        let group = gather(first, pages);
        let everything = backlog.iter().chain(group.iter().flat_map(|page| &page.entries));
        if diary.record(everything).is_ok() {
            backlog.clear();
            let written = group.iter().filter_map(|page| page.token);
            post.send_together(written.map(|token| Event::Recorded { token, result: Ok(()) }));
            continue;
        }
        retry_backlog(&mut diary, &mut backlog);
        for page in group {
            write_alone(&mut diary, page, &mut backlog, post);
        }
    }
}

/// What is written together: all that lies there. While nobody waits for any of it, what comes within [`LEISURE`] too.
fn gather(first: Vec<Page>, pages: &Receiver<Vec<Page>>) -> Vec<Page> {
    let until = Instant::now() + LEISURE;
    let mut group = first;
    loop {
        group.extend(pages.try_iter().flatten());
        if group.iter().any(|page| page.token.is_some()) {
            return group;
        }
        match pages.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(next) => group.extend(next),
            Err(_) => return group,
        }
    }
}

/// Facts that could not be written before, one by one: one that contradicts the rest must not hold it up for ever. Where
/// the disk has no room yet, the rest waits in order: that a message was sent must not be written before the message.
fn retry_backlog(diary: &mut Diary, backlog: &mut Vec<Entry>) {
    let mut done = 0;
    for entry in backlog.iter() {
        match diary.record(std::slice::from_ref(entry)) {
            Ok(()) => {}
            Err(error) if error.trouble != Trouble::Contradiction => break,
            Err(error) => log::error!("a fact is lost to the diary: {error}"),
        }
        done += 1;
    }
    backlog.drain(..done);
}

fn write_alone(diary: &mut Diary, page: Page, backlog: &mut Vec<Entry>, post: &Post) {
    if page.token.is_none() && !backlog.is_empty() {
        // Behind those that wait.
        backlog.extend(page.entries);
        backlog.truncate(BACKLOG);
        return;
    }
    let written = diary.record(&page.entries);
    if let (Err(error), None) = (&written, page.token) {
        log::error!("the diary cannot be written now, it is tried again: {error}");
        backlog.extend(page.entries);
        backlog.truncate(BACKLOG);
    }
    if let Some(token) = page.token {
        post.send(Event::Recorded { token, result: written.map_err(|error| error.to_string()) });
    }
}

#[cfg(test)]
#[path = "journal/tests.rs"]
mod tests;
