//! Writes TOML for people: scalars first, then tables under their headers.

use std::fmt::Write;
use toml::{Table, Value};

/// A table as TOML text.
pub(super) fn toml_text(table: &Table) -> String {
    let mut text = String::new();
    write_table(&mut text, "", table);
    text
}

/// A string as TOML writes it.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Tables that stand on one line wherever they are.
const INLINE: [&str; 2] = ["env", "nginx"];

fn write_table(text: &mut String, path: &str, table: &Table) {
    let (below, here): (Vec<_>, Vec<_>) = table.iter().partition(|(key, value)| has_header(key, value));
    for (key, value) in here {
        let _ = writeln!(text, "{} = {}", bare(key), inline(value));
    }
    for (key, value) in below {
        let path = if path.is_empty() { bare(key) } else { format!("{path}.{}", bare(key)) };
        match value {
            Value::Array(items) => {
                for item in items.iter().filter_map(Value::as_table) {
                    let _ = write!(text, "\n[[{path}]]\n");
                    write_table(text, &path, item);
                }
            }
            Value::Table(inner) => {
                // A header of its own only where it says something.
                if inner.is_empty() || inner.iter().any(|(key, value)| !has_header(key, value)) {
                    let _ = write!(text, "\n[{path}]\n");
                }
                write_table(text, &path, inner);
            }
            _ => {}
        }
    }
}

fn has_header(key: &str, value: &Value) -> bool {
    match value {
        Value::Table(_) => !INLINE.contains(&key),
        Value::Array(items) => !items.is_empty() && items.iter().all(Value::is_table),
        _ => false,
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => format!("{number:?}"),
        Value::Boolean(yes) => yes.to_string(),
        Value::Datetime(time) => time.to_string(),
        Value::Array(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::Table(table) if table.is_empty() => "{}".into(),
        Value::Table(table) => {
            let pairs: Vec<String> =
                table.iter().map(|(key, value)| format!("{} = {}", bare(key), inline(value))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
    }
}

fn bare(key: &str) -> String {
    let plain = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if plain { key.to_owned() } else { quoted(key) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_the_same() {
        let text = "a = 1\nb = \"x\\\"y\\\\z\\n\\u0007ä\"\nc = [1, 2.5, true]\n\"odd key\" = {}\n[t]\nenv = { A = \"1\" }\n\
                    [t.u]\nv = []\n[[s]]\nn = 1\n[[s]]\nn = 2\n[s.deep]\nx = 1\n[empty]\n";
        let table: Table = text.parse().unwrap();
        let written = toml_text(&table);
        assert_eq!(written.parse::<Table>().unwrap(), table, "{written}");
        assert!(written.contains("env = { A = \"1\" }"), "{written}");
    }
}
