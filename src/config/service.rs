//! Reads `[service.NAME]`: the processes of an application that are kept running.

use super::host::user;
use super::probe::known_service;
use super::read::Section;
use super::units::{self, Misread};
use super::{Address, Command, Handover, Nginx, Ready, Restart, Service};
use crate::base::{Bytes, ServiceName};
use std::collections::BTreeMap;
use std::path::PathBuf;
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
    refuse_shared_upstreams(tables, &services);
    services
}

fn read_service(section: &Section<'_>, name: ServiceName, names: &[&str], app_user: Option<&str>) -> Service {
    let listen = section.list("listen", units::address).unwrap_or_default();
    let handover = read_handover(section, &listen);
    Service {
        run: read_run(section, &listen),
        rehearse: section.boolean("rehearse").unwrap_or(!listen.is_empty() || handover == Handover::Port),
        nginx: read_nginx(section, handover),
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
    }
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
    handover
}

/// Who is told where a service answers. What is missing or wrong is on the sheet, and nothing is made of it.
fn read_nginx(section: &Section<'_>, handover: Handover) -> Option<Nginx> {
    let Some(table) = section.table("nginx") else {
        if handover == Handover::Port {
            let text = "nothing tells clients the new port: add nginx = { file = \"upstream.conf\", upstream = \"web\", \
                        reload = \"nginx -s reload\" }";
            section.notice("handover", text);
        }
        return None;
    };
    for key in ["file", "upstream", "reload"] {
        table.missing(key, r#"write { file = "upstream.conf", upstream = "web", reload = "nginx -s reload" }"#);
    }
    if handover != Handover::Port {
        section.problem("nginx", "is for handover = \"port\"", "add handover = \"port\", or leave it out");
    }
    let test = if table.has("test") { table.command("test") } else { Some(nginx_test()) };
    let (file, upstream) = (table.parsed("file", upstream_file), table.parsed("upstream", upstream));
    Some(Nginx { reload: table.command("reload")?, file: file?, upstream: upstream?, test: test? })
}

fn nginx_test() -> Command {
    Command::Argv(["nginx", "-t"].map(str::to_owned).into())
}

/// A path within the application's directory for nginx. `*.conf` does not find what begins with a dot.
fn upstream_file(text: &str) -> Result<PathBuf, Misread> {
    let advice =
        r#"write a file's name, as in "upstream.conf"; it is kept in the state directory under apps/APP/nginx"#;
    let file = units::inner_path(text).map_err(|misread| Misread::new(misread.wrong, advice))?;
    match file.iter().any(|part| part.as_encoded_bytes().starts_with(b".")) {
        false => Ok(file),
        true => Err(Misread::new("begins with a dot, and nginx's `include *.conf` leaves that out", advice)),
    }
}

/// A name that stands in nginx's configuration as it is.
fn upstream(text: &str) -> Result<String, Misread> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => Ok(text.to_owned()),
        false => Err(Misread::new(
            "is not an upstream's name",
            "write letters, digits, '_', '.' and '-', as in proxy_pass http://NAME",
        )),
    }
}

/// Two services that write the same file, or the same upstream, would take each other's place.
fn refuse_shared_upstreams(tables: &[(&str, Section<'_>)], services: &BTreeMap<ServiceName, Service>) {
    let mut known: Vec<(&ServiceName, &Nginx)> = Vec::new();
    for (name, nginx) in services.values().filter_map(|service| Some((&service.name, service.nginx.as_ref()?))) {
        let section = tables.iter().find(|(table, _)| *table == name.as_str()).map(|(_, section)| section);
        if let (Some((other, _)), Some(section)) = (known.iter().find(|(_, other)| other.file == nginx.file), section) {
            let wrong = format!("{} is written by service {other} too", nginx.file.display());
            section.problem("nginx.file", wrong, "give each service its own file");
        }
        if let (Some((other, _)), Some(section)) =
            (known.iter().find(|(_, other)| other.upstream == nginx.upstream), section)
        {
            let wrong = format!("{} is the upstream of service {other} too", nginx.upstream);
            section.problem("nginx.upstream", wrong, "give each service its own upstream");
        }
        known.push((name, nginx));
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
