//! What happened that somebody may want to hear of, without who hears it and in which words.

use super::redact::Redactor;
use crate::base::{AppName, CommitId, DeployId, ReleaseName};
use crate::control::{DeployStatus, Phase, Trigger};
use std::fmt;
use std::time::Duration;

/// How bad a trouble is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gravity {
    /// Look at it when there is time.
    Warning,
    /// Look at it now.
    Critical,
}

/// What a trouble is about: the same trouble is always about the same subject, so that it is told once and its all-clear
/// finds it. `host/temperature`, `app/shop/health`, `app/shop/schedule/digest`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject(String);

impl Subject {
    /// Something about the board.
    pub fn host(what: &str) -> Subject {
        Subject(format!("host/{what}"))
    }
    /// Something about an app.
    pub fn app(app: &AppName, what: &str) -> Subject {
        Subject(format!("app/{app}/{what}"))
    }
    /// As it is written down.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a deployment did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// It deployed a commit.
    Deploy,
    /// It went back, because a person asked.
    Rollback,
    /// It only made a backup.
    Backup,
}

/// A deployment that is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// Its number.
    pub number: DeployId,
    /// The app.
    pub app: AppName,
    /// What it did.
    pub deed: Deed,
    /// How it ended.
    pub status: DeployStatus,
    /// The phase that failed.
    pub failed: Option<Phase>,
    /// Why it ended so, in a sentence.
    pub message: Option<String>,
    /// What was deployed.
    pub commit: Option<CommitId>,
    /// The branch of it.
    pub branch: String,
    /// What came to be.
    pub release: Option<ReleaseName>,
    /// What was live before.
    pub previous: Option<ReleaseName>,
    /// What started it.
    pub trigger: Trigger,
    /// How long it took; `None`: it was cut off.
    pub took: Option<Duration>,
    /// The last lines of the step that failed.
    pub output: Vec<String>,
}

/// Something happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Happening {
    /// A deployment is over.
    Ended(Box<Ended>),
    /// Something is wrong, and stays so until [`Happening::Recovered`] about the same subject.
    Trouble {
        /// What it is about.
        about: Subject,
        /// The app, where it is one's.
        app: Option<AppName>,
        /// How bad it is; a trouble that gets graver is told again.
        gravity: Gravity,
        /// One sentence: what is wrong.
        what: String,
        /// What it means and what to do.
        advice: Option<String>,
    },
    /// It is well again. Nobody hears of it who did not hear of the trouble.
    Recovered {
        /// What it is about.
        about: Subject,
        /// The app, where it is one's.
        app: Option<AppName>,
        /// One sentence.
        what: String,
    },
}

impl Happening {
    /// The same without secrets in what is said of a trouble, which is written down and shown as well as told. What a
    /// deployment printed is cleaned where it is put into words.
    pub fn cleaned(&self, redactor: &Redactor) -> Happening {
        let mut clean = self.clone();
        match &mut clean {
            Happening::Ended(_) => {}
            Happening::Trouble { what, advice, .. } => {
                *what = redactor.clean(what);
                *advice = advice.as_deref().map(|advice| redactor.clean(advice));
            }
            Happening::Recovered { what, .. } => *what = redactor.clean(what),
        }
        clean
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    #[test]
    fn no_secret_stays_in_what_is_said_of_a_trouble() {
        let about = || Subject::host("x");
        let trouble = |what: &str, advice: &str| Happening::Trouble {
            about: about(),
            app: None,
            gravity: Gravity::Warning,
            what: what.into(),
            advice: Some(advice.into()),
        };
        let recovered = |what: &str| Happening::Recovered { about: about(), app: None, what: what.into() };
        let table = [
            (trouble("it said xyzzy-1234", "TOKEN=hunter2 is wrong"), trouble("it said ***", "TOKEN=*** is wrong")),
            (recovered("xyzzy-1234 is good"), recovered("*** is good")),
        ];
        let redactor = Redactor::new(&[Secret(b"xyzzy-1234".to_vec())]);
        for (given, clean) in table {
            assert_eq!(given.cleaned(&redactor), clean);
        }
    }
}
