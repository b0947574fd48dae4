//! A configuration that was read again, and what it means for what runs.
//!
//! The services of the live release follow it: one whose definition changed is handed over to instances by the new one,
//! the others are not touched. That is a trial: a new definition may be meant for code that is yet to come, so one that
//! does not run within [`TRIAL`] is taken back. A deploy, and a rollback, take a release as it was meant when it was made.

use super::super::action::Action;
use super::super::boot::Found;
use super::super::event::Thawed;
use super::super::world::{Applied, World};
use crate::base::{AppName, Moment, ReleaseName, ServiceName};
use crate::config::{App, Config, Listen, Trigger};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// A changed definition that makes the app end or unwell within this is taken back.
const TRIAL: Duration = Duration::from_secs(300);

impl World {
    /// A new configuration: the next deploy is made by it, and what runs follows it where that is sure to fit.
    pub(super) fn reconfigured(
        &mut self,
        now: Moment,
        config: Config,
        mut found: BTreeMap<AppName, Found>,
        actions: &mut Vec<Action>,
    ) {
        if self.stopping {
            return;
        }
        self.watch_the_board(now, config.host.health.clone());
        let tls_is_new = self.tls_reconfigured(now, config.host.listen.as_ref(), actions);
        let is_told_otherwise =
            self.listen_differs(config.host.listen.as_ref(), actions) | self.triggers_differ(&config);
        if is_told_otherwise && !tls_is_new {
            self.restart_listener(now, actions);
        }
        self.broken_files = None;
        self.readdress(now, &config, actions);
        let gone = |name: &&AppName| !config.apps.contains_key(*name) && !self.apps[*name].removed;
        let gone: Vec<AppName> = self.apps.keys().filter(gone).cloned().collect();
        for name in gone {
            if let Some(app) = self.apps.get_mut(&name) {
                app.removed = true;
            }
            let text = format!("{name} is configured no longer: its services stop, its releases and data stay on disk");
            actions.push(Action::Note { level: log::Level::Warn, text });
            self.stop_app_for_good(now, &name, actions);
            if !self.apps.get(&name).and_then(|app| app.active.as_ref()).is_some_and(|active| active.is_working()) {
                self.abandon(now, &name, actions);
            }
        }
        for (name, app) in config.apps {
            let app = Arc::new(app);
            match self.apps.get_mut(&name) {
                Some(known) => {
                    let before = std::mem::replace(&mut known.config, app);
                    if std::mem::take(&mut known.removed) {
                        self.run_what_is_live(now, &name, actions);
                    }
                    self.look_out_anew(now, &name, &before.source);
                    self.apply(now, &name, actions);
                }
                None => self.take_in(now, &name, app, found.remove(&name), actions),
            }
        }
        self.keep_sockets(actions);
    }

    /// Tells the hands which sockets may be needed: by what runs, by what may run again, by what is configured.
    pub(in super::super) fn keep_sockets(&self, actions: &mut Vec<Action>) {
        let configured = self.apps.values().flat_map(|app| app.config.services.values());
        let thawed = self.apps.values().flat_map(|app| app.definitions.values());
        let meant = thawed.flat_map(|thawed| thawed.definition.services.values());
        let slots = self.apps.values().flat_map(|app| app.services.slots());
        let running = slots.map(|slot| &*slot.service);
        let services = configured.chain(meant).chain(running);
        let addresses = services.flat_map(|service| service.listen.iter().cloned()).collect();
        actions.push(Action::KeepSockets { addresses });
    }

    /// Whether the listener has other limits, another address or token by this configuration.
    fn listen_differs(&mut self, meant: Option<&Listen>, actions: &mut Vec<Action>) -> bool {
        let (Some(listener), Some(meant)) = (&mut self.listener, meant) else {
            if self.listener.is_some() != meant.is_some() {
                let text = "[listen] came or went: that counts from the daemon's next start, or `pintle reexec`".into();
                actions.push(Action::Note { level: log::Level::Warn, text });
            }
            return false;
        };
        let before = std::mem::replace(&mut listener.listen, meant.clone());
        // TLS has a way of its own: nothing changes before there is another certificate.
        before != Listen { tls: before.tls.clone(), ..meant.clone() }
    }

    /// Whether the listener would judge deliveries differently by this configuration.
    fn triggers_differ(&self, config: &Config) -> bool {
        // When a branch is looked at and what a deploy waits for is no matter of its: callers wait for their answer there.
        let told = |trigger: &Trigger| Trigger {
            poll: None,
            rate_limit: None,
            window: None,
            approval: false,
            ..trigger.clone()
        };
        let known = self.apps.iter().filter(|(_, app)| !app.removed);
        let known = known.map(|(name, app)| (name, told(&app.config.trigger), &app.config.source));
        !known.eq(config.apps.iter().map(|(name, app)| (name, told(&app.trigger), &app.source)))
    }

    /// Lets the live release of an app follow its configuration.
    fn apply(&mut self, now: Moment, name: &AppName, actions: &mut Vec<Action>) {
        let Some(app) = self.apps.get_mut(name) else { return };
        let (Some(live), Some(before)) = (app.live.clone(), app.live_definition().cloned()) else { return };
        let changed = changed_services(&before, &app.config);
        let others_changed = [
            (before.probes != app.config.probes).then_some("its probes"),
            (before.schedules != app.config.schedules).then_some("its schedules"),
        ];
        if changed.is_empty() && others_changed.iter().all(Option::is_none) {
            return;
        }
        let layout = |app: &App| (app.source.subdirectory.clone(), app.source.shared.clone());
        if app.active.is_some() || layout(&before) != layout(&app.config) {
            let text = format!("{name}: the changed configuration counts from the next deploy on");
            return actions.push(Action::Note { level: log::Level::Warn, text });
        }
        let names: Vec<&str> =
            changed.iter().map(ServiceName::as_str).chain(others_changed.into_iter().flatten()).collect();
        let what = names.join(", ");
        let text = format!("{name}: changed in the configuration and applied to {}: {what}", live.release);
        actions.push(Action::Note { level: log::Level::Info, text });
        let definition = app.config.clone();
        let thawed =
            Thawed { release: live.release.clone(), commit: live.commit.clone(), definition: definition.clone() };
        app.definitions.insert(live.release.clone(), thawed);
        actions.push(Action::Apply { app: definition, release: live.release.clone(), commit: live.commit });
        // A scheduled command that does not run says so itself; nothing that runs depends on it.
        if changed.is_empty() && before.probes == app.config.probes {
            return;
        }
        app.applied = Some(Applied { before, until: now.mono + TRIAL });
        self.run_what_is_live(now, name, actions);
    }

    /// The new definition of a release does not run: the one before it is back. `false`: none is on trial.
    pub(super) fn take_back(
        &mut self,
        now: Moment,
        name: &AppName,
        release: &ReleaseName,
        why: &str,
        actions: &mut Vec<Action>,
    ) -> bool {
        let Some(app) = self.apps.get_mut(name).filter(|app| app.active.is_none()) else { return false };
        let is_live = app.live.as_ref().is_some_and(|live| live.release == *release);
        let on_trial = |applied: &mut Applied| is_live && now.mono < applied.until;
        let Some(applied) = app.applied.take_if(on_trial) else { return false };
        let commit = app.commit_of(release);
        let before = applied.before;
        let thawed = Thawed { release: release.clone(), commit: commit.clone(), definition: before.clone() };
        app.definitions.insert(release.clone(), thawed);
        let text = format!("{name}: what changed in the configuration is taken back for {release}: {why}");
        actions.push(Action::Note { level: log::Level::Error, text });
        actions.push(Action::Apply { app: before, release: release.clone(), commit });
        // A daemon that ends starts nothing any more; the next one finds what was meant.
        if !self.stopping {
            self.run_what_is_live(now, name, actions);
        }
        true
    }
}

/// Services that are not what they were, have come or have gone.
fn changed_services(before: &App, after: &App) -> BTreeSet<ServiceName> {
    let names = before.services.keys().chain(after.services.keys());
    names.filter(|name| before.services.get(*name) != after.services.get(*name)).cloned().collect()
}
