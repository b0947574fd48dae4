//! What git's error texts mean: the few causes people can do something about, told by the words git and ssh use.
//!
//! Git runs with LC_ALL=C, so the words are stable; what is not recognised is passed on as git said it.

/// A recognised cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cause {
    /// The remote's host or its service cannot be reached.
    Unreachable,
    /// The remote does not let us in.
    AccessRefused,
    /// ssh does not know the host's key, or it changed.
    HostKey,
    /// TLS does not believe the remote - or the clock.
    Certificate,
    /// No such repository, or none that we may see.
    NoRepository,
    /// The branch does not exist there.
    NoBranch,
    /// The disk is full.
    DiskFull,
    /// The file system is read-only.
    ReadOnly,
    /// The remote names its objects with the other hash.
    OtherHash,
    /// A file kept by Git LFS cannot be had.
    LfsFile,
    /// Our copy of the repository is damaged.
    Damaged,
    /// None of these.
    Unknown,
}

/// In order: the first that fits wins.
const WORDS: &[(Cause, &[&str])] = &[
    (Cause::DiskFull, &["No space left on device", "Disk quota exceeded"]),
    (Cause::ReadOnly, &["Read-only file system"]),
    (Cause::OtherHash, &["mismatched algorithms"]),
    (Cause::LfsFile, &["Error downloading object", "smudge filter lfs failed"]),
    (Cause::NoBranch, &["couldn't find remote ref"]),
    (Cause::HostKey, &["Host key verification failed", "REMOTE HOST IDENTIFICATION HAS CHANGED"]),
    (
        Cause::Certificate,
        &[
            "SSL certificate problem",
            "certificate verification failed",
            "certificate verify failed",
            "certificate is not",
        ],
    ),
    (
        Cause::AccessRefused,
        &[
            "Authentication failed",
            "could not read Username",
            "could not read Password",
            "Permission denied (",
            "Access denied",
            "returned error: 401",
            "returned error: 403",
            "Load key",
            "UNPROTECTED PRIVATE KEY",
            "detected dubious ownership",
        ],
    ),
    (
        Cause::NoRepository,
        &[
            "Repository not found",
            "does not appear to be a git repository",
            "returned error: 404",
            "could not be found",
            "access denied or repository not exported",
            "no such repository",
        ],
    ),
    (
        Cause::Unreachable,
        &[
            "Could not resolve",
            "Couldn't resolve",
            "Temporary failure in name resolution",
            "Name or service not known",
            "Connection refused",
            "onnection timed out",
            "Operation timed out",
            "Connection reset",
            "Connection closed",
            "No route to host",
            "Network is unreachable",
            "Failed to connect",
            "Couldn't connect",
            "Could not connect",
            "unable to connect",
            "kex_exchange_identification",
            "early EOF",
            "the remote end hung up",
            "returned error: 5",
        ],
    ),
    (
        Cause::Damaged,
        &[
            "bad object",
            "bad tree object",
            "bad config",
            "bad signature",
            "broken",
            "cannot lock ref",
            "corrupt",
            "could not parse",
            "could not read",
            "did not send all necessary objects",
            "does not point to a valid object",
            "file too short",
            "garbage at end",
            "inflate",
            "invalid object",
            "invalid sha1 pointer",
            "is empty",
            "is far too short",
            "is too small",
            "missing blob",
            "missing commit",
            "missing tree",
            "not a git repository",
            "not a valid object",
            "not our ref",
            "not a tree",
            "object directory",
            "packfile",
            "reference is not a tree",
            "some local refs could not be updated",
            "File exists",
            "unable to load",
            "unable to parse",
            "unable to read",
            "unable to resolve reference",
            "unexpected line in",
            "unresolved deltas",
            "wrong index",
        ],
    ),
];

/// What `said` means. Lines from the other side (`remote: `) are not evidence about ours.
pub(super) fn cause(said: &str) -> Cause {
    let fits = |words: &[&str], theirs: bool| {
        said.lines()
            .filter(|line| theirs || !line.starts_with("remote: "))
            .any(|line| words.iter().any(|word| line.contains(word)))
    };
    let found = WORDS.iter().find(|(cause, words)| fits(words, *cause != Cause::Damaged));
    found.map_or(Cause::Unknown, |(cause, _)| *cause)
}

/// What people are told to do; empty where git's own words must do.
pub(super) fn advice(cause: Cause) -> &'static str {
    match cause {
        Cause::Unreachable => "the remote cannot be reached: is the network up, is the host right?",
        Cause::AccessRefused => {
            "the remote does not let us in: check [source] ssh_key or token, and that it may read this repository"
        }
        Cause::HostKey => {
            "the host's key is unknown or changed: put the right one into [source] known_hosts (ssh-keyscan HOST, \
             compared with what the host's owner publishes)"
        }
        Cause::Certificate => {
            "the host's certificate was not accepted: is this board's clock right, are ca-certificates installed?"
        }
        Cause::NoRepository => "no such repository, or we may not see it: check [source] git and its ssh_key or token",
        Cause::NoBranch => "the branch does not exist there: check [source] branch",
        Cause::LfsFile => "a file kept by Git LFS could not be fetched: is it there, may we read it?",
        Cause::DiskFull => "the disk is full: free some space",
        Cause::ReadOnly => "the file system is read-only: look for disk errors in `dmesg`",
        Cause::Damaged => "the local copy of the repository is damaged",
        Cause::OtherHash | Cause::Unknown => "",
    }
}

/// The line of git's output that tells most, with the advice that fits.
pub(super) fn gist(code: i32, said: &str) -> String {
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    let cause = cause(said);
    let words = WORDS.iter().find(|(named, _)| *named == cause).map_or(&[][..], |(_, words)| *words);
    let telling = lines()
        .find(|line| words.iter().any(|word| line.contains(word)))
        .or_else(|| lines().find(|line| line.starts_with("fatal: ") || line.starts_with("error: ")))
        .or_else(|| lines().next_back());
    let telling = match telling {
        Some(line) => line.trim_start_matches("fatal: ").trim_start_matches("error: ").to_owned(),
        None if code == 137 => "git was killed, probably out of memory".to_owned(),
        None => format!("git ended with code {code} and said nothing"),
    };
    let telling: String = super::harmless(&telling).chars().take(300).collect();
    match advice(cause) {
        "" => telling,
        advice => format!("{advice} (git: {telling})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_by_the_words_git_and_ssh_use() {
        for (said, expected) in [
            ("fatal: unable to access 'https://x/': Could not resolve host: x", Cause::Unreachable),
            ("fatal: unable to connect to 127.0.0.1:\n127.0.0.1: errno=Connection refused", Cause::Unreachable),
            (
                "ssh: connect to host h port 22: Connection timed out\nfatal: Could not read from remote repository.",
                Cause::Unreachable,
            ),
            (
                "fatal: could not read Username for 'https://github.com': terminal prompts disabled",
                Cause::AccessRefused,
            ),
            (
                "git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.",
                Cause::AccessRefused,
            ),
            ("No ED25519 host key is known for h.\nHost key verification failed.", Cause::HostKey),
            ("ERROR: Repository not found.\nfatal: Could not read from remote repository.", Cause::NoRepository),
            ("fatal: '/srv/x' does not appear to be a git repository", Cause::NoRepository),
            (
                "fatal: repository 'http://127.0.0.1:1/x/' not found\nfatal: The requested URL returned error: 404",
                Cause::NoRepository,
            ),
            ("fatal: couldn't find remote ref refs/heads/nope", Cause::NoBranch),
            (
                "fatal: unable to access 'https://x/': server certificate verification failed. CAfile: none",
                Cause::Certificate,
            ),
            ("fatal: mismatched algorithms: client sha1; server sha256", Cause::OtherHash),
            ("fatal: write error: No space left on device\nfatal: index-pack failed", Cause::DiskFull),
            ("error: packfile objects/pack/pack-1.pack is far too short to be a packfile", Cause::Damaged),
            ("remote: fatal: bad object everywhere", Cause::Unknown),
            ("", Cause::Unknown),
        ] {
            assert_eq!(cause(said), expected, "{said}");
        }
    }

    #[test]
    fn the_gist_is_the_telling_line_and_what_to_do() {
        let said = "hint: x\nfatal: couldn't find remote ref refs/heads/\u{1b}[31mnope\nmore";
        let gist = gist(128, said);
        assert!(gist.starts_with("the branch does not exist there"), "{gist}");
        assert!(gist.contains("(git: couldn't find remote ref refs/heads/ [31mnope)"), "{gist}");
        assert_eq!(super::gist(137, ""), "git was killed, probably out of memory");
        assert_eq!(super::gist(1, "fatal: odd\n"), "odd");
    }
}
