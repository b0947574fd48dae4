//! What is told comes back, after the diary was closed and opened again.

use super::*;
use crate::base::{BackupId, Bytes, ServiceName};
use crate::control::{BackupReport, DeliveryVerdict, DeliveryView, Ignored, StepReport, StepStatus};

#[test]
fn a_deployment_comes_back_as_it_was_told() {
    let scratch = Scratch::new();
    let clinic = app("clinic");
    let mut diary = open(&scratch);
    let step = StepReport {
        name: "dependencies".into(),
        phase: Phase::Build,
        status: StepStatus::Failed,
        exit: Some(137),
        duration_seconds: 2.5,
    };
    let mut new = queued(1, &clinic);
    new.commit = None;
    new.requested = Some("4f2a1c9".into());
    new.status = DeployStatus::Waiting;
    new.message = Some("waits for its window".into());
    new.forced = true;
    diary.record(&[Entry::Queued(new)]).unwrap();
    let view = &diary.history(None, 10).unwrap()[0];
    assert_eq!((view.status, view.started), (DeployStatus::Waiting, at(1)));
    assert_eq!((view.commit.as_deref(), view.message.as_deref()), (Some("4f2a1c9"), Some("waits for its window")));

    let number = DeployId(1);
    diary
        .record(&[
            Entry::Phase { number, phase: Phase::Fetch, at: at(5) },
            Entry::Release { number, commit: commit(1), release: release(1), previous: Some(release(7)) },
            Entry::Phase { number, phase: Phase::Build, at: at(6) },
            Entry::Step { number, step: step.clone(), at: at(9) },
            Entry::PassedVerify { number },
        ])
        .unwrap();
    drop(diary);
    let Opened { mut diary, snapshot, .. } = Diary::open(scratch.path(), now()).unwrap();
    assert_eq!(snapshot, diary.snapshot().unwrap());
    let unfinished = snapshot.unfinished;
    assert_eq!(unfinished.len(), 1);
    let row = &unfinished[0];
    assert_eq!(
        (row.status, row.phase, row.began, row.message.as_deref()),
        (DeployStatus::Running, Phase::Build, Some(at(5)), None)
    );
    assert_eq!(
        (row.commit.clone(), row.release.clone(), row.previous.clone()),
        (Some(commit(1)), Some(release(1)), Some(release(7)))
    );
    assert!(row.forced && row.passed_verify);

    let over = Entry::Finished {
        number,
        status: DeployStatus::Failed,
        phase: Phase::Build,
        failed_phase: Some(Phase::Build),
        message: Some("step dependencies was killed, probably out of memory".into()),
        exit: 2,
        took: Some(Duration::from_micros(4_000_700)),
        at: at(9),
    };
    diary.record(&[over]).unwrap();
    let report = diary.show(number).unwrap().unwrap();
    assert_eq!((report.steps, report.exit, report.previous), (vec![step], Some(2), Some(release(7))));
    assert_eq!((report.deployment.finished, report.deployment.duration_seconds), (Some(at(9)), Some(4.0)));
    assert_eq!(report.deployment.status, DeployStatus::Failed);
    assert!(diary.snapshot().unwrap().unfinished.is_empty());
    assert_eq!(diary.show(DeployId(2)).unwrap(), None);
    assert_eq!(diary.show(DeployId(u64::MAX)).unwrap(), None);
}

#[test]
fn history_is_newest_first_and_can_be_of_one_app() {
    let scratch = Scratch::new();
    let mut diary = open(&scratch);
    let (clinic, labs) = (app("clinic"), app("labs"));
    let entries: Vec<_> = (1..=6).map(|n| Entry::Queued(queued(n, if n % 2 == 0 { &labs } else { &clinic }))).collect();
    diary.record(&entries).unwrap();
    let numbers = |app, limit| diary.history(app, limit).unwrap().iter().map(|view| view.number.0).collect::<Vec<_>>();
    assert_eq!(numbers(None, 4), [6, 5, 4, 3]);
    assert_eq!(numbers(Some(&labs), 20), [6, 4, 2]);
    assert_eq!(diary.snapshot().unwrap().highest, DeployId(6));
    assert_eq!(diary.snapshot().unwrap().newest, at(6));
}

#[test]
fn a_release_is_good_when_it_was_live_and_not_turned_back() {
    let scratch = Scratch::new();
    let mut diary = open(&scratch);
    let app = app("clinic");
    let live = |release_of: u64, by: u64| Entry::WentLive {
        app: app.clone(),
        release: release(release_of),
        commit: commit(release_of),
        deployment: DeployId(by),
        at: at(by as i64),
    };
    let made = |number| Entry::Release {
        number: DeployId(number),
        commit: commit(number),
        release: release(number),
        previous: None,
    };
    for (number, status) in [(1, DeployStatus::Success), (2, DeployStatus::Success), (3, DeployStatus::RolledBack)] {
        diary
            .record(&[
                Entry::Queued(queued(number, &app)),
                made(number),
                live(number, number),
                finished(number, status),
            ])
            .unwrap();
    }
    let rollback = NewDeployment { kind: Kind::Rollback, release: Some(release(1)), ..queued(4, &app) };
    diary.record(&[Entry::Queued(rollback), live(1, 4), finished(4, DeployStatus::Success)]).unwrap();
    let why =
        Entry::Quarantine { app: app.clone(), commit: commit(3), why: "died".into(), deployment: None, at: at(9) };
    diary.record(&[why]).unwrap();

    let known = diary.snapshot().unwrap().apps.remove(&app).unwrap();
    let good: Vec<_> = known.good.iter().map(|good| (good.release.clone(), good.at)).collect();
    assert_eq!(good, [(release(1), at(4)), (release(2), at(2))]);
    let releases: Vec<_> = known.releases.iter().map(|r| (r.release.number().0, r.good, r.quarantined)).collect();
    assert_eq!(releases, [(3, false, true), (2, true, false), (1, true, false)]);
    assert_eq!(diary.releases_info(&app).unwrap(), known.releases);
}

#[test]
fn a_delivery_id_stands_for_its_first_verdict_until_it_starts_a_deployment() {
    let scratch = Scratch::new();
    let mut diary = open(&scratch);
    let app = app("clinic");
    let delivery = |id: Option<&str>, deployment: Option<u64>, ignored| Entry::Delivery {
        id: id.map(String::from),
        app: app.clone(),
        commit: Some(commit(1)),
        deployment: deployment.map(DeployId),
        ignored,
        reason: None,
        at: at(1),
    };
    diary.record(&[delivery(Some("a"), None, Some(Ignored::Quarantined)), delivery(None, None, None)]).unwrap();
    diary.record(&[delivery(Some("a"), None, Some(Ignored::Older)), delivery(None, None, None)]).unwrap();
    assert_eq!(diary.seen(&app, "a").unwrap().unwrap().ignored, Some(Ignored::Quarantined));
    diary.record(&[Entry::Queued(queued(1, &app)), delivery(Some("a"), Some(1), None)]).unwrap();
    diary.record(&[delivery(Some("a"), None, Some(Ignored::Duplicate))]).unwrap();
    diary.record(&[finished(1, DeployStatus::Failed)]).unwrap();
    let seen = diary.seen(&app, "a").unwrap().unwrap();
    assert_eq!((seen.deployment, seen.status, seen.ignored), (Some(DeployId(1)), Some(DeployStatus::Failed), None));
    assert_eq!(diary.snapshot().unwrap().apps[&app].deliveries, [seen]);
    assert_eq!(diary.seen(&app, "b").unwrap(), None);
}

#[test]
fn old_delivery_ids_are_forgotten_but_only_the_oldest() {
    let scratch = Scratch::new();
    let mut diary = open(&scratch);
    let delivery = |app: &AppName, n: usize| Entry::Delivery {
        id: Some(n.to_string()),
        app: app.clone(),
        commit: Some(commit(1)),
        deployment: None,
        ignored: Some(Ignored::Live),
        reason: None,
        at: at(n as i64),
    };
    let (busy, quiet) = (app("busy"), app("quiet"));
    let count = snapshot::DELIVERIES_KEPT + 2 * snapshot::DELIVERIES_BEYOND;
    let mut entries = vec![delivery(&quiet, 0)];
    entries.extend((0..count).map(|n| delivery(&busy, n)));
    let mut memory = Memory::new();
    memory.record(&entries).unwrap();
    diary.record(&entries).unwrap();
    let oldest_kept = count - snapshot::DELIVERIES_KEPT;
    for (n, kept) in [(0, false), (2, false), (oldest_kept, true), (count - 1, true)] {
        assert_eq!(diary.seen(&busy, &n.to_string()).unwrap().is_some(), kept, "{n}");
        assert_eq!(memory.seen(&busy, &n.to_string()).is_some(), kept, "{n}");
    }
    assert!(diary.seen(&quiet, "0").unwrap().is_some());
    let known = diary.snapshot().unwrap();
    assert_eq!(known, memory.snapshot());
    let ids: Vec<_> = known.apps[&busy].deliveries.iter().map(|seen| seen.id.parse::<usize>().unwrap()).collect();
    assert_eq!(ids, (count - snapshot::DELIVERIES_IN_SNAPSHOT..count).collect::<Vec<_>>());
}

#[test]
fn of_what_came_to_the_listener_the_newest_thousand_are_kept() {
    let scratch = Scratch::new();
    let mut diary = open(&scratch);
    let logged = |n: usize| {
        Entry::Logged(Box::new(DeliveryView {
            at: at(n as i64),
            id: Some(n.to_string()),
            app: n.is_multiple_of(2).then(|| app("clinic")),
            trigger: Trigger::Webhook,
            event: "push".into(),
            wanted: Some(commit(1).to_string()),
            verdict: DeliveryVerdict::Ignored,
            reason: Some("another branch".into()),
            deployment: None,
            from: None,
            times: 1,
        }))
    };
    let count = snapshot::LOGGED_KEPT + 7;
    diary.record(&(0..count).map(logged).collect::<Vec<_>>()).unwrap();
    let ids =
        |views: Vec<DeliveryView>| views.into_iter().filter_map(|view| view.id?.parse().ok()).collect::<Vec<usize>>();
    let all = ids(diary.deliveries(None, u32::MAX).unwrap());
    assert_eq!(all, (7..count).rev().collect::<Vec<_>>());
    assert_eq!(ids(diary.deliveries(Some(&app("clinic")), 2).unwrap()), [count - 1, count - 3]);
}

#[test]
fn stopped_by_hand_lasts_until_started_by_hand() {
    let scratch = Scratch::new();
    let app = app("clinic");
    let (web, worker) = (ServiceName::new("web").unwrap(), ServiceName::new("worker").unwrap());
    let say = |service: Option<&ServiceName>, down| Entry::Wanted { app: app.clone(), service: service.cloned(), down };
    let table = [
        (say(Some(&web), true), [true, false]),
        (say(None, true), [true, true]),
        (say(Some(&worker), false), [true, false]),
        (say(None, false), [false, false]),
    ];
    for (entry, expected) in table {
        let mut diary = open(&scratch);
        diary.record(std::slice::from_ref(&entry)).unwrap();
        drop(diary);
        let known = open(&scratch).snapshot().unwrap().apps.remove(&app).unwrap();
        assert_eq!([known.wanted_down(&web), known.wanted_down(&worker)], expected, "after {entry:?}");
    }
}

#[test]
fn backups_quarantine_and_notices_come_back() {
    let scratch = Scratch::new();
    let mut diary = open(&scratch);
    let app = app("clinic");
    let id = |n: u32| BackupId::new(format!("20251024_20000{n}-000042")).unwrap();
    let report = |n: u32| BackupReport {
        id: id(n),
        app: app.clone(),
        created: at(i64::from(n)),
        bytes: Bytes(5_000_000_000),
        bytes_new: Bytes(7),
        release: Some(release(1)),
        verified: None,
        status: "complete".into(),
    };
    let made = |n| Entry::Backup { report: report(n), commit: Some(commit(1)), deployment: Some(DeployId(42)) };
    diary.record(&[made(1), made(2), made(3)]).unwrap();
    diary.record(&[Entry::BackupVerified { app: app.clone(), id: id(2), at: at(50) }]).unwrap();
    diary.record(&[made(2), Entry::BackupGone { app: app.clone(), id: id(3), at: at(60) }]).unwrap();
    diary.record(&[Entry::BackupVerified { app: app.clone(), id: id(9), at: at(50) }]).unwrap();
    let proved = BackupReport { verified: Some(at(50)), ..report(2) };
    assert_eq!(diary.backups(&app).unwrap(), [proved, report(1)]);

    let why = |why: &str| Entry::Quarantine {
        app: app.clone(),
        commit: commit(5),
        why: why.into(),
        deployment: Some(DeployId(5)),
        at: at(5),
    };
    diary.record(&[why("first"), why("failed its rehearsal")]).unwrap();
    let known = diary.snapshot().unwrap().apps.remove(&app).unwrap();
    let row = Quarantined { why: "failed its rehearsal".into(), deployment: Some(DeployId(5)), at: at(5) };
    assert_eq!(known.quarantine.get(&commit(5)), Some(&row));
    diary.record(&[Entry::Forgiven { app: app.clone(), commit: commit(5) }]).unwrap();
    assert_eq!(diary.snapshot().unwrap(), Snapshot::default());

    let notices = (0..=snapshot::NOTICES_KEPT as i64).map(|n| Entry::Notice { text: format!("n{n}"), at: at(n) });
    diary.record(&notices.collect::<Vec<_>>()).unwrap();
    let notices = diary.notices().unwrap();
    assert_eq!(notices.len(), snapshot::NOTICES_KEPT);
    assert_eq!(notices[0], Notice { at: at(100), text: "n100".into() });
}

#[test]
fn what_contradicts_history_changes_nothing() {
    let scratch = Scratch::new();
    let mut diary = open(&scratch);
    let app = app("clinic");
    diary
        .record(&[Entry::Queued(queued(1, &app)), Entry::Queued(queued(2, &app)), finished(1, DeployStatus::Success)])
        .unwrap();
    let before = diary.snapshot().unwrap();
    let phase = |number| Entry::Phase { number: DeployId(number), phase: Phase::Switch, at: at(1) };
    let status = |number, status| Entry::Status { number: DeployId(number), status, message: None };
    let table = [
        ("a number is used twice", Entry::Queued(queued(2, &app))),
        ("a deployment that nobody asked for", phase(99)),
        ("a phase after the end", phase(1)),
        ("a second end", finished(1, DeployStatus::Failed)),
        ("an end that is none", finished(2, DeployStatus::Running)),
        ("an end told as a status", status(2, DeployStatus::Failed)),
    ];
    for (what, entry) in table {
        let fine = Entry::Notice { text: "told before".into(), at: at(1) };
        let error = diary.record(&[fine, phase(2), entry]).unwrap_err();
        assert_eq!(error.trouble, Trouble::Contradiction, "{what}: {error}");
        assert_eq!(diary.snapshot().unwrap(), before, "{what}");
        assert!(diary.notices().unwrap().is_empty(), "{what}");
    }
    diary.record(&[phase(2)]).unwrap();
    diary.record(&[]).unwrap();
}
