//! What lets a deployment begin that nobody orders at this moment: an approval, the app's window, its rate limit.
//!
//! ```text
//!              approval   rate limit   window
//! delivered       x           x           x       webhook, signed /deploy, poll, git hook
//! approved                    x           x
//! retried                                 x       it had been let in; its place in the rate limit is kept
//! a person's                                      the command line; and every rollback and backup
//! ```
//! The board is a gate for every deploy, a person's too: none begins while the board is strained, unless it is forced.
//!
//! A window is local time and judged by the wall clock, a rate by how long ago others began, so that a clock that is set
//! frees nothing. Line: it judges one deployment; who waits, who is told and who goes first is `daemon::turn::gates`.

use super::machine::Deployment;
use super::plan::Kind;
use crate::base::{DeployId, Moment, Span, WallTime};
use crate::config::{Rate, TimeOfDay, Trigger, Window};
use crate::control::Pass;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use std::time::Duration;

/// Whatever is known of the opening: the wall clock may be set meanwhile, so it is looked at again by then.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);
/// A board without a clock of its own has been told the time so long after its boot, where anybody can tell it.
const CLOCK_IS_SET: Duration = Duration::from_secs(120);
/// A day that daylight saving makes longer or shorter; for a clock that shows no date at all.
const A_DAY: Duration = Duration::from_secs(86_400);

/// What a deployment waits for begins with this, in its log and to its followers.
pub const WAITS: &str = "waits for ";

/// Both clocks, and the zone in which people mean a time of day.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Clock {
    pub now: Moment,
    pub zone: TimeZone,
}

/// One thing that a deployment waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// A person's `pintle approve`.
    Approval,
    /// The app's window is closed.
    Window(Window),
    /// As many began as may.
    Rate(Rate),
    /// The board is not up to it now.
    Board(Strain),
}

/// What is too much for the board while it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Strain {
    UnderVoltage,
    Heat,
    Memory,
    /// It does not know the time.
    Clock,
}

/// A strain with its words for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strained {
    /// Which.
    pub strain: Strain,
    /// How it is now.
    pub now: String,
    /// What is waited for; goes on after "waits for".
    pub awaited: String,
}

/// What a deployment waits for, all of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Waits {
    /// Every gate that is closed.
    pub gates: Vec<Gate>,
    /// The first moment at which the clock lets it begin; `None`: only a person or the board does.
    pub until: Option<WallTime>,
    /// The same in a sentence: "waits for ...". Its times are local ones.
    pub reason: String,
    /// After so long at the latest it is to be judged again.
    pub look_again: Duration,
}

impl Waits {
    /// At no gate of its app's.
    fn by_itself() -> Waits {
        Waits { look_again: LOOK_AGAIN, ..Waits::default() }
    }

    /// Nothing that people were told is different now; a moment of drift between two clocks is no news.
    pub fn is_told_by(&self, told: &Waits) -> bool {
        let apart = match (self.until, told.until) {
            (Some(a), Some(b)) => a.since(b).max(b.since(a)),
            (None, None) => Duration::ZERO,
            _ => return false,
        };
        self.gates == told.gates && apart < Duration::from_secs(60)
    }

    /// It waits for a person's word, whatever else.
    pub fn for_approval(&self) -> bool {
        self.gates.contains(&Gate::Approval)
    }
}

/// Whether what waits for `one` stands behind something that what waits for `other` does not: a newer commit makes an
/// older one needless only where it is held up by nothing more.
pub fn waits_for_more(one: Option<&Waits>, other: Option<&Waits>) -> bool {
    let passes = |gate: &Gate| !other.is_some_and(|other| other.gates.contains(gate));
    one.is_some_and(|one| one.gates.iter().any(passes))
}

/// Whether the rate limit is about this deployment: it counts when it begins, and waits for those that did.
pub fn counts(deployment: &Deployment) -> bool {
    is_gated(deployment) && !was_let_in(deployment)
}

/// Says what `deployment` waits for; `None`: it may begin. `begun`: how long ago each earlier one began that
/// [`counts`]; `board`: what is too much for it now.
pub fn judge(
    deployment: &Deployment,
    rules: &Trigger,
    clock: &Clock,
    begun: &[Duration],
    board: &[Strained],
) -> Option<Waits> {
    let board = if needs_the_board(deployment) { board } else { &[] };
    let mut waits = judge_by_rules(deployment, rules, clock, begun);
    if board.is_empty() {
        return waits.map(|(waits, _)| waits);
    }
    let (mut waits, mut words) = waits.take().unwrap_or_else(|| (Waits::by_itself(), vec![]));
    waits.gates.extend(board.iter().map(|strained| Gate::Board(strained.strain)));
    words.extend(board.iter().map(|strained| strained.awaited.clone()));
    waits.until = None;
    waits.reason = sentence(&words);
    Some(waits)
}

/// What the app's rules have it wait for, with the words for each gate.
fn judge_by_rules(
    deployment: &Deployment,
    rules: &Trigger,
    clock: &Clock,
    begun: &[Duration],
) -> Option<(Waits, Vec<String>)> {
    if !is_gated(deployment) {
        return None;
    }
    let now = clock.now.wall;
    let approval = rules.approval && deployment.pass == Pass::None && !was_let_in(deployment);
    let rate = rules.rate_limit.filter(|_| counts(deployment));
    let full = rate.and_then(|rate| Some((rate, full_for(rate, begun)?)));
    let opens = rules.window.map(|window| (window, opening(window, trusted_from(clock.now), &clock.zone)));
    let closed = opens.filter(|(_, opens)| *opens > now);

    let mut gates = vec![];
    gates.extend(approval.then_some(Gate::Approval));
    gates.extend(closed.map(|(window, _)| Gate::Window(window)));
    gates.extend(full.map(|(rate, _)| Gate::Rate(rate)));
    if gates.is_empty() {
        return None;
    }
    let free = full.map(|(_, left)| now.plus(left));
    let both = free.zip(rules.window).map(|(free, window)| opening(window, free, &clock.zone));
    let until = [closed.map(|(_, opens)| opens), free, both].into_iter().flatten().max();
    let next = [closed.map(|(_, opens)| opens.since(now)), full.map(|(_, left)| left)].into_iter().flatten().min();
    let look_again = next.map_or(LOOK_AGAIN, |next| next.min(LOOK_AGAIN));
    let words = words(deployment.number, &gates, closed.map(|(_, opens)| opens), free, &clock.zone);
    let reason = sentence(&words);
    Some((Waits { gates, until, reason, look_again }, words))
}

/// A deploy is much work, whoever asks for it; who forces it knows.
fn needs_the_board(deployment: &Deployment) -> bool {
    deployment.plan().kind == Kind::Deploy && !deployment.forced
}

/// Deployments that come by themselves wait at gates; what a person orders, goes back to or saves does not.
fn is_gated(deployment: &Deployment) -> bool {
    let by_a_person = deployment.forced || deployment.pass == Pass::Person;
    let by_itself = deployment.trigger.comes_by_itself() || deployment.trigger.is_retry();
    deployment.plan().kind == Kind::Deploy && by_itself && !by_a_person
}

/// It repeats one that had begun.
fn was_let_in(deployment: &Deployment) -> bool {
    deployment.trigger.is_retry()
}

/// How long it takes until one more may begin; `None`: it may now.
fn full_for(rate: Rate, begun: &[Duration]) -> Option<Duration> {
    let mut recent: Vec<Duration> = begun.iter().copied().filter(|ago| *ago < rate.per).collect();
    recent.sort_unstable();
    // Once the last of so many is old enough there is room for one.
    let last = usize::try_from(rate.count).ok()?.checked_sub(1)?;
    recent.get(last).map(|ago| rate.per.saturating_sub(*ago))
}

/// From when on the clock's word is taken for a window.
fn trusted_from(now: Moment) -> WallTime {
    now.wall.plus(CLOCK_IS_SET.saturating_sub(now.mono))
}

/// The first moment from `from` on at which the window is open.
fn opening(window: Window, from: WallTime, zone: &TimeZone) -> WallTime {
    let first = || -> Option<WallTime> {
        let today = Timestamp::from_millisecond(from.0).ok()?.to_zoned(zone.clone()).date();
        // Yesterday's may last over midnight.
        (-1..=2).find_map(|days: i64| {
            let (opens, closes) = times(window, today.checked_add(days.days()).ok()?, zone)?;
            (closes > from).then(|| opens.max(from))
        })
    };
    first().unwrap_or_else(|| from.plus(A_DAY))
}

/// When the window that begins on `date` opens and closes. An hour that the clock skips is moved past the gap, of an
/// hour that comes twice the first counts; a window that falls into the gap as a whole keeps its length.
fn times(window: Window, date: Date, zone: &TimeZone) -> Option<(WallTime, WallTime)> {
    let on = |date: Date, time: TimeOfDay| {
        let civil = date.at(time.hour as i8, time.minute as i8, 0, 0);
        Some(WallTime(civil.to_zoned(zone.clone()).ok()?.timestamp().as_millisecond()))
    };
    let closes_on = if window.to < window.from { date.tomorrow().ok()? } else { date };
    let (opens, closes) = (on(date, window.from)?, on(closes_on, window.to)?);
    Some((opens, if closes > opens { closes } else { opens.plus(length(window)) }))
}

/// As it is written.
fn length(window: Window) -> Duration {
    let minutes = |time: TimeOfDay| u64::from(time.hour) * 60 + u64::from(time.minute);
    let written = (minutes(window.to) + 24 * 60 - minutes(window.from)) % (24 * 60);
    Duration::from_secs(written * 60)
}

fn words(
    number: DeployId,
    gates: &[Gate],
    opens: Option<WallTime>,
    free: Option<WallTime>,
    zone: &TimeZone,
) -> Vec<String> {
    let at = |time: Option<WallTime>| time.map(|time| local(time, zone)).unwrap_or_default();
    gates
        .iter()
        .filter_map(|gate| match gate {
            Gate::Approval => Some(format!("`pintle approve {}`", number.0)),
            Gate::Window(window) => Some(format!("its window {window} (opens {})", at(opens))),
            Gate::Rate(Rate { count, per }) => {
                Some(format!("its rate limit of {count} in {} (until {})", Span(*per), at(free)))
            }
            Gate::Board(_) => None,
        })
        .collect()
}

fn sentence(words: &[String]) -> String {
    match words.split_last() {
        Some((last, [])) => format!("{WAITS}{last}"),
        Some((last, first)) => format!("{WAITS}{} and {last}", first.join(", ")),
        None => String::new(),
    }
}

/// Date and time of day as the clock on the wall shows them, to the minute that has begun by then.
fn local(time: WallTime, zone: &TimeZone) -> String {
    let rounded_up = WallTime(time.0.saturating_add(59_999).div_euclid(60_000).saturating_mul(60_000));
    let stamp = Timestamp::from_millisecond(rounded_up.0).unwrap_or_default();
    stamp.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M").to_string()
}

#[cfg(test)]
#[path = "gate/tests.rs"]
mod tests;
