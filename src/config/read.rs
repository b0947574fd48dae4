//! Takes TOML tables apart key by key and never stops at the first mistake.
//!
//! A [`Section`] is one table of a [`Sheet`], where everything found wrong is gathered: each getter names a key,
//! checks its type and hands out the value; a key that no getter asked for is unknown, and is reported when the section
//! is dropped. Line: types and spelling; what a value means is for the readers of `host` and `app`.

use super::problem::nearest;
use super::sheet::Sheet;
use super::units::{self, Misread};
use super::{Command, text};
use crate::base::Bytes;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;
use toml::Value;

/// One table of a file. When it goes out of scope, keys that were never asked for are unknown keys.
pub(super) struct Section<'s> {
    pub sheet: &'s Sheet<'s>,
    /// Dotted path; empty for the file itself.
    pub path: String,
    entries: &'s toml::Table,
    asked: RefCell<Vec<&'static str>>,
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        if self.sheet.context.frozen {
            return;
        }
        let asked = self.asked.borrow();
        for key in self.entries.keys().filter(|key| !asked.contains(&key.as_str())) {
            let advice = match nearest(key, asked.iter().copied()) {
                Some(meant) => format!("write {meant}"),
                None => format!("known here: {}", asked.join(", ")),
            };
            self.sheet.problem(&self.key(key), "is not a known key", advice);
        }
    }
}

impl<'s> Section<'s> {
    pub fn new(sheet: &'s Sheet<'s>, path: impl Into<String>, entries: &'s toml::Table) -> Section<'s> {
        Section { sheet, path: path.into(), entries, asked: RefCell::default() }
    }

    /// The dotted path of one of its keys.
    pub fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Whether a key is written down. Counts as having asked for it.
    pub fn has(&self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    /// The value as it stands, of whatever type.
    pub fn value(&self, key: &'static str) -> Option<&'s Value> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            asked.push(key);
        }
        self.entries.get(key)
    }

    pub fn problem(&self, key: &str, wrong: impl Into<String>, advice: impl Into<String>) {
        self.sheet.problem(&self.key(key), wrong, advice);
    }

    pub fn notice(&self, key: &str, text: impl Into<String>) {
        self.sheet.notice(&self.key(key), text);
    }

    /// Says that a key which is written down does nothing yet.
    pub fn not_active(&self, key: &'static str, what: &str) {
        if self.has(key) {
            self.notice(key, format!("not active yet: {what}"));
        }
    }

    /// Says that a key is missing, unless it is there (and wrong, which was said already).
    pub fn missing(&self, key: &'static str, advice: &str) {
        if !self.has(key) {
            self.problem(key, "is missing", advice);
        }
    }

    /// A string, `${NAME}` expanded.
    pub fn string(&self, key: &'static str) -> Option<String> {
        let text = self.typed(key, "a string", "put it in double quotes", Value::as_str)?;
        self.expand(&self.key(key), text, &|_| false)
    }

    /// A string of at least one visible character, on one line.
    pub fn line(&self, key: &'static str) -> Option<String> {
        let text = self.string(key)?;
        if text.trim().is_empty() || text.chars().any(char::is_control) {
            self.problem(key, "is empty or more than one line", "write one line of text, or leave the key out");
            return None;
        }
        Some(text)
    }

    /// A string that means something to `parse`.
    pub fn parsed<T>(&self, key: &'static str, parse: impl Fn(&str) -> Result<T, Misread>) -> Option<T> {
        let text = self.string(key)?;
        self.understood(&self.key(key), self.value(key), parse(&text))
    }

    /// One of a few words.
    pub fn word<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        self.parsed(key, |text| one_of(words, text))
    }

    /// `true` or `false`.
    pub fn boolean(&self, key: &'static str) -> Option<bool> {
        self.typed(key, "true or false", "write true or false, without quotes", Value::as_bool)
    }

    /// A whole number between two bounds.
    pub fn integer(&self, key: &'static str, least: i64, most: i64) -> Option<i64> {
        let number =
            self.typed(key, "a whole number", "write a number without quotes or a point", Value::as_integer)?;
        if (least..=most).contains(&number) {
            return Some(number);
        }
        self.problem(key, format!("is {number}"), format!("write a number from {least} to {most}"));
        None
    }

    /// A whole number between two bounds, for the many keys that count something.
    pub fn count(&self, key: &'static str, least: u32, most: u32) -> Option<u32> {
        self.integer(key, least.into(), most.into()).and_then(|number| u32::try_from(number).ok())
    }

    /// A span of time that may be zero.
    pub fn duration(&self, key: &'static str) -> Option<Duration> {
        self.quantity(key, "a span of time", units::duration, |number| format!("\"{number}s\""))
    }

    /// A span of time above zero.
    pub fn positive_duration(&self, key: &'static str) -> Option<Duration> {
        let span = self.duration(key)?;
        if span.is_zero() {
            self.problem(key, "is no time at all", "write a span above zero, as in \"30s\"");
            return None;
        }
        Some(span)
    }

    /// A size above zero.
    pub fn size(&self, key: &'static str) -> Option<Bytes> {
        let size = self.quantity(key, "a size", units::size, |number| format!("\"{number}MiB\" or \"{number}B\""))?;
        if size.0 == 0 {
            self.problem(key, "is nothing", "write a size above zero, as in \"10MiB\"");
            return None;
        }
        Some(size)
    }

    /// A list of strings, each expanded and understood by `parse`; those that are not are reported one by one.
    pub fn list<T>(&self, key: &'static str, parse: impl Fn(&str) -> Result<T, Misread>) -> Option<Vec<T>> {
        let advice = r#"write a list, also for one: ["..."]"#;
        let items = self.typed(key, "a list of strings", advice, Value::as_array)?;
        let mut all = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = format!("{}[{}]", self.key(key), index + 1);
            match item.as_str() {
                None => {
                    self.sheet.problem(&path, format!("is {}, not a string", kind(item)), "put it in double quotes")
                }
                Some(text) => {
                    let parsed = self.expand(&path, text, &|_| false).map(|text| parse(&text));
                    all.extend(parsed.and_then(|parsed| self.understood(&path, Some(item), parsed)));
                }
            }
        }
        Some(all)
    }

    /// A command: a string for the shell, or a list of program and arguments.
    pub fn command(&self, key: &'static str) -> Option<Command> {
        match self.value(key)? {
            Value::String(line) if line.trim().is_empty() => {
                self.problem(key, "is empty", "write the command to run");
                None
            }
            Value::String(line) => {
                self.expand(&self.key(key), line, &|name| self.is_the_shells(name)).map(Command::Shell)
            }
            Value::Array(_) => {
                let argv = self.list(key, |text| Ok(text.to_owned()))?;
                if argv.first().is_none_or(|program| program.is_empty()) || argv.iter().any(|arg| arg.contains('\0')) {
                    self.problem(key, "names no program", r#"write program and arguments: ["python3", "app.py"]"#);
                    return None;
                }
                Some(Command::Argv(argv))
            }
            other => {
                let wrong = format!("is {}, not a command", kind(other));
                self.problem(key, wrong, r#"write "a line for the shell" or ["program", "argument"]"#);
                None
            }
        }
    }

    /// A table of environment variables.
    pub fn env(&self, key: &'static str) -> BTreeMap<String, String> {
        let advice = r#"write { NAME = "value" }"#;
        let table = self.typed(key, "a table of strings", advice, Value::as_table);
        let mut env = BTreeMap::new();
        for (name, value) in table.into_iter().flatten() {
            let path = format!("{}.{name}", self.key(key));
            if !units::is_variable_name(name) {
                let advice = "a variable's name holds letters, digits and '_', and begins with a letter or '_'";
                self.sheet.problem(&path, "is not a variable's name", advice);
            } else if OURS.contains(&name.as_str()) || name.starts_with("PINTLE_") {
                self.sheet.problem(&path, "is set by Pintle itself", "leave it out, or choose another name");
            } else if let Some(text) = value.as_str() {
                if let Some(text) = self.expand(&path, text, &|_| false) {
                    env.insert(name.clone(), text);
                }
            } else {
                let advice = format!(
                    r#"put the value in double quotes; for a secret write "${{{name}}}" and put {name} into pintle.env"#
                );
                self.sheet.problem(&path, format!("is {}, not a string", kind(value)), advice);
            }
        }
        env
    }

    /// A table within this one.
    pub fn table(&self, key: &'static str) -> Option<Section<'s>> {
        let advice = format!("write [{}] and its keys below it", self.key(key));
        let table = self.typed(key, "a table", &advice, Value::as_table)?;
        Some(Section::new(self.sheet, self.key(key), table))
    }

    /// The tables of `[[key]]`, counted from 1 in their paths.
    pub fn tables(&self, key: &'static str) -> Vec<Section<'s>> {
        let path = self.key(key);
        let advice = format!("write [[{path}]] with two brackets on each side, once for each");
        let items = self.typed(key, "a list of tables", &advice, |value| {
            let items = value.as_array()?;
            items.iter().map(Value::as_table).collect::<Option<Vec<_>>>()
        });
        let numbered = items.into_iter().flatten().enumerate();
        numbered.map(|(index, item)| Section::new(self.sheet, format!("{path}[{}]", index + 1), item)).collect()
    }

    /// The tables of `[key.NAME]`, by name.
    pub fn named_tables(&self, key: &'static str) -> Vec<(&'s str, Section<'s>)> {
        let path = self.key(key);
        let advice = format!("write [{path}.NAME] and its keys below it");
        let Some(table) = self.typed(key, "a table", &advice, Value::as_table) else {
            return Vec::new();
        };
        let named = table.iter().filter_map(|(name, value)| {
            let path = format!("{path}.{name}");
            match value.as_table() {
                Some(entries) => Some((name.as_str(), Section::new(self.sheet, path, entries))),
                None => {
                    self.sheet.problem(&path, format!("is {}, not a table", kind(value)), &*advice);
                    None
                }
            }
        });
        named.collect()
    }

    /// The value as `convert` takes it, or a problem that names both types.
    fn typed<T>(
        &self,
        key: &'static str,
        what: &str,
        advice: &str,
        convert: impl Fn(&'s Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.value(key)?;
        let converted = convert(value);
        if converted.is_none() {
            self.problem(key, format!("is {}, not {what}", kind(value)), advice);
        }
        converted
    }

    /// A number with its unit; a bare number gets the advice to add one.
    fn quantity<T>(
        &self,
        key: &'static str,
        what: &str,
        parse: impl Fn(&str) -> Result<T, Misread>,
        with_unit: impl Fn(i64) -> String,
    ) -> Option<T> {
        if let Some(Value::Integer(number)) = self.value(key) {
            let advice = format!("write {}", with_unit(*number));
            self.problem(key, format!("is a number without a unit, not {what}"), advice);
            return None;
        }
        self.parsed(key, parse)
    }

    /// The parsed value, or a problem that quotes what is written (never what a reference in it stands for).
    fn understood<T>(&self, path: &str, written: Option<&Value>, parsed: Result<T, Misread>) -> Option<T> {
        let quoted = written.and_then(Value::as_str).map(|text| text.chars().take(60).collect::<String>());
        match parsed {
            Ok(value) => Some(value),
            Err(Misread { wrong, advice }) => {
                self.sheet.problem(path, format!("{:?} {wrong}", quoted.unwrap_or_default()), advice);
                None
            }
        }
    }

    fn expand(&self, path: &str, text: &str, leave: &dyn Fn(&str) -> bool) -> Option<String> {
        let unknown = match text::expand(text, &|name| self.sheet.context.variable(name), leave) {
            Ok(text) if text.contains('\0') => {
                self.sheet.problem(path, "holds a NUL character", "leave it out");
                return None;
            }
            Ok(text) => return Some(text),
            Err(unknown) => unknown,
        };
        for name in unknown {
            let advice = format!(
                "put {name}=... into pintle.env beside pintle.toml; for ${{...}} as it stands write $${{{name}}}"
            );
            self.sheet.problem(
                path,
                format!("${{{name}}} is set neither in pintle.env nor in the environment"),
                advice,
            );
        }
        None
    }

    /// Names that a shell line finds in its own environment when it runs.
    fn is_the_shells(&self, name: &str) -> bool {
        let own = self.entries.get("env").and_then(Value::as_table).is_some_and(|env| env.contains_key(name));
        own || OURS.contains(&name) || SURROUNDINGS.contains(&name) || name.starts_with("PINTLE_")
    }
}

/// What Pintle sets for services, and nobody else may.
const OURS: [&str; 6] =
    ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];
/// What a command finds set when it runs, beside those.
const SURROUNDINGS: [&str; 9] = ["HOME", "USER", "LOGNAME", "SHELL", "PATH", "PWD", "LANG", "TZ", "PORT"];

/// The value of one of a few words; the advice names the nearest or all.
pub(super) fn one_of<T: Copy>(words: &[(&str, T)], text: &str) -> Result<T, Misread> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let quoted: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
    let advice = match nearest(text, words.iter().map(|(word, _)| *word)) {
        Some(meant) => format!("write {meant:?}"),
        None => format!("write {}", quoted.join(" or ")),
    };
    Err(Misread::new("is not one of the words known here", advice))
}

/// A value's type with its article.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a string",
        Value::Integer(_) | Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date or time",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests;
