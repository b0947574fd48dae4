//! Secrets: where a file may point at one, and what is refused.
//!
//! `{ env = "NAME" }`, `{ file = "path" }` relative to the configuration directory, `{ credential = "name" }` as
//! systemd passes it. A literal is refused, a file that others can read too. Line: no value found here appears in a
//! message.

use super::Secret;
use super::read::{Section, kind};
use super::sheet::Sheet;
use super::units::Misread;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use toml::Value;

/// The secret under `key`; `None` when there is none, or it was refused and said so.
pub(super) fn secret(section: &Section<'_>, key: &'static str) -> Option<Secret> {
    resolve(section.sheet, &section.key(key), section.value(key)?, Empty::Refused)
}

/// As [`secret`], for keys where an empty value switches a feature off.
pub(super) fn secret_or_empty(section: &Section<'_>, key: &'static str) -> Option<Secret> {
    resolve(section.sheet, &section.key(key), section.value(key)?, Empty::Allowed)
}

/// One secret or a list of them, any of which counts (rotation).
pub(super) fn secrets(section: &Section<'_>, key: &'static str) -> Vec<Secret> {
    let path = section.key(key);
    match section.value(key) {
        None => Vec::new(),
        Some(Value::Array(items)) if items.is_empty() => {
            section.problem(key, "is an empty list", "name a secret, or leave the key out to accept no webhook");
            Vec::new()
        }
        Some(Value::Array(items)) => {
            let numbered = items.iter().enumerate();
            let each = |(index, item)| resolve(section.sheet, &format!("{path}[{}]", index + 1), item, Empty::Refused);
            numbered.filter_map(each).collect()
        }
        Some(value) => resolve(section.sheet, &path, value, Empty::Refused).into_iter().collect(),
    }
}

/// The path of a private file that another program reads by itself (an ssh key).
pub(super) fn private_path(section: &Section<'_>, key: &'static str) -> Option<PathBuf> {
    let path = section.key(key);
    let value = section.value(key).filter(|_| !section.sheet.context.frozen)?;
    match place(section.sheet, &path, value)? {
        Place::Variable(_) => {
            section.problem(key, "must be a file: other programs read it", r#"write { file = "secrets/NAME" }"#);
            None
        }
        Place::File(file) => match private_content(&file) {
            Ok(_) => Some(file),
            Err(misread) => refused(section.sheet, &path, misread),
        },
        Place::Credential(file) => match content(&file) {
            Ok(_) => Some(file),
            Err(misread) => refused(section.sheet, &path, misread),
        },
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Empty {
    Refused,
    Allowed,
}

/// Where a reference points.
enum Place {
    Variable(String),
    File(PathBuf),
    Credential(PathBuf),
}

fn resolve(sheet: &Sheet<'_>, path: &str, value: &Value, empty: Empty) -> Option<Secret> {
    if sheet.context.frozen {
        return None;
    }
    let found = match place(sheet, path, value)? {
        Place::Variable(name) => sheet.context.variable(&name).map(String::into_bytes).ok_or_else(|| {
            let advice = format!("put {name}=... into pintle.env beside pintle.toml (mode 0600)");
            Misread::new(format!("points at {name}, which is set neither in pintle.env nor in the environment"), advice)
        }),
        Place::File(file) => private_content(&file),
        Place::Credential(file) => content(&file),
    };
    match found {
        Ok(value) if value.is_empty() && empty == Empty::Refused => {
            refused(sheet, path, Misread::new("points at an empty secret", "put the secret there"))
        }
        Ok(value) => Some(Secret(value)),
        Err(misread) => refused(sheet, path, misread),
    }
}

fn place(sheet: &Sheet<'_>, path: &str, value: &Value) -> Option<Place> {
    let form = r#"{ file = "secrets/NAME" }, { env = "NAME" } or { credential = "NAME" }"#;
    let table = match value {
        Value::Table(table) => table,
        Value::String(_) => {
            let advice = format!("move it into a file with mode 0600 and write {form}; then choose a new secret");
            return refused(sheet, path, Misread::new("is a secret written out in the configuration", advice));
        }
        other => {
            let wrong = format!("is {}, not a reference to a secret", kind(other));
            return refused(sheet, path, Misread::new(wrong, format!("write {form}")));
        }
    };
    let reference = Section::new(sheet, path, table);
    let named = ["env", "file", "credential"].into_iter().filter(|key| reference.has(key)).count();
    if named != 1 {
        return refused(sheet, path, Misread::new("must point at exactly one place", format!("write {form}")));
    }
    if let Some(name) = reference.string("env") {
        return Some(Place::Variable(name));
    }
    if let Some(file) = reference.line("file") {
        return Some(Place::File(sheet.context.dir.join(file)));
    }
    let name = reference.line("credential")?;
    if name.contains('/') || name.starts_with('.') {
        reference.problem("credential", "is not a credential's name", "write the name that LoadCredential= gives it");
        return None;
    }
    match &sheet.context.environment.credentials_dir {
        Some(dir) => Some(Place::Credential(dir.join(name))),
        None => {
            let advice = format!("put LoadCredential={name}:PATH into pintle.service; outside systemd use a file");
            let wrong = "points at a credential, and $CREDENTIALS_DIRECTORY is not set";
            refused(sheet, path, Misread::new(wrong, advice))
        }
    }
}

fn refused<T>(sheet: &Sheet<'_>, path: &str, misread: Misread) -> Option<T> {
    sheet.problem(path, misread.wrong, misread.advice);
    None
}

/// Longer than any key or token; what is longer was named by mistake.
const LONGEST: u64 = 64 * 1024;

pub(super) fn private_content(file: &Path) -> Result<Vec<u8>, Misread> {
    let shown = file.display();
    let opened = open(file)?;
    let metadata = opened.metadata().map_err(|error| unreadable(file, &error))?;
    if metadata.mode() & 0o077 != 0 {
        let wrong = format!("{shown} can be read by others (mode {:04o})", metadata.mode() & 0o7777);
        return Err(Misread::new(wrong, format!("chmod 600 {shown}; if it was so for long, choose a new secret")));
    }
    read(file, opened)
}

/// As [`private_content`] where systemd guards the directory (its access lists show as group bits).
pub(super) fn content(file: &Path) -> Result<Vec<u8>, Misread> {
    read(file, open(file)?)
}

fn open(file: &Path) -> Result<File, Misread> {
    // O_NONBLOCK: opening a FIFO by mistake must not wait for a writer.
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(file);
    let opened = opened.map_err(|error| unreadable(file, &error))?;
    match opened.metadata() {
        Ok(metadata) if metadata.is_file() && metadata.len() <= LONGEST => Ok(opened),
        Ok(_) => {
            let advice = "name the file that holds the secret and nothing else";
            Err(Misread::new(format!("{} is not a file of at most 64 KiB", file.display()), advice))
        }
        Err(error) => Err(unreadable(file, &error)),
    }
}

fn read(file: &Path, opened: File) -> Result<Vec<u8>, Misread> {
    let mut content = Vec::new();
    opened.take(LONGEST).read_to_end(&mut content).map_err(|error| unreadable(file, &error))?;
    let text = content.trim_ascii_end().len();
    // Only line ends go: a blank may belong to a secret.
    let kept = content.iter().rposition(|b| !matches!(b, b'\n' | b'\r')).map_or(0, |last| last + 1);
    content.truncate(if text == 0 { 0 } else { kept });
    Ok(content)
}

fn unreadable(file: &Path, error: &io::Error) -> Misread {
    let advice = match error.kind() {
        io::ErrorKind::NotFound => {
            "create it with mode 0600, or correct the path (relative to the directory of pintle.toml)"
        }
        io::ErrorKind::PermissionDenied => {
            "let the user that runs pintle own it; a check as another user cannot read it"
        }
        _ => "repair what keeps it from being read",
    };
    Misread::new(format!("cannot read {}: {error}", file.display()), advice)
}

#[cfg(test)]
mod tests;
