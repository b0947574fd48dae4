//! Reads `apps/NAME.toml`: one application, put together from the readers of its tables.

use super::host::user;
use super::read::Section;
use super::sheet::Sheet;
use super::{
    Access, App, Deploy, ProbeTarget, Ready, Rehearsal, RehearsalData, Service, Source, backup, notify, probe, repair,
    schedule, service, source, step, trigger,
};
use crate::base::{AppName, ServiceName};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Reads the whole file. What was wrong is on the sheet; the application may be used only when nothing was.
pub(super) fn read(sheet: &Sheet<'_>, name: AppName, definition: toml::Table) -> App {
    let root = Section::new(sheet, "", &definition);
    let source = read_source(&root);
    let user = read_user(&root);
    let trigger = match root.table("trigger") {
        // Of no use to a release that was deployed already, and its secrets may be gone.
        Some(_) if sheet.context.frozen => trigger::none(&source.git),
        Some(section) => trigger::read(&section, &source.git),
        None => trigger::none(&source.git),
    };
    let status = root.table("commit_status");
    let commit_status =
        status.and_then(|table| notify::read_commit_status(&table, name.as_str(), &trigger, &source.git));
    let deploy = read_deploy(root.table("deploy"));
    let steps = step::read(&root.tables("step"));
    let schedules = schedule::read(&root.tables("schedule"));

    let tables = root.named_tables("service");
    let names: Vec<&str> = tables.iter().map(|(name, _)| *name).collect();
    let mut services = service::read(&tables, user.as_deref());
    let probes = probe::read(root.table("health").as_ref(), &root.tables("probe"), &names);
    for (_, section) in tables.iter().filter(|(name, _)| !can_become_ready(name, &services, &probes)) {
        let advice = "add [health] with service and path, or write ready = \"exec\"";
        section.problem("ready", "\"probe\" needs a probe that looks at this service", advice);
    }

    let repair = repair::read(root.table("repair").as_ref());
    let backed_up = backup::read(root.table("backup").as_ref(), &source.shared);
    let mut rehearsal = read_rehearsal(&root);
    settle_rehearsal(&root, &mut rehearsal, &mut services, &source.shared, &backed_up);
    for kind in ["compose", "swarm"] {
        if root.has(kind) {
            root.problem(kind, format!("not active yet: applications run by {kind}"), "write [service.NAME] for now");
        }
    }
    drop(tables);
    drop(root);
    App {
        name,
        source,
        user,
        trigger,
        deploy,
        rehearsal,
        steps,
        schedules,
        services,
        probes,
        repair,
        backup: backed_up.backup,
        commit_status,
        definition,
    }
}

fn read_source(root: &Section<'_>) -> Source {
    root.missing("source", "write [source] with git and branch");
    match root.table("source") {
        Some(section) => source::read(&section),
        None => Source {
            git: String::new(),
            branch: "main".into(),
            keep_releases: 5,
            shared: Vec::new(),
            subdirectory: PathBuf::new(),
            submodules: false,
            lfs: false,
            access: Access::default(),
        },
    }
}

fn read_user(root: &Section<'_>) -> Option<String> {
    let section = root.table("app");
    let named = section.as_ref().is_some_and(|section| section.has("user"));
    let user = section.as_ref().and_then(|section| user(section, "user"));
    let allowed = section.as_ref().and_then(|section| section.boolean("allow_root")).unwrap_or(false);
    if root.sheet.context.environment.is_root && !named && !allowed {
        let advice = "write [app] user = \"NAME\", a user without rights; allow_root = true if it must be root";
        root.sheet.problem("app.user", "is missing: steps and services would run as root", advice);
    }
    if root.sheet.context.environment.is_root && user.as_deref() == Some("root") && !allowed {
        root.sheet.problem("app.user", "is root", "name a user without rights, or add allow_root = true");
    }
    user
}

fn read_deploy(section: Option<Section<'_>>) -> Deploy {
    let section = section.as_ref();
    let seconds = Duration::from_secs;
    Deploy {
        timeout: section.and_then(|deploy| deploy.positive_duration("timeout")).unwrap_or(seconds(300)),
        probation: section.and_then(|deploy| deploy.duration("probation")).unwrap_or(seconds(30)),
        startup: section.and_then(|deploy| deploy.positive_duration("startup")).unwrap_or(seconds(60)),
        nice: section.and_then(|deploy| deploy.count("nice", 0, 19)).map_or(10, |nice| nice as i32),
        migrate_stopped: section
            .and_then(|deploy| deploy.word("migrate", &[("running", false), ("stopped", true)]))
            .unwrap_or(false),
    }
}

/// The kinds of data by the names they are configured with.
pub(super) const REHEARSAL_DATA: [(&str, RehearsalData); 3] =
    [("copy", RehearsalData::Copy), ("live", RehearsalData::Live), ("empty", RehearsalData::Empty)];

fn read_rehearsal(root: &Section<'_>) -> Rehearsal {
    let mut rehearsal = Rehearsal { shared: RehearsalData::Copy, env: BTreeMap::new(), off: None };
    let switched_on = match root.value("rehearsal") {
        None => return rehearsal,
        Some(toml::Value::Boolean(on)) => *on,
        Some(_) => {
            let Some(section) = root.table("rehearsal") else { return rehearsal };
            rehearsal.shared = section.word("shared", &REHEARSAL_DATA).unwrap_or(RehearsalData::Copy);
            rehearsal.env = section.env("env");
            section.boolean("rehearse").unwrap_or(true)
        }
    };
    if !switched_on {
        rehearsal.off = Some("switched off in the configuration".into());
    }
    rehearsal
}

/// Decides whether anything is rehearsed at all, and says what a candidate will not find.
fn settle_rehearsal(
    root: &Section<'_>,
    rehearsal: &mut Rehearsal,
    services: &mut BTreeMap<ServiceName, Service>,
    shared: &[PathBuf],
    backed_up: &backup::Read,
) {
    let wanted = services.values().any(|service| service.rehearse);
    let covers = |path: &PathBuf| backed_up.backup.paths.iter().any(|covered| path.starts_with(covered));
    let copies = rehearsal.shared == RehearsalData::Copy && !shared.is_empty();
    if rehearsal.off.is_none() && wanted {
        if backed_up.server && rehearsal.env.is_empty() {
            let why = "a database server is configured and [rehearsal] env names no other one for candidates";
            root.notice("rehearsal", format!("is off: {why}"));
            rehearsal.off = Some(why.into());
        } else if copies && !backed_up.backup.before_deploy {
            let why = "there is no backup to copy the data from: backup.before_deploy is false";
            root.notice("rehearsal", format!("is off: {why}; write [rehearsal] shared = \"empty\" or \"live\""));
            rehearsal.off = Some(why.into());
        } else if copies {
            for path in shared.iter().filter(|path| !covers(path)) {
                let text = format!(
                    "does not cover all of the shared path {}: a rehearsal finds the rest missing",
                    path.display()
                );
                root.sheet.notice("backup.paths", text);
            }
        }
    }
    if rehearsal.off.is_some() {
        services.values_mut().for_each(|service| service.rehearse = false);
    }
}

/// `ready = "probe"` waits for ever unless some probe looks at the service or at an address of it.
fn can_become_ready(name: &str, services: &BTreeMap<ServiceName, Service>, probes: &[super::Probe]) -> bool {
    let Some(service) = services.values().find(|service| service.name.as_str() == name) else { return true };
    let addresses: Vec<String> = service.listen.iter().map(ToString::to_string).collect();
    service.ready != Ready::Probe
        || probes.iter().any(|probe| match &probe.target {
            ProbeTarget::Service { service, .. } => service.as_str() == name,
            ProbeTarget::Alive(_) => false,
            ProbeTarget::Tcp(address) => addresses.contains(address),
            ProbeTarget::Http { url, .. } => addresses.iter().any(|address| url.contains(&format!("//{address}"))),
            ProbeTarget::Run(_) => service.listen.is_empty() && services.len() == 1,
        })
}
