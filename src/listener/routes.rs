//! Which request is answered by what: contracts, section 3.

use super::Setup;
use super::access::{Access, Sight};
use super::ask::{Answered, Ask, Reply};
use super::daemon::Daemon;
use super::guard::{Admission, Counts, Entrance};
use super::hooks::Accepted;
use super::live::{Format, Heard};
use super::notes::Notes;
use super::pages::Pages;
use super::story::Story;
use super::{hooks, live, pages, wait};
use crate::base::{DeployId, Moment};
use crate::config::Forge;
use crate::control::{Delivery, DeployStatus, Trigger, Verdict};
use crate::delivery::{self, AppTrigger, Decision, Door, RequestHead};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Callers of `?wait=1` at a time: each holds a thread for as long as its deploy takes.
pub const WAITERS: usize = 32;

/// Deliveries on their way to the daemon at a time: each holds a little memory for up to eight seconds.
pub const ON_THEIR_WAY: usize = 128;

/// Listeners of live logs at a time: each holds a thread until the deployment's end, or until it leaves.
pub const LISTENERS: usize = 32;

/// Everything a request may lead to.
#[derive(Debug)]
pub struct Routes {
    apps: Vec<AppTrigger>,
    max_body: u64,
    access: Access,
    pages: Pages,
    daemon: Arc<Daemon>,
    notes: Option<Notes>,
    waiters: Seats,
    on_their_way: Seats,
    listeners: Seats,
}

/// What a request is answered with.
pub enum Outcome {
    /// This.
    Now(Reply),
    /// What comes of a delivery, once the daemon has said so.
    Carried(Delivery, Box<dyn FnOnce(Result<Vec<Verdict>, Reply>) -> Reply + Send>),
    /// What this returns: it takes longer than a thread that answers requests has, and gets one of its own.
    Later(Errand),
}

/// Work that ends in an answer.
pub type Errand = Box<dyn FnOnce() -> Answered + Send>;

/// What a request for a page may carry: nobody reads it.
const PAGE_BODY: u64 = 8 << 10;

pub(super) enum Route<'a> {
    Hook(Door<'a>),
    Health,
    Status,
    ApiStatus,
    Log(DeployId),
}

impl Route<'_> {
    /// The methods that are answered.
    pub(super) fn methods(&self) -> &'static [&'static str] {
        match self {
            Route::Hook(_) => &["POST"],
            Route::Health | Route::Status | Route::ApiStatus | Route::Log(_) => &["GET", "HEAD"],
        }
    }

    /// Whether `dashboard = false` switches it off.
    fn is_of_dashboard(&self) -> bool {
        matches!(self, Route::ApiStatus | Route::Log(_))
    }
}

/// How long a caller of `/deploy` stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stay {
    /// Until the deployment is on disk.
    No,
    /// Until its end: `?wait=1`.
    UntilTheEnd,
    /// Until its end, hearing all of it: `?follow=1`, or `?wait=1` of a client that accepts events.
    Listening(Format),
}

impl Stay {
    fn of(door: Door<'_>, ask: &Ask) -> Stay {
        let (wait, format) = (ask.says("wait"), Format::wanted(ask));
        match door {
            Door::Deploy { .. } if ask.says("follow") || wait && format == Format::Events => Stay::Listening(format),
            Door::Deploy { .. } if wait => Stay::UntilTheEnd,
            _ => Stay::No,
        }
    }
}

impl Routes {
    /// The routes of one listener.
    pub fn new(setup: Setup) -> Arc<Routes> {
        Arc::new(Routes {
            apps: setup.apps,
            max_body: setup.limits.max_body,
            access: Access { dashboard: setup.dashboard, token: setup.token },
            pages: Pages::new(),
            notes: notes(&setup.socket),
            daemon: Arc::new(Daemon::at(setup.socket)),
            waiters: Seats::of(WAITERS),
            on_their_way: Seats::of(ON_THEIR_WAY),
            listeners: Seats::of(LISTENERS),
        })
    }

    /// Who decides what becomes of a delivery.
    pub(super) fn daemon(&self) -> Arc<Daemon> {
        Arc::clone(&self.daemon)
    }

    /// Answers a whole request.
    pub fn answer(self: &Arc<Self>, ask: &Ask) -> Outcome {
        let route = match self.route(&ask.method, &ask.path) {
            Ok(route) => route,
            Err(refusal) => return Outcome::Now(refusal),
        };
        match route {
            Route::Hook(door) => self.hook(door, ask),
            Route::Health => Outcome::Now(self.pages.health(&self.daemon)),
            Route::Status => Outcome::Now(self.status(self.access.sight(ask))),
            Route::ApiStatus => Outcome::Now(self.status(self.access.admit(ask).map(|()| Sight::Detailed))),
            Route::Log(number) => self.log(number, ask),
        }
    }

    /// The route of a request; else 404 or 405.
    fn route<'a>(&self, method: &str, path: &'a str) -> Result<Route<'a>, Reply> {
        let there = route(path).filter(|route| self.access.dashboard || !route.is_of_dashboard());
        let route = there.ok_or_else(|| Reply::error(404, "no such page"))?;
        if !route.methods().contains(&method) {
            let allow = route.methods().join(", ");
            return Err(Reply::error(405, format!("only {allow} is answered here")).with("Allow", &allow));
        }
        Ok(route)
    }

    fn status(&self, sight: Result<Sight, Reply>) -> Reply {
        sight.map_or_else(|refusal| refusal, |sight| self.pages.status(&self.daemon, sight))
    }

    /// The live log of a deployment that was started from outside. Who has heard its end already is told so: a browser
    /// that lost its connection would otherwise come again for ever.
    fn log(self: &Arc<Self>, number: DeployId, ask: &Ask) -> Outcome {
        if let Err(refusal) = self.access.admit(ask) {
            return Outcome::Now(refusal);
        }
        let Heard::UpTo(after) = Heard::of(ask) else { return Outcome::Now(Reply::nothing(204)) };
        let Some(seat) = self.listeners.take() else {
            return Outcome::Now(Reply::later("too many listen to a log already: try again"));
        };
        let (daemon, format) = (Arc::clone(&self.daemon), Format::wanted(ask));
        Outcome::Later(Box::new(move || match Story::open(&daemon, number, after, pages::PATIENCE) {
            Ok(story) => Answered::Live(live::stream(200, format, move |teller| {
                let _until_told = seat;
                teller.tell(&daemon, story).map(drop)
            })),
            Err(why) if why.is_unknown() => Reply::error(404, "no such deployment was started from outside").into(),
            Err(why) => {
                log::error!("the log of deployment {} cannot be shown: {why}", number.0);
                Reply::later("the daemon does not answer: try again").into()
            }
        }))
    }

    fn hook(self: &Arc<Self>, door: Door<'_>, ask: &Ask) -> Outcome {
        let head = RequestHead { door, headers: &ask.headers, now: Moment::now().wall };
        match delivery::decide(&self.apps, &head, &ask.body) {
            Decision::Refuse(refusal) => {
                let level = if refusal.proven { log::Level::Warn } else { log::Level::Debug };
                log::log!(level, "{:?} refused with {}: {}", ask.path, refusal.status, refusal.message);
                self.note_refused(door, &refusal.message, ask);
                Outcome::Now(Reply::error(refusal.status, refusal.message))
            }
            Decision::Ignore(ignored) if ignored.is_own_ping() => Outcome::Now(Reply::ignored(ignored.why())),
            Decision::Ignore(ignored) => {
                log::info!("{:?} ignored: {}", ask.path, ignored.why());
                let reply = Reply::ignored(ignored.why());
                if let Some(notes) = &self.notes {
                    notes.ignored(Delivery { apps: ignored.apps, ..ignored.delivery });
                }
                Outcome::Now(reply)
            }
            Decision::Accept(delivery) => self.deliver(delivery, Stay::of(door, ask)),
        }
    }

    fn note_refused(&self, door: Door<'_>, why: &str, ask: &Ask) {
        let trigger = match door {
            Door::Webhook { .. } => Trigger::Webhook,
            Door::Deploy { .. } => Trigger::Deploy,
        };
        let from = ask.peer.map_or("a Unix socket".into(), |peer| peer.ip().to_string());
        if let Some(notes) = &self.notes {
            notes.refused(trigger, why, from);
        }
    }

    /// The seat is taken before the daemon hears of it: a caller that is sent away has started nothing.
    fn deliver(self: &Arc<Self>, delivery: Delivery, stay: Stay) -> Outcome {
        let seat = if stay == Stay::No { self.on_their_way.take() } else { self.waiters.take() };
        let Some(seat) = seat else {
            return Outcome::Now(Reply::later("too many requests wait for an answer: try again"));
        };
        if stay == Stay::No {
            let event = delivery.event.clone();
            let reply = move |verdicts: Result<Vec<Verdict>, Reply>| {
                let _until_told = seat;
                verdicts.map_or_else(|failure| failure, |verdicts| hooks::reply(&event, verdicts))
            };
            return Outcome::Carried(delivery, Box::new(reply));
        }
        let routes = Arc::clone(self);
        Outcome::Later(Box::new(move || routes.delivered(delivery, stay, seat)))
    }

    fn delivered(&self, delivery: Delivery, stay: Stay, seat: Seat) -> Answered {
        let event = delivery.event.clone();
        let verdicts = match hooks::hand_over(&self.daemon, delivery) {
            Ok(verdicts) => verdicts,
            Err(reply) => return reply.into(),
        };
        match (hooks::accepted(verdicts, true), stay) {
            (Ok(deployments), Stay::Listening(format)) => self.told(format, &event, &deployments, seat),
            (Ok(deployments), _) => wait::until_the_end(&self.daemon, &event, &deployments).into(),
            (Err(unwanted), _) => wait::nothing_started(unwanted).into(),
        }
    }

    /// The live log of what was just started; what waits for a person or a window has none yet.
    fn told(&self, format: Format, event: &str, deployments: &[Accepted], seat: Seat) -> Answered {
        let triggered = hooks::triggered(event, deployments);
        if deployments.iter().any(|deployment| deployment.state == DeployStatus::Waiting) {
            return wait::not_now(deployments).into();
        }
        let numbers = deployments.iter().map(|deployment| deployment.deployment).collect();
        match live::deploys(Arc::clone(&self.daemon), format, numbers, triggered.body, seat) {
            Ok(stream) => Answered::Live(stream),
            Err((number, why)) => wait::gone(number, &why).into(),
        }
    }
}

impl Entrance for Routes {
    fn admit(&self, method: &str, path: &str, content_type: Option<&str>) -> Result<Admission, Reply> {
        match self.route(method, path)? {
            Route::Hook(door) => {
                delivery::may_enter(&self.apps, door, content_type)
                    .map_err(|refusal| Reply::error(refusal.status, refusal.message))?;
                Ok(Admission { max_body: self.max_body, counts: Counts::Always })
            }
            Route::Health => Ok(Admission { max_body: self.max_body.min(PAGE_BODY), counts: Counts::Never }),
            Route::Status | Route::ApiStatus | Route::Log(_) => {
                Ok(Admission { max_body: self.max_body.min(PAGE_BODY), counts: Counts::WhenRefused })
            }
        }
    }
}

/// Without a thread for them there are no notes, and everything else goes on.
fn notes(socket: &Path) -> Option<Notes> {
    let started = Notes::start(Daemon::at(socket.to_owned()));
    started.inspect_err(|error| log::error!("no thread for the log of deliveries: {error}")).ok()
}

pub(super) fn route(path: &str) -> Option<Route<'_>> {
    let path = path.strip_prefix('/')?;
    let segments: Vec<&str> = path.strip_suffix('/').unwrap_or(path).split('/').collect();
    let hook = |app, forge| Some(Route::Hook(Door::Webhook { app, forge }));
    match segments.as_slice() {
        [""] | ["webhook"] => hook(None, None),
        ["webhook", app] => hook(Some(*app), None),
        ["webhooks", forge] => hook(None, Some(forge_named(forge)?)),
        ["deploy"] => Some(Route::Hook(Door::Deploy { app: None })),
        ["deploy", app] => Some(Route::Hook(Door::Deploy { app: Some(app) })),
        ["health"] | ["webhook-health"] => Some(Route::Health),
        ["status"] => Some(Route::Status),
        ["api", "status"] => Some(Route::ApiStatus),
        ["api", "deployments", number, "log"] => Some(Route::Log(deployment_numbered(number)?)),
        _ => None,
    }
}

fn deployment_numbered(text: &str) -> Option<DeployId> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits).map(DeployId)
}

fn forge_named(name: &str) -> Option<Forge> {
    use serde::Deserialize;
    use serde::de::value::{Error, StrDeserializer};
    let name: StrDeserializer<'_, Error> = serde::de::IntoDeserializer::into_deserializer(name);
    Forge::deserialize(name).ok()
}

/// A bounded number of threads for one purpose.
#[derive(Debug)]
struct Seats {
    taken: Arc<AtomicUsize>,
    all: usize,
}

/// One of them; free again when dropped.
struct Seat(Arc<AtomicUsize>);

impl Seats {
    fn of(all: usize) -> Seats {
        Seats { taken: Arc::default(), all }
    }

    fn take(&self) -> Option<Seat> {
        let free = |taken| (taken < self.all).then_some(taken + 1);
        self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, free).ok()?;
        Some(Seat(Arc::clone(&self.taken)))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
