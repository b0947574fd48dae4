//! Sends what people are told: one message, on a thread that lives as long as that takes.

use super::Hands;
use crate::base::Moment;
use crate::config::{Channel, DuckDns, Way};
use crate::control::{Answer, ChannelTried, NotifyReport};
use crate::daemon::event::{Event, RequestId};
use crate::notify::message::Body;
use crate::notify::outbox::Sending;
use crate::notify::request::Reply;
use crate::notify::{Envelope, Outcome, Request, Target, duckdns, webhook, wording};
use crate::os::cancel::Cancel;
use crate::os::command::{self, Ending, Spec};
use crate::os::outbound::{self, Call};
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
        let replies = self.replies.clone();
        self.on_a_thread("courier", Event::Tick, move || {
            replies.answer(from, Answer::NotifyTest(NotifyReport { channels: try_all(&channels) }));
        })
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
            let result = outbound::call(call).and_then(|answer| {
                duckdns::outcome(&Reply { status: answer.status, retry_after: None, body: answer.body })
            });
            post.send(Event::AddressTold { result });
        })
    }
}

/// Sends a test to each channel, side by side: what happened, in their order.
pub fn try_all(channels: &[Arc<Channel>]) -> Vec<ChannelTried> {
    let one = |channel: &Arc<Channel>| {
        let (name, kind) = (channel.name.clone(), channel.kind.to_owned());
        if channel.way.is_none() {
            let message = "off: its address, token, chat or topic is empty".into();
            return ChannelTried { channel: name, kind, ok: None, message };
        }
        let now = Moment::now().wall;
        let body = Body::Message(wording::test(now));
        let (ok, message) = match deliver(&Target::Channel(channel.clone()), &body, &format!("test-{}", now.0)) {
            Outcome::Delivered => (true, "told".into()),
            Outcome::Later { why, .. } | Outcome::Never { why } => (false, why),
        };
        ChannelTried { channel: name, kind, ok: Some(ok), message }
    };
    std::thread::scope(|scope| {
        let tries: Vec<_> = channels.iter().map(|channel| scope.spawn(move || one(channel))).collect();
        tries.into_iter().filter_map(|tried| tried.join().ok()).collect()
    })
}

/// One try.
fn deliver(target: &Target, body: &Body, id: &str) -> Outcome {
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
        Ok(answer) => {
            let reply = Reply { status: answer.status, retry_after: answer.retry_after, body: answer.body };
            target.outcome(&reply, Moment::now().wall)
        }
        Err(why) => Outcome::Later { after: None, why: target.redactor().clean(&why), answered: false },
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
    let said = crate::notify::cut::line(&String::from_utf8_lossy(&said), 200);
    let said = if said.is_empty() { said } else { format!(": {said}") };
    let why = format!("its command: {}{said}", command::explain(ending, timeout));
    Ok(Outcome::Later { after: None, why, answered: true })
}
