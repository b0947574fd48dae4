//! What is wrong for now, as people were told: a trouble is told once, again when it gets graver, and its end too.

use super::happening::{Gravity, Happening, Subject};
use crate::base::{AppName, WallTime};
use crate::config::Occasion;
use std::collections::BTreeMap;

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Incident {
    pub subject: String,
    /// The app, where it is one's.
    pub app: Option<AppName>,
    /// The gravest it was told with.
    pub gravity: Gravity,
    /// What is wrong, in a sentence.
    pub what: String,
    pub since: WallTime,
}

/// What must be remembered.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Fact {
    /// It is wrong; one that is known got graver.
    Opened(Incident),
    /// It is well again, or nobody is to hear of it any more.
    Closed { subject: String },
}

/// Everything that is wrong, by subject.
#[derive(Debug, Clone, Default)]
pub struct Incidents {
    open: BTreeMap<String, Incident>,
    /// What is less grave by now than it was told, and how grave it is.
    eased: BTreeMap<String, Gravity>,
}

/// What is to be done about a happening.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// People know already, or need not.
    None,
    /// It is wrong, or graver than before.
    Opened(Incident),
    /// It is well again; with what it was.
    Closed(Incident),
}

impl Incidents {
    /// As an earlier daemon knew them.
    pub fn remembered(known: impl IntoIterator<Item = Incident>) -> Incidents {
        Incidents { open: known.into_iter().map(|open| (open.subject.clone(), open)).collect(), eased: BTreeMap::new() }
    }

    /// Judges a happening.
    pub fn judge(&mut self, happening: &Happening, now: WallTime) -> News {
        match happening {
            Happening::Ended(_) => News::None,
            Happening::Trouble { about, app, gravity, what, .. } => {
                let known = self.open.get_mut(about.as_str());
                if let Some(known) = known.filter(|known| *gravity < known.gravity) {
                    // An app's first word is mild also where another daemon told grave ones: it did not ease.
                    if app.is_none() {
                        known.what.clone_from(what);
                        self.eased.insert(known.subject.clone(), *gravity);
                    }
                    return News::None;
                }
                let has_eased = self.eased.remove(about.as_str()).is_some();
                let known = self.open.get(about.as_str());
                if known.is_some_and(|known| known.gravity == *gravity && !has_eased) {
                    return News::None;
                }
                let since = known.map_or(now, |known| known.since);
                let subject = about.as_str().to_owned();
                let open = Incident { subject, app: app.clone(), gravity: *gravity, what: what.clone(), since };
                self.open.insert(open.subject.clone(), open.clone());
                News::Opened(open)
            }
            Happening::Recovered { about, .. } => {
                self.eased.remove(about.as_str());
                self.open.remove(about.as_str()).map_or(News::None, News::Closed)
            }
        }
    }

    /// Everything that is wrong, by subject.
    pub fn iter(&self) -> impl Iterator<Item = &Incident> {
        self.open.values()
    }

    /// People were told that this is wrong, and not yet that it is over.
    pub fn is_open(&self, about: &Subject) -> bool {
        self.open.contains_key(about.as_str())
    }

    /// How grave it is by now; never more than it was told with.
    pub fn gravity_now(&self, open: &Incident) -> Gravity {
        self.eased.get(&open.subject).copied().unwrap_or(open.gravity)
    }

    /// What is wrong with the board.
    pub fn of_the_host(&self) -> impl Iterator<Item = (Subject, &Incident)> {
        self.open.values().filter_map(|open| Some((Subject::host(open.subject.strip_prefix("host/")?), open)))
    }

    /// Forgets what is about apps that are not there any more; gives the subjects.
    pub fn forget(&mut self, is_gone: impl Fn(&AppName) -> bool) -> Vec<String> {
        let gone = self.open.iter().filter(|(_, open)| open.app.as_ref().is_some_and(&is_gone));
        let gone: Vec<String> = gone.map(|(subject, _)| subject.clone()).collect();
        self.open.retain(|subject, _| !gone.contains(subject));
        self.eased.retain(|subject, _| !gone.contains(subject));
        gone
    }
}

/// On which occasions a trouble of that gravity is told.
pub fn occasions(gravity: Gravity) -> &'static [Occasion] {
    match gravity {
        Gravity::Warning => &[Occasion::Health],
        Gravity::Critical => &[Occasion::Health, Occasion::Critical],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(gravity: Gravity) -> Happening {
        let (about, what) = (Subject::host("temperature"), "hot".to_string());
        Happening::Trouble { about, app: None, gravity, what, advice: None }
    }

    #[test]
    fn a_trouble_is_told_once_again_when_graver_and_so_is_its_end() {
        let mut incidents = Incidents::default();
        let well = Happening::Recovered { about: Subject::host("temperature"), app: None, what: "cool".into() };
        let at = WallTime(7);
        assert_eq!(incidents.judge(&well, at), News::None, "nobody heard of a trouble");
        let opened = |news: News| matches!(news, News::Opened(_));
        assert!(opened(incidents.judge(&trouble(Gravity::Warning), at)));
        assert!(!opened(incidents.judge(&trouble(Gravity::Warning), at)));
        let News::Opened(open) = incidents.judge(&trouble(Gravity::Critical), WallTime(9)) else { panic!() };
        assert_eq!((open.gravity, open.since), (Gravity::Critical, at), "it is the same incident");
        assert!(!opened(incidents.judge(&trouble(Gravity::Warning), at)), "milder is no news");
        // Another daemon begins with what this one knew.
        let mut next = Incidents::remembered(incidents.iter().cloned());
        assert!(!opened(next.judge(&trouble(Gravity::Critical), at)));
        assert!(matches!(next.judge(&well, at), News::Closed(_)));
        assert_eq!(next.judge(&well, at), News::None);
    }

    #[test]
    fn what_eased_and_gets_as_grave_again_is_told_again() {
        use Gravity::{Critical, Warning};
        let mut incidents = Incidents::default();
        let table = [
            (Critical, true),
            (Critical, false),
            (Warning, false),
            (Warning, false),
            (Critical, true),
            (Critical, false),
        ];
        for (at, (gravity, is_told)) in table.into_iter().enumerate() {
            let news = incidents.judge(&trouble(gravity), WallTime(0));
            assert_eq!(matches!(news, News::Opened(_)), is_told, "{at}");
            let open = incidents.iter().next().unwrap();
            assert_eq!((open.gravity, incidents.gravity_now(open)), (Critical, gravity), "{at}");
        }
        // The all-clear forgets that it had eased; a sentence that eased is what is shown.
        let mild = |what: &str| {
            let (about, gravity) = (Subject::host("temperature"), Warning);
            Happening::Trouble { about, app: None, gravity, what: what.into(), advice: None }
        };
        incidents.judge(&mild("warm"), WallTime(0));
        assert_eq!(incidents.iter().next().unwrap().what, "warm");
        let well = Happening::Recovered { about: Subject::host("temperature"), app: None, what: "cool".into() };
        incidents.judge(&well, WallTime(0));
        assert!(matches!(incidents.judge(&trouble(Critical), WallTime(0)), News::Opened(_)));
        assert_eq!(incidents.judge(&trouble(Critical), WallTime(0)), News::None);
    }

    #[test]
    fn the_mild_first_word_of_a_next_daemon_about_an_app_is_no_easing() {
        let app = AppName::new("shop").unwrap();
        let unwell = |gravity: Gravity| {
            let about = Subject::app(&app, "health");
            Happening::Trouble { about, app: Some(app.clone()), gravity, what: "x".into(), advice: None }
        };
        let mut incidents = Incidents::default();
        incidents.judge(&unwell(Gravity::Critical), WallTime(0));
        assert_eq!(incidents.judge(&unwell(Gravity::Warning), WallTime(0)), News::None);
        assert_eq!(incidents.judge(&unwell(Gravity::Critical), WallTime(0)), News::None);
    }

    #[test]
    fn what_is_about_an_app_that_is_gone_is_forgotten() {
        let app = AppName::new("shop").unwrap();
        let mut incidents = Incidents::default();
        let about = Subject::app(&app, "health");
        let gravity = Gravity::Critical;
        let unwell = Happening::Trouble { about, app: Some(app), gravity, what: "x".into(), advice: None };
        incidents.judge(&unwell, WallTime(0));
        incidents.judge(&trouble(Gravity::Warning), WallTime(0));
        assert_eq!(incidents.forget(|app| app.as_str() == "shop"), ["app/shop/health"]);
        assert_eq!(incidents.iter().count(), 1);
    }
}
