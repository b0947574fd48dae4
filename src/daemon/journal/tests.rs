//! What cannot be written now stays in order.

use super::*;
use crate::base::{Moment, WallTime};
use crate::notify::incidents::{self, Incident};
use crate::notify::outbox::{Fact, Outgoing};
use crate::notify::{Gravity, Subject};

fn put(seq: u64) -> Entry {
    let body = "{}".to_owned();
    Entry::Post(Fact::Put(Outgoing { seq, channel: "slack".into(), at: WallTime(0), body }))
}

fn sent(seq: u64) -> Entry {
    Entry::Post(Fact::Sent { channel: "slack".into(), seq, at: WallTime(1) })
}

/// Lies in another table than messages.
fn incident() -> Entry {
    let subject = Subject::host("power").as_str().to_owned();
    let (gravity, what, since) = (Gravity::Warning, "weak".to_owned(), WallTime(0));
    Entry::Incident(incidents::Fact::Opened(Incident { subject, app: None, gravity, what, since }))
}

#[test]
fn what_cannot_be_written_waits_in_order_and_nothing_overtakes_it() {
    let dir = std::env::temp_dir().join(format!("pintle-journal-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let mut diary = Diary::open(&dir, Moment::now()).unwrap().diary;
    let post = Post::new().unwrap();
    let other = rusqlite::Connection::open(dir.join("pintle.db")).unwrap();
    let page = |entries| Page { token: None, entries };

    // Messages cannot be written now, all else could.
    other.execute_batch("ALTER TABLE outbox RENAME TO elsewhere").unwrap();
    let mut backlog = vec![];
    write_alone(&mut diary, page(vec![put(1)]), &mut backlog, &post);
    write_alone(&mut diary, page(vec![incident()]), &mut backlog, &post);
    assert_eq!(backlog, [put(1), incident()], "what comes later waits behind it");
    retry_backlog(&mut diary, &mut backlog);
    assert_eq!(backlog, [put(1), incident()], "what comes later is not tried before");

    other.execute_batch("ALTER TABLE elsewhere RENAME TO outbox").unwrap();
    write_alone(&mut diary, page(vec![sent(1)]), &mut backlog, &post);
    assert_eq!(backlog, [put(1), incident(), sent(1)]);
    retry_backlog(&mut diary, &mut backlog);
    assert_eq!(backlog, []);
    let snapshot = diary.snapshot().unwrap();
    assert_eq!((snapshot.outbox.len(), snapshot.incidents.len()), (0, 1), "what was sent is not sent again");
    assert_eq!(snapshot.channels["slack"].sent, 1);
    std::fs::remove_dir_all(&dir).unwrap();
}
