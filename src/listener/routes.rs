//! Which request is answered by what: contracts, section 3.

use super::Setup;
use super::ask::{Ask, Reply, Stream};
use super::daemon::Daemon;
use super::guard::{Admission, Entrance};
use super::notes::Notes;
use super::{hooks, pages, wait};
use crate::base::Moment;
use crate::config::Forge;
use crate::control::{Delivery, Trigger};
use crate::delivery::{self, AppTrigger, Decision, Door, RequestHead};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Callers of `?wait=1` at a time: each holds a thread for as long as its deploy takes.
pub const WAITERS: usize = 32;

/// Deliveries on their way to the daemon at a time: each holds a thread for up to eight seconds.
pub const COURIERS: usize = 32;

/// Everything a request may lead to.
#[derive(Debug)]
pub struct Routes {
    apps: Vec<AppTrigger>,
    max_body: u64,
    daemon: Daemon,
    notes: Option<Notes>,
    waiters: Seats,
    couriers: Seats,
}

/// What a request is answered with.
pub enum Outcome {
    /// This.
    Now(Reply),
    /// What this returns: it takes longer than a thread that answers requests has, and gets one of its own.
    Later(Errand),
    /// What this writes, piece by piece, on a thread of its own.
    Stream(Stream),
}

/// Work that ends in an answer.
pub type Errand = Box<dyn FnOnce() -> Reply + Send>;

/// What a request for a page may carry: nobody reads it.
const PAGE_BODY: u64 = 8 << 10;

enum Route<'a> {
    Hook(Door<'a>),
    Health,
    Status,
}

impl Routes {
    /// The routes of one listener.
    pub fn new(setup: Setup) -> Arc<Routes> {
        Arc::new(Routes {
            apps: setup.apps,
            max_body: setup.limits.max_body,
            notes: notes(&setup.socket),
            daemon: Daemon::at(setup.socket),
            waiters: Seats::of(WAITERS),
            couriers: Seats::of(COURIERS),
        })
    }

    /// Answers a whole request.
    pub fn answer(self: &Arc<Self>, ask: &Ask) -> Outcome {
        match (route(&ask.path), ask.method.as_str()) {
            (None, _) => Outcome::Now(Reply::error(404, "no such page")),
            (Some(Route::Hook(door)), "POST") => self.hook(door, ask),
            (Some(Route::Hook(_)), _) => Outcome::Now(not_allowed("POST")),
            (Some(Route::Health), "GET" | "HEAD") => Outcome::Now(pages::health(&self.daemon)),
            (Some(Route::Status), "GET" | "HEAD") => Outcome::Now(pages::status(&self.daemon)),
            (Some(_), _) => Outcome::Now(not_allowed("GET, HEAD")),
        }
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
            Decision::Ignore(ignored) => {
                log::info!("{:?} ignored: {}", ask.path, ignored.why());
                let reply = Reply::ignored(ignored.why());
                if let Some(notes) = &self.notes {
                    notes.ignored(Delivery { apps: ignored.apps, ..ignored.delivery });
                }
                Outcome::Now(reply)
            }
            Decision::Accept(delivery) => {
                let wait = matches!(door, Door::Deploy { .. }) && ask.says("wait");
                self.deliver(delivery, wait)
            }
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
    fn deliver(self: &Arc<Self>, delivery: Delivery, wait: bool) -> Outcome {
        let seat = if wait { self.waiters.take() } else { self.couriers.take() };
        let Some(seat) = seat else {
            return Outcome::Now(Reply::later("too many requests wait for an answer: try again"));
        };
        let routes = Arc::clone(self);
        Outcome::Later(Box::new(move || {
            let _until_answered = seat;
            routes.delivered(delivery, wait)
        }))
    }

    fn delivered(&self, delivery: Delivery, wait: bool) -> Reply {
        let event = delivery.event.clone();
        let verdicts = match hooks::hand_over(&self.daemon, delivery) {
            Ok(verdicts) => verdicts,
            Err(reply) => return reply,
        };
        match hooks::accepted(verdicts, wait) {
            Ok(deployments) if wait => wait::until_the_end(&self.daemon, &event, &deployments),
            Ok(deployments) => hooks::triggered(&event, &deployments),
            Err(unwanted) if wait => wait::nothing_started(unwanted),
            Err(unwanted) => unwanted.reply(),
        }
    }
}

impl Entrance for Routes {
    fn admit(&self, method: &str, path: &str, content_type: Option<&str>) -> Result<Admission, Reply> {
        match (route(path), method) {
            (None, _) => Err(Reply::error(404, "no such page")),
            (Some(Route::Hook(door)), "POST") => {
                delivery::may_enter(&self.apps, door, content_type)
                    .map_err(|refusal| Reply::error(refusal.status, refusal.message))?;
                Ok(Admission { max_body: self.max_body, is_counted: true })
            }
            (Some(Route::Hook(_)), _) => Err(not_allowed("POST")),
            (Some(Route::Health | Route::Status), "GET" | "HEAD") => {
                Ok(Admission { max_body: self.max_body.min(PAGE_BODY), is_counted: false })
            }
            (Some(_), _) => Err(not_allowed("GET, HEAD")),
        }
    }
}

/// Without a thread for them there are no notes, and everything else goes on.
fn notes(socket: &Path) -> Option<Notes> {
    let started = Notes::start(Daemon::at(socket.to_owned()));
    started.inspect_err(|error| log::error!("no thread for the log of deliveries: {error}")).ok()
}

fn route(path: &str) -> Option<Route<'_>> {
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
        _ => None,
    }
}

fn forge_named(name: &str) -> Option<Forge> {
    use serde::Deserialize;
    use serde::de::value::{Error, StrDeserializer};
    let name: StrDeserializer<'_, Error> = serde::de::IntoDeserializer::into_deserializer(name);
    Forge::deserialize(name).ok()
}

fn not_allowed(allow: &'static str) -> Reply {
    Reply::error(405, format!("only {allow} is answered here")).with("Allow", allow)
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
