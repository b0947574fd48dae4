//! The deploy machine, by tables: a driver plays hands that do what a script says.

use super::*;
use crate::control::Phase::*;

const NOW: Duration = Duration::from_secs(1000);

fn commit() -> CommitId {
    CommitId::new("b".repeat(40)).unwrap()
}
fn new_release() -> ReleaseName {
    ReleaseName::new("000008-bbbbbbb").unwrap()
}
fn old_release() -> ReleaseName {
    ReleaseName::new("000007-aaaaaaa").unwrap()
}

fn plan(kind: Kind) -> Plan {
    let phases = match kind {
        Kind::Deploy => vec![Preflight, Fetch, Build, Test, Backup, Rehearse, Migrate, Switch, Verify, Probation, Done],
        Kind::BackupOnly => vec![Backup, Done],
        Kind::Rollback { .. } => vec![Switch, Verify, Probation, Done],
    };
    Plan { kind, phases, smoke: true, after: true, migrate_stopped: false }
}

fn deployment(kind: Kind) -> Deployment {
    let deadlines = Deadlines {
        timeout: Duration::from_secs(300),
        startup: Duration::from_secs(60),
        probation: Duration::from_secs(30),
    };
    let app = AppName::new("app").unwrap();
    let mut it = Deployment::new(DeployId(8), app, Trigger::Webhook, plan(kind), deadlines);
    it.previous = Some(old_release());
    it
}

/// What goes wrong, if anything.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Trouble {
    None,
    /// The work of this phase fails.
    Fails(Phase),
    /// A person cancels while this phase is under way.
    Cancelled(Phase),
    /// The deploy's time is up in this phase.
    Overdue(Phase),
    /// A service of the new release dies in this phase.
    Unreachable(Phase),
    Dies(Phase),
    /// As `Dies(Probation)`, and the old release does not come up either.
    NothingWorks,
}

struct Run {
    end: End,
    facts: Vec<Fact>,
    outputs: Vec<Output>,
}

/// Plays a deployment to its end.
fn play(mut it: Deployment, trouble: Trouble) -> Run {
    let (mut facts, mut all, mut now, mut struck) = (vec![], vec![], NOW, false);
    let mut queue = it.on(now, Input::Start);
    for _ in 0..200 {
        if queue.is_empty() {
            now = it.deadline().expect("it waits for time or for nothing");
            queue = it.on(now, Input::Tick);
            continue;
        }
        let output = queue.remove(0);
        all.push(output.clone());
        let phase = it.phase();
        let strike = !struck && matches!(output, Output::Work(_) | Output::Run(_) | Output::Verify | Output::Watch(_));
        let blow = match trouble {
            Trouble::Cancelled(at) if strike && at == phase => Some(Input::Cancel("cancelled".into())),
            Trouble::Overdue(at) if strike && at == phase => {
                now += Duration::from_secs(301);
                Some(Input::Tick)
            }
            Trouble::Unreachable(at) if strike && at == phase => Some(Input::Unreachable("nginx: exit 1".into())),
            Trouble::Dies(at) if strike && at == phase => Some(Input::Tripped("web ended: exit 1".into())),
            Trouble::NothingWorks if strike && phase == Probation => Some(Input::Tripped("web ended".into())),
            _ => None,
        };
        if let Some(blow) = blow {
            struck = true;
            queue.extend(it.on(now, blow));
            if matches!(output, Output::Work(_)) {
                continue;
            }
        }
        let answer = match output {
            Output::Record(these) => {
                facts.extend(these);
                Some(Input::Recorded(Ok(())))
            }
            Output::Work(work) => {
                let fails = trouble == Trouble::Fails(phase) && !matches!(work, Work::Discard | Work::Tidy);
                Some(Input::Worked(match work {
                    _ if fails => Worked::Failed("it broke".into()),
                    Work::Fetch => Worked::Fetched { commit: commit(), release: new_release() },
                    _ => Worked::Done(vec![]),
                }))
            }
            Output::CancelWork => Some(Input::Worked(Worked::Cancelled)),
            Output::Run(_) | Output::RunNothing if struck && it.watches_services() => None,
            Output::Run(_) | Output::RunNothing => Some(Input::Settled),
            Output::Verify if trouble == Trouble::NothingWorks && phase == Rollback => None,
            Output::Verify => Some(Input::Well),
            Output::Watch(_) | Output::Say(_) => None,
            Output::Finished(end) => return Run { end, facts, outputs: all },
        };
        queue.extend(answer.map(|answer| it.on(now, answer)).unwrap_or_default());
    }
    panic!("it never ended: {all:?}");
}

#[test]
fn a_good_deploy_walks_every_phase_and_writes_each_down_first() {
    let run = play(deployment(Kind::Deploy), Trouble::None);
    assert_eq!((run.end.status, run.end.exit), (DeployStatus::Success, 0));
    let phases: Vec<Phase> =
        run.facts.iter().filter_map(|fact| if let Fact::Phase(phase) = fact { Some(*phase) } else { None }).collect();
    assert_eq!(phases, plan(Kind::Deploy).phases);
    let at = |wanted: &Output| run.outputs.iter().position(|output| output == wanted).expect("asked for");
    assert!(at(&Output::Work(Work::Steps(StepPhase::Migrate))) < at(&Output::Work(Work::Point(Some(new_release())))));
    assert!(at(&Output::Work(Work::Point(Some(new_release())))) < at(&Output::Run(new_release())));
    assert!(run.facts.contains(&Fact::PassedVerify));
}

#[test]
fn whatever_fails_before_the_switch_touches_nothing_that_runs() {
    let exits = [(Preflight, 3), (Fetch, 3), (Build, 2), (Test, 1), (Backup, 3), (Rehearse, 3), (Migrate, 3)];
    for (phase, exit) in exits {
        for trouble in [Trouble::Fails(phase), Trouble::Cancelled(phase), Trouble::Overdue(phase)] {
            if trouble == Trouble::Overdue(Preflight) {
                continue; // the time counts from fetch
            }
            let run = play(deployment(Kind::Deploy), trouble);
            let (status, exit) = match trouble {
                Trouble::Cancelled(_) => (DeployStatus::Cancelled, 6),
                _ => (DeployStatus::Failed, exit),
            };
            assert_eq!((run.end.status, run.end.exit, run.end.failed), (status, exit, Some(phase)), "{trouble:?}");
            let touched =
                run.outputs.iter().any(|output| matches!(output, Output::Run(_) | Output::Work(Work::Point(_))));
            assert!(!touched, "{trouble:?}");
            assert!(run.outputs.contains(&Output::Work(Work::Discard)), "{trouble:?}");
            let blamed = run.facts.iter().any(|fact| matches!(fact, Fact::Quarantined { .. }));
            assert_eq!(blamed, trouble == Trouble::Fails(Rehearse), "{trouble:?}");
        }
    }
}

#[test]
fn whatever_fails_from_the_switch_on_brings_the_previous_release_back() {
    let troubles = [
        Trouble::Fails(Switch),
        Trouble::Fails(Verify),
        Trouble::Dies(Verify),
        Trouble::Dies(Probation),
        Trouble::Unreachable(Switch),
        Trouble::Cancelled(Verify),
        Trouble::Cancelled(Probation),
        Trouble::Overdue(Verify),
    ];
    for trouble in troubles {
        let run = play(deployment(Kind::Deploy), trouble);
        assert_eq!((run.end.status, run.end.exit), (DeployStatus::RolledBack, 4), "{trouble:?}: {:?}", run.end);
        let last_run = run.outputs.iter().rev().find(|output| matches!(output, Output::Run(_)));
        assert_eq!(last_run, Some(&Output::Run(old_release())), "{trouble:?}");
        let blamed = run.facts.iter().any(|fact| matches!(fact, Fact::Quarantined { .. }));
        let nobody = matches!(trouble, Trouble::Cancelled(_) | Trouble::Fails(Switch) | Trouble::Unreachable(_));
        assert_eq!(blamed, !nobody, "{trouble:?}");
    }
}

#[test]
fn a_rollback_that_does_not_become_healthy_needs_a_person() {
    let run = play(deployment(Kind::Deploy), Trouble::NothingWorks);
    assert_eq!((run.end.status, run.end.exit), (DeployStatus::RollbackFailed, 5));
    assert!(run.end.message.unwrap().contains("needs a person"));
}

#[test]
fn a_first_deploy_that_fails_leaves_nothing_live() {
    let mut it = deployment(Kind::Deploy);
    it.previous = None;
    let run = play(it, Trouble::Dies(Probation));
    assert_eq!((run.end.status, run.end.exit), (DeployStatus::Failed, 3));
    assert!(run.outputs.contains(&Output::RunNothing) && run.outputs.contains(&Output::Work(Work::Point(None))));
}

#[test]
fn the_old_release_is_stopped_for_migrations_only_where_asked_and_comes_back_when_they_fail() {
    let mut it = deployment(Kind::Deploy);
    it.plan.migrate_stopped = true;
    let run = play(it, Trouble::Fails(Migrate));
    assert_eq!(run.end.exit, 3);
    assert!(run.outputs.contains(&Output::RunNothing));
    assert!(run.outputs.contains(&Output::Run(old_release())));
}

#[test]
fn a_deploy_whose_time_is_up_has_time_to_remove_what_it_made() {
    let mut it = deployment(Kind::Deploy);
    it.on(NOW, Input::Start);
    it.on(NOW, Input::Recorded(Ok(())));
    it.on(NOW, Input::Worked(Worked::Done(vec![])));
    it.on(NOW, Input::Recorded(Ok(())));
    let overdue = it.deadline().expect("fetch has a deadline");
    assert_eq!(it.on(overdue, Input::Tick), [Output::CancelWork]);
    assert!(it.on(overdue, Input::Worked(Worked::Cancelled)).contains(&Output::Work(Work::Discard)));
    let hung = it.deadline().expect("so has discarding");
    assert!(hung > overdue);
    assert_eq!(it.on(hung, Input::Tick), [Output::CancelWork]);
    let outputs = it.on(hung, Input::Worked(Worked::Cancelled));
    let [Output::Record(facts)] = &outputs[..] else { panic!("{outputs:?}") };
    assert!(matches!(&facts[..], [Fact::Ended(End { status: DeployStatus::Failed, exit: 3, .. })]), "{facts:?}");
}

#[test]
fn what_follows_a_deploy_has_its_own_time_and_every_hang_ends() {
    let mut it = deployment(Kind::Deploy);
    it.release = Some(new_release());
    it.app_is_stopped = true;
    it.resume_watching(NOW);
    it.on(NOW, Input::Settled);
    let late = NOW + Duration::from_secs(299);
    assert_eq!(it.on(late, Input::Recorded(Ok(()))), [Output::Work(Work::Steps(StepPhase::After))]);
    for work in [Work::Steps(StepPhase::After), Work::Tidy] {
        assert_eq!(it.stage, Stage::Working(work));
        let hung = it.deadline().expect("it does not hang for ever");
        assert!(hung >= late + Duration::from_secs(300));
        assert_eq!(it.on(hung, Input::Tick), [Output::CancelWork]);
        it.on(hung, Input::Worked(Worked::Cancelled));
    }
    assert!(matches!(it.stage, Stage::Ending(End { status: DeployStatus::Success, .. })));
}

#[test]
fn a_switch_that_cannot_be_written_down_has_touched_nothing() {
    let mut it = deployment(Kind::Rollback { to: old_release(), data: None });
    it.on(NOW, Input::Start);
    let outputs = it.on(NOW, Input::Recorded(Err("disk full".into())));
    let touched = outputs.iter().any(|output| matches!(output, Output::Work(_) | Output::Run(_)));
    assert!(!touched, "{outputs:?}");
    let ended = outputs.iter().any(|output| {
        matches!(output, Output::Record(facts) if matches!(&facts[..],
        [Fact::Ended(End { status: DeployStatus::Failed, failed: Some(Switch), .. })]))
    });
    assert!(ended, "{outputs:?}");
}

#[test]
fn a_diary_that_cannot_be_written_stops_a_deploy_but_not_a_rollback() {
    let mut it = deployment(Kind::Deploy);
    it.on(NOW, Input::Start);
    let outputs = it.on(NOW, Input::Recorded(Err("disk full".into())));
    assert!(outputs.contains(&Output::Work(Work::Discard)), "{outputs:?}");

    let mut it = deployment(Kind::Deploy);
    it.release = Some(new_release());
    it.resume_going_back(NOW, Verify);
    let outputs = it.on(NOW, Input::Recorded(Err("disk full".into())));
    assert!(outputs.contains(&Output::Work(Work::Point(Some(old_release())))), "{outputs:?}");
}

#[test]
fn backups_and_rollbacks_are_deployments_with_fewer_phases() {
    let run = play(deployment(Kind::BackupOnly), Trouble::None);
    assert_eq!(run.end.status, DeployStatus::Success);
    let back = Kind::Rollback { to: old_release(), data: None };
    let run = play(deployment(back), Trouble::None);
    assert_eq!(run.end.status, DeployStatus::Success);
    assert!(run.outputs.contains(&Output::Run(old_release())));
}

#[test]
fn time_that_is_up_counts_once_while_what_was_made_is_cleared_away() {
    let mut it = deployment(Kind::Deploy);
    let mut now = NOW;
    it.on(now, Input::Start);
    it.on(now, Input::Recorded(Ok(())));
    it.on(now, Input::Worked(Worked::Done(vec![])));
    it.on(now, Input::Recorded(Ok(())));
    now += Duration::from_secs(301);
    assert_eq!(it.on(now, Input::Tick), [Output::CancelWork]);
    let outputs = it.on(now, Input::Worked(Worked::Cancelled));
    assert!(outputs.contains(&Output::Work(Work::Discard)), "{outputs:?}");
    assert_eq!(it.on(now, Input::Tick), [], "a tick of somebody else changes nothing");
    assert_eq!(it.deadline(), Some(now + Duration::from_secs(300)), "clearing away has a deadline of its own");
    let outputs = it.on(now, Input::Worked(Worked::Done(vec![])));
    let [Output::Record(facts)] = &outputs[..] else { panic!("{outputs:?}") };
    assert!(matches!(&facts[..], [Fact::Ended(End { status: DeployStatus::Failed, .. })]), "{facts:?}");
}
