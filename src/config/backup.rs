//! Reads `[backup]`: what is copied, and for how long copies are kept.

use super::Backup;
use super::read::{Section, kind};
use super::secret::secret;
use super::units;
use std::path::PathBuf;
use toml::Value;

/// What is read of `[backup]`.
pub(super) struct Read {
    pub backup: Backup,
    /// A database server is named, which a rehearsal must not reach.
    pub server: bool,
}

/// Reads the table; without it the shared paths are backed up. What was wrong is on the sheet.
pub(super) fn read(section: Option<&Section<'_>>, shared: &[PathBuf]) -> Read {
    let paths = section.and_then(|section| section.list("paths", units::inner_path));
    let sqlite = section.and_then(|section| section.list("sqlite", units::inner_path)).unwrap_or_default();
    let paths = outermost(paths.unwrap_or_else(|| shared.to_vec()));
    let worth_it = !paths.is_empty() || !sqlite.is_empty();
    let backup = Backup {
        keep: section.and_then(|section| section.count("keep", 1, 10_000)).unwrap_or(5),
        keep_for: section.and_then(|section| section.positive_duration("keep_for")),
        before_deploy: section.and_then(|section| section.boolean("before_deploy")).unwrap_or(worth_it),
        paths,
        sqlite,
    };
    Read { backup, server: section.is_some_and(read_what_is_to_come) }
}

/// A path within another one is backed up with it; naming it again adds nothing.
fn outermost(paths: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut kept: Vec<PathBuf> = Vec::new();
    for path in paths {
        if !kept.iter().any(|outer| path.starts_with(outer)) {
            kept.retain(|inner| !inner.starts_with(&path));
            kept.push(path);
        }
    }
    kept
}

/// Checks the keys whose features are still to come; says whether a database server is among them.
fn read_what_is_to_come(section: &Section<'_>) -> bool {
    section.positive_duration("every");
    section.positive_duration("drill");
    section.not_active("every", "backups on a schedule; until then each deploy makes one");
    section.not_active("drill", "restore drills");
    if let Some(restic) = section.table("restic") {
        section.not_active("restic", "copies with restic");
        restic.line("repository");
        restic.missing("repository", r#"write where copies go: repository = "sftp:nas:/backups""#);
        secret(&restic, "password");
        restic.missing("password", r#"write { file = "secrets/restic" }"#);
    }
    let servers = ["postgres", "mysql"].map(|engine| read_servers(section, engine));
    servers.contains(&true)
}

fn read_servers(section: &Section<'_>, engine: &'static str) -> bool {
    let databases = match section.value(engine) {
        None => return false,
        Some(Value::Array(items)) if items.is_empty() => return false,
        Some(Value::Array(items)) if items.iter().all(Value::is_table) => section.tables(engine),
        Some(other) => {
            let wrong = match other {
                Value::Array(_) => "is a list, but not of tables".to_owned(),
                other => format!("is {}, not a list of tables", kind(other)),
            };
            section.problem(engine, wrong, r#"write [{ url = { env = "DATABASE_URL" } }]"#);
            return true;
        }
    };
    section.not_active(engine, "backups of database servers; until then make a dump in a step before migrations");
    for database in &databases {
        secret(database, "url");
        database.missing("url", r#"write { url = { env = "DATABASE_URL" } }"#);
    }
    true
}
