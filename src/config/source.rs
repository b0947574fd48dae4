//! Reads `[source]`: where releases come from, and nothing that git could take for an option or a program.

use super::read::Section;
use super::secret::{private_path, secret};
use super::units::{self, Misread};
use super::{Access, Source};
use std::path::{Path, PathBuf};

/// Reads the table. What was wrong is on the sheet.
pub(super) fn read(source: &Section<'_>) -> Source {
    let dir = source.sheet.context.dir;
    let git = match source.string("git") {
        Some(git) if carries_secret(&git) => {
            let advice = "leave it out of the URL; write token = { file = \"secrets/NAME\" }, and choose a new secret";
            source.problem("git", "holds a password or token, which is a secret written out", advice);
            None
        }
        Some(_) => source.parsed("git", |text| repository(text, dir)),
        None => None,
    };
    match (source.line("image"), source.has("git")) {
        (Some(_), true) => source.not_active("image", "images as a source; git is used"),
        (Some(_), false) => {
            let advice = "write git = \"https://github.com/OWNER/NAME.git\" until image sources are there";
            source.problem("image", "not active yet: images as a source", advice);
        }
        (None, _) => source.missing("git", r#"write the repository: git = "https://github.com/OWNER/NAME.git""#),
    }
    let git = git.unwrap_or_default();
    let read = Source {
        branch: source.parsed("branch", branch).unwrap_or_else(|| "main".into()),
        keep_releases: source.count("keep_releases", 2, 1000).unwrap_or(5),
        shared: read_shared(source),
        subdirectory: source.parsed("subdirectory", subdirectory).unwrap_or_default(),
        submodules: source.boolean("submodules").unwrap_or(false),
        lfs: source.boolean("lfs").unwrap_or(false),
        access: read_access(source, &git),
        git,
    };
    source.missing("branch", r#"write the only branch that is ever deployed: branch = "main""#);
    read
}

fn read_shared(source: &Section<'_>) -> Vec<PathBuf> {
    let shared = source.list("shared", units::inner_path).unwrap_or_default();
    for (index, path) in shared.iter().enumerate() {
        for earlier in &shared[..index] {
            if path.starts_with(earlier) || earlier.starts_with(path) {
                let wrong = format!("{} and {} lie in each other", earlier.display(), path.display());
                source.problem("shared", wrong, "name each path once, and the outer one only");
            }
        }
    }
    shared
}

fn read_access(source: &Section<'_>, git: &str) -> Access {
    let access = Access {
        ssh_key: private_path(source, "ssh_key"),
        known_hosts: source.line("known_hosts").map(|file| source.sheet.context.dir.join(file)),
        token: secret(source, "token"),
    };
    let web = git.starts_with("https://") || git.starts_with("http://");
    let ssh = git.starts_with("ssh://") || scp_like(git).is_some();
    if !git.is_empty() && source.has("token") && !web {
        source.problem(
            "token",
            "is for https, and git names something else",
            "write ssh_key for ssh, nothing for a path",
        );
    }
    for key in ["ssh_key", "known_hosts"] {
        if !git.is_empty() && source.has(key) && !ssh {
            source.problem(
                key,
                "is for ssh, and git names something else",
                "write token for https, nothing for a path",
            );
        }
    }
    if let Some(file) = access.known_hosts.as_ref().filter(|file| !file.is_file() && !source.sheet.context.frozen) {
        let advice = "make it: ssh-keyscan HOST > FILE, and compare the fingerprint with the forge's page";
        source.problem("known_hosts", format!("{} is not there", file.display()), advice);
    }
    if git.starts_with("http://") && source.has("token") && !is_loopback(git) {
        source.notice("token", "travels unencrypted over http; write https");
    }
    access
}

fn is_loopback(url: &str) -> bool {
    let host = authority(url).map_or("", |authority| authority.rsplit('@').next().unwrap_or_default());
    host.starts_with("127.") || host.starts_with("localhost") || host.starts_with("[::1]")
}

fn subdirectory(text: &str) -> Result<PathBuf, Misread> {
    if text.is_empty() || text == "." { Ok(PathBuf::new()) } else { units::inner_path(text) }
}

const TRANSPORTS: [&str; 5] = ["https", "http", "ssh", "git", "file"];

/// A repository that is safe to hand to `git fetch`; a relative path is resolved against the configuration directory.
fn repository(text: &str, dir: &Path) -> Result<String, Misread> {
    let advice = "write a URL (https://, ssh://, file://), user@host:path, or a path";
    if text.is_empty() || text.starts_with('-') || text.chars().any(|c| c.is_control()) {
        return Err(Misread::new("is not a repository", advice));
    }
    // `ext::sh -c ...` runs a program, and other helpers are no safer.
    if text.split_once("::").is_some_and(|(helper, _)| helper.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')) {
        return Err(Misread::new("names a transport helper", advice));
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        return web_or_ssh(text, scheme, rest);
    }
    if let Some((host, path)) = scp_like(text) {
        let host = host.rsplit('@').next().unwrap_or_default();
        let good =
            !host.is_empty() && !host.starts_with('-') && !path.is_empty() && !text.contains(char::is_whitespace);
        return if good { Ok(text.into()) } else { Err(Misread::new("is not user@host:path", advice)) };
    }
    if text.starts_with('~') {
        return Err(Misread::new("begins with '~', which only a shell understands", "write the whole path"));
    }
    let path = dir.join(text);
    let path = if path.is_absolute() { path } else { std::path::absolute(&path).unwrap_or(path) };
    path.into_os_string().into_string().map_err(|_| Misread::new("lies in a directory that is not UTF-8", advice))
}

fn web_or_ssh(text: &str, scheme: &str, rest: &str) -> Result<String, Misread> {
    if !TRANSPORTS.contains(&scheme) {
        let advice = format!("write one of {}", TRANSPORTS.map(|known| format!("{known}://")).join(", "));
        return Err(Misread::new("begins with a scheme that is not fetched", advice));
    }
    if text.contains(char::is_whitespace) && scheme != "file" {
        return Err(Misread::new("holds a blank", "write %20 for a blank in a URL"));
    }
    let authority = authority(text).unwrap_or_default();
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let host_is_missing = scheme != "file" && (host.is_empty() || host.starts_with(':'));
    if host_is_missing || host.starts_with('-') || user.starts_with('-') || rest.is_empty() {
        return Err(Misread::new("names no host", "write it as the forge shows it: https://HOST/OWNER/NAME.git"));
    }
    Ok(text.into())
}

/// Whether a URL carries a password or a token before its '@'.
fn carries_secret(url: &str) -> bool {
    let user = authority(url).and_then(|authority| authority.rsplit_once('@')).map(|(user, _)| user);
    user.is_some_and(|user| {
        let known = ["ghp_", "gho_", "ghs_", "github_pat_", "glpat-", "x-token-auth"];
        user.split_once(':').is_some_and(|(_, password)| !password.is_empty())
            || known.iter().any(|token| user.starts_with(token))
    })
}

fn authority(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    Some(&rest[..rest.find('/').unwrap_or(rest.len())])
}

/// `[user@]host:path` as scp and git write it: a colon before any slash.
fn scp_like(text: &str) -> Option<(&str, &str)> {
    if text.contains("://") {
        return None;
    }
    text.split_once(':').filter(|(host, _)| !host.contains('/') && !host.is_empty())
}

/// A branch's short name by git's own rules (`git check-ref-format`), and never an option.
fn branch(text: &str) -> Result<String, Misread> {
    if let Some(short) = text.strip_prefix("refs/heads/") {
        return Err(Misread::new("is a full reference", format!("write {short:?}")));
    }
    let bad_part = |part: &str| part.is_empty() || part.starts_with('.') || part.ends_with(".lock");
    let bad_char = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    let bad = text.split('/').any(bad_part)
        || text.chars().any(bad_char)
        || text.contains("..")
        || text.contains("@{")
        || text.ends_with('.')
        || text.starts_with('-')
        || text == "@"
        || text == "HEAD";
    if bad {
        Err(Misread::new("is not a branch's name", r#"write it as git shows it: "main""#))
    } else {
        Ok(text.into())
    }
}

/// The path of a repository's address on its host, part by part, as its forge names it. `None` for a local path.
pub(super) fn path_parts(git: &str) -> Option<Vec<&str>> {
    let path = match git.split_once("://") {
        Some(("file", _)) => return None,
        Some((_, rest)) => rest.split_once('/')?.1,
        None => scp_like(git)?.1,
    };
    let path = path.split(['?', '#']).next()?.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    Some(path.split('/').filter(|part| !part.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_repositories_that_git_cannot_misread_are_taken() {
        let dir = Path::new("/etc/pintle");
        let good = [
            ("https://github.com/owner/name.git", "https://github.com/owner/name.git"),
            ("https://me@bitbucket.org/o/n.git", "https://me@bitbucket.org/o/n.git"),
            ("git@github.com:owner/name.git", "git@github.com:owner/name.git"),
            ("ssh://git@host:2222/o/n", "ssh://git@host:2222/o/n"),
            ("file:///srv/a b.git", "file:///srv/a b.git"),
            ("/srv/app.git", "/srv/app.git"),
            ("repos/app.git", "/etc/pintle/repos/app.git"),
            ("./a:b", "/etc/pintle/./a:b"),
        ];
        for (text, taken) in good {
            assert_eq!(repository(text, dir).as_deref(), Ok(taken), "{text}");
        }
        let bad = [
            "",
            "-u",
            "--upload-pack=x",
            "ext::sh -c x",
            "fd::7",
            "a\nb",
            "~/app",
            "ftp://a/b",
            "https://",
            "https:///x",
            "ssh://-oProxyCommand=x/y",
            "-oProxyCommand=x:y",
            "git@-o:x",
            "https://a b/c",
            "host:",
            "ssh://-l@h/p",
        ];
        for text in bad {
            assert!(repository(text, dir).is_err(), "{text:?}");
        }
        for url in ["https://u:p@h/x", "https://ghp_abc@github.com/x", "ssh://u:p@h/x", "https://u:p@x@h/y"] {
            assert!(carries_secret(url), "{url}");
        }
        for url in ["https://u@h/x", "https://h/a:b@c", "git@h:x", "/a:b@c"] {
            assert!(!carries_secret(url), "{url}");
        }
    }

    #[test]
    fn branches_follow_gits_rules() {
        for good in ["main", "feature/x", "v1.2", "a-b_c", "ä"] {
            assert!(branch(good).is_ok(), "{good:?}");
        }
        let bad = [
            "",
            "-b",
            "a b",
            "a..b",
            "/a",
            "a/",
            "a//b",
            ".a",
            "a/.b",
            "a.lock",
            "a.lock/b",
            "a~",
            "a^",
            "a:b",
            "a?",
            "a*",
            "a[",
            "a\\",
            "a@{b",
            "@",
            "a.",
            "HEAD",
            "refs/heads/main",
            "a\u{7f}",
        ];
        for bad in bad {
            assert!(branch(bad).is_err(), "{bad:?}");
        }
        assert_eq!(branch("refs/heads/main").unwrap_err().advice, "write \"main\"");
    }

    #[test]
    fn the_path_on_the_forge_comes_from_the_address() {
        let table = [
            ("https://github.com/owner/name.git", Some("owner name")),
            ("https://me@github.com:8443/owner/name/", Some("owner name")),
            ("https://gitlab.com/group/sub/name", Some("group sub name")),
            ("git@github.com:owner/name.git", Some("owner name")),
            ("git@github.com:/owner/name.git/", Some("owner name")),
            ("ssh://git@host:7999/~ada/name.git", Some("~ada name")),
            ("https://host/scm/PROJ/name.git", Some("scm PROJ name")),
            ("https://host/name", Some("name")),
            ("https://host", None),
            ("file:///srv/owner/name.git", None),
            ("/srv/owner/name.git", None),
        ];
        for (git, parts) in table {
            assert_eq!(path_parts(git).map(|parts| parts.join(" ")).as_deref(), parts, "{git}");
        }
    }
}
