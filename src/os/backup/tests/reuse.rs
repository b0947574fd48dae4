//! What is unchanged is linked, what changed is copied, however well it hides.

use super::*;
use std::os::unix::fs::FileExt;

fn inode(path: PathBuf) -> u64 {
    fs::metadata(path).unwrap().ino()
}

#[test]
fn an_unchanged_file_costs_nothing() {
    let mut bench = Bench::new();
    bench.write("data/same", "12345");
    bench.write("data/grows", "123");
    let first = bench.create();
    assert_eq!((first.bytes, first.bytes_new), (Bytes(8), Bytes(8)));
    bench.write("data/grows", "1234");
    let second = bench.create();
    assert_eq!((second.bytes, second.bytes_new), (Bytes(9), Bytes(4)));
    let same = |made: &Made| inode(bench.copy_of(&made.id, "data/same"));
    assert_eq!(same(&first), same(&second));
    assert_ne!(same(&first), inode(bench.shared("data/same")), "the live file is never linked");
    assert_eq!(fs::read(bench.copy_of(&first.id, "data/grows")).unwrap(), b"123");
    let third = bench.create();
    assert_eq!((third.bytes, third.bytes_new), (Bytes(9), Bytes(0)));
    for made in [first, second, third] {
        assert!(verify(&bench.app_dir, &made.id, &bench.cancel).unwrap().is_good());
    }
}

#[test]
fn same_size_and_mtime_do_not_hide_a_change() {
    let mut bench = Bench::new();
    let path = bench.write("data/a", "old");
    let first = bench.create();
    let before = fs::metadata(&path).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    // The kernel's clock ticks coarsely: written until the ctime has moved on.
    while (fs::metadata(&path).unwrap().ctime(), fs::metadata(&path).unwrap().ctime_nsec())
        == (before.ctime(), before.ctime_nsec())
    {
        file.write_all_at(b"new", 0).unwrap();
        file.set_modified(before.modified().unwrap()).unwrap();
    }
    let after = fs::metadata(&path).unwrap();
    assert_eq!((after.len(), after.modified().unwrap()), (before.len(), before.modified().unwrap()));
    let second = bench.create();
    assert_eq!(second.bytes_new, Bytes(3));
    assert_eq!(fs::read(bench.copy_of(&second.id, "data/a")).unwrap(), b"new");
    assert_eq!(fs::read(bench.copy_of(&first.id, "data/a")).unwrap(), b"old");
}

#[test]
fn a_file_written_in_the_same_moment_is_copied_again() {
    let mut bench = Bench::new();
    bench.write("data/a", "a");
    let plan = Plan { created: Moment::now().wall, ..bench.plan() };
    bench.try_create(&plan).unwrap();
    assert_eq!(bench.create().bytes_new, Bytes(1));
    assert_eq!(bench.create().bytes_new, Bytes(0));
}

#[test]
fn a_copy_that_lost_its_length_or_is_gone_is_made_anew() {
    let mut bench = Bench::new();
    bench.write("data/cut", "12345");
    bench.write("data/gone", "123");
    let first = bench.create();
    fs::write(bench.copy_of(&first.id, "data/cut"), "1").unwrap();
    fs::remove_file(bench.copy_of(&first.id, "data/gone")).unwrap();
    let second = bench.create();
    assert_eq!(second.bytes_new, Bytes(8));
    assert!(verify(&bench.app_dir, &second.id, &bench.cancel).unwrap().is_good());
}

#[test]
fn rot_ends_with_the_backup_after_its_discovery() {
    let mut bench = Bench::new();
    bench.write("data/a", "12345");
    let first = bench.create();
    bench.rot(&first.id, "data/a");
    let second = bench.create();
    assert_eq!(second.bytes_new, Bytes(0), "nobody knows yet");
    let report = verify(&bench.app_dir, &second.id, &bench.cancel).unwrap();
    assert_eq!(report.changed, [PathBuf::from("data/a")]);
    assert_eq!(list(&bench.app_dir).unwrap()[0].state, State::Damaged);

    let third = bench.create();
    assert_eq!(third.bytes_new, Bytes(5), "nothing is linked from a damaged one");
    assert!(verify(&bench.app_dir, &third.id, &bench.cancel).unwrap().is_good());
    assert_eq!(bench.create().bytes_new, Bytes(0));
}

#[test]
fn verify_names_what_is_missing_changed_and_extra_and_forgives_what_was_put_right() {
    let mut bench = Bench::new();
    for name in ["data/a", "data/b", "data/sub/c"] {
        bench.write(name, name);
    }
    let made = bench.create();
    let [b, extra] = ["data/b", "data/sub/extra"].map(|path| bench.copy_of(&made.id, path));
    bench.rot(&made.id, "data/a");
    fs::remove_file(&b).unwrap();
    fs::write(&extra, "").unwrap();
    let report = verify(&bench.app_dir, &made.id, &bench.cancel).unwrap();
    let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
    assert_eq!(report.missing, paths(&["data/b"]));
    assert_eq!(report.changed, paths(&["data/a"]));
    assert_eq!(report.extra, paths(&["data/sub/extra"]));
    assert!(!report.is_good());

    bench.rot(&made.id, "data/a");
    fs::write(&b, "data/b").unwrap();
    assert!(verify(&bench.app_dir, &made.id, &bench.cancel).unwrap().is_good());
    assert_eq!(list(&bench.app_dir).unwrap()[0].state, State::Complete);
    let unknown = BackupId::new("20200101_000000-000001").unwrap();
    let error = verify(&bench.app_dir, &unknown, &bench.cancel).unwrap_err().to_string();
    assert!(error.contains(made.id.as_str()), "says which there are: {error}");
}
