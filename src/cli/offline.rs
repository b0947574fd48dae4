//! What can be said while the daemon is down: read from the state directory, never written.

use super::failure::{Failure, IO, NOT_PERMITTED};
use crate::base::{AppName, DeployId, ReleaseName, ScheduleName, ServiceName};
use crate::control::{
    BackupsReport, DeliveriesReport, DeployStatus, DeploymentReport, HistoryReport, ReleaseView, ReleasesReport,
};
use crate::store::{Diary, ReleaseInfo, StoreError, Trouble};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// `history` from the diary.
pub fn history(state_dir: &Path, app: Option<&AppName>, limit: u32) -> Result<HistoryReport, Failure> {
    let diary = diary(state_dir)?;
    let notices = diary.notices().map_err(unread)?.into_iter().map(|notice| notice.text).collect();
    Ok(HistoryReport { deployments: diary.history(app, limit).map_err(unread)?, notices })
}

/// `deliveries` from the diary; what was refused only the daemon knows.
pub fn deliveries(state_dir: &Path, app: Option<&AppName>, limit: u32) -> Result<DeliveriesReport, Failure> {
    Ok(DeliveriesReport { deliveries: diary(state_dir)?.deliveries(app, limit).map_err(unread)? })
}

/// `show N` from the diary.
pub fn show(state_dir: &Path, number: DeployId) -> Result<DeploymentReport, Failure> {
    let mut report = diary(state_dir)?.show(number).map_err(unread)?.ok_or_else(|| {
        Failure::usage(format!("there is no deployment {number} in {}", state_dir.display()))
            .advise("`pintle history` lists the deployments")
    })?;
    let log = log_of(&state_dir.join("apps").join(&report.deployment.app), number);
    report.log = log.is_file().then(|| log.display().to_string());
    Ok(report)
}

/// `backup list` from the diary.
pub fn backups(state_dir: &Path, app: &AppName) -> Result<BackupsReport, Failure> {
    Ok(BackupsReport { backups: diary(state_dir)?.backups(app).map_err(unread)? })
}

/// `releases`: those that are on disk, with what the diary knows of them. The symlink says which is live.
pub fn releases(state_dir: &Path, app: &AppName) -> Result<ReleasesReport, Failure> {
    let home = state_dir.join("apps").join(app);
    let dir = home.join("releases");
    let entries = fs::read_dir(&dir).map_err(|error| Failure::on_path("list", &dir, &error))?;
    let mut names: Vec<ReleaseName> = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| ReleaseName::new(entry.file_name().to_str()?).ok())
        .collect();
    names.sort_by(|a, b| b.cmp(a));
    let live = fs::read_link(home.join("current")).ok().and_then(|to| Some(to.file_name()?.to_str()?.to_owned()));
    // Without a diary the directories are still worth listing.
    let known = diary(state_dir).and_then(|diary| diary.releases_info(app).map_err(unread)).unwrap_or_default();
    let previous = known.iter().filter(|info| info.good && live.as_deref() != Some(info.release.as_str()));
    let previous = previous.map(|info| info.release.clone()).next();
    let view = |release: ReleaseName| {
        let info = known.iter().find(|info| info.release == release);
        let is_live = live.as_deref() == Some(release.as_str());
        ReleaseView {
            state: match info {
                _ if is_live => "live",
                _ if previous.as_ref() == Some(&release) => "previous",
                info => info.map_or("unknown", fared),
            }
            .into(),
            commit: info.map(|info| info.commit.to_string()),
            created: info.map(|info| info.created),
            quarantined: info.is_some_and(|info| info.quarantined),
            release,
        }
    };
    Ok(ReleasesReport { app: app.clone(), releases: names.into_iter().map(view).collect() })
}

fn fared(info: &ReleaseInfo) -> &'static str {
    match info.status {
        _ if info.good => "good",
        DeployStatus::RolledBack | DeployStatus::RollbackFailed => "rolled_back",
        DeployStatus::Failed => "failed",
        _ => "unknown",
    }
}

fn diary(state_dir: &Path) -> Result<Diary, Failure> {
    Diary::open_read_only(state_dir).map_err(unread)
}

fn unread(error: StoreError) -> Failure {
    let exit = if error.trouble == Trouble::Denied { NOT_PERMITTED } else { IO };
    Failure::new(exit, error.to_string())
}

fn log_of(home: &Path, number: DeployId) -> PathBuf {
    home.join("logs").join(format!("deploy-{number}.log"))
}

/// What the logs of schedules begin with.
const SCHEDULE: &str = "schedule-";

/// The last lines of a deployment's log, of whichever app it is.
pub fn deployment_log(state_dir: &Path, number: DeployId, lines: u32) -> Result<Vec<Vec<u8>>, Failure> {
    let apps = state_dir.join("apps");
    let entries = fs::read_dir(&apps).map_err(|error| Failure::on_path("list", &apps, &error))?;
    let file =
        entries.flatten().map(|entry| log_of(&entry.path(), number)).find(|path| path.is_file()).ok_or_else(|| {
            Failure::usage(format!("no log of deployment {number} is in {}", apps.display()))
                .advise("`pintle history` lists the deployments")
        })?;
    tail(&file, lines)
}

/// The last lines of a service's log; of every service, each line beginning with its name, when none is named.
pub fn service_logs(
    state_dir: &Path,
    app: &AppName,
    service: Option<&ServiceName>,
    lines: u32,
) -> Result<Vec<Vec<u8>>, Failure> {
    let dir = state_dir.join("apps").join(app).join("logs");
    if let Some(service) = service {
        return tail(&dir.join(format!("{service}.log")), lines);
    }
    let entries = fs::read_dir(&dir).map_err(|error| Failure::on_path("list", &dir, &error))?;
    let mut files: Vec<(ServiceName, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let stem = name.to_str()?.strip_suffix(".log")?;
            if stem.strip_prefix("deploy-").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit())) {
                return None;
            }
            if stem.starts_with(SCHEDULE) {
                return None;
            }
            Some((ServiceName::new(stem).ok()?, entry.path()))
        })
        .collect();
    files.sort();
    let mut all = Vec::new();
    for (service, path) in files {
        let named = |line: Vec<u8>| [format!("{service} | ").as_bytes(), &line].concat();
        all.extend(tail(&path, lines)?.into_iter().map(named));
    }
    Ok(all)
}

/// The last lines of a schedule's log.
pub fn schedule_log(
    state_dir: &Path,
    app: &AppName,
    schedule: &ScheduleName,
    lines: u32,
) -> Result<Vec<Vec<u8>>, Failure> {
    tail(&state_dir.join("apps").join(app).join("logs").join(format!("{SCHEDULE}{schedule}.log")), lines)
}

fn tail(path: &Path, lines: u32) -> Result<Vec<Vec<u8>>, Failure> {
    let trouble = |error| Failure::on_path("read", path, &error);
    let keep = usize::try_from(lines).unwrap_or(usize::MAX);
    let mut last = VecDeque::new();
    for line in BufReader::new(File::open(path).map_err(trouble)?).split(b'\n') {
        last.push_back(line.map_err(trouble)?);
        if last.len() > keep {
            last.pop_front();
        }
    }
    Ok(last.into())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Scratch;
    use super::*;
    use crate::base::{CommitId, Moment};
    use crate::control::{Pass, Phase, Trigger};
    use crate::store::{Entry, Kind, NewDeployment};

    #[test]
    fn logs_releases_and_history_are_read_from_their_files() {
        let scratch = Scratch::new("offline");
        let home = scratch.path.join("apps/shop");
        fs::create_dir_all(home.join("logs")).unwrap();
        fs::create_dir_all(home.join("releases/000041-88aa001")).unwrap();
        fs::create_dir_all(home.join("releases/000042-4f2a1c9")).unwrap();
        fs::write(home.join("releases/000042-4f2a1c9.json"), "{}").unwrap();
        std::os::unix::fs::symlink("releases/000041-88aa001", home.join("current")).unwrap();
        fs::write(home.join("logs/web.log"), "one\ntwo\nthree\n").unwrap();
        fs::write(home.join("logs/worker.log"), "w\n").unwrap();
        fs::write(home.join("logs/schedule-digest.log"), "sent\n").unwrap();
        fs::write(home.join("logs/deploy-000042.log"), "built\n").unwrap();

        let app: AppName = "shop".parse().unwrap();
        let text = |lines: Vec<Vec<u8>>| String::from_utf8(lines.join(&b'\n')).unwrap();
        let logs = |service: Option<&str>, n| {
            service_logs(&scratch.path, &app, service.map(|s| s.parse().unwrap()).as_ref(), n).map(text)
        };
        assert_eq!(logs(Some("web"), 2).unwrap(), "two\nthree");
        assert_eq!(logs(None, 1).unwrap(), "web | three\nworker | w");
        let digest = "digest".parse().unwrap();
        assert_eq!(schedule_log(&scratch.path, &app, &digest, 1).map(text).unwrap(), "sent");
        assert!(logs(Some("mail"), 1).unwrap_err().message.contains("logs/mail.log"));
        assert_eq!(deployment_log(&scratch.path, DeployId(42), u32::MAX).map(text).unwrap(), "built");
        assert_eq!(deployment_log(&scratch.path, DeployId(43), 1).unwrap_err().exit, 64);

        let states = || -> Vec<(String, String)> {
            let report = releases(&scratch.path, &app).unwrap();
            report.releases.into_iter().map(|view| (view.release.to_string(), view.state)).collect()
        };
        let named = |name: &str, state: &str| (name.to_owned(), state.to_owned());
        assert_eq!(states(), [named("000042-4f2a1c9", "unknown"), named("000041-88aa001", "live")]);
        assert_eq!(show(&scratch.path, DeployId(42)).unwrap_err().exit, 74, "there is no diary yet");

        let mut diary = Diary::open(&scratch.path, Moment::now()).unwrap().diary;
        diary.record(&deployment_that_failed(&app)).unwrap();
        assert_eq!(states(), [named("000042-4f2a1c9", "failed"), named("000041-88aa001", "live")]);
        let report = show(&scratch.path, DeployId(42)).unwrap();
        assert_eq!((report.deployment.status, report.exit), (DeployStatus::Failed, Some(2)));
        assert_eq!(report.log, Some(home.join("logs/deploy-000042.log").display().to_string()));
        assert_eq!(show(&scratch.path, DeployId(43)).unwrap_err().exit, 64);
        let numbers = |app: Option<&AppName>| {
            history(&scratch.path, app, 5).unwrap().deployments.iter().map(|view| view.number.0).collect::<Vec<_>>()
        };
        assert_eq!(numbers(None), [42]);
        assert_eq!(numbers(Some(&"mail".parse().unwrap())), [0; 0]);
        assert_eq!(backups(&scratch.path, &app).unwrap().backups, []);
    }

    /// What a daemon writes down about deployment 42, whose build fails.
    fn deployment_that_failed(app: &AppName) -> [Entry; 4] {
        let (number, at) = (DeployId(42), "2025-10-24T20:00:00Z".parse().unwrap());
        let commit: CommitId = "4f2a1c9d00000000000000000000000000000001".parse().unwrap();
        [
            Entry::Queued(NewDeployment {
                number,
                app: app.clone(),
                kind: Kind::Deploy,
                requested: None,
                commit: None,
                release: None,
                status: DeployStatus::Queued,
                trigger: Trigger::Cli,
                forced: false,
                pass: Pass::None,
                retry_of: None,
                message: None,
                asked: at,
            }),
            Entry::Phase { number, phase: Phase::Build, at },
            Entry::Release { number, release: ReleaseName::of(number, &commit), commit, previous: None },
            Entry::Finished {
                number,
                status: DeployStatus::Failed,
                phase: Phase::Build,
                failed_phase: Some(Phase::Build),
                message: None,
                exit: 2,
                took: None,
                at,
            },
        ]
    }
}
