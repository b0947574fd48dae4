//! How the board is: every sensor, read once and judged without patience.

use super::super::findings::{Finding, Level};
use super::Known;
use crate::base::AppName;
use crate::config::{Paths, Thresholds};
use crate::health::board::Readings;
use crate::health::judge;
use crate::os::host::hostname;
use crate::os::sensors::{Sensors, Watched};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// The sensors below `root`, as the `--json` document has them, and what is to be said of them.
pub fn look(root: &Path, paths: &Paths, config: Known<'_>) -> (Value, Vec<Finding>) {
    let readings = Sensors::below(root).look(&watched(paths));
    let thresholds = config.map(|config| config.host.health.thresholds).unwrap_or_default();
    let findings = judged(&readings, &thresholds);
    let mut document = serde_json::to_value(&readings).unwrap_or_default();
    if let Some(document) = document.as_object_mut() {
        document.insert("hostname".into(), hostname().into());
    }
    (document, findings)
}

/// Where something of ours lies: state, what each app keeps, and the system itself.
fn watched(paths: &Paths) -> Vec<Watched> {
    let must = |path: PathBuf| Watched { path, must_be_writable: true };
    let of_app = |app: &AppName| {
        let dir = paths.state_dir.join("apps").join(app);
        ["shared", "backups", "releases"].map(|part| must(dir.join(part)))
    };
    let root = Watched { path: Path::new("/").into(), must_be_writable: false };
    std::iter::once(must(paths.state_dir.clone())).chain(paths.apps.iter().flat_map(of_app)).chain([root]).collect()
}

fn judged(readings: &Readings, thresholds: &Thresholds) -> Vec<Finding> {
    let found: Vec<Finding> = judge::at_once(readings, thresholds).into_iter().map(of_board).collect();
    if !found.is_empty() {
        return found;
    }
    let model = readings.model.value().map_or("the board", String::as_str);
    let warmth = readings.temperature.value().map(|degrees| format!(", {degrees:.0} °C")).unwrap_or_default();
    vec![Finding::ok("host", format!("nothing is wrong with {model}{warmth}"))]
}

fn of_board(found: judge::Finding) -> Finding {
    let level = found.level.max(Level::Warning);
    Finding { about: format!("host/{}", found.about), level, what: found.what, advice: Some(found.advice) }
}
