//! Reads `[health]` and `[[probe]]`: how an application shows that it is well.

use super::read::{Section, kind};
use super::step::unique_name;
use super::units::{self, Misread};
use super::{Probe, ProbeTarget};
use crate::base::ServiceName;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
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
        grace: section.duration("grace").unwrap_or_default(),
    };
    let asks_for_pages = matches!(probe.target, ProbeTarget::Http { .. } | ProbeTarget::Service { .. });
    for key in OF_PAGES.into_iter().filter(|key| !asks_for_pages && section.has(key)) {
        section.problem(key, "is for http, or service with a path", "leave it out");
    }
    let is_tls = matches!(&probe.target, ProbeTarget::Http { url, .. } if url.starts_with("https://"));
    for key in ["tls_days", "ca"].into_iter().filter(|key| asks_for_pages && !is_tls && section.has(key)) {
        section.problem(key, "is for an address that begins with https://", "leave it out");
    }
    if matches!(probe.target, ProbeTarget::Service { .. }) && section.has("redirects") {
        section.problem("redirects", "is for http: a redirect leads away from the service", "leave it out");
    }
    if let ProbeTarget::Http { page, .. } | ProbeTarget::Service { page, .. } = &probe.target
        && page.latency.is_some_and(|latency| latency >= probe.timeout)
    {
        section.problem("latency", "is not below timeout", "an answer that slow is never waited for: raise timeout");
    }
    probe
}

/// What is said of pages only.
const OF_PAGES: [&str; 7] = ["expect", "contains", "header", "latency", "redirects", "tls_days", "ca"];

/// Which answer to a GET is healthy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Any of these statuses.
    pub expect: Vec<u16>,
    /// Text the body (its first 64 KiB) must contain.
    pub contains: Option<String>,
    /// Headers it must have, each containing a text.
    pub headers: BTreeMap<String, String>,
    /// It must be there within this.
    pub latency: Option<Duration>,
    /// So many redirects are followed; one more is a failure. 0: the redirect itself is the answer.
    pub redirects: u32,
    /// The certificate must count for so many days more.
    pub tls_days: Option<u32>,
    /// PEM certificates to trust in place of the system's.
    pub ca: Option<PathBuf>,
}

impl Default for Page {
    fn default() -> Page {
        let (contains, headers, latency) = (None, BTreeMap::new(), None);
        Page { expect: vec![200], contains, headers, latency, redirects: 0, tls_days: None, ca: None }
    }
}

fn page(section: &Section<'_>) -> Page {
    Page {
        expect: statuses(section).unwrap_or(vec![200]),
        contains: section.string("contains"),
        headers: headers(section),
        latency: section.positive_duration("latency"),
        redirects: section.count("redirects", 0, 10).unwrap_or(0),
        tls_days: section.count("tls_days", 1, 825),
        ca: section.line("ca").map(|file| section.sheet.context.dir.join(file)),
    }
}

/// One status or several.
fn statuses(section: &Section<'_>) -> Option<Vec<u16>> {
    let Some(toml::Value::Array(items)) = section.value("expect") else {
        return section
            .count("expect", 100, 599)
            .and_then(|status| u16::try_from(status).ok())
            .map(|status| vec![status]);
    };
    let status = |item: &toml::Value| item.as_integer().filter(|status| (100..=599).contains(status));
    let all: Option<Vec<u16>> = items.iter().map(|item| u16::try_from(status(item)?).ok()).collect();
    let all = all.filter(|all| !all.is_empty());
    if all.is_none() {
        section.problem("expect", "is not a list of statuses", "write statuses from 100 to 599, as in [200, 204]");
    }
    all
}

/// `{ Content-Type = "application/json" }`.
fn headers(section: &Section<'_>) -> BTreeMap<String, String> {
    let advice = r#"write { Content-Type = "application/json" }: a header's name, and text it contains"#;
    let table = section.value("header").map(|value| (value, value.as_table()));
    if let Some((value, None)) = table {
        section.problem("header", format!("is {}, not a table of strings", kind(value)), advice);
    }
    let mut headers = BTreeMap::new();
    for (name, value) in table.and_then(|(_, table)| table).into_iter().flatten() {
        let is_token = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        match value.as_str().filter(|text| is_token && !text.contains(char::is_control)) {
            Some(text) => drop(headers.insert(name.to_ascii_lowercase(), text.to_owned())),
            None => section.problem("header", format!("{name:?} is no header with a text"), advice),
        }
    }
    headers
}

/// The one target of a probe; none or several is a problem.
fn only_target(section: &Section<'_>, kinds: &[&'static str], services: &[&str]) -> Option<ProbeTarget> {
    let page = page(section);
    let path = section.parsed("path", path);
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
    let http = section.parsed("http", url).map(|url| ProbeTarget::Http { url, page: page.clone() });
    let service = section.parsed("service", |text| known_service(text, services)).map(|service| match path {
        Some(path) => ProbeTarget::Service { service, path, page },
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

fn path(text: &str) -> Result<String, Misread> {
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
