//! What people are told of what happens here: composed, put into the outbox, sent when it is due.
//!
//! What a message says and when it is told is the notify room's to say. Whatever tells of a fact is written down together
//! with it, and sent when both are on disk - or when they cannot be, which people then hear of all the same.

use super::super::action::Action;
use super::super::event::RequestId;
use super::super::world::{Mail, Pending, World};
use crate::base::{AppName, Moment};
use crate::config::{Config, Occasion};
use crate::control::{Answer, ChannelView, DeployStatus, IncidentView};
use crate::notify::incidents::{self, News};
use crate::notify::outbox::Fact;
use crate::notify::redact::Redactor;
use crate::notify::wording::{self, Said};
use crate::notify::{Body, CommitState, Deed, Ended, Gravity, Happening, Message, Outcome, StatusOf, Subject, Target};
use crate::store::{Entry, Snapshot};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// So many failures in a row are an outage, and said once.
const OUTAGE: u32 = 3;

impl World {
    /// Something happened that people may want to hear of.
    pub(in super::super) fn tell(&mut self, now: Moment, happening: Happening, actions: &mut Vec<Action>) {
        let entries = self.news(now, &happening, actions);
        self.record_news(entries, actions);
    }

    /// As [`World::tell`], for whoever writes something down anyway: what comes back belongs into the same write, and
    /// with it into a `Pending` that gives its facts to [`World::news_written`].
    pub(in super::super) fn news(
        &mut self,
        now: Moment,
        happening: &Happening,
        actions: &mut Vec<Action>,
    ) -> Vec<Entry> {
        let happening = &happening.cleaned(&self.mail.redactor);
        let mut entries = vec![];
        match happening {
            Happening::Ended(ended) => {
                entries.extend(self.status_news(now, ended));
                if let Some(Said { message, occasions }) = wording::ended(ended, now.wall, &self.mail.redactor) {
                    entries.extend(self.put_where(now, message, |on| occasions.iter().any(on)));
                }
            }
            Happening::Trouble { .. } | Happening::Recovered { .. } => {
                let message = wording::trouble(happening, now.wall, &self.mail.redactor);
                let (news, message) = (self.mail.incidents.judge(happening, now.wall), message.into_iter());
                match news {
                    News::None => return vec![],
                    News::Opened(open) => {
                        let gravity = open.gravity;
                        entries.push(Entry::Incident(incidents::Fact::Opened(open)));
                        let occasions = incidents::occasions(gravity);
                        entries
                            .extend(message.flat_map(|said| self.put_where(now, said, |on| occasions.iter().any(on))));
                    }
                    News::Closed(open) => {
                        entries.push(Entry::Incident(incidents::Fact::Closed { subject: open.subject }));
                        // Nobody hears of the end who did not hear of the beginning.
                        let occasions = incidents::occasions(open.gravity);
                        let told = |on: &dyn Fn(&Occasion) -> bool| on(&Occasion::Recovery) && occasions.iter().any(on);
                        entries.extend(message.flat_map(|said| self.put_where(now, said, told)));
                    }
                }
                actions.extend(note(happening));
            }
        }
        entries
    }

    /// Puts a message into the queue of every channel that is on and wants it.
    fn put_where(
        &mut self,
        now: Moment,
        message: Message,
        wants: impl Fn(&dyn Fn(&Occasion) -> bool) -> bool,
    ) -> Vec<Entry> {
        let Mail { outbox, targets, .. } = &mut self.mail;
        let channels = targets.iter().filter_map(|(name, target)| match target {
            Target::Channel(channel) if channel.way.is_some() => Some((name, channel)),
            _ => None,
        });
        let listening = channels.filter(|(_, channel)| wants(&|occasion| channel.on.contains(occasion)));
        let facts = listening.flat_map(|(name, _)| outbox.put(name, now, Body::Message(message.clone())));
        facts.map(Entry::Post).collect()
    }

    /// A deploy of this commit has begun: its forge shows so.
    pub(in super::super) fn status_pending(&mut self, now: Moment, app: &AppName) -> Vec<Entry> {
        let Some(world) = self.apps.get_mut(app) else { return vec![] };
        let Some(deployment) = world.active.as_ref() else { return vec![] };
        let is_deploy = deployment.plan().kind == crate::deploy::Kind::Deploy;
        let Some(commit) = deployment.commit.clone().filter(|_| is_deploy && world.reported != Some(deployment.number))
        else {
            return vec![];
        };
        world.reported = Some(deployment.number);
        let description = format!("deployment {} is under way", deployment.number.0);
        self.put_status(now, app, StatusOf { commit, state: CommitState::Pending, description })
    }

    fn status_news(&mut self, now: Moment, ended: &Ended) -> Vec<Entry> {
        let reported = self.apps.get_mut(&ended.app).and_then(|app| app.reported.take());
        let Some(commit) = ended.commit.clone().filter(|_| ended.deed == Deed::Deploy) else { return vec![] };
        let (state, description) = wording::commit_state(ended);
        // What ended without having been judged takes back only what was said.
        if state == CommitState::Error && reported != Some(ended.number) && ended.status != DeployStatus::RollbackFailed
        {
            return vec![];
        }
        self.put_status(now, &ended.app, StatusOf { commit, state, description })
    }

    fn put_status(&mut self, now: Moment, app: &AppName, status: StatusOf) -> Vec<Entry> {
        let name = forge_of(app);
        if !self.mail.targets.contains_key(&name) {
            return vec![];
        }
        self.mail.outbox.put(&name, now, Body::Status(status)).into_iter().map(Entry::Post).collect()
    }

    /// What an earlier daemon had told of the board, and what the board does not show any more, is over.
    pub(super) fn close_what_stands_no_longer(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let is_ours = |subject: &Subject| super::standing::SUBJECTS.iter().any(|ours| *subject == Subject::host(ours));
        let judge = &self.board.judge;
        let may_stand =
            |open: &incidents::Incident| open.subject.strip_prefix("host/").is_some_and(|it| judge.may_stand(it));
        let open = self.mail.incidents.of_the_host();
        let gone = open.filter(|(about, open)| !may_stand(open) && !is_ours(about));
        let gone: Vec<(Subject, String)> = gone.map(|(about, open)| (about, open.what.clone())).collect();
        for (about, was) in gone {
            let what = format!("no longer so: {was}");
            self.tell(now, Happening::Recovered { about, app: None, what }, actions);
        }
    }

    /// Writes down what nothing else is written with.
    pub(in super::super) fn record_news(&mut self, entries: Vec<Entry>, actions: &mut Vec<Action>) {
        if !entries.is_empty() {
            let facts = entries.clone();
            self.write_then(entries, Pending::News { facts }, actions);
        }
    }

    /// Has something written that must not be lost when there is no room for it now, and `pending` go on when it is
    /// written, or kept for later: the writer answers in order, and what nobody waits for it keeps.
    fn write_then(&mut self, entries: Vec<Entry>, pending: Pending, actions: &mut Vec<Action>) {
        actions.push(Action::Record { token: None, entries });
        self.record(vec![], pending, actions);
    }

    /// What was told lies on disk, or is kept for when there is room: it may be sent.
    pub(super) fn news_written(&mut self, facts: &[Entry]) {
        for fact in facts {
            if let Entry::Post(fact) = fact {
                self.mail.outbox.written(std::slice::from_ref(fact));
            }
        }
    }

    /// Sends what is due.
    pub(super) fn send_what_is_due(&mut self, now: Moment, actions: &mut Vec<Action>) {
        if self.stopping || self.waits_for_reexec() {
            return;
        }
        let summaries: Vec<Entry> = self.mail.outbox.summarise(now).into_iter().map(Entry::Post).collect();
        self.record_news(summaries, actions);
        for sending in self.mail.outbox.due(now) {
            let Some(target) = self.mail.targets.get(&sending.channel).cloned() else { continue };
            actions.push(Action::Send { target, sending: Box::new(sending) });
        }
    }

    /// When something is to be sent next.
    pub(super) fn mail_deadline(&self) -> Option<Duration> {
        self.mail.outbox.deadline().filter(|_| !self.stopping && !self.waits_for_reexec())
    }

    /// What became of a message that was sent.
    pub(super) fn sent(&mut self, now: Moment, channel: &str, seq: u64, outcome: Outcome, actions: &mut Vec<Action>) {
        let outcome = outcome.cleaned(&self.mail.redactor);
        let before = self.mail.outbox.failures(channel);
        let facts = self.mail.outbox.answered(now, channel, seq, outcome.clone());
        let dropped = facts.iter().any(|fact| matches!(fact, Fact::Dropped { .. }));
        let said = match &outcome {
            Outcome::Delivered if before >= OUTAGE => {
                Some((log::Level::Info, format!("notify {channel}: told again, after {before} failures")))
            }
            Outcome::Later { why, .. } | Outcome::Refused { why } | Outcome::Never { why } if dropped => {
                Some((log::Level::Error, format!("notify {channel}: a message was refused and is dropped: {why}")))
            }
            Outcome::Later { why, .. } | Outcome::Refused { why } if before + 1 == OUTAGE => {
                let text = format!("notify {channel}: nothing can be told now ({why}); it waits and is tried again");
                Some((log::Level::Warn, text))
            }
            _ => None,
        };
        actions.extend(said.map(|(level, text)| Action::Note { level, text }));
        let entries: Vec<Entry> = facts.into_iter().map(Entry::Post).collect();
        if !entries.is_empty() {
            self.write_then(entries, Pending::Sent { channel: channel.into() }, actions);
        }
    }

    /// Somebody wants to see a message arrive.
    pub(super) fn test_asked(&mut self, from: RequestId, channel: Option<&str>, actions: &mut Vec<Action>) {
        let people = self.mail.targets.values().filter_map(|target| match target {
            Target::Channel(known) => channel.is_none_or(|name| known.name == name).then(|| known.clone()),
            Target::Forge(_) => None,
        });
        let channels: Vec<_> = people.collect();
        let (exit, message) = match channel {
            _ if !channels.is_empty() => return actions.push(Action::TryChannels { from, channels }),
            Some(name) => (64, format!("there is no [notify.{name}]")),
            None => (78, "nobody is told anything: there is no [notify.NAME]".to_owned()),
        };
        actions.push(Action::Answer { to: from, answer: Answer::Error { exit, message } });
    }

    /// Who is told, as people see it.
    pub(in super::super) fn channel_views(&self, now: Moment) -> Vec<ChannelView> {
        let view = |(name, target): (&String, &Target)| {
            let (kind, on) = match target {
                Target::Channel(channel) => (channel.kind, channel.way.is_some()),
                Target::Forge(_) => ("commit_status", true),
            };
            let sight = self.mail.outbox.sight(name);
            ChannelView {
                channel: name.clone(),
                kind: kind.to_owned(),
                on,
                waiting: sight.waiting,
                sent: sight.counts.sent,
                dropped: sight.counts.dropped,
                last_sent: sight.counts.last_sent,
                trouble: sight.trouble,
                next: sight.next.map(|at| now.wall.plus(at.saturating_sub(now.mono))),
            }
        };
        self.mail.targets.iter().map(view).collect()
    }

    /// What is wrong, as people see it.
    pub(in super::super) fn incident_views(&self) -> Vec<IncidentView> {
        let view = |open: &incidents::Incident| IncidentView {
            about: open.subject.clone(),
            app: open.app.clone(),
            critical: self.mail.incidents.gravity_now(open) == Gravity::Critical,
            what: open.what.clone(),
            since: open.since,
        };
        self.mail.incidents.iter().map(view).collect()
    }

    /// Who is told, as configured now; messages for others are forgotten.
    pub(in super::super) fn readdress(&mut self, now: Moment, config: &Config, actions: &mut Vec<Action>) {
        self.mail.targets = targets(config);
        self.mail.redactor = Redactor::of(config);
        self.readdress_dns(now, config.host.duckdns.as_ref(), actions);
        let targets = &self.mail.targets;
        let gone = self.mail.outbox.keep_only(|channel| targets.contains_key(channel));
        let mut entries: Vec<Entry> = gone.into_iter().map(Entry::Post).collect();
        let closed = self.mail.incidents.forget(|app| !config.apps.contains_key(app));
        entries.extend(closed.into_iter().map(|subject| Entry::Incident(incidents::Fact::Closed { subject })));
        if !entries.is_empty() {
            actions.push(Action::Record { token: None, entries });
        }
    }

    /// What an earlier daemon left to be told.
    pub(in super::super) fn take_over_mail(
        &mut self,
        now: Moment,
        snapshot: &mut Snapshot,
        config: &Config,
        actions: &mut Vec<Action>,
    ) {
        let rows = std::mem::take(&mut snapshot.outbox);
        let (outbox, unreadable) = crate::notify::Outbox::remembered(rows, std::mem::take(&mut snapshot.channels));
        self.mail.outbox = outbox;
        self.mail.incidents = crate::notify::Incidents::remembered(std::mem::take(&mut snapshot.incidents));
        if !unreadable.is_empty() {
            let entries = unreadable.into_iter().map(Entry::Post).collect();
            actions.push(Action::Record { token: None, entries });
        }
        self.readdress(now, config, actions);
        self.expect_to_be_steady(now);
        self.remember_who_keeps_ending();
    }
}

/// Where everything goes: people by the channel's name, forges by `commit_status/APP`, which no channel can be called.
fn targets(config: &Config) -> BTreeMap<String, Target> {
    let people = config.host.notify.values();
    let people = people.map(|channel| (channel.name.clone(), Target::Channel(Arc::new(channel.clone()))));
    let forges = config.apps.values().filter_map(|app| {
        let status = app.commit_status.clone()?;
        Some((forge_of(&app.name), Target::Forge(Arc::new(status))))
    });
    people.chain(forges).collect()
}

fn forge_of(app: &AppName) -> String {
    format!("commit_status/{app}")
}

/// A trouble's line in the journal.
fn note(happening: &Happening) -> Option<Action> {
    let (level, text) = match happening {
        Happening::Trouble { gravity: Gravity::Warning, what, .. } => (log::Level::Warn, what),
        Happening::Trouble { gravity: Gravity::Critical, what, .. } => (log::Level::Error, what),
        Happening::Recovered { what, .. } => (log::Level::Info, what),
        Happening::Ended(_) => return None,
    };
    Some(Action::Note { level, text: text.clone() })
}
