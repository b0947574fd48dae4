//! What happened, in words that all forges share, and what an app makes of it.
//!
//! Every reason why something is not deployed is said here, once. Line: what a forge calls it, and how it is written, is
//! in that forge's file; whether the commit is on the branch is the daemon's to check, which has the repository.

use super::{AppTrigger, shown};
use crate::base::{CommitId, TagName};
use crate::config::TriggerEvent;
use crate::control::Wanted;
use std::borrow::Cow;

/// One thing that a delivery tells of.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Happening<'a> {
    /// Something that never deploys; a sentence why.
    Nothing(String),
    /// A branch points elsewhere; `None`: it was deleted.
    Pushed { branch: Cow<'a, str>, tip: Option<CommitId> },
    /// A tag was made or moved; its commit where the forge names it.
    Tagged { tag: Cow<'a, str>, commit: Option<CommitId> },
    /// A tag was deleted.
    Untagged { tag: Cow<'a, str> },
    /// A run of the forge's CI changed its state.
    Ran(Run<'a>),
    /// A release of a tag, and what keeps it from being one for everybody: that it is a draft, a prerelease.
    Released { tag: Cow<'a, str>, but: Option<String> },
    /// An image or package was published, of this commit if it says so.
    Packaged { commit: Option<CommitId> },
    /// Somebody with the secret asks for it.
    Asked { wanted: Wanted, branch: Option<Cow<'a, str>> },
}

/// A run of the forge's CI.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Run<'a> {
    /// What the forge calls such a run: `workflow_run` or `pipeline`.
    pub event: TriggerEvent,
    /// What the workflow is called; any of them may be configured.
    pub names: Vec<Cow<'a, str>>,
    pub state: State<'a>,
    /// Why what it ran on is not the repository's own: a fork's commit, a merge request.
    pub foreign: Option<&'static str>,
    /// The event that started it, where the forge tells.
    pub started_by: Option<Cow<'a, str>>,
    pub branch: Option<Cow<'a, str>>,
    pub commit: CommitId,
}

/// How far a run is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum State<'a> {
    Succeeded,
    /// Not over: in this state.
    Unfinished(Cow<'a, str>),
    /// Over, like this.
    Ended(Cow<'a, str>),
}

impl Happening<'_> {
    /// A push of `reference`, whose full name tells branches and tags apart. `after` of zeros means: deleted.
    pub(super) fn of_reference(reference: Cow<'_, str>, commit: Option<CommitId>) -> Happening<'_> {
        let rest = |prefix: &str| reference.strip_prefix(prefix).map(|rest| Cow::Owned(rest.to_owned()));
        match (rest("refs/heads/"), rest("refs/tags/")) {
            (Some(branch), _) => Happening::Pushed { branch, tip: commit },
            (None, Some(tag)) => match commit {
                Some(commit) => Happening::Tagged { tag, commit: Some(commit) },
                None => Happening::Untagged { tag },
            },
            (None, None) => Happening::Nothing(format!("{} is not a branch", shown(&reference))),
        }
    }

    /// What `app` is to become by it; if nothing, why.
    pub(super) fn wanted_by(&self, app: &AppTrigger) -> Result<Wanted, String> {
        match self {
            Happening::Nothing(why) => Err(why.clone()),
            Happening::Pushed { branch, tip } => {
                deploys(app, TriggerEvent::Push)?;
                is_its_branch(app, branch)?;
                let tip = tip.as_ref().ok_or_else(|| format!("the branch {} was deleted", shown(branch)))?;
                Ok(Wanted::Commit(tip.clone()))
            }
            Happening::Tagged { tag, commit } => {
                deploys(app, TriggerEvent::Tag)
                    .map_err(|why| format!("the tag {} deploys nothing: {why}", shown(tag)))?;
                commit.clone().map_or_else(|| by_name(tag), |commit| Ok(Wanted::Commit(commit)))
            }
            Happening::Untagged { tag } => Err(format!("the tag {} was deleted", shown(tag))),
            Happening::Ran(run) => run.wanted_by(app),
            Happening::Released { tag, but } => {
                deploys(app, TriggerEvent::Release)?;
                match but {
                    Some(but) => Err(format!("the release of {} {but}", shown(tag))),
                    None => by_name(tag),
                }
            }
            Happening::Packaged { commit } => {
                deploys(app, TriggerEvent::RegistryPackage)?;
                let unnamed = "the package does not say which commit it was made of (for an image: the label \
                               org.opencontainers.image.revision)";
                commit.clone().map(Wanted::Commit).ok_or_else(|| unnamed.to_owned())
            }
            Happening::Asked { wanted, branch } => {
                branch.as_ref().map_or(Ok(()), |branch| is_its_branch(app, branch))?;
                Ok(wanted.clone())
            }
        }
    }
}

impl Run<'_> {
    fn wanted_by(&self, app: &AppTrigger) -> Result<Wanted, String> {
        let run = if self.event == TriggerEvent::Pipeline { "pipeline" } else { "workflow run" };
        deploys(app, self.event)?;
        self.is_its_workflow(app)?;
        match &self.state {
            State::Succeeded => {}
            State::Unfinished(state) => return Err(format!("the {run} is {}, not completed", shown(state))),
            State::Ended(how) => return Err(format!("the {run} ended with {}, not success", shown(how))),
        }
        if let Some(foreign) = self.foreign {
            return Err(format!("the {run} was {foreign}"));
        }
        if let Some(event) = &self.started_by
            && !app.workflow_events.iter().any(|allowed| allowed == event)
        {
            return Err(format!("the {run} was started by {}, which does not deploy", shown(event)));
        }
        let Some(branch) = &self.branch else { return Err(format!("the {run} was not one of a branch")) };
        is_its_branch(app, branch)?;
        Ok(Wanted::Commit(self.commit.clone()))
    }

    fn is_its_workflow(&self, app: &AppTrigger) -> Result<(), String> {
        let Some(wanted) = app.workflow.as_deref() else { return Ok(()) };
        if self.names.iter().any(|name| name == wanted) {
            return Ok(());
        }
        let other = self.names.first().map(AsRef::as_ref).unwrap_or_default();
        Err(format!("the workflow {} is not {}", shown(other), shown(wanted)))
    }
}

/// A tag is looked up by the fetch: what it stands for then is deployed, if it is on the branch.
fn by_name(tag: &str) -> Result<Wanted, String> {
    TagName::new(tag).map(Wanted::Tag).map_err(|_| format!("the tag {} has a name that is not fetched", shown(tag)))
}

fn deploys(app: &AppTrigger, event: TriggerEvent) -> Result<(), String> {
    match app.on.first() {
        Some(wanted) if *wanted == event => Ok(()),
        Some(wanted) => Err(format!("it is deployed {}, not {}", at(*wanted), at(event))),
        None => Err("no event deploys it".to_owned()),
    }
}

fn at(event: TriggerEvent) -> &'static str {
    match event {
        TriggerEvent::Push => "on push",
        TriggerEvent::Tag => "on a tag",
        TriggerEvent::WorkflowRun => "after a workflow run",
        TriggerEvent::Pipeline => "after a pipeline",
        TriggerEvent::Release => "on a release",
        TriggerEvent::RegistryPackage => "on a package",
    }
}

fn is_its_branch(app: &AppTrigger, branch: &str) -> Result<(), String> {
    match app.branch == branch {
        true => Ok(()),
        false => Err(format!("the branch {} is not {}", shown(branch), shown(&app.branch))),
    }
}
