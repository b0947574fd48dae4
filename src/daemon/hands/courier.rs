//! Sends what people are told: one message, on a thread that lives as long as that takes.

use super::Hands;
use crate::base::Moment;
use crate::config::{Channel, DuckDns, Way};
use crate::control::{Answer, ChannelTried, NotifyReport};
use crate::daemon::event::{Event, RequestId};
use crate::notify::message::Body;
use crate::notify::outbox::Sending;
use crate::notify::redact::Redactor;
use crate::notify::request::{Reply, secrets_of};
use crate::notify::{Envelope, Outcome, Request, Target, cut, duckdns, webhook, wording};
use crate::os::cancel::Cancel;
use crate::os::command::{self, Ending, Spec};
use crate::os::outbound::{self, Call, NoAnswer};
use crate::os::{host, users};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Where a command's program is looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Hands {
    /// Tells somebody; what became of it comes as `Sent`.
    pub(super) fn send(&mut self, target: Target, sending: Sending) -> Option<Event> {
        // What TLS needed is given back a while later.
        self.worked = true;
        let (channel, seq) = (sending.channel.clone(), sending.seq);
        let why = "no thread could be started for it".to_string();
        let outcome = Outcome::Later { after: None, why, answered: false };
        let fallback = Event::Sent { channel: channel.clone(), seq, outcome };
        let post = self.post().clone();
        self.on_a_thread("courier", fallback, move || {
            let outcome = deliver(&target, &sending.body, &sending.id);
            post.send(Event::Sent { channel, seq, outcome });
        })
    }

    /// Tells every one of these channels something, now and beside the outbox, and answers what happened.
    pub(super) fn try_channels(&self, from: RequestId, channels: Vec<Arc<Channel>>) -> Option<Event> {
        let (replies, redactor) = (self.replies.clone(), Redactor::of(&self.config));
        let trying = self.on_a_thread("courier", Event::Tick, move || {
            let channels = try_each(&channels, &redactor);
            replies.answer(from, Answer::NotifyTest(NotifyReport { channels }));
        });
        if trying.is_some() {
            let message = "no thread could be started to tell anybody: try again".to_owned();
            self.replies.answer(from, Answer::Error { exit: 3, message });
        }
        trying
    }
}

impl Hands {
    /// Tells whoever holds our name our address.
    pub(super) fn tell_address(&mut self, dns: Arc<DuckDns>) -> Option<Event> {
        self.worked = true;
        let fallback = Event::AddressTold { result: Err("no thread could be started for it".into()) };
        let post = self.post().clone();
        self.on_a_thread("address", fallback, move || {
            let Request { method, url, headers, body } = duckdns::request(&dns);
            let call = Call { method, url: &url, headers: &headers, body: &body, ca: dns.ca.as_deref() };
            let result = outbound::call(call).map_err(|silence| silence.why);
            let result = result.and_then(|answer| duckdns::outcome(&reply(answer)));
            post.send(Event::AddressTold { result });
        })
    }
}

/// Sends a test to each channel, side by side: what happened, in their order, without the channels' own secrets.
pub fn try_all(channels: &[Arc<Channel>]) -> Vec<ChannelTried> {
    try_each(channels, &Redactor::new(channels.iter().flat_map(|channel| secrets_of(channel))))
}

fn try_each(channels: &[Arc<Channel>], redactor: &Redactor) -> Vec<ChannelTried> {
    let one = |channel: &Arc<Channel>| {
        let (name, kind) = (channel.name.clone(), channel.kind.to_owned());
        if channel.way.is_none() {
            let message = "off: its address, token, chat or topic is empty".into();
            return ChannelTried { channel: name, kind, ok: None, message };
        }
        let now = Moment::now().wall;
        let body = Body::Message(wording::test(now));
        let outcome = deliver(&Target::Channel(channel.clone()), &body, &format!("test-{}", now.0));
        let (ok, message) = match outcome.cleaned(redactor) {
            Outcome::Delivered => (true, "told".into()),
            Outcome::Later { why, .. } | Outcome::Refused { why } | Outcome::Never { why } => (false, why),
        };
        ChannelTried { channel: name, kind, ok: Some(ok), message }
    };
    std::thread::scope(|scope| {
        // `scope.spawn` would end the process where no thread can be had.
        let thread = || std::thread::Builder::new().name("courier".into()).stack_size(512 << 10);
        let start = |channel| (channel, thread().spawn_scoped(scope, move || one(channel)));
        let tries: Vec<(&Arc<Channel>, io::Result<_>)> = channels.iter().map(start).collect();
        let ended = tries.into_iter().map(|(channel, tried)| match tried.map(|tried| tried.join()) {
            Ok(Ok(tried)) => tried,
            Ok(Err(_)) => not_tried(channel, "the try broke off".into()),
            Err(error) => not_tried(channel, format!("no thread could be started for it: {error}")),
        });
        ended.collect()
    })
}

fn not_tried(channel: &Channel, message: String) -> ChannelTried {
    ChannelTried { channel: channel.name.clone(), kind: channel.kind.to_owned(), ok: Some(false), message }
}

fn reply(answer: outbound::Answer) -> Reply {
    let outbound::Answer { status, retry_after, quota_left, quota_reset, body } = answer;
    Reply { status, retry_after, quota_left, quota_reset, body }
}

/// One try.
fn deliver(target: &Target, body: &Body, id: &str) -> Outcome {
    if let Target::Channel(channel) = target
        && channel.way.is_none()
    {
        // It was on when this was written, and may be again: what waits is bounded anyway.
        return Outcome::Later { after: None, why: "it is off".into(), answered: false };
    }
    let envelope = Envelope { id: id.to_owned(), host: host::hostname(), at: Moment::now().wall };
    if let Target::Channel(channel) = target
        && let (Some(Way::Command { run, user, timeout }), Body::Message(message)) = (&channel.way, body)
    {
        let stdin = webhook::document(message, &envelope).to_string().into_bytes();
        let spec = Spec { argv: run.argv(), cwd: "/".into(), stdin, ..Spec::default() };
        let variables = webhook::variables(body, &envelope);
        return run_command(spec, user.as_deref(), variables, *timeout).unwrap_or_else(|error| Outcome::Later {
            after: None,
            why: error.to_string(),
            answered: true,
        });
    }
    let Some(request) = target.request(body, &envelope) else {
        return Outcome::Never { why: "it fits no request of this channel".into() };
    };
    let call = Call {
        method: request.method,
        url: &request.url,
        headers: &request.headers,
        body: &request.body,
        ca: target.ca(),
    };
    match outbound::call(call) {
        Ok(answer) => target.outcome(&reply(answer), Moment::now().wall),
        Err(NoAnswer { why, unusable: true }) => Outcome::Never { why },
        Err(NoAnswer { why, .. }) => {
            Outcome::Later { after: None, why: target.redactor().clean(&why), answered: false }
        }
    }
}

/// Runs a channel's command: exit 0 is taken as told, anything else is tried again.
fn run_command(
    spec: Spec,
    user: Option<&str>,
    variables: Vec<(String, String)>,
    timeout: Duration,
) -> io::Result<Outcome> {
    let user = user.map(users::lookup).transpose()?;
    let home = user.as_ref().map_or("/".into(), |user| user.home.display().to_string());
    let surroundings = [("PATH", PATH), ("HOME", &home)];
    let surroundings = surroundings.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    let spec = Spec { env: surroundings.chain(variables).collect(), user, ..spec };
    let mut said = vec![];
    let mut hear = |bytes: &[u8]| {
        let room = 2_000_usize.saturating_sub(said.len());
        said.extend_from_slice(&bytes[..bytes.len().min(room)]);
    };
    let ending = command::run(&spec, timeout, &Cancel::new()?, &mut hear)?;
    if ending == Ending::Exited(0) {
        return Ok(Outcome::Delivered);
    }
    // Whole: it is cut where no secret is in it any more.
    let said = cut::readable(&String::from_utf8_lossy(&said)).trim().to_owned();
    let said = if said.is_empty() { said } else { format!(": {said}") };
    let why = format!("its command: {}{said}", command::explain(ending, timeout));
    Ok(Outcome::Later { after: None, why, answered: true })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::WallTime;
    use crate::config::{Command, Secret};
    use std::collections::BTreeSet;

    fn channel(kind: &'static str, way: Option<Way>) -> Channel {
        Channel { name: "x".into(), kind, on: BTreeSet::new(), way, ca: None }
    }

    #[test]
    fn a_channel_that_is_off_keeps_what_waits_and_a_request_that_can_never_be_made_is_given_up() {
        let ntfy = |token: &str| {
            let token = Some(Secret(token.as_bytes().to_vec()));
            Some(Way::Ntfy { server: "http://127.0.0.1:1".into(), topic: "a".into(), token })
        };
        let table = [
            (None, Outcome::Later { after: None, why: "it is off".into(), answered: false }),
            (ntfy("tk_a"), Outcome::Later { after: None, why: "connection refused".into(), answered: false }),
            (
                ntfy("tk\na"),
                Outcome::Never {
                    why: "its address or a header cannot be used: it holds characters that may not stand there".into(),
                },
            ),
        ];
        for (way, expected) in table {
            let target = Target::Channel(Arc::new(channel("ntfy", way)));
            assert_eq!(deliver(&target, &Body::Message(wording::test(WallTime(0))), "1"), expected);
        }
    }

    #[test]
    fn what_a_command_prints_is_shown_without_secrets() {
        let table = [
            ("exit 0", true, "told"),
            ("echo said xyzzy-1234; exit 1", false, "said ***"),
            ("printf 'DB_PASSWORD\\033[0m: hunter2\\n'; exit 1", false, "DB_PASSWORD: ***"),
        ];
        let redactor = Redactor::new(&[Secret(b"xyzzy-1234".to_vec())]);
        for (script, ok, message) in table {
            let run = Command::Argv(["/bin/sh", "-c", script].map(str::to_owned).to_vec());
            let way = Way::Command { run, user: None, timeout: Duration::from_secs(30) };
            let tried = try_each(&[Arc::new(channel("command", Some(way)))], &redactor).remove(0);
            assert_eq!(tried.ok, Some(ok), "{tried:?}");
            assert!(tried.message.ends_with(message), "{tried:?}");
        }
    }
}
