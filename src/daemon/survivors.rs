//! What an earlier daemon left running: found by its records, held by pidfd, and ended where nobody can take it over.
//!
//! An instance is taken over when its app is configured and its release's definition still knows its service. Everything
//! else that carries our mark - steps, candidates, the listener, children that were let go of - is ended before
//! anything is started.

use super::boot::Found;
use super::event::Thawed;
use super::hands;
use super::work::{self, Bench};
use crate::base::{AppName, InstanceId, Moment};
use crate::config::{App, Config, Service};
use crate::os::fdstore::name_of;
use crate::os::files::because;
use crate::os::instances::Record;
use crate::os::process::Process;
use crate::os::reap;
use crate::os::spawn::Child;
use crate::runtime::confinement;
use crate::supervise::Survivor;
use crate::supervise::instance::Survival;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What is not taken over is asked to end for so long, then killed.
const GRACE: Duration = Duration::from_secs(5);

/// An instance that runs and is taken over.
#[derive(Debug)]
pub struct Held {
    /// Who it is.
    pub record: Record,
    /// Its process: perhaps our child, perhaps somebody else's by now.
    pub child: Child,
    /// Its app and its service as they were meant when it was started.
    pub app: Arc<App>,
    #[allow(missing_docs)]
    pub service: Arc<Service>,
    /// What was kept of it.
    pub output: Option<OwnedFd>,
    #[allow(missing_docs)]
    pub notify: Option<OwnedFd>,
    #[allow(missing_docs)]
    pub check: Option<OwnedFd>,
}

/// An instance that ended while no daemon ran.
#[derive(Debug)]
pub struct Departed {
    /// Who it was.
    pub record: Record,
    /// Its service as it was meant when it was started.
    pub service: Service,
    /// What it said last is in there.
    pub output: Option<OwnedFd>,
}

/// All that are taken over, with the definitions of their releases.
#[derive(Debug, Default)]
pub struct Survivors {
    /// The instances.
    pub held: Vec<Held>,
    /// Those that would be among them.
    pub departed: Vec<Departed>,
    /// By app; of every release that one of them runs.
    pub definitions: BTreeMap<AppName, Vec<Thawed>>,
}

/// Finds them; `kept` are descriptors an earlier daemon left, those of survivors are taken out.
pub fn find(bench: &Bench, config: &Config, kept: &mut BTreeMap<String, OwnedFd>) -> Survivors {
    let records = bench.instances.read().unwrap_or_else(|error| {
        log::error!("look for what an earlier daemon left running: {error}");
        vec![]
    });
    let mut survivors = Survivors::default();
    for record in records {
        let Some(app) = config.apps.get(&record.app) else { continue };
        let thawed = survivors.definition(bench, app, &record);
        let Some(service) = thawed.definition.services.get(&record.service) else { continue };
        let mut take = |kind: &str| kept.remove(&name_of(kind, &record.instance.0.to_string()));
        let (output, notify, check) = (take(hands::OUTPUT), take(hands::NOTIFY), take(hands::CHECK));
        let (app, service) = (thawed.definition.clone(), service.clone());
        match hold(&record) {
            Some(child) => {
                let service = Arc::new(service);
                survivors.held.push(Held { record, child, app, service, output, notify, check });
            }
            None => survivors.departed.push(Departed { record, service, output }),
        }
    }
    survivors
}

/// Ends everything of ours that is not taken over.
pub fn end_others<'a>(bench: &Bench, survivors: &Survivors, apps: impl IntoIterator<Item = &'a AppName>) {
    let instances: BTreeSet<_> = survivors.held.iter().map(|held| held.record.instance).collect();
    let sessions: BTreeSet<u32> = survivors.held.iter().map(|held| held.record.pid).collect();
    let keeper = bench.instances.keeper();
    let spare = |process: &Process| {
        sessions.contains(&process.session)
            || bench.instances.number_of(process).is_some_and(|number| instances.contains(&number) || number == keeper)
    };
    match bench.instances.end_leftovers(&spare, GRACE) {
        Ok(ended) => {
            for record in ended {
                let (app, service, pid) = (record.app, record.service, record.pid);
                log::warn!(
                    "{app}: {service} (pid {pid}) was left running by an earlier daemon and has no place now: ended"
                );
            }
        }
        Err(error) => log::error!("look for what an earlier daemon left running: {error}"),
    }
    let keep = |instance: InstanceId| instances.contains(&instance);
    confinement::clear_leftovers(bench.host(), apps, &keep);
    clear_names(bench, &keep);
    // Those that were children of ours before this program took over would stay as zombies.
    reap::reap_orphans(&|pid| sessions.contains(&pid));
}

/// Takes away the names of pipes and sockets whose instance is not there any more.
fn clear_names(bench: &Bench, keep: &dyn Fn(InstanceId) -> bool) {
    let dirs = [bench.place.outputs(), bench.place.notify_sockets()];
    let paths = dirs.iter().flat_map(fs::read_dir).flat_map(|entries| entries.flatten()).map(|entry| entry.path());
    let number = |path: &Path| match path.extension()?.to_str()? {
        "out" | "sock" | "check" => path.file_stem()?.to_str()?.parse().ok(),
        _ => None,
    };
    for path in paths.filter(|path| number(path).is_some_and(|number| !keep(InstanceId(number)))) {
        if let Err(error) = fs::remove_file(&path) {
            log::warn!("{}", because("remove", &path, &error));
        }
    }
}

/// The process of a record, if it is still that one. A child of ours may have ended while this program took over: how is
/// still to be heard.
fn hold(record: &Record) -> Option<Child> {
    let process = Process::read(record.pid).filter(|it| it.start_time == record.start_time)?;
    let is_ours = process.parent == std::process::id();
    let pidfd = process.hold().filter(|_| process.runs || is_ours)?;
    if is_ours {
        reap::register_existing(record.pid);
    }
    Some(Child { pid: record.pid, pidfd, start_time: record.start_time })
}

impl Survivors {
    fn definition(&mut self, bench: &Bench, app: &App, record: &Record) -> Thawed {
        let known = self.definitions.entry(record.app.clone()).or_default();
        if let Some(thawed) = known.iter().find(|thawed| thawed.release == record.release) {
            return thawed.clone();
        }
        let thawed = work::thaw_live(bench, &Arc::new(app.clone()), &record.release);
        known.push(thawed.clone());
        thawed
    }

    /// What the disk shows of an app, and what runs of it.
    pub fn join(&self, app: &AppName, found: Found) -> Found {
        let known = self.definitions.get(app).into_iter().flatten().cloned();
        let definitions = known.chain(found.definitions).collect();
        Found { definitions, survivors: self.of(app), ..found }
    }

    /// Those of one app, as the supervisor takes them in.
    fn of(&self, app: &AppName) -> Vec<(u32, Survivor)> {
        let now = Moment::now().mono;
        let mine = self.held.iter().filter(|held| held.record.app == *app);
        mine.map(|held| {
            let record = &held.record;
            let since = since_boot(record.start_time).min(now);
            let survivor = Survivor {
                instance: record.instance,
                service: held.service.clone(),
                release: record.release.clone(),
                index: record.index,
                round: record.round,
                port: record.port,
                survival: Survival {
                    since,
                    ready: record.ready,
                    restarts: record.restarts,
                    speaks_every: record.speaks_every,
                    asked_to_end: record.asked_to_end,
                },
            };
            (record.pid, survivor)
        })
        .collect()
    }
}

/// Clock ticks since boot as time on the monotonic clock.
fn since_boot(ticks: u64) -> Duration {
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten().unwrap_or(100).max(1);
    Duration::from_nanos(ticks.saturating_mul(1_000_000_000 / per_second as u64))
}
