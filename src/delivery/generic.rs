//! Whatever signs with an HMAC: `[trigger.generic]` says how it is signed and where the facts are.
//!
//! The JSON is walked once for each pointer and nothing of it is kept but what the pointers point at.

use super::forge::{self, Proof, Sent, Told, commit};
use super::happening::Happening;
use super::signature;
use super::{AppTrigger, Refusal, RequestHead, bad_json, shown};
use crate::config::{Generic, Part, Pattern};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// A header may hold several signatures while keys change; more than these are not tried.
const MOST_SIGNATURES: usize = 8;

pub(super) fn proof(app: &AppTrigger, head: &RequestHead<'_>, sent: &Sent<'_>) -> Proof {
    let Some(generic) = &app.generic else { return Proof::Fails };
    let Some(given) = head.header(&generic.header) else { return Proof::Fails };
    let whole = std::iter::once(given.trim());
    // "v1,AAA v1,BBB": each by itself, where the pattern has no blank of its own.
    let each = given.split_ascii_whitespace().take(MOST_SIGNATURES);
    let found: Vec<Read<'_>> = match given.trim().contains(' ') && !generic.value.has_blank() {
        true => each.filter_map(|one| read_by(&generic.value, one)).collect(),
        false => whole.filter_map(|one| read_by(&generic.value, one)).collect(),
    };
    let mut proof = Proof::Fails;
    for read in found {
        if let Some(fits) = fits(app, generic, head, &read, sent) {
            proof = fits;
        }
    }
    proof
}

/// What a header's value says.
struct Read<'a> {
    digest: Vec<u8>,
    timestamp: Option<&'a str>,
}

/// Reads `text` as `pattern` writes it; `None`: it is not written so.
fn read_by<'a>(pattern: &Pattern, text: &'a str) -> Option<Read<'a>> {
    let (mut rest, mut digest, mut timestamp) = (text, None, None);
    let mut parts = pattern.0.iter().peekable();
    while let Some(part) = parts.next() {
        if let Part::Text(literal) = part {
            rest = rest.strip_prefix(literal.as_str())?;
            continue;
        }
        let end = match parts.peek() {
            Some(Part::Text(next)) => rest.find(next.as_str())?,
            _ => rest.len(),
        };
        let (value, after) = rest.split_at(end);
        rest = after;
        match part {
            Part::Hex => digest = Some(signature::digest_of_hex(value)?),
            Part::Base64 => digest = Some(signature::digest_of_base64(value)?),
            Part::Timestamp => timestamp = Some(value),
            Part::Text(_) | Part::Id | Part::Body => return None,
        }
    }
    rest.is_empty().then_some(Read { digest: digest?, timestamp })
}

/// `None`: it was not signed with one of the app's secrets.
fn fits(
    app: &AppTrigger,
    generic: &Generic,
    head: &RequestHead<'_>,
    read: &Read<'_>,
    sent: &Sent<'_>,
) -> Option<Proof> {
    let timestamp = read.timestamp.or_else(|| head.header(generic.timestamp.as_deref()?));
    let id = generic.id.as_deref().and_then(|header| head.header(header));
    let mut signed: Vec<&[u8]> = Vec::new();
    for part in &generic.signed.0 {
        signed.push(match part {
            Part::Text(text) => text.as_bytes(),
            Part::Body => sent.body,
            Part::Timestamp => timestamp?.as_bytes(),
            Part::Id => id?.as_bytes(),
            Part::Hex | Part::Base64 => return None,
        });
    }
    let keys = app.secrets.iter().map(|key| key.standard().map_or(Cow::Borrowed(&key.0[..]), Cow::Owned));
    if !signature::is_signed(generic.hash, &read.digest, &signed, keys) {
        return None;
    }
    // A time that is not signed proves nothing.
    let is_signed = generic.signed.0.contains(&Part::Timestamp);
    match timestamp.filter(|_| is_signed).map(|seconds| signature::is_timely(seconds, head.now)) {
        Some(Err(why)) => Some(Proof::Untimely(why)),
        _ => Some(Proof::Fits),
    }
}

pub(super) fn read<'a>(app: &AppTrigger, head: &RequestHead<'_>, json: &'a str) -> Result<Told<'a>, Refusal> {
    let Some(generic) = &app.generic else { return Err(Refusal::new(400, "it is not said how this is read")) };
    let headers: Vec<&str> = generic.id.as_deref().into_iter().collect();
    let id = forge::delivery_id(head, &headers)?;
    let (event, repository, happening) = told(generic, json).map_err(|error| bad_json(&error))?;
    Ok(Told { id, event, repository: repository.map(Cow::Owned), happenings: vec![happening] })
}

fn told(generic: &Generic, json: &str) -> Result<(String, Option<String>, Happening<'static>), serde_json::Error> {
    let at = |pointer: &Option<String>| pointer.as_ref().map_or(Ok(None), |pointer| pointed_at(json, pointer));
    let event = at(&generic.event)?;
    let repository = at(&generic.repository)?;
    let name = event.clone().filter(|event| forge::is_event_name(event)).unwrap_or_else(|| "generic".to_owned());
    if let Some(wanted) = &generic.event_is
        && event.as_ref() != Some(wanted)
    {
        let why = format!("the event is {}, not {}", shown(event.as_deref().unwrap_or_default()), shown(wanted));
        return Ok((name, repository, Happening::Nothing(why)));
    }
    let commit_text = at(&generic.commit)?;
    let reference = match (&generic.reference, at(&generic.reference)?) {
        // The branch of the app is meant where the sender has no word for it.
        (None, _) => None,
        (Some(pointer), None) => return Err(forge::bad(format!("nothing stands at {pointer}"))),
        (Some(_), reference) => reference,
    };
    let commit = match (&generic.commit, commit_text) {
        (_, Some(text)) => commit(&text)?,
        (Some(pointer), None) => return Err(forge::bad(format!("nothing stands at {pointer}"))),
        (None, None) => None,
    };
    let happening = match reference {
        Some(full) if full.starts_with("refs/") => Happening::of_reference(Cow::Owned(full), commit),
        Some(branch) => Happening::Pushed { branch: Cow::Owned(branch), tip: commit },
        None => match commit {
            Some(commit) => Happening::Asked { wanted: crate::control::Wanted::Commit(commit), branch: None },
            None => Happening::Nothing("it names no commit".to_owned()),
        },
    };
    Ok((name, repository, happening))
}

/// The text (or number) that a JSON pointer points at.
fn pointed_at(json: &str, pointer: &str) -> Result<Option<String>, serde_json::Error> {
    let path: Vec<String> = pointer.split('/').skip(1).map(|part| part.replace("~1", "/").replace("~0", "~")).collect();
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let found = Walk { path: &path }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(found)
}

/// The rest of the way to a value.
struct Walk<'p> {
    path: &'p [String],
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Option<String>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut found, mut seen) = (None, false);
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match self.path.split_first() {
                Some((first, rest)) if *first == key => {
                    if seen {
                        return Err(A::Error::custom(format_args!("{} is there twice", shown(first))));
                    }
                    seen = true;
                    found = map.next_value_seed(Walk { path: rest })?;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let wanted = self.path.split_first().and_then(|(first, rest)| Some((first.parse::<usize>().ok()?, rest)));
        let (mut found, mut at) = (None, 0);
        loop {
            match wanted {
                Some((index, rest)) if index == at => match list.next_element_seed(Walk { path: rest })? {
                    Some(value) => found = value,
                    None => return Ok(found),
                },
                _ => {
                    if list.next_element::<IgnoredAny>()?.is_none() {
                        return Ok(found);
                    }
                }
            }
            at += 1;
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(self.path.is_empty().then(|| text.to_owned()))
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(self.path.is_empty().then(|| number.to_string()))
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(self.path.is_empty().then(|| number.to_string()))
    }
    fn visit_bool<E: Error>(self, yes: bool) -> Result<Self::Value, E> {
        Ok(self.path.is_empty().then(|| yes.to_string()))
    }
    fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_finds_one_text_and_keeps_nothing_else() {
        let json = r#"{"a":{"b":["x",{"c/d":"deep","~":7}],"n":null,"f":1.5,"t":true},"z":[[[]]],"big":1e400}"#;
        let small = json.replace(",\"big\":1e400", "");
        for (pointer, found) in [
            ("/a/b/0", Some("x")),
            ("/a/b/1/c~1d", Some("deep")),
            ("/a/b/1/~0", Some("7")),
            ("/a/t", Some("true")),
            ("/a/n", None),
            ("/a/f", None),
            ("/a/b", None),
            ("/a/b/9", None),
            ("/a/b/x", None),
            ("/nothing", None),
            ("", None),
        ] {
            assert_eq!(pointed_at(&small, pointer).unwrap().as_deref(), found, "{pointer}");
        }
        for bad in ["{\"a\":\"x\",\"a\":\"y\"}", "{\"a\":\"x\"} {}", "{\"a\":", "{\"a\":\"\\ud800\"}"] {
            assert!(pointed_at(bad, "/a").is_err(), "{bad}");
        }
        let deep = format!("{{\"d\":{}{},\"a\":\"x\"}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(
            pointed_at(&deep, "/a").unwrap().as_deref(),
            Some("x"),
            "what is skipped may be as deep as it likes"
        );
        let path = format!("/d{}", "/0".repeat(200));
        assert!(pointed_at(&deep, &path).is_err(), "what is walked may not");
    }

    #[test]
    fn a_value_is_read_as_its_pattern_writes_it() {
        let pattern = |text: &str| Pattern::parse(text).unwrap();
        let hex = "00ff";
        let read = |text: &str, value: &str| {
            read_by(&pattern(text), value).map(|read| (read.digest, read.timestamp.map(str::to_owned)))
        };
        assert_eq!(read("{hex}", hex), Some((vec![0, 255], None)));
        assert_eq!(read("sha256={hex}", "sha256=00FF"), Some((vec![0, 255], None)));
        assert_eq!(read("v1,{base64}", "v1,AP8="), Some((vec![0, 255], None)));
        assert_eq!(read("t={timestamp},v1={hex}", "t=12,v1=00ff"), Some((vec![0, 255], Some("12".into()))));
        for (text, value) in [
            ("{hex}", ""),
            ("{hex}", "0"),
            ("{hex}", "0g"),
            ("{hex}", "00ff "),
            ("sha256={hex}", "00ff"),
            ("sha256={hex}", "sha256="),
            ("{base64}", "AP8"),
            ("t={timestamp},v1={hex}", "t=12"),
            ("t={timestamp},v1={hex}", "t=12,v1=00ff,v1=00ff"),
        ] {
            assert_eq!(read(text, value), None, "{text} {value:?}");
        }
    }
}
