//! What happens to an application while it is under load, and what its visitors notice.
//!
//! A course is upheavals of one kind, so many times, with a crowd (`wrk`) and visitors on the application throughout.
//! The next one comes when the one before is over and visitors have had answers since: the load never rests between.

use super::visitors::{Failure, Manner, Seen, Visitors};
use super::wrk::{Crowd, Figures};
use super::{World, wait};
use pintle::control::{Answer, DeployStatus, Phase, Request as Ask, RunState};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Connections of the crowd.
pub const CROWD: u32 = 8;
/// Answers visitors have between two upheavals.
pub const BETWEEN: u64 = 60;

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upheaval {
    /// A push of a new version, followed to its end.
    Deploy,
    /// `pintle restart`.
    Restart,
    /// SIGKILL for the daemon, which is started again at once.
    Kill,
    /// The same when a deploy is in this phase; over when what runs is one whole release again.
    KillIn(Phase),
    /// `pintle reexec`.
    Reexec,
}

/// What a crowd and visitors saw of one course.
#[derive(Debug, Clone, Default)]
pub struct Notice {
    pub crowd: Figures,
    pub seen: Seen,
    /// What the longest upheaval took.
    pub longest: Duration,
    /// After how many of them other processes served than before.
    pub replaced: u32,
}

impl Notice {
    /// Requests that failed, for whomever.
    pub fn failed(&self) -> u64 {
        self.crowd.failed() + self.seen.failures.len() as u64
    }
}

/// `times` upheavals of the shop under load on `address`.
#[track_caller]
pub fn course(world: &mut World, address: SocketAddr, keep_alive: bool, what: Upheaval, times: u32) -> Notice {
    let mut notice = Notice::default();
    let (crowd, seen) = under_load(address, keep_alive, &world.root.clone(), |visitors| {
        for _ in 0..times {
            let (before, began) = (serving(world), Instant::now());
            happen(world, what);
            notice.longest = notice.longest.max(began.elapsed());
            notice.replaced += u32::from(serving(world) != before);
            visitors.have_had(BETWEEN);
        }
    });
    Notice { crowd, seen, ..notice }
}

/// Does something with a crowd and visitors on `address`.
pub fn under_load(
    address: SocketAddr,
    keep_alive: bool,
    scratch: &std::path::Path,
    something: impl FnOnce(&Visitors),
) -> (Figures, Seen) {
    let second = if keep_alive { Manner::KeepAlive } else { Manner::Anew };
    let visitors = Visitors::to(address, &[Manner::Anew, second, Manner::Anew, second]);
    let crowd = Crowd::on(&format!("http://{address}/"), CROWD, keep_alive, scratch);
    visitors.have_had(BETWEEN);
    something(&visitors);
    let figures = crowd.leaves();
    (figures, visitors.leave())
}

fn happen(world: &mut World, what: Upheaval) {
    match what {
        Upheaval::Deploy => deploy(world),
        Upheaval::Restart => restart(world),
        Upheaval::Kill => {
            world.replace_daemon();
            settle(world);
        }
        Upheaval::KillIn(phase) => {
            let shop = world.shop();
            let number = shop.push(&shop.version(&next_version(world), &[])).accepted();
            shop.reaches(number, phase);
            world.replace_daemon();
            world.wait("the end of every deploy", || {
                world.history().iter().all(|deployment| deployment.status.is_final()).then_some(())
            });
            settle(world);
            let shop = world.shop();
            assert_eq!(Some(shop.get("/").unwrap().body), shop.live("version"), "what serves is what is live");
        }
        Upheaval::Reexec => {
            let before = image(world.daemon_pid());
            world.pintle(&["reexec"]).exits(0);
            world.wait("the new image", || (image(world.daemon_pid()) != before).then_some(()));
            world.wait("its answer", || matches!(world.ask(&Ask::Ping), Some(Answer::Pong)).then_some(()));
            settle(world);
        }
    }
}

fn deploy(world: &World) {
    let shop = world.shop();
    let version = next_version(world);
    let report = shop.deploy(&version, &[]);
    assert_eq!(report.deployment.status, DeployStatus::Success, "{report:#?}\n{}", shop.log_of(&report));
    let answer = super::Request::get("/").send(shop.port).unwrap();
    assert_eq!(answer.body, version);
}

fn next_version(world: &World) -> String {
    format!("v{}", world.history().len() + 1)
}

fn restart(world: &World) {
    let before = serving(world);
    world.pintle(&["restart", "shop"]).exits(0);
    world.wait("the old instances' end", || serving(world).is_disjoint(&before).then_some(()));
    settle(world);
}

/// Waits until every instance is up.
#[track_caller]
pub fn settle(world: &World) {
    world.wait("the shop to be up", || {
        let instances = world.shop().instances("web");
        (!instances.is_empty() && instances.iter().all(|it| it.state == RunState::Up && it.pid.is_some())).then_some(())
    });
}

/// The processes of the shop's instances, also of those that are stopping.
fn serving(world: &World) -> BTreeSet<u32> {
    world.shop().instances("web").iter().filter_map(|instance| instance.pid).collect()
}

/// Changes with each `execve` of a process: where the kernel put its random bytes, among others.
fn image(pid: i32) -> Vec<u8> {
    std::fs::read(format!("/proc/{pid}/auxv")).unwrap_or_default()
}

/// The heads of the columns of a [`Line`].
pub fn head() -> String {
    let (counts, spans) = (["connect", "read", "write", "status", "late"], ["p50 ms", "p99 ms", "max ms"]);
    let counts: String = counts.map(|head| format!(" {head:>8}")).concat();
    let spans: String = spans.map(|head| format!(" {head:>9}")).concat();
    format!("{:<40} {:>9}{counts} {:>9} {:>7}{spans} {:>10}", "", "requests", "visitors", "failed", "longest s")
}

/// A line of a table, with [`head`] above. What `wrk` counts as a failed write is mostly a refused connection.
pub struct Line<'a>(pub &'a str, pub &'a Notice);

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line(name, notice) = self;
        let (crowd, seen) = (&notice.crowd, &notice.seen);
        let millis = |span: Duration| span.as_secs_f64() * 1e3;
        write!(f, "{name:<40} {:>9} {:>8} {:>8}", crowd.requests, crowd.connect, crowd.read)?;
        write!(f, " {:>8} {:>8} {:>8}", crowd.write, crowd.status, crowd.late)?;
        write!(f, " {:>9} {:>7}", seen.answers, seen.failures.len())?;
        let max = crowd.max.max(seen.longest);
        write!(f, " {:>9.1} {:>9.1} {:>9.1}", millis(crowd.p50), millis(crowd.p99), millis(max))?;
        write!(f, " {:>10.1}", notice.longest.as_secs_f64())
    }
}

/// Failures by their kind: how many, and the first of each.
pub fn kinds(failures: &[Failure]) -> String {
    let mut kinds: BTreeMap<String, (u32, &Failure)> = BTreeMap::new();
    for failure in failures {
        kinds.entry(format!("{:?} {}", failure.point, failure.why)).or_insert((0, failure)).0 += 1;
    }
    kinds.values().map(|(times, first)| format!("    {times} x {first}\n")).collect()
}

/// Waits until somebody answers on `address`.
#[track_caller]
pub fn answers(address: SocketAddr) {
    let port = address.port();
    wait::wait_until("an answer", || super::Request::get("/").send(port).ok().filter(|reply| reply.status == 200));
}
