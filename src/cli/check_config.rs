//! `check-config`: everything that is wrong with the configuration, at once; and what it sets that has no effect yet.

use super::context::Context;
use super::failure::{CONFIGURATION, Failure, NOT_PERMITTED};
use super::style::{Style, Tone};
use crate::base::AppName;
use crate::config::{App, Config, Environment, Loaded, Notice, Problem};
use serde_json::json;

/// `pintle check-config`.
pub fn run(cx: &mut Context<'_>) -> Result<u8, Failure> {
    match Config::load(&cx.config_dir, &Environment::of_process()) {
        Ok(Loaded { config, notices, .. }) => {
            let apps: Vec<&AppName> = config.apps.keys().collect();
            let document = json!({"ok": true, "problems": [], "notices": notices, "apps": apps});
            let names =
                if apps.is_empty() { "no app yet".into() } else { super::context::listed(apps.iter().copied()) };
            cx.answer(&document, |style| {
                let well = style.paint(Tone::Good, "ok");
                format!("{}{}: {well} ({names})\n", notices_text(&notices, style), config.dir.display())
            })?;
            Ok(0)
        }
        Err(problems) => {
            cx.json.then(|| cx.document(&json!({"ok": false, "problems": problems, "notices": []}))).transpose()?;
            let style = cx.world.style.clone();
            cx.complain(&problems_text(&problems, &style));
            Ok(CONFIGURATION)
        }
    }
}

/// The configuration, for verbs that need all of it.
pub fn loaded(cx: &Context<'_>) -> Result<Loaded, Failure> {
    Config::load(&cx.config_dir, &Environment::of_process()).map_err(|problems| unusable(&problems))
}

/// The first problem, in short; 77 where all that is wrong is who asks.
fn unusable(problems: &[Problem]) -> Failure {
    let first = problems.first().map(place).unwrap_or_default();
    let more = match problems.len() {
        0 | 1 => String::new(),
        several => format!(" (and {} more)", several - 1),
    };
    let wrong = problems.first().map(|problem| problem.wrong.as_str()).unwrap_or_default();
    let denied = std::io::Error::from_raw_os_error(libc::EACCES).to_string();
    if !problems.is_empty() && problems.iter().all(|problem| problem.wrong.ends_with(&denied)) {
        return Failure::new(NOT_PERMITTED, format!("the configuration may not be read: {first}: {wrong}{more}"))
            .advise("use sudo");
    }
    Failure::new(CONFIGURATION, format!("the configuration cannot be used: {first}: {wrong}{more}"))
        .advise("`pintle check-config` lists everything, with what to write instead")
}

/// One app of the configuration.
pub fn loaded_app(cx: &Context<'_>, app: &AppName) -> Result<App, Failure> {
    loaded(cx)?.config.apps.remove(app).ok_or_else(|| {
        Failure::new(CONFIGURATION, format!("{app} is not configured in {}", cx.config_dir.join("apps").display()))
    })
}

fn problems_text(problems: &[Problem], style: &Style) -> String {
    let mut text = String::new();
    for problem in problems {
        text += &format!("{}: {}\n", style.paint(Tone::Strong, &place(problem)), problem.wrong);
        if !problem.advice.is_empty() {
            text += &format!("    {}\n", problem.advice);
        }
    }
    let count = match problems.len() {
        1 => "1 problem".into(),
        several => format!("{several} problems"),
    };
    text + &format!("{}\n", style.paint(Tone::Bad, &count))
}

fn notices_text(notices: &[Notice], style: &Style) -> String {
    let line = |notice: &Notice| {
        let place = style.paint(Tone::Faint, &noted_at(notice));
        format!("{place}: {}\n", notice.text)
    };
    notices.iter().map(line).collect()
}

/// `FILE:LINE: KEY`.
pub fn place(problem: &Problem) -> String {
    at(&problem.file.display().to_string(), problem.line, &problem.key)
}

/// The same of what is worth saying.
pub fn noted_at(notice: &Notice) -> String {
    at(&notice.file.display().to_string(), notice.line, &notice.key)
}

fn at(file: &str, line: Option<usize>, key: &str) -> String {
    let line = line.map(|line| format!(":{line}")).unwrap_or_default();
    let key = if key.is_empty() { String::new() } else { format!(": {key}") };
    format!("{file}{line}{key}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_another_may_read_is_no_mistake_in_it() {
        let problem = |wrong: &str| Problem {
            file: "/etc/pintle/apps/shop.toml".into(),
            line: Some(9),
            key: "trigger.secret".into(),
            wrong: wrong.into(),
            advice: String::new(),
        };
        let denied = problem("cannot read /etc/pintle/secrets/shop: Permission denied (os error 13)");
        assert_eq!(unusable(std::slice::from_ref(&denied)).exit, 77);
        assert_eq!(unusable(&[denied, problem("is missing")]).exit, 78);
    }

    #[test]
    fn every_problem_has_its_place_and_its_remedy() {
        let problem = |line, key: &str, wrong: &str, advice: &str| Problem {
            file: "/etc/pintle/apps/shop.toml".into(),
            line,
            key: key.into(),
            wrong: wrong.into(),
            advice: advice.into(),
        };
        let problems = [
            problem(Some(3), "source.brnch", "there is no such key", "write `branch`"),
            problem(None, "", "cannot be read", ""),
        ];
        assert_eq!(
            problems_text(&problems, &Style::plain()),
            "\
/etc/pintle/apps/shop.toml:3: source.brnch: there is no such key
    write `branch`
/etc/pintle/apps/shop.toml: cannot be read
2 problems
"
        );
        let notice = Notice {
            file: "/etc/pintle/pintle.toml".into(),
            line: Some(9),
            key: "notify".into(),
            text: "not active yet".into(),
        };
        assert_eq!(notices_text(&[notice], &Style::plain()), "/etc/pintle/pintle.toml:9: notify: not active yet\n");
    }
}
