//! Reads `[trigger.generic]`: how a sender of one's own signs, and where in its JSON the facts are.

use super::read::Section;
use super::units::Misread;
use super::{Generic, Hash, Part, Pattern};
use std::fmt;

/// The hashes by the names they are configured with.
pub(super) const HASHES: [(&str, Hash); 2] = [("sha256", Hash::Sha256), ("sha512", Hash::Sha512)];

/// Reads the table; `None` where what it cannot do without is missing. What was wrong is on the sheet.
pub(super) fn read(generic: &Section<'_>) -> Option<Generic> {
    let header = generic.parsed("header", header);
    generic.missing("header", r#"name the header that holds the signature: header = "X-Signature""#);
    let (value, signed) = (generic.parsed("value", value), generic.parsed("signed", signed));
    // What was misread was said already, and nothing follows from it.
    let unclear = generic.has("value") && value.is_none() || generic.has("signed") && signed.is_none();
    let read = Generic {
        header: header.unwrap_or_default(),
        hash: generic.parsed("hash", hash).unwrap_or(Hash::Sha256),
        value: value.unwrap_or_else(|| Pattern(vec![Part::Hex])),
        signed: signed.unwrap_or_else(|| Pattern(vec![Part::Body])),
        timestamp: generic.parsed("timestamp", self::header),
        id: generic.parsed("id", self::header),
        commit: generic.parsed("commit", pointer),
        reference: generic.parsed("ref", pointer),
        repository: generic.parsed("repository", pointer),
        event: generic.parsed("event", pointer),
        event_is: generic.line("event_is"),
    };
    if !unclear {
        check_what_is_signed(generic, &read);
    }
    generic.missing("commit", r#"say where in the JSON the commit is: commit = "/after""#);
    if !generic.has("ref") {
        let text = "is missing: every commit that is sent is taken for one of the branch, until it is fetched";
        generic.notice("ref", text);
    }
    if read.event_is.is_some() && !generic.has("event") {
        let advice = r#"say where in the JSON the event is: event = "/type""#;
        generic.problem("event_is", "is compared with nothing", advice);
    }
    (!read.header.is_empty()).then_some(read)
}

/// Whatever is signed must be sent, and a time that is sent must be signed.
fn check_what_is_signed(generic: &Section<'_>, read: &Generic) {
    let time_is_signed = read.signed.0.contains(&Part::Timestamp);
    let time_is_sent = generic.has("timestamp") || read.value.0.contains(&Part::Timestamp);
    if time_is_signed && !time_is_sent {
        let advice = r#"write where the time is: timestamp = "X-Timestamp" (a header), or {timestamp} in value"#;
        generic.problem("signed", "signs a time that is sent nowhere", advice);
    } else if time_is_sent && !time_is_signed {
        let advice = r#"write it into what is signed, signed = "{timestamp}.{body}", or leave it out"#;
        let key = if generic.has("timestamp") { "timestamp" } else { "value" };
        generic.problem(key, "is about a time that is not signed, which proves nothing", advice);
    }
    if read.signed.0.contains(&Part::Id) && !generic.has("id") {
        generic.problem("signed", "signs an id that is sent nowhere", r#"name its header: id = "X-Delivery""#);
    }
}

fn header(text: &str) -> Result<String, Misread> {
    let good =
        (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    match good {
        true => Ok(text.into()),
        false => Err(Misread::new("is not a header's name", r#"write its name alone: "X-Signature""#)),
    }
}

fn hash(text: &str) -> Result<Hash, Misread> {
    if matches!(text, "sha1" | "md5") {
        return Err(Misread::new("is too weak to prove anything", r#"let the sender use "sha256""#));
    }
    super::read::one_of(&HASHES, text)
}

/// A JSON pointer (RFC 6901) to something within the document.
fn pointer(text: &str) -> Result<String, Misread> {
    let escapes = text.match_indices('~').all(|(at, _)| matches!(text.as_bytes().get(at + 1), Some(b'0' | b'1')));
    let good = text.len() > 1 && text.len() <= 256 && text.starts_with('/') && escapes;
    match good {
        true => Ok(text.into()),
        false => Err(Misread::new("is not a JSON pointer", r#"write it as RFC 6901 has it: "/project/path""#)),
    }
}

fn value(text: &str) -> Result<Pattern, Misread> {
    let advice = r#"write what stands in the header, as in "sha256={hex}", "{base64}" or "t={timestamp},v1={hex}""#;
    let pattern = Pattern::parse(text).map_err(|wrong| Misread::new(wrong, advice))?;
    let count = |wanted: fn(&Part) -> bool| pattern.0.iter().filter(|part| wanted(part)).count();
    if count(|part| matches!(part, Part::Hex | Part::Base64)) != 1 {
        return Err(Misread::new("must hold the signature once: {hex} or {base64}", advice));
    }
    if count(|part| matches!(part, Part::Body | Part::Id)) > 0 || count(|part| *part == Part::Timestamp) > 1 {
        return Err(Misread::new("may hold {hex} or {base64}, and {timestamp} once", advice));
    }
    if pattern.0.windows(2).any(|two| !two.iter().any(|part| matches!(part, Part::Text(_)))) {
        return Err(Misread::new("has nothing between two of its parts", advice));
    }
    Ok(pattern)
}

fn signed(text: &str) -> Result<Pattern, Misread> {
    let advice = r#"write what is signed, as in "{body}" or "{timestamp}.{body}""#;
    let pattern = Pattern::parse(text).map_err(|wrong| Misread::new(wrong, advice))?;
    let bodies = pattern.0.iter().filter(|part| **part == Part::Body).count();
    if bodies != 1 {
        return Err(Misread::new("must hold {body} once: what is not signed can be changed by anybody", advice));
    }
    match pattern.0.iter().any(|part| matches!(part, Part::Hex | Part::Base64)) {
        true => Err(Misread::new("cannot hold the signature itself", advice)),
        false => Ok(pattern),
    }
}

const NAMES: [(&str, Part); 5] = [
    ("hex", Part::Hex),
    ("base64", Part::Base64),
    ("timestamp", Part::Timestamp),
    ("body", Part::Body),
    ("id", Part::Id),
];

impl Pattern {
    /// Reads a text with `{names}` in it; fails with what is wrong, as it follows the quoted text.
    pub fn parse(text: &str) -> Result<Pattern, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, behind) = after.split_once('}').ok_or("has a '{' without its '}'")?;
            let known = NAMES.iter().find(|(known, _)| *known == name);
            let (_, part) = known.ok_or_else(|| format!("knows no {{{name}}}"))?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(part.clone());
            rest = behind;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Pattern(parts))
    }

    /// Whether one of its texts holds a blank.
    pub fn has_blank(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Text(text) if text.contains(' ')))
    }
}

/// As it was written.
impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match NAMES.iter().find(|(_, known)| known == part) {
            Some((name, _)) => write!(f, "{{{name}}}"),
            None => match part {
                Part::Text(text) => f.write_str(text),
                _ => Ok(()),
            },
        })
    }
}
