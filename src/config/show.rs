//! Shows what was understood: an application with every default in its place and no secret.
//!
//! Where a text came from `${NAME}`, the reference is shown: what it stands for may be a secret.

use super::units::{write_duration, write_signal, write_size};
use super::{
    App, Command, CommitStatus, Generic, Nginx, Page, Probe, ProbeTarget, Repair, Schedule, Service, Step, Trigger,
    When,
};
use super::{app, generic, probe, service, step, trigger, write};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;
use toml::{Table, Value};

const SECRET: &str = "(secret)";

/// An application as TOML text, as it could stand in its file but for the secrets.
pub fn show_text(app: &App) -> String {
    format!("# {} as Pintle understands it, defaults included\n{}", app.name, write::toml_text(&meant(app)))
}

/// The same as JSON, with the application's `name` beside its tables.
pub fn show_json(app: &App) -> serde_json::Value {
    let mut shown = meant(app);
    shown.insert("name".into(), text(&app.name));
    serde_json::to_value(shown).unwrap_or_default()
}

fn meant(app: &App) -> Table {
    let mut root = table([
        ("source", Value::Table(source(app))),
        ("trigger", Value::Table(trigger(&app.trigger))),
        ("deploy", Value::Table(deploy(app))),
        ("rehearsal", Value::Table(rehearsal(app))),
    ]);
    if let Some(user) = &app.user {
        root.insert("app".into(), Value::Table(table([("user", text(user))])));
    }
    let services =
        app.services.values().map(|service| (service.name.to_string(), Value::Table(shown_service(service))));
    root.insert("service".into(), Value::Table(services.collect()));
    root.insert("step".into(), Value::Array(app.steps.iter().map(|step| Value::Table(shown_step(step))).collect()));
    let schedules = app.schedules.iter().map(|schedule| Value::Table(shown_schedule(schedule)));
    root.insert("schedule".into(), Value::Array(schedules.collect()));
    let (health, others): (Vec<&Probe>, Vec<&Probe>) = app.probes.iter().partition(|probe| probe.name == probe::HEALTH);
    root.extend(health.into_iter().map(|health| ("health".to_owned(), Value::Table(shown_probe(health)))));
    let others = others.into_iter().map(|other| {
        let mut shown = table([("name", text(&other.name))]);
        shown.extend(shown_probe(other));
        Value::Table(shown)
    });
    root.insert("probe".into(), Value::Array(others.collect()));
    root.insert("repair".into(), Value::Table(repair(&app.repair)));
    root.insert("backup".into(), Value::Table(backup(app)));
    root.extend(app.commit_status.iter().map(|it| ("commit_status".to_owned(), Value::Table(commit_status(it)))));
    as_written(&mut root, &app.definition);
    root
}

fn source(app: &App) -> Table {
    let source = &app.source;
    let mut shown = table([
        ("git", text(&source.git)),
        ("branch", text(&source.branch)),
        ("keep_releases", number(source.keep_releases)),
        ("shared", paths(&source.shared)),
        ("subdirectory", text(source.subdirectory.display())),
        ("submodules", Value::Boolean(source.submodules)),
        ("lfs", Value::Boolean(source.lfs)),
    ]);
    shown.extend(source.access.known_hosts.iter().map(|file| ("known_hosts".to_owned(), text(file.display()))));
    shown
}

fn trigger(trigger: &Trigger) -> Table {
    let mut shown = table([
        ("forge", text(word(&trigger::FORGES, trigger.forge))),
        ("on", list(trigger.on.iter().map(|event| word(&trigger::EVENTS, *event)))),
        ("workflow_events", list(&trigger.workflow_events)),
    ]);
    match trigger.secrets.len() {
        0 => {}
        1 => drop(shown.insert("secret".into(), text(SECRET))),
        several => drop(shown.insert("secret".into(), list((0..several).map(|_| SECRET)))),
    }
    shown.extend(trigger.workflow.iter().map(|workflow| ("workflow".to_owned(), text(workflow))));
    shown.extend(trigger.repository.iter().map(|repository| ("repository".to_owned(), text(repository))));
    shown.extend(trigger.generic.iter().map(|it| ("generic".to_owned(), Value::Table(generic(it)))));
    shown
}

fn commit_status(status: &CommitStatus) -> Table {
    table([("token", text(SECRET)), ("api", text(&status.api)), ("context", text(&status.context))])
}

fn generic(generic: &Generic) -> Table {
    let mut shown = table([
        ("header", text(&generic.header)),
        ("hash", text(word(&generic::HASHES, generic.hash))),
        ("value", text(&generic.value)),
        ("signed", text(&generic.signed)),
    ]);
    let more = [
        ("timestamp", &generic.timestamp),
        ("id", &generic.id),
        ("commit", &generic.commit),
        ("ref", &generic.reference),
        ("repository", &generic.repository),
        ("event", &generic.event),
        ("event_is", &generic.event_is),
    ];
    shown.extend(more.into_iter().filter_map(|(key, value)| Some((key.to_owned(), text(value.as_ref()?)))));
    shown
}

fn deploy(app: &App) -> Table {
    table([
        ("timeout", text(write_duration(app.deploy.timeout))),
        ("probation", text(write_duration(app.deploy.probation))),
        ("startup", text(write_duration(app.deploy.startup))),
        ("nice", Value::Integer(app.deploy.nice.into())),
        ("migrate", text(if app.deploy.migrate_stopped { "stopped" } else { "running" })),
    ])
}

fn rehearsal(app: &App) -> Table {
    table([
        ("rehearse", Value::Boolean(app.rehearsal.off.is_none())),
        ("shared", text(word(&app::REHEARSAL_DATA, app.rehearsal.shared))),
        ("env", env(&app.rehearsal.env)),
    ])
}

fn shown_step(step: &Step) -> Table {
    table([
        ("name", text(&step.name)),
        ("phase", text(word(&step::PHASES, step.phase))),
        ("run", command(&step.run)),
        ("timeout", text(write_duration(step.timeout))),
        ("on_failure", text(if step.warn_only { "warn" } else { "abort" })),
        ("env", env(&step.env)),
    ])
}

fn shown_schedule(schedule: &Schedule) -> Table {
    let mut shown = table([
        ("name", text(&schedule.name)),
        ("run", command(&schedule.run)),
        ("timeout", text(write_duration(schedule.timeout))),
        ("env", env(&schedule.env)),
    ]);
    let (key, when) = match &schedule.when {
        When::Every(span) => ("every", text(write_duration(*span))),
        When::At(at) => ("at", text(at)),
    };
    shown.insert(key.into(), when);
    shown
}

fn shown_service(service: &Service) -> Table {
    let mut shown = table([
        ("run", command(&service.run)),
        ("listen", list(&service.listen)),
        ("handover", text(word(&service::HANDOVERS, service.handover))),
        ("rehearse", Value::Boolean(service.rehearse)),
        ("instances", number(service.instances)),
        ("after", list(&service.after)),
        ("restart", text(word(&service::RESTARTS, service.restart))),
        ("stop_signal", text(write_signal(service.stop_signal))),
        ("stop_timeout", text(write_duration(service.stop_timeout))),
        ("ready", text(word(&service::READINESS, service.ready))),
        ("no_new_privs", Value::Boolean(service.no_new_privs)),
        ("private_tmp", Value::Boolean(service.private_tmp)),
        ("env", env(&service.env)),
        ("env_file", paths(&service.env_file)),
        ("log_max", text(write_size(service.log_max))),
        ("log_keep", number(service.log_keep)),
    ]);
    if service.listen.is_empty() {
        shown.remove("listen");
    }
    shown.extend(service.nginx.iter().map(|nginx| ("nginx".to_owned(), Value::Table(shown_nginx(nginx)))));
    shown.extend(service.user.iter().map(|user| ("user".to_owned(), text(user))));
    shown.extend(service.watchdog.map(|span| ("watchdog".to_owned(), text(write_duration(span)))));
    shown.extend(service.memory_max.map(|size| ("memory_max".to_owned(), text(write_size(size)))));
    shown
}

fn shown_nginx(nginx: &Nginx) -> Table {
    table([
        ("file", text(nginx.file.display())),
        ("upstream", text(&nginx.upstream)),
        ("test", command(&nginx.test)),
        ("reload", command(&nginx.reload)),
    ])
}

fn shown_probe(probe: &Probe) -> Table {
    let mut shown = match &probe.target {
        ProbeTarget::Http { url, page } => {
            let mut shown = table([("http", text(url))]);
            shown.extend(shown_page(page));
            shown
        }
        ProbeTarget::Service { service, path, page } => {
            let mut shown = table([("service", text(service)), ("path", text(path))]);
            shown.extend(shown_page(page));
            shown
        }
        ProbeTarget::Tcp(address) => table([("tcp", text(address))]),
        ProbeTarget::Run(run) => table([("run", command(run))]),
        ProbeTarget::Alive(service) => table([("service", text(service))]),
    };
    shown.extend(table([
        ("every", text(write_duration(probe.every))),
        ("timeout", text(write_duration(probe.timeout))),
        ("failures", number(probe.failures)),
        ("grace", text(write_duration(probe.grace))),
    ]));
    shown
}

fn shown_page(page: &Page) -> Table {
    let expect = match page.expect.as_slice() {
        [one] => number(*one),
        several => Value::Array(several.iter().map(|status| number(*status)).collect()),
    };
    let mut shown = table([("expect", expect)]);
    shown.extend(page.contains.iter().map(|contains| ("contains".to_owned(), text(contains))));
    if !page.headers.is_empty() {
        shown.insert("header".into(), env(&page.headers));
    }
    shown.extend(page.latency.map(|latency| ("latency".to_owned(), text(write_duration(latency)))));
    if page.redirects > 0 {
        shown.insert("redirects".into(), number(page.redirects));
    }
    shown.extend(page.tls_days.map(|days| ("tls_days".to_owned(), number(days))));
    shown.extend(page.ca.iter().map(|file| ("ca".to_owned(), text(file.display()))));
    shown
}

fn repair(repair: &Repair) -> Table {
    let mut shown = table([("units", list(&repair.units)), ("reboot", Value::Boolean(repair.reboots_per_day > 0))]);
    if repair.reboots_per_day > 0 {
        shown.insert("reboots_per_day".into(), number(repair.reboots_per_day));
    }
    shown
}

fn backup(app: &App) -> Table {
    let mut shown = table([
        ("paths", paths(&app.backup.paths)),
        ("sqlite", paths(&app.backup.sqlite)),
        ("keep", number(app.backup.keep)),
        ("before_deploy", Value::Boolean(app.backup.before_deploy)),
    ]);
    shown.extend(app.backup.keep_for.map(|span| ("keep_for".to_owned(), text(write_duration(span)))));
    shown
}

/// Puts references back where the file has them, and adds what the file has beside (keys that are not active yet).
fn as_written(meant: &mut Table, written: &Table) {
    for (key, value) in written {
        match (meant.get_mut(key), value) {
            (None, value) => drop(meant.insert(key.clone(), masked(value))),
            (Some(shown), value) => reference_as_written(shown, value),
        }
    }
}

fn reference_as_written(shown: &mut Value, written: &Value) {
    match (shown, written) {
        (Value::String(shown), Value::String(written)) if written.contains("${") => shown.clone_from(written),
        (Value::Array(shown), Value::Array(written)) if shown.len() == written.len() => {
            shown.iter_mut().zip(written).for_each(|(shown, written)| reference_as_written(shown, written));
        }
        (Value::Table(shown), Value::Table(written)) => as_written(shown, written),
        _ => {}
    }
}

/// A value of the file with every reference to a secret hidden.
fn masked(value: &Value) -> Value {
    match value {
        Value::Table(table) if is_secret(table) => text(SECRET),
        Value::Table(table) => Value::Table(table.iter().map(|(key, value)| (key.clone(), masked(value))).collect()),
        Value::Array(items) => Value::Array(items.iter().map(masked).collect()),
        other => other.clone(),
    }
}

fn is_secret(table: &Table) -> bool {
    table.len() == 1 && ["env", "file", "credential"].iter().any(|key| table.get(*key).is_some_and(Value::is_str))
}

fn table<const N: usize>(entries: [(&str, Value); N]) -> Table {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn text(shown: impl Display) -> Value {
    Value::String(shown.to_string())
}

fn list<T: Display>(items: impl IntoIterator<Item = T>) -> Value {
    Value::Array(items.into_iter().map(text).collect())
}

fn number(number: impl Into<i64>) -> Value {
    Value::Integer(number.into())
}

fn paths(paths: &[PathBuf]) -> Value {
    list(paths.iter().map(|path| path.display()))
}

fn env(env: &BTreeMap<String, String>) -> Value {
    Value::Table(env.iter().map(|(name, value)| (name.clone(), text(value))).collect())
}

fn command(command: &Command) -> Value {
    match command {
        Command::Shell(line) => text(line),
        Command::Argv(argv) => list(argv),
    }
}

fn word<T: PartialEq + Copy>(words: &[(&'static str, T)], value: T) -> &'static str {
    words.iter().find(|(_, known)| *known == value).map_or("", |(word, _)| word)
}

#[cfg(test)]
mod tests;
