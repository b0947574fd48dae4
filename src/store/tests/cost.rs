//! What a push costs the diary does not depend on how many came before.

use super::*;
use crate::control::{DeliveryVerdict, DeliveryView};
use rusqlite::ffi;

/// Steps of SQLite's machine that all statements of this diary took so far.
fn steps(diary: &Diary) -> u64 {
    // SAFETY: the connection is open as long as `diary`, and its statements are only asked for a number they keep.
    unsafe {
        let db = diary.connection.handle();
        let (mut statement, mut steps) = (std::ptr::null_mut(), 0);
        loop {
            statement = ffi::sqlite3_next_stmt(db, statement);
            if statement.is_null() {
                return steps;
            }
            let taken = ffi::sqlite3_stmt_status(statement, ffi::SQLITE_STMTSTATUS_VM_STEP, 0);
            steps += u64::try_from(taken).unwrap();
        }
    }
}

/// What the daemon tells for an accepted push that makes the one before needless.
fn push(app: &AppName, n: u64) -> Vec<Entry> {
    // As the forges' ids: the next one is anywhere among those before.
    let id = format!("{:016x}-{n}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let view = DeliveryView {
        at: at(n as i64),
        id: Some(id.clone()),
        app: Some(app.clone()),
        trigger: Trigger::Webhook,
        event: "push".into(),
        wanted: Some(commit(n).to_string()),
        verdict: DeliveryVerdict::Accepted,
        reason: None,
        deployment: Some(DeployId(n)),
        from: None,
        times: 1,
    };
    let delivery = Entry::Delivery {
        id: Some(id),
        app: app.clone(),
        commit: Some(commit(n)),
        deployment: Some(DeployId(n)),
        ignored: None,
        reason: None,
        at: at(n as i64),
    };
    let superseded = (n > 1).then(|| finished(n - 1, DeployStatus::Superseded));
    let told = [Entry::Queued(queued(n, app)), Entry::Logged(Box::new(view)), delivery];
    told.into_iter().chain(superseded).collect()
}

#[test]
fn the_twenty_thousandth_push_costs_the_diary_what_an_earlier_one_does() {
    let scratch = Scratch::new();
    let mut diary = open(&scratch);
    diary.connection.pragma_update(None, "synchronous", "OFF").unwrap();
    let (clinic, quiet) = (app("clinic"), app("quiet"));
    diary.record(&push(&quiet, 1)).unwrap();
    let mut next = 2;
    let mut cost_of = |pushes: u64| {
        let before = steps(&diary);
        for _ in 0..pushes / 10 {
            let group: Vec<Entry> = (next..next + 10).flat_map(|n| push(&clinic, n)).collect();
            diary.record(&group).unwrap();
            next += 10;
        }
        (steps(&diary) - before) / pushes
    };
    let early = cost_of(2_000);
    cost_of(8_500);
    // From here on each push makes an old one be forgotten.
    let later = cost_of(2_000);
    cost_of(6_000);
    let much_later = cost_of(2_000);
    assert!(later < early * 4, "{early} steps at first, {later} once the oldest are forgotten");
    assert!(much_later * 100 <= later * 105, "{later} steps after 10,500 pushes, {much_later} after 18,500");

    let rows = |table: &str| -> usize {
        let sql = format!("SELECT count(*) FROM {table}");
        diary.connection.query_row(&sql, [], |row| row.get::<_, i64>(0)).unwrap().try_into().unwrap()
    };
    assert_eq!(rows("deployments"), next as usize - 1, "every push is history");
    assert!(rows("deliveries") <= snapshot::DELIVERIES_KEPT + snapshot::DELIVERIES_BEYOND + 1);
    assert!(rows("delivery_log") <= snapshot::LOGGED_KEPT + snapshot::LOGGED_BEYOND);
    let first = push(&quiet, 1);
    let Some(Entry::Delivery { id: Some(first), .. }) = first.last() else { panic!("{first:?}") };
    assert!(diary.seen(&quiet, first).unwrap().is_some(), "a busy app does not make a quiet one's be forgotten");
}
