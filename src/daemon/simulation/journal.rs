//! The diary behind a writer that takes its time: several pages in one commit, a disk that may be full, and everything
//! that is not committed lost with the daemon. It keeps the promises of the real writer, in the same order.

use crate::daemon::event::Token;
use crate::store::{Entry, Memory};

#[derive(Debug, Clone)]
pub(super) struct Page {
    pub(super) token: Option<Token>,
    pub(super) entries: Vec<Entry>,
}

#[derive(Debug, Default)]
pub(super) struct Journal {
    /// What is on disk.
    pub(super) diary: Memory,
    /// The disk takes nothing more.
    pub(super) full: bool,
    waiting: Vec<Page>,
    /// Facts nobody waits for that could not be written.
    backlog: Vec<Entry>,
}

/// What a commit came to.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) entries: Vec<Entry>,
    pub(super) answers: Vec<(Token, Result<(), String>)>,
    /// Facts of the pages that could not be written and that somebody waited for.
    pub(super) refused: Vec<Entry>,
    /// A fact that contradicts what is known: the core must never tell one.
    pub(super) contradiction: Option<String>,
}

impl Journal {
    /// True when the writer was idle and is to be woken.
    pub(super) fn take(&mut self, page: Page) -> bool {
        self.waiting.push(page);
        self.waiting.len() == 1
    }

    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    pub(super) fn lose_what_is_not_written(&mut self) {
        self.waiting.clear();
        self.backlog.clear();
    }

    pub(super) fn commit(&mut self) -> Written {
        let mut written = Written::default();
        if !self.full {
            let backlog = std::mem::take(&mut self.backlog);
            self.write(&backlog, &mut written);
        }
        for page in std::mem::take(&mut self.waiting) {
            let result = match self.full {
                true => Err("no space left on the device".to_string()),
                false => {
                    self.write(&page.entries, &mut written);
                    Ok(())
                }
            };
            match (page.token, &result) {
                (None, Err(_)) => self.backlog.extend(page.entries),
                (Some(_), Err(_)) => written.refused.extend(page.entries),
                _ => {}
            }
            written.answers.extend(page.token.map(|token| (token, result)));
        }
        written
    }

    fn write(&mut self, entries: &[Entry], written: &mut Written) {
        match self.diary.record(entries) {
            Ok(()) => written.entries.extend(entries.iter().cloned()),
            // `Memory` has no disk that could fail: what it refuses contradicts what it knows.
            Err(error) => written.contradiction = Some(format!("{error}: {entries:?}")),
        }
    }
}
