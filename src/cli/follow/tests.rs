//! Watching: what is shown of a deployment's story, to whom, and what happens when the daemon goes away.

use super::super::testing::{Ran, Said, Scratch, story};
use super::*;
use crate::control::{StepReport, StepStatus};

fn queued() -> Said {
    Answer::Deployment { number: DeployId(7), status: DeployStatus::Queued }.into()
}

fn phase(phase: Phase) -> Followed {
    Followed::Phase { phase, number: DeployId(7) }
}

fn line(text: &str) -> Followed {
    Followed::Log { line: text.into() }
}

fn step(name: &str, status: StepStatus, exit: i32) -> Followed {
    Followed::Step(StepReport {
        name: name.into(),
        phase: Phase::Build,
        status,
        exit: Some(exit),
        duration_seconds: 12.0,
    })
}

fn end(status: DeployStatus, exit: u8, phase: Phase) -> Followed {
    let release = (status == DeployStatus::Success).then(|| "000007-4f2a1c9".parse().unwrap());
    Followed::End { number: DeployId(7), status, exit, phase, release, message: None }
}

#[test]
fn a_deploy_is_watched_to_its_end_on_one_connection() {
    let told = || {
        story(vec![
            phase(Phase::Fetch),
            phase(Phase::Build),
            line("compiling"),
            step("deps", StepStatus::Failed, 137),
            end(DeployStatus::Failed, 2, Phase::Build),
        ])
    };
    let scratch = Scratch::configured("watched", &["shop"]);
    let daemon = scratch.daemon(vec![vec![queued(), told()]]);
    let ran = scratch.pintle(&["deploy"]);
    assert_eq!(daemon.asked()[1], Request::Follow { number: DeployId(7) });
    assert_eq!(
        ran,
        Ran {
            exit: 2,
            out: "\
deployment 000007 of shop (Ctrl-C stops watching, not the deployment)
== fetch
== build
   compiling
   deps: failed after 12s, exit 137
"
            .into(),
            err: "\
deployment 000007: failed in build
  `pintle show 7` lists its steps, `pintle logs --deploy 7` its output
"
            .into(),
        }
    );

    let _daemon = scratch.daemon(vec![vec![queued(), told()]]);
    let ran = scratch.pintle(&["deploy", "--json"]);
    let events: Vec<serde_json::Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((ran.exit, ran.err.as_str(), events.len()), (2, "", 5));
    assert_eq!((&events[4]["event"], &events[4]["exit"]), (&"end".into(), &2.into()));

    let _daemon = scratch.daemon(vec![vec![queued(), told()]]);
    assert_eq!(scratch.pintle(&["deploy", "-q"]).out, "");

    let _daemon = scratch.daemon(vec![vec![told()]]);
    assert_eq!(scratch.pintle(&["logs", "--deploy", "7", "-f"]).exit, 0, "looking on is no failure");
}

#[test]
fn the_follower_goes_on_where_a_killed_daemon_left_off() {
    let scratch = Scratch::configured("reconnect", &["shop"]);
    let first = vec![phase(Phase::Build), line("one"), line("one"), step("deps", StepStatus::Success, 0)];
    let mut second = first.clone();
    second.extend([line("two"), phase(Phase::Test), end(DeployStatus::Success, 0, Phase::Done)]);
    let daemon = scratch.daemon(vec![vec![queued(), story(first)], vec![story(second)]]);
    let ran = scratch.pintle(&["deploy"]);
    assert_eq!(daemon.asked().len(), 3);
    assert_eq!(
        ran,
        Ran {
            exit: 0,
            out: "\
deployment 000007 of shop (Ctrl-C stops watching, not the deployment)
== build
   one
   one
   deps: success after 12s
   two
== test
deployment 000007: success, 000007-4f2a1c9 is live
"
            .into(),
            err: String::new(),
        }
    );
}

#[test]
fn the_follower_gives_up_but_the_deployment_does_not() {
    let scratch = Scratch::configured("gone", &["shop"]);
    let _daemon = scratch.daemon(vec![vec![queued(), story(vec![phase(Phase::Build)])]]);
    let ran = scratch.pintle(&["deploy"]);
    assert_eq!(ran.exit, 69, "{ran:?}");
    assert!(ran.err.contains("deployment 000007 continues"), "{ran:?}");
    assert!(ran.err.contains("pintle logs --deploy 7 -f"), "{ran:?}");
}

#[test]
fn a_retold_story_is_shown_once() {
    let log = |line: &str| Followed::Log { line: line.into() };
    let phase = |phase| Followed::Phase { phase, number: DeployId(7) };
    let step = |name: &str| {
        let (phase, status) = (Phase::Build, StepStatus::Success);
        Followed::Step(StepReport { name: name.into(), phase, status, exit: Some(0), duration_seconds: 1.0 })
    };
    let mut shown = Shown::default();
    for line in [phase(Phase::Build), log("a"), log("a"), step("one")] {
        assert!(shown.is_new(&line), "{line:?}");
    }
    shown.retell();
    let again = [
        (phase(Phase::Build), false),
        (log("a"), false),
        (log("a"), false),
        (step("one"), false),
        (log("a"), true),
        (step("two"), true),
        (phase(Phase::Test), true),
    ];
    for (line, new) in again {
        assert_eq!(shown.is_new(&line), new, "{line:?}");
    }
}

#[test]
fn the_end_says_what_runs_and_where_to_look() {
    let end = |status, exit, release: Option<&str>, message: Option<&str>| Followed::End {
        number: DeployId(42),
        status,
        exit,
        phase: Phase::Build,
        release: release.map(|name| name.parse().unwrap()),
        message: message.map(str::to_owned),
    };
    let table = [
        (
            end(DeployStatus::Success, 0, Some("000042-4f2a1c9"), None),
            "deployment 000042: success, 000042-4f2a1c9 is live\n",
        ),
        (
            end(DeployStatus::Failed, 2, None, Some("step dependencies ended with 1")),
            "deployment 000042: failed in build\n  step dependencies ended with 1\n  \
             `pintle show 42` lists its steps, `pintle logs --deploy 42` its output\n",
        ),
        (
            end(DeployStatus::RolledBack, 4, None, None),
            "deployment 000042: rolled back\n  \
             `pintle show 42` lists its steps, `pintle logs --deploy 42` its output\n",
        ),
    ];
    for (line, text) in table {
        assert_eq!(ending(&line, &Style::plain()), text);
    }
}
