//! What the probes of an app say when they are made now: by its own addresses, as the live release's definition has
//! them, so that they can be asked while the daemon is down.
//!
//! What only the daemon can look at (a command, a port that it gave out) has the daemon's last word. Line: an app that
//! one look finds unwell is only told; what is done about it the daemon's own watch decides.

use super::super::context::Context;
use super::super::failure::{Failure, NOT_PERMITTED};
use super::super::findings::Finding;
use super::super::live;
use crate::base::{AppName, ServiceName};
use crate::config::{App, Probe, ProbeTarget};
use crate::control::{AppState, AppView, ProbeView, RunState};
use crate::daemon::work::{self, Aim};
use crate::health::ladder;
use crate::os::cancel::Cancel;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The live release's definition; `None` where no release is live.
pub fn definition(cx: &Context<'_>, name: &AppName) -> Result<Option<App>, Failure> {
    let home = cx.paths().state_dir.join("apps").join(name);
    if home.join("current").symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        return Ok(None);
    }
    let (release, _) = live::release(&home)?;
    live::definition(cx, name, &home, &release).map(Some)
}

/// The probes about a service that a person stopped: one that is down while the app as a whole is well.
pub fn at_rest(app: &App, view: Option<&AppView>) -> BTreeSet<String> {
    let stopped: BTreeSet<_> = view.map(stopped).into_iter().flatten().collect();
    let services = app.services.iter().map(|(name, service)| (name.clone(), Arc::new(service.clone()))).collect();
    let rests = |probe: &&Probe| {
        let about = ladder::concerned(std::iter::once(*probe), &services);
        about.is_some_and(|about| about.iter().any(|service| stopped.contains(service)))
    };
    app.probes.iter().filter(rests).map(|probe| probe.name.clone()).collect()
}

/// The services that a person stopped.
pub fn stopped(view: &AppView) -> impl Iterator<Item = &ServiceName> {
    let is_well = !matches!(view.state, AppState::Degraded | AppState::Failed);
    let rests = move |state| is_well && matches!(state, RunState::Down | RunState::Held);
    view.services.iter().filter(move |service| rests(service.state)).map(|service| &service.service)
}

/// Makes every probe of the app that can be made from here, but those `at_rest`, all at once.
pub fn ask(app: &App, at_rest: &BTreeSet<String>) -> Result<Vec<ProbeView>, Failure> {
    let cancel = Cancel::new().map_err(|error| Failure::io(&error))?;
    let look = |aim: Aim| {
        let seen = work::look(&aim, &cancel, None);
        let healthy = Some(seen.is_ok());
        let (message, output) = seen.err().map(|failure| (failure.said, failure.output)).unzip();
        ProbeView { name: aim.probe.name, healthy, message, output: output.flatten() }
    };
    let looked = std::thread::scope(|scope| {
        let awake = app.probes.iter().filter(|probe| !at_rest.contains(&probe.name));
        let aims = awake.filter_map(|probe| aim(app, probe));
        let looks: Vec<_> = aims.map(|aim| scope.spawn(|| look(aim))).collect();
        looks.into_iter().filter_map(|look| look.join().ok()).collect()
    });
    Ok(looked)
}

/// Where to look; `None`: only the daemon can.
fn aim(app: &App, probe: &Probe) -> Option<Aim> {
    let at = match &probe.target {
        ProbeTarget::Http { .. } | ProbeTarget::Tcp(_) => None,
        ProbeTarget::Service { service, path, .. } => {
            Some((app.services.get(service)?.listen.first()?.clone(), path.clone()))
        }
        ProbeTarget::Run(_) | ProbeTarget::Alive(_) => return None,
    };
    Some(Aim { probe: probe.clone(), at })
}

/// What is to be said of an app's probes; `known` are those of the daemon, and get what was seen now. Those `at_rest`
/// have nothing to say.
pub fn findings(
    name: &AppName,
    view: Option<&AppView>,
    known: &mut Vec<ProbeView>,
    at_rest: &BTreeSet<String>,
    asked: Result<Vec<ProbeView>, Failure>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    match asked {
        Ok(seen) => {
            for probe in seen {
                known.retain(|old| old.name != probe.name);
                known.push(probe);
            }
        }
        Err(failure) => findings.push(unasked(name, &failure)),
    }
    let deploying = view.is_some_and(|view| view.deploying.is_some());
    findings.extend(known.iter().filter_map(|probe| match at_rest.contains(&probe.name) {
        true => Some(Finding::ok(format!("app/{name}/probe/{}", probe.name), "its service was stopped by a person")),
        false => told(name, probe, deploying),
    }));
    findings
}

fn unasked(name: &AppName, failure: &Failure) -> Finding {
    let why = if failure.exit == NOT_PERMITTED { "it may not be read how" } else { "it is not known how" };
    let advice = failure.advice.clone().unwrap_or_else(|| "use sudo".into());
    Finding::warning(format!("app/{name}/probe"), format!("not asked, {why}: {}", failure.message), advice)
}

/// `None`: nobody has looked yet.
fn told(name: &AppName, probe: &ProbeView, deploying: bool) -> Option<Finding> {
    let about = format!("app/{name}/probe/{}", probe.name);
    let message = probe.message.as_deref().unwrap_or("it fails");
    Some(match (probe.healthy?, deploying) {
        (true, _) => Finding::ok(about, "healthy"),
        (false, true) => {
            let advice = format!("a deployment is under way: `pintle history {name}` tells how it ends");
            Finding::warning(about, message, advice)
        }
        (false, false) => {
            let advice = format!("`pintle logs {name}` shows what it says; the daemon restarts what stays unwell");
            Finding::critical(about, message, advice)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::findings::Level;
    use super::*;

    fn probe(name: &str, healthy: Option<bool>) -> ProbeView {
        let message = (healthy == Some(false)).then(|| format!("{name}: HTTP 500"));
        ProbeView { name: name.into(), healthy, message, output: None }
    }

    #[test]
    fn what_was_seen_now_counts_and_the_daemons_word_where_only_it_can_look() {
        let shop: AppName = "shop".parse().unwrap();
        let mut known = vec![probe("health", Some(false)), probe("job", Some(false)), probe("new", None)];
        let asked = Ok(vec![probe("health", Some(true)), probe("dicom", Some(false))]);
        let findings = findings(&shop, None, &mut known, &BTreeSet::new(), asked);
        let said: Vec<(&str, Level)> = findings.iter().map(|one| (one.about.as_str(), one.level)).collect();
        let expected = [
            ("app/shop/probe/job", Level::Critical),
            ("app/shop/probe/health", Level::Ok),
            ("app/shop/probe/dicom", Level::Critical),
        ];
        assert_eq!(said, expected);
        assert_eq!(known.len(), 4);
    }

    #[test]
    fn a_probe_of_what_a_person_stopped_finds_nothing_wrong() {
        let shop: AppName = "shop".parse().unwrap();
        let mut known = vec![probe("health", Some(false)), probe("dicom", Some(false))];
        let at_rest = BTreeSet::from(["dicom".to_owned()]);
        let findings = findings(&shop, None, &mut known, &at_rest, Ok(vec![]));
        let said: Vec<(&str, Level)> = findings.iter().map(|one| (one.about.as_str(), one.level)).collect();
        assert_eq!(said, [("app/shop/probe/health", Level::Critical), ("app/shop/probe/dicom", Level::Ok)]);
    }

    #[test]
    fn what_may_not_be_read_is_a_warning_and_so_is_a_failure_within_a_deploy() {
        let shop: AppName = "shop".parse().unwrap();
        let refused = Err(Failure::new(NOT_PERMITTED, "read it: permission denied"));
        let findings = findings(&shop, None, &mut vec![], &BTreeSet::new(), refused);
        assert_eq!((findings.len(), findings[0].level), (1, Level::Warning), "{findings:?}");
        assert!(findings[0].what.contains("permission denied"));
        assert_eq!(told(&shop, &probe("health", Some(false)), true).unwrap().level, Level::Warning);
    }
}
