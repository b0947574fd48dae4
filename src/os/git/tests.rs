//! Real git against real repositories: what a mirror follows, answers and survives.

use super::fixture::{AMPLE, Origin, Scratch, complaint, fetch, git, source, within};
use super::{Limits, Mirror, Relation};
use crate::base::TagName;
use crate::config::{Access, Source};
use crate::os::cancel::Cancel;
use std::fs;
use std::io::{ErrorKind, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

#[test]
fn the_mirror_follows_the_branch_and_answers_about_it() {
    let scratch = Scratch::new();
    let origin = Origin::new(scratch.path("it's \"here\" $(id)"));
    let first = origin.commit(&[("a", "1")]);
    let mirror = Mirror::open(&scratch.path("app"), &source(origin.url())).unwrap();
    assert!(mirror.tip().unwrap_err().to_string().contains("nothing was fetched yet"));
    assert_eq!(fetch(&mirror).unwrap(), first);

    git(&origin.0, &["checkout", "-q", "-b", "other"]);
    let elsewhere = origin.commit(&[("b", "1")]);
    git(&origin.0, &["checkout", "-q", "main"]);
    let second = origin.commit(&[("a", "2")]);
    assert_eq!(fetch(&mirror).unwrap(), second);
    assert_eq!(mirror.tip().unwrap(), second);

    assert_eq!(mirror.relation(&first, &first).unwrap(), Relation::Same);
    assert_eq!(mirror.relation(&first, &second).unwrap(), Relation::Newer);
    assert_eq!(mirror.relation(&second, &first).unwrap(), Relation::Older);
    assert_eq!(mirror.relation(&elsewhere, &second).unwrap(), Relation::Diverged, "a commit that is not known");
    assert!(mirror.contains(&first).unwrap() && mirror.contains(&second).unwrap());
    assert!(!mirror.contains(&elsewhere).unwrap());

    let subject = mirror.subject(&second).unwrap();
    assert_eq!((subject.author.as_str(), subject.line.as_str()), ("Ada", "Change things"));
    assert!(subject.time.0 > 1_600_000_000_000, "{:?}", subject.time);
}

#[test]
fn commits_are_found_by_their_digits_and_by_nothing_else() {
    let scratch = Scratch::new();
    let origin = Origin::new(scratch.path("origin"));
    let first = origin.commit(&[("a", "1")]);
    let second = origin.commit(&[("a", "2")]);
    git(&origin.0, &["tag", &second.as_str()[..8], first.as_str()]);
    let tree = git(&origin.0, &["rev-parse", "HEAD^{tree}"]);
    let mirror = Mirror::open(&scratch.path("app"), &source(origin.url())).unwrap();
    fetch(&mirror).unwrap();

    assert_eq!(mirror.resolve(second.as_str()).unwrap(), second);
    assert_eq!(mirror.resolve(&second.as_str()[..8]).unwrap(), second, "a tag of that name points elsewhere");
    assert_eq!(mirror.resolve(&first.as_str()[..10].to_uppercase()).unwrap(), first);
    for unknown in [tree.trim(), "0123456789abcdef0123456789abcdef01234567", "fedcba9876"] {
        assert_eq!(mirror.resolve(unknown).unwrap_err().kind(), ErrorKind::NotFound, "{unknown}");
    }
    for bad in ["", "HEAD", "main", "--all", "abc", "refs/heads/main", "abcdef^", "@", &"a".repeat(65)] {
        assert_eq!(mirror.resolve(bad).unwrap_err().kind(), ErrorKind::InvalidInput, "{bad}");
    }
}

#[test]
fn a_tag_is_what_it_stands_for_at_the_remote_now() {
    let scratch = Scratch::new();
    let origin = Origin::new(scratch.path("origin"));
    let first = origin.commit(&[("a", "1")]);
    let mirror = Mirror::open(&scratch.path("app"), &source(origin.url())).unwrap();
    fetch(&mirror).unwrap();
    let tag = |name: &str| within(AMPLE, |limits| mirror.fetch_tag(&TagName::new(name).unwrap(), limits)).0;

    git(&origin.0, &["tag", "v1"]);
    assert_eq!(tag("v1").unwrap(), first, "made after the last fetch");
    let second = origin.commit(&[("a", "2")]);
    git(&origin.0, &["tag", "-f", "-a", "-m", "moved, and annotated", "v1"]);
    assert_eq!(tag("v1").unwrap(), second);
    assert!(!mirror.contains(&second).unwrap(), "the branch is as it was fetched");
    fetch(&mirror).unwrap();
    assert!(mirror.contains(&second).unwrap());
    assert_eq!(git(&scratch.path("app/repo.git"), &["for-each-ref", "refs/tags"]).lines().count(), 1, "as ever");

    git(&origin.0, &["checkout", "-q", "-b", "other"]);
    let elsewhere = origin.commit(&[("b", "1")]);
    git(&origin.0, &["tag", "-d", "v1"]);
    git(&origin.0, &["tag", "v1/final"]);
    assert_eq!(tag("v1/final").unwrap(), elsewhere, "v1 is kept, and not in its way");
    assert!(!mirror.contains(&elsewhere).unwrap());

    let gone = tag("v1").unwrap_err();
    assert!(gone.kind() == ErrorKind::NotFound && gone.to_string().contains("no such tag"), "{gone}");
    let tree = git(&origin.0, &["rev-parse", "HEAD^{tree}"]);
    git(&origin.0, &["tag", "tree", tree.trim()]);
    let odd = tag("tree").unwrap_err();
    assert!(odd.kind() == ErrorKind::InvalidInput && odd.to_string().contains("not the tag of a commit"), "{odd}");
    git(&origin.0, &["branch", "branch-only"]);
    assert_eq!(tag("branch-only").unwrap_err().kind(), ErrorKind::NotFound, "a branch is no tag");
}

#[test]
fn rewritten_history_diverges_and_old_commits_leave_the_branch() {
    let scratch = Scratch::new();
    let origin = Origin::new(scratch.path("origin"));
    let base = origin.commit(&[("a", "1")]);
    let dropped = origin.commit(&[("a", "2")]);
    let mirror = Mirror::open(&scratch.path("app"), &source(origin.url())).unwrap();
    fetch(&mirror).unwrap();
    git(&origin.0, &["reset", "-q", "--hard", base.as_str()]);
    let rewritten = origin.commit(&[("a", "3")]);
    assert_eq!(fetch(&mirror).unwrap(), rewritten);
    assert_eq!(mirror.relation(&dropped, &rewritten).unwrap(), Relation::Diverged);
    assert!(!mirror.contains(&dropped).unwrap());
    within(AMPLE, |limits| mirror.tidy(limits)).0.unwrap();
    assert_eq!(mirror.resolve(dropped.as_str()).unwrap(), dropped, "a release may still borrow it");
}

#[test]
fn a_branch_that_does_not_exist_is_told_with_those_that_do() {
    let scratch = Scratch::new();
    let origin = Origin::new(scratch.path("origin"));
    let missing = Source { branch: "mian".into(), ..source(origin.url()) };
    let mirror = Mirror::open(&scratch.path("app"), &missing).unwrap();
    let empty = complaint(&mirror);
    assert!(empty.contains("no branch yet"), "{empty}");
    origin.commit(&[("a", "1")]);
    git(&origin.0, &["branch", "develop"]);
    let told = complaint(&mirror);
    assert!(told.contains("branch mian of") && told.contains("there are: develop, main"), "{told}");
    assert!(!scratch.path("app/.repo.git.partial").exists() && !scratch.path("app/repo.git").exists());
}

#[test]
fn a_change_of_url_or_branch_is_followed() {
    let scratch = Scratch::new();
    let (old, new) = (Origin::new(scratch.path("old")), Origin::new(scratch.path("new")));
    let app = scratch.path("app");
    old.commit(&[("a", "1")]);
    let replaced = new.commit(&[("b", "1")]);
    fetch(&Mirror::open(&app, &source(old.url())).unwrap()).unwrap();
    let mirror = Mirror::open(&app, &source(new.url())).unwrap();
    assert_eq!(fetch(&mirror).unwrap(), replaced);
    git(&new.0, &["branch", "-m", "main", "main/next"]);
    let mirror = Mirror::open(&app, &Source { branch: "main/next".into(), ..source(new.url()) }).unwrap();
    assert_eq!(fetch(&mirror).unwrap(), replaced, "`main` in the mirror is not in the way of `main/next`");
    assert!(mirror.contains(&replaced).unwrap());
}

#[test]
fn a_repository_of_another_user_and_a_file_url_can_be_read() {
    let scratch = Scratch::new();
    let origin = Origin::new(scratch.path("not ours"));
    let tip = origin.commit(&[("a", "1")]);
    if nix::unistd::geteuid().is_root() {
        let status = Command::new("chown").args(["-R", "nobody"]).arg(&origin.0).status().unwrap();
        assert!(status.success());
    }
    for url in [
        origin.url().to_owned(),
        format!("file://{}", origin.url().replace(' ', "%20")),
        origin.url().to_owned() + "/.git",
    ] {
        let mirror = Mirror::open(&scratch.path("app"), &source(&url)).unwrap();
        assert_eq!(fetch(&mirror).unwrap(), tip, "{url}");
    }
}

#[test]
fn a_repository_with_the_other_hash_is_fetched_too() {
    let scratch = Scratch::new();
    let (old, new) = (Origin::new(scratch.path("old")), scratch.path("new"));
    old.commit(&[("a", "1")]);
    fs::create_dir(&new).unwrap();
    git(&new, &["init", "-q", "-b", "main", "--object-format=sha256"]);
    let new = Origin(new);
    let tip = new.commit(&[("a", "1")]);
    assert_eq!(tip.as_str().len(), 64);
    fetch(&Mirror::open(&scratch.path("app"), &source(old.url())).unwrap()).unwrap();
    let mirror = Mirror::open(&scratch.path("app"), &source(new.url())).unwrap();
    assert_eq!(fetch(&mirror).unwrap(), tip);
}

#[test]
fn what_cannot_be_fetched_is_explained() {
    let scratch = Scratch::new();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (url, words) in [
        (format!("http://127.0.0.1:{closed}/x"), "cannot be reached"),
        (format!("git://127.0.0.1:{closed}/x"), "cannot be reached"),
        (scratch.path("nothing").to_str().unwrap().to_owned(), "no such repository"),
    ] {
        let told = complaint(&Mirror::open(&scratch.path("app"), &source(&url)).unwrap());
        assert!(told.contains(words) && told.contains(&url), "{told}");
    }
    for (url, branch) in [("-x", "main"), ("ext::sh -c id", "main"), ("/x", "--upload-pack=id"), ("/x", "a:b")] {
        let refused = Mirror::open(&scratch.path("app"), &Source { branch: branch.into(), ..source(url) });
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidInput, "{url} {branch}");
    }
}

#[test]
fn a_hung_fetch_ends_at_its_deadline_and_a_cancelled_one_at_once() {
    let scratch = Scratch::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("git://127.0.0.1:{}/x", listener.local_addr().unwrap().port());
    let mirror = Mirror::open(&scratch.path("app"), &source(&url)).unwrap();
    let begun = std::time::Instant::now();
    let ended = within(Duration::from_millis(300), |limits| mirror.fetch(limits)).0.unwrap_err();
    assert_eq!(ended.kind(), ErrorKind::TimedOut, "{ended}");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());

    let cancel = Cancel::new().unwrap();
    let raise = cancel.clone();
    let peer = std::thread::spawn(move || {
        // The first caller was ended above; the second is connected once its request can be read.
        let _gone = listener.accept().unwrap();
        let (mut connected, _) = listener.accept().unwrap();
        connected.read_exact(&mut [0; 4]).unwrap();
        raise.cancel();
        connected
    });
    let mut sink = |_: &[u8]| {};
    let ended = mirror.fetch(&mut Limits::new(AMPLE, &cancel, &mut sink)).unwrap_err();
    assert_eq!(ended.kind(), ErrorKind::Interrupted, "{ended}");
    drop(peer.join().unwrap());
    assert!(!scratch.path("app/.repo.git.partial").exists());
}

#[test]
fn a_damaged_mirror_is_made_anew() {
    let scratch = Scratch::new();
    let origin = Origin::new(scratch.path("origin"));
    let app = scratch.path("app");
    let mirror = Mirror::open(&app, &source(origin.url())).unwrap();
    origin.commit(&[("a", "1"), ("b", &"x".repeat(5000))]);
    fetch(&mirror).unwrap();
    origin.commit(&[("a", "2")]);
    fetch(&mirror).unwrap();
    fs::create_dir(app.join("releases")).unwrap();
    let whole = scratch.path("whole");
    fs::rename(app.join("repo.git"), &whole).unwrap();

    for news in [false, true] {
        let tip = if news { origin.commit(&[("a", "3")]) } else { origin.head() };
        for (name, damage) in DAMAGES {
            let _ = fs::remove_dir_all(app.join("repo.git"));
            let copied = Command::new("cp").arg("-a").args([&whole, &app.join("repo.git")]).status().unwrap();
            assert!(copied.success());
            damage(&app.join("repo.git"));
            let tree = app.join("releases").join(format!("{name} {news}"));
            let (done, said) = within(AMPLE, |limits| {
                assert_eq!(mirror.fetch(limits)?, tip);
                mirror.check_out(&tip, &tree, false, limits)
            });
            done.unwrap_or_else(|error| panic!("{name}, news {news}: {error}\n{said}"));
            assert_eq!(fs::read_to_string(tree.join("b")).unwrap().len(), 5000, "{name}");
            assert_eq!(git(&tree, &["status", "--porcelain"]), "", "{name}");
        }
    }
}

type Damage = (&'static str, fn(&Path));

/// What a power cut, a killed git or a dying card leaves of a mirror.
const DAMAGES: &[Damage] = &[
    ("empty HEAD", |dir| overwrite(dir.join("HEAD"), b"")),
    ("empty config", |dir| overwrite(dir.join("config"), b"")),
    ("torn config", |dir| overwrite(dir.join("config"), b"[core\n\0\0")),
    ("empty ref", |dir| overwrite(dir.join("refs/pintle/main"), b"")),
    ("zeroed ref", |dir| overwrite(dir.join("refs/pintle/main"), &[0; 41])),
    ("no refs", |dir| fs::remove_dir_all(dir.join("refs")).unwrap()),
    ("no objects", |dir| fs::remove_dir_all(dir.join("objects")).unwrap()),
    ("no packs", |dir| fs::remove_dir_all(dir.join("objects/pack")).unwrap()),
    ("lost pack", |dir| fs::remove_file(pack(dir, "pack")).unwrap()),
    ("lost index", |dir| fs::remove_file(pack(dir, "idx")).unwrap()),
    ("zeroed pack", |dir| zero(pack(dir, "pack"))),
    ("zeroed index", |dir| zero(pack(dir, "idx"))),
    ("torn pack", |dir| tear(pack(dir, "pack"))),
    ("torn index", |dir| tear(pack(dir, "idx"))),
    ("a lock left over", |dir| overwrite(dir.join("refs/pintle/main.lock"), b"")),
    ("another lock", |dir| overwrite(dir.join("packed-refs.lock"), b"")),
    ("emptied", |dir| {
        fs::remove_dir_all(dir).unwrap();
        fs::create_dir(dir).unwrap();
    }),
];

/// The biggest pack: the one with everything in it that did not change since.
fn pack(mirror: &Path, suffix: &str) -> PathBuf {
    let packs = fs::read_dir(mirror.join("objects/pack")).unwrap().map(|entry| entry.unwrap().path());
    let packs = packs.filter(|path| path.extension().is_some_and(|found| found == suffix));
    packs.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
}
fn overwrite(path: PathBuf, content: &[u8]) {
    let _ = fs::remove_file(&path);
    fs::write(path, content).unwrap();
}
fn zero(path: PathBuf) {
    let length = fs::metadata(&path).unwrap().len() as usize;
    overwrite(path, &vec![0; length]);
}
fn tear(path: PathBuf) {
    let content = fs::read(&path).unwrap();
    overwrite(path, &content[..content.len() / 2]);
}

#[test]
fn a_failing_repair_leaves_the_damaged_mirror_where_it_is() {
    let scratch = Scratch::new();
    let origin = Origin::new(scratch.path("origin"));
    origin.commit(&[("a", "1")]);
    let mirror = Mirror::open(&scratch.path("app"), &source(origin.url())).unwrap();
    fetch(&mirror).unwrap();
    fs::write(scratch.path("app/repo.git/config"), "[core\n").unwrap();
    fs::rename(&origin.0, scratch.path("moved")).unwrap();
    complaint(&mirror);
    assert!(scratch.path("app/repo.git/objects").exists() && !scratch.path("app/.repo.git.partial").exists());
}

#[test]
fn an_ssh_key_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    let key = scratch.path("key");
    let with_key = Source {
        access: Access { ssh_key: Some(key.clone()), ..Access::default() },
        ..source("git@127.0.0.1:app.git")
    };
    let open = || Mirror::open(&scratch.path("app"), &with_key);
    assert!(open().unwrap_err().to_string().contains(key.to_str().unwrap()), "it does not exist");
    fs::write(&key, "KEY").unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(open().unwrap_err().to_string().contains("chmod 600"));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    open().unwrap();
}

#[test]
fn a_missing_git_is_told_with_what_to_install() {
    let scratch = Scratch::new();
    let failure = super::Call::new(&scratch.path("")).env("PATH", "/nonexistent").args(&["version"]).ask().unwrap_err();
    let told = failure.because("fetch");
    assert_eq!(told.kind(), ErrorKind::NotFound);
    assert!(told.to_string().contains("apt install git"), "{told}");
}

#[test]
fn nothing_of_our_own_environment_steers_git() {
    let ours = ["GIT_DIR", "GIT_SSH", "SSH_ASKPASS", "LANG", "LANGUAGE", "NOTIFY_SOCKET", "https_proxy"];
    let env = super::environment(ours.iter().map(|name| (name.to_string(), "x".to_string())));
    let value = |name: &str| env.iter().find(|(present, _)| present == name).map(|(_, value)| value.as_str());
    assert_eq!((value("https_proxy"), value("LC_ALL")), (Some("x"), Some("C")));
    assert!(ours[..6].iter().all(|name| value(name).is_none()), "{env:?}");
    assert!(value("PATH").is_some() && value("HOME").is_some_and(|home| home.starts_with('/')));
}

#[test]
fn ssh_is_given_its_key_and_asks_nothing() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    let origin = Origin::new(scratch.path("it's an origin"));
    let tip = origin.commit(&[("a", "1")]);
    let (key, hosts) = (scratch.path("the owner's 100% key"), scratch.path("known hosts"));
    let executable = |path: &Path, mode: u32, text: &str| {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    executable(&key, 0o600, "KEY");
    // Stands in for ssh: notes what it was given and runs the last of it, as the other side's shell would.
    fs::create_dir(scratch.path("bin")).unwrap();
    let script = "#!/bin/sh\nfor last; do echo \"$last\" >> ../given; done\neval \"$last\"\n";
    executable(&scratch.path("bin/ssh"), 0o700, script);

    let access = Access { ssh_key: Some(key.clone()), known_hosts: Some(hosts.clone()), ..Access::default() };
    let url = format!("deploy@host.example:{}", origin.url());
    let mirror = Mirror::open(&scratch.path("app"), &Source { access, ..source(&url) }).unwrap();
    let path = format!("{}:{}", scratch.path("bin").display(), std::env::var("PATH").unwrap());
    let call = mirror.remote.open(super::Call::new(&scratch.path("bin"))).env("PATH", path);
    let said = call.args(&["ls-remote", "--", mirror.remote.url()]).ask().unwrap();
    assert!(said.contains(&format!("{tip}\trefs/heads/main")), "{said}");
    let given = fs::read_to_string(scratch.path("given")).unwrap();
    let given: Vec<&str> = given.lines().collect();
    let hosts = format!("UserKnownHostsFile=\"{}\"", hosts.display());
    let key = format!("IdentityFile=\"{}\"", key.display()).replace('%', "%%");
    for word in
        ["BatchMode=yes", "IdentitiesOnly=yes", "StrictHostKeyChecking=yes", &hosts, &key, "deploy@host.example"]
    {
        assert!(given.contains(&word), "{word} in {given:#?}");
    }
}
