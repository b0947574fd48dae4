use super::*;
use crate::config::Secret;
use crate::notify::{Message, Tone};

fn message(title: &str, tone: Tone) -> Body {
    let (facts, output) = (vec![], vec![]);
    let event = "trouble.warning".into();
    Body::Message(Message { event, tone, title: title.into(), app: None, text: None, facts, output, at: WallTime(0) })
}

fn at(seconds: u64) -> Moment {
    Moment { mono: Duration::from_secs(seconds), wall: WallTime(1_000_000 + seconds as i64 * 1000) }
}

/// Puts a message in, as if the disk took it at once.
fn put(outbox: &mut Outbox, now: Moment, title: &str) -> u64 {
    put_as(outbox, now, title, Tone::Warning)
}

fn put_as(outbox: &mut Outbox, now: Moment, title: &str, tone: Tone) -> u64 {
    let facts = outbox.put("slack", now, message(title, tone));
    outbox.written(&facts);
    let Some(Fact::Put(outgoing)) = facts.first() else { panic!("{facts:?}") };
    outgoing.seq
}

/// Sends the one message that is due.
fn send(outbox: &mut Outbox, now: Moment) -> (u64, String) {
    let mut due = outbox.due(now);
    assert_eq!(due.len(), 1, "one is due: {due:?}");
    let Sending { seq, body: Body::Message(message), .. } = due.remove(0) else { panic!() };
    (seq, message.title)
}

fn later(after: Option<u64>) -> Outcome {
    Outcome::Later { after: after.map(Duration::from_secs), why: "HTTP 500".into(), answered: true }
}

#[test]
fn nothing_is_sent_before_it_is_on_disk_nor_before_the_one_before_it_is_known_to_have_arrived() {
    let mut outbox = Outbox::default();
    let facts = outbox.put("slack", at(0), message("a", Tone::Warning));
    assert_eq!((outbox.due(at(0)), outbox.deadline()), (vec![], None));
    outbox.written(&facts);
    let second = put(&mut outbox, at(0), "b");
    let (first, _) = send(&mut outbox, at(0));
    assert_eq!((outbox.due(at(9)), outbox.deadline()), (vec![], None), "an answer is awaited");
    let facts = outbox.answered(at(1), "slack", first, Outcome::Delivered);
    assert_eq!(facts, [Fact::Sent { channel: "slack".into(), seq: first, at: at(1).wall }]);
    assert_eq!(outbox.due(at(1)), [], "what became of it is not on disk");
    outbox.noted("slack");
    assert_eq!(send(&mut outbox, at(1)), (second, "b".into()));
}

#[test]
fn channels_do_not_wait_for_each_other() {
    let mut outbox = Outbox::default();
    let facts: Vec<Fact> =
        ["ntfy", "slack"].iter().flat_map(|channel| outbox.put(channel, at(0), message("a", Tone::Good))).collect();
    outbox.written(&facts);
    let due: Vec<String> = outbox.due(at(0)).into_iter().map(|sending| sending.channel).collect();
    assert_eq!(due, ["ntfy", "slack"]);
}

#[test]
fn a_failure_is_tried_again_after_pauses_that_grow_and_as_late_as_the_peer_asks() {
    let mut outbox = Outbox::default();
    let seq = put(&mut outbox, at(0), "a");
    let mut now = at(0);
    let mut pauses = vec![];
    for _ in 0..10 {
        send(&mut outbox, now);
        assert_eq!(outbox.answered(now, "slack", seq, later(None)), []);
        let next = outbox.deadline().unwrap();
        assert_eq!(outbox.due(at(next.as_secs() - 1)), [], "not before");
        pauses.push((next - now.mono).as_secs_f64());
        now = Moment { mono: next, wall: now.wall.plus(next - now.mono) };
    }
    for (nth, pause) in pauses.iter().enumerate() {
        let plain = (5.0 * f64::from(1 << nth.min(16))).min(900.0);
        assert!(*pause <= plain && *pause >= plain * 0.75, "{nth}: {pause} of {plain}");
    }
    send(&mut outbox, now);
    outbox.answered(now, "slack", seq, later(Some(3600)));
    assert_eq!(outbox.deadline().unwrap() - now.mono, Duration::from_secs(3600));
    outbox.try_at_once();
    assert_eq!(outbox.deadline().unwrap() - now.mono, Duration::from_secs(3600), "the peer's wish outlasts an outage");
}

#[test]
fn the_return_of_the_network_ends_a_pause() {
    let mut outbox = Outbox::default();
    let seq = put(&mut outbox, at(0), "a");
    send(&mut outbox, at(0));
    outbox.answered(at(0), "slack", seq, Outcome::Later { after: None, why: "no route".into(), answered: false });
    assert!(outbox.due(at(1)).is_empty());
    outbox.try_at_once();
    assert_eq!(send(&mut outbox, at(1)).0, seq);
}

#[test]
fn what_is_refused_is_dropped_and_counted_and_holds_up_nobody() {
    let mut outbox = Outbox::default();
    let (first, second) = (put(&mut outbox, at(0), "a"), put(&mut outbox, at(0), "b"));
    send(&mut outbox, at(0));
    let facts = outbox.answered(at(0), "slack", first, Outcome::Never { why: "HTTP 400: invalid_blocks".into() });
    assert_eq!(facts, [Fact::Dropped { channel: "slack".into(), seqs: vec![first] }]);
    outbox.noted("slack");
    assert_eq!(send(&mut outbox, at(0)).0, second);
    let sight = outbox.sight("slack");
    assert_eq!((sight.waiting, sight.counts.dropped), (1, 1));
    assert_eq!(sight.trouble.as_deref(), Some("HTTP 400: invalid_blocks"));
    // One that its peer can never do with does not hold up the rest for ever; an outage of the network may last.
    let mut now = at(0);
    for nth in 1..=REFUSALS_MAX {
        let facts = outbox.answered(now, "slack", second, later(None));
        assert_eq!(facts.is_empty(), nth < REFUSALS_MAX, "{nth}");
        now = Moment { mono: outbox.deadline().unwrap_or(now.mono), ..now };
        outbox.due(now);
    }
}

#[test]
fn a_refusal_that_passes_loses_nothing_and_one_that_stays_is_not_asked_for_ever() {
    // So many refusals, then it is taken: tries, sent, dropped.
    let table = [(0, 1, 1, 0), (1, 2, 1, 0), (TRIES_MAX - 1, TRIES_MAX, 1, 0), (TRIES_MAX, TRIES_MAX, 0, 1)];
    for (refusals, tries, sent, dropped) in table {
        let mut outbox = Outbox::default();
        let seq = put_as(&mut outbox, at(0), "CRITICAL", Tone::Critical);
        let (mut now, mut tried) = (at(0), 0);
        while outbox.sight("slack").waiting > 0 {
            now = Moment { mono: outbox.deadline().unwrap(), ..now };
            send(&mut outbox, now);
            let outcome = match tried < refusals {
                true => Outcome::Refused { why: "HTTP 404".into() },
                false => Outcome::Delivered,
            };
            outbox.answered(now, "slack", seq, outcome);
            tried += 1;
        }
        outbox.noted("slack");
        let counts = outbox.sight("slack").counts;
        assert_eq!((tried, counts.sent, counts.dropped), (tries, sent, dropped), "{refusals}");
        assert!(tries == 1 || now.mono >= Duration::from_secs(3), "there is a pause before each");
        // The next one has all its tries.
        let next = put(&mut outbox, now, "b");
        outbox.due(Moment { mono: outbox.deadline().unwrap(), ..now });
        assert_eq!(outbox.answered(now, "slack", next, Outcome::Refused { why: "HTTP 404".into() }), []);
    }
}

#[test]
fn a_reason_is_shown_without_secrets_and_short() {
    let redactor = Redactor::new(&[Secret(b"xyzzy-1234".to_vec())]);
    let long = format!("{}xyzzy-1234", "x".repeat(REASON - 5));
    let cut = format!("{}***", "x".repeat(REASON - 5));
    let table = [
        ("its command: exit 1: xyzzy-1234", "its command: exit 1: ***"),
        ("DB_PASSWORD\u{1b}[0m: hunter2", "DB_PASSWORD: ***"),
        (&*long, &*cut),
    ];
    for (why, clean) in table {
        let why = || why.to_owned();
        let outcomes = [
            Outcome::Later { after: None, why: why(), answered: true },
            Outcome::Refused { why: why() },
            Outcome::Never { why: why() },
        ];
        for outcome in outcomes {
            let (Outcome::Later { why, .. } | Outcome::Refused { why } | Outcome::Never { why }) =
                outcome.cleaned(&redactor)
            else {
                panic!()
            };
            assert_eq!(why, clean);
        }
    }
}

#[test]
fn an_answer_for_another_try_changes_nothing() {
    let mut outbox = Outbox::default();
    put(&mut outbox, at(0), "a");
    assert_eq!(outbox.answered(at(0), "slack", 1, Outcome::Delivered), [], "it was not sent by this daemon");
    send(&mut outbox, at(0));
    assert_eq!(outbox.answered(at(0), "slack", 7, Outcome::Delivered), []);
    assert_eq!(outbox.sight("slack").waiting, 1);
}

#[test]
fn a_long_outage_becomes_one_message_and_what_is_critical_stays() {
    let mut outbox = Outbox::default();
    for nth in 0..20 {
        put(&mut outbox, at(nth * 10), &format!("warning {nth}"));
    }
    let grave = put_as(&mut outbox, at(205), "CRITICAL", Tone::Critical);
    let young = put(&mut outbox, at(5000), "just now");
    assert_eq!(outbox.summarise(at(3630)), [], "of the first hour too few are old: {:?}", outbox.sight("slack"));
    let facts = outbox.summarise(at(5001));
    let [Fact::Summarised { seqs, by }] = facts.as_slice() else { panic!("{facts:?}") };
    assert_eq!(seqs.len(), 20);
    assert!(seqs.last() == Some(&by.seq) && !seqs.contains(&grave) && by.seq < grave && grave < young);
    outbox.written(&facts);
    let mut heard = vec![];
    while let Some(Sending { seq, body: Body::Message(message), .. }) = outbox.due(at(5001)).pop() {
        heard.push(message.title);
        outbox.answered(at(5001), "slack", seq, Outcome::Delivered);
        outbox.noted("slack");
    }
    assert_eq!(heard[0], "20 messages since 1970-01-01T00:16:40Z could not be sent");
    assert_eq!(heard[1..], ["CRITICAL", "just now"]);
    assert_eq!(outbox.summarise(at(99_999)), []);
}

#[test]
fn more_than_are_kept_push_out_the_oldest_that_are_not_critical() {
    let mut outbox = Outbox::default();
    let grave = put_as(&mut outbox, at(0), "CRITICAL", Tone::Critical);
    let first = put(&mut outbox, at(0), "first");
    for _ in 2..WAITING_MAX {
        put(&mut outbox, at(0), "more");
    }
    let facts = outbox.put("slack", at(1), message("one too many", Tone::Good));
    assert_eq!(facts.last(), Some(&Fact::Dropped { channel: "slack".into(), seqs: vec![first] }));
    let sight = outbox.sight("slack");
    assert_eq!((sight.waiting, sight.counts.dropped), (WAITING_MAX, 1));
    assert_eq!(send(&mut outbox, at(1)).0, grave);
}

#[test]
fn a_later_daemon_goes_on_where_the_earlier_one_was() {
    let row = |seq, body: String| Outgoing { seq, channel: "slack".into(), at: at(seq).wall, body };
    let rows = vec![row(4, message("a", Tone::Good).to_text()), row(6, "{\"what\":\"riddle\"}".into())];
    let counts = Counts { last_seq: 9, sent: 3, dropped: 0, last_sent: None };
    let (mut outbox, facts) = Outbox::remembered(rows, [("slack".to_owned(), counts)].into());
    assert_eq!(facts, [Fact::Dropped { channel: "slack".into(), seqs: vec![6] }], "nobody can read it");
    assert_eq!(send(&mut outbox, at(20)), (4, "a".into()));
    assert_eq!(put(&mut outbox, at(20), "b"), 10, "no number is used twice");
    assert_eq!(outbox.keep_only(|channel| channel == "slack"), []);
    assert_eq!(outbox.keep_only(|_| false), [Fact::ChannelGone { channel: "slack".into() }]);
    assert!(outbox.is_empty() && outbox.due(at(99)).is_empty());
}
