//! SQLite databases, while they are written to and after their writer died.

use super::*;
use rusqlite::Connection;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

fn open(path: &Path, journal: &str) -> Connection {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let db = Connection::open(path).unwrap();
    db.busy_timeout(Duration::from_secs(20)).unwrap();
    db.pragma_update(None, "journal_mode", journal).unwrap();
    db.pragma_update(None, "synchronous", "OFF").unwrap();
    db
}

fn sum(path: &Path) -> i64 {
    let db = Connection::open(path).unwrap();
    db.query_row("SELECT sum(amount) FROM account", [], |row| row.get(0)).unwrap()
}

/// Two accounts of 500 each and some ballast, so that a copy takes several steps.
fn bank(path: &Path, journal: &str) -> Connection {
    let db = open(path, journal);
    db.execute_batch(
        "CREATE TABLE account (name TEXT PRIMARY KEY, amount INTEGER);
         INSERT INTO account VALUES ('a', 500), ('b', 500);
         CREATE TABLE ballast (bytes BLOB);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
         INSERT INTO ballast SELECT randomblob(4000) FROM n;",
    )
    .unwrap();
    db
}

/// Backs up while another thread moves money between the accounts: their sum is 1000 at every instant.
fn under_a_writer(journal: &'static str) -> (Bench, Made) {
    let mut bench = Bench::new();
    let path = bench.shared("data/app.db");
    let mut db = bank(&path, journal);
    let [stop, wrote] = [0; 2].map(|_| Arc::new(AtomicBool::new(false)));
    let writer = std::thread::spawn({
        let (stop, wrote) = (stop.clone(), wrote.clone());
        move || {
            while !stop.load(Ordering::SeqCst) {
                let both = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).unwrap();
                both.execute("UPDATE account SET amount = amount - 1 WHERE name = 'a'", []).unwrap();
                both.execute("UPDATE ballast SET bytes = randomblob(4000) WHERE rowid % 100 = 1", []).unwrap();
                both.execute("UPDATE account SET amount = amount + 1 WHERE name = 'b'", []).unwrap();
                both.commit().unwrap();
                wrote.store(true, Ordering::SeqCst);
            }
        }
    });
    while !wrote.load(Ordering::SeqCst) {
        std::thread::yield_now();
    }
    let mades: Vec<Made> = (0..3).map(|_| bench.create()).collect();
    stop.store(true, Ordering::SeqCst);
    writer.join().unwrap();
    for made in &mades {
        assert_eq!((made.files, made.databases), (1, 1), "its journal is not copied: {:?}", bench.said);
        let scratch = bench.scratch.join(made.id.as_str());
        materialise(&bench.app_dir, &made.id, &scratch, &bench.cancel).unwrap();
        assert_eq!(sum(&scratch.join("data/app.db")), 1000);
    }
    (bench, mades.into_iter().next_back().unwrap())
}

#[test]
fn a_copy_in_wal_mode_is_of_one_instant() {
    let (bench, made) = under_a_writer("wal");
    assert_eq!(bench.names(format!("backups/{}/files/data", made.id)), ["app.db"]);
}

#[test]
fn a_copy_with_a_rollback_journal_is_of_one_instant() {
    let (bench, made) = under_a_writer("delete");
    assert_eq!(bench.names(format!("backups/{}/files/data", made.id)), ["app.db"]);
}

#[test]
fn an_unchanged_database_is_linked_and_a_changed_one_is_not() {
    let mut bench = Bench::new();
    let db = bank(&bench.shared("data/app.db"), "wal");
    let first = bench.create();
    let second = bench.create();
    assert_eq!((second.bytes, second.bytes_new), (first.bytes, Bytes(0)));
    db.execute("UPDATE account SET amount = 0", []).unwrap();
    let third = bench.create();
    assert_eq!(third.bytes_new, third.bytes);
    assert_eq!(sum(&bench.copy_of(&second.id, "data/app.db")), 1000);
    assert_eq!(sum(&bench.copy_of(&third.id, "data/app.db")), 0);
}

#[test]
fn what_a_killed_writer_left_is_recovered_in_the_copy() {
    for journal in ["wal", "persist"] {
        let mut bench = Bench::new();
        let path = bench.shared("data/app.db");
        let db = bank(&bench.scratch.join("running/app.db"), journal);
        if journal == "persist" {
            // A transaction so big that its pages are on disk before it ends: the journal is hot.
            db.execute_batch("PRAGMA cache_size = 5; BEGIN; UPDATE account SET amount = 1; UPDATE ballast SET bytes = randomblob(3999);").unwrap();
        }
        for file in bench.names("../running") {
            fs::copy(bench.scratch.join("running").join(&file), bench.shared("data").join(&file)).unwrap();
        }
        let made = bench.create();
        assert_eq!((made.files, made.databases), (1, 1), "{journal}: {:?}", bench.said);
        assert_eq!(sum(&bench.copy_of(&made.id, "data/app.db")), 1000, "{journal}");
        assert_eq!(sum(&path), 1000);
        drop(db);
    }
}

#[test]
fn a_restored_database_is_not_mixed_with_the_journal_of_the_old_one() {
    let mut bench = Bench::new();
    let path = bench.shared("data/app.db");
    let db = bank(&path, "wal");
    let mut plan = bench.plan();
    (plan.paths, plan.sqlite) = (vec![], vec!["data/app.db".into()]);
    let made = bench.try_create(&plan).unwrap();
    assert_eq!(summary(&bench.app_dir, &made.id).unwrap().roots[0].path.to_string(), "data/app.db");
    db.execute("UPDATE account SET amount = 7", []).unwrap();
    // As after a kill: the connection never closes, the WAL stays.
    std::mem::forget(db);
    assert!(bench.shared("data/app.db-wal").exists());
    bench.restore(&made.id, &What::Shared).unwrap();
    assert_eq!(bench.names("shared/data"), ["app.db"]);
    assert_eq!(sum(&path), 1000);
}

#[test]
fn a_damaged_database_is_refused_and_the_good_backups_stay() {
    let mut bench = Bench::new();
    let path = bench.shared("data/app.db");
    bank(&path, "delete").close().unwrap();
    let good = bench.create();
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[4096..middle].fill(0x5a);
    fs::write(&path, bytes).unwrap();
    let plan = bench.plan();
    let error = bench.try_create(&plan).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{error}");
    assert!(error.to_string().contains("data/app.db is damaged"), "{error}");
    assert_eq!(bench.names("backups"), [good.id.as_str()]);
}

#[test]
fn what_is_named_a_database_must_be_one() {
    let mut bench = Bench::new();
    bench.write("data/notes.db", "no database at all");
    bench.write("data/empty.db", "");
    let mut plan = bench.plan();
    assert_eq!(bench.try_create(&plan).unwrap().databases, 0, "by its name alone nothing is one");
    plan.sqlite = vec!["data/empty.db".into()];
    assert_eq!(bench.try_create(&plan).unwrap().files, 2);
    plan.sqlite = vec!["data/notes.db".into()];
    assert!(bench.try_create(&plan).unwrap_err().to_string().contains("notes.db: [backup] sqlite names it"));
}
