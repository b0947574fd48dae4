//! Users of the host, as the hands need them to drop privileges.
//!
//! The user database is asked before a child is made: between fork and exec nothing may be looked up any more. Its answers
//! are remembered, because a crashed app should not wait for it: it may be on another host, and reading its files takes
//! longer than all else that stands before a restart. Line: who runs what is decided by the configuration; here is only who that is.

use nix::unistd::{self, Gid, Uid};
use std::ffi::CString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A user to run as.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups, the primary one included.
    pub groups: Vec<u32>,
    pub home: PathBuf,
}

impl User {
    /// What a program run as this user expects in its environment: HOME, USER and LOGNAME.
    pub fn environment(&self) -> Vec<(String, String)> {
        vec![
            ("HOME".into(), self.home.to_string_lossy().into_owned()),
            ("USER".into(), self.name.clone()),
            ("LOGNAME".into(), self.name.clone()),
        ]
    }
}

/// Looks `name` up in the user database, with all its groups. A user that does not exist is `NotFound`.
pub fn lookup(name: &str) -> io::Result<User> {
    remembered(Who::Named(name.to_owned()), || look_up(name))
}

/// The user this process runs as. One without an entry in the user database is named by its number and lives in `/`.
pub fn current() -> io::Result<User> {
    let uid = unistd::geteuid();
    remembered(Who::Numbered(uid.as_raw()), || ourselves(uid))
}

/// Whether this process may become any user.
pub fn is_root() -> bool {
    Uid::effective().is_root()
}

fn look_up(name: &str) -> io::Result<User> {
    let entry = unistd::User::from_name(name)
        .map_err(|errno| io::Error::new(io::Error::from(errno).kind(), format!("look up user {name:?}: {errno}")))?;
    match entry {
        Some(entry) => with_groups(entry),
        None => Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!(
                "there is no user {name:?} on this host; create it (`useradd --system {name}`) or name another one"
            ),
        )),
    }
}

fn ourselves(uid: Uid) -> io::Result<User> {
    if let Some(entry) = unistd::User::from_uid(uid)? {
        return with_groups(entry);
    }
    let gid = unistd::getegid();
    let groups = unistd::getgroups()?.into_iter().map(Gid::as_raw).collect();
    Ok(User { name: uid.to_string(), uid: uid.as_raw(), gid: gid.as_raw(), groups, home: PathBuf::from("/") })
}

fn with_groups(entry: unistd::User) -> io::Result<User> {
    let name = CString::new(entry.name.as_str())?;
    let groups = unistd::getgrouplist(&name, entry.gid)
        .map_err(|errno| io::Error::new(io::Error::from(errno).kind(), format!("groups of {}: {errno}", entry.name)))?;
    Ok(User {
        name: entry.name,
        uid: entry.uid.as_raw(),
        gid: entry.gid.as_raw(),
        groups: groups.into_iter().map(Gid::as_raw).collect(),
        home: entry.dir,
    })
}

/// An answer is good for so long at most: users of a directory service change without a file of this host changing.
const MEMORY: Duration = Duration::from_secs(60);

static ANSWERS: Mutex<Answers> = Mutex::new(Answers(Vec::new()));

fn remembered(who: Who, ask: impl FnOnce() -> io::Result<User>) -> io::Result<User> {
    let (files, now) = (files_of_the_database(), Instant::now());
    if let Some(user) = answers().get(&who, files, now) {
        return Ok(user);
    }
    // Not locked meanwhile: the database may take its time.
    let user = ask()?;
    answers().keep(Answer { who, user: user.clone(), files, at: now });
    Ok(user)
}

fn answers() -> std::sync::MutexGuard<'static, Answers> {
    ANSWERS.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, PartialEq, Eq)]
enum Who {
    Named(String),
    Numbered(u32),
}

/// A file as it was: inode, size, seconds and nanoseconds of its last change. `None`: it was not there.
type File = Option<(u64, u64, i64, i64)>;

fn files_of_the_database() -> [File; 3] {
    ["/etc/passwd", "/etc/group", "/etc/nsswitch.conf"].map(|path| {
        let meta = std::fs::metadata(path).ok()?;
        Some((meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()))
    })
}

struct Answer {
    who: Who,
    user: User,
    files: [File; 3],
    at: Instant,
}

/// What the database said, one answer for each that was asked for.
struct Answers(Vec<Answer>);

impl Answers {
    fn get(&self, who: &Who, files: [File; 3], now: Instant) -> Option<User> {
        let answer = self.0.iter().find(|answer| answer.who == *who)?;
        let is_good = answer.files == files && now.saturating_duration_since(answer.at) < MEMORY;
        is_good.then(|| answer.user.clone())
    }

    fn keep(&mut self, answer: Answer) {
        self.0.retain(|old| old.who != answer.who);
        self.0.push(answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_remembered_until_the_files_change_or_a_minute_has_passed() {
        let (root, now) = (lookup("root").unwrap(), Instant::now());
        let (before, after) = ([Some((1, 2, 3, 4)), None, None], [Some((1, 2, 3, 5)), None, None]);
        let who = |name: &str| Who::Named(name.into());
        let mut answers = Answers(Vec::new());
        assert_eq!(answers.get(&who("root"), before, now), None);
        answers.keep(Answer { who: who("root"), user: root.clone(), files: before, at: now });
        assert_eq!(answers.get(&who("root"), before, now + MEMORY / 2), Some(root.clone()));
        assert_eq!(answers.get(&who("other"), before, now), None);
        assert_eq!(answers.get(&Who::Numbered(0), before, now), None);
        assert_eq!(answers.get(&who("root"), after, now), None);
        assert_eq!(answers.get(&who("root"), before, now + MEMORY), None);
        answers.keep(Answer { who: who("root"), user: root, files: after, at: now });
        assert!(answers.get(&who("root"), after, now).is_some() && answers.0.len() == 1);
    }

    #[test]
    fn root_is_known_and_a_stranger_is_not_found_with_advice() {
        let root = lookup("root").unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert!(root.groups.contains(&0));
        assert!(root.environment().contains(&("HOME".into(), root.home.display().to_string())));
        let error = lookup("no-such-user").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains("useradd"), "{error}");
        assert!(lookup("").is_err());
    }

    #[test]
    fn the_current_user_is_the_one_the_kernel_says() {
        let user = current().unwrap();
        assert_eq!(user.uid, nix::unistd::geteuid().as_raw());
        assert_eq!(is_root(), user.uid == 0);
    }
}
