//! What is wrong with the configuration, and what is merely worth saying, in words for people.
//!
//! A [`Problem`] keeps the configuration from being used; a [`Notice`] does not. Line: wording only; who finds
//! something wrong says what and where.

use serde::Serialize;
use std::fmt;
use std::path::PathBuf;

/// Something that keeps the configuration from being used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file it stands in.
    pub file: PathBuf,
    /// The line, counted from 1, where it is known.
    pub line: Option<usize>,
    /// The key as a dotted path (`service.web.run`, `step[2].timeout` for the second `[[step]]`); empty: the whole file.
    pub key: String,
    /// What is wrong. Never holds a secret.
    pub wrong: String,
    /// What to write or do instead.
    pub advice: String,
}

/// Something a person should know, although the configuration can be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// The file it is about.
    pub file: PathBuf,
    /// The line, counted from 1, where it is known.
    pub line: Option<usize>,
    /// The key as a dotted path; empty: the whole file.
    pub key: String,
    /// The sentence; begins with "not active yet" for a key whose feature is still to come.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        place(f, &self.file, self.line, &self.key)?;
        f.write_str(&self.wrong)?;
        match self.advice.as_str() {
            "" => Ok(()),
            advice => write!(f, "\n    {advice}"),
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        place(f, &self.file, self.line, &self.key)?;
        f.write_str(&self.text)
    }
}

fn place(f: &mut fmt::Formatter<'_>, file: &std::path::Path, line: Option<usize>, key: &str) -> fmt::Result {
    write!(f, "{}", file.display())?;
    if let Some(line) = line {
        write!(f, ":{line}")?;
    }
    f.write_str(": ")?;
    match key {
        "" => Ok(()),
        key => write!(f, "{key}: "),
    }
}

/// The candidate a person most likely meant by `word`; `None` when none is near.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let reach = (word.chars().count() / 3).clamp(1, 3);
    candidates
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= reach)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edits between two words: insertions, deletions, replacements and swapped neighbours.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.to_lowercase().chars().collect(), b.to_lowercase().chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_reads_as_place_what_and_advice() {
        let problem = Problem {
            file: "/etc/pintle/apps/shop.toml".into(),
            line: Some(7),
            key: "deploy.timeout".into(),
            wrong: "is a number, not a span of time".into(),
            advice: "write \"300s\"".into(),
        };
        assert_eq!(
            problem.to_string(),
            "/etc/pintle/apps/shop.toml:7: deploy.timeout: is a number, not a span of time\n    write \"300s\""
        );
        assert_eq!(serde_json::to_value(&problem).unwrap()["line"], 7);
        let notice = Notice { file: "a.toml".into(), line: None, key: String::new(), text: "empty".into() };
        assert_eq!(notice.to_string(), "a.toml: empty");
    }

    #[test]
    fn the_nearest_name_is_offered_only_when_it_is_near() {
        let keys = ["timeout", "probation", "startup", "nice", "migrate"];
        let table =
            [("timeuot", Some("timeout")), ("Nice", Some("nice")), ("probaton", Some("probation")), ("colour", None)];
        for (word, meant) in table {
            assert_eq!(nearest(word, keys), meant, "{word}");
        }
    }
}
