//! Whether the configuration can be used, and what a person should know of it.

use super::super::findings::Finding;
use super::installation::Installation;
use crate::config::{Notice, Problem};

const ABOUT: &str = "configuration";

/// What is to be said of the files.
pub fn look(here: &Installation) -> Vec<Finding> {
    let dir = here.dir.display();
    match &here.loaded {
        Err(problems) => problems.iter().map(problem).collect(),
        Ok(loaded) => {
            let count = match loaded.config.apps.len() {
                0 => "no app yet".to_owned(),
                1 => "one app".to_owned(),
                several => format!("{several} apps"),
            };
            let whole = Finding::ok(ABOUT, format!("{dir} can be used ({count})"));
            std::iter::once(whole).chain(loaded.notices.iter().map(notice)).collect()
        }
    }
}

fn problem(problem: &Problem) -> Finding {
    let place = super::super::check_config::place(problem);
    let advice = match problem.advice.is_empty() {
        true => "`pintle check-config` lists everything".to_owned(),
        false => problem.advice.clone(),
    };
    let what = format!("{place}: {}", problem.wrong);
    let denied = std::io::Error::from_raw_os_error(libc::EACCES).to_string();
    match problem.wrong.ends_with(&denied) {
        true => Finding::warning(ABOUT, format!("{what}; what needs it was left out"), "use sudo"),
        false => Finding::critical(ABOUT, what, advice),
    }
}

fn notice(notice: &Notice) -> Finding {
    let what = format!("{}: {}", super::super::check_config::noted_at(notice), notice.text);
    Finding::warning("configuration/notice", what, "`pintle check-config` shows it again when it was changed")
}
