//! From a commit to a release directory - if it may be deployed at all.

use super::{Bench, GIT_PATIENCE, LOOK_PATIENCE, Task};
use crate::base::{CommitId, ReleaseName, TagName};
use crate::config::{self, App};
use crate::daemon::event::{Thawed, Tip};
use crate::deploy::Worked;
use crate::os::cancel::Cancel;
use crate::os::git::{Limits, Mirror, Relation};
use crate::os::releases::Releases;
use std::io;
use std::sync::Arc;

impl Task<'_> {
    pub(super) fn fetch(&self) -> io::Result<Worked> {
        let (app, mirror) = (&self.job.app, self.mirror()?);
        let tip = self.with_limits(|limits| mirror.fetch(limits))?;
        let asked = match self.job.requested.as_deref() {
            Some(wanted) => self.with_limits(|limits| look_up(&mirror, wanted, limits))?,
            None => tip,
        };
        if let (Some(tag), false) = (self.tag(), mirror.contains(&asked)?) {
            let branch = &app.source.branch;
            return Ok(Worked::Refused(format!("tag {tag} ({}) is not on branch {branch}", asked.short())));
        }
        let commit = self.newest_of(&mirror, asked)?;
        if let Some(why) = self.why_not(&mirror, &commit)? {
            return Ok(Worked::Refused(why));
        }
        if let Ok(subject) = mirror.subject(&commit) {
            self.say(&format!("{} {} ({})", commit.short(), subject.line, subject.author));
        }
        let release = ReleaseName::of(self.number(), &commit);
        let (releases, user) = (self.releases(), self.user()?);
        let frozen = frozen_document(app, &commit);
        self.with_limits(|limits| releases.stage(&mirror, &release, &commit, &app.source, limits, user.as_ref()))?;
        releases.freeze(&release, &frozen)?;
        Ok(Worked::Fetched { commit, release })
    }

    /// The tag that was asked for, if it was one.
    fn tag(&self) -> Option<&str> {
        self.job.requested.as_deref()?.strip_prefix(TAGS)
    }

    /// Deliveries may come in the wrong order (a slow run of an older commit ends last): a commit that was superseded
    /// while both waited is deployed after all when it is the newer one.
    fn newest_of(&self, mirror: &Mirror, asked: CommitId) -> io::Result<CommitId> {
        let mut newest = asked;
        for rival in &self.job.rivals {
            let known = mirror.contains(rival).unwrap_or(false);
            if known && mirror.relation(&newest, rival)? == Relation::Newer {
                self.say(&format!(
                    "{} was delivered later, but {} is newer: it is deployed",
                    newest.short(),
                    rival.short()
                ));
                newest = rival.clone();
            }
        }
        Ok(newest)
    }

    /// Only commits of the branch, none that failed before, and never backwards unless a person says so.
    fn why_not(&self, mirror: &Mirror, commit: &CommitId) -> io::Result<Option<String>> {
        let branch = &self.job.app.source.branch;
        if !mirror.contains(commit)? {
            return Ok(Some(format!("commit {} is not on branch {branch}", commit.short())));
        }
        if let Some(why) = self.job.quarantine.get(commit) {
            return Ok(Some(format!("commit {} is quarantined: {why} (`pintle forgive`; --force)", commit.short())));
        }
        let Some(live) = self.job.live_commit.as_ref().filter(|_| !self.job.forced) else { return Ok(None) };
        Ok(match mirror.relation(live, commit)? {
            Relation::Newer | Relation::Diverged => None,
            Relation::Same => Some(format!("commit {} is live already", commit.short())),
            Relation::Older => {
                let (commit, live) = (commit.short(), live.short());
                Some(format!(
                    "commit {commit} is older than {live}, which is live (`pintle rollback` goes back; --force)"
                ))
            }
        })
    }
}

/// How a deployment that was asked for by tag says so.
const TAGS: &str = "refs/tags/";

/// The commit that `wanted` stands for: a full or abbreviated commit, or `refs/tags/NAME` as the remote has it now.
fn look_up(mirror: &Mirror, wanted: &str, limits: &mut Limits<'_>) -> io::Result<CommitId> {
    match wanted.strip_prefix(TAGS).map(TagName::new) {
        Some(tag) => mirror.fetch_tag(&tag.map_err(|bad| io::Error::other(bad.to_string()))?, limits),
        None => mirror.resolve(wanted),
    }
}

fn frozen_document(app: &App, commit: &CommitId) -> serde_json::Value {
    let mut document = config::freeze(app);
    document["commit"] = commit.as_str().into();
    document
}

/// Writes the definition that a reload gave to the live release.
pub fn apply_definition(bench: &Bench, app: &App, release: &ReleaseName, commit: Option<&CommitId>) -> io::Result<()> {
    let mut document = config::freeze(app);
    if let Some(commit) = commit {
        document["commit"] = commit.as_str().into();
    }
    Releases::new(&bench.place.app(&app.name)).apply(release, &document)
}

/// The definition the live release runs by: a reload may have changed it since it was deployed.
pub fn thaw_live(bench: &Bench, app: &Arc<App>, release: &ReleaseName) -> Thawed {
    let deployed = thaw(bench, app, release);
    let applied = Releases::new(&bench.place.app(&app.name)).applied(release).unwrap_or_else(|error| {
        log::error!("{error}");
        None
    });
    let Some(document) = applied else { return deployed };
    match config::thaw(&app.name, &document, &bench.config_dir, &bench.environment) {
        Ok(definition) => Thawed { definition: Arc::new(definition), ..deployed },
        Err(problems) => {
            let all: Vec<String> = problems.iter().map(|problem| problem.to_string()).collect();
            log::error!(
                "{}: {release} runs as it was deployed, what was changed since is wrong: {}",
                app.name,
                all.join("; ")
            );
            deployed
        }
    }
}

/// The definition a release was deployed with; where it is missing or damaged, today's (and the journal says so).
pub fn thaw(bench: &Bench, app: &Arc<App>, release: &ReleaseName) -> Thawed {
    let frozen = Releases::new(&bench.place.app(&app.name)).frozen(release);
    let document = frozen.unwrap_or_else(|error| {
        log::error!("{error}");
        None
    });
    let commit = document.as_ref().and_then(|document| CommitId::new(document["commit"].as_str()?).ok());
    let thawed = document.map(|document| config::thaw(&app.name, &document, &bench.config_dir, &bench.environment));
    let definition = match thawed {
        Some(Ok(definition)) => Arc::new(definition),
        Some(Err(problems)) => {
            let all: Vec<String> = problems.iter().map(|problem| problem.to_string()).collect();
            log::error!("{}: the definition of {release} cannot be used, today's is: {}", app.name, all.join("; "));
            app.clone()
        }
        None => {
            log::warn!("{}: {release} has no definition of its own, today's is used", app.name);
            app.clone()
        }
    };
    Thawed { release: release.clone(), commit, definition }
}

/// The commit a person means: the branch's tip, or what an abbreviation or a tag stands for. `None`: it cannot be said now.
pub fn resolve(bench: &Bench, app: &App, wanted: Option<&str>) -> Option<CommitId> {
    let look = || -> io::Result<CommitId> {
        let mirror = Mirror::open(&bench.place.app(&app.name), &app.source)?;
        let cancel = Cancel::new()?;
        let mut ignore = |_: &[u8]| {};
        let tip = mirror.fetch(&mut Limits::new(LOOK_PATIENCE, &cancel, &mut ignore))?;
        match wanted {
            Some(wanted) => look_up(&mirror, wanted, &mut Limits::new(LOOK_PATIENCE, &cancel, &mut ignore)),
            None => Ok(tip),
        }
    };
    look().ok()
}

/// Where the branch is at its source. Nothing is fetched and nothing written.
pub fn tip(bench: &Bench, app: &App, cancel: &Cancel) -> io::Result<Tip> {
    let mirror = Mirror::open(&bench.place.app(&app.name), &app.source)?;
    let mut ignore = |_: &[u8]| {};
    let commit = mirror.remote_tip(&mut Limits::new(GIT_PATIENCE, cancel, &mut ignore))?;
    Ok(Tip { is_older: is_older(bench, app, &commit), commit })
}

/// Whether the mirror already knows `commit` as an ancestor of what is live. Anything unknown is not.
pub fn is_older(bench: &Bench, app: &App, commit: &CommitId) -> bool {
    let look = || -> io::Result<bool> {
        let app_dir = bench.place.app(&app.name);
        let mirror = Mirror::open(&app_dir, &app.source)?;
        // Most deliveries bring what is new.
        if mirror.surely_lacks(commit) {
            return Ok(false);
        }
        let releases = Releases::new(&app_dir);
        let Some(live) = releases.current()? else { return Ok(false) };
        let frozen = releases.frozen(&live)?;
        let live = frozen.and_then(|document| CommitId::new(document["commit"].as_str()?).ok());
        let Some(live) = live.filter(|live| live != commit) else { return Ok(false) };
        Ok(mirror.relation(&live, commit)? == Relation::Older)
    };
    look().unwrap_or(false)
}
