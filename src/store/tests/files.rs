//! Real files: damaged, orphaned, full, read-only, from another version.

use super::*;
use std::fs::{self, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};

const DB: &str = "pintle.db";
const ASIDE: &str = "pintle.db.damaged-20251024_200000";

/// A diary with a history of some pages, closed.
fn filled() -> Scratch {
    let scratch = Scratch::new();
    let mut diary = open(&scratch);
    diary.record(&history(1..=300)).unwrap();
    scratch
}

fn history(numbers: std::ops::RangeInclusive<u64>) -> Vec<Entry> {
    let clinic = app("clinic");
    numbers.flat_map(|n| [Entry::Queued(queued(n, &clinic)), finished(n, DeployStatus::Success)]).collect()
}

/// Opens a damaged diary and checks that what was there is kept, that people are told, and that the new one works.
fn assert_begins_anew(scratch: &Scratch, what: &str) {
    let damaged = fs::read(scratch.file(DB)).unwrap();
    let opened = Diary::open(scratch.path(), now()).unwrap_or_else(|error| panic!("{what}: {error}"));
    let notice = opened.notice.unwrap_or_else(|| panic!("{what}: it was taken for sound"));
    assert!(notice.contains(ASIDE), "{what}: {notice}");
    assert!(fs::read(scratch.file(ASIDE)).unwrap() == damaged, "{what}: it was changed");
    let mut diary = opened.diary;
    assert_eq!(diary.notices().unwrap(), [Notice { at: at(0), text: notice }]);
    diary.record(&history(1..=2)).unwrap();
    drop(diary);
    let again = open(scratch);
    assert_eq!((again.history(None, 10).unwrap().len(), again.notices().unwrap().len()), (2, 1), "{what}");
}

#[test]
fn a_new_diary_is_private_whole_and_of_one_file() {
    let scratch = Scratch::new();
    drop(open(&scratch));
    assert_eq!(scratch.names(), [DB]);
    assert_eq!(fs::metadata(scratch.file(DB)).unwrap().permissions().mode() & 0o777, 0o600);
    fs::write(scratch.file("pintle.db.new"), "left by a power cut").unwrap();
    fs::remove_file(scratch.file(DB)).unwrap();
    drop(open(&scratch));
    assert_eq!(scratch.names(), [DB]);
}

#[test]
fn a_writer_thread_can_own_it() {
    fn is_send<T: Send>() {}
    is_send::<Diary>();
    is_send::<Opened>();
}

#[test]
fn what_was_recorded_is_in_the_files_before_the_diary_is_closed() {
    let scratch = Scratch::new();
    let mut diary = open(&scratch);
    diary.record(&history(1..=5)).unwrap();
    let after_the_plug = Scratch::new();
    for part in [DB, "pintle.db-wal"] {
        fs::copy(scratch.file(part), after_the_plug.file(part)).unwrap();
    }
    assert_eq!(open(&after_the_plug).snapshot().unwrap(), diary.snapshot().unwrap());
}

#[test]
fn a_torn_end_of_the_log_costs_only_what_was_not_recorded() {
    let scratch = Scratch::new();
    let mut diary = open(&scratch);
    diary.record(&history(1..=5)).unwrap();
    let recorded = diary.snapshot().unwrap();
    let length = fs::metadata(scratch.file("pintle.db-wal")).unwrap().len();
    diary.record(&history(6..=9)).unwrap();
    let torn = Scratch::new();
    for part in [DB, "pintle.db-wal"] {
        fs::copy(scratch.file(part), torn.file(part)).unwrap();
    }
    let wal = fs::OpenOptions::new().write(true).open(torn.file("pintle.db-wal")).unwrap();
    wal.write_all_at(b"torn", length + 100).unwrap();
    assert_eq!(open(&torn).snapshot().unwrap(), recorded);
}

#[test]
fn a_truncated_database_is_set_aside() {
    let whole = fs::metadata(filled().file(DB)).unwrap().len();
    assert!(whole > 8 * 4096, "{whole}");
    for length in [0, 1, 16, 99, 100, 512, 4095, 4096, 4097, whole / 2, whole - 4096, whole - 1] {
        let scratch = filled();
        fs::OpenOptions::new().write(true).open(scratch.file(DB)).unwrap().set_len(length).unwrap();
        assert_begins_anew(&scratch, &format!("cut to {length} of {whole} bytes"));
    }
}

#[test]
fn a_database_with_overwritten_pages_is_set_aside() {
    let whole = fs::metadata(filled().file(DB)).unwrap().len();
    for page in 0..whole / 4096 {
        let scratch = filled();
        let file = fs::OpenOptions::new().write(true).open(scratch.file(DB)).unwrap();
        file.write_all_at(&[0xa5; 600], page * 4096).unwrap();
        assert_begins_anew(&scratch, &format!("page {page} overwritten"));
    }
}

#[test]
fn something_else_under_its_name_is_set_aside() {
    let other = Scratch::new();
    let foreign = rusqlite::Connection::open(other.file("f")).unwrap();
    foreign.execute_batch("CREATE TABLE deployments (a); PRAGMA user_version = 1").unwrap();
    drop(foreign);
    let table = [b"Dear diary, ...".to_vec(), vec![0; 8192], fs::read(other.file("f")).unwrap()];
    for content in table {
        let scratch = Scratch::new();
        fs::write(scratch.file(DB), &content).unwrap();
        assert_begins_anew(&scratch, &format!("{:?} ...", &content[..15]));
    }
}

#[test]
fn no_flipped_bit_keeps_the_service_from_going_on() {
    let scratch = filled();
    let sound = fs::read(scratch.file(DB)).unwrap();
    let mut set_aside = 0;
    for step in 0..200 {
        let position = step * 7919 % sound.len();
        let mut flipped = sound.clone();
        flipped[position] ^= 1 << (step % 8);
        let scratch = Scratch::new();
        fs::write(scratch.file(DB), &flipped).unwrap();
        match Diary::open(scratch.path(), now()) {
            Ok(opened) => {
                set_aside += usize::from(opened.notice.is_some());
                opened.diary.history(None, 1000).unwrap_or_else(|error| panic!("bit {step} at {position}: {error}"));
            }
            // The version's own bytes: looks like a newer Pintle's, and those are refused.
            Err(error) => assert!((60..64).contains(&position), "bit {step} at {position}: {error}"),
        }
    }
    assert!(set_aside > 10, "{set_aside}");
}

#[test]
fn a_row_that_nobody_can_have_written_is_damage() {
    let scratch = filled();
    let raw = rusqlite::Connection::open(scratch.file(DB)).unwrap();
    raw.execute_batch("UPDATE deployments SET status = 'succesS' WHERE number = 7; PRAGMA wal_checkpoint(TRUNCATE)")
        .unwrap();
    drop(raw);
    assert_begins_anew(&scratch, "a status that is none");
}

#[test]
fn a_power_cut_while_it_was_set_aside_is_told_too() {
    // Before its log was renamed: the log must not be taken for the new database's.
    let scratch = filled();
    fs::remove_file(scratch.file(DB)).unwrap();
    fs::write(scratch.file("pintle.db-wal"), "log of another").unwrap();
    let opened = Diary::open(scratch.path(), now()).unwrap();
    assert!(opened.notice.unwrap().contains(ASIDE));
    assert_eq!(fs::read(scratch.file(&format!("{ASIDE}-wal"))).unwrap(), b"log of another");
    drop(opened.diary);

    // Before the new one was begun.
    let scratch = filled();
    fs::rename(scratch.file(DB), scratch.file(ASIDE)).unwrap();
    let opened = Diary::open(scratch.path(), now()).unwrap();
    assert!(opened.notice.unwrap().contains(ASIDE));
    assert_eq!(opened.diary.notices().unwrap().len(), 1);
}

#[test]
fn what_was_set_aside_is_never_overwritten() {
    let scratch = Scratch::new();
    for (round, name) in [ASIDE.to_owned(), format!("{ASIDE}-2"), format!("{ASIDE}-3")].into_iter().enumerate() {
        fs::write(scratch.file(DB), format!("garbage {round}")).unwrap();
        let opened = Diary::open(scratch.path(), now()).unwrap();
        assert!(opened.notice.unwrap().ends_with(&name));
        assert_eq!(fs::read_to_string(scratch.file(&name)).unwrap(), format!("garbage {round}"));
    }
}

#[test]
fn a_newer_database_is_refused_and_not_touched() {
    let scratch = Scratch::new();
    let mut diary = open(&scratch);
    diary.record(&history(1..=3)).unwrap();
    diary.connection.pragma_update(None, "user_version", schema::VERSION + 1).unwrap();
    let copy = Scratch::new();
    for part in [DB, "pintle.db-wal"] {
        fs::copy(scratch.file(part), copy.file(part)).unwrap();
    }
    let content = || [DB, "pintle.db-wal"].map(|part| fs::read(copy.file(part)).unwrap());
    let before = content();
    let errors = [Diary::open(copy.path(), now()).unwrap_err(), Diary::open_read_only(copy.path()).unwrap_err()];
    for error in errors {
        assert_eq!(error.trouble, Trouble::Version);
        let text = error.to_string();
        assert!(text.contains(DB) && text.contains(&format!("version {}", schema::VERSION + 1)), "{text}");
    }
    assert!(content() == before, "not a byte of it was changed");
    assert!(!copy.names().iter().any(|name| name.contains("damaged")));
}

#[test]
fn a_full_disk_is_told_and_changes_nothing() {
    let scratch = filled();
    let mut diary = open(&scratch);
    let before = diary.snapshot().unwrap();
    let pages: i64 = diary.connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    let limit = |diary: &Diary, pages: i64| {
        diary.connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!(limit(&diary, pages), pages);
    let error = diary.record(&history(301..=900)).unwrap_err();
    assert_eq!(error.trouble, Trouble::Full);
    let text = error.to_string();
    assert!(text.contains("pintle.db") && text.contains("full") && text.contains("free some space"), "{text}");
    assert_eq!(diary.snapshot().unwrap(), before);
    limit(&diary, pages * 100);
    diary.record(&history(301..=900)).unwrap();
    assert_eq!(diary.snapshot().unwrap().highest, DeployId(900));
}

#[test]
fn a_writer_that_does_not_let_go_is_told() {
    let scratch = filled();
    let mut diary = open(&scratch);
    diary.connection.busy_timeout(Duration::from_millis(1)).unwrap();
    let other = rusqlite::Connection::open(scratch.file(DB)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(diary.record(&history(301..=301)).unwrap_err().trouble, Trouble::Busy);
    assert_eq!(Diary::open_read_only(scratch.path()).unwrap().history(None, 1000).unwrap().len(), 300);
    other.execute_batch("ROLLBACK").unwrap();
    diary.record(&history(301..=301)).unwrap();
}

#[test]
fn a_directory_that_cannot_be_written_is_told_and_can_still_be_read() {
    let scratch = filled();
    let db = scratch.file(DB);
    let deny = |dir: u32, file: u32| {
        fs::set_permissions(&db, Permissions::from_mode(file)).unwrap();
        fs::set_permissions(scratch.path(), Permissions::from_mode(dir)).unwrap();
    };
    for (dir, file) in [(0o555, 0o666), (0o555, 0o444), (0o777, 0o444)] {
        deny(dir, file);
        let error = as_nobody(|| Diary::open(scratch.path(), now()).unwrap_err());
        let text = error.to_string();
        assert_eq!(error.trouble, Trouble::ReadOnly, "{dir:o} {file:o}: {text}");
        assert!(text.contains("pintle.db") && text.contains("owner and mode"), "{text}");
        assert!(!scratch.names().iter().any(|name| name.contains("damaged")));
        let rows = as_nobody(|| Diary::open_read_only(scratch.path()).unwrap().history(None, 1000).unwrap().len());
        assert_eq!(rows, 300, "{dir:o} {file:o}");
    }
    deny(0o755, 0o000);
    let error = as_nobody(|| Diary::open_read_only(scratch.path()).unwrap_err());
    assert_eq!(error.trouble, Trouble::Denied, "{error}");
    let error = as_nobody(|| Diary::open(scratch.path(), now()).unwrap_err());
    assert_eq!(error.trouble, Trouble::Denied, "{error}");

    let empty = Scratch::new();
    fs::set_permissions(empty.path(), Permissions::from_mode(0o555)).unwrap();
    let error = as_nobody(|| Diary::open(empty.path(), now()).unwrap_err());
    assert_eq!(error.trouble, Trouble::ReadOnly, "{error}");
    assert!(error.to_string().contains("create"), "{error}");
}

#[test]
fn no_diary_and_no_directory_are_told() {
    let scratch = Scratch::new();
    let error = Diary::open_read_only(scratch.path()).unwrap_err();
    assert_eq!(error.trouble, Trouble::Missing);
    assert!(error.to_string().contains("pintle run"), "{error}");
    assert!(scratch.names().is_empty());
    let error = Diary::open(&scratch.file("nowhere"), now()).unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
}

/// Runs `work` with the rights of a user who owns nothing when the tests run as root, else with our own.
fn as_nobody<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let limited = || {
        if nix::unistd::geteuid().is_root() {
            // For this thread alone; also takes away root's right to pass over file modes.
            nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65_534));
        }
        work()
    };
    std::thread::scope(|scope| scope.spawn(limited).join().unwrap())
}
