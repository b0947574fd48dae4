//! `${NAME}` in the strings of the configuration, and files of `KEY=value`.
//!
//! The same reader serves `pintle.env`, which feeds the look-ups here, and every `env_file` of a service. Line: texts
//! only; where a file lies and who may read it is somebody else's question.

use std::fmt;

/// A line of an env file that cannot be read. Never holds the line itself: it may be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub wrong: &'static str,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.wrong)
    }
}

/// Reads `KEY=value` lines in order; of two with the same name the later one counts. Empty lines and `#` comments are
/// passed over, `export ` before a name too. A value in single quotes is taken as it is; in double quotes `\n`, `\t`,
/// `\"`, `\\` and `\$` are understood; without quotes it ends before ` #` and at the line's last visible character.
/// Nothing is expanded. All lines that cannot be read are returned together.
pub fn parse_env_file(text: &str) -> Result<Vec<(String, String)>, Vec<BadLine>> {
    let (pairs, bad) = read_env_file(text);
    if bad.is_empty() { Ok(pairs) } else { Err(bad) }
}

/// As [`parse_env_file`], with the good lines also where there are bad ones.
pub(super) fn read_env_file(text: &str) -> (Vec<(String, String)>, Vec<BadLine>) {
    let mut pairs = Vec::new();
    let mut bad = Vec::new();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        match pair(line.trim()) {
            Ok(Some(pair)) => pairs.push(pair),
            Ok(None) => {}
            Err(wrong) => bad.push(BadLine { line: index + 1, wrong }),
        }
    }
    (pairs, bad)
}

fn pair(line: &str) -> Result<Option<(String, String)>, &'static str> {
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let line = line.strip_prefix("export ").map_or(line, str::trim_start);
    let (name, value) = line.split_once('=').ok_or("there is no '=': write KEY=value")?;
    let name = name.trim_end();
    let good = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
    if !good {
        return Err("the name before '=' may hold letters, digits and '_', and begins with a letter or '_'");
    }
    let value = value_of(value.trim_start())?;
    if value.contains('\0') {
        return Err("the value holds a NUL character");
    }
    Ok(Some((name.to_owned(), value)))
}

fn value_of(text: &str) -> Result<String, &'static str> {
    match text.chars().next() {
        Some('\'') => {
            let (value, after) = text[1..].split_once('\'').ok_or("the single quote is never closed")?;
            nothing_after(after)?;
            Ok(value.to_owned())
        }
        Some('"') => double_quoted(&text[1..]),
        Some('#') => Ok(String::new()),
        _ => Ok(match text.find(" #").or_else(|| text.find("\t#")) {
            Some(comment) => text[..comment].trim_end().to_owned(),
            None => text.to_owned(),
        }),
    }
}

fn double_quoted(text: &str) -> Result<String, &'static str> {
    let mut value = String::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '"' => {
                nothing_after(rest.as_str())?;
                return Ok(value);
            }
            '\\' => match rest.next() {
                Some('n') => value.push('\n'),
                Some('r') => value.push('\r'),
                Some('t') => value.push('\t'),
                Some(c @ ('"' | '\\' | '$' | '`')) => value.push(c),
                Some(other) => value.extend(['\\', other]),
                None => break,
            },
            c => value.push(c),
        }
    }
    Err("the double quote is never closed")
}

fn nothing_after(rest: &str) -> Result<(), &'static str> {
    match rest.trim_start() {
        "" => Ok(()),
        rest if rest.starts_with('#') => Ok(()),
        _ => Err("there is text after the closing quote"),
    }
}

/// Puts values in the place of `${NAME}`. `$${NAME}` stands for `${NAME}` itself; what is not exactly a name in braces
/// (`${NAME:-x}`) is the shell's own and stays. `leave` says which names stay for the shell as well. `Err`: the names
/// `look_up` does not know, each once.
pub(super) fn expand(
    text: &str,
    look_up: &dyn Fn(&str) -> Option<String>,
    leave: &dyn Fn(&str) -> bool,
) -> Result<String, Vec<String>> {
    let mut expanded = String::with_capacity(text.len());
    let mut unknown: Vec<String> = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, from) = rest.split_at(start);
        let name = from[2..].split_once('}').map(|(name, _)| name).filter(|name| super::units::is_variable_name(name));
        let Some(name) = name else {
            expanded.push_str(&rest[..start + 2]);
            rest = &from[2..];
            continue;
        };
        rest = &from[name.len() + 3..];
        let reference = &from[..name.len() + 3];
        if let Some(before) = before.strip_suffix('$') {
            expanded.push_str(before);
            expanded.push_str(reference);
            continue;
        }
        expanded.push_str(before);
        match look_up(name) {
            _ if leave(name) => expanded.push_str(reference),
            Some(value) => expanded.push_str(&value),
            None if unknown.iter().any(|known| known == name) => {}
            None => unknown.push(name.to_owned()),
        }
    }
    expanded.push_str(rest);
    if unknown.is_empty() { Ok(expanded) } else { Err(unknown) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn env_files_read_as_people_write_them() {
        let text = "\u{feff}# comment\n\nA=1\r\nexport B = two words  # said\nC='a # $b \"c\"' # note\nD=\"x\\ty \\\"z\\\" \\$w \\q\"\n\
                    E=\nF=#nothing\nG=a#b\nH==x=y\nA=2\n";
        let pairs = parse_env_file(text).unwrap();
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "a # $b \"c\""),
            ("D", "x\ty \"z\" $w \\q"),
            ("E", ""),
            ("F", ""),
            ("G", "a#b"),
            ("H", "=x=y"),
            ("A", "2"),
        ];
        let expected: Vec<(String, String)> = expected.map(|(k, v)| (k.to_owned(), v.to_owned())).to_vec();
        assert_eq!(pairs, expected);
    }

    #[test]
    fn every_bad_line_is_named_and_none_is_quoted() {
        let bad = parse_env_file("OK=1\nsecretword\n1A=x\nB='open\nC=\"open\nD='a'b\nE=a\0b").unwrap_err();
        assert_eq!(bad.iter().map(|bad| bad.line).collect::<Vec<_>>(), [2, 3, 4, 5, 6, 7]);
        assert!(!format!("{bad:?}").contains("secretword"));
    }

    #[test]
    fn references_are_expanded_once_and_the_shells_own_stay() {
        let look_up = |name: &str| match name {
            "A" => Some("1".to_owned()),
            "NESTED" => Some("${A}".to_owned()),
            _ => None,
        };
        let leave = |name: &str| name == "HOME";
        let table = [
            ("plain", "plain"),
            ("${A}-${A}", "1-1"),
            ("$A $${A} ${A", "$A ${A} ${A"),
            ("${NESTED}", "${A}"),
            ("${HOME}/x ${A:-2} ${}", "${HOME}/x ${A:-2} ${}"),
            ("ä${A}ö", "ä1ö"),
        ];
        for (text, expanded) in table {
            assert_eq!(expand(text, &look_up, &leave).as_deref(), Ok(expanded), "{text}");
        }
        assert_eq!(expand("${X} ${Y} ${X} ${A}", &look_up, &leave), Err(vec!["X".to_owned(), "Y".to_owned()]));
    }
}
