//! A disk that is full before or while a backup or a restore is made.

use super::*;
use std::io::ErrorKind;

/// A file system of 1 MiB at the application's `backups` (or `shared`), unmounted at the end. Only root can have one.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn at(place: PathBuf) -> Option<SmallDisk> {
        fs::create_dir_all(&place).unwrap();
        let small = Some("size=1m,mode=0700");
        let mounted = nix::mount::mount(Some("tmpfs"), &place, Some("tmpfs"), nix::mount::MsFlags::empty(), small);
        assert!(mounted.is_ok() || !is_root(), "root can mount a tmpfs: {mounted:?}");
        mounted.ok().map(|()| SmallDisk(place))
    }
}
impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH);
    }
}

#[test]
fn too_little_space_is_said_before_anything_is_written() {
    let mut bench = Bench::new();
    bench.write("data/a", vec![7; 100_000]);
    let plan = Plan { reserve: Bytes(u64::MAX / 2), ..bench.plan() };
    let error = bench.try_create(&plan).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StorageFull);
    for word in ["97.7KiB", "must stay free", "shop/backups"] {
        assert!(error.to_string().contains(word), "{error}");
    }
    assert!(bench.names("backups").is_empty());
}

#[test]
fn a_disk_that_fills_up_on_the_way_is_cleared_again() {
    let mut bench = Bench::new();
    let disk = SmallDisk::at(bench.app_dir.join("backups"));
    bench.write("data/first", "x");
    let good = bench.create();
    // Each takes a page of a tmpfs but counts as one byte: the estimate is fooled.
    (0..400).for_each(|i| drop(bench.write(&format!("data/{i}"), "x")));
    let plan = bench.plan();
    let outcome = bench.try_create(&plan);
    if disk.is_some() {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
        assert_eq!(bench.names("backups"), [good.id.as_str()]);
        assert!(verify(&bench.app_dir, &good.id, &bench.cancel).unwrap().is_good());
    } else {
        assert_eq!(outcome.unwrap().files, 401);
    }
    drop(disk);
}

#[test]
fn a_database_that_does_not_fit_is_cleared_again() {
    let mut bench = Bench::new();
    let disk = SmallDisk::at(bench.app_dir.join("backups"));
    let db = rusqlite::Connection::open(bench.shared("data/app.db")).unwrap();
    db.execute_batch("CREATE TABLE t (b BLOB); INSERT INTO t VALUES (zeroblob(2000000));").unwrap();
    drop(db);
    let plan = bench.plan();
    let outcome = bench.try_create(&plan);
    if disk.is_some() {
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::StorageFull);
        let fooled = sqlite::copy(&bench.shared("data/app.db"), &bench.app_dir.join("backups/copy"), &bench.cancel);
        assert_eq!(fooled.unwrap_err().kind(), ErrorKind::StorageFull);
    } else {
        assert_eq!(outcome.unwrap().databases, 1);
    }
    drop(disk);
}

#[test]
fn a_restore_that_does_not_fit_changes_nothing() {
    let mut bench = Bench::new();
    bench.write("data/big", vec![7; 800_000]);
    bench.write("data/more", vec![8; 700_000]);
    let made = bench.create();
    let small = bench.scratch.join("small");
    let disk = SmallDisk::at(small.clone());
    fs::create_dir_all(small.join("data")).unwrap();
    fs::write(small.join("data/live"), "live").unwrap();
    let outcome = restore(&bench.app_dir, &made.id, &small, &What::All, &bench.cancel, &mut |_| {});
    if disk.is_some() {
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::StorageFull);
        assert_eq!(bench.names("../small"), ["data"]);
        assert_eq!(bench.names("../small/data"), ["live"]);
    } else {
        assert_eq!(outcome.unwrap().files, 2);
    }
    assert!(!bench.app_dir.join(".restore.json").exists());
    drop(disk);
}

#[test]
fn a_mount_point_is_refused_before_anything_is_copied() {
    let mut bench = Bench::new();
    bench.write("data/a", "a");
    let made = bench.create();
    let disk = SmallDisk::at(bench.shared("data"));
    let outcome = bench.restore(&made.id, &What::All);
    if disk.is_some() {
        let error = outcome.unwrap_err();
        assert!(error.to_string().contains("is a mount point"), "{error}");
        fs::write(bench.shared("data/a"), "on the mounted disk").unwrap();
        bench.restore(&made.id, &What::Paths(vec!["data/a".into()])).unwrap();
        assert_eq!(fs::read(bench.shared("data/a")).unwrap(), b"a");
    } else {
        assert_eq!(outcome.unwrap().files, 1);
    }
    drop(disk);
}
