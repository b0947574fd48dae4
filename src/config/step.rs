//! Reads `[[step]]`: the commands of a deployment.

use super::read::Section;
use super::{Command, Step, StepPhase};
use std::collections::BTreeSet;
use std::time::Duration;

/// The phases by the names they are configured with.
pub(super) const PHASES: [(&str, StepPhase); 5] = [
    ("build", StepPhase::Build),
    ("test", StepPhase::Test),
    ("migrate", StepPhase::Migrate),
    ("smoke", StepPhase::Smoke),
    ("after", StepPhase::After),
];

const POLICIES: [(&str, bool); 2] = [("abort", false), ("warn", true)];

/// Reads all steps, in the file's order. What was wrong is on the sheet.
pub(super) fn read(steps: &[Section<'_>]) -> Vec<Step> {
    let mut names = BTreeSet::new();
    steps.iter().map(|step| read_step(step, &mut names)).collect()
}

fn read_step(step: &Section<'_>, names: &mut BTreeSet<String>) -> Step {
    let read = Step {
        name: unique_name(step, names),
        phase: step.word("phase", &PHASES).unwrap_or(StepPhase::Build),
        run: step.command("run").unwrap_or(Command::Argv(Vec::new())),
        timeout: step.positive_duration("timeout").unwrap_or(Duration::from_secs(300)),
        warn_only: step.word("on_failure", &POLICIES).unwrap_or(false),
        env: step.env("env"),
    };
    step.missing("phase", r#"write "build", "test", "migrate", "smoke" or "after""#);
    step.missing("run", "write the command to run");
    read
}

/// A name that no other table of its kind has.
pub(super) fn unique_name(section: &Section<'_>, names: &mut BTreeSet<String>) -> String {
    section.missing("name", "give it a name; it stands in logs and reports");
    let Some(name) = section.line("name") else {
        return String::new();
    };
    if !names.insert(name.clone()) {
        section.problem("name", format!("{name:?} is there twice"), "give each a name of its own");
    }
    name
}
