//! `backup create`, `list`, `restore` and `prune`.

use super::args::{BackupVerb, RestoreArgs, backup_id};
use super::context::{Context, LONG};
use super::failure::Failure;
use super::style::{Cell, Style, Table, Tone};
use super::{follow, offline, place};
use crate::base::AppName;
use crate::control::{Answer, BackupReport, BackupsReport, Request};

/// `pintle backup ...`.
pub fn run(verb: &BackupVerb, cx: &mut Context<'_>) -> Result<u8, Failure> {
    match verb {
        BackupVerb::Create(args) => {
            let app = place::app(cx, args.app.as_deref())?;
            watched(cx, &app, &Request::BackupCreate { app: app.clone() })
        }
        BackupVerb::List(args) => {
            let app = place::app(cx, args.app.as_deref())?;
            let report = cx.ask_or_read(
                &Request::BackupList { app: app.clone() },
                |answer| if let Answer::Backups(report) = answer { Some(report) } else { None },
                |paths| offline::backups(&paths.state_dir, &app),
            )?;
            cx.answer(&report, |style| listed(&report, style))?;
            Ok(0)
        }
        BackupVerb::Restore(args) => restore(args, cx),
        BackupVerb::Prune(args) => {
            let app = place::app(cx, args.app.as_deref())?;
            cx.order(&Request::BackupPrune { app }, LONG)
        }
        BackupVerb::Verify(_) => Err(Failure::not_active("`backup verify`")),
        BackupVerb::Drill(_) => Err(Failure::not_active("`backup drill`")),
    }
}

fn restore(args: &RestoreArgs, cx: &mut Context<'_>) -> Result<u8, Failure> {
    let (app, word) = place::app_then(cx, &args.words)?;
    let id = backup_id(word).map_err(Failure::usage)?;
    if !args.yes {
        if !cx.world.terminal {
            return Err(Failure::usage(format!(
                "restore {id} overwrites the data of {app}, and nobody can be asked here"
            ))
            .advise("say --yes to mean it; what it overwrites is backed up first"));
        }
        let question = format!("Overwrite the data of {app} with backup {id}? It is backed up first. [y/N] ");
        let said = cx.question(&question)?.unwrap_or_default().to_lowercase();
        if said != "y" && said != "yes" {
            cx.complain("nothing was changed\n");
            return Ok(1);
        }
    }
    watched(cx, &app, &Request::BackupRestore { app: app.clone(), id })
}

/// A backup or a restore is a deployment like others: it has a number, and its log is shown as it goes.
fn watched(cx: &mut Context<'_>, app: &AppName, request: &Request) -> Result<u8, Failure> {
    let mut daemon = cx.daemon()?;
    match daemon.ask(request, LONG)? {
        Answer::Backup(backup) => made(cx, &backup),
        answer => follow::answered(cx, daemon, app, answer, false),
    }
}

/// Says that a backup was made.
pub fn made(cx: &mut Context<'_>, backup: &BackupReport) -> Result<u8, Failure> {
    cx.answer(backup, |_| {
        format!("backup {} of {}: {}, {} of it new\n", backup.id, backup.app, backup.bytes, backup.bytes_new)
    })?;
    Ok(0)
}

fn listed(report: &BackupsReport, style: &Style) -> String {
    if report.backups.is_empty() {
        return "no backups yet; `pintle backup create` makes one\n".into();
    }
    let mut table = Table::new(0, &["BACKUP", "CREATED", ">SIZE", ">NEW", "RELEASE", "VERIFIED", "STATUS"]);
    for backup in &report.backups {
        let tone = if backup.status == "complete" { Tone::Good } else { Tone::Bad };
        table.row(vec![
            backup.id.to_string().into(),
            style.time(backup.created).into(),
            backup.bytes.to_string().into(),
            backup.bytes_new.to_string().into(),
            Cell::or_dash(backup.release.as_ref()),
            Cell::or_dash(backup.verified.map(|time| style.time(time))),
            Cell::toned(&backup.status, tone),
        ]);
    }
    table.text(style)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Bytes;

    #[test]
    fn backups_are_listed_with_what_they_take() {
        let backup = |id: &str, status: &str| BackupReport {
            id: id.parse().unwrap(),
            app: "shop".parse().unwrap(),
            created: "2025-10-24T20:00:00Z".parse().unwrap(),
            bytes: Bytes(3 << 20),
            bytes_new: Bytes(1536),
            release: Some("000041-88aa001".parse().unwrap()),
            verified: None,
            status: status.into(),
        };
        let report = BackupsReport {
            backups: vec![backup("20251024_200000-000042", "complete"), backup("20251023_200000", "missing")],
        };
        assert_eq!(
            listed(&report, &Style::plain()),
            "\
BACKUP                  CREATED              SIZE     NEW  RELEASE         VERIFIED  STATUS
20251024_200000-000042  2025-10-24 20:00:00  3MiB  1.5KiB  000041-88aa001  -         complete
20251023_200000         2025-10-24 20:00:00  3MiB  1.5KiB  000041-88aa001  -         missing
"
        );
        assert!(listed(&BackupsReport { backups: vec![] }, &Style::plain()).contains("backup create"));
    }
}
