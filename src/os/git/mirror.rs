//! The mirror: a bare copy of the one branch an application is deployed from, in `STATE/apps/APP/repo.git`.
//!
//! It holds the branch's whole history, because "newer" and "belongs to the branch" are questions about ancestry, and
//! the tags on it, so that `git describe` works in builds. It can always be had again: a damaged one is replaced by a
//! fresh copy, made beside it and moved into place when it is whole. One fetch at a time per mirror is the caller's
//! promise; lock files found before a fetch are therefore left over from a killed one and go.

use super::access::{Remote, shown};
use super::complaint::{Cause, cause, gist};
use super::presence::{Presence, presence};
use super::{Call, Failure, Limits, harmless, text};
use crate::base::{CommitId, TagName, WallTime};
use crate::config::Source;
use crate::os::files::{self, because};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Branches named in the error about one that does not exist.
const BRANCHES_SHOWN: usize = 8;

/// The bare copy of an application's branch.
#[derive(Debug)]
pub struct Mirror {
    pub(super) path: PathBuf,
    pub(super) remote: Remote,
    branch: String,
}

/// How one commit stands to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// It is the same commit.
    Same,
    /// It comes after the other.
    Newer,
    /// It comes before the other.
    Older,
    /// Neither comes from the other (somebody rewrote history), or one is not known here.
    Diverged,
}

/// What a report says about a commit. Free of control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Subject {
    pub author: String,
    /// The first line of its message.
    pub line: String,
    /// When it was committed, as its committer believed.
    pub time: WallTime,
}

impl Mirror {
    /// The mirror of `source` in `app_dir`. Contacts nothing and creates nothing: the first fetch does. Fails where the
    /// source cannot be used: a URL of an unknown kind, a key others can read, an impossible branch name.
    pub fn open(app_dir: &Path, source: &Source) -> io::Result<Mirror> {
        if !is_branch(&source.branch) {
            let why = format!("{:?} is not a branch name: check [source] branch", source.branch);
            return Err(io::Error::new(ErrorKind::InvalidInput, why));
        }
        Ok(Mirror {
            path: std::path::absolute(app_dir)?.join("repo.git"),
            remote: Remote::new(source)?,
            branch: source.branch.clone(),
        })
    }

    /// Brings the branch up to date and returns its tip. A mirror that is missing or found damaged is made anew.
    /// Fails, with the cause in words for people, as `TimedOut` at the deadline, `Interrupted` when cancelled.
    pub fn fetch(&self, limits: &mut Limits) -> io::Result<CommitId> {
        let fetched = match self.path.is_dir() {
            true => self.fetch_into(&self.path, limits).and_then(|()| self.read_tip()),
            false => return self.renew(limits),
        };
        match fetched {
            Err(Failure::Failed(code, said)) if cause(&said) == Cause::Damaged => self.repair(code, &said, limits),
            // The repository behind the URL was replaced by one of the other kind.
            Err(Failure::Failed(_, said)) if cause(&said) == Cause::OtherHash => self.renew(limits),
            fetched => fetched.map_err(|failure| self.explain(failure)),
        }
    }

    /// The branch's tip at its source, by one question to it: nothing is fetched, nothing written. Fails as
    /// [`Mirror::fetch`] does.
    pub fn remote_tip(&self, limits: &mut Limits) -> io::Result<CommitId> {
        let name = format!("refs/heads/{}", self.branch);
        // Before the first fetch there is no place of our own to stand in.
        let beside = self.path.parent().filter(|dir| dir.is_dir()).unwrap_or(Path::new("/"));
        let call = self.remote.open(Call::new(beside)).arg("ls-remote");
        let call = self.remote.upload_pack().into_iter().fold(call, Call::arg);
        let call = call.args(&["--", self.remote.url(), &name]);
        let deed = || format!("look at branch {} of {}", self.branch, shown(self.remote.url()));
        let said = call.answer(limits).map_err(|failure| failure.because(&deed()))?;
        // A pattern matches ends of names: `x/refs/heads/main` would be another ref.
        let tip = said.lines().find_map(|line| {
            let (commit, found) = line.split_once('\t')?;
            CommitId::new(commit).ok().filter(|_| found == name)
        });
        tip.ok_or_else(|| {
            let why = format!("{}: the branch does not exist there", deed());
            io::Error::new(ErrorKind::NotFound, why)
        })
    }

    /// Makes a mirror anew that git, by ending with `code` and saying `said`, called damaged.
    pub(super) fn repair(&self, code: i32, said: &str, limits: &mut Limits) -> io::Result<CommitId> {
        log::warn!("{} is fetched anew: {}", self.path.display(), gist(code, said));
        limits.say("the local copy of the repository is damaged; it is fetched anew");
        self.renew(limits)
    }

    /// Makes the mirror anew beside the old one, then replaces it.
    fn renew(&self, limits: &mut Limits) -> io::Result<CommitId> {
        let fresh = self.path.with_file_name(".repo.git.partial");
        let made = match self.make(&fresh, "sha1", limits) {
            Err(Failure::Failed(_, said)) if cause(&said) == Cause::OtherHash => self.make(&fresh, "sha256", limits),
            made => made,
        };
        if let Err(failure) = made {
            let _ = fs::remove_dir_all(&fresh);
            return Err(self.explain(failure));
        }
        files::remove_tree(&self.path)?;
        fs::rename(&fresh, &self.path).map_err(|error| because("move into place", &fresh, &error))?;
        files::sync_parent(&self.path)?;
        self.tip()
    }

    fn make(&self, fresh: &Path, format: &str, limits: &mut Limits) -> Result<(), Failure> {
        let prepare = || -> io::Result<Call> {
            files::remove_tree(fresh)?;
            let parent = fresh.parent().unwrap_or(fresh);
            files::make_dir(parent, 0o755)?;
            let path = text(fresh)?;
            // Readable by the application's user whatever our umask: its releases borrow the objects.
            let call = Call::new(parent).args(&["init", "--quiet", "--bare", "--shared=0644", "--template="]);
            Ok(call.arg(format!("--object-format={format}")).args(&["--", path]))
        };
        prepare().map_err(Failure::NotStarted)?.run(limits)?;
        self.fetch_into(fresh, limits)
    }

    /// Fetches the branch alone: its history, and the tags on it. Packs are kept as they come - one file to sync
    /// instead of a hundred on an SD card.
    fn fetch_into(&self, git_dir: &Path, limits: &mut Limits) -> Result<(), Failure> {
        self.fetch_ref(git_dir, &format!("+refs/heads/{}:{}", self.branch, self.local_ref()), &[], limits)
    }

    fn fetch_ref(&self, git_dir: &Path, refspec: &str, more: &[&str], limits: &mut Limits) -> Result<(), Failure> {
        sweep(git_dir);
        let call = Call::on(git_dir).map_err(Failure::NotStarted)?.config("fetch.unpackLimit=1");
        let call = self.remote.open(call).args(&["fetch", "--no-write-fetch-head", "--no-recurse-submodules"]);
        let call = self.remote.upload_pack().into_iter().fold(call.args(more), Call::arg);
        call.args(&["--", self.remote.url(), refspec]).run(limits)
    }

    /// The commit that a tag stands for at the remote now, wherever it is. It is kept under a name of our own: tags move,
    /// and `a` may give way to `a/b`. Fails as `NotFound` when there is no such tag, as `InvalidInput` when it does not
    /// stand for a commit.
    pub fn fetch_tag(&self, tag: &TagName, limits: &mut Limits) -> io::Result<CommitId> {
        let deed = || format!("fetch tag {tag} of {}", shown(self.remote.url()));
        let kept = format!("refs/pintle-tags/{}", flat(tag.as_str()));
        match self.fetch_ref(&self.path, &format!("+refs/tags/{tag}:{kept}"), &["--no-tags"], limits) {
            Err(Failure::Failed(_, said)) if cause(&said) == Cause::NoBranch => {
                return Err(io::Error::new(ErrorKind::NotFound, format!("{}: there is no such tag", deed())));
            }
            fetched => fetched.map_err(|failure| failure.because(&deed()))?,
        }
        let said =
            match self.ask(&["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{kept}^{{commit}}")]) {
                Ok(said) => said,
                Err(Failure::Failed(1 | 128, _)) => String::new(),
                Err(failure) => return Err(failure.because(&deed())),
            };
        let not_a_commit =
            || io::Error::new(ErrorKind::InvalidInput, format!("{}: it is not the tag of a commit", deed()));
        commit_in(&said).ok_or_else(not_a_commit)
    }

    /// The tip as of the last fetch.
    pub fn tip(&self) -> io::Result<CommitId> {
        self.read_tip().map_err(|failure| failure.because(&format!("read the tip of {}", self.branch)))
    }

    fn read_tip(&self) -> Result<CommitId, Failure> {
        let tip = format!("{}^{{commit}}", self.local_ref());
        let said = self.ask(&["rev-parse", "--verify", "--end-of-options", &tip])?;
        commit_in(&said).ok_or(Failure::Failed(0, said))
    }

    /// The commit that `wanted`, a full or abbreviated commit (4 digits at least), names. Fails as `NotFound` when the
    /// mirror holds none, as `InvalidInput` when it is not a commit's name or stands for several.
    pub fn resolve(&self, wanted: &str) -> io::Result<CommitId> {
        let invalid = |why: String| io::Error::new(ErrorKind::InvalidInput, why);
        let wanted = wanted.trim().to_ascii_lowercase();
        if !(4..=64).contains(&wanted.len()) || !wanted.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(invalid(format!("{wanted:?} is not a commit: 4 to 64 hex digits")));
        }
        // Not rev-parse's own reading, which takes a tag called `cafe` for the commit cafe…
        let candidates = self
            .ask(&["rev-parse", &format!("--disambiguate={wanted}")])
            .map_err(|failure| failure.because(&format!("look up commit {wanted}")))?;
        let commits: Vec<CommitId> = candidates.lines().filter_map(commit_in).filter(|id| self.is_commit(id)).collect();
        match &commits[..] {
            [commit] => Ok(commit.clone()),
            [] => Err(io::Error::new(
                ErrorKind::NotFound,
                format!("there is no commit {wanted} on branch {} of {}", self.branch, shown(self.remote.url())),
            )),
            _ => Err(invalid(format!("{wanted} stands for {} commits: give more digits", commits.len()))),
        }
    }

    fn is_commit(&self, id: &CommitId) -> bool {
        self.ask(&["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{id}^{{commit}}")])
            .is_ok_and(|said| commit_in(&said).as_ref() == Some(id))
    }

    /// Whether `commit` belongs to the configured branch as of the last fetch. One that is not known does not.
    pub fn contains(&self, commit: &CommitId) -> io::Result<bool> {
        let call = ["merge-base", "--is-ancestor", commit.as_str(), &self.local_ref()];
        match self.ask(&call) {
            Ok(_) => Ok(true),
            Err(Failure::Failed(1, _)) => Ok(false),
            Err(Failure::Failed(128, said)) if said.contains("Not a valid commit name") => Ok(false),
            Err(failure) => Err(failure.because(&format!("ask whether {commit} is on branch {}", self.branch))),
        }
    }

    /// Whether the mirror was never given `commit`. Asks no git; where it is not sure the answer is no.
    pub fn surely_lacks(&self, commit: &CommitId) -> bool {
        presence(&self.path, commit) == Presence::Absent
    }

    /// How `wanted` stands to `live`.
    pub fn relation(&self, live: &CommitId, wanted: &CommitId) -> io::Result<Relation> {
        if live == wanted {
            return Ok(Relation::Same);
        }
        let range = format!("{live}...{wanted}");
        let said = match self.ask(&["rev-list", "--left-right", "--count", &range, "--"]) {
            Ok(said) => said,
            Err(Failure::Failed(128, _)) if !(self.is_commit(live) && self.is_commit(wanted)) => {
                return Ok(Relation::Diverged);
            }
            Err(failure) => return Err(failure.because(&format!("compare {live} with {wanted}"))),
        };
        let counts = said.lines().find_map(|line| {
            let (only_live, only_wanted) = line.split_once('\t')?;
            Some((only_live.parse::<u64>().ok()?, only_wanted.parse::<u64>().ok()?))
        });
        match counts {
            Some((0, _)) => Ok(Relation::Newer),
            Some((_, 0)) => Ok(Relation::Older),
            Some(_) => Ok(Relation::Diverged),
            None => Err(Failure::Failed(0, said).because(&format!("compare {live} with {wanted}"))),
        }
    }

    /// Who made `commit`, when, and what its first line says.
    pub fn subject(&self, commit: &CommitId) -> io::Result<Subject> {
        let deed = || format!("read commit {commit}");
        let said = self
            .ask(&["log", "-1", "--encoding=UTF-8", "--format=%x00%an%x00%s%x00%ct%x00", commit.as_str(), "--"])
            .map_err(|failure| failure.because(&deed()))?;
        let fields: Vec<&str> = said.split('\0').collect();
        let [_, author, line, seconds, ..] = fields[..] else {
            return Err(Failure::Failed(0, said).because(&deed()));
        };
        let time = WallTime(seconds.parse::<i64>().unwrap_or_default().saturating_mul(1000));
        Ok(Subject { author: harmless(author), line: harmless(line), time })
    }

    /// Packs what many fetches left, when there is much of it. Nothing a release may borrow is ever dropped. To be
    /// called when there is time, after a deploy.
    pub fn tidy(&self, limits: &mut Limits) -> io::Result<()> {
        let call = Call::on(&self.path)?.config("gc.auto=6700").config("gc.autoDetach=false");
        let call = call.config("gc.pruneExpire=never").args(&["gc", "--auto", "--quiet"]);
        call.run(limits).map_err(|failure| failure.because(&format!("tidy {}", self.path.display())))
    }

    /// Where the branch is kept: one flat name per branch, so that `a` and `a/b` never stand in each other's way.
    fn local_ref(&self) -> String {
        format!("refs/pintle/{}", flat(&self.branch))
    }

    pub(super) fn ask(&self, args: &[&str]) -> Result<String, Failure> {
        if !self.path.is_dir() {
            let why = format!("{} does not exist: nothing was fetched yet", self.path.display());
            return Err(Failure::NotStarted(io::Error::other(why)));
        }
        Call::on(&self.path).map_err(Failure::NotStarted)?.args(args).ask()
    }

    fn explain(&self, failure: Failure) -> io::Error {
        let deed = format!("fetch branch {} of {}", self.branch, shown(self.remote.url()));
        let missing = matches!(&failure, Failure::Failed(_, said) if cause(said) == Cause::NoBranch);
        match missing.then(|| self.branches()).flatten() {
            Some(branches) if branches.is_empty() => {
                io::Error::new(ErrorKind::NotFound, format!("{deed}: the repository has no branch yet: push one"))
            }
            Some(branches) => io::Error::new(
                ErrorKind::NotFound,
                format!("{deed}: the branch does not exist there; there are: {}", branches.join(", ")),
            ),
            None => failure.because(&deed),
        }
    }

    /// A few branches that do exist.
    fn branches(&self) -> Option<Vec<String>> {
        let call = self.remote.open(Call::new(self.path.parent()?)).args(&["ls-remote", "--heads"]);
        let call = self.remote.upload_pack().into_iter().fold(call, Call::arg);
        let said = call.args(&["--", self.remote.url()]).ask().ok()?;
        let mut names: Vec<String> =
            said.lines().filter_map(|line| line.split_once("\trefs/heads/")).map(|(_, name)| harmless(name)).collect();
        if names.len() > BRANCHES_SHOWN {
            let more = names.len() - BRANCHES_SHOWN;
            names.truncate(BRANCHES_SHOWN);
            names.push(format!("and {more} more"));
        }
        Some(names)
    }
}

/// A name of several parts as one that has none.
fn flat(name: &str) -> String {
    name.replace('%', "%25").replace('/', "%2F")
}

/// The object name that is a line of `said`.
fn commit_in(said: &str) -> Option<CommitId> {
    said.lines().find_map(|line| CommitId::new(line.trim()).ok())
}

/// Removes what a killed git leaves behind and trips over: lock files and half-received packs.
fn sweep(git_dir: &Path) {
    let names = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten().collect::<Vec<_>>();
    let mut dirs = vec![git_dir.join("refs")];
    while let Some(dir) = dirs.pop() {
        for entry in names(&dir) {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => dirs.push(entry.path()),
                _ if entry.path().extension().is_some_and(|suffix| suffix == "lock") => {
                    let _ = fs::remove_file(entry.path());
                }
                _ => {}
            }
        }
    }
    for entry in names(git_dir).into_iter().chain(names(&git_dir.join("objects/pack"))) {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(".lock") || name.starts_with("tmp_") || name == "gc.pid" {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Git's rules for branch names (check-ref-format), so that a name can never be an option, a pattern or two refs.
fn is_branch(name: &str) -> bool {
    let bad = |c: char| c.is_ascii_control() || c == ' ' || "~^:?*[\\".contains(c);
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    !name.starts_with('-')
        && name.len() <= 200
        && name != "@"
        && !name.contains(bad)
        && !name.contains("..")
        && !name.contains("@{")
        && !name.ends_with('.')
        && name.split('/').all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_not_one_branch_are_refused() {
        for bad in [
            "",
            "-x",
            "--upload-pack=x",
            "a b",
            "a:b",
            "*",
            "a/*",
            "a..b",
            "a/",
            "/a",
            "a//b",
            ".a",
            "a/.b",
            "a.lock",
            "a.",
            "a@{1}",
            "@",
            "a\\b",
            "a\nb",
            "a~1",
            "a^",
            "a?",
            "[a]",
            &"x".repeat(201),
        ] {
            assert!(!is_branch(bad), "{bad:?}");
        }
        for good in ["main", "feature/x", "a%2Fb", "release-1.2", "größe", "$(id)", "a;b", "'a'", "a@b"] {
            assert!(is_branch(good), "{good:?}");
        }
    }
}
