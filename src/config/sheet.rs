//! One file under examination: its text line by line, and everything found in it so far.

use super::Environment;
use super::problem::{Notice, Problem};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// What every file of one configuration is read with.
pub(super) struct Context<'e> {
    /// Secret files and relative repositories are relative to it.
    pub dir: &'e Path,
    pub environment: &'e Environment,
    /// `pintle.env`.
    pub variables: BTreeMap<String, String>,
    /// A definition frozen beside a release: secrets are not looked up, keys of another version are passed over.
    pub frozen: bool,
    /// The last accepted files, read because the ones in `dir` are broken: the applications are to run all the same.
    pub accepted: bool,
}

impl Context<'_> {
    /// A variable's value: `pintle.env` first, then the process's own environment.
    pub fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned().or_else(|| (self.environment.variable)(name))
    }
}

/// One file and everything found in it so far.
pub(super) struct Sheet<'e> {
    pub context: &'e Context<'e>,
    pub file: PathBuf,
    lines: BTreeMap<String, usize>,
    problems: RefCell<Vec<Problem>>,
    notices: RefCell<Vec<Notice>>,
}

impl<'e> Sheet<'e> {
    /// A file whose text is known line by line; a frozen definition has none.
    pub fn new(context: &'e Context<'e>, file: PathBuf, text: &str) -> Sheet<'e> {
        Sheet { context, file, lines: lines_of(text), problems: RefCell::default(), notices: RefCell::default() }
    }

    /// Parses the text; a syntax error is the one problem then, and the table is empty.
    pub fn parse(&self, text: &str) -> Option<toml::Table> {
        match text.parse::<toml::Table>() {
            Ok(table) => Some(table),
            Err(error) => {
                // Only its message: the error's own display quotes the line, which may hold a secret.
                let line = error.span().map(|span| line_at(text, span.start));
                let wrong = format!("is not valid TOML: {}", error.message().trim());
                let advice = "correct the line, or the one before it; strings stand in double quotes".into();
                let problem = Problem { file: self.file.clone(), line, key: String::new(), wrong, advice };
                self.problems.borrow_mut().push(problem);
                None
            }
        }
    }

    /// Records a problem of the key with this dotted path.
    pub fn problem(&self, key: &str, wrong: impl Into<String>, advice: impl Into<String>) {
        let problem = Problem {
            file: self.file.clone(),
            line: self.line_of(key),
            key: key.to_owned(),
            wrong: wrong.into(),
            advice: advice.into(),
        };
        self.problems.borrow_mut().push(problem);
    }

    /// Records what is worth saying about the key with this dotted path.
    pub fn notice(&self, key: &str, text: impl Into<String>) {
        let line = self.line_of(key);
        let notice = Notice { file: self.file.clone(), line, key: key.to_owned(), text: text.into() };
        self.notices.borrow_mut().push(notice);
    }

    /// The line of a key; of the nearest table around it where the key itself is missing.
    pub fn line_of(&self, key: &str) -> Option<usize> {
        let mut key = key;
        loop {
            if let Some(line) = self.lines.get(key) {
                return Some(*line);
            }
            key = &key[..key.rfind(['.', '['])?];
        }
    }

    /// Everything found, in the order of the file.
    pub fn findings(self) -> (Vec<Problem>, Vec<Notice>) {
        let (mut problems, mut notices) = (self.problems.into_inner(), self.notices.into_inner());
        problems.sort_by_key(|problem| problem.line);
        notices.sort_by_key(|notice| notice.line);
        (problems, notices)
    }
}

/// The line of every key and table by its dotted path; empty for a text with a syntax error.
fn lines_of(text: &str) -> BTreeMap<String, usize> {
    let mut lines = BTreeMap::new();
    if let Ok(root) = DeTable::parse(text) {
        note_table(text, "", root.get_ref(), &mut lines);
    }
    lines
}

/// The line of a byte, counted from 1.
fn line_at(text: &str, byte: usize) -> usize {
    1 + text.bytes().take(byte).filter(|b| *b == b'\n').count()
}

fn note_table(text: &str, path: &str, table: &DeTable<'_>, lines: &mut BTreeMap<String, usize>) {
    for (key, value) in table {
        let path = if path.is_empty() { key.get_ref().to_string() } else { format!("{path}.{}", key.get_ref()) };
        lines.insert(path.clone(), line_at(text, key.span().start));
        note_value(text, &path, value.get_ref(), lines);
    }
}

fn note_value(text: &str, path: &str, value: &DeValue<'_>, lines: &mut BTreeMap<String, usize>) {
    match value {
        DeValue::Table(table) => note_table(text, path, table, lines),
        DeValue::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let path = format!("{path}[{}]", index + 1);
                lines.insert(path.clone(), line_at(text, item.span().start));
                note_value(text, &path, item.get_ref(), lines);
            }
        }
        _ => {}
    }
}
