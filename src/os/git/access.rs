//! Where a source is, and how git gets in: keys, known hosts, tokens - none of them ever in an argument list.
//!
//! A token lives in memory only and reaches git through a credential helper that knows a descriptor's path, not the
//! token; it is offered to the source's own host and to no other. A key and a known_hosts file are passed to ssh as
//! paths.

use super::{Call, text};
use crate::config::{Secret, Source};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Protocols a remote repository may name for itself or its submodules. None of them reads this host's files.
pub(super) const REMOTE_PROTOCOLS: &str = "git:http:https:ssh";

/// The same with local repositories, for a source that is one.
pub(super) const ALL_PROTOCOLS: &str = "file:git:http:https:ssh";

/// A source's repository and the way in.
#[derive(Debug)]
pub(super) struct Remote {
    url: String,
    place: Place,
    ssh: String,
    token: Option<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// A path or `file://` URL.
    Local,
    /// `http(s)://`: scheme with host and port, and whether the URL names a user.
    Http { origin: String, user: bool },
    /// `ssh://`, `host:path` and `git://`.
    Other,
}

/// A credential helper's answer, in memory: readable through `/proc` by this user (and root) while we live.
#[derive(Debug)]
struct Token {
    answer: File,
}

impl Remote {
    /// Checks the source's URL, key and token. Nothing is contacted.
    pub(super) fn new(source: &Source) -> io::Result<Remote> {
        let url = source.git.clone();
        let place = place(&url).map_err(|why| refused(&url, &why))?;
        let token = match (&source.access.token, &place) {
            (Some(token), Place::Http { origin, user }) => {
                if origin.starts_with("http:") && !is_loopback(origin) {
                    return Err(refused(&url, "a token is never sent over plain http; use https://"));
                }
                Some(Token::new(token, origin, *user)?)
            }
            _ => None,
        };
        let access = &source.access;
        Ok(Remote { url, place, ssh: ssh_command(access.ssh_key.as_deref(), access.known_hosts.as_deref())?, token })
    }

    /// What git is given, after a `--`.
    pub(super) fn url(&self) -> &str {
        &self.url
    }
    /// Whether it is a repository on this host.
    pub(super) fn is_local(&self) -> bool {
        self.place == Place::Local
    }

    /// Gives `call` the way in.
    pub(super) fn open(&self, mut call: Call) -> Call {
        call = call.env("GIT_SSH_COMMAND", self.ssh.clone());
        if self.is_local() {
            call = call.env("GIT_ALLOW_PROTOCOL", ALL_PROTOCOLS);
        }
        if let (Some(token), Place::Http { origin, .. }) = (&self.token, &self.place) {
            // The empty helper forgets those of the host's own configuration: the token configured here is the one.
            call = call.config("credential.helper=").config(&format!("credential.{origin}.helper={}", token.helper()));
        }
        call
    }

    /// How `git fetch` starts the other side, where that needs a word: a local repository is the operator's choice,
    /// whoever owns it, and git must be told so on the side that reads it.
    pub(super) fn upload_pack(&self) -> Option<&'static str> {
        self.is_local().then_some("--upload-pack=git -c safe.directory=\\* upload-pack")
    }
}

impl Token {
    fn new(token: &Secret, origin: &str, url_names_user: bool) -> io::Result<Token> {
        let value = token.expose().trim_ascii();
        if value.is_empty() || value.iter().any(|byte| byte.is_ascii_control()) {
            return Err(refused(origin, "the token is empty or has a line break in it"));
        }
        let mut answer = Vec::new();
        if !url_names_user {
            // Any name will do for the forges' personal tokens, except for this one's.
            let user = if origin.contains("bitbucket") { "x-token-auth" } else { "x-access-token" };
            answer.extend_from_slice(format!("username={user}\n").as_bytes());
        }
        answer.extend_from_slice(b"password=");
        answer.extend_from_slice(value);
        answer.push(b'\n');
        let mut file = File::from(memfd_create("git-credential", MFdFlags::MFD_CLOEXEC)?);
        file.write_all(&answer)?;
        Ok(Token { answer: file })
    }
    /// A helper in git's sense: a shell function that answers `get` and ignores `store` and `erase`.
    fn helper(&self) -> String {
        let path = format!("/proc/{}/fd/{}", std::process::id(), self.answer.as_raw_fd());
        format!("!f() {{ test \"$1\" != get || cat {path}; }}; f")
    }
}

/// Takes a URL or path apart as git does. The error says what is wrong with it.
fn place(url: &str) -> Result<Place, String> {
    if url.is_empty() || url.starts_with('-') || url.chars().any(char::is_control) {
        return Err("it is empty, begins with '-' or holds control characters".into());
    }
    if url.starts_with('/') {
        return Ok(Place::Local);
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        let helper = url.split_once("::").is_some_and(|(name, _)| name.chars().all(|c| c.is_ascii_alphanumeric()));
        let scp_like = url.split_once(':').is_some_and(|(host, _)| !host.is_empty() && !host.contains('/'));
        return match scp_like && !helper {
            true => Ok(Place::Other),
            false => Err("write an absolute path, https://, ssh:// or user@host:path".into()),
        };
    };
    match scheme {
        "file" if rest.starts_with('/') => Ok(Place::Local),
        "file" => Err("write file:///absolute/path".into()),
        "http" | "https" => {
            let authority = rest.split('/').next().unwrap_or_default();
            let (user, host) = authority.rsplit_once('@').map_or(("", authority), |(user, host)| (user, host));
            if user.contains(':') {
                return Err("it holds a password; give it as [source] token instead".into());
            }
            if host.is_empty() || !host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:[]".contains(c)) {
                return Err(format!("{host:?} is not a host"));
            }
            Ok(Place::Http { origin: format!("{scheme}://{host}"), user: !user.is_empty() })
        }
        "ssh" | "git" => Ok(Place::Other),
        other => Err(format!("{other}:// is not supported; use https://, ssh://, file:// or an absolute path")),
    }
}

fn is_loopback(origin: &str) -> bool {
    let host = origin.split_once("://").map_or(origin, |(_, host)| host);
    ["127.0.0.1", "localhost", "[::1]"]
        .iter()
        .any(|loopback| host.strip_prefix(loopback).is_some_and(|rest| rest.is_empty() || rest.starts_with(':')))
}

/// The URL as it may be shown: without a password.
pub(super) fn shown(url: &str) -> String {
    let hidden = url.split_once("://").and_then(|(scheme, rest)| {
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, host) = authority.rsplit_once('@')?;
        let (name, _) = user.split_once(':')?;
        Some(format!("{scheme}://{name}:…@{host}/{path}"))
    });
    super::harmless(&hidden.unwrap_or_else(|| url.to_owned()))
}

fn refused(url: &str, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("use the source {}: {why}", shown(url)))
}

/// The command git runs for ssh: it asks nothing, gives up on a dead host, and offers only the configured key.
fn ssh_command(key: Option<&Path>, known_hosts: Option<&Path>) -> io::Result<String> {
    let mut command =
        String::from("ssh -o BatchMode=yes -o ConnectTimeout=15 -o ServerAliveInterval=15 -o ServerAliveCountMax=4");
    if let Some(key) = key {
        check_private(key)?;
        // Not `-i`, which looks for the file before it understands `%%`.
        let value = format!("IdentityFile=\"{}\"", percent(key)?);
        command += &format!(" -o IdentitiesOnly=yes -o IdentityAgent=none -o {}", quoted(&value));
    }
    match known_hosts {
        Some(file) => {
            let value = format!("UserKnownHostsFile=\"{}\"", percent(file)?);
            command += &format!(" -o StrictHostKeyChecking=yes -o {}", quoted(&value));
        }
        None => command += " -o StrictHostKeyChecking=accept-new",
    }
    Ok(command)
}

/// ssh refuses a key that others can read with a text nobody finds; say it before.
fn check_private(key: &Path) -> io::Result<()> {
    let found = fs::metadata(key).map_err(|error| crate::os::files::because("read the ssh key", key, &error))?;
    if found.mode() & 0o077 != 0 {
        let why = format!("others can read it (mode {:04o}): chmod 600 {}", found.mode() & 0o7777, key.display());
        let error = io::Error::new(io::ErrorKind::PermissionDenied, why);
        return Err(crate::os::files::because("use the ssh key", key, &error));
    }
    Ok(())
}

/// A path for ssh's options, in which `%` begins a token, `$` a variable, and neither `$` nor a quote can be quoted.
fn percent(path: &Path) -> io::Result<String> {
    let path: PathBuf = std::path::absolute(path)?;
    let path = text(&path)?;
    if path.contains(['"', '\\', '\n', '$']) {
        let why = format!("use {path}: ssh cannot take a path with a quote, a backslash, a '$' or a line break");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    Ok(path.replace('%', "%%"))
}

/// One word of the shell that git starts.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_as_git_does() {
        let http = |origin: &str, user| Place::Http { origin: origin.into(), user };
        for (url, expected) in [
            ("/srv/git/app's repo.git", Place::Local),
            ("file:///srv/app.git", Place::Local),
            ("https://github.com/owner/app.git", http("https://github.com", false)),
            ("https://deploy@git.example.org:8443/app", http("https://git.example.org:8443", true)),
            ("http://[::1]:80/x", http("http://[::1]:80", false)),
            ("git@github.com:owner/app.git", Place::Other),
            ("[::1]:app.git", Place::Other),
            ("ssh://git@host:2222/app", Place::Other),
            ("git://127.0.0.1/x", Place::Other),
        ] {
            assert_eq!(place(url), Ok(expected), "{url}");
        }
    }

    #[test]
    fn urls_that_would_run_or_leak_something_are_refused() {
        for url in [
            "",
            "-u/x",
            "--upload-pack=x",
            "ext::sh -c id",
            "fd::17",
            "relative/path",
            "./x:y",
            "https://user:secret@host/x",
            "https:///x",
            "https://ho st/x",
            "https://a=b/x",
            "ftp://host/x",
            "file://host/x",
            "/a\nb",
        ] {
            let why = place(url).expect_err(url);
            assert!(!why.contains("secret"), "{why}");
        }
        assert_eq!(shown("https://me:secret@host/x"), "https://me:…@host/x");
        assert_eq!(shown("https://host/x@y:z"), "https://host/x@y:z");
    }

    #[test]
    fn tokens_go_over_https_or_to_ourselves() {
        for origin in ["http://127.0.0.1:80", "http://localhost", "http://[::1]:8080"] {
            assert!(is_loopback(origin), "{origin}");
        }
        for origin in ["http://127.0.0.1.evil.org", "http://localhost.evil.org", "http://10.0.0.1"] {
            assert!(!is_loopback(origin), "{origin}");
        }
    }

    #[test]
    fn paths_for_ssh_survive_shell_and_ssh() {
        let known = Path::new("/etc/pin tle/it's 100%/known_hosts");
        let command = ssh_command(None, Some(known)).unwrap();
        assert!(
            command.ends_with(
                r#"-o StrictHostKeyChecking=yes -o 'UserKnownHostsFile="/etc/pin tle/it'\''s 100%%/known_hosts"'"#
            ),
            "{command}"
        );
        for bad in ["/a\"b", "/a\\b", "/${HOME}/x", "/a\nb"] {
            assert!(ssh_command(None, Some(Path::new(bad))).is_err(), "{bad}");
        }
        assert!(ssh_command(None, None).unwrap().contains("accept-new"));
    }
}
