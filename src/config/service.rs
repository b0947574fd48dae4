//! Reads `[service.NAME]`: the processes of an application that are kept running.

use super::host::user;
use super::probe::known_service;
use super::read::Section;
use super::units;
use super::{Address, Command, Handover, Ready, Restart, Service};
use crate::base::{Bytes, ServiceName};
use std::collections::BTreeMap;
use std::time::Duration;

/// The ways of handing over by the names they are configured with.
pub(super) const HANDOVERS: [(&str, Handover); 3] =
    [("socket", Handover::Socket), ("port", Handover::Port), ("restart", Handover::Restart)];
/// The restart policies by the names they are configured with.
pub(super) const RESTARTS: [(&str, Restart); 3] =
    [("always", Restart::Always), ("on-failure", Restart::OnFailure), ("never", Restart::Never)];
/// What counts as up, by the names it is configured with.
pub(super) const READINESS: [(&str, Ready); 3] =
    [("exec", Ready::Exec), ("notify", Ready::Notify), ("probe", Ready::Probe)];

/// Reads all services. What was wrong is on the sheet.
pub(super) fn read(tables: &[(&str, Section<'_>)], app_user: Option<&str>) -> BTreeMap<ServiceName, Service> {
    let names: Vec<&str> = tables.iter().map(|(name, _)| *name).collect();
    let mut services = BTreeMap::new();
    for (text, section) in tables {
        match ServiceName::new(*text) {
            Ok(name) => {
                services.insert(name.clone(), read_service(section, name, &names, app_user));
            }
            Err(bad) => {
                section.sheet.problem(&section.path, bad.0, "rename the table");
                // Read all the same, so that its own mistakes are listed too; the name stands for nothing.
                if let Ok(name) = ServiceName::new("unnamed") {
                    read_service(section, name, &names, app_user);
                }
            }
        }
    }
    refuse_cycles(tables, &services);
    services
}

fn read_service(section: &Section<'_>, name: ServiceName, names: &[&str], app_user: Option<&str>) -> Service {
    let listen = section.list("listen", units::address).unwrap_or_default();
    let handover = read_handover(section, &listen);
    let service = Service {
        run: read_run(section, &listen),
        rehearse: section.boolean("rehearse").unwrap_or(!listen.is_empty() || handover == Handover::Port),
        handover,
        listen,
        instances: section.count("instances", 1, 64).unwrap_or(1),
        after: section.list("after", |text| known_service(text, names)).unwrap_or_default(),
        restart: section.word("restart", &RESTARTS).unwrap_or(Restart::Always),
        stop_signal: section.parsed("stop_signal", units::signal).unwrap_or(libc::SIGTERM),
        stop_timeout: section.duration("stop_timeout").unwrap_or(Duration::from_secs(10)),
        watchdog: section.positive_duration("watchdog"),
        ready: section.word("ready", &READINESS).unwrap_or(Ready::Exec),
        user: user(section, "user").or_else(|| app_user.map(str::to_owned)),
        no_new_privs: section.boolean("no_new_privs").unwrap_or(true),
        private_tmp: section.boolean("private_tmp").unwrap_or(false),
        env: section.env("env"),
        env_file: section.list("env_file", units::inner_path).unwrap_or_default(),
        memory_max: section.size("memory_max"),
        log_max: section.size("log_max").unwrap_or(Bytes(10 << 20)),
        log_keep: section.count("log_keep", 0, 1000).unwrap_or(5),
        name,
    };
    say_what_is_to_come(section, &service);
    service
}

fn read_run(section: &Section<'_>, listen: &[Address]) -> Command {
    section.missing("run", r#"write what to run: run = ["python3", "app.py"]"#);
    let run = section.command("run");
    if let Some(Command::Shell(line)) = &run
        && !listen.is_empty()
    {
        let plain = line.chars().all(|c| c.is_ascii_alphanumeric() || " ./:=_-,@+".contains(c));
        let words: Vec<String> = line.split_whitespace().map(|word| format!("{word:?}")).collect();
        let advice = match plain {
            true => format!("write run = [{}]", words.join(", ")),
            false => r#"write program and arguments: run = ["program", "argument"]"#.into(),
        };
        section.problem("run", "is a line for the shell, and a shell between would spoil LISTEN_PID", advice);
    }
    run.unwrap_or(Command::Argv(Vec::new()))
}

fn read_handover(section: &Section<'_>, listen: &[Address]) -> Handover {
    let default = if section.has("listen") { Handover::Socket } else { Handover::Restart };
    let handover = section.word("handover", &HANDOVERS).unwrap_or(default);
    if handover == Handover::Port && section.has("listen") {
        let advice = "leave listen out (the service gets a PORT), or write handover = \"socket\"";
        section.problem("handover", "\"port\" forbids listen", advice);
    }
    if handover == Handover::Socket && listen.is_empty() && section.has("handover") && !section.has("listen") {
        let advice = r#"write listen = ["127.0.0.1:5000"], or handover = "restart""#;
        section.problem("handover", "\"socket\" needs a socket to hand over", advice);
    }
    if let Some(nginx) = section.table("nginx") {
        nginx.parsed("file", units::inner_path);
        nginx.line("upstream");
        nginx.command("reload");
        for key in ["file", "upstream", "reload"] {
            nginx.missing(key, r#"write { file = "upstream.conf", upstream = "web", reload = "nginx -s reload" }"#);
        }
        if handover != Handover::Port {
            section.problem("nginx", "is for handover = \"port\"", "add handover = \"port\", or leave it out");
        }
    }
    handover
}

fn say_what_is_to_come(section: &Section<'_>, service: &Service) {
    if service.handover == Handover::Port {
        section.not_active("handover", "handover by port; until then the service is stopped and started");
    }
    section.not_active("nginx", "switching nginx");
    section.not_active("watchdog", "watchdogs of services");
    if service.ready != Ready::Exec {
        section
            .not_active("ready", "readiness by notification or probe; until then a service counts as up once it runs");
    }
}

/// A service can only start after others if the others can start before it.
fn refuse_cycles(tables: &[(&str, Section<'_>)], services: &BTreeMap<ServiceName, Service>) {
    let mut started: Vec<&ServiceName> = Vec::new();
    let mut waiting: Vec<&Service> = services.values().collect();
    loop {
        let can_start = |service: &&Service| service.after.iter().all(|name| started.contains(&name));
        let (ready, rest): (Vec<&Service>, Vec<&Service>) = waiting.into_iter().partition(can_start);
        waiting = rest;
        if ready.is_empty() {
            break;
        }
        started.extend(ready.into_iter().map(|service| &service.name));
    }
    let circle = in_circle(&waiting);
    let Some(first) = circle.first() else { return };
    let names: Vec<&str> = circle.iter().chain([first]).map(|name| name.as_str()).collect();
    if let Some((_, section)) = tables.iter().find(|(name, _)| *name == first.as_str()) {
        let wrong = format!("goes in a circle: {}", names.join(" after "));
        section.problem("after", wrong, "take one of them out");
    }
}

/// Of services that all wait for each other: one circle, in the order they wait.
fn in_circle<'s>(waiting: &[&'s Service]) -> Vec<&'s ServiceName> {
    let mut path: Vec<&ServiceName> = Vec::new();
    let mut next = waiting.first().copied();
    while let Some(service) = next {
        if let Some(start) = path.iter().position(|name| **name == service.name) {
            return path.split_off(start);
        }
        path.push(&service.name);
        next = waiting.iter().copied().find(|other| service.after.contains(&other.name));
    }
    Vec::new()
}
