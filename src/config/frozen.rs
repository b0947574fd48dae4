//! The definition a release was deployed with, kept beside it: a rollback runs old code as it was meant then.
//!
//! What is frozen is the file's table with its references unresolved, so no secret is in it; what is thawed is checked
//! again, because it was on a disk. `[trigger]` and access to the source are left out then: no release that exists
//! needs them, and their secrets may be gone.

use super::files::ENV;
use super::load::variables;
use super::problem::Problem;
use super::sheet::{Context, Sheet};
use super::{App, Environment, app};
use crate::base::AppName;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const FORMAT: u64 = 1;

/// An application's definition as JSON. Other keys may be added to the object; [`thaw`] passes them over.
pub fn freeze(app: &App) -> Value {
    json!({ "format": FORMAT, "app": app.name, "definition": app.definition })
}

/// The application as it was when [`freeze`] was called. `${NAME}` is looked up again, in `dir`'s `pintle.env` and the
/// environment. `Err`: what is wrong with the definition, in the words of the check.
pub fn thaw(name: &AppName, frozen: &Value, dir: &Path, environment: &Environment) -> Result<App, Vec<Problem>> {
    let mut problems = Vec::new();
    let text = std::fs::read_to_string(dir.join(ENV)).unwrap_or_default();
    let variables = variables(&dir.join(ENV), Some(&text), &mut problems);
    let context = Context { dir, environment, variables, frozen: true, accepted: false };
    let sheet = Sheet::new(&context, PathBuf::from(format!("{name} as it was deployed")), "");
    let app = definition(frozen).map(|table| app::read(&sheet, name.clone(), table));
    if app.is_none() {
        sheet.problem("", "is not a definition that can be read", "deploy the application again");
    }
    // A broken line of pintle.env matters only when a reference needed it, and then that is a problem of its own.
    let problems = sheet.findings().0;
    app.filter(|_| problems.is_empty()).ok_or(problems)
}

/// The application in `dir` as far as it can be told where its configuration cannot be used: without `[trigger]`, without
/// access to its source. `None`: not even that.
pub fn without_secrets(name: &AppName, dir: &Path, environment: &Environment) -> Option<App> {
    let text = std::fs::read_to_string(dir.join(super::files::app_path(name))).ok()?;
    let definition: toml::Table = text.parse().ok()?;
    thaw(name, &json!({ "format": FORMAT, "definition": definition }), dir, environment).ok()
}

fn definition(frozen: &Value) -> Option<toml::Table> {
    let known = frozen.get("format").and_then(Value::as_u64) == Some(FORMAT);
    let definition = frozen.get("definition").filter(|_| known)?;
    serde_json::from_value(definition.clone()).ok()
}

#[cfg(test)]
mod tests;
