//! `config show`: an app's configuration as it is meant, defaults filled in, secrets hidden.

use super::args::{AppArgs, ConfigVerb};
use super::check_config::loaded_app;
use super::context::Context;
use super::failure::Failure;
use super::place;
use crate::config::{show_json, show_text};

/// `pintle config ...`.
pub fn run(verb: &ConfigVerb, cx: &mut Context<'_>) -> Result<u8, Failure> {
    let ConfigVerb::Show(AppArgs { app }) = verb;
    let name = place::app(cx, app.as_deref())?;
    let app = loaded_app(cx, &name)?;
    cx.answer(&show_json(&app), |_| show_text(&app))?;
    Ok(0)
}
