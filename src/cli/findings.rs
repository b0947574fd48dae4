//! What `check` and `doctor` found: how bad it is, what is so, what to do - as a table, as JSON, as an exit code.

use super::style::{Cell, Style, Table, Tone};
pub use crate::health::judge::Level;
use serde::Serialize;

/// What the command exits with.
pub fn exit(level: Level) -> u8 {
    match level {
        Level::Ok => 0,
        Level::Warning => 1,
        Level::Critical => 2,
    }
}

/// As a level is spelled, in its colour.
fn cell(level: Level) -> Cell {
    match level {
        Level::Ok => Cell::toned("ok", Tone::Good),
        Level::Warning => Cell::toned("warning", Tone::Busy),
        Level::Critical => Cell::toned("critical", Tone::Bad),
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about: `daemon`, `app/shop/web`, `host/temperature`.
    pub about: String,
    /// How bad it is.
    pub level: Level,
    /// One sentence: what is so.
    pub what: String,
    /// What to do.
    pub advice: Option<String>,
}

impl Finding {
    /// As it should be.
    pub fn ok(about: impl Into<String>, what: impl Into<String>) -> Finding {
        Finding { about: about.into(), level: Level::Ok, what: what.into(), advice: None }
    }
    /// To be looked at when there is time.
    pub fn warning(about: impl Into<String>, what: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { level: Level::Warning, advice: Some(advice.into()), ..Finding::ok(about, what) }
    }
    /// To be looked at now.
    pub fn critical(about: impl Into<String>, what: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { level: Level::Critical, ..Finding::warning(about, what, advice) }
    }
    /// Whether there is nothing to do.
    pub fn is_ok(&self) -> bool {
        self.level == Level::Ok
    }
}

/// How bad the worst of them is.
pub fn worst(findings: &[Finding]) -> Level {
    findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
}

/// A line for each, its advice below it.
pub fn table<'f>(findings: impl Iterator<Item = &'f Finding>, style: &Style) -> String {
    let findings: Vec<&Finding> = findings.collect();
    let mut table = Table::new(0, &["LEVEL", "ABOUT", "WHAT"]);
    for finding in &findings {
        let what = super::history::one_line(&finding.what);
        table.row(vec![cell(finding.level), finding.about.as_str().into(), what.into()]);
    }
    let mut text = String::new();
    for (row, line) in table.text(style).lines().enumerate() {
        text += &format!("{line}\n");
        let advice = row.checked_sub(1).and_then(|row| findings.get(row)?.advice.as_deref());
        if let Some(advice) = advice {
            text += &format!("          {}\n", style.paint(Tone::Faint, &super::history::one_line(advice)));
        }
    }
    text
}

/// One line for all of them: `well`, or how many of each.
pub fn summary(findings: &[Finding], style: &Style) -> String {
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (warnings, critical) = (count(Level::Warning), count(Level::Critical));
    if warnings + critical == 0 {
        return format!("{}\n", style.paint(Tone::Good, "well"));
    }
    let warnings = match warnings {
        0 => None,
        1 => Some(style.paint(Tone::Busy, "1 warning")),
        several => Some(style.paint(Tone::Busy, &format!("{several} warnings"))),
    };
    let critical = (critical > 0).then(|| style.paint(Tone::Bad, &format!("{critical} critical")));
    format!("{}\n", [critical, warnings].into_iter().flatten().collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_line_and_its_advice_and_the_worst_decides() {
        let findings = [
            Finding::ok("daemon", "up"),
            Finding::warning("host/disk", "91 % full", "remove something"),
            Finding::critical("app/shop/web", "backoff: exit 1", "look at its log"),
        ];
        assert_eq!(
            table(findings.iter(), &Style::plain()),
            "\
LEVEL     ABOUT         WHAT
ok        daemon        up
warning   host/disk     91 % full
          remove something
critical  app/shop/web  backoff: exit 1
          look at its log
"
        );
        assert_eq!(summary(&findings, &Style::plain()), "1 critical, 1 warning\n");
        assert_eq!(summary(&findings[..1], &Style::plain()), "well\n");
        let exits: Vec<u8> = [1, 2, 3].iter().map(|n| exit(worst(&findings[..*n]))).collect();
        assert_eq!(exits, [0, 1, 2]);
        assert_eq!(worst(&[]), Level::Ok);
        let json = serde_json::to_value(&findings[1]).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"about":"host/disk","level":"warning","what":"91 % full","advice":"remove something"})
        );
    }
}
