//! The live log of a deployment on its way to a client, as plain text or as server-sent events.
//!
//! Text reads like the log file; its last line says how the deployment ended. Events carry what the daemon says as
//! JSON, with an id by which a client that lost its connection goes on (`Last-Event-ID`). Where nothing is said for a
//! while a line that means nothing is sent, so that a proxy keeps the connection and a client that has left is noticed.
//! Line: who may listen is decided in `access`, what is told in `story`.

use super::ask::{Ask, Pieces, Stream};
use super::daemon::Daemon;
use super::story::{Place, Story, Untold};
use super::wait;
use crate::base::{DeployId, Span};
use crate::control::{DeployStatus, Followed, Phase};
use std::io;
use std::time::Duration;

/// What `pintle deploy` exits with when it loses sight of a deployment.
const OUT_OF_SIGHT: u8 = 69;

/// How often something is sent: proxies give up a connection on which nothing came for a minute.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pulse {
    pub(super) text: Duration,
    pub(super) events: Duration,
}

impl Pulse {
    pub(super) const USUAL: Pulse = Pulse { text: Duration::from_secs(30), events: Duration::from_secs(15) };
}

/// How a log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// `text/plain`.
    Text,
    /// `text/event-stream`.
    Events,
}

/// What a client has heard already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// The log up to here.
    UpTo(Place),
    /// The end.
    All,
}

/// The id of the event that ends a log.
const LAST: &str = "end";

impl Format {
    /// Events for whoever accepts them by name, text for all others.
    pub(super) fn wanted(ask: &Ask) -> Format {
        let accepted = ask.headers_named("Accept").flat_map(|value| value.split(','));
        let mut types = accepted.map(|one| one.split(';').map(str::trim));
        let events = types.any(|mut one| {
            let named = one.next().is_some_and(|name| name.eq_ignore_ascii_case("text/event-stream"));
            named && !one.any(|parameter| matches!(parameter, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
        });
        if events { Format::Events } else { Format::Text }
    }

    fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; charset=utf-8",
            Format::Events => "text/event-stream; charset=utf-8",
        }
    }
}

impl Heard {
    /// What `Last-Event-ID` says; from the beginning when it says nothing of ours.
    pub(super) fn of(ask: &Ask) -> Heard {
        match ask.header("Last-Event-ID").map(str::trim) {
            Some(LAST) => Heard::All,
            Some(place) => Heard::UpTo(place.parse().unwrap_or(0)),
            None => Heard::UpTo(0),
        }
    }
}

/// A log as an answer.
pub(super) fn stream(
    status: u16,
    format: Format,
    tell: impl FnOnce(&mut Teller<'_>) -> io::Result<()> + Send + 'static,
) -> Stream {
    let write = move |out: &mut dyn Pieces| {
        let mut teller = Teller { out, format, pulse: Pulse::USUAL, held: Vec::new() };
        tell(&mut teller)?;
        teller.send()
    };
    Stream { status, content_type: format.content_type(), write: Box::new(write) }
}

/// Writes stories in one format.
pub(super) struct Teller<'a> {
    out: &'a mut dyn Pieces,
    format: Format,
    pulse: Pulse,
    /// Written and not sent yet: many lines make one piece.
    held: Vec<u8>,
}

/// A piece is sent when it is so large, or when there is nothing more to say at once.
const PIECE: usize = 8 << 10;

/// How a told deployment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ending {
    /// What `pintle deploy` would have exited with.
    pub(super) exit: u8,
    /// `None`: the daemon went away.
    pub(super) status: Option<DeployStatus>,
}

impl Teller<'_> {
    /// Tells a deployment to its end. An error means that the client is gone.
    pub(super) fn tell(&mut self, daemon: &Daemon, mut story: Story) -> io::Result<Ending> {
        let mut phase = None;
        loop {
            // Sent when the daemon has nothing more to say at once: a long log goes out in large pieces.
            let mut next = story.next(daemon, Duration::ZERO);
            if matches!(next, Ok(None)) {
                self.send()?;
                next = story.next(daemon, self.pulse());
            }
            match next {
                Ok(None) => self.quiet(phase)?,
                Ok(Some((place, line))) => {
                    if let Followed::Phase { phase: now, .. } = line {
                        phase = Some(now);
                    }
                    self.line(place, &line)?;
                    if let Followed::End { status, exit, .. } = line {
                        self.send()?;
                        return Ok(Ending { exit, status: Some(status) });
                    }
                }
                Err(why) => return self.lost(story.number(), &why),
            }
        }
    }

    /// The document that stands before the log of a deploy: what a caller that does not follow is answered.
    pub(super) fn accepted(&mut self, document: &[u8]) -> io::Result<()> {
        match self.format {
            Format::Text => self.write(&[b"-- ", document, b"\n"].concat()),
            Format::Events => self.write(&[b"event: accepted\ndata: ", document, b"\n\n"].concat()),
        }
    }

    /// The last line where several deployments were told.
    pub(super) fn worst(&mut self, endings: &[Ending]) -> io::Result<()> {
        let Some(worst) = endings.iter().max_by_key(|ending| ending.exit) else { return Ok(()) };
        if self.format == Format::Text {
            let status = worst.status.map_or("unknown", DeployStatus::as_str);
            self.write(
                format!("== end status={status} exit={} deployments={}\n", worst.exit, endings.len()).as_bytes(),
            )?;
        }
        self.send()
    }

    fn line(&mut self, place: Place, line: &Followed) -> io::Result<()> {
        match self.format {
            Format::Text => self.write(text(line).as_bytes()),
            Format::Events => self.write(&event(place, line)?),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.held.extend_from_slice(bytes);
        if self.held.len() >= PIECE { self.send() } else { Ok(()) }
    }

    fn send(&mut self) -> io::Result<()> {
        let sent = self.out.piece(&self.held);
        self.held.clear();
        sent
    }

    fn quiet(&mut self, phase: Option<Phase>) -> io::Result<()> {
        let since = Span(self.pulse());
        match (self.format, phase) {
            (Format::Events, _) => self.write(b":\n\n")?,
            (Format::Text, Some(phase)) => {
                self.write(format!("-- nothing said for {since}, still in {phase}\n").as_bytes())?
            }
            (Format::Text, None) => {
                self.write(format!("-- nothing said for {since}, it has not begun\n").as_bytes())?
            }
        }
        self.send()
    }

    /// Text ends with a line that says so; events end without `end`, and the client comes again by itself.
    fn lost(&mut self, number: DeployId, why: &Untold) -> io::Result<Ending> {
        log::error!("deployment {number} cannot be followed: {why}");
        if self.format == Format::Text {
            let number = number.0;
            self.write(format!("-- the daemon went away; deployment {number} continues without it\n").as_bytes())?;
            self.write(format!("== end status=unknown exit={OUT_OF_SIGHT} deployment={number}\n").as_bytes())?;
        }
        self.send()?;
        Ok(Ending { exit: OUT_OF_SIGHT, status: None })
    }

    fn pulse(&self) -> Duration {
        match self.format {
            Format::Text => self.pulse.text,
            Format::Events => self.pulse.events,
        }
    }
}

fn text(line: &Followed) -> String {
    match line {
        Followed::Phase { phase, .. } => format!("== {phase}\n"),
        Followed::Log { line } => format!("{line}\n"),
        Followed::Step(step) => {
            let took = Span(Duration::try_from_secs_f64(step.duration_seconds).unwrap_or_default());
            let exit = step.exit.filter(|exit| *exit != 0).map(|exit| format!(", exit {exit}")).unwrap_or_default();
            format!("-- {}: {} after {took}{exit}\n", step.name, step.status)
        }
        Followed::End { number, status, exit, phase, release, message } => {
            let why = message.as_ref().map(|why| format!("-- {}\n", why.replace('\n', " "))).unwrap_or_default();
            let release = release.as_ref().map(|release| format!(" release={release}")).unwrap_or_default();
            format!("{why}== end status={status} exit={exit} deployment={} phase={phase}{release}\n", number.0)
        }
    }
}

/// JSON has no bare line end: one `data` line is enough.
fn event(place: Place, line: &Followed) -> io::Result<Vec<u8>> {
    let (name, id) = match line {
        Followed::Phase { .. } => ("phase", Some(place.to_string())),
        Followed::Log { .. } => ("log", Some(place.to_string())),
        // It has no place of its own: whoever goes on from here may hear it again.
        Followed::Step(_) => ("step", None),
        Followed::End { .. } => ("end", Some(LAST.to_owned())),
    };
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    let mut event = format!("event: {name}\n{id}data: ").into_bytes();
    serde_json::to_writer(&mut event, line)?;
    event.extend_from_slice(b"\n\n");
    Ok(event)
}

/// What a deploy that was asked for with `?follow=1` is answered: its log as it happens, those of several one after the
/// other. `seat` is kept until the last is told.
pub(super) fn deploys<S: Send + 'static>(
    daemon: std::sync::Arc<Daemon>,
    format: Format,
    numbers: Vec<DeployId>,
    accepted: Vec<u8>,
    seat: S,
) -> Result<Stream, (DeployId, Untold)> {
    let mut stories = Vec::new();
    for number in numbers {
        stories.push(Story::open(&daemon, number, 0, wait::PATIENCE).map_err(|why| (number, why))?);
    }
    Ok(stream(202, format, move |teller| {
        let _until_told = seat;
        teller.accepted(&accepted)?;
        let mut endings = Vec::new();
        for story in stories {
            endings.push(teller.tell(&daemon, story)?);
        }
        if endings.len() > 1 {
            teller.worst(&endings)?;
        }
        Ok(())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{StepReport, StepStatus};

    fn ask(headers: &[(&str, &str)]) -> Ask {
        let headers = headers.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Ask {
            method: "GET".into(),
            path: "/".into(),
            query: String::new(),
            headers,
            body: vec![],
            peer: None,
            is_forwarded: false,
        }
    }

    #[test]
    fn events_go_to_who_accepts_them_by_name() {
        let cases = [
            (None, Format::Text),
            (Some("*/*"), Format::Text),
            (Some("text/plain"), Format::Text),
            (Some("text/*"), Format::Text),
            (Some("text/event-stream"), Format::Events),
            (Some("TEXT/Event-Stream; charset=utf-8"), Format::Events),
            (Some("text/html, text/event-stream;q=0.5"), Format::Events),
            (Some("text/event-stream;q=0, */*"), Format::Text),
            (Some("text/event-streams"), Format::Text),
            (Some(""), Format::Text),
        ];
        for (accept, expected) in cases {
            let headers: Vec<(&str, &str)> = accept.map(|accept| ("accept", accept)).into_iter().collect();
            assert_eq!(Format::wanted(&ask(&headers)), expected, "{accept:?}");
        }
    }

    #[test]
    fn a_place_is_a_number_or_the_end() {
        for (id, expected) in [
            ("17", Heard::UpTo(17)),
            (" 17 ", Heard::UpTo(17)),
            ("end", Heard::All),
            ("-1", Heard::UpTo(0)),
            ("x", Heard::UpTo(0)),
            ("99999999999999999999999", Heard::UpTo(0)),
        ] {
            assert_eq!(Heard::of(&ask(&[("Last-Event-ID", id)])), expected, "{id:?}");
        }
        assert_eq!(Heard::of(&ask(&[])), Heard::UpTo(0));
    }

    #[test]
    fn both_formats_say_the_same() {
        let number = DeployId(42);
        let step = StepReport {
            name: "compile".into(),
            phase: Phase::Build,
            status: StepStatus::Failed,
            exit: Some(2),
            duration_seconds: 1.25,
        };
        let message = Some("the build\nfailed".into());
        let (status, phase) = (DeployStatus::Failed, Phase::Build);
        let end = Followed::End { number, status, exit: 2, phase, release: None, message };
        let lines = [
            (Followed::Phase { phase, number }, "== build\n", "event: phase\nid: 7\n"),
            (Followed::Log { line: "a\rb \"ü\"".into() }, "a\rb \"ü\"\n", "event: log\nid: 7\n"),
            (Followed::Step(step), "-- compile: failed after 1.2s, exit 2\n", "event: step\n"),
            (
                end,
                "-- the build failed\n== end status=failed exit=2 deployment=42 phase=build\n",
                "event: end\nid: end\n",
            ),
        ];
        for (line, expected, head) in lines {
            assert_eq!(text(&line), expected);
            let event = String::from_utf8(event(7, &line).unwrap()).unwrap();
            let data = event.strip_prefix(head).and_then(|rest| rest.strip_prefix("data: ")).unwrap();
            let data = data.strip_suffix("\n\n").unwrap();
            assert!(!data.contains(['\n', '\r']), "{data:?}");
            assert_eq!(serde_json::from_str::<Followed>(data).unwrap(), line);
        }
    }
}
