//! A manifest written, read, cut and tampered with.

use super::*;
use crate::backup::roots::Place;
use std::ffi::OsStr;
use std::io::Cursor;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

fn summary() -> Summary {
    Summary {
        engine: "pintle".into(),
        version: "0.1.0".into(),
        app: AppName::new("shop").unwrap(),
        created: WallTime(1_761_336_000_000),
        number: DeployId(42),
        release: Some(ReleaseName::new("000042-4f2a1c9").unwrap()),
        commit: None,
        status: "complete".into(),
        roots: vec![Root { path: inside(b"data"), place: Place::Shared }],
        bytes: Bytes(0),
        bytes_new: Bytes(0),
        entry_count: 0,
        file_count: 0,
        database_count: 0,
    }
}

fn inside(name: &[u8]) -> Inside {
    Inside::new(OsStr::from_bytes(name)).unwrap()
}

fn entries() -> Vec<Entry> {
    let entry =
        |name: &[u8], mode, mtime_ns, kind| Entry { path: inside(name), mode, uid: 1000, gid: 100, mtime_ns, kind };
    let stamp = Stamp { size: 3, inode: u64::MAX, mtime_ns: -5, ctime_ns: 9 };
    let target = PathBuf::from(OsStr::from_bytes(b"../%\xff"));
    vec![
        entry(b"data", 0o2750, 7, Kind::Dir),
        entry(b"data/\xff", 0o4755, -5, Kind::File { stamp, sha256: Checksum([0xab; 32]) }),
        entry(b"data/link", 0o777, 1, Kind::Symlink { target }),
        entry(b"data/app.db", 0o600, 2, Kind::Database { size: 8192, sha256: Checksum([1; 32]) }),
    ]
}

fn databases() -> Vec<Database> {
    let [engine, how, check] = ["sqlite", "online backup", "ok"].map(String::from);
    vec![Database { path: inside(b"data/app.db"), engine, how, check }]
}

fn written() -> Vec<u8> {
    let mut writer = Writer::begin(Cursor::new(Vec::new()), &summary()).unwrap();
    entries().iter().for_each(|entry| writer.entry(entry).unwrap());
    let counted = Summary { bytes: Bytes(8195), file_count: 2, database_count: 1, ..summary() };
    writer.finish(&counted, &databases()).unwrap().into_inner()
}

fn read_all(text: &[u8]) -> io::Result<(Contents, Vec<Entry>)> {
    let mut seen = Vec::new();
    let contents = read(text, &mut |entry| {
        seen.push(entry);
        Ok(())
    })?;
    Ok((contents, seen))
}

#[test]
fn what_is_written_is_read_back() {
    let (contents, seen) = read_all(&written()).unwrap();
    assert_eq!(seen, entries());
    assert_eq!(contents.databases, databases());
    assert_eq!((contents.summary.bytes, contents.summary.entry_count), (Bytes(8195), 4));
    assert_eq!(read_summary(&written()[..]).unwrap(), contents.summary);
}

#[test]
fn it_is_plain_json_and_may_be_reordered() {
    let value: serde_json::Value = serde_json::from_slice(&written()).unwrap();
    assert_eq!(value["files"][1]["path"], "data/%FF");
    assert_eq!(value["files"][1]["mode"], "4755");
    assert_eq!(value["release"], "000042-4f2a1c9");
    let mut backwards: Vec<(&String, &serde_json::Value)> = value.as_object().unwrap().iter().collect();
    backwards.reverse();
    let lines: Vec<String> = backwards.iter().map(|(key, value)| format!("{key:?}: {value}")).collect();
    let reordered = format!("{{{}}}", lines.join(",\n"));
    assert_eq!(read_all(reordered.as_bytes()).unwrap(), read_all(&written()).unwrap());
    assert_eq!(read_summary(reordered.as_bytes()).unwrap(), read_summary(&written()[..]).unwrap());
}

#[test]
fn a_cut_manifest_is_never_a_shorter_one() {
    let whole = written();
    for length in 0..whole.trim_ascii_end().len() {
        let error = read_all(&whole[..length]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData, "cut at {length}: {error}");
    }
}

#[test]
fn tampering_is_noticed() {
    let text = String::from_utf8(written()).unwrap();
    let line = text.lines().find(|line| line.contains("data/link")).unwrap();
    for (from, to) in [
        (line, ""),
        ("data/link", "../link"),
        ("data/link", "/etc/link"),
        ("\"4755\"", "\"99\""),
        ("\"4755\"", "\"177777\""),
        ("abab", "ab"),
        ("\"inode\"", "\"node\""),
    ] {
        let bad = text.replacen(from, to, 1).replace("\n\n", "\n");
        assert!(read_all(bad.as_bytes()).is_err(), "{from} -> {to}");
    }
}

#[test]
fn an_error_of_the_reader_ends_the_reading_and_comes_out() {
    let mut calls = 0;
    let error = read(&written()[..], &mut |_| {
        calls += 1;
        Err(io::Error::new(io::ErrorKind::StorageFull, "full"))
    });
    assert_eq!((error.unwrap_err().kind(), calls), (io::ErrorKind::StorageFull, 1));
}
