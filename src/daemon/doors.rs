//! The two sockets: whoever connects gets a thread, asks one document per line, and is answered.
//!
//! What decides anything goes through the loop; what only reads (history, logs) is read here, so that a slow reader
//! holds up nobody. The listener's door is narrow: it opens for its user only and carries four requests. `asked` reads
//! what a connection asks, `delivering` has deliveries judged, with what was `remembered` of them.

mod asked;
mod delivering;
mod remembered;

pub use remembered::Remembered;

use super::event::{Event, Known, RequestId};
use super::figures;
use super::hands::Replies;
use super::hub::{Following, log_path};
use super::work::{self, Bench};
use crate::base::{AppName, DeployId, Moment, ScheduleName, ServiceName};
use crate::config::App;
use crate::control::wire;
use crate::control::{
    Answer, BackupsReport, BoardHistory, DeliveriesReport, DeploymentReport, Followed, HistoryReport, Phase,
    PublicDeployment, ReleaseView, ReleasesReport, Request, Trigger,
};
use crate::health::gathering::Kept;
use crate::os::cancel::Cancel;
use crate::os::files::because;
use crate::os::releases::Releases;
use crate::os::{backup, tail};
use crate::store::Diary;
use asked::Asked;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, RwLock};
use std::time::Duration;

/// Connections at a door at once; one more waits in the backlog.
const GUESTS: usize = 128;
/// The exit code of what was asked in vain.
const USAGE: u8 = 64;
/// The loop answers at once; what it hands to the disk or to services takes longer, but not for ever.
const PATIENCE: Duration = Duration::from_secs(8);
const PATIENCE_FOR_SERVICES: Duration = Duration::from_secs(900);
const PATIENCE_FOR_PEERS: Duration = Duration::from_secs(120);
/// How long a connection of the listener may lie unused.
const IDLE: Duration = Duration::from_secs(10);
/// Who follows a deployment that has not begun is looked after so often.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// An answer of the loop that somebody waits for.
struct Awaited {
    from: RequestId,
    answer: Receiver<Answer>,
}

/// What every connection has at hand.
#[derive(Clone)]
pub struct Desk {
    /// Where things are and who is to be told.
    pub bench: Bench,
    /// What the diary remembers of deliveries.
    pub remembered: Arc<Remembered>,
    /// Requests under way.
    pub replies: Replies,
    /// The apps as configured now.
    pub apps: Arc<RwLock<BTreeMap<AppName, Arc<App>>>>,
    /// When the daemon started, since boot.
    pub since: Duration,
}

/// Which socket somebody came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// People, through the command line.
    Control,
    /// The listener.
    Listener,
}

/// Where a door is, and who may come in.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct DoorPlan {
    pub path: PathBuf,
    pub mode: u32,
    /// User and group.
    pub owner: Option<(u32, u32)>,
    pub door: Door,
}

/// Opens a socket file and serves it on threads - the one that the program before us served (`before`), where there is
/// one: whoever connected meanwhile waits in it. Gives a copy of it for a program after us.
pub fn open(plan: DoorPlan, before: Option<OwnedFd>, desk: Desk) -> io::Result<OwnedFd> {
    let DoorPlan { path, mode, owner, door } = plan;
    let path = path.as_path();
    let listener = match before {
        Some(socket) if path.exists() => UnixListener::from(socket),
        _ => bind(path)?,
    };
    if let Some((uid, gid)) = owner {
        std::os::unix::fs::chown(path, Some(uid), Some(gid)).map_err(|error| because("give away", path, &error))?;
    }
    let permissions = fs::Permissions::from_mode(mode);
    fs::set_permissions(path, permissions).map_err(|error| because("set the mode of", path, &error))?;
    let name = if door == Door::Control { "control" } else { "listener-door" };
    let thread = std::thread::Builder::new().name(name.into()).stack_size(128 << 10);
    let copy = listener.as_fd().try_clone_to_owned()?;
    thread.spawn(move || serve(&listener, door, &desk))?;
    Ok(copy)
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(because("replace", path, &error)),
        _ => {}
    }
    UnixListener::bind(path).map_err(|error| because("listen on", path, &error))
}

fn serve(listener: &UnixListener, door: Door, desk: &Desk) {
    let guests = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                log::warn!("accept on the {door:?} socket: {error}");
                std::thread::sleep(Duration::from_millis(100));
                continue;
            }
        };
        if guests.fetch_add(1, Ordering::SeqCst) >= GUESTS {
            guests.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        let (desk, left) = (desk.clone(), guests.clone());
        let thread = std::thread::Builder::new().name("guest".into()).stack_size(512 << 10);
        let served = thread.spawn(move || {
            // A guest that went away is no news.
            let _ = desk.attend(stream, door);
            left.fetch_sub(1, Ordering::SeqCst);
        });
        if let Err(error) = served {
            guests.fetch_sub(1, Ordering::SeqCst);
            log::error!("start a thread for a connection: {error}");
        }
    }
}

impl Desk {
    fn attend(&self, stream: UnixStream, door: Door) -> io::Result<()> {
        if door == Door::Listener {
            // It keeps connections for its next requests; one that is not used is not worth a thread.
            stream.set_read_timeout(Some(IDLE))?;
        }
        let mut out = stream.try_clone()?;
        let mut asked = Asked::by(stream);
        while let Some(request) = asked.next()? {
            match request {
                Ok(request) if door == Door::Listener && !request.on_listener_socket() => {
                    wire::send(&mut out, &error(77, "this request is not for the listener's socket"))?;
                }
                Ok(Request::Deliver(first)) => {
                    let together = std::iter::once(first).chain(asked.more_deliveries()?).collect();
                    wire::send_all(&mut out, &self.deliver(together))?;
                }
                Ok(request) => self.answer(request, door, &mut out)?,
                Err(why) => {
                    let message = format!("not a request this daemon knows ({why}); are both of one version?");
                    wire::send(&mut out, &error(64, message))?;
                }
            }
        }
        Ok(())
    }

    fn answer(&self, request: Request, door: Door, out: &mut UnixStream) -> io::Result<()> {
        let answer = match request {
            Request::Follow { number } => return self.follow(number, door, out),
            Request::Logs { app, service, schedule, deployment, lines, follow } => {
                let files = match (app, schedule, deployment) {
                    (_, _, Some(number)) => self.deployment_log(number),
                    (Some(app), Some(schedule), None) => self.schedule_log(&app, &schedule),
                    (Some(app), None, None) => self.service_logs(&app, service.as_ref()),
                    (None, ..) => Err("which app? `pintle logs APP`".into()),
                };
                return self.logs(files, lines, follow, out);
            }
            Request::History { app, limit } => self.read(|diary| {
                let notices =
                    diary.notices()?.into_iter().map(|notice| format!("{}: {}", notice.at, notice.text)).collect();
                Ok(Answer::History(HistoryReport { deployments: diary.history(app.as_ref(), limit)?, notices }))
            }),
            Request::Show { number } => match self.deployment(number) {
                Ok(mut report) => {
                    let path = log_path(&self.bench.place.state_dir, &report.deployment.app, number);
                    report.log = Some(path.display().to_string());
                    Answer::Show(Box::new(report))
                }
                Err(answer) => *answer,
            },
            Request::Releases { app } => self.releases(&app),
            Request::BackupList { app } => self.backups(&app),
            Request::BackupPrune { app } => self.prune(&app),
            Request::Status { .. } => self.with_figures(self.ask(request, PATIENCE)),
            Request::PublicStatus => self.with_last_deployments(self.ask(request, PATIENCE)),
            Request::Deliveries { ref app, limit } => {
                let refused = self.ask(request.clone(), PATIENCE);
                self.deliveries(refused, app.as_ref(), limit)
            }
            Request::BoardHistory { since_seconds } => {
                let unwritten = self.ask(request, PATIENCE);
                self.board_history(unwritten, Duration::from_secs(since_seconds))
            }
            Request::Start { .. } | Request::Stop { .. } | Request::Restart { .. } => {
                self.ask(request, PATIENCE_FOR_SERVICES)
            }
            Request::Deploy(_) => self.ask(request, work_patience()),
            Request::NotifyTest { .. } => self.ask(request, PATIENCE_FOR_PEERS),
            Request::Approve { number } => self.approve(number),
            other => self.ask(other, PATIENCE),
        };
        wire::send(out, &answer)
    }

    /// Has the loop decide.
    fn ask(&self, request: Request, patience: Duration) -> Answer {
        let (answer, event) = self.put(request, Known::default());
        self.bench.post.send(event);
        self.heard(&answer, patience)
    }

    /// A question to the loop, and where its answer will be.
    fn put(&self, request: Request, known: Known) -> (Awaited, Event) {
        let (to, answer) = sync_channel(1);
        let from = self.replies.expect(to);
        (Awaited { from, answer }, Event::Asked { from, request, known })
    }

    fn heard(&self, awaited: &Awaited, patience: Duration) -> Answer {
        awaited.answer.recv_timeout(patience).unwrap_or_else(|_| {
            self.replies.forget(awaited.from);
            error(69, format!("the daemon did not answer within {} s", patience.as_secs()))
        })
    }

    /// The loop knows those that have not ended; of the others the diary tells whether they were approved once.
    fn approve(&self, number: DeployId) -> Answer {
        let message = match self.ask(Request::Approve { number }, PATIENCE) {
            Answer::Error { exit: USAGE, message } => message,
            answer => return answer,
        };
        match self.deployment(number) {
            Err(answer) => *answer,
            Ok(report) if !report.deployment.status.is_final() => error(USAGE, message),
            Ok(report) => {
                let status = report.deployment.status.to_string().replace('_', " ");
                let state = format!("it has ended ({status}): `pintle show {}`", number.0);
                match report.approved {
                    true => Answer::Done { message: format!("deployment {} was approved; {state}", number.0) },
                    false => error(USAGE, format!("deployment {} does not wait for an approval: {state}", number.0)),
                }
            }
        }
    }

    fn app(&self, name: &AppName) -> Option<Arc<App>> {
        self.apps.read().ok()?.get(name).cloned()
    }

    fn read(&self, look: impl FnOnce(&Diary) -> Result<Answer, crate::store::StoreError>) -> Answer {
        let diary = Diary::open_read_only(&self.bench.place.state_dir);
        diary.and_then(|diary| look(&diary)).unwrap_or_else(|why| error(3, why.to_string()))
    }

    fn releases(&self, app: &AppName) -> Answer {
        if self.app(app).is_none() {
            return error(64, format!("there is no app {app}"));
        }
        self.read(|diary| Ok(Answer::Releases(releases_report(&self.bench, diary, app)?)))
    }

    fn backups(&self, name: &AppName) -> Answer {
        let Some(app) = self.app(name) else { return error(64, format!("there is no app {name}")) };
        let shelf = match backup::list(&self.bench.place.app(name)) {
            Ok(shelf) => shelf,
            Err(why) => return error(3, why.to_string()),
        };
        self.read(|diary| {
            let known = diary.backups(name)?;
            let backups = shelf.iter().map(|shelved| {
                let mut row = work::open_row(&app, shelved);
                row.verified = known.iter().find(|known| known.id == row.id).and_then(|known| known.verified);
                row
            });
            Ok(Answer::Backups(BackupsReport { backups: backups.collect() }))
        })
    }

    fn prune(&self, name: &AppName) -> Answer {
        let Some(app) = self.app(name) else { return error(64, format!("there is no app {name}")) };
        match self.bench.prune(&app) {
            Ok(gone) if gone.is_empty() => Answer::Done { message: "nothing to prune".into() },
            Ok(gone) => {
                let names: Vec<String> = gone.iter().map(|id| id.to_string()).collect();
                Answer::Done { message: format!("removed {}", names.join(", ")) }
            }
            Err(why) => error(3, why.to_string()),
        }
    }

    /// What the diary remembers and what the loop does (the refused, which belong to no app), newest first.
    fn deliveries(&self, refused: Answer, app: Option<&AppName>, limit: u32) -> Answer {
        let Answer::Deliveries(DeliveriesReport { deliveries: refused }) = refused else { return refused };
        self.read(|diary| {
            let mut deliveries = diary.deliveries(app, limit)?;
            deliveries.extend(refused.into_iter().filter(|_| app.is_none()));
            deliveries.sort_by_key(|view| std::cmp::Reverse(view.at));
            deliveries.truncate(limit as usize);
            Ok(Answer::Deliveries(DeliveriesReport { deliveries }))
        })
    }

    /// What the diary remembers of the board, and what is not written down yet.
    fn board_history(&self, unwritten: Answer, back: Duration) -> Answer {
        let Answer::BoardHistory(BoardHistory { samples: unwritten, lost, .. }) = unwritten else { return unwritten };
        self.read(|diary| {
            let kept = Kept { unwritten, ..diary.samples()? };
            Ok(Answer::BoardHistory(kept.history(Moment::now().wall, back, lost)))
        })
    }

    /// What only the kernel knows.
    fn with_figures(&self, answer: Answer) -> Answer {
        let Answer::Status(mut report) = answer else { return answer };
        figures::fill_in(&self.bench, self.since, &mut report);
        Answer::Status(report)
    }

    fn with_last_deployments(&self, answer: Answer) -> Answer {
        let Answer::PublicStatus(mut status) = answer else { return answer };
        if let Ok(diary) = Diary::open_read_only(&self.bench.place.state_dir) {
            for app in &mut status.apps {
                let last = diary.history(Some(&app.app), 5).unwrap_or_default().into_iter();
                let public = last.map(|deployment| PublicDeployment {
                    number: deployment.number,
                    commit: deployment.commit,
                    status: deployment.status,
                    started: deployment.started,
                    finished: deployment.finished,
                    phase: Some(deployment.phase),
                    trigger: Some(deployment.trigger),
                    message: deployment.message,
                });
                app.deployments = public.collect();
            }
        }
        Answer::PublicStatus(status)
    }

    /// Streams a deployment: its log so far, what comes, its end. One that has not begun is waited for.
    fn follow(&self, number: DeployId, door: Door, out: &mut UnixStream) -> io::Result<()> {
        let report = match self.deployment(number) {
            Ok(report) => report,
            Err(answer) => return wire::send(out, &*answer),
        };
        let from_outside = matches!(report.deployment.trigger, Trigger::Webhook | Trigger::Deploy | Trigger::Poll);
        if door == Door::Listener && !from_outside {
            return wire::send(out, &error(77, "not a deployment of the listener"));
        }
        wire::send(out, &Answer::Stream)?;
        let path = log_path(&self.bench.place.state_dir, &report.deployment.app, number);
        loop {
            let seen = self.bench.hub.news();
            // Joined before the diary is asked: a deployment that ends in between is found in one of the two.
            if let Some(Following { length, phase, rest, .. }) = self.bench.hub.follow(number) {
                let told = send_log(&path, length, number, out)?;
                if let Some(phase) = phase.filter(|phase| told != Some(*phase)) {
                    wire::send(out, &Followed::Phase { phase, number })?;
                }
                for line in rest {
                    wire::send(out, &line)?;
                    if matches!(line, Followed::End { .. }) {
                        return Ok(());
                    }
                }
                // It lagged and was let go: the end of the connection tells it to come again.
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            match self.deployment(number) {
                Ok(report) if report.deployment.status.is_final() => return send_ended(report, &path, out),
                Ok(_) => {}
                // The diary cannot be read now; a stream that ends early makes whoever follows come again.
                Err(_) => return Err(io::ErrorKind::BrokenPipe.into()),
            }
            self.bench.hub.wait_for_news(seen, LOOK_AGAIN);
            if is_gone(out) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
        }
    }

    /// What the diary knows of a deployment; else what to answer.
    fn deployment(&self, number: DeployId) -> Result<DeploymentReport, Box<Answer>> {
        let found = Diary::open_read_only(&self.bench.place.state_dir).and_then(|diary| diary.show(number));
        match found {
            Ok(Some(report)) => Ok(report),
            Ok(None) => {
                let message = format!("there is no deployment {}: `pintle history` lists them", number.0);
                Err(Box::new(error(64, message)))
            }
            Err(why) => Err(Box::new(error(3, why.to_string()))),
        }
    }

    /// Streams log lines as they are.
    fn logs(&self, files: Result<LogFiles, String>, lines: u32, follow: bool, out: &mut UnixStream) -> io::Result<()> {
        let paths = match files {
            Ok(paths) => paths,
            Err(message) => return wire::send(out, &error(64, message)),
        };
        wire::send(out, &Answer::Stream)?;
        let cancel = Cancel::new()?;
        let several = paths.len() > 1;
        let shared = std::sync::Mutex::new(out.try_clone()?);
        std::thread::scope(|scope| {
            for (label, path) in &paths {
                let (shared, cancel) = (&shared, &cancel);
                let copy = move || {
                    let mut each = |line: &[u8]| {
                        let label = if several { format!("{label} | ") } else { String::new() };
                        let whole = [label.as_bytes(), line, b"\n"].concat();
                        let mut out = shared.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                        match out.write_all(&whole) {
                            Ok(()) => ControlFlow::Continue(()),
                            Err(_) => ControlFlow::Break(()),
                        }
                    };
                    // A log that is not there yet has no lines.
                    let _ = tail::tail(path, lines as usize, follow.then_some(cancel), &mut each);
                };
                match follow {
                    true => drop(scope.spawn(copy)),
                    false => copy(),
                }
            }
            if follow {
                until_gone(out);
                cancel.cancel();
            }
        });
        out.shutdown(std::net::Shutdown::Both)
    }

    fn deployment_log(&self, number: DeployId) -> Result<LogFiles, String> {
        let place = &self.bench.place;
        let diary = Diary::open_read_only(&place.state_dir).map_err(|error| error.to_string())?;
        let report = diary.show(number).map_err(|error| error.to_string())?;
        let report = report.ok_or_else(|| format!("there is no deployment {}", number.0))?;
        Ok(vec![("deploy".into(), log_path(&place.state_dir, &report.deployment.app, number))])
    }

    fn schedule_log(&self, name: &AppName, schedule: &ScheduleName) -> Result<LogFiles, String> {
        let app = self.app(name).ok_or_else(|| format!("there is no app {name}"))?;
        let path = self.bench.place.schedule_log(name, schedule);
        // One that is configured no longer may have left its log.
        let is_known = app.schedules.iter().any(|one| one.name == *schedule) || path.exists();
        match is_known {
            true => Ok(vec![(schedule.to_string(), path)]),
            false => Err(format!("{name} has no schedule {schedule}")),
        }
    }

    fn service_logs(&self, name: &AppName, service: Option<&ServiceName>) -> Result<LogFiles, String> {
        let app = self.app(name).ok_or_else(|| format!("there is no app {name}"))?;
        if let Some(unknown) = service.filter(|one| !app.services.contains_key(*one)) {
            return Err(format!("{name} has no service {unknown}"));
        }
        let names = app.services.keys().filter(|one| service.is_none_or(|wanted| wanted == *one));
        Ok(names.map(|one| (one.to_string(), self.bench.place.service_log(name, one))).collect())
    }
}

/// Logs, each with what its lines begin with where there are several.
type LogFiles = Vec<(String, std::path::PathBuf)>;

/// The releases on disk with what the diary knows of them.
pub fn releases_report(
    bench: &Bench,
    diary: &Diary,
    app: &AppName,
) -> Result<ReleasesReport, crate::store::StoreError> {
    let known = diary.releases_info(app)?;
    let releases = Releases::new(&bench.place.app(app));
    let (on_disk, live) = (releases.list().unwrap_or_default(), releases.current().ok().flatten());
    let mut previous = known.iter().filter(|info| info.good && Some(&info.release) != live.as_ref());
    let previous = previous.next().map(|info| info.release.clone());
    let view = |release: &crate::base::ReleaseName| {
        let info = known.iter().find(|info| info.release == *release);
        let state = match info {
            _ if Some(release) == live.as_ref() => "live",
            _ if Some(release) == previous.as_ref() => "previous",
            Some(info) if info.good => "good",
            Some(info) if info.status.is_final() => info.status.as_str(),
            _ => "unknown",
        };
        ReleaseView {
            release: release.clone(),
            commit: info.map(|info| info.commit.to_string()),
            state: state.into(),
            created: info.map(|info| info.created),
            quarantined: info.is_some_and(|info| info.quarantined),
        }
    };
    Ok(ReleasesReport { app: app.clone(), releases: on_disk.iter().rev().map(view).collect() })
}

fn error(exit: u8, message: impl Into<String>) -> Answer {
    Answer::Error { exit, message: message.into() }
}

/// A person's deploy is answered after its commit was looked up at the source.
fn work_patience() -> Duration {
    work::LOOK_PATIENCE + PATIENCE
}

/// What a log file holds, as it was told when it was new. Returns the last phase among it. A phase comes once and never
/// before an earlier one: a step that prints such a line does not make another story of it.
fn send_log(path: &Path, length: u64, number: DeployId, out: &mut UnixStream) -> io::Result<Option<Phase>> {
    let Ok(file) = File::open(path) else { return Ok(None) };
    let mut told = None;
    for line in BufReader::new(file.take(length)).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        let phase = line.strip_prefix("== ").and_then(|word| word.parse::<Phase>().ok());
        match phase.filter(|phase| told.is_none_or(|told| told < *phase)) {
            Some(phase) => {
                told = Some(phase);
                wire::send(out, &Followed::Phase { phase, number })?;
            }
            None => wire::send(out, &Followed::Log { line })?,
        }
    }
    Ok(told)
}

/// A deployment that is over, as a stream.
fn send_ended(report: DeploymentReport, path: &Path, out: &mut UnixStream) -> io::Result<()> {
    send_log(path, u64::MAX, report.deployment.number, out)?;
    for step in report.steps {
        wire::send(out, &Followed::Step(step))?;
    }
    let (deployment, exit) = (report.deployment, report.exit.unwrap_or(70));
    let (number, status, phase) = (deployment.number, deployment.status, deployment.phase);
    let (release, message) = (deployment.release, deployment.message);
    wire::send(out, &Followed::End { number, status, exit, phase, release, message })
}

/// Whether the other side has hung up: who follows has nothing to say, so anything to read is the end.
fn is_gone(stream: &UnixStream) -> bool {
    let mut watched = [PollFd::new(stream.as_fd(), PollFlags::POLLIN)];
    nix::poll::poll(&mut watched, PollTimeout::ZERO).unwrap_or(0) > 0
}

/// Returns when the other side hangs up.
fn until_gone(stream: &UnixStream) {
    let mut byte = [0];
    // Whatever it says now, it is leaving.
    let _ = (&mut &*stream).read(&mut byte);
}
