//! What goes into a backup comes out of it.

use super::*;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, symlink};
use std::os::unix::net::UnixListener;

/// One of everything a file system offers.
fn furnish(bench: &Bench) -> PathBuf {
    let data = bench.shared("data");
    bench.write("data/plain", "plain");
    bench.write("data/empty", "");
    set_mode(bench.write("data/run.sh", "#!/bin/sh\n"), 0o755);
    set_mode(bench.write("data/set-id", "x"), 0o6711);
    set_mode(bench.write("data/sub/deeper/secret", "s"), 0o400);
    fs::create_dir(data.join("hollow")).unwrap();
    fs::write(data.join(OsStr::from_bytes(b"caf\xe9 100%\n")), "latin-1").unwrap();
    symlink("plain", data.join("link")).unwrap();
    symlink("/nowhere/at all", data.join("dangling")).unwrap();
    symlink("..", data.join("loop")).unwrap();
    let sparse = fs::File::create(data.join("sparse")).unwrap();
    sparse.write_all_at(b"end", 8 << 20).unwrap();
    set_mode(data.join("hollow"), 0o1777);
    if is_root() {
        std::os::unix::fs::lchown(data.join("link"), Some(4321), Some(1234)).unwrap();
        std::os::unix::fs::chown(data.join("sub"), Some(4321), Some(1234)).unwrap();
        std::os::unix::fs::chown(data.join("set-id"), Some(4321), Some(1234)).unwrap();
        set_mode(data.join("set-id"), 0o6711);
        set_mode(data.join("sub/deeper"), 0o555);
    }
    let old = fs::File::open(data.join("plain")).unwrap();
    old.set_modified(std::time::UNIX_EPOCH - Duration::from_millis(1500)).unwrap();
    data
}

#[test]
fn a_tree_comes_back_with_modes_links_times_owners_and_holes() {
    let mut bench = Bench::new();
    let data = furnish(&bench);
    let before = portrait(&data);
    let made = bench.create();
    assert_eq!((made.files, made.databases), (7, 0));
    assert_eq!(made.bytes, made.bytes_new);
    assert!(verify(&bench.app_dir, &made.id, &bench.cancel).unwrap().is_good());

    fs::remove_file(data.join("plain")).unwrap();
    fs::write(data.join("empty"), "no longer").unwrap();
    fs::write(data.join("new"), "made since").unwrap();
    let restored = bench.restore(&made.id, &What::Shared).unwrap();
    assert_eq!(restored, Restored { paths: vec!["data".into()], files: 7, bytes: made.bytes });
    assert_eq!(portrait(&data), before);
    assert_eq!(bench.names("shared"), ["data"], "nothing is left beside it");
    assert!(!bench.app_dir.join(".restore.json").exists());

    let sparse = |path: PathBuf| fs::metadata(path).unwrap().blocks() * 512;
    assert!(sparse(data.join("sparse")) < 1 << 20, "holes stay holes");
    assert!(sparse(bench.copy_of(&made.id, "data/sparse")) < 1 << 20);
}

#[test]
fn a_rehearsal_gets_copies_it_may_write_to() {
    let mut bench = Bench::new();
    let data = furnish(&bench);
    let made = bench.create();
    let scratch = bench.scratch.join("rehearsal");
    let filled = materialise(&bench.app_dir, &made.id, &scratch, &bench.cancel).unwrap();
    assert_eq!(filled, Restored { paths: vec!["data".into()], files: 7, bytes: made.bytes });
    assert_eq!(portrait(&scratch.join("data")), portrait(&data));
    fs::write(scratch.join("data/plain"), "written by the rehearsal").unwrap();
    fs::write(scratch.join("data/run.sh"), "").unwrap();
    assert!(verify(&bench.app_dir, &made.id, &bench.cancel).unwrap().is_good());
    assert_eq!(fs::read(data.join("plain")).unwrap(), b"plain");
    let again = materialise(&bench.app_dir, &made.id, &scratch, &bench.cancel).unwrap_err();
    assert_eq!(again.kind(), std::io::ErrorKind::AlreadyExists);
}

#[test]
fn what_cannot_be_kept_is_said_and_what_is_private_stays_private() {
    let mut bench = Bench::new();
    let _socket = UnixListener::bind(bench.shared("data/app.sock")).unwrap();
    nix::unistd::mkfifo(&bench.shared("data/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    set_mode(bench.write("data/public", "x"), 0o666);
    let mut plan = bench.plan();
    plan.paths.push("uploads".into());
    let made = bench.try_create(&plan).unwrap();
    assert_eq!(made.files, 1);
    for word in ["data/app.sock is a socket", "data/pipe is a pipe", "uploads does not exist yet"] {
        assert!(bench.said.iter().any(|line| line.contains(word)), "{word}: {:?}", bench.said);
    }
    let mode = |path: PathBuf| fs::metadata(path).unwrap().mode() & 0o777;
    assert_eq!(mode(bench.app_dir.join("backups")), 0o700);
    assert_eq!(mode(bench.copy_of(&made.id, "data/public")), 0o600);
    let summary = summary(&bench.app_dir, &made.id).unwrap();
    assert_eq!(summary.roots.len(), 1, "a path that was not there is not in the backup");
}

#[test]
fn paths_are_found_where_they_live() {
    let mut bench = Bench::new();
    let release = bench.app_dir.join("releases/000001-abc/web");
    fs::create_dir_all(release.join("var")).unwrap();
    symlink("releases/000001-abc", bench.app_dir.join("current")).unwrap();
    fs::write(release.join("var/local.ini"), "in the release").unwrap();
    bench.write("var/data/a", "in shared");
    symlink(bench.shared("var/data"), release.join("var/data")).unwrap();
    // Data on another disk: a link that is ours.
    let disk = bench.scratch.join("disk");
    fs::create_dir_all(&disk).unwrap();
    fs::write(disk.join("big"), "on the disk").unwrap();
    symlink(&disk, bench.shared("media")).unwrap();
    let mut plan = bench.plan();
    plan.paths = vec!["var".into(), "media".into()];
    plan.shared = vec!["var/data".into(), "media".into()];
    plan.subdirectory = "web".into();

    let made = bench.try_create(&plan).unwrap();
    assert_eq!(made.files, 3, "{:?}", bench.said);
    for (path, content) in
        [("var/local.ini", "in the release"), ("var/data/a", "in shared"), ("media/big", "on the disk")]
    {
        assert_eq!(fs::read_to_string(bench.copy_of(&made.id, path)).unwrap(), content);
    }
    assert!(verify(&bench.app_dir, &made.id, &bench.cancel).unwrap().extra.is_empty());

    fs::write(disk.join("big"), "overwritten").unwrap();
    bench.restore(&made.id, &What::Shared).unwrap();
    assert_eq!(fs::read_to_string(disk.join("big")).unwrap(), "on the disk");
    assert!(fs::symlink_metadata(bench.shared("media")).unwrap().is_symlink(), "the link to the disk stays a link");
    let scratch = bench.scratch.join("scratch");
    materialise(&bench.app_dir, &made.id, &scratch, &bench.cancel).unwrap();
    assert_eq!(fs::read_to_string(scratch.join("var/data/a")).unwrap(), "in shared");
    assert_eq!(fs::read_to_string(scratch.join("media/big")).unwrap(), "on the disk");
}

#[test]
fn a_link_laid_by_the_application_is_not_followed() {
    let mut bench = Bench::new();
    fs::write(bench.scratch.join("private"), "not yours").unwrap();
    fs::remove_dir(bench.shared("data")).unwrap();
    symlink(&bench.scratch, bench.shared("data")).unwrap();
    if is_root() {
        std::os::unix::fs::lchown(bench.shared("data"), Some(4321), Some(4321)).unwrap();
        let made = bench.create();
        assert_eq!(made.files, 0);
        assert!(fs::symlink_metadata(bench.copy_of(&made.id, "data")).unwrap().is_symlink());
    } else {
        // Our own link is followed: the data may be on another disk. Links below the top never are.
        let [inner, top] = [bench.scratch.join("inner"), bench.shared("data")];
        fs::create_dir(&inner).unwrap();
        fs::remove_file(&top).unwrap();
        symlink(&inner, &top).unwrap();
        symlink(&bench.scratch, inner.join("out")).unwrap();
        assert_eq!(bench.create().files, 0);
    }
}

#[test]
fn an_unreadable_file_ends_the_backup_and_leaves_nothing() {
    let mut bench = Bench::new();
    let shut = bench.write("data/shut", "x");
    set_mode(&shut, 0o000);
    let plan = bench.plan();
    let outcome = bench.try_create(&plan);
    if is_root() {
        assert_eq!(outcome.unwrap().files, 1, "root reads everything");
    } else {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
        assert!(error.to_string().contains("shared/data/shut"), "{error}");
        assert!(bench.names("backups").is_empty());
    }
}

#[test]
fn a_cancel_leaves_nothing_behind() {
    let mut bench = Bench::new();
    bench.write("data/a", "a");
    let made = bench.create();
    bench.write("data/a", "live");
    bench.cancel.cancel();
    let plan = bench.plan();
    assert_eq!(bench.try_create(&plan).unwrap_err().kind(), std::io::ErrorKind::Interrupted);
    assert_eq!(bench.names("backups"), [made.id.as_str()]);
    assert_eq!(bench.restore(&made.id, &What::All).unwrap_err().kind(), std::io::ErrorKind::Interrupted);
    assert_eq!(bench.names("shared"), ["data"]);
    assert_eq!(fs::read(bench.shared("data/a")).unwrap(), b"live");
}
