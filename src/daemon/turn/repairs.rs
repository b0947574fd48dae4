//! What is done about an app that is unwell, and what people hear of it: once that it is, once that it is well again.
//!
//! `health::ladder` says which rung is next, here it is carried out. The first trouble is a warning - a restart mends most
//! of it; what is unwell still when the next rung is due needs a person's eyes.

use super::super::action::Action;
use super::super::world::{AppWorld, Pending, World};
use crate::base::{AppName, Moment, ServiceName};
use crate::health::ladder::{self, Means, Rung};
use crate::notify::{Gravity, Happening, Subject};
use crate::store::Entry;
use crate::supervise::backoff::STABLE_RUN;
use crate::supervise::{Slot, State};
use std::time::Duration;

impl World {
    /// Its probes say that it is unwell. A definition on trial is taken back; else it is repaired.
    pub(super) fn is_unwell(&mut self, now: Moment, name: &AppName, why: String, actions: &mut Vec<Action>) {
        let Some(app) = self.apps.get_mut(name) else { return };
        let is_new = app.unwell.is_none();
        let release = app.live.as_ref().map(|live| live.release.clone());
        app.unwell.get_or_insert_with(|| why.clone());
        let is_taken_back = is_new && release.is_some_and(|live| self.take_back(now, name, &live, &why, actions));
        let done = match is_taken_back {
            true => Some("what changed in its configuration is taken back".to_string()),
            false => self.repair(now, name, actions),
        };
        if !is_new && done.is_none() {
            return;
        }
        let still = if is_new { "" } else { "still " };
        let done = done.map(|done| format!("; {done}")).unwrap_or_default();
        let trouble = Happening::Trouble {
            about: Subject::app(name, "health"),
            app: Some(name.clone()),
            gravity: if is_new { Gravity::Warning } else { Gravity::Critical },
            what: format!("{name} is {still}unhealthy: {why}{done}"),
            advice: Some(format!("`pintle status {name}` shows its probes, `pintle logs {name}` what it says")),
        };
        self.tell(now, trouble, actions);
    }

    /// All its probes are well.
    pub(super) fn is_well_again(&mut self, now: Moment, name: &AppName, actions: &mut Vec<Action>) {
        let Some(app) = self.apps.get_mut(name) else { return };
        if app.unwell.take().is_none() {
            app.ladder.is_well_again();
            // An earlier daemon told of it, or it was before a deployment or a restart by hand.
            if self.mail.incidents.is_open(&Subject::app(name, "health")) {
                self.tell_of_health(now, name, actions);
            }
            return;
        }
        let repairs = match app.ladder.taken() {
            0 => String::new(),
            1 => " after a repair".into(),
            several => format!(" after {several} repairs"),
        };
        app.ladder.is_well_again();
        let (about, what) = (Subject::app(name, "health"), format!("{name} is healthy again{repairs}"));
        self.tell(now, Happening::Recovered { about, app: Some(name.clone()), what }, actions);
    }

    /// Takes the next rung if it is time for one; says what is done.
    fn repair(&mut self, now: Moment, name: &AppName, actions: &mut Vec<Action>) -> Option<String> {
        // A reboot would cut a deployment off.
        let nobody_deploys = self.apps.values().all(|app| app.active.is_none());
        let app = self.apps.get_mut(name).filter(|app| app.active.is_none())?;
        let rules = &app.config.repair;
        // What a person stopped may be all that is amiss: neither units nor the host are restarted for that.
        let meant = app.services.target().into_iter().flat_map(|target| target.services.keys());
        let whole = meant.into_iter().all(|service| !app.services.holds(service));
        let units = whole && !rules.units.is_empty();
        let reboot = whole && nobody_deploys && ladder::may_reboot(rules.reboots_per_day, &app.reboots, now.wall);
        let done = match app.ladder.next(now.mono, Means { units, reboot })? {
            Rung::Services => self.restart_what_is_concerned(now, name, actions),
            Rung::Units => {
                let units = rules.units.clone();
                let what = format!("restarting {}", units.join(", "));
                actions.push(Action::RestartUnits { app: name.clone(), units });
                what
            }
            Rung::Reboot => {
                app.reboots.insert(0, now.wall);
                // Intent first: the next daemon must know that today's is used up.
                let entry = Entry::Rebooted { app: name.clone(), at: now.wall };
                self.record(vec![entry], Pending::Reboot { app: name.clone() }, actions);
                "rebooting the host".into()
            }
        };
        self.note_in_history(now, format!("{name}: {done} because it is unhealthy"), actions);
        Some(done)
    }

    fn restart_what_is_concerned(&mut self, now: Moment, name: &AppName, actions: &mut Vec<Action>) -> String {
        let Some(app) = self.apps.get_mut(name) else { return String::new() };
        let target = app.services.target().map(|target| &target.services);
        let failing = app.watch.iter().flat_map(|watch| watch.failing());
        let concerned = target.and_then(|services| ladder::concerned(failing, services));
        let what = match &concerned {
            None => {
                app.services.restart(None);
                "restarting its services".to_string()
            }
            Some(services) => {
                services.iter().for_each(|service| app.services.restart(Some(service)));
                let names: Vec<&str> = services.iter().map(ServiceName::as_str).collect();
                format!("restarting {}", names.join(", "))
            }
        };
        self.reconcile(now, name, actions);
        what
    }

    /// The units were restarted, or could not be.
    pub(super) fn units_restarted(
        &mut self,
        now: Moment,
        name: &AppName,
        result: Result<(), String>,
        actions: &mut Vec<Action>,
    ) {
        match result {
            Ok(()) => {
                let text = format!("{name}: the units it depends on were restarted");
                actions.push(Action::Note { level: log::Level::Info, text });
            }
            Err(why) => {
                let text = format!("{name}: the units it depends on could not be restarted: {why}");
                actions.push(Action::Note { level: log::Level::Error, text: text.clone() });
                self.note_in_history(now, text, actions);
            }
        }
    }

    /// That the host is rebooted is on disk - or could not be written, and then it is not.
    pub(super) fn reboot_is_written(
        &mut self,
        now: Moment,
        name: &AppName,
        result: Result<(), String>,
        actions: &mut Vec<Action>,
    ) {
        if self.stopping {
            return;
        }
        match result {
            Ok(()) => {
                let text = format!("{name}: the host is rebooted because it stays unhealthy");
                actions.push(Action::Note { level: log::Level::Error, text });
                actions.push(Action::Reboot { app: name.clone() });
            }
            Err(why) => self.not_rebooted(now, name, &format!("it cannot be written down: {why}"), actions),
        }
    }

    pub(super) fn not_rebooted(&mut self, now: Moment, name: &AppName, why: &str, actions: &mut Vec<Action>) {
        let text = format!("{name}: the host is not rebooted: {why}");
        actions.push(Action::Note { level: log::Level::Error, text: text.clone() });
        self.note_in_history(now, text, actions);
    }

    fn note_in_history(&mut self, now: Moment, text: String, actions: &mut Vec<Action>) {
        let entries = vec![Entry::Notice { text, at: now.wall }];
        actions.push(Action::Record { token: None, entries });
    }

    /// A service ends again and again.
    pub(super) fn keeps_ending(
        &mut self,
        now: Moment,
        name: &AppName,
        service: &ServiceName,
        failures: u32,
        words: &str,
        actions: &mut Vec<Action>,
    ) {
        let Some(app) = self.apps.get_mut(name) else { return };
        if !app.looping.insert(service.clone()) {
            return;
        }
        let trouble = Happening::Trouble {
            about: ends(name, service),
            app: Some(name.clone()),
            gravity: Gravity::Critical,
            what: format!(
                "{name}: {service} ended {failures} times in a row ({words}); it is started again, ever more slowly"
            ),
            advice: Some(format!("`pintle logs {name} {service}` shows what it says before it ends")),
        };
        self.tell(now, trouble, actions);
    }

    /// Which services keep ending, as an earlier daemon told.
    pub(super) fn remember_who_keeps_ending(&mut self) {
        for app in self.apps.values_mut() {
            let prefix = format!("app/{}/ends/", app.config.name);
            let open = self.mail.incidents.iter().filter_map(|open| open.subject.strip_prefix(&prefix));
            app.looping.extend(open.filter_map(|service| ServiceName::new(service).ok()));
        }
    }

    /// Services that kept ending and run for a while now, or are not meant to run any more.
    pub(super) fn look_who_runs_again(&mut self, now: Moment, name: &AppName, actions: &mut Vec<Action>) {
        let Some(app) = self.apps.get_mut(name).filter(|app| !app.looping.is_empty()) else { return };
        // What should run is not known yet.
        if app.services.is_undecided() {
            return;
        }
        let is_over = |service: &ServiceName| {
            let is_meant = app.services.target().is_some_and(|target| target.services.contains_key(service));
            if !is_meant || app.services.holds(service) {
                return Some(format!("{name}: {service}, which kept ending, is stopped"));
            }
            let runs = stable_at(app, service).is_some_and(|at| now.mono >= at);
            runs.then(|| format!("{name}: {service} runs again"))
        };
        let over: Vec<(ServiceName, String)> =
            app.looping.iter().filter_map(|service| Some((service.clone(), is_over(service)?))).collect();
        for (service, what) in over {
            self.apps.get_mut(name).into_iter().for_each(|app| app.looping.retain(|one| *one != service));
            let recovered = Happening::Recovered { about: ends(name, &service), app: Some(name.clone()), what };
            self.tell(now, recovered, actions);
        }
    }
}

impl AppWorld {
    /// When one of the services that kept ending has run for long enough.
    pub(super) fn runs_again_at(&self) -> Option<Duration> {
        if self.services.is_undecided() {
            return None;
        }
        self.looping.iter().filter_map(|service| stable_at(self, service)).min()
    }
}

/// When all instances of a service will have run for long enough; `None`: not all of them are up.
fn stable_at(app: &AppWorld, service: &ServiceName) -> Option<Duration> {
    let mine = app.services.slots().iter().filter(|slot| slot.service.name == *service);
    let since = |slot: &Slot| match slot.machine.state() {
        State::Up { since } => Some(*since + STABLE_RUN),
        _ => None,
    };
    mine.map(since).collect::<Option<Vec<Duration>>>()?.into_iter().max()
}

fn ends(app: &AppName, service: &ServiceName) -> Subject {
    Subject::app(app, &format!("ends/{service}"))
}

#[cfg(test)]
mod tests;
