//! How every application is: what the daemon says of it and its services, and what `probes` hears from it.

use super::super::context::Context;
use super::super::findings::Finding;
use super::daemon::Daemon;
use super::probes;
use crate::base::{AppName, ReleaseName, ServiceName};
use crate::control::{AppState, AppView, ProbeView, RunState};
use serde::Serialize;
use std::collections::BTreeSet;

/// One app as the `--json` document has it.
#[derive(Debug, Serialize)]
pub struct AppSeen {
    app: AppName,
    /// `None`: the daemon could not be asked.
    state: Option<AppState>,
    release: Option<ReleaseName>,
    services: Vec<ServiceSeen>,
    probes: Vec<ProbeView>,
}

#[derive(Debug, Serialize)]
struct ServiceSeen {
    service: ServiceName,
    state: RunState,
}

/// Looks at every app; `quick`: only the daemon is heard.
pub fn look(cx: &Context<'_>, daemon: &Daemon, quick: bool) -> (Vec<AppSeen>, Vec<Finding>) {
    let views: Vec<(AppName, Option<&AppView>)> = match daemon.status() {
        Some(status) => status.apps.iter().map(|view| (view.app.clone(), Some(view))).collect(),
        // Who is not there cannot say which apps there are.
        None => cx.paths().apps.into_iter().map(|name| (name, None)).collect(),
    };
    let (mut seen, mut findings) = (Vec::new(), Vec::new());
    for (name, view) in views {
        findings.extend(view.map(told).unwrap_or_default());
        let mut probes = view.map(|view| view.probes.clone()).unwrap_or_default();
        if has_something_to_say(daemon, view) {
            findings.extend(heard(cx, &name, view, quick, &mut probes));
        }
        seen.push(AppSeen::of(name, view, probes));
    }
    (seen, findings)
}

/// What the probes say, now or - where it is to be `quick` - when the daemon last looked.
fn heard(
    cx: &Context<'_>,
    name: &AppName,
    view: Option<&AppView>,
    quick: bool,
    known: &mut Vec<ProbeView>,
) -> Vec<Finding> {
    let is_whole = view.is_some_and(|view| probes::stopped(view).next().is_none());
    if quick && (is_whole || known.is_empty()) {
        return probes::findings(name, view, known, &BTreeSet::new(), Ok(vec![]));
    }
    // Which probe is about which service only the definition knows.
    let (at_rest, asked) = match probes::definition(cx, name) {
        Ok(Some(app)) => {
            let at_rest = probes::at_rest(&app, view);
            let asked = if quick { Ok(vec![]) } else { probes::ask(&app, &at_rest) };
            (at_rest, asked)
        }
        Ok(None) => (BTreeSet::new(), Ok(vec![])),
        Err(failure) => (BTreeSet::new(), Err(failure)),
    };
    probes::findings(name, view, known, &at_rest, asked)
}

impl AppSeen {
    fn of(app: AppName, view: Option<&AppView>, probes: Vec<ProbeView>) -> AppSeen {
        let services = view.iter().flat_map(|view| &view.services);
        let services = services.map(|service| ServiceSeen { service: service.service.clone(), state: service.state });
        AppSeen {
            app,
            state: view.map(|view| view.state),
            release: view.and_then(|view| view.release.clone()),
            services: services.collect(),
            probes,
        }
    }
}

/// An app that is stopped, or has no release yet, has nothing to say.
fn has_something_to_say(daemon: &Daemon, view: Option<&AppView>) -> bool {
    match view {
        Some(view) => view.state != AppState::Stopped && view.release.is_some(),
        None => !daemon.is_stopped(),
    }
}

/// What the daemon says of an app and its services. Where the app as a whole is well, so is each of its services: one
/// that is down then was stopped by a person.
fn told(view: &AppView) -> Vec<Finding> {
    let app = &view.app;
    let about = format!("app/{app}");
    let release = view.release.as_ref().map_or("no release yet".into(), |release| release.to_string());
    let whole = match view.state {
        AppState::Running => Finding::ok(about, format!("running, {release}")),
        AppState::Deploying => Finding::ok(about, format!("a deployment is under way, {release}")),
        AppState::Stopped if view.release.is_none() => Finding::ok(about, release),
        AppState::Stopped => Finding::ok(about, format!("stopped on purpose, until `pintle start {app}`")),
        AppState::Degraded => {
            let advice = format!("`pintle status {app}` and `pintle logs {app}` say more");
            Finding::warning(about, format!("degraded, {release}: it runs, and not all of it"), advice)
        }
        AppState::Failed => {
            let advice = format!(
                "`pintle logs {app}` shows its last words; `pintle rollback {app}` puts the release before back"
            );
            Finding::critical(about, format!("failed, {release}: nothing of it runs"), advice)
        }
    };
    let is_well = !matches!(view.state, AppState::Degraded | AppState::Failed);
    let services = view.services.iter().map(|service| {
        let about = format!("app/{app}/{}", service.service);
        let last = service.instances.iter().find_map(|instance| instance.last_exit.as_deref());
        let what = match last {
            Some(last) if service.state != RunState::Up => format!("{}, last exit: {last}", service.state),
            _ => service.state.to_string(),
        };
        let advice = format!("`pintle logs {app} {}` shows its last words", service.service);
        match service.state {
            RunState::Up => Finding::ok(about, what),
            _ if is_well => Finding::ok(about, what),
            RunState::Backoff => Finding::critical(about, format!("{what}; it is started again by itself"), advice),
            _ => Finding::warning(about, what, advice),
        }
    });
    std::iter::once(whole).chain(services).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::findings::{Level, worst};
    use super::*;
    use serde_json::{Value, json};

    fn view(state: AppState, services: &[(&str, RunState)]) -> AppView {
        let service = |(name, state): &(&str, RunState)| json!({"service": name, "state": state, "instances": []});
        let services: Vec<Value> = services.iter().map(service).collect();
        let view = json!({
            "app": "shop", "state": state, "release": "000042-4f2a1c9", "commit": null, "deploying": null,
            "services": services,
        });
        serde_json::from_value(view).unwrap()
    }

    #[test]
    fn a_service_is_unwell_only_where_its_app_is() {
        use RunState::*;
        let table = [
            (AppState::Running, vec![("web", Up), ("worker", Down)], vec![Level::Ok, Level::Ok, Level::Ok]),
            (AppState::Stopped, vec![("web", Down)], vec![Level::Ok, Level::Ok]),
            (AppState::Deploying, vec![("web", Starting)], vec![Level::Ok, Level::Ok]),
            (AppState::Degraded, vec![("web", Up), ("worker", Held)], vec![Level::Warning, Level::Ok, Level::Warning]),
            (AppState::Failed, vec![("web", Backoff)], vec![Level::Critical, Level::Critical]),
            (AppState::Failed, vec![("web", Down)], vec![Level::Critical, Level::Warning]),
        ];
        for (state, services, expected) in table {
            let findings = told(&view(state, &services));
            let levels: Vec<Level> = findings.iter().map(|finding| finding.level).collect();
            assert_eq!(levels, expected, "{state}: {findings:?}");
            assert!(findings.iter().all(|finding| finding.is_ok() || finding.advice.is_some()));
        }
        let nothing = AppView { release: None, ..view(AppState::Stopped, &[]) };
        assert_eq!((worst(&told(&nothing)), told(&nothing)[0].what.as_str()), (Level::Ok, "no release yet"));
    }
}
