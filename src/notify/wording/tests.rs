use super::*;
use crate::base::{AppName, CommitId, DeployId};
use crate::config::Secret;
use crate::control::Trigger;
use crate::notify::Subject;
use std::time::Duration;

fn an_end(deed: Deed, status: DeployStatus, failed: Option<Phase>) -> Ended {
    Ended {
        number: DeployId(42),
        app: AppName::new("shop").unwrap(),
        deed,
        status,
        failed,
        message: None,
        commit: Some(CommitId::new("4f2a1c9000000000000000000000000000000001").unwrap()),
        branch: "main".into(),
        release: Some("000042-4f2a1c9".parse().unwrap()),
        previous: Some("000041-88aa001".parse().unwrap()),
        trigger: Trigger::Webhook,
        took: Some(Duration::from_secs(72)),
        output: vec![],
    }
}

#[test]
fn each_end_is_told_in_a_line_to_those_who_listen() {
    use DeployStatus::{Cancelled, Failed, Refused, RollbackFailed, RolledBack, Success, Superseded};
    use Occasion as On;
    type Row = (Deed, DeployStatus, Option<Phase>, &'static str, &'static [Occasion]);
    let table: [Row; 8] = [
        (Deed::Deploy, Success, None, "shop: 4f2a1c9 is live in 1m12s", &[On::Success]),
        (Deed::Deploy, Failed, Some(Phase::Test), "shop: deploy of 4f2a1c9 failed in test", &[On::Failure]),
        (
            Deed::Deploy,
            RolledBack,
            Some(Phase::Verify),
            "shop: 4f2a1c9 failed in verify, 000041-88aa001 is back",
            &[On::Rollback],
        ),
        (
            Deed::Deploy,
            RollbackFailed,
            Some(Phase::Verify),
            "CRITICAL: shop: 4f2a1c9 failed in verify, and going back failed too",
            &[On::Critical, On::Rollback, On::Failure],
        ),
        (
            Deed::Rollback,
            Success,
            None,
            "shop: back at 000042-4f2a1c9 as ordered in 1m12s",
            &[On::Success, On::Rollback],
        ),
        (Deed::Rollback, Failed, None, "shop: rollback to 000042-4f2a1c9 failed", &[On::Failure]),
        (Deed::Backup, Success, None, "shop: backed up as ordered in 1m12s", &[On::Success]),
        (Deed::Backup, Failed, Some(Phase::Backup), "shop: backup failed", &[On::Failure]),
    ];
    for (deed, status, failed, title, occasions) in table {
        let said = ended(&an_end(deed, status, failed), WallTime(7), &Redactor::default()).unwrap();
        assert_eq!((said.message.title.as_str(), said.occasions), (title, occasions));
        let facts: Vec<&str> = said.message.facts.iter().map(|(name, _)| name.as_str()).collect();
        let branch = ["commit", "branch", "release", "previous", "duration", "deployment", "trigger"];
        assert!(
            branch.iter().filter(|name| deed == Deed::Deploy || **name != "branch").all(|name| facts.contains(name))
        );
    }
    for status in [Superseded, Cancelled, Refused] {
        assert_eq!(ended(&an_end(Deed::Deploy, status, None), WallTime(7), &Redactor::default()), None);
    }
}

#[test]
fn a_failure_has_its_last_lines_and_no_secret_in_them() {
    let mut end = an_end(Deed::Deploy, DeployStatus::Failed, Some(Phase::Build));
    end.message = Some("step \"pip\": exit 1 at https://me:hunter2@pypi.example/".into());
    end.output = (0..50).map(|nth| format!("line {nth} of xyzzy-1234")).collect();
    end.output.push("\u{1b}[31mDB_PASSWORD=hunter2\u{1b}[0m".into());
    let redactor = Redactor::new(&[Secret(b"xyzzy-1234".to_vec())]);
    let message = ended(&end, WallTime(7), &redactor).unwrap().message;
    assert_eq!(message.text.as_deref(), Some("step \"pip\": exit 1 at https://***@pypi.example/"));
    assert_eq!(message.output.len(), OUTPUT_LINES);
    assert_eq!(message.output.last().unwrap(), "DB_PASSWORD=***");
    assert_eq!(message.output[10], "line 49 of ***");
}

#[test]
fn what_an_escape_sequence_or_a_line_end_breaks_up_is_hidden_all_the_same() {
    let key = ["-----BEGIN RSA PRIVATE KEY-----", "MIIEowIBAAKCAQEA", "hunter2x", "-----END RSA PRIVATE KEY-----"];
    let table: [(&[&str], &[&str]); 4] = [
        (&["DB_PASSWORD\u{1b}[0m: hunter2"], &["DB_PASSWORD: ***"]),
        (&["\u{1b}[1mTO\u{1b}[0mKEN\u{1b}(B\u{1b}[m=hunter2 x"], &["TOKEN=*** x"]),
        (&["said xyzzy\u{1b}[33m-1234\u{1b}[0m"], &["said ***"]),
        (&[&["before"], key.as_slice(), &["after"]].concat(), &["before", "***", "after"]),
    ];
    let redactor = Redactor::new(&[Secret(b"xyzzy-1234".to_vec())]);
    for (printed, told) in table {
        let mut end = an_end(Deed::Deploy, DeployStatus::Failed, Some(Phase::Build));
        end.output = printed.iter().map(|line| (*line).to_owned()).collect();
        end.message = Some(printed.join("\n"));
        let message = ended(&end, WallTime(7), &redactor).unwrap().message;
        assert_eq!(message.output, told);
        assert_eq!(message.text, Some(told.join("\n")));
    }
}

#[test]
fn a_commits_state_says_that_nothing_changed_only_where_that_is_so() {
    use DeployStatus::{Cancelled, Failed, RollbackFailed, RolledBack, Success};
    let table = [
        (Success, None, CommitState::Success, "live in 1m12s"),
        (Failed, None, CommitState::Failure, "failed, nothing changed"),
        (Failed, Some(Phase::Test), CommitState::Failure, "failed in test, nothing changed"),
        (Failed, Some(Phase::Rehearse), CommitState::Failure, "failed in rehearse, nothing changed"),
        (Failed, Some(Phase::Migrate), CommitState::Failure, "failed in migrate"),
        (Failed, Some(Phase::Verify), CommitState::Failure, "failed in verify"),
        (RolledBack, Some(Phase::Verify), CommitState::Failure, "failed in verify, rolled back"),
        (RollbackFailed, Some(Phase::Verify), CommitState::Error, "failed in verify, and the rollback failed"),
        (Cancelled, None, CommitState::Error, "cancelled"),
    ];
    for (status, failed, state, description) in table {
        assert_eq!(commit_state(&an_end(Deed::Deploy, status, failed)), (state, description.to_owned()));
    }
}

#[test]
fn who_is_needed_is_told_what_to_do() {
    let end = an_end(Deed::Deploy, DeployStatus::RollbackFailed, Some(Phase::Verify));
    let message = ended(&end, WallTime(7), &Redactor::default()).unwrap().message;
    assert_eq!(message.tone, Tone::Critical);
    assert_eq!(message.text.as_deref(), Some("A person is needed: `pintle show 42`, `pintle status shop`."));
}

#[test]
fn troubles_say_how_grave_they_are_and_what_to_do() {
    let trouble_of = |gravity| Happening::Trouble {
        about: Subject::host("power"),
        app: None,
        gravity,
        what: "under-voltage now".into(),
        advice: Some("The power supply is too weak.".into()),
    };
    let said = |happening| trouble(&happening, WallTime(7), &Redactor::default()).unwrap();
    let warning = said(trouble_of(Gravity::Warning));
    assert_eq!((warning.title.as_str(), warning.tone), ("Warning: under-voltage now", Tone::Warning));
    assert_eq!(warning.text.as_deref(), Some("The power supply is too weak."));
    assert_eq!(said(trouble_of(Gravity::Critical)).title, "CRITICAL: under-voltage now");
    let well = Happening::Recovered { about: Subject::host("power"), app: None, what: "the voltage is good".into() };
    assert_eq!(said(well).title, "Well again: the voltage is good");
    let long = Happening::Recovered { about: Subject::host("power"), app: None, what: "x".repeat(900) };
    let long = said(long);
    assert!(long.title.chars().count() == 200 && long.text.unwrap().chars().count() > 900);
}

#[test]
fn a_summary_shows_the_last_ten() {
    let titles: Vec<String> = (0..12).map(|nth| format!("message {nth}")).collect();
    let message = summary(&titles, WallTime(0), WallTime(9));
    let text = message.text.unwrap();
    assert!(text.starts_with("- 2 more before those below\n- message 2\n") && text.ends_with("- message 11"), "{text}");
}
