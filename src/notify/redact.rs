//! Keeps secrets out of what is told: those that are known, and what looks like one.
//!
//! A program's last lines go to a chat where others read them, and programs print more than they should. Line: rather too
//! much is hidden than too little.

use crate::config::{Config, Secret};
use std::collections::BTreeSet;

/// What stands in the place of a secret.
const HIDDEN: &str = "***";
/// A shorter value would hide half of the language.
const SHORTEST: usize = 6;

/// Values that must not be told.
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    /// The longest first: one may hold another.
    values: Vec<Secret>,
}

impl Redactor {
    /// Knows these secrets. Very short ones are taken for words.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Redactor {
        let whole = secrets.into_iter().map(|secret| secret.expose().trim_ascii());
        let distinct: BTreeSet<&[u8]> = whole.flat_map(|value| std::iter::once(value).chain(parts(value))).collect();
        let mut values: Vec<Secret> =
            distinct.into_iter().filter(|value| value.len() >= SHORTEST).map(|value| Secret(value.to_vec())).collect();
        values.sort_by_key(|value| std::cmp::Reverse(value.0.len()));
        Redactor { values }
    }

    /// Knows every secret of the configuration.
    pub fn of(config: &Config) -> Redactor {
        let host = &config.host;
        let channels = host.notify.values().flat_map(super::request::secrets_of);
        let apps = config.apps.values().flat_map(crate::config::App::secrets);
        let others = host.listen.iter().filter_map(|listen| listen.token.as_ref());
        let dns = host.duckdns.iter().map(|dns| &dns.token);
        Redactor::new(host.variables.iter().chain(channels).chain(apps).chain(others).chain(dns))
    }

    /// The text without them.
    pub fn clean(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for value in self.values.iter().filter_map(|value| std::str::from_utf8(value.expose()).ok()) {
            if clean.contains(value) {
                clean = clean.replace(value, HIDDEN);
            }
        }
        without_keys(&clean).split_inclusive('\n').map(hide_what_looks_secret).collect()
    }
}

/// Private keys, from their first line to their last, become one line. Where the beginning was cut off, all that looks
/// like the inside of one goes; where the end is missing, all the rest.
fn without_keys(text: &str) -> String {
    const MARK: &str = "PRIVATE KEY-----";
    if !text.contains(MARK) {
        return text.to_owned();
    }
    let mut kept: Vec<&str> = vec![];
    let mut inside = false;
    for line in text.split('\n') {
        let (begins, ends) = (line.contains("-----BEGIN "), line.contains("-----END "));
        if line.contains(MARK) {
            if ends && !begins && !inside {
                while kept.pop_if(|line| is_encoded(line)).is_some() {}
            }
            if !inside {
                kept.push(HIDDEN);
            }
            inside = begins && !ends;
        } else if !inside {
            kept.push(line);
        }
    }
    kept.join("\n")
}

/// As the inside of a key looks: base64, perhaps behind a prefix of the log's.
fn is_encoded(line: &str) -> bool {
    let last = line.split_whitespace().next_back().unwrap_or_default();
    let is_base64 = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
    last.len() >= 2 && last.bytes().all(is_base64) && (last.len() >= 40 || last.len() == line.trim().len())
}

/// The parts of an address, or of a bot's token, that are secret by themselves.
fn parts(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    const SHORTEST_PART: usize = 12;
    let address = value.windows(3).position(|three| three == b"://");
    // What stands before the path is no secret.
    let path = address.and_then(|at| value[at + 3..].iter().position(|b| *b == b'/').map(|slash| at + 3 + slash));
    let rest = if address.is_some() { path.map_or(&[][..], |from| &value[from..]) } else { value };
    let parts = rest.split(|b| matches!(b, b'/' | b':' | b'?' | b'=' | b'&'));
    parts.filter(|part| part.len() >= SHORTEST_PART)
}

fn hide_what_looks_secret(line: &str) -> String {
    let line = hide_user_info(line);
    let line = hide_named_values(&line);
    hide_known_tokens(&line)
}

/// `://user:password@host` and `://token@host`.
fn hide_user_info(line: &str) -> String {
    let mut clean = String::new();
    let mut rest = line;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        clean += before;
        let end = after.find(|c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\'' | '?' | '#'));
        let authority = &after[..end.unwrap_or(after.len())];
        rest = match authority.rfind('@') {
            Some(sign) => {
                clean += HIDDEN;
                &after[sign..]
            }
            None => after,
        };
    }
    clean + rest
}

/// Parts of names whose values nobody is to see.
const NAMES: [&str; 10] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "api_key",
    "apikey",
    "access_key",
    "private_key",
    "authorization",
];

/// `NAME=value`, `name: value`, `"name": "value"`, `--name value`.
fn hide_named_values(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    let found = NAMES.iter().filter_map(|name| Some((lower.find(name)? + name.len(), name))).min();
    let Some((mut at, _)) = found else { return line.to_owned() };
    let bytes = line.as_bytes();
    // The rest of the name: `TOKEN_FILE`, `secret-key`.
    while bytes.get(at).is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-')) {
        at += 1;
    }
    let mut from = at;
    let mut assigned = false;
    while let Some(b) = bytes.get(from).filter(|b| matches!(**b, b' ' | b'=' | b':' | b'"' | b'\'')) {
        assigned |= matches!(b, b'=' | b':');
        from += 1;
    }
    let is_option = line[..at].rsplit(char::is_whitespace).next().is_some_and(|word| word.starts_with('-'));
    if !assigned && !is_option || from >= line.trim_end().len() {
        return match line.get(at..) {
            // It was named only; the rest of the line may say more.
            Some(rest) => format!("{}{}", &line[..at], hide_named_values(rest)),
            None => line.to_owned(),
        };
    }
    let value = &line[from..];
    // `Authorization: Bearer VALUE`: what is secret has a word before it.
    let value = ["Bearer ", "bearer ", "Basic ", "basic ", "token "]
        .iter()
        .fold(value, |value, scheme| value.strip_prefix(scheme).unwrap_or(value));
    let from = line.len() - value.len();
    let end = value.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | ';' | '&'));
    let end = from + end.unwrap_or(value.len());
    format!("{}{HIDDEN}{}", &line[..from], hide_named_values(&line[end..]))
}

/// Beginnings by which tokens are known.
const TOKENS: [&str; 11] =
    ["ghp_", "gho_", "ghs_", "github_pat_", "glpat-", "xoxb-", "xoxp-", "sk_live_", "AKIA", "eyJhbGci", "whsec_"];

fn hide_known_tokens(line: &str) -> String {
    let mut clean = line.to_owned();
    for beginning in TOKENS {
        while let Some(at) = clean.find(beginning) {
            let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '=' | '/' | '+');
            let length = clean[at..].find(|c| !is_part(c)).unwrap_or(clean.len() - at);
            clean.replace_range(at..at + length, HIDDEN);
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_secrets_and_what_looks_like_one_are_hidden() {
        let known =
            [Secret(b"correct horse".to_vec()), Secret(b"correct horse battery\n".to_vec()), Secret(b"ab".to_vec())];
        let redactor = Redactor::new(&known);
        let table = [
            ("nothing to see: about 3 tabs", "nothing to see: about 3 tabs"),
            ("said correct horse battery staple", "said *** staple"),
            ("said correct horse.", "said ***."),
            (
                "fatal: https://me:hunter2@git.example/o/n.git not found",
                "fatal: https://***@git.example/o/n.git not found",
            ),
            ("postgres://app:p@ss@db/x and http://b@c", "postgres://***@db/x and http://***@c"),
            ("https://a.example/x@y is no user", "https://a.example/x@y is no user"),
            ("DB_PASSWORD=hunter2 DEBUG=1", "DB_PASSWORD=*** DEBUG=1"),
            ("  \"secretKey\": \"hunter2\", \"port\": 1", "  \"secretKey\": \"***\", \"port\": 1"),
            ("API_TOKEN : hunter2; TOKEN=second", "API_TOKEN : ***; TOKEN=***"),
            ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
            ("mysql --password hunter2 -h db", "mysql --password *** -h db"),
            ("the token is wrong", "the token is wrong"),
            ("unexpected token: ", "unexpected token: "),
            ("cloning with ghp_abcDEF123 now", "cloning with *** now"),
            ("-----BEGIN RSA PRIVATE KEY-----", "***"),
            ("a\n-----BEGIN PRIVATE KEY-----\nMIIEvQ\nab==\n-----END PRIVATE KEY-----\nb\n", "a\n***\nb\n"),
            ("\"key\": \"-----BEGIN PRIVATE KEY-----\\nMII\\n-----END PRIVATE KEY-----\"\nb", "***\nb"),
            ("no key: a\nMIIEvQ\nab==\n-----END EC PRIVATE KEY-----\nb", "no key: a\n***\nb"),
            ("a\n-----BEGIN OPENSSH PRIVATE KEY-----\nMIIEvQ\nab==", "a\n***"),
            ("-----BEGIN PUBLIC KEY-----\nMII", "-----BEGIN PUBLIC KEY-----\nMII"),
            ("zwölf PASSWORD=ä€ß", "zwölf PASSWORD=***"),
        ];
        for (text, clean) in table {
            assert_eq!(redactor.clean(text), clean, "{text:?}");
        }
        assert_eq!(redactor.clean("TOKEN=a\nb\n"), "TOKEN=***\nb\n");
        assert!(!format!("{redactor:?}").contains("horse"));
    }
}
