//! Backups: what they hold, and what comes back from them.

use crate::world::{App, World};
use pintle::control::DeployStatus;
use std::fs;
use std::path::{Path, PathBuf};

/// The newest backup of the shop.
fn newest(world: &World) -> PathBuf {
    let entries = fs::read_dir(world.shop().dir().join("backups")).unwrap().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.join("manifest.json").exists()).max().expect("a backup")
}

/// A file of a backup by its name, wherever the backup keeps it.
fn find(dir: &Path, name: &str) -> Option<PathBuf> {
    let paths: Vec<PathBuf> = fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path()).collect();
    let here = paths.iter().find(|path| path.is_file() && path.file_name().is_some_and(|found| found == name));
    here.cloned().or_else(|| paths.iter().filter(|path| path.is_dir()).find_map(|dir| find(dir, name)))
}

fn rows(database: &Path) -> u32 {
    let connection = rusqlite::Connection::open(database).unwrap();
    let sound: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok", "{}", database.display());
    connection.query_row("SELECT count(*) FROM visits", [], |row| row.get(0)).unwrap()
}

#[test]
fn a_database_in_use_is_copied_whole() {
    let world = World::of_a_shop();
    let shop = world.shop();
    shop.goes_live("v1");
    let database = shop.shared("data/visits.db");
    let mut connection = rusqlite::Connection::open(&database).unwrap();
    connection.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE visits (at TEXT)").unwrap();
    let insert = "INSERT INTO visits VALUES ('now')";
    (0..100).for_each(|_| assert_eq!(connection.execute(insert, []), Ok(1)));
    // A writer in the middle of its transaction: its row is not in the backup, the hundred before are, WAL or not.
    let transaction = connection.transaction().unwrap();
    transaction.execute(insert, []).unwrap();
    world.pintle(&["backup", "create", "shop"]).exits(0);
    transaction.rollback().unwrap();
    let copy = find(&newest(&world), "visits.db").expect("the database is in the backup");
    assert_eq!(rows(&copy), 100);
}

#[test]
fn a_restore_brings_a_database_back_without_its_old_journal() {
    let world = World::of_a_shop();
    let shop = world.shop();
    shop.goes_live("v1");
    let database = shop.shared("data/visits.db");
    let connection = rusqlite::Connection::open(&database).unwrap();
    connection
        .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE visits (at TEXT); INSERT INTO visits VALUES (1)")
        .unwrap();
    world.pintle(&["backup", "create", "shop"]).exits(0);
    let id = newest(&world).file_name().unwrap().to_string_lossy().into_owned();
    connection.execute_batch("INSERT INTO visits VALUES (2); INSERT INTO visits VALUES (3)").unwrap();
    // Left open until after the restore: its WAL must not be replayed into the restored file.
    world.pintle(&["backup", "restore", "shop", &id, "--yes"]).exits(0);
    drop(connection);
    assert_eq!(rows(&database), 1);
}

#[test]
fn every_deploy_has_a_backup_and_old_ones_go() {
    let world = World::with([App::new("shop").set("backup", "keep", "2")]).up();
    let shop = world.shop();
    for version in ["v1", "v2", "v3", "v4"] {
        shop.goes_live(version);
    }
    let manifest = fs::read_to_string(newest(&world).join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    assert!(manifest.to_string().contains("sha256"), "{manifest}");
    world.wait("old backups to go", || {
        let backups = fs::read_dir(shop.dir().join("backups")).unwrap().flatten();
        let whole = backups.filter(|entry| entry.path().join("manifest.json").exists()).count();
        (whole == 2).then_some(())
    });
}

#[test]
fn a_backup_that_fails_ends_the_deploy_before_anything_is_migrated() {
    let app = App::new("shop").set("backup", "sqlite", "[\"data/not-a-database\"]");
    let world = World::with([app.step("migrate", "schema", "touch data/migrated")]).up();
    let shop = world.shop();
    let files = [("app.conf", "version = v1"), ("data/not-a-database", "just text, and more of it than a header has")];
    let commit = shop.repo.commit(&files);
    let first = shop.end_of(shop.push(&commit).accepted());
    let report = if first.deployment.status == DeployStatus::Success { shop.deploy("v2", &[]) } else { first };
    assert_eq!((report.deployment.status, report.exit), (DeployStatus::Failed, Some(3)), "{report:#?}");
    assert!(report.deployment.message.as_deref().is_some_and(|text| text.contains("not-a-database")), "{report:#?}");
}
