//! Restores that go well, restores that are refused, and what stays untouched.

use super::*;

#[test]
fn one_bad_byte_and_nothing_is_swapped() {
    let mut bench = Bench::new();
    bench.write("data/a", "a good one");
    bench.write("data/z", "rots");
    bench.write("logs/l", "log");
    let plan =
        Plan { paths: vec!["data".into(), "logs".into()], shared: vec!["data".into(), "logs".into()], ..bench.plan() };
    let made = bench.try_create(&plan).unwrap();
    bench.rot(&made.id, "data/z");
    bench.write("data/a", "live");
    bench.write("logs/l", "live");
    let live = |bench: &Bench| ["data", "logs"].map(|top| portrait(&bench.shared(top)));
    let before = live(&bench);
    let error = bench.restore(&made.id, &What::All).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    for word in ["data/z", made.id.as_str(), "SHA-256", "nothing was put in place"] {
        assert!(error.to_string().contains(word), "{error}");
    }
    assert_eq!(live(&bench), before);
    assert_eq!(bench.names("shared"), ["data", "logs"]);
    assert!(!bench.app_dir.join(".restore.json").exists());
    assert_eq!(list(&bench.app_dir).unwrap()[0].state, State::Damaged, "and it is remembered");
    let error = materialise(&bench.app_dir, &made.id, &bench.scratch.join("r"), &bench.cancel).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "a rehearsal proves the backup too");

    bench.restore(&made.id, &What::Paths(vec!["logs".into(), "data/a".into()])).unwrap();
    assert_eq!(fs::read(bench.shared("data/a")).unwrap(), b"a good one", "what is sound can still be had");
}

#[test]
fn single_paths_come_back_alone() {
    let mut bench = Bench::new();
    bench.write("data/a", "a");
    bench.write("data/sub/b", "b");
    bench.write("data/sub/c", "c");
    let made = bench.create();
    for path in ["data/a", "data/sub/b"] {
        bench.write(path, "live");
    }
    fs::remove_file(bench.shared("data/sub/c")).unwrap();
    let paths = |names: &[&str]| What::Paths(names.iter().map(PathBuf::from).collect());
    bench.restore(&made.id, &paths(&["data/sub", "data/sub/c"])).unwrap();
    let read = |path: &str| fs::read_to_string(bench.shared(path)).unwrap();
    assert_eq!([read("data/a"), read("data/sub/b"), read("data/sub/c")], ["live", "b", "c"]);

    let error = bench.restore(&made.id, &paths(&["data/a", "data/nope"])).unwrap_err().to_string();
    assert!(error.contains("holds no data/nope; it holds data; nothing was changed"), "{error}");
    assert_eq!(fs::read(bench.shared("data/a")).unwrap(), b"live");
    assert!(bench.restore(&made.id, &paths(&["../data"])).is_err());
    assert_eq!(bench.names("shared/data"), ["a", "sub"]);
}

#[test]
fn into_an_empty_place_and_over_something_of_another_kind() {
    let mut bench = Bench::new();
    bench.write("data/a", "a");
    let made = bench.create();
    let elsewhere = bench.scratch.join("else/where");
    restore(&bench.app_dir, &made.id, &elsewhere, &What::All, &bench.cancel, &mut |_| {}).unwrap();
    assert_eq!(portrait(&elsewhere.join("data")), portrait(&bench.shared("data")));
    let before = portrait(&bench.shared("data"));
    fs::remove_dir_all(bench.shared("data")).unwrap();
    fs::write(bench.shared("data"), "a file now").unwrap();
    bench.restore(&made.id, &What::All).unwrap();
    assert_eq!(portrait(&bench.shared("data")), before);
}

#[test]
fn what_an_earlier_restore_left_is_not_overwritten() {
    let mut bench = Bench::new();
    bench.write("data/a", "a");
    let made = bench.create();
    bench.write(".data.before-restore/a", "the only copy of something");
    let error = bench.restore(&made.id, &What::All).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists, "{error}");
    assert_eq!(fs::read(bench.shared(".data.before-restore/a")).unwrap(), b"the only copy of something");
}

#[test]
fn a_manifest_cannot_lead_out_of_the_destination() {
    let mut bench = Bench::new();
    bench.write("data/a", "a");
    let made = bench.create();
    let path = bench.app_dir.join("backups").join(&made.id).join("manifest.json");
    let text = fs::read_to_string(&path).unwrap();
    for bad in ["../../escaped", "/tmp/escaped", "data/../../escaped", "%2E%2E/escaped"] {
        fs::write(&path, text.replace("data/a", bad)).unwrap();
        let error = bench.restore(&made.id, &What::All).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData, "{bad}: {error}");
    }
    assert_eq!(bench.names("."), ["backups", "shared"]);
}
