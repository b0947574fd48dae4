//! The exact text of `history`, `show` and `releases`, from hand-made reports.

use super::*;
use crate::control::{Phase, ReleaseView, StepReport, StepStatus, Trigger};

pub fn view(number: u64, status: DeployStatus, phase: Phase, message: Option<&str>) -> DeploymentView {
    DeploymentView {
        number: DeployId(number),
        app: "shop".parse().unwrap(),
        commit: Some("4f2a1c9d00000000000000000000000000000001".into()),
        release: (status == DeployStatus::Success).then(|| format!("{number:06}-4f2a1c9").parse().unwrap()),
        status,
        phase,
        trigger: Trigger::Webhook,
        started: "2025-10-24T20:00:00Z".parse().unwrap(),
        finished: status.is_final().then(|| "2025-10-24T20:01:12Z".parse().unwrap()),
        duration_seconds: status.is_final().then_some(72.25),
        message: message.map(str::to_owned),
    }
}

#[test]
fn history_is_a_table_newest_first() {
    let report = HistoryReport {
        deployments: vec![
            DeploymentView { commit: None, ..view(44, DeployStatus::Running, Phase::Test, None) },
            view(43, DeployStatus::Failed, Phase::Build, Some("step deps ended with 1\x1b[2J\nand more")),
            view(42, DeployStatus::RolledBack, Phase::Probation, None),
            view(41, DeployStatus::Success, Phase::Done, None),
        ],
        notices: vec![],
    };
    assert_eq!(
        history_text(&report, &Style::plain()),
        "\
\x20N  APP   STATUS           COMMIT   TRIGGER  STARTED               TOOK  MESSAGE
44  shop  running: test    -        webhook  2025-10-24 20:00:00      -
43  shop  failed in build  4f2a1c9  webhook  2025-10-24 20:00:00  1m12s  step deps ended with 1[2J
42  shop  rolled back      4f2a1c9  webhook  2025-10-24 20:00:00  1m12s
41  shop  success          4f2a1c9  webhook  2025-10-24 20:00:00  1m12s
"
    );
    let none = HistoryReport { deployments: vec![], notices: vec![] };
    assert!(history_text(&none, &Style::plain()).contains("pintle deploy"));
}

#[test]
fn show_tells_a_deployment_step_by_step() {
    let step = |name: &str, phase, status, exit, seconds| StepReport {
        name: name.into(),
        phase,
        status,
        exit,
        duration_seconds: seconds,
    };
    let report = DeploymentReport {
        deployment: view(43, DeployStatus::Failed, Phase::Build, Some("step deps ended with 1")),
        steps: vec![
            step("fetch", Phase::Fetch, StepStatus::Success, None, 1.25),
            step("deps", Phase::Build, StepStatus::Failed, Some(1), 0.2),
        ],
        previous: Some("000042-88aa001".parse().unwrap()),
        approved: false,
        exit: Some(2),
        log: Some("/s/apps/shop/logs/deploy-000043.log".into()),
    };
    assert_eq!(
        show_text(&report, &Style::plain()),
        "\
deployment 000043 of shop: failed in build
  why       step deps ended with 1
  commit    4f2a1c9d00000000000000000000000000000001
  before    000042-88aa001
  trigger   webhook
  started   2025-10-24 20:00:00
  finished  2025-10-24 20:01:12, after 1m12s
  log       /s/apps/shop/logs/deploy-000043.log

  PHASE  STEP   STATUS   EXIT   TOOK
  fetch  fetch  success     -   1.2s
  build  deps   failed      1  200ms
"
    );
    let waits = Some("waits for its window 02:00-05:00 (opens 2025-10-25 02:00)");
    let waiting = DeploymentReport {
        deployment: view(45, DeployStatus::Waiting, Phase::Preflight, waits),
        steps: vec![],
        previous: None,
        approved: true,
        exit: None,
        log: None,
    };
    let shown = show_text(&waiting, &Style::plain());
    assert!(
        shown.contains("waiting\n  why       waits for its window 02:00-05:00 (opens 2025-10-25 02:00)\n"),
        "{shown}"
    );
    assert!(shown.contains("trigger   webhook, approved by a person\n"), "{shown}");
    assert!(shown.contains("`pintle cancel 45`"), "{shown}");
    let running = DeploymentReport {
        deployment: view(44, DeployStatus::Running, Phase::Test, None),
        steps: vec![],
        previous: None,
        approved: false,
        exit: None,
        log: None,
    };
    assert!(show_text(&running, &Style::plain()).ends_with("in phase test; `pintle logs --deploy 44 -f` watches it\n"));
}

#[test]
fn releases_say_which_is_live_and_which_is_barred() {
    let release = |name: &str, state: &str, quarantined| ReleaseView {
        release: name.parse().unwrap(),
        commit: None,
        state: state.into(),
        created: Some("2025-10-24T20:00:00Z".parse().unwrap()),
        quarantined,
    };
    let report = ReleasesReport {
        app: "shop".parse().unwrap(),
        releases: vec![
            release("000043-4f2a1c9", "rolled_back", true),
            release("000042-88aa001", "live", false),
            ReleaseView { created: None, ..release("000041-1234567", "previous", false) },
        ],
    };
    assert_eq!(
        releases_text(&report, &Style::plain()),
        "\
RELEASE         STATE                      CREATED              COMMIT
000043-4f2a1c9  rolled back (quarantined)  2025-10-24 20:00:00  -
000042-88aa001  live                       2025-10-24 20:00:00  -
000041-1234567  previous                   -                    -
"
    );
}
