//! Reading a manifest as a stream: each entry is handed over and forgotten.

use super::{Contents, Database, Entry, Summary};
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;
use std::io::{self, Read};

/// Reads to the end, giving every entry to `each`. Fails with `InvalidData` on anything that is not a whole manifest,
/// or with the error of `each`.
pub fn read(input: impl Read, each: &mut dyn FnMut(Entry) -> io::Result<()>) -> io::Result<Contents> {
    let mut stream = Stream { each: Some(each), head: Map::new(), entries: 0, databases: Vec::new(), failed: None };
    let mut parser = serde_json::Deserializer::from_reader(input);
    let parsed = (&mut stream).deserialize(&mut parser).and_then(|()| parser.end());
    if let Some(error) = stream.failed.take() {
        return Err(error);
    }
    parsed.map_err(damaged)?;
    let summary: Summary = serde_json::from_value(Value::Object(stream.head)).map_err(damaged)?;
    if summary.entry_count != stream.entries {
        let counted = format!("it announces {} entries and holds {}", summary.entry_count, stream.entries);
        return Err(damaged(counted));
    }
    Ok(Contents { summary, databases: stream.databases })
}

/// Reads no further than the summary. Fails with `InvalidData` when there is none.
pub fn read_summary(input: impl Read) -> io::Result<Summary> {
    let mut stream = Stream { each: None, head: Map::new(), entries: 0, databases: Vec::new(), failed: None };
    let mut parser = serde_json::Deserializer::from_reader(input);
    let parsed = (&mut stream).deserialize(&mut parser);
    // The visitor ends the parse with an error as soon as it has what it needs.
    serde_json::from_value(Value::Object(stream.head)).map_err(|error| damaged(parsed.err().unwrap_or(error)))
}

fn damaged(why: impl fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the manifest is damaged: {why}"))
}

/// The document on its way past; without `each` only the summary is wanted.
struct Stream<'a> {
    each: Option<&'a mut dyn FnMut(Entry) -> io::Result<()>>,
    head: Map<String, Value>,
    entries: u64,
    databases: Vec<Database>,
    failed: Option<io::Error>,
}

impl<'de> DeserializeSeed<'de> for &mut Stream<'_> {
    type Value = ();
    fn deserialize<D: serde::Deserializer<'de>>(self, input: D) -> Result<(), D::Error> {
        input.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Stream<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a manifest")
    }
    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "files" if self.each.is_some() => map.next_value_seed(Entries(&mut *self))?,
                "files" if self.head.contains_key("entry_count") => return Err(M::Error::custom("enough")),
                "databases" if self.each.is_some() => self.databases = map.next_value()?,
                "files" | "databases" => drop(map.next_value::<IgnoredAny>()?),
                _ => drop(self.head.insert(key, map.next_value()?)),
            }
        }
        Ok(())
    }
}

struct Entries<'s, 'a>(&'s mut Stream<'a>);

impl<'de> DeserializeSeed<'de> for Entries<'_, '_> {
    type Value = ();
    fn deserialize<D: serde::Deserializer<'de>>(self, input: D) -> Result<(), D::Error> {
        input.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_, '_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list of entries")
    }
    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<(), S::Error> {
        while let Some(entry) = seq.next_element::<Entry>()? {
            self.0.entries += 1;
            if let Some(Err(error)) = self.0.each.as_mut().map(|each| each(entry)) {
                self.0.failed = Some(error);
                return Err(S::Error::custom("stopped by the reader"));
            }
        }
        Ok(())
    }
}
