//! From configured paths to the places that are walked.
//!
//! A configured path is relative to the working directory of a release, in which the `shared` paths are links. A backup
//! follows no link it meets, so this is where it is decided which path lives in `shared/` and which in the release.
//! Line: paths only; whether anything is there is found out by the walk.

use crate::backup::path::{BadPath, Inside};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Where a root's data lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// In `apps/APP/shared/`: outlives releases.
    Shared,
    /// In the working directory of the live release.
    Release,
}

/// One tree (or file) that is walked from its top.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Root {
    /// Relative to the working directory; the same path below `files/` of the backup.
    pub path: Inside,
    /// Where it lives.
    pub place: Place,
}

/// The roots that hold `paths` and `sqlite`, each file in exactly one of them, parents before children. Fails on a path
/// that leads out of the working directory.
pub fn roots(paths: &[PathBuf], sqlite: &[PathBuf], shared: &[PathBuf]) -> Result<Vec<Root>, BadPath> {
    let shared: Vec<Inside> = shared.iter().map(Inside::new).collect::<Result<_, _>>()?;
    let mut wanted: Vec<Root> = Vec::new();
    for path in paths.iter().chain(sqlite) {
        let path = Inside::new(path)?;
        let within = |outer: &Inside| path.as_path().starts_with(outer);
        let place = if shared.iter().any(within) { Place::Shared } else { Place::Release };
        // In a release a shared path is a link, and links are not followed: what is behind it is a root of its own.
        let linked = shared.iter().filter(|s| place == Place::Release && s.as_path().starts_with(&path));
        wanted.extend(linked.map(|s| Root { path: s.clone(), place: Place::Shared }));
        wanted.push(Root { path, place });
    }
    wanted.sort();
    wanted.dedup();
    let covered = |root: &Root| {
        let covers =
            |other: &Root| other != root && other.place == root.place && root.path.as_path().starts_with(&other.path);
        wanted.iter().any(covers)
    };
    Ok(wanted.iter().filter(|root| !covered(root)).cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(names: &[&str]) -> Vec<PathBuf> {
        names.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn each_path_is_walked_once_where_it_lives() {
        type Case<'a> = (&'a [&'a str], &'a [&'a str], &'a [&'a str], &'a [(&'a str, Place)]);
        use Place::{Release, Shared};
        let cases: [Case; 8] = [
            (&["data", "logs"], &[], &["data", "logs"], &[("data", Shared), ("logs", Shared)]),
            (&["data/", "./data"], &["data/app.db"], &["data"], &[("data", Shared)]),
            (&["etc"], &["data/app.db"], &["data"], &[("data/app.db", Shared), ("etc", Release)]),
            (&["var"], &[], &["var/data", "var/run"], &[("var", Release), ("var/data", Shared), ("var/run", Shared)]),
            (&["var", "var/data/x"], &[], &["var/data"], &[("var", Release), ("var/data", Shared)]),
            (&["database"], &[], &["data"], &[("database", Release)]),
            (&["data/a", "data/ab"], &[], &["data"], &[("data/a", Shared), ("data/ab", Shared)]),
            (&[], &[], &["data"], &[]),
        ];
        for (backup, sqlite, shared, expected) in cases {
            let found = roots(&paths(backup), &paths(sqlite), &paths(shared)).unwrap();
            let found: Vec<(String, Place)> = found.into_iter().map(|r| (r.path.to_string(), r.place)).collect();
            let expected: Vec<(String, Place)> = expected.iter().map(|(p, place)| (p.to_string(), *place)).collect();
            assert_eq!(found, expected, "{backup:?} {sqlite:?} {shared:?}");
        }
        for bad in ["/etc", "../other", "."] {
            assert!(roots(&paths(&[bad]), &[], &[]).is_err(), "{bad}");
        }
    }
}
