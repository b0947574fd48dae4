//! A run in words: only the second run of a seed that broke a promise is told.

use crate::base::{Moment, Span};
use crate::daemon::action::Action;
use crate::daemon::event::Event;
use crate::store::Entry;
use crate::supervise::Slot;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// Lines kept.
const LINES: usize = 60;

#[derive(Debug, Clone)]
pub(super) struct Trace(Option<Rc<RefCell<VecDeque<String>>>>);

impl Trace {
    pub(super) fn off() -> Trace {
        Trace(None)
    }
    pub(super) fn on() -> Trace {
        Trace(Some(Rc::default()))
    }
    pub(super) fn note(&self, now: Moment, line: impl FnOnce() -> String) {
        let Some(lines) = &self.0 else { return };
        let mut lines = lines.borrow_mut();
        let at = now.mono.as_secs_f64();
        lines.push_back(format!("{at:12.3} {}", line()));
        if lines.len() > super::given("PINTLE_LINES").map_or(LINES, |lines| lines as usize) {
            lines.pop_front();
        }
    }
    pub(super) fn text(&self) -> String {
        let lines = self.0.iter().flat_map(|lines| lines.borrow().iter().cloned().collect::<Vec<_>>());
        lines.collect::<Vec<_>>().join("\n")
    }
}

pub(super) fn event(event: &Event) -> String {
    let told = match event {
        Event::Thawed { app, thawed } => format!("Thawed {app} {}", thawed.release),
        Event::Worked { app, number, worked } => format!("Worked {app} {number} {worked:?}"),
        Event::Asked { from, request, known } => format!("Asked {} {request:?} older: {:?}", from.0, known.older),
        Event::Resolved { from, commit, .. } => {
            format!("Resolved {} {:?}", from.0, commit.as_ref().map(|commit| commit.short()))
        }
        Event::Reconfigured { .. } => "Reconfigured".into(),
        other => format!("{other:?}"),
    };
    format!("> {}", shorten(&told))
}

pub(super) fn action(action: &Action) -> String {
    let told = match action {
        Action::Record { token, entries } => {
            let facts: Vec<String> = entries.iter().map(entry).collect();
            format!("Record {:?} {}", token.map(|token| token.0), facts.join(" + "))
        }
        Action::Work(job) => format!("Work {} {} {:?}", job.app.name, job.number, job.work),
        Action::Spawn { app, instance, service, release, round, index, .. } => {
            format!("Spawn {instance} {} {} of {release} round {round} place {index}", app.name, service.name)
        }
        Action::Look { instance, service, release, port, .. } => {
            format!("Look {instance} {} of {release} {port:?}", service.name)
        }
        Action::Route { app, service, release, ports, old } => {
            format!("Route {} {} of {release} {old:?} -> {ports:?}", app.name, service.name)
        }
        Action::LookAtBranch { app, look } => format!("LookAtBranch {} {look}", app.name),
        Action::Probe { app, watch, release, .. } => format!("Probe {app} watch {watch} {release}"),
        Action::Resolve { from, .. } => format!("Resolve {}", from.0),
        Action::Say { line, number } => format!("Say {number} {line}"),
        Action::Note { text, .. } => format!("Note {text}"),
        other => format!("{other:?}"),
    };
    format!("    {}", shorten(&told))
}

fn entry(entry: &Entry) -> String {
    match entry {
        Entry::Queued(new) => {
            format!("Queued {} {} {:?} by {} retry of {:?}", new.number, new.app, new.kind, new.trigger, new.retry_of)
        }
        Entry::Phase { number, phase, .. } => format!("Phase {number} {phase}"),
        Entry::Release { number, release, previous, .. } => format!("Release {number} {release} after {previous:?}"),
        Entry::Finished { number, status, message, .. } => format!("Finished {number} {status} {message:?}"),
        Entry::Step { number, .. } => format!("Step {number}"),
        other => format!("{other:?}"),
    }
}

pub(super) fn slot(slot: &Slot) -> String {
    let Slot { service, release, index, process, round, machine, .. } = slot;
    let (name, state, wanted) = (&service.name, machine.state(), machine.wanted());
    format!("{name} of {release}, place {index} of round {round}: {process:?} {state:?}, wanted {wanted:?}")
}

/// Forty digits of a commit say no more than seven.
fn shorten(text: &str) -> String {
    text.replace(&format!("{:033x}", 1), "").chars().take(400).collect()
}

/// A span for people.
pub(super) fn span(span: std::time::Duration) -> Span {
    Span(span)
}
