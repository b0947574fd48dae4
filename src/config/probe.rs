//! Reads `[health]` and `[[probe]]`: how an application shows that it is well.

use super::read::Section;
use super::step::unique_name;
use super::units::{self, Misread};
use super::{Probe, ProbeTarget};
use crate::base::ServiceName;
use std::collections::BTreeSet;
use std::time::Duration;

/// The name of the probe that `[health]` is.
pub(super) const HEALTH: &str = "health";

/// Reads `[health]` and every `[[probe]]`. What was wrong is on the sheet.
pub(super) fn read(health: Option<&Section<'_>>, probes: &[Section<'_>], services: &[&str]) -> Vec<Probe> {
    let mut names = BTreeSet::from([HEALTH.to_owned()]);
    let health = health.map(|health| {
        let target = only_target(health, &["http", "service"], services);
        if health.has("service") && !health.has("path") {
            health.missing("path", r#"write the page to ask for: path = "/health""#);
        }
        finish(health, HEALTH.to_owned(), target)
    });
    let others = probes.iter().map(|probe| {
        let name = unique_name(probe, &mut names);
        finish(probe, name, only_target(probe, &["http", "tcp", "run", "service"], services))
    });
    health.into_iter().chain(others.collect::<Vec<_>>()).collect()
}

fn finish(section: &Section<'_>, name: String, target: Option<ProbeTarget>) -> Probe {
    let probe = Probe {
        name,
        target: target.unwrap_or(ProbeTarget::Tcp(String::new())),
        every: section.positive_duration("every").unwrap_or(Duration::from_secs(30)),
        timeout: section.positive_duration("timeout").unwrap_or(Duration::from_secs(5)),
        failures: section.count("failures", 1, 1000).unwrap_or(3),
    };
    for key in ["expect", "contains"] {
        let pages = matches!(probe.target, ProbeTarget::Http { .. } | ProbeTarget::Service { .. });
        if !pages && section.has(key) {
            section.problem(key, "is for http, or service with a path", "leave it out");
        }
    }
    probe
}

/// The one target of a probe; none or several is a problem.
fn only_target(section: &Section<'_>, kinds: &[&'static str], services: &[&str]) -> Option<ProbeTarget> {
    let expect = section.count("expect", 100, 599).and_then(|status| u16::try_from(status).ok()).unwrap_or(200);
    let contains = section.string("contains");
    let path = section.parsed("path", page);
    let named: Vec<&str> = kinds.iter().copied().filter(|kind| section.has(kind)).collect();
    if named.len() != 1 {
        let wrong = match named.len() {
            0 => "looks at nothing".to_owned(),
            _ => format!("looks at several things: {}", named.join(", ")),
        };
        section.sheet.problem(&section.path, wrong, format!("write exactly one of {}", kinds.join(", ")));
    }
    if section.has("path") && !section.has("service") {
        section.problem("path", "goes with service", "write service = \"NAME\" beside it, or the whole URL in http");
    }
    // All are read, so that a second one is checked too.
    let http = section.parsed("http", url).map(|url| ProbeTarget::Http { url, expect, contains: contains.clone() });
    let service = section.parsed("service", |text| known_service(text, services)).map(|service| match path {
        Some(path) => ProbeTarget::Service { service, path, expect, contains },
        None => ProbeTarget::Alive(service),
    });
    if !kinds.contains(&"tcp") {
        return http.or(service);
    }
    let tcp = section.parsed("tcp", |text| units::host_and_port(text).map(|()| ProbeTarget::Tcp(text.to_owned())));
    http.or(tcp).or(section.command("run").map(ProbeTarget::Run)).or(service)
}

fn url(text: &str) -> Result<String, Misread> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let host = rest.map(|rest| &rest[..rest.find(['/', '?']).unwrap_or(rest.len())]);
    let good = host.is_some_and(|host| !host.is_empty() && !host.starts_with(':'))
        && !text.contains(|c: char| c.is_whitespace() || c.is_control());
    if good {
        Ok(text.into())
    } else {
        Err(Misread::new("is not a URL", r#"write it whole: "http://127.0.0.1:5000/health""#))
    }
}

fn page(text: &str) -> Result<String, Misread> {
    let good = text.starts_with('/') && !text.contains(|c: char| c.is_whitespace() || c.is_control());
    if good { Ok(text.into()) } else { Err(Misread::new("is not a page", r#"begin with '/', as in "/health""#)) }
}

/// The name of a service that the file has.
pub(super) fn known_service(text: &str, services: &[&str]) -> Result<ServiceName, Misread> {
    if services.contains(&text) {
        return ServiceName::new(text).map_err(|bad| Misread::new("names a service that has no usable name", bad.0));
    }
    let advice = match super::problem::nearest(text, services.iter().copied()) {
        Some(meant) => format!("write {meant:?}"),
        None if services.is_empty() => "add [service.NAME] to this file".into(),
        None => format!("this file has: {}", services.join(", ")),
    };
    Err(Misread::new("is not a service of this application", advice))
}
