//! Paths below a directory, and how any name a file system allows is written as text.
//!
//! What a manifest says is read back by a daemon that may be root: an [`Inside`] can never lead out of the directory it
//! is joined to. Line: text and components only; whether something exists at a path is not asked here.

use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

/// A path that stays below whatever it is joined to: relative, not empty, no `..`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Inside(PathBuf);

/// A path that would lead out of its directory, or text that is no escaped path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadPath(pub String);

impl fmt::Display for BadPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for BadPath {}

impl Inside {
    /// Checks `path`; `./a//b/` becomes `a/b`.
    pub fn new(path: impl AsRef<Path>) -> Result<Inside, BadPath> {
        let path = path.as_ref();
        let mut clean = PathBuf::new();
        for component in path.components() {
            match component {
                Component::Normal(name) => clean.push(name),
                Component::CurDir => {}
                _ => return Err(refuse(path)),
            }
        }
        if clean.as_os_str().is_empty() || path.as_os_str().as_bytes().contains(&0) {
            return Err(refuse(path));
        }
        Ok(Inside(clean))
    }
    /// The path, for joining.
    pub fn as_path(&self) -> &Path {
        &self.0
    }
}

impl AsRef<Path> for Inside {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}
impl fmt::Display for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.0))
    }
}
impl TryFrom<String> for Inside {
    type Error = BadPath;
    fn try_from(text: String) -> Result<Self, BadPath> {
        Inside::new(unescape(&text)?)
    }
}
impl From<Inside> for String {
    fn from(path: Inside) -> String {
        escape(&path.0)
    }
}

fn refuse(path: &Path) -> BadPath {
    BadPath(format!(
        "\"{}\" is not a path below the working directory: relative, without '..', not empty",
        escape(path)
    ))
}

/// Any path as printable text: what is not UTF-8, control characters and `%` itself become `%XX`.
pub fn escape(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            match c.is_control() || c == '%' {
                true => push_hex(&mut text, c.encode_utf8(&mut [0; 4]).as_bytes()),
                false => text.push(c),
            }
        }
        push_hex(&mut text, chunk.invalid());
    }
    text
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    bytes.iter().for_each(|byte| text.push_str(&format!("%{byte:02X}")));
}

/// The path that [`escape`] wrote. Fails on a `%` that two hex digits do not follow.
pub fn unescape(text: &str) -> Result<PathBuf, BadPath> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first != b'%' {
            bytes.push(first);
            rest = after;
            continue;
        }
        let digits = after.get(..2).filter(|two| two.iter().all(u8::is_ascii_hexdigit));
        let value =
            digits.and_then(|two| std::str::from_utf8(two).ok()).and_then(|two| u8::from_str_radix(two, 16).ok());
        bytes.push(value.ok_or_else(|| BadPath(format!("{text:?} is not an escaped path: '%' needs two hex digits")))?);
        rest = &after[2..];
    }
    Ok(PathBuf::from(OsString::from_vec(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn every_name_a_file_system_allows_comes_back() {
        let names: [(&[u8], &str); 6] = [
            (b"data/a.txt", "data/a.txt"),
            ("d/ä €".as_bytes(), "d/ä €"),
            (b"d/\xff\xfe", "d/%FF%FE"),
            (b"100%", "100%25"),
            (b"a\nb\x7f", "a%0Ab%7F"),
            ("half \u{85}".as_bytes(), "half %C2%85"),
        ];
        for (bytes, text) in names {
            let path = Path::new(OsStr::from_bytes(bytes));
            assert_eq!(escape(path), text);
            assert_eq!(unescape(text).unwrap(), path);
        }
        for bad in ["%", "%4", "a%zz", "%+1", "%é"] {
            assert!(unescape(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_path_that_leads_out_is_refused() {
        for bad in ["", ".", "/", "/etc", "..", "a/../b", "../a", "a\0b"] {
            assert!(Inside::new(bad).is_err(), "{bad:?}");
        }
        assert!(serde_json::from_str::<Inside>("\"%2E%2E/etc/passwd\"").is_err());
        assert_eq!(Inside::new("./a//b/").unwrap().as_path(), Path::new("a/b"));
    }
}
