//! Users of the host, as the hands need them to drop privileges.
//!
//! The user database is asked once, before a child is made: between fork and exec nothing may be looked up any more.
//! Line: who runs what is decided by the configuration; here is only who that is.

use nix::unistd::{self, Gid, Uid};
use std::ffi::CString;
use std::io;
use std::path::PathBuf;

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

/// The user this process runs as. One without an entry in the user database is named by its number and lives in `/`.
pub fn current() -> io::Result<User> {
    let uid = unistd::geteuid();
    if let Some(entry) = unistd::User::from_uid(uid)? {
        return with_groups(entry);
    }
    let gid = unistd::getegid();
    let groups = unistd::getgroups()?.into_iter().map(Gid::as_raw).collect();
    Ok(User { name: uid.to_string(), uid: uid.as_raw(), gid: gid.as_raw(), groups, home: PathBuf::from("/") })
}

/// Whether this process may become any user.
pub fn is_root() -> bool {
    Uid::effective().is_root()
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

#[cfg(test)]
mod tests {
    use super::*;

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
